//! Which groups of listeners are known and how far they are.
//!
//! Cursors are kept in memory, where listeners move them without waiting for anybody. Now and then a batch that is
//! written anyway takes along those that have moved; one that trims the log always does, so that no crash makes a group
//! miss what was trimmed because it had it. What a cursor is past was parked or buried by an earlier batch.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use mailhorn_events::{EventId, Generation, Stamp};
use mailhorn_ports::{Cursor, GroupName, GroupStore, KnownGroup, Letter, StoreError};
use parking_lot::Mutex;

use crate::core::{Core, Writer};
use crate::draft::Draft;
use crate::error::Fault;
use crate::keys::{self, Table};
use crate::opened::Opened;
use crate::rows::{CursorRow, KnownRow, decode};
use crate::store::EmbeddedStore;
use crate::{letters, logs};

/// A cursor and where it belongs.
type Place = (GroupName, Generation, Cursor);

/// The groups that are known, as memory has them: never behind what is stored.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<BTreeMap<GroupName, Known>>);

#[derive(Debug, Default)]
struct Known {
    registered: Stamp,
    cursors: BTreeMap<Generation, Cursor>,
    /// Logs whose cursor moved since it was written.
    moved: BTreeSet<Generation>,
}

impl Groups {
    /// Takes what is stored for the truth about which groups are known; cursors stay where they are, if that is further.
    pub(crate) fn load(&self, opened: &Opened) -> Result<(), Fault> {
        let mut stored = read(opened)?;
        let mut groups = self.0.lock();
        for (name, known) in &mut stored {
            for (generation, cursor) in groups.remove(name).unwrap_or_default().cursors {
                known.advance(generation, &cursor);
            }
        }
        *groups = stored;
        Ok(())
    }

    pub(crate) fn is_known(&self, group: &GroupName) -> bool {
        self.0.lock().contains_key(group)
    }

    fn registered(&self, group: &GroupName) -> Option<Stamp> {
        self.0.lock().get(group).map(|known| known.registered)
    }

    /// Groups that were not registered since.
    pub(crate) fn expired(&self, since: Stamp) -> Vec<GroupName> {
        let groups = self.0.lock();
        let expired = groups.iter().filter(|(_, known)| known.registered < since);
        expired.map(|(name, _)| name.clone()).collect()
    }

    /// Up to which record of a log every group has finished; `None` when there is no group.
    pub(crate) fn passed(&self, generation: Generation) -> Option<u64> {
        let groups = self.0.lock();
        let finished = |known: &Known| known.cursors.get(&generation).map_or(0, Cursor::finished);
        groups.values().map(finished).min()
    }

    pub(crate) fn has_moved(&self) -> bool {
        self.0.lock().values().any(|known| !known.moved.is_empty())
    }

    /// Writes the cursors that have moved, and gives them for [`Groups::written`].
    pub(crate) fn write(&self, draft: &mut Draft<'_>) -> Vec<Place> {
        let mut places = Vec::new();
        for (name, known) in &*self.0.lock() {
            for generation in &known.moved {
                let cursor = known.cursors.get(generation).cloned().unwrap_or_default();
                draft.put(keys::cursor(name, *generation), &CursorRow::from(&cursor));
                places.push((name.clone(), *generation, cursor));
            }
        }
        places
    }

    /// These are durable. One that moved on meanwhile is to be written again.
    pub(crate) fn written(&self, places: &[Place]) {
        let mut groups = self.0.lock();
        for (name, generation, cursor) in places {
            if let Some(known) = groups.get_mut(name)
                && known.cursors.get(generation) == Some(cursor)
            {
                known.moved.remove(generation);
            }
        }
    }

    /// The logs in which a group has a cursor.
    pub(crate) fn logs(&self) -> BTreeSet<Generation> {
        let groups = self.0.lock();
        groups
            .values()
            .flat_map(|known| known.cursors.keys().copied())
            .collect()
    }

