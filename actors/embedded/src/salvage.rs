//! What to do when acknowledged changes are missing: look for them in the journal as it was found.
//!
//! Records, changes of the directory and chunks say what they are (see [`crate::frame`]), so they are found wherever
//! they lie, whatever is damaged around them. What the journal holds up to its first damage is replayed as always;
//! records and changes of later batches are made again in order, each batch under its own number, so a salvage that did
//! not end can be run again. Notes of batches behind the damage are not recovered: a retry may be delivered twice. Nor is
//! what groups of listeners wrote there: a cursor is further back, a letter that was parked or dead is one no longer and
//! its event is handled again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use fjall::PersistMode;
use mailhorn_events::{Generation, Happening, MessageId, Record};

use crate::draft::Draft;
use crate::envelope;
use crate::error::{Fault, SalvageError};
use crate::frame::{self, Chunk, DirectoryChange, Kind, LogRecord};
use crate::journal;
use crate::keys;
use crate::mark::Mark;
use crate::opened::Opened;
use crate::options::Options;
use crate::rows::{DirectoryRow, Message, Segment, State, decode};
use crate::start::{self, Paths};

/// Records of one log, first and last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Whose log.
    pub generation: Generation,
    /// The first record.
    pub first: u64,
    /// The last record.
    pub last: u64,
}

/// What was found and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SalvageReport {
    /// Records that were found behind the damage and made again.
    pub recovered: Vec<Range>,
    /// Acknowledged records that were not found.
    pub lost: Vec<Range>,
    /// Changes of domains and accounts that were found behind the damage and made again.
    pub directory_changes: u64,
    /// Messages that are listed and whose octets were not found.
    pub octets_lost: Vec<MessageId>,
}

impl fmt::Display for SalvageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges = |what: &str, ranges: &[Range]| {
            ranges.iter().try_for_each(|range| {
                writeln!(
                    f,
                    "{what}: records {} to {} of the log {}",
                    range.first, range.last, range.generation
                )
            })
        };
        ranges("recovered", &self.recovered)?;
        ranges("lost", &self.lost)?;
        writeln!(
            f,
            "recovered: {} changes of domains and accounts",
            self.directory_changes
        )?;
        self.octets_lost
            .iter()
            .try_for_each(|message| writeln!(f, "lost: the octets of message {message}"))?;
        if self.lost.is_empty() && self.octets_lost.is_empty() {
            writeln!(f, "no acknowledged mail is missing")?;
        }
        Ok(())
    }
}

/// Recovers what the journal holds of missing changes, and then takes what is there for the truth. Blocks. Never runs by
/// itself, and is harmless where nothing is missing.
///
/// # Errors
///
/// [`SalvageError`]: it can be run again.
pub fn salvage(dir: &Path, options: &Options) -> Result<SalvageReport, SalvageError> {
    let paths = Paths::new(dir);
    let _lock = start::lock(&paths)?;
    let unfinished = |error: std::io::Error| SalvageError::Unfinished(error.to_string());
    let mark_file = start::mark_file(&paths).map_err(unfinished)?;
    journal::keep(&paths.store(), &paths.kept()).map_err(unfinished)?;
    if paths.kept().exists() {
        journal::sync_kept(&paths.kept()).map_err(unfinished)?;
        journal::restore(&paths.kept(), &paths.store()).map_err(unfinished)?;
    }
    let (opened, before) = start::open(&paths, options)?;
    let journals = read_kept(&paths).map_err(unfinished)?;
    let found = Found::scan(&journals, before.sequence);
    let report = recover(&opened, before, &found, mark_file.read())?;
    let state = opened.state()?;
    opened.flush()?;
    drop(opened);
    journal::start_anew(&paths.store()).map_err(unfinished)?;
    let (generation, number) = (Generation(state.generation), state.number);
    mark_file
        .replace(Mark {
            sequence: state.sequence,
            generation,
            number,
        })
        .map_err(unfinished)?;
    journal::remove(&paths.kept()).map_err(unfinished)?;
    Ok(report)
}

fn read_kept(paths: &Paths) -> std::io::Result<Vec<Vec<u8>>> {
    journal::list(&paths.kept())?
        .into_iter()
        .map(|(_, path)| fs::read(path))
        .collect()
}

/// What one batch changed.
#[derive(Default)]
struct Batch {
    records: BTreeMap<(Generation, u64), Record>,
    directory: Option<DirectoryRow>,
}

/// Frames in the journals.
struct Found<'a> {
    /// Batches behind the last one that was replayed.
    batches: BTreeMap<u64, Batch>,
    chunks: BTreeMap<(MessageId, u32), &'a [u8]>,
}

