//! The database while it is open.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use fjall::config::BlockSizePolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use mailhorn_events::{Generation, MessageId};
use parking_lot::RwLock;

use crate::error::Fault;
use crate::frame::{self, Chunk, Kind};
use crate::journal;
use crate::keys;
use crate::options::{JOURNAL_OCTETS_MIN, Options};
use crate::rows::{Row, Segment, State, decode};

const ROWS: &str = "rows";
const SEGMENT_PREFIX: &str = "octets-";
/// fjall's folder of keyspaces.
const KEYSPACES: &str = "keyspaces";

/// A journal of which so much is written is ended as soon as may be. fjall makes them at 64 MiB and does not end a
/// shorter one.
const JOURNAL_LONG_OCTETS: u64 = 65 * 1024 * 1024;

/// Memtable of the rows, in octets.
const ROWS_MEMTABLE_OCTETS: u64 = 32 * 1024 * 1024;
/// Memtable of a segment, in octets: a full segment has eight tables.
const SEGMENT_MEMTABLE_OCTETS: u64 = 16 * 1024 * 1024;
/// Block of a segment's tables, in octets: a block is what is read and verified at once, so nearly every chunk gets its
/// own, and damage to one costs no other.
const SEGMENT_BLOCK_OCTETS: u32 = 1024;
/// Tables after which a segment is sealed.
const SEGMENT_TABLES_MAX: usize = 12;
/// Tables after which a segment is merged. A sealed segment never gets there, since merging would only move octets that
/// relocation moves better. It is there for a segment that many large uploads at once made too long: without it
/// fjall would halt all writes at 30 runs of tables.
const SEGMENT_MERGE_TABLES: u8 = 18;
/// Sealed memtables with which no more is written. fjall itself halts at 4, and for ever when the thread that would
/// write them has died.
const SEALED_MEMTABLES_MAX: usize = 2;
/// Tables of rows with which no more is written. fjall itself halts at 30.
const ROWS_TABLES_MAX: usize = 24;
/// How often, and how many times, the flushing threads are looked at before giving up.
const WAIT: Duration = Duration::from_millis(5);
const WAITS_MAX: u32 = 6_000;

/// fjall's handles. All of them are dropped before the store is opened again.
pub(crate) struct Opened {
    pub(crate) db: Database,
    pub(crate) rows: Keyspace,
    segments: RwLock<BTreeMap<u64, Keyspace>>,
    store: PathBuf,
}

