//! The store behind its locks: one writer, many readers, and the database that may have to be opened anew.
//!
//! A write or sync that fails poisons fjall until it is opened again, and what then lies in the page cache need not be on
//! the disk. So after such a failure all handles are dropped, the database is opened, everything in memory is
//! written to tables, and an empty journal takes the place of the one that can't be trusted. Only then is
//! anything acknowledged again. Reads go on meanwhile as long as the database is open.
//!
//! Locks are taken in the order writer, slot, uploads or groups.

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fjall::PersistMode;
use mailhorn_events::Generation;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::draft::Draft;
use crate::error::{Fault, OpenError};
use crate::frame::Chunk;
use crate::groups::Groups;
use crate::keys;
use crate::maintain::Housekeeping;
use crate::mark::{Mark, MarkFile};
use crate::opened::Opened;
use crate::options::{Faults, Options};
use crate::rows::State;
use crate::start::{self, Paths};
use crate::uploads::Uploads;

pub(crate) struct Core {
    pub(crate) paths: Paths,
    pub(crate) options: Options,
    pub(crate) secret: [u8; 32],
    pub(crate) uploads: Uploads,
    pub(crate) groups: Groups,
    faults: Option<Arc<dyn Faults>>,
    slot: RwLock<Option<Opened>>,
    writer: Mutex<Writer>,
    /// A write failed: nothing more is written before the database was opened anew.
    failed: AtomicBool,
    /// The store ended well, or is about to.
    closed: AtomicBool,
}

/// What only the writer knows.
pub(crate) struct Writer {
    pub(crate) state: State,
    pub(crate) housekeeping: Housekeeping,
    mark: MarkFile,
    /// The batch whose mark was synced last.
    mark_synced: u64,
    /// When the database may be tried again, and why the last try failed.
    retry: Option<(Instant, String)>,
    /// Held as long as the store is not closed.
    lock: Option<File>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("paths", &self.paths)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(started: start::Started, options: Options, faults: Option<Arc<dyn Faults>>) -> Self {
        let uploads = Uploads::default();
        uploads.reset(started.opened.current_segment());
        Self {
            paths: started.paths,
            options,
            secret: started.secret,
            uploads,
            groups: started.groups,
            faults,
            slot: RwLock::new(Some(started.opened)),
            writer: Mutex::new(Writer {
                state: started.state,
                housekeeping: Housekeeping::default(),
                mark: started.mark,
                mark_synced: 0,
                retry: None,
                lock: Some(started.lock),
            }),
            failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Reads. Blocks.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Opened) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.slot.read().is_none() {
            self.recover(&mut self.writer.lock())?;
        }
        match &*self.slot.read() {
            Some(opened) => read(opened),
            None => Err(Fault::Unavailable("the store is being opened".into())),
        }
    }

    /// Writes. Blocks, for a sync and for other writers.
    pub(crate) fn write<T>(
        &self,
        write: impl FnOnce(&Opened, &mut Writer) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut writer = self.writer.lock();
        self.recover(&mut writer)?;
        match &*self.slot.read() {
            Some(opened) => {
                opened.admit().inspect_err(|_| self.fail_if_poisoned(opened))?;
                write(opened, &mut writer)
            }
            None => Err(Fault::Unavailable("the store is being opened".into())),
        }
    }

    /// Makes a draft durable, then visible, then known to the mark.
    pub(crate) fn apply(&self, writer: &mut Writer, mut draft: Draft<'_>) -> Result<(), Fault> {
        self.fault(|faults| faults.before_commit())?;
        let state = draft.state;
        for segment in draft.segments() {
            let unrecorded = self.uploads.record(segment);
            draft.count(segment, |row| {
                row.written = row.written.saturating_add(unrecorded)
            })?;
        }
        draft.write(|| self.fail())?;
        self.fault(|faults| faults.after_commit())?;
        writer.state = state;
        let (generation, number) = (Generation(state.generation), state.number);
        // The batch is durable whatever becomes of the mark.
        if let Err(error) = writer.mark.write(Mark {
            sequence: state.sequence,
            generation,
            number,
        }) {
            tracing::warn!(%error, "the mark was not written: damage to the journal may go unnoticed");
        }
        Ok(())
    }

    /// The same for a draft that takes the groups' cursors along.
    pub(crate) fn apply_with_cursors(&self, writer: &mut Writer, mut draft: Draft<'_>) -> Result<(), Fault> {
        let cursors = self.groups.write(&mut draft);
        self.apply(writer, draft)?;
        self.groups.written(&cursors);
        Ok(())
    }

    fn fault(&self, ask: impl FnOnce(&Arc<dyn Faults>) -> std::io::Result<()>) -> Result<(), Fault> {
        Ok(self
            .faults
            .as_ref()
            .map_or(Ok(()), ask)
            .inspect_err(|_| self.fail())?)
    }

    /// Says that a write failed.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Says that a write failed if fjall itself found that one did.
    pub(crate) fn fail_if_poisoned(&self, opened: &Opened) {
        if opened.db.persist(PersistMode::Buffer).is_err() {
            self.fail();
        }
    }

