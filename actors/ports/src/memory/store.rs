//! [`MailStore`] in memory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use mailhorn_events::{
    Added, Arrival, ContentDeleted, Event, Expunged, Generation, Happening, MailboxId, MessageId, Position,
    Record, Stamp,
};
use tokio::time::sleep;

use super::{Chunk, GroupState, MemoryStore, Message, NextCommit, State};
use crate::listener::GroupName;
use crate::store::{
    Announce, Change, CommitError, Committed, Delivery, Expunge, Figure, Group, LogEntry, MailStore,
    Maintained, Part, ReadError, Recipient, RecipientOutcome, Retention, StoreError, Verdict, ViewRow,
};

#[async_trait]
impl MailStore for MemoryStore {
    async fn put_chunk(&self, message: MessageId, index: u32, octets: Bytes) -> Result<(), StoreError> {
        self.available()?;
        self.0.lock().chunks.insert(
            (message, index),
            Chunk {
                octets,
                damaged: false,
            },
        );
        Ok(())
    }

    async fn commit(&self, group: &Group) -> Result<Committed, CommitError> {
        let delay = self.0.lock().script.commit_delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let unknown = || CommitError::Unknown("the double was told so".into());
        self.available().map_err(|_| unknown())?;
        let mut state = self.0.lock();
        match state.script.next_commit.take() {
            Some(NextCommit::UnknownNotDone) => Err(unknown()),
            Some(NextCommit::UnknownDone) => state.commit(group).and_then(|_| Err(unknown())),
            None => state.commit(group),
        }
    }

    async fn begin_log(&self, generation: Generation, node: &str) -> Result<(), StoreError> {
        self.available()?;
        let mut state = self.0.lock();
        let kept: Vec<_> = state.log.keys().map(|(generation, _)| *generation).collect();
        // Other nodes' logs may be empty and go on.
        let forgotten: Vec<Generation> = state
            .owners
            .iter()
            .filter(|(log, owner)| *owner == node && !kept.contains(log) && **log != generation)
            .map(|(log, _)| *log)
            .collect();
        let is_kept = |log: &Generation| !forgotten.contains(log);
        state.owners.retain(|log, _| is_kept(log));
        for group in state.groups.values_mut() {
            group.cursors.retain(|log, _| is_kept(log));
        }
        state.owners.insert(generation, node.to_owned());
        Ok(())
    }

