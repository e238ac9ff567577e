//! Records as octets, frames between nodes, and James' events: what decodes encodes, in every format, to something that decodes
//! to the same.

use std::sync::Arc;

use mailhorn_events::link::{Body, Frame};
use mailhorn_events::wire::{self, Format};
use mailhorn_events::{Generation, Happened, Position, Record, Stamp, james};

/// A record with its envelope, in any version and format.
pub(crate) fn record(input: &[u8]) {
    if let Ok(record) = wire::decode(input) {
        holds(record);
    }
}

/// What one node sends to another.
pub(crate) fn frame(input: &[u8]) {
    let Ok(frame) = Frame::decode(&input.to_vec().into()) else {
        return;
    };
    assert_eq!(Frame::decode(&frame.encode()), Ok(frame.clone()));
    // As a node takes it.
    if let Body::Record(_, octets) = &frame.body {
        record(octets);
    }
    if let Body::Probe(id) = frame.body {
        let echo = Frame {
            origin: frame.receiver,
            receiver: frame.origin,
            body: Body::Echo(id),
            ..frame
        };
        assert_eq!(Frame::decode(&echo.encode()), Ok(echo));
    }
}

/// One event of James, or a list of them.
pub(crate) fn james(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(records) = james::read(text, Stamp(1))
    {
        records.into_iter().for_each(holds);
    }
}

fn holds(record: Record) {
    for format in Format::ALL {
        let again = wire::decode(&wire::encode(&record, format)).expect("what was encoded decodes");
        assert_eq!(again, record, "{format}");
    }
    let written = james::write(&record);
    james::read(&written, record.stamp).expect("what was written for James is read");
    let position = Position {
        generation: Generation::from_bytes([7; 16]),
        number: 1,
    };
    for happened in Happened::all(position, &Arc::new(record)) {
        assert!(!wire::event_json(&happened).contains('\n'));
    }
}
