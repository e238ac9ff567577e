//! The mailbox actor: one for each mailbox in use on this node.
//!
//! **Owns** the mailbox's view as a shared snapshot, and its maildrop lock. **Guarantees** that a snapshot given after
//! a change was answered shows the change: the log notes every change in the mailbox before it answers. **Never**
//! changes anything: changes go through the log, and a delivery doesn't load a view.
//!
//! It lives on the arbiter of the session that first asked for it, and ends when nobody has used it for a while. What
//! it owns, sessions of other arbiters and the log reach through `Shared` without a message: a poll of a mailbox
//! that is in use wakes no other thread.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::WeakAddr;
use actix::prelude::*;
use mailhorn_events::{AccountId, Event, Happening, MailboxId, MessageId};
use mailhorn_pop3::{Maildrop, UniqueId};
use mailhorn_ports::{MailStore, StoreError, ViewRow};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};

/// Rows that one page of a listing asks the store for.
pub const LISTING_PAGE_ROWS: usize = 1_000;
/// Changes that a mailbox keeps unapplied; beyond, it forgets its view and reads it anew when it is asked.
pub const UNAPPLIED_CHANGES_MAX: usize = 256;
/// Sessions that wait for a maildrop's lock at most; a further one is told at once that it is in use.
pub const LOCK_WAITERS_MAX: usize = 8;
/// Mailbox actors that stay for the next session though nobody uses them now. Beyond, they end with their session.
pub const IDLE_MAILBOXES_MAX: usize = 20_000;

/// The messages of a mailbox at one moment, oldest id first. What a POP3 session numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    messages: Vec<Listed>,
    /// Unique-ids of another server, for the few messages that have one.
    unique_ids: HashMap<MessageId, UniqueId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    message: MessageId,
    size: u64,
}

impl Listing {
    /// The message at `index`.
    #[must_use]
    pub fn message(&self, index: usize) -> Option<MessageId> {
        self.messages.get(index).map(|listed| listed.message)
    }

    fn push(&mut self, row: &ViewRow) {
        self.messages.push(Listed {
            message: row.message,
            size: row.size,
        });
        if let Some(unique_id) = row
            .unique_id
            .as_ref()
            .and_then(|text| UniqueId::new(text.as_bytes()))
        {
            self.unique_ids.insert(row.message, unique_id);
        }
    }

    fn apply(&mut self, happening: &Happening) {
        match happening {
            Happening::Added(added) => {
                for added in added {
                    let listed = Listed {
                        message: added.message,
                        size: added.size,
                    };
                    let place = self
                        .messages
                        .binary_search_by_key(&added.message, |listed| listed.message);
                    if let Err(place) = place {
                        self.messages.insert(place, listed);
                        let brought = added
                            .unique_id
                            .as_ref()
                            .and_then(|text| UniqueId::new(text.as_bytes()));
                        if let Some(unique_id) = brought {
                            self.unique_ids.insert(added.message, unique_id);
                        }
                    }
                }
            }
            Happening::Expunged(expunged) => {
                let mut gone: Vec<MessageId> = expunged.iter().map(|expunged| expunged.message).collect();
                gone.sort_unstable();
                self.messages
                    .retain(|listed| gone.binary_search(&listed.message).is_err());
                self.unique_ids
                    .retain(|message, _| gone.binary_search(message).is_err());
            }
        }
    }
}

impl Maildrop for Listing {
    fn len(&self) -> usize {
        self.messages.len()
    }

    fn size(&self, index: usize) -> u64 {
        self.messages.get(index).map_or(0, |listed| listed.size)
    }

