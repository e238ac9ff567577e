//! One append as it lies in the log: the records of a group in one value, and the notes of their deliveries in another.
//!
//! ```text
//! records   for each: its length (4 octets), then the record as `mailhorn_events::wire` writes it
//! notes     for each: record and event that it belongs to (4 octets each, counted from 0), then the key (32)
//! ```

use std::sync::Arc;

use bytes::Bytes;
use mailhorn_events::{Record, wire};
use mailhorn_ports::{LogEntry, NoteKey, StoreError, Unreadable};

const NOTE_OCTETS: usize = 40;

/// A note of a delivery, with the place of the event that tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlacedNote {
    /// Which record of the group.
    pub(crate) record: u32,
    /// Which of its events.
    pub(crate) event: u32,
    pub(crate) key: NoteKey,
}

pub(crate) fn pack(records: &[Record]) -> Vec<u8> {
    let mut packed = Vec::new();
    for record in records {
        let octets = wire::encode(record, wire::Format::MessagePack);
        let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        packed.extend_from_slice(&length.to_be_bytes());
        packed.extend_from_slice(&octets);
    }
    packed
}

/// The records of an append, the first of which has number `first`. One that can't be read is told as such; a frame that
/// is cut short ends the row, and what should follow is one unreadable entry for each number.
pub(crate) fn unpack(first: u64, last: u64, packed: &Bytes) -> Vec<LogEntry> {
    let mut rest = packed.clone();
    (first..=last)
        .map(|number| {
            let record = match next(&mut rest) {
                Some(octets) => wire::decode(&octets).map(Arc::new).map_err(|error| Unreadable {
                    octets,
                    why: error.to_string(),
                }),
                None => Err(Unreadable {
                    octets: std::mem::take(&mut rest),
                    why: "the append that holds it is cut short".into(),
                }),
            };
            LogEntry { number, record }
        })
        .collect()
}

fn next(rest: &mut Bytes) -> Option<Bytes> {
    let length: [u8; 4] = rest.get(..4)?.try_into().ok()?;
    let end = usize::try_from(u32::from_be_bytes(length)).ok()?.checked_add(4)?;
    if end > rest.len() {
        return None;
    }
    let octets = rest.slice(4..end);
    *rest = rest.slice(end..);
    Some(octets)
}

pub(crate) fn pack_notes<'a>(notes: impl Iterator<Item = &'a PlacedNote>) -> Vec<u8> {
    let mut packed = Vec::new();
    for note in notes {
        packed.extend_from_slice(&note.record.to_be_bytes());
        packed.extend_from_slice(&note.event.to_be_bytes());
        packed.extend_from_slice(&note.key.0);
    }
    packed
}

/// # Errors
///
/// [`StoreError::Damaged`].
pub(crate) fn unpack_notes(packed: &[u8]) -> Result<Vec<PlacedNote>, StoreError> {
    let (notes, rest) = packed.as_chunks::<NOTE_OCTETS>();
    if !rest.is_empty() {
        return Err(StoreError::Damaged("notes of an append are cut short".into()));
    }
    let number = |octets: &[u8]| {
        octets
            .iter()
            .fold(0u32, |number, octet| number << 8 | u32::from(*octet))
    };
    let note = |note: &[u8; NOTE_OCTETS]| {
        let (place, key) = note.split_at(8);
        let (record, event) = place.split_at(4);
        let mut octets = [0; 32];
        octets.copy_from_slice(key);
        PlacedNote {
            record: number(record),
            event: number(event),
            key: NoteKey(octets),
        }
    };
    Ok(notes.iter().map(note).collect())
}

#[cfg(test)]
mod tests {
    use mailhorn_events::{EventId, Stamp};
    use uuid::Uuid;

    use super::*;

    fn record(n: u64) -> Record {
        Record {
            id: EventId(Uuid::from_u128(n.into())),
            stamp: Stamp(n),
            events: Vec::new(),
        }
    }

    #[test]
    fn an_append_comes_back() {
        let records: Vec<Record> = (1..=3).map(record).collect();
        let entries = unpack(7, 9, &pack(&records).into());
        let expected = (7..).zip(records).map(|(number, record)| LogEntry {
            number,
            record: Ok(Arc::new(record)),
        });
        assert_eq!(entries, expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_cut_short_leaves_no_number_out() {
        let whole = pack(&[record(1), record(2)]);
        for cut in 0..whole.len() {
            let entries = unpack(1, 2, &Bytes::copy_from_slice(&whole[..cut]));
            assert_eq!(
                entries.iter().map(|entry| entry.number).collect::<Vec<_>>(),
                [1, 2],
                "{cut}"
            );
            assert!(entries[1].record.is_err(), "{cut}");
        }
    }

    #[test]
    fn notes_come_back() {
        let notes = [(0, 1, 5), (300, 70_000, 6)].map(|(record, event, key)| PlacedNote {
            record,
            event,
            key: NoteKey([key; 32]),
        });
        let packed = pack_notes(notes.iter());
        assert_eq!(unpack_notes(&packed).unwrap(), notes);
        assert!(unpack_notes(&packed[1..]).is_err());
    }
}
