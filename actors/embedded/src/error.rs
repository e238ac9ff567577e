//! Faults, sorted by what the caller can do.

use std::io;
use std::path::PathBuf;

use mailhorn_events::Generation;
use mailhorn_ports::{ReadError, StoreError};

/// Why something inside the store did not end well.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Fault {
    /// It may work later.
    #[error("{0}")]
    Unavailable(String),
    /// It will not work at the next try either: what was read is not what was written.
    #[error("{0}")]
    Damaged(String),
}

impl From<fjall::Error> for Fault {
    fn from(error: fjall::Error) -> Self {
        use fjall::{Error, LsmError};
        let io = match &error {
            Error::Io(io) | Error::Storage(LsmError::Io(io)) => Some(io.kind()),
            _ => None,
        };
        match (&error, io) {
            // A table that ends early or decodes to nonsense reads as one of these.
            (_, Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)) => {
                Self::Damaged(error.to_string())
            }
            (_, Some(_)) | (Error::Poisoned | Error::KeyspaceDeleted | Error::Locked, _) => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(why) => Self::Unavailable(why),
            Fault::Damaged(why) => Self::Damaged(why),
        }
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(why) => Self::Unavailable(why),
            Fault::Damaged(why) => {
                tracing::error!(%why, "damaged octets or rows");
                Self::Damaged
            }
        }
    }
}

/// Why the store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", dir.display())]
    InUse {
        /// The data folder.
        dir: PathBuf,
    },
    /// The operating system refused something.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was opened, made or written.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Changes that were acknowledged are not there. Mail was lost, or can be recovered by [`salvage()`](crate::salvage()).
    #[error(
        "{changes} acknowledged changes are missing: the log {generation} ends at record {have} and was durable up to \
         {synced}. The journal as it was found is kept. Run `mailhorn salvage --data-dir {}` to recover what it holds",
        dir.display()
    )]
    LogBehind {
        /// The data folder.
        dir: PathBuf,
        /// Whose log.
        generation: Generation,
        /// The last record that is there.
        have: u64,
        /// The last record that had been acknowledged.
        synced: u64,
        /// Synced batches that are missing, changes of the directory among them.
        changes: u64,
    },
    /// The store can't be read as it is.
    #[error(
        "the store is damaged: {why}. The journal as it was found is kept. Run `mailhorn salvage --data-dir {}` to recover \
         what it holds",
        dir.display()
    )]
    Damaged {
        /// The data folder.
        dir: PathBuf,
        /// In what way.
        why: String,
    },
    /// A later release wrote it.
    #[error("{} was written by a later release (format {format})", dir.display())]
    TooNew {
        /// The data folder.
        dir: PathBuf,
        /// The format that it has.
        format: u8,
    },
}

/// Why nothing was salvaged. The store is as it was, and salvage can be run again.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// The store was not opened even without what was damaged.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A write or read failed half-way.
    #[error("salvage did not end: {0}. It can be run again")]
    Unfinished(String),
}

impl From<Fault> for SalvageError {
    fn from(fault: Fault) -> Self {
        Self::Unfinished(fault.to_string())
    }
}
