//! The cluster over the API: a node that sees another, and one that is alone.

use std::time::Duration;

use bytes::Bytes;
use mailhorn_core::events::{Exchange, ExchangeDeps, ExchangeParts, Fanout, Member, Members, Prober};
use mailhorn_core::events::{PROBE_PATIENCE, Threads};
use mailhorn_core::membership::{FormerLives, LogLease, MembershipDeps, MembershipParts, Sightings};
use mailhorn_core::supervisor::Supervise;
use mailhorn_events::Generation;
use mailhorn_events::link::{Body, Frame};
use mailhorn_events::wire::Format;
use mailhorn_ports::memory::{MemoryRegistry, MemoryTransport, SeededRandom, TokioUptime};
use mailhorn_ports::{Lease, MailStore, MemberRow, Membership, Transport};
use tokio::sync::watch;

use super::*;
use crate::operations::cluster::{InCluster, Servers};
use crate::operations::views::{Breaker, CassandraHealth, LocksMode, RedisHealth};

/// What the node stands on, as these tests say.
#[derive(Debug, Clone)]
struct Said {
    cassandra: bool,
    redis: bool,
}

#[async_trait]
impl Servers for Said {
    fn cassandra(&self) -> CassandraHealth {
        CassandraHealth {
            answers: self.cassandra,
            answered: 9,
            retried: 0,
            failed: 0,
            overloaded: 0,
            queued: 0,
        }
    }

    async fn redis(&self) -> RedisHealth {
        RedisHealth {
            address: "redis://redis:6379".into(),
            answers: self.redis,
            breaker: if self.redis {
                Breaker::Closed
            } else {
                Breaker::Open
            },
            last_error: (!self.redis).then(|| "connection refused".into()),
            round_trip_us: Some(300),
        }
    }

    fn maildrop_locks(&self) -> LocksMode {
        if self.redis {
            LocksMode::Cluster
        } else {
            LocksMode::LocalOnly
        }
    }
}

fn other(n: u8) -> Generation {
    Generation::from_bytes([n; 16])
}

/// A server whose node is in a cluster; its exchange and its membership end with the senders.
struct InTheCluster {
    server: Dialogue,
    transport: MemoryTransport,
    lease: Arc<LogLease>,
    _exchange: watch::Sender<bool>,
    membership: watch::Sender<bool>,
}

impl InTheCluster {
    async fn new(said: Said) -> Self {
        let mut server = Dialogue::new().await;
        let transport = MemoryTransport::new(Arc::new(SeededRandom::new(7)));
        let (exchange, stopped) = watch::channel(false);
        let prober = exchange_of(&server.world, &transport, stopped).await;
        let (membership, stopped) = watch::channel(false);
        let (sightings, lease) = membership_of(&server.world, stopped).await;
        server.parts.cluster.cluster = Some(InCluster {
            lease: lease.clone(),
            sightings,
            membership: Arc::new(server.world.store.clone()),
            prober,
            servers: Arc::new(said),
            transport: "registered",
            format: "msgpack",
            metrics: Arc::clone(&server.world.metrics),
        });
        Self {
            server,
            transport,
            lease,
            _exchange: exchange,
            membership,
        }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.server.api(Method::GET, path, None).await
    }

    /// Echoes what comes for this process.
    fn echo(&self, me: Generation) {
        let transport = self.transport.clone();
        actix_rt::spawn(async move {
            loop {
                for octets in transport.receive(me).await.unwrap() {
                    let frame = Frame::decode(&octets).unwrap();
                    if let Body::Probe(id) = frame.body {
                        let echo = Frame {
                            origin: me,
                            receiver: frame.origin,
                            number: 1,
                            body: Body::Echo(id),
                        };
                        let octets: Bytes = echo.encode();
                        transport.send(frame.origin, octets).await.unwrap();
                    }
                }
            }
        });
    }

