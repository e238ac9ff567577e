//! What James' suites don't have: order, crashes, back ends that are away, gaps, and listeners that misbehave.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mailhorn_ports::memory::NextCommit;
use mailhorn_ports::{ListenerOptions, Mode, Retention};
use tokio::time::Instant;

use super::group::settle;
use super::world::{fast, group};
use super::{Behaviour, Node, Recorder, World};
use crate::events::{NOTIFICATIONS_QUEUED_MAX, PARKED_MAX};

fn sync() -> ListenerOptions {
    ListenerOptions {
        mode: Mode::Sync,
        ..fast()
    }
}

fn numbers(listener: &Recorder) -> BTreeSet<u64> {
    let names = listener.names().into_iter();
    names.filter_map(|name| name.parse().ok()).collect()
}

pub async fn events_of_a_mailbox_come_in_order(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|call, _| {
        // Calls take differently long, so that whatever may overtake does.
        Behaviour::Slow(Duration::from_millis(call as u64 * 7 % 5))
    }));
    node.group("g", &listener).await;
    for n in 0..200 {
        node.announce(World::event(n % 5, n)).await;
    }
    listener.wait_done(200).await;
    for mailbox in 0..5 {
        let of_mailbox = listener.had().into_iter();
        let of_mailbox = of_mailbox.filter(|had| had.event().mailbox == Some(World::mailbox(mailbox)));
        let positions: Vec<u64> = of_mailbox.map(|had| had.position().number).collect();
        assert!(positions.is_sorted(), "{positions:?}");
    }
    assert!(listener.running_max() > 1, "mailboxes don't wait for each other");
}

/// Announces numbers until it is told to stop; gives the last one.
async fn announce_until(node: &Node, stop: &AtomicBool) -> u64 {
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        n += 1;
        node.announce(World::event(1, n)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    n
}

pub async fn a_group_registered_while_events_flow_misses_none_after_it(world: &World) {
    let node = world.node("a").await;
    let (stop, listener) = (AtomicBool::new(false), Recorder::willing());
    let register = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        node.group("g", &listener).await;
        let before = node.ports.mail.log_end(node.generation).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.store(true, Ordering::SeqCst);
        before
    };
    let (last, before) = tokio::join!(announce_until(&node, &stop), register);
    node.wait_idle("g").await;
    let had = numbers(&listener);
    assert!(
        had.is_superset(&(before + 1..=last).collect()),
        "{had:?} of {before}..={last}"
    );
    assert!(had.len() < last as usize, "it was registered in between");
}

pub async fn a_key_listener_registered_while_events_flow_misses_none_after_it(world: &World) {
    let node = world.node("a").await;
    let (stop, listener) = (AtomicBool::new(false), Recorder::willing());
    let register = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let registration = node.listen(&listener, &[World::key(1)]).await;
        let before = node.ports.mail.log_end(node.generation).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.store(true, Ordering::SeqCst);
        (before, registration)
    };
    let (last, (before, _registration)) = tokio::join!(announce_until(&node, &stop), register);
    settle().await;
    assert!(numbers(&listener).is_superset(&(before + 1..=last).collect()));
}

/// The change is made, and the process dies before anybody heard of it.
pub async fn a_crash_between_change_and_dispatch_loses_nothing(world: &World) {
    let Some(memory) = &world.ports.memory else {
        return;
    };
    let node = world.node("a").await;
    node.group("g", &Recorder::willing()).await;
    memory.next_commit(NextCommit::UnknownDone);
    let outcome = node.bus.announce(vec![World::event(1, "made")]).await;
    assert_eq!(outcome, crate::log::Outcome::Unknown);
    node.crash().await;
    let (node, listener) = (world.node("a").await, Recorder::willing());
    node.group("g", &listener).await;
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["made"]);
}