    fn unique_id(&self, index: usize) -> UniqueId {
        let message = self
            .messages
            .get(index)
            .map(|listed| listed.message)
            .unwrap_or(NO_MESSAGE);
        if let Some(unique_id) = self.unique_ids.get(&message) {
            return *unique_id;
        }
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = message.0.hyphenated().encode_lower(&mut text);
        // Thirty-six hexadecimal digits and hyphens are a unique-id (RFC 1939 §7: 1 to 70 graphic characters).
        UniqueId::new(text.as_bytes()).unwrap_or_else(|| unreachable!("a UUID's text is a unique-id"))
    }
}

const NO_MESSAGE: MessageId = MessageId(uuid::Uuid::nil());

/// Whether a maildrop takes one session at a time (`pop3.lock`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// One session a maildrop (RFC 1939 §4).
    Exclusive,
    /// As many as come.
    Shared,
}

#[derive(Debug, Default)]
struct LockState {
    holders: usize,
    /// When the last holder went.
    released: Option<Instant>,
    waiting: VecDeque<oneshot::Sender<MaildropLock>>,
}

#[derive(Debug, Default)]
struct Lock {
    state: Mutex<LockState>,
}

/// A session's hold on a maildrop. Dropping it lets the next one in.
#[derive(Debug)]
pub struct MaildropLock(Arc<Lock>);

impl Lock {
    /// How many hold it, and when the last one went.
    fn use_so_far(&self) -> (usize, Option<Instant>) {
        let state = self.state.lock();
        (state.holders, state.released)
    }

    /// Takes the lock now, or a place in the line for it, or neither.
    fn take(
        self: &Arc<Self>,
        mode: LockMode,
    ) -> Result<MaildropLock, Option<oneshot::Receiver<MaildropLock>>> {
        let mut state = self.state.lock();
        if mode == LockMode::Shared || state.holders == 0 {
            state.holders += 1;
            return Ok(MaildropLock(Arc::clone(self)));
        }
        state.waiting.retain(|waiting| !waiting.is_closed());
        if state.waiting.len() >= LOCK_WAITERS_MAX {
            return Err(None);
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        Err(Some(receiver))
    }
}

impl Drop for MaildropLock {
    fn drop(&mut self) {
        let mut next = {
            let mut state = self.0.state.lock();
            let next = state.waiting.pop_front();
            if next.is_none() {
                state.holders = state.holders.saturating_sub(1);
                state.released = Some(Instant::now());
            }
            next
        };
        // The hold goes over to the first one that still waits. One that gave up in this moment drops what it is
        // handed, which brings us here again with the one behind it.
        if let Some(waiting) = next.take() {
            drop(waiting.send(MaildropLock(Arc::clone(&self.0))));
        }
    }
}

/// Why a maildrop was not opened.
#[derive(Debug, Clone)]
pub enum OpenError {
    /// Another session has it, and kept it for as long as this one was ready to wait.
    InUse,
    /// The store could not list it now.
    Unavailable(StoreError),
}

/// An open maildrop.
#[derive(Debug)]
pub struct OpenMaildrop {
    /// Its messages at this moment.
    pub listing: Arc<Listing>,
    /// Keeps others out, or counts among them.
    pub lock: MaildropLock,
}

/// The view, as far as it was read, and what came since.
#[derive(Debug, Default)]
struct View {
    /// Read at the first snapshot, and again after it was forgotten.
    listing: Option<Arc<Listing>>,
    /// Applied when somebody asks, so that a busy mailbox that nobody reads costs little.
    unapplied: VecDeque<Happening>,
    /// More came than is kept: a listing that is being read now may lack some of it.
    missed: bool,
}

impl View {
    fn changed(&mut self, happening: &Happening) {
        if self.unapplied.len() < UNAPPLIED_CHANGES_MAX {
            self.unapplied.push_back(happening.clone());
        } else {
            *self = Self {
                missed: true,
                ..Self::default()
            };
        }
    }

