//! The node as people meet it: mail programs that others wrote, the first command of README, an operator's day.
//!
//! The mail programs come from Debian: curl, mpop, getmail6, fetchmail, swaks, python3. Where one is missing its test
//! does nothing and says so; with `CI=true` it fails.

#![allow(
    clippy::disallowed_methods,
    reason = "processes live in real time, and there is no clock to hand in"
)]

mod conformance;
mod corpus;
mod fetching;
mod kit;
mod operator;
mod postbox;
mod readme;
mod sending;
