//! Domains, accounts and mailboxes as they are shown, in JSON and to people. Never a credential.

mod addresses;
mod cluster;
mod listening;

use mailhorn_events::Stamp;
use mailhorn_ports::{Account, ViewRow};
use mailhorn_sasl::Secret;
use serde::{Deserialize, Serialize};

use crate::timestamp;
pub use addresses::{Alias, AppPassword, Domain, NewAppPassword, Recipient};
pub use cluster::{
    Adoptions, Breaker, CassandraHealth, ClusterLog, ClusterMember, ClusterState, ClusterStatus, LocksMode,
    Probed, RedisHealth,
};
pub use listening::{
    DeadLetter, DeadLetterContent, DeadLetterGroup, Group, GroupLog, GroupMode, GroupScope, GroupState,
    Limits, Quota, Redelivered, Removals,
};

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// In their order.
    pub items: Vec<T>,
    /// What to ask for the part behind this one with (`after`); `None` when this is the last.
    pub next: Option<String>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its address.
    pub address: String,
    /// Its id: another one when the address is removed and made again.
    pub id: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Whether it has keys for SCRAM; else it gets them at the next log-in that shows the password.
    pub scram: bool,
}

impl From<&Account> for User {
    fn from(account: &Account) -> Self {
        Self {
            address: account.address.clone(),
            id: account.id.to_string(),
            created: time(account.created),
            scram: account.credentials.scram.is_some(),
        }
    }
}

/// From where nobody is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// The network.
    pub network: String,
    /// Why.
    pub reason: String,
    /// From when on (RFC 3339).
    pub since: String,
    /// Until when (RFC 3339).
    pub until: String,
    /// The node that made it.
    pub node: String,
}

impl From<&mailhorn_ports::Ban> for Ban {
    fn from(ban: &mailhorn_ports::Ban) -> Self {
        Self {
            network: ban.network.to_string(),
            reason: ban.reason.clone(),
            since: time(ban.since),
            until: time(ban.until),
            node: ban.node.clone(),
        }
    }
}

/// An account that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Its address.
    pub address: String,
    /// How many messages were removed with it.
    pub messages: u64,
    /// Whether that was all; if not, the next start removes the rest.
    pub is_empty: bool,
}

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Whose.
    pub address: String,
    /// Its name.
    pub mailbox: String,
    /// Its id.
    pub id: String,
    /// How many messages it has.
    pub messages: u64,
    /// The sum of their sizes.
    pub octets: u64,
}

/// A message in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// What UIDL shows.
    pub unique_id: String,
    /// Octets as POP3 sends them.
    pub size: u64,
    /// When it was taken (RFC 3339).
    pub received: String,
}

impl From<&ViewRow> for Message {
    fn from(row: &ViewRow) -> Self {
        let id = row.message.to_string();
        Self {
            unique_id: row.unique_id.clone().unwrap_or_else(|| id.clone()),
            id,
            size: row.size,
            received: time(row.received),
        }
    }
}

/// An account to be made, with a password or the password field of a passwd-file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUser {
    /// Its address.
    pub address: String,
    secret: String,
}

impl NewUser {
    /// An account at `address`.
    #[must_use]
    pub fn new(address: String, secret: String) -> Self {
        Self { address, secret }
    }

    /// The password, or the password field.
    #[must_use]
    pub fn secret(&self) -> Secret {
        Secret::new(self.secret.as_bytes())
    }
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What became of an account to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Its address, as it was given.
    pub address: String,
    /// Why it was not made.
    pub error: Option<String>,
}

fn time(stamp: Stamp) -> String {
    timestamp::rfc3339(stamp.0)
}
