//! The line through which a log's groups go: one at a time, each until it is known to be done.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::{try_join, try_join_all};
use mailhorn_events::{Generation, MessageId, Record, Stamp};
use mailhorn_ports::{Change, CommitError, Committed, Delivery, Group, NoteKey, StoreError};
use tokio::sync::{Mutex, MutexGuard};

use crate::apply::apply;
use crate::commit::{Decided, Facts, decide};
use crate::log::{Append, PART_OCTETS_MAX, append};
use crate::packed;
use crate::statements::Statement;
use crate::store::Inner;
use crate::values::{bigint, uuid};

/// One log of this process.
#[derive(Debug, Default)]
pub(crate) struct Line {
    state: Mutex<State>,
    /// Records up to this number are in the log and what they ask for is done.
    applied: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    is_loaded: bool,
    part: i32,
    /// Whether the next append begins a part.
    begins_part: bool,
    part_octets: usize,
    end: u64,
    /// When the last append was tried first.
    appended: Stamp,
    /// The last group, done or not: it may be repeated.
    last: Option<InFlight>,
    is_lost: bool,
}

/// A group on its way.
#[derive(Debug)]
struct InFlight {
    group: Group,
    decided: Decided,
    /// What is appended; `None` for a group without records.
    append: Option<Append>,
    stage: Stage,
    /// Whether somebody was told that the outcome is unknown.
    was_unknown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Decided,
    Appended,
    Done,
}

impl Line {
    /// Commits a group, or goes on with it where a try before left off.
    pub(crate) async fn commit(&self, inner: &Inner, group: &Group) -> Result<Committed, CommitError> {
        let mut state = self.state.lock().await;
        if state.is_lost {
            return Err(CommitError::LeaseLost);
        }
        self.load(inner, group.generation, &mut state)
            .await
            .map_err(unknown)?;
        let is_repeated = state.last.as_ref().is_some_and(|last| last.group == *group);
        if !is_repeated {
            if state.last.as_ref().is_some_and(|last| last.stage != Stage::Done) {
                return Err(CommitError::Unknown("the group before it is not done".into()));
            }
            if group.first != state.end.saturating_add(1) {
                let (first, end) = (group.first, state.end);
                return Err(CommitError::Unknown(format!(
                    "the log ends at {end} and the group begins at {first}"
                )));
            }
            let in_flight = begin(inner, group, &state).await.map_err(unknown)?;
            state.last = Some(in_flight);
        }
        let result = self.go_on(inner, &mut state).await;
        if let (Err(_), Some(last)) = (&result, &mut state.last) {
            last.was_unknown = true;
        }
        result
    }

    /// The number of the last record. What is on its way is brought to its end before.
    pub(crate) async fn end(&self, inner: &Inner, generation: Generation) -> Result<u64, StoreError> {
        let mut state = self.state.lock().await;
        self.load(inner, generation, &mut state).await?;
        if state.last.as_ref().is_some_and(|last| last.stage != Stage::Done) && !state.is_lost {
            let went = self.go_on(inner, &mut state).await;
            went.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        }
        Ok(state.end)
    }

    /// Records up to this number are done.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    async fn load(
        &self,
        inner: &Inner,
        generation: Generation,
        state: &mut MutexGuard<'_, State>,
    ) -> Result<(), StoreError> {
        if state.is_loaded {
            return Ok(());
        }
        let last = inner.parts.last(&*inner.cql, generation).await?;
        state.part = inner.parts.next_part(generation);
        state.begins_part = true;
        state.end = last.as_ref().map_or(0, |append| append.last);
        state.appended = last.map_or(Stamp(0), |append| append.appended);
        state.is_loaded = true;
        Ok(())
    }

    async fn go_on(&self, inner: &Inner, state: &mut State) -> Result<Committed, CommitError> {
        let Some(last) = &mut state.last else {
            return Err(CommitError::Unknown("there is no group".into()));
        };
        if last.stage == Stage::Done {
            return Ok(last.decided.committed.clone());
        }
        if let Some(next) = &last.append {
            if last.stage < Stage::Appended {
                if !inner.lease.holds() {
                    state.is_lost = true;
                    return Err(CommitError::LeaseLost);
                }
                append(&*inner.cql, &inner.options, next).await.map_err(unknown)?;
                // Whoever was away for so long that another may have ended this log does nothing for these records.
                if !inner.lease.holds() {
                    state.is_lost = true;
                    return Err(CommitError::LeaseLost);
                }
                last.stage = Stage::Appended;
            }
            apply(&*inner.cql, &*inner.clock, last.decided.committed.records.iter())
                .await
                .map_err(unknown)?;
        }
        keep_notes(inner, last).await.map_err(unknown)?;
        last.stage = Stage::Done;
        for (place, delivery) in deliveries(&last.group) {
            let is_stored = last
                .decided
                .stored
                .binary_search_by_key(&place, |(place, _)| *place)
                .is_ok();
            inner.uploads.decided(delivery.message, is_stored);
        }
        if let Some(done) = &last.append {
            for record in &last.decided.committed.records {
                inner.saw(record.stamp);
            }
            state.end = done.last;
            state.appended = done.appended;
            state.part_octets = state.part_octets.saturating_add(done.records.len());
            state.begins_part = state.part_octets >= PART_OCTETS_MAX;
            if state.begins_part {
                state.part = state.part.saturating_add(1);
                state.part_octets = 0;
            }
            self.applied.store(done.last, Ordering::Release);
        }
        Ok(last.decided.committed.clone())
    }
}

