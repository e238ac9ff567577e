//! Replies that wait until a listener of mode `sync` has an event.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Records that replies wait for at a time, for one group. Beyond, it lags, and replies don't wait for it.
const WAITED_RECORDS_MAX: usize = 4_096;
/// A record that a group has not had for so long: no further reply waits for it meanwhile.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// A reply's wait. Ready when every listener has had the event, failed over it, or gone.
#[derive(Debug, Default)]
pub struct SyncWait(Vec<oneshot::Receiver<()>>);

impl SyncWait {
    pub(super) fn add(&mut self, had: oneshot::Receiver<()>) {
        self.0.push(had);
    }

    /// Whether there is nobody to wait for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits, at most so long. False when it was not long enough.
    pub async fn wait(self, at_most: Duration) -> bool {
        let all = async {
            for had in self.0 {
                // A listener that went away is not waited for.
                drop(had.await);
            }
        };
        tokio::time::timeout(at_most, all).await.is_ok()
    }
}

/// Who waits for which record of a group of mode `sync`.
#[derive(Debug, Default)]
pub(super) struct SyncWaits {
    /// The group runs and keeps up.
    open: AtomicBool,
    waiting: Mutex<BTreeMap<u64, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    replies: Vec<oneshot::Sender<()>>,
}

impl SyncWaits {
    /// Waits for a record; `None` when the group lags, is stopped, or has kept another reply waiting for too long: a listener
    /// that blocks its thread can't say that it does.
    pub(super) fn wait_for(&self, number: u64) -> Option<oneshot::Receiver<()>> {
        let mut waiting = self.waiting.lock();
        let oldest = waiting
            .first_key_value()
            .map(|(_, oldest)| oldest.since.elapsed());
        let is_stuck = oldest.is_some_and(|waited| waited > STUCK_AFTER);
        if is_stuck || !self.open.load(Ordering::Acquire) || waiting.len() >= WAITED_RECORDS_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let record = waiting.entry(number).or_insert_with(|| Waiting {
            since: Instant::now(),
            replies: Vec::new(),
        });
        record.replies.push(sender);
        Some(receiver)
    }

    /// The group has had this record.
    pub(super) fn had(&self, number: u64) {
        let waiting = self.waiting.lock().remove(&number);
        waiting
            .into_iter()
            .flat_map(|waiting| waiting.replies)
            .for_each(tell);
    }

    /// The group goes on, or it does not: then nobody waits any longer.
    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
        if !open {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            waiting
                .into_values()
                .flat_map(|waiting| waiting.replies)
                .for_each(tell);
        }
    }
}

fn tell(waiting: oneshot::Sender<()>) {
    // Whoever no longer waits needs no word.
    waiting.send(()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reply_waits_for_its_record_and_for_no_group_that_is_stopped() {
        let waits = SyncWaits::default();
        assert!(waits.wait_for(1).is_none(), "not open yet");
        waits.set_open(true);
        let wait = |number| {
            let mut wait = SyncWait::default();
            wait.add(waits.wait_for(number).unwrap());
            wait
        };
        let (first, second, third) = (wait(1), wait(2), wait(3));
        waits.had(1);
        assert!(first.wait(Duration::from_secs(1)).await);
        assert!(!second.wait(Duration::from_secs(1)).await);
        waits.set_open(false);
        assert!(third.wait(Duration::from_secs(1)).await);
        assert!(waits.wait_for(4).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_listener_that_is_stuck_holds_up_few_replies() {
        let waits = SyncWaits::default();
        waits.set_open(true);
        let _held = waits.wait_for(1).unwrap();
        assert!(waits.wait_for(2).is_some());
        tokio::time::sleep(STUCK_AFTER * 2).await;
        assert!(waits.wait_for(3).is_none());
        waits.had(1);
        waits.had(2);
        assert!(waits.wait_for(4).is_some());
    }
}