impl Opened {
    pub(crate) fn open(store: &Path, options: &Options) -> fjall::Result<Self> {
        let db = Database::builder(store)
            .manual_journal_persist(true)
            .journal_compression(CompressionType::None)
            .max_journaling_size(options.journal_octets_max.max(JOURNAL_OCTETS_MIN))
            .cache_size(options.cache_octets)
            .worker_threads(options.workers.max(1))
            .open()?;
        let rows = db.keyspace(ROWS, || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(ROWS_MEMTABLE_OCTETS)
        })?;
        let ids: Vec<u64> = db
            .list_keyspace_names()
            .iter()
            .filter_map(|name| name.strip_prefix(SEGMENT_PREFIX)?.parse().ok())
            .collect();
        let opened = Self {
            db,
            rows,
            segments: RwLock::default(),
            store: store.to_path_buf(),
        };
        ids.into_iter().try_for_each(|id| opened.take_segment(id))?;
        if opened.segments.read().is_empty() {
            opened.take_segment(1)?;
        }
        journal::sync_dir(&store.join(KEYSPACES))?;
        Ok(opened)
    }

    /// Makes a segment.
    pub(crate) fn add_segment(&self, id: u64) -> fjall::Result<()> {
        self.take_segment(id)?;
        // fjall makes a folder and syncs what is in it, not its name: without that a power cut may take the folder
        // away under batches that were synced and rely on it.
        Ok(journal::sync_dir(&self.store.join(KEYSPACES))?)
    }

    fn take_segment(&self, id: u64) -> fjall::Result<()> {
        let keyspace = self.db.keyspace(&format!("{SEGMENT_PREFIX}{id}"), || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(SEGMENT_MEMTABLE_OCTETS)
                .data_block_size_policy(BlockSizePolicy::all(SEGMENT_BLOCK_OCTETS))
                .compaction_strategy(Arc::new(
                    fjall::compaction::Leveled::default().with_l0_threshold(SEGMENT_MERGE_TABLES),
                ))
        })?;
        self.segments.write().insert(id, keyspace);
        Ok(())
    }

    /// Deletes a segment. Its files go when the last reader has let go of it.
    pub(crate) fn delete_segment(&self, id: u64) -> fjall::Result<()> {
        let Some(keyspace) = self.segments.write().remove(&id) else {
            return Ok(());
        };
        self.db.delete_keyspace(keyspace)
    }

    pub(crate) fn segment(&self, id: u64) -> Option<Keyspace> {
        self.segments.read().get(&id).cloned()
    }

    /// A segment that must be there.
    pub(crate) fn present_segment(&self, id: u64) -> Result<Keyspace, Fault> {
        self.segment(id)
            .ok_or_else(|| Fault::Damaged(format!("the segment {id} is not there")))
    }

    pub(crate) fn segment_ids(&self) -> Vec<u64> {
        self.segments.read().keys().copied().collect()
    }

    /// The segment that is written to; all others are sealed.
    pub(crate) fn current_segment(&self) -> u64 {
        self.segments.read().last_key_value().map_or(0, |(id, _)| *id)
    }

    /// Whether a segment has so many tables, or `octets` of `octets_max`, that it is to be sealed.
    pub(crate) fn is_full(&self, id: u64, octets: u64, octets_max: u64) -> bool {
        octets >= octets_max
            || self
                .segment(id)
                .is_some_and(|it| it.l0_table_count() >= SEGMENT_TABLES_MAX)
    }

    pub(crate) fn get<R: Row>(&self, key: &[u8]) -> Result<Option<R>, Fault> {
        self.octets(key)?.map(|row| decode(&row)).transpose()
    }

    /// A row as it is written.
    pub(crate) fn octets(&self, key: &[u8]) -> Result<Option<fjall::Slice>, Fault> {
        Ok(self.rows.get(key)?)
    }

    pub(crate) fn has(&self, key: &[u8]) -> Result<bool, Fault> {
        Ok(self.rows.contains_key(key)?)
    }

    /// Where the store stands.
    pub(crate) fn state(&self) -> Result<State, Fault> {
        Ok(self.get(&keys::state())?.unwrap_or_default())
    }

    /// At most `limit` rows whose keys begin with `prefix` and come after `after`, by key.
    pub(crate) fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(fjall::Slice, fjall::Slice)>, Fault> {
        self.scan(prefix, after).take(limit).collect()
    }

    /// The same, one by one.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(fjall::Slice, fjall::Slice), Fault>> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let rows = self.rows.range::<&[u8], _>((from, Bound::Unbounded));
        rows.map(|guard| guard.into_inner().map_err(Fault::from))
            .take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)))
    }

    /// Rows whose keys are `from` or above, and below `until`, one by one.
    pub(crate) fn range(
        &self,
        from: &[u8],
        until: &[u8],
    ) -> impl Iterator<Item = Result<(fjall::Slice, fjall::Slice), Fault>> + use<> {
        self.rows
            .range(from..until)
            .map(|guard| guard.into_inner().map_err(Fault::from))
    }

    /// The number of the last record of a log.
    pub(crate) fn log_end(&self, generation: Generation) -> Result<u64, Fault> {
        let last = self
            .rows
            .prefix(keys::log(generation))
            .next_back()
            .map(fjall::Guard::key)
            .transpose()?;
        Ok(last
            .and_then(|key| keys::position(&key))
            .map_or(0, |(_, number)| number))
    }

    /// A chunk; `None` when its segment does not have it or is gone.
    pub(crate) fn chunk(&self, segment: u64, message: MessageId, index: u32) -> Result<Option<Bytes>, Fault> {
        let Some(keyspace) = self.segment(segment) else {
            return Ok(None);
        };
        let Some(value) = keyspace.get(keys::chunk(message, index))? else {
            return Ok(None);
        };
        let value = Bytes::from_owner(value);
        let chunk = frame::body(Kind::Chunk, &value).and_then(Chunk::from_body);
        match chunk {
            Some(chunk) if chunk.message == message && chunk.index == index => {
                Ok(Some(value.slice_ref(chunk.octets)))
            }
            _ => Err(Fault::Damaged(format!(
                "chunk {index} of message {message} is not what was written"
            ))),
        }
    }

    pub(crate) fn has_chunk(&self, segment: u64, message: MessageId, index: u32) -> Result<bool, Fault> {
        let keyspace = self.segment(segment);
        Ok(keyspace.map_or(Ok(false), |keyspace| {
            keyspace.contains_key(keys::chunk(message, index))
        })?)
    }

    /// The last batch that relied on a segment, as the segment itself has it.
    pub(crate) fn segment_position(&self, id: u64) -> Result<u64, Fault> {
        let position = self
            .segment(id)
            .map(|keyspace| keyspace.get(keys::POSITION))
            .transpose()?
            .flatten();
        Ok(position
            .and_then(|position| position.first_chunk().map(|octets| u64::from_be_bytes(*octets)))
            .unwrap_or(0))
    }

    /// All segments' rows; a segment that has none yet has a default one.
    pub(crate) fn segment_rows(&self) -> Result<BTreeMap<u64, Segment>, Fault> {
        let ids = self.segment_ids();
        ids.into_iter()
            .map(|id| Ok((id, self.get(&keys::segment(id))?.unwrap_or_default())))
            .collect()
    }

    /// Waits until the flushing threads have caught up, so that fjall itself never has to halt a write.
    pub(crate) fn admit(&self) -> Result<(), Fault> {
        self.wait(|| {
            let current = self.segment(self.current_segment());
            let busy = |keyspace: &Keyspace| keyspace.sealed_memtable_count() >= SEALED_MEMTABLES_MAX;
            !busy(&self.rows)
                && self.rows.l0_table_count() < ROWS_TABLES_MAX
                && !current.as_ref().is_some_and(busy)
        })
    }

    /// Lets a journal that has grown long come to its end. fjall begins a new one only when a memtable is full, which
    /// with small rows, or segments that are left early, is very late; and what is in a journal is read at every start
    /// after a crash. Does not wait.
    pub(crate) fn shorten_journal(&self) -> Result<(), Fault> {
        if journal::newest_octets(&self.store)? < JOURNAL_LONG_OCTETS || self.rows.sealed_memtable_count() > 0
        {
            return Ok(());
        }
        let segments: Vec<Keyspace> = self.segments.read().values().cloned().collect();
        for keyspace in segments.iter().chain([&self.rows]) {
            keyspace.rotate_memtable()?;
        }
        Ok(())
    }

    /// Writes everything that is in memory to tables.
    pub(crate) fn flush(&self) -> Result<(), Fault> {
        let keyspaces: Vec<Keyspace> = self
            .segments
            .read()
            .values()
            .chain([&self.rows])
            .cloned()
            .collect();
        for keyspace in keyspaces {
            keyspace.rotate_memtable()?;
            self.wait(|| keyspace.sealed_memtable_count() == 0)?;
        }
        Ok(())
    }

    fn wait(&self, done: impl Fn() -> bool) -> Result<(), Fault> {
        for _ in 0..WAITS_MAX {
            if done() {
                return Ok(());
            }
            // This is how fjall tells that a thread of its own has died: it is poisoned.
            self.db.persist(PersistMode::Buffer)?;
            sleep(WAIT);
        }
        Err(Fault::Unavailable(
            "the disk does not keep up with what is to be written".into(),
        ))
    }
}
