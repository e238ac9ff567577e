//! How settings become a node: the store, the log, the actors, the sockets; and how they end in the other order.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use anyhow::Context as _;
use async_trait::async_trait;
use mailhorn_core::acceptor::{Accepted, Acceptor, Front, Home, KeepAlive, Service, StartSession};
use mailhorn_core::admission::{Admission, AdmissionLimits};
use mailhorn_core::auth::Authenticator;
use mailhorn_core::drain::{self, Drain, DrainWatch};
use mailhorn_core::log::{self, Log, LogDeps, LogHandle, LogOptions, Outcome};
use mailhorn_core::mailbox::{LockMode, Mailboxes};
use mailhorn_core::metrics::Metrics;
use mailhorn_core::observe::Kinds;
use mailhorn_core::pop3_session::{self, AllowPlaintext, Pop3Deps, Pop3Options, Pop3Session};
use mailhorn_core::read_ahead;
use mailhorn_core::supervisor::{Supervise, Supervisor};
use mailhorn_core::transfer_session::{self, TransferDeps, TransferOptions, TransferSession};
use mailhorn_ports::{Change, Clock, Directory, Ids, MailStore, Random, StoreError};
use mailhorn_smtp::Protocol;
use rustls::ServerConfig;
use tokio::sync::{Semaphore, mpsc};

use crate::admin::{self, ActorsView, AdminParts, Readiness, State};
use crate::clock::{OsRandom, SystemClock};
use crate::listeners::{Addresses, Listeners};
use crate::operations::{Operations, Writer, offline};
use crate::settings::{Lock, Plaintext, Settings, Threads};
use crate::tls;

