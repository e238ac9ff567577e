//! The services that take and give mail: their sessions, their limits, their listening sockets.

use std::net::{SocketAddr, TcpListener};
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;

use actix::prelude::*;
use anyhow::Context as _;
use mailhorn_core::acceptor::{Accepted, Acceptor, Front, Home, KeepAlive, Proxies, Service, StartSession};
use mailhorn_core::admission::{Admission, AdmissionLimits};
use mailhorn_core::auth::AllowPlaintext;
use mailhorn_core::drain::DrainWatch;
use mailhorn_core::mailbox::LockMode;
use mailhorn_core::pop3_session::{self, LoginDelay, Pop3Deps, Pop3Options, Pop3Session};
use mailhorn_core::read_ahead;
use mailhorn_core::supervisor::{Supervise, Supervisor};
use mailhorn_core::transfer_session::{self, TransferDeps, TransferOptions, TransferSession};
use mailhorn_smtp::{Protocol, Security};
use rustls::ServerConfig;
use tokio::sync::Semaphore;

use super::Parts;
use crate::settings::value::LocalSenders;
use crate::settings::{Lock, Plaintext, Settings, Threads};

/// The sockets that mail goes through.
pub(super) struct MailListeners {
    pub(super) smtp: Vec<TcpListener>,
    pub(super) smtp_tls: Vec<TcpListener>,
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
            proxies: Arc::new(Proxies {
                networks: settings.net.proxy_networks.clone(),
                header_timeout: settings.net.proxy_timeout,
            }),
            read_ahead: read_ahead::permits(),
            login_delay: LoginDelay::new(settings.pop3.login_delay, Arc::clone(&self.metrics)).map(Arc::new),
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
        for (protocol, security, admission, listeners) in [
            (Protocol::Lmtp, Security::Plain, &lmtp, listeners.lmtp),
            (Protocol::Smtp, Security::Plain, &smtp, listeners.smtp),
            (Protocol::Smtp, Security::Tls, &smtp, listeners.smtp_tls),
        ] {
            for listener in listeners {
                let address = listener.local_addr()?;
                let service = services.transfer(protocol, security, address, admission);
                ready.push((service, listener, address));
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
    proxies: Arc<Proxies>,
    read_ahead: Arc<Semaphore>,
    login_delay: Option<Arc<LoginDelay>>,
}

impl Services<'_> {
    /// The certificate, where it may be shown: one that signs itself is for loopback alone.
    fn tls(&self, address: SocketAddr) -> Option<Arc<ServerConfig>> {
        self.settings.offers_tls(address).then(|| self.parts.tls.config())
    }

    fn transfer(
        &self,
        protocol: Protocol,
        security: Security,
        address: SocketAddr,
        admission: &Admission,
    ) -> Service {
        let settings = self.settings;
        let tls = self.tls(address);
        let session = transfer_options(settings, protocol, tls.is_some());
        let (name, idle_timeout, limits, kind) = match protocol {
            Protocol::Smtp => (
                match security {
                    Security::Plain => "smtp",
                    Security::Tls => "smtps",
                },
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
        let lines = match security {
            Security::Plain => Lines {
                refusal: transfer_session::refusal(&session),
                ban_notice: transfer_session::ban_notice(&session),
            },
            Security::Tls => Lines::default(),
        };
        let deps = Arc::new(TransferDeps {
            options: TransferOptions {
                session: Arc::new(session),
                idle_timeout,
                transaction_timeout: settings.smtp.transaction_timeout,
                write_stall: settings.net.write_timeout,
                handshake_timeout: settings.tls.handshake_timeout,
                allow_plaintext: allow_plaintext(settings),
                trusted_networks: settings.auth.trusted_networks.clone(),
                notes: !settings.smtp.duplicate_window.is_zero(),
            },
            tls,
            auth: Arc::clone(&self.parts.auth),
            bans: self.parts.bans.clone(),
            store: Arc::clone(&self.parts.store),
            recipients: self.parts.recipients(settings),
            quotas: self.parts.quotas.clone(),
            log: self.parts.log.clone(),
            ids: self.parts.ids.clone(),
            drain: self.watch.clone(),
            metrics: Arc::clone(&self.parts.metrics),
            kind: Arc::clone(kind),
        });
        let start: StartSession = Arc::new(move |accepted: Accepted| {
            TransferSession::new(accepted, Arc::clone(&deps), security).start();
        });
        self.service(name, limits, admission, start, lines)
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
            login_delay: self.login_delay.clone(),
            admission: admission.clone(),
            bans: self.parts.bans.clone(),
            ids: self.parts.ids.clone(),
            drain: self.watch.clone(),
            metrics: Arc::clone(&self.parts.metrics),
            kind: Arc::clone(&self.parts.kinds.pop3),
        });
        let start: StartSession = Arc::new(move |accepted: Accepted| {
            Pop3Session::new(accepted, Arc::clone(&deps), implicit_tls).start();
        });
        let lines = if implicit_tls {
            Lines::default()
        } else {
            Lines {
                refusal: pop3_session::refusal(),
                ban_notice: pop3_session::ban_notice(),
            }
        };
        let name = if implicit_tls { "pop3s" } else { "pop3" };
        let limits = ["pop3.max_connections", "pop3.max_connections_per_address"];
        self.service(name, limits, admission, start, lines)
    }

    fn service(
        &self,
        name: &'static str,
        limits: [&'static str; 2],
        admission: &Admission,
        start: StartSession,
        lines: Lines,
    ) -> Service {
        Service {
            name,
            limits,
            admission: admission.clone(),
            proxies: Arc::clone(&self.proxies),
            bans: self.parts.bans.clone(),
            ban_notice: lines.ban_notice.into(),
            start,
            refusal: lines.refusal.into(),
            homes: Arc::clone(&self.homes),
        }
    }
}

/// What is said to those who may not come in. Nothing under TLS: before a handshake nothing can be said.
#[derive(Default)]
struct Lines {
    refusal: Vec<u8>,
    ban_notice: Vec<u8>,
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
        allow_plaintext: allow_plaintext(settings),
        log_in_failures_max: failures_max(settings.pop3.max_log_in_failures),
        announced: Arc::new(settings.announced()),
    }
}

fn transfer_options(settings: &Settings, protocol: Protocol, starttls: bool) -> mailhorn_smtp::Options {
    let smtp = &settings.smtp;
    mailhorn_smtp::Options {
        size_octets_max: smtp.max_message_size.octets(),
        recipients_max: usize::try_from(smtp.max_recipients).unwrap_or(usize::MAX),
        bad_commands_max: smtp.max_bad_commands,
        messages_max: match protocol {
            Protocol::Smtp => NonZeroU32::new(smtp.max_messages),
            Protocol::Lmtp => None,
        },
        auth: smtp.auth && protocol == Protocol::Smtp,
        log_in_failures_max: failures_max(smtp.max_log_in_failures),
        local_senders: match smtp.local_senders {
            LocalSenders::Anyone => mailhorn_smtp::LocalSenders::Anyone,
            LocalSenders::Authenticated => mailhorn_smtp::LocalSenders::Authenticated,
        },
        starttls,
        ..mailhorn_smtp::Options::new(protocol, smtp.hostname.clone(), settings.postmaster())
    }
}

fn allow_plaintext(settings: &Settings) -> AllowPlaintext {
    match settings.auth.allow_plaintext {
        Plaintext::Loopback => AllowPlaintext::Loopback,
        Plaintext::Never => AllowPlaintext::Never,
        Plaintext::Always => AllowPlaintext::Always,
    }
}

fn failures_max(setting: u32) -> NonZeroU8 {
    NonZeroU8::try_from(u8::try_from(setting).unwrap_or(u8::MAX)).unwrap_or(NonZeroU8::MIN)
}
