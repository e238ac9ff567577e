//! Clauses of durability.

use super::World;
use crate::directory::Directory;
use crate::store::{CHUNK_OCTETS_MAX, Change, MailStore, NoteKey, RecipientOutcome};

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
