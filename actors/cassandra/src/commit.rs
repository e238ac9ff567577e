//! How a group of changes is decided: what each comes to, the records that tell of it, and what is to be written.
//!
//! Plain but for the reading that goes before: everything that deciding needs is read at once ([`Facts`]), then the changes
//! are gone through in their order, each seeing what those before it in the group did.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{try_join_all, try_join4};
use mailhorn_events::{
    AccountId, Added, Arrival, Event, Expunged, Happening, MailboxId, MessageId, Record, Stamp,
};
use mailhorn_ports::{
    Announce, Change, Committed, Delivery, Expunge, Group, NoteKey, QuotaOwner, Recipient, RecipientOutcome,
    StoreError, Verdict, ViewRow,
};

use crate::notes::{Notes, Taken};
use crate::packed::PlacedNote;
use crate::quota;
use crate::session::Cql;
use crate::statements::Statement;
use crate::values::uuid;
use crate::view;

/// A group as it was decided, the same at every repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) committed: Committed,
    /// The notes of deliveries, for the log and for this process.
    pub(crate) notes: Vec<(PlacedNote, Taken)>,
    /// Deliveries of the group that somebody got: their place in it, in order, and their record's among the records.
    pub(crate) stored: Vec<(usize, usize)>,
}

/// What is read before a group is decided.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Accounts among the recipients that live.
    living: BTreeSet<AccountId>,
    /// When the delivery under a note was taken, where a note is there.
    noted: BTreeMap<NoteKey, Stamp>,
    /// Rows that expunges name, as far as they are there.
    rows: BTreeMap<(MailboxId, MessageId), ViewRow>,
    /// Chunks of each delivery that this process has written.
    uploaded: BTreeMap<MessageId, u32>,
    /// The threshold that was announced last, of each owner of whom one is to be announced.
    announced: BTreeMap<QuotaOwner, u8>,
}

/// What the changes of a group speak of.
#[derive(Debug, Default)]
struct Named {
    accounts: BTreeSet<AccountId>,
    notes: BTreeSet<(MailboxId, NoteKey)>,
    messages: BTreeMap<MailboxId, BTreeSet<MessageId>>,
    owners: BTreeSet<QuotaOwner>,
}

impl Named {
    fn of(changes: &[Change]) -> Self {
        let mut named = Self::default();
        for change in changes {
            match change {
                Change::Deliver(delivery) => {
                    for recipient in &delivery.recipients {
                        named.accounts.insert(recipient.account);
                        named
                            .notes
                            .extend(recipient.note.map(|note| (recipient.mailbox, note)));
                    }
                }
                Change::Expunge(expunge) => {
                    let messages = named.messages.entry(expunge.mailbox).or_default();
                    messages.extend(&expunge.messages);
                }
                Change::Announce(announce) => {
                    let owners = announce.threshold.iter().map(|threshold| threshold.owner.clone());
                    named.owners.extend(owners);
                }
                Change::ForgetNotes(_) | Change::KeepNotes(_) => {}
            }
        }
        named
    }
}

impl Facts {
    pub(crate) async fn read(
        cql: &dyn Cql,
        notes: &Notes,
        group: &Group,
        uploaded: BTreeMap<MessageId, u32>,
    ) -> Result<Self, StoreError> {
        let named = Named::of(&group.changes);
        let lives = |account: AccountId| async move {
            let rows = cql.run(Statement::AccountLives, vec![uuid(account.0)]).await?;
            Ok::<_, StoreError>((!rows.is_empty()).then_some(account))
        };
        let noted = |(mailbox, key): (MailboxId, NoteKey)| async move {
            let taken = notes
                .taken(cql, mailbox, key, group.notes_since, group.now)
                .await?;
            Ok::<_, StoreError>(taken.map(|taken| (key, taken)))
        };
        let found = |(mailbox, ids): (MailboxId, BTreeSet<MessageId>)| async move {
            let ids: Vec<MessageId> = ids.into_iter().collect();
            let rows = view::these(cql, mailbox, &ids).await?;
            Ok::<_, StoreError>(rows.into_iter().map(move |row| ((mailbox, row.message), row)))
        };
        let announced = |owner: QuotaOwner| async move {
            let percent = quota::announced(cql, &owner).await?;
            Ok::<_, StoreError>((owner, percent))
        };
        let (living, noted, rows, announced) = try_join4(
            try_join_all(named.accounts.into_iter().map(lives)),
            try_join_all(named.notes.into_iter().map(noted)),
            try_join_all(named.messages.into_iter().map(found)),
            try_join_all(named.owners.into_iter().map(announced)),
        )
        .await?;
        Ok(Self {
            living: living.into_iter().flatten().collect(),
            noted: noted.into_iter().flatten().collect(),
            rows: rows.into_iter().flatten().collect(),
            uploaded,
            announced: announced.into_iter().collect(),
        })
    }
}

