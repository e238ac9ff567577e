//! Clauses of trimming: what of a log housekeeping keeps for groups, and what it takes all the same.

use std::sync::Arc;

use mailhorn_events::{Generation, Stamp};

use super::{World, group};
use crate::directory::{Account, Directory};
use crate::groups::{Cursor, GroupStore};
use crate::store::{MailStore, Retention};

/// A log with records 1 to `records`, each of a commit of its own, that groups are to see from its start.
async fn log<'a, S: MailStore + Directory + GroupStore>(
    store: &'a S,
    groups: &[&str],
    records: u64,
) -> (World<'a, S>, Arc<Account>) {
    let mut world = World::new(store);
    let ann = world.account("ann@example.org").await;
    store.begin_log(world.generation, "one").await.unwrap();
    for name in groups {
        store.register_group(&group(name), world.ids.now()).await.unwrap();
    }
    add(&mut world, &ann, records).await;
    (world, ann)
}

async fn add<S: MailStore + Directory>(world: &mut World<'_, S>, ann: &Account, records: u64) {
    for _ in 0..records {
        world.store_message(&[ann], b"octets").await;
    }
}

async fn save<S: GroupStore>(store: &S, name: &str, generation: Generation, cursor: Cursor) {
    store
        .save_cursor(&group(name), generation, &cursor)
        .await
        .unwrap();
}

/// Everything so far is older than this.
fn all_old<S: MailStore + Directory>(world: &World<'_, S>) -> Retention {
    Retention {
        records_before: world.ids.stamp(),
        ..World::<S>::NOTHING_OLD
    }
}

/// What a group has not finished stays, and goes when it has, at whichever step.
pub async fn a_lagging_cursor_holds_the_log_back<S: MailStore + Directory + GroupStore>(store: &S) {
    let (world, _) = log(store, &["crm"], 8).await;
    for (taken, open, first) in [(0, &[][..], 1), (3, &[2][..], 2), (5, &[5][..], 5), (5, &[], 6)] {
        let open = open.iter().copied().collect();
        save(store, "crm", world.generation, Cursor { taken, open }).await;
        for _ in 0..2 {
            world.maintain(World::<S>::NOTHING_OLD).await;
            let expected: Vec<_> = (first..=8).collect();
            assert_eq!(world.numbers(world.generation).await, expected, "taken {taken}");
        }
    }
}

/// Each group holds back what it has to see itself.
pub async fn the_slowest_group_counts<S: MailStore + Directory + GroupStore>(store: &S) {
    let (world, _) = log(store, &["crm", "search"], 6).await;
    for (crm, search, first) in [(6, 0, 1), (6, 2, 3), (6, 4, 5)] {
        save(store, "crm", world.generation, Cursor::at(crm)).await;
        save(store, "search", world.generation, Cursor::at(search)).await;
        world.maintain(World::<S>::NOTHING_OLD).await;
        assert_eq!(
            world.numbers(world.generation).await,
            (first..=6).collect::<Vec<_>>()
        );
    }
}

/// A record that is too old goes, whoever has yet to see it; whoever asks for it learns by the number that it gets.
pub async fn retention_trims_past_a_cursor_and_the_gap_shows<S: MailStore + Directory + GroupStore>(
    store: &S,
) {
    let (mut world, ann) = log(store, &["crm"], 4).await;
    save(store, "crm", world.generation, Cursor::at(1)).await;
    let retention = all_old(&world);
    add(&mut world, &ann, 2).await;
    assert_eq!(world.maintain(retention).await, 4);
    let from = 2;
    let entries = store.records(world.generation, from, 1).await.unwrap();
    assert_eq!(entries[0].number, 5, "2 to 4 fell out of the log");
    assert_eq!(world.numbers(world.generation).await, [5, 6]);
}

/// However old it is: without the last record of an old log nobody would notice that there was something to see.
pub async fn the_last_record_of_a_log_stays_until_every_group_has_passed_it<
    S: MailStore + Directory + GroupStore,
