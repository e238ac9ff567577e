//! Listeners of the simulation, and what they saw, which outlives every node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mailhorn_events::{EventId, Happened, Happening, MailboxId, MessageId, QuotaLimits, Stamp};
use mailhorn_ports::memory::SeededRandom;
use mailhorn_ports::{Handled, Key, Listener, ListenerOptions, MailStore, QuotaDefaults};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::gate::Gate;

/// What listeners of one group saw, wherever they ran.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Events that were done, in the order in which each was done first.
    pub(crate) done: Vec<Happened>,
    pub(crate) known: BTreeSet<EventId>,
    /// How often each event failed that did: they may come out of order.
    pub(crate) failed: BTreeMap<EventId, u32>,
}

/// A call that has not been answered yet. One that was given up because it took too long, on a node that was held up, has
/// failed as well; one that went with its node has not.
struct Unanswered<'a> {
    seen: &'a Mutex<Seen>,
    event: EventId,
    begun: Instant,
    is_answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_answered && self.begun.elapsed() >= ListenerOptions::default().execution_timeout {
            *self.seen.lock().failed.entry(self.event).or_default() += 1;
        }
    }
}

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) random: Arc<SeededRandom>,
    pub(crate) bad: u64,
    pub(crate) panics: u64,
    /// Calls one event in so many bad for good; 0: none.
    pub(crate) dies: u64,
    pub(crate) is_away: Arc<AtomicBool>,
    pub(crate) gate: Gate,
}

impl Member {
    fn is_doomed(id: EventId, dies: u64) -> bool {
        let [.., octet] = *id.as_bytes();
        dies > 0 && u64::from(octet) % dies == 0
    }
}

#[async_trait]
impl Listener for Member {
    async fn handle(&self, happened: &Happened) -> Handled {
        if self.is_away.load(Ordering::SeqCst) {
            return Handled::NotNow("its back end is away".into());
        }
        let mut unanswered = Unanswered {
            seen: &self.seen,
            event: happened.id(),
            begun: Instant::now(),
            is_answered: false,
        };
        let fails = |chance: u64| chance > 0 && self.random.below(1_000) < chance;
        let slow = self.random.below(4);
        if slow > 0 {
            tokio::time::sleep(Duration::from_millis(slow)).await;
        }
        let passed = self.gate.pass().await;
        unanswered.is_answered = true;
        if let Err(gone) = passed {
            return Handled::NotNow(gone.to_string());
        }
        let is_bad = fails(self.bad) || Self::is_doomed(happened.id(), self.dies);
        let panics = fails(self.panics);
        let mut seen = self.seen.lock();
        if is_bad || panics {
            *seen.failed.entry(happened.id()).or_default() += 1;
        }
        if panics {
            drop(seen);
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        if is_bad {
            return Handled::Bad("on purpose".into());
        }
        if seen.known.insert(happened.id()) {
            seen.done.push(happened.clone());
        }
        Handled::Done
    }
}

/// What somebody who watches a mailbox believes to be in it.
#[derive(Debug, Default)]
struct Belief {
    rows: BTreeMap<MessageId, Stamp>,
    gone: BTreeMap<MessageId, Stamp>,
}

/// A session that stays: it registers for a mailbox, reads it, and then only listens.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) mailbox: MailboxId,
    store: Arc<dyn MailStore>,
    belief: Mutex<Belief>,
}

impl Watcher {
    pub(crate) fn new(mailbox: MailboxId, store: Arc<dyn MailStore>) -> Self {
        Self {
            mailbox,
            store,
            belief: Mutex::default(),
        }
    }

    /// Reads the mailbox. To be called after it was registered for.
    pub(crate) async fn read(&self) {
        loop {
            match self.store.list(self.mailbox, None, usize::MAX).await {
                Ok(rows) => {
                    let mut belief = self.belief.lock();
                    belief.rows = rows.iter().map(|row| (row.message, row.stamp)).collect();
                    return;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub(crate) fn believes(&self) -> Vec<MessageId> {
        self.belief.lock().rows.keys().copied().collect()
    }
}

#[async_trait]
impl Listener for Watcher {
    async fn handle(&self, happened: &Happened) -> Handled {
        let stamp = happened.stamp();
        let mut belief = self.belief.lock();
        match &happened.event().happening {
            Happening::Added { messages, .. } => {
                for added in messages {
                    let is_gone = belief.gone.get(&added.message).is_some_and(|gone| *gone >= stamp);
                    if !is_gone {
                        belief.rows.insert(added.message, stamp);
                    }
                }
            }
            Happening::Expunged { messages, .. } => {
                for expunged in messages {
                    belief.rows.remove(&expunged.message);
                    belief.gone.insert(expunged.message, stamp);
                }
            }
            _ => {}
        }
        Handled::Done
    }

    async fn missed(&self, _: Key) {
        self.read().await;
    }
}

/// What every user, and the domain, may hold.
pub(crate) const DEFAULTS: QuotaDefaults = QuotaDefaults {
    user: limit(20),
    domain: limit(60),
};
/// Thresholds of quotas, in percent.
pub(crate) const PERCENTS: [u8; 3] = [25, 50, 100];

const fn limit(messages: u64) -> QuotaLimits {
    QuotaLimits {
        messages: Some(messages),
        octets: None,
    }
}
