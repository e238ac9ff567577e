//! A real Cassandra for tests, and empty keyspaces on it.
//!
//! `MAILHORN_CASSANDRA` is the address of a server (`127.0.0.1:9042` where it isn't set); its centre is `dc1`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mailhorn_cassandra::{CassandraStore, Options, Surroundings};
use mailhorn_ports::{Clock, Forever, Random};
use uuid::Uuid;

#[derive(Debug)]
pub struct Wall;

impl Clock for Wall {
    fn now_micros(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(since.as_micros()).unwrap()
    }
}

#[derive(Debug)]
pub struct Chance;

impl Random for Chance {
    fn fill(&self, octets: &mut [u8]) {
        for chunk in octets.chunks_mut(16) {
            chunk.copy_from_slice(&Uuid::new_v4().as_bytes()[..chunk.len()]);
        }
    }
}

pub fn surroundings() -> Surroundings {
    Surroundings {
        clock: Arc::new(Wall),
        random: Arc::new(Chance),
        lease: Arc::new(Forever),
    }
}

pub fn options(keyspace: &str) -> Options {
    let server = std::env::var("MAILHORN_CASSANDRA").unwrap_or_else(|_| "127.0.0.1:9042".into());
    Options::local(&server, "dc1", keyspace)
}

/// An empty store in a keyspace of its own.
pub async fn empty() -> CassandraStore {
    let keyspace = format!("test_{}", Uuid::new_v4().simple());
    CassandraStore::open(options(&keyspace), surroundings())
        .await
        .unwrap()
}
