//! Whether a group goes on or waits, and when what it parked is tried again. Plain.

use std::collections::BTreeMap;
use std::time::Duration;

use mailhorn_events::{EventId, Happened};
use mailhorn_ports::{Letter, ListenerOptions};
use tokio::time::Instant;

/// Parked events with which a group goes on. With more of them it is rather its back end that is at fault than the events.
pub const PARKED_MAX: usize = 100;
/// The longest pause of a group that waits for its back end.
pub const STOPPED_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Whether a group goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does.
    Running,
    /// It waits, then tries with one event.
    Stopped {
        until: Instant,
        pause: Duration,
        why: String,
    },
    /// One event is tried.
    Probing { pause: Duration, why: String },
}

impl Standing {
    /// A call ended in *not now*, or too much is parked.
    pub(super) fn stop(&mut self, now: Instant, first_pause: Duration, why: String) {
        let pause = match self {
            Self::Running => first_pause,
            // Calls that were under way when the first one failed say nothing new.
            Self::Stopped { .. } => return,
            Self::Probing { pause, .. } => pause.saturating_mul(2),
        };
        let pause = pause.clamp(Duration::from_millis(1), STOPPED_PAUSE_MAX);
        let until = now + pause;
        *self = Self::Stopped { until, pause, why };
    }

    /// How many events may be given out now: none, one as a probe, or as many as there are.
    pub(super) fn allows(&mut self, now: Instant, running: usize) -> usize {
        match self {
            Self::Running => usize::MAX,
            Self::Stopped { until, pause, why } if *until <= now && running == 0 => {
                *self = Self::Probing {
                    pause: *pause,
                    why: std::mem::take(why),
                };
                1
            }
            Self::Probing { .. } if running == 0 => 1,
            Self::Stopped { .. } | Self::Probing { .. } => 0,
        }
    }

    /// An event was handled. Whether the group was stopped and goes on now.
    pub(super) fn succeeded(&mut self) -> bool {
        let probed = matches!(self, Self::Probing { .. });
        if probed {
            *self = Self::Running;
        }
        probed
    }

    /// When to look again.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Stopped { until, .. } => Some(*until),
            Self::Running | Self::Probing { .. } => None,
        }
    }

    /// Why it is stopped.
    pub(super) fn why(&self) -> Option<&str> {
        match self {
            Self::Running => None,
            Self::Stopped { why, .. } | Self::Probing { why, .. } => Some(why),
        }
    }
}

/// An event that was bad, between two tries.
#[derive(Debug, Clone)]
pub(super) struct Parked {
    pub(super) letter: Letter,
    pub(super) happened: Happened,
    due: Instant,
    /// It is being tried.
    running: bool,
}

/// Events that were bad and are tried again.
#[derive(Debug, Default)]
pub(super) struct ParkingLot(BTreeMap<EventId, Parked>);

impl ParkingLot {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are more than a group goes on with.
    pub(super) fn is_crowded(&self) -> bool {
        self.0.len() > PARKED_MAX
    }

    /// Takes an event in, or back after another try.
    pub(super) fn park(&mut self, letter: Letter, happened: Happened, due: Instant) {
        let parked = Parked {
            letter,
            happened,
            due,
            running: false,
        };
        self.0.insert(parked.letter.id, parked);
    }

    /// It was tried in vain, and the try does not count.
    pub(super) fn put_back(&mut self, id: EventId, due: Instant) {
        if let Some(parked) = self.0.get_mut(&id) {
            (parked.running, parked.due) = (false, due);
        }
    }

    /// It is done, or dead.
    pub(super) fn remove(&mut self, id: EventId) {
        self.0.remove(&id);
    }

    /// Events whose time has come, the longest due first.
    pub(super) fn due(&self, now: Instant) -> Vec<EventId> {
        let mut due: Vec<(Instant, EventId)> = self
            .0
            .iter()
            .filter(|(_, parked)| !parked.running && parked.due <= now)
            .map(|(id, parked)| (parked.due, *id))
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn get(&self, id: EventId) -> Option<&Parked> {
        self.0.get(&id)
    }

    /// It is being tried.
    pub(super) fn tried(&mut self, id: EventId) {
        if let Some(parked) = self.0.get_mut(&id) {
            parked.running = true;
        }
    }

    /// When the next one is due after `now`.
    pub(super) fn next_due_after(&self, now: Instant) -> Option<Instant> {
        let waiting = self.0.values().filter(|parked| !parked.running);
        waiting.map(|parked| parked.due).filter(|due| *due > now).min()
    }
}

/// The pause before try number `attempts` + 1: drawn between nothing and what doubles with each try ("full jitter"), so
/// that what failed together is not tried together again. `random` is of the whole range.
pub(super) fn retry_pause(options: &ListenerOptions, attempts: u32, random: u64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(20);
    let longest = options.retry_pause.saturating_mul(2u32.saturating_pow(doublings));
    let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random.checked_rem(micros.saturating_add(1)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);

    #[test]
    fn pauses_double_up_to_the_longest_and_a_success_ends_them() {
        let mut standing = Standing::Running;
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            standing.stop(now, FIRST, "away".into());
            standing.stop(now, FIRST, "one that was under way".into());
            let due = standing.due().unwrap();
            assert_eq!(standing.allows(now, 0), 0);
            pauses.push(due - now);
            now = due;
            assert_eq!(standing.allows(now, 1), 0, "what is under way comes first");
            assert_eq!(standing.allows(now, 0), 1);
        }
        assert_eq!(pauses[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(pauses[7], STOPPED_PAUSE_MAX);
        assert_eq!(standing.why(), Some("away"));
        assert!(standing.succeeded());
        assert_eq!(standing.allows(now, 9), usize::MAX);
        assert!(!standing.succeeded());
    }

    #[test]
    fn the_pause_before_a_retry_is_drawn_from_a_range_that_doubles() {
        let options = ListenerOptions::default();
        for (attempts, longest_ms) in [(1, 100), (2, 200), (3, 400), (8, 12_800)] {
            let longest = Duration::from_millis(longest_ms);
            let random = u64::try_from(longest.as_micros()).unwrap();
            assert_eq!(retry_pause(&options, attempts, random), longest);
            assert_eq!(retry_pause(&options, attempts, 0), Duration::ZERO);
            assert!(retry_pause(&options, attempts, u64::MAX) <= longest);
        }
    }
}
