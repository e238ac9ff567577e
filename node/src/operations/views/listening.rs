//! Groups of listeners, dead letters and quotas as they are shown.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailhorn_events::{Happened, QuotaLimits, wire};
use mailhorn_ports::{Letter, Mode, Scope};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::time;

/// Which nodes run a group's listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupScope {
    /// One for each log.
    Local,
    /// All that register it.
    Cluster,
}

impl From<Scope> for GroupScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Local => Self::Local,
            Scope::Cluster => Self::Cluster,
        }
    }
}

/// When a listener has an event, as seen from the reply to the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupMode {
    /// After it.
    Async,
    /// Before it.
    Sync,
}

impl From<Mode> for GroupMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Async => Self::Async,
            Mode::Sync => Self::Sync,
        }
    }
}

/// What a group does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupState {
    /// It is shown events.
    Running,
    /// It waits for what it writes to; nothing is lost.
    Stopped,
    /// It makes its state anew.
    Rebuilding,
    /// This node doesn't run it. The log is kept for it all the same, until it is forgotten.
    NotRegistered,
}

impl GroupState {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Rebuilding => "rebuilding",
            Self::NotRegistered => "not-registered",
        }
    }
}

/// A group of listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Where it runs; `None` of one that is not registered here.
    pub scope: Option<GroupScope>,
    /// Before or after the reply; `None` of one that is not registered here.
    pub mode: Option<GroupMode>,
    /// What it does.
    pub state: GroupState,
    /// Why it is stopped.
    pub why: Option<String>,
    /// Records that it has not finished.
    pub lag: u64,
    /// Its oldest unfinished event is older than half of `events.retention`.
    pub late: bool,
    /// The logs that it follows.
    pub logs: Vec<GroupLog>,
    /// Events that were bad and are tried again.
    pub parked: usize,
    /// Events that were given up.
    pub dead_letters: u64,
}

/// A group in one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLog {
    /// The log's name.
    pub log: String,
    /// All records up to this number are done, parked or dead.
    pub finished: u64,
    /// The last record that is known.
    pub end: u64,
}

impl GroupLog {
    /// Records that are not finished.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.end.saturating_sub(self.finished)
    }
}

/// A group with dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterGroup {
    /// Its name in the store.
    pub group: String,
    /// How many.
    pub letters: u64,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The event's id.
    pub id: String,
    /// The log in which the event stood.
    pub log: String,
    /// The number of its record there.
    pub number: u64,
    /// What the listener said.
    pub why: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was tried first (RFC 3339).
    pub since: String,
    /// When it was tried last (RFC 3339).
    pub last: String,
}

impl From<&Letter> for DeadLetter {
    fn from(letter: &Letter) -> Self {
        Self {
            id: letter.id.to_string(),
            log: letter.position.generation.to_string(),
            number: letter.position.number,
            why: letter.why.clone(),
            attempts: letter.attempts,
            since: time(letter.since),
            last: time(letter.last),
        }
    }
}

/// A dead letter with all that it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterContent {
    /// As in a list.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// The events, as the live feed has them: one as a rule, none where this release can't read them.
    pub events: Vec<Value>,
    /// What the store keeps, in Base64.
    pub octets: String,
}

impl From<&Letter> for DeadLetterContent {
    fn from(letter: &Letter) -> Self {
        Self {
            letter: letter.into(),
            events: events(letter),
            octets: STANDARD.encode(&letter.octets),
        }
    }
}

fn events(letter: &Letter) -> Vec<Value> {
    let Ok(record) = wire::decode(&letter.octets) else {
        return Vec::new();
    };
    let happened = Happened::all(letter.position, &Arc::new(record));
    happened
        .filter_map(|happened| serde_json::from_str(&wire::event_json(&happened)).ok())
        .collect()
}

/// How many were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removals {
    /// Dead letters.
    pub letters: u64,
}

/// What was given to a group again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redelivered {
    /// The group.
    pub group: String,
    /// How many letters.
    pub letters: usize,
    /// How many letters were passed over, since this release can't read them.
    pub unreadable: usize,
    /// Why it got none, or no more.
    pub error: Option<String>,
}

/// How much may be held; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Messages.
    #[serde(default)]
    pub messages: Option<u64>,
    /// The sum of their sizes.
    #[serde(default)]
    pub octets: Option<u64>,
}

impl From<QuotaLimits> for Limits {
    fn from(limits: QuotaLimits) -> Self {
        Self {
            messages: limits.messages,
            octets: limits.octets,
        }
    }
}

impl From<Limits> for QuotaLimits {
    fn from(limits: Limits) -> Self {
        Self {
            messages: limits.messages,
            octets: limits.octets,
        }
    }
}

/// A quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// The user's address, or the domain.
    pub owner: String,
    /// The limits that were set for it; `None` where none were.
    pub limits: Option<Limits>,
    /// The limits that hold: those, or the settings'.
    pub effective: Limits,
    /// Whether anybody looks at them (`quota.enabled`).
    pub enforced: bool,
    /// Messages that it holds.
    pub messages: u64,
    /// The sum of their sizes.
    pub octets: u64,
}
