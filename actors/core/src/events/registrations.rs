//! Listeners of scope `mailbox`: who wants to know what happens in a mailbox or to a user, on this node.
//!
//! They are told as soon as may be, at most once, and not again if they fail: who needs more is a group. Each has a bounded
//! queue; one that does not keep up is told that it missed something.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::prelude::*;
use futures_util::stream::{FuturesUnordered, StreamExt};
use mailhorn_events::{Event, Happened};
use mailhorn_ports::{Handled, Key, Listener, ListenerOptions, Mode};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use super::attempt::{Attempt, attempt, bounded, handles};
use super::exchange::KeyChange;
use super::schedule::{Lane, Schedule, Turn};
use super::sync_waits::SyncWait;
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};

/// Events that wait for one listener at most. Beyond, it is told that it missed some.
pub const NOTIFICATIONS_QUEUED_MAX: usize = 1_024;

/// How long a registration waits until other nodes can know of it.
pub const REGISTER_PATIENCE: Duration = Duration::from_secs(1);

/// What a listener is told.
#[derive(Debug)]
struct Notification {
    happened: Happened,
    /// Told when the listener had it.
    had: Option<oneshot::Sender<()>>,
}

/// What a listener missed.
#[derive(Debug, Default)]
struct Missed {
    /// Of which keys. Never more than it has registered.
    keys: Mutex<BTreeSet<Key>>,
    wake: Notify,
}

impl Missed {
    fn add(&self, key: Key) {
        self.keys.lock().insert(key);
        self.wake.notify_one();
    }
}

#[derive(Debug)]
struct Registered {
    number: u64,
    mode: Mode,
    /// The listener's actor ends when this goes.
    queue: mpsc::Sender<Notification>,
    missed: Arc<Missed>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    by_key: HashMap<Key, Vec<Arc<Registered>>>,
    /// By the listener itself: who registers twice is one.
    known: HashMap<usize, (Weak<Registered>, BTreeSet<Key>)>,
    /// Keys of which this node wants to know though no listener is registered, and how many hold them.
    held: HashMap<Key, usize>,
}

impl Table {
    fn is_wanted(&self, key: &Key) -> bool {
        self.by_key.contains_key(key) || self.held.contains_key(key)
    }
}

/// The registrations of a node.
#[derive(Debug)]
pub(crate) struct Registrations {
    table: Mutex<Table>,
    /// Told what is registered here first and unregistered here last, for the registry that other nodes ask.
    key_changes: Mutex<Option<mpsc::Sender<KeyChange>>>,
    metrics: Arc<Metrics>,
    kind: Arc<Kind>,
}

/// Keeps a listener registered for its keys until it is dropped, or [`Registration::unregister`]. A listener that was
/// registered twice for a key is gone from it with the first of the two.
#[derive(Debug)]
pub struct Registration {
    registrations: Weak<Registrations>,
    listener: usize,
    keys: Vec<Key>,
}

