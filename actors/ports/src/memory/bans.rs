//! [`BanStore`] in memory.

use async_trait::async_trait;
use ipnet::IpNet;
use mailhorn_events::Stamp;

use super::MemoryStore;
use crate::bans::{Ban, BanStore};
use crate::store::StoreError;

#[async_trait]
impl BanStore for MemoryStore {
    async fn put_ban(&self, ban: &Ban) -> Result<(), StoreError> {
        self.available()?;
        self.0.lock().bans.insert(ban.network, ban.clone());
        Ok(())
    }

    async fn lift_ban(&self, network: IpNet) -> Result<(), StoreError> {
        self.available()?;
        self.0.lock().bans.remove(&network);
        Ok(())
    }

    async fn bans(&self, now: Stamp, limit: usize) -> Result<Vec<Ban>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let remembered = state.bans.values().filter(|ban| ban.kept_until > now);
        Ok(remembered.take(limit).cloned().collect())
    }
}