pub async fn a_crash_in_a_handler_runs_it_again(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Hang));
    node.group("g", &listener).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_calls(1).await;
    node.crash().await;
    let (node, listener) = (world.node("a").await, Recorder::willing());
    node.group("g", &listener).await;
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["one"]);
}

pub async fn a_crash_with_parked_events_loses_none(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::failing(usize::MAX);
    let slow_retries = ListenerOptions {
        retry_pause: Duration::from_secs(3_600),
        ..fast()
    };
    node.group_with("g", &listener, slow_retries).await;
    for n in 0..20 {
        node.announce(World::event(n, n)).await;
    }
    listener.wait_calls(20).await;
    // The cursor is past them all, and was saved.
    tokio::time::sleep(crate::events::CURSOR_PAUSE * 3).await;
    let crashed = node.crash().await;
    let parked = world.ports.groups.parked(&group("g"), crashed.generation).await;
    assert_eq!(parked.unwrap().len(), 20);
    let (node, listener) = (world.node("a").await, Recorder::willing());
    node.group("g", &listener).await;
    listener.wait_done(20).await;
    assert_eq!(numbers(&listener), (0..20).collect());
    node.wait_unparked("g", crashed.generation).await;
}

pub async fn a_parked_event_does_not_hold_the_line(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, happened| {
        match super::recorder::name(happened.event()).as_str() {
            "0" => Behaviour::Bad,
            _ => Behaviour::Done,
        }
    }));
    let slow_retries = ListenerOptions {
        retry_pause: Duration::from_secs(3_600),
        ..fast()
    };
    node.group_with("g", &listener, slow_retries).await;
    for n in 0..10 {
        node.announce(World::event(1, n)).await;
    }
    listener.wait_done(9).await;
    tokio::time::sleep(crate::events::CURSOR_PAUSE * 3).await;
    let status = node.status("g").status;
    assert_eq!(
        (status.parked, status.lag()),
        (1, 0),
        "the cursor is past the parked event"
    );
}

pub async fn a_back_end_away_for_10_000_events_leaves_no_dead_letter(world: &World) {
    let node = world.node("a").await;
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let listener = Arc::new(Recorder::new(move |_, _| match away.load(Ordering::SeqCst) {
        true => Behaviour::NotNow,
        false => Behaviour::Done,
    }));
    node.group("g", &listener).await;
    for n in 0..10 {
        let events = (0..1_000).map(|m| World::event(m % 50, n * 1_000 + m)).collect();
        node.announce_all(events).await;
    }
    node.wait_stopped("g").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        listener.calls() < 100,
        "it is asked now and then: {}",
        listener.calls()
    );
    is_away.store(false, Ordering::SeqCst);
    listener.wait_done(10_000).await;
    assert_eq!(numbers(&listener), (0..10_000).collect());
    node.wait_idle("g").await;
    assert_eq!(node.dead("g").await, []);
}

/// A listener that calls everything bad is rather broken itself: nothing is given up while more is parked than the limit.
pub async fn too_many_parked_events_stop_the_line_and_none_dies(world: &World) {
    let node = world.node("a").await;
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&is_broken);
    let listener = Arc::new(Recorder::new(move |_, _| match broken.load(Ordering::SeqCst) {
        true => Behaviour::Bad,
        false => Behaviour::Done,
    }));
    let slow_retries = ListenerOptions {
        retry_pause: Duration::from_secs(3),
        retries: 3,
        ..fast()
    };
    node.group_with("g", &listener, slow_retries).await;
    let events = (0..1_000).map(|n| World::event(n, n)).collect();
    node.announce_all(events).await;
    let why = node.wait_stopped("g").await;
    assert!(why.contains(&PARKED_MAX.to_string()), "{why}");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(node.dead("g").await, []);
    is_broken.store(false, Ordering::SeqCst);
    listener.wait_done(1_000).await;
    node.wait_idle("g").await;
    assert_eq!(node.dead("g").await, []);
}

