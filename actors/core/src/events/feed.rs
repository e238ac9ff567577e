//! The live feed: what happens under a key, for whoever watches now and may lose the line for a while.
//!
//! One listener of the node registers for the keys that somebody watches, and what it is told goes into one ring. A client
//! has no queue: it knows how far it is, reads the ring, and waits when it has read all there is. One that comes back says
//! how far it was, and gets exactly what it missed; where that can't be known it gets [`FeedItem::Reset`], and reads anew
//! what it shows.
//!
//! Everything by which a client may have lost something raises its key's **floor**: that the key was registered only then,
//! that the listener missed an event, that an event of the key fell out of the ring. A client that is below the floor is
//! reset: there is no other case. Those that are no events take a number of their own, so that nobody who read all events
//! of before stands on the floor by chance.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use mailhorn_events::{Generation, Happened, Position};
use mailhorn_ports::{Handled, Key, Listener, ListenerOptions};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::bus::EventBus;
use super::registrations::Registration;
use super::tail;

/// What an event takes in the ring beside its record, about: its entry, and its number under two keys.
const ENTRY_OCTETS: usize = 128;

/// The hub's listener never waits, so a call that takes so long means that the process stood still; its event would be
/// lost without a word.
const CALL_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// Limits of a feed hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedOptions {
    /// Octets of events that the ring keeps, about. An event that is larger is told to nobody, but resets.
    pub memory_octets: usize,
    /// How long a key stays registered after its last client left, so that one who comes back in time misses nothing.
    pub linger: Duration,
    /// Clients at a time at most; also keys that linger at a time at most, of which the longest without a client goes.
    pub clients_max: usize,
}

/// Up to where a client has read: the `Last-Event-ID` of a stream of server-sent events. As text `life.sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedId {
    /// Of which process.
    pub life: Generation,
    /// Up to which of its numbers. They grow, with gaps: a number is an event of any key, or a break of the feed.
    pub sequence: u64,
}

/// Not a feed id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a feed id is a UUID, a dot and a number")]
pub struct FeedIdError;

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.life, self.sequence)
    }
}

impl FromStr for FeedId {
    type Err = FeedIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (life, sequence) = text.split_once('.').ok_or(FeedIdError)?;
        Ok(Self {
            life: Generation(Uuid::try_parse(life).map_err(|_| FeedIdError)?),
            sequence: sequence.parse().map_err(|_| FeedIdError)?,
        })
    }
}

/// What a client gets.
#[derive(Debug, Clone)]
pub enum FeedItem {
    /// An event of its key.
    Event {
        /// Where to go on from after it.
        id: FeedId,
        /// What happened.
        happened: Happened,
    },
    /// Events may be missing here: what they were about is to be read anew. All of before are durable by now, and what
    /// comes later follows.
    Reset {
        /// Where to go on from after it.
        id: FeedId,
    },
}

/// Why there is no feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// [`FeedOptions::clients_max`] are there.
    #[error("{0} clients have a live feed already")]
    TooMany(usize),
}

/// Where clients subscribe. Clones share it. With the last of them and the last [`Feed`] the keys that linger go too.
#[derive(Debug, Clone)]
pub struct FeedHub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bus: EventBus,
    life: Generation,
    options: FeedOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    happened: Happened,
    /// Its record's octets are counted with the oldest entry of the record that is here.
    octets: usize,
}

/// A key that is registered, or about to be.
#[derive(Debug)]
struct Watched {
    /// The number that it was made with: tells it from one of the same key, before or after.
    made: u64,
    registration: Arc<OnceCell<Registration>>,
    clients: usize,
    /// When the last client left; meaningless while there are any.
    left: Instant,
    /// A task waits for the end of its linger.
    is_lingering: bool,
    /// Who has not read up to here may have lost something.
    floor: u64,
    /// Its events that are in the ring.
    sequences: VecDeque<u64>,
    /// Told when there is something to read.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// The last number that was given. Never 0, which is therefore below every floor.
    last: u64,
    ring: VecDeque<Entry>,
    octets: usize,
    keys: HashMap<Key, Watched>,
    clients: usize,
    /// The listener. Another one each time that no key is left: what the last one still had in its queue is then not of
    /// these keys.
    tap: Option<Arc<Tap>>,
}

/// The listener that is registered for all keys.
#[derive(Debug)]
struct Tap {
    hub: Weak<Inner>,
    /// The number that it was made with.
    made: u64,
}

#[async_trait]
impl Listener for Tap {
    async fn handle(&self, happened: &Happened) -> Handled {
        if let Some(hub) = self.hub.upgrade() {
            let mut state = hub.state.lock();
            if state.is_current(self) {
                state.push(happened, hub.options.memory_octets);
            }
        }
        Handled::Done
    }

