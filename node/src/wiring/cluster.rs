//! What makes a node one of a cluster: its heartbeat, the fast path to the others, maildrop locks between nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use anyhow::Context as _;
use async_trait::async_trait;
use mailhorn_cassandra::CassandraStore;
use mailhorn_core::events::{Exchange, ExchangeDeps, ExchangeParts, Fanout, Members, Prober, Threads};
use mailhorn_core::mailbox::{ClusterLockOptions, ClusterLocks, LockKeeper};
use mailhorn_core::membership::{
    FormerLives, LogLease, MembershipDeps, MembershipParts, Sightings, check_name,
};
use mailhorn_core::metrics::Metrics;
use mailhorn_core::observe::{Kind, Kinds};
use mailhorn_core::supervisor::{Supervise, Supervisor};
use mailhorn_events::Generation;
use mailhorn_ports::Ids;
use mailhorn_redis::{BreakerState, Notices, Redis, Surroundings};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Parts;
use super::events::Listening;
use super::stores::{Connections, Shared};
use crate::clock::{BootClock, OsRandom};
use crate::operations::cluster::{InCluster, Servers};
use crate::operations::views::{Breaker, CassandraHealth, LocksMode, RedisHealth};
use crate::settings::Settings;
use crate::settings::value::Transport;

/// How long a node that ends has to tell the others.
const LEAVE_DEADLINE: Duration = Duration::from_secs(6);
/// How often it is looked whether it has.
const LEAVE_LOOK: Duration = Duration::from_millis(10);

/// The parts of a node that are there only in a cluster.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    /// Kept for as long as anybody asks.
    _connections: Arc<Connections>,
    pub(super) store: CassandraStore,
    pub(super) redis: Redis,
    pub(super) locks: ClusterLocks,
    lease: Arc<LogLease>,
    sightings: Sightings,
}

/// Counts what the client of Redis notices.
#[derive(Debug)]
struct Counted(Arc<Metrics>);

impl Notices for Counted {
    fn limit_reached(&self, limit: &'static str) {
        self.0.limit(limit);
    }

    fn frames_lost(&self, frames: u64) {
        tracing::warn!(
            frames,
            "other nodes sent more than this one took up: views are read again"
        );
    }
}

impl Cluster {
    pub(super) fn new(
        settings: &Settings,
        shared: Shared,
        ids: &Ids,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let options = mailhorn_redis::Options {
            ca_file: settings.redis.ca_file.clone(),
            namespace: settings.redis.namespace.as_str().to_owned(),
            deadline: settings.redis.timeout,
            ..mailhorn_redis::Options::default()
        };
        let surroundings = Surroundings {
            runtime: shared.connections.runtime(),
            random: Arc::new(OsRandom),
            notices: Arc::new(Counted(Arc::clone(metrics))),
        };
        let redis = Redis::new(settings.redis.url.url().clone(), options, surroundings)?;
        let locks = ClusterLocks::new(
            Arc::new(redis.clone()),
            ClusterLockOptions::default(),
            Arc::new(BootClock),
            ids.clone(),
            Arc::clone(metrics),
        );
        let Shared {
            store,
            lease,
            connections,
        } = shared;
        Ok(Self {
            _connections: connections,
            store,
            redis,
            locks,
            lease,
            sightings: Sightings::default(),
        })
    }

    /// Finds out whether the node's name is free.
    pub(super) async fn check_name(
        &self,
        node: &str,
        ended: &BTreeSet<Generation>,
    ) -> anyhow::Result<FormerLives> {
        Ok(check_name(&self.store, node, ended.clone()).await?)
    }
}

/// What ends a node's part in the cluster. Dropped, it ends as in a crash.
#[derive(Debug)]
pub(super) struct Joined {
    exchange: watch::Sender<bool>,
    membership: watch::Sender<bool>,
    kinds: Arc<Kinds>,
    /// The way to the other nodes.
    prober: Prober,
}

