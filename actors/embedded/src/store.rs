//! The store as the actors see it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mailhorn_events::{AccountId, Generation, MailboxId, MessageId, Stamp};
use mailhorn_ports::{
    Account, Alias, CommitError, Committed, Credentials, Directory, DirectoryError, Figure, Group,
    LocalDomain, LogEntry, MailStore, Maintained, Name, NewAccount, Part, ReadError, Retention, StoreError,
    Target, ViewRow,
};
use tokio::time::Instant;

use crate::core::Core;
use crate::directory::{self, Known};
use crate::error::{Fault, OpenError};
use crate::frame::Chunk;
use crate::opened::Opened;
use crate::options::{Options, Surroundings};
use crate::pool::Pool;
use crate::{commit, logs, maintain, quota, read, start};

/// Most removed accounts that are listed at once. More wait until some were forgotten.
const REMOVED_LISTED_MAX: usize = 10_000;

/// Octets, view, log, directory, groups and quotas in one folder. Clones are handles on the same store.
///
/// [`MailStore::commit`], [`MailStore::maintain`] and [`MailStore::close`] block their thread for a sync: they belong to a
/// thread of their own. Everything else waits on the pool.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    pub(crate) core: Arc<Core>,
    known: Arc<Known>,
    pool: Pool,
}

impl EmbeddedStore {
    /// Opens the store in `dir`, making it if it is not there. Blocks; after a crash for about a second for each 128 MiB
    /// of [`Options::journal_octets_max`], and once, for a store of a release without quotas, to count what is there.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. The store never repairs itself silently: see [`salvage()`](crate::salvage()).
    pub fn open(dir: &Path, options: Options, surroundings: Surroundings) -> Result<Self, OpenError> {
        let started = start::start(dir, &options, &*surroundings.random)?;
        let known = Arc::new(Known::new(options.accounts_cached_max));
        let pool = Pool::new(surroundings.runtime, options.reads_max);
        let core = Core::new(started, options, surroundings.faults);
        if let Err(fault) = quota::upgrade(&core) {
            // Mail matters more than quotas. The next start tries again.
            tracing::error!(why = %fault, "usage could not be counted: quotas take it for less than it is");
        }
        Ok(Self {
            core: Arc::new(core),
            known,
            pool,
        })
    }

    /// Random octets made at the first opening, for what must differ between installations and stay within one: keys of
    /// made-up credentials, among others.
    #[must_use]
    pub fn installation_secret(&self) -> [u8; 32] {
        self.core.secret
    }

    /// Runs something that may write, on the pool.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let core = Arc::clone(&self.core);
        Ok(self.pool.run(move || work(&core)).await?)
    }

    pub(crate) async fn read_blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Opened) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let core = Arc::clone(&self.core);
        self.pool.run(move || core.read(read)).await
    }

    async fn direct<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Core, &Known) -> Result<T, DirectoryError> + Send + 'static,
    ) -> Result<T, DirectoryError> {
        let (core, known) = (Arc::clone(&self.core), Arc::clone(&self.known));
        let done = self.pool.run(move || Ok(change(&core, &known))).await;
        done.map_err(StoreError::from)?
    }
}

#[async_trait]
impl MailStore for EmbeddedStore {
    async fn put_chunk(&self, message: MessageId, index: u32, octets: Bytes) -> Result<(), StoreError> {
        let core = Arc::clone(&self.core);
        let now = Instant::now();
        let put = move || {
            core.put_chunk(
                &Chunk {
                    message,
                    index,
                    octets: &octets,
                },
                now,
            )
        };
        Ok(self.pool.run(put).await?)
    }

    async fn commit(&self, group: &Group) -> Result<Committed, CommitError> {
        commit::commit(&self.core, group).map_err(|fault| CommitError::Unknown(fault.to_string()))
    }

    async fn begin_log(&self, generation: Generation, node: &str) -> Result<(), StoreError> {
        let (core, node) = (Arc::clone(&self.core), node.to_owned());
        let begun = self.pool.run(move || logs::begin(&core, generation, node)).await;
        Ok(begun?)
    }

    async fn logs(&self) -> Result<Vec<(Generation, String)>, StoreError> {
        Ok(self.read_blocking(logs::all).await?)
    }

    async fn log_end(&self, generation: Generation) -> Result<u64, StoreError> {
        Ok(self
            .read_blocking(move |opened| opened.log_end(generation))
            .await?)
    }

    async fn records(
        &self,
        generation: Generation,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        Ok(self
            .read_blocking(move |opened| read::records(opened, generation, from, limit))
            .await?)
    }

    async fn highest_stamp(&self) -> Result<Stamp, StoreError> {
        Ok(self
            .read_blocking(|opened| opened.state().map(|state| Stamp(state.stamp)))
            .await?)
    }