    /// The listing with all that came, unless it has to be read.
    fn current(&mut self) -> Option<Arc<Listing>> {
        let shared = self.listing.as_mut()?;
        if !self.unapplied.is_empty() {
            // Changed in place, or in a copy while a session still numbers by the old one.
            let listing = Arc::make_mut(shared);
            for happening in self.unapplied.drain(..) {
                listing.apply(&happening);
            }
        }
        Some(Arc::clone(shared))
    }

    /// A listing was read; what came while it was read is applied on top, for which it does not matter whether the
    /// listing shows it already. `None` when too much came.
    fn was_read(&mut self, listing: Listing) -> Option<Arc<Listing>> {
        if std::mem::take(&mut self.missed) {
            self.unapplied.clear();
            return None;
        }
        self.listing = Some(Arc::new(listing));
        self.current()
    }
}

/// What a mailbox's actor shares with sessions and with the log.
#[derive(Debug, Default)]
struct Shared {
    lock: Arc<Lock>,
    view: Mutex<View>,
}

struct Known {
    address: WeakAddr<Mailbox>,
    shared: Weak<Shared>,
    lock: Weak<Lock>,
}

/// The mailboxes in use on this node, by id.
#[derive(Clone)]
pub struct Mailboxes(Arc<InUse>);

struct InUse {
    known: Mutex<HashMap<MailboxId, Known>>,
    store: Arc<dyn MailStore>,
    idle: Duration,
    kind: Arc<Kind>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Mailboxes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailboxes")
            .field("known", &self.0.known.lock().len())
            .finish_non_exhaustive()
    }
}

impl Mailboxes {
    /// None in use. An actor that nobody uses ends after `idle`.
    #[must_use]
    pub fn new(store: Arc<dyn MailStore>, idle: Duration, kind: Arc<Kind>, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(InUse {
            known: Mutex::default(),
            store,
            idle,
            kind,
            metrics,
        }))
    }

    /// Opens INBOX of `account` as a maildrop: takes its lock, waiting at most `wait`, then its listing.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(
        &self,
        account: AccountId,
        mode: LockMode,
        wait: Duration,
    ) -> Result<OpenMaildrop, OpenError> {
        let mailbox = MailboxId::inbox(account);
        let (address, shared) = self.get(mailbox);
        let lock = match shared.lock.take(mode) {
            Ok(lock) => lock,
            Err(None) => return Err(OpenError::InUse),
            Err(Some(turn)) => match tokio::time::timeout(wait, turn).await {
                Ok(Ok(lock)) => lock,
                Ok(Err(_)) | Err(_) => return Err(OpenError::InUse),
            },
        };
        let current = shared.view.lock().current();
        let listing = match current {
            Some(listing) => listing,
            None => self
                .read(mailbox, address)
                .await
                .map_err(OpenError::Unavailable)?,
        };
        Ok(OpenMaildrop { listing, lock })
    }

    /// Asks the actor to read the listing. Should it end over that, another one is started for it, once.
    async fn read(&self, mailbox: MailboxId, address: Addr<Mailbox>) -> Result<Arc<Listing>, StoreError> {
        if let Ok(listed) = address.send(Snapshot).await {
            return listed;
        }
        match self.get(mailbox).0.send(Snapshot).await {
            Ok(listed) => listed,
            Err(_) => Err(StoreError::Unavailable("the mailbox's actor ended".into())),
        }
    }

    /// Notes in the mailbox, if it is in use, what happened in it.
    pub fn changed(&self, event: &Event) {
        let shared = self
            .0
            .known
            .lock()
            .get(&event.mailbox)
            .and_then(|known| known.shared.upgrade());
        if let Some(shared) = shared {
            shared.view.lock().changed(&event.happening);
        }
    }

    /// Mailbox actors that live.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.0.known.lock().len()
    }

    fn get(&self, mailbox: MailboxId) -> (Addr<Mailbox>, Arc<Shared>) {
        let mut known = self.0.known.lock();
        let before = known.get(&mailbox);
        let shared = before.and_then(|known| known.shared.upgrade());
        let living = before
            .and_then(|known| known.address.upgrade())
            .filter(Addr::connected);
        if let (Some(address), Some(shared)) = (living, shared.as_ref()) {
            return (address, Arc::clone(shared));
        }
        // The lock outlives an actor that panicked under a session, for the session holds it; the view does not.
        let lock = before.and_then(|known| known.lock.upgrade());
        let shared = Arc::new(Shared {
            lock: lock.unwrap_or_default(),
            view: Mutex::default(),
        });
        let actor = Mailbox {
            mailbox,
            mailboxes: self.clone(),
            shared: Arc::clone(&shared),
            used: Instant::now(),
            _alive: self.0.kind.born(),
        };
        let address = actor.start();
        let entry = Known {
            address: address.downgrade(),
            shared: Arc::downgrade(&shared),
            lock: Arc::downgrade(&shared.lock),
        };
        known.insert(mailbox, entry);
        (address, shared)
    }

    fn forget(&self, mailbox: MailboxId, address: &WeakAddr<Mailbox>) {
        let mut known = self.0.known.lock();
        if known.get(&mailbox).is_some_and(|known| known.address == *address) {
            known.remove(&mailbox);
        }
    }
}