>(
    store: &S,
) {
    let (old, ann) = log(store, &["crm"], 3).await;
    let mut new = World::seeded(store, 2);
    store.begin_log(new.generation, "one").await.unwrap();
    add(&mut new, &ann, 1).await;
    let retention = all_old(&old);
    new.maintain(retention).await;
    assert_eq!(new.numbers(old.generation).await, [3]);
    assert_eq!(store.log_end(old.generation).await.unwrap(), 3);
    save(store, "crm", old.generation, Cursor::at(3)).await;
    new.maintain(retention).await;
    assert!(new.numbers(old.generation).await.is_empty());
    assert_eq!(store.log_end(old.generation).await.unwrap(), 0);
    assert_eq!(new.numbers(new.generation).await, [1]);
}

/// Nothing is kept for a group that was forgotten.
pub async fn a_forgotten_group_frees_the_log<S: MailStore + Directory + GroupStore>(store: &S) {
    let (world, _) = log(store, &["crm", "search"], 5).await;
    save(store, "search", world.generation, Cursor::at(4)).await;
    world.maintain(World::<S>::NOTHING_OLD).await;
    assert_eq!(world.numbers(world.generation).await.len(), 5);
    store.forget_group(&group("crm")).await.unwrap();
    world.maintain(World::<S>::NOTHING_OLD).await;
    assert_eq!(world.numbers(world.generation).await, [5]);
}

/// A group that was taken out of every node's settings does not hold the log for ever.
pub async fn a_group_that_no_node_registers_is_forgotten<S: MailStore + Directory + GroupStore>(store: &S) {
    let (world, _) = log(store, &["crm", "search"], 5).await;
    let since = world.ids.stamp();
    store.register_group(&group("search"), since).await.unwrap();
    save(store, "search", world.generation, Cursor::at(2)).await;
    let parked = world.letter(world.ids.event());
    store.park(&group("crm"), &parked).await.unwrap();
    let retention = Retention {
        groups_before: since,
        ..World::<S>::NOTHING_OLD
    };
    world.maintain(retention).await;
    let known = store.groups().await.unwrap();
    assert_eq!((known.len(), known[0].name.as_str()), (1, "search"));
    assert!(store.cursors(&group("crm")).await.unwrap().is_empty());
    let dead = store.dead_letters(&group("crm"), None, 9).await.unwrap();
    assert_eq!(dead, [parked], "it is told of all the same");
    assert_eq!(world.numbers(world.generation).await, [3, 4, 5]);
}

/// Without a group to see it, all but the last record goes.
pub async fn a_log_that_no_group_follows_is_trimmed<S: MailStore + Directory + GroupStore>(store: &S) {
    let (mut world, ann) = log(store, &[], 3).await;
    for records in [3, 4] {
        world.maintain(World::<S>::NOTHING_OLD).await;
        assert_eq!(world.numbers(world.generation).await, [records]);
        add(&mut world, &ann, 1).await;
    }
}

/// Housekeeping learns of a log that begins between two of its steps.
pub async fn a_log_that_begins_later_is_trimmed_too<S: MailStore + Directory + GroupStore>(store: &S) {
    let (old, ann) = log(store, &[], 3).await;
    old.maintain(World::<S>::NOTHING_OLD).await;
    let mut new = World::seeded(store, 2);
    store.begin_log(new.generation, "one").await.unwrap();
    add(&mut new, &ann, 3).await;
    new.maintain(World::<S>::NOTHING_OLD).await;
    assert!(
        new.numbers(old.generation).await.is_empty(),
        "it is not the last log any more"
    );
    assert_eq!(new.numbers(new.generation).await, [3]);
}

