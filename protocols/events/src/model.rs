//! The events as the actors know them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{AccountId, EventId, MailboxId, MessageId, Position, Stamp};

/// One record of the log: one whole change, which may concern several mailboxes (a message with several
/// recipients). It holds all that is needed to make the change again, except the message's octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The change's name; what was done under it is not done again.
    pub id: EventId,
    /// Above the stamp of every row that the change touches.
    pub stamp: Stamp,
    /// What happened, in the order in which listeners are to see it.
    pub events: Vec<Event>,
}

/// What happened in one mailbox, or to a user as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The owner's address at the time, in canonical form.
    pub user: String,
    /// The owner.
    pub account: AccountId,
    /// The mailbox; `None` where the event is about the user and no mailbox.
    pub mailbox: Option<MailboxId>,
    /// What.
    pub happening: Happening,
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Messages came in.
    Added {
        /// How.
        arrival: Arrival,
        /// Which.
        messages: Vec<Added>,
    },
    /// Messages were removed.
    Expunged {
        /// The mailbox that they were moved to, if they were.
        moved_to: Option<MailboxId>,
        /// Which.
        messages: Vec<Expunged>,
    },
    /// Flags of messages were set or cleared.
    FlagsUpdated(Vec<FlagsUpdated>),
    /// The mailbox was made.
    MailboxAdded {
        /// Its name, with `/` between the levels.
        name: String,
    },
    /// The mailbox has another name.
    MailboxRenamed {
        /// The old one.
        from: String,
        /// The new one.
        to: String,
    },
    /// The mailbox is gone, with all that was in it.
    MailboxDeleted {
        /// Its name.
        name: String,
        /// The messages that went with it.
        messages: u64,
        /// Their sizes together.
        octets: u64,
    },
    /// Others may do more, or less, with the mailbox.
    MailboxAclUpdated {
        /// Its name.
        name: String,
        /// Rights before, by identifier (RFC 4314 §2).
        before: Acl,
        /// Rights from now on.
        after: Acl,
    },
    /// The user subscribed to the mailbox.
    MailboxSubscribed {
        /// Its name.
        name: String,
    },
    /// The user no longer subscribes to the mailbox.
    MailboxUnsubscribed {
        /// Its name.
        name: String,
    },
    /// Messages went from mailboxes to others. Told once, beside the Added and Expunged of each mailbox.
    MessageMoved {
        /// The mailboxes that had them.
        from: Vec<MailboxId>,
        /// The mailboxes that have them.
        to: Vec<MailboxId>,
        /// Which.
        messages: Vec<MessageId>,
    },
    /// The last reference to these messages went, and their octets with it.
    MessageContentDeleted(Vec<ContentDeleted>),
    /// Usage crossed a threshold of its limit, either way.
    QuotaUsageUpdated(QuotaUsage),
    /// A quota's limits were changed.
    QuotaLimitsUpdated {
        /// Whose.
        root: QuotaRoot,
        /// The limits before.
        before: QuotaLimits,
        /// The limits from now on.
        after: QuotaLimits,
    },
}

/// How messages came into a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// By SMTP or LMTP.
    Delivered,
    /// Put there by a client or an administrator.
    Appended,
    /// Moved from another mailbox.
    Moved(MailboxId),
    /// Copied from another mailbox.
    Copied(MailboxId),
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
    /// When it was taken. Records of version 1 don't have it: there it is the message id's time.
    pub received: Stamp,
    /// The flags it had.
    pub flags: Vec<String>,
}

/// A message whose flags were changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagsUpdated {
    /// Which.
    pub message: MessageId,
    /// Its flags before, sorted.
    pub before: Vec<String>,
    /// Its flags from now on, sorted.
    pub after: Vec<String>,
}

/// Rights by identifier (RFC 4314 §2): a user, a group, or `anyone`, with one letter for each right.
pub type Acl = BTreeMap<String, String>;

/// A message whose octets are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentDeleted {
    /// Which.
    pub message: MessageId,
    /// Octets of its content, without any recipient's prefix.
    pub octets: u64,
    /// Chunks that it had in the store.
    pub chunks: u32,
}

/// Whose quota.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaRoot {
    /// The user's, over all mailboxes.
    User,
    /// A domain's, over all its users.
    Domain(String),
}

/// How much a quota root may hold; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaLimits {
    /// Messages.
    pub messages: Option<u64>,
    /// The sum of their sizes, in octets.
    pub octets: Option<u64>,
}

impl QuotaLimits {
    /// Whether there is none.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// How much a quota root holds, and the threshold that it crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaUsage {
    /// Whose.
    pub root: QuotaRoot,
    /// Messages that it holds.
    pub messages: u64,
    /// The sum of their sizes, in octets.
    pub octets: u64,
    /// What it may hold.
    pub limits: QuotaLimits,
    /// The highest threshold that usage has reached, in percent of the limit; 0 when it is below all of them.
    pub reached_percent: u8,
    /// The same as it was last announced.
    pub before_percent: u8,
}

