//! What the actors need from the world: small traits, each with one contract suite that every backend passes.
//!
//! - [`MailStore`]: octets, the view, the log; changes are whole and idempotent.
//! - [`Directory`]: domains and accounts.
//! - [`Clock`], [`Random`] and [`Ids`]: time, randomness and names are handed in.
//!
//! With the feature `testkit` there are the in-memory doubles (`memory`) and the contract suites (`contract`).
//!
//! What is deliberately absent: drivers, actors, transactions over chosen keys (Cassandra has none).

pub mod clock;
pub mod directory;
pub mod store;

#[cfg(feature = "testkit")]
pub mod contract;
#[cfg(feature = "testkit")]
pub mod memory;

pub use clock::{Clock, Ids, Random};
pub use directory::{Account, Credentials, Directory, DirectoryError, NewAccount, ScramKeys};
pub use store::{
    CHUNK_OCTETS_MAX, Change, CommitError, Committed, Delivery, Expunge, Figure, Group, MailStore,
    Maintained, NoteKey, Octets, Part, ReadError, Recipient, RecipientOutcome, Retention, StoreError,
    Verdict, ViewRow,
};
