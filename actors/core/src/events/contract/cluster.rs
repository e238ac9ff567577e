//! Several nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mailhorn_events::Generation;
use mailhorn_events::wire::Format;
use mailhorn_ports::memory::Weather;
use mailhorn_ports::{Cursor, Key, ListenerOptions, Mode, Retention, Scope};

use super::concurrent::{ALL, announce_all, assert_all_once, keys};
use super::group::{dead_letter, settle};
use super::world::{fast, group};
use super::{Node, Options, Recorder, World};
use crate::events::RedeliverError;
use crate::membership::SILENCE_MAX;

/// Nodes that know each other.
async fn nodes<const N: usize>(world: &World, names: [&str; N]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(world.node(name).await);
    }
    for node in &nodes {
        node.wait_members(N).await;
    }
    nodes
}

/// Registers a group on some nodes, and waits until all nodes know.
async fn on(nodes: &[Node], runners: &[usize], name: &str) -> Vec<Arc<Recorder>> {
    let mut listeners = Vec::new();
    for runner in runners {
        let listener = Recorder::willing();
        nodes[*runner].group(name, &listener).await;
        listeners.push(listener);
    }
    for node in nodes {
        node.wait_runners(name, runners.len()).await;
    }
    listeners
}

pub async fn a_group_that_runs_elsewhere_has_the_event(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    let listeners = on(&nodes, &[0], "g").await;
    nodes[1].announce(World::event(1, "one")).await;
    listeners[0].wait_done(1).await;
}

pub async fn redelivery_needs_the_group_on_this_node(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    let listener = Recorder::failing(usize::MAX);
    nodes[0].group("g", &listener).await;
    let id = dead_letter(&nodes[0], &listener).await;
    let refused = nodes[1].bus.redeliver(&group("g"), id).await;
    assert_eq!(refused, Err(RedeliverError::NotRegistered("g".parse().unwrap())));
}

pub async fn a_group_on_two_nodes_has_a_redelivery_once(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    let (failing, other) = (Recorder::failing(4), Recorder::willing());
    nodes[0].group("g", &failing).await;
    nodes[1].group("g", &other).await;
    for node in &nodes {
        node.wait_runners("g", 2).await;
    }
    let id = dead_letter(&nodes[0], &failing).await;
    nodes[1].bus.redeliver(&group("g"), id).await.unwrap();
    other.wait_done(1).await;
    settle().await;
    assert_eq!(failing.had().len() + other.had().len(), 1);
}

pub async fn a_group_on_two_nodes_has_an_event_once(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    let listeners = on(&nodes, &[0, 1], "g").await;
    nodes[0].announce(World::event(1, "one")).await;
    listeners[0].wait_done(1).await;
    settle().await;
    assert_eq!(listeners[1].calls(), 0);
}

pub async fn a_group_unregistered_elsewhere_is_shown_nothing(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    let (gone, witness) = (on(&nodes, &[0], "g").await, on(&nodes, &[0], "w").await);
    nodes[0].unregister_group("g");
    nodes[1].announce(World::event(1, "one")).await;
    witness[0].wait_done(1).await;
    settle().await;
    assert_eq!(gone[0].calls(), 0);
}

pub async fn a_group_is_not_shown_what_was_before_it_elsewhere(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    nodes[1].announce(World::event(1, "before")).await;
    let listeners = on(&nodes, &[0], "g").await;
    nodes[1].announce(World::event(1, "after")).await;
    listeners[0].wait_done(1).await;
    settle().await;
    assert_eq!(listeners[0].names(), ["after"]);
}

pub async fn a_key_listener_elsewhere_is_told_once(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    let listener = Recorder::willing();
    let _registration = nodes[0].listen(&listener, &[World::key(1)]).await;
    nodes[1].announce(World::event(1, "one")).await;
    listener.wait_done(1).await;
    settle().await;
    assert_eq!(listener.calls(), 1);
    assert_eq!(listener.had()[0].position().generation, nodes[1].generation);
}

