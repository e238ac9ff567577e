//! Listeners registered for keys, on one node.

use std::sync::Arc;
use std::time::Duration;

use mailhorn_events::Happening;
use mailhorn_ports::{Key, ListenerOptions, Mode};

use super::group::{Meeting, settle};
use super::world::fast;
use super::{Behaviour, Recorder, World};

pub async fn calls_do_not_exceed_the_concurrency(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Slow(Duration::from_millis(20))));
    let keys: Vec<Key> = (0..50).map(World::key).collect();
    let _registration = node.listen(&listener, &keys).await;
    // At once: one by one they may come no faster than they are done.
    node.announce_all((0..50).map(|n| World::event(n, n)).collect())
        .await;
    listener.wait_done(50).await;
    assert_eq!(listener.running_max(), ListenerOptions::default().concurrency);
}

pub async fn listeners_of_a_key_have_an_event_at_the_same_time(world: &World) {
    let node = world.node("a").await;
    let barrier = Arc::new(tokio::sync::Barrier::new(3));
    let listeners = [(); 3].map(|()| Arc::new(Meeting(Arc::clone(&barrier), Recorder::willing())));
    let mut registrations = Vec::new();
    for listener in &listeners {
        registrations.push(node.listen(listener, &[World::key(1)]).await);
    }
    node.announce(World::event(1, "met")).await;
    for listener in &listeners {
        listener.1.wait_done(1).await;
    }
}

pub async fn noops_are_dropped(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    let _registration = node.listen(&listener, &[World::key(1)]).await;
    node.announce_all(vec![World::noop(1), World::event(1, "one")])
        .await;
    listener.wait_done(1).await;
    settle().await;
    assert_eq!(listener.names(), ["one"]);
}

pub async fn only_what_it_handles_is_shown(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::new(|_, _| Behaviour::Done)
        .handling(|event| matches!(event.happening, Happening::MailboxAdded { .. }));
    let listener = Arc::new(listener);
    let _registration = node.listen(&listener, &[World::key(1)]).await;
    let other = Happening::MailboxSubscribed { name: "other".into() };
    node.announce(World::happened(1, other)).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["one"]);
}

pub async fn a_failing_listener_does_not_reach_the_announcer(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Panic));
    let sync = ListenerOptions {
        mode: Mode::Sync,
        ..fast()
    };
    let _registration = node.listen_with(&listener, &[World::key(1)], sync).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_calls(1).await;
}

/// James dispatches to a set of keys, which may be empty. Here an event's keys are its mailbox and its user: one without a
/// mailbox has the user's alone.
pub async fn an_event_without_its_key_is_not_shown(world: &World) {
    let node = world.node("a").await;
    let (of_mailbox, of_user) = (Recorder::willing(), Recorder::willing());
    let _one = node.listen(&of_mailbox, &[World::key(1)]).await;
    let _other = node.listen(&of_user, &[Key::User(World::user(1))]).await;
    let mut event = World::event(1, "of the user");
    event.mailbox = None;
    node.announce(event).await;
    of_user.wait_done(1).await;
    settle().await;
    assert_eq!(of_mailbox.calls(), 0);
}

pub async fn an_event_of_another_key_is_not_shown(world: &World) {
    let node = world.node("a").await;
    let (listener, witness) = (Recorder::willing(), Recorder::willing());
    let _one = node.listen(&listener, &[World::key(1)]).await;
    let _other = node.listen(&witness, &[World::key(2)]).await;
    node.announce(World::event(2, "elsewhere")).await;
    witness.wait_done(1).await;
    settle().await;
    assert_eq!(listener.calls(), 0);
}

