//! [`Membership`] in memory.

use async_trait::async_trait;
use mailhorn_events::Generation;

use super::MemoryStore;
use crate::cluster::{MemberRow, Membership};
use crate::store::StoreError;

#[async_trait]
impl Membership for MemoryStore {
    async fn beat(&self, member: &MemberRow) -> Result<(), StoreError> {
        self.available()?;
        self.0.lock().members.insert(member.generation, member.clone());
        Ok(())
    }

    async fn leave(&self, generation: Generation) -> Result<(), StoreError> {
        self.available()?;
        let mut state = self.0.lock();
        state.members.remove(&generation);
        let end = state.log_end(generation);
        state.seals.entry(generation).or_insert(end);
        Ok(())
    }

    async fn members(&self) -> Result<Vec<MemberRow>, StoreError> {
        self.available()?;
        Ok(self.0.lock().members.values().cloned().collect())
    }

    async fn sealed(&self, generation: Generation) -> Result<Option<u64>, StoreError> {
        self.available()?;
        Ok(self.0.lock().seals.get(&generation).copied())
    }

    /// Changes are whole here as soon as they are in the log, so there is nothing to do again.
    async fn adopt(&self, generation: Generation) -> Result<u64, StoreError> {
        self.available()?;
        let mut state = self.0.lock();
        let end = state.log_end(generation);
        let end = *state.seals.entry(generation).or_insert(end);
        state.members.remove(&generation);
        Ok(end)
    }
}
