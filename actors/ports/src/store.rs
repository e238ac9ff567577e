//! The mail store: octets, the view keyed by messageId, and the log.
//!
//! # The contract
//!
//! - A **change is whole**: rows, references, figures, notes and the log record of a change are made together or not
//!   at all, and nobody sees any of it before it is durable.
//! - Changes come in **groups** under consecutive log numbers, from one writer ([`MailStore::commit`] is never called
//!   again before it has returned). The outcome is *done* (with a verdict for each change) or *unknown*. After
//!   *unknown* the writer repeats the same group under the same number until it is done; what was done is not done
//!   twice, whatever happened in between.
//! - **Octets** are written before the change that makes them valid, invisible until then, and swept if it never comes.
//! - A **reader never removes**: a row whose octets are not found is [`ReadError::Missing`].
//! - Listings are **paged** and ordered by message id.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mailhorn_events::{AccountId, Event, EventId, Generation, MailboxId, MessageId, Record, Stamp};

use crate::quota::QuotaOwner;

/// The largest chunk of octets that a store is given, in octets. One chunk is what a transaction and a retrieval
/// hold in memory.
pub const CHUNK_OCTETS_MAX: usize = 64 * 1024;

/// The store could not do it now. Nothing is known to be lost; trying later may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A fault that may pass: the disk is full, a sync failed, a server is away.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What was read is damaged, and will be at the next try.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Why a message's octets were not read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The view has no such row (any more): somebody expunged it.
    #[error("the message was expunged")]
    Expunged,
    /// The row is there, its octets are not.
    #[error("the message's octets are missing")]
    Missing,
    /// The octets are there and are not what was written.
    #[error("the message's octets are damaged")]
    Damaged,
    /// A fault that may pass.
    #[error("the store is not available: {0}")]
    Unavailable(String),
}

/// Why a group is not known to be durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The outcome is not known: it may be durable, now or later. Repeat it under its number.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// This process was silent for too long and must take it that another has ended its log. What it appended since may
    /// never have happened; nothing more will be written under this generation.
    #[error("the lease on the log was lost")]
    LeaseLost,
}

/// What a note of a delivery is found by: a hash over reverse-path, recipient and the octets as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteKey(pub [u8; 32]);

/// The content of a message on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Octets {
    /// Octets of the content, shared by all recipients: the Received line and what was sent.
    pub size: u64,
    /// Chunks already written by [`MailStore::put_chunk`], numbered from 0.
    pub stored_chunks: u32,
    /// The last chunk, made durable with the change itself (a small message needs no other); empty if there is none.
    pub tail: Bytes,
}

impl Octets {
    /// Chunks in all.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        self.stored_chunks
            .saturating_add(u32::from(!self.tail.is_empty()))
    }
}

/// One message for one or more local recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The change's name.
    pub event: EventId,
    /// The message's; its stamp is the change's.
    pub message: MessageId,
    /// Its content.
    pub octets: Octets,
    /// Whose it becomes; two recipients with one mailbox make one copy.
    pub recipients: Vec<Recipient>,
}

/// One recipient of a [`Delivery`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address in canonical form.
    pub user: String,
    /// The account.
    pub account: AccountId,
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Sent before the content to this recipient, and counted in its size.
    pub prefix: Bytes,
    /// What a retry is known by; `None` where no retry is to be known.
    ///
    /// It is looked up before the delivery, and counts from its commit on in the process that committed it. For other
    /// processes it counts once it was kept ([`Change::KeepNotes`]) or the log was adopted
    /// ([`Membership::adopt`](crate::Membership::adopt)), whichever comes first: until then a store may have it in memory
    /// only. Whoever delivers says of each note one of two things through the same log: [`Change::ForgetNotes`] once
    /// something shows that the reply was read, or [`Change::KeepNotes`] once nothing can show it any more, as also where
    /// the commit's outcome was unknown when it was answered.
    pub note: Option<NoteKey>,
}