    /// Removes the cursors in logs that are forgotten.
    pub(crate) fn forget_logs(&self, draft: &mut Draft<'_>, forgotten: &BTreeSet<Generation>) {
        for (name, known) in &mut *self.0.lock() {
            for generation in forgotten {
                known.moved.remove(generation);
                if known.cursors.remove(generation).is_some() {
                    draft.remove(keys::cursor(name, *generation));
                }
            }
        }
    }
}

impl Known {
    fn advance(&mut self, generation: Generation, cursor: &Cursor) {
        let saved = self.cursors.entry(generation).or_default();
        let joined = saved.join(cursor);
        if joined != *saved {
            *saved = joined;
            self.moved.insert(generation);
        }
    }
}

fn read(opened: &Opened) -> Result<BTreeMap<GroupName, Known>, Fault> {
    let malformed = || Fault::Damaged("a key of a group is malformed".into());
    let mut groups: BTreeMap<GroupName, Known> = BTreeMap::new();
    for (key, row) in opened.page(&keys::key(Table::Groups, &[]), None, usize::MAX)? {
        let KnownRow(registered) = decode(&row)?;
        let group = groups.entry(keys::group_of(&key).ok_or_else(malformed)?);
        group.or_default().registered = Stamp(registered);
    }
    for (key, row) in opened.page(&keys::key(Table::Cursors, &[]), None, usize::MAX)? {
        let name = keys::group_of(&key).ok_or_else(malformed)?;
        let generation = keys::log_of_cursor(&key).ok_or_else(malformed)?;
        if let Some(group) = groups.get_mut(&name) {
            group
                .cursors
                .insert(generation, decode::<CursorRow>(&row)?.into());
        }
    }
    Ok(groups)
}

/// Makes a group known, with its cursor at the end of every log that there is, or notes that it still is.
fn register(core: &Core, group: &GroupName, now: Stamp) -> Result<(), Fault> {
    core.write(|opened, writer| {
        let registered = core.groups.registered(group);
        if registered.is_some_and(|registered| registered >= now) {
            return Ok(());
        }
        let mut draft = Draft::new(opened, writer.state);
        draft.put(keys::group_row(Table::Groups, group), &KnownRow(now.0));
        let mut cursors = BTreeMap::new();
        if registered.is_none() {
            for generation in logs::with_records(opened)?.into_keys() {
                let cursor = Cursor::at(opened.log_end(generation)?);
                draft.put(keys::cursor(group, generation), &CursorRow::from(&cursor));
                cursors.insert(generation, cursor);
            }
        }
        core.apply(writer, draft)?;
        let mut groups = core.groups.0.lock();
        let known = groups.entry(group.clone()).or_default();
        known.registered = now;
        known.cursors.extend(cursors);
        Ok(())
    })
}

/// Forgets a group but for its dead letters, of which what it parked are some from now on.
pub(crate) fn forget(
    core: &Core,
    opened: &Opened,
    writer: &mut Writer,
    group: &GroupName,
) -> Result<(), Fault> {
    if !core.groups.is_known(group) {
        return Ok(());
    }
    let mut draft = Draft::new(opened, writer.state);
    draft.remove(keys::group_row(Table::Groups, group));
    for (key, _) in opened.page(&keys::of_group(Table::Cursors, group), None, usize::MAX)? {
        draft.remove(key.to_vec());
    }
    let parked = letters::bury_parked(&mut draft, group)?;
    core.apply(writer, draft)?;
    core.groups.0.lock().remove(group);
    if parked > 0 {
        tracing::warn!(%group, letters = parked, "what a forgotten group had parked is among its dead letters now");
    }
    Ok(())
}

#[async_trait]
impl GroupStore for EmbeddedStore {
    async fn register_group(&self, group: &GroupName, now: Stamp) -> Result<(), StoreError> {
        let group = group.clone();
        self.blocking(move |core| register(core, &group, now)).await
    }

    async fn groups(&self) -> Result<Vec<KnownGroup>, StoreError> {
        self.core.refuse_closed()?;
        let groups = self.core.groups.0.lock();
        let known = groups.iter().map(|(name, known)| KnownGroup {
            name: name.clone(),
            registered: known.registered,
        });
        Ok(known.collect())
    }