/// Read the mailbox's messages, if they are not read yet.
#[derive(Debug, Message)]
#[rtype(result = "Result<Arc<Listing>, StoreError>")]
struct Snapshot;

/// One mailbox.
struct Mailbox {
    mailbox: MailboxId,
    mailboxes: Mailboxes,
    shared: Arc<Shared>,
    used: Instant,
    _alive: Alive,
}

impl Actor for Mailbox {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.passivate_later(self.mailboxes.0.idle, ctx);
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        self.mailboxes.forget(self.mailbox, &ctx.address().downgrade());
    }
}

impl Mailbox {
    fn passivate_later(&mut self, after: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(after, |act, ctx| {
            let idle = act.mailboxes.0.idle;
            let (holders, released) = act.shared.lock.use_so_far();
            let unused = released
                .map_or(act.used, |released| released.max(act.used))
                .elapsed();
            if holders > 0 {
                act.passivate_later(idle, ctx);
            } else if unused >= idle || act.mailboxes.in_use() > IDLE_MAILBOXES_MAX {
                ctx.stop();
            } else {
                act.passivate_later(idle.saturating_sub(unused), ctx);
            }
        });
    }
}

impl Handler<Snapshot> for Mailbox {
    /// Nothing comes between, so one reading serves all who ask meanwhile.
    type Result = AtomicResponse<Self, Result<Arc<Listing>, StoreError>>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        let begun = Instant::now();
        self.used = begun;
        let store = Arc::clone(&self.mailboxes.0.store);
        let (mailbox, shared) = (self.mailbox, Arc::clone(&self.shared));
        let read = async move {
            loop {
                if let Some(listing) = shared.view.lock().current() {
                    return Ok(listing);
                }
                let listing = read_listing(store.as_ref(), mailbox).await?;
                if let Some(listing) = shared.view.lock().was_read(listing) {
                    return Ok(listing);
                }
            }
        };
        AtomicResponse::new(Box::pin(read.into_actor(self).map(
            move |read, act: &mut Self, _| {
                act.mailboxes.0.metrics.stored("list", begun);
                act.mailboxes.0.kind.handled(1, begun);
                read
            },
        )))
    }
}

async fn read_listing(store: &dyn MailStore, mailbox: MailboxId) -> Result<Listing, StoreError> {
    let mut listing = Listing::default();
    let mut after = None;
    loop {
        let rows = store.list(mailbox, after, LISTING_PAGE_ROWS).await?;
        for row in &rows {
            listing.push(row);
        }
        after = rows.last().map(|row| row.message);
        if rows.len() < LISTING_PAGE_ROWS {
            listing.messages.shrink_to_fit();
            return Ok(listing);
        }
    }
}
