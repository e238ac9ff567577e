//! [`GroupStore`] in memory.

use async_trait::async_trait;
use mailhorn_events::{EventId, Generation, Stamp};

use super::{GroupState, MemoryStore, State};
use crate::groups::{Cursor, GroupStore, KnownGroup};
use crate::listener::{GroupName, Letter};
use crate::store::StoreError;

impl State {
    pub(super) fn forget_group(&mut self, group: &GroupName) {
        let parked = self.groups.remove(group).unwrap_or_default().parked;
        let dead = parked.into_values();
        self.dead
            .extend(dead.map(|letter| ((group.clone(), letter.id), letter)));
    }
}

#[async_trait]
impl GroupStore for MemoryStore {
    async fn register_group(&self, group: &GroupName, now: Stamp) -> Result<(), StoreError> {
        self.available()?;
        let mut state = self.0.lock();
        if !state.groups.contains_key(group) {
            // Of each log the last one counts.
            let ends = state.log.keys().map(|(log, end)| (*log, Cursor::at(*end)));
            let cursors = ends.collect();
            let begun = GroupState {
                cursors,
                ..GroupState::default()
            };
            state.groups.insert(group.clone(), begun);
        }
        let known = state.groups.entry(group.clone()).or_default();
        known.registered = known.registered.max(now);
        Ok(())
    }

    async fn groups(&self) -> Result<Vec<KnownGroup>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let known = state.groups.iter().map(|(name, group)| KnownGroup {
            name: name.clone(),
            registered: group.registered,
        });
        Ok(known.collect())
    }

    async fn forget_group(&self, group: &GroupName) -> Result<(), StoreError> {
        self.available()?;
        self.0.lock().forget_group(group);
        Ok(())
    }

    async fn cursors(&self, group: &GroupName) -> Result<Vec<(Generation, Cursor)>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let cursors = state.groups.get(group).map(|group| group.cursors.clone());
        Ok(cursors.unwrap_or_default().into_iter().collect())
    }

    async fn save_cursor(
        &self,
        group: &GroupName,
        generation: Generation,
        cursor: &Cursor,
    ) -> Result<(), StoreError> {
        self.available()?;
        if let Some(group) = self.0.lock().groups.get_mut(group) {
            let saved = group.cursors.entry(generation).or_default();
            *saved = saved.join(cursor);
        }
        Ok(())
    }

    async fn park(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        self.available()?;
        let key = (letter.position.generation, letter.id);
        if let Some(known) = self.0.lock().groups.get_mut(group) {
            known.parked.insert(key, letter.clone());
        }
        Ok(())
    }

    async fn parked_logs(&self, group: &GroupName) -> Result<Vec<Generation>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let parked = state
            .groups
            .get(group)
            .into_iter()
            .flat_map(|group| group.parked.keys());
        let mut logs: Vec<Generation> = parked.map(|(log, _)| *log).collect();
        logs.dedup();
        Ok(logs)
    }

    async fn parked(&self, group: &GroupName, generation: Generation) -> Result<Vec<Letter>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let parked = state
            .groups
            .get(group)
            .into_iter()
            .flat_map(|group| &group.parked);
        let of_log = parked.filter(|((log, _), _)| *log == generation);
        Ok(of_log.map(|(_, letter)| letter.clone()).collect())
    }

    async fn unpark(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        self.available()?;
        let key = (letter.position.generation, letter.id);
        if let Some(group) = self.0.lock().groups.get_mut(group) {
            group.parked.remove(&key);
        }
        Ok(())
    }

    async fn bury(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        self.available()?;
        let key = (group.clone(), letter.id);
        let mut state = self.0.lock();
        state.dead.insert(key, letter.clone());
        if let Some(known) = state.groups.get_mut(group) {
            known.parked.remove(&(letter.position.generation, letter.id));
        }
        Ok(())
    }

    async fn dead_letters(
        &self,
        group: &GroupName,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Letter>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let letters = state.dead.iter().filter(|((name, _), _)| name == group);
        let letters = letters.filter(|((_, id), _)| after.is_none_or(|after| *id > after));
        Ok(letters.map(|(_, letter)| letter.clone()).take(limit).collect())
    }

    async fn dead_letter(&self, group: &GroupName, id: EventId) -> Result<Option<Letter>, StoreError> {
        self.available()?;
        Ok(self.0.lock().dead.get(&(group.clone(), id)).cloned())
    }

    async fn remove_dead_letter(&self, group: &GroupName, id: EventId) -> Result<(), StoreError> {
        self.available()?;
        self.0.lock().dead.remove(&(group.clone(), id));
        Ok(())
    }

    async fn remove_dead_letters(&self, group: &GroupName) -> Result<u64, StoreError> {
        self.available()?;
        let mut state = self.0.lock();
        let before = state.dead.len();
        state.dead.retain(|(name, _), _| name != group);
        Ok((before - state.dead.len()) as u64)
    }

    async fn groups_with_dead_letters(&self) -> Result<Vec<(GroupName, u64)>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let mut groups: Vec<(GroupName, u64)> = Vec::new();
        for (name, _) in state.dead.keys() {
            match groups.last_mut() {
                Some((last, count)) if last == name => *count += 1,
                _ => groups.push((name.clone(), 1)),
            }
        }
        Ok(groups)
    }
}
