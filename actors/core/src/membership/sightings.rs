//! When whom was seen, for whoever looks: looking costs the membership nothing and can't be held up by it.

use std::collections::BTreeSet;
use std::sync::Arc;

use mailhorn_events::Generation;
use mailhorn_ports::GroupName;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A member as it was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its log.
    pub generation: Generation,
    /// The node's name.
    pub node: String,
    /// The groups of scope `local` that it runs.
    pub groups: BTreeSet<GroupName>,
    /// Whether it counts as alive. One that doesn't fell silent, and its log was not ended yet.
    pub is_alive: bool,
    /// When its heartbeat was seen to move last, by this node's clock.
    pub moved: Instant,
}

/// The cluster as it was seen last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The members, by generation.
    pub members: Vec<Sighting>,
    /// The log of a process that is gone which this node is about to end.
    pub adopting: Option<Generation>,
}

/// Where the membership shows what it saw. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Sightings(Arc<Mutex<Seen>>);

impl Sightings {
    /// What was seen last; nothing before the first heartbeat.
    #[must_use]
    pub fn get(&self) -> Seen {
        self.0.lock().clone()
    }

    pub(super) fn saw(&self, members: Vec<Sighting>) {
        self.0.lock().members = members;
    }

    pub(super) fn adopting(&self, log: Option<Generation>) {
        self.0.lock().adopting = log;
    }
}
