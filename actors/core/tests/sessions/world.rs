//! A node without its edge: acceptors on free ports, the log as a task, the store in memory.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use mailhorn_core::acceptor::{Accepted, Acceptor, Front, Home, Proxies, Service, StartSession};
use mailhorn_core::admission::{Admission, AdmissionLimits};
use mailhorn_core::auth::{AllowPlaintext, Argon2Cost, AuthOptions, Authenticator};
use mailhorn_core::bans::{BanKeeper, BanLimits, BanOptions, Bans};
use mailhorn_core::drain::{self, Drain, DrainWatch};
use mailhorn_core::events::Dispatch;
use mailhorn_core::log::{self, LogDeps, LogHandle, LogOptions, Outcome};
use mailhorn_core::mailbox::{
    ClusterLockOptions, ClusterLocks, LockKeeper, LockMode, MailboxOptions, Mailboxes, Reading,
};
use mailhorn_core::metrics::Metrics;
use mailhorn_core::observe::Kinds;
use mailhorn_core::pop3_session::{LoginDelay, Pop3Deps, Pop3Options, Pop3Session};
use mailhorn_core::quota::{QuotaOptions, Quotas};
use mailhorn_core::recipients::{RecipientOptions, Recipients};
use mailhorn_core::supervisor::{Supervise, Supervisor};
use mailhorn_core::transfer_session::{TransferDeps, TransferOptions, TransferSession};
use mailhorn_events::{Generation, MailboxId};
use mailhorn_ports::memory::{ManualClock, MemoryStore, SeededRandom, TokioUptime};
use mailhorn_ports::{
    CHUNK_OCTETS_MAX, Change, Delivery, Directory, DirectoryError, Forever, Ids, MailStore, MaildropLocks,
    NewAccount, Octets, Recipient,
};
use mailhorn_sasl::Secret;
use mailhorn_smtp::{Address, Domain, Protocol, Security};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything here takes; a test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What tests change.
pub(crate) struct Knobs {
    pub(crate) lock: LockMode,
    pub(crate) lock_wait: Duration,
    pub(crate) login_delay: Duration,
    pub(crate) pop3_idle: Duration,
    pub(crate) write_stall: Duration,
    pub(crate) append_deadline: Duration,
    pub(crate) connections_max: usize,
    pub(crate) per_address_max: usize,
    /// Who speaks for others.
    pub(crate) proxies: Proxies,
    /// Failed log-ins, and sessions of bad commands, that make a ban.
    pub(crate) bans: Option<BanLimits>,
    pub(crate) notes: bool,
    /// Limits of those for whom none are set; quotas are off without.
    pub(crate) quota: Option<QuotaOptions>,
    pub(crate) reading: Reading,
    /// What is different in the options of SMTP and LMTP sessions.
    pub(crate) transfer: fn(&mut TransferOptions, &mut mailhorn_smtp::Options),
    /// Locks between nodes, and their times.
    pub(crate) locks: Option<(Arc<dyn MaildropLocks>, ClusterLockOptions)>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            lock: LockMode::Exclusive,
            lock_wait: Duration::from_millis(30),
            login_delay: Duration::ZERO,
            pop3_idle: PATIENCE,
            write_stall: PATIENCE,
            append_deadline: PATIENCE,
            connections_max: 100,
            per_address_max: 100,
            proxies: Proxies::default(),
            bans: None,
            notes: true,
            quota: None,
            reading: Reading::Cached,
            transfer: |_, _| {},
            locks: None,
        }
    }
}

pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) generation: Generation,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) log: LogHandle,
    pub(crate) ids: Ids,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) drain: Drain,
    pub(crate) admission: Admission,
    pub(crate) bans: Bans,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) quotas: Option<Arc<Quotas>>,
    pub(crate) metrics: Arc<Metrics>,
    _supervisor: Addr<Supervisor>,
    pub(crate) pop3: SocketAddr,
    pub(crate) smtp: SocketAddr,
    pub(crate) lmtp: SocketAddr,
}

