//! The embedded store: one folder, no other service.
//!
//! Rows, the log, the directory and what groups of listeners leave lie in one keyspace of an LSM tree (fjall), octets in
//! segments of their own; both are written through one journal, and a change is one synced batch. So a reader sees a
//! change after it is durable and never before.
//!
//! ```text
//! DIR/lock                one process at a time
//! DIR/clean               there only after a clean stop
//! DIR/last-synced         how far the journal was durable, known outside the journal (mark)
//! DIR/store/              fjall's
//! DIR/journal-kept/       the journals as they were before an opening that found them damaged
//! ```
//!
//! Why one keyspace for all rows: keyspaces are flushed one by one, so after damage to the journal each could stand at
//! another moment. One keyspace stands at one moment, and "what is missing?" has one answer: everything after the
//! batch that [`salvage()`] finds last.
//!
//! What is deliberately absent: decisions about mail, actors, a second writer.

mod bans;
mod commit;
mod core;
mod directory;
mod draft;
mod envelope;
mod error;
mod frame;
mod groups;
mod journal;
mod keys;
mod letters;
mod logs;
mod maintain;
mod mark;
mod opened;
mod options;
mod pool;
mod quota;
mod read;
mod rows;
mod salvage;
mod start;
mod store;
#[cfg(test)]
mod testing;
mod trim;
mod uploads;

pub use error::{OpenError, SalvageError};
pub use options::{Faults, Options, Surroundings};
pub use salvage::{Range, SalvageReport, salvage};
pub use store::EmbeddedStore;
