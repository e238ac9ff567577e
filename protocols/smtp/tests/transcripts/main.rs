//! Sessions as transcripts, and the table of what the RFCs ask.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

mod authentication;
mod chunking;
mod lmtp;
mod model;
mod rfc;
mod script;
mod smtp;
mod utf8;
