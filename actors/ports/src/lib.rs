//! What the actors need from the world: small traits, each with one contract suite that every backend passes.
//!
//! - [`MailStore`]: octets, the view, the log; changes are whole and idempotent.
//! - [`Directory`]: domains and accounts.
//! - [`Listener`]: who wants to know what happened; [`GroupStore`]: how far groups of them are.
//! - [`Membership`], [`Registry`], [`Transport`] and [`MaildropLocks`]: what nodes need of each other.
//! - [`Writer`]: makes a change, for whoever is no session.
//! - [`QuotaStore`]: what users and domains may hold.
//! - [`BanStore`]: from where nobody is served for a while.
//! - [`Clock`], [`Uptime`], [`Random`] and [`Ids`]: time, randomness and names are handed in.
//!
//! With the feature `testkit` there are the in-memory doubles (`memory`) and the contract suites (`contract`).
//!
//! What is deliberately absent: drivers, actors, transactions over chosen keys (Cassandra has none).

pub mod bans;
pub mod clock;
pub mod cluster;
pub mod directory;
pub mod groups;
pub mod listener;
pub mod quota;
pub mod store;
pub mod writer;

#[cfg(feature = "testkit")]
pub mod contract;
#[cfg(feature = "testkit")]
pub mod memory;

pub use bans::{Ban, BanStore};
pub use clock::{Clock, Ids, Random, Uptime};
pub use cluster::{
    Epoch, Forever, Held, Lease, LockToken, MaildropLocks, MemberRow, Membership, REGISTRATION_LEASE,
    RegisteredFor, Registry, Transport,
};
pub use directory::{
    Account, Alias, AppPassword, Credentials, Directory, DirectoryError, LocalDomain, Name, NewAccount,
    ScramKeys, Service, Services, Target, domain_of,
};
pub use groups::{Cursor, GroupStore, KnownGroup};
pub use listener::{
    BatchHandled, GroupName, GroupNameError, Handled, Key, Letter, Listener, ListenerOptions, Mode, Scope,
};
pub use quota::{QuotaDefaults, QuotaOwner, QuotaStanding, QuotaStore};
pub use store::{
    Announce, CHUNK_OCTETS_MAX, Change, CommitError, Committed, Delivery, Expunge, Figure, Group, LogEntry,
    MailStore, Maintained, NoteKey, Octets, Part, ReadError, Recipient, RecipientOutcome, Retention,
    StoreError, ThresholdMove, Unreadable, Verdict, ViewRow,
};
pub use writer::Writer;
