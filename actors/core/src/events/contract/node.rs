//! Nodes without an edge: a log, a bus, and what nodes need of each other.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use mailhorn_events::{Event, Generation};
use mailhorn_ports::memory::{ManualClock, SeededRandom};
use mailhorn_ports::{Clock, Forever, Ids, Key, Lease, Listener, ListenerOptions, Scope};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use super::world::{ClusterPorts, Ground, Options, Ports, fast, group};
use crate::events::{
    BusDeps, Dispatch, EventBus, Exchange, ExchangeDeps, ExchangeParts, Members, Prober, RegisteredGroup,
    Registration, Threads,
};
use crate::log::{self, LogDeps, LogError, LogHandle, LogOptions, Outcome};
use crate::mailbox::Mailboxes;
use crate::membership::{
    FormerLives, LogLease, MembershipDeps, MembershipParts, NameError, Sightings, check_name,
};
use crate::metrics::Metrics;
use crate::observe::Kinds;
use crate::supervisor::{Fatal, Supervise, Supervisor};

/// The retention of the log.
const RETENTION: Duration = Duration::from_secs(24 * 3_600);

/// A clock that is wrong.
#[derive(Debug)]
struct Skewed(Arc<ManualClock>, i64);

impl Clock for Skewed {
    fn now_micros(&self) -> u64 {
        self.0.now_micros().saturating_add_signed(self.1)
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub bus: EventBus,
    pub log: LogHandle,
    pub mailboxes: Mailboxes,
    pub dispatch: Dispatch,
    pub generation: Generation,
    pub ids: Ids,
    pub kinds: Arc<Kinds>,
    pub metrics: Arc<Metrics>,
    pub ports: Ports,
    /// `None`: it is alone.
    pub prober: Option<Prober>,
    members: watch::Receiver<Arc<Members>>,
    log_task: JoinHandle<()>,
    fatal: Arc<Mutex<mpsc::Receiver<Fatal>>>,
    exchange_stop: watch::Sender<bool>,
    membership_stop: watch::Sender<bool>,
}

/// What is left of a node that crashed.
#[derive(Debug)]
pub struct Crashed {
    pub name: String,
    pub generation: Generation,
}

impl Node {
    /// As a process starts: first its name, then its log, then its membership, and its log takes changes when that has begun.
    pub(super) async fn start(
        clock: &Arc<ManualClock>,
        name: &str,
        seed: u64,
        options: Options,
        ground: Ground,
    ) -> Result<Self, NameError> {
        let Ground { ports, lease, ended } = ground;
        let former = match &ports.cluster {
            Some(_) => check_name(&*ports.membership, name, ended).await?,
            None => FormerLives::default(),
        };
        let seen = ports.mail.highest_stamp().await?;
        let random = Arc::new(SeededRandom::new(seed));
        let ids = Ids::new(
            Arc::new(Skewed(Arc::clone(clock), options.skew_micros)),
            random,
            seen,
        );
        let generation = ids.generation();
        ports.mail.begin_log(generation, name).await?;
        let parts = NodeParts::new(name, options, ports, ids, generation);
        let (fatal_sender, fatal) = mpsc::channel(1);
        let supervisor = Supervisor::new(Arc::clone(&parts.kinds.supervisor), fatal_sender.clone()).start();
        let (members_sender, members) = watch::channel(Arc::new(Members::alone(generation)));
        let bus = parts.bus(&supervisor, members.clone());
        let (exchange_stop, stopped) = watch::channel(false);
        let (membership_stop, membership_stopped) = watch::channel(false);
        let mut log_lease: Arc<dyn Lease> = Arc::new(Forever);
        let mut prober = None;
        if let Some(cluster) = &parts.ports.cluster {
            let deps = parts.membership(former, &lease, members_sender, &bus);
            let child = MembershipParts::new(deps, membership_stopped).supervise();
            supervisor.send(child).await.expect("the supervisor lives");
            let exchange = parts.start_exchange(&supervisor, cluster, members.clone(), stopped);
            prober = Some(exchange.await);
            log_lease = lease.clone();
            lease.begun().await;
        }
        let log_task = parts.start_log(log_lease, fatal_sender);
        Ok(Self {
            name: name.to_owned(),
            bus,
            log: parts.log,
            mailboxes: parts.mailboxes,
            dispatch: parts.dispatch,
            generation,
            ids: parts.ids,
            kinds: parts.kinds,
            metrics: parts.metrics,
            ports: parts.ports,
            prober,
            members,
            log_task,
            fatal: Arc::new(Mutex::new(fatal)),
            exchange_stop,
            membership_stop,
        })
    }

    /// Resolves when this life has to end, and why.
    pub fn fatal(&self) -> impl Future<Output = Fatal> + 'static {
        let fatal = Arc::clone(&self.fatal);
        async move { fatal.lock().await.recv().await.expect("the supervisor lives") }
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

