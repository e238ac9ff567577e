//! Accounts, messages and groups for the clauses.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mailhorn_events::{Event, EventId, Generation, Happening, MailboxId, MessageId, Position, Record, Stamp};

use crate::clock::Ids;
use crate::directory::{
    Account, Alias, Credentials, Directory, DirectoryError, NewAccount, ScramKeys, Target, domain_of,
};
use crate::listener::Letter;
use crate::memory::{ManualClock, SeededRandom};
use crate::store::{
    Announce, CHUNK_OCTETS_MAX, Change, Committed, Delivery, Expunge, Group, LogEntry, MailStore, NoteKey,
    Octets, ReadError, Recipient, RecipientOutcome, Retention, ThresholdMove, Verdict, ViewRow,
};

/// When the clauses begin, in microseconds since the Unix epoch.
const BEGIN: u64 = 1_767_225_600_000_000;

/// The one writer of a store under test: it numbers groups as the log's actor does, and checks what every commit owes.
///
/// Everything panics where the store refuses: a clause that expects a refusal calls the store itself.
#[derive(Debug)]
pub struct World<'a, S> {
    /// The store under test.
    pub store: &'a S,
    /// Names and stamps, the same in every run.
    pub ids: Ids,
    /// The clock behind them.
    pub clock: Arc<ManualClock>,
    /// The log that is written to.
    pub generation: Generation,
    /// The number of its last record.
    pub end: u64,
    /// Notes older than this don't count.
    pub notes_since: Stamp,
}

impl<'a, S: MailStore + Directory> World<'a, S> {
    /// A writer with a log of its own.
    pub fn new(store: &'a S) -> Self {
        Self::seeded(store, 1)
    }

    /// A writer with a log of its own, whose names differ from those of other seeds.
    pub fn seeded(store: &'a S, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(BEGIN + seed));
        let ids = Ids::new(
            Arc::clone(&clock) as _,
            Arc::new(SeededRandom::new(seed)),
            Stamp(0),
        );
        let generation = ids.generation();
        Self {
            store,
            ids,
            clock,
            generation,
            end: 0,
            notes_since: Stamp(0),
        }
    }

    /// INBOX of an account.
    #[must_use]
    pub fn inbox(account: &Account) -> MailboxId {
        MailboxId::inbox(account.id)
    }

    /// Credentials with a new stamp.
    pub fn credentials(&self, scram: bool) -> Credentials {
        let keys = || ScramKeys {
            salt: vec![1, 2],
            iterations: 4_096,
            stored_key: [3; 32],
            server_key: [4; 32],
        };
        let (stamp, hash) = (
            self.ids.stamp(),
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA".into(),
        );
        Credentials {
            stamp,
            hash,
            scram: scram.then(keys),
            app_passwords: Vec::new(),
        }
    }

    /// An account that is to be made.
    pub fn new_account(&self, address: &str) -> NewAccount {
        let (id, created) = (self.ids.account(), self.ids.stamp());
        NewAccount {
            id,
            address: address.into(),
            credentials: self.credentials(true),
            created,
        }
    }

    /// Makes an account, and its domain where it is not there.
    pub async fn account(&self, address: &str) -> Arc<Account> {
        match self.store.add_domain(domain_of(address)).await {
            Ok(()) | Err(DirectoryError::Exists(_)) => {}
            Err(error) => panic!("the domain was not made: {error}"),
        }
        self.store
            .add_account(self.new_account(address))
            .await
            .expect("an account is made")
    }

    /// Makes another address of an account.
    pub async fn alias(&self, address: &str, account: &Account) -> Alias {
        let alias = Alias {
            address: address.into(),
            target: Target::from(account),
            created: self.ids.stamp(),
        };
        self.store
            .add_alias(alias.clone())
            .await
            .expect("an alias is made");
        alias
    }

    /// A delivery of `octets`, all of them in the tail, with a prefix for each recipient.
    pub fn delivery(&self, recipients: &[&Account], octets: &[u8]) -> Delivery {
        let recipient = |account: &&Account| Recipient {
            user: account.address.clone(),
            account: account.id,
            mailbox: Self::inbox(account),
            prefix: Self::prefix(account),
            note: None,
        };
        Delivery {
            event: self.ids.event(),
            message: self.ids.message(),
            octets: Octets {
                size: octets.len() as u64,
                stored_chunks: 0,
                tail: Bytes::copy_from_slice(octets),
            },
            recipients: recipients.iter().map(recipient).collect(),
        }
    }

    /// What is sent before the content to a recipient.
    #[must_use]
    pub fn prefix(account: &Account) -> Bytes {
        format!("Delivered-To: {}\r\n", account.address).into()
    }

    /// A delivery of `octets`, in chunks: all but the last are written now.
    pub async fn upload(&self, recipients: &[&Account], octets: &[u8]) -> Delivery {
        let mut delivery = self.delivery(recipients, octets);
        let mut chunks: Vec<&[u8]> = octets.chunks(CHUNK_OCTETS_MAX).collect();
        let tail = chunks.pop().unwrap_or_default();
        for (index, chunk) in (0..).zip(&chunks) {
            let put = self
                .store
                .put_chunk(delivery.message, index, Bytes::copy_from_slice(chunk))
                .await;
            put.expect("a chunk is written");
            delivery.octets.stored_chunks = index + 1;
        }
        delivery.octets.tail = Bytes::copy_from_slice(tail);
        delivery
    }