/// Makes a group miss records: it is away while the log is trimmed.
/// `None`: the store lets records go by a clock that nobody here can set.
async fn fall_out(world: &World, listener: &Arc<Recorder>) -> Option<Node> {
    world.ports.memory.as_ref()?;
    let node = world.node("a").await;
    node.group("g", &Recorder::willing()).await;
    node.announce(World::event(1, "seen")).await;
    node.wait_idle("g").await;
    node.unregister_group("g");
    settle().await;
    for n in 0..10 {
        node.announce(World::event(1, n)).await;
    }
    node.crash().await;
    let node = world.node("a").await;
    let retention = Retention {
        records_before: node.ids.stamp(),
        groups_before: Default::default(),
        notes_since: Default::default(),
    };
    node.ports.mail.maintain(retention).await.unwrap();
    node.group("g", listener).await;
    Some(node)
}

pub async fn a_group_that_falls_out_of_the_retention_is_rebuilt(world: &World) {
    let tries = AtomicBool::new(false);
    let rebuild = move || match tries.swap(true, Ordering::SeqCst) {
        true => Ok(true),
        false => Err("not yet".to_owned()),
    };
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Done).rebuilding(rebuild));
    let Some(node) = fall_out(world, &listener).await else {
        return;
    };
    node.announce(World::event(1, "after")).await;
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["after"], "the rebuild covers what was there");
    assert_eq!(listener.rebuilt(), 2, "tried again after a failure");
    assert_eq!(node.dead("g").await, []);
}

pub async fn a_gap_that_nobody_rebuilds_is_a_dead_letter(world: &World) {
    let listener = Recorder::willing();
    let Some(node) = fall_out(world, &listener).await else {
        return;
    };
    let dead = node.wait_dead("g", 1).await;
    assert!(dead[0].why.contains("records 2 to 10"), "{}", dead[0].why);
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["9"], "the last record of a log stays");
    let id = dead[0].id;
    assert!(
        node.bus.redeliver(&group("g"), id).await.is_err(),
        "there is nothing to deliver"
    );
}

/// What is gone, and the record behind it, wait for a store that takes the letter.
pub async fn a_gap_that_cannot_be_written_down_now_is_not_passed(world: &World) {
    let Some(memory) = &world.ports.memory else {
        return;
    };
    let store = memory.clone();
    let was_away = AtomicBool::new(false);
    let goes_away = move || {
        if !was_away.swap(true, Ordering::SeqCst) {
            store.set_unavailable(true);
        }
        Ok(false)
    };
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Done).rebuilding(goes_away));
    let Some(node) = fall_out(world, &listener).await else {
        return;
    };
    node.wait_stopped("g").await;
    memory.set_unavailable(false);
    node.wait_dead("g", 1).await;
    listener.wait_done(1).await;
    assert_eq!(listener.names(), ["9"]);
}

pub async fn a_record_that_cannot_be_read_is_a_dead_letter(world: &World) {
    let Some(memory) = &world.ports.memory else {
        return;
    };
    let node = world.node("a").await;
    node.group("g", &Recorder::willing()).await;
    node.unregister_group("g");
    settle().await;
    for n in 1..=3 {
        node.announce(World::event(1, n)).await;
    }
    memory.garble_record(node.generation, 2);
    node.crash().await;
    let (node, listener) = (world.node("a").await, Recorder::willing());
    node.group("g", &listener).await;
    listener.wait_done(2).await;
    assert_eq!(listener.names(), ["1", "3"]);
    let dead = node.wait_dead("g", 1).await;
    assert_eq!(&*dead[0].octets, b"\xffgarbled");
}

pub async fn a_handler_that_hangs_is_given_up(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|call, _| match call {
        1 => Behaviour::Hang,
        _ => Behaviour::Done,
    }));
    let impatient = ListenerOptions {
        execution_timeout: Duration::from_millis(200),
        ..fast()
    };
    node.group_with("g", &listener, impatient).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_done(1).await;
    assert_eq!(listener.calls(), 2);
}

