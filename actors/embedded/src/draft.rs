//! A batch in the making: reads see what is written to it, nothing else does.
//!
//! Whatever a record says is made by [`Draft::make`], at a commit and at a salvage alike: the record holds all that is
//! needed. The same goes for changes of the directory and [`Draft::direct`].

use std::collections::{BTreeMap, BTreeSet};

use fjall::PersistMode;
use mailhorn_events::{
    AccountId, Added, ContentDeleted, Event, Expunged, Generation, Happening, MailboxId, MessageId, Record,
    Stamp,
};
use mailhorn_ports::{NoteKey, QuotaOwner, domain_of};

use crate::envelope;
use crate::error::Fault;
use crate::frame::{self, Chunk, LogRecord};
use crate::keys::{self, Table};
use crate::opened::Opened;
use crate::rows::{
    self, FigureRow, Message, Note, Present, Row, Segment, State, Threshold, View, decode, encode,
};

/// Writes to come.
pub(crate) struct Draft<'a> {
    pub(crate) opened: &'a Opened,
    /// What the store's state will be. Its sequence is the batch's.
    pub(crate) state: State,
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    chunks: Vec<(u64, [u8; 20], Vec<u8>)>,
    segments: BTreeSet<u64>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(opened: &'a Opened, state: State) -> Self {
        let state = State {
            sequence: state.sequence + 1,
            ..state
        };
        Self {
            opened,
            state,
            rows: BTreeMap::new(),
            chunks: Vec::new(),
            segments: BTreeSet::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.chunks.is_empty()
    }

    /// Segments whose octets the batch relies on.
    pub(crate) fn segments(&self) -> Vec<u64> {
        self.segments.iter().copied().collect()
    }

    /// Makes everything durable at once. `failed` is called when the database can't be written to any more.
    pub(crate) fn write(mut self, failed: impl FnOnce()) -> Result<(), Fault> {
        let (opened, sequence) = (self.opened, self.state.sequence);
        let state = self.state;
        self.put(keys::state(), &state);
        let mut batch = opened.db.batch().durability(Some(PersistMode::SyncData));
        for segment in self.segments() {
            self.count(segment, |row| row.sequence = sequence)?;
            batch.insert(
                &opened.present_segment(segment)?,
                keys::POSITION,
                sequence.to_be_bytes(),
            );
        }
        for (segment, key, chunk) in self.chunks {
            batch.insert(&opened.present_segment(segment)?, key, chunk);
        }
        for (key, row) in self.rows {
            match row {
                Some(row) => batch.insert(&opened.rows, key, row),
                None => batch.remove(&opened.rows, key),
            }
        }
        Ok(batch.commit().inspect_err(|_| failed())?)
    }

    pub(crate) fn get<R: Row>(&self, key: &[u8]) -> Result<Option<R>, Fault> {
        match self.rows.get(key) {
            Some(row) => row.as_deref().map(decode).transpose(),
            None => self.opened.get(key),
        }
    }

    pub(crate) fn has(&self, key: &[u8]) -> Result<bool, Fault> {
        self.rows
            .get(key)
            .map_or_else(|| self.opened.has(key), |row| Ok(row.is_some()))
    }

    pub(crate) fn put<R: Row>(&mut self, key: Vec<u8>, row: &R) {
        self.rows.insert(key, Some(encode(row)));
    }

    /// A value as it stands: a frame, or a row that goes to another place.
    pub(crate) fn put_octets(&mut self, key: Vec<u8>, octets: Vec<u8>) {
        self.rows.insert(key, Some(octets));
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.rows.insert(key, None);
    }

    pub(crate) fn saw(&mut self, stamp: Stamp) {
        self.state.stamp = self.state.stamp.max(stamp.0);
    }

    /// Writes a record down.
    pub(crate) fn log(&mut self, generation: Generation, number: u64, record: &Record) {
        let envelope = envelope::encode(record);
        let frame = LogRecord {
            sequence: self.state.sequence,
            generation,
            number,
            envelope: &envelope,
        }
        .frame();
        self.put_octets(keys::record(generation, number), frame);
        self.saw(record.stamp);
        (self.state.generation, self.state.number) = (generation.0, number);
    }

    /// Writes a chunk and counts it as written.
    pub(crate) fn chunk(&mut self, segment: u64, chunk: &Chunk<'_>) -> Result<(), Fault> {
        self.chunks
            .push((segment, keys::chunk(chunk.message, chunk.index), chunk.frame()));
        self.segments.insert(segment);
        self.count(segment, |row| {
            row.written = row.written.saturating_add(chunk.octets.len() as u64)
        })
    }

    /// Changes what is counted of a segment.
    pub(crate) fn count(&mut self, segment: u64, change: impl FnOnce(&mut Segment)) -> Result<(), Fault> {
        let key = keys::segment(segment);
        let mut row: Segment = self.get(&key)?.unwrap_or_default();
        change(&mut row);
        self.put(key, &row);
        Ok(())
    }

    /// Makes what a record says. Octets of new messages are in `segment`. What is made already is not made again.
    pub(crate) fn make(&mut self, record: &Record, segment: u64) -> Result<(), Fault> {
        for event in &record.events {
            match (&event.happening, event.mailbox) {
                (Happening::Added { messages, .. }, Some(mailbox)) => {
                    for added in messages {
                        self.add(record.stamp, event, mailbox, added, segment)?;
                    }
                }
                (Happening::Expunged { messages, .. }, Some(mailbox)) => {
                    for expunged in messages {
                        self.expunge(&event.user, mailbox, expunged.message)?;
                    }
                }
                (Happening::QuotaUsageUpdated(usage), _) => {
                    let owner = QuotaOwner::of_root(&usage.root, event.account);
                    self.announced(&owner, usage.reached_percent);
                }
                // Nothing in the store but the record itself says any of the others.
                _ => {}
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        stamp: Stamp,
        event: &Event,
        mailbox: MailboxId,
        added: &Added,
        segment: u64,
    ) -> Result<(), Fault> {
        let key = keys::view(mailbox, added.message);
        if self.has(&key)? {
            return Ok(());
        }
        let view = View {
            account: event.account.0,
            stamp: stamp.0,
            size: added.size,
            received: added.received.0,
            flags: added.flags.clone(),
            unique_id: added.unique_id.clone(),
            prefix: added.prefix.clone(),
        };
        self.put(key, &view);
        self.saw(stamp);
        self.saw(added.message.stamp());
        self.refer(mailbox, added, segment)?;
        self.figures(mailbox, event.account, &event.user, |figure| FigureRow {
            messages: figure.messages.saturating_add(1),
            octets: figure.octets.saturating_add(added.size),
        })
    }

    /// Changes what is counted of a mailbox, its account and the domain of that.
    fn figures(
        &mut self,
        mailbox: MailboxId,
        account: AccountId,
        user: &str,
        change: impl Fn(FigureRow) -> FigureRow,
    ) -> Result<(), Fault> {
        let domain = keys::of_domain(Table::Usage, domain_of(user));
        let account = keys::of_account(Table::Usage, account.0);
        for key in [keys::figure(mailbox), account, domain] {
            let figure = change(self.get(&key)?.unwrap_or_default());
            self.put_figure(key, figure);
        }
        Ok(())
    }

    /// A figure of nothing needs no row.
    pub(crate) fn put_figure(&mut self, key: Vec<u8>, figure: FigureRow) {
        if figure == FigureRow::default() {
            self.remove(key);
        } else {
            self.put(key, &figure);
        }
    }

    /// Notes the threshold that was announced last.
    pub(crate) fn announced(&mut self, owner: &QuotaOwner, percent: u8) {
        self.put(keys::of_owner(Table::Thresholds, owner), &Threshold(percent));
    }

    /// An owner that is gone has no limits, and nothing was announced of it.
    pub(crate) fn forget_quota(&mut self, owner: &QuotaOwner) {
        for table in [Table::Limits, Table::Thresholds] {
            self.remove(keys::of_owner(table, owner));
        }
    }

    fn refer(&mut self, mailbox: MailboxId, added: &Added, segment: u64) -> Result<(), Fault> {
        let key = keys::message(added.message);
        let mut message = match self.get::<Message>(&key)? {
            Some(message) => message,
            None => {
                let octets = added.size.saturating_sub(added.prefix.len() as u64);
                if added.chunks > 0 {
                    self.put(keys::held(segment, added.message), &Present);
                    self.segments.insert(segment);
                    self.count(segment, |row| row.live = row.live.saturating_add(octets))?;
                }
                Message {
                    segment,
                    chunks: added.chunks,
                    octets,
                    references: Vec::new(),
                }
            }
        };
        message.references.push(mailbox.0);
        self.put(key, &message);
        Ok(())
    }

    /// Removes a message of `user`'s from a mailbox; `None` when it is not there. With the last reference go the octets:
    /// from then on no row leads to them, and their segment counts them as dead. Then that is told as well.
    pub(crate) fn expunge(
        &mut self,
        user: &str,
        mailbox: MailboxId,
        message: MessageId,
    ) -> Result<Option<(Expunged, Option<ContentDeleted>)>, Fault> {
        let key = keys::view(mailbox, message);
        let Some(view) = self.get::<View>(&key)? else {
            return Ok(None);
        };
        self.remove(key);
        self.figures(mailbox, AccountId(view.account), user, |figure| FigureRow {
            messages: figure.messages.saturating_sub(1),
            octets: figure.octets.saturating_sub(view.size),
        })?;
        let deleted = self.unrefer(mailbox, message)?;
        let expunged = Expunged {
            message,
            size: view.size,
            received: Stamp(view.received),
            flags: view.flags,
        };
        Ok(Some((expunged, deleted)))
    }

    fn unrefer(&mut self, mailbox: MailboxId, id: MessageId) -> Result<Option<ContentDeleted>, Fault> {
        let key = keys::message(id);
        let Some(mut message) = self.get::<Message>(&key)? else {
            return Ok(None);
        };
        message.references.retain(|reference| *reference != mailbox.0);
        if !message.references.is_empty() {
            self.put(key, &message);
            return Ok(None);
        }
        self.remove(key);
        let Message { chunks, octets, .. } = message;
        if chunks > 0 {
            self.remove(keys::held(message.segment, id));
            self.count(message.segment, |row| row.live = row.live.saturating_sub(octets))?;
        }
        Ok(Some(ContentDeleted {
            message: id,
            octets,
            chunks,
        }))
    }

    /// Whether a note counts: it is there and not older than `since`.
    pub(crate) fn is_noted(&self, note: &NoteKey, since: Stamp) -> Result<bool, Fault> {
        Ok(self
            .get::<Note>(&keys::note(note))?
            .is_some_and(|Note(time)| time >= since.0))
    }

    pub(crate) fn note(&mut self, note: &NoteKey, now: Stamp) -> Result<(), Fault> {
        self.forget(note)?;
        self.put(keys::note(note), &Note(now.0));
        self.put(keys::note_time(now, note), &Present);
        Ok(())
    }

    pub(crate) fn forget(&mut self, note: &NoteKey) -> Result<(), Fault> {
        if let Some(Note(time)) = self.get(&keys::note(note))? {
            self.remove(keys::note(note));
            self.remove(keys::note_time(Stamp(time), note));
        }
        Ok(())
    }

    /// Makes a change of the directory, and writes it down whole.
    pub(crate) fn direct(&mut self, change: &rows::DirectoryRow) -> Result<(), Fault> {
        let frame = frame::DirectoryChange {
            sequence: self.state.sequence,
            row: &encode(change),
        }
        .frame();
        self.put_octets(keys::directory(), frame);
        crate::directory::make(self, change)
    }
}