    fn members(&self, others: &[(u8, &str)]) {
        let member = |(n, node): &(u8, &str)| Member {
            generation: other(*n),
            node: (*node).to_owned(),
            groups: Default::default(),
        };
        let alive = others.iter().map(member).collect();
        let members = Members::new(self.server.world.generation, alive, Vec::new());
        self.server.world.members.send_replace(Arc::new(members));
    }
}

async fn exchange_of(world: &World, transport: &MemoryTransport, stop: watch::Receiver<bool>) -> Prober {
    let kind = Arc::clone(&world.kinds.exchange);
    let deps = ExchangeDeps {
        generation: world.generation,
        registry: Arc::new(MemoryRegistry::default()),
        transport: Arc::new(transport.clone()),
        fanout: Fanout::Registered,
        format: Format::MessagePack,
        dispatch: world.dispatch.clone(),
        members: world.members.subscribe(),
        metrics: Arc::clone(&world.metrics),
        kind: Arc::clone(&kind),
    };
    let parts = ExchangeParts::new(deps, stop);
    let prober = parts.prober();
    let child = Supervise {
        child: "exchange".into(),
        kind,
        essential: true,
        factory: Box::new(move |guard| {
            actix::Actor::start(Exchange::new(parts.clone(), guard));
        }),
    };
    world.supervisor.send(child).await.unwrap();
    prober
}

/// A membership whose view of the others goes nowhere: these tests say who they are.
async fn membership_of(world: &World, stop: watch::Receiver<bool>) -> (Sightings, Arc<LogLease>) {
    let lease = Arc::new(LogLease::new(Arc::new(TokioUptime::default())));
    let sightings = Sightings::default();
    let deps = MembershipDeps {
        generation: world.generation,
        node: "node".into(),
        former: FormerLives::default(),
        membership: Arc::new(world.store.clone()),
        lease: Arc::clone(&lease),
        members: watch::Sender::new(Arc::new(Members::alone(world.generation))),
        sightings: sightings.clone(),
        groups: world.bus.local_groups(),
        threads: Threads::Shared,
        metrics: Arc::clone(&world.metrics),
        kind: Arc::clone(&world.kinds.membership),
    };
    let child = MembershipParts::new(deps, stop).supervise();
    world.supervisor.send(child).await.unwrap();
    lease.begun().await;
    while sightings.get().members.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (sightings, lease)
}

const WELL: Said = Said {
    cassandra: true,
    redis: true,
};

#[actix_web::test]
async fn a_node_with_a_store_of_its_own_says_that_it_is_alone() {
    let server = Dialogue::new().await;
    let generation = server.world.generation.to_string();
    let alone = json!({ "node": "node", "generation": generation, "cluster": null });
    assert_eq!(server.api(Method::GET, "/cluster", None).await, (200, alone));
    let (status, refused) = server.api(Method::POST, "/cluster/probe", None).await;
    assert_eq!(status, 409);
    assert!(refused["error"].as_str().unwrap().contains("alone"), "{refused}");
}

#[actix_web::test]
async fn the_cluster_is_shown_with_members_logs_groups_and_servers() {
    let cluster = InTheCluster::new(WELL).await;
    let world = &cluster.server.world;
    world.store.begin_log(other(3), "gone").await.unwrap();
    world.store.adopt(other(3)).await.unwrap();
    let (status, shown) = cluster.get("/cluster").await;
    assert_eq!(status, 200);
    let shown = &shown["cluster"];
    let generation = json!(world.generation.to_string());
    let member = &shown["members"][0];
    assert_eq!(
        (&member["node"], &member["generation"], &member["alive"]),
        (&json!("node"), &generation, &json!(true))
    );
    assert!(member["heartbeat_ms"].as_u64().unwrap() < 60_000);
    let logs = json!([
        { "node": "gone", "generation": other(3).to_string(), "end": 0, "sealed": 0 },
        { "node": "node", "generation": generation, "end": 0, "sealed": null },
    ]);
    let mut found = shown["logs"].as_array().unwrap().clone();
    found.sort_by_key(|log| log["node"].to_string());
    assert_eq!(json!(found), logs);
    assert_eq!((&shown["unread"], &shown["groups"]), (&Value::Null, &json!([])));
    assert_eq!(
        (&shown["holds_lease"], &shown["transport"], &shown["format"]),
        (&json!(true), &json!("registered"), &json!("msgpack"))
    );
    assert_eq!(
        (&shown["cassandra"]["answered"], &shown["redis"]["breaker"]),
        (&json!(9), &json!("closed"))
    );
    assert_eq!(
        (&shown["maildrop_locks"], &shown["registered_keys"]),
        (&json!("cluster"), &json!(0))
    );
    assert_eq!(shown["adoptions"], json!({ "done": 0, "under_way": null }));
}

