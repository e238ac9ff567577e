//! What each format of records costs: octets, and nanoseconds to encode and decode.
//!
//! `cargo run --release -p mailhorn-events --example formats`

#![allow(clippy::print_stdout, reason = "a table is what it is for")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use mailhorn_events::wire::{Format, decode, encode};
use mailhorn_events::{
    AccountId, Added, Arrival, Event, EventId, Expunged, Happening, MailboxId, MessageId, Record, Stamp,
};

const ROUNDS: u32 = 200_000;

fn message(number: u8) -> MessageId {
    MessageId::new(Stamp(1_767_225_600_000_000), [number; 8])
}

fn record(happening: Happening) -> Record {
    let account = AccountId::from_bytes([2; 16]);
    Record {
        id: EventId::from_bytes([1; 16]),
        stamp: Stamp(1_767_225_600_000_001),
        events: vec![Event {
            user: "ann@example.org".into(),
            account,
            mailbox: Some(MailboxId::inbox(account)),
            happening,
        }],
    }
}

fn delivery() -> Record {
    let prefix = b"Return-Path: <bob@example.net>\r\nDelivered-To: ann@example.org\r\n";
    let messages = vec![Added {
        message: message(1),
        size: 4_321,
        chunks: 1,
        received: Stamp(1_767_225_600_000_000),
        flags: Vec::new(),
        unique_id: None,
        prefix: Bytes::from_static(prefix),
    }];
    let arrival = Arrival::Delivered;
    record(Happening::Added { arrival, messages })
}

fn expunge() -> Record {
    let messages = (0..20).map(|number| Expunged {
        message: message(number),
        size: 4_321,
        received: Stamp(1_767_225_600_000_000),
        flags: Vec::new(),
    });
    record(Happening::Expunged {
        moved_to: None,
        messages: messages.collect(),
    })
}

/// Nanoseconds of one call, on average over many after some that don't count.
fn nanoseconds(mut call: impl FnMut()) -> f64 {
    for _ in 0..ROUNDS / 10 {
        call();
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "it measures real time, and no test pauses it"
    )]
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        call();
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("record            format     octets  encode ns  decode ns");
    for (name, record) in [("delivery to one", delivery()), ("expunge of 20", expunge())] {
        for format in Format::ALL {
            let octets = encode(&record, format);
            if decode(&octets)? != record {
                return Err("what was encoded decodes to something else".into());
            }
            let encoding = nanoseconds(|| {
                black_box(encode(black_box(&record), format));
            });
            let decoding = nanoseconds(|| {
                // An error would have shown above.
                black_box(decode(black_box(&octets)).is_ok());
            });
            let length = octets.len();
            println!(
                "{name:<17} {:<10} {length:>6} {encoding:>10.0} {decoding:>10.0}",
                format.name()
            );
        }
    }
    Ok(())
}
