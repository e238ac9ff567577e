//! A `250` is a promise, an `+OK` to QUIT too: nodes are killed under load, traced, and robbed of what they had not
//! synced.
//!
//! The number of kills is `MAILHORN_KILLS` (50), the seed of a run `MAILHORN_SEED`; both are printed.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![allow(
    clippy::disallowed_methods,
    reason = "processes live in real time, and there is no clock to hand in"
)]
#![allow(clippy::print_stdout, reason = "figures are what these tests are for")]

mod clients;
mod cutback;
mod durability;
mod kills;
mod ledger;
mod listeners;
mod stage;
mod trace;
