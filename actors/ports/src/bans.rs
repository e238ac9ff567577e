//! Bans: from where nobody is served for a while.
//!
//! A node holds them in memory and asks this store from time to time. It is no store of truth: while it is away, bans stay
//! where they were made.

use std::fmt::Debug;

use async_trait::async_trait;
use ipnet::IpNet;
use mailhorn_events::Stamp;

use crate::store::StoreError;

/// A network from where nobody is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Where. Without bits behind its prefix ([`IpNet::trunc`]).
    pub network: IpNet,
    /// Why, for an operator.
    pub reason: String,
    /// From when on.
    pub since: Stamp,
    /// Until when.
    pub until: Stamp,
    /// Until when it is remembered, so that the next ban of this network is longer. Not before `until`.
    pub kept_until: Stamp,
    /// The node that made it.
    pub node: String,
}

/// Where bans are kept over a restart, and seen by all nodes of a cluster.
///
/// Every call may fail with a [`StoreError`].
#[async_trait]
pub trait BanStore: Debug + Send + Sync {
    /// Bans a network, in place of a ban that it may have. Durable when it returns. The store may forget it once it is past
    /// [`Ban::kept_until`] by its own clock.
    async fn put_ban(&self, ban: &Ban) -> Result<(), StoreError>;

    /// Takes a ban back. Without an effect where there is none. Durable when it returns.
    async fn lift_ban(&self, network: IpNet) -> Result<(), StoreError>;

    /// Bans that are remembered at `now`, in no order; `limit` at most.
    async fn bans(&self, now: Stamp, limit: usize) -> Result<Vec<Ban>, StoreError>;
}