/// Decides a group.
pub(crate) fn decide(group: &Group, facts: Facts) -> Decided {
    let mut deciding = Deciding {
        facts,
        since: group.notes_since,
        now: group.now,
        decided: Decided {
            committed: Committed {
                verdicts: Vec::new(),
                records: Vec::new(),
            },
            notes: Vec::new(),
            stored: Vec::new(),
        },
    };
    for (place, change) in group.changes.iter().enumerate() {
        let (verdict, record) = match change {
            Change::Deliver(delivery) => deciding.deliver(place, delivery),
            Change::Expunge(expunge) => (Verdict::Done, deciding.expunge(expunge)),
            Change::Announce(announce) => (Verdict::Done, deciding.announce(announce)),
            Change::ForgetNotes(keys) => {
                keys.iter().for_each(|key| {
                    deciding.facts.noted.remove(key);
                });
                (Verdict::Done, None)
            }
            Change::KeepNotes(_) => (Verdict::Done, None),
        };
        deciding.decided.committed.verdicts.push(verdict);
        deciding.decided.committed.records.extend(record);
    }
    deciding.decided
}

struct Deciding {
    facts: Facts,
    since: Stamp,
    now: Stamp,
    decided: Decided,
}

impl Deciding {
    fn deliver(&mut self, place: usize, delivery: &Delivery) -> (Verdict, Option<Record>) {
        // Notes are looked at before any is made: two recipients of one transaction are not each other's retry.
        let outcomes: Vec<_> = delivery
            .recipients
            .iter()
            .map(|recipient| self.outcome(delivery, recipient))
            .collect();
        let place_of_record = self.decided.committed.records.len();
        let record = u32::try_from(place_of_record).unwrap_or(u32::MAX);
        let mut events = Vec::new();
        for (recipient, outcome) in delivery.recipients.iter().zip(&outcomes) {
            if *outcome != RecipientOutcome::Stored {
                continue;
            }
            if let Some(event) = self.add(delivery, recipient) {
                events.push(event);
            }
            if let Some(key) = recipient.note {
                self.facts.noted.insert(key, self.now);
                // A second recipient with the same mailbox has no event of its own; its note goes with the mailbox's.
                let event = u32::try_from(events.len().saturating_sub(1)).unwrap_or(u32::MAX);
                let taken = Taken {
                    key,
                    mailbox: recipient.mailbox,
                    at: self.now,
                };
                self.decided
                    .notes
                    .push((PlacedNote { record, event, key }, taken));
            }
        }
        if events.is_empty() {
            return (Verdict::Delivered(outcomes), None);
        }
        self.decided.stored.push((place, place_of_record));
        let record = Record {
            id: delivery.event,
            stamp: delivery.message.stamp(),
            events,
        };
        (Verdict::Delivered(outcomes), Some(record))
    }

    fn outcome(&self, delivery: &Delivery, recipient: &Recipient) -> RecipientOutcome {
        let noted = recipient.note.and_then(|note| self.facts.noted.get(&note));
        let uploaded = self.facts.uploaded.get(&delivery.message).copied().unwrap_or(0);
        if !self.facts.living.contains(&recipient.account) {
            RecipientOutcome::Gone
        } else if noted.is_some_and(|taken| *taken >= self.since) {
            RecipientOutcome::Duplicate
        } else if delivery.octets.stored_chunks > uploaded {
            RecipientOutcome::OctetsLost
        } else {
            RecipientOutcome::Stored
        }
    }

    /// A row, and what is said about it; none when the mailbox has the message already.
    fn add(&mut self, delivery: &Delivery, recipient: &Recipient) -> Option<Event> {
        let (message, mailbox) = (delivery.message, recipient.mailbox);
        let prefix = u64::try_from(recipient.prefix.len()).unwrap_or(u64::MAX);
        let row = ViewRow {
            message,
            size: delivery.octets.size.saturating_add(prefix),
            received: message.stamp(),
            stamp: message.stamp(),
            unique_id: None,
        };
        let added = Added {
            message,
            size: row.size,
            chunks: delivery.octets.chunks(),
            received: row.received,
            flags: Vec::new(),
            unique_id: None,
            prefix: recipient.prefix.clone(),
        };
        if self.facts.rows.insert((mailbox, message), row).is_some() {
            return None;
        }
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

    fn expunge(&mut self, expunge: &Expunge) -> Option<Record> {
        let mailbox = expunge.mailbox;
        let removed = |message: &MessageId| self.facts.rows.remove(&(mailbox, *message));
        let rows: Vec<ViewRow> = expunge.messages.iter().filter_map(removed).collect();
        let highest = rows.iter().map(|row| row.stamp).max()?;
        let gone = |row: &ViewRow| Expunged {
            message: row.message,
            size: row.size,
            received: row.received,
            flags: Vec::new(),
        };
        let happening = Happening::Expunged {
            moved_to: None,
            messages: rows.iter().map(gone).collect(),
        };
        let event = Event {
            user: expunge.user.clone(),
            account: expunge.account,
            mailbox: Some(mailbox),
            happening,
        };
        Some(Record {
            id: expunge.event,
            // Above what it removes, whatever this machine's clock says.
            stamp: expunge.stamp.max(highest.next()),
            events: vec![event],
        })
    }

    fn announce(&mut self, announce: &Announce) -> Option<Record> {
        if let Some(threshold) = &announce.threshold {
            let announced = self.facts.announced.entry(threshold.owner.clone()).or_default();
            if *announced != threshold.from_percent {
                return None;
            }
            *announced = threshold.to_percent;
        }
        Some(Record {
            id: announce.event,
            stamp: announce.stamp,
            events: announce.events.clone(),
        })
    }
}