pub async fn a_handler_that_panics_is_tried_again(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|call, _| match call {
        1 => Behaviour::Panic,
        _ => Behaviour::Done,
    }));
    node.group("g", &listener).await;
    node.announce(World::event(1, "one")).await;
    listener.wait_done(1).await;
    assert_eq!(node.kinds.group.snapshot().panicked, 0, "its actor goes on");
}

/// Which event of a batch a panic is about is not known: only that one may end as a dead letter.
pub async fn a_batch_that_panics_goes_one_by_one(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, happened| {
        match super::recorder::name(happened.event()).as_str() {
            "5" => Behaviour::Panic,
            _ => Behaviour::Done,
        }
    }));
    let batches = ListenerOptions {
        batch_max: 20,
        ..fast()
    };
    node.group_with("g", &listener, batches).await;
    let events = (0..20).map(|n| World::event(1, n)).collect();
    node.announce_all(events).await;
    let dead = node.wait_dead("g", 1).await;
    assert!(dead[0].why.contains("panicked: on purpose"), "{}", dead[0].why);
    node.wait_idle("g").await;
    assert_eq!(numbers(&listener).len(), 19);
    assert!(listener.batches().iter().any(|batch| *batch > 1));
}

pub async fn a_late_sync_listener_does_not_hold_the_reply(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Slow(Duration::from_secs(5))));
    node.group_with("g", &listener, sync()).await;
    let begun = Instant::now();
    node.announce(World::event(1, "one")).await;
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_millis(250) && waited < world.patience(Duration::from_secs(2)),
        "{waited:?}"
    );
    assert_eq!(listener.had().len(), 0, "the reply waited until it was done");
    listener.wait_done(1).await;
}

pub async fn a_stopped_sync_listener_does_not_hold_the_reply(world: &World) {
    let node = world.patient_node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::NotNow));
    node.group_with("g", &listener, sync()).await;
    node.announce(World::event(1, "one")).await;
    node.wait_stopped("g").await;
    let begun = Instant::now();
    for n in 0..10 {
        node.announce(World::event(1, n)).await;
    }
    let (took, patience) = (begun.elapsed(), world.patience(Duration::from_secs(1)));
    assert!(took < patience, "{took:?}");
}

pub async fn a_key_listener_that_does_not_keep_up_is_told_so(world: &World) {
    let node = world.node("a").await;
    let gate = Arc::new(AtomicBool::new(false));
    let closed = Arc::clone(&gate);
    let listener = Arc::new(Recorder::new(move |_, _| match closed.load(Ordering::SeqCst) {
        true => Behaviour::Done,
        false => Behaviour::Slow(Duration::from_secs(10)),
    }));
    let _registration = node.listen(&listener, &[World::key(1)]).await;
    let events = (0..NOTIFICATIONS_QUEUED_MAX as u64 * 2).map(|n| World::event(1, n));
    node.announce_all(events.collect()).await;
    gate.store(true, Ordering::SeqCst);
    listener.wait_missed(1).await;
    assert_eq!(listener.missed_keys(), [World::key(1)]);
    let before = listener.calls();
    node.announce(World::event(1, "after")).await;
    listener.wait_done(before + 1).await;
    assert_eq!(listener.names().last().map(String::as_str), Some("after"));
}

/// Records are left to gather for a moment: what comes within that moment is taken up at its end.
pub async fn what_comes_while_records_gather_is_not_forgotten(world: &World) {
    let node = world.node("a").await;
    let listener = Recorder::willing();
    node.group("g", &listener).await;
    for n in 1..=20 {
        node.announce(World::event(1, n)).await;
        let begun = Instant::now();
        listener.wait_done(n).await;
        let waited = begun.elapsed();
        let patience = world.patience(Duration::from_millis(100));
        assert!(waited < patience, "event {n} waited {waited:?}");
        tokio::time::sleep(Duration::from_millis(n as u64 % 7)).await;
    }
}

