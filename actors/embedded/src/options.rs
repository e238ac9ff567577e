//! What the store is told and what it is handed.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mailhorn_ports::Random;
use tokio::runtime::Handle;

const MIB: u64 = 1024 * 1024;

/// The smallest [`Options::journal_octets_max`]: journal files are made of this size.
pub(crate) const JOURNAL_OCTETS_MIN: u64 = 64 * MIB;

/// Limits of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Octets after which a segment of message octets is sealed. Space comes back a segment at a time. Default 128 MiB.
    pub segment_octets_max: u64,
    /// Octets of journal after which tables are written. What an opening after a crash reads twice. Default and least
    /// useful value: 128 MiB and 64 MiB.
    pub journal_octets_max: u64,
    /// Octets of blocks kept in memory. Default 32 MiB.
    pub cache_octets: u64,
    /// Threads that write tables and merge them, at least 1. Default 2.
    pub workers: usize,
    /// Reads that may block at the same time. Default 32.
    pub reads_max: usize,
    /// Accounts, and domains, kept in memory. Default 10,000.
    pub accounts_cached_max: usize,
    /// How long to wait after a failed try to open the store again, before the next. Default 1 s.
    pub reopen_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_octets_max: 128 * MIB,
            journal_octets_max: 128 * MIB,
            cache_octets: 32 * MIB,
            workers: 2,
            reads_max: 32,
            accounts_cached_max: 10_000,
            reopen_after: Duration::from_secs(1),
        }
    }
}

/// What the store is handed: threads and randomness.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The runtime whose blocking threads do the reads.
    pub runtime: Handle,
    /// For the installation's secret.
    pub random: Arc<dyn Random>,
    /// Faults that a test wants; `None` in production.
    pub faults: Option<Arc<dyn Faults>>,
}

/// Makes writes fail where a test wants them to, as a full or broken disk would.
pub trait Faults: Debug + Send + Sync {
    /// Asked before a batch is written; an error means that nothing of it was.
    ///
    /// # Errors
    ///
    /// The fault.
    fn before_commit(&self) -> io::Result<()> {
        Ok(())
    }

    /// Asked after a batch was synced; an error means that the store does not learn of it.
    ///
    /// # Errors
    ///
    /// The fault.
    fn after_commit(&self) -> io::Result<()> {
        Ok(())
    }
}
