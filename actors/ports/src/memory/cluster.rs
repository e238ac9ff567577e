//! What nodes need of each other, in memory: a registry and locks that forget when they are told to, and a way between nodes that
//! delays, doubles, loses and reorders as a seed has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mailhorn_events::{Generation, MailboxId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::SeededRandom;
use crate::cluster::{
    Epoch, Held, LockToken, MaildropLocks, REGISTRATION_LEASE, RegisteredFor, Registry, Transport,
};
use crate::listener::Key;
use crate::store::StoreError;

/// Registrations in memory, whose time is tokio's. Clones are handles on the same registry.
#[derive(Debug, Clone)]
pub struct MemoryRegistry {
    state: Arc<Mutex<RegistryState>>,
    lease: Duration,
}

#[derive(Debug, Default)]
struct RegistryState {
    /// Who is registered for a key, and until when.
    keys: BTreeMap<Key, BTreeMap<Generation, Instant>>,
    epoch: u64,
    unavailable: bool,
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::with_lease(REGISTRATION_LEASE)
    }
}

impl MemoryRegistry {
    /// Registrations that last for `lease`.
    #[must_use]
    pub fn with_lease(lease: Duration) -> Self {
        Self {
            state: Arc::default(),
            lease,
        }
    }

    /// While set, every call is refused.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.state.lock().unavailable = unavailable;
    }

    /// Loses all registrations, as a Redis that was wiped.
    pub fn wipe(&self) {
        let mut state = self.state.lock();
        state.keys.clear();
        state.epoch += 1;
    }

    fn state(&self) -> Result<parking_lot::MutexGuard<'_, RegistryState>, StoreError> {
        let state = self.state.lock();
        if state.unavailable {
            return Err(StoreError::Unavailable("the registry was told to be away".into()));
        }
        Ok(state)
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn register_keys(&self, generation: Generation, keys: &[Key]) -> Result<Epoch, StoreError> {
        let until = Instant::now() + self.lease;
        let mut state = self.state()?;
        for key in keys {
            state.keys.entry(*key).or_default().insert(generation, until);
        }
        Ok(Epoch(state.epoch))
    }

    async fn unregister_keys(&self, generation: Generation, keys: &[Key]) -> Result<(), StoreError> {
        let mut state = self.state()?;
        for key in keys {
            if let Some(registered) = state.keys.get_mut(key) {
                registered.remove(&generation);
            }
        }
        Ok(())
    }

    async fn unregister_all(&self, generation: Generation) -> Result<(), StoreError> {
        for registered in self.state()?.keys.values_mut() {
            registered.remove(&generation);
        }
        Ok(())
    }

    async fn registered_for(&self, keys: &[Key]) -> Result<RegisteredFor, StoreError> {
        let now = Instant::now();
        let state = self.state()?;
        let registered = keys.iter().filter_map(|key| state.keys.get(key)).flatten();
        let members: BTreeSet<Generation> = registered
            .filter(|(_, until)| **until > now)
            .map(|(member, _)| *member)
            .collect();
        Ok(RegisteredFor {
            epoch: Epoch(state.epoch),
            members: members.into_iter().collect(),
        })
    }
}

/// Maildrop locks in memory, whose time is tokio's. Clones are handles on the same locks.
#[derive(Debug, Clone, Default)]
pub struct MemoryLocks(Arc<Mutex<LocksState>>);

#[derive(Debug, Default)]
struct LocksState {
    held: BTreeMap<MailboxId, (LockToken, Instant)>,
    unavailable: bool,
}

impl MemoryLocks {
    /// While set, every call is refused.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.0.lock().unavailable = unavailable;
    }

    /// Whose a lock is now.
    #[must_use]
    pub fn holder(&self, mailbox: MailboxId) -> Option<LockToken> {
        let now = Instant::now();
        let state = self.0.lock();
        let held = state.held.get(&mailbox).filter(|(_, until)| *until > now);
        held.map(|(token, _)| *token)
    }

    /// Loses all locks.
    pub fn wipe(&self) {
        self.0.lock().held.clear();
    }

    fn state(&self) -> Result<parking_lot::MutexGuard<'_, LocksState>, StoreError> {
        let state = self.0.lock();
        if state.unavailable {
            return Err(StoreError::Unavailable("the locks were told to be away".into()));
        }
        Ok(state)
    }
}

