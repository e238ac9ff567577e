//! Opening: whether the last stop was clean, and whether everything acknowledged is there.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mailhorn_ports::Random;

use crate::error::{Fault, OpenError};
use crate::groups::Groups;
use crate::journal;
use crate::keys;
use crate::mark::{Mark, MarkFile};
use crate::opened::Opened;
use crate::options::Options;
use crate::rows::{FORMAT, FORMAT_WITHOUT_USAGE, Secret, Segment, State, encode};

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) dir: PathBuf,
}

impl Paths {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
        }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub(crate) fn kept(&self) -> PathBuf {
        self.dir.join("journal-kept")
    }

    fn clean(&self) -> PathBuf {
        self.dir.join("clean")
    }

    fn mark(&self) -> PathBuf {
        self.dir.join("last-synced")
    }

    fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io {
            path: self.dir.clone(),
            source,
        }
    }

    fn damaged(&self, why: impl ToString) -> OpenError {
        OpenError::Damaged {
            dir: self.dir.clone(),
            why: why.to_string(),
        }
    }
}

/// A store that was opened.
pub(crate) struct Started {
    pub(crate) paths: Paths,
    pub(crate) opened: Opened,
    pub(crate) state: State,
    pub(crate) mark: MarkFile,
    pub(crate) lock: File,
    pub(crate) secret: [u8; 32],
    pub(crate) groups: Groups,
}

pub(crate) fn start(dir: &Path, options: &Options, random: &dyn Random) -> Result<Started, OpenError> {
    let paths = Paths::new(dir);
    let lock = lock(&paths)?;
    let mark = MarkFile::open(&paths.mark()).map_err(|error| paths.io(error))?;
    let (opened, state) = if take_clean(&paths).map_err(|error| paths.io(error))? {
        open(&paths, options)?
    } else {
        open_checked(&paths, options, mark.read(), true)?
    };
    journal::remove(&paths.kept()).map_err(|error| paths.io(error))?;
    // What was made at a first start has to be there by name before anything in it is promised.
    for dir in [&paths.dir, folder_of(&paths.dir)] {
        journal::sync_dir(dir).map_err(|error| paths.io(error))?;
    }
    let secret = secret(&opened, random).map_err(|fault| paths.damaged(fault))?;
    let groups = Groups::default();
    groups.load(&opened).map_err(|fault| paths.damaged(fault))?;
    Ok(Started {
        paths,
        opened,
        state,
        mark,
        lock,
        secret,
        groups,
    })
}

/// Where a folder's name stands. A name alone is one in the working folder.
fn folder_of(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        // The root.
        None => dir,
    }
}

/// Makes the folder, and sees to it that no other process uses it.
pub(crate) fn lock(paths: &Paths) -> Result<File, OpenError> {
    fs::create_dir_all(&paths.dir).map_err(|error| paths.io(error))?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(paths.lock())
        .map_err(|error| paths.io(error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            dir: paths.dir.clone(),
        }),
        Err(TryLockError::Error(error)) => Err(paths.io(error)),
    }
}

pub(crate) fn mark_file(paths: &Paths) -> io::Result<MarkFile> {
    MarkFile::open(&paths.mark())
}

/// Says that everything was durable at the end.
pub(crate) fn write_clean(paths: &Paths) -> io::Result<()> {
    File::create(paths.clean())?.sync_all()?;
    journal::sync_dir(&paths.dir)
}

