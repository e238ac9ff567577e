//! A group of changes becomes one batch.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use mailhorn_events::{AccountId, Added, Arrival, Event, Happening, Record};
use mailhorn_ports::{
    Announce, Change, Committed, Delivery, Expunge, Group, Recipient, RecipientOutcome, Verdict,
};
use xxhash_rust::xxh3::Xxh3;

use crate::core::{Core, Writer};
use crate::draft::Draft;
use crate::error::Fault;
use crate::frame::Chunk;
use crate::keys::{self, Table};
use crate::opened::Opened;
use crate::read;
use crate::rows::{GroupRow, Threshold};

/// How many batches pass between two looks at the journal's length.
const JOURNAL_LOOK_BATCHES: u64 = 64;

/// How many batches pass between two that take the groups' cursors along. A crash repeats what these batches told.
const CURSOR_BATCHES: u64 = 16;

/// Commits a group, once however often it is repeated.
pub(crate) fn commit(core: &Core, group: &Group) -> Result<Committed, Fault> {
    core.write(|opened, writer| {
        let digest = digest(&group.changes);
        if let Some(done) = repeated(opened, group, digest)? {
            return Ok(done);
        }
        check_number(opened, writer, group)?;
        core.seal_if_full(opened)?;
        if writer.state.sequence.is_multiple_of(JOURNAL_LOOK_BATCHES) {
            opened
                .shorten_journal()
                .inspect_err(|_| core.fail_if_poisoned(opened))?;
        }
        let mut making = Making {
            core,
            group,
            draft: Draft::new(opened, writer.state),
            records: Vec::new(),
        };
        let verdicts = group
            .changes
            .iter()
            .map(|change| making.change(change))
            .collect::<Result<Vec<_>, _>>()?;
        let Making {
            mut draft, records, ..
        } = making;
        if draft.is_empty() && records.is_empty() {
            return Ok(Committed { verdicts, records });
        }
        for (number, record) in (group.first..).zip(&records) {
            draft.log(group.generation, number, record);
        }
        draft.put(keys::group(), &group_row(group, &records, digest, &verdicts));
        writer.housekeeping.logs.saw(group.generation);
        if draft.state.sequence.is_multiple_of(CURSOR_BATCHES) {
            core.apply_with_cursors(writer, draft)?;
        } else {
            core.apply(writer, draft)?;
        }
        for change in &group.changes {
            if let Change::Deliver(delivery) = change {
                core.uploads.forget(delivery.message);
            }
        }
        Ok(Committed { verdicts, records })
    })
}

/// A hole or a second record under one number would be an error of the caller's that nothing could repair later.
fn check_number(opened: &Opened, writer: &Writer, group: &Group) -> Result<(), Fault> {
    let end = if writer.state.generation == group.generation.0 {
        writer.state.number
    } else {
        opened.log_end(group.generation)?
    };
    if end.checked_add(1) == Some(group.first) {
        return Ok(());
    }
    Err(Fault::Damaged(format!(
        "the log ends at {end} and the group begins at {}",
        group.first
    )))
}

struct Making<'a> {
    core: &'a Core,
    group: &'a Group,
    draft: Draft<'a>,
    records: Vec<Record>,
}

