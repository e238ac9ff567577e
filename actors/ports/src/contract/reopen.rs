//! Clauses of durability.

use mailhorn_events::{Happening, QuotaLimits, Stamp};

use super::quota::announced;
use super::{World, group};
use crate::bans::{Ban, BanStore};
use crate::directory::Directory;
use crate::groups::{Cursor, GroupStore, KnownGroup};
use crate::quota::{QuotaOwner, QuotaStore};
use crate::store::{CHUNK_OCTETS_MAX, Change, MailStore, NoteKey, RecipientOutcome, ThresholdMove};

const ANN: &str = "ann@example.org";

/// A place where a store can be opened, again and again. Before it is opened again, the one before it was dropped.
pub trait Reopen {
    /// The store.
    type Store: MailStore + Directory;

    /// Opens it.
    fn open(&self) -> Self::Store;
}

/// Closing and dropping is how a process ends well.
pub async fn everything_done_is_there_after_a_clean_stop<R: Reopen>(place: &R) {
    everything_done_is_there(place, true).await;
}

/// Dropping without closing is how a process ends that was killed.
pub async fn everything_done_is_there_after_a_crash<R: Reopen>(place: &R) {
    everything_done_is_there(place, false).await;
}

async fn everything_done_is_there<R: Reopen>(place: &R, clean: bool) {
    let store = place.open();
    let mut world = World::new(&store);
    let (ann, bob) = (world.account(ANN).await, world.account("bob@example.org").await);
    let octets = vec![b'x'; 3 * CHUNK_OCTETS_MAX];
    let kept = world.store_message(&[&ann, &bob], &octets).await;
    let gone = world.store_message(&[&ann], b"gone").await;
    world.expunge_messages(&ann, &[gone]).await;
    store
        .set_credentials(ANN, world.credentials(false), None)
        .await
        .unwrap();
    store.remove_account(&bob.address).await.unwrap();
    let (rows, stamp) = (world.list(&ann, 9).await, store.highest_stamp().await.unwrap());
    let account = store.account(ANN).await.unwrap();
    if clean {
        store.close().await.unwrap();
        assert!(
            store.figure(World::<R::Store>::inbox(&ann)).await.is_err(),
            "a closed store refuses"
        );
    }
    drop(store);

    let store = place.open();
    let world = World::seeded(&store, 2);
    assert_eq!(world.list(&ann, 9).await, rows);
    assert!(world.read(&ann, kept).await.unwrap().ends_with(&octets));
    assert_eq!(
        store
            .figure(World::<R::Store>::inbox(&ann))
            .await
            .unwrap()
            .messages,
        1
    );
    assert_eq!(store.highest_stamp().await.unwrap(), stamp);
    assert_eq!(store.account(ANN).await.unwrap(), account);
    assert_eq!(store.removed_accounts().await.unwrap(), [bob]);
    assert_eq!(store.accounts_without_scram().await.unwrap(), 1);
}

/// A retry that comes after a restart is a duplicate all the same.
pub async fn a_note_outlives_a_crash<R: Reopen>(place: &R) {
    let store = place.open();
    let mut world = World::new(&store);
    let ann = world.account(ANN).await;
    for note in [1, 2] {
        let delivery = World::<R::Store>::noted(world.delivery(&[&ann], b"noted"), note);
        world.deliver(delivery).await;
    }
    world
        .commit(vec![Change::ForgetNotes(vec![NoteKey([2; 32])])])
        .await;
    // A forgotten note need not stay forgotten, so a change follows that takes it along.
    world.store_message(&[&ann], b"more").await;
    drop(store);

    let store = place.open();
    let mut world = World::seeded(&store, 2);
    for (note, outcome) in [(1, RecipientOutcome::Duplicate), (2, RecipientOutcome::Stored)] {
        let delivery = World::<R::Store>::noted(world.delivery(&[&ann], b"noted"), note);
        assert_eq!(world.deliver(delivery).await, [outcome], "note {note}");
    }
}