/// When a process begins its log, those without a record left are forgotten, and with them how far groups were in them.
pub async fn a_log_without_records_is_forgotten_with_its_cursors<S: MailStore + Directory + GroupStore>(
    store: &S,
) {
    let (old, ann) = log(store, &["crm"], 2).await;
    save(store, "crm", old.generation, Cursor::at(2)).await;
    let mut new = World::seeded(store, 2);
    store.begin_log(new.generation, "one").await.unwrap();
    let cursors = store.cursors(&group("crm")).await.unwrap();
    assert_eq!(cursors, [(old.generation, Cursor::at(2))], "it has a record");
    add(&mut new, &ann, 1).await;
    save(store, "crm", new.generation, Cursor::at(1)).await;
    new.maintain(World::<S>::NOTHING_OLD).await;
    let next = World::seeded(store, 3);
    store.begin_log(next.generation, "one").await.unwrap();
    let logs: Vec<_> = store
        .logs()
        .await
        .unwrap()
        .into_iter()
        .map(|(log, _)| log)
        .collect();
    assert!(logs.contains(&new.generation) && logs.contains(&next.generation));
    assert!(!logs.contains(&old.generation), "{logs:?}");
    let cursors = store.cursors(&group("crm")).await.unwrap();
    assert_eq!(cursors, [(new.generation, Cursor::at(1))]);
}

/// What is parked is found, whatever became of its log.
pub async fn what_is_parked_of_a_forgotten_log_is_found<S: MailStore + Directory + GroupStore>(store: &S) {
    let (old, ann) = log(store, &["crm"], 2).await;
    let letter = old.letter(old.ids.event());
    assert_eq!(store.parked_logs(&group("crm")).await.unwrap(), []);
    store.park(&group("crm"), &letter).await.unwrap();
    save(store, "crm", old.generation, Cursor::at(2)).await;
    let mut new = World::seeded(store, 2);
    store.begin_log(new.generation, "one").await.unwrap();
    add(&mut new, &ann, 1).await;
    new.maintain(World::<S>::NOTHING_OLD).await;
    let next = World::seeded(store, 3);
    store.begin_log(next.generation, "one").await.unwrap();
    let logs = store.logs().await.unwrap();
    assert!(logs.iter().all(|(log, _)| *log != old.generation), "{logs:?}");
    let parked = store.parked_logs(&group("crm")).await.unwrap();
    assert_eq!(parked, [letter.position.generation]);
    let found = store.parked(&group("crm"), letter.position.generation).await;
    assert_eq!(found.unwrap(), [letter]);
}

/// Not a clause that is stamped, for it takes a way to make a record unreadable: one that can't be read is told as such,
/// octets and all, and those around it are read.
pub async fn an_unreadable_record_hides_none_behind_it<S: MailStore + Directory + GroupStore>(
    store: &S,
    garble: impl Fn(Generation, u64),
) {
    let (world, _) = log(store, &["crm"], 4).await;
    garble(world.generation, 2);
    let entries = store.records(world.generation, 1, 9).await.unwrap();
    let readable: Vec<_> = entries.iter().map(|entry| entry.record.is_ok()).collect();
    assert_eq!(readable, [true, false, true, true]);
    let unreadable = entries[1].record.as_ref().unwrap_err();
    assert!(!unreadable.octets.is_empty() && !unreadable.why.is_empty());
    assert_eq!(
        store.records(world.generation, 2, 2).await.unwrap(),
        entries[1..3]
    );
    world.maintain(World::<S>::NOTHING_OLD).await;
    assert_eq!(
        world.numbers(world.generation).await,
        [1, 2, 3, 4],
        "it waits for the group"
    );
    save(store, "crm", world.generation, Cursor::at(2)).await;
    world.maintain(World::<S>::NOTHING_OLD).await;
    assert_eq!(world.numbers(world.generation).await, [3, 4]);
}

/// The same of age, which an unreadable record does not tell: it is as old as the next one that can be read.
pub async fn an_unreadable_record_is_as_old_as_the_next<S: MailStore + Directory + GroupStore>(
    store: &S,
    garble: impl Fn(Generation, u64),
) {
    let (mut world, ann) = log(store, &["crm"], 4).await;
    let retention = all_old(&world);
    add(&mut world, &ann, 2).await;
    for number in [2, 3, 5] {
        garble(world.generation, number);
    }
    world.maintain(retention).await;
    assert_eq!(world.numbers(world.generation).await, [5, 6]);
    world
        .maintain(Retention {
            groups_before: Stamp(u64::MAX),
            ..retention
        })
        .await;
    assert_eq!(world.numbers(world.generation).await, [6]);
}
