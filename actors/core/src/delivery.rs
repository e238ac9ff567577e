//! A message on its way in: its octets go to the store in chunks as they arrive, then one change makes it valid.
//!
//! A retry after a lost reply is known by a note: a hash over reverse-path, recipient and the octets as received,
//! written with the delivery. The note counts until something shows that the sender read the reply ([`Notes`]); what
//! was answered `451` and came to be stored all the same counts in any case. Of every note that may have been stored the
//! store hears one of two things: that it no longer counts, or that it is to be kept, for a retry may come to another node.
//!
//! On LMTP a recipient without room is refused before the commit, for itself alone; but a retry of what it has already
//! is answered `250` though the mailbox is full, perhaps with this very message. Only who would be refused is asked
//! for its note, so mail that fits pays nothing for it ([`Incoming::deliver`]).

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use mailhorn_events::{AccountId, MailboxId, MessageId};
use mailhorn_ports::{
    Account, CHUNK_OCTETS_MAX, Change, Delivery, NoteKey, Octets, Recipient, RecipientOutcome, StoreError,
    Verdict,
};
use mailhorn_smtp::{Address, DataEnd, DeliveryVerdict, Envelope, LoopWatch, trace};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::log::{LogHandle, Outcome};
use crate::metrics::DeliveryLabels;
use crate::quota::{QuotaVerdict, Quotas};
use crate::transfer_session::{QUOTA_LIMIT, TransferDeps};

/// Notes of deliveries whose senders may not know yet that they were made. Dropped, they are kept: so it is however their
/// session ends, in a panic too.
#[derive(Debug)]
pub struct Notes {
    log: LogHandle,
    notes: Vec<NoteKey>,
}

impl Notes {
    /// None yet.
    #[must_use]
    pub fn new(log: LogHandle) -> Self {
        Self {
            log,
            notes: Vec::new(),
        }
    }

    /// These replies are about to be written.
    pub fn add(&mut self, notes: Vec<NoteKey>) {
        self.notes.extend(notes);
    }

    /// Something shows that all replies so far were read: a retry would be another message.
    pub fn were_read(&mut self) {
        self.log.forget(std::mem::take(&mut self.notes));
    }

    /// Nothing will show it any more: a retry may come, to any node.
    pub fn keep(&mut self) {
        self.log.keep(std::mem::take(&mut self.notes));
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        self.keep();
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
    loops: LoopWatch,
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
            loops: LoopWatch::default(),
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
        self.loops.push(content);
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
            None if self.loops.is_looping() => DataEnd::TooManyHops,
            None => DataEnd::Complete,
        }
    }

    /// Makes the message durable for all its recipients, those aside who have no room.
    pub async fn deliver(self, deps: &TransferDeps) -> Resolved {
        let recipients = self.recipients(deps);
        let mut refused = self.refuse_loops(deps);
        self.refuse_without_room(deps, &recipients, &mut refused).await;
        let standing = recipients.iter().zip(&refused);
        let present: Vec<Recipient> = standing
            .filter(|(_, refused)| refused.is_none())
            .filter_map(|(recipient, _)| recipient.clone())
            .collect();
        let notes: Vec<Option<NoteKey>> = present.iter().map(|recipient| recipient.note).collect();
        let octets = Octets {
            size: self.size,
            stored_chunks: self.stored_chunks,
            tail: self.chunk.into(),
        };
        // Kept, unless the outcome comes to be known here: whoever waits for it is told to try again, or goes.
        let mut undecided = Notes::new(deps.log.clone());
        undecided.add(notes.iter().flatten().copied().collect());
        let outcome = append(deps, self.message, octets, present).await;
        if outcome != Outcome::Unknown {
            undecided.notes.clear();
        }
        let outcomes = recipient_outcomes(outcome);
        let notes = notes
            .into_iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| has_it(**outcome));
        let notes = notes.filter_map(|(note, _)| note).collect();
        let mut outcomes = outcomes.into_iter();
        let verdicts = recipients.iter().zip(refused).map(|(recipient, refused)| {
            let (verdict, outcome) = match (recipient, refused) {
                (Some(_), None) => verdict(outcomes.next()),
                (Some(_), Some(refused)) => (refused, refusal(deps, refused)),
                (None, _) => verdict(None),
            };
            let counted = DeliveryLabels { outcome };
            deps.metrics.deliveries.get_or_create(&counted).inc();
            verdict
        });
        Resolved {
            verdicts: verdicts.collect(),
            notes,
            message: self.message,
        }
    }

    /// The envelope's recipients in their order.
    fn recipients(&self, deps: &TransferDeps) -> Vec<Option<Recipient>> {
        let digest: [u8; 32] = self.digest.clone().finalize().into();
        let reverse_path = &self.envelope.reverse_path;
        let recipient = |address: &Address| {
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
        };
        self.envelope.recipients.iter().map(recipient).collect()
    }

    /// What is told to each recipient that has had the message before; `None` to the others.
    ///
    /// On SMTP one reply speaks for all. Where some of them have had it and others not, all get it: a `250` that left
    /// some out would be untrue, a `554` would keep it from the others, and a `451` would say so for days and then do the
    /// same. Who has had it has it twice, and the circle ends at the latest when it has passed too many hosts; mostly the
    /// next time around, when it comes back to that one alone.
    fn refuse_loops(&self, deps: &TransferDeps) -> Vec<Option<DeliveryVerdict>> {
        let recipients = &self.envelope.recipients;
        let refused: Vec<_> = recipients
            .iter()
            .map(|recipient| {
                self.loops
                    .was_delivered_to(recipient)
                    .then_some(DeliveryVerdict::Looping)
            })
            .collect();
        if deps.is_lmtp() || refused.iter().all(Option::is_some) {
            refused
        } else {
            vec![None; recipients.len()]
        }
    }

    /// Refuses each recipient that gets nothing for its quota. On SMTP one reply speaks for all, so whoever was accepted
    /// at RCPT gets the message.
    async fn refuse_without_room(
        &self,
        deps: &TransferDeps,
        recipients: &[Option<Recipient>],
        refused: &mut [Option<DeliveryVerdict>],
    ) {
        let Some(quotas) = deps.quotas.as_ref().filter(|_| deps.is_lmtp()) else {
            return;
        };
        for (recipient, refused) in recipients.iter().zip(refused.iter_mut()) {
            if let (Some(recipient), None) = (recipient, &refused) {
                *refused = no_room(quotas, recipient, self.size).await;
            }
        }
        spare_retries(deps, recipients, refused).await;
    }
}