pub async fn a_key_listener_unregistered_elsewhere_is_told_nothing(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    let (gone, witness) = (Recorder::willing(), Recorder::willing());
    let registration = nodes[0].listen(&gone, &[World::key(1)]).await;
    let _witness = nodes[0].listen(&witness, &[World::key(1)]).await;
    registration.unregister();
    nodes[1].announce(World::event(1, "one")).await;
    witness.wait_done(1).await;
    settle().await;
    assert_eq!(gone.calls(), 0);
}

pub async fn key_listeners_on_all_nodes_are_told_once(world: &World) {
    let nodes = nodes(world, ["a", "b", "c"]).await;
    let mut held = Vec::new();
    for node in &nodes {
        let listener = Recorder::willing();
        held.push((node.listen(&listener, &[World::key(1)]).await, listener));
    }
    nodes[0].announce(World::event(1, "one")).await;
    for (_, listener) in &held {
        listener.wait_done(1).await;
    }
    settle().await;
    assert!(held.iter().all(|(_, listener)| listener.calls() == 1));
}

pub async fn a_key_listener_is_not_shown_what_was_before_it_elsewhere(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    nodes[1].announce(World::event(1, "before")).await;
    settle().await;
    let listener = Recorder::willing();
    let _registration = nodes[0].listen(&listener, &[World::key(1)]).await;
    nodes[1].announce(World::event(1, "after")).await;
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["after"]);
}

pub async fn a_sync_listener_here_has_it_at_once_and_one_elsewhere_later(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    let sync = ListenerOptions {
        mode: Mode::Sync,
        ..fast()
    };
    let (here, there) = (Recorder::willing(), Recorder::willing());
    let _here = nodes[0].listen_with(&here, &[World::key(1)], sync).await;
    let _there = nodes[1].listen_with(&there, &[World::key(1)], sync).await;
    nodes[0].announce(World::event(1, "one")).await;
    assert_eq!(here.names(), ["one"]);
    there.wait_done(1).await;
    settle().await;
    assert_eq!((here.calls(), there.calls()), (1, 1));
}

/// Three groups on three nodes.
async fn three_groups_everywhere(nodes: &[Node]) -> Vec<Vec<Arc<Recorder>>> {
    let mut groups = Vec::new();
    for name in ["a", "b", "c"] {
        groups.push(on(nodes, &[0, 1, 2], name).await);
    }
    groups
}

/// How many events of each log a listener had.
fn shown_by_log(listener: &Recorder) -> BTreeMap<Generation, usize> {
    let mut shown = BTreeMap::new();
    for happened in listener.had() {
        *shown.entry(happened.position().generation).or_default() += 1;
    }
    shown
}

