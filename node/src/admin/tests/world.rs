//! What the admin server works on in these tests: a store in memory, a log and an event bus as a node has them.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use mailhorn_core::bans::Bans;
use mailhorn_core::drain::{self, Drain, DrainWatch};
use mailhorn_core::events::{BusDeps, Dispatch, EventBus, FeedHub, FeedOptions, Members, Threads};
use mailhorn_core::log::{self, LogDeps, LogHandle, LogOptions};
use mailhorn_core::mailbox::Mailboxes;
use mailhorn_core::metrics::Metrics;
use mailhorn_core::observe::Kinds;
use mailhorn_core::supervisor::Supervisor;
use mailhorn_events::Generation;
use mailhorn_ports::memory::MemoryStore;
use mailhorn_ports::{Forever, Ids, MailStore};
use tokio::sync::{mpsc, watch};

use crate::operations::Operations;
use crate::operations::cluster::ClusterOperations;
use crate::operations::listening::EventOperations;
use crate::operations::tests::operations;
use crate::settings::Settings;

/// The parts of a node that the admin server asks.
#[derive(Debug)]
pub(super) struct World {
    pub(super) store: MemoryStore,
    pub(super) bus: EventBus,
    pub(super) feed: FeedHub,
    pub(super) drain: Drain,
    pub(super) watch: DrainWatch,
    pub(super) generation: Generation,
    pub(super) dispatch: Dispatch,
    pub(super) kinds: Arc<Kinds>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) supervisor: Addr<Supervisor>,
    pub(super) members: watch::Sender<Arc<Members>>,
    log: LogHandle,
    ids: Ids,
}

impl World {
    pub(super) async fn start() -> Self {
        let store = MemoryStore::new();
        let shared: Arc<dyn MailStore> = Arc::new(store.clone());
        let ids = operations(&store).ids;
        let kinds = Arc::new(Kinds::default());
        let metrics = Arc::new(Metrics::new(Arc::clone(&kinds)).0);
        let idle = Duration::from_secs(60);
        let mailboxes = Mailboxes::new(
            Arc::clone(&shared),
            idle,
            Arc::clone(&kinds.mailbox),
            Arc::clone(&metrics),
        );
        let dispatch = Dispatch::new(mailboxes, Arc::clone(&metrics), Arc::clone(&kinds.key_listener));
        let generation = ids.generation();
        shared.begin_log(generation, "node").await.unwrap();
        let options = LogOptions {
            append_deadline: Duration::from_secs(60),
            queue_changes_max: log::QUEUE_CHANGES_MAX_DEFAULT,
            group_changes_max: log::GROUP_CHANGES_MAX_DEFAULT,
            maintain_pause: Duration::from_secs(3_600),
            retention: Duration::from_secs(3_600),
            sync_timeout: Duration::from_millis(250),
            duplicate_window: Duration::ZERO,
        };
        let (log, queue) = log::queue(&options, Arc::clone(&kinds.log), Arc::clone(&metrics));
        let deps = LogDeps {
            store: Arc::clone(&shared),
            dispatch: dispatch.clone(),
            ids: ids.clone(),
            generation,
            lease: Arc::new(Forever),
            options,
            metrics: Arc::clone(&metrics),
            kind: Arc::clone(&kinds.log),
        };
        actix_rt::spawn(async move { log::work(&deps, &queue).await });
        let (fatal, _) = mpsc::channel(1);
        let supervisor = Supervisor::new(Arc::clone(&kinds.supervisor), fatal).start();
        let (members, watched) = watch::channel(Arc::new(Members::alone(generation)));
        let bus = EventBus::new(BusDeps {
            mail: shared,
            store: Arc::new(store.clone()),
            dispatch: dispatch.clone(),
            log: log.clone(),
            ids: ids.clone(),
            generation,
            node: "node".parse().unwrap(),
            members: watched,
            supervisor: supervisor.clone(),
            home: Arbiter::current(),
            threads: Threads::Shared,
            retention: Duration::from_secs(3_600),
            metrics: Arc::clone(&metrics),
            kinds: Arc::clone(&kinds),
        });
        let (drain, watch) = drain::drain();
        let feed = FeedOptions {
            memory_octets: 1 << 20,
            linger: Duration::from_secs(60),
            clients_max: 2,
        };
        Self {
            store,
            feed: FeedHub::new(bus.clone(), generation, feed),
            bus,
            drain,
            watch,
            generation,
            dispatch,
            kinds,
            metrics,
            supervisor,
            members,
            log,
            ids,
        }
    }

    pub(super) fn operations(&self) -> Operations {
        Operations {
            writer: Arc::new(self.log.clone()),
            ids: self.ids.clone(),
            ..operations(&self.store)
        }
    }

    pub(super) fn bans(&self, settings: &Settings) -> Bans {
        let store = Arc::new(self.store.clone());
        Bans::new(
            settings.ban_options(),
            store,
            self.ids.clone(),
            Arc::clone(&self.metrics),
        )
    }

    /// Of a node that is alone.
    pub(super) fn cluster(&self) -> ClusterOperations {
        ClusterOperations {
            node: "node".into(),
            generation: self.generation,
            cluster: None,
            events: self.events(),
        }
    }

    pub(super) fn events(&self) -> EventOperations {
        EventOperations {
            bus: self.bus.clone(),
            groups: Arc::new(self.store.clone()),
            mail: Arc::new(self.store.clone()),
            redeliver_limit: 100,
            ignored_groups: Vec::new(),
        }
    }
}