    async fn list(
        &self,
        mailbox: MailboxId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<ViewRow>, StoreError> {
        Ok(self
            .read_blocking(move |opened| read::list(opened, mailbox, after, limit))
            .await?)
    }

    async fn figure(&self, mailbox: MailboxId) -> Result<Figure, StoreError> {
        Ok(self
            .read_blocking(move |opened| read::figure(opened, mailbox))
            .await?)
    }

    async fn read(&self, mailbox: MailboxId, message: MessageId, part: u32) -> Result<Part, ReadError> {
        self.read_blocking(move |opened| read::part(opened, mailbox, message, part))
            .await?
    }

    async fn read_ahead(&self, mailbox: MailboxId, messages: &[MessageId], octets_max: usize) -> Vec<Part> {
        let messages = messages.to_vec();
        let read = move |opened: &Opened| Ok(read::ahead(opened, mailbox, &messages, octets_max));
        // What can't be read now is told to whoever asks for it by itself.
        self.read_blocking(read).await.unwrap_or_default()
    }

    async fn maintain(&self, retention: Retention) -> Result<Maintained, StoreError> {
        Ok(maintain::maintain(&self.core, retention)?)
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(self.core.close()?)
    }
}

#[async_trait]
impl Directory for EmbeddedStore {
    async fn name(&self, address: &str) -> Result<Option<Name>, StoreError> {
        if let Some(name) = self.known.name(address) {
            return Ok(Some(name));
        }
        let (core, known, address) = (
            Arc::clone(&self.core),
            Arc::clone(&self.known),
            address.to_owned(),
        );
        Ok(self
            .pool
            .run(move || directory::name(&core, &known, &address))
            .await?)
    }

    async fn domain(&self, domain: &str) -> Result<Option<Arc<LocalDomain>>, StoreError> {
        if let Some(domain) = self.known.domain(domain) {
            return Ok(Some(domain));
        }
        let (core, known, domain) = (Arc::clone(&self.core), Arc::clone(&self.known), domain.to_owned());
        Ok(self
            .pool
            .run(move || directory::domain(&core, &known, &domain))
            .await?)
    }

    async fn domains(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<LocalDomain>>, StoreError> {
        let after = after.map(str::to_owned);
        Ok(self
            .read_blocking(move |opened| directory::domains(opened, after.as_deref(), limit))
            .await?)
    }

    async fn aliases(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<Alias>>, StoreError> {
        let after = after.map(str::to_owned);
        let read = move |opened: &Opened| directory::aliases(opened, account, after.as_deref(), limit);
        Ok(self.read_blocking(read).await?)
    }

    async fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<Account>>, StoreError> {
        let after = after.map(str::to_owned);
        let read = move |opened: &Opened| directory::accounts(opened, after.as_deref(), limit);
        Ok(self.read_blocking(read).await?)
    }

    async fn accounts_without_scram(&self) -> Result<u64, StoreError> {
        Ok(self
            .read_blocking(|opened| opened.state().map(|state| state.without_scram))
            .await?)
    }

    async fn add_domain(&self, domain: &str) -> Result<(), DirectoryError> {
        let domain = domain.to_owned();
        self.direct(move |core, known| directory::add_domain(core, known, &domain))
            .await
    }

    async fn add_alias_domain(&self, domain: &str, of: &str) -> Result<(), DirectoryError> {
        let (domain, of) = (domain.to_owned(), of.to_owned());
        self.direct(move |core, known| directory::add_alias_domain(core, known, &domain, &of))
            .await
    }

    async fn set_catch_all(&self, domain: &str, target: Option<Target>) -> Result<(), DirectoryError> {
        let domain = domain.to_owned();
        self.direct(move |core, known| directory::set_catch_all(core, known, &domain, target.as_ref()))
            .await
    }

    async fn remove_domain(&self, domain: &str) -> Result<(), DirectoryError> {
        let domain = domain.to_owned();
        self.direct(move |core, known| directory::remove_domain(core, known, &domain))
            .await
    }

    async fn add_account(&self, account: NewAccount) -> Result<Arc<Account>, DirectoryError> {
        self.direct(move |core, known| directory::add_account(core, known, account))
            .await
    }

    async fn add_alias(&self, alias: Alias) -> Result<(), DirectoryError> {
        self.direct(move |core, known| directory::add_alias(core, known, &alias))
            .await
    }

    async fn remove_alias(&self, address: &str) -> Result<Arc<Alias>, DirectoryError> {
        let address = address.to_owned();
        self.direct(move |core, known| directory::remove_alias(core, known, &address))
            .await
    }

    async fn set_credentials(
        &self,
        address: &str,
        credentials: Credentials,
        expected: Option<Stamp>,
    ) -> Result<(), DirectoryError> {
        let address = address.to_owned();
        let set = move |core: &Core, known: &Known| {
            directory::set_credentials(core, known, &address, credentials, expected)
        };
        self.direct(set).await
    }

    async fn remove_account(&self, address: &str) -> Result<Arc<Account>, DirectoryError> {
        let address = address.to_owned();
        self.direct(move |core, known| directory::remove_account(core, known, &address))
            .await
    }

    async fn removed_accounts(&self) -> Result<Vec<Arc<Account>>, StoreError> {
        let read = |opened: &Opened| directory::removed_accounts(opened, REMOVED_LISTED_MAX);
        Ok(self.read_blocking(read).await?)
    }

    async fn forget_removed(&self, id: AccountId) -> Result<(), StoreError> {
        let (core, known) = (Arc::clone(&self.core), Arc::clone(&self.known));
        let done = self
            .pool
            .run(move || Ok(directory::forget_removed(&core, &known, id)))
            .await;
        done.map_err(StoreError::from)?
    }
}