    async fn logs(&self) -> Result<Vec<(Generation, String)>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        if state.script.refuse_logs {
            return Err(StoreError::Unavailable(
                "the double was told to name no logs".into(),
            ));
        }
        let owners = state.owners.clone();
        Ok(owners.into_iter().collect())
    }

    async fn log_end(&self, generation: Generation) -> Result<u64, StoreError> {
        self.available()?;
        Ok(self.0.lock().log_end(generation))
    }

    async fn records(
        &self,
        generation: Generation,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let delay = self.0.lock().script.records_delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        self.available()?;
        Ok(self.0.lock().records(generation, from, limit))
    }

    async fn highest_stamp(&self) -> Result<Stamp, StoreError> {
        self.available()?;
        Ok(self.0.lock().stamp)
    }

    async fn list(
        &self,
        mailbox: MailboxId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<ViewRow>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        if state.script.refuse_listings {
            return Err(StoreError::Unavailable(
                "the double was told to list nothing".into(),
            ));
        }
        let rows = state
            .rows(mailbox)
            .filter(|row| after.is_none_or(|after| row.message > after));
        Ok(rows.take(limit).cloned().collect())
    }

    async fn figure(&self, mailbox: MailboxId) -> Result<Figure, StoreError> {
        self.available()?;
        let sum = |sum: Figure, row: &ViewRow| Figure {
            messages: sum.messages + 1,
            octets: sum.octets + row.size,
        };
        Ok(self.0.lock().rows(mailbox).fold(Figure::default(), sum))
    }

    async fn read(&self, mailbox: MailboxId, message: MessageId, part: u32) -> Result<Part, ReadError> {
        self.available()
            .map_err(|error| ReadError::Unavailable(error.to_string()))?;
        self.0.lock().part(mailbox, message, part)
    }

    async fn read_ahead(&self, mailbox: MailboxId, messages: &[MessageId], octets_max: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut octets = 0usize;
        for message in messages {
            let Ok(part) = self.read(mailbox, *message, 0).await else {
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

    async fn maintain(&self, retention: Retention) -> Result<Maintained, StoreError> {
        self.available()?;
        Ok(self.0.lock().maintain(retention))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.available()
    }
}

impl State {
    pub(super) fn records(&self, generation: Generation, from: u64, limit: usize) -> Vec<LogEntry> {
        let log = self.log.range((generation, from)..=(generation, u64::MAX));
        log.map(|((_, number), record)| LogEntry {
            number: *number,
            record: record.clone(),
        })
        .take(limit)
        .collect()
    }

    pub(super) fn log_end(&self, generation: Generation) -> u64 {
        let mut log = self.log.range((generation, 0)..=(generation, u64::MAX));
        log.next_back().map_or(0, |((_, number), _)| *number)
    }

    fn rows(&self, mailbox: MailboxId) -> impl Iterator<Item = &ViewRow> {
        let (first, last) = (MessageId::from_bytes([0; 16]), MessageId::from_bytes([0xff; 16]));
        self.view
            .range((mailbox, first)..=(mailbox, last))
            .map(|(_, (row, _))| row)
    }

    fn commit(&mut self, group: &Group) -> Result<Committed, CommitError> {
        if let Some((last, committed)) = self.last.get(&group.generation)
            && last.changes == group.changes
            && last.first == group.first
        {
            return Ok(committed.clone());
        }
        if self.seals.contains_key(&group.generation) {
            return Err(CommitError::LeaseLost);
        }
        let end = self.log_end(group.generation);
        if end + 1 != group.first {
            return Err(CommitError::Unknown(format!(
                "the log ends at {end} and the group begins at {}",
                group.first
            )));
        }
        let mut committed = Committed {
            verdicts: Vec::new(),
            records: Vec::new(),
        };
        for change in &group.changes {
            let (verdict, record) = self.make(group, change);
            committed.verdicts.push(verdict);
            committed.records.extend(record);
        }
        for (number, record) in (group.first..).zip(&committed.records) {
            self.stamp = self.stamp.max(record.stamp);
            let record = Arc::new(record.clone());
            if let Some(history) = &mut self.history {
                let generation = group.generation;
                history.push((Position { generation, number }, Arc::clone(&record)));
            }
            self.log.insert((group.generation, number), Ok(record));
            self.written = Some(group.generation);
        }
        self.commits += 1;
        self.last
            .insert(group.generation, (group.clone(), committed.clone()));
        Ok(committed)
    }

    fn make(&mut self, group: &Group, change: &Change) -> (Verdict, Option<Record>) {
        match change {
            Change::Deliver(delivery) => self.deliver(group, delivery),
            Change::Expunge(expunge) => (Verdict::Done, self.expunge(expunge)),
            Change::Announce(announce) => (Verdict::Done, self.announce(announce)),
            Change::ForgetNotes(notes) => {
                notes.iter().for_each(|note| {
                    self.notes.remove(note);
                });
                self.notes_forgotten.extend_from_slice(notes);
                (Verdict::Done, None)
            }
            // Every note is kept here from its delivery on; what is said of it is remembered for whoever asks.
            Change::KeepNotes(notes) => {
                self.notes_kept.extend_from_slice(notes);
                (Verdict::Done, None)
            }
        }
    }

    fn deliver(&mut self, group: &Group, delivery: &Delivery) -> (Verdict, Option<Record>) {
        let outcomes: Vec<_> = delivery
            .recipients
            .iter()
            .map(|recipient| self.outcome(group, delivery, recipient))
            .collect();
        let mut events = Vec::new();
        for (recipient, outcome) in delivery.recipients.iter().zip(&outcomes) {
            if *outcome == RecipientOutcome::Stored {
                events.extend(self.add(delivery, recipient));
                self.notes.extend(recipient.note.map(|note| (note, group.now)));
            }
        }
        if events.is_empty() {
            return (Verdict::Delivered(outcomes), None);
        }
        if !delivery.octets.tail.is_empty() {
            let chunk = Chunk {
                octets: delivery.octets.tail.clone(),
                damaged: false,
            };
            self.chunks
                .insert((delivery.message, delivery.octets.stored_chunks), chunk);
        }
        let record = Record {
            id: delivery.event,
            stamp: delivery.message.stamp(),
            events,
        };
        (Verdict::Delivered(outcomes), Some(record))
    }

    fn outcome(&self, group: &Group, delivery: &Delivery, recipient: &Recipient) -> RecipientOutcome {
        let noted = recipient.note.and_then(|note| self.notes.get(&note));
        if !self.accounts().any(|account| account.id == recipient.account) {
            RecipientOutcome::Gone
        } else if noted.is_some_and(|time| *time >= group.notes_since) {
            RecipientOutcome::Duplicate
        } else if (0..delivery.octets.stored_chunks)
            .any(|n| !self.chunks.contains_key(&(delivery.message, n)))
        {
            RecipientOutcome::OctetsLost
        } else {
            RecipientOutcome::Stored
        }
    }

    /// A row, and what is said about it; none when the mailbox has the message already.
    fn add(&mut self, delivery: &Delivery, recipient: &Recipient) -> Option<Event> {
        let (message, mailbox) = (delivery.message, recipient.mailbox);
        let (stamp, size) = (
            message.stamp(),
            delivery.octets.size + recipient.prefix.len() as u64,
        );
        if self.view.contains_key(&(mailbox, message)) {
            return None;
        }
        let row = ViewRow {
            message,
            size,
            received: stamp,
            stamp,
            unique_id: None,
        };
        self.view
            .insert((mailbox, message), (row, recipient.prefix.clone()));
        let chunks = delivery.octets.chunks();
        let held = self.messages.entry(message).or_insert_with(|| Message {
            chunks,
            references: Default::default(),
        });
        held.references.insert(mailbox);
        let added = Added {
            message,
            size,
            chunks,
            received: stamp,
            flags: Vec::new(),
            unique_id: None,
            prefix: recipient.prefix.clone(),
        };
        let happening = Happening::Added {
            arrival: Arrival::Delivered,
            messages: vec![added],
        };
        Some(Event {
            user: recipient.user.clone(),
            account: recipient.account,
            mailbox: Some(mailbox),
            happening,
        })
    }

    fn announce(&mut self, announce: &Announce) -> Option<Record> {
        if let Some(threshold) = &announce.threshold {
            let announced = self.thresholds.get(&threshold.owner).copied().unwrap_or(0);
            if announced != threshold.from_percent {
                return None;
            }
            self.thresholds
                .insert(threshold.owner.clone(), threshold.to_percent);
        }
        Some(Record {
            id: announce.event,
            stamp: announce.stamp,
            events: announce.events.clone(),
        })
    }

    fn expunge(&mut self, expunge: &Expunge) -> Option<Record> {
        let mailbox = expunge.mailbox;
        let (mut messages, mut deleted) = (Vec::new(), Vec::new());
        for message in &expunge.messages {
            let Some((row, prefix)) = self.view.remove(&(mailbox, *message)) else {
                continue;
            };
            messages.push(Expunged {
                message: *message,
                size: row.size,
                received: row.received,
                flags: Vec::new(),
            });
            if let Some(chunks) = self.unrefer(mailbox, *message) {
                let octets = row.size.saturating_sub(prefix.len() as u64);
                deleted.push(ContentDeleted {
                    message: *message,
                    octets,
                    chunks,
                });
            }
        }
        if messages.is_empty() {
            return None;
        }
        let event = |happening| Event {
            user: expunge.user.clone(),
            account: expunge.account,
            mailbox: Some(mailbox),
            happening,
        };
        let moved_to = None;
        let mut events = vec![event(Happening::Expunged { moved_to, messages })];
        if !deleted.is_empty() {
            events.push(event(Happening::MessageContentDeleted(deleted)));
        }
        Some(Record {
            id: expunge.event,
            stamp: expunge.stamp,
            events,
        })
    }

    /// Takes a reference away; the octets go with the last one, and then it gives how many chunks they were.
    fn unrefer(&mut self, mailbox: MailboxId, message: MessageId) -> Option<u32> {
        let held = self.messages.get_mut(&message)?;
        held.references.remove(&mailbox);
        if !held.references.is_empty() {
            return None;
        }
        let chunks = held.chunks;
        self.messages.remove(&message);
        self.chunks.retain(|(id, _), _| *id != message);
        Some(chunks)
    }

    fn part(&self, mailbox: MailboxId, message: MessageId, part: u32) -> Result<Part, ReadError> {
        let (_, prefix) = self.view.get(&(mailbox, message)).ok_or(ReadError::Expunged)?;
        let chunks = self.messages.get(&message).ok_or(ReadError::Missing)?.chunks;
        let mut octets = BytesMut::new();
        if part == 0 {
            octets.extend_from_slice(prefix);
        }
        if part < chunks {
            let chunk = self.chunks.get(&(message, part)).ok_or(ReadError::Missing)?;
            if chunk.damaged {
                return Err(ReadError::Damaged);
            }
            octets.extend_from_slice(&chunk.octets);
        }
        Ok(Part {
            octets: octets.freeze(),
            more: part.saturating_add(1) < chunks,
        })
    }

    fn maintain(&mut self, retention: Retention) -> Maintained {
        let expired = |group: &GroupState| group.registered < retention.groups_before;
        let expired = self.groups.iter().filter(|(_, group)| expired(group));
        let expired: Vec<GroupName> = expired.map(|(name, _)| name.clone()).collect();
        expired.iter().for_each(|group| self.forget_group(group));
        let (records, notes) = (self.log.len(), self.notes.len());
        let gone: Vec<_> = self
            .log
            .keys()
            .filter(|(generation, number)| self.may_go(*generation, *number, retention))
            .copied()
            .collect();
        gone.iter().for_each(|key| {
            self.log.remove(key);
        });
        self.notes.retain(|_, time| *time >= retention.notes_since);
        Maintained {
            records: (records - self.log.len()) as u64,
            notes: (notes - self.notes.len()) as u64,
            ..Maintained::default()
        }
    }

    /// Whether the process that writes a log may still live: no later one of its node has begun.
    fn is_nodes_newest(&self, generation: Generation) -> bool {
        self.owners.get(&generation).is_some_and(|node| {
            let later = self.owners.iter().filter(|(log, _)| **log > generation);
            later.into_iter().all(|(_, owner)| owner != node)
        })
    }

    /// Whether a record may be trimmed. The very last one says where its log ends, and stays.
    fn may_go(&self, generation: Generation, number: u64, retention: Retention) -> bool {
        let is_last = self.log_end(generation) == number;
        if is_last && (self.written == Some(generation) || self.is_nodes_newest(generation)) {
            return false;
        }
        let passed = |group: &GroupState| {
            let cursor = group.cursors.get(&generation);
            cursor.is_some_and(|cursor| cursor.finished() >= number)
        };
        let mut readable = self
            .log
            .range((generation, number)..=(generation, u64::MAX))
            .filter_map(|(_, record)| record.as_ref().ok());
        let mut is_old = || {
            readable
                .next()
                .is_some_and(|record| record.stamp < retention.records_before)
        };
        self.groups.values().all(passed) || !is_last && is_old()
    }
}
