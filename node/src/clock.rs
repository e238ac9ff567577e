//! The wall clock and the system's randomness: the one place that may ask for them. Everybody else is handed them.

use std::time::{SystemTime, UNIX_EPOCH};

use mailhorn_ports::{Clock, Random};

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
    fn the_clock_is_past_the_year_2025_and_randomness_differs() {
        assert!(SystemClock.now_micros() > 1_735_689_600_000_000);
        let (mut a, mut b) = ([0; 32], [0; 32]);
        OsRandom.fill(&mut a);
        OsRandom.fill(&mut b);
        assert_ne!(a, b);
    }
}