pub async fn an_event_of_its_key_is_shown(world: &World) {
    let node = world.node("a").await;
    let (of_mailbox, of_user) = (Recorder::willing(), Recorder::willing());
    let _one = node.listen(&of_mailbox, &[World::key(1)]).await;
    let _other = node.listen(&of_user, &[Key::User(World::user(1))]).await;
    node.announce(World::event(1, "one")).await;
    of_mailbox.wait_done(1).await;
    of_user.wait_done(1).await;
    assert_eq!(of_mailbox.had()[0].event(), &World::event(1, "one"));
}

pub async fn a_sync_listener_has_the_event_when_it_is_announced(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Slow(Duration::from_millis(30))));
    let sync = ListenerOptions {
        mode: Mode::Sync,
        ..fast()
    };
    let _registration = node.listen_with(&listener, &[World::key(1)], sync).await;
    node.announce(World::event(1, "one")).await;
    assert_eq!(listener.names(), ["one"]);
}

pub async fn only_the_listener_of_the_key_is_shown(world: &World) {
    let node = world.node("a").await;
    let (one, other) = (Recorder::willing(), Recorder::willing());
    let _one = node.listen(&one, &[World::key(1)]).await;
    let _other = node.listen(&other, &[World::key(2)]).await;
    node.announce(World::event(1, "one")).await;
    one.wait_done(1).await;
    settle().await;
    assert_eq!(other.calls(), 0);
}

pub async fn all_listeners_of_a_key_are_shown(world: &World) {
    let node = world.node("a").await;
    let (one, other) = (Recorder::willing(), Recorder::willing());
    let _one = node.listen(&one, &[World::key(1)]).await;
    let _other = node.listen(&other, &[World::key(1)]).await;
    node.announce(World::event(1, "one")).await;
    one.wait_done(1).await;
    other.wait_done(1).await;
}

pub async fn registering_twice_is_being_told_once(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    let _one = node.listen(&listener, &[World::key(1)]).await;
    let _other = node.listen(&listener, &[World::key(1)]).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_done(1).await;
    settle().await;
    assert_eq!(listener.calls(), 1);
}

pub async fn unregistering_once_undoes_registering_twice(world: &World) {
    let node = world.node("a").await;
    let (listener, witness) = (Recorder::willing(), Recorder::willing());
    let _witness = node.listen(&witness, &[World::key(1)]).await;
    let one = node.listen(&listener, &[World::key(1)]).await;
    let _other = node.listen(&listener, &[World::key(1)]).await;
    one.unregister();
    node.announce(World::event(1, "one")).await;
    witness.wait_done(1).await;
    settle().await;
    assert_eq!(listener.calls(), 0);
}

pub async fn a_listener_is_not_shown_what_was_before_it(world: &World) {
    let node = world.node("a").await;
    node.announce(World::event(1, "before")).await;
    let listener = Recorder::willing();
    let _registration = node.listen(&listener, &[World::key(1)]).await;
    node.announce(World::event(1, "after")).await;
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["after"]);
}

pub async fn unregistering_every_registration_leaves_none(world: &World) {
    let node = world.node("a").await;
    let (listener, witness) = (Recorder::willing(), Recorder::willing());
    let _witness = node.listen(&witness, &[World::key(1)]).await;
    let one = node.listen(&listener, &[World::key(1)]).await;
    let other = node.listen(&listener, &[World::key(2)]).await;
    one.unregister();
    other.unregister();
    node.announce_all(vec![World::event(1, "one"), World::event(2, "two")])
        .await;
    witness.wait_done(1).await;
    settle().await;
    assert_eq!(listener.calls(), 0);
    assert_eq!(node.kinds.key_listener.alive(), 1, "its actor has ended");
}

pub async fn unregistering_one_key_leaves_the_others(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    let _one = node.listen(&listener, &[World::key(1)]).await;
    let other = node.listen(&listener, &[World::key(2)]).await;
    other.unregister();
    node.announce(World::event(2, "two")).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_done(1).await;
    settle().await;
    assert_eq!(listener.names(), ["one"]);
}

