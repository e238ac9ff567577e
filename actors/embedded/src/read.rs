//! Listings, figures, octets and the log.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mailhorn_events::{Generation, MailboxId, MessageId, Record, Stamp};
use mailhorn_ports::{Figure, LogEntry, Part, ReadError, Unreadable, ViewRow};

use crate::envelope;
use crate::error::Fault;
use crate::frame::{self, Kind, LogRecord};
use crate::keys;
use crate::opened::Opened;
use crate::rows::{FigureRow, Message, View, decode};

/// At most `limit` rows of a mailbox after `after`.
pub(crate) fn list(
    opened: &Opened,
    mailbox: MailboxId,
    after: Option<MessageId>,
    limit: usize,
) -> Result<Vec<ViewRow>, Fault> {
    let after = after.map(|message| keys::view(mailbox, message));
    let rows = opened.page(&keys::view_of(mailbox), after.as_deref(), limit)?;
    rows.into_iter()
        .map(|(key, row)| {
            let message = keys::message_at_end(&key)
                .ok_or_else(|| Fault::Damaged("a key of the view is malformed".into()))?;
            let row: View = decode(&row)?;
            Ok(ViewRow {
                message,
                size: row.size,
                received: Stamp(row.received),
                stamp: Stamp(row.stamp),
                unique_id: row.unique_id,
            })
        })
        .collect()
}

pub(crate) fn figure(opened: &Opened, mailbox: MailboxId) -> Result<Figure, Fault> {
    figure_at(opened, &keys::figure(mailbox))
}

/// The figure under a key; nothing where there is none.
pub(crate) fn figure_at(opened: &Opened, key: &[u8]) -> Result<Figure, Fault> {
    let FigureRow { messages, octets } = opened.get(key)?.unwrap_or_default();
    Ok(Figure { messages, octets })
}

/// At most `limit` records from number `from` on, those that can't be read among them.
pub(crate) fn records(
    opened: &Opened,
    generation: Generation,
    from: u64,
    limit: usize,
) -> Result<Vec<LogEntry>, Fault> {
    let after = from.checked_sub(1).map(|before| keys::record(generation, before));
    let rows = opened.page(&keys::log(generation), after.as_deref(), limit)?;
    rows.into_iter()
        .map(|(key, value)| {
            let position = keys::position(&key)
                .ok_or_else(|| Fault::Damaged(format!("a key of the log {generation} is malformed")))?;
            Ok(LogEntry {
                number: position.1,
                record: record(position, &value).map(Arc::new),
            })
        })
        .collect()
}

/// The record that stands at a position.
pub(crate) fn record(position: (Generation, u64), value: &[u8]) -> Result<Record, Unreadable> {
    let unreadable = |octets: &[u8], why: String| Unreadable {
        octets: Bytes::copy_from_slice(octets),
        why,
    };
    let found = frame::body(Kind::Record, value)
        .and_then(LogRecord::from_body)
        .filter(|found| (found.generation, found.number) == position)
        .ok_or_else(|| unreadable(value, "it is not what was written".into()))?;
    envelope::decode(found.envelope).map_err(|why| unreadable(found.envelope, why))
}

/// Part `index` of a message in a mailbox.
pub(crate) fn part(
    opened: &Opened,
    mailbox: MailboxId,
    id: MessageId,
    index: u32,
) -> Result<Result<Part, ReadError>, Fault> {
    let Some(view) = opened.get::<View>(&keys::view(mailbox, id))? else {
        return Ok(Err(ReadError::Expunged));
    };
    let Some(message) = opened.get::<Message>(&keys::message(id))? else {
        return Ok(Err(ReadError::Missing));
    };
    let octets = if index < message.chunks {
        let Some(octets) = chunk(opened, id, &message, index)? else {
            return Ok(Err(ReadError::Missing));
        };
        octets
    } else {
        Bytes::new()
    };
    let octets = match index {
        0 if !view.prefix.is_empty() => {
            let mut whole = BytesMut::with_capacity(view.prefix.len() + octets.len());
            whole.extend_from_slice(&view.prefix);
            whole.extend_from_slice(&octets);
            whole.freeze()
        }
        _ => octets,
    };
    Ok(Ok(Part {
        octets,
        more: index.saturating_add(1) < message.chunks,
    }))
}

/// A chunk, followed once if it is moved to another segment at this moment.
fn chunk(opened: &Opened, id: MessageId, message: &Message, index: u32) -> Result<Option<Bytes>, Fault> {
    if let Some(octets) = opened.chunk(message.segment, id, index)? {
        return Ok(Some(octets));
    }
    match opened.get::<Message>(&keys::message(id))? {
        Some(moved) if moved.segment != message.segment => opened.chunk(moved.segment, id, index),
        _ => Ok(None),
    }
}

/// First parts of messages, until they hold `octets_max` octets or one can't be read.
pub(crate) fn ahead(
    opened: &Opened,
    mailbox: MailboxId,
    messages: &[MessageId],
    octets_max: usize,
) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut octets = 0usize;
    for message in messages {
        let Ok(Ok(part)) = part(opened, mailbox, *message, 0) else {
            break;
        };
        octets = octets.saturating_add(part.octets.len());
        parts.push(part);
        if octets >= octets_max {
            break;
        }
    }
    parts
}
