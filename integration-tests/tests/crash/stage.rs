//! Where the clients find the node of the moment, and where the killer sees how far they are.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mailhorn_integration_tests::Node;

/// How long nothing may happen before the run counts as stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// A life of the node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) number: usize,
    pub(crate) lmtp: SocketAddr,
    pub(crate) pop3: SocketAddr,
}

#[derive(Debug, Default)]
pub(crate) struct Stage(Mutex<State>, Condvar);

#[derive(Debug, Default)]
struct State {
    life: Option<Life>,
    /// From now on connections of the present life may end at any moment.
    doomed: bool,
    /// The last life: clients finish what they have begun.
    last: bool,
    /// Steps that clients have made.
    steps: u64,
}

impl Stage {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        what: &str,
        is_so: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let until = Instant::now() + PATIENCE;
        while !is_so(&state) {
            let rest = until.saturating_duration_since(Instant::now());
            assert!(!rest.is_zero(), "nothing happens: {what}");
            let waited = self.1.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// A node began to accept.
    pub(crate) fn enter(&self, number: usize, node: &Node, last: bool) {
        let mut state = self.lock();
        state.life = Some(Life {
            number,
            lmtp: node.lmtp(),
            pop3: node.pop3(),
        });
        state.doomed = false;
        state.last = last;
        self.1.notify_all();
    }

    /// Waits until the clients have made so many steps more, and says that the node's end is near.
    pub(crate) fn doom_after(&self, steps: u64) {
        let mut state = self.lock();
        let end = state.steps + steps;
        while state.steps < end {
            let before = state.steps;
            state = self.wait(state, "the clients make no step", |state| state.steps > before);
        }
        state.doomed = true;
    }

    /// A client made a step.
    pub(crate) fn step(&self) {
        self.lock().steps += 1;
        self.1.notify_all();
    }

    /// The life after the one with this number, when it has begun.
    pub(crate) fn after(&self, number: Option<usize>) -> Life {
        let is_later = |state: &State| {
            state
                .life
                .is_some_and(|life| number.is_none_or(|last| life.number > last))
        };
        let state = self.wait(self.lock(), "no node begins to accept", is_later);
        state.life.unwrap()
    }

    /// Whether a connection of this life may have ended because of a kill.
    pub(crate) fn is_over(&self, life: Life) -> bool {
        let state = self.lock();
        state.doomed || state.life.is_some_and(|now| now.number > life.number)
    }

    pub(crate) fn is_last(&self) -> bool {
        self.lock().last
    }
}
