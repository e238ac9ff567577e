//! The youngest records of this process's log, in memory: what groups that keep up read, so that they cost the store
//! nothing. A group that is further behind reads the store until it has caught up.

use std::collections::VecDeque;
use std::sync::Arc;

use mailhorn_events::{Happening, Record};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Records that are kept at most.
pub const TAIL_RECORDS_MAX: usize = 8_192;
/// Octets that they take at most, about.
pub const TAIL_OCTETS_MAX: usize = 8 * 1024 * 1024;

#[derive(Debug, Default)]
struct Kept {
    /// The number of the first record here.
    first: u64,
    records: VecDeque<(Arc<Record>, usize)>,
    octets: usize,
}

/// The tail of the log of this process.
#[derive(Debug)]
pub(super) struct Tail {
    kept: Mutex<Kept>,
    /// The number of the last record that was acknowledged.
    head: watch::Sender<u64>,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            head: watch::Sender::new(0),
        }
    }
}

impl Tail {
    /// Records that were acknowledged, in their order.
    pub(super) fn push(&self, first: u64, records: &[Arc<Record>]) {
        let mut head = first.saturating_sub(1);
        {
            let mut kept = self.kept.lock();
            if kept.first.saturating_add(kept.records.len() as u64) != first {
                *kept = Kept {
                    first,
                    ..Kept::default()
                };
            }
            for record in records {
                let octets = octets(record);
                kept.records.push_back((Arc::clone(record), octets));
                kept.octets += octets;
                head += 1;
            }
            while kept.records.len() > TAIL_RECORDS_MAX || kept.octets > TAIL_OCTETS_MAX {
                let Some((_, octets)) = kept.records.pop_front() else {
                    break;
                };
                kept.octets -= octets;
                kept.first += 1;
            }
        }
        self.head.send_replace(head);
    }

    /// At most `limit` records from number `from` on; `None` when it is no longer here.
    pub(super) fn from(&self, from: u64, limit: usize) -> Option<Vec<(u64, Arc<Record>)>> {
        let kept = self.kept.lock();
        let skip = usize::try_from(from.checked_sub(kept.first)?).ok()?;
        let records = kept.records.iter().skip(skip).take(limit);
        Some(
            (from..)
                .zip(records.map(|(record, _)| Arc::clone(record)))
                .collect(),
        )
    }

    /// The number of the last record, and its changes.
    pub(super) fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

/// About what a record takes in memory.
pub(super) fn octets(record: &Record) -> usize {
    let lists = record.events.iter().map(|event| {
        let list = match &event.happening {
            Happening::Added { messages, .. } => messages.iter().map(|added| 160 + added.prefix.len()).sum(),
            Happening::Expunged { messages, .. } => messages.len() * 64,
            Happening::MessageContentDeleted(messages) => messages.len() * 32,
            Happening::FlagsUpdated(messages) => messages.len() * 256,
            Happening::MessageMoved { messages, .. } => messages.len() * 16,
            _ => 256,
        };
        list + event.user.len() + 128
    });
    lists.sum::<usize>() + 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailhorn_events::{EventId, Stamp};
    use uuid::Uuid;

    fn records(count: u64) -> Vec<Arc<Record>> {
        let record = |n| Record {
            id: EventId(Uuid::from_u128(n)),
            stamp: Stamp(0),
            events: Vec::new(),
        };
        (0..u128::from(count)).map(|n| Arc::new(record(n))).collect()
    }

    #[test]
    fn what_is_kept_is_given_from_any_number_on() {
        let tail = Tail::default();
        tail.push(1, &records(3));
        tail.push(4, &records(2));
        let numbers = |from, limit| -> Option<Vec<u64>> {
            Some(
                tail.from(from, limit)?
                    .into_iter()
                    .map(|(number, _)| number)
                    .collect(),
            )
        };
        assert_eq!(numbers(2, 3), Some(vec![2, 3, 4]));
        assert_eq!(numbers(6, 3), Some(vec![]));
        assert_eq!(*tail.head().borrow(), 5);
        tail.push(6, &records(TAIL_RECORDS_MAX as u64));
        assert_eq!(numbers(5, 1), None, "it fell out");
        assert_eq!(numbers(6, 1), Some(vec![6]));
    }
}
