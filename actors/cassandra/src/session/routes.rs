//! Which server is asked: a replica of the near centre, and one that was late lately only when there is no other.
//!
//! The driver's own strategy goes by the state that it keeps of each server, and that is not enough. After its control
//! connection was made again it takes every server for unknown and asks none (cdrs-tokio 9.0.2 compares the address that a
//! server has for clients with the one that it has for servers). And a machine that is gone without a word is up for it until
//! TCP gives up, a quarter of an hour later. So here that state only moves a server back in the order, and what counts is who
//! answers in time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cdrs_tokio::cluster::topology::{Node, NodeState, ReplicationStrategy};
use cdrs_tokio::cluster::{ClusterMetadata, ConnectionManager, Murmur3Token};
use cdrs_tokio::load_balancing::{LoadBalancingStrategy, QueryPlan, Request};
use cdrs_tokio::transport::CdrsTransport;
use parking_lot::Mutex;
use tokio::time::Instant;

/// An answer that takes longer is late: another server is asked beside, where the statement may be asked twice.
pub(super) const LATE: Duration = Duration::from_secs(1);
/// How long a server that was late is asked last. Then one statement tries it.
const SUSPECT_TIME: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// Of the statement under way.
    static ASKED: Asked;
}

/// The servers that a statement was sent to first, in each of its tries.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<Mutex<Vec<SocketAddr>>>);

impl Asked {
    /// Runs what sends the statement.
    pub(super) async fn by<T>(&self, sends: impl Future<Output = T>) -> T {
        ASKED.scope(self.clone(), sends).await
    }
}

/// What the driver tells of a server.
#[derive(Debug, Clone, Copy)]
struct Server<'a> {
    address: SocketAddr,
    datacenter: &'a str,
    rack: &'a str,
    is_down: bool,
}

/// How much of a keyspace is in the near centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Replication {
    replicas: usize,
    racks: usize,
}

/// What is known of the servers' punctuality, for all statements.
#[derive(Debug)]
pub(super) struct Routes {
    datacenter: String,
    turn: AtomicUsize,
    /// Until when a server is asked last.
    suspects: Mutex<HashMap<SocketAddr, Instant>>,
}

impl Routes {
    pub(super) fn new(datacenter: &str) -> Arc<Self> {
        Arc::new(Self {
            datacenter: datacenter.to_owned(),
            turn: AtomicUsize::new(0),
            suspects: Mutex::default(),
        })
    }

    /// The server that was asked last is late.
    pub(super) fn is_late(&self, asked: &Asked) {
        let last = asked.0.lock().last().copied();
        if let Some(last) = last
            && self
                .suspects
                .lock()
                .insert(last, Instant::now() + SUSPECT_TIME)
                .is_none()
        {
            tracing::warn!(server = %last, late_ms = LATE.as_millis(), "a Cassandra server is late: others are asked first");
        }
    }

    /// The server that was asked last has answered in time.
    pub(super) fn is_prompt(&self, asked: &Asked) {
        let mut suspects = self.suspects.lock();
        if suspects.is_empty() {
            return;
        }
        let last = asked.0.lock().last().copied();
        if let Some(last) = last.filter(|last| suspects.remove(last).is_some()) {
            tracing::info!(server = %last, "a Cassandra server answers in time again");
        }
    }

