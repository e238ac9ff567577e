//! The cluster: its nodes come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mailhorn_core::events::Registration;
use mailhorn_core::events::contract::{Node, Options, World};
use mailhorn_core::membership::NameError;
use mailhorn_core::membership::SILENCE_MAX;
use mailhorn_core::supervisor::Fatal;
use mailhorn_events::{Generation, MailboxId, Stamp};
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
use crate::gate::{Gate, SharedNet};
use crate::listeners::{DEFAULTS, Member, PERCENTS, Seen, Watcher};
use crate::swarm::{Swarm, What};

/// Groups, whether they run on every node or only on the first two, and which events they call bad for good.
pub(crate) const GROUPS: [(&str, bool, u64); 3] = [("all", true, 0), ("few", false, 0), ("strict", true, 61)];
/// How long a cluster may take to come to rest once everything is mended.
const REST_MAX: Duration = Duration::from_secs(600);

struct Running {
    node: Node,
    gate: Gate,
    watcher: Arc<Watcher>,
    _registration: Registration,
    clients: JoinHandle<()>,
    /// Waits for what ends this life.
    fatal: JoinHandle<()>,
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
    net: SharedNet,
    /// The logs that each node's process wrote in lives before this one.
    ended: Mutex<Vec<BTreeSet<Generation>>>,
    lost: AtomicU64,
    adopted: AtomicU64,
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
    pub(crate) net: SharedNet,
    /// Lives that ended with their lease.
    pub(crate) lost: u64,
    /// Logs that were ended by others than their writers.
    pub(crate) adopted: u64,
    _registrations: Vec<Registration>,
}

impl Cluster {
    pub(crate) async fn start(swarm: Swarm) -> Arc<Self> {
        let world = World::cluster(swarm.fanout, swarm.seed);
        let store = world.ports.memory.clone().expect("nodes stand on memory");
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
            net: SharedNet::default(),
            ended: Mutex::new(vec![BTreeSet::new(); swarm.nodes]),
            lost: AtomicU64::new(0),
            adopted: AtomicU64::new(0),
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
        let gate = Gate::new(slot, Arc::clone(&self.net));
        let node = self.begin(slot, &gate).await;
        for (name, everywhere, dies) in GROUPS {
            if everywhere || slot < 2 {
                self.join(&node, &gate, name, dies).await;
            }
        }
        self.join_quota(&node).await;
        let user = slot % self.users.len();
        let mailbox = MailboxId::inbox(self.users[user].id);
        let watcher = Arc::new(Watcher::new(mailbox, Arc::clone(&node.ports.mail)));
        let registration = node.listen(&watcher, &[Key::Mailbox(mailbox)]).await;
        watcher.read().await;
        let running = Running {
            clients: self.clients(&node, &gate),
            fatal: self.wait_for_the_end(&node, &gate),
            node,
            gate,
            watcher,
            _registration: registration,
        };
        self.slots.lock()[slot] = Some(running);
    }

    /// A node that finds no store at its start ends at once, and whoever runs it starts it again.
    async fn begin(&self, slot: usize, gate: &Gate) -> Node {
        let name = format!("node-{slot}");
        let options = Options {
            skew_micros: self.swarm.skews[slot],
            ..Options::default()
        };
        loop {
            let mut ground = gate.ground(&self.world.ports);
            ground.ended.clone_from(&self.ended.lock()[slot]);
            match self.world.node_on(&name, options, ground).await {
                Ok(node) => return node,
                Err(NameError::Store(_)) => sleep(Duration::from_millis(50)).await,
                Err(NameError::InUse { node, log }) => panic!("{node} is taken for another's, by {log}"),
            }
        }
    }

    fn clients(&self, node: &Node, gate: &Gate) -> JoinHandle<()> {
        let client = Client {
            log: node.log.clone(),
            mailboxes: node.mailboxes.clone(),
            ids: node.ids.clone(),
            store: Arc::clone(&node.ports.mail),
            users: Arc::clone(&self.users),
            ledger: Arc::clone(&self.ledger),
            random: self.swarm.random(100 + gate.slot as u64),
        };
        let (until, pause_ms_max, gate) = (self.until, self.swarm.pause_ms_max, gate.clone());
        actix_rt::spawn(async move {
            while Instant::now() < until {
                sleep(Duration::from_millis(1 + client.random.below(pause_ms_max))).await;
                client.act().await;
                // Of a node that is held up one client at most has asked for something.
                if gate.pass().await.is_err() {
                    return;
                }
            }
        })
    }

    /// A node whose life has to end ends it, and begins another: in the same process if its lease was lost.
    fn wait_for_the_end(self: &Arc<Self>, node: &Node, gate: &Gate) -> JoinHandle<()> {
        let (this, fatal, log) = (Arc::clone(self), node.fatal(), node.generation);
        let (gate, slot) = (gate.clone(), gate.slot);
        actix_rt::spawn(async move {
            let why = fatal.await;
            // While it is held up it does nothing about it.
            drop(gate.pass().await);
            // Ending the node ends this task.
            actix_rt::spawn(async move {
                let before = this.ended.lock()[slot].clone();
                this.end_node(slot, Duration::ZERO, false).await;
                if why == Fatal::LeaseLost {
                    this.lost.fetch_add(1, Ordering::SeqCst);
                    let ended = &mut this.ended.lock()[slot];
                    ended.extend(before);
                    ended.insert(log);
                }
            });
        })
    }

