//! Events for this crate's tests.

use std::sync::Arc;

use bytes::Bytes;
use mailhorn_events::{
    AccountId, Added, Arrival, Event, EventId, Generation, Happened, Happening, MailboxId, MessageId,
    Position, Record, Stamp,
};
use uuid::Uuid;

/// The stamp of all of them: 2026-01-01T00:00:00.000001Z.
pub(crate) const STAMP: Stamp = Stamp(1_767_225_600_000_001);

/// The message `n`.
pub(crate) fn message(n: u128) -> MessageId {
    MessageId(Uuid::from_u128(n))
}

/// One record with these, at position 7.
pub(crate) fn happened(happenings: impl IntoIterator<Item = Happening>) -> Vec<Happened> {
    let event = |happening| Event {
        user: "ann@example.org".into(),
        account: AccountId(Uuid::from_u128(0x2222)),
        mailbox: Some(MailboxId(Uuid::from_u128(0x3333))),
        happening,
    };
    let record = Record {
        id: EventId(Uuid::from_u128(0x1111)),
        stamp: STAMP,
        events: happenings.into_iter().map(event).collect(),
    };
    let position = Position {
        generation: Generation(Uuid::from_u128(0x4444)),
        number: 7,
    };
    Happened::all(position, &Arc::new(record)).collect()
}

/// So many messages were delivered.
pub(crate) fn delivered(messages: u128) -> Happening {
    let added = |n| Added {
        message: message(n),
        size: 100,
        chunks: 1,
        received: STAMP,
        flags: Vec::new(),
        unique_id: None,
        prefix: Bytes::from_static(b"Return-Path: <secret@example.org>\r\n"),
    };
    Happening::Added {
        arrival: Arrival::Delivered,
        messages: (1..=messages).map(added).collect(),
    }
}

/// A mailbox of this name was made.
pub(crate) fn made(name: &str) -> Happening {
    Happening::MailboxAdded {
        name: name.to_owned(),
    }
}
