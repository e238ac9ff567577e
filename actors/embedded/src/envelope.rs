//! Records as octets: the one place that knows how this store writes them down.

use mailhorn_events::{Record, wire};

pub(crate) fn encode(record: &Record) -> Vec<u8> {
    wire::encode(record, wire::Format::MessagePack)
}

/// The record, or why it can't be read.
pub(crate) fn decode(envelope: &[u8]) -> Result<Record, String> {
    wire::decode(envelope).map_err(|error| error.to_string())
}
