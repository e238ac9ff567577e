//! A cluster keeps what it promised, whatever breaks in it: three nodes on a real Cassandra and a real Redis, mail in on all of
//! them and out on all of them, while one thing after the other is killed, frozen, wiped or full.
//!
//! `MAILHORN_CLUSTER_LONG=1` adds what takes long: a frozen node for a minute, a frozen Redis, three Cassandra servers of which
//! one dies. The figures are printed.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![allow(
    clippy::disallowed_methods,
    reason = "processes live in real time, and there is no clock to hand in"
)]
#![allow(clippy::print_stdout, reason = "figures are what these tests are for")]

mod cassandra;
mod check;
mod faults;
mod ledger;
mod load;
mod nodes;
mod phase;
mod replicas;

/// Whether the long form was asked for.
fn is_long() -> bool {
    std::env::var_os("MAILHORN_CLUSTER_LONG").is_some()
}
