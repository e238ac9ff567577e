//! The wall clock and the system's randomness: the one place that may ask for them. Everybody else is handed them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mailhorn_ports::{Clock, Random, Uptime};
use rustix::time::{ClockId, clock_gettime};

/// The system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that all others are handed"
    )]
    fn now_micros(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
    }
}

/// The time since the machine was started, while it slept included.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl Uptime for BootClock {
    fn now(&self) -> Duration {
        let since_boot = clock_gettime(ClockId::Boottime);
        // It is never negative.
        Duration::try_from(since_boot).unwrap_or_default()
    }
}

/// The system's source of randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    /// # Panics
    ///
    /// When the system has no randomness to give. Secrets can't be made then, and nothing that could be done instead
    /// would be safe.
    fn fill(&self, octets: &mut [u8]) {
        assert!(
            getrandom::fill(octets).is_ok(),
            "the system gives no random octets"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_the_start_of_the_machine_only_goes_forward() {
        let first = BootClock.now();
        assert!(first > Duration::ZERO);
        while BootClock.now() == first {}
        assert!(BootClock.now() > first);
    }

    #[test]
    fn the_clock_is_past_the_year_2025_and_randomness_differs() {
        assert!(SystemClock.now_micros() > 1_735_689_600_000_000);
        let (mut a, mut b) = ([0; 32], [0; 32]);
        OsRandom.fill(&mut a);
        OsRandom.fill(&mut b);
        assert_ne!(a, b);
    }
}
