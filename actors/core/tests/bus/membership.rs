//! Who is there, and whose log is ended: by one of those that live, and not while its process may still speak for it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use mailhorn_core::events::contract::{Ground, Node, Options, Ports, Recorder, World, paused};
use mailhorn_core::events::{FOREIGN_POLL_PAUSE, Fanout, Members, Threads};
use mailhorn_core::log::Outcome;
use mailhorn_core::mailbox::LockMode;
use mailhorn_core::membership::{
    BEAT_PAUSE, FORMER_SILENCE, FormerLives, LEASE, LogLease, MembershipDeps, MembershipParts, NameError,
    SILENCE_MAX, Sightings,
};
use mailhorn_core::metrics::Metrics;
use mailhorn_core::observe::Kinds;
use mailhorn_core::supervisor::{Fatal, Supervisor};
use mailhorn_events::Generation;
use mailhorn_ports::memory::{MemoryStore, TokioUptime, Weather};
use mailhorn_ports::{Lease, MailStore, MemberRow, Membership, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// How long a slow store takes to read records: many times the pause between two looks at a log.
const SLOW: Duration = Duration::from_secs(10);

fn world() -> World {
    World::cluster(Fanout::Registered, 5)
}

fn store(world: &World) -> MemoryStore {
    world.ports.memory.clone().expect("nodes stand on memory")
}

pub(crate) async fn nodes<const N: usize>(world: &World, names: [&str; N]) -> [Node; N] {
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(world.node(name).await);
    }
    for node in &nodes {
        node.wait_members(N).await;
    }
    nodes.try_into().unwrap()
}

fn adoptions(nodes: &[&Node]) -> u64 {
    nodes.iter().map(|node| node.metrics.adoptions.get()).sum()
}

async fn listed(store: &MemoryStore) -> Vec<Generation> {
    let members = store.members().await.unwrap();
    members.into_iter().map(|row| row.generation).collect()
}

/// Waits until a log's process is no member any more; gives how long it took.
async fn gone(store: &MemoryStore, log: Generation) -> Duration {
    let begun = Instant::now();
    while listed(store).await.contains(&log) {
        sleep(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < SILENCE_MAX * 3, "nobody ended {log}");
    }
    begun.elapsed()
}

#[test]
fn a_dead_nodes_log_is_ended_by_one_of_the_living_after_its_silence() {
    paused(async {
        let world = world();
        let [a, b, c] = nodes(&world, ["a", "b", "c"]).await;
        let dead = c.crash().await.generation;
        let took = gone(&store(&world), dead).await;
        assert!(took > SILENCE_MAX - BEAT_PAUSE * 2, "{took:?}");
        sleep(SILENCE_MAX).await;
        assert_eq!(adoptions(&[&a, &b]), 1);
        assert_eq!(
            (a.metrics.members_alive.get(), listed(&store(&world)).await.len()),
            (2, 2)
        );
    });
}

#[test]
fn whoever_listens_is_told_to_read_anew_when_a_log_was_ended() {
    paused(async {
        let world = world();
        let [a, b] = nodes(&world, ["a", "b"]).await;
        let listener = Recorder::willing();
        let _registration = a.listen(&listener, &[World::key(1)]).await;
        let opened = a.mailboxes.open(World::user(1), LockMode::Shared, Duration::ZERO);
        drop(opened.await.unwrap());
        let dead = b.crash().await.generation;
        // Its silence on the fast path and then in the store is told before.
        sleep(SILENCE_MAX - BEAT_PAUSE * 2).await;
        gone(&store(&world), dead).await;
        let before = a.metrics.suspicions.get();
        sleep(BEAT_PAUSE * 2).await;
        assert_eq!(a.metrics.suspicions.get(), before + 1);
    });
}

#[test]
fn what_a_node_did_last_before_it_left_is_not_missed_in_silence() {
    paused(async {
        let world = world();
        let [a, b] = nodes(&world, ["a", "b"]).await;
        let listener = Recorder::willing();
        let _registration = a.listen(&listener, &[World::key(1)]).await;
        let (_, transport) = world.ports.cluster.as_ref().unwrap().memory.clone().unwrap();
        transport.set_weather(Weather {
            lost: 1_000,
            ..Weather::default()
        });
        b.announce(World::event(1, "last")).await;
        b.stop().await;
        a.wait_members(1).await;
        listener.wait_missed(1).await;
    });
}

