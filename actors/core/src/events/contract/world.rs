//! Nodes without an edge: a log, a bus, and what nodes need of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use mailhorn_events::{AccountId, Event, Generation, Happening, MailboxId, wire};
use mailhorn_ports::memory::{ManualClock, MemoryRegistry, MemoryStore, MemoryTransport, SeededRandom};
use mailhorn_ports::{
    Clock, GroupName, GroupStore, Ids, Key, Listener, ListenerOptions, MailStore, Membership, Registry,
    Scope, Transport,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::events::{
    BusDeps, Dispatch, EventBus, Exchange, ExchangeDeps, ExchangeParts, Fanout, Members, RegisteredGroup,
    Registration, Threads,
};
use crate::log::{self, LogDeps, LogHandle, LogOptions, Outcome};
use crate::mailbox::Mailboxes;
use crate::metrics::Metrics;
use crate::observe::Kinds;
use crate::supervisor::{Supervise, Supervisor};

/// When the clauses begin, in microseconds since the Unix epoch.
const BEGIN: u64 = 1_767_225_600_000_000;
/// The retention of the log.
const RETENTION: Duration = Duration::from_secs(24 * 3_600);

/// Runs a test in a system of actors whose time jumps to the next thing that is waited for.
pub fn paused(test: impl Future<Output = ()> + 'static) {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    };
    System::with_tokio_rt(runtime).block_on(test);
}

/// What the nodes of a world stand on.
#[derive(Debug, Clone)]
pub struct Ports {
    pub mail: Arc<dyn MailStore>,
    pub groups: Arc<dyn GroupStore>,
    pub membership: Arc<dyn Membership>,
    /// `None`: one node alone.
    pub cluster: Option<ClusterPorts>,
    /// The in-memory double behind both: for faults that only it can be told to have.
    pub memory: MemoryStore,
}

/// What nodes need of each other.
#[derive(Debug, Clone)]
pub struct ClusterPorts {
    pub registry: Arc<dyn Registry>,
    pub transport: Arc<dyn Transport>,
    pub fanout: Fanout,
    pub memory: Option<(MemoryRegistry, MemoryTransport)>,
}

/// How a node of a world is set up.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub format: wire::Format,
    /// How far the node's clock is from the world's.
    pub skew_micros: i64,
}

/// A clock that is wrong.
#[derive(Debug)]
struct Skewed(Arc<ManualClock>, i64);

impl Clock for Skewed {
    fn now_micros(&self) -> u64 {
        self.0.now_micros().saturating_add_signed(self.1)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: wire::Format::MessagePack,
            skew_micros: 0,
        }
    }
}

/// Where nodes are started.
#[derive(Debug)]
pub struct World {
    pub ports: Ports,
    pub clock: Arc<ManualClock>,
    seeds: AtomicU64,
}

impl World {
    /// A world of one node at a time, on the in-memory store.
    #[must_use]
    pub fn alone() -> Self {
        Self::on(MemoryStore::new(), None, 0)
    }

    /// A world of several nodes, on the in-memory store and a way between them in memory.
    #[must_use]
    pub fn cluster(fanout: Fanout, seed: u64) -> Self {
        let registry = MemoryRegistry::default();
        let transport = MemoryTransport::new(Arc::new(SeededRandom::new(seed.wrapping_add(77))));
        let cluster = ClusterPorts {
            registry: Arc::new(registry.clone()),
            transport: Arc::new(transport.clone()),
            fanout,
            memory: Some((registry, transport)),
        };
        Self::on(MemoryStore::new(), Some(cluster), seed)
    }

    fn on(memory: MemoryStore, cluster: Option<ClusterPorts>, seed: u64) -> Self {
        let ports = Ports {
            mail: Arc::new(memory.clone()),
            groups: Arc::new(memory.clone()),
            membership: Arc::new(memory.clone()),
            cluster,
            memory,
        };
        Self {
            ports,
            clock: Arc::new(ManualClock::new(BEGIN)),
            seeds: AtomicU64::new(seed.wrapping_mul(1_000)),
        }
    }

