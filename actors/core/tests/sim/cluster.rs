//! The cluster: its nodes come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mailhorn_core::events::Registration;
use mailhorn_core::events::contract::{Node, Options, World};
use mailhorn_core::membership::SILENCE_MAX;
use mailhorn_events::{MailboxId, Stamp};
use mailhorn_listeners::quota::{QuotaThresholds, QuotaThresholdsDeps};
use mailhorn_ports::memory::{MemoryRegistry, MemoryStore, MemoryTransport, NextCommit, Weather};
use mailhorn_ports::{
    Account, Credentials, Directory, GroupName, Key, Listener, ListenerOptions, MailStore, NewAccount,
    Retention, Scope,
};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::clients::{Client, Ledger};
use crate::listeners::{DEFAULTS, Member, PERCENTS, Seen, Watcher};
use crate::swarm::{Swarm, What};

/// Groups, whether they run on every node or only on the first two, and which events they call bad for good.
pub(crate) const GROUPS: [(&str, bool, u64); 3] = [("all", true, 0), ("few", false, 0), ("strict", true, 61)];
/// How long a cluster may take to come to rest once everything is mended.
const REST_MAX: Duration = Duration::from_secs(600);

struct Running {
    node: Node,
    watcher: Arc<Watcher>,
    _registration: Registration,
    clients: JoinHandle<()>,
}

pub(crate) struct Cluster {
    swarm: Swarm,
    world: World,
    store: MemoryStore,
    registry: MemoryRegistry,
    transport: MemoryTransport,
    users: Arc<Vec<Arc<Account>>>,
    ledger: Arc<Mutex<Ledger>>,
    seen: BTreeMap<&'static str, Arc<Mutex<Seen>>>,
    is_away: Arc<AtomicBool>,
    slots: Mutex<Vec<Option<Running>>>,
    until: Instant,
    is_mended: AtomicBool,
}

/// What is left to look at.
pub(crate) struct AtRest {
    pub(crate) nodes: Vec<(Node, Arc<Watcher>)>,
    pub(crate) store: MemoryStore,
    pub(crate) users: Arc<Vec<Arc<Account>>>,
    pub(crate) ledger: Ledger,
    pub(crate) seen: BTreeMap<&'static str, Seen>,
    _registrations: Vec<Registration>,
}

