//! What every parser and every session holds for any octets, whoever sent them.
//!
//! A target is a function that takes octets and panics where a rule is broken. libFuzzer calls them with octets of its own
//! (`protocols/fuzz/run`, on nightly); `tests/replay.rs` calls them with those that are kept in `corpus`, on any tool-chain. What
//! was found once is kept there and stays found.
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a panic is how a target says that a rule is broken"
)]

mod events;
mod lines;
#[cfg(feature = "node")]
mod node;
mod pop3_body;
mod pop3_session;
mod proxy_header;
mod sasl;
mod smtp_command;
mod smtp_data;
mod smtp_session;

/// A rule for any octets. It panics where they break it.
pub type Target = fn(&[u8]);

/// Every target with the name of its folder in `corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("events_frame", events::frame),
    ("events_james", events::james),
    ("events_record", events::record),
    ("lines", lines::target),
    #[cfg(feature = "node")]
    ("passwd_file", node::passwd_file),
    #[cfg(feature = "node")]
    ("password_hash", node::password_hash),
    ("pop3_body", pop3_body::target),
    ("pop3_session", pop3_session::target),
    ("proxy_header", proxy_header::target),
    ("sasl", sasl::target),
    #[cfg(feature = "node")]
    ("settings", node::settings),
    ("smtp_command", smtp_command::target),
    ("smtp_data", smtp_data::target),
    ("smtp_session", smtp_session::target),
];

/// The target of that name.
///
/// # Panics
/// There is none.
#[must_use]
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no such target: {name}")).1
}