/// That is when an operator looks.
#[actix_web::test]
async fn while_the_store_is_away_the_rest_is_shown_and_why_logs_are_not() {
    let cluster = InTheCluster::new(WELL).await;
    cluster.server.world.store.set_unavailable(true);
    let (status, shown) = cluster.get("/cluster").await;
    assert_eq!(status, 200);
    assert!(shown["cluster"]["unread"].is_string(), "{shown}");
    assert_eq!(shown["cluster"]["members"].as_array().map(Vec::len), Some(1));
}

#[actix_web::test]
async fn a_probe_says_who_echoed_and_who_did_not() {
    let cluster = InTheCluster::new(WELL).await;
    cluster.members(&[(8, "quick"), (9, "dead")]);
    let store = &cluster.server.world.store;
    let row = MemberRow {
        generation: other(8),
        node: "quick".into(),
        beat: 1,
        groups: Default::default(),
    };
    store.beat(&row).await.unwrap();
    // Until the next heartbeat has shown it to this node.
    tokio::time::sleep(mailhorn_core::membership::BEAT_PAUSE * 2).await;
    cluster.echo(other(8));
    let begun = tokio::time::Instant::now();
    let (status, probed) = cluster.server.api(Method::POST, "/cluster/probe", None).await;
    assert_eq!(status, 200);
    assert!(begun.elapsed() >= PROBE_PATIENCE);
    let (dead, quick) = (&probed[0], &probed[1]);
    assert_eq!(
        (&dead["node"], &dead["round_trip_us"], &dead["heartbeat_ms"]),
        (&json!("dead"), &Value::Null, &Value::Null)
    );
    assert_eq!(quick["node"], json!("quick"));
    assert!(
        quick["round_trip_us"].is_u64() && quick["heartbeat_ms"].is_u64(),
        "{quick}"
    );
}

fn component<'a>(health: &'a Value, name: &str) -> &'a Value {
    let components = health["components"].as_array().unwrap();
    let mut named = components.iter().filter(|component| component["name"] == name);
    named.next().unwrap_or_else(|| panic!("{name}: {health}"))
}

#[actix_web::test]
async fn a_server_that_is_away_degrades_the_node_and_takes_it_down_never() {
    let cluster = InTheCluster::new(WELL).await;
    let (status, health) = cluster.get("/health").await;
    assert_eq!((status, &health["status"]), (200, &json!("healthy")));
    for name in ["cassandra", "redis", "lease"] {
        assert_eq!(component(&health, name)["status"], json!("healthy"), "{name}");
    }
    let away = Said {
        cassandra: false,
        redis: false,
    };
    let cluster = InTheCluster::new(away).await;
    let (status, health) = cluster.get("/health").await;
    assert_eq!((status, &health["status"]), (200, &json!("degraded")));
    let cause = component(&health, "redis")["cause"].as_str().unwrap();
    assert!(cause.contains("connection refused"), "{cause}");
    assert_eq!(component(&health, "cassandra")["status"], json!("degraded"));
}

#[actix_web::test]
async fn a_node_without_its_lease_is_unhealthy() {
    let cluster = InTheCluster::new(WELL).await;
    cluster.membership.send_replace(true);
    while cluster.lease.holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (status, health) = cluster.get("/health").await;
    assert_eq!(
        (status, &component(&health, "lease")["status"]),
        (503, &json!("unhealthy"))
    );
}
