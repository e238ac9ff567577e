//! The session as a client and a driver see it: transcripts, a model, and the table of rules.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that cannot go on fails the test"
)]

mod authorization;
mod framing;
mod large;
mod model;
mod rfc_table;
mod sasl;
mod support;
mod tls;
mod transaction;
mod utf8;