    /// For calls that memory answers: after the end they are refused like all others.
    pub(crate) fn refuse_closed(&self) -> Result<(), Fault> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Fault::Unavailable("the store is closed".into())),
            false => Ok(()),
        }
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Opens the database anew if that is called for and it is time to try.
    pub(crate) fn recover(&self, writer: &mut Writer) -> Result<(), Fault> {
        if !self.has_failed() && self.slot.read().is_some() {
            return Ok(());
        }
        if writer.lock.is_none() {
            return Err(Fault::Unavailable("the store is closed".into()));
        }
        if let Some((_, why)) = writer.retry.as_ref().filter(|(at, _)| Instant::now() < *at) {
            return Err(Fault::Unavailable(why.clone()));
        }
        match self.reopen(writer) {
            Ok(()) => {
                tracing::warn!("the store was opened anew after a failed write");
                writer.retry = None;
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the store could not be opened anew for writing");
                writer.retry = Some((Instant::now() + self.options.reopen_after, error.to_string()));
                Err(Fault::Unavailable(error.to_string()))
            }
        }
    }

    /// Opens the database anew. When that succeeds but nothing can be written, it stays open for reading.
    fn reopen(&self, writer: &mut Writer) -> Result<(), OpenError> {
        let mut slot = self.slot.write();
        // Every handle must go before the lock file lets the database be opened.
        drop(slot.take());
        let mark = writer.mark.read();
        // Only the first try after a failure finds journals as they were left.
        let journals_are_as_left = writer.retry.is_none();
        let open = || start::open_checked(&self.paths, &self.options, mark, journals_are_as_left);
        let (opened, _) = open()?;
        let written = opened.flush();
        drop(opened);
        if let Err(fault) = written {
            *slot = Some(open()?.0);
            return Err(self.no_room(fault));
        }
        crate::journal::start_anew(&self.paths.store()).map_err(|error| self.unopened(error.into()))?;
        let (opened, state) = open()?;
        self.groups.load(&opened).map_err(|fault| self.unopened(fault))?;
        self.uploads.reset(opened.current_segment());
        writer.state = state;
        writer.housekeeping = Housekeeping::default();
        self.failed.store(false, Ordering::Release);
        *slot = Some(opened);
        Ok(())
    }

    /// What is in the journals has to be written to tables first: says how much room that may need.
    fn no_room(&self, fault: Fault) -> OpenError {
        let octets = crate::journal::octets(&self.paths.store()).unwrap_or_default();
        self.unopened(Fault::Unavailable(format!(
            "mail can be read and nothing can be written: {fault}. If the disk is full, it needs about {} MiB of room",
            octets.div_ceil(1024 * 1024)
        )))
    }

    fn unopened(&self, fault: Fault) -> OpenError {
        let source = std::io::Error::other(fault.to_string());
        OpenError::Io {
            path: self.paths.store(),
            source,
        }
    }

    /// Makes the mark durable, if it has moved since the last time.
    pub(crate) fn sync_mark(&self, writer: &mut Writer) {
        if writer.mark_synced == writer.state.sequence {
            return;
        }
        match writer.mark.sync() {
            Ok(()) => writer.mark_synced = writer.state.sequence,
            Err(error) => {
                tracing::warn!(%error, "the mark was not synced: damage to the journal may go unnoticed");
            }
        }
    }

    /// Starts a new segment when the current one is full.
    pub(crate) fn seal_if_full(&self, opened: &Opened) -> Result<(), Fault> {
        let current = self.uploads.current();
        let row: crate::rows::Segment = opened.get(&keys::segment(current))?.unwrap_or_default();
        let written = row.written.saturating_add(self.uploads.unrecorded(current));
        if opened.is_full(current, written, self.options.segment_octets_max) {
            opened.add_segment(current + 1).inspect_err(|_| self.fail())?;
            self.uploads.set_current(current + 1);
        }
        Ok(())
    }

    /// Writes a chunk that no change has made valid yet. Not synced: the change's own sync does that.
    pub(crate) fn put_chunk(&self, chunk: &Chunk<'_>, now: Instant) -> Result<(), Fault> {
        if self.has_failed() {
            self.recover(&mut self.writer.lock())?;
        }
        self.read(|opened| {
            opened.admit().inspect_err(|_| self.fail_if_poisoned(opened))?;
            let segment = self
                .uploads
                .place(chunk.message, chunk.index, chunk.octets.len() as u64, now)?;
            let key = keys::chunk(chunk.message, chunk.index);
            let written = opened.present_segment(segment)?.insert(key, chunk.frame());
            Ok(written.inspect_err(|_| self.fail())?)
        })
    }

    /// Ends well. Later calls are refused.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        let mut writer = self.writer.lock();
        if writer.lock.is_none() {
            return Ok(());
        }
        self.recover(&mut writer)?;
        // From here on no cursor moves.
        self.closed.store(true, Ordering::Release);
        let mut slot = self.slot.write();
        if let Some(opened) = &*slot {
            if self.groups.has_moved() {
                let draft = Draft::new(opened, writer.state);
                self.apply_with_cursors(&mut writer, draft)?;
            }
            opened
                .db
                .persist(PersistMode::SyncAll)
                .inspect_err(|_| self.fail())?;
            // With everything in tables the next start has no journal to read.
            opened.flush().inspect_err(|_| self.fail())?;
        }
        drop(slot.take());
        crate::journal::start_anew(&self.paths.store())?;
        self.sync_mark(&mut writer);
        start::write_clean(&self.paths)?;
        writer.lock = None;
        Ok(())
    }
}