    /// Waits until a group has nothing parked of this log.
    pub async fn wait_unparked(&self, name: &str, log: Generation) {
        for _ in 0..20_000 {
            let parked = self.ports.groups.parked(&group(name), log).await;
            if parked.expect("parked events are listed").is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the group {name} still has events parked");
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
            if is_shown
                && status.lag() == 0
                && status.parked == 0
                && status.waiting == 0
                && status.running == 0
            {
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
        drop((self.exchange_stop, self.membership_stop));
        let kinds = self.kinds;
        while kinds.group.alive() + kinds.exchange.alive() + kinds.membership.alive() > 0 {
            tokio::task::yield_now().await;
        }
        Crashed {
            name: self.name,
            generation: self.generation,
        }
    }

    /// Ends well; as far as it can, where the store is away.
    pub async fn stop(self) {
        self.bus.finish(Duration::from_secs(10)).await;
        let is_durable = self.log.finish().await;
        self.exchange_stop.send_replace(true);
        match is_durable {
            true => drop(self.membership_stop.send_replace(true)),
            // Somebody else ends the log.
            false => drop(self.membership_stop),
        }
        while self.kinds.exchange.alive() + self.kinds.membership.alive() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.log_task.abort();
    }
}

/// What a node is made of before it runs.
struct NodeParts {
    name: String,
    options: Options,
    ports: Ports,
    ids: Ids,
    generation: Generation,
    kinds: Arc<Kinds>,
    metrics: Arc<Metrics>,
    mailboxes: Mailboxes,
    dispatch: Dispatch,
    log: LogHandle,
    queue: log::LogQueue,
    log_options: LogOptions,
}

impl NodeParts {
    fn new(name: &str, options: Options, ports: Ports, ids: Ids, generation: Generation) -> Self {
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
            queue_changes_max: options.queue_changes_max,
            group_changes_max: 64,
            maintain_pause: Duration::from_secs(30),
            retention: RETENTION,
            sync_timeout: options.sync_timeout,
            duplicate_window: Duration::from_secs(3_600),
        };
        let (log, queue) = log::queue(&log_options, Arc::clone(&kinds.log), Arc::clone(&metrics));
        Self {
            name: name.to_owned(),
            options,
            ports,
            ids,
            generation,
            kinds,
            metrics,
            mailboxes,
            dispatch,
            log,
            queue,
            log_options,
        }
    }

    fn bus(&self, supervisor: &Addr<Supervisor>, members: watch::Receiver<Arc<Members>>) -> EventBus {
        EventBus::new(BusDeps {
            mail: Arc::clone(&self.ports.mail),
            store: Arc::clone(&self.ports.groups),
            dispatch: self.dispatch.clone(),
            log: self.log.clone(),
            ids: self.ids.clone(),
            generation: self.generation,
            node: group(&self.name),
            members,
            supervisor: supervisor.clone(),
            home: Arbiter::current(),
            threads: Threads::Shared,
            retention: RETENTION,
            metrics: Arc::clone(&self.metrics),
            kinds: Arc::clone(&self.kinds),
        })
    }

    fn membership(
        &self,
        former: FormerLives,
        lease: &Arc<LogLease>,
        members: watch::Sender<Arc<Members>>,
        bus: &EventBus,
    ) -> MembershipDeps {
        MembershipDeps {
            generation: self.generation,
            node: self.name.clone(),
            former,
            membership: Arc::clone(&self.ports.membership),
            lease: Arc::clone(lease),
            members,
            sightings: Sightings::default(),
            groups: bus.local_groups(),
            threads: Threads::Shared,
            metrics: Arc::clone(&self.metrics),
            kind: Arc::clone(&self.kinds.membership),
        }
    }

    fn start_log(&self, lease: Arc<dyn Lease>, fatal: mpsc::Sender<Fatal>) -> JoinHandle<()> {
        let deps = LogDeps {
            store: Arc::clone(&self.ports.mail),
            dispatch: self.dispatch.clone(),
            ids: self.ids.clone(),
            generation: self.generation,
            lease,
            options: self.log_options,
            metrics: Arc::clone(&self.metrics),
            kind: Arc::clone(&self.kinds.log),
        };
        let queue = self.queue.clone();
        actix_rt::spawn(async move {
            let why = match log::work(&deps, &queue).await {
                Ok(()) => return,
                Err(LogError::LeaseLost) => Fatal::LeaseLost,
                Err(LogError::Store(_)) => Fatal::FailsTooOften("log".into()),
            };
            // The first reason counts.
            fatal.try_send(why).ok();
        })
    }

    async fn start_exchange(
        &self,
        supervisor: &Addr<Supervisor>,
        cluster: &ClusterPorts,
        members: watch::Receiver<Arc<Members>>,
        stop: watch::Receiver<bool>,
    ) -> Prober {
        let deps = ExchangeDeps {
            generation: self.generation,
            registry: Arc::clone(&cluster.registry),
            transport: Arc::clone(&cluster.transport),
            fanout: cluster.fanout,
            format: self.options.format,
            dispatch: self.dispatch.clone(),
            members,
            metrics: Arc::clone(&self.metrics),
            kind: Arc::clone(&self.kinds.exchange),
        };
        let parts = ExchangeParts::new(deps, stop);
        let prober = parts.prober();
        let child = Supervise {
            child: "exchange".into(),
            kind: Arc::clone(&self.kinds.exchange),
            essential: true,
            factory: Box::new(move |guard| {
                Exchange::new(parts.clone(), guard).start();
            }),
        };
        supervisor.send(child).await.expect("the supervisor lives");
        prober
    }
}