impl Making<'_> {
    fn change(&mut self, change: &Change) -> Result<Verdict, Fault> {
        match change {
            Change::Deliver(delivery) => self.deliver(delivery).map(Verdict::Delivered),
            Change::Expunge(expunge) => self.expunge(expunge),
            Change::Announce(announce) => self.announce(announce),
            Change::ForgetNotes(notes) => {
                notes.iter().try_for_each(|note| self.draft.forget(note))?;
                Ok(Verdict::Done)
            }
            // Every note is kept here from its delivery on.
            Change::KeepNotes(_) => Ok(Verdict::Done),
        }
    }

    fn deliver(&mut self, delivery: &Delivery) -> Result<Vec<RecipientOutcome>, Fault> {
        let segment = self.place(delivery)?;
        // Notes are looked up before any is written: two recipients of one transaction are not each other's retry.
        let outcomes = delivery
            .recipients
            .iter()
            .map(|recipient| self.outcome(recipient, segment.is_some()))
            .collect::<Result<Vec<_>, _>>()?;
        let stored: Vec<&Recipient> = delivery
            .recipients
            .iter()
            .zip(&outcomes)
            .filter_map(|(recipient, outcome)| (*outcome == RecipientOutcome::Stored).then_some(recipient))
            .collect();
        if let (Some(segment), false) = (segment, stored.is_empty()) {
            let record = added(delivery, &stored);
            self.draft.make(&record, segment)?;
            if !delivery.octets.tail.is_empty() {
                let (index, octets) = (delivery.octets.stored_chunks, &*delivery.octets.tail);
                self.draft.chunk(
                    segment,
                    &Chunk {
                        message: delivery.message,
                        index,
                        octets,
                    },
                )?;
            }
            for note in stored.iter().filter_map(|recipient| recipient.note.as_ref()) {
                self.draft.note(note, self.group.now)?;
            }
            self.records.push(record);
        }
        Ok(outcomes)
    }

    fn outcome(&self, recipient: &Recipient, octets_are_there: bool) -> Result<RecipientOutcome, Fault> {
        if !self.is_account(recipient.account)? {
            return Ok(RecipientOutcome::Gone);
        }
        let since = self.group.notes_since;
        if let Some(note) = &recipient.note
            && self.draft.is_noted(note, since)?
        {
            return Ok(RecipientOutcome::Duplicate);
        }
        Ok(if octets_are_there {
            RecipientOutcome::Stored
        } else {
            RecipientOutcome::OctetsLost
        })
    }

    fn is_account(&self, id: AccountId) -> Result<bool, Fault> {
        self.draft.has(&keys::account_id(id))
    }

    /// The segment of a message's chunks; `None` when they are not all there.
    fn place(&self, delivery: &Delivery) -> Result<Option<u64>, Fault> {
        let (message, chunks) = (delivery.message, delivery.octets.stored_chunks);
        if chunks == 0 {
            return Ok(Some(self.core.uploads.current()));
        }
        if let Some(segment) = self.core.uploads.segment_of(message, chunks) {
            return Ok(Some(segment));
        }
        // The store was opened anew since they were written. What of them was durable is where it was.
        let opened = self.draft.opened;
        for segment in opened.segment_ids().into_iter().rev() {
            if (0..chunks)
                .map(|index| opened.has_chunk(segment, message, index))
                .all(|has| matches!(has, Ok(true)))
            {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }

    fn expunge(&mut self, expunge: &Expunge) -> Result<Verdict, Fault> {
        let mut messages = Vec::with_capacity(expunge.messages.len());
        let mut deleted = Vec::new();
        for message in &expunge.messages {
            if let Some((expunged, content)) = self.draft.expunge(&expunge.user, expunge.mailbox, *message)? {
                messages.push(expunged);
                deleted.extend(content);
            }
        }
        if messages.is_empty() {
            return Ok(Verdict::Done);
        }
        let event = |happening| Event {
            user: expunge.user.clone(),
            account: expunge.account,
            mailbox: Some(expunge.mailbox),
            happening,
        };
        let moved_to = None;
        let mut events = vec![event(Happening::Expunged { moved_to, messages })];
        if !deleted.is_empty() {
            events.push(event(Happening::MessageContentDeleted(deleted)));
        }
        self.records.push(Record {
            id: expunge.event,
            stamp: expunge.stamp,
            events,
        });
        Ok(Verdict::Done)
    }

    fn announce(&mut self, announce: &Announce) -> Result<Verdict, Fault> {
        if let Some(threshold) = &announce.threshold {
            let row = self
                .draft
                .get(&keys::of_owner(Table::Thresholds, &threshold.owner))?;
            let Threshold(announced) = row.unwrap_or_default();
            if announced != threshold.from_percent {
                return Ok(Verdict::Done);
            }
            self.draft.announced(&threshold.owner, threshold.to_percent);
        }
        self.records.push(Record {
            id: announce.event,
            stamp: announce.stamp,
            events: announce.events.clone(),
        });
        Ok(Verdict::Done)
    }
}

/// The record of a delivery: one event for each mailbox.
fn added(delivery: &Delivery, stored: &[&Recipient]) -> Record {
    let stamp = delivery.message.stamp();
    let mut mailboxes = BTreeSet::new();
    let events = stored
        .iter()
        .filter(|recipient| mailboxes.insert(recipient.mailbox))
        .map(|recipient| Event {
            user: recipient.user.clone(),
            account: recipient.account,
            mailbox: Some(recipient.mailbox),
            happening: Happening::Added {
                arrival: Arrival::Delivered,
                messages: vec![Added {
                    message: delivery.message,
                    size: delivery.octets.size.saturating_add(recipient.prefix.len() as u64),
                    chunks: delivery.octets.chunks(),
                    received: stamp,
                    flags: Vec::new(),
                    unique_id: None,
                    // Its own allocation: the caller's may be a slice of something larger.
                    prefix: Bytes::copy_from_slice(&recipient.prefix),
                }],
            },
        })
        .collect();
    Record {
        id: delivery.event,
        stamp,
        events,
    }
}

/// Over the names of changes, in their order.
fn digest(changes: &[Change]) -> u64 {
    let mut digest = Xxh3::new();
    for change in changes {
        match change {
            Change::Deliver(delivery) => digest.update(delivery.event.as_bytes()),
            Change::Expunge(expunge) => digest.update(expunge.event.as_bytes()),
            Change::Announce(announce) => digest.update(announce.event.as_bytes()),
            Change::ForgetNotes(notes) | Change::KeepNotes(notes) => {
                notes.iter().for_each(|note| digest.update(&note.0));
            }
        }
    }
    digest.digest()
}

/// What a group came to when it was committed before. Only the last one can be repeated, for there is one writer.
fn repeated(opened: &Opened, group: &Group, digest: u64) -> Result<Option<Committed>, Fault> {
    let Some(last) = opened.get::<GroupRow>(&keys::group())? else {
        return Ok(None);
    };
    if (last.generation, last.first, last.digest) != (group.generation.0, group.first, digest) {
        return Ok(None);
    }
    let limit = usize::try_from(last.records).unwrap_or(usize::MAX);
    // What was acknowledged has to be told as it was: a record that can't be read is no answer here.
    let records = read::records(opened, group.generation, group.first, limit)?
        .into_iter()
        .map(|entry| {
            let record = entry.record.map_err(|unreadable| {
                Fault::Damaged(format!(
                    "record {} of the last group: {}",
                    entry.number, unreadable.why
                ))
            })?;
            Ok(Arc::unwrap_or_clone(record))
        })
        .collect::<Result<_, Fault>>()?;
    let verdicts = last
        .verdicts
        .iter()
        .map(|verdict| decode_verdict(verdict.as_deref()))
        .collect();
    Ok(Some(Committed { verdicts, records }))
}

fn group_row(group: &Group, records: &[Record], digest: u64, verdicts: &[Verdict]) -> GroupRow {
    GroupRow {
        generation: group.generation.0,
        first: group.first,
        records: records.len() as u64,
        digest,
        verdicts: verdicts.iter().map(encode_verdict).collect(),
    }
}

fn encode_verdict(verdict: &Verdict) -> Option<Vec<u8>> {
    let Verdict::Delivered(outcomes) = verdict else {
        return None;
    };
    let number = |outcome: &RecipientOutcome| match outcome {
        RecipientOutcome::Stored => 0,
        RecipientOutcome::Duplicate => 1,
        RecipientOutcome::Gone => 2,
        RecipientOutcome::OctetsLost => 3,
    };
    Some(outcomes.iter().map(number).collect())
}

fn decode_verdict(verdict: Option<&[u8]>) -> Verdict {
    let Some(numbers) = verdict else {
        return Verdict::Done;
    };
    let outcome = |number: &u8| match number {
        0 => RecipientOutcome::Stored,
        1 => RecipientOutcome::Duplicate,
        2 => RecipientOutcome::Gone,
        // Nothing is promised for what is not known.
        _ => RecipientOutcome::OctetsLost,
    };
    Verdict::Delivered(numbers.iter().map(outcome).collect())
}