/// The password of everybody here.
pub(crate) const PASSWORD: &str = "correct horse";

impl World {
    pub(crate) async fn start(knobs: Knobs) -> Self {
        Self::start_on(MemoryStore::new(), 1, knobs).await
    }

    /// A node on a store that other nodes may have, which draws its names from `seed`.
    pub(crate) async fn start_on(store: MemoryStore, seed: u64, knobs: Knobs) -> Self {
        let clock = Arc::new(ManualClock::new(1_767_225_600_000_000));
        let ids = Ids::new(
            Arc::clone(&clock) as _,
            Arc::new(SeededRandom::new(seed)),
            mailhorn_events::Stamp(0),
        );
        let kinds = Arc::new(Kinds::default());
        let metrics = Arc::new(Metrics::new(Arc::clone(&kinds)).0);
        let shared: Arc<dyn MailStore> = Arc::new(store.clone());
        let directory: Arc<dyn Directory> = Arc::new(store.clone());
        let auth = AuthOptions {
            argon2: Argon2Cost {
                memory_kib: 8,
                passes: 1,
                lanes: 1,
            },
            scram_iterations: mailhorn_sasl::ITERATIONS_MIN,
            trusted_networks: vec!["127.0.0.0/8".parse().unwrap()],
            ..AuthOptions::default()
        };
        let bans = knobs.bans.map_or_else(Bans::off, |limits| {
            let options = BanOptions {
                limits,
                spared: knobs.proxies.networks.clone(),
                refresh: Duration::from_secs(3_600),
                node: "node".into(),
            };
            Bans::new(
                options,
                Arc::new(store.clone()),
                ids.clone(),
                Arc::clone(&metrics),
            )
        });
        let auth = Authenticator::new(auth, Arc::clone(&directory), ids.clone(), [7; 32]).unwrap();
        let auth = Arc::new(auth.with_bans(bans.clone()));
        make_accounts(directory.as_ref(), &auth, &ids).await;
        let (fatal, _) = tokio::sync::mpsc::channel(1);
        let supervisor = Supervisor::new(Arc::clone(&kinds.supervisor), fatal).start();
        let locks = knobs.locks.map(|(service, options)| {
            let uptime = Arc::new(TokioUptime::default());
            ClusterLocks::new(service, options, uptime, ids.clone(), Arc::clone(&metrics))
        });
        if let Some(locks) = locks.clone() {
            keep_locks(&supervisor, locks, &kinds).await;
        }
        let mailboxes = Mailboxes::with_options(
            Arc::clone(&shared),
            MailboxOptions {
                idle: Duration::from_secs(60),
                reading: knobs.reading,
                locks,
            },
            Arc::clone(&kinds.mailbox),
            Arc::clone(&metrics),
        );
        let generation = ids.generation();
        let options = LogOptions {
            append_deadline: knobs.append_deadline,
            queue_changes_max: 64,
            group_changes_max: 16,
            maintain_pause: Duration::from_secs(3_600),
            retention: Duration::from_secs(3_600),
            sync_timeout: Duration::from_millis(250),
            duplicate_window: Duration::from_secs(86_400),
        };
        let (log, queue) = log::queue(&options, Arc::clone(&kinds.log), Arc::clone(&metrics));
        let deps = LogDeps {
            store: Arc::clone(&shared),
            dispatch: Dispatch::new(
                mailboxes.clone(),
                Arc::clone(&metrics),
                Arc::clone(&kinds.key_listener),
            ),
            ids: ids.clone(),
            generation,
            lease: Arc::new(Forever),
            options,
            metrics: Arc::clone(&metrics),
            kind: Arc::clone(&kinds.log),
        };
        actix_rt::spawn(async move { log::work(&deps, &queue).await });
        let (drain, watch) = drain::drain();
        keep_bans(&supervisor, &bans, &watch, &kinds).await;
        let admission = Admission::new(AdmissionLimits {
            connections_max: knobs.connections_max,
            per_address_max: knobs.per_address_max,
            per_user_max: 3,
            trusted_networks: Vec::new(),
        });
        let services = Services {
            supervisor: &supervisor,
            watch: &watch,
            proxies: Arc::new(knobs.proxies),
            bans: &bans,
            metrics: &metrics,
            kinds: &kinds,
        };
        let pop3_deps = Arc::new(Pop3Deps {
            options: Pop3Options {
                idle_timeout: knobs.pop3_idle,
                log_in_timeout: PATIENCE,
                write_stall: knobs.write_stall,
                handshake_timeout: PATIENCE,
                lock: knobs.lock,
                lock_wait: knobs.lock_wait,
                allow_plaintext: AllowPlaintext::Loopback,
                log_in_failures_max: NonZeroU8::new(3).unwrap(),
                announced: Arc::default(),
            },
            tls: None,
            store: Arc::clone(&shared),
            mailboxes: mailboxes.clone(),
            log: log.clone(),
            auth: Arc::clone(&auth),
            read_ahead: mailhorn_core::read_ahead::permits(),
            login_delay: LoginDelay::new(knobs.login_delay, Arc::clone(&metrics)).map(Arc::new),
            admission: admission.clone(),
            bans: bans.clone(),
            ids: ids.clone(),
            drain: watch.clone(),
            metrics: Arc::clone(&metrics),
            kind: Arc::clone(&kinds.pop3),
        });
        let start: StartSession = Arc::new(move |accepted: Accepted| {
            Pop3Session::new(accepted, Arc::clone(&pop3_deps), false).start();
        });
        let refusal = mailhorn_core::pop3_session::refusal();
        let pop3 = services.accept("pop3", &admission, start, refusal).await;
        let quotas = knobs
            .quota
            .map(|options| Arc::new(Quotas::new(options, Arc::new(store.clone()))));
        let mut transfer = Vec::new();
        for (name, protocol, kind) in [
            ("smtp", Protocol::Smtp, &kinds.smtp),
            ("lmtp", Protocol::Lmtp, &kinds.lmtp),
        ] {
            let hostname = Domain::parse("mx.example.org").unwrap();
            let postmaster = Address::parse("ann@example.org").unwrap();
            let mut session = mailhorn_smtp::Options::new(protocol, hostname, postmaster);
            session.size_octets_max = 1_000_000;
            session.auth = true;
            let mut options = TransferOptions {
                session: Arc::new(session.clone()),
                idle_timeout: PATIENCE,
                transaction_timeout: PATIENCE,
                write_stall: knobs.write_stall,
                handshake_timeout: PATIENCE,
                allow_plaintext: AllowPlaintext::Loopback,
                trusted_networks: Vec::new(),
                notes: knobs.notes,
            };
            (knobs.transfer)(&mut options, &mut session);
            options.session = Arc::new(session);
            let deps = Arc::new(TransferDeps {
                options,
                auth: Arc::clone(&auth),
                bans: bans.clone(),
                tls: None,
                store: Arc::clone(&shared),
                recipients: Recipients::new(
                    Arc::clone(&directory),
                    RecipientOptions {
                        detail_separator: Some('+'),
                        postmaster: Address::parse("ann@example.org").unwrap(),
                    },
                ),
                quotas: quotas.clone(),
                log: log.clone(),
                ids: ids.clone(),
                drain: watch.clone(),
                metrics: Arc::clone(&metrics),
                kind: Arc::clone(kind),
            });
            let start: StartSession = Arc::new(move |accepted: Accepted| {
                TransferSession::new(accepted, Arc::clone(&deps), Security::Plain).start();
            });
            transfer.push(services.accept(name, &admission, start, Vec::new()).await);
        }
        let (smtp, lmtp) = (transfer[0], transfer[1]);
        Self {
            store,
            generation,
            kinds,
            log,
            ids,
            mailboxes,
            drain,
            admission,
            bans,
            clock,
            quotas,
            metrics,
            _supervisor: supervisor,
            pop3,
            smtp,
            lmtp,
        }
    }