impl Parts {
    /// Makes the node known. Returns when its first heartbeat has come through: before that its log takes nothing.
    pub(super) async fn join(
        &self,
        cluster: &Cluster,
        settings: &Settings,
        listening: &Listening,
        former: FormerLives,
        supervisor: &Addr<Supervisor>,
    ) -> anyhow::Result<Joined> {
        let ended = "the supervisor has ended";
        let (membership, stopped) = watch::channel(false);
        let deps = MembershipDeps {
            generation: self.generation,
            node: settings.node.name.as_str().to_owned(),
            former,
            membership: Arc::new(cluster.store.clone()),
            lease: Arc::clone(&cluster.lease),
            members: listening.members.clone(),
            sightings: cluster.sightings.clone(),
            groups: listening.bus.local_groups(),
            threads: Threads::Own,
            metrics: Arc::clone(&self.metrics),
            kind: Arc::clone(&self.kinds.membership),
        };
        let child = MembershipParts::new(deps, stopped).supervise();
        supervisor.send(child).await.context(ended)?;
        let (exchange, stopped) = watch::channel(false);
        let parts = self.exchange(cluster, settings, listening.members.subscribe(), stopped);
        let prober = parts.prober();
        supervisor
            .send(supervised(parts, Arc::clone(&self.kinds.exchange)))
            .await
            .context(ended)?;
        supervisor.send(self.lock_keeper(cluster)).await.context(ended)?;
        cluster.lease.begun().await;
        Ok(Joined {
            exchange,
            membership,
            kinds: Arc::clone(&self.kinds),
            prober,
        })
    }

    fn exchange(
        &self,
        cluster: &Cluster,
        settings: &Settings,
        members: watch::Receiver<Arc<Members>>,
        stopped: watch::Receiver<bool>,
    ) -> ExchangeParts {
        let deps = ExchangeDeps {
            generation: self.generation,
            registry: Arc::new(cluster.redis.clone()),
            transport: Arc::new(cluster.redis.clone()),
            fanout: match settings.events.transport {
                Transport::Registered => Fanout::Registered,
                Transport::Broadcast => Fanout::Broadcast,
            },
            format: settings.events.format,
            dispatch: self.dispatch.clone(),
            members,
            metrics: Arc::clone(&self.metrics),
            kind: Arc::clone(&self.kinds.exchange),
        };
        ExchangeParts::new(deps, stopped)
    }

    fn lock_keeper(&self, cluster: &Cluster) -> Supervise {
        let (locks, kind) = (cluster.locks.clone(), Arc::clone(&self.kinds.lock_keeper));
        Supervise {
            child: "lock keeper".into(),
            kind: Arc::clone(&kind),
            essential: true,
            factory: Box::new(move |guard| {
                LockKeeper::new(locks.clone(), Arc::clone(&kind), guard).start();
            }),
        }
    }
}

fn supervised(exchange: ExchangeParts, kind: Arc<Kind>) -> Supervise {
    Supervise {
        child: "exchange".into(),
        kind,
        essential: true,
        factory: Box::new(move |guard| {
            Exchange::new(exchange.clone(), guard).start();
        }),
    }
}

#[async_trait]
impl Servers for Cluster {
    fn cassandra(&self) -> CassandraHealth {
        let mailhorn_cassandra::Health {
            answered,
            retried,
            failed,
            overloaded,
            queued,
            answers,
        } = self.store.health();
        CassandraHealth {
            answers,
            answered,
            retried,
            failed,
            overloaded,
            queued,
        }
    }

    async fn redis(&self) -> RedisHealth {
        let health = self.redis.health().await;
        let round_trip = health.round_trip.map(|took| took.as_micros());
        RedisHealth {
            address: health.address,
            answers: health.answers,
            breaker: match health.breaker {
                BreakerState::Closed => Breaker::Closed,
                BreakerState::Open => Breaker::Open,
                BreakerState::HalfOpen => Breaker::HalfOpen,
            },
            last_error: health.last_error,
            round_trip_us: round_trip.map(|micros| u64::try_from(micros).unwrap_or(u64::MAX)),
        }
    }

    fn maildrop_locks(&self) -> LocksMode {
        match self.locks.is_away() {
            true => LocksMode::LocalOnly,
            false => LocksMode::Cluster,
        }
    }
}

impl Joined {
    /// What is asked of the cluster.
    pub(super) fn operations(&self, cluster: &Cluster, parts: &Parts, settings: &Settings) -> InCluster {
        InCluster {
            lease: Arc::clone(&cluster.lease) as _,
            sightings: cluster.sightings.clone(),
            membership: Arc::new(cluster.store.clone()),
            prober: self.prober.clone(),
            servers: Arc::new(cluster.clone()),
            transport: settings.events.transport.word(),
            format: settings.events.format.name(),
            metrics: Arc::clone(&parts.metrics),
        }
    }

    /// Tells the others that this node ends. Its log has finished.
    pub(super) async fn leave(self) {
        self.exchange.send_replace(true);
        self.membership.send_replace(true);
        let last = Instant::now() + LEAVE_DEADLINE;
        while self.kinds.membership.alive() + self.kinds.exchange.alive() > 0 {
            if Instant::now() >= last {
                tracing::warn!("other nodes were not told in time that this one ends: they find out");
                return;
            }
            sleep(LEAVE_LOOK).await;
        }
    }
}