impl Cluster {
    pub(crate) async fn start(swarm: Swarm) -> Arc<Self> {
        let world = World::cluster(swarm.fanout, swarm.seed);
        let store = world.ports.memory.clone();
        let memory = world
            .ports
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.memory.clone());
        let (registry, transport) = memory.expect("nodes meet in memory");
        store.keep_history();
        let users = users(&store, swarm.users).await;
        let names = GROUPS.iter().map(|(name, ..)| (*name, Arc::default()));
        let cluster = Arc::new(Self {
            store,
            registry,
            transport,
            users: Arc::new(users),
            ledger: Arc::default(),
            seen: names.collect(),
            is_away: Arc::default(),
            slots: Mutex::new((0..swarm.nodes).map(|_| None).collect()),
            until: Instant::now() + swarm.life,
            is_mended: AtomicBool::new(false),
            world,
            swarm,
        });
        let clock = Arc::clone(&cluster.world.clock);
        actix_rt::spawn(async move {
            loop {
                sleep(Duration::from_millis(10)).await;
                clock.advance(Duration::from_millis(10));
            }
        });
        for slot in 0..cluster.swarm.nodes {
            cluster.start_node(slot).await;
        }
        cluster
    }

    async fn start_node(self: &Arc<Self>, slot: usize) {
        // A node that finds no store at its start ends at once, and whoever runs it starts it again.
        while self.store.highest_stamp().await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
        let options = Options {
            skew_micros: self.swarm.skews[slot],
            ..Options::default()
        };
        let node = self.world.node_with(&format!("node-{slot}"), options).await;
        for (name, everywhere, dies) in GROUPS {
            if everywhere || slot < 2 {
                self.join(&node, name, dies).await;
            }
        }
        self.join_quota(&node).await;
        let user = slot % self.users.len();
        let mailbox = MailboxId::inbox(self.users[user].id);
        let watcher = Arc::new(Watcher::new(mailbox, self.store.clone()));
        let registration = node.listen(&watcher, &[Key::Mailbox(mailbox)]).await;
        watcher.read().await;
        let client = Client {
            log: node.log.clone(),
            mailboxes: node.mailboxes.clone(),
            ids: node.ids.clone(),
            store: self.store.clone(),
            users: Arc::clone(&self.users),
            ledger: Arc::clone(&self.ledger),
            random: self.swarm.random(100 + slot as u64),
        };
        let (until, pause_ms_max) = (self.until, self.swarm.pause_ms_max);
        let clients = actix_rt::spawn(async move {
            while Instant::now() < until {
                sleep(Duration::from_millis(1 + client.random.below(pause_ms_max))).await;
                client.act().await;
            }
        });
        self.slots.lock()[slot] = Some(Running {
            node,
            watcher,
            _registration: registration,
            clients,
        });
    }

    async fn join(&self, node: &Node, name: &'static str, dies: u64) {
        let member = Arc::new(Member {
            seen: Arc::clone(&self.seen[name]),
            random: self.swarm.random(dies + 7),
            bad: self.swarm.bad,
            panics: self.swarm.panics,
            dies,
            is_away: Arc::clone(&self.is_away),
        });
        let options = ListenerOptions {
            concurrency: 4,
            ..ListenerOptions::default()
        };
        register(node, name, member, options).await;
    }

    /// The listener that ships with the node runs here as it does there.
    async fn join_quota(&self, node: &Node) {
        let thresholds = QuotaThresholds::new(QuotaThresholdsDeps {
            quota: Arc::new(self.store.clone()),
            writer: Arc::new(node.log.clone()),
            ids: node.ids.clone(),
            defaults: DEFAULTS,
            percents: PERCENTS.to_vec(),
        });
        let options = ListenerOptions {
            batch_max: 50,
            ..ListenerOptions::default()
        };
        register(node, "quota", Arc::new(thresholds), options).await;
    }

    /// Clients work, and things go wrong.
    pub(crate) async fn live(self: &Arc<Self>) {
        let begun = Instant::now();
        for fault in self.swarm.faults.clone() {
            tokio::time::sleep_until(begun + fault.at).await;
            self.go_wrong(fault.what).await;
        }
        tokio::time::sleep_until(self.until).await;
    }

    async fn go_wrong(self: &Arc<Self>, what: What) {
        let this = Arc::clone(self);
        match what {
            What::UnknownDone => self.store.next_commit(NextCommit::UnknownDone),
            What::UnknownNotDone => self.store.next_commit(NextCommit::UnknownNotDone),
            What::SlowCommits(delay) => self.store.delay_commits(delay),
            What::Weather(weather) => self.transport.set_weather(weather),
            What::Wipe => self.registry.wipe(),
            What::StoreAway(time) => {
                self.store.set_unavailable(true);
                actix_rt::spawn(async move {
                    sleep(time).await;
                    this.store.set_unavailable(false);
                });
            }
            What::RegistryAway(time) => {
                self.registry.set_unavailable(true);
                actix_rt::spawn(async move {
                    sleep(time).await;
                    this.registry.set_unavailable(false);
                });
            }
            What::BackEndAway(time) => {
                self.is_away.store(true, Ordering::SeqCst);
                actix_rt::spawn(async move {
                    sleep(time).await;
                    this.is_away.store(false, Ordering::SeqCst);
                });
            }
            What::Trim => {
                let retention = Retention {
                    records_before: Stamp(0),
                    groups_before: Stamp(0),
                    notes_since: Stamp(0),
                };
                // While the store is away it is not trimmed.
                drop(self.store.maintain(retention).await);
            }
            What::Crash(slot, pause) => self.end_node(slot, pause, false).await,
            What::Stop(slot, pause) => self.end_node(slot, pause, true).await,
        }
    }

    async fn end_node(self: &Arc<Self>, slot: usize, pause: Duration, cleanly: bool) {
        let Some(running) = self.slots.lock()[slot].take() else {
            return;
        };
        running.clients.abort();
        if cleanly {
            running.node.stop().await;
        } else {
            running.node.crash().await;
        }
        let this = Arc::clone(self);
        actix_rt::spawn(async move {
            let back = Instant::now() + pause;
            while Instant::now() < back && !this.is_mended.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(200)).await;
            }
            this.start_node(slot).await;
        });
    }

    /// Everything is mended; returns when all that listens has had all that happened.
    pub(crate) async fn come_to_rest(self: &Arc<Self>) -> AtRest {
        self.is_mended.store(true, Ordering::SeqCst);
        self.store.set_unavailable(false);
        self.store.delay_commits(Duration::ZERO);
        self.transport.set_weather(Weather::default());
        self.registry.set_unavailable(false);
        self.is_away.store(false, Ordering::SeqCst);
        let deadline = Instant::now() + REST_MAX;
        while self.slots.lock().iter().any(Option::is_none) {
            assert!(Instant::now() < deadline, "not every node came back");
            sleep(Duration::from_millis(100)).await;
        }
        // Faults that were drawn late end, the dead are known to be dead, the fast path is trusted again.
        sleep(SILENCE_MAX * 3).await;
        self.is_away.store(false, Ordering::SeqCst);
        loop {
            let is_idle = self.slots.lock().iter().flatten().all(|running| {
                let groups = running.node.bus.groups();
                groups.iter().all(|group| group.status.is_idle())
            });
            if is_idle {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "the groups do not come to rest: {}",
                self.groups()
            );
            sleep(Duration::from_millis(500)).await;
        }
        sleep(SILENCE_MAX).await;
        let running: Vec<Running> = self.slots.lock().iter_mut().filter_map(Option::take).collect();
        let mut registrations = Vec::new();
        let nodes = running.into_iter().map(|running| {
            registrations.push(running._registration);
            (running.node, running.watcher)
        });
        AtRest {
            nodes: nodes.collect(),
            store: self.store.clone(),
            users: Arc::clone(&self.users),
            ledger: std::mem::take(&mut *self.ledger.lock()),
            seen: self
                .seen
                .iter()
                .map(|(name, seen)| (*name, std::mem::take(&mut *seen.lock())))
                .collect(),
            _registrations: registrations,
        }
    }

    fn groups(&self) -> String {
        let slots = self.slots.lock();
        let groups: Vec<_> = slots
            .iter()
            .flatten()
            .flat_map(|running| running.node.bus.groups())
            .collect();
        format!("{groups:#?}")
    }
}

async fn register(node: &Node, name: &str, listener: Arc<dyn Listener>, options: ListenerOptions) {
    let group: GroupName = name.parse().expect("a group's name");
    let deadline = Instant::now() + REST_MAX;
    loop {
        let listener = Arc::clone(&listener);
        let registered = node
            .bus
            .register_group(group.clone(), Scope::Local, listener, options);
        match registered.await {
            Ok(()) => return,
            // The store is away for a while.
            Err(error) => {
                assert!(Instant::now() < deadline, "{name} is not registered: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn users(store: &MemoryStore, count: u64) -> Vec<Arc<Account>> {
    store.add_domain("example.org").await.expect("a domain is made");
    let mut users = Vec::new();
    for n in 0..count {
        let account = NewAccount {
            id: World::user(n),
            address: format!("user-{n}@example.org"),
            credentials: Credentials {
                stamp: Stamp(1),
                argon2id: String::new(),
                scram: None,
            },
            created: Stamp(1),
        };
        users.push(store.add_account(account).await.expect("an account is made"));
    }
    users
}
