//! A real Cassandra for tests, and empty keyspaces on it.
//!
//! `MAILHORN_CASSANDRA` is the address of a server (`127.0.0.1:9042` where it isn't set); its centre is `dc1`.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cdrs_tokio::cluster::session::{Session, SessionBuilder, TcpSessionBuilder};
use cdrs_tokio::cluster::{NodeTcpConfigBuilder, TcpConnectionManager};
use cdrs_tokio::load_balancing::RoundRobinLoadBalancingStrategy;
use cdrs_tokio::transport::TransportTcp;
use cdrs_tokio::types::IntoRustByIndex;
use cdrs_tokio::types::rows::Row;
use mailhorn_cassandra::{CassandraStore, Options, Surroundings};
use mailhorn_events::Stamp;
use mailhorn_ports::{Clock, Forever, Random};

#[derive(Debug)]
pub(crate) struct Wall;

#[expect(clippy::disallowed_methods, reason = "this is the clock that is handed in")]
impl Clock for Wall {
    fn now_micros(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(since.as_micros()).unwrap()
    }
}

#[derive(Debug)]
pub(crate) struct Chance;

impl Random for Chance {
    fn fill(&self, octets: &mut [u8]) {
        getrandom::fill(octets).unwrap();
    }
}

pub(crate) fn surroundings() -> Surroundings {
    Surroundings {
        runtime: tokio::runtime::Handle::current(),
        clock: Arc::new(Wall),
        random: Arc::new(Chance),
        lease: Arc::new(Forever),
    }
}

fn server() -> String {
    std::env::var("MAILHORN_CASSANDRA").unwrap_or_else(|_| "127.0.0.1:9042".into())
}

pub(crate) fn options(keyspace: &str) -> Options {
    Options {
        usage_refresh: Duration::ZERO,
        ..Options::local(&server(), "dc1", keyspace)
    }
}

/// Keyspaces that tests share, one test at a time each: a server has no room for one for every test.
const SLOTS: u32 = 16;

/// A keyspace that is this test's until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) keyspace: String,
    _lock: File,
}

fn slot() -> Slot {
    loop {
        for number in 0..SLOTS {
            let keyspace = format!("mailhorn_test_{number}");
            let lock = File::create(std::env::temp_dir().join(&keyspace)).unwrap();
            if lock.try_lock().is_ok() {
                return Slot {
                    keyspace,
                    _lock: lock,
                };
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An empty store in a keyspace of its own.
pub(crate) async fn empty() -> (CassandraStore, Slot) {
    let slot = slot();
    let store = open(&slot).await;
    truncate(&slot).await;
    (store, slot)
}

/// Empties every table of a keyspace, but for what says that they are made.
async fn truncate(slot: &Slot) {
    let keyspace = &slot.keyspace;
    let tables = format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'");
    let session = session().await;
    for table in ask(&session, &tables).await {
        let table: String = table.get_r_by_index(0).unwrap();
        if !table.starts_with("schema_") {
            ask(&session, &format!("TRUNCATE {keyspace}.{table}")).await;
        }
    }
}

/// Another process's store in the same keyspace.
pub(crate) async fn open(slot: &Slot) -> CassandraStore {
    CassandraStore::open(options(&slot.keyspace), surroundings())
        .await
        .unwrap()
}

pub(crate) fn now() -> Stamp {
    Stamp(Wall.now_micros())
}

/// Asks the server past the store; gives how many rows came.
pub(crate) async fn query(cql: &str) -> usize {
    ask(&session().await, cql).await.len()
}

type Past = Session<
    TransportTcp,
    TcpConnectionManager,
    RoundRobinLoadBalancingStrategy<TransportTcp, TcpConnectionManager>,
>;

async fn session() -> Past {
    let config = NodeTcpConfigBuilder::new().with_contact_point(server().into());
    let config = config.build().await.unwrap();
    let builder = TcpSessionBuilder::new(RoundRobinLoadBalancingStrategy::new(), config);
    builder.build().await.unwrap()
}

async fn ask(session: &Past, cql: &str) -> Vec<Row> {
    let answer = session.query(cql).await.unwrap().response_body().unwrap();
    answer.into_rows().unwrap_or_default()
}
