//! Records as octets, frames between nodes, and James' events: nothing panics, and what decodes encodes, in every format, to
//! something that decodes to the same.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mailhorn_events::link::{Body, Frame};
use mailhorn_events::wire::{self, Format};
use mailhorn_events::{Generation, Happened, Position, Record, Stamp, james};

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

fuzz_target!(|octets: &[u8]| {
    if let Ok(record) = wire::decode(octets) {
        holds(record);
    }
    if let Ok(frame) = Frame::decode(&octets.to_vec().into()) {
        assert_eq!(Frame::decode(&frame.encode()), Ok(frame.clone()));
        // As a node answers it.
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
    if let Ok(text) = std::str::from_utf8(octets)
        && let Ok(records) = james::read(text, Stamp(1))
    {
        records.into_iter().for_each(holds);
    }
});
