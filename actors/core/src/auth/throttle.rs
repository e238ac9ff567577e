//! How failing log-ins are slowed and limited: counts, decided with the time handed in.
//!
//! An attempt is counted for its pair when it begins and taken back when it succeeds, so a hundred guesses at once
//! are a hundred guesses. For its address it is counted when it has failed, since a hundred users behind one
//! address may well come at once. Success forgets the pair's failures and not the address's: an account of one's
//! own buys no guesses at others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use super::options::FailureLimits;

/// How long the answer to a failure is held back: to the first not at all, to the sixth and all later ones for the
/// last of these.
const DELAYS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    DELAY_MAX,
];

/// The longest delay. Clients give up on an answer after thirty seconds and more.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(15);

/// How many entries that have had their time are removed at each call: more than a call adds, and no more than a
/// caller should wait for.
const EXPIRED_PER_CALL: usize = 16;

/// Where log-ins come from: an IPv4 address or the first 64 bits of an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Source(IpAddr);

impl Source {
    /// Of an address in canonical form ([`IpAddr::to_canonical`]).
    fn of(peer: IpAddr) -> Self {
        match peer {
            IpAddr::V4(_) => Self(peer),
            IpAddr::V6(address) => {
                let network = address.to_bits() & (u128::MAX << 64);
                Self(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
        }
    }
}

type Pair = (Source, Arc<str>);

/// An attempt to log in that has begun. Each is ended once: [`Throttle::failed`], [`Throttle::succeeded`] or
/// [`Throttle::void`].
#[derive(Debug)]
pub(super) struct Attempt {
    /// `None` when it comes from a trusted network.
    pair: Option<Pair>,
}

/// Too many failures: the attempt is not even begun.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LimitReached;

/// The failures of late.
#[derive(Debug)]
pub(super) struct Throttle {
    limits: FailureLimits,
    trusted: Vec<IpNet>,
    addresses: Counts<Source>,
    pairs: Counts<Pair>,
}

impl Throttle {
    pub(super) fn new(limits: FailureLimits, trusted: Vec<IpNet>) -> Self {
        Self {
            limits,
            trusted,
            addresses: Counts::new(&limits),
            pairs: Counts::new(&limits),
        }
    }

    /// An attempt of `peer` to log in as `name`, or that it has had too many.
    pub(super) fn begin(&mut self, now: Instant, peer: IpAddr, name: &str) -> Result<Attempt, LimitReached> {
        let peer = peer.to_canonical();
        if self.trusted.iter().any(|network| network.contains(&peer)) {
            return Ok(Attempt { pair: None });
        }
        let source = Source::of(peer);
        let pair: Pair = (source, name.into());
        if self.addresses.count(now, &source) >= self.limits.of_address_max
            || self.pairs.count(now, &pair) >= self.limits.of_pair_max
        {
            return Err(LimitReached);
        }
        self.pairs.add(now, &pair);
        Ok(Attempt { pair: Some(pair) })
    }

    /// The attempt has failed; its answer is to be held back for so long.
    pub(super) fn failed(&mut self, now: Instant, attempt: Attempt) -> Duration {
        let Some(pair) = attempt.pair else {
            return Duration::ZERO;
        };
        let of_address = self.addresses.add(now, &pair.0);
        let of_pair = self.pairs.count(now, &pair);
        delay(of_address.max(of_pair))
    }

    /// The attempt has succeeded: the pair's failures are forgotten.
    pub(super) fn succeeded(&mut self, attempt: Attempt) {
        if let Some(pair) = attempt.pair {
            self.pairs.forget(&pair);
        }
    }

    /// Nothing was found out: the attempt is as if it had not been.
    pub(super) fn void(&mut self, attempt: Attempt) {
        if let Some(pair) = attempt.pair {
            self.pairs.take_back(&pair);
        }
    }

    /// How many addresses and pairs were forgotten before their time because the tables were full.
    pub(super) fn forgotten_early(&self) -> u64 {
        self.addresses.forgotten_early + self.pairs.forgotten_early
    }
}

/// The delay of the answer to the nth failure.
fn delay(failures: u32) -> Duration {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    DELAYS.get(index).copied().unwrap_or(DELAY_MAX)
}

/// Failures by key, each key's for a time from its first one.
#[derive(Debug)]
struct Counts<K> {
    counted_for: Duration,
    entries_max: usize,
    entries: BTreeMap<K, Count>,
    /// The keys of `entries`, the one that began first in front.
    by_age: BTreeSet<(Instant, K)>,
    forgotten_early: u64,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    began: Instant,
    failures: u32,
}

impl<K: Ord + Clone> Counts<K> {
    fn new(limits: &FailureLimits) -> Self {
        Self {
            counted_for: limits.counted_for,
            entries_max: limits.entries_max.get(),
            entries: BTreeMap::new(),
            by_age: BTreeSet::new(),
            forgotten_early: 0,
        }
    }

    fn is_over(&self, now: Instant, began: Instant) -> bool {
        now.saturating_duration_since(began) >= self.counted_for
    }

    fn count(&self, now: Instant, key: &K) -> u32 {
        match self.entries.get(key) {
            Some(count) if !self.is_over(now, count.began) => count.failures,
            _ => 0,
        }
    }

    /// Counts one more and says how many there are.
    fn add(&mut self, now: Instant, key: &K) -> u32 {
        self.remove_expired(now);
        if self.count(now, key) == 0 {
            self.forget(key);
        }
        if let Some(count) = self.entries.get_mut(key) {
            count.failures = count.failures.saturating_add(1);
            return count.failures;
        }
        if self.entries.len() >= self.entries_max
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.entries.remove(&oldest);
            self.forgotten_early += 1;
        }
        self.entries.insert(
            key.clone(),
            Count {
                began: now,
                failures: 1,
            },
        );
        self.by_age.insert((now, key.clone()));
        1
    }

    fn take_back(&mut self, key: &K) {
        if let Some(count) = self.entries.get_mut(key) {
            count.failures = count.failures.saturating_sub(1);
            if count.failures == 0 {
                self.forget(key);
            }
        }
    }

    fn forget(&mut self, key: &K) {
        if let Some(count) = self.entries.remove(key) {
            self.by_age.remove(&(count.began, key.clone()));
        }
    }

    fn remove_expired(&mut self, now: Instant) {
        for _ in 0..EXPIRED_PER_CALL {
            match self.by_age.first() {
                Some((began, _)) if self.is_over(now, *began) => {
                    if let Some((_, key)) = self.by_age.pop_first() {
                        self.entries.remove(&key);
                    }
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