/// How often the end of the last sessions is looked for.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// What sessions get beyond the deadline to say good-bye.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// A node that runs.
#[derive(Debug)]
pub struct NodeHandle {
    addresses: Addresses,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl NodeHandle {
    /// Where it can be reached.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns when it has ended.
    ///
    /// # Errors
    ///
    /// When it did not end well: a part could not be kept alive, or not everything was made durable.
    pub async fn finished(self) -> anyhow::Result<()> {
        self.ended.await.context("the node's own task ended")?
    }
}

/// Starts a node. Returns when everything accepts; the node ends well after `shutdown` resolves.
///
/// # Errors
///
/// When a part can't be started; the message names the setting or what to do.
pub async fn run(
    settings: Arc<Settings>,
    listeners: Listeners,
    shutdown: impl Future<Output = ()> + 'static,
) -> anyhow::Result<NodeHandle> {
    let addresses = listeners
        .addresses()
        .context("a listener's address can't be read")?;
    let readiness = Readiness::default();
    let parts = Parts::new(&settings).await?;
    let (fatal, mut failed) = mpsc::channel(1);
    let supervisor = Supervisor::new(Arc::clone(&parts.kinds.supervisor), fatal).start();
    parts.start_log(settings.node.name.as_str(), &supervisor).await?;
    parts.operations().finish_removals().await?;
    let admin = admin::start(parts.admin(&settings, &readiness), listeners.admin)?;
    let stop_admin = admin.handle();
    actix_rt::spawn(admin);
    let (drain, watch) = drain::drain();
    let mail = MailListeners {
        smtp: listeners.smtp,
        lmtp: listeners.lmtp,
        pop3: listeners.pop3,
        pop3_tls: listeners.pop3_tls,
    };
    let (admissions, arbiters) = parts.start_services(&settings, &supervisor, &watch, mail).await?;
    readiness.set(State::Ready);

    let deadline = settings.node.shutdown_deadline;
    let log = parts.log.clone();
    let ended = actix_rt::spawn(async move {
        let failed = tokio::select! {
            () = shutdown => None,
            failed = failed.recv() => failed,
        };
        readiness.set(State::Draining);
        tracing::info!(
            deadline_s = deadline.as_secs(),
            "the node ends: transactions may finish"
        );
        wait_for_sessions(&drain, deadline, &admissions).await;
        let durable = log.finish().await;
        stop_admin.stop(true).await;
        for arbiter in &arbiters {
            arbiter.stop();
        }
        drop(supervisor);
        match (failed, durable) {
            (Some(part), _) => anyhow::bail!("{part} failed too often to be started again"),
            (None, false) => {
                anyhow::bail!("the store could not be closed: the next start reads its journal again")
            }
            (None, true) => {
                tracing::info!("the node has ended, everything is durable");
                Ok(())
            }
        }
    });
    Ok(NodeHandle { addresses, ended })
}

/// Begins the drain and returns when the last session has ended, or the deadline is past.
async fn wait_for_sessions(drain: &Drain, deadline: Duration, admissions: &[Admission]) {
    drain.begin(deadline);
    let last = tokio::time::Instant::now() + deadline + DRAIN_GRACE;
    while admissions.iter().any(|admission| admission.connections() > 0) {
        if tokio::time::Instant::now() >= last {
            tracing::warn!(
                "sessions did not end within node.shutdown_deadline: what they had not finished was not promised"
            );
            return;
        }
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

struct MailListeners {
    smtp: Vec<TcpListener>,
    lmtp: Vec<TcpListener>,
    pop3: Vec<TcpListener>,
    pop3_tls: Vec<TcpListener>,
}

/// What the services share.
struct Parts {
    store: Arc<dyn MailStore>,
    directory: Arc<dyn Directory>,
    ids: Ids,
    auth: Arc<Authenticator>,
    kinds: Arc<Kinds>,
    metrics: Arc<Metrics>,
    registry: Arc<prometheus_client::registry::Registry>,
    mailboxes: Mailboxes,
    log: LogHandle,
    log_queue: log::LogQueue,
    log_options: LogOptions,
    tls: Arc<ServerConfig>,
}

impl Parts {
    async fn new(settings: &Settings) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let embedded = offline::open_store(settings, tokio::runtime::Handle::current())?;
        let seen = embedded.highest_stamp().await?;
        let ids = Ids::new(clock, random, seen);
        let kinds = Arc::new(Kinds::default());
        let (metrics, registry) = Metrics::new(Arc::clone(&kinds));
        let metrics = Arc::new(metrics);
        let secret = embedded.installation_secret();
        let store: Arc<dyn MailStore> = Arc::new(embedded.clone());
        let directory: Arc<dyn Directory> = Arc::new(embedded);
        let auth = Authenticator::new(
            settings.auth_options(),
            Arc::clone(&directory),
            ids.clone(),
            secret,
        )?;
        let idle = settings.mailbox.passivate_after;
        let mailboxes = Mailboxes::new(
            Arc::clone(&store),
            idle,
            Arc::clone(&kinds.mailbox),
            Arc::clone(&metrics),
        );
        let log_options = LogOptions {
            append_deadline: settings.store.commit_timeout,
            queue_changes_max: log::QUEUE_CHANGES_MAX_DEFAULT,
            group_changes_max: log::GROUP_CHANGES_MAX_DEFAULT,
            maintain_pause: log::MAINTAIN_PAUSE_DEFAULT,
            retention: settings.events.retention,
            duplicate_window: settings.smtp.duplicate_window,
        };
        let (log, log_queue) = log::queue(&log_options, Arc::clone(&kinds.log), Arc::clone(&metrics));
        let tls = tls::server_config(settings)?;
        let (auth, registry) = (Arc::new(auth), Arc::new(registry));
        Ok(Self {
            store,
            directory,
            ids,
            auth,
            kinds,
            metrics,
            registry,
            mailboxes,
            log,
            log_queue,
            log_options,
            tls,
        })
    }

    async fn start_log(&self, node: &str, supervisor: &Addr<Supervisor>) -> anyhow::Result<()> {
        let generation = self.ids.generation();
        if let Some((_, before)) = self
            .store
            .logs()
            .await?
            .last()
            .filter(|(_, before)| before != node)
        {
            tracing::warn!(%before, now = node, "node.name is another one than when this folder was used last");
        }
        self.store.begin_log(generation, node).await?;
        tracing::info!(node, %generation, "the log begins");
        let deps = LogDeps {
            store: Arc::clone(&self.store),
            mailboxes: self.mailboxes.clone(),
            ids: self.ids.clone(),
            generation,
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
            factory: Box::new(factory),
        };
        supervisor.send(child).await.context("the supervisor has ended")
    }

    fn operations(&self) -> Operations {
        Operations {
            directory: Arc::clone(&self.directory),
            store: Arc::clone(&self.store),
            ids: self.ids.clone(),
            hashing: Arc::clone(&self.auth) as _,
            writer: Arc::new(LogWriter(self.log.clone())),
        }
    }

    fn admin(&self, settings: &Settings, readiness: &Readiness) -> AdminParts {
        AdminParts {
            operations: self.operations(),
            registry: Arc::clone(&self.registry),
            actors: Arc::new(KindsView(Arc::clone(&self.kinds))),
            readiness: readiness.clone(),
            limits: settings.admin.clone(),
            data_dir: settings.node.data_dir.clone(),
        }
    }

    async fn start_services(
        &self,
        settings: &Settings,
        supervisor: &Addr<Supervisor>,
        watch: &DrainWatch,
        listeners: MailListeners,
    ) -> anyhow::Result<(Vec<Admission>, Vec<Arbiter>)> {
        let threads = match settings.node.threads {
            Threads::Cores => std::thread::available_parallelism().map_or(1, usize::from),
            Threads::Count(count) => count.get(),
        };
        let arbiters: Vec<Arbiter> = (0..threads).map(|_| Arbiter::new()).collect();
        let services = Services {
            parts: self,
            settings,
            watch: watch.clone(),
            homes: arbiters
                .iter()
                .map(|arbiter| Home::new(arbiter.handle()))
                .collect(),
            read_ahead: read_ahead::permits(),
        };
        let lmtp = admission(
            settings,
            settings.lmtp.max_connections,
            settings.lmtp.max_connections_per_address,
        );
        let smtp = admission(
            settings,
            settings.smtp.max_connections,
            settings.smtp.max_connections_per_address,
        );
        let pop3 = admission(
            settings,
            settings.pop3.max_connections,
            settings.pop3.max_connections_per_address,
        );
        let mut ready = Vec::new();
        for (protocol, admission, listeners) in [
            (Protocol::Lmtp, &lmtp, listeners.lmtp),
            (Protocol::Smtp, &smtp, listeners.smtp),
        ] {
            for listener in listeners {
                let address = listener.local_addr()?;
                ready.push((services.transfer(protocol, address, admission), listener, address));
            }
        }
        for (implicit_tls, listeners) in [(false, listeners.pop3), (true, listeners.pop3_tls)] {
            for listener in listeners {
                let address = listener.local_addr()?;
                ready.push((services.pop3(implicit_tls, address, &pop3), listener, address));
            }
        }
        for (service, listener, address) in ready {
            let name = service.name;
            self.accept(settings, supervisor, watch, service, listener)
                .await?;
            tracing::info!(listener = name, %address, "listening");
        }
        Ok((vec![lmtp, smtp, pop3], arbiters))
    }

    async fn accept(
        &self,
        settings: &Settings,
        supervisor: &Addr<Supervisor>,
        watch: &DrainWatch,
        service: Service,
        listener: TcpListener,
    ) -> anyhow::Result<()> {
        let keep_alive = KeepAlive {
            idle: settings.net.keepalive_idle,
            interval: settings.net.keepalive_interval,
            retries: settings.net.keepalive_probes,
            user_timeout: settings.net.user_timeout,
        };
        keep_alive
            .apply(&listener)
            .context("the net.keepalive settings can't be set on a listener")?;
        let address = listener.local_addr()?;
        let listener = Arc::new(listener);
        for home in 0..service.homes.len() {
            let front = Front {
                listener: Arc::clone(&listener),
                service: service.clone(),
                home,
                drain: watch.clone(),
                metrics: Arc::clone(&self.metrics),
                kind: Arc::clone(&self.kinds.acceptor),
            };
            let child = Supervise {
                child: format!("{} {address} on arbiter {home}", service.name).into(),
                kind: Arc::clone(&self.kinds.acceptor),
                factory: Box::new(move |guard| Acceptor::start_at_home(front.clone(), guard)),
            };
            supervisor.send(child).await.context("the supervisor has ended")?;
        }
        Ok(())
    }
}

struct Services<'a> {
    parts: &'a Parts,
    settings: &'a Settings,
    watch: DrainWatch,
    homes: Arc<[Home]>,
    read_ahead: Arc<Semaphore>,
}

impl Services<'_> {
    /// The certificate, where it may be shown: one that signs itself is for loopback alone.
    fn tls(&self, address: SocketAddr) -> Option<Arc<ServerConfig>> {
        self.settings
            .offers_tls(address)
            .then(|| Arc::clone(&self.parts.tls))
    }

