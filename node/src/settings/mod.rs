//! What can be set: the types, where the values come from, and what they must be together.
//!
//! A value comes from the flags, else from the environment, else from the file, else it is the default of the table
//! in [`sections`]. Settings are passed on, never looked up: there is no global.

pub mod reference;
pub mod sections;
pub mod value;

mod load;
mod problem;
mod table;
mod verify;

pub use load::Sources;
pub use problem::{Problem, Problems};
pub use table::Entry;
pub use value::{Lock, LogFormat, Plaintext, Scram, Threads};

use sections::{
    Admin, Auth, Bans, Cassandra, Events, Feed, Lmtp, Log, Mailbox, Net, Node, OperationLog, Pop3, Quota,
    Redis, Smtp, Store, Tls, Webhook,
};
use table::settings;

settings!(
    /// `[node]`
    node: Node,
    /// `[store]`
    store: Store,
    /// `[cassandra]`
    cassandra: Cassandra,
    /// `[redis]`
    redis: Redis,
    /// `[smtp]`
    smtp: Smtp,
    /// `[lmtp]`
    lmtp: Lmtp,
    /// `[pop3]`
    pop3: Pop3,
    /// `[tls]`
    tls: Tls,
    /// `[auth]`
    auth: Auth,
    /// `[bans]`
    bans: Bans,
    /// `[net]`
    net: Net,
    /// `[mailbox]`
    mailbox: Mailbox,
    /// `[events]`
    events: Events,
    /// `[feed]`
    feed: Feed,
    /// `[quota]`
    quota: Quota,
    /// `[operation_log]`
    operation_log: OperationLog,
    /// `[webhook]`
    webhook: Webhook,
    /// `[admin]`
    admin: Admin,
    /// `[log]`
    log: Log,
);

/// A section of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name: the TOML table and the part of the key before the dot.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Its settings.
    pub entries: Vec<Entry>,
}

fn write_section(text: &mut String, name: &str, values: &[(&str, String)]) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("[{name}]\n"));
    for (key, value) in values {
        text.push_str(&format!("{key} = {value}\n"));
    }
}

#[cfg(test)]
mod tests;