/// Messages to remove from one mailbox. Those that are not there are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expunge {
    /// The change's name.
    pub event: EventId,
    /// Above the stamp of every row that it removes.
    pub stamp: Stamp,
    /// The owner's address.
    pub user: String,
    /// The owner.
    pub account: AccountId,
    /// Where.
    pub mailbox: MailboxId,
    /// What.
    pub messages: Vec<MessageId>,
}

/// Events without a change of mail: of mailboxes, of quotas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// The change's name.
    pub event: EventId,
    /// Above every stamp so far.
    pub stamp: Stamp,
    /// What happened.
    pub events: Vec<Event>,
    /// Made, and told, only if this owner's threshold still stands where it is said to; then it stands at the new
    /// one. So a crossing is announced once however often it is noticed.
    pub threshold: Option<ThresholdMove>,
}

/// Usage reached another threshold of its limit than the one announced last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdMove {
    /// Whose.
    pub owner: QuotaOwner,
    /// The one announced last, in percent.
    pub from_percent: u8,
    /// The one that is announced now.
    pub to_percent: u8,
}

/// One whole change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A message comes in.
    Deliver(Delivery),
    /// Messages go.
    Expunge(Expunge),
    /// Something happened that changes no row of mail: a record tells of it, and nothing else.
    Announce(Announce),
    /// Notes that no longer count: their reply was read. No record tells of it; lost with a crash, it costs nothing
    /// but a retry's worth of caution.
    ForgetNotes(Vec<NoteKey>),
    /// Notes whose replies may not have been read: the connection ended before anything showed it, or the reply was that
    /// the outcome is unknown. From then on a retry is known on every node. A note of a delivery that this process has not
    /// committed (it may never come to be) is passed over: kept, it would answer `250` for mail that is nowhere. A store
    /// that keeps each note from its delivery on has nothing to do. No record tells of it; lost, a retry on another node
    /// may make a second copy.
    KeepNotes(Vec<NoteKey>),
}

/// Changes to be made durable together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Whose log.
    pub generation: Generation,
    /// The number of the first record that the group makes. One above the log's end.
    pub first: u64,
    /// The wall clock, for the age of notes.
    pub now: Stamp,
    /// Notes older than this don't count.
    pub notes_since: Stamp,
    /// In the order in which they happen.
    pub changes: Vec<Change>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Of a delivery: one for each recipient, in their order.
    Delivered(Vec<RecipientOutcome>),
    /// Of anything else.
    Done,
}

/// What became of a delivery to one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientOutcome {
    /// It is in the mailbox (perhaps through another recipient of the same transaction).
    Stored,
    /// A note says that an earlier try put it there. Said whether or not the octets of this try are there, so a delivery
    /// whose octets were never written asks for a note and stores nothing.
    Duplicate,
    /// The account was removed meanwhile.
    Gone,
    /// Chunks that were written before the change are not there any more: the store had to be opened anew in
    /// between. Nothing was stored for this recipient; the sender may try again.
    OctetsLost,
}

/// A group that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// For each change.
    pub verdicts: Vec<Verdict>,
    /// The records that it made, numbered from the group's first; a change without effect makes none.
    pub records: Vec<Record>,
}

/// A record as it stands in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number.
    pub number: u64,
    /// What it says, if it can be read.
    pub record: Result<Arc<Record>, Unreadable>,
}

/// A record that this release can't read: it is damaged, or a later one wrote it. Its octets are kept for whoever can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// As they were found.
    pub octets: Bytes,
    /// Why not.
    pub why: String,
}

/// A row of a mailbox's view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRow {
    /// Which message.
    pub message: MessageId,
    /// Octets as this mailbox's reader gets them: prefix and content.
    pub size: u64,
    /// When it was taken.
    pub received: Stamp,
    /// Of the change that made the row.
    pub stamp: Stamp,
    /// A unique-id of another server, in place of the message id.
    pub unique_id: Option<String>,
}