/// An older log is as it was, and a new one begins at its beginning.
pub async fn the_log_goes_on_where_it_ended<R: Reopen>(place: &R) {
    let store = place.open();
    let mut world = World::new(&store);
    let ann = world.account(ANN).await;
    for n in 0..5 {
        world.store_message(&[&ann], &[n]).await;
    }
    let (generation, records) = (
        world.generation,
        store.records(world.generation, 1, 9).await.unwrap(),
    );
    drop(store);

    let store = place.open();
    assert_eq!(store.log_end(generation).await.unwrap(), 5);
    assert_eq!(store.records(generation, 1, 9).await.unwrap(), records);
    let mut world = World::seeded(&store, 2);
    assert_eq!(store.log_end(world.generation).await.unwrap(), 0);
    world.store_message(&[&ann], b"new").await;
    assert_eq!(world.end, 1);
}

/// The outcome of a group is known after a crash as well.
pub async fn a_group_that_was_done_before_a_crash_is_not_made_again<R: Reopen>(place: &R) {
    let store = place.open();
    let world = World::new(&store);
    let ann = world.account(ANN).await;
    let group = world.group(vec![Change::Deliver(world.delivery(&[&ann], b"once"))]);
    let done = store.commit(&group).await.unwrap();
    drop(store);

    let store = place.open();
    assert_eq!(store.commit(&group).await.unwrap(), done);
    let world = World::seeded(&store, 2);
    assert_eq!(world.list(&ann, 9).await.len(), 1);
}

/// What a group could not handle is not lost with the process.
pub async fn parked_and_dead_letters_outlive_a_crash<R: Reopen<Store: GroupStore>>(place: &R) {
    let (store, crm) = (place.open(), group("crm"));
    let world = World::new(&store);
    let [parked, buried, removed] = [(); 3].map(|()| world.letter(world.ids.event()));
    store.register_group(&crm, Stamp(1)).await.unwrap();
    store.park(&crm, &buried).await.unwrap();
    store.bury(&crm, &buried).await.unwrap();
    store.bury(&crm, &removed).await.unwrap();
    store.remove_dead_letter(&crm, removed.id).await.unwrap();
    store.park(&crm, &parked).await.unwrap();
    let log = world.generation;
    drop(store);

    let store = place.open();
    assert_eq!(store.parked(&crm, log).await.unwrap(), [parked]);
    assert_eq!(store.dead_letters(&crm, None, 9).await.unwrap(), [buried]);
    assert_eq!(store.groups_with_dead_letters().await.unwrap(), [(crm, 1)]);
}

/// A group is known, or forgotten, for good.
pub async fn what_groups_are_known_outlives_a_crash<R: Reopen<Store: GroupStore>>(place: &R) {
    let store = place.open();
    let mut world = World::new(&store);
    let ann = world.account(ANN).await;
    let (generation, [crm, search]) = (world.generation, ["crm", "search"].map(group));
    world.store_message(&[&ann], b"octets").await;
    store.register_group(&crm, Stamp(5)).await.unwrap();
    store.register_group(&search, Stamp(6)).await.unwrap();
    let parked = world.letter(world.ids.event());
    store.park(&crm, &parked).await.unwrap();
    store.forget_group(&crm).await.unwrap();
    drop(store);

    let store = place.open();
    let groups = store.groups().await.unwrap();
    let (name, registered) = (search.clone(), Stamp(6));
    assert_eq!(groups, [KnownGroup { name, registered }]);
    assert_eq!(
        store.cursors(&search).await.unwrap(),
        [(generation, Cursor::at(1))]
    );
    assert!(store.cursors(&crm).await.unwrap().is_empty());
    assert_eq!(store.dead_letters(&crm, None, 9).await.unwrap(), [parked]);
    store.register_group(&crm, Stamp(7)).await.unwrap();
    assert!(store.parked(&crm, generation).await.unwrap().is_empty());
}

