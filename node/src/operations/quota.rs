//! Quotas of users and domains: what they may hold, and what they do.

use std::sync::Arc;

use mailhorn_core::quota::Quotas;
use mailhorn_events::{AccountId, QuotaLimits, QuotaRoot};
use mailhorn_ports::{DirectoryError, QuotaOwner, QuotaStore};

use super::views::{Limits, Quota as QuotaView};
use super::{OperationError, Operations, domain};
use crate::settings::Settings;

/// Where quotas are kept, and what holds where none was set.
#[derive(Debug, Clone)]
pub struct Quota {
    /// Limits and usage.
    pub store: Arc<dyn QuotaStore>,
    /// Who asks before mail is taken, to be told of new limits; `None` where no node runs, or nobody asks.
    pub asked: Option<Arc<Quotas>>,
    /// Whether a node asks (`quota.enabled`).
    pub enforced: bool,
    /// Of users without limits of their own.
    pub of_users: QuotaLimits,
    /// Of domains without limits of their own.
    pub of_domains: QuotaLimits,
}

impl Quota {
    /// As the settings have it, where no node runs.
    #[must_use]
    pub fn of_settings(settings: &Settings, store: Arc<dyn QuotaStore>) -> Self {
        Self {
            store,
            asked: None,
            enforced: settings.quota.enabled,
            of_users: settings.user_limits(),
            of_domains: settings.domain_limits(),
        }
    }
}

/// Whose quota, and how events name it.
#[derive(Debug)]
struct Owner {
    /// As it is shown.
    name: String,
    owner: QuotaOwner,
    account: AccountId,
    root: QuotaRoot,
}

impl Operations {
    /// The quota of a user (`address`) or of a domain.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn quota(&self, address_or_domain: &str) -> Result<QuotaView, OperationError> {
        let owner = self.quota_owner(address_or_domain).await?;
        self.quota_of(&owner).await
    }

    /// Sets the limits of a user or a domain, or takes them back (`None`): those of the settings hold again.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn set_quota(
        &self,
        address_or_domain: &str,
        limits: Option<Limits>,
    ) -> Result<QuotaView, OperationError> {
        let owner = self.quota_owner(address_or_domain).await?;
        let before = self.quota_of(&owner).await?;
        let limits = limits.map(QuotaLimits::from);
        self.quota.store.set_quota_limits(&owner.owner, limits).await?;
        if let Some(quotas) = &self.quota.asked {
            quotas.limits_changed(&owner.owner);
        }
        let after = self.quota_of(&owner).await?;
        let changed = [before.effective, after.effective].map(QuotaLimits::from);
        let announced = self.announce_limits(owner.name, owner.account, owner.root, changed);
        if let Err(error) = announced.await {
            // They hold all the same.
            tracing::warn!(%error, "nobody is told of new limits");
        }
        Ok(after)
    }

    async fn quota_of(&self, owner: &Owner) -> Result<QuotaView, OperationError> {
        let quota = &self.quota;
        let limits = quota.store.quota_limits(&owner.owner).await?;
        let usage = quota.store.usage(&owner.owner).await?;
        let of_settings = match owner.owner {
            QuotaOwner::Account(_) => quota.of_users,
            QuotaOwner::Domain(_) => quota.of_domains,
        };
        Ok(QuotaView {
            owner: owner.name.clone(),
            limits: limits.map(Limits::from),
            effective: limits.unwrap_or(of_settings).into(),
            enforced: quota.enforced,
            messages: usage.messages,
            octets: usage.octets,
        })
    }

    /// An address is a user's; what has no `@` is a domain.
    async fn quota_owner(&self, text: &str) -> Result<Owner, OperationError> {
        if text.contains('@') {
            let account = self.account(text).await?;
            return Ok(Owner {
                name: account.address.clone(),
                owner: QuotaOwner::Account(account.id),
                account: account.id,
                root: QuotaRoot::User,
            });
        }
        let name = domain(text)?.to_string();
        if self.directory.domain(&name).await?.is_none() {
            return Err(DirectoryError::NotFound(name).into());
        }
        Ok(Owner {
            owner: QuotaOwner::Domain(name.clone()),
            // No account of it is meant more than another.
            account: AccountId::from_bytes([0; 16]),
            root: QuotaRoot::Domain(name.clone()),
            name,
        })
    }
}
