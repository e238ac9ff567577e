//! A maildrop's lock: on this node, with the line of those who wait for it, and between nodes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use mailhorn_events::MailboxId;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cluster_locks::ClusterLock;

/// Sessions that wait for a maildrop's lock at most; a further one is told at once that it is in use.
pub const LOCK_WAITERS_MAX: usize = 8;

/// Below so many, locks that nobody uses are not swept.
const UNSWEPT_LOCKS_MIN: usize = 64;

/// Whether a maildrop takes one session at a time (`pop3.lock`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// One session a maildrop (RFC 1939 §4).
    Exclusive,
    /// As many as come.
    Shared,
}

#[derive(Debug, Default)]
struct LockState {
    holders: usize,
    /// When the last holder went.
    released: Option<Instant>,
    waiting: VecDeque<oneshot::Sender<LocalLock>>,
}

#[derive(Debug, Default)]
pub(super) struct Lock {
    state: Mutex<LockState>,
}

/// A hold on a maildrop on this node. Dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct LocalLock(Arc<Lock>);

/// Another session may have been in the maildrop: what this one numbers may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the maildrop's lock was lost to another session")]
pub struct LockLost;

/// A session's hold on a maildrop. Dropping it lets the next one of this node in, and those of other nodes a little later.
#[derive(Debug)]
pub struct MaildropLock {
    // Given back in this order: nobody of this node comes before other nodes know.
    cluster: Option<ClusterLock>,
    _local: LocalLock,
}

impl MaildropLock {
    pub(super) fn new(local: LocalLock, cluster: Option<ClusterLock>) -> Self {
        Self {
            cluster,
            _local: local,
        }
    }

    /// To be asked right before mail is removed. Takes as long as the lock service's answer, and no time where there is
    /// none. While the service is away this node's lock counts.
    ///
    /// # Errors
    ///
    /// [`LockLost`]: nothing may be removed.
    pub async fn check(&self) -> Result<(), LockLost> {
        match &self.cluster {
            Some(cluster) if !cluster.check().await => Err(LockLost),
            Some(_) | None => Ok(()),
        }
    }

    /// Ends the hold well: when this returns, the next session may come in on every node, if the lock service answered in
    /// its time.
    pub async fn release(self) {
        if let Some(cluster) = self.cluster {
            cluster.release().await;
        }
    }
}

impl Lock {
    /// How many hold it, and when the last one went.
    pub(super) fn use_so_far(&self) -> (usize, Option<Instant>) {
        let state = self.state.lock();
        (state.holders, state.released)
    }

    /// Takes the lock now, or a place in the line for it, or neither.
    pub(super) fn take(
        self: &Arc<Self>,
        mode: LockMode,
    ) -> Result<LocalLock, Option<oneshot::Receiver<LocalLock>>> {
        let mut state = self.state.lock();
        if mode == LockMode::Shared || state.holders == 0 {
            state.holders += 1;
            return Ok(LocalLock(Arc::clone(self)));
        }
        state.waiting.retain(|waiting| !waiting.is_closed());
        if state.waiting.len() >= LOCK_WAITERS_MAX {
            return Err(None);
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        Err(Some(receiver))
    }
}

impl Drop for LocalLock {
    fn drop(&mut self) {
        let mut next = {
            let mut state = self.0.state.lock();
            let next = state.waiting.pop_front();
            if next.is_none() {
                state.holders = state.holders.saturating_sub(1);
                state.released = Some(Instant::now());
            }
            next
        };
        // The hold goes over to the first one that still waits. One that gave up in this moment drops what it is
        // handed, which brings us here again with the one behind it.
        if let Some(waiting) = next.take() {
            drop(waiting.send(LocalLock(Arc::clone(&self.0))));
        }
    }
}

/// The locks in use, by mailbox. Whoever has one keeps it: it outlives an actor that panicked under a session.
#[derive(Debug, Default)]
pub(super) struct LockTable {
    locks: HashMap<MailboxId, Weak<Lock>>,
    sweep_at: usize,
}

impl LockTable {
    pub(super) fn get(&mut self, mailbox: MailboxId) -> Arc<Lock> {
        if let Some(lock) = self.locks.get(&mailbox).and_then(Weak::upgrade) {
            return lock;
        }
        // Swept when there are twice as many as were in use the last time: a constant price a lock.
        if self.locks.len() >= self.sweep_at.max(UNSWEPT_LOCKS_MIN) {
            self.locks.retain(|_, lock| lock.strong_count() > 0);
            self.sweep_at = self.locks.len().saturating_mul(2);
        }
        let lock = Arc::default();
        self.locks.insert(mailbox, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(n: u128) -> MailboxId {
        MailboxId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_lock_in_use_is_the_same_for_all_and_the_others_are_swept() {
        let mut table = LockTable::default();
        let kept = table.get(mailbox(0));
        for n in 1..10_000 {
            drop(table.get(mailbox(n)));
        }
        assert!(Arc::ptr_eq(&kept, &table.get(mailbox(0))));
        assert!(table.locks.len() <= UNSWEPT_LOCKS_MIN, "{}", table.locks.len());
    }
}