/// A process that ends well leaves groups where they were.
pub async fn cursors_are_where_they_were_after_a_clean_stop<R: Reopen<Store: GroupStore>>(place: &R) {
    let (store, crm) = (place.open(), group("crm"));
    let world = World::new(&store);
    store.register_group(&crm, Stamp(1)).await.unwrap();
    let cursor = Cursor {
        taken: 9,
        open: [2, 5].into(),
    };
    store.save_cursor(&crm, world.generation, &cursor).await.unwrap();
    let generation = world.generation;
    store.close().await.unwrap();
    assert!(
        store
            .save_cursor(&crm, generation, &Cursor::at(10))
            .await
            .is_err()
    );
    drop(store);

    let store = place.open();
    assert_eq!(store.cursors(&crm).await.unwrap(), [(generation, cursor)]);
}

/// A crash may take a cursor back, never forward; and whatever is trimmed, it shows no gap to a group that had it all.
pub async fn a_crash_takes_a_cursor_back_and_makes_no_gap<R: Reopen<Store: GroupStore>>(place: &R) {
    let (store, crm) = (place.open(), group("crm"));
    let mut world = World::new(&store);
    let ann = world.account(ANN).await;
    let generation = world.generation;
    store.register_group(&crm, Stamp(1)).await.unwrap();
    for _ in 0..20 {
        world.store_message(&[&ann], b"octets").await;
        let done = Cursor::at(world.end);
        store.save_cursor(&crm, generation, &done).await.unwrap();
        if world.end == 12 {
            world.maintain(World::<R::Store>::NOTHING_OLD).await;
        }
    }
    drop(store);

    let store = place.open();
    let cursors = store.cursors(&crm).await.unwrap();
    let (log, cursor) = &cursors[0];
    assert_eq!(*log, generation);
    assert!((12..=20).contains(&cursor.taken), "{cursor:?}");
    let next = cursor.finished() + 1;
    let entries = store.records(generation, next, 1).await.unwrap();
    assert_eq!(entries.first().map_or(next, |entry| entry.number), next);
}

/// What an owner holds, may hold, and was told of.
pub async fn quotas_outlive_a_crash<R: Reopen<Store: QuotaStore>>(place: &R) {
    let store = place.open();
    let mut world = World::new(&store);
    let ann = world.account(ANN).await;
    world.store_message(&[&ann], b"octets").await;
    let owners = [
        QuotaOwner::Account(ann.id),
        QuotaOwner::Domain("example.org".into()),
    ];
    let limits = Some(QuotaLimits {
        messages: None,
        octets: Some(7),
    });
    for owner in &owners {
        let threshold = ThresholdMove {
            owner: owner.clone(),
            from_percent: 0,
            to_percent: 90,
        };
        let happening = Happening::MailboxAdded { name: "any".into() };
        let announce = world.announce(&ann, happening, Some(threshold));
        world.commit(vec![Change::Announce(announce)]).await;
        store.set_quota_limits(owner, limits).await.unwrap();
    }
    let usage = store.usage(&owners[0]).await.unwrap();
    assert_eq!(usage.messages, 1);
    drop(store);

    let store = place.open();
    for owner in &owners {
        assert_eq!(store.usage(owner).await.unwrap(), usage);
        assert_eq!(store.quota_limits(owner).await.unwrap(), limits);
        assert_eq!(announced(&store, owner).await, 90);
    }
}

/// Bans are kept as they were made.
pub async fn bans_outlive_a_crash<R: Reopen<Store: BanStore>>(place: &R) {
    let store = place.open();
    let ban = Ban {
        network: "192.0.2.7/32".parse().unwrap(),
        reason: "failed log-ins".into(),
        since: Stamp(1),
        until: Stamp(3),
        kept_until: Stamp(5),
        node: "mail-1".into(),
    };
    store.put_ban(&ban).await.unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.bans(Stamp(2), 9).await.unwrap(), [ban]);
}
