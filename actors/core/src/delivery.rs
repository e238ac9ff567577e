//! A message on its way in: its octets go to the store in chunks as they arrive, then one change makes it valid.
//!
//! A retry after a lost reply is known by a note: a hash over reverse-path, recipient and the octets as received,
//! written with the delivery. The note counts until something shows that the sender read the reply ([`Notes`]); what
//! was answered `451` and came to be stored all the same counts in any case.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use mailhorn_events::{AccountId, MailboxId, MessageId};
use mailhorn_ports::{
    Account, CHUNK_OCTETS_MAX, Change, Delivery, NoteKey, Octets, Recipient, RecipientOutcome, StoreError,
    Verdict,
};
use mailhorn_smtp::{Address, DataEnd, DeliveryVerdict, Envelope, HopCounter, trace};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::log::Outcome;
use crate::metrics::DeliveryLabels;
use crate::transfer_session::TransferDeps;

/// Notes of what was answered `250` in one session and may not have been read.
#[derive(Debug, Default)]
pub struct Notes(Vec<NoteKey>);

impl Notes {
    /// These replies are about to be written.
    pub fn add(&mut self, notes: Vec<NoteKey>) {
        self.0.extend(notes);
    }

    /// Something shows that all replies so far were read.
    #[must_use]
    pub fn take(&mut self) -> Vec<NoteKey> {
        std::mem::take(&mut self.0)
    }
}

/// What became of a message.
#[derive(Debug)]
pub struct Resolved {
    /// One for each recipient of the envelope.
    pub verdicts: Vec<DeliveryVerdict>,
    /// The notes of those who have it.
    pub notes: Vec<NoteKey>,
    /// Its id.
    pub message: MessageId,
}

/// The message that is coming in.
#[derive(Debug)]
pub struct Incoming {
    message: MessageId,
    envelope: Envelope,
    accepted: Vec<(Address, Arc<Account>)>,
    /// Octets that are not yet a whole chunk.
    chunk: Vec<u8>,
    stored_chunks: u32,
    size: u64,
    /// Over the octets as received, without our Received line: a retry has another one.
    digest: Sha256,
    hops: HopCounter,
    failed: Option<StoreError>,
    refused: bool,
}

impl Incoming {
    /// A message for `accepted`, which begins with our Received line.
    #[must_use]
    pub fn new(
        deps: &TransferDeps,
        envelope: Envelope,
        accepted: Vec<(Address, Arc<Account>)>,
        peer: IpAddr,
    ) -> Self {
        let message = deps.ids.message();
        let received = trace::received(&trace::Received {
            client: &envelope.client,
            peer: Some(peer),
            hostname: &deps.options.session.hostname,
            transmission: envelope.transmission,
            message_id: &message.to_string(),
            unix_micros: deps.ids.now().0,
        });
        Self {
            message,
            envelope,
            accepted,
            size: u64::try_from(received.len()).unwrap_or(u64::MAX),
            chunk: received,
            stored_chunks: 0,
            digest: Sha256::new(),
            hops: HopCounter::default(),
            failed: None,
            refused: false,
        }
    }

    /// The content will not be taken: nothing of it is kept from now on.
    pub fn refuse(&mut self) {
        self.refused = true;
        self.chunk = Vec::new();
    }

    /// Takes `content` and empties it; whole chunks go to the store.
    pub async fn push(&mut self, deps: &TransferDeps, content: &mut Vec<u8>) {
        if self.refused || self.failed.is_some() {
            content.clear();
            return;
        }
        self.digest.update(&content);
        self.hops.push(content);
        self.size = self
            .size
            .saturating_add(u64::try_from(content.len()).unwrap_or(u64::MAX));
        self.chunk.append(content);
        // A message that ends with its chunk keeps it: the last chunk travels with the commit.
        while self.chunk.len() > CHUNK_OCTETS_MAX {
            let rest = self.chunk.split_off(CHUNK_OCTETS_MAX);
            let chunk = Bytes::from(std::mem::replace(&mut self.chunk, rest));
            let begun = Instant::now();
            let put = deps
                .store
                .put_chunk(self.message, self.stored_chunks, chunk)
                .await;
            deps.metrics.stored("put_chunk", begun);
            if let Err(error) = put {
                tracing::warn!(message = %self.message, %error, "a message can't be taken now");
                self.failed = Some(error);
                self.chunk = Vec::new();
                return;
            }
            self.stored_chunks = self.stored_chunks.saturating_add(1);
        }
    }

