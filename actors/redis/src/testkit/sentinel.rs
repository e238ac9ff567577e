//! A master with a replica, and a Sentinel that watches them.

use std::fs;

use super::server::RedisServer;
use super::wait_until;

/// The service that the Sentinel watches.
const SERVICE: &str = "mail";
/// After so many milliseconds of silence the replica takes over.
const DOWN_AFTER: u16 = 500;

/// Three processes. Dropped, they are killed.
#[derive(Debug)]
pub struct RedisSentinel {
    /// The first master.
    pub master: RedisServer,
    /// Its replica.
    pub replica: RedisServer,
    sentinel: RedisServer,
}

impl RedisSentinel {
    /// A service on free loopback ports, its replica in step.
    #[must_use]
    pub fn start() -> Self {
        let master = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
        let port = master.port().to_string();
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
        wait_until("the replica is in step", || {
            replica
                .command(&["INFO", "replication"])
                .contains("master_link_status:up")
        });
        let sentinel = RedisServer::start_by("+monitor", |dir, port| {
            let text = format!(
                "port {port}\n\
                 sentinel monitor {SERVICE} 127.0.0.1 {} 1\n\
                 sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}\n\
                 sentinel failover-timeout {SERVICE} 3000\n",
                master.port()
            );
            let file = dir.join("sentinel.conf");
            fs::write(&file, text).unwrap();
            vec![file.display().to_string(), "--sentinel".to_owned()]
        });
        wait_until("the Sentinel knows the replica", || {
            let replicas = sentinel.command(&["SENTINEL", "REPLICAS", SERVICE]);
            replicas.contains(&replica.port().to_string()) && replicas.contains("master-link-status\nok")
        });
        Self {
            master,
            replica,
            sentinel,
        }
    }

    /// What stands in `redis.url` for it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{SERVICE}", self.sentinel.port())
    }

    /// Waits until the Sentinel has made the replica the master.
    pub fn await_takeover(&self) {
        wait_until("the replica has taken over", || {
            let log = self.sentinel.log();
            let role = self.replica.command(&["ROLE"]);
            log.contains("+switch-master") && role.starts_with("master")
        });
    }
}