    /// Starts a node.
    pub async fn node(&self, name: &str) -> Node {
        self.node_with(name, Options::default()).await
    }

    /// Starts a node that is set up like this.
    pub async fn node_with(&self, name: &str, options: Options) -> Node {
        let seed = self.seeds.fetch_add(1, Ordering::SeqCst) + 1;
        Node::start(self, name, seed, options).await
    }

    /// The mailbox `n` of the user `n`.
    #[must_use]
    pub fn mailbox(n: u64) -> MailboxId {
        MailboxId(Uuid::from_u128(0x1_0000 + u128::from(n)))
    }

    /// The user `n`.
    #[must_use]
    pub fn user(n: u64) -> AccountId {
        AccountId(Uuid::from_u128(0x2_0000 + u128::from(n)))
    }

    /// The key of mailbox `n`.
    #[must_use]
    pub fn key(n: u64) -> Key {
        Key::Mailbox(Self::mailbox(n))
    }

    /// An event that the suites tell from others by its name, in mailbox `n`.
    #[must_use]
    pub fn event(n: u64, name: impl ToString) -> Event {
        let name = name.to_string();
        Self::happened(n, Happening::MailboxAdded { name })
    }

    /// An event that nothing happened in.
    #[must_use]
    pub fn noop(n: u64) -> Event {
        let (from, to) = ("same".to_owned(), "same".to_owned());
        Self::happened(n, Happening::MailboxRenamed { from, to })
    }

    /// Anything, in mailbox `n`.
    #[must_use]
    pub fn happened(n: u64, happening: Happening) -> Event {
        Event {
            user: format!("user-{n}@example.org"),
            account: Self::user(n),
            mailbox: Some(Self::mailbox(n)),
            happening,
        }
    }
}

/// A group's name.
pub(crate) fn group(name: &str) -> GroupName {
    name.parse().expect("a group's name")
}

/// A node.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub bus: EventBus,
    pub log: LogHandle,
    pub mailboxes: Mailboxes,
    pub generation: Generation,
    pub ids: Ids,
    pub kinds: Arc<Kinds>,
    pub ports: Ports,
    members: watch::Receiver<Arc<Members>>,
    log_task: JoinHandle<()>,
    exchange_stop: watch::Sender<bool>,
}

/// What is left of a node that crashed.
#[derive(Debug)]
pub struct Crashed {
    pub generation: Generation,
}

