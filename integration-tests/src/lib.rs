//! Whole nodes under test, and the benchmarks.
//!
//! What is here is shared by the test binaries and the benchmark: a node as a process ([`process`]), clients that
//! speak the protocols octet by octet ([`clients`]), mail that can be made again from its number ([`mail`]), a disk that can be
//! filled ([`disk`]), a network that can be cut ([`network`]), what is shown of listeners ([`listening`]) and in figures ([`figures`]).
//!
//! What is deliberately absent here and in the tests: anything of the node's own code. Only what a stranger sees from outside
//! counts. The package names our crates among its dependencies for one program alone, the benchmark of the event system, and for the
//! Redis servers that tests start.

#![allow(
    clippy::disallowed_methods,
    reason = "processes and sockets live in real time, and there is no clock to hand in"
)]

pub mod clients;
pub mod disk;
pub mod figures;
pub mod listening;
pub mod mail;
pub mod network;
pub mod process;
pub mod random;
pub mod receiver;

pub use clients::{Lmtp, Pop3, Reply};
pub use process::{Ended, Node, NodeBuilder, add_users, binary, mailhorn};
pub use receiver::Receiving;

/// Prints why a test could not show what it is there for.
///
/// # Panics
///
/// In CI, where it must be possible.
#[allow(clippy::print_stdout, reason = "what a test could not show is to be seen")]
pub fn not_shown(why: &str) {
    println!("NOT SHOWN: {why}");
    assert!(std::env::var("CI").is_err(), "in CI it must be possible: {why}");
}