    async fn missed(&self, key: Key) {
        if let Some(hub) = self.hub.upgrade() {
            let mut state = hub.state.lock();
            if state.is_current(self) {
                state.break_off(key);
            }
        }
    }
}

impl State {
    fn is_current(&self, tap: &Tap) -> bool {
        self.tap.as_ref().is_some_and(|current| current.made == tap.made)
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Whoever reads this key may have lost something.
    fn break_off(&mut self, key: Key) {
        let floor = self.number();
        if let Some(watched) = self.keys.get_mut(&key) {
            watched.floor = floor;
            watched.changes.send_replace(floor);
        }
    }

    fn push(&mut self, happened: &Happened, memory_octets: usize) {
        let sequence = self.number();
        let mut octets = ENTRY_OCTETS;
        if self.ring.back().map(|entry| entry.happened.position()) != Some(happened.position()) {
            octets += tail::octets(happened.record());
        }
        self.octets += octets;
        self.ring.push_back(Entry {
            sequence,
            happened: happened.clone(),
            octets,
        });
        for key in Key::of(happened.event()) {
            if let Some(watched) = self.keys.get_mut(&key) {
                watched.sequences.push_back(sequence);
            }
        }
        while self.octets > memory_octets && self.drop_oldest() {}
        for key in Key::of(happened.event()) {
            if let Some(watched) = self.keys.get(&key) {
                watched.changes.send_replace(sequence);
            }
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.ring.pop_front() else {
            return false;
        };
        self.octets -= oldest.octets;
        let position: Position = oldest.happened.position();
        if let Some(next) = self.ring.front_mut()
            && next.happened.position() == position
        {
            // The record stays in memory until the last of its events goes.
            let record = oldest.octets - ENTRY_OCTETS;
            next.octets += record;
            self.octets += record;
        }
        for key in Key::of(oldest.happened.event()) {
            if let Some(watched) = self.keys.get_mut(&key)
                && watched.sequences.front() == Some(&oldest.sequence)
            {
                watched.sequences.pop_front();
                watched.floor = watched.floor.max(oldest.sequence);
            }
        }
        true
    }

    /// The next thing for a client of `key` that has read up to `after`, and up to where it has read then.
    fn read(&self, key: Key, after: u64) -> Option<(u64, Option<Happened>)> {
        let watched = self.keys.get(&key)?;
        if after < watched.floor {
            // What is in the ring has happened already: who reads anew now sees it.
            return Some((self.last, None));
        }
        let index = watched.sequences.partition_point(|sequence| *sequence <= after);
        let sequence = *watched.sequences.get(index)?;
        let entry = self
            .ring
            .binary_search_by_key(&sequence, |entry| entry.sequence)
            .ok()?;
        Some((sequence, Some(self.ring.get(entry)?.happened.clone())))
    }

    /// Takes a key off the bus. Under the lock: a registration that is made anew must not be undone by this one's end.
    fn remove(&mut self, key: Key) {
        drop(self.keys.remove(&key));
        if self.keys.is_empty() {
            self.tap = None;
            self.ring.clear();
            self.octets = 0;
        }
    }

    /// The keys without clients are at most so many from now on. Whether some had to go.
    fn bound_lingering(&mut self, keys_max: usize) -> bool {
        let mut lingering: Vec<(Instant, u64, Key)> = Vec::new();
        for (key, watched) in &self.keys {
            if watched.clients == 0 {
                lingering.push((watched.left, watched.made, *key));
            }
        }
        lingering.sort_unstable();
        let too_many = lingering.len().saturating_sub(keys_max);
        for (_, _, key) in lingering.into_iter().take(too_many) {
            self.remove(key);
        }
        too_many > 0
    }
}

impl FeedHub {
    /// A hub that nobody watches. `life` is the process's, and stands in every [`FeedId`].
    #[must_use]
    pub fn new(bus: EventBus, life: Generation, options: FeedOptions) -> Self {
        Self(Arc::new(Inner {
            bus,
            life,
            options,
            state: Mutex::new(State {
                last: 0,
                ring: VecDeque::new(),
                octets: 0,
                keys: HashMap::new(),
                clients: 0,
                tap: None,
            }),
        }))
    }

    /// A feed of what happens under `key` from the return of this on; where the client says up to where it had read, from
    /// there on, or from a [`FeedItem::Reset`]. To be called on an arbiter: the listener's actor lives on that of the
    /// first.
    ///
    /// # Errors
    ///
    /// [`FeedError::TooMany`].
    pub async fn subscribe(&self, key: Key, last: Option<FeedId>) -> Result<Feed, FeedError> {
        let seat = Seat::take(&self.0, key)?;
        let inner = &self.0;
        let registration = seat.registration.get_or_init(|| async {
            let listener = Arc::clone(&seat.tap) as Arc<dyn Listener>;
            let options = ListenerOptions {
                // Events of one user and several mailboxes stay as they came.
                concurrency: 1,
                execution_timeout: CALL_TIMEOUT,
                ..ListenerOptions::default()
            };
            let registration = inner.bus.register(listener, &[key], options).await;
            inner.state.lock().break_off(key);
            registration
        });
        registration.await;
        let newest = inner.state.lock().last;
        let after = match last {
            None => newest,
            Some(last) if last.life == inner.life && last.sequence <= newest => last.sequence,
            // Below every floor.
            Some(_) => 0,
        };
        Ok(Feed { seat, after })
    }
}

/// A client's place under a key.
#[derive(Debug)]
struct Seat {
    hub: Arc<Inner>,
    key: Key,
    tap: Arc<Tap>,
    registration: Arc<OnceCell<Registration>>,
    changes: watch::Receiver<u64>,
    /// Where the end of the linger is waited for.
    runtime: Handle,
}

impl Seat {
    fn take(hub: &Arc<Inner>, key: Key) -> Result<Self, FeedError> {
        let clients_max = hub.options.clients_max;
        let mut state = hub.state.lock();
        let state = &mut *state;
        if state.clients >= clients_max {
            hub.bus.count_limit("feed_clients_max");
            return Err(FeedError::TooMany(clients_max));
        }
        state.clients += 1;
        let made = state.number();
        let tap = state.tap.get_or_insert_with(|| {
            let hub = Arc::downgrade(hub);
            Arc::new(Tap { hub, made })
        });
        let watched = state.keys.entry(key).or_insert_with(|| Watched {
            made,
            registration: Arc::default(),
            clients: 0,
            left: Instant::now(),
            is_lingering: false,
            floor: made,
            sequences: VecDeque::new(),
            changes: watch::Sender::new(made),
        });
        watched.clients += 1;
        Ok(Self {
            hub: Arc::clone(hub),
            key,
            tap: Arc::clone(tap),
            registration: Arc::clone(&watched.registration),
            changes: watched.changes.subscribe(),
            runtime: Handle::current(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.hub.state.lock();
        let state = &mut *state;
        // The key alone holds its registration when it is removed, which ends then and there.
        self.registration = Arc::default();
        state.clients -= 1;
        let Some(watched) = state.keys.get_mut(&self.key) else {
            return;
        };
        watched.clients -= 1;
        if watched.clients > 0 {
            return;
        }
        if !watched.registration.initialized() {
            // Given up before it was registered: there is nothing to come back to.
            return state.remove(self.key);
        }
        watched.left = Instant::now();
        if !watched.is_lingering {
            watched.is_lingering = true;
            let linger = linger(Arc::downgrade(&self.hub), self.key, watched.made);
            self.runtime.spawn(linger);
        }
        if state.bound_lingering(self.hub.options.clients_max) {
            self.hub.bus.count_limit("feed_lingering_max");
        }
    }
}

/// Takes a key off the bus when it had no client for long enough. One task a key, however often clients come and go.
async fn linger(hub: Weak<Inner>, key: Key, made: u64) {
    while let Some(end) = end_of_linger(&hub, key, made) {
        tokio::time::sleep_until(end).await;
    }
}

fn end_of_linger(hub: &Weak<Inner>, key: Key, made: u64) -> Option<Instant> {
    let hub = hub.upgrade()?;
    let mut state = hub.state.lock();
    let watched = state.keys.get_mut(&key).filter(|watched| watched.made == made)?;
    if watched.clients > 0 {
        watched.is_lingering = false;
        return None;
    }
    let end = watched.left + hub.options.linger;
    if end <= Instant::now() {
        state.remove(key);
        return None;
    }
    Some(end)
}

/// What a client reads. Its place is free, and its key begins to linger, when this is dropped.
#[derive(Debug)]
pub struct Feed {
    seat: Seat,
    after: u64,
}

impl Feed {
    /// The next event, or a reset; waits for it. Nothing is lost when the future is dropped before it is done.
    pub async fn next(&mut self) -> FeedItem {
        loop {
            self.seat.changes.mark_unchanged();
            let read = self.seat.hub.state.lock().read(self.seat.key, self.after);
            if let Some((after, happened)) = read {
                self.after = after;
                let id = self.at();
                return match happened {
                    Some(happened) => FeedItem::Event { id, happened },
                    None => FeedItem::Reset { id },
                };
            }
            if self.seat.changes.changed().await.is_err() {
                unreachable!("a key stays while it has a client");
            }
        }
    }

    /// Up to where it has read: a client that is told so before the first event can come back without one.
    #[must_use]
    pub fn at(&self) -> FeedId {
        FeedId {
            life: self.seat.hub.life,
            sequence: self.after,
        }
    }
}