impl Happening {
    /// Whether nothing happened: such an event is told to nobody.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        match self {
            Self::Added { messages, .. } => messages.is_empty(),
            Self::Expunged { messages, .. } => messages.is_empty(),
            Self::FlagsUpdated(messages) => messages.iter().all(|message| message.before == message.after),
            Self::MailboxRenamed { from, to } => from == to,
            Self::MailboxAclUpdated { before, after, .. } => before == after,
            Self::MessageMoved { messages, .. } => messages.is_empty(),
            Self::MessageContentDeleted(messages) => messages.is_empty(),
            Self::QuotaUsageUpdated(usage) => usage.reached_percent == usage.before_percent,
            Self::QuotaLimitsUpdated { before, after, .. } => before == after,
            Self::MailboxAdded { .. }
            | Self::MailboxDeleted { .. }
            | Self::MailboxSubscribed { .. }
            | Self::MailboxUnsubscribed { .. } => false,
        }
    }

    /// The kind's name, as it stands in settings, logs and JSON. Never changed once shipped.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Added { .. } => "Added",
            Self::Expunged { .. } => "Expunged",
            Self::FlagsUpdated(_) => "FlagsUpdated",
            Self::MailboxAdded { .. } => "MailboxAdded",
            Self::MailboxRenamed { .. } => "MailboxRenamed",
            Self::MailboxDeleted { .. } => "MailboxDeleted",
            Self::MailboxAclUpdated { .. } => "MailboxAclUpdated",
            Self::MailboxSubscribed { .. } => "MailboxSubscribed",
            Self::MailboxUnsubscribed { .. } => "MailboxUnsubscribed",
            Self::MessageMoved { .. } => "MessageMoved",
            Self::MessageContentDeleted(_) => "MessageContentDeleted",
            Self::QuotaUsageUpdated(_) => "QuotaUsageUpdated",
            Self::QuotaLimitsUpdated { .. } => "QuotaLimitsUpdated",
        }
    }

    /// The names of all kinds.
    pub const NAMES: [&'static str; 13] = [
        "Added",
        "Expunged",
        "FlagsUpdated",
        "MailboxAdded",
        "MailboxRenamed",
        "MailboxDeleted",
        "MailboxAclUpdated",
        "MailboxSubscribed",
        "MailboxUnsubscribed",
        "MessageMoved",
        "MessageContentDeleted",
        "QuotaUsageUpdated",
        "QuotaLimitsUpdated",
    ];
}

/// An event as listeners get it: with its name and its place in a log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Happened {
    position: Position,
    index: usize,
    record: Arc<Record>,
}

impl Happened {
    /// The events of a record, in their order.
    pub fn all(position: Position, record: &Arc<Record>) -> impl Iterator<Item = Self> + use<> {
        let record = Arc::clone(record);
        (0..record.events.len()).map(move |index| Self {
            position,
            index,
            record: Arc::clone(&record),
        })
    }

    /// Where its record stands.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Which of its record's events it is, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The whole record that it is part of; it stays in memory for as long as this does.
    #[must_use]
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Its name: the same at every delivery, and after every restart.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.record.id.of_event(self.index)
    }

    /// Above the stamp of every row that the change touched.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.record.stamp
    }

    /// What happened.
    #[must_use]
    pub fn event(&self) -> &Event {
        match self.record.events.get(self.index) {
            Some(event) => event,
            None => unreachable!("an event is only made from a record that has it"),
        }
    }

    /// A record with this event alone, which has its name: what is kept of it when the log no longer has it.
    #[must_use]
    pub fn to_record(&self) -> Record {
        Record {
            id: self.id(),
            stamp: self.record.stamp,
            events: vec![self.event().clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Generation;
    use uuid::Uuid;

    fn event(happening: Happening) -> Event {
        Event {
            user: "ann@example.org".into(),
            account: AccountId(Uuid::from_u128(1)),
            mailbox: Some(MailboxId(Uuid::from_u128(2))),
            happening,
        }
    }

    #[test]
    fn an_event_taken_out_of_its_record_keeps_its_name() {
        let record = Arc::new(Record {
            id: EventId(Uuid::from_u128(9)),
            stamp: Stamp(5),
            events: vec![
                event(Happening::MailboxAdded { name: "INBOX".into() }),
                event(Happening::MailboxSubscribed { name: "INBOX".into() }),
            ],
        });
        let position = Position {
            generation: Generation(Uuid::from_u128(3)),
            number: 4,
        };
        let happened: Vec<Happened> = Happened::all(position, &record).collect();
        assert_eq!(happened[0].id(), record.id);
        assert_ne!(happened[1].id(), happened[0].id());
        for one in happened {
            let alone = Arc::new(one.to_record());
            let again = Happened::all(position, &alone).next().unwrap();
            assert_eq!((again.id(), again.event()), (one.id(), one.event()));
        }
    }

    #[test]
    fn nothing_changed_is_a_noop() {
        let flags = |after: &[&str]| {
            let message = MessageId(Uuid::from_u128(1));
            let after = after.iter().map(|flag| (*flag).to_owned()).collect();
            Happening::FlagsUpdated(vec![FlagsUpdated {
                message,
                before: vec!["\\Seen".into()],
                after,
            }])
        };
        assert!(flags(&["\\Seen"]).is_noop());
        assert!(!flags(&[]).is_noop());
        let moved_to = None;
        assert!(
            Happening::Expunged {
                moved_to,
                messages: Vec::new()
            }
            .is_noop()
        );
        assert!(!Happening::MailboxAdded { name: "a".into() }.is_noop());
    }
}
