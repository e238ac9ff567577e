//! How settings become a node: the store, the log, the actors, the sockets; and how they end in the other order.

mod bans;
mod cluster;
mod events;
mod kinds_view;
mod life;
mod lives;
mod redelivery;
mod services;
mod stores;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use actix::prelude::*;
use anyhow::Context as _;
use mailhorn_core::auth::Authenticator;
use mailhorn_core::bans::Bans;
use mailhorn_core::drain::{self, DrainWatch};
use mailhorn_core::events::Dispatch;
use mailhorn_core::log::{self, Log, LogDeps, LogHandle, LogOptions};
use mailhorn_core::mailbox::{MailboxOptions, Mailboxes, Reading};
use mailhorn_core::metrics::Metrics;
use mailhorn_core::observe::Kinds;
use mailhorn_core::quota::Quotas;
use mailhorn_core::recipients::Recipients;
use mailhorn_core::supervisor::{Fatal, Supervise, Supervisor};
use mailhorn_events::Generation;
use mailhorn_ports::{Clock, Directory, GroupStore, Ids, Lease, MailStore, QuotaStore, Random, Writer};
use tokio::sync::mpsc;

use crate::admin::{self, AdminParts, Readiness, State};
use crate::clock::{OsRandom, SystemClock};
use crate::listeners::{Addresses, Listeners};
use crate::operations::Operations;
use crate::operations::cluster::ClusterOperations;
use crate::operations::listening::EventOperations;
use crate::operations::quota::Quota;
use crate::settings::Settings;
use crate::settings::value::Backend;
use crate::tls::Tls;

use cluster::{Cluster, Joined};
use events::{Listening, Shipped};
use kinds_view::KindsView;
use life::Life;
pub use lives::live;
use services::MailListeners;
use stores::Stores;
pub(crate) use stores::open_cassandra;

/// How a life of a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it was asked to, with everything durable.
    Stopped,
    /// It lost the lease on this log, and promised nothing more. The node may go on at once, with a log of its own.
    LeaseLost(Generation),
}

/// A node that runs.
#[derive(Debug)]
pub struct NodeHandle {
    addresses: Addresses,
    ended: tokio::task::JoinHandle<anyhow::Result<Ended>>,
}

impl NodeHandle {
    /// Where it can be reached.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns when it has ended, and how.
    ///
    /// # Errors
    ///
    /// When it did not end well: a part could not be kept alive, or not everything was made durable.
    pub async fn finished(self) -> anyhow::Result<Ended> {
        self.ended.await.context("the node's own task ended")?
    }
}

/// Starts a node with the certificates of the process. Returns when everything accepts; the node ends well after `shutdown`
/// resolves. `ended` are the logs that
/// this process wrote before, in lives that lost their lease.
///
/// # Errors
///
/// When a part can't be started; the message names the setting or what to do.
pub async fn run(
    settings: Arc<Settings>,
    tls: Tls,
    listeners: Listeners,
    ended: &BTreeSet<Generation>,
    shutdown: impl Future<Output = ()> + 'static,
) -> anyhow::Result<NodeHandle> {
    let stores = match settings.store.backend {
        Backend::Embedded => Stores::embedded(&settings)?,
        Backend::Cassandra => Stores::cassandra(&settings).await?,
    };
    run_on(stores, settings, tls, listeners, ended, shutdown).await
}