    /// How the data ended, now that the client has sent all of it.
    #[must_use]
    pub fn end(&self) -> DataEnd {
        match &self.failed {
            Some(_) => DataEnd::StoreFailed,
            None if self.hops.is_looping() => DataEnd::TooManyHops,
            None => DataEnd::Complete,
        }
    }

    /// Makes the message durable for all its recipients.
    pub async fn deliver(self, deps: &TransferDeps) -> Resolved {
        let digest: [u8; 32] = self.digest.finalize().into();
        let reverse_path = &self.envelope.reverse_path;
        let recipients: Vec<Option<Recipient>> = self
            .envelope
            .recipients
            .iter()
            .map(|address| {
                let (_, account) = self.accepted.iter().find(|(accepted, _)| accepted == address)?;
                Some(Recipient {
                    user: account.address.clone(),
                    account: account.id,
                    mailbox: MailboxId::inbox(account.id),
                    prefix: trace::prefix(reverse_path, address).into(),
                    note: deps
                        .options
                        .notes
                        .then(|| note(reverse_path.as_str(), account.id, &digest)),
                })
            })
            .collect();
        let present: Vec<Recipient> = recipients.iter().flatten().cloned().collect();
        let notes: Vec<Option<NoteKey>> = present.iter().map(|recipient| recipient.note).collect();
        let delivery = Delivery {
            event: deps.ids.event(),
            message: self.message,
            octets: Octets {
                size: self.size,
                stored_chunks: self.stored_chunks,
                tail: self.chunk.into(),
            },
            recipients: present,
        };
        let outcome = deps.log.append(Change::Deliver(delivery)).await;
        let outcomes = match outcome {
            Outcome::Done(Verdict::Delivered(outcomes)) => outcomes,
            Outcome::Done(Verdict::Done) | Outcome::Unknown | Outcome::Refused => Vec::new(),
        };
        let notes = notes
            .into_iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| has_it(**outcome));
        let notes = notes.filter_map(|(note, _)| note).collect();
        let mut outcomes = outcomes.into_iter();
        let verdicts = recipients
            .iter()
            .map(|recipient| verdict(deps, recipient.as_ref().and_then(|_| outcomes.next())))
            .collect();
        Resolved {
            verdicts,
            notes,
            message: self.message,
        }
    }
}

fn has_it(outcome: RecipientOutcome) -> bool {
    matches!(outcome, RecipientOutcome::Stored | RecipientOutcome::Duplicate)
}

fn verdict(deps: &TransferDeps, outcome: Option<RecipientOutcome>) -> DeliveryVerdict {
    let (verdict, outcome) = match outcome {
        Some(RecipientOutcome::Stored) => (DeliveryVerdict::Delivered, "stored"),
        Some(RecipientOutcome::Duplicate) => (DeliveryVerdict::Delivered, "duplicate"),
        Some(RecipientOutcome::Gone) => (DeliveryVerdict::NoSuchUser, "gone"),
        Some(RecipientOutcome::OctetsLost) | None => (DeliveryVerdict::Unavailable, "unavailable"),
    };
    deps.metrics
        .deliveries
        .get_or_create(&DeliveryLabels { outcome })
        .inc();
    verdict
}

/// What a retry of this message to this recipient is known by. The account and not its address: an address that was
/// removed and made again has had nothing.
fn note(reverse_path: &str, recipient: AccountId, content: &[u8; 32]) -> NoteKey {
    let mut hash = Sha256::new();
    hash.update(recipient.as_bytes());
    hash.update(content);
    // The only part without a length of its own comes last.
    hash.update(reverse_path);
    NoteKey(hash.finalize().into())
}
