//! A client of a real server, and who is told what it counts.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "test code, of which not every test file uses all"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mailhorn_ports::contract::{LocksPlace, RegistryPlace, TransportPlace};
use mailhorn_ports::memory::SeededRandom;
use mailhorn_ports::{Random, StoreError};
use mailhorn_redis::testkit::{RedisCluster, RedisServer};
use mailhorn_redis::{Notices, OpenError, Options, Redis, Surroundings};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// How long tests wait for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// What a loaded machine may add to a deadline.
pub(crate) const SLACK: Duration = Duration::from_millis(400);
/// Leases of the registry under test: a clause waits for them.
const LEASE: Duration = Duration::from_secs(3);
/// Frames that wait in an inbox under test.
const FRAMES_MAX: usize = 300;

/// Counts what it is told.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    limits: Mutex<BTreeMap<&'static str, u64>>,
    lost: AtomicU64,
}

impl Notices for Counted {
    fn limit_reached(&self, limit: &'static str) {
        *self.limits.lock().entry(limit).or_default() += 1;
    }

    fn frames_lost(&self, frames: u64) {
        self.lost.fetch_add(frames, Ordering::Relaxed);
    }
}

impl Counted {
    pub(crate) fn limit(&self, limit: &str) -> u64 {
        self.limits.lock().get(limit).copied().unwrap_or_default()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// What a server would not be asked for with: a deadline that a loaded machine keeps, other things as in production.
pub(crate) fn options() -> Options {
    Options {
        deadline: Duration::from_secs(5),
        lease: LEASE,
        receive_wait: Duration::from_millis(200),
        inbox_frames_max: FRAMES_MAX,
        ..Options::default()
    }
}

pub(crate) fn try_client(
    url: &str,
    options: Options,
    counted: &Arc<Counted>,
    seed: u64,
) -> Result<Redis, OpenError> {
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(seed));
    let surroundings = Surroundings {
        runtime: Handle::current(),
        random,
        notices: Arc::clone(counted) as Arc<dyn Notices>,
    };
    Redis::new(url.parse().unwrap(), options, surroundings)
}

pub(crate) fn client(url: &str, options: Options) -> Redis {
    try_client(url, options, &Arc::default(), 1).unwrap()
}

/// Waits until a call succeeds; gives what it gave.
pub(crate) async fn until_well<T, F>(mut call: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    let began = Instant::now();
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) => assert!(began.elapsed() < PATIENCE, "it does not recover: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What runs.
pub(crate) enum Servers {
    One(RedisServer),
    Cluster(Arc<RedisCluster>),
}

/// A client and its servers, for the contract suites.
pub(crate) struct Place {
    redis: Redis,
    servers: Servers,
    namespace: String,
}

impl Place {
    pub(crate) fn new(servers: Servers, namespace: &str) -> Self {
        let url = match &servers {
            Servers::One(server) => server.url(),
            Servers::Cluster(cluster) => cluster.url(),
        };
        let options = Options {
            namespace: namespace.to_owned(),
            ..options()
        };
        let redis = client(&url, options);
        Self {
            redis,
            servers,
            namespace: namespace.to_owned(),
        }
    }

    pub(crate) fn one() -> Self {
        Self::new(Servers::One(RedisServer::start()), "test")
    }

    fn lose_everything(&self) {
        match &self.servers {
            Servers::One(server) => server.flush_all(),
            // Other tests share it.
            Servers::Cluster(cluster) => cluster.forget(&format!("{}:", self.namespace)),
        }
    }
}

impl RegistryPlace for Place {
    type Registry = Redis;

    fn registry(&self) -> &Redis {
        &self.redis
    }

    fn lease(&self) -> Duration {
        LEASE
    }

    async fn wipe(&self) {
        self.lose_everything();
    }
}

impl LocksPlace for Place {
    type Locks = Redis;

    fn locks(&self) -> &Redis {
        &self.redis
    }

    async fn wipe(&self) {
        self.lose_everything();
    }
}

impl TransportPlace for Place {
    type Transport = Redis;

    fn transport(&self) -> &Redis {
        &self.redis
    }

    fn frames_max(&self) -> usize {
        FRAMES_MAX
    }
}
