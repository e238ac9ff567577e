//! What becomes of an event that a listener can't handle. Three retries, so four attempts.

use std::sync::Arc;
use std::time::Duration;

use mailhorn_events::wire;
use mailhorn_ports::ListenerOptions;

use super::group::{Announcing, dead_letter, settle};
use super::world::{fast, group};
use super::{Behaviour, Recorder, World};

pub async fn a_key_listener_is_not_tried_again_and_leaves_no_dead_letter(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(usize::MAX);
    let _registration = node.listen(&listener, &[World::key(1)]).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_calls(1).await;
    settle().await;
    assert_eq!(listener.calls(), 1);
    assert_eq!(node.ports.groups.groups_with_dead_letters().await.unwrap(), []);
}

async fn ends_well_after(world: &World, failures: usize) {
    let node = world.node("a").await;
    let listener = Recorder::failing(failures);
    node.group("g", &listener).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_done(1).await;
    node.wait_idle("g").await;
    assert_eq!(listener.calls(), failures + 1);
    assert_eq!(node.dead("g").await, []);
}

pub async fn fewer_failures_than_retries_end_well_and_leave_no_dead_letter(world: &World) {
    ends_well_after(world, 2).await;
}

pub async fn as_many_failures_as_retries_end_well(world: &World) {
    ends_well_after(world, 3).await;
}

pub async fn more_failures_than_retries_end_in_a_dead_letter(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(9);
    node.group("g", &listener).await;
    node.announce(World::event(1, "one")).await;
    node.wait_dead("g", 1).await;
    assert_eq!(listener.had().len(), 0);
}

pub async fn an_event_that_died_is_not_tried_again(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(usize::MAX);
    node.group("g", &listener).await;
    node.announce(World::event(1, "one")).await;
    node.wait_dead("g", 1).await;
    settle().await;
    assert_eq!(listener.calls(), 4);
}

/// James adds a constant jitter, so gaps have a lower bound and what failed together is tried together. Here a pause is
/// drawn from nothing up to a bound that doubles ("full jitter"): there is no lower bound, only an upper one. That the bound
/// doubles is held by the table in `standing`; here, that pauses differ and stay below it. The
/// first bound is long beside what a try itself takes.
pub async fn retries_wait_for_times_drawn_from_ranges_that_double(world: &World) {
    const FIRST: Duration = Duration::from_millis(250);
    /// What a try may take beside its pause.
    const SLACK: Duration = Duration::from_millis(50);
    let node = world.node("a").await;
    let times: Arc<parking_lot::Mutex<Vec<tokio::time::Instant>>> = Arc::default();
    let called = Arc::clone(&times);
    let listener = Recorder::new(move |_, _| {
        called.lock().push(tokio::time::Instant::now());
        Behaviour::Bad
    });
    let options = ListenerOptions {
        retries: 6,
        retry_pause: FIRST,
        ..fast()
    };
    node.group_with("g", &Arc::new(listener), options).await;
    node.announce(World::event(1, "one")).await;
    node.wait_dead("g", 1).await;
    let times = times.lock().clone();
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps.len(), 6);
    for (n, gap) in (0..).zip(&gaps) {
        let bound = FIRST * 2u32.pow(n);
        assert!(*gap <= bound + SLACK, "gap {n} is {gap:?}, above {bound:?}");
    }
    let differ: std::collections::BTreeSet<_> = gaps.iter().collect();
    assert!(differ.len() > 1, "nothing was drawn: {gaps:?}");
}

pub async fn a_retried_listener_may_announce(world: &World) {
    let node = world.node("a").await;
    let (second, bus) = (Recorder::willing(), node.bus.clone());
    let listener = Arc::new(Announcing { bus, fails: 1.into() });
    node.group("first", &listener).await;
    node.group("second", &second).await;
    node.announce(World::event(1, "once")).await;
    second.wait_done(2).await;
}

pub async fn a_dead_letter_holds_the_event(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(usize::MAX);
    node.group("g", &listener).await;
    node.announce_all(vec![World::event(2, "other"), World::event(1, "dead")])
        .await;
    let dead = node.wait_dead("g", 2).await;
    for letter in &dead {
        let record = wire::decode(&letter.octets).unwrap();
        assert_eq!(record.id, letter.id);
        let [event] = &record.events[..] else {
            panic!("a letter holds one event");
        };
        assert!([World::event(2, "other"), World::event(1, "dead")].contains(event));
        assert_eq!((letter.attempts, &*letter.why), (4, "on purpose"));
        assert_eq!(letter.position.generation, node.generation);
    }
}

pub async fn a_failed_redelivery_is_a_dead_letter_again(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(usize::MAX);
    node.group("g", &listener).await;
    let id = dead_letter(&node, &listener).await;
    node.bus.redeliver(&group("g"), id).await.unwrap();
    assert_eq!(node.dead("g").await, [], "it is parked meanwhile");
    let dead = node.wait_dead("g", 1).await;
    assert_eq!(dead[0].id, id);
}

/// James disables this one (JAMES-2907): there a redelivery has one attempt less.
pub async fn a_redelivery_has_as_many_attempts_as_the_first_delivery(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(usize::MAX);
    node.group("g", &listener).await;
    let id = dead_letter(&node, &listener).await;
    let first = listener.calls();
    node.bus.redeliver(&group("g"), id).await.unwrap();
    node.wait_dead("g", 1).await;
    assert_eq!(listener.calls(), 2 * first);
}

pub async fn a_redelivery_is_not_shown_to_key_listeners(world: &World) {
    let node = world.node("a").await;
    let (listener, of_key) = (Recorder::failing(4), Recorder::willing());
    node.group("g", &listener).await;
    let _registration = node.listen(&of_key, &[World::key(1)]).await;
    let id = dead_letter(&node, &listener).await;
    of_key.wait_done(1).await;
    node.bus.redeliver(&group("g"), id).await.unwrap();
    listener.wait_done(1).await;
    settle().await;
    assert_eq!(of_key.calls(), 1);
}