fn unknown(error: StoreError) -> CommitError {
    CommitError::Unknown(error.to_string())
}

/// With their places in the group.
fn deliveries(group: &Group) -> impl Iterator<Item = (usize, &Delivery)> {
    let changes = group.changes.iter().enumerate();
    changes.filter_map(|(place, change)| match change {
        Change::Deliver(delivery) => Some((place, delivery)),
        _ => None,
    })
}

/// Decides a group, and writes the octets of what is to be stored: nothing of it shows yet.
async fn begin(inner: &Inner, group: &Group, state: &State) -> Result<InFlight, StoreError> {
    let coming: Vec<MessageId> = deliveries(group).map(|(_, delivery)| delivery.message).collect();
    let uploaded = inner.uploads.written(coming.iter().copied());
    let facts = Facts::read(&*inner.cql, &inner.notes, group, uploaded);
    let (facts, ()) = try_join(facts, inner.announce_upload(group.generation, &coming)).await?;
    let decided = decide(group, facts);
    let stored = decided.stored.iter().filter_map(|(place, record)| {
        match (
            group.changes.get(*place)?,
            decided.committed.records.get(*record)?,
        ) {
            (Change::Deliver(delivery), record) => Some((delivery, record)),
            _ => None,
        }
    });
    try_join_all(stored.map(|(delivery, record)| put(inner, delivery, record))).await?;
    let records = u64::try_from(decided.committed.records.len()).unwrap_or(u64::MAX);
    let append = (records > 0).then(|| Append {
        generation: group.generation,
        part: state.part,
        begins_part: state.begins_part,
        first: group.first,
        last: group.first.saturating_add(records).saturating_sub(1),
        records: packed::pack(&decided.committed.records),
        notes: packed::pack_notes(decided.notes.iter().map(|(note, _)| note)),
        // Above the append before, so that of two under one number the later one counts.
        appended: group.now.max(state.appended.next()),
        previous: state.appended,
    });
    Ok(InFlight {
        group: group.clone(),
        decided,
        append,
        stage: Stage::Decided,
        was_unknown: false,
    })
}

/// The last octets of a message, and who has it.
async fn put(inner: &Inner, delivery: &Delivery, record: &Record) -> Result<(), StoreError> {
    let tail = async {
        match delivery.octets.tail.is_empty() {
            true => Ok(()),
            false => {
                inner
                    .put_chunk(
                        delivery.message,
                        delivery.octets.stored_chunks,
                        &delivery.octets.tail,
                    )
                    .await
            }
        }
    };
    let mailboxes = record.events.iter().filter_map(|event| event.mailbox);
    let references = try_join_all(mailboxes.map(|mailbox| {
        let values = vec![
            uuid(delivery.message.0),
            uuid(mailbox.0),
            bigint(delivery.message.stamp().0),
        ];
        inner.cql.run(Statement::AddReference, values)
    }));
    try_join(tail, references).await?;
    Ok(())
}

/// Notes of what was made now, those that are to be kept, and those that don't count any more.
async fn keep_notes(inner: &Inner, last: &InFlight) -> Result<(), StoreError> {
    let made = || last.decided.notes.iter().map(|(_, taken)| *taken);
    let mut to_write = inner.notes.made(made());
    if last.was_unknown {
        // It was answered 451: its sender tries again, perhaps elsewhere.
        to_write.extend(made());
    }
    let (mut kept, mut forgotten): (Vec<NoteKey>, Vec<NoteKey>) = (Vec::new(), Vec::new());
    for change in &last.group.changes {
        match change {
            Change::KeepNotes(keys) => kept.extend(keys),
            Change::ForgetNotes(keys) => forgotten.extend(keys),
            Change::Deliver(_) | Change::Expunge(_) | Change::Announce(_) => {}
        }
    }
    to_write.extend(inner.notes.to_keep(&kept));
    inner.notes.write(&*inner.cql, &inner.options, &to_write).await?;
    let written = inner.notes.forget(&forgotten);
    inner.notes.take_back(&*inner.cql, &written).await
}
