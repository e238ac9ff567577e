//! When calls are worth trying. A value without a clock: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which calls fail at once.
pub(crate) const FAILURES_MAX: u32 = 3;
/// The first pause before a call is tried again.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest: how long a server that is back may go unused.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A probe that has not reported after this time never will: whoever made it gave up.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// Whether calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// They are.
    Closed,
    /// They fail at once.
    Open,
    /// One is made, to see whether the server is back; the others fail at once.
    HalfOpen,
}

/// A circuit breaker: closed until [`FAILURES_MAX`] calls in a row failed, open for a pause, then half-open for one probe.
/// Its failure opens it for twice as long.
#[derive(Debug)]
pub(crate) struct Breaker(Step);

#[derive(Debug)]
enum Step {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    HalfOpen { until: Instant, pause: Duration },
}

impl Default for Breaker {
    fn default() -> Self {
        Self(Step::Closed { failures: 0 })
    }
}

impl Breaker {
    pub(crate) fn state(&self) -> BreakerState {
        match self.0 {
            Step::Closed { .. } => BreakerState::Closed,
            Step::Open { .. } => BreakerState::Open,
            Step::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether a call may be made now. After the pause the first who asks makes the probe.
    pub(crate) fn permits(&mut self, now: Instant) -> bool {
        match self.0 {
            Step::Closed { .. } => true,
            Step::Open { until, pause } | Step::HalfOpen { until, pause } => {
                let is_over = now >= until;
                if is_over {
                    let until = now + PROBE_MAX;
                    self.0 = Step::HalfOpen { until, pause };
                }
                is_over
            }
        }
    }

    /// A call was answered. Says whether that closed it.
    pub(crate) fn succeeded(&mut self) -> bool {
        let was_closed = self.state() == BreakerState::Closed;
        *self = Self::default();
        !was_closed
    }

    /// A call was not answered. Says whether that opened it, for the first time since it was closed.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        match self.0 {
            Step::Closed { failures } if failures + 1 < FAILURES_MAX => {
                self.0 = Step::Closed {
                    failures: failures + 1,
                };
                false
            }
            Step::Closed { .. } => {
                self.open(now, PAUSE_MIN);
                true
            }
            Step::HalfOpen { pause, .. } => {
                self.open(now, (pause * 2).min(PAUSE_MAX));
                false
            }
            // One that was on its way as it opened.
            Step::Open { .. } => false,
        }
    }

    fn open(&mut self, now: Instant, pause: Duration) {
        let until = now + pause;
        self.0 = Step::Open { until, pause };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for failure in 1..=FAILURES_MAX {
            assert!(breaker.permits(now));
            assert_eq!(breaker.failed(now), failure == FAILURES_MAX);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            for _ in 1..FAILURES_MAX {
                assert!(!breaker.failed(now));
            }
            assert!(breaker.permits(now));
            assert!(!breaker.succeeded(), "it was closed");
        }
        let mut breaker = opened(now);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(!breaker.permits(now + PAUSE_MIN - Duration::from_millis(1)));
    }

    #[test]
    fn one_probe_decides() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + PAUSE_MIN;
        assert!(breaker.permits(later));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(!breaker.permits(later), "one probe at a time");
        assert!(breaker.succeeded());
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.permits(later));
    }

    #[test]
    fn pauses_grow_up_to_a_limit_and_begin_anew_after_a_success() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut expected = PAUSE_MIN;
        for _ in 0..10 {
            assert!(!breaker.permits(now + expected - Duration::from_millis(1)));
            now += expected;
            assert!(breaker.permits(now));
            assert!(!breaker.failed(now), "it is told once that it opened");
            expected = (expected * 2).min(PAUSE_MAX);
        }
        assert_eq!(expected, PAUSE_MAX);
        now += expected;
        assert!(breaker.permits(now));
        breaker.succeeded();
        let mut breaker = opened(now);
        assert!(breaker.permits(now + PAUSE_MIN));
    }

    #[test]
    fn a_probe_that_nobody_waits_for_does_not_close_it_for_good() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + PAUSE_MIN;
        assert!(breaker.permits(later));
        assert!(!breaker.permits(later + PROBE_MAX - Duration::from_millis(1)));
        assert!(breaker.permits(later + PROBE_MAX));
    }

    #[test]
    fn calls_that_were_on_their_way_change_nothing() {
        let now = Instant::now();
        let mut breaker = opened(now);
        for _ in 0..10 {
            assert!(!breaker.failed(now + PAUSE_MIN / 2));
        }
        assert!(breaker.permits(now + PAUSE_MIN));
    }

    proptest! {
        /// Whatever happens, a call is permitted at the latest after the longest pause and the longest probe.
        #[test]
        fn it_never_stays_shut(steps in proptest::collection::vec((0u64..3_000, 0u8..3), 0..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::default();
            for (wait, what) in steps {
                now += Duration::from_millis(wait);
                match what {
                    0 => { breaker.permits(now); }
                    1 => { breaker.succeeded(); }
                    _ => { breaker.failed(now); }
                }
            }
            prop_assert!(breaker.permits(now + PAUSE_MAX + PROBE_MAX));
        }
    }
}
