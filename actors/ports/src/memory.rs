//! In-memory doubles: a store that keeps everything in maps and fails when it is told to, a clock that is set, and
//! randomness that repeats.
//!
//! All is deterministic: no thread, no time but tokio's, no hash order.

mod bans;
mod cluster;
mod directory;
mod groups;
mod membership;
mod quota;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use mailhorn_events::{
    AccountId, EventId, Generation, MailboxId, MessageId, Position, QuotaLimits, Record, Stamp,
};
use parking_lot::Mutex;
use tokio::time::Instant;

pub use cluster::{MemoryLocks, MemoryRegistry, MemoryTransport, Weather};

use crate::bans::Ban;
use crate::clock::{Clock, Random, Uptime};
use crate::cluster::MemberRow;
use crate::directory::{Account, LocalDomain, Name};
use crate::groups::Cursor;
use crate::listener::{GroupName, Letter};
use crate::quota::QuotaOwner;
use crate::store::{Committed, Group, LogEntry, NoteKey, StoreError, Unreadable, ViewRow};

/// What the next commit answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextCommit {
    /// *Unknown*, with the group made.
    UnknownDone,
    /// *Unknown*, with nothing made.
    UnknownNotDone,
}

/// A mail store and directory in memory. Clones are handles on the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    chunks: BTreeMap<(MessageId, u32), Chunk>,
    messages: BTreeMap<MessageId, Message>,
    view: BTreeMap<(MailboxId, MessageId), (ViewRow, Bytes)>,
    notes: BTreeMap<NoteKey, Stamp>,
    bans: BTreeMap<IpNet, Ban>,
    /// What was said of notes, in order.
    notes_kept: Vec<NoteKey>,
    notes_forgotten: Vec<NoteKey>,
    log: BTreeMap<(Generation, u64), Result<Arc<Record>, Unreadable>>,
    owners: BTreeMap<Generation, String>,
    /// The last group of each log, so that a repetition is known.
    last: BTreeMap<Generation, (Group, Committed)>,
    /// The log that was written to last.
    written: Option<Generation>,
    members: BTreeMap<Generation, MemberRow>,
    /// Logs that ended, with the number of their last record.
    seals: BTreeMap<Generation, u64>,
    groups: BTreeMap<GroupName, GroupState>,
    dead: BTreeMap<(GroupName, EventId), Letter>,
    limits: BTreeMap<QuotaOwner, QuotaLimits>,
    thresholds: BTreeMap<QuotaOwner, u8>,
    stamp: Stamp,
    domains: BTreeMap<String, Arc<LocalDomain>>,
    names: BTreeMap<String, Name>,
    removed: BTreeMap<AccountId, Arc<Account>>,
    script: Script,
    commits: u64,
    /// Every record ever, if it is kept.
    history: Option<Vec<(Position, Arc<Record>)>>,
}

#[derive(Debug, Default)]
struct GroupState {
    registered: Stamp,
    cursors: BTreeMap<Generation, Cursor>,
    parked: BTreeMap<(Generation, EventId), Letter>,
}

#[derive(Debug)]
struct Chunk {
    octets: Bytes,
    damaged: bool,
}

#[derive(Debug)]
struct Message {
    chunks: u32,
    references: BTreeSet<MailboxId>,
}

#[derive(Debug, Default)]
struct Script {
    next_commit: Option<NextCommit>,
    commit_delay: Duration,
    unavailable: bool,
    refuse_listings: bool,
    refuse_logs: bool,
    records_delay: Duration,
    refuse_usage: bool,
    panic_at_account: Option<String>,
}

impl MemoryStore {
    /// An empty store that does as it is asked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next commit answer *unknown*; the one after that answers truly again.
    pub fn next_commit(&self, answer: NextCommit) {
        self.0.lock().script.next_commit = Some(answer);
    }

    /// Makes every commit take `delay` of tokio's time before it does anything.
    pub fn delay_commits(&self, delay: Duration) {
        self.0.lock().script.commit_delay = delay;
    }

