//! What nodes need of each other: who is there, who wants to know of what, and a fast way between them.
//!
//! Two kinds of things are here. [`Membership`] is durable and lies where the logs lie. [`Registry`], [`Transport`] and
//! [`MaildropLocks`] are never the truth: lose all of it, and events come later, for the store has the logs and the view.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mailhorn_events::{Generation, MailboxId};

use crate::listener::{GroupName, Key};
use crate::store::StoreError;

/// How long a registration lasts that is not said again. A sender that can't trust the registry sends to everybody for so
/// long, since by then every process has registered anew.
pub const REGISTRATION_LEASE: Duration = Duration::from_secs(30);

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

/// Who is there, and what becomes of the log of one that is not any more. This is durable, and the truth: on it rests who
/// may end whose log.
#[async_trait]
pub trait Membership: Debug + Send + Sync {
    /// A heartbeat: the process is there, and runs these groups. Durable when it returns.
    async fn beat(&self, member: &MemberRow) -> Result<(), StoreError>;

    /// The process ends well: it is no member any more, and its log has ended where it stands. Called when the log has
    /// finished, which is after [`MailStore::close`](crate::MailStore::close).
    async fn leave(&self, generation: Generation) -> Result<(), StoreError>;

    /// All that have beaten and not left, by generation; those that died are among them until somebody adopts their log.
    async fn members(&self) -> Result<Vec<MemberRow>, StoreError>;

    /// The number of the last record of a log that was ended, well or by another process; `None` while it goes on.
    async fn sealed(&self, generation: Generation) -> Result<Option<u64>, StoreError>;

    /// Takes over the log of a process that was silent for too long: seals it at its last record, makes every change of it
    /// whole that is not yet, and then removes the process from the members. Gives the number of the last record. What the
    /// process should still append never happened: nobody is shown it. Two who adopt one log end in the same.
    async fn adopt(&self, generation: Generation) -> Result<u64, StoreError>;
}

/// Whether this process may still speak for its log. One whose heartbeats have not come through for a while must take it
/// that another has ended its log. Once it does not hold it never does again: the process goes on with another log.
///
/// A store that can't refuse what is written behind a seal looks at it *after* an append was acknowledged, and answers
/// [`CommitError::LeaseLost`](crate::CommitError::LeaseLost) when it does not hold then.
pub trait Lease: Debug + Send + Sync {
    /// Whether the lease holds at this moment.
    fn holds(&self) -> bool;
}

/// A lease that always holds: of a process that is alone with its store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forever;

impl Lease for Forever {
    fn holds(&self) -> bool {
        true
    }
}

/// Who wants to know of what.
#[async_trait]
pub trait Registry: Debug + Send + Sync {
    /// The process wants to know what happens under these keys, until it says otherwise or its lease ends; said again
    /// before that. Gives the epoch in which it is known.
    async fn register_keys(&self, generation: Generation, keys: &[Key]) -> Result<Epoch, StoreError>;

    /// It no longer wants to.
    async fn unregister_keys(&self, generation: Generation, keys: &[Key]) -> Result<(), StoreError>;

    /// The process ends well: it is registered for nothing any more.
    async fn unregister_all(&self, generation: Generation) -> Result<(), StoreError>;

    /// Who wants to know what happens under any of these keys.
    async fn registered_for(&self, keys: &[Key]) -> Result<RegisteredFor, StoreError>;
}

/// A session's claim on a maildrop: random, so that nobody takes another's for his own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockToken(pub [u8; 16]);

/// Whose a maildrop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The token's that asked, for the time that it asked for.
    Mine,
    /// Another token's.
    Others,
}

/// Maildrop locks between nodes. They keep two clients of one user from disturbing each other; no promise rests on them.
#[async_trait]
pub trait MaildropLocks: Debug + Send + Sync {
    /// Takes the lock, or holds it for longer: it is `token`'s for `ttl` from now on, unless it is another's, which this
    /// leaves as it is, its time included. One that vanished is taken again.
    async fn hold(&self, mailbox: MailboxId, token: LockToken, ttl: Duration) -> Result<Held, StoreError>;

    /// Gives the lock back if it is `token`'s; another's stays.
    async fn release(&self, mailbox: MailboxId, token: LockToken) -> Result<(), StoreError>;
}

/// Frames from process to process: as soon as may be, perhaps not at all, perhaps twice, perhaps in another order.
#[async_trait]
pub trait Transport: Debug + Send + Sync {
    /// Sends a frame. `Ok` promises nothing.
    async fn send(&self, to: Generation, frame: Bytes) -> Result<(), StoreError>;

    /// The next frames for a process; waits until there are some.
    async fn receive(&self, me: Generation) -> Result<Vec<Bytes>, StoreError>;
}
