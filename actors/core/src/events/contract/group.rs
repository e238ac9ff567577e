//! Groups on one node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mailhorn_events::{EventId, Happened, Happening};
use mailhorn_ports::{Handled, Listener, ListenerOptions, Mode};

use super::world::{fast, group};
use super::{Behaviour, Recorder, World};
use crate::events::{EventBus, RedeliverError, RegisterError};

/// Long enough for whatever is not to happen.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

pub async fn calls_do_not_exceed_the_concurrency(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Slow(Duration::from_millis(20))));
    node.group("g", &listener).await;
    // At once: one by one they may come no faster than they are done.
    node.announce_all((0..50).map(|n| World::event(n, n)).collect())
        .await;
    listener.wait_done(50).await;
    assert_eq!(listener.running_max(), ListenerOptions::default().concurrency);
}

pub async fn groups_have_an_event_at_the_same_time(world: &World) {
    let node = world.node("a").await;
    let barrier = Arc::new(tokio::sync::Barrier::new(3));
    let listeners = [(); 3].map(|()| Arc::new(Meeting(Arc::clone(&barrier), Recorder::willing())));
    for (name, listener) in ["a", "b", "c"].into_iter().zip(&listeners) {
        node.group(name, listener).await;
    }
    node.announce(World::event(1, "met")).await;
    for listener in listeners {
        listener.1.wait_done(1).await;
    }
}

/// Waits for others over the same event.
#[derive(Debug)]
pub(super) struct Meeting(pub(super) Arc<tokio::sync::Barrier>, pub(super) Arc<Recorder>);

#[async_trait]
impl Listener for Meeting {
    async fn handle(&self, happened: &Happened) -> Handled {
        self.0.wait().await;
        self.1.handle(happened).await
    }
}

pub async fn a_listener_may_announce(world: &World) {
    let node = world.node("a").await;
    let (second, bus) = (Recorder::willing(), node.bus.clone());
    let listener = Arc::new(Announcing { bus, fails: 0.into() });
    node.group("first", &listener).await;
    node.group("second", &second).await;
    node.announce(World::event(1, "once")).await;
    second.wait_done(2).await;
    assert_eq!(second.names(), ["once", "again"]);
}

/// Announces something over the event `once`, after it has failed so often.
#[derive(Debug)]
pub(super) struct Announcing {
    pub(super) bus: EventBus,
    pub(super) fails: std::sync::atomic::AtomicU32,
}

#[async_trait]
impl Listener for Announcing {
    async fn handle(&self, happened: &Happened) -> Handled {
        use std::sync::atomic::Ordering::SeqCst;
        let left = self.fails.load(SeqCst);
        if left > 0 {
            self.fails.store(left - 1, SeqCst);
            return Handled::Bad("on purpose".into());
        }
        if super::recorder::name(happened.event()) == "once" {
            let outcome = self.bus.announce(vec![World::event(1, "again")]).await;
            assert!(matches!(outcome, crate::log::Outcome::Done(_)));
        }
        Handled::Done
    }
}

pub async fn a_group_is_not_shown_what_was_before_it(world: &World) {
    let node = world.node("a").await;
    node.announce(World::event(1, "before")).await;
    let listener = Recorder::willing();
    node.group("g", &listener).await;
    node.announce(World::event(1, "after")).await;
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["after"]);
}

pub async fn a_group_is_shown_events(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    node.group("g", &listener).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_done(1).await;
    let had = listener.had();
    assert_eq!(had[0].event(), &World::event(1, "one"));
    assert_eq!(had[0].position().generation, node.generation);
}

pub async fn noops_are_dropped(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    node.group("g", &listener).await;
    node.announce(World::noop(1)).await;
    node.announce_all(vec![World::noop(1), World::event(1, "one"), World::noop(1)])
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
    node.group("g", &listener).await;
    let other = Happening::MailboxSubscribed { name: "other".into() };
    node.announce(World::happened(1, other)).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["one"]);
}

pub async fn a_failing_group_does_not_reach_the_announcer(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Panic));
    node.group("g", &listener).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_calls(1).await;
}

/// James tells its generic groups apart by their names.
pub async fn every_group_has_every_event_whatever_its_name_begins_with(world: &World) {
    let node = world.node("a").await;
    let (one, other) = (Recorder::willing(), Recorder::willing());
    node.group("webhook.one", &one).await;
    node.group("webhook.other", &other).await;
    node.announce(World::event(1, "event")).await;
    one.wait_done(1).await;
    other.wait_done(1).await;
}

pub async fn an_unregistered_group_is_shown_nothing(world: &World) {
    let node = world.node("a").await;
    let (gone, witness) = (Recorder::willing(), Recorder::willing());
    node.group("gone", &gone).await;
    node.group("witness", &witness).await;
    assert!(node.unregister_group("gone"));
    node.announce(World::event(1, "event")).await;
    witness.wait_done(1).await;
    settle().await;
    assert_eq!(gone.calls(), 0);
}

pub async fn a_group_is_registered_once(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    node.group("g", &listener).await;
    let again = node
        .bus
        .register_group(group("g"), Default::default(), Recorder::willing(), fast())
        .await;
    assert!(matches!(again, Err(RegisterError::AlreadyRegistered(name)) if name == group("g")));
}