impl Node {
    async fn start(world: &World, name: &str, seed: u64, options: Options) -> Self {
        let ports = world.ports.clone();
        let seen = ports.mail.highest_stamp().await.expect("the store answers");
        let random = Arc::new(SeededRandom::new(seed));
        let clock = Skewed(Arc::clone(&world.clock), options.skew_micros);
        let ids = Ids::new(Arc::new(clock), random, seen);
        let generation = ids.generation();
        let begun = ports.mail.begin_log(generation, name).await;
        begun.expect("a log begins");
        let kinds = Arc::new(Kinds::default());
        let metrics = Arc::new(Metrics::new(Arc::clone(&kinds)).0);
        let mailboxes = Mailboxes::new(
            Arc::clone(&ports.mail),
            Duration::from_secs(60),
            Arc::clone(&kinds.mailbox),
            Arc::clone(&metrics),
        );
        let dispatch = Dispatch::new(
            mailboxes.clone(),
            Arc::clone(&metrics),
            Arc::clone(&kinds.key_listener),
        );
        let log_options = LogOptions {
            append_deadline: Duration::from_secs(60),
            queue_changes_max: 4_096,
            group_changes_max: 64,
            maintain_pause: Duration::from_secs(30),
            retention: RETENTION,
            sync_timeout: Duration::from_millis(250),
            duplicate_window: Duration::from_secs(3_600),
        };
        let (log, queue) = log::queue(&log_options, Arc::clone(&kinds.log), Arc::clone(&metrics));
        let deps = LogDeps {
            store: Arc::clone(&ports.mail),
            dispatch: dispatch.clone(),
            ids: ids.clone(),
            generation,
            options: log_options,
            metrics: Arc::clone(&metrics),
            kind: Arc::clone(&kinds.log),
        };
        let log_task = actix_rt::spawn(async move {
            log::work(&deps, &queue).await.expect("the log works");
        });
        let (fatal, _) = mpsc::channel(1);
        let supervisor = Supervisor::new(Arc::clone(&kinds.supervisor), fatal).start();
        let (members_sender, members) = watch::channel(Arc::new(Members::alone(generation)));
        let bus = EventBus::new(BusDeps {
            mail: Arc::clone(&ports.mail),
            store: Arc::clone(&ports.groups),
            dispatch: dispatch.clone(),
            log: log.clone(),
            ids: ids.clone(),
            generation,
            node: group(name),
            members: members.clone(),
            supervisor: supervisor.clone(),
            home: Arbiter::current(),
            threads: Threads::Shared,
            retention: RETENTION,
            metrics: Arc::clone(&metrics),
            kinds: Arc::clone(&kinds),
        });
        let (exchange_stop, stopped) = watch::channel(false);
        if let Some(cluster) = &ports.cluster {
            let deps = ExchangeDeps {
                generation,
                node: name.to_owned(),
                registry: Arc::clone(&cluster.registry),
                membership: Arc::clone(&ports.membership),
                transport: Arc::clone(&cluster.transport),
                fanout: cluster.fanout,
                format: options.format,
                dispatch: dispatch.clone(),
                members: members_sender,
                groups: bus.local_groups(),
                metrics: Arc::clone(&metrics),
                kind: Arc::clone(&kinds.exchange),
            };
            let parts = ExchangeParts::new(deps, stopped);
            let child = Supervise {
                child: "exchange".into(),
                kind: Arc::clone(&kinds.exchange),
                essential: true,
                factory: Box::new(move |guard| {
                    Exchange::new(parts.clone(), guard).start();
                }),
            };
            supervisor.send(child).await.expect("the supervisor lives");
        }
        Self {
            name: name.to_owned(),
            bus,
            log,
            mailboxes,
            generation,
            ids,
            kinds,
            ports,
            members,
            log_task,
            exchange_stop,
        }
    }

    /// Announces an event; it is durable then.
    pub async fn announce(&self, event: Event) {
        self.announce_all(vec![event]).await;
    }

    /// Announces events as one change.
    pub async fn announce_all(&self, events: Vec<Event>) {
        let outcome = self.bus.announce(events).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }

    /// Registers a group with these options.
    pub async fn group_with(
        &self,
        name: &str,
        listener: &Arc<impl Listener + 'static>,
        options: ListenerOptions,
    ) {
        let listener = Arc::clone(listener) as Arc<dyn Listener>;
        let registered = self
            .bus
            .register_group(group(name), Scope::Local, listener, options)
            .await;
        registered.expect("a group is registered");
        self.group_opened(name).await;
    }

    /// Registers a group.
    pub async fn group(&self, name: &str, listener: &Arc<impl Listener + 'static>) {
        self.group_with(name, listener, fast()).await;
    }

