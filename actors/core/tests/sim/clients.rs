//! What clients of a node do, and what they were promised.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use mailhorn_core::log::{LogHandle, Outcome};
use mailhorn_core::mailbox::{LockMode, Mailboxes};
use mailhorn_events::{MailboxId, MessageId};
use mailhorn_ports::memory::SeededRandom;
use mailhorn_ports::{
    Account, Change, Delivery, Expunge, Ids, MailStore, Octets, Recipient, RecipientOutcome, Verdict,
};
use parking_lot::Mutex;

type Place = (MailboxId, MessageId);

/// What was promised to clients.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Deliveries that were acknowledged.
    pub(crate) delivered: BTreeSet<Place>,
    /// Deliveries whose outcome nobody was told.
    pub(crate) perhaps_delivered: BTreeSet<Place>,
    /// Deletions that were acknowledged.
    pub(crate) deleted: BTreeSet<Place>,
    /// Deletions whose outcome nobody was told.
    pub(crate) perhaps_deleted: BTreeSet<Place>,
}

/// A client of one node.
pub(crate) struct Client {
    pub(crate) log: LogHandle,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) ids: Ids,
    pub(crate) store: Arc<dyn MailStore>,
    pub(crate) users: Arc<Vec<Arc<Account>>>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) random: Arc<SeededRandom>,
}

impl Client {
    /// Does something.
    pub(crate) async fn act(&self) {
        match self.random.below(10) {
            0..6 => self.deliver().await,
            6..9 => self.expunge().await,
            _ => self.look().await,
        }
    }

    fn user(&self) -> &Arc<Account> {
        let n = self.random.below(self.users.len() as u64) as usize;
        &self.users[n]
    }

    async fn deliver(&self) {
        let recipients: Vec<Recipient> = (0..1 + self.random.below(3))
            .map(|_| {
                let account = self.user();
                Recipient {
                    user: account.address.clone(),
                    account: account.id,
                    mailbox: MailboxId::inbox(account.id),
                    prefix: Bytes::new(),
                    note: None,
                }
            })
            .collect();
        let octets = Bytes::from(vec![b'x'; 1 + self.random.below(5_000) as usize]);
        let message = self.ids.message();
        let places: Vec<Place> = recipients.iter().map(|to| (to.mailbox, message)).collect();
        let delivery = Delivery {
            event: self.ids.event(),
            message,
            octets: Octets {
                size: octets.len() as u64,
                stored_chunks: 0,
                tail: octets,
            },
            recipients,
        };
        // A client whose node dies over its change knows nothing.
        self.ledger
            .lock()
            .perhaps_delivered
            .extend(places.iter().copied());
        let outcome = self.log.append(Change::Deliver(delivery)).await;
        let mut ledger = self.ledger.lock();
        match outcome {
            Outcome::Done(Verdict::Delivered(outcomes)) => {
                for (place, outcome) in places.into_iter().zip(outcomes) {
                    assert_eq!(outcome, RecipientOutcome::Stored);
                    ledger.delivered.insert(place);
                }
            }
            Outcome::Refused => {
                for place in places {
                    ledger.perhaps_delivered.remove(&place);
                }
            }
            Outcome::Done(Verdict::Done) => panic!("no verdict of a delivery"),
            Outcome::Unknown => {}
        }
    }

    async fn expunge(&self) {
        let account = Arc::clone(self.user());
        let mailbox = MailboxId::inbox(account.id);
        let Ok(rows) = self.store.list(mailbox, None, 50).await else {
            return;
        };
        let chosen = rows.iter().filter(|_| self.random.below(4) == 0);
        let messages: Vec<MessageId> = chosen.map(|row| row.message).collect();
        if messages.is_empty() {
            return;
        }
        rows.iter().for_each(|row| self.ids.saw(row.stamp));
        let places: Vec<Place> = messages.iter().map(|message| (mailbox, *message)).collect();
        let expunge = Expunge {
            event: self.ids.event(),
            stamp: self.ids.stamp(),
            user: account.address.clone(),
            account: account.id,
            mailbox,
            messages,
        };
        self.ledger.lock().perhaps_deleted.extend(places.iter().copied());
        let outcome = self.log.append(Change::Expunge(expunge)).await;
        let mut ledger = self.ledger.lock();
        match outcome {
            Outcome::Done(_) => ledger.deleted.extend(places),
            // Another client may have asked for the same and not know.
            Outcome::Refused | Outcome::Unknown => {}
        }
    }

    /// Opens a maildrop, which brings its view into memory.
    async fn look(&self) {
        let account = self.user().id;
        let opened = self
            .mailboxes
            .open(account, LockMode::Shared, std::time::Duration::ZERO)
            .await;
        drop(opened);
    }
}
