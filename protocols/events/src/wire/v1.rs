//! Version 1, as the first release wrote it: MessagePack, Added and Expunged. It is read for ever and written no more.
//!
//! What it doesn't have is filled: an arrival is a delivery, an expunged message was taken at its id's time and has no
//! flags. Octets behind the record are ignored, as they always were.

use bytes::Bytes;
use serde::Deserialize;
use uuid::Uuid;

use super::{DecodeError, Format, message_pack};
use crate::ids::{AccountId, EventId, MailboxId, MessageId, Stamp};
use crate::model::{Added, Arrival, Event, Expunged, Happening, Record};

// That these are the fields that were written is what the tests serialise them for.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct RecordV1 {
    id: Uuid,
    stamp: u64,
    events: Vec<EventV1>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct EventV1 {
    user: String,
    account: Uuid,
    mailbox: Uuid,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Vec::is_empty"))]
    added: Vec<AddedV1>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Vec::is_empty"))]
    expunged: Vec<ExpungedV1>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct AddedV1 {
    message: Uuid,
    size: u64,
    chunks: u32,
    received: u64,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Vec::is_empty"))]
    flags: Vec<String>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    unique_id: Option<String>,
    #[serde(default)]
    prefix: Bytes,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct ExpungedV1 {
    message: Uuid,
    size: u64,
}

pub(super) fn decode(payload: &[u8]) -> Result<Record, DecodeError> {
    let mut deserializer = message_pack::deserializer(payload);
    let dto = RecordV1::deserialize(&mut deserializer)
        .map_err(|error| DecodeError::malformed(Format::MessagePack, error))?;
    let events: Result<Vec<Event>, DecodeError> = dto.events.into_iter().map(event).collect();
    Ok(Record {
        id: EventId(dto.id),
        stamp: Stamp(dto.stamp),
        events: events?,
    })
}

fn event(dto: EventV1) -> Result<Event, DecodeError> {
    // Nobody wrote an event with both. Taking one of them would lose the other without a word.
    if !dto.added.is_empty() && !dto.expunged.is_empty() {
        let error = "an event that both adds and expunges";
        return Err(DecodeError::malformed(Format::MessagePack, error));
    }
    let happening = if dto.expunged.is_empty() {
        Happening::Added {
            arrival: Arrival::Delivered,
            messages: dto.added.into_iter().map(Added::from).collect(),
        }
    } else {
        Happening::Expunged {
            moved_to: None,
            messages: dto.expunged.into_iter().map(Expunged::from).collect(),
        }
    };
    Ok(Event {
        user: dto.user,
        account: AccountId(dto.account),
        mailbox: Some(MailboxId(dto.mailbox)),
        happening,
    })
}

impl From<AddedV1> for Added {
    fn from(dto: AddedV1) -> Self {
        Self {
            message: MessageId(dto.message),
            size: dto.size,
            chunks: dto.chunks,
            received: Stamp(dto.received),
            flags: dto.flags,
            unique_id: dto.unique_id,
            prefix: dto.prefix,
        }
    }
}

impl From<ExpungedV1> for Expunged {
    fn from(dto: ExpungedV1) -> Self {
        let message = MessageId(dto.message);
        Self {
            message,
            size: dto.size,
            received: message.stamp(),
            flags: Vec::new(),
        }
    }
}
