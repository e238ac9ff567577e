//! Sessions as transcripts.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

mod authentication;
mod chunking;
mod lmtp;
mod model;
mod script;
mod smtp;
mod utf8;
