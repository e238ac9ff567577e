//! The store on a real Cassandra.

#![expect(clippy::unwrap_used, reason = "a test fails where the store does")]

mod bus;
mod contract;
mod listening;
mod processes;
mod support;
mod sweeping;