#[async_trait]
impl MaildropLocks for MemoryLocks {
    async fn hold(&self, mailbox: MailboxId, token: LockToken, ttl: Duration) -> Result<Held, StoreError> {
        let now = Instant::now();
        let mut state = self.state()?;
        let holder = state.held.get(&mailbox).filter(|(_, until)| *until > now);
        if holder.is_some_and(|(holder, _)| *holder != token) {
            return Ok(Held::Others);
        }
        state.held.insert(mailbox, (token, now + ttl));
        Ok(Held::Mine)
    }

    async fn release(&self, mailbox: MailboxId, token: LockToken) -> Result<(), StoreError> {
        let mut state = self.state()?;
        if state
            .held
            .get(&mailbox)
            .is_some_and(|(holder, _)| *holder == token)
        {
            state.held.remove(&mailbox);
        }
        Ok(())
    }
}

/// How frames fare, in chances of 1,000.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Frames that are lost.
    pub lost: u64,
    /// Frames that come twice.
    pub doubled: u64,
    /// The longest delay of a frame, in milliseconds. Each is drawn, so frames overtake each other.
    pub delay_ms_max: u64,
}

/// A way between processes in memory. Clones are handles on the same way.
#[derive(Debug, Clone)]
pub struct MemoryTransport {
    state: Arc<Mutex<TransportState>>,
    random: Arc<SeededRandom>,
}

#[derive(Debug, Default)]
struct TransportState {
    inboxes: BTreeMap<Generation, Inbox>,
    weather: Weather,
}

#[derive(Debug, Default)]
struct Inbox {
    frames: VecDeque<Bytes>,
    came: Arc<Notify>,
}

impl MemoryTransport {
    /// Frames that wait for one process at most; beyond, the oldest are lost.
    pub const FRAMES_MAX: usize = 10_000;

    /// A way without faults; `random` draws them once there are some.
    #[must_use]
    pub fn new(random: Arc<SeededRandom>) -> Self {
        Self {
            state: Arc::default(),
            random,
        }
    }

    /// How frames fare from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    fn put(state: &Mutex<TransportState>, to: Generation, frame: Bytes) {
        let mut state = state.lock();
        let inbox = state.inboxes.entry(to).or_default();
        if inbox.frames.len() >= Self::FRAMES_MAX {
            inbox.frames.pop_front();
        }
        inbox.frames.push_back(frame);
        inbox.came.notify_one();
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn send(&self, to: Generation, frame: Bytes) -> Result<(), StoreError> {
        let weather = self.state.lock().weather;
        let chance = |of: u64| of > 0 && self.random.below(1_000) < of;
        if chance(weather.lost) {
            return Ok(());
        }
        let copies = 1 + u64::from(chance(weather.doubled));
        for _ in 0..copies {
            if weather.delay_ms_max == 0 {
                Self::put(&self.state, to, frame.clone());
                continue;
            }
            let delay = Duration::from_millis(self.random.below(weather.delay_ms_max + 1));
            let (state, frame) = (Arc::clone(&self.state), frame.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                Self::put(&state, to, frame);
            });
        }
        Ok(())
    }

    async fn receive(&self, me: Generation) -> Result<Vec<Bytes>, StoreError> {
        loop {
            let came = {
                let mut state = self.state.lock();
                let inbox = state.inboxes.entry(me).or_default();
                if !inbox.frames.is_empty() {
                    return Ok(inbox.frames.drain(..).collect());
                }
                Arc::clone(&inbox.came)
            };
            came.notified().await;
        }
    }
}
