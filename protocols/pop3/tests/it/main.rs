//! The session as a client and a driver see it: transcripts, and a model.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that cannot go on fails the test"
)]

mod authorization;
mod framing;
mod large;
mod model;
mod sasl;
mod support;
mod tls;
mod transaction;
mod utf8;