/// The group of `a` follows the log of `b` until `b` runs it, which comes about while the store does not do as it should.
fn leaves_what_another_follows(slow: fn(&MemoryStore), well: fn(&MemoryStore)) {
    paused(async move {
        let world = world();
        let [a, b] = nodes(&world, ["a", "b"]).await;
        let (here, there) = (Recorder::willing(), Recorder::willing());
        a.group("g", &here).await;
        b.announce(World::event(1, "before")).await;
        here.wait_done(1).await;
        slow(&store(&world));
        sleep(FOREIGN_POLL_PAUSE * 2).await;
        tokio::join!(b.group("g", &there), async {
            a.wait_runners("g", 2).await;
            b.announce(World::event(1, "after")).await;
            sleep(SLOW * 3).await;
            assert_eq!(here.names(), ["before"]);
            well(&store(&world));
        });
        there.wait_done(1).await;
        assert_eq!((there.names(), here.calls()), (vec!["after".to_owned()], 1));
    });
}

#[test]
fn a_group_leaves_what_another_follows_also_while_the_store_does_not_say_which_logs_there_are() {
    leaves_what_another_follows(|store| store.refuse_logs(true), |store| store.refuse_logs(false));
}

#[test]
fn a_group_leaves_what_another_follows_also_while_it_reads_it() {
    leaves_what_another_follows(
        |store| store.delay_records(SLOW),
        |store| store.delay_records(Duration::ZERO),
    );
}

#[test]
fn a_group_that_is_taken_off_is_not_shown_what_it_was_reading() {
    paused(async {
        let world = world();
        let [a, b] = nodes(&world, ["a", "b"]).await;
        let listener = Recorder::willing();
        a.group("g", &listener).await;
        store(&world).delay_records(SLOW);
        sleep(FOREIGN_POLL_PAUSE * 2).await;
        assert!(a.unregister_group("g"));
        b.announce(World::event(1, "one")).await;
        sleep(SLOW * 3).await;
        assert_eq!(listener.calls(), 0);
    });
}

#[test]
fn a_node_that_comes_back_ends_its_former_log_itself_and_sooner() {
    paused(async {
        let world = world();
        let [a, b] = nodes(&world, ["a", "b"]).await;
        let dead = b.crash().await.generation;
        let begun = Instant::now();
        let back = world.node("b").await;
        gone(&store(&world), dead).await;
        assert!(begun.elapsed() > LEASE, "its lease may have held");
        assert!(begun.elapsed() < FORMER_SILENCE + BEAT_PAUSE * 3);
        assert_eq!((adoptions(&[&back]), adoptions(&[&a])), (1, 0));
    });
}

#[test]
fn a_log_that_this_very_process_wrote_is_ended_at_once() {
    paused(async {
        let world = world();
        let node = world.node("a").await;
        let ended = node.crash().await.generation;
        let ground = Ground {
            ended: [ended].into(),
            ..Ground::new(world.ports.clone())
        };
        let begun = Instant::now();
        let _node = world.node_on("a", Options::default(), ground).await.unwrap();
        gone(&store(&world), ended).await;
        assert!(begun.elapsed() < BEAT_PAUSE);
    });
}

#[test]
fn a_second_process_with_a_name_that_lives_does_not_start() {
    paused(async {
        let world = world();
        let [a, _b] = nodes(&world, ["a", "b"]).await;
        let second = world.node_on("a", Options::default(), Ground::new(world.ports.clone()));
        let refused = second.await.unwrap_err();
        let log = a.generation;
        assert_eq!(
            refused,
            NameError::InUse {
                node: "a".into(),
                log
            }
        );
    });
}

#[test]
fn a_node_that_ends_well_leaves_nothing_to_end() {
    paused(async {
        let world = world();
        let [a, b] = nodes(&world, ["a", "b"]).await;
        b.announce(World::event(1, "one")).await;
        let left = b.generation;
        b.stop().await;
        assert_eq!(listed(&store(&world)).await, [a.generation]);
        assert_eq!(store(&world).log_end(left).await.unwrap(), 1);
        a.wait_members(1).await;
        sleep(SILENCE_MAX * 2).await;
        assert_eq!(adoptions(&[&a]), 0);
        let begun = Instant::now();
        world.node("b").await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "its name is free");
    });
}

#[test]
fn a_node_whose_heartbeats_do_not_come_through_ends_this_life_and_appends_no_more() {
    paused(async {
        let world = world();
        let [a, _b] = nodes(&world, ["a", "b"]).await;
        a.announce(World::event(1, "one")).await;
        let begun = Instant::now();
        store(&world).set_unavailable(true);
        assert_eq!(a.fatal().await, Fatal::LeaseLost);
        assert!(begun.elapsed() <= LEASE + BEAT_PAUSE);
        store(&world).set_unavailable(false);
        let late = a.bus.announce(vec![World::event(1, "late")]).await;
        assert_eq!(late, Outcome::Unknown);
        assert_eq!(store(&world).all_records(a.generation).len(), 1);
    });
}

