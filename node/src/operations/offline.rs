//! The operations on the data folder itself, while no node runs on it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mailhorn_core::auth::{Argon2Cost, NewPasswordError, passwords};
use mailhorn_core::recipients::Recipients;
use mailhorn_embedded::{EmbeddedStore, OpenError, Surroundings};
use mailhorn_events::{Generation, Stamp};
use mailhorn_ports::{
    Change, Credentials, Directory, Group, GroupStore, Ids, MailStore, QuotaStore, StoreError, Writer,
};
use mailhorn_sasl::Secret;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::quota::Quota;
use super::{Hashing, Operations};
use crate::clock::{OsRandom, SystemClock};
use crate::private_files;
use crate::settings::Settings;
use crate::settings::value::NodeName;

/// How often a group with an unknown outcome is repeated before the command gives up.
const REPEATS_MAX: u32 = 5;
/// How long it waits before that.
const REPEAT_PAUSE: Duration = Duration::from_millis(200);

/// A store, opened for what a command does: the one of a data folder, which this process has for itself meanwhile, or one
/// that nodes of a cluster share.
#[derive(Debug)]
pub struct Offline {
    store: Arc<dyn MailStore>,
    /// What can be done with it.
    pub operations: Operations,
}

/// Opens the store of the data folder, which is made if it isn't there. Blocks.
///
/// # Errors
///
/// [`OpenError`].
pub fn open_store(settings: &Settings, runtime: Handle) -> Result<EmbeddedStore, OpenError> {
    let data_dir = &settings.node.data_dir;
    // Before the store makes it for everybody to read.
    private_files::make_folder(data_dir).map_err(|source| OpenError::Io {
        path: data_dir.clone(),
        source,
    })?;
    let surroundings = Surroundings {
        runtime,
        random: Arc::new(OsRandom),
        faults: None,
    };
    EmbeddedStore::open(&settings.store_dir(), settings.embedded_options(), surroundings)
}

impl Offline {
    /// The operations on an open store.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn new<S>(settings: &Settings, store: S) -> Result<Self, StoreError>
    where
        S: MailStore + Directory + GroupStore + QuotaStore + 'static,
    {
        let ids = Ids::new(
            Arc::new(SystemClock),
            Arc::new(OsRandom),
            store.highest_stamp().await?,
        );
        let shared = Arc::new(store);
        let auth = settings.auth_options();
        let hashing = InPlace {
            ids: ids.clone(),
            cost: auth.argon2,
            scram_iterations: auth.scram_iterations,
        };
        let operations = Operations {
            recipients: Recipients::new(shared.clone(), settings.recipient_options()),
            directory: shared.clone(),
            store: shared.clone(),
            groups: shared.clone(),
            quota: Quota::of_settings(settings, shared.clone()),
            writer: Arc::new(SoleWriter::new(shared.clone(), ids.clone(), &settings.node.name)),
            hashing: Arc::new(hashing),
            ids,
        };
        Ok(Self {
            store: shared,
            operations,
        })
    }

    /// Ends well: the next start finds a clean stop.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn close(self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

/// Hashes where it is called: a command has nothing else to do.
#[derive(Debug)]
pub(super) struct InPlace {
    pub(super) ids: Ids,
    pub(super) cost: Argon2Cost,
    pub(super) scram_iterations: u32,
}

#[async_trait]
impl Hashing for InPlace {
    async fn make(&self, password: &Secret) -> Result<Credentials, NewPasswordError> {
        Ok(passwords::make_credentials(
            &self.ids,
            password,
            self.cost,
            self.scram_iterations,
        )?)
    }

    async fn import(&self, field: &Secret) -> Result<Credentials, NewPasswordError> {
        Ok(passwords::import_credentials(
            &self.ids,
            field,
            self.cost,
            self.scram_iterations,
        )?)
    }

    fn accounts_changed(&self) {}
}

/// Writes changes one by one into a log of its own: a command is one life of a process, as a node is. The log is begun with
/// the first change, so that a command that only reads leaves none.
#[derive(Debug)]
pub(super) struct SoleWriter {
    store: Arc<dyn MailStore>,
    ids: Ids,
    generation: Generation,
    /// Whose log it is: the node that runs on the folder later shows it to its groups.
    node: NodeName,
    state: Mutex<WriterState>,
}

#[derive(Debug, Clone, Copy)]
enum WriterState {
    /// Nothing was written.
    NotBegun,
    /// The number of the next record.
    Next(u64),
    /// A group's outcome is unknown, so nothing may be numbered behind it.
    Unknown,
}

impl SoleWriter {
    pub(super) fn new(store: Arc<dyn MailStore>, ids: Ids, node: &NodeName) -> Self {
        let generation = ids.generation();
        Self {
            store,
            ids,
            generation,
            node: node.clone(),
            state: Mutex::new(WriterState::NotBegun),
        }
    }

    /// The number of the next record.
    async fn next(&self, state: &mut WriterState) -> Result<u64, StoreError> {
        match *state {
            WriterState::NotBegun => {
                self.store.begin_log(self.generation, self.node.as_str()).await?;
                *state = WriterState::Next(1);
                Ok(1)
            }
            WriterState::Next(number) => Ok(number),
            WriterState::Unknown => Err(StoreError::Unavailable(
                "the outcome of an earlier change is unknown".to_owned(),
            )),
        }
    }
}

#[async_trait]
impl Writer for SoleWriter {
    async fn write(&self, change: Change) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let first = self.next(&mut state).await?;
        let now = self.ids.now();
        let group = Group {
            generation: self.generation,
            first,
            now,
            notes_since: Stamp::default(),
            changes: vec![change],
        };
        let mut repeats = 0;
        loop {
            match self.store.commit(&group).await {
                Ok(committed) => {
                    let records = u64::try_from(committed.records.len()).unwrap_or(u64::MAX);
                    *state = WriterState::Next(first.saturating_add(records));
                    return Ok(());
                }
                Err(error) if repeats == REPEATS_MAX => {
                    *state = WriterState::Unknown;
                    return Err(StoreError::Unavailable(error.to_string()));
                }
                Err(_) => {
                    repeats += 1;
                    sleep(REPEAT_PAUSE).await;
                }
            }
        }
    }
}
