//! [`QuotaStore`] in memory: usage is summed up when it is asked for.

use async_trait::async_trait;
use mailhorn_events::{MailboxId, QuotaLimits};

use super::{MemoryStore, State};
use crate::directory::domain_of;
use crate::quota::{QuotaDefaults, QuotaOwner, QuotaStanding, QuotaStore};
use crate::store::{Figure, StoreError};

impl State {
    fn holds(&self, owner: &QuotaOwner, mailbox: MailboxId) -> bool {
        let accounts = self.accounts().chain(self.removed.values());
        let mut of_mailbox = accounts.filter(|account| MailboxId::inbox(account.id) == mailbox);
        of_mailbox.any(|account| match owner {
            QuotaOwner::Account(id) => account.id == *id,
            QuotaOwner::Domain(domain) => domain_of(&account.address) == domain,
        })
    }

    fn usage(&self, owner: &QuotaOwner) -> Figure {
        let mut usage = Figure::default();
        for ((mailbox, _), (row, _)) in &self.view {
            if self.holds(owner, *mailbox) {
                usage.messages += 1;
                usage.octets += row.size;
            }
        }
        usage
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
        if state.script.refuse_usage {
            return Err(StoreError::Unavailable(
                "the double was told to tell no usage".into(),
            ));
        }
        Ok(state.usage(owner))
    }

    async fn quota_standings(
        &self,
        owners: &[QuotaOwner],
        defaults: QuotaDefaults,
    ) -> Result<Vec<QuotaStanding>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let standing = |owner: &QuotaOwner| {
            let limits = defaults.in_force(owner, state.limits.get(owner).copied());
            QuotaStanding {
                limits,
                announced_percent: state.thresholds.get(owner).copied().unwrap_or_default(),
                usage: match limits.is_unlimited() {
                    true => Figure::default(),
                    false => state.usage(owner),
                },
            }
        };
        Ok(owners.iter().map(standing).collect())
    }

    async fn recount_usage(&self) -> Result<u64, StoreError> {
        self.available()?;
        Ok(0)
    }
}
