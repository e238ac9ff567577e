//! A Redis Cluster of three passes every contract suite, and one of its nodes may fail.

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use common::{Place, SLACK, Servers, client, options, until_well};
use mailhorn_events::MailboxId;
use mailhorn_ports::{Held, LockToken, MaildropLocks};
use mailhorn_redis::testkit::RedisCluster;
use mailhorn_redis::{BreakerState, DEADLINE, Options};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

const TTL: Duration = Duration::from_secs(60);

/// A place in a cluster that the tests of one process share, each under its own names: to make one takes seconds.
fn shared() -> Place {
    static CLUSTER: Mutex<Weak<RedisCluster>> = Mutex::new(Weak::new());
    static PLACES: AtomicU32 = AtomicU32::new(0);
    let cluster = {
        let mut shared = CLUSTER.lock();
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(RedisCluster::start());
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    };
    let place = PLACES.fetch_add(1, Ordering::Relaxed);
    Place::new(Servers::Cluster(cluster), &format!("test-{place}"))
}

mod registry {
    mailhorn_ports::registry_contract!((crate::shared(), ()));
}

mod transport {
    mailhorn_ports::transport_contract!((crate::shared(), ()));
}

mod maildrop_locks {
    mailhorn_ports::maildrop_locks_contract!((crate::shared(), ()));
}

/// Locks spread over the nodes: those of a frozen one fail in time.
#[tokio::test]
async fn a_frozen_node_holds_nobody_up() {
    let cluster = RedisCluster::start();
    let options = Options {
        deadline: DEADLINE,
        ..options()
    };
    let redis = client(&cluster.url(), options);
    let hold = |number| redis.hold(MailboxId(Uuid::from_u128(number)), LockToken([1; 16]), TTL);
    // The first connection may take longer than a call's deadline.
    for number in 0..20 {
        assert_eq!(until_well(|| hold(number)).await, Held::Mine);
    }
    let health = redis.health().await;
    assert_eq!(health.breaker, BreakerState::Closed);
    assert!(health.round_trip.is_some());
    cluster.nodes()[1].freeze();
    let mut failed = 0;
    for number in 0..20 {
        let began = Instant::now();
        failed += usize::from(hold(number).await.is_err());
        let took = began.elapsed();
        assert!(took < DEADLINE + SLACK, "{took:?}");
    }
    assert!(failed > 0, "some of them lie there");
    cluster.nodes()[1].thaw();
    for number in 0..20 {
        assert_eq!(until_well(|| hold(number)).await, Held::Mine);
    }
}

#[tokio::test]
async fn one_url_for_a_cluster_is_told() {
    let cluster = RedisCluster::start();
    let redis = client(&cluster.nodes()[0].url(), options());
    let mut said = String::new();
    for number in 0..20 {
        let mailbox = MailboxId(Uuid::from_u128(number));
        if let Err(error) = redis.hold(mailbox, LockToken([1; 16]), TTL).await {
            said = error.to_string();
        }
    }
    assert!(said.contains("name several of its nodes in redis.url"), "{said}");
}