pub async fn unregistering_twice_is_unregistering_once(world: &World) {
    let node = world.node("a").await;
    let (listener, other) = (Recorder::willing(), Recorder::willing());
    let registration = node.listen(&listener, &[World::key(1)]).await;
    let _other = node.listen(&other, &[World::key(1)]).await;
    registration.unregister();
    registration.unregister();
    node.announce(World::event(1, "one")).await;
    other.wait_done(1).await;
}

pub async fn one_change_reaches_several_keys(world: &World) {
    let node = world.node("a").await;
    let (one, other) = (Recorder::willing(), Recorder::willing());
    let _one = node.listen(&one, &[World::key(1)]).await;
    let _other = node.listen(&other, &[World::key(2)]).await;
    node.announce_all(vec![World::event(1, "one"), World::event(2, "two")])
        .await;
    one.wait_done(1).await;
    other.wait_done(1).await;
    assert_eq!(
        (one.names(), other.names()),
        (vec!["one".into()], vec!["two".into()])
    );
}

/// James disables this one for RabbitMQ.
pub async fn a_listener_of_several_keys_that_match_is_called_once(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    let keys = [World::key(1), Key::User(World::user(1))];
    let _registration = node.listen(&listener, &keys).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_done(1).await;
    settle().await;
    assert_eq!(listener.calls(), 1);
}

pub async fn an_unregistered_listener_is_shown_nothing(world: &World) {
    let node = world.node("a").await;
    let (listener, witness) = (Recorder::willing(), Recorder::willing());
    let _witness = node.listen(&witness, &[World::key(1)]).await;
    // A registration that is dropped is unregistered.
    drop(node.listen(&listener, &[World::key(1)]).await);
    node.announce(World::event(1, "one")).await;
    witness.wait_done(1).await;
    settle().await;
    assert_eq!(listener.calls(), 0);
}

pub async fn an_async_listener_is_shown(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Slow(Duration::from_millis(30))));
    let _registration = node.listen(&listener, &[World::key(1)]).await;
    node.announce(World::event(1, "one")).await;
    assert_eq!(listener.had().len(), 0, "after the reply");
    listener.wait_done(1).await;
}

pub async fn a_blocked_async_listener_does_not_hold_up_the_announcer(world: &World) {
    let node = world.patient_node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Hang));
    let _registration = node.listen(&listener, &[World::key(1)]).await;
    let begun = tokio::time::Instant::now();
    for n in 0..3 {
        node.announce(World::event(1, n)).await;
    }
    assert!(begun.elapsed() < world.patience(Duration::from_millis(250)));
}

pub async fn a_failure_does_not_hold_up_the_next_event(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(1);
    let _registration = node.listen(&listener, &[World::key(1)]).await;
    node.announce(World::event(1, "one")).await;
    node.announce(World::event(1, "two")).await;
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["two"]);
}

pub async fn a_failing_listener_does_not_hold_up_another(world: &World) {
    let node = world.node("a").await;
    let (failing, willing) = (Recorder::failing(usize::MAX), Recorder::willing());
    let _failing = node.listen(&failing, &[World::key(1)]).await;
    let _willing = node.listen(&willing, &[World::key(1)]).await;
    node.announce(World::event(1, "one")).await;
    willing.wait_done(1).await;
}

/// Several events of one change come to a listener that takes batches as one, in their order.
pub async fn a_batch_comes_in_order(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    let batches = ListenerOptions {
        batch_max: 10,
        ..fast()
    };
    let _registration = node.listen_with(&listener, &[World::key(1)], batches).await;
    let events = (0..8).map(|n| World::event(1, n)).collect();
    node.announce_all(events).await;
    listener.wait_done(8).await;
    let expected: Vec<String> = (0..8).map(|n: u32| n.to_string()).collect();
    assert_eq!(listener.names(), expected);
    assert!(
        listener.batches().iter().any(|batch| *batch > 1),
        "{:?}",
        listener.batches()
    );
}
