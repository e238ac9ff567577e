//! Where a group stands, for whoever looks: looking costs the group nothing and can't be held up by it.

use std::sync::Arc;

use mailhorn_events::Generation;
use parking_lot::Mutex;

/// A group in one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStatus {
    /// Whose log.
    pub log: Generation,
    /// All records up to here are done, parked or dead.
    pub finished: u64,
    /// The last record of the log that the group knows of.
    pub end: u64,
}

/// A group on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupStatus {
    /// It makes its state anew.
    pub rebuilding: bool,
    /// Why it waits, if it does.
    pub why: Option<String>,
    /// The logs that it follows.
    pub logs: Vec<LogStatus>,
    /// Events that were bad and are tried again.
    pub parked: usize,
    /// Events that were read and not yet shown to the listener.
    pub waiting: usize,
    /// Calls under way.
    pub running: usize,
    /// Its oldest unfinished event is older than half of `events.retention`.
    pub late: bool,
}

impl GroupStatus {
    /// Records that are not finished.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let lag = |log: &LogStatus| log.end.saturating_sub(log.finished);
        self.logs.iter().map(lag).sum()
    }

    /// Whether all that it knows of is done or dead, and nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lag() == 0 && self.parked == 0 && self.waiting == 0 && self.running == 0
    }
}

/// Where the group's actor shows it.
#[derive(Debug, Clone, Default)]
pub(super) struct StatusCell(Arc<Mutex<GroupStatus>>);

impl StatusCell {
    pub(super) fn set(&self, status: GroupStatus) {
        *self.0.lock() = status;
    }

    /// While it rebuilds, the rest stands as it was.
    pub(super) fn set_rebuilding(&self, rebuilding: bool) {
        self.0.lock().rebuilding = rebuilding;
    }

    pub(super) fn get(&self) -> GroupStatus {
        self.0.lock().clone()
    }
}