impl<'a> Found<'a> {
    fn scan(journals: &'a [Vec<u8>], replayed: u64) -> Self {
        let mut found = Self {
            batches: BTreeMap::new(),
            chunks: BTreeMap::new(),
        };
        for journal in journals {
            for at in memchr::memmem::find_iter(journal, b"MH") {
                let octets = &journal[at..];
                if let Some((kind, body)) =
                    frame::kind(octets).and_then(|kind| Some((kind, frame::body(kind, octets)?)))
                {
                    found.take(kind, body, replayed);
                }
            }
        }
        found
    }

    fn take(&mut self, kind: Kind, body: &'a [u8], replayed: u64) {
        match kind {
            Kind::Chunk => {
                if let Some(chunk) = Chunk::from_body(body) {
                    self.chunks.insert((chunk.message, chunk.index), chunk.octets);
                }
            }
            Kind::Record => {
                if let Some(found) = LogRecord::from_body(body).filter(|found| found.sequence > replayed)
                    && let Ok(record) = envelope::decode(found.envelope)
                {
                    let batch = self.batches.entry(found.sequence).or_default();
                    batch.records.insert((found.generation, found.number), record);
                }
            }
            Kind::Directory => {
                if let Some(found) =
                    DirectoryChange::from_body(body).filter(|found| found.sequence > replayed)
                    && let Ok(change) = decode(found.row)
                {
                    self.batches.entry(found.sequence).or_default().directory = Some(change);
                }
            }
        }
    }

    fn positions(&self) -> BTreeSet<(Generation, u64)> {
        self.batches
            .values()
            .flat_map(|batch| batch.records.keys().copied())
            .collect()
    }
}

fn recover(
    opened: &Opened,
    before: State,
    found: &Found<'_>,
    mark: Option<Mark>,
) -> Result<SalvageReport, SalvageError> {
    let mut messages = messages_behind(opened)?;
    let positions = found.positions();
    let lost = gaps(opened, before, &positions, mark)?;
    let mut state = before;
    for (sequence, batch) in &found.batches {
        // The batch keeps its number, so that a salvage that stops here is taken up here.
        state.sequence = sequence.saturating_sub(1);
        state = remake(opened, state, batch, found, &mut messages)?;
    }
    let octets_lost = restore_octets(opened, found, &messages)?;
    agree(opened)?;
    let directory_changes = found
        .batches
        .values()
        .filter(|batch| batch.directory.is_some())
        .count() as u64;
    Ok(SalvageReport {
        recovered: ranges(&positions),
        lost,
        directory_changes,
        octets_lost,
    })
}

/// Makes a batch again.
fn remake(
    opened: &Opened,
    state: State,
    batch: &Batch,
    found: &Found<'_>,
    messages: &mut BTreeSet<MessageId>,
) -> Result<State, Fault> {
    let mut draft = Draft::new(opened, state);
    for ((generation, number), record) in &batch.records {
        let added = added(record);
        let segment = added
            .first()
            .map_or(Ok(0), |message| home(opened, *message, found))?;
        draft.make(record, segment)?;
        draft.log(*generation, *number, record);
        messages.extend(added);
    }
    if let Some(change) = &batch.directory {
        draft.direct(change)?;
    }
    let state = draft.state;
    draft.write(|| ())?;
    Ok(state)
}

fn added(record: &Record) -> Vec<MessageId> {
    let of = |happening: &Happening| match happening {
        Happening::Added { messages, .. } => messages.iter().map(|added| added.message).collect(),
        _ => Vec::new(),
    };
    record
        .events
        .iter()
        .flat_map(|event| of(&event.happening))
        .collect()
}

/// The segment that has a chunk of the message already, or else the current one.
fn home(opened: &Opened, message: MessageId, found: &Found<'_>) -> Result<u64, Fault> {
    let indices: Vec<u32> = found
        .chunks
        .range((message, 0)..=(message, u32::MAX))
        .map(|((_, index), _)| *index)
        .collect();
    for segment in opened.segment_ids().into_iter().rev() {
        for index in indices.iter().copied().chain([0]) {
            if matches!(opened.has_chunk(segment, message, index), Ok(true)) {
                return Ok(segment);
            }
        }
    }
    Ok(opened.current_segment())
}

/// Messages of segments that lack what was written to them last.
fn messages_behind(opened: &Opened) -> Result<BTreeSet<MessageId>, Fault> {
    let mut messages = BTreeSet::new();
    for segment in start::segments_behind(opened)? {
        opened.add_segment(segment)?;
        let held = opened.page(&keys::held_in(segment), None, usize::MAX)?;
        messages.extend(held.iter().filter_map(|(key, _)| keys::message_at_end(key)));
    }
    Ok(messages)
}