    pub(crate) async fn pop3(&self) -> Client {
        let mut client = Client::connect(self.pop3).await;
        client.expect("+OK").await;
        client
    }

    /// A session of `user` that has logged in.
    pub(crate) async fn logged_in(&self, user: &str) -> Client {
        let mut client = self.pop3().await;
        client
            .send(&format!("USER {user}@example.org\r\nPASS {PASSWORD}\r\n"))
            .await;
        client.expect("+OK").await;
        client.expect("+OK").await;
        client
    }

    pub(crate) async fn lmtp(&self) -> Client {
        let mut client = Client::connect(self.lmtp).await;
        client.expect("220 ").await;
        client.send("LHLO client.example\r\n").await;
        client.replies().await;
        client
    }

    /// Delivers by LMTP and gives the replies after the data.
    pub(crate) async fn deliver(&self, users: &[&str], content: &str) -> Vec<String> {
        let mut client = self.lmtp().await;
        let replies = client.transaction(users, content).await;
        client.send("QUIT\r\n").await;
        client.expect("221 ").await;
        replies
    }

    /// Puts a message into a mailbox as a session would have stored it: `content` begins with the `Received` field.
    pub(crate) async fn store_message(&self, user: &str, content: &[u8]) {
        let address = format!("{user}@example.org");
        let account = self.store.account(&address).await.unwrap().unwrap();
        let message = self.ids.message();
        let mut chunks: Vec<&[u8]> = content.chunks(CHUNK_OCTETS_MAX).collect();
        let tail = Bytes::copy_from_slice(chunks.pop().unwrap_or_default());
        for (number, chunk) in (0..).zip(&chunks) {
            let chunk = Bytes::copy_from_slice(chunk);
            self.store.put_chunk(message, number, chunk).await.unwrap();
        }
        let delivery = Delivery {
            event: self.ids.event(),
            message,
            octets: Octets {
                size: content.len() as u64,
                stored_chunks: u32::try_from(chunks.len()).unwrap(),
                tail,
            },
            recipients: vec![Recipient {
                prefix: format!("Return-Path: <ann@example.com>\r\nDelivered-To: {address}\r\n").into(),
                user: address,
                account: account.id,
                mailbox: MailboxId::inbox(account.id),
                note: None,
            }],
        };
        let outcome = self.log.append(Change::Deliver(delivery)).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }

    pub(crate) async fn listed(&self, user: &str) -> Vec<String> {
        let mut client = self.logged_in(user).await;
        client.send("UIDL\r\n").await;
        let listed = client.multi_line().await;
        client.send("QUIT\r\n").await;
        client.expect("+OK").await;
        listed
    }
}

/// Makes who is here, unless a node before has.
async fn make_accounts(directory: &dyn Directory, auth: &Authenticator, ids: &Ids) {
    match directory.add_domain("example.org").await {
        Err(DirectoryError::Exists(_)) => return,
        made => made.unwrap(),
    }
    for address in ["ann@example.org", "bob@example.org"] {
        let credentials = auth.make_credentials(&Secret::new(PASSWORD)).await.unwrap();
        let account = NewAccount {
            id: ids.account(),
            address: address.into(),
            credentials,
            created: ids.stamp(),
        };
        directory.add_account(account).await.unwrap();
    }
}

async fn keep_bans(supervisor: &Addr<Supervisor>, bans: &Bans, watch: &DrainWatch, kinds: &Kinds) {
    let (bans, watch, kind) = (bans.clone(), watch.clone(), Arc::clone(&kinds.ban_keeper));
    let child = Supervise {
        child: "ban keeper".into(),
        kind: Arc::clone(&kind),
        essential: true,
        factory: Box::new(move |guard| {
            BanKeeper::new(bans.clone(), watch.clone(), Arc::clone(&kind), guard).start();
        }),
    };
    supervisor.send(child).await.unwrap();
}