    /// The places of those to ask, in order. `servers` are in the order of the ring, from the statement's token on.
    fn order(&self, servers: &[Server<'_>], replication: Replication, asked: &[SocketAddr]) -> Vec<usize> {
        let near: Vec<usize> = (0..servers.len())
            .filter(|place| {
                servers
                    .get(*place)
                    .is_some_and(|server| server.datacenter == self.datacenter)
            })
            .collect();
        let (mut order, mut others) = replicas(servers, &near, replication);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for part in [&mut order, &mut others] {
            let length = part.len().max(1);
            part.rotate_left(turn % length);
        }
        order.extend(others);
        let (now, mut suspects) = (Instant::now(), self.suspects.lock());
        // Stable: among equals the order above stays.
        order.sort_by_key(|place| {
            servers.get(*place).map(|server| {
                if asked.contains(&server.address) {
                    3
                } else if server.is_down {
                    2
                } else {
                    // It may have waited for a replica that is gone, and be well itself.
                    u8::from(suspects.get(&server.address).is_some_and(|until| *until > now))
                }
            })
        });
        let first = order.first().and_then(|place| servers.get(*place));
        if let Some(until) = first.and_then(|first| suspects.get_mut(&first.address)) {
            // This statement tries it; others wait for how that goes.
            *until = now + SUSPECT_TIME;
        }
        order
    }
}

/// The replicas among the near servers, as `NetworkTopologyStrategy` lays them, and the others.
fn replicas(servers: &[Server<'_>], near: &[usize], replication: Replication) -> (Vec<usize>, Vec<usize>) {
    let Replication { replicas, racks } = replication;
    let mut from_known_racks = replicas.saturating_sub(racks);
    let (mut found, mut others): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    for place in near {
        let rack = servers.get(*place).map(|server| server.rack);
        let is_known = found
            .iter()
            .any(|found| servers.get(*found).map(|server| server.rack) == rack);
        let is_replica = found.len() < replicas && (!is_known || from_known_racks > 0);
        if is_replica && is_known {
            from_known_racks -= 1;
        }
        match is_replica {
            true => found.push(*place),
            false => others.push(*place),
        }
    }
    (found, others)
}

/// The driver's side of it.
#[derive(Debug)]
pub(super) struct Strategy(pub(super) Arc<Routes>);

impl Strategy {
    fn replication<T, CM>(&self, keyspace: Option<&str>, cluster: &ClusterMetadata<T, CM>) -> Replication
    where
        T: CdrsTransport + 'static,
        CM: ConnectionManager<T> + 'static,
    {
        let strategy = keyspace
            .and_then(|keyspace| cluster.keyspace(keyspace))
            .map(|keyspace| &keyspace.replication_strategy);
        let Some(ReplicationStrategy::NetworkTopologyStrategy {
            datacenter_replication_factor: factors,
        }) = strategy
        else {
            return Replication::default();
        };
        Replication {
            replicas: factors.get(&self.0.datacenter).copied().unwrap_or_default(),
            racks: cluster
                .datacenter(&self.0.datacenter)
                .map_or(0, |centre| centre.rack_count),
        }
    }
}

impl<T, CM> LoadBalancingStrategy<T, CM> for Strategy
where
    T: CdrsTransport + 'static,
    CM: ConnectionManager<T> + 'static,
{
    fn query_plan(&self, request: Option<Request<'_>>, cluster: &ClusterMetadata<T, CM>) -> QueryPlan<T, CM> {
        // For its control connection the driver takes contact points then, and reads everything anew.
        let Some(request) = request else {
            return QueryPlan::new(Vec::new());
        };
        let token = request
            .token
            .or_else(|| request.routing_key.map(Murmur3Token::generate));
        let mut nodes: Vec<Arc<Node<T, CM>>> = Vec::new();
        let mut replication = Replication::default();
        if let Some(token) = token {
            nodes.extend(cluster.token_map().nodes_for_token(token));
            replication = self.replication(request.keyspace, cluster);
        }
        if nodes.is_empty() {
            nodes.extend(cluster.nodes().values().cloned());
        }
        let servers: Vec<Server<'_>> = nodes
            .iter()
            .map(|node| Server {
                address: node.broadcast_rpc_address(),
                datacenter: node.datacenter(),
                rack: node.rack(),
                is_down: matches!(node.state(), NodeState::Down | NodeState::ForcedDown),
            })
            .collect();
        let asked = ASKED.try_with(Clone::clone).unwrap_or_default();
        let mut asked = asked.0.lock();
        let order = self.0.order(&servers, replication, &asked);
        asked.extend(
            order
                .first()
                .and_then(|first| servers.get(*first))
                .map(|first| first.address),
        );
        QueryPlan::new(
            order
                .iter()
                .filter_map(|place| nodes.get(*place).cloned())
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(server: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, server], 9042))
    }

    /// Servers in the order of the ring, by the racks of the near centre; `""` is a server elsewhere.
    fn ring<'a>(racks: &[&'a str]) -> Vec<Server<'a>> {
        let servers = (0..).zip(racks);
        servers
            .map(|(number, rack)| Server {
                address: address(number),
                datacenter: if rack.is_empty() { "far" } else { "near" },
                rack,
                is_down: false,
            })
            .collect()
    }

    fn three() -> Replication {
        Replication {
            replicas: 3,
            racks: 1,
        }
    }

    fn asked(servers: &[u8]) -> Asked {
        Asked(Arc::new(Mutex::new(
            servers.iter().map(|server| address(*server)).collect(),
        )))
    }

    #[test]
    fn replicas_come_first_and_what_is_far_never() {
        let servers = ring(&["a", "", "a", "a", "a"]);
        let routes = Routes::new("near");
        for _ in 0..9 {
            let order = routes.order(&servers, three(), &[]);
            let mut replicas = order[..3].to_vec();
            replicas.sort_unstable();
            assert_eq!((replicas, order[3]), (vec![0, 2, 3], 4));
        }
    }

    #[test]
    fn racks_share_replicas() {
        let table: [(&[&str], usize, usize, &[usize]); 4] = [
            (&["a", "a", "b", "c"], 3, 3, &[0, 2, 3]),
            (&["a", "a", "a", "b"], 3, 2, &[0, 1, 3]),
            (&["a", "a", "b", "b"], 2, 2, &[0, 2]),
            (&["a", "b"], 3, 2, &[0, 1]),
        ];
        for (racks, number, rack_count, expected) in table {
            let servers = ring(racks);
            let near: Vec<usize> = (0..servers.len()).collect();
            let replication = Replication {
                replicas: number,
                racks: rack_count,
            };
            assert_eq!(replicas(&servers, &near, replication).0, expected, "{racks:?}");
        }
    }

    #[test]
    fn statements_go_round() {
        let routes = Routes::new("near");
        let servers = ring(&["a", "a", "a"]);
        let firsts: Vec<usize> = (0..6).map(|_| routes.order(&servers, three(), &[])[0]).collect();
        assert_eq!(firsts, [0, 1, 2, 0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_down_or_was_asked_before_is_asked_later() {
        let routes = Routes::new("near");
        let mut servers = ring(&["a", "a", "a"]);
        servers[1].is_down = true;
        for _ in 0..6 {
            assert_eq!(routes.order(&servers, three(), &[address(0)]), [2, 1, 0]);
        }
        routes.is_late(&asked(&[2]));
        assert_eq!(routes.order(&servers, three(), &[address(0)]), [2, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_is_asked_last_until_one_statement_tries_it() {
        let routes = Routes::new("near");
        let servers = ring(&["a", "a", "a"]);
        routes.is_late(&asked(&[2, 1]));
        let firsts = |count| -> Vec<usize> {
            (0..count)
                .map(|_| routes.order(&servers, three(), &[])[0])
                .collect()
        };
        assert!(!firsts(6).contains(&1));
        tokio::time::advance(SUSPECT_TIME).await;
        let tries = firsts(9).iter().filter(|first| **first == 1).count();
        assert_eq!(tries, 1, "one tries it");
        routes.is_prompt(&asked(&[1]));
        assert!(firsts(3).contains(&1));
    }
}
