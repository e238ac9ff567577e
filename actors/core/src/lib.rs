//! The actors: sessions, mailboxes, the log, network listeners, and their supervisor.
//!
//! Beside the node this is the only crate that knows actix. What an actor decides is a plain struct or a plain value
//! of a protocol crate; the actor is its edge to time, sockets and stores, which are handed in.

pub mod acceptor;
pub mod admission;
pub mod auth;
pub mod bans;
mod counts;
pub mod delivery;
pub mod drain;
pub mod events;
pub mod log;
pub mod mailbox;
pub mod membership;
pub mod metrics;
pub mod observe;
mod own_thread;
pub mod peers;
pub mod pop3_session;
pub mod quota;
pub mod read_ahead;
pub mod recipients;
pub mod supervisor;
pub mod transfer_session;
pub mod transport;