    fn transfer(&self, protocol: Protocol, address: SocketAddr, admission: &Admission) -> Service {
        let settings = self.settings;
        let tls = self.tls(address);
        let hostname = settings.smtp.hostname.clone();
        let postmaster = settings.postmaster();
        let mut session = mailhorn_smtp::Options::new(protocol, hostname, postmaster);
        session.size_octets_max = settings.smtp.max_message_size.octets();
        session.recipients_max = usize::try_from(settings.smtp.max_recipients).unwrap_or(usize::MAX);
        session.bad_commands_max = settings.smtp.max_bad_commands;
        session.starttls = tls.is_some();
        let (name, idle_timeout, limits, kind) = match protocol {
            Protocol::Smtp => (
                "smtp",
                settings.smtp.idle_timeout,
                ["smtp.max_connections", "smtp.max_connections_per_address"],
                &self.parts.kinds.smtp,
            ),
            Protocol::Lmtp => (
                "lmtp",
                settings.lmtp.idle_timeout,
                ["lmtp.max_connections", "lmtp.max_connections_per_address"],
                &self.parts.kinds.lmtp,
            ),
        };
        let refusal = transfer_session::refusal(&session).into();
        let deps = Arc::new(TransferDeps {
            options: TransferOptions {
                session: Arc::new(session),
                idle_timeout,
                write_stall: settings.net.write_timeout,
                handshake_timeout: settings.tls.handshake_timeout,
                notes: !settings.smtp.duplicate_window.is_zero(),
            },
            tls,
            store: Arc::clone(&self.parts.store),
            directory: Arc::clone(&self.parts.directory),
            log: self.parts.log.clone(),
            ids: self.parts.ids.clone(),
            drain: self.watch.clone(),
            metrics: Arc::clone(&self.parts.metrics),
            kind: Arc::clone(kind),
        });
        let start: StartSession = Arc::new(move |accepted: Accepted| {
            TransferSession::new(accepted, Arc::clone(&deps)).start();
        });
        self.service(name, limits, admission, start, refusal)
    }

