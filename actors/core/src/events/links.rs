//! The numbers on the fast path, which show what it lost. Plain.
//!
//! Each pair of origin and receiver counts its records. A receiver that sees a number jump, a heartbeat that is ahead, or
//! none for too long, has missed something, or may have: it reads the view again.

use std::collections::BTreeMap;
use std::time::Duration;

use mailhorn_events::Generation;
use tokio::time::Instant;

/// How often every link says its last number.
pub const LINK_BEAT_PAUSE: Duration = Duration::from_secs(1);
/// Silence of a member after which something may have been missed.
pub const LINK_SILENCE_MAX: Duration = Duration::from_secs(3);

/// What went out, by receiver.
///
/// A link begins one above every number so far and not at nothing: a receiver may have missed what happened before it was
/// known here, and may have been known, and forgotten, before. It sees the gap and reads.
#[derive(Debug, Default)]
pub(super) struct LinksOut {
    last: BTreeMap<Generation, u64>,
    highest: u64,
}

impl LinksOut {
    /// The number of the next record to a receiver.
    pub(super) fn next(&mut self, receiver: Generation) -> u64 {
        let next = self.last(receiver).saturating_add(1);
        self.last.insert(receiver, next);
        self.highest = self.highest.max(next);
        next
    }

    /// The number of the last record to a receiver.
    pub(super) fn last(&mut self, receiver: Generation) -> u64 {
        let begin = self.highest.saturating_add(1);
        let last = *self.last.entry(receiver).or_insert(begin);
        self.highest = self.highest.max(last);
        last
    }

    /// A record could not be sent to anybody: everybody is to find out.
    pub(super) fn skip_all(&mut self, receivers: impl Iterator<Item = Generation>) {
        for receiver in receivers {
            self.next(receiver);
        }
    }

    /// Only these are left.
    pub(super) fn keep(&mut self, alive: &[Generation]) {
        self.last.retain(|receiver, _| alive.contains(receiver));
    }
}

/// What a frame is to its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrived {
    /// As it should be.
    InOrder,
    /// Something before it is missing.
    AfterGap,
    /// It was here before, or what came after it was, and then it was made up for.
    Late,
}

#[derive(Debug)]
struct LinkIn {
    last: u64,
    heard: Instant,
    /// Its silence was noticed.
    is_silent: bool,
}

/// What came in, by origin.
#[derive(Debug, Default)]
pub(super) struct LinksIn(BTreeMap<Generation, LinkIn>);

impl LinksIn {
    /// A record came in.
    pub(super) fn record(&mut self, origin: Generation, number: u64, now: Instant) -> Arrived {
        self.heard(origin, number, number.saturating_sub(1), now)
    }

    /// A heartbeat came in.
    pub(super) fn heartbeat(&mut self, origin: Generation, number: u64, now: Instant) -> Arrived {
        match self.heard(origin, number, number, now) {
            // Beats that overtook each other say nothing.
            Arrived::Late => Arrived::InOrder,
            arrived => arrived,
        }
    }

    /// `before`: the number that must have been here.
    fn heard(&mut self, origin: Generation, number: u64, before: u64, now: Instant) -> Arrived {
        let Some(link) = self.0.get_mut(&origin) else {
            // What it sent before it was heard of is not known to be nothing, unless it says so.
            let link = LinkIn {
                last: number,
                heard: now,
                is_silent: false,
            };
            self.0.insert(origin, link);
            return if before == 0 {
                Arrived::InOrder
            } else {
                Arrived::AfterGap
            };
        };
        (link.heard, link.is_silent) = (now, false);
        if number <= link.last && before < link.last {
            return Arrived::Late;
        }
        let arrived = if before > link.last {
            Arrived::AfterGap
        } else {
            Arrived::InOrder
        };
        link.last = number.max(link.last);
        arrived
    }

    /// These are the members. Those that are new are waited for from now on, those that are gone no longer.
    pub(super) fn members(&mut self, alive: &[Generation], now: Instant) {
        self.0.retain(|origin, _| alive.contains(origin));
        for origin in alive {
            self.0.entry(*origin).or_insert(LinkIn {
                last: 0,
                heard: now,
                is_silent: false,
            });
        }
    }

    /// Whether a member has been silent for too long, of which that was not said yet.
    pub(super) fn fell_silent(&mut self, now: Instant) -> bool {
        let mut any = false;
        for link in self.0.values_mut() {
            if !link.is_silent && now.duration_since(link.heard) > LINK_SILENCE_MAX {
                link.is_silent = true;
                any = true;
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn node(n: u128) -> Generation {
        Generation(Uuid::from_u128(n))
    }

    #[test]
    fn numbers_count_for_each_receiver_and_are_never_used_again() {
        let mut out = LinksOut::default();
        assert_eq!((out.next(node(1)), out.next(node(1))), (2, 3));
        assert_eq!((out.last(node(2)), out.next(node(2))), (4, 5));
        out.skip_all([node(1), node(2)].into_iter());
        assert_eq!((out.last(node(1)), out.last(node(2))), (4, 6));
        out.keep(&[node(2)]);
        assert_eq!(out.last(node(1)), 7, "above all that it had before");
    }

    #[test]
    fn a_receiver_that_was_not_known_finds_out() {
        let (mut out, mut links, now) = (LinksOut::default(), LinksIn::default(), Instant::now());
        links.members(&[node(1)], now);
        let beat = out.last(node(2));
        assert_eq!(links.heartbeat(node(1), beat, now), Arrived::AfterGap);
        assert_eq!(links.record(node(1), out.next(node(2)), now), Arrived::InOrder);
    }

    #[test]
    fn a_jump_a_beat_ahead_and_a_late_start_are_gaps() {
        let (mut links, now) = (LinksIn::default(), Instant::now());
        links.members(&[node(1)], now);
        assert_eq!(links.record(node(1), 1, now), Arrived::InOrder);
        assert_eq!(links.heartbeat(node(1), 1, now), Arrived::InOrder);
        assert_eq!(links.record(node(1), 3, now), Arrived::AfterGap);
        assert_eq!(links.record(node(1), 2, now), Arrived::Late);
        assert_eq!(links.record(node(1), 3, now), Arrived::Late, "doubled");
        assert_eq!(links.heartbeat(node(1), 4, now), Arrived::AfterGap);
        assert_eq!(links.heartbeat(node(1), 2, now), Arrived::InOrder);
        assert_eq!(links.record(node(1), 5, now), Arrived::InOrder);
        assert_eq!(links.heartbeat(node(2), 0, now), Arrived::InOrder);
        assert_eq!(links.record(node(3), 7, now), Arrived::AfterGap);
    }

    #[test]
    fn silence_is_noticed_once() {
        let (mut links, now) = (LinksIn::default(), Instant::now());
        links.members(&[node(1), node(2)], now);
        let later = now + LINK_SILENCE_MAX + Duration::from_millis(1);
        links.heartbeat(node(1), 0, later);
        assert!(links.fell_silent(later));
        assert!(!links.fell_silent(later));
        links.heartbeat(node(2), 0, later);
        assert!(links.fell_silent(later + LINK_SILENCE_MAX + Duration::from_millis(1)));
    }
}
