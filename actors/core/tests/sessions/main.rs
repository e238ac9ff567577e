//! Whole sessions over loopback sockets, on the in-memory store, with its faults.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod authentication;
mod bans;
mod chunking;
mod limits;
mod locks;
mod pop3;
mod proxied;
mod quota;
mod supervision;
mod transfer;
mod utf8;
mod world;