/// Starts a node on these stores.
async fn run_on(
    stores: Stores,
    settings: Arc<Settings>,
    tls: Tls,
    listeners: Listeners,
    ended: &BTreeSet<Generation>,
    shutdown: impl Future<Output = ()> + 'static,
) -> anyhow::Result<NodeHandle> {
    let addresses = listeners
        .addresses()
        .context("a listener's address can't be read")?;
    let readiness = Readiness::default();
    let store = Arc::clone(&stores.mail);
    let parts = Parts::new(&settings, tls, stores).await;
    // Where a setting stands in the way of the rest, the store ends well: it has no part in that.
    if parts.is_err()
        && let Err(error) = store.close().await
    {
        tracing::warn!(%error, "the store could not be closed: the next start reads its journal again");
    }
    let parts = parts?;
    let lives_lost = u64::try_from(ended.len()).unwrap_or(u64::MAX);
    parts.metrics.leases_lost.inc_by(lives_lost);
    let (fatal, mut failed) = mpsc::channel::<Fatal>(1);
    let supervisor = Supervisor::new(Arc::clone(&parts.kinds.supervisor), fatal).start();
    let (drain, watch) = drain::drain();
    let name = settings.node.name.as_str();
    let former = match &parts.cluster {
        Some(cluster) => Some(cluster.check_name(name, ended).await?),
        None => None,
    };
    parts.begin_log(name).await?;
    // Before the log takes changes, so that whatever happens from now on is in the reach of every group.
    let listening = Listening::start(&parts, &settings, &supervisor, &watch).await?;
    let mut shutdown = Box::pin(shutdown);
    let joined = match (&parts.cluster, former) {
        (Some(cluster), Some(former)) => {
            // A store that went away would keep it waiting for as long as it is away.
            tokio::select! {
                biased;
                () = &mut shutdown => anyhow::bail!("it was asked to stop before a heartbeat came through"),
                joined = parts.join(cluster, &settings, &listening, former, &supervisor) => Some(joined?),
            }
        }
        _ => None,
    };
    parts.start_log(&supervisor).await?;
    parts.operations(&settings).finish_removals().await?;
    let admin = admin::start(
        parts.admin(&settings, &readiness, &listening, joined.as_ref(), &watch),
        listeners.admin,
    )?;
    let stop_admin = admin.handle();
    actix_rt::spawn(admin);
    let mail = MailListeners {
        smtp: listeners.smtp,
        smtp_tls: listeners.smtp_tls,
        lmtp: listeners.lmtp,
        pop3: listeners.pop3,
        pop3_tls: listeners.pop3_tls,
    };
    parts.start_bans(&supervisor, &watch).await?;
    let (admissions, arbiters) = parts.start_services(&settings, &supervisor, &watch, mail).await?;
    readiness.set(State::Ready);
    let life = Life {
        generation: parts.generation,
        log: parts.log.clone(),
        kinds: Arc::clone(&parts.kinds),
        listening,
        joined,
        admissions,
        arbiters,
        drain,
        readiness,
        stop_admin,
        _supervisor: supervisor,
        deadline: settings.node.shutdown_deadline,
    };
    let ended = actix_rt::spawn(async move {
        let why = tokio::select! {
            () = shutdown => None,
            failed = failed.recv() => failed,
        };
        life.end(why).await
    });
    Ok(NodeHandle { addresses, ended })
}

/// What the services share.
struct Parts {
    store: Arc<dyn MailStore>,
    groups: Arc<dyn GroupStore>,
    quota: Arc<dyn QuotaStore>,
    /// Asked before mail is taken; `None` where quotas are switched off.
    quotas: Option<Arc<Quotas>>,
    bans: Bans,
    directory: Arc<dyn Directory>,
    lease: Arc<dyn Lease>,
    /// `None`: the node is alone with its store.
    cluster: Option<Cluster>,
    ids: Ids,
    /// The log of this life of the process.
    generation: Generation,
    auth: Arc<Authenticator>,
    kinds: Arc<Kinds>,
    metrics: Arc<Metrics>,
    registry: Arc<prometheus_client::registry::Registry>,
    mailboxes: Mailboxes,
    dispatch: Dispatch,
    log: LogHandle,
    log_queue: log::LogQueue,
    log_options: LogOptions,
    tls: Tls,
    shipped: Shipped,
}

impl Parts {
    async fn new(settings: &Settings, tls: Tls, stores: Stores) -> anyhow::Result<Self> {
        let Stores {
            mail: store,
            groups,
            quota,
            bans,
            directory,
            secret,
            lease,
            shared,
        } = stores;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let seen = store.highest_stamp().await?;
        let ids = Ids::new(clock, random, seen);
        let kinds = Arc::new(Kinds::default());
        let (metrics, mut registry) = Metrics::new(Arc::clone(&kinds));
        registry.register_collector(tls.figures());
        let metrics = Arc::new(metrics);
        let quotas = settings
            .quota
            .enabled
            .then(|| Quotas::new(settings.quota_options(), Arc::clone(&quota)));
        let bans = bans::bans(settings, bans, &ids, &metrics);
        let auth = Authenticator::new(
            settings.auth_options(),
            Arc::clone(&directory),
            ids.clone(),
            secret,
        )?
        .with_bans(bans.clone());
        let idle = settings.mailbox.passivate_after;
        let cluster = shared
            .map(|shared| Cluster::new(settings, shared, &ids, &metrics))
            .transpose()?;
        let mailboxes = Mailboxes::with_options(
            Arc::clone(&store),
            MailboxOptions {
                idle,
                reading: if cluster.is_some() {
                    Reading::Through
                } else {
                    Reading::Cached
                },
                locks: cluster.as_ref().map(|cluster| cluster.locks.clone()),
            },
            Arc::clone(&kinds.mailbox),
            Arc::clone(&metrics),
        );
        let dispatch = Dispatch::new(
            mailboxes.clone(),
            Arc::clone(&metrics),
            Arc::clone(&kinds.key_listener),
        );
        let log_options = LogOptions {
            append_deadline: settings.store.commit_timeout,
            queue_changes_max: log::QUEUE_CHANGES_MAX_DEFAULT,
            group_changes_max: log::GROUP_CHANGES_MAX_DEFAULT,
            maintain_pause: log::MAINTAIN_PAUSE_DEFAULT,
            retention: settings.events.retention,
            sync_timeout: settings.events.sync_timeout,
            duplicate_window: settings.smtp.duplicate_window,
        };
        let (log, log_queue) = log::queue(&log_options, Arc::clone(&kinds.log), Arc::clone(&metrics));
        let shipped = Shipped::new(settings)?;
        let auth = Arc::new(auth);
        registry.register_collector(auth.figures());
        let registry = Arc::new(registry);
        Ok(Self {
            store,
            groups,
            quota,
            quotas: quotas.map(Arc::new),
            bans,
            directory,
            lease,
            cluster,
            generation: ids.generation(),
            ids,
            auth,
            kinds,
            metrics,
            registry,
            mailboxes,
            dispatch,
            log,
            log_queue,
            log_options,
            tls,
            shipped,
        })
    }