pub async fn a_clean_stop_shows_nothing_twice(world: &World) {
    let node = world.node("a").await;
    let listener = Arc::new(Recorder::new(|_, _| Behaviour::Slow(Duration::from_millis(3))));
    node.group("g", &listener).await;
    for n in 0..100 {
        node.announce(World::event(n % 3, n)).await;
    }
    node.stop().await;
    let before = numbers(&listener);
    let (node, after) = (world.node("a").await, Recorder::willing());
    node.group("g", &after).await;
    after.wait_done(100 - before.len()).await;
    settle().await;
    assert!(numbers(&after).is_disjoint(&before));
    assert_eq!(numbers(&after).len() + before.len(), 100);
}

/// One fails, one panics, one hangs, one waits for its back end: the others, and whoever announces, don't notice.
pub async fn nothing_changes_for_others_when_a_listener_misbehaves(world: &World) {
    let node = world.node("a").await;
    let willing = Recorder::willing();
    node.group("willing", &willing).await;
    let misbehave = [
        ("fails", Behaviour::Bad),
        ("panics", Behaviour::Panic),
        ("hangs", Behaviour::Hang),
        ("away", Behaviour::NotNow),
    ];
    for (name, behaviour) in misbehave {
        let listener = Recorder::new(move |_, _| behaviour.clone());
        node.group(name, &Arc::new(listener)).await;
    }
    let begun = Instant::now();
    for n in 0..500 {
        node.announce(World::event(n % 20, n)).await;
    }
    let announced = begun.elapsed();
    assert!(
        announced < world.patience(Duration::from_secs(5)),
        "{announced:?}"
    );
    willing.wait_done(500).await;
    assert_eq!(numbers(&willing), (0..500).collect());
}

/// Not stamped with the others, for it takes a number: so many events through three groups, one of which calls one event in
/// 10,000 bad for good. Every group has every other event, and each of those is a dead letter.
pub async fn many_events_through_three_groups(world: &World, events: u64) {
    const DOOMED: u64 = 10_000;
    let node = world.node("a").await;
    let had = [(); 3].map(|()| Arc::new(Counted::new(events)));
    for (name, counted) in ["one", "other", "strict"].into_iter().zip(&had) {
        let counted = Arc::clone(counted);
        let is_strict = name == "strict";
        let listener = Recorder::new(move |_, happened| {
            let n: u64 = super::recorder::name(happened.event()).parse().unwrap();
            if is_strict && n.is_multiple_of(DOOMED) {
                return Behaviour::Bad;
            }
            counted.had(n);
            Behaviour::Done
        });
        node.group(name, &Arc::new(listener.forgetting())).await;
    }
    let mut n = 0;
    while n < events {
        let change = (n..events.min(n + 100)).map(|n| World::event(n % 1_000, n));
        node.announce_all(change.collect()).await;
        n += 100;
    }
    for name in ["one", "other", "strict"] {
        node.wait_idle(name).await;
    }
    let doomed = events.div_ceil(DOOMED);
    assert_eq!(node.dead("strict").await.len() as u64, doomed);
    assert_eq!(
        node.ports.groups.groups_with_dead_letters().await.unwrap().len(),
        1
    );
    let missing: Vec<u64> = had.iter().map(|counted| counted.missing()).collect();
    assert_eq!(missing, [0, 0, doomed]);
}

/// Which of so many events were had, a bit for each.
struct Counted(parking_lot::Mutex<Vec<bool>>);

impl Counted {
    fn new(events: u64) -> Self {
        let events = usize::try_from(events).unwrap();
        Self(parking_lot::Mutex::new(vec![false; events]))
    }

    fn had(&self, n: u64) {
        self.0.lock()[usize::try_from(n).unwrap()] = true;
    }

    fn missing(&self) -> u64 {
        self.0.lock().iter().filter(|had| !**had).count() as u64
    }
}
