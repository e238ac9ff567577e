//! Housekeeping in bounded steps: the log and the notes are trimmed, space is given back.
//!
//! Octets lie in segments. A segment is written until it is full and never merged. When none of its messages is live it
//! is deleted; when less than half of it is live, its live messages move to the current segment first. So sealed
//! segments hold at most about twice what is live. A message whose octets are damaged stays behind, and its segment with it.

use std::collections::BTreeSet;

use mailhorn_events::{MessageId, Stamp};
use mailhorn_ports::{Maintained, Retention};
use tokio::time::Instant;

use crate::core::{Core, Writer};
use crate::draft::Draft;
use crate::error::Fault;
use crate::frame::Chunk;
use crate::groups;
use crate::keys;
use crate::opened::Opened;
use crate::rows::{Message, Present, Segment};
use crate::trim::{self, Logs, TRIMMED_MAX};

/// Octets that a step moves, the last chunk aside.
const MOVED_OCTETS_MAX: usize = 1024 * 1024;
/// Messages that a step looks at.
const MOVED_MESSAGES_MAX: usize = 1_000;

/// Where the last step stopped. Lost at a restart, it costs looking again.
#[derive(Debug, Default)]
pub(crate) struct Housekeeping {
    /// Which logs there are to trim, and from where.
    pub(crate) logs: Logs,
    /// The key before which there is no note any more: its remains need not be stepped over again. One that the clock,
    /// set back by more than the window, puts before it waits for a restart.
    notes_from: Option<Vec<u8>>,
    /// The message that is being moved or was moved last.
    moving: Option<Moving>,
    /// Segments whose messages can't be moved, since they are damaged.
    stuck: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Moving {
    from: u64,
    to: u64,
    message: MessageId,
    /// The next chunk of it; all before it were copied.
    next: u32,
    /// It was moved, or can't be.
    ended: bool,
    /// A message of this segment could not be moved.
    damaged: bool,
}

pub(crate) fn maintain(core: &Core, retention: Retention) -> Result<Maintained, Fault> {
    core.write(|opened, writer| {
        core.seal_if_full(opened)?;
        opened
            .shorten_journal()
            .inspect_err(|_| core.fail_if_poisoned(opened))?;
        core.uploads.expire(Instant::now());
        for group in core.groups.expired(retention.groups_before) {
            groups::forget(core, opened, writer, &group)?;
            tracing::info!(%group, "a group that no node registers any more is forgotten");
        }
        let done = step(core, opened, writer, retention);
        if done.is_err() {
            // What was to be trimmed may be there still.
            writer.housekeeping.logs.forget();
            writer.housekeeping.notes_from = None;
        }
        done
    })
}

fn step(
    core: &Core,
    opened: &Opened,
    writer: &mut Writer,
    retention: Retention,
) -> Result<Maintained, Fault> {
    let mut draft = Draft::new(opened, writer.state);
    let mut done = Maintained::default();
    let records = trim::records(core, &mut draft, &mut writer.housekeeping.logs, retention)?;
    (done.records, done.more) = (records as u64, records == TRIMMED_MAX);
    trim_notes(&mut draft, writer, retention, &mut done)?;
    let emptied = empty_segment(core, opened)?;
    if let Some((id, row)) = emptied {
        draft.remove(keys::segment(id));
        (done.octets, done.more) = (row.written, true);
    }
    let mut step = Relocation {
        core,
        draft,
        housekeeping: &mut writer.housekeeping,
    };
    done.more |= step.run()?;
    let Relocation { draft, .. } = step;
    if !draft.is_empty() || core.groups.has_moved() {
        core.apply_with_cursors(writer, draft)?;
    }
    core.sync_mark(writer);
    // Only now, when no row leads there any more.
    if let Some((id, _)) = emptied {
        opened.delete_segment(id).inspect_err(|_| core.fail())?;
        writer.housekeeping.stuck.remove(&id);
    }
    Ok(done)
}

fn trim_notes(
    draft: &mut Draft<'_>,
    writer: &mut Writer,
    retention: Retention,
    done: &mut Maintained,
) -> Result<(), Fault> {
    let from = writer.housekeeping.notes_from.take();
    let from = from.unwrap_or_else(|| keys::notes_from(Stamp(0)));
    // No further: notes that still count, and the remains of those that were forgotten among them, are not stepped over.
    let mut until = keys::notes_from(retention.notes_since).max(from.clone());
    for row in draft.opened.range(&from, &until).take(TRIMMED_MAX) {
        let (key, _) = row?;
        if let Some((time, note)) = keys::timed_note(&key) {
            draft.remove(keys::note(&note));
            draft.remove(keys::note_time(time, &note));
        }
        done.notes += 1;
        if done.notes == TRIMMED_MAX as u64 {
            (done.more, until) = (true, key.to_vec());
            break;
        }
    }
    writer.housekeeping.notes_from = Some(until);
    Ok(())
}

/// A sealed segment without a live message. One at a step, for its files are removed on the writer's time.
fn empty_segment(core: &Core, opened: &Opened) -> Result<Option<(u64, Segment)>, Fault> {
    let current = core.uploads.current();
    let rows = opened.segment_rows()?;
    let is_empty = |id: u64, row: &Segment| id != current && row.live == 0 && !core.uploads.is_used(id);
    Ok(rows.into_iter().find(|(id, row)| is_empty(*id, row)))
}

struct Relocation<'a, 'h> {
    core: &'a Core,
    draft: Draft<'a>,
    housekeeping: &'h mut Housekeeping,
}

impl Relocation<'_, '_> {
    /// Moves messages; gives whether there is more to move.
    fn run(&mut self) -> Result<bool, Fault> {
        let Some(from) = self.sparse_segment()? else {
            return Ok(false);
        };
        let mut moved = 0;
        for _ in 0..MOVED_MESSAGES_MAX {
            let Some(moving) = self.next_message(from)? else {
                return Ok(true);
            };
            moved += self.advance(moving, MOVED_OCTETS_MAX.saturating_sub(moved))?;
            if moved >= MOVED_OCTETS_MAX {
                break;
            }
        }
        Ok(true)
    }