/// What is told to a recipient who has no room for a content of `octets` octets.
async fn no_room(quotas: &Quotas, recipient: &Recipient, octets: u64) -> Option<DeliveryVerdict> {
    let prefix_octets = u64::try_from(recipient.prefix.len()).unwrap_or(u64::MAX);
    let octets = octets.saturating_add(prefix_octets);
    match quotas.ask(recipient.account, &recipient.user, octets).await {
        Ok(QuotaVerdict::Fits) => None,
        Ok(QuotaVerdict::Full) => Some(DeliveryVerdict::MailboxFull),
        Ok(QuotaVerdict::TooLarge) => Some(DeliveryVerdict::OverQuota),
        Err(error) => {
            tracing::warn!(account = %recipient.account, %error, "a recipient's quota can't be asked");
            Some(DeliveryVerdict::Unavailable)
        }
    }
}

/// Looks whether those who are refused for want of room have the message already, and lets them through: the delivery
/// finds the same note, and stores nothing.
///
/// The store says what it knows of a note only as the outcome of a delivery. So it gets one of a message that has no
/// octets, which can be found to be a duplicate and can't be stored. It goes through the log as every change does:
/// a first try whose outcome is still unknown is known by then.
async fn spare_retries(
    deps: &TransferDeps,
    recipients: &[Option<Recipient>],
    refused: &mut [Option<DeliveryVerdict>],
) {
    let is_about_room = |refused: &Option<DeliveryVerdict>| {
        matches!(
            refused,
            Some(DeliveryVerdict::MailboxFull | DeliveryVerdict::OverQuota)
        )
    };
    let (asked, places): (Vec<Recipient>, Vec<&mut Option<DeliveryVerdict>>) = recipients
        .iter()
        .zip(refused)
        .filter(|(_, refused)| is_about_room(refused))
        .filter_map(|(recipient, refused)| Some((recipient.clone()?, refused)))
        .filter(|(recipient, _)| recipient.note.is_some())
        .unzip();
    let no_octets = Octets {
        size: 0,
        stored_chunks: 1,
        tail: Bytes::new(),
    };
    let outcome = append(deps, deps.ids.message(), no_octets, asked).await;
    let mut outcomes = recipient_outcomes(outcome).into_iter();
    for place in places {
        match outcomes.next() {
            Some(RecipientOutcome::OctetsLost) => {}
            Some(RecipientOutcome::Duplicate | RecipientOutcome::Stored) => *place = None,
            Some(RecipientOutcome::Gone) => *place = Some(DeliveryVerdict::NoSuchUser),
            // Whether it is a retry is not known: the sender may ask again.
            None => *place = Some(DeliveryVerdict::Unavailable),
        }
    }
}

/// Makes a delivery.
async fn append(
    deps: &TransferDeps,
    message: MessageId,
    octets: Octets,
    recipients: Vec<Recipient>,
) -> Outcome {
    if recipients.is_empty() {
        return Outcome::Done(Verdict::Delivered(Vec::new()));
    }
    let delivery = Delivery {
        event: deps.ids.event(),
        message,
        octets,
        recipients,
    };
    deps.log.append(Change::Deliver(delivery)).await
}

/// One outcome for each recipient, or none where it is not known what became of a delivery.
fn recipient_outcomes(outcome: Outcome) -> Vec<RecipientOutcome> {
    match outcome {
        Outcome::Done(Verdict::Delivered(outcomes)) => outcomes,
        Outcome::Done(Verdict::Done) | Outcome::Unknown | Outcome::Refused => Vec::new(),
    }
}

fn has_it(outcome: RecipientOutcome) -> bool {
    matches!(outcome, RecipientOutcome::Stored | RecipientOutcome::Duplicate)
}

/// What is told to a recipient, and what it is counted as.
fn verdict(outcome: Option<RecipientOutcome>) -> (DeliveryVerdict, &'static str) {
    match outcome {
        Some(RecipientOutcome::Stored) => (DeliveryVerdict::Delivered, "stored"),
        Some(RecipientOutcome::Duplicate) => (DeliveryVerdict::Delivered, "duplicate"),
        Some(RecipientOutcome::Gone) => (DeliveryVerdict::NoSuchUser, "gone"),
        Some(RecipientOutcome::OctetsLost) | None => (DeliveryVerdict::Unavailable, "unavailable"),
    }
}

/// What a refusal before the commit is counted as.
fn refusal(deps: &TransferDeps, refused: DeliveryVerdict) -> &'static str {
    let outcome = match refused {
        DeliveryVerdict::MailboxFull => "mailbox_full",
        DeliveryVerdict::OverQuota => "over_quota",
        DeliveryVerdict::Looping => return "looping",
        DeliveryVerdict::NoSuchUser => return "gone",
        DeliveryVerdict::Delivered | DeliveryVerdict::InsufficientStorage | DeliveryVerdict::Unavailable => {
            return "unavailable";
        }
    };
    deps.metrics.limit(QUOTA_LIMIT);
    outcome
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
