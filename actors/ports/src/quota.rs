//! Quotas: what users and domains may hold, and what they do.
//!
//! Usage is the sum over the rows of the view, kept as a figure beside them: the embedded store changes it in the batch
//! that changes the rows.

use std::fmt::Debug;

use async_trait::async_trait;
use mailhorn_events::{AccountId, QuotaLimits};

use crate::store::{Figure, StoreError};

/// Whose quota.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaOwner {
    /// An account, over all its mailboxes.
    Account(AccountId),
    /// A domain, over all its accounts.
    Domain(String),
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

    /// The threshold that was announced last for this owner, in percent; 0 at first.
    async fn announced_threshold(&self, owner: &QuotaOwner) -> Result<u8, StoreError>;

    /// Makes the figures anew from the rows of the view, and tells how many were wrong. Changes go on meanwhile. Reads
    /// all rows: not for every day.
    async fn recount_usage(&self) -> Result<u64, StoreError>;
}