    /// The segment that is being emptied, or else one less than half of which is live.
    fn sparse_segment(&self) -> Result<Option<u64>, Fault> {
        let current = self.core.uploads.current();
        let rows = self.draft.opened.segment_rows()?;
        let is_sparse = |id: u64, row: &Segment| {
            let written = row.written.saturating_add(self.core.uploads.unrecorded(id));
            let written = self
                .draft
                .opened
                .segment(id)
                .map_or(written, |it| written.max(it.disk_space()));
            id != current
                && row.live > 0
                && row.live.saturating_mul(2) < written
                && !self.housekeeping.stuck.contains(&id)
        };
        let sparse: Vec<u64> = rows
            .iter()
            .filter(|(id, row)| is_sparse(**id, row))
            .map(|(id, _)| *id)
            .collect();
        let begun = self
            .housekeeping
            .moving
            .map(|moving| moving.from)
            .filter(|from| sparse.contains(from));
        Ok(begun.or_else(|| sparse.first().copied()))
    }

    /// The message that is being moved, or else the next; `None` at the end of the segment.
    fn next_message(&mut self, from: u64) -> Result<Option<Moving>, Fault> {
        let last = self.housekeeping.moving.filter(|moving| moving.from == from);
        if let Some(moving) = last.filter(|moving| !moving.ended) {
            return Ok(Some(moving));
        }
        let after = last.map(|moving| keys::held(from, moving.message));
        let next = self
            .draft
            .opened
            .page(&keys::held_in(from), after.as_deref(), 1)?;
        let damaged = last.is_some_and(|moving| moving.damaged);
        let Some(message) = next.first().and_then(|(key, _)| keys::message_at_end(key)) else {
            if damaged {
                tracing::error!(
                    segment = from,
                    "messages whose octets are damaged keep their segment"
                );
                self.housekeeping.stuck.insert(from);
            }
            self.housekeeping.moving = None;
            return Ok(None);
        };
        Ok(Some(Moving {
            from,
            to: self.core.uploads.current(),
            message,
            next: 0,
            ended: false,
            damaged,
        }))
    }

    /// Copies chunks of a message, and gives how many octets; with its last chunk the message has moved.
    fn advance(&mut self, mut moving: Moving, octets_max: usize) -> Result<usize, Fault> {
        let row: Option<Message> = self.draft.get(&keys::message(moving.message))?;
        let Some(row) = row.filter(|row| row.segment == moving.from) else {
            moving.ended = true;
            self.housekeeping.moving = Some(moving);
            return Ok(0);
        };
        let mut copied = 0;
        while moving.next < row.chunks && copied < octets_max {
            let Some(octets) = self.intact(moving, &row) else {
                (moving.ended, moving.damaged) = (true, true);
                break;
            };
            let chunk = Chunk {
                message: moving.message,
                index: moving.next,
                octets: &octets,
            };
            self.draft.chunk(moving.to, &chunk)?;
            moving.next += 1;
            copied += octets.len();
        }
        if !moving.ended && moving.next == row.chunks {
            moving.ended = true;
            self.settle(moving, row)?;
        }
        self.housekeeping.moving = Some(moving);
        Ok(copied)
    }

    fn intact(&self, moving: Moving, row: &Message) -> Option<bytes::Bytes> {
        match self.draft.opened.chunk(row.segment, moving.message, moving.next) {
            Ok(Some(octets)) => Some(octets),
            result => {
                let why = result
                    .err()
                    .map_or_else(|| "it is missing".to_owned(), |fault| fault.to_string());
                tracing::error!(message = %moving.message, chunk = moving.next, %why, "a chunk can't be moved");
                None
            }
        }
    }

    fn settle(&mut self, moving: Moving, row: Message) -> Result<(), Fault> {
        let Moving {
            from, to, message, ..
        } = moving;
        self.draft.remove(keys::held(from, message));
        self.draft.put(keys::held(to, message), &Present);
        self.draft.count(from, |segment| {
            segment.live = segment.live.saturating_sub(row.octets)
        })?;
        self.draft.count(to, |segment| {
            segment.live = segment.live.saturating_add(row.octets)
        })?;
        self.draft
            .put(keys::message(message), &Message { segment: to, ..row });
        Ok(())
    }
}
