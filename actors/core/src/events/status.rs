//! Where a group stands, for whoever looks: looking costs the group nothing and can't be held up by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
}

/// Where the group's actor shows it.
#[derive(Debug, Clone, Default)]
pub(super) struct StatusCell(Arc<Cell>);

#[derive(Debug, Default)]
struct Cell {
    status: Mutex<GroupStatus>,
    rebuilding: AtomicBool,
}

impl StatusCell {
    pub(super) fn set(&self, status: GroupStatus) {
        *self.0.status.lock() = status;
    }

    pub(super) fn set_rebuilding(&self, rebuilding: bool) {
        self.0.rebuilding.store(rebuilding, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> GroupStatus {
        self.0.status.lock().clone()
    }

    pub(super) fn is_rebuilding(&self) -> bool {
        self.0.rebuilding.load(Ordering::Relaxed)
    }
}