impl Registration {
    /// Ends the registration. Events of before may still be under way.
    pub fn unregister(&self) {
        if let Some(registrations) = self.registrations.upgrade() {
            registrations.unregister(self.listener, &self.keys);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// This node wants to know what happens elsewhere under a key, for as long as this lives: a view of it is held in memory.
#[derive(Debug)]
pub(crate) struct Hold {
    registrations: Weak<Registrations>,
    key: Key,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(registrations) = self.registrations.upgrade() {
            registrations.release(self.key);
        }
    }
}

impl Registrations {
    pub(super) fn new(metrics: Arc<Metrics>, kind: Arc<Kind>) -> Self {
        Self {
            table: Mutex::default(),
            key_changes: Mutex::default(),
            metrics,
            kind,
        }
    }

    /// From now on other nodes are told what is registered here.
    pub(super) fn open_key_changes(&self, changes: mpsc::Sender<KeyChange>) {
        *self.key_changes.lock() = Some(changes);
    }

    /// Registers a listener; its actor lives on the arbiter of the caller. Returns when other nodes can know.
    pub(super) async fn register(
        self: &Arc<Self>,
        listener: Arc<dyn Listener>,
        keys: &[Key],
        options: ListenerOptions,
    ) -> Registration {
        let registration = self.register_here(listener, keys, options);
        self.tell_others(keys).await;
        registration
    }

    /// Wants to know what happens elsewhere under a key. Returns when other nodes can know.
    pub(crate) async fn hold(self: &Arc<Self>, key: Key) -> Hold {
        *self.table.lock().held.entry(key).or_default() += 1;
        let hold = Hold {
            registrations: Arc::downgrade(self),
            key,
        };
        self.tell_others(&[key]).await;
        hold
    }

    async fn tell_others(&self, keys: &[Key]) {
        let changes = self.key_changes.lock().clone();
        if let Some(changes) = changes {
            let (told, known) = oneshot::channel();
            let sent = changes.try_send(KeyChange::Register(keys.to_vec(), told));
            // Where the registry doesn't answer, the exchange finds out by its epoch and makes up for it.
            if sent.is_err() || tokio::time::timeout(REGISTER_PATIENCE, known).await.is_err() {
                self.metrics.limit("register_patience");
            }
        }
    }

    fn release(&self, key: Key) {
        let is_gone = {
            let mut table = self.table.lock();
            if let Some(holds) = table.held.get_mut(&key) {
                *holds -= 1;
                if *holds == 0 {
                    table.held.remove(&key);
                }
            }
            !table.is_wanted(&key)
        };
        if is_gone {
            self.tell_others_gone(vec![key]);
        }
    }

    fn tell_others_gone(&self, gone: Vec<Key>) {
        let changes = self.key_changes.lock().clone();
        let told = changes.map(|changes| changes.try_send(KeyChange::Unregister(gone)));
        if told.is_some_and(|told| told.is_err()) {
            tracing::debug!("registrations are not taken back: their lease ends by itself");
        }
    }

    fn register_here(
        self: &Arc<Self>,
        listener: Arc<dyn Listener>,
        keys: &[Key],
        options: ListenerOptions,
    ) -> Registration {
        let identity = Arc::as_ptr(&listener).cast::<()>().addr();
        let mut table = self.table.lock();
        let living = table.known.get(&identity).and_then(|(known, _)| known.upgrade());
        let registered = living.unwrap_or_else(|| {
            table.next += 1;
            self.start(table.next, listener, options)
        });
        for key in keys {
            let of_key = table.by_key.entry(*key).or_default();
            if !of_key.iter().any(|other| other.number == registered.number) {
                of_key.push(Arc::clone(&registered));
            }
        }
        let (known, registered_keys) = table.known.entry(identity).or_default();
        *known = Arc::downgrade(&registered);
        registered_keys.extend(keys);
        Registration {
            registrations: Arc::downgrade(self),
            listener: identity,
            keys: keys.to_vec(),
        }
    }

    fn start(&self, number: u64, listener: Arc<dyn Listener>, options: ListenerOptions) -> Arc<Registered> {
        let (queue, receiver) = mpsc::channel(NOTIFICATIONS_QUEUED_MAX);
        let missed = Arc::<Missed>::default();
        let actor = KeyListener {
            worker: Some(Worker {
                listener,
                options,
                missed: Arc::clone(&missed),
                receiver,
                schedule: Schedule::new(options.concurrency, options.batch_max),
                calls: FuturesUnordered::new(),
                metrics: Arc::clone(&self.metrics),
                kind: Arc::clone(&self.kind),
            }),
            _alive: self.kind.born(),
        };
        actor.start();
        Arc::new(Registered {
            number,
            mode: options.mode,
            queue,
            missed,
        })
    }

    fn unregister(&self, identity: usize, keys: &[Key]) {
        let gone = self.unregister_here(identity, keys);
        if !gone.is_empty() {
            self.tell_others_gone(gone);
        }
    }

    /// Gives the keys that nobody is registered for any more.
    fn unregister_here(&self, identity: usize, keys: &[Key]) -> Vec<Key> {
        let mut gone = Vec::new();
        let mut table = self.table.lock();
        let Some((known, registered_keys)) = table.known.get_mut(&identity) else {
            return gone;
        };
        registered_keys.retain(|key| !keys.contains(key));
        let (registered, is_gone) = (known.upgrade(), registered_keys.is_empty());
        if is_gone {
            table.known.remove(&identity);
        }
        let Some(registered) = registered else {
            return gone;
        };
        for key in keys {
            if let Some(of_key) = table.by_key.get_mut(key) {
                of_key.retain(|other| other.number != registered.number);
                if of_key.is_empty() {
                    table.by_key.remove(key);
                    if !table.is_wanted(key) {
                        gone.push(*key);
                    }
                }
            }
        }
        gone
    }

    /// Tells whoever is registered, each once however many of its keys match. Adds those that the reply waits for.
    pub(super) fn notify(&self, happened: &Happened, wait: &mut SyncWait) {
        if happened.event().happening.is_noop() {
            return;
        }
        let listeners = {
            let table = self.table.lock();
            if table.by_key.is_empty() {
                return;
            }
            let mut listeners: Vec<Arc<Registered>> = Vec::new();
            for key in Key::of(happened.event()) {
                for registered in table.by_key.get(&key).into_iter().flatten() {
                    if !listeners.iter().any(|other| other.number == registered.number) {
                        listeners.push(Arc::clone(registered));
                    }
                }
            }
            listeners
        };
        for registered in listeners {
            let (had, receiver) = match registered.mode {
                Mode::Sync => {
                    let (sender, receiver) = oneshot::channel();
                    (Some(sender), Some(receiver))
                }
                Mode::Async => (None, None),
            };
            let happened = happened.clone();
            self.kind.queued();
            match registered.queue.try_send(Notification { happened, had }) {
                Ok(()) => receiver.into_iter().for_each(|receiver| wait.add(receiver)),
                Err(error) => {
                    self.kind.taken(1);
                    self.metrics.limit("notifications_queued_max");
                    self.missed(&registered, error.into_inner().happened.event());
                }
            }
        }
    }

    /// A listener missed this event, under every key of it that it has: whoever it tells in turn may know one of them alone.
    fn missed(&self, registered: &Registered, event: &Event) {
        let table = self.table.lock();
        for key in Key::of(event) {
            let mut of_key = table.by_key.get(&key).into_iter().flatten();
            if of_key.any(|other| other.number == registered.number) {
                registered.missed.add(key);
            }
        }
    }

    /// Every listener may have missed events of its keys.
    pub(super) fn all_missed(&self) {
        for (key, listeners) in &self.table.lock().by_key {
            listeners
                .iter()
                .for_each(|registered| registered.missed.add(*key));
        }
    }

    /// The keys that this node wants to know of.
    pub(super) fn keys(&self) -> Vec<Key> {
        let table = self.table.lock();
        let keys: BTreeSet<Key> = table.by_key.keys().chain(table.held.keys()).copied().collect();
        keys.into_iter().collect()
    }

    /// Whether this node wants to know of the key.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.table.lock().is_wanted(key)
    }
}

/// The actor of one listener.
struct KeyListener {
    worker: Option<Worker>,
    _alive: Alive,
}

impl Actor for KeyListener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(worker) = self.worker.take() else {
            return ctx.stop();
        };
        ctx.wait(worker.work().into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

type Calls = FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = (Turn<Notification>, Attempt)>>>>;

struct Worker {
    listener: Arc<dyn Listener>,
    options: ListenerOptions,
    missed: Arc<Missed>,
    receiver: mpsc::Receiver<Notification>,
    schedule: Schedule<Notification>,
    calls: Calls,
    metrics: Arc<Metrics>,
    kind: Arc<Kind>,
}

impl Worker {
    /// Works until the last key is unregistered and everything of before is done.
    async fn work(mut self) {
        let mut is_open = true;
        while is_open || !self.calls.is_empty() {
            self.give_out();
            let has_room = is_open && self.room() > 0;
            tokio::select! {
                biased;
                Some((turn, attempt)) = self.calls.next() => self.ended(turn, &attempt),
                notification = self.receiver.recv(), if has_room => match notification {
                    Some(notification) => {
                        self.take(notification);
                        self.take_more();
                    }
                    None => is_open = false,
                },
                () = self.missed.wake.notified(), if is_open => {}
            }
            if self.receiver.is_empty() && self.schedule.waiting() == 0 {
                self.tell_missed().await;
            }
        }
    }

    /// How many more events may wait for a call here, and not in the queue.
    fn room(&self) -> usize {
        let most = self.options.concurrency.max(self.options.batch_max).max(1);
        most.saturating_sub(self.schedule.waiting())
    }

    /// Takes what has gathered, so that it makes a batch.
    fn take_more(&mut self) {
        while self.room() > 0 {
            match self.receiver.try_recv() {
                Ok(notification) => self.take(notification),
                Err(_) => break,
            }
        }
    }

    fn take(&mut self, mut notification: Notification) {
        self.kind.taken(1);
        if handles(&*self.listener, notification.happened.event()) {
            let lane = Lane::of(notification.happened.event());
            self.schedule.push(lane, notification);
        } else {
            had(&mut notification);
        }
    }

    fn give_out(&mut self) {
        while let Some(turn) = self.schedule.next(usize::MAX) {
            let events: Vec<Happened> = turn.jobs.iter().map(|(_, job)| job.happened.clone()).collect();
            let (listener, timeout) = (Arc::clone(&self.listener), self.options.execution_timeout);
            let kind = Arc::clone(&self.kind);
            self.calls.push(Box::pin(async move {
                let (begun, count) = (tokio::time::Instant::now(), events.len() as u64);
                let attempt = attempt(&listener, &events, timeout).await;
                kind.handled(count, begun);
                (turn, attempt)
            }));
        }
    }

    fn ended(&mut self, turn: Turn<Notification>, attempt: &Attempt) {
        let mut jobs = self.schedule.ended(turn);
        let had_max = match attempt {
            Attempt::Handled(handled) => handled.done.saturating_add(1),
            Attempt::Lost(_) if jobs.len() > 1 => {
                self.schedule.singly(jobs.len());
                0
            }
            Attempt::Lost(_) => 1,
        };
        // The one that failed is not told again; those behind it were not tried.
        let rest = jobs.split_off(had_max.min(jobs.len()));
        if !matches!(attempt, Attempt::Handled(handled) if handled.then == Handled::Done) {
            tracing::debug!(listener = ?self.listener, ?attempt, "a listener failed over an event");
        }
        self.metrics.notified.inc_by(jobs.len() as u64);
        jobs.iter_mut().for_each(|(_, job)| had(job));
        self.schedule.put_back(rest);
    }

    async fn tell_missed(&mut self) {
        let missed = std::mem::take(&mut *self.missed.keys.lock());
        for key in missed {
            let tell = self.listener.missed(key);
            if let Err(why) = bounded(tell, self.options.execution_timeout).await {
                tracing::debug!(listener = ?self.listener, why, "a listener failed over what it missed");
            }
        }
    }
}

fn had(notification: &mut Notification) {
    if let Some(had) = notification.had.take() {
        // The reply may have left already.
        had.send(()).ok();
    }
}
