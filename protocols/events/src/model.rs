//! The events as the actors know them.

use bytes::Bytes;

use crate::ids::{AccountId, EventId, MailboxId, MessageId, Stamp};

/// One record of the log: one whole change, which may concern several mailboxes (a message with several
/// recipients). It holds all that is needed to make the change again, except the message's octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The change's name; what was done under it is not done again.
    pub id: EventId,
    /// Above the stamp of every row that the change touches.
    pub stamp: Stamp,
    /// What happened, at most once for each mailbox.
    pub events: Vec<Event>,
}

/// What happened in one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The owner's address at the time, in canonical form.
    pub user: String,
    /// The owner.
    pub account: AccountId,
    /// The mailbox.
    pub mailbox: MailboxId,
    /// What.
    pub happening: Happening,
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Messages came in.
    Added(Vec<Added>),
    /// Messages were removed.
    Expunged(Vec<Expunged>),
}

/// A message that came into a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Which.
    pub message: MessageId,
    /// Octets as a client of this mailbox will read them: prefix and content.
    pub size: u64,
    /// Content chunks in the store.
    pub chunks: u32,
    /// When it was taken (the internal date), which need not be its id's time: a message may be moved or restored.
    pub received: Stamp,
    /// IMAP system flags and keywords (RFC 9051 §2.3.2); empty at a delivery.
    pub flags: Vec<String>,
    /// A unique-id of another server that it was brought from, in place of the message id.
    pub unique_id: Option<String>,
    /// What is sent before the content to this recipient alone: Return-Path and Delivered-To.
    pub prefix: Bytes,
}

/// A message that left a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expunged {
    /// Which.
    pub message: MessageId,
    /// The size it was listed with.
    pub size: u64,
}