/// Puts chunks back that a message needs and its segment lacks; gives the messages that lack some all the same.
fn restore_octets(
    opened: &Opened,
    found: &Found<'_>,
    messages: &BTreeSet<MessageId>,
) -> Result<Vec<MessageId>, Fault> {
    let mut lost = Vec::new();
    for id in messages {
        let Some(message) = opened.get::<Message>(&keys::message(*id))? else {
            continue;
        };
        let mut whole = true;
        for index in 0..message.chunks {
            if matches!(opened.chunk(message.segment, *id, index), Ok(Some(_))) {
                continue;
            }
            match found.chunks.get(&(*id, index)) {
                Some(octets) => {
                    let frame = Chunk {
                        message: *id,
                        index,
                        octets,
                    }
                    .frame();
                    opened
                        .present_segment(message.segment)?
                        .insert(keys::chunk(*id, index), frame)?;
                }
                None => whole = false,
            }
        }
        if !whole {
            lost.push(*id);
        }
    }
    Ok(lost)
}

/// From now on segments have what rows say they have: what is lost is lost and was reported.
fn agree(opened: &Opened) -> Result<(), Fault> {
    let mut batch = opened.db.batch().durability(Some(PersistMode::SyncData));
    for (id, Segment { sequence, .. }) in opened.segment_rows()? {
        batch.insert(
            &opened.present_segment(id)?,
            keys::POSITION,
            sequence.to_be_bytes(),
        );
    }
    Ok(batch.commit()?)
}

/// Acknowledged records that are neither in the store nor among those found.
fn gaps(
    opened: &Opened,
    before: State,
    found: &BTreeSet<(Generation, u64)>,
    mark: Option<Mark>,
) -> Result<Vec<Range>, Fault> {
    let mut ends: BTreeMap<Generation, u64> = found.iter().copied().collect();
    if let Some(mark) = mark.filter(|mark| mark.sequence > before.sequence) {
        let end = ends.entry(mark.generation).or_default();
        *end = mark.number.max(*end);
    }
    let mut gaps = Vec::new();
    for (generation, end) in ends {
        let mut next = opened.log_end(generation)? + 1;
        let numbers = found
            .range((generation, next)..=(generation, end))
            .map(|(_, number)| *number);
        for number in numbers.chain([end.saturating_add(1)]) {
            if next < number {
                gaps.push(Range {
                    generation,
                    first: next,
                    last: number - 1,
                });
            }
            next = next.max(number.saturating_add(1));
        }
    }
    Ok(gaps)
}

/// Consecutive positions as ranges.
fn ranges(positions: &BTreeSet<(Generation, u64)>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (generation, number) in positions {
        match ranges.last_mut() {
            Some(range) if range.generation == *generation && range.last + 1 == *number => {
                range.last = *number
            }
            _ => ranges.push(Range {
                generation: *generation,
                first: *number,
                last: *number,
            }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use mailhorn_ports::MailStore;
    use mailhorn_ports::contract::World;

    use super::*;
    use crate::OpenError;
    use crate::testing::open;

    /// Rows were written to tables and octets not yet: then the end of the log says that nothing is missing.
    #[tokio::test]
    async fn octets_that_were_in_the_journal_only_are_missed_at_the_start_and_recovered() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let mut world = World::new(&store);
        let ann = world.account("ann@example.org").await;
        let octets = vec![7; 150_000];
        let first = world.store_message(&[&ann], b"first").await;
        let second = world.store_message(&[&ann], &octets).await;
        store
            .core
            .read(|opened| Ok(opened.rows.rotate_memtable_and_wait()?))
            .unwrap();
        drop(store);
        let (_, journal) = journal::list(&dir.path().join("store")).unwrap().pop().unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(journal)
            .unwrap()
            .write_all_at(&[0; 13], 0)
            .unwrap();

        let refused = open(dir.path());
        assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{refused:?}");
        let report = salvage(dir.path(), &Options::default()).unwrap();
        assert_eq!(report, SalvageReport::default());
        let store = open(dir.path()).unwrap();
        let world = World::seeded(&store, 2);
        assert!(world.read(&ann, first).await.unwrap().ends_with(b"first"));
        assert!(world.read(&ann, second).await.unwrap().ends_with(&octets));
        assert_eq!(store.highest_stamp().await.unwrap(), second.stamp());
    }
}
