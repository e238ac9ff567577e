//! Version 2 in JSON: objects with the names of `named.rs`, ids as text. And one event as JSON, for those outside.

use serde::Serialize;
use serde::de::DeserializeSeed;
use uuid::Uuid;

use super::named::{Bodies, EventOut, RecordHead, RecordOut};
use super::{DecodeError, Format};
use crate::model::{Happened, Record};

pub(super) fn encode(record: &Record, octets: &mut Vec<u8>) {
    // Serialising these plain types into memory has no way to fail.
    if let Err(error) = serde_json::to_writer(octets, &RecordOut::from(record)) {
        unreachable!("a record of plain fields was not serialisable: {error}");
    }
}

pub(super) fn decode(payload: &[u8]) -> Result<Record, DecodeError> {
    let malformed = |error| DecodeError::malformed(Format::Json, error);
    let heads: RecordHead<'_> = serde_json::from_slice(payload).map_err(malformed)?;
    heads.check_kinds()?;
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let bodies = Bodies(&heads).deserialize(&mut deserializer);
    Ok(heads.into_record(bodies.map_err(malformed)?))
}

#[derive(Serialize)]
struct HappenedOut<'a> {
    id: Uuid,
    position: PositionOut,
    stamp: u64,
    #[serde(flatten)]
    event: EventOut<'a>,
}

#[derive(Serialize)]
struct PositionOut {
    generation: Uuid,
    number: u64,
    index: usize,
}

/// One event as one JSON object on one line, without an end of line: for the webhook, the live feed and the logs.
///
/// ```json
/// {
///   "id": "00000000-0000-0000-0000-000000001111",
///   "position": { "generation": "00000000-0000-0000-0000-000000004444", "number": 7, "index": 0 },
///   "stamp": 1767225600000001,
///   "user": "ann@example.org",
///   "account": "00000000-0000-0000-0000-000000002222",
///   "mailbox": "00000000-0000-0000-0000-000000003333",
///   "kind": "Added",
///   "arrival": "delivered",
///   "messages": [
///     {
///       "message": "019b76da-a800-7000-8909-090909090909",
///       "size": 4294967296,
///       "chunks": 3,
///       "received": 1767225600000000,
///       "flags": [],
///       "prefix": "Return-Path: <>\r\nDelivered-To: ann@example.org\r\n"
///     }
///   ]
/// }
/// ```
///
/// Every event has the fields from `id` to `kind`, in this order. `id` is the same at every delivery of the event.
/// `position` grows within a generation, by number and then by index. `stamp` and `received` are microseconds since the
/// Unix epoch. `mailbox` is `null` where the event is about the user and no mailbox. What else there is goes by `kind`;
/// a field with a question mark is left out where it does not apply:
///
/// | `kind` | Fields |
/// | --- | --- |
/// | `Added` | `arrival`: `delivered`, `appended`, `moved` or `copied`; `from_mailbox`?: of the last two; `messages`: `message`, `size`, `chunks`, `received`, `flags`, `unique_id`?, `prefix`? |
/// | `Expunged` | `moved_to`?: a mailbox; `messages`: `message`, `size`, `received`, `flags` |
/// | `FlagsUpdated` | `messages`: `message`, `before`, `after` |
/// | `MailboxAdded`, `MailboxSubscribed`, `MailboxUnsubscribed` | `name` |
/// | `MailboxRenamed` | `from`, `to` |
/// | `MailboxDeleted` | `name`, `message_count`, `octets` |
/// | `MailboxAclUpdated` | `name`, `before` and `after`: rights by identifier |
/// | `MessageMoved` | `from_mailboxes`, `to_mailboxes`, `messages`: ids |
/// | `MessageContentDeleted` | `messages`: `message`, `octets`, `chunks` |
/// | `QuotaUsageUpdated` | `root`: `user` or `domain`; `domain`?: its name; `message_count`, `octets`, `limits`: `messages` and `octets`, `null` for unlimited; `reached_percent`, `before_percent` |
/// | `QuotaLimitsUpdated` | `root`, `domain`?, `before` and `after`: as `limits` above |
///
/// `prefix` is a string where its octets are UTF-8, as they nearly always are, else an object `{"base64": "…"}`. Fields
/// and kinds may come to be added; none is ever taken away or given another meaning. The events of a record in
/// [`Format::Json`] have the same fields from `user` on.
#[must_use]
pub fn event_json(happened: &Happened) -> String {
    let position = happened.position();
    let out = HappenedOut {
        id: happened.id().0,
        position: PositionOut {
            generation: position.generation.0,
            number: position.number,
            index: happened.index(),
        },
        stamp: happened.stamp().0,
        event: EventOut::from(happened.event()),
    };
    match serde_json::to_string(&out) {
        Ok(json) => json,
        Err(error) => unreachable!("an event of plain fields was not serialisable: {error}"),
    }
}
