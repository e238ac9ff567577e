//! Records as octets: a versioned envelope around MessagePack.
//!
//! ```text
//! octet 0     version of the envelope and of the payload's fields (1)
//! octet 1     format of the payload (1: MessagePack, maps with field names)
//! octets 2…   payload
//! ```
//!
//! A field may be added with a default within a version: readers skip what they don't know. Anything else is a new
//! version; every version ever shipped stays readable (the golden files under `golden/` hold that). The types here
//! are private copies of the model, so that changing the model can't change the wire by accident.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{AccountId, EventId, MailboxId, MessageId, Stamp};
use crate::model::{Added, Event, Expunged, Happening, Record};

const VERSION: u8 = 1;
const MESSAGE_PACK: u8 = 1;

/// Why octets are not a record. The octets are the caller's to keep: a later release may know them.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Fewer octets than the envelope's own two.
    #[error("too short for an envelope")]
    TooShort,
    /// A version or format of a later release.
    #[error("version {version} in format {format} is not known to this release")]
    Unknown {
        /// Octet 0.
        version: u8,
        /// Octet 1.
        format: u8,
    },
    /// The payload is not what its envelope says.
    #[error("the payload is malformed")]
    Malformed(#[source] rmp_serde::decode::Error),
}

#[derive(Serialize, Deserialize)]
struct RecordV1 {
    id: Uuid,
    stamp: u64,
    events: Vec<EventV1>,
}

#[derive(Serialize, Deserialize)]
struct EventV1 {
    user: String,
    account: Uuid,
    mailbox: Uuid,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    added: Vec<AddedV1>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expunged: Vec<ExpungedV1>,
}

#[derive(Serialize, Deserialize)]
struct AddedV1 {
    message: Uuid,
    size: u64,
    chunks: u32,
    received: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique_id: Option<String>,
    #[serde(default)]
    prefix: Bytes,
}

#[derive(Serialize, Deserialize)]
struct ExpungedV1 {
    message: Uuid,
    size: u64,
}

/// Writes a record down in the current version.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let mut octets = vec![VERSION, MESSAGE_PACK];
    let dto = RecordV1::from(record);
    // Serialising these plain types into memory has no way to fail.
    if let Err(error) = dto.serialize(&mut rmp_serde::Serializer::new(&mut octets).with_struct_map()) {
        unreachable!("a record of plain fields was not serialisable: {error}");
    }
    octets
}

/// Reads a record of any version shipped so far.
///
/// # Errors
///
/// [`DecodeError`] when the octets are of a later release or are no record.
pub fn decode(octets: &[u8]) -> Result<Record, DecodeError> {
    match octets {
        [VERSION, MESSAGE_PACK, payload @ ..] => {
            let dto: RecordV1 = rmp_serde::from_slice(payload).map_err(DecodeError::Malformed)?;
            Ok(dto.into())
        }
        [version, format, ..] => Err(DecodeError::Unknown {
            version: *version,
            format: *format,
        }),
        _ => Err(DecodeError::TooShort),
    }
}

impl From<&Record> for RecordV1 {
    fn from(record: &Record) -> Self {
        Self {
            id: record.id.0,
            stamp: record.stamp.0,
            events: record.events.iter().map(EventV1::from).collect(),
        }
    }
}

impl From<&Event> for EventV1 {
    fn from(event: &Event) -> Self {
        let (added, expunged) = match &event.happening {
            Happening::Added(messages) => (messages.iter().map(AddedV1::from).collect(), Vec::new()),
            Happening::Expunged(messages) => (Vec::new(), messages.iter().map(ExpungedV1::from).collect()),
        };
        Self {
            user: event.user.clone(),
            account: event.account.0,
            mailbox: event.mailbox.0,
            added,
            expunged,
        }
    }
}

impl From<&Added> for AddedV1 {
    fn from(added: &Added) -> Self {
        Self {
            message: added.message.0,
            size: added.size,
            chunks: added.chunks,
            received: added.received.0,
            flags: added.flags.clone(),
            unique_id: added.unique_id.clone(),
            prefix: added.prefix.clone(),
        }
    }
}

impl From<&Expunged> for ExpungedV1 {
    fn from(expunged: &Expunged) -> Self {
        Self {
            message: expunged.message.0,
            size: expunged.size,
        }
    }
}

