//! Every kind of actor can be looked at: how many live, what waits for them, how long they handle, how they ended.
//!
//! A kind is a handful of atomic counters that its actors share, so that looking costs an actor nothing and a stuck
//! actor can't hang the one who looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// The counters of one kind of actor.
#[derive(Debug)]
pub struct Kind {
    name: &'static str,
    alive: AtomicU64,
    started: AtomicU64,
    panicked: AtomicU64,
    restarted: AtomicU64,
    queued: AtomicU64,
    handled: AtomicU64,
    handling_micros: AtomicU64,
    /// Numbers the actors of all kinds of a node.
    numbers: Arc<AtomicU64>,
}

/// What a [`Kind`] looked like at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KindSnapshot {
    /// The kind's name.
    pub kind: &'static str,
    /// Actors alive.
    pub alive: u64,
    /// Actors ever started.
    pub started: u64,
    /// Actors that ended in a panic.
    pub panicked: u64,
    /// Restarts by the supervisor.
    pub restarted: u64,
    /// Messages taken and not yet handled.
    pub queued: u64,
    /// Messages or commands handled.
    pub handled: u64,
    /// Time spent in handling them, in microseconds.
    pub handling_micros: u64,
}

impl Kind {
    fn new(name: &'static str, numbers: &Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            name,
            alive: AtomicU64::new(0),
            started: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            restarted: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            handling_micros: AtomicU64::new(0),
            numbers: Arc::clone(numbers),
        })
    }

    /// An actor of this kind lives for as long as the guard does.
    #[must_use]
    pub fn born(self: &Arc<Self>) -> Alive {
        self.alive.fetch_add(1, Relaxed);
        self.started.fetch_add(1, Relaxed);
        let before = self.numbers.fetch_add(1, Relaxed);
        Alive {
            kind: Arc::clone(self),
            number: before.saturating_add(1),
        }
    }

    /// The supervisor has started another in the place of one that ended.
    pub fn restarted(&self) {
        self.restarted.fetch_add(1, Relaxed);
    }

    /// A message was put into a queue.
    pub fn queued(&self) {
        self.queued.fetch_add(1, Relaxed);
    }

    /// `count` messages were taken from the queue.
    pub fn taken(&self, count: u64) {
        self.queued.fetch_sub(count, Relaxed);
    }

    /// `count` messages or commands were handled since `begun`.
    pub fn handled(&self, count: u64, begun: Instant) {
        self.handled.fetch_add(count, Relaxed);
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.handling_micros.fetch_add(micros, Relaxed);
    }

    /// How many are alive.
    #[must_use]
    pub fn alive(&self) -> u64 {
        self.alive.load(Relaxed)
    }

    /// What it looks like now.
    #[must_use]
    pub fn snapshot(&self) -> KindSnapshot {
        KindSnapshot {
            kind: self.name,
            alive: self.alive.load(Relaxed),
            started: self.started.load(Relaxed),
            panicked: self.panicked.load(Relaxed),
            restarted: self.restarted.load(Relaxed),
            queued: self.queued.load(Relaxed),
            handled: self.handled.load(Relaxed),
            handling_micros: self.handling_micros.load(Relaxed),
        }
    }
}

/// An actor's entry among the living.
#[derive(Debug)]
pub struct Alive {
    kind: Arc<Kind>,
    number: u64,
}

impl Alive {
    /// The actor's number among all that the node has had, counted from 1: a session's name in the log.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.kind.alive.fetch_sub(1, Relaxed);
        // `stopped()` runs during a panic too, so the thread is asked and not the actor.
        if std::thread::panicking() {
            self.kind.panicked.fetch_add(1, Relaxed);
        }
    }
}

/// All kinds of actor of a node.
#[derive(Debug)]
pub struct Kinds {
    /// POP3 sessions.
    pub pop3: Arc<Kind>,
    /// SMTP sessions.
    pub smtp: Arc<Kind>,
    /// LMTP sessions.
    pub lmtp: Arc<Kind>,
    /// Mailboxes.
    pub mailbox: Arc<Kind>,
    /// The log.
    pub log: Arc<Kind>,
    /// Network listeners.
    pub acceptor: Arc<Kind>,
    /// Listeners of events, in groups.
    pub group: Arc<Kind>,
    /// Listeners of events, registered for a mailbox or a user.
    pub key_listener: Arc<Kind>,
    /// What goes to other nodes and comes from them.
    pub exchange: Arc<Kind>,
    /// What renews maildrop locks between nodes.
    pub lock_keeper: Arc<Kind>,
    /// What writes bans down and reads those of other nodes.
    pub ban_keeper: Arc<Kind>,
    /// What says that this process lives, and sees who else does.
    pub membership: Arc<Kind>,
    /// The supervisor.
    pub supervisor: Arc<Kind>,
}

impl Default for Kinds {
    fn default() -> Self {
        let numbers = Arc::default();
        Self {
            pop3: Kind::new("pop3_session", &numbers),
            smtp: Kind::new("smtp_session", &numbers),
            lmtp: Kind::new("lmtp_session", &numbers),
            mailbox: Kind::new("mailbox", &numbers),
            log: Kind::new("log", &numbers),
            acceptor: Kind::new("acceptor", &numbers),
            group: Kind::new("group", &numbers),
            key_listener: Kind::new("key_listener", &numbers),
            exchange: Kind::new("exchange", &numbers),
            lock_keeper: Kind::new("lock_keeper", &numbers),
            ban_keeper: Kind::new("ban_keeper", &numbers),
            membership: Kind::new("membership", &numbers),
            supervisor: Kind::new("supervisor", &numbers),
        }
    }
}

impl Kinds {
    /// Each kind.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        [
            &self.supervisor,
            &self.log,
            &self.acceptor,
            &self.mailbox,
            &self.group,
            &self.key_listener,
            &self.exchange,
            &self.lock_keeper,
            &self.ban_keeper,
            &self.membership,
            &self.pop3,
            &self.smtp,
            &self.lmtp,
        ]
        .into_iter()
    }

    /// All of them now.
    #[must_use]
    pub fn snapshot(&self) -> Vec<KindSnapshot> {
        self.iter().map(|kind| kind.snapshot()).collect()
    }
}

/// The buckets, in seconds, of every histogram of durations: from a cached read to a disk in trouble.
pub const DURATION_BUCKETS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Seconds as a histogram takes them.
#[must_use]
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_that_panics_is_counted_as_dead_and_as_panicked() {
        let kind = Kind::new("test", &Arc::default());
        let quiet = kind.born();
        let inner = Arc::clone(&kind);
        let ended = std::thread::spawn(move || {
            let _alive = inner.born();
            std::panic::resume_unwind(Box::new("on purpose"));
        })
        .join();
        assert!(ended.is_err());
        let now = kind.snapshot();
        assert_eq!((now.alive, now.started, now.panicked), (1, 2, 1));
        drop(quiet);
        assert_eq!(kind.alive(), 0);
    }
}
