//! The mailbox actor: one for each mailbox in use on this node.
//!
//! **Owns** the mailbox's view as a shared snapshot. **Guarantees** that a snapshot given after
//! a change was answered shows the change: the log notes every change in the mailbox before it answers. **Never**
//! changes anything: changes go through the log, and a delivery doesn't load a view.
//!
//! It lives on the arbiter of the session that first asked for it, and ends when nobody has used it for a while. What
//! it owns, sessions of other arbiters and the log reach through `Shared` without a message: a poll of a mailbox
//! that is in use wakes no other thread.
//!
//! Maildrop locks are their sessions' own: on this node (`lock`), and in a cluster between nodes (`cluster_locks`).
//!
//! In a cluster other nodes write too, and a log-in has to see what they have answered for: there it reads the view from
//! the store ([`Reading::Through`]), and no actor is needed for it.

mod claim;
mod cluster_locks;
mod lock;
mod view;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use actix::WeakAddr;
use actix::prelude::*;
use mailhorn_events::{AccountId, Event, MailboxId, Stamp};
use mailhorn_ports::{Key, MailStore, StoreError};
use parking_lot::Mutex;
use tokio::time::Instant;

pub use self::cluster_locks::{
    ClusterLockOptions, ClusterLocks, LOCK_ANSWER_MAX, LOCK_LOOK_PAUSE, LOCK_RELEASES_MAX,
    LOCK_RENEWALS_AT_ONCE_MAX, LOCK_TTL, LockKeeper,
};
pub use self::lock::{LOCK_WAITERS_MAX, LockLost, LockMode, MaildropLock};
pub use self::view::{GONE_MESSAGES_MAX, Listing, UNAPPLIED_CHANGES_MAX};

use self::lock::{Lock, LockTable};
use self::view::{ReadView, View};
use crate::events::{Hold, Registrations};
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};

/// Rows that one page of a listing asks the store for.
pub const LISTING_PAGE_ROWS: usize = 1_000;
/// Mailbox actors that stay for the next session though nobody uses them now. Beyond, they end with their session.
pub const IDLE_MAILBOXES_MAX: usize = 20_000;

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

/// Where a log-in has a maildrop's listing from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// From the view that the mailbox's actor keeps: for a node that sees every change of a mailbox in time.
    Cached,
    /// From the store, at each log-in: where other nodes write too, so that what any node has answered for is listed.
    Through,
}

/// How a node's mailboxes behave.
#[derive(Debug, Clone)]
pub struct MailboxOptions {
    /// How long an actor that nobody uses stays.
    pub idle: Duration,
    /// Where log-ins have their listing from.
    pub reading: Reading,
    /// Locks between nodes; `None` on a node that is alone with its store.
    pub locks: Option<ClusterLocks>,
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
}

/// The mailboxes in use on this node, by id.
#[derive(Clone)]
pub struct Mailboxes(Arc<InUse>);

struct InUse {
    known: Mutex<HashMap<MailboxId, Known>>,
    locks: Mutex<LockTable>,
    store: Arc<dyn MailStore>,
    options: MailboxOptions,
    /// Set where changes come from several logs: where a view registers for what happens elsewhere.
    elsewhere: OnceLock<Arc<Registrations>>,
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
    /// None in use, on a node that is alone with its store. An actor that nobody uses ends after `idle`.
    #[must_use]
    pub fn new(store: Arc<dyn MailStore>, idle: Duration, kind: Arc<Kind>, metrics: Arc<Metrics>) -> Self {
        let options = MailboxOptions {
            idle,
            reading: Reading::Cached,
            locks: None,
        };
        Self::with_options(store, options, kind, metrics)
    }

    /// None in use, on a node that may have others beside it.
    #[must_use]
    pub fn with_options(
        store: Arc<dyn MailStore>,
        options: MailboxOptions,
        kind: Arc<Kind>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self(Arc::new(InUse {
            known: Mutex::default(),
            locks: Mutex::default(),
            store,
            options,
            elsewhere: OnceLock::new(),
            kind,
            metrics,
        }))
    }

