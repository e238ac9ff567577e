//! Many at a time: ten tasks of thirty announcements each.

use std::sync::Arc;

use futures_util::future::join_all;

use super::group::settle;
use super::{Node, Recorder, World};

const TASKS: u64 = 10;
const EACH: u64 = 30;
pub(super) const ALL: usize = 300;

/// Announces from ten tasks; each of the nodes gets its share.
pub(super) async fn announce_all(nodes: &[&Node]) {
    let tasks = (0..TASKS).map(|task| {
        let node = nodes[task as usize % nodes.len()];
        async move {
            for n in 0..EACH {
                node.announce(World::event(n % 7, task * EACH + n)).await;
            }
        }
    });
    join_all(tasks).await;
}

/// The keys of every mailbox that is announced of.
pub(super) fn keys() -> Vec<mailhorn_ports::Key> {
    (0..7).map(World::key).collect()
}

/// Whether it had every event exactly once.
pub(super) fn assert_all_once(listener: &Recorder) {
    let mut names: Vec<u64> = listener
        .names()
        .iter()
        .map(|name| name.parse().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, (0..TASKS * EACH).collect::<Vec<u64>>());
}

pub(super) async fn three_groups(node: &Node) -> Vec<Arc<Recorder>> {
    let mut listeners = Vec::new();
    for name in ["a", "b", "c"] {
        let listener = Recorder::willing();
        node.group(name, &listener).await;
        listeners.push(listener);
    }
    listeners
}

pub async fn concurrent_announcements_reach_groups(world: &World) {
    let node = world.node("a").await;
    let listeners = three_groups(&node).await;
    announce_all(&[&node]).await;
    for listener in &listeners {
        listener.wait_done(ALL).await;
        assert_all_once(listener);
    }
}

pub async fn concurrent_announcements_reach_key_listeners(world: &World) {
    let node = world.node("a").await;
    let (one, other) = (Recorder::willing(), Recorder::willing());
    let _one = node.listen(&one, &keys()).await;
    let _other = node.listen(&other, &keys()).await;
    announce_all(&[&node]).await;
    for listener in [one, other] {
        listener.wait_done(ALL).await;
        assert_all_once(&listener);
    }
}

pub async fn concurrent_announcements_reach_both(world: &World) {
    let node = world.node("a").await;
    let listeners = three_groups(&node).await;
    let of_keys = Recorder::willing();
    let _registration = node.listen(&of_keys, &keys()).await;
    announce_all(&[&node]).await;
    for listener in listeners.iter().chain([&of_keys]) {
        listener.wait_done(ALL).await;
        assert_all_once(listener);
    }
}

pub async fn concurrent_registrations_are_all_told(world: &World) {
    let node = world.node("a").await;
    let listeners: Vec<Arc<Recorder>> = (0..ALL).map(|_| Recorder::willing()).collect();
    let key = [World::key(1)];
    let registrations = listeners.iter().map(|listener| node.listen(listener, &key));
    let _registrations = join_all(registrations).await;
    node.announce(World::event(1, "one")).await;
    for listener in &listeners {
        listener.wait_done(1).await;
    }
    settle().await;
    assert!(listeners.iter().all(|listener| listener.calls() == 1));
}