/// Whether the last stop was clean. It is not any more, from now on.
fn take_clean(paths: &Paths) -> io::Result<bool> {
    match fs::remove_file(paths.clean()) {
        Ok(()) => journal::sync_dir(&paths.dir).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens after a stop that was not clean: keeps the journals first, if asked to, takes off what a crash left unfinished, and
/// compares with the mark afterwards.
pub(crate) fn open_checked(
    paths: &Paths,
    options: &Options,
    mark: Option<Mark>,
    keep: bool,
) -> Result<(Opened, State), OpenError> {
    let kept = paths.kept();
    if keep && let Err(error) = journal::keep(&paths.store(), &kept) {
        // A full disk must not keep the node from starting: removing mail is how it gets room again.
        tracing::warn!(%error, "the journals could not be copied before opening them");
    }
    // Never without a copy: whether it was only a torn end is seen when the mark is compared.
    if kept.exists() {
        let torn = journal::cut_torn_end(&paths.store()).map_err(|error| paths.io(error))?;
        if torn {
            tracing::info!("the journal's end was not whole and was taken off");
        }
    }
    let checked = open(paths, options).and_then(|(opened, state)| {
        check(paths, &opened, state, mark)?;
        Ok((opened, state))
    });
    match &checked {
        Ok(_) => journal::remove(&kept).map_err(|error| paths.io(error))?,
        Err(OpenError::InUse { .. }) => {}
        Err(_) => journal::sync_kept(&kept).map_err(|error| paths.io(error))?,
    }
    checked
}

/// Opens and reads where the store stands.
pub(crate) fn open(paths: &Paths, options: &Options) -> Result<(Opened, State), OpenError> {
    // Over some damage fjall panics. It holds nothing then that outlives the panic.
    let opened = catch_unwind(AssertUnwindSafe(|| Opened::open(&paths.store(), options)))
        .map_err(|panic| paths.damaged(reason(&*panic)))?;
    let opened = opened.map_err(|error| match error {
        fjall::Error::Locked => OpenError::InUse {
            dir: paths.dir.clone(),
        },
        fjall::Error::Io(error) => paths.io(error),
        error => paths.damaged(error),
    })?;
    let state = read_state(paths, &opened)?;
    Ok((opened, state))
}

fn reason(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|reason| (*reason).to_owned());
    literal
        .or_else(|| panic.downcast_ref().cloned())
        .unwrap_or_else(|| "opening it panicked".into())
}

fn read_state(paths: &Paths, opened: &Opened) -> Result<State, OpenError> {
    let damaged = |fault: Fault| paths.damaged(fault);
    let format = opened
        .rows
        .get(keys::format())
        .map_err(|error| damaged(error.into()))?;
    match format.as_deref() {
        Some([FORMAT | FORMAT_WITHOUT_USAGE]) => {}
        Some([format, ..]) => {
            return Err(OpenError::TooNew {
                dir: paths.dir.clone(),
                format: *format,
            });
        }
        Some([]) => return Err(paths.damaged("the format is not known")),
        None => opened
            .rows
            .insert(keys::format(), [FORMAT])
            .map_err(|error| damaged(error.into()))?,
    }
    opened.state().map_err(damaged)
}

fn check(paths: &Paths, opened: &Opened, state: State, mark: Option<Mark>) -> Result<(), OpenError> {
    match mark {
        Some(mark) if state.sequence < mark.sequence => {
            return Err(OpenError::LogBehind {
                dir: paths.dir.clone(),
                generation: mark.generation,
                have: opened
                    .log_end(mark.generation)
                    .map_err(|fault| paths.damaged(fault))?,
                synced: mark.number,
                changes: mark.sequence - state.sequence,
            });
        }
        Some(_) => {}
        None if state.sequence > 0 => {
            tracing::warn!("how far the journal was durable is not known: losses would go unnoticed");
        }
        None => {}
    }
    match segments_behind(opened)
        .map_err(|fault| paths.damaged(fault))?
        .first()
    {
        Some(id) => Err(paths.damaged(format!("message octets written last to segment {id} are missing"))),
        None => Ok(()),
    }
}

/// Segments that lack octets which rows rely on: the rows were in tables already, the octets in the journal only.
pub(crate) fn segments_behind(opened: &Opened) -> Result<Vec<u64>, Fault> {
    let mut behind = Vec::new();
    for (key, row) in opened.page(&keys::key(keys::Table::Segments, &[]), None, usize::MAX)? {
        let row: Segment = crate::rows::decode(&row)?;
        let id = key
            .get(1..)
            .and_then(|id| id.try_into().ok())
            .map(u64::from_be_bytes);
        if let Some(id) = id.filter(|_| row.live > 0)
            && opened.segment_position(id)? < row.sequence
        {
            behind.push(id);
        }
    }
    Ok(behind)
}

/// The installation's secret, made at the first opening.
fn secret(opened: &Opened, random: &dyn Random) -> Result<[u8; 32], Fault> {
    if let Some(Secret(secret)) = opened.get(&keys::secret())? {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    random.fill(&mut secret);
    let mut batch = opened.db.batch().durability(Some(fjall::PersistMode::SyncData));
    batch.insert(&opened.rows, keys::secret(), encode(&Secret(secret)));
    batch.commit()?;
    Ok(secret)
}
