//! The cluster as one node sees it.

use mailhorn_core::events::Echo;
use mailhorn_core::membership::{Seen, Sighting};
use serde::{Deserialize, Serialize};

use super::Group;

/// A node and what it knows of the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its name.
    pub node: String,
    /// The log of this life of its process.
    pub generation: String,
    /// `None`: it is alone with its store.
    pub cluster: Option<ClusterState>,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// Whether the node may speak for its log: its heartbeats come through.
    pub holds_lease: bool,
    /// Who is there, this node among them.
    pub members: Vec<ClusterMember>,
    /// The logs that are kept.
    pub logs: Vec<ClusterLog>,
    /// The groups of listeners, and how far they are.
    pub groups: Vec<Group>,
    /// Why logs or groups are missing here: the store does not say.
    pub unread: Option<String>,
    /// Of how many mailboxes and users this node wants to know what happens elsewhere.
    pub registered_keys: usize,
    /// Which nodes get an event by the fast path (`events.transport`).
    pub transport: String,
    /// How this node writes events for it (`events.format`).
    pub format: String,
    /// Cassandra, from here.
    pub cassandra: CassandraHealth,
    /// Redis, from here.
    pub redis: RedisHealth,
    /// What keeps a second session out of a maildrop.
    pub maildrop_locks: LocksMode,
    /// Logs of processes that are gone.
    pub adoptions: Adoptions,
}

/// A process that is or was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMember {
    /// The node's name.
    pub node: String,
    /// Its log.
    pub generation: String,
    /// The groups of scope `local` that it runs.
    pub groups: Vec<String>,
    /// Whether its heartbeat moves. Of one that is silent the log is ended soon.
    pub alive: bool,
    /// How long ago its heartbeat was seen to move, by this node's clock.
    pub heartbeat_ms: u64,
}

impl From<&Sighting> for ClusterMember {
    fn from(seen: &Sighting) -> Self {
        Self {
            node: seen.node.clone(),
            generation: seen.generation.to_string(),
            groups: seen.groups.iter().map(ToString::to_string).collect(),
            alive: seen.is_alive,
            heartbeat_ms: millis(seen.moved.elapsed()),
        }
    }
}

/// A log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterLog {
    /// Whose.
    pub node: String,
    /// Its name.
    pub generation: String,
    /// The number of its last record.
    pub end: u64,
    /// Where it was ended; `None` while it goes on.
    pub sealed: Option<u64>,
}

/// Cassandra as a node sees it, counted since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CassandraHealth {
    /// Whether the statement that ended last was answered.
    pub answers: bool,
    /// Statements that were answered.
    pub answered: u64,
    /// Statements asked again.
    pub retried: u64,
    /// Statements given up: their outcome is unknown.
    pub failed: u64,
    /// Answers that said that the server is overloaded.
    pub overloaded: u64,
    /// Statements that waited for others.
    pub queued: u64,
}

/// Redis as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisHealth {
    /// Where it is, without passwords.
    pub address: String,
    /// Whether it answered when it was asked just now.
    pub answers: bool,
    /// Whether calls are made.
    pub breaker: Breaker,
    /// What went wrong last, whenever that was.
    pub last_error: Option<String>,
    /// How long the last ping took that was answered.
    pub round_trip_us: Option<u64>,
}

/// Whether calls to a server are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breaker {
    /// They are.
    Closed,
    /// They fail at once.
    Open,
    /// One is made, to see whether the server is back.
    HalfOpen,
}

impl Breaker {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What keeps a second session out of a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocksMode {
    /// A lock that all nodes respect.
    Cluster,
    /// The node's own lock, for the service of the others is away.
    LocalOnly,
}

impl LocksMode {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::LocalOnly => "local-only",
        }
    }
}

/// Logs of processes that are gone and that this node ended or ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoptions {
    /// How many it ended since its start.
    pub done: u64,
    /// The one that it is about to end.
    pub under_way: Option<String>,
}

impl Adoptions {
    pub(crate) fn new(done: u64, seen: &Seen) -> Self {
        Self {
            done,
            under_way: seen.adopting.map(|log| log.to_string()),
        }
    }
}

/// What another node made of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// Its name.
    pub node: String,
    /// The log of its process.
    pub generation: String,
    /// How long its echo took on the fast path; `None`: it did not come in time.
    pub round_trip_us: Option<u64>,
    /// How long ago its heartbeat in the store was seen to move; `None`: it is no member any more.
    pub heartbeat_ms: Option<u64>,
}

impl Probed {
    pub(crate) fn new(echo: &Echo, seen: &Seen) -> Self {
        let sighting = seen
            .members
            .iter()
            .find(|member| member.generation == echo.generation);
        let round_trip = echo.round_trip.map(|took| took.as_micros());
        Self {
            node: echo.node.clone(),
            generation: echo.generation.to_string(),
            round_trip_us: round_trip.map(|micros| u64::try_from(micros).unwrap_or(u64::MAX)),
            heartbeat_ms: sighting.map(|sighting| millis(sighting.moved.elapsed())),
        }
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