    async fn begin_log(&self, node: &str) -> anyhow::Result<()> {
        if let Some((_, before)) = self
            .store
            .logs()
            .await?
            .last()
            .filter(|(_, before)| before != node && self.cluster.is_none())
        {
            tracing::warn!(%before, now = node, "node.name is another one than when this folder was used last");
        }
        self.store.begin_log(self.generation, node).await?;
        tracing::info!(node, generation = %self.generation, "the log begins");
        Ok(())
    }

    async fn start_log(&self, supervisor: &Addr<Supervisor>) -> anyhow::Result<()> {
        let deps = LogDeps {
            store: Arc::clone(&self.store),
            dispatch: self.dispatch.clone(),
            ids: self.ids.clone(),
            generation: self.generation,
            lease: Arc::clone(&self.lease),
            options: self.log_options,
            metrics: Arc::clone(&self.metrics),
            kind: Arc::clone(&self.kinds.log),
        };
        let queue = self.log_queue.clone();
        let factory = move |guard| {
            Log::new(deps.clone(), queue.clone(), guard).start();
        };
        let child = Supervise {
            child: "log".into(),
            kind: Arc::clone(&self.kinds.log),
            essential: true,
            factory: Box::new(factory),
        };
        supervisor.send(child).await.context("the supervisor has ended")
    }

    /// Whose an address is.
    fn recipients(&self, settings: &Settings) -> Recipients {
        Recipients::new(Arc::clone(&self.directory), settings.recipient_options())
    }

    fn operations(&self, settings: &Settings) -> Operations {
        Operations {
            recipients: self.recipients(settings),
            directory: Arc::clone(&self.directory),
            store: Arc::clone(&self.store),
            groups: Arc::clone(&self.groups),
            quota: Quota {
                asked: self.quotas.clone(),
                ..Quota::of_settings(settings, Arc::clone(&self.quota))
            },
            ids: self.ids.clone(),
            hashing: Arc::clone(&self.auth) as _,
            writer: self.writer(),
        }
    }

    /// The way to a change for whoever is no session.
    fn writer(&self) -> Arc<dyn Writer> {
        Arc::new(self.log.clone())
    }

    fn admin(
        &self,
        settings: &Settings,
        readiness: &Readiness,
        listening: &Listening,
        joined: Option<&Joined>,
        drain: &DrainWatch,
    ) -> AdminParts {
        let events = EventOperations {
            bus: listening.bus.clone(),
            groups: Arc::clone(&self.groups),
            mail: Arc::clone(&self.store),
            redeliver_limit: settings.redeliver_limit(),
            ignored_groups: settings.events.ignored_groups.clone(),
        };
        let in_cluster = self.cluster.as_ref().zip(joined);
        AdminParts {
            operations: self.operations(settings),
            cluster: ClusterOperations {
                node: settings.node.name.as_str().to_owned(),
                generation: self.generation,
                cluster: in_cluster.map(|(cluster, joined)| joined.operations(cluster, self, settings)),
                events: events.clone(),
            },
            events,
            feed: listening.feed.clone(),
            tls: self.tls.clone(),
            bans: self.bans.clone(),
            registry: Arc::clone(&self.registry),
            actors: Arc::new(KindsView(Arc::clone(&self.kinds))),
            readiness: readiness.clone(),
            drain: drain.clone(),
            limits: settings.admin.clone(),
            data_dir: settings.node.data_dir.clone(),
        }
    }
}
