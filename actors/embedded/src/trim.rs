//! Trimming the log: a record goes when every group has finished it, or when it is too old.
//!
//! What goes of a log are always its first records. Where each log begins is remembered, so that what was trimmed need
//! not be stepped over again, and a log that is held back by a group costs one record a step.

use std::collections::BTreeMap;

use mailhorn_events::{Generation, Stamp};
use mailhorn_ports::Retention;

use crate::core::Core;
use crate::draft::Draft;
use crate::error::Fault;
use crate::keys;
use crate::logs;
use crate::read;
use crate::rows::GroupRow;

/// Records that a step trims, and looks at in one log: a few milliseconds, which the next group commit waits.
pub(crate) const TRIMMED_MAX: usize = 1_000;

/// Logs that have records, and a number below which they have none. Lost at a restart, it costs looking again.
#[derive(Debug, Default)]
pub(crate) struct Logs(Option<BTreeMap<Generation, u64>>);

impl Logs {
    /// A record was written to this log.
    pub(crate) fn saw(&mut self, generation: Generation) {
        if let Some(logs) = &mut self.0 {
            logs.entry(generation).or_default();
        }
    }

    /// Nothing is remembered: what was to be trimmed may not have been.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

/// Trims what may go, at most [`TRIMMED_MAX`] records, and gives how many.
///
/// In any case the records of the last group stay, which may be repeated, and the last of the log written to last, which
/// says where that log ends.
pub(crate) fn records(
    core: &Core,
    draft: &mut Draft<'_>,
    logs: &mut Logs,
    retention: Retention,
) -> Result<usize, Fault> {
    let state = draft.state;
    let last: Option<GroupRow> = draft.opened.get(&keys::group())?;
    let kept_from = |generation: Generation| {
        let last = last.iter().filter(|last| last.generation == generation.0);
        let current = (state.generation == generation.0).then_some(state.number);
        last.map(|last| last.first).chain(current).min()
    };
    let mut known = match logs.0.take() {
        Some(known) => known,
        None => logs::with_records(draft.opened)?,
    };
    let (mut trimmed, mut empty) = (0, Vec::new());
    for (generation, first) in &mut known {
        let log = Log {
            generation: *generation,
            end: draft.opened.log_end(*generation)?,
            passed: core.groups.passed(*generation).unwrap_or(u64::MAX),
            kept_from: kept_from(*generation).unwrap_or(u64::MAX),
            records_before: retention.records_before,
        };
        let gone = log.trim(draft, *first, TRIMMED_MAX - trimmed)?;
        trimmed += gone.len();
        if let Some(last) = gone.last() {
            *first = last + 1;
        }
        if *first > log.end || log.end == 0 {
            empty.push(*generation);
        }
    }
    empty.iter().for_each(|generation| {
        known.remove(generation);
    });
    logs.0 = Some(known);
    Ok(trimmed)
}

struct Log {
    generation: Generation,
    /// Its last record: it stays until every group has finished it, so that one that has not sees what it missed.
    end: u64,
    /// The last record that every group has finished.
    passed: u64,
    /// The first record that stays in any case.
    kept_from: u64,
    records_before: Stamp,
}

impl Log {
    /// Removes records from number `first` on while they may go, at most `max`; gives their numbers.
    fn trim(&self, draft: &mut Draft<'_>, first: u64, max: usize) -> Result<Vec<u64>, Fault> {
        let after = first
            .checked_sub(1)
            .map(|number| keys::record(self.generation, number));
        let (mut gone, mut unreadable) = (Vec::new(), Vec::new());
        // Row by row: a log that is held back at its first record costs the reading of that one.
        let log = keys::log(self.generation);
        let rows = draft.opened.scan(&log, after.as_deref());
        for row in rows.take(max) {
            let (key, value) = row?;
            let Some((_, number)) = keys::position(&key).filter(|(_, number)| *number < self.kept_from)
            else {
                break;
            };
            if number <= self.passed {
                gone.push(number);
                continue;
            }
            if number >= self.end {
                break;
            }
            match read::record((self.generation, number), &value) {
                // As old as the next one that can be read.
                Err(_) => unreadable.push(number),
                Ok(record) if record.stamp < self.records_before => {
                    gone.append(&mut unreadable);
                    gone.push(number);
                }
                Ok(_) => break,
            }
        }
        for number in &gone {
            draft.remove(keys::record(self.generation, *number));
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use mailhorn_ports::contract::{World, trimming};
    use mailhorn_ports::{Change, Cursor, GroupStore, MailStore};

    use super::*;
    use crate::testing::open;
    use crate::{EmbeddedStore, frame};

    /// Puts something in a record's place that this release can't read.
    fn garble(store: &EmbeddedStore, generation: Generation, number: u64, value: &[u8]) {
        let garbled = store.core.write(|opened, writer| {
            let mut draft = Draft::new(opened, writer.state);
            draft.put_octets(keys::record(generation, number), value.to_vec());
            store.core.apply(writer, draft)
        });
        garbled.unwrap();
    }

    /// A frame that is whole, around an envelope of a later release.
    fn of_a_later_release(generation: Generation, number: u64) -> Vec<u8> {
        frame::LogRecord {
            sequence: 1,
            generation,
            number,
            envelope: b"\xee\xeelater",
        }
        .frame()
    }

    #[tokio::test]
    async fn records_that_are_damaged_or_of_a_later_release_stop_nothing() {
        for damaged in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let stores = [dir.path().join("a"), dir.path().join("b")].map(|dir| open(&dir).unwrap());
            let garble = |store| {
                move |generation, number| match damaged {
                    true => garble(store, generation, number, b"MHR1 and then nonsense"),
                    false => garble(store, generation, number, &of_a_later_release(generation, number)),
                }
            };
            trimming::an_unreadable_record_hides_none_behind_it(&stores[0], garble(&stores[0])).await;
            trimming::an_unreadable_record_is_as_old_as_the_next(&stores[1], garble(&stores[1])).await;
        }
    }

    #[tokio::test]
    async fn what_a_later_release_wrote_is_given_as_it_stands_in_its_frame() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let mut world = World::new(&store);
        let ann = world.account("ann@example.org").await;
        world.store_message(&[&ann], b"octets").await;
        let generation = world.generation;
        garble(&store, generation, 1, &of_a_later_release(generation, 1));
        let entries = store.records(generation, 1, 9).await.unwrap();
        let unreadable = entries[0].record.as_ref().unwrap_err();
        assert_eq!(&unreadable.octets[..], b"\xee\xeelater");
        // A record under another's number is none, whole as it may be.
        garble(&store, generation, 1, &of_a_later_release(generation, 2));
        let entries = store.records(generation, 1, 9).await.unwrap();
        assert!(
            entries[0]
                .record
                .as_ref()
                .unwrap_err()
                .octets
                .starts_with(b"MHR1")
        );
    }

