//! [`QuotaStore`] in memory: usage is summed up when it is asked for.

use async_trait::async_trait;
use mailhorn_events::{MailboxId, QuotaLimits};

use super::{MemoryStore, State};
use crate::quota::{QuotaOwner, QuotaStore};
use crate::store::{Figure, StoreError};

impl State {
    fn holds(&self, owner: &QuotaOwner, mailbox: MailboxId) -> bool {
        let accounts = self.accounts.values().chain(self.removed.values());
        let mut of_mailbox = accounts.filter(|account| MailboxId::inbox(account.id) == mailbox);
        of_mailbox.any(|account| match owner {
            QuotaOwner::Account(id) => account.id == *id,
            QuotaOwner::Domain(domain) => account
                .address
                .rsplit_once('@')
                .is_some_and(|(_, of)| of == domain),
        })
    }
}

#[async_trait]
impl QuotaStore for MemoryStore {
    async fn quota_limits(&self, owner: &QuotaOwner) -> Result<Option<QuotaLimits>, StoreError> {
        self.available()?;
        Ok(self.0.lock().limits.get(owner).copied())
    }

    async fn set_quota_limits(
        &self,
        owner: &QuotaOwner,
        limits: Option<QuotaLimits>,
    ) -> Result<(), StoreError> {
        self.available()?;
        let mut state = self.0.lock();
        match limits {
            Some(limits) => state.limits.insert(owner.clone(), limits),
            None => state.limits.remove(owner),
        };
        Ok(())
    }

    async fn usage(&self, owner: &QuotaOwner) -> Result<Figure, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let mut usage = Figure::default();
        for ((mailbox, _), (row, _)) in &state.view {
            if state.holds(owner, *mailbox) {
                usage.messages += 1;
                usage.octets += row.size;
            }
        }
        Ok(usage)
    }

    async fn announced_threshold(&self, owner: &QuotaOwner) -> Result<u8, StoreError> {
        self.available()?;
        Ok(self.0.lock().thresholds.get(owner).copied().unwrap_or(0))
    }

    async fn recount_usage(&self) -> Result<u64, StoreError> {
        self.available()?;
        Ok(0)
    }
}
