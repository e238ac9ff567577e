//! Time, randomness and names, handed in so that a test can decide them.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use mailhorn_events::{AccountId, EventId, Generation, MessageId, Stamp};
use parking_lot::Mutex;
use uuid::Builder;

/// The wall clock.
pub trait Clock: Debug + Send + Sync {
    /// Microseconds since the Unix epoch. May jump either way: [`Ids`] makes it monotonic.
    fn now_micros(&self) -> u64;
}

/// Time as it passes in the world: it only goes forward, nobody sets it, and it goes on while the machine sleeps.
pub trait Uptime: Debug + Send + Sync {
    /// Since a moment that is the same for as long as the process lives.
    fn now(&self) -> Duration;
}

/// A source of random octets fit for secrets.
pub trait Random: Debug + Send + Sync {
    /// Fills `octets`.
    fn fill(&self, octets: &mut [u8]);
}

/// Makes stamps and names. One for a process; clones share its clock, so stamps never repeat within the process.
#[derive(Debug, Clone)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    last: Arc<Mutex<Stamp>>,
}

impl Ids {
    /// Ids by `clock` and `random`, every stamp above `seen` (the highest one that the store knows).
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>, seen: Stamp) -> Self {
        Self {
            clock,
            random,
            last: Arc::new(Mutex::new(seen)),
        }
    }

    /// A stamp above all given before, all [`Ids::saw`] and not below the wall clock.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let now = Stamp(self.clock.now_micros());
        let mut last = self.last.lock();
        *last = now.max(last.next());
        *last
    }

    /// Makes every later stamp come after `stamp`.
    pub fn saw(&self, stamp: Stamp) {
        let mut last = self.last.lock();
        *last = stamp.max(*last);
    }

    /// The wall clock, for what is compared with time and not ordered by it (ages, windows).
    #[must_use]
    pub fn now(&self) -> Stamp {
        Stamp(self.clock.now_micros())
    }

    /// A new message id; its stamp is the message's.
    #[must_use]
    pub fn message(&self) -> MessageId {
        MessageId::new(self.stamp(), self.random_octets())
    }

    /// A new event id.
    #[must_use]
    pub fn event(&self) -> EventId {
        EventId(Builder::from_random_bytes(self.random_octets()).into_uuid())
    }

    /// A new account id.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId(Builder::from_random_bytes(self.random_octets()).into_uuid())
    }

    /// The name of this life of the process.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation(MessageId::new(self.stamp(), self.random_octets()).0)
    }

    /// Random octets fit for secrets: salts, nonces, tokens.
    #[must_use]
    pub fn random_octets<const N: usize>(&self) -> [u8; N] {
        let mut octets = [0; N];
        self.random.fill(&mut octets);
        octets
    }
}