#[test]
fn a_log_that_was_ended_answers_unknown_once_and_refuses_from_then_on() {
    paused(async {
        let world = world();
        let [a, _b] = nodes(&world, ["a", "b"]).await;
        a.announce(World::event(1, "one")).await;
        store(&world).adopt(a.generation).await.unwrap();
        let (first, second) = tokio::join!(
            a.bus.announce(vec![World::event(1, "two")]),
            a.bus.announce(vec![World::event(1, "three")])
        );
        assert_eq!((first, second), (Outcome::Unknown, Outcome::Unknown));
        assert_eq!(a.fatal().await, Fatal::LeaseLost);
        assert_eq!(
            a.bus.announce(vec![World::event(1, "four")]).await,
            Outcome::Refused
        );
        assert!(!a.log.finish().await, "it was not closed well");
        assert_eq!(store(&world).all_records(a.generation).len(), 1);
    });
}

/// Members whose adoption fails a few times.
#[derive(Debug)]
struct Reluctant {
    store: MemoryStore,
    failures_left: AtomicU32,
}

#[async_trait]
impl Membership for Reluctant {
    async fn beat(&self, member: &MemberRow) -> Result<(), StoreError> {
        self.store.beat(member).await
    }

    async fn leave(&self, generation: Generation) -> Result<(), StoreError> {
        self.store.leave(generation).await
    }

    async fn members(&self) -> Result<Vec<MemberRow>, StoreError> {
        self.store.members().await
    }

    async fn sealed(&self, generation: Generation) -> Result<Option<u64>, StoreError> {
        self.store.sealed(generation).await
    }

    async fn adopt(&self, generation: Generation) -> Result<u64, StoreError> {
        // No heartbeat waits for it.
        sleep(LEASE * 2).await;
        let count = |left: u32| left.checked_sub(1);
        match self
            .failures_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, count)
        {
            Ok(_) => Err(StoreError::Unavailable("on purpose".into())),
            Err(_) => self.store.adopt(generation).await,
        }
    }
}

#[test]
fn an_adoption_that_fails_is_tried_again_and_one_that_takes_long_costs_no_lease() {
    paused(async {
        let world = world();
        let reluctant = Reluctant {
            store: store(&world),
            failures_left: AtomicU32::new(3),
        };
        let ports = Ports {
            membership: Arc::new(reluctant),
            ..world.ports.clone()
        };
        let [a, b] = ["a", "b"];
        let a = world
            .node_on(a, Options::default(), Ground::new(ports))
            .await
            .unwrap();
        let b = world.node(b).await;
        a.wait_members(2).await;
        let dead = b.crash().await.generation;
        sleep(SILENCE_MAX).await;
        let ended = async {
            while listed(&store(&world)).await.contains(&dead) {
                sleep(BEAT_PAUSE).await;
            }
        };
        tokio::select! {
            why = a.fatal() => panic!("{why}"),
            () = ended => {}
        }
        sleep(BEAT_PAUSE).await;
        assert_eq!(a.metrics.adoptions.get(), 1);
        a.announce(World::event(1, "one")).await;
    });
}

/// In a node it has a thread of its own, with time that is real.
#[actix::test]
async fn it_runs_on_a_thread_of_its_own_and_leaves_when_it_is_told_to() {
    let (store, kinds) = (MemoryStore::new(), Arc::new(Kinds::default()));
    let (fatal, _why) = mpsc::channel(1);
    let supervisor = Supervisor::new(Arc::clone(&kinds.supervisor), fatal).start();
    let generation = Generation::from_bytes([1; 16]);
    let lease = Arc::new(LogLease::new(Arc::new(TokioUptime::default())));
    let (members, mut seen) = watch::channel(Arc::new(Members::alone(generation)));
    let (_groups, groups) = watch::channel(Vec::new());
    let (stop, stopped) = watch::channel(false);
    let sightings = Sightings::default();
    let deps = MembershipDeps {
        generation,
        node: "a".into(),
        former: FormerLives::default(),
        membership: Arc::new(store.clone()),
        lease: Arc::clone(&lease),
        members,
        sightings: sightings.clone(),
        groups,
        threads: Threads::Own,
        metrics: Arc::new(Metrics::new(Arc::clone(&kinds)).0),
        kind: Arc::clone(&kinds.membership),
    };
    supervisor
        .send(MembershipParts::new(deps, stopped).supervise())
        .await
        .unwrap();
    lease.begun().await;
    assert!(lease.holds());
    seen.wait_for(|members| members.alive().len() == 1).await.unwrap();
    let sighted = sightings.get().members;
    assert!(sighted.len() == 1 && sighted[0].is_alive, "{sighted:?}");
    stop.send_replace(true);
    while kinds.membership.alive() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!lease.holds());
    assert_eq!(listed(&store).await, []);
}
