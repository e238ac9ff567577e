//! Three nodes on one Cassandra and one Redis.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use mailhorn_integration_tests::random::Random;
use mailhorn_integration_tests::{Node, NodeBuilder};
use mailhorn_redis::testkit::RedisServer;

use crate::cassandra::Cassandra;

pub(crate) const NODES: usize = 3;
pub(crate) const DOMAIN: &str = "example.org";
pub(crate) const PASSWORD: &str = "correct horse";
const LISTENERS: [&str; 5] = [
    "smtp.listen",
    "lmtp.listen",
    "pop3.listen",
    "pop3.listen_tls",
    "admin.listen",
];
/// What is shown of each node's log where a run fails.
const LAST_LINES: usize = 60;
/// How long a cluster may take to come to something: it waits up to half a minute before it believes that a node is gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Where a node is spoken to. It stays the same through its lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) smtp: SocketAddr,
    pub(crate) lmtp: SocketAddr,
    pub(crate) pop3: SocketAddr,
}

pub(crate) struct Cluster {
    // Nodes end before what they stand on.
    pub(crate) nodes: Vec<Node>,
    builders: Vec<NodeBuilder>,
    pub(crate) redis: RedisServer,
    pub(crate) cassandra: Cassandra,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// Mail on `replicas` servers, which are all that there are, and a domain.
    pub(crate) fn start(replicas: usize) -> Self {
        Self::start_on(replicas, Cassandra::start(replicas, None))
    }

    /// The same on servers that run.
    pub(crate) fn start_on(replicas: usize, cassandra: Cassandra) -> Self {
        let redis = RedisServer::start();
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports(NODES * LISTENERS.len());
        // All of them, for a life that begins while the first is away needs another.
        let servers: Vec<String> = (1..=replicas).map(|n| format!("127.0.0.{n}:9042")).collect();
        let builders: Vec<NodeBuilder> = ports
            .chunks(LISTENERS.len())
            .zip(1..)
            .map(|(ports, number)| {
                let builder = Node::builder()
                    .data_dir(dir.path().join(format!("node{number}")))
                    .setting("node.name", format!("node{number}"))
                    .setting("store.backend", "cassandra")
                    .setting("cassandra.contact_points", servers.join(","))
                    .setting("cassandra.replication", replicas)
                    .setting("redis.url", redis.url());
                let listen = LISTENERS.iter().zip(ports);
                listen.fold(builder, |builder, (key, port)| {
                    builder.setting(key, format!("127.0.0.1:{port}"))
                })
            })
            .collect();
        // The first makes the schema.
        let nodes = builders.iter().map(NodeBuilder::start).collect();
        builders[0].run(&["domain", "add", DOMAIN]);
        Self {
            nodes,
            builders,
            redis,
            cassandra,
            _dir: dir,
        }
    }

    /// Makes accounts, of which none is there yet.
    pub(crate) fn add_users(&self, users: &[String]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = users.iter().map(|user| format!("{user}:{{PLAIN}}{PASSWORD}\n"));
        std::fs::write(file.path(), lines.collect::<String>()).unwrap();
        self.builders[0].run(&["user", "import", file.path().to_str().unwrap()]);
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        let place = |node: &Node| Place {
            smtp: node.smtp(),
            lmtp: node.lmtp(),
            pop3: node.pop3(),
        };
        self.nodes.iter().map(place).collect()
    }

    /// Starts a node again that was killed.
    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node] = self.builders[node].start();
    }

    /// The log that a node begins behind the first so many lines of what its present process says.
    pub(crate) fn log_after(&self, node: usize, lines: usize) -> String {
        let line = self.nodes[node].wait_for_later_log(lines, "the log begins", PATIENCE);
        let log = line
            .split("generation=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        log.unwrap().to_owned()
    }

    /// How many lines each node has said.
    pub(crate) fn log_lines(&self) -> Vec<usize> {
        self.nodes.iter().map(Node::log_lines).collect()
    }

    /// Waits until every node has said this behind the lines that it had said before.
    pub(crate) fn wait_for_all_to_say(&self, before: &[usize], needle: &str) {
        for (node, lines) in self.nodes.iter().zip(before) {
            let _said = node.wait_for_later_log(*lines, needle, PATIENCE);
        }
    }

    /// Waits until one of these nodes says that it has ended the log of one that is gone.
    pub(crate) fn wait_for_adoption(&self, log: &str, by: &[usize]) {
        let is_adopted = |node: &Node| {
            node.log()
                .lines()
                .any(|line| line.contains("a log was adopted") && line.contains(log))
        };
        let until = std::time::Instant::now() + PATIENCE;
        while !by.iter().any(|node| is_adopted(&self.nodes[*node])) {
            assert!(
                std::time::Instant::now() < until,
                "nobody has adopted the log {log}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            println!("node {number} said at last:\n{}", last.join("\n"));
        }
    }
}

/// Ports that nobody listens on, out of those that the system gives to no client: a node takes its own again in each life.
fn free_ports(wanted: usize) -> Vec<u16> {
    let mut random = Random::new(u64::from(std::process::id()) ^ Random::seed_from("MAILHORN_SEED"));
    // Held until all are found, so that none is found twice.
    let mut found = Vec::new();
    while found.len() < wanted {
        let port = 20_000 + u16::try_from(random.below(12_000)).unwrap();
        found.extend(TcpListener::bind(("127.0.0.1", port)));
    }
    found
        .iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect()
}
