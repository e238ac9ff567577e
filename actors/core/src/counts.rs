//! Counts of what happened of late, by key, each key's for a time from its first one; decided with the time handed in, and
//! bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

/// How many entries that have had their time are removed at each call: more than a call adds, and no more than a
/// caller should wait for.
const EXPIRED_PER_CALL: usize = 16;

/// Counts by key.
#[derive(Debug)]
pub(crate) struct Counts<K> {
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
    number: u32,
}

impl<K: Ord + Clone> Counts<K> {
    /// Nothing was counted. Each count is `counted_for` so long from its first on; past `entries_max` keys those that began
    /// first are forgotten.
    pub(crate) fn new(counted_for: Duration, entries_max: NonZeroUsize) -> Self {
        Self {
            counted_for,
            entries_max: entries_max.get(),
            entries: BTreeMap::new(),
            by_age: BTreeSet::new(),
            forgotten_early: 0,
        }
    }

    fn is_over(&self, now: Instant, began: Instant) -> bool {
        now.saturating_duration_since(began) >= self.counted_for
    }

    /// How many there are.
    pub(crate) fn count(&self, now: Instant, key: &K) -> u32 {
        match self.entries.get(key) {
            Some(count) if !self.is_over(now, count.began) => count.number,
            _ => 0,
        }
    }

    /// Counts one more and says how many there are.
    pub(crate) fn add(&mut self, now: Instant, key: &K) -> u32 {
        self.remove_expired(now);
        if self.count(now, key) == 0 {
            self.forget(key);
        }
        if let Some(count) = self.entries.get_mut(key) {
            count.number = count.number.saturating_add(1);
            return count.number;
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
                number: 1,
            },
        );
        self.by_age.insert((now, key.clone()));
        1
    }

    /// Counts one less.
    pub(crate) fn take_back(&mut self, key: &K) {
        if let Some(count) = self.entries.get_mut(key) {
            count.number = count.number.saturating_sub(1);
            if count.number == 0 {
                self.forget(key);
            }
        }
    }

    /// Counts anew.
    pub(crate) fn forget(&mut self, key: &K) {
        if let Some(count) = self.entries.remove(key) {
            self.by_age.remove(&(count.began, key.clone()));
        }
    }

    /// How many keys were forgotten before their time because the table was full.
    pub(crate) fn forgotten_early(&self) -> u64 {
        self.forgotten_early
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

    /// How many keys are counted.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        self.entries.len()
    }

    /// Whether age and count speak of the same keys.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let by_age = self.entries.iter().map(|(key, count)| (count.began, key.clone()));
        assert!(by_age.collect::<BTreeSet<_>>() == self.by_age);
    }
}
