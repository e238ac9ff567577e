//! What happens in a mailbox, and how it is written down.
//!
//! Model and wire are apart: [`model`] is what the actors work with and derives no serialisation; [`wire`] is
//! what lies on disk (and later travels between nodes) and never changes without a new version.
//!
//! What is deliberately absent: a runtime, a clock, I/O.

// A test that indexes beyond the end has failed, as it should.
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::string_slice
    )
)]

pub mod ids;
pub mod james;
pub mod link;
pub mod model;
pub mod wire;

pub use ids::{AccountId, EventId, Generation, MailboxId, MessageId, Position, Stamp};
pub use model::{
    Acl, Added, Arrival, ContentDeleted, Event, Expunged, FlagsUpdated, Happened, Happening, QuotaLimits,
    QuotaRoot, QuotaUsage, Record,
};
