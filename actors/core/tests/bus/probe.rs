//! Probes of the way between nodes: who echoes, and what is said of those that don't.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::time::Duration;

use mailhorn_core::events::contract::{Node, World, paused};
use mailhorn_core::events::{Echo, Fanout, PROBE_PATIENCE, PROBES_MAX, ProbeError};
use mailhorn_ports::memory::{MemoryTransport, Weather};
use tokio::time::Instant;

use super::membership::nodes;

fn world() -> World {
    World::cluster(Fanout::Registered, 6)
}

fn transport(world: &World) -> MemoryTransport {
    let memory = world.ports.cluster.as_ref().unwrap().memory.clone();
    memory.unwrap().1
}

async fn probe(node: &Node) -> Vec<Echo> {
    node.prober.as_ref().unwrap().probe().await.unwrap()
}

/// The nodes that echoed, and those that did not.
fn sorted(echoes: &[Echo]) -> (Vec<&str>, Vec<&str>) {
    let names = |has_echoed: bool| {
        let echoes = echoes
            .iter()
            .filter(|echo| echo.round_trip.is_some() == has_echoed);
        let names: BTreeSet<&str> = echoes.map(|echo| echo.node.as_str()).collect();
        names.into_iter().collect()
    };
    (names(true), names(false))
}

#[test]
fn every_other_node_echoes_as_fast_as_the_way_is() {
    paused(async {
        let world = world();
        let [a, _b, _c] = nodes(&world, ["a", "b", "c"]).await;
        transport(&world).set_weather(Weather {
            delay_ms_max: 50,
            ..Weather::default()
        });
        let echoes = probe(&a).await;
        assert_eq!(sorted(&echoes), (vec!["b", "c"], vec![]));
        let longest = echoes.iter().filter_map(|echo| echo.round_trip).max().unwrap();
        assert!((1..=100).contains(&longest.as_millis()), "{longest:?}");
    });
}

#[test]
fn a_dead_node_is_waited_for_and_said_not_to_have_echoed() {
    paused(async {
        let world = world();
        let [a, _b, c] = nodes(&world, ["a", "b", "c"]).await;
        c.crash().await;
        let begun = Instant::now();
        assert_eq!(sorted(&probe(&a).await), (vec!["b"], vec!["c"]));
        let took = begun.elapsed();
        assert!(
            took >= PROBE_PATIENCE && took < PROBE_PATIENCE + Duration::from_secs(1),
            "{took:?}"
        );
    });
}

#[test]
fn frames_that_are_lost_are_said_to_be_and_harm_nothing() {
    paused(async {
        let world = world();
        let [a, _b] = nodes(&world, ["a", "b"]).await;
        let weather = Weather {
            lost: 1_000,
            ..Weather::default()
        };
        transport(&world).set_weather(weather);
        assert_eq!(sorted(&probe(&a).await), (vec![], vec!["b"]));
        transport(&world).set_weather(Weather::default());
        assert_eq!(sorted(&probe(&a).await), (vec!["b"], vec![]));
    });
}

#[test]
fn a_probe_is_no_gap_to_whoever_listens() {
    paused(async {
        let world = world();
        let [a, b] = nodes(&world, ["a", "b"]).await;
        let suspicions = || (a.metrics.suspicions.get(), b.metrics.suspicions.get());
        // What there was to find out about a new node is found out.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = suspicions();
        for _ in 0..10 {
            probe(&a).await;
            probe(&b).await;
        }
        assert_eq!(suspicions(), before);
    });
}

#[test]
fn a_node_without_others_has_its_answer_at_once() {
    paused(async {
        let world = world();
        let [a] = nodes(&world, ["a"]).await;
        let begun = Instant::now();
        assert_eq!(probe(&a).await, []);
        assert!(begun.elapsed() < PROBE_PATIENCE / 10);
    });
}

#[test]
fn too_many_probes_at_once_are_refused() {
    paused(async {
        let world = world();
        let [a, b] = nodes(&world, ["a", "b"]).await;
        b.crash().await;
        let prober = a.prober.clone().unwrap();
        let probes = (0..PROBES_MAX * 3).map(|_| prober.probe());
        let told = futures_util::future::join_all(probes).await;
        let refused = told
            .iter()
            .filter(|told| **told == Err(ProbeError::TooMany))
            .count();
        assert!((1..=PROBES_MAX * 2).contains(&refused), "{refused}");
    });
}
