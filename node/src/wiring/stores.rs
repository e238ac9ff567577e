//! What a node stands on.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use mailhorn_cassandra::{CassandraStore, Login, Options, Surroundings, Tls};
use mailhorn_core::membership::LogLease;
use mailhorn_embedded::OpenError;
use mailhorn_ports::{BanStore, Directory, Forever, GroupStore, Lease, MailStore, QuotaStore};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::clock::{BootClock, OsRandom, SystemClock};
use crate::operations::offline;
use crate::settings::Settings;

/// The stores of a node.
#[derive(Debug, Clone)]
pub(super) struct Stores {
    pub(super) mail: Arc<dyn MailStore>,
    pub(super) groups: Arc<dyn GroupStore>,
    pub(super) quota: Arc<dyn QuotaStore>,
    pub(super) bans: Arc<dyn BanStore>,
    pub(super) directory: Arc<dyn Directory>,
    /// Random octets that stay the same within an installation.
    pub(super) secret: [u8; 32],
    /// Whether the log that this life of the process writes is still its own.
    pub(super) lease: Arc<dyn Lease>,
    /// What a node of a cluster has besides.
    pub(super) shared: Option<Shared>,
}

/// A store that several nodes share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) store: CassandraStore,
    pub(super) lease: Arc<LogLease>,
    pub(super) connections: Arc<Connections>,
}

/// The thread on which connections to servers live: whatever keeps another busy holds up no heartbeat, and no arbiter
/// decodes what another asked for.
#[derive(Debug)]
pub(super) struct Connections {
    handle: Handle,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

impl Connections {
    fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("servers")
            .enable_all()
            .build()
            .context("the thread for connections can't be started")?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Where what belongs to them runs.
    pub(super) fn runtime(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Connections {
    /// Without waiting: it may be dropped where nobody may.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Stores {
    /// The store in the data folder, which this process has for itself.
    pub(super) fn embedded(settings: &Settings) -> Result<Self, OpenError> {
        let store = offline::open_store(settings, Handle::current())?;
        let secret = store.installation_secret();
        let store = Arc::new(store);
        Ok(Self {
            mail: store.clone(),
            groups: store.clone(),
            quota: store.clone(),
            bans: store.clone(),
            directory: store,
            secret,
            lease: Arc::new(Forever),
            shared: None,
        })
    }

    /// The keyspace in Cassandra, which all nodes of a cluster have together.
    pub(super) async fn cassandra(settings: &Settings) -> anyhow::Result<Self> {
        let lease = Arc::new(LogLease::new(Arc::new(BootClock)));
        let connections = Arc::new(Connections::start()?);
        let store = open_cassandra(settings, Arc::clone(&lease) as _, connections.runtime()).await?;
        let secret = store.installation_secret(&OsRandom).await?;
        let shared = Arc::new(store.clone());
        Ok(Self {
            mail: shared.clone(),
            groups: shared.clone(),
            quota: shared.clone(),
            bans: shared.clone(),
            directory: shared,
            secret,
            lease: Arc::clone(&lease) as _,
            shared: Some(Shared {
                store,
                lease,
                connections,
            }),
        })
    }
}

/// Opens the keyspace that the settings name, and makes it where it is missing.
///
/// # Errors
///
/// Names the setting to mend.
pub(crate) async fn open_cassandra(
    settings: &Settings,
    lease: Arc<dyn Lease>,
    runtime: Handle,
) -> anyhow::Result<CassandraStore> {
    let surroundings = Surroundings {
        runtime,
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        lease,
    };
    Ok(CassandraStore::open(cassandra_options(settings)?, surroundings).await?)
}

fn cassandra_options(settings: &Settings) -> anyhow::Result<Options> {
    let cassandra = &settings.cassandra;
    Ok(Options {
        contact_points: cassandra
            .contact_points
            .iter()
            .map(|point| point.as_str().to_owned())
            .collect(),
        datacenter: cassandra.datacenter.as_str().to_owned(),
        keyspace: cassandra.keyspace.as_str().to_owned(),
        replication: cassandra.replication.replication(),
        login: login(settings)?,
        tls: tls(settings)?,
        compression: cassandra.compression,
        request_timeout: cassandra.request_timeout,
        requests_max: usize::try_from(cassandra.max_requests).unwrap_or(usize::MAX),
        retention: settings.events.retention,
        duplicate_window: settings.smtp.duplicate_window,
        usage_refresh: settings.quota.refresh,
    })
}

fn login(settings: &Settings) -> anyhow::Result<Option<Login>> {
    let (Some(user), Some(file)) = (&settings.cassandra.user, &settings.cassandra.password_file) else {
        return Ok(None);
    };
    let password = fs::read_to_string(file)
        .with_context(|| format!("cassandra.password_file: {} can't be read", file.display()))?;
    Ok(Some(Login {
        user: user.clone(),
        password: password.trim_end_matches(['\r', '\n']).to_owned(),
    }))
}

fn tls(settings: &Settings) -> anyhow::Result<Option<Tls>> {
    let (Some(file), Some(name)) = (&settings.cassandra.ca_file, &settings.cassandra.server_name) else {
        return Ok(None);
    };
    let unreadable = |why: String| anyhow!("cassandra.ca_file: {}: {why}", file.display());
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(format!("can't be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(unreadable("there is no certificate in it".to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server_name = ServerName::try_from(name.as_str().to_owned())
        .with_context(|| format!("cassandra.server_name: {} is none", name.as_str()))?;
    Ok(Some(Tls {
        config: Arc::new(config),
        server_name,
    }))
}
