//! Apache James' events, in the JSON that its event bus carries: written for those who listen there, and read from there,
//! as far as the two have the same to tell. It is no stored form and no way to make a change: what James leaves out of
//! an event is missing here, too.
//!
//! An event is an object of one field, whose name is the kind; a record is a list of them.
//!
//! | Here | James |
//! | --- | --- |
//! | Added | `Added` |
//! | Expunged | `Expunged` |
//! | FlagsUpdated | `FlagsUpdated` |
//! | MailboxAdded | `MailboxAdded` |
//! | MailboxDeleted | `MailboxDeletion` |
//! | MailboxRenamed | `MailboxRenamed` |
//! | MailboxAclUpdated | `MailboxACLUpdated` |
//! | MailboxSubscribed, MailboxUnsubscribed | `MailboxSubscribedEvent`, `MailboxUnSubscribedEvent` |
//! | MessageMoved | `MessageMoveEvent` |
//! | MessageContentDeleted | `MessageContentDeletionEvent`, one for each message |
//! | QuotaUsageUpdated of a user | `QuotaUsageUpdatedEvent` |
//! | QuotaUsageUpdated of a domain, QuotaLimitsUpdated | – (left out) |
//!
//! # What James has and we don't
//!
//! | Field | Written | Read |
//! | --- | --- | --- |
//! | `uid` | the place in its event, from 1 | the order of messages; see below where the id is missing |
//! | `modSeq` | the record's stamp, which grows as it should | dropped |
//! | `threadId` | the message id: a thread of its own | dropped |
//! | `sessionId` | 0 | dropped |
//! | `saveDate` | left out | dropped |
//! | `path.namespace` | `#private` | dropped |
//! | `path.name`, where our event has no name | `INBOX` for INBOX, else the mailbox id | dropped |
//! | `quotaRoot` | `#private&` and the user | taken for the user's |
//! | `limits` of a quota | empty | dropped; `limit` is what counts |
//! | `time` of a quota | the record's stamp | dropped |
//! | `mailboxACL` of what is gone | left out | dropped |
//! | of a deleted content: `internalDate` | the message id's time | dropped |
//! | `hasAttachments` | `false` | dropped |
//! | `bodyBlobId` | the message id | dropped |
//! | `flags`, `headerBlobId`, `headerContent`, `mailboxPath` | left out | of the last the owner is taken |
//!
//! Where James wants a mailbox and our event has none, the nil UUID is written.
//!
//! # What we have and James doesn't
//!
//! - **An event's name from its record.** James' events each have their own, so each is read as a record of its own with
//!   that name. Of several messages' deleted contents the first keeps the event's name; the others have a UUIDv5 of
//!   it and the message id's octets.
//! - **The stamp** is the reader's to give.
//! - **The account** is not known there: it is read as a UUIDv5 of the owner's name. Who can look it up puts the true one in.
//!   The owner is `path.user`, where there is one, rather than `user`, who may be somebody who acts in another's mailbox.
//! - **Where a copy came from.** It is read as [`Arrival::Copied`](crate::Arrival::Copied) from the nil UUID.
//! - **The mailbox of a MessageMoved.** It is read as none; those that it went from and to are there.
//! - **`chunks`, `prefix`, `unique_id`** aren't written, and read as 0, empty and none.
//! - **Microseconds** of what became of a message's time: James has milliseconds. Times before 1970 are read as 1970.
//! - **Thresholds** of a quota: as reached is read how much of the fuller limit is used, in percent and at most 100,
//!   as before 0; so that the event counts as news.
//!
//! # Names that are no UUID
//!
//! Some of James' stores number messages and mailboxes: `"18"`. An id that isn't a hyphenated UUID is read as a UUIDv5
//! (RFC 9562 §5.5) of its text after `mailbox:` or `message:`, in a name space that is itself the UUIDv5 of the DNS name
//! `james.apache.org`. So the same text is the same mailbox everywhere and always; and the way back doesn't exist. A
//! message of FlagsUpdated without `messageId` (older releases) has a name from its mailbox's and its `uid`. The time of
//! such a message id ([`MessageId::stamp`]) means nothing.
//!
//! # Older releases of James
//!
//! `isDelivery` missing is `false`, `isAppended` missing is `true`, `mailboxACL` may be missing, a `limit` of `null` is
//! unlimited. Fields that are not known are skipped.

mod dto;
mod read;
#[cfg(test)]
mod tests;
mod write;

use uuid::Uuid;

use crate::ids::{AccountId, EventId, MailboxId, MessageId, Stamp};
use crate::model::{Event, Record};
use crate::wire::PAYLOAD_OCTETS_MAX;

/// Why a text is not an event of James.
#[derive(Debug, thiserror::Error)]
pub enum JamesError {
    /// Longer than [`PAYLOAD_OCTETS_MAX`].
    #[error("events of {octets} octets are longer than {PAYLOAD_OCTETS_MAX}")]
    TooLong {
        /// Its length.
        octets: usize,
    },
    /// No JSON, a kind that has no counterpart, or a field that is missing or wrong; the source says which.
    #[error("not an event of James")]
    Malformed(#[from] serde_json::Error),
    /// A time that is none.
    #[error("not a time: {text}")]
    Time {
        /// What stands there, cut after 64 characters.
        text: String,
    },
}

/// A record as a list of James' events, as its bus carries a batch. What has no counterpart is left out, so the list may
/// be empty.
#[must_use]
pub fn write(record: &Record) -> String {
    let events = record.events.iter().enumerate();
    let events =
        events.flat_map(|(index, event)| write_event(record.id.of_event(index), record.stamp, event));
    format!("[{}]", events.collect::<Vec<String>>().join(","))
}

/// An event of the record of `stamp`, with its name, as James' events: one, or none where it has no counterpart, or
/// for deleted contents as many as there are messages.
#[must_use]
pub fn write_event(id: EventId, stamp: Stamp, event: &Event) -> Vec<String> {
    write::event(id, stamp, event)
}

/// Reads one event of James or a list of them, each as a record of its own, with the name that the event has. `stamp` is
/// given to all of them.
///
/// # Errors
///
/// [`JamesError`] when one of them can't be read; then none is.
pub fn read(json: &str, stamp: Stamp) -> Result<Vec<Record>, JamesError> {
    let octets = json.len();
    if octets > PAYLOAD_OCTETS_MAX {
        return Err(JamesError::TooLong { octets });
    }
    read::events(json, stamp)
}

fn name_based(kind: &str, text: &str) -> Uuid {
    let james = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"james.apache.org");
    Uuid::new_v5(&james, format!("{kind}:{text}").as_bytes())
}

/// Only the form with hyphens, in which James writes its own: thirty-two digits could be a number.
fn uuid(kind: &str, text: &str) -> Uuid {
    match Uuid::try_parse(text) {
        Ok(uuid) if text.len() == uuid::fmt::Hyphenated::LENGTH => uuid,
        _ => name_based(kind, text),
    }
}

fn account(user: &str) -> AccountId {
    AccountId(name_based("user", user))
}

fn mailbox(text: &str) -> MailboxId {
    MailboxId(uuid("mailbox", text))
}

fn message(text: &str) -> MessageId {
    MessageId(uuid("message", text))
}

fn message_of_uid(mailbox: MailboxId, uid: u64) -> MessageId {
    MessageId(Uuid::new_v5(&mailbox.0, &uid.to_be_bytes()))
}
