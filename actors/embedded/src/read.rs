//! Listings, figures, octets and the log.

use bytes::{Bytes, BytesMut};
use mailhorn_events::{Generation, MailboxId, MessageId, Record, Stamp, wire};
use mailhorn_ports::{Figure, Part, ReadError, ViewRow};

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
    let figure: FigureRow = opened.get(&keys::figure(mailbox))?.unwrap_or_default();
    Ok(Figure {
        messages: figure.messages,
        octets: figure.octets,
    })
}

/// At most `limit` records from number `from` on. A record that is damaged ends the answer with an error.
pub(crate) fn records(
    opened: &Opened,
    generation: Generation,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, Record)>, Fault> {
    let after = from.checked_sub(1).map(|before| keys::record(generation, before));
    let rows = opened.page(&keys::log(generation), after.as_deref(), limit)?;
    rows.iter()
        .map(|(_, value)| {
            let damaged = |why: &str| Fault::Damaged(format!("a record of the log {generation} {why}"));
            let record = frame::body(Kind::Record, value)
                .and_then(LogRecord::from_body)
                .ok_or_else(|| damaged("is not what was written"))?;
            let decoded = wire::decode(record.envelope).map_err(|error| damaged(&error.to_string()))?;
            Ok((record.number, decoded))
        })
        .collect()
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