    /// Opens INBOX of `account` as a maildrop: takes its lock, on this node and then between nodes, waiting at most `wait`
    /// while others have it; then its listing.
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
        let until = Instant::now() + wait;
        let (lock, listing) = match self.0.options.reading {
            Reading::Cached => {
                let (address, shared) = self.get(mailbox);
                let lock = self.lock(mailbox, &shared.lock, mode, until).await?;
                let current = shared.view.lock().current();
                let listing = match current {
                    Some(listing) => Ok(listing),
                    None => self.read(mailbox, address).await,
                };
                (lock, listing)
            }
            Reading::Through => {
                let lock = self.0.locks.lock().get(mailbox);
                let lock = self.lock(mailbox, &lock, mode, until).await?;
                (lock, self.read_through(mailbox).await)
            }
        };
        let listing = listing.map_err(OpenError::Unavailable)?;
        Ok(OpenMaildrop { listing, lock })
    }

    async fn lock(
        &self,
        mailbox: MailboxId,
        lock: &Arc<Lock>,
        mode: LockMode,
        until: Instant,
    ) -> Result<MaildropLock, OpenError> {
        let local = match lock.take(mode) {
            Ok(local) => local,
            Err(None) => return Err(OpenError::InUse),
            Err(Some(turn)) => match tokio::time::timeout_at(until, turn).await {
                Ok(Ok(local)) => local,
                Ok(Err(_)) | Err(_) => return Err(OpenError::InUse),
            },
        };
        let cluster = match (&self.0.options.locks, mode) {
            (Some(locks), LockMode::Exclusive) => {
                Some(locks.take(mailbox, until).await.ok_or(OpenError::InUse)?)
            }
            (None, _) | (_, LockMode::Shared) => None,
        };
        Ok(MaildropLock::new(local, cluster))
    }

    async fn read_through(&self, mailbox: MailboxId) -> Result<Arc<Listing>, StoreError> {
        let begun = Instant::now();
        let read = read_view(self.0.store.as_ref(), mailbox).await;
        self.0.metrics.stored("list", begun);
        Ok(Arc::new(read?.listing))
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

    /// Notes in the mailbox, if it is in use, what happened in it. `stamp` is the record's.
    pub fn changed(&self, event: &Event, stamp: Stamp) {
        let Some(mailbox) = event.mailbox else { return };
        if let Some(shared) = self.shared(mailbox) {
            shared.view.lock().changed(stamp, &event.happening);
        }
    }

    fn shared(&self, mailbox: MailboxId) -> Option<Arc<Shared>> {
        let known = self.0.known.lock();
        known.get(&mailbox).and_then(|known| known.shared.upgrade())
    }

    /// From now on changes come from logs of other processes too, in no order with those of this one's. To be said before
    /// a mailbox is in use.
    pub(crate) fn expect_other_logs(&self, registrations: Arc<Registrations>) {
        if self.0.elsewhere.set(registrations).is_err() {
            tracing::debug!("mailboxes expect other logs already");
        }
    }

    /// Changes of other logs may have been missed: every view is read anew when it is asked for.
    pub(crate) fn forget_views(&self) {
        for known in self.0.known.lock().values() {
            if let Some(shared) = known.shared.upgrade() {
                shared.view.lock().forget();
            }
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
        let shared = Arc::new(Shared {
            lock: self.0.locks.lock().get(mailbox),
            view: Mutex::default(),
        });
        shared.view.lock().keep_gone(self.0.elsewhere.get().is_some());
        let actor = Mailbox {
            mailbox,
            mailboxes: self.clone(),
            shared: Arc::clone(&shared),
            hold: None,
            used: Instant::now(),
            _alive: self.0.kind.born(),
        };
        let address = actor.start();
        let entry = Known {
            address: address.downgrade(),
            shared: Arc::downgrade(&shared),
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
    /// Other nodes tell what they do in this mailbox while its view is here.
    hold: Option<Hold>,
    used: Instant,
    _alive: Alive,
}

impl Actor for Mailbox {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.passivate_later(self.mailboxes.0.options.idle, ctx);
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        self.mailboxes.forget(self.mailbox, &ctx.address().downgrade());
    }
}

impl Mailbox {
    fn passivate_later(&mut self, after: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(after, |act, ctx| {
            let idle = act.mailboxes.0.options.idle;
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
        let elsewhere = self.mailboxes.0.elsewhere.get().filter(|_| self.hold.is_none());
        let elsewhere = elsewhere.cloned();
        let read = async move {
            // Registered, then read: what happens elsewhere from now on is told.
            let hold = match elsewhere {
                Some(registrations) => Some(registrations.hold(Key::Mailbox(mailbox)).await),
                None => None,
            };
            loop {
                if let Some(listing) = shared.view.lock().current() {
                    return (Ok(listing), hold);
                }
                let read = match read_view(store.as_ref(), mailbox).await {
                    Ok(read) => read,
                    Err(error) => return (Err(error), hold),
                };
                if let Some(listing) = shared.view.lock().was_read(read) {
                    return (Ok(listing), hold);
                }
            }
        };
        AtomicResponse::new(Box::pin(read.into_actor(self).map(
            move |(read, hold), act: &mut Self, _| {
                act.hold = hold.or_else(|| act.hold.take());
                act.mailboxes.0.metrics.stored("list", begun);
                act.mailboxes.0.kind.handled(1, begun);
                read
            },
        )))
    }
}

/// Reads a mailbox's view, page by page.
async fn read_view(store: &dyn MailStore, mailbox: MailboxId) -> Result<ReadView, StoreError> {
    let (mut read, mut after) = (ReadView::default(), None);
    loop {
        let rows = store.list(mailbox, after, LISTING_PAGE_ROWS).await?;
        rows.iter().for_each(|row| read.push(row));
        after = rows.last().map(|row| row.message);
        if rows.len() < LISTING_PAGE_ROWS {
            read.end();
            return Ok(read);
        }
    }
}
