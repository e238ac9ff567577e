//! Sessions as transcripts.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

mod lmtp;
mod script;
mod smtp;
