//! What a node stands on.

use std::sync::Arc;

use mailhorn_embedded::OpenError;
use mailhorn_ports::{Directory, Forever, GroupStore, Lease, MailStore, QuotaStore};

use crate::operations::offline;
use crate::settings::Settings;

/// The stores of a node.
#[derive(Debug, Clone)]
pub(super) struct Stores {
    pub(super) mail: Arc<dyn MailStore>,
    pub(super) groups: Arc<dyn GroupStore>,
    pub(super) quota: Arc<dyn QuotaStore>,
    pub(super) directory: Arc<dyn Directory>,
    /// Random octets that stay the same within an installation.
    pub(super) secret: [u8; 32],
    /// Whether the log that this life of the process writes is still its own.
    pub(super) lease: Arc<dyn Lease>,
}

impl Stores {
    /// The store in the data folder, which this process has for itself.
    pub(super) fn embedded(settings: &Settings) -> Result<Self, OpenError> {
        let store = offline::open_store(settings, tokio::runtime::Handle::current())?;
        let secret = store.installation_secret();
        let store = Arc::new(store);
        Ok(Self {
            mail: store.clone(),
            groups: store.clone(),
            quota: store.clone(),
            directory: store,
            secret,
            lease: Arc::new(Forever),
        })
    }
}