pub async fn a_group_may_be_registered_after_it_was_unregistered(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    node.group("g", &listener).await;
    node.unregister_group("g");
    node.group("g", &listener).await;
    node.announce(World::event(1, "event")).await;
    listener.wait_done(1).await;
}

pub async fn unregistering_twice_is_unregistering_once(world: &World) {
    let node = world.node("a").await;
    node.group("g", &Recorder::willing()).await;
    assert!(node.unregister_group("g"));
    assert!(!node.unregister_group("g"));
}

/// James' groups lose what happens while they are unregistered in memory, and keep it with RabbitMQ. Here the log is the
/// queue: a group that is known misses nothing.
pub async fn a_group_that_comes_back_goes_on_where_it_was(world: &World) {
    let node = world.node("a").await;
    let (before, after) = (Recorder::willing(), Recorder::willing());
    node.group("g", &before).await;
    node.announce(World::event(1, "one")).await;
    before.wait_done(1).await;
    node.unregister_group("g");
    settle().await;
    node.announce(World::event(1, "two")).await;
    node.group("g", &after).await;
    after.wait_done(1).await;
    assert_eq!(after.names(), ["two"]);
}

/// In James a group's listener is called some time after the dispatch. Here a group may ask for the reply to wait.
pub async fn a_sync_group_has_the_event_when_it_is_announced(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Slow(Duration::from_millis(30))));
    let options = ListenerOptions {
        mode: Mode::Sync,
        ..fast()
    };
    node.group_with("g", &listener, options).await;
    for n in 1..=3 {
        node.announce(World::event(n, n)).await;
        assert_eq!(listener.had().len() as u64, n);
    }
}

pub async fn a_failure_does_not_hold_up_the_next_event(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(1);
    node.group("g", &listener).await;
    node.announce(World::event(1, "one")).await;
    node.announce(World::event(1, "two")).await;
    listener.wait_done(2).await;
}

pub async fn a_failing_group_does_not_hold_up_another(world: &World) {
    let node = world.node("a").await;
    let (failing, willing) = (Recorder::failing(usize::MAX), Recorder::willing());
    node.group("failing", &failing).await;
    node.group("willing", &willing).await;
    node.announce(World::event(1, "one")).await;
    willing.wait_done(1).await;
}

/// Makes a dead letter of the group `g` and gives its name.
pub(super) async fn dead_letter(node: &super::Node, listener: &Recorder) -> EventId {
    node.announce(World::event(1, "dead")).await;
    let dead = node.wait_dead("g", 1).await;
    assert_eq!(listener.had().len(), 0);
    dead[0].id
}

pub async fn a_redelivered_event_is_shown(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(4);
    node.group("g", &listener).await;
    let id = dead_letter(&node, &listener).await;
    node.bus.redeliver(&group("g"), id).await.unwrap();
    listener.wait_done(1).await;
    assert_eq!(listener.had()[0].id(), id);
    node.wait_idle("g").await;
    assert_eq!(node.dead("g").await, []);
}

pub async fn redelivery_needs_the_group(world: &World) {
    let node = world.node("a").await;
    let (none, id) = (group("none"), node.ids.event());
    let refused = node.bus.redeliver(&none, id).await;
    assert_eq!(
        refused,
        Err(RedeliverError::NotRegistered("none".parse().unwrap()))
    );
    node.group("g", &Recorder::willing()).await;
    let refused = node.bus.redeliver(&group("g"), id).await;
    assert_eq!(refused, Err(RedeliverError::NotFound(id)));
}

pub async fn redelivery_needs_the_group_to_be_registered_still(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(usize::MAX);
    node.group("g", &listener).await;
    let id = dead_letter(&node, &listener).await;
    node.unregister_group("g");
    let refused = node.bus.redeliver(&group("g"), id).await;
    assert_eq!(refused, Err(RedeliverError::NotRegistered("g".parse().unwrap())));
    assert_eq!(node.dead("g").await.len(), 1, "the letter stays where it is");
}

pub async fn redelivery_is_for_the_named_group(world: &World) {
    let node = world.node("a").await;
    let (listener, other) = (Recorder::failing(4), Recorder::willing());
    node.group("g", &listener).await;
    node.group("other", &other).await;
    let id = dead_letter(&node, &listener).await;
    other.wait_done(1).await;
    node.bus.redeliver(&group("g"), id).await.unwrap();
    listener.wait_done(1).await;
    settle().await;
    assert_eq!(other.calls(), 1);
}

/// A noop never becomes a dead letter by itself; one that somebody put there is removed when it is redelivered.
pub async fn a_redelivered_noop_is_dropped(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    node.group("g", &listener).await;
    let record = mailhorn_events::Record {
        id: node.ids.event(),
        stamp: node.ids.stamp(),
        events: vec![World::noop(1)],
    };
    let position = mailhorn_events::Position {
        generation: node.generation,
        number: 1,
    };
    let happened = Happened::all(position, &Arc::new(record)).next().unwrap();
    let letter = crate::events::call::letter(&happened, "put there".into(), node.ids.now());
    node.ports.groups.bury(&group("g"), &letter).await.unwrap();
    node.bus.redeliver(&group("g"), letter.id).await.unwrap();
    settle().await;
    assert_eq!(listener.calls(), 0);
    assert_eq!(node.dead("g").await, []);
}