    /// The same delivery with a note for its first recipient.
    #[must_use]
    pub fn noted(mut delivery: Delivery, note: u8) -> Delivery {
        if let Some(first) = delivery.recipients.first_mut() {
            first.note = Some(NoteKey([note; 32]));
        }
        delivery
    }

    /// An expunge in INBOX.
    pub fn expunge(&self, account: &Account, messages: &[MessageId]) -> Expunge {
        Expunge {
            event: self.ids.event(),
            stamp: self.ids.stamp(),
            user: account.address.clone(),
            account: account.id,
            mailbox: Self::inbox(account),
            messages: messages.to_vec(),
        }
    }

    /// Tells of something that happened to an account, perhaps only if a threshold moves with it.
    pub fn announce(
        &self,
        account: &Account,
        happening: Happening,
        threshold: Option<ThresholdMove>,
    ) -> Announce {
        let event = Event {
            user: account.address.clone(),
            account: account.id,
            mailbox: None,
            happening,
        };
        Announce {
            event: self.ids.event(),
            stamp: self.ids.stamp(),
            events: vec![event],
            threshold,
        }
    }

    /// An event of this world's log that a group could not handle.
    pub fn letter(&self, id: EventId) -> Letter {
        Letter {
            id,
            position: Position {
                generation: self.generation,
                number: 3,
            },
            octets: Bytes::from_static(b"\x01\x01octets"),
            why: "the listener said so".into(),
            attempts: 2,
            since: Stamp(BEGIN),
            last: Stamp(BEGIN + 1),
        }
    }

    /// Nothing is too old to be kept.
    pub const NOTHING_OLD: Retention = Retention {
        records_before: Stamp(0),
        groups_before: Stamp(0),
        notes_since: Stamp(0),
    };

    /// Steps of housekeeping until there is nothing more to do; gives how many records went.
    pub async fn maintain(&self, retention: Retention) -> u64 {
        let mut records = 0;
        loop {
            let done = self.store.maintain(retention).await.expect("housekeeping");
            records += done.records;
            if !done.more {
                return records;
            }
        }
    }

    /// The numbers of a log's records.
    pub async fn numbers(&self, generation: Generation) -> Vec<u64> {
        let entries = self.store.records(generation, 0, usize::MAX).await;
        let entries = entries.expect("the log is read");
        entries.iter().map(|entry| entry.number).collect()
    }

    /// The next group of the log.
    pub fn group(&self, changes: Vec<Change>) -> Group {
        let (now, notes_since) = (self.ids.now(), self.notes_since);
        Group {
            generation: self.generation,
            first: self.end + 1,
            now,
            notes_since,
            changes,
        }
    }

    /// Commits changes as one group.
    pub async fn commit(&mut self, changes: Vec<Change>) -> Committed {
        let group = self.group(changes);
        let committed = self.store.commit(&group).await.expect("a group is committed");
        assert_eq!(
            committed.verdicts.len(),
            group.changes.len(),
            "one verdict for each change"
        );
        self.end += committed.records.len() as u64;
        let logged = self
            .store
            .records(self.generation, group.first, usize::MAX)
            .await
            .expect("the log is read");
        let entry = |(number, record): (u64, &Record)| LogEntry {
            number,
            record: Ok(Arc::new(record.clone())),
        };
        let expected: Vec<_> = (group.first..).zip(&committed.records).map(entry).collect();
        assert_eq!(logged, expected, "the log has what was committed");
        assert_eq!(
            self.store
                .log_end(self.generation)
                .await
                .expect("the log is read"),
            self.end
        );
        committed
    }

    /// Commits a delivery by itself.
    pub async fn deliver(&mut self, delivery: Delivery) -> Vec<RecipientOutcome> {
        let committed = self.commit(vec![Change::Deliver(delivery)]).await;
        match committed.verdicts.first() {
            Some(Verdict::Delivered(outcomes)) => outcomes.clone(),
            verdict => panic!("no verdict of a delivery: {verdict:?}"),
        }
    }

    /// Delivers a message that is stored for every recipient.
    pub async fn store_message(&mut self, recipients: &[&Account], octets: &[u8]) -> MessageId {
        let delivery = self.upload(recipients, octets).await;
        let message = delivery.message;
        let outcomes = self.deliver(delivery).await;
        assert!(
            outcomes
                .iter()
                .all(|outcome| *outcome == RecipientOutcome::Stored),
            "{outcomes:?}"
        );
        message
    }

    /// Expunges from INBOX.
    pub async fn expunge_messages(&mut self, account: &Account, messages: &[MessageId]) {
        let expunge = self.expunge(account, messages);
        self.commit(vec![Change::Expunge(expunge)]).await;
    }

    /// All of a message, prefix and content.
    pub async fn read(&self, account: &Account, message: MessageId) -> Result<Bytes, ReadError> {
        let mut octets = BytesMut::new();
        for index in 0.. {
            let part = self.store.read(Self::inbox(account), message, index).await?;
            octets.extend_from_slice(&part.octets);
            if !part.more {
                break;
            }
        }
        Ok(octets.freeze())
    }

    /// All rows of INBOX, read in pages of `page`.
    pub async fn list(&self, account: &Account, page: usize) -> Vec<ViewRow> {
        let mut rows: Vec<ViewRow> = Vec::new();
        loop {
            let after = rows.last().map(|row| row.message);
            let next = self
                .store
                .list(Self::inbox(account), after, page)
                .await
                .expect("a page is listed");
            assert!(next.len() <= page, "a page has at most its limit");
            if next.is_empty() {
                return rows;
            }
            rows.extend(next);
        }
    }
}
