//! A Redis Cluster of three.

use super::server::{RedisServer, cli, free_port};
use super::wait_until;

const NODES: usize = 3;

/// Three masters that share the slots. Dropped, they are killed.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// A cluster on free loopback ports.
    #[must_use]
    pub fn start() -> Self {
        let nodes: Vec<RedisServer> = (0..NODES)
            .map(|_| {
                let bus = free_port().to_string();
                RedisServer::start_with(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "1000",
                ])
            })
            .collect();
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port()));
        let addresses: Vec<String> = addresses.collect();
        let mut arguments = vec!["--cluster", "create"];
        arguments.extend(addresses.iter().map(String::as_str));
        arguments.push("--cluster-yes");
        let said = cli(&arguments);
        wait_until(&format!("the cluster is whole: {said}"), || {
            nodes.iter().all(|node| {
                let info = node.command(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
        });
        Self { nodes }
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// What stands in `redis.url` for it.
    #[must_use]
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(RedisServer::url).collect();
        urls.join(",")
    }

    /// Loses every key that begins with `prefix`.
    pub fn forget(&self, prefix: &str) {
        let pattern = format!("{prefix}*");
        for node in &self.nodes {
            for key in node.command(&["KEYS", &pattern]).lines() {
                assert_eq!(node.command(&["DEL", key]), "1");
            }
        }
    }
}
