//! The event system: what became durable in the log is shown to whoever listens, and nobody who listens can hurt a
//! delivery.
//!
//! ```text
//!  log ──► Dispatch ──► mailboxes           note it before the reply (crate::mailbox)
//!           │     │───► registrations       told once, as soon as may be: one actor a listener, a bounded queue
//!           │     └───► exchange            other nodes, after the reply; what that way loses is noticed
//!           └─ tail ──► groups              one actor each: at least once, in order, retried, parked, given up
//! ```
//!
//! Where to begin: [`EventBus`] is the front; `group.rs` is the actor that follows logs; what it decides is in `line.rs`
//! (how far it is), `schedule.rs` (what may run now), `standing.rs` (whether it goes on), each plain and tested without a
//! runtime; `attempt.rs` is the one place where a listener's code is called.

mod attempt;
mod bus;
mod call;
#[cfg(feature = "testkit")]
pub mod contract;
mod dispatch;
mod exchange;
mod feed;
mod figures;
mod group;
mod line;
mod links;
mod members;
mod probe;
mod registrations;
mod schedule;
mod standing;
mod status;
mod sync_waits;
mod tail;

pub use bus::{BusDeps, EventBus, RedeliveredLetters, RegisterError, RegisteredGroup};
pub use dispatch::{Dispatch, OUTGOING_RECORDS_MAX, Outgoing, Waits};
pub use exchange::{DISTRUST, Exchange, ExchangeDeps, ExchangeParts, Fanout, RENEW_PAUSE};
pub use feed::{Feed, FeedError, FeedHub, FeedId, FeedIdError, FeedItem, FeedOptions};
pub use group::{
    CURSOR_PAUSE, FOREIGN_POLL_PAUSE, GATHER_PAUSE, PARKED_PROBED_MAX, RedeliverError, Threads,
    WAITING_EVENTS_MAX,
};
pub use links::{LINK_BEAT_PAUSE, LINK_SILENCE_MAX};
pub use members::{Member, Members};
pub use probe::{Echo, PROBE_PATIENCE, PROBES_MAX, ProbeError, Prober};
pub(crate) use registrations::{Hold, Registrations};
pub use registrations::{NOTIFICATIONS_QUEUED_MAX, REGISTER_PATIENCE, Registration};
pub use standing::{PARKED_MAX, STOPPED_PAUSE_MAX};
pub use status::{GroupStatus, LogStatus};
pub use sync_waits::SyncWait;
pub use tail::{TAIL_OCTETS_MAX, TAIL_RECORDS_MAX};