/// How much a mailbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figure {
    /// Messages.
    pub messages: u64,
    /// The sum of their sizes.
    pub octets: u64,
}

/// A piece of a message as its reader gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The octets; part 0 begins with the prefix.
    pub octets: Bytes,
    /// Whether another part follows.
    pub more: bool,
}

/// What [`MailStore::maintain`] did, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Maintained {
    /// Log records trimmed.
    pub records: u64,
    /// Notes that were too old to count.
    pub notes: u64,
    /// Octets given back to the file system or prepared to be.
    pub octets: u64,
    /// Whether there is more to do right away.
    pub more: bool,
}

/// What of the past may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Log records with a stamp below this go in any case, but for the last of a log; others go when every group's cursor
    /// has passed them. One that can't be read is as old as the next one that can.
    pub records_before: Stamp,
    /// Groups that no node has registered since are forgotten, as [`GroupStore::forget_group`](crate::GroupStore) does it.
    pub groups_before: Stamp,
    /// Notes older than this no longer count.
    pub notes_since: Stamp,
}

/// Octets, view and log. See the module for the contract.
#[async_trait]
pub trait MailStore: Debug + Send + Sync {
    /// Writes a chunk of a message that no change has made valid yet. Not durable until that change is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: the message can't be taken now.
    async fn put_chunk(&self, message: MessageId, index: u32, octets: Bytes) -> Result<(), StoreError>;

    /// Makes a group durable. See the module for who may call it and what *unknown* asks for.
    ///
    /// # Errors
    ///
    /// [`CommitError`]: the outcome is unknown.
    async fn commit(&self, group: &Group) -> Result<Committed, CommitError>;

    /// Says whose log a generation is, before its first record: a record is known by node, generation and number.
    /// Durable when it returns. Older logs of the node without a record left are forgotten, and with
    /// them what groups' cursors say of them.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn begin_log(&self, generation: Generation, node: &str) -> Result<(), StoreError>;

    /// The logs that were begun and the nodes they belong to, by generation, which is by age.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn logs(&self) -> Result<Vec<(Generation, String)>, StoreError>;

    /// The number of the last record of a log; 0 when it has none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn log_end(&self, generation: Generation) -> Result<u64, StoreError>;

    /// At most `limit` records of a log from number `from` on. One that can't be read is told as such and stops nothing.
    /// A first number above `from` says that those before it were trimmed: the last record of a log stays until every
    /// group's cursor has passed it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn records(
        &self,
        generation: Generation,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError>;

    /// The highest stamp in any row.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn highest_stamp(&self) -> Result<Stamp, StoreError>;

    /// At most `limit` rows of a mailbox after `after`, by message id.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn list(
        &self,
        mailbox: MailboxId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<ViewRow>, StoreError>;

    /// How much a mailbox holds: the sum over its rows.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn figure(&self, mailbox: MailboxId) -> Result<Figure, StoreError>;

    /// Part `part` of a message as it stands in `mailbox`. A part is at most a chunk and a prefix.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    async fn read(&self, mailbox: MailboxId, message: MessageId, part: u32) -> Result<Part, ReadError>;

    /// The first parts of messages, in their order, until together they hold `octets_max` octets or one can't be
    /// read: what a reader who takes one message after the other will ask for next, in one go. The first is read in
    /// any case; one that can't be read ends the answer and is told when it is asked for by itself.
    async fn read_ahead(&self, mailbox: MailboxId, messages: &[MessageId], octets_max: usize) -> Vec<Part>;

    /// A bounded step of housekeeping: trims the log and the notes, gives space back. Called by the writer, between
    /// groups.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn maintain(&self, retention: Retention) -> Result<Maintained, StoreError>;

    /// Makes durable whatever is not, and ends well: a clean stop.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn close(&self) -> Result<(), StoreError>;
}