impl From<RecordV1> for Record {
    fn from(dto: RecordV1) -> Self {
        Self {
            id: EventId(dto.id),
            stamp: Stamp(dto.stamp),
            events: dto.events.into_iter().map(Event::from).collect(),
        }
    }
}

impl From<EventV1> for Event {
    fn from(dto: EventV1) -> Self {
        let happening = if dto.expunged.is_empty() {
            Happening::Added(dto.added.into_iter().map(Added::from).collect())
        } else {
            Happening::Expunged(dto.expunged.into_iter().map(Expunged::from).collect())
        };
        Self {
            user: dto.user,
            account: AccountId(dto.account),
            mailbox: MailboxId(dto.mailbox),
            happening,
        }
    }
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
        Self {
            message: MessageId(dto.message),
            size: dto.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN_ADDED: &[u8] = include_bytes!("golden/v1_added.bin");
    const GOLDEN_EXPUNGED: &[u8] = include_bytes!("golden/v1_expunged.bin");

    fn record(events: Vec<Event>) -> Record {
        Record {
            id: EventId(Uuid::from_u128(0x1111)),
            stamp: Stamp(1_767_225_600_000_001),
            events,
        }
    }

    fn event(happening: Happening) -> Event {
        Event {
            user: "ann@example.org".into(),
            account: AccountId(Uuid::from_u128(0x2222)),
            mailbox: MailboxId(Uuid::from_u128(0x3333)),
            happening,
        }
    }

    fn added() -> Record {
        let message = MessageId::new(Stamp(1_767_225_600_000_000), [9; 8]);
        let plain = Added {
            message,
            size: 4_294_967_296,
            chunks: 3,
            received: Stamp(1_767_225_600_000_000),
            flags: Vec::new(),
            unique_id: None,
            prefix: Bytes::from_static(b"Return-Path: <>\r\nDelivered-To: ann@example.org\r\n"),
        };
        let full = Added {
            flags: vec!["\\Seen".into()],
            unique_id: Some("0000a1".into()),
            ..plain.clone()
        };
        let other = Event {
            user: "bob@example.org".into(),
            ..event(Happening::Added(vec![full]))
        };
        record(vec![event(Happening::Added(vec![plain])), other])
    }

    fn expunged() -> Record {
        let message = MessageId::new(Stamp(1_767_225_600_000_000), [9; 8]);
        record(vec![event(Happening::Expunged(vec![Expunged {
            message,
            size: 17,
        }]))])
    }

    /// Run with `MAILHORN_WRITE_GOLDEN=1` once for a new version, never for an old one.
    #[test]
    fn every_golden_file_decodes_and_the_current_version_encodes_to_it() {
        for (name, golden, record) in [
            ("v1_added", GOLDEN_ADDED, added()),
            ("v1_expunged", GOLDEN_EXPUNGED, expunged()),
        ] {
            if std::env::var_os("MAILHORN_WRITE_GOLDEN").is_some() {
                let path = format!("{}/src/golden/{name}.bin", env!("CARGO_MANIFEST_DIR"));
                std::fs::write(path, encode(&record)).unwrap();
            }
            assert_eq!(decode(golden).unwrap(), record, "{name}");
            assert_eq!(encode(&record), golden, "{name}");
        }
    }

    #[test]
    fn a_field_of_a_later_release_is_skipped() {
        #[derive(Serialize)]
        struct Later {
            id: Uuid,
            stamp: u64,
            events: Vec<EventV1>,
            colour: &'static str,
        }
        let later = Later {
            id: Uuid::nil(),
            stamp: 3,
            events: Vec::new(),
            colour: "blue",
        };
        let mut octets = vec![VERSION, MESSAGE_PACK];
        octets.extend(rmp_serde::to_vec_named(&later).unwrap());
        assert_eq!(decode(&octets).unwrap().stamp, Stamp(3));
    }

    #[test]
    fn an_unknown_version_says_which() {
        let mut octets = encode(&expunged());
        *octets.first_mut().unwrap() = 9;
        assert!(matches!(
            decode(&octets),
            Err(DecodeError::Unknown {
                version: 9,
                format: 1
            })
        ));
        assert!(matches!(decode(&[1]), Err(DecodeError::TooShort)));
        assert!(matches!(decode(&[1, 1, 0xc1]), Err(DecodeError::Malformed(_))));
    }
}