    async fn join(&self, node: &Node, gate: &Gate, name: &'static str, dies: u64) {
        let member = Arc::new(Member {
            seen: Arc::clone(&self.seen[name]),
            random: self.swarm.random(dies + 7),
            bad: self.swarm.bad,
            panics: self.swarm.panics,
            dies,
            is_away: Arc::clone(&self.is_away),
            gate: gate.clone(),
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
            quota: Arc::clone(&node.ports.quota),
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
            What::LateCommit(slot, by) => self.with_gate(slot, |gate| gate.make_next_commit_late(by)),
            What::StoreAwayFor(slot, time) => self.for_a_while(slot, time, Gate::set_store_away),
            What::Freeze(slot, time) => self.for_a_while(slot, time, Gate::freeze),
            What::Cut(sides, time) => {
                let sides = (0..self.swarm.nodes).map(|slot| (slot, sides >> slot & 1));
                self.net.lock().cut(sides.collect());
                actix_rt::spawn(async move {
                    sleep(time).await;
                    this.net.lock().cut(BTreeMap::new());
                });
            }
            What::Crash(slot, pause) => self.end_node(slot, pause, false).await,
            What::Stop(slot, pause) => self.end_node(slot, pause, true).await,
        }
    }

    fn with_gate(&self, slot: usize, act: impl FnOnce(&Gate)) {
        if let Some(running) = &self.slots.lock()[slot] {
            act(&running.gate);
        }
    }

    /// Does something to a node, and takes it back after a while.
    fn for_a_while(&self, slot: usize, time: Duration, set: fn(&Gate, bool)) {
        self.with_gate(slot, |gate| {
            set(gate, true);
            let gate = gate.clone();
            actix_rt::spawn(async move {
                sleep(time).await;
                set(&gate, false);
            });
        });
    }

    async fn end_node(self: &Arc<Self>, slot: usize, pause: Duration, cleanly: bool) {
        let Some(running) = self.slots.lock()[slot].take() else {
            return;
        };
        running.clients.abort();
        running.fatal.abort();
        let metrics = Arc::clone(&running.node.metrics);
        if cleanly && !running.gate.is_frozen() {
            running.node.stop().await;
        } else {
            running.gate.kill();
            running.node.crash().await;
        }
        self.adopted.fetch_add(metrics.adoptions.get(), Ordering::SeqCst);
        self.ended.lock()[slot].clear();
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
        self.mend();
        let deadline = Instant::now() + REST_MAX;
        // Those that are held up wake when it is time.
        while !self.is_whole() {
            assert!(Instant::now() < deadline, "not every node came back");
            sleep(Duration::from_millis(100)).await;
        }
        // Faults that were drawn late end, the dead are known to be dead, the fast path is trusted again.
        sleep(SILENCE_MAX * 3).await;
        self.is_away.store(false, Ordering::SeqCst);
        while !(self.is_idle() && self.is_whole()) {
            assert!(
                Instant::now() < deadline,
                "the groups do not come to rest: {}",
                self.groups()
            );
            sleep(Duration::from_millis(500)).await;
        }
        sleep(SILENCE_MAX).await;
        assert!(self.is_whole(), "a node ended when all was well");
        self.at_rest()
    }

    fn mend(&self) {
        self.is_mended.store(true, Ordering::SeqCst);
        self.store.set_unavailable(false);
        self.store.delay_commits(Duration::ZERO);
        self.transport.set_weather(Weather::default());
        self.registry.set_unavailable(false);
        self.is_away.store(false, Ordering::SeqCst);
        self.net.lock().cut(BTreeMap::new());
    }

    fn is_idle(&self) -> bool {
        self.slots.lock().iter().flatten().all(|running| {
            let groups = running.node.bus.groups();
            groups.iter().all(|group| {
                let status = &group.status;
                status.lag() == 0 && status.parked == 0 && status.waiting == 0 && status.running == 0
            })
        })
    }

    fn at_rest(&self) -> AtRest {
        let running: Vec<Running> = self.slots.lock().iter_mut().filter_map(Option::take).collect();
        let living = running.iter().map(|running| running.node.metrics.adoptions.get());
        let adopted = self.adopted.load(Ordering::SeqCst) + living.sum::<u64>();
        let mut registrations = Vec::new();
        let nodes = running.into_iter().map(|running| {
            running.fatal.abort();
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
            net: Arc::clone(&self.net),
            lost: self.lost.load(Ordering::SeqCst),
            adopted,
            _registrations: registrations,
        }
    }

    /// Every node is there, and reaches what it needs.
    fn is_whole(&self) -> bool {
        let slots = self.slots.lock();
        let mut slots = slots.iter();
        slots.all(|slot| slot.as_ref().is_some_and(|running| running.gate.is_open()))
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
                hash: String::new(),
                scram: None,
                app_passwords: Vec::new(),
            },
            created: Stamp(1),
        };
        users.push(store.add_account(account).await.expect("an account is made"));
    }
    users
}