    /// Waits until the group's actor follows its logs.
    async fn group_opened(&self, name: &str) {
        for _ in 0..10_000 {
            if !self.status(name).status.logs.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the group {name} did not open");
    }

    /// Takes a group off this node.
    pub fn unregister_group(&self, name: &str) -> bool {
        self.bus.unregister_group(&group(name))
    }

    /// Registers a listener for keys.
    pub async fn listen(&self, listener: &Arc<impl Listener + 'static>, keys: &[Key]) -> Registration {
        self.listen_with(listener, keys, fast()).await
    }

    /// Registers a listener for keys with these options.
    pub async fn listen_with(
        &self,
        listener: &Arc<impl Listener + 'static>,
        keys: &[Key],
        options: ListenerOptions,
    ) -> Registration {
        let listener = Arc::clone(listener) as Arc<dyn Listener>;
        self.bus.register(listener, keys, options).await
    }

    /// A group as it is seen from outside.
    #[must_use]
    pub fn status(&self, name: &str) -> RegisteredGroup {
        let groups = self.bus.groups();
        let found = groups.into_iter().find(|seen| seen.name == group(name));
        found.expect("the group is registered")
    }

    /// Waits until this node sees so many that are alive.
    pub async fn wait_members(&self, count: usize) {
        let mut members = self.members.clone();
        let seen = members.wait_for(|members| members.alive().len() == count);
        let seen = tokio::time::timeout(Duration::from_secs(120), seen).await;
        assert!(seen.is_ok(), "{} does not see {count} members", self.name);
    }

    /// Waits until this node sees a group on so many.
    pub async fn wait_runners(&self, name: &str, count: usize) {
        let (mut members, name) = (self.members.clone(), group(name));
        let runners = |members: &Arc<Members>| {
            let alive = members.alive().iter();
            alive.filter(|member| member.groups.contains(&name)).count()
        };
        let seen = members.wait_for(|members| runners(members) == count);
        let seen = tokio::time::timeout(Duration::from_secs(120), seen).await;
        assert!(seen.is_ok(), "{} does not see {count} that run {name}", self.name);
    }

    /// Dead letters of a group.
    pub async fn dead(&self, name: &str) -> Vec<mailhorn_ports::Letter> {
        let letters = self.ports.groups.dead_letters(&group(name), None, 10_000).await;
        letters.expect("dead letters are listed")
    }

    /// Waits until a group has so many dead letters.
    pub async fn wait_dead(&self, name: &str, count: usize) -> Vec<mailhorn_ports::Letter> {
        for _ in 0..20_000 {
            let dead = self.dead(name).await;
            if dead.len() >= count {
                assert_eq!(dead.len(), count);
                return dead;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the group {name} has not {count} dead letters");
    }

    /// Waits until a group on this node has nothing to do: all is done or dead.
    pub async fn wait_idle(&self, name: &str) {
        let end = self.ports.mail.log_end(self.generation).await;
        let end = end.expect("the log's end is read");
        for _ in 0..20_000 {
            let status = self.status(name).status;
            // What is shown is a moment old: it counts once it shows all that there is.
            let own = status.logs.iter().find(|log| log.log == self.generation);
            let is_shown = own.is_some_and(|log| log.finished >= end);
            if is_shown && status.is_idle() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the group {name} is not idle: {:?}", self.status(name));
    }

    /// Waits until a group on this node waits for its back end, and says why.
    pub async fn wait_stopped(&self, name: &str) -> String {
        for _ in 0..20_000 {
            if let Some(why) = self.status(name).status.why {
                return why;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the group {name} is not stopped");
    }

    /// Ends as a process does that was killed: nothing more is said, saved or finished.
    pub async fn crash(self) -> Crashed {
        self.log_task.abort();
        self.bus.drop_all();
        drop(self.exchange_stop);
        while self.kinds.group.alive() + self.kinds.exchange.alive() > 0 {
            tokio::task::yield_now().await;
        }
        Crashed {
            generation: self.generation,
        }
    }

    /// Ends well.
    pub async fn stop(self) {
        self.bus.finish(Duration::from_secs(10)).await;
        self.exchange_stop.send_replace(true);
        while self.kinds.exchange.alive() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.log_task.abort();
    }
}

/// Three retries, five milliseconds: as many as the suites need, and quick where time is real.
pub(crate) fn fast() -> ListenerOptions {
    ListenerOptions {
        retries: 3,
        retry_pause: Duration::from_millis(5),
        execution_timeout: Duration::from_secs(30),
        ..ListenerOptions::default()
    }
}
