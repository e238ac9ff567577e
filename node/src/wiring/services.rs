//! The services that take and give mail: their sessions, their limits, their listening sockets.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU8;
use std::sync::Arc;

use actix::prelude::*;
use anyhow::Context as _;
use mailhorn_core::acceptor::{Accepted, Acceptor, Front, Home, KeepAlive, Service, StartSession};
use mailhorn_core::admission::{Admission, AdmissionLimits};
use mailhorn_core::drain::DrainWatch;
use mailhorn_core::mailbox::LockMode;
use mailhorn_core::pop3_session::{self, AllowPlaintext, Pop3Deps, Pop3Options, Pop3Session};
use mailhorn_core::read_ahead;
use mailhorn_core::supervisor::{Supervise, Supervisor};
use mailhorn_core::transfer_session::{self, TransferDeps, TransferOptions, TransferSession};
use mailhorn_smtp::Protocol;
use rustls::ServerConfig;
use tokio::sync::Semaphore;

use super::Parts;
use crate::settings::{Lock, Plaintext, Settings, Threads};

/// The sockets that mail goes through.
pub(super) struct MailListeners {
    pub(super) smtp: Vec<TcpListener>,
    pub(super) lmtp: Vec<TcpListener>,
    pub(super) pop3: Vec<TcpListener>,
    pub(super) pop3_tls: Vec<TcpListener>,
}

impl Parts {
    /// Begins to accept mail.
    pub(super) async fn start_services(
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
                essential: true,
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
        self.settings.offers_tls(address).then(|| self.parts.tls.config())
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
            quotas: self.parts.quotas.clone(),
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
