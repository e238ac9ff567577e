//! A maildrop's lock on this node, and the line of those who wait for it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Sessions that wait for a maildrop's lock at most; a further one is told at once that it is in use.
pub const LOCK_WAITERS_MAX: usize = 8;

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
    waiting: VecDeque<oneshot::Sender<MaildropLock>>,
}

#[derive(Debug, Default)]
pub(super) struct Lock {
    state: Mutex<LockState>,
}

/// A session's hold on a maildrop. Dropping it lets the next one in.
#[derive(Debug)]
pub struct MaildropLock(Arc<Lock>);

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
    ) -> Result<MaildropLock, Option<oneshot::Receiver<MaildropLock>>> {
        let mut state = self.state.lock();
        if mode == LockMode::Shared || state.holders == 0 {
            state.holders += 1;
            return Ok(MaildropLock(Arc::clone(self)));
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

impl Drop for MaildropLock {
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
            drop(waiting.send(MaildropLock(Arc::clone(&self.0))));
        }
    }
}