async fn assert_groups_once(groups: &[Vec<Arc<Recorder>>]) {
    for listeners in groups {
        let had = || {
            listeners
                .iter()
                .map(|listener| listener.had().len())
                .sum::<usize>()
        };
        for _ in 0..1_000 {
            if had() >= ALL {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        settle().await;
        let mut names: Vec<String> = listeners.iter().flat_map(|listener| listener.names()).collect();
        names.sort_unstable();
        names.dedup();
        let shown = || {
            listeners
                .iter()
                .map(|listener| shown_by_log(listener))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (names.len(), had()),
            (ALL, ALL),
            "every event once in the cluster; shown by node and log: {:#?}",
            shown()
        );
    }
}

pub async fn concurrent_announcements_on_three_nodes_reach_groups_once(world: &World) {
    let nodes = nodes(world, ["a", "b", "c"]).await;
    let groups = three_groups_everywhere(&nodes).await;
    announce_all(&nodes.iter().collect::<Vec<_>>()).await;
    assert_groups_once(&groups).await;
}

pub async fn concurrent_announcements_on_three_nodes_reach_key_listeners_everywhere(world: &World) {
    let nodes = nodes(world, ["a", "b", "c"]).await;
    let mut held = Vec::new();
    for node in &nodes {
        let listener = Recorder::willing();
        held.push((node.listen(&listener, &keys()).await, listener));
    }
    announce_all(&nodes.iter().collect::<Vec<_>>()).await;
    for (_, listener) in &held {
        listener.wait_done(ALL).await;
        assert_all_once(listener);
    }
}

pub async fn concurrent_announcements_on_three_nodes_reach_both(world: &World) {
    let nodes = nodes(world, ["a", "b", "c"]).await;
    let groups = three_groups_everywhere(&nodes).await;
    let listener = Recorder::willing();
    let _registration = nodes[2].listen(&listener, &keys()).await;
    announce_all(&nodes.iter().collect::<Vec<_>>()).await;
    listener.wait_done(ALL).await;
    assert_all_once(&listener);
    assert_groups_once(&groups).await;
}

pub async fn a_listener_of_scope_cluster_has_every_event_on_every_node(world: &World) {
    let nodes = nodes(world, ["a", "b"]).await;
    let listeners = [Recorder::willing(), Recorder::willing()];
    for (node, listener) in nodes.iter().zip(&listeners) {
        let listener = Arc::clone(listener) as Arc<dyn mailhorn_ports::Listener>;
        let registered = node
            .bus
            .register_group(group("cache"), Scope::Cluster, listener, fast())
            .await;
        registered.unwrap();
    }
    settle().await;
    for (n, node) in (0..).zip(&nodes) {
        for m in 0..10 {
            node.announce(World::event(m, n * 10 + m)).await;
        }
    }
    for listener in &listeners {
        listener.wait_done(20).await;
        settle().await;
        assert_eq!(listener.calls(), 20);
    }
}

/// Its log is adopted when its heartbeat has stood still for long enough.
pub async fn a_survivor_follows_the_log_of_a_node_that_died(world: &World) {
    let mut nodes = nodes(world, ["a", "b"]).await;
    let listener = Arc::new(Recorder::new(|_, _| super::Behaviour::Hang));
    nodes[1].group("g", &listener).await;
    let listeners = on(&nodes[..1], &[0], "h").await;
    let survivor = Recorder::willing();
    nodes[0].group("g", &survivor).await;
    nodes[0].wait_runners("g", 2).await;
    nodes[1].announce(World::event(1, "one")).await;
    listener.wait_calls(1).await;
    let dead = nodes.remove(1).crash().await;
    // It may live: who adopts its log at once handles everything twice.
    tokio::time::sleep(SILENCE_MAX / 2).await;
    assert_eq!(survivor.calls(), 0, "nobody is dead so soon");
    survivor.wait_done(1).await;
    assert_eq!(survivor.had()[0].position().generation, dead.generation);
    listeners[0].wait_done(1).await;
}

/// Two may follow a log for a while. What one of them has finished goes, though the other has not read it.
pub async fn what_another_follower_finished_and_was_trimmed_is_no_gap(world: &World) {
    let Some((_, transport)) = memory(world) else {
        return;
    };
    let nodes = nodes(world, ["a", "b"]).await;
    let listeners = on(&nodes, &[0], "g").await;
    let log = nodes[1].generation;
    // So that nobody wakes the follower here.
    transport.set_weather(Weather {
        lost: 1_000,
        ..Weather::default()
    });
    for n in 1..=9 {
        nodes[1].announce(World::event(1, n)).await;
    }
    let ports = &world.ports;
    let finished = Cursor::at(ports.mail.log_end(log).await.unwrap());
    ports
        .groups
        .save_cursor(&group("g"), log, &finished)
        .await
        .unwrap();
    let nothing_old = Retention {
        records_before: Default::default(),
        groups_before: Default::default(),
        notes_since: Default::default(),
    };
    ports.mail.maintain(nothing_old).await.unwrap();
    assert!(
        ports.mail.records(log, 1, 1).await.unwrap()[0].number > 1,
        "it was trimmed"
    );
    assert_eq!(listeners[0].calls(), 0, "it was faster");
    nodes[1].announce(World::event(1, "last")).await;
    listeners[0].wait_done(1).await;
    nodes[0].wait_idle("g").await;
    assert_eq!(nodes[0].dead("g").await, []);
    assert_eq!(listeners[0].names().last().map(String::as_str), Some("last"));
}

/// Stop it, wipe it: what is registered is suspect, and registered again.
pub async fn a_registry_that_was_wiped_is_noticed(world: &World) {
    let Some((registry, _)) = memory(world) else {
        return;
    };
    let nodes = nodes(world, ["a", "b"]).await;
    let listener = Recorder::willing();
    let user = Key::User(World::user(1));
    let _registration = nodes[0].listen(&listener, &[user]).await;
    nodes[1].announce(World::event(1, "before")).await;
    listener.wait_done(1).await;
    registry.wipe();
    nodes[1].announce(World::event(1, "just after")).await;
    listener.wait_done(2).await;
    settle().await;
    tokio::time::sleep(crate::events::RENEW_PAUSE * 2 + crate::events::DISTRUST).await;
    nodes[1].announce(World::event(1, "long after")).await;
    listener.wait_done(3).await;
    assert_eq!(listener.names(), ["before", "just after", "long after"]);
}

pub async fn what_happens_while_the_registry_is_away_is_told_all_the_same(world: &World) {
    let Some((registry, _)) = memory(world) else {
        return;
    };
    let nodes = nodes(world, ["a", "b"]).await;
    let (listener, of_group) = (Recorder::willing(), on(&nodes, &[0], "g").await);
    let _registration = nodes[0].listen(&listener, &[World::key(1)]).await;
    registry.set_unavailable(true);
    for n in 0..10 {
        nodes[1].announce(World::event(1, n)).await;
    }
    of_group[0].wait_done(10).await;
    listener.wait_done(10).await;
}

/// Half of the frames are lost, some are doubled, all are late: nobody believes that nothing happened.
pub async fn what_the_way_between_nodes_loses_is_made_up_for(world: &World) {
    let Some((_, transport)) = memory(world) else {
        return;
    };
    let nodes = nodes(world, ["a", "b"]).await;
    let (listener, of_group) = (Recorder::willing(), on(&nodes, &[0], "g").await);
    let _registration = nodes[0].listen(&listener, &[World::key(1)]).await;
    transport.set_weather(Weather {
        lost: 500,
        doubled: 300,
        delay_ms_max: 50,
    });
    for n in 0..50 {
        nodes[1].announce(World::event(1, n)).await;
    }
    of_group[0].wait_done(50).await;
    transport.set_weather(Weather::default());
    listener.wait_missed(1).await;
    let mut names = listener.names();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "none is told twice");
}

pub async fn nodes_with_different_formats_understand_each_other(world: &World) {
    let formats = [Format::Json, Format::MessagePack, Format::Bincode];
    let mut nodes = Vec::new();
    for (name, format) in ["a", "b", "c"].into_iter().zip(formats) {
        let options = Options {
            format,
            ..Options::default()
        };
        nodes.push(world.node_with(name, options).await);
    }
    for node in &nodes {
        node.wait_members(3).await;
    }
    let mut held = Vec::new();
    for node in &nodes {
        let listener = Recorder::willing();
        held.push((node.listen(&listener, &[World::key(1)]).await, listener));
    }
    for (n, node) in nodes.iter().enumerate() {
        node.announce(World::event(1, n)).await;
    }
    for (_, listener) in &held {
        listener.wait_done(3).await;
    }
}

fn memory(
    world: &World,
) -> Option<(
    mailhorn_ports::memory::MemoryRegistry,
    mailhorn_ports::memory::MemoryTransport,
)> {
    world.ports.cluster.as_ref()?.memory.clone()
}
