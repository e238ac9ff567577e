//! What nodes stand on, and what the suites announce.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::LocalBoxFuture;
use mailhorn_events::{AccountId, Event, Generation, Happening, MailboxId, wire};
use mailhorn_ports::memory::{
    ManualClock, MemoryRegistry, MemoryStore, MemoryTransport, SeededRandom, TokioUptime,
};
use mailhorn_ports::{
    GroupName, GroupStore, Key, ListenerOptions, MailStore, Membership, QuotaStore, Registry, Transport,
};
use uuid::Uuid;

use super::Node;
use crate::events::Fanout;
use crate::membership::{LogLease, NameError};

/// When the clauses begin, in microseconds since the Unix epoch.
const BEGIN: u64 = 1_767_225_600_000_000;

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

/// Runs a test in a system of actors, where real servers take part.
pub fn in_real_time(test: impl Future<Output = ()> + 'static) {
    System::new().block_on(test);
}

/// What the nodes of a world stand on.
#[derive(Debug, Clone)]
pub struct Ports {
    pub mail: Arc<dyn MailStore>,
    pub groups: Arc<dyn GroupStore>,
    pub quota: Arc<dyn QuotaStore>,
    pub membership: Arc<dyn Membership>,
    /// `None`: one node alone.
    pub cluster: Option<ClusterPorts>,
    /// The in-memory double behind them, where it is one: for faults that only it can be told to have.
    pub memory: Option<MemoryStore>,
}

/// What nodes need of each other.
#[derive(Debug, Clone)]
pub struct ClusterPorts {
    pub registry: Arc<dyn Registry>,
    pub transport: Arc<dyn Transport>,
    pub fanout: Fanout,
    pub memory: Option<(MemoryRegistry, MemoryTransport)>,
}

/// What a node stands on that is its own.
#[derive(Debug, Clone)]
pub struct Ground {
    pub ports: Ports,
    /// The lease on the node's log, for a store that looks at it.
    pub lease: Arc<LogLease>,
    /// Logs that this node, in the same process, wrote before.
    pub ended: BTreeSet<Generation>,
}

impl Ground {
    /// Ground for the first life of a node on these ports.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        Self {
            ports,
            lease: Arc::new(LogLease::new(Arc::new(TokioUptime::default()))),
            ended: BTreeSet::new(),
        }
    }
}

/// Gives each node ground of its own, as processes have it: clients of the same servers.
pub trait Grounds: fmt::Debug + Send + Sync {
    /// Ground for one node.
    fn ground(&self) -> LocalBoxFuture<'_, Ground>;
}

/// How a node of a world is set up.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub format: wire::Format,
    pub sync_timeout: Duration,
    pub queue_changes_max: usize,
    /// How far the node's clock is from the world's.
    pub skew_micros: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: wire::Format::MessagePack,
            sync_timeout: Duration::from_millis(250),
            queue_changes_max: 4_096,
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
    /// `None`: all nodes share the world's.
    grounds: Option<Box<dyn Grounds>>,
    format: wire::Format,
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
            quota: Arc::new(memory.clone()),
            membership: Arc::new(memory.clone()),
            cluster,
            memory: Some(memory),
        };
        Self::new(ports, seed)
    }

    fn new(ports: Ports, seed: u64) -> Self {
        Self {
            ports,
            clock: Arc::new(ManualClock::new(BEGIN)),
            seeds: AtomicU64::new(seed.wrapping_mul(1_000)),
            grounds: None,
            format: Options::default().format,
        }
    }

    /// A world on servers, where the suites look by these ports and each node has its own; at this time, in microseconds since
    /// the Unix epoch.
    #[must_use]
    pub fn on_servers(ports: Ports, grounds: Box<dyn Grounds>, begin: u64) -> Self {
        Self {
            clock: Arc::new(ManualClock::new(begin)),
            grounds: Some(grounds),
            ..Self::new(ports, 0)
        }
    }

    /// The same with nodes that speak this format to others, where a clause doesn't name another.
    #[must_use]
    pub fn speaking(self, format: wire::Format) -> Self {
        Self { format, ..self }
    }

    /// How long something may take that takes less than `time` where the time is the test's own. Servers, and the machine
    /// that they share with tests, have a speed of their own: there, twenty times as long.
    pub(super) fn patience(&self, time: Duration) -> Duration {
        match self.grounds {
            None => time,
            Some(_) => time * 20,
        }
    }

    /// Starts a node.
    pub async fn node(&self, name: &str) -> Node {
        let format = self.format;
        let options = Options {
            format,
            ..Options::default()
        };
        self.node_with(name, options).await
    }

    /// Starts a node whose replies wait longer for listeners than any clause does: one that is held up shows.
    pub(super) async fn patient_node(&self, name: &str) -> Node {
        let options = Options {
            format: self.format,
            sync_timeout: Duration::from_secs(60),
            ..Options::default()
        };
        self.node_with(name, options).await
    }

    /// Starts a node that is set up like this.
    pub async fn node_with(&self, name: &str, options: Options) -> Node {
        let ground = match &self.grounds {
            Some(grounds) => grounds.ground().await,
            None => Ground::new(self.ports.clone()),
        };
        let started = self.node_on(name, options, ground);
        started.await.expect("the node starts")
    }

    /// Starts a node on ground of its own.
    ///
    /// # Errors
    ///
    /// The store is away, or the name is taken.
    pub async fn node_on(&self, name: &str, options: Options, ground: Ground) -> Result<Node, NameError> {
        let seed = self.seeds.fetch_add(1, Ordering::SeqCst) + 1;
        Node::start(&self.clock, name, seed, options, ground).await
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

/// Three retries, five milliseconds: as many as the suites need, and quick where time is real.
pub(crate) fn fast() -> ListenerOptions {
    ListenerOptions {
        retries: 3,
        retry_pause: Duration::from_millis(5),
        execution_timeout: Duration::from_secs(30),
        ..ListenerOptions::default()
    }
}
