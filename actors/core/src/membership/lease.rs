//! The lease on this process's log. Plain: what it says follows from what was sent when.
//!
//! Another process may end this log when its heartbeat stood still for [`SILENCE_MAX`](super::SILENCE_MAX) by that one's
//! clock. So this one trusts its log only for a while that is much shorter, counted from the *sending* of a heartbeat that
//! came through, by a clock that goes on while the machine sleeps. A lease that ran out is not renewed: a heartbeat that
//! comes through after that may be one that nobody has looked at before the log was ended.

use std::sync::Arc;
use std::time::Duration;

use mailhorn_ports::{Lease, Uptime};
use tokio::sync::watch;

/// How long a process trusts its log after the sending of a heartbeat that came through.
pub const LEASE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No heartbeat has come through yet.
    NotBegun,
    Until(Duration),
    Over,
}

impl State {
    /// The state at `now`: time ends a lease by itself.
    fn at(self, now: Duration) -> Self {
        match self {
            Self::Until(end) if now >= end => Self::Over,
            state => state,
        }
    }
}

/// The lease of one generation.
#[derive(Debug)]
pub struct LogLease {
    uptime: Arc<dyn Uptime>,
    state: watch::Sender<State>,
}

impl LogLease {
    /// A lease that begins with the first heartbeat that comes through.
    #[must_use]
    pub fn new(uptime: Arc<dyn Uptime>) -> Self {
        Self {
            uptime,
            state: watch::Sender::new(State::NotBegun),
        }
    }

    /// The time, to be taken before a heartbeat is sent.
    pub(super) fn now(&self) -> Duration {
        self.uptime.now()
    }

    /// The heartbeat that was sent at `sent` has come through.
    pub(super) fn renewed(&self, sent: Duration) {
        let now = self.uptime.now();
        self.state.send_modify(|state| {
            *state = match state.at(now) {
                State::Over => State::Over,
                State::NotBegun | State::Until(_) => State::Until(sent.saturating_add(LEASE)).at(now),
            };
        });
    }

    /// Ends it: the process speaks for its log no more.
    pub(super) fn give_up(&self) {
        self.state.send_replace(State::Over);
    }

    /// Whether it has begun and is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.borrow().at(self.uptime.now()) == State::Over
    }

    /// Returns when the first heartbeat has come through: before that nothing may be appended.
    pub async fn begun(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as this.
        drop(state.wait_for(|state| *state != State::NotBegun).await);
    }
}

impl Lease for LogLease {
    fn holds(&self) -> bool {
        matches!(self.state.borrow().at(self.uptime.now()), State::Until(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailhorn_ports::memory::ManualClock;

    fn lease() -> (Arc<ManualClock>, LogLease) {
        let clock = Arc::new(ManualClock::new(0));
        (Arc::clone(&clock), LogLease::new(clock))
    }

    #[test]
    fn it_holds_from_the_first_heartbeat_for_a_while() {
        let (clock, lease) = lease();
        assert!(!lease.holds() && !lease.is_over());
        lease.renewed(lease.now());
        clock.advance(LEASE - Duration::from_micros(1));
        assert!(lease.holds());
        clock.advance(Duration::from_micros(1));
        assert!(!lease.holds() && lease.is_over());
    }

    #[test]
    fn it_counts_from_the_sending_and_not_from_the_answer() {
        let (clock, lease) = lease();
        lease.renewed(lease.now());
        let sent = lease.now();
        clock.advance(LEASE / 2);
        lease.renewed(sent);
        clock.advance(LEASE / 2);
        assert!(!lease.holds());
    }

    #[test]
    fn it_goes_on_while_heartbeats_come_through() {
        let (clock, lease) = lease();
        for _ in 0..10 {
            lease.renewed(lease.now());
            clock.advance(LEASE - Duration::from_secs(1));
            assert!(lease.holds());
        }
    }

    #[test]
    fn one_that_is_over_is_never_renewed() {
        let (clock, lease) = lease();
        lease.renewed(lease.now());
        let sent = lease.now();
        clock.advance(LEASE);
        lease.renewed(sent);
        lease.renewed(lease.now());
        assert!(!lease.holds() && lease.is_over());
    }

    #[test]
    fn a_first_heartbeat_that_took_too_long_begins_nothing() {
        let (clock, lease) = lease();
        let sent = lease.now();
        clock.advance(LEASE);
        lease.renewed(sent);
        assert!(!lease.holds() && lease.is_over());
    }

    #[tokio::test]
    async fn whoever_waits_for_its_begin_is_told() {
        let (_, lease) = lease();
        let (_, ()) = tokio::join!(lease.begun(), async { lease.renewed(lease.now()) });
        assert!(lease.holds());
        lease.give_up();
        assert!(!lease.holds());
    }
}