    /// While set, every call is refused as unavailable and every commit is unknown and not made.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.0.lock().script.unavailable = unavailable;
    }

    /// While set, mailboxes are not listed; all else is as before.
    pub fn refuse_listings(&self, refuse: bool) {
        self.0.lock().script.refuse_listings = refuse;
    }

    /// While set, it is not said which logs there are; all else is as before.
    pub fn refuse_logs(&self, refuse: bool) {
        self.0.lock().script.refuse_logs = refuse;
    }

    /// Makes every reading of a log's records take `delay` of tokio's time before it reads.
    pub fn delay_records(&self, delay: Duration) {
        self.0.lock().script.records_delay = delay;
    }

    /// While set, usage is not told; all else is as before.
    pub fn refuse_usage(&self, refuse: bool) {
        self.0.lock().script.refuse_usage = refuse;
    }

    /// Panics when this address is looked up, as a bug would.
    pub fn panic_at_account(&self, address: &str) {
        self.0.lock().script.panic_at_account = Some(address.into());
    }

    /// Loses a message's octets. Its rows stay; chunks that no change has made valid yet go as well.
    pub fn lose_octets(&self, message: MessageId) {
        self.0.lock().chunks.retain(|(id, _), _| *id != message);
    }

    /// Damages a message's octets for good.
    pub fn damage_octets(&self, message: MessageId) {
        let mut state = self.0.lock();
        state
            .chunks
            .range_mut((message, 0)..=(message, u32::MAX))
            .for_each(|(_, chunk)| chunk.damaged = true);
    }

    /// How many commits were made, unknown ones that were made included and repetitions not.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.0.lock().commits
    }

    /// The notes that were to be kept, in the order in which that was said.
    #[must_use]
    pub fn notes_kept(&self) -> Vec<NoteKey> {
        self.0.lock().notes_kept.clone()
    }

    /// The notes that were to be forgotten, in the order in which that was said.
    #[must_use]
    pub fn notes_forgotten(&self) -> Vec<NoteKey> {
        self.0.lock().notes_forgotten.clone()
    }

    /// From now on remembers every record, whatever housekeeping does to the log.
    pub fn keep_history(&self) {
        self.0.lock().history.get_or_insert_default();
    }

    /// Every record since [`MemoryStore::keep_history`], in the order of commits.
    #[must_use]
    pub fn history(&self) -> Vec<(Position, Arc<Record>)> {
        self.0.lock().history.clone().unwrap_or_default()
    }

    /// All of a log that can be read.
    #[must_use]
    pub fn all_records(&self, generation: Generation) -> Vec<(u64, Arc<Record>)> {
        let entries = self.0.lock().records(generation, 0, usize::MAX);
        let readable = |entry: LogEntry| Some((entry.number, entry.record.ok()?));
        entries.into_iter().filter_map(readable).collect()
    }

    /// Makes a record unreadable, as one of a later release is.
    pub fn garble_record(&self, generation: Generation, number: u64) {
        let mut state = self.0.lock();
        if let Some(entry) = state.log.get_mut(&(generation, number)) {
            *entry = Err(Unreadable {
                octets: Bytes::from_static(b"\xffgarbled"),
                why: "the double was told so".into(),
            });
        }
    }

    fn available(&self) -> Result<(), StoreError> {
        match self.0.lock().script.unavailable {
            true => Err(StoreError::Unavailable(
                "the double was told to be unavailable".into(),
            )),
            false => Ok(()),
        }
    }
}

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<u64>);

impl ManualClock {
    /// A clock that stands at `micros` since the Unix epoch.
    #[must_use]
    pub fn new(micros: u64) -> Self {
        Self(Mutex::new(micros))
    }

    /// Sets it, to any time.
    pub fn set(&self, micros: u64) {
        *self.0.lock() = micros;
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let mut micros = self.0.lock();
        *micros = micros.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX));
    }
}

impl Uptime for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_micros(*self.0.lock())
    }
}

impl Clock for ManualClock {
    fn now_micros(&self) -> u64 {
        *self.0.lock()
    }
}

/// The time that passes, as tokio has it: it jumps where a test's time does.
#[derive(Debug, Clone, Copy)]
pub struct TokioUptime(Instant);

impl Default for TokioUptime {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Uptime for TokioUptime {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Octets that look random and are the same for the same seed (SplitMix64). Not for secrets.
#[derive(Debug)]
pub struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    /// The octets of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// A number below `limit`; 0 when that is 0.
    #[must_use]
    pub fn below(&self, limit: u64) -> u64 {
        let mut octets = [0; 8];
        self.fill(&mut octets);
        u64::from_be_bytes(octets).checked_rem(limit).unwrap_or(0)
    }
}

impl Random for SeededRandom {
    fn fill(&self, octets: &mut [u8]) {
        let mut state = self.0.lock();
        for chunk in octets.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            for (octet, random) in chunk.iter_mut().zip(z.to_be_bytes()) {
                *octet = random;
            }
        }
    }
}
