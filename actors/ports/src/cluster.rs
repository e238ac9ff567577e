//! What nodes need of each other: who is there, who wants to know of what, and a fast way between them.
//!
//! None of it is the truth. Lose all of it, and events come later: the store has the logs and the view.

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use mailhorn_events::Generation;

use crate::listener::{GroupName, Key};
use crate::store::StoreError;

/// A process as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Its log.
    pub generation: Generation,
    /// The node's name.
    pub node: String,
    /// Moves with every heartbeat.
    pub beat: u64,
    /// The groups of scope `local` that it runs.
    pub groups: BTreeSet<GroupName>,
}

/// Whether registrations may have been lost since: a random value, set where it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Who is registered for some keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredFor {
    /// The registry's epoch at that moment.
    pub epoch: Epoch,
    /// The processes, each once, in order.
    pub members: Vec<Generation>,
}

/// Members and registrations.
#[async_trait]
pub trait Registry: Debug + Send + Sync {
    /// A heartbeat: the process is there, and runs these groups.
    async fn beat(&self, member: &MemberRow) -> Result<(), StoreError>;

    /// The process ends well: it is no member and registered for nothing any more.
    async fn leave(&self, generation: Generation) -> Result<(), StoreError>;

    /// All that have beaten and not left, by generation; those that died are among them until somebody removes them.
    async fn members(&self) -> Result<Vec<MemberRow>, StoreError>;

    /// The process wants to know what happens under these keys, until it says otherwise or its lease ends; said again
    /// before that. Gives the epoch in which it is known.
    async fn register_keys(&self, generation: Generation, keys: &[Key]) -> Result<Epoch, StoreError>;

    /// It no longer wants to.
    async fn unregister_keys(&self, generation: Generation, keys: &[Key]) -> Result<(), StoreError>;

    /// Who wants to know what happens under any of these keys.
    async fn registered_for(&self, keys: &[Key]) -> Result<RegisteredFor, StoreError>;
}

/// Frames from process to process: as soon as may be, perhaps not at all, perhaps twice, perhaps in another order.
#[async_trait]
pub trait Transport: Debug + Send + Sync {
    /// Sends a frame. `Ok` promises nothing.
    async fn send(&self, to: Generation, frame: Bytes) -> Result<(), StoreError>;

    /// The next frames for a process; waits until there are some.
    async fn receive(&self, me: Generation) -> Result<Vec<Bytes>, StoreError>;
}