async fn keep_locks(supervisor: &Addr<Supervisor>, locks: ClusterLocks, kinds: &Kinds) {
    let kind = Arc::clone(&kinds.lock_keeper);
    let child = Supervise {
        child: "lock keeper".into(),
        kind: Arc::clone(&kind),
        essential: true,
        factory: Box::new(move |guard| {
            LockKeeper::new(locks.clone(), Arc::clone(&kind), guard).start();
        }),
    };
    supervisor.send(child).await.unwrap();
}

struct Services<'a> {
    supervisor: &'a Addr<Supervisor>,
    watch: &'a DrainWatch,
    proxies: Arc<Proxies>,
    bans: &'a Bans,
    metrics: &'a Arc<Metrics>,
    kinds: &'a Arc<Kinds>,
}

impl Services<'_> {
    async fn accept(
        &self,
        name: &'static str,
        admission: &Admission,
        start: StartSession,
        refusal: Vec<u8>,
    ) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service {
            name,
            limits: ["max_connections", "max_connections_per_address"],
            admission: admission.clone(),
            proxies: Arc::clone(&self.proxies),
            bans: self.bans.clone(),
            ban_notice: mailhorn_core::pop3_session::ban_notice().into(),
            start,
            refusal: refusal.into(),
            homes: vec![Home::new(Arbiter::current())].into(),
        };
        let front = Front {
            listener: Arc::new(listener),
            service,
            home: 0,
            drain: self.watch.clone(),
            metrics: Arc::clone(self.metrics),
            kind: Arc::clone(&self.kinds.acceptor),
        };
        let child = Supervise {
            child: name.into(),
            kind: Arc::clone(&self.kinds.acceptor),
            essential: true,
            factory: Box::new(move |guard| Acceptor::start_at_home(front.clone(), guard)),
        };
        self.supervisor.send(child).await.unwrap();
        address
    }
}

/// A client that knows octets and lines, and nothing of what they mean.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.send_octets(text.as_bytes()).await;
    }

    pub(crate) async fn send_octets(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
    }

    /// Sends `text` over and over until the connection is closed.
    pub(crate) async fn send_until_closed(&mut self, text: &str) {
        while self.stream.write_all(text.as_bytes()).await.is_ok() {}
    }

    /// The next line without its end; `None` at the end of the stream.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = line.strip_suffix(b"\r\n").expect("every line ends in CRLF");
                return Some(String::from_utf8_lossy(line).into_owned());
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            if read.expect("an answer came in time").unwrap_or(0) == 0 {
                assert!(
                    self.buffer.is_empty(),
                    "half a line at the end: {:?}",
                    self.buffer
                );
                return None;
            }
        }
    }

    pub(crate) async fn expect(&mut self, start: &str) -> String {
        let line = self.line().await.expect("a line before the end");
        assert!(
            line.starts_with(start),
            "{start:?} was expected and {line:?} came"
        );
        line
    }

    pub(crate) async fn ends(&mut self) {
        assert_eq!(self.line().await, None, "the connection ends here");
    }

    /// The lines of a POP3 reply of several, without dots.
    pub(crate) async fn multi_line(&mut self) -> Vec<String> {
        self.expect("+OK").await;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await.expect("the reply's end");
            if line == "." {
                return lines;
            }
            lines.push(line.strip_prefix('.').unwrap_or(&line).to_owned());
        }
    }

    /// An SMTP reply's lines.
    pub(crate) async fn replies(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await.expect("a reply");
            let last = line.as_bytes().get(3) == Some(&b' ');
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// A transaction without pipelining; gives the replies after the data.
    pub(crate) async fn transaction(&mut self, users: &[&str], content: &str) -> Vec<String> {
        self.send("MAIL FROM:<sender@elsewhere.example>\r\n").await;
        self.expect("250 ").await;
        for user in users {
            self.send(&format!("RCPT TO:<{user}@example.org>\r\n")).await;
            self.expect("250 ").await;
        }
        self.send("DATA\r\n").await;
        self.expect("354 ").await;
        self.send(&format!("{content}.\r\n")).await;
        let mut replies = Vec::new();
        for _ in users {
            replies.push(self.line().await.expect("a reply for each recipient"));
        }
        replies
    }
}