    async fn forget_group(&self, group: &GroupName) -> Result<(), StoreError> {
        let group = group.clone();
        self.blocking(move |core| core.write(|opened, writer| forget(core, opened, writer, &group)))
            .await
    }

    async fn cursors(&self, group: &GroupName) -> Result<Vec<(Generation, Cursor)>, StoreError> {
        self.core.refuse_closed()?;
        let groups = self.core.groups.0.lock();
        let cursors = groups.get(group).map(|known| known.cursors.clone());
        Ok(cursors.unwrap_or_default().into_iter().collect())
    }

    async fn save_cursor(
        &self,
        group: &GroupName,
        generation: Generation,
        cursor: &Cursor,
    ) -> Result<(), StoreError> {
        self.core.refuse_closed()?;
        if let Some(known) = self.core.groups.0.lock().get_mut(group) {
            known.advance(generation, cursor);
        }
        Ok(())
    }

    async fn park(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        let (group, letter) = (group.clone(), letter.clone());
        self.blocking(move |core| letters::park(core, &group, &letter))
            .await
    }

    async fn parked_logs(&self, group: &GroupName) -> Result<Vec<Generation>, StoreError> {
        let group = group.clone();
        Ok(self
            .read_blocking(move |opened| letters::parked_logs(opened, &group))
            .await?)
    }

    async fn parked(&self, group: &GroupName, generation: Generation) -> Result<Vec<Letter>, StoreError> {
        let prefix = keys::parked_of(group, generation);
        let read = move |opened: &Opened| letters::page(opened, &prefix, None, usize::MAX);
        Ok(self.read_blocking(read).await?)
    }

    async fn unpark(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        let key = keys::parked(group, letter.position.generation, letter.id);
        self.blocking(move |core| letters::unpark(core, key)).await
    }

    async fn bury(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        let (group, letter) = (group.clone(), letter.clone());
        self.blocking(move |core| letters::bury(core, &group, &letter))
            .await
    }

    async fn dead_letters(
        &self,
        group: &GroupName,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Letter>, StoreError> {
        let prefix = keys::of_group(Table::Dead, group);
        let after = after.map(|after| keys::dead(group, after));
        let read = move |opened: &Opened| letters::page(opened, &prefix, after.as_deref(), limit);
        Ok(self.read_blocking(read).await?)
    }

    async fn dead_letter(&self, group: &GroupName, id: EventId) -> Result<Option<Letter>, StoreError> {
        let key = keys::dead(group, id);
        Ok(self
            .read_blocking(move |opened| letters::get(opened, &key))
            .await?)
    }

    async fn remove_dead_letter(&self, group: &GroupName, id: EventId) -> Result<(), StoreError> {
        let group = group.clone();
        self.blocking(move |core| letters::remove(core, &group, id)).await
    }

    async fn remove_dead_letters(&self, group: &GroupName) -> Result<u64, StoreError> {
        let group = group.clone();
        self.blocking(move |core| letters::remove_all(core, &group)).await
    }

    async fn groups_with_dead_letters(&self) -> Result<Vec<(GroupName, u64)>, StoreError> {
        Ok(self.read_blocking(letters::counts).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::open;

    /// A cursor that moves while a batch is synced is not in that batch.
    #[tokio::test]
    async fn a_cursor_that_moves_meanwhile_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let (crm, log) = ("crm".parse().unwrap(), Generation::from_bytes([7; 16]));
        store.register_group(&crm, Stamp(1)).await.unwrap();
        store.save_cursor(&crm, log, &Cursor::at(1)).await.unwrap();
        let groups = &store.core.groups;
        let write = || {
            let draft = |opened: &Opened, writer: &mut Writer| {
                let mut draft = Draft::new(opened, writer.state);
                Ok(groups.write(&mut draft))
            };
            store.core.write(draft).unwrap()
        };
        let first = write();
        store.save_cursor(&crm, log, &Cursor::at(2)).await.unwrap();
        groups.written(&first);
        assert!(groups.has_moved());
        let second = write();
        assert_eq!(second, [(crm, log, Cursor::at(2))]);
        groups.written(&second);
        assert!(!groups.has_moved());
    }
}
