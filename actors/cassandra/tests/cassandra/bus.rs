//! The contract suite of the event bus, on a real Cassandra and a real Redis: each node has clients of its own, as processes
//! have.

use std::sync::{Arc, LazyLock};

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use mailhorn_cassandra::{CassandraStore, Surroundings};
use mailhorn_core::events::Fanout;
use mailhorn_core::events::contract::{ClusterPorts, Ground, Grounds, Ports, World, in_real_time};
use mailhorn_core::membership::LogLease;
use mailhorn_events::wire::Format;
use mailhorn_ports::memory::TokioUptime;
use mailhorn_ports::{Lease, Transport};
use mailhorn_redis::testkit::RedisServer;
use mailhorn_redis::{Notices, Redis};
use tokio::runtime::{Builder, Runtime};

use crate::support::{self, Chance, Slot, Wall, surroundings};

mod registered_in_json {
    use super::*;
    mailhorn_core::event_bus_contract!(in_real_time, world(Fanout::Registered, Format::Json).await);
    mailhorn_core::event_bus_cluster_contract!(in_real_time, world(Fanout::Registered, Format::Json).await);
}

mod registered_in_message_pack {
    use super::*;
    mailhorn_core::event_bus_cluster_contract!(
        in_real_time,
        world(Fanout::Registered, Format::MessagePack).await
    );
}

mod broadcast_in_bincode {
    use super::*;
    mailhorn_core::event_bus_cluster_contract!(in_real_time, world(Fanout::Broadcast, Format::Bincode).await);
}

/// Connections outlive the systems of actors that ask over them, as in a node.
static CONNECTIONS: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
});

#[derive(Debug)]
struct Quiet;

impl Notices for Quiet {
    fn limit_reached(&self, _limit: &'static str) {}

    fn frames_lost(&self, _frames: u64) {}
}

/// Where the nodes of one world are.
#[derive(Debug)]
struct Place {
    fanout: Fanout,
    slot: Slot,
    redis: RedisServer,
}

impl Place {
    async fn store(&self, lease: Arc<dyn Lease>) -> CassandraStore {
        let surroundings = Surroundings {
            runtime: CONNECTIONS.handle().clone(),
            lease,
            ..surroundings()
        };
        CassandraStore::open(support::options(&self.slot.keyspace), surroundings)
            .await
            .unwrap()
    }

    fn redis(&self) -> Redis {
        let surroundings = mailhorn_redis::Surroundings {
            runtime: CONNECTIONS.handle().clone(),
            random: Arc::new(Chance),
            notices: Arc::new(Quiet),
        };
        Redis::new(
            self.redis.url().parse().unwrap(),
            mailhorn_redis::Options::default(),
            surroundings,
        )
        .unwrap()
    }

    fn ports(&self, store: CassandraStore) -> Ports {
        let redis = Arc::new(self.redis());
        let store = Arc::new(store);
        Ports {
            mail: store.clone(),
            groups: store.clone(),
            quota: store.clone(),
            membership: store,
            cluster: Some(ClusterPorts {
                registry: redis.clone(),
                transport: redis as Arc<dyn Transport>,
                fanout: self.fanout,
                memory: None,
            }),
            memory: None,
        }
    }
}

impl Grounds for Place {
    fn ground(&self) -> LocalBoxFuture<'_, Ground> {
        async {
            let lease = Arc::new(LogLease::new(Arc::new(TokioUptime::default())));
            let store = self.store(lease.clone()).await;
            Ground {
                lease,
                ..Ground::new(self.ports(store))
            }
        }
        .boxed_local()
    }
}

async fn world(fanout: Fanout, format: Format) -> World {
    let (store, slot) = support::empty().await;
    let place = Place {
        fanout,
        slot,
        redis: RedisServer::start(),
    };
    let ports = place.ports(store);
    World::on_servers(ports, Box::new(place), mailhorn_ports::Clock::now_micros(&Wall)).speaking(format)
}