    fn pop3(&self, implicit_tls: bool, address: SocketAddr, admission: &Admission) -> Service {
        let settings = self.settings;
        let deps = Arc::new(Pop3Deps {
            options: pop3_options(settings),
            tls: self.tls(address),
            store: Arc::clone(&self.parts.store),
            mailboxes: self.parts.mailboxes.clone(),
            log: self.parts.log.clone(),
            auth: Arc::clone(&self.parts.auth),
            read_ahead: Arc::clone(&self.read_ahead),
            admission: admission.clone(),
            ids: self.parts.ids.clone(),
            drain: self.watch.clone(),
            metrics: Arc::clone(&self.parts.metrics),
            kind: Arc::clone(&self.parts.kinds.pop3),
        });
        let start: StartSession = Arc::new(move |accepted: Accepted| {
            Pop3Session::new(accepted, Arc::clone(&deps), implicit_tls).start();
        });
        // Before a handshake nothing can be said.
        let refusal = if implicit_tls {
            Vec::new()
        } else {
            pop3_session::refusal()
        };
        let name = if implicit_tls { "pop3s" } else { "pop3" };
        let limits = ["pop3.max_connections", "pop3.max_connections_per_address"];
        self.service(name, limits, admission, start, refusal.into())
    }

    fn service(
        &self,
        name: &'static str,
        limits: [&'static str; 2],
        admission: &Admission,
        start: StartSession,
        refusal: Arc<[u8]>,
    ) -> Service {
        Service {
            name,
            limits,
            admission: admission.clone(),
            start,
            refusal,
            homes: Arc::clone(&self.homes),
        }
    }
}

fn admission(settings: &Settings, connections_max: u32, per_address_max: u32) -> Admission {
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Admission::new(AdmissionLimits {
        connections_max: count(connections_max),
        per_address_max: count(per_address_max),
        per_user_max: count(settings.pop3.max_sessions_per_user),
        trusted_networks: settings.auth.trusted_networks.clone(),
    })
}

fn pop3_options(settings: &Settings) -> Pop3Options {
    Pop3Options {
        idle_timeout: settings.pop3.idle_timeout,
        log_in_timeout: settings.pop3.log_in_timeout,
        write_stall: settings.net.write_timeout,
        handshake_timeout: settings.tls.handshake_timeout,
        lock: match settings.pop3.lock {
            Lock::Exclusive => LockMode::Exclusive,
            Lock::Shared => LockMode::Shared,
        },
        lock_wait: settings.pop3.lock_wait,
        allow_plaintext: match settings.auth.allow_plaintext {
            Plaintext::Loopback => AllowPlaintext::Loopback,
            Plaintext::Never => AllowPlaintext::Never,
            Plaintext::Always => AllowPlaintext::Always,
        },
        log_in_failures_max: NonZeroU8::try_from(
            u8::try_from(settings.pop3.max_log_in_failures).unwrap_or(u8::MAX),
        )
        .unwrap_or(NonZeroU8::MIN),
    }
}

/// Administrative changes go through the log as mail does.
#[derive(Debug)]
struct LogWriter(LogHandle);

#[async_trait]
impl Writer for LogWriter {
    async fn write(&self, change: Change) -> Result<(), StoreError> {
        match self.0.append(change).await {
            Outcome::Done(_) => Ok(()),
            Outcome::Unknown => Err(StoreError::Unavailable(
                "the outcome of the commit is not known".into(),
            )),
            Outcome::Refused => Err(StoreError::Unavailable("the log takes no changes now".into())),
        }
    }
}

/// The actors as `/actors` shows them.
#[derive(Debug)]
struct KindsView(Arc<Kinds>);

#[async_trait]
impl ActorsView for KindsView {
    async fn snapshot(&self) -> serde_json::Value {
        serde_json::json!({ "actors": self.0.snapshot() })
    }
}