    #[tokio::test]
    async fn a_group_whose_last_record_is_unreadable_can_not_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let world = World::new(&store);
        let ann = world.account("ann@example.org").await;
        let group = world.group(vec![Change::Deliver(world.delivery(&[&ann], b"octets"))]);
        store.commit(&group).await.unwrap();
        garble(&store, world.generation, 1, b"nonsense");
        assert!(store.commit(&group).await.is_err());
    }

    /// Far more than a step takes, held back in the middle, over a restart.
    #[tokio::test]
    async fn a_long_log_is_trimmed_in_bounded_steps_and_none_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).unwrap();
        let mut world = World::new(&store);
        let ann = world.account("ann@example.org").await;
        let crm = "crm".parse().unwrap();
        store.register_group(&crm, Stamp(1)).await.unwrap();
        for _ in 0..5 {
            let deliveries = (0..500).map(|_| Change::Deliver(world.delivery(&[&ann], b"octets")));
            let group = world.group(deliveries.collect());
            store.commit(&group).await.unwrap();
            world.end += 500;
        }
        world.store_message(&[&ann], b"last").await;
        let log = world.generation;
        for (taken, steps) in [
            (0, &[0][..]),
            (1_500, &[TRIMMED_MAX, 500, 0]),
            (1_501, &[1]),
            (2_501, &[999, 0]),
        ] {
            let cursor = Cursor::at(taken);
            store.save_cursor(&crm, log, &cursor).await.unwrap();
            for step in steps {
                let done = store.maintain(World::<EmbeddedStore>::NOTHING_OLD).await.unwrap();
                assert_eq!(done.records, *step as u64, "taken {taken}");
                assert_eq!(done.more, *step == TRIMMED_MAX);
            }
            let first = store.records(log, 0, 1).await.unwrap()[0].number;
            assert_eq!(first, (taken + 1).min(2_501));
            drop(store);
            store = open(dir.path()).unwrap();
        }
    }
}
