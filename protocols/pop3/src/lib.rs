//! POP3 as a value without I/O: commands, replies, the session.
//!
//! Served are RFC 1939 (without APOP), RFC 2449, RFC 2595, RFC 3206, RFC 5034 and RFC 6856; `RFC.md` beside this crate
//! says which rule is kept where and which test shows it.
//!
//! A [`Session`] takes one [`Frame`](mailhorn_lines::Frame) at a time and gives a [`Step`]. When it needs
//! the world (a password checked, a message's octets, the deletions made durable) the step is an [`Ask`],
//! and nothing else goes in before its [`Answer`]: so pipelined commands are served in their order.
//!
//! What is deliberately absent: sockets, clocks, the store, and what a log-in means. A message's octets
//! never pass through the session: the driver pushes them through a [`BodyEncoder`].
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::string_slice
)]

mod announced;
mod body;
mod command;
mod deletions;
mod header;
mod maildrop;
mod reply;
mod session;

pub use announced::{Announced, Expire, Implementation, NotExpire};
pub use body::{BodyEncoder, Lines, Need};
pub use command::Verb;
pub use header::{Header, HeaderScan};
pub use maildrop::{Maildrop, UniqueId};
pub use mailhorn_sasl::{Mechanism, Secret, ServerNonce, StoredKeys};
pub use reply::{Capabilities, Encoded, Listing, Mechanisms, Reply, StatusLine};
pub use session::{Answer, Ask, Channel, Limit, Method, Options, PlaintextLogIn, Session, Step};

/// The most octets of a command with its line end (RFC 2449 §4).
pub const COMMAND_OCTETS_MAX: usize = 255;

/// The most octets of a SASL response with its line end (RFC 5034 §4 lifts the limit of a command for it).
pub const RESPONSE_LINE_OCTETS_MAX: usize = 16_386;

/// So many commands before log-in that are not commands at all, and the session ends: whoever speaks
/// another protocol to us is not kept waiting.
pub const BAD_COMMANDS_BEFORE_LOG_IN_MAX: u8 = 3;

/// So many commands after log-in, one after the other, that are not commands at all, and the session ends.
pub const BAD_COMMANDS_AFTER_LOG_IN_MAX: u8 = 20;

const _: () = assert!(
    RESPONSE_LINE_OCTETS_MAX >= mailhorn_sasl::RESPONSE_ENCODED_OCTETS_MAX
        && RESPONSE_LINE_OCTETS_MAX - mailhorn_sasl::RESPONSE_ENCODED_OCTETS_MAX == 2,
    "the longest response and its CRLF are what a line may hold"
);
