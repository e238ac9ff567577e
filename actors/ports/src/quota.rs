//! Quotas: what users and domains may hold, and what they do.
//!
//! Usage is the sum over the rows of the view, kept as a figure beside them: the embedded store changes it in the batch
//! that changes the rows.

use std::fmt::Debug;

use async_trait::async_trait;
use mailhorn_events::{AccountId, QuotaLimits, QuotaRoot};

use crate::directory::domain_of;
use crate::store::{Figure, StoreError};

/// Whose quota.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaOwner {
    /// An account, over all its mailboxes.
    Account(AccountId),
    /// A domain, over all its accounts.
    Domain(String),
}

impl QuotaOwner {
    /// For whom mail of an account counts, whose address in canonical form is `address`: for it, and for its domain.
    #[must_use]
    pub fn of(account: AccountId, address: &str) -> [Self; 2] {
        let domain = domain_of(address).to_owned();
        [Self::Account(account), Self::Domain(domain)]
    }

    /// Whom an event about `account` means by `root`.
    #[must_use]
    pub fn of_root(root: &QuotaRoot, account: AccountId) -> Self {
        match root {
            QuotaRoot::User => Self::Account(account),
            QuotaRoot::Domain(domain) => Self::Domain(domain.clone()),
        }
    }

    /// What events call it.
    #[must_use]
    pub fn root(&self) -> QuotaRoot {
        match self {
            Self::Account(_) => QuotaRoot::User,
            Self::Domain(domain) => QuotaRoot::Domain(domain.clone()),
        }
    }
}

/// The limits of owners for whom none were set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaDefaults {
    /// Each account's.
    pub user: QuotaLimits,
    /// Each domain's.
    pub domain: QuotaLimits,
}

impl QuotaDefaults {
    /// The limits in force for an owner for whom these were set, or none.
    #[must_use]
    pub fn in_force(&self, owner: &QuotaOwner, set: Option<QuotaLimits>) -> QuotaLimits {
        set.unwrap_or(match owner {
            QuotaOwner::Account(_) => self.user,
            QuotaOwner::Domain(_) => self.domain,
        })
    }
}

/// How an owner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaStanding {
    /// The limits in force.
    pub limits: QuotaLimits,
    /// The threshold that was announced last, in percent; 0 at first.
    pub announced_percent: u8,
    /// What it holds, read after the threshold: never older than what that was announced for. Nothing, and not read,
    /// where there is no limit: a store may have to count for it.
    pub usage: Figure,
}

/// Limits and usage. Limits, and what was announced, go with their owner: an account's when it is forgotten
/// ([`Directory::forget_removed`](crate::Directory::forget_removed)), a domain's when it is removed.
///
/// Every call may fail with a [`StoreError`].
#[async_trait]
pub trait QuotaStore: Debug + Send + Sync {
    /// The limits that were set for this owner; `None` where none were: the settings' hold.
    async fn quota_limits(&self, owner: &QuotaOwner) -> Result<Option<QuotaLimits>, StoreError>;

    /// Sets limits, or takes them back (`None`). Durable when it returns.
    async fn set_quota_limits(
        &self,
        owner: &QuotaOwner,
        limits: Option<QuotaLimits>,
    ) -> Result<(), StoreError>;

    /// What the owner holds. Mail of an account that was removed counts for its domain until it is gone.
    async fn usage(&self, owner: &QuotaOwner) -> Result<Figure, StoreError>;

    /// How these owners stand, in their order: for whoever looks at many, in one go.
    async fn quota_standings(
        &self,
        owners: &[QuotaOwner],
        defaults: QuotaDefaults,
    ) -> Result<Vec<QuotaStanding>, StoreError>;

    /// Makes the figures anew from the rows of the view, and tells how many were wrong. Changes go on meanwhile. Reads
    /// all rows: not for every day.
    async fn recount_usage(&self) -> Result<u64, StoreError>;
}
