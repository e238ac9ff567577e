//! Writes that fail: what was acknowledged stays, what was not is repeated once, and reads go on.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use common::Place;
use mailhorn_embedded::Faults;
use mailhorn_events::Stamp;
use mailhorn_ports::contract::{Reopen, World};
use mailhorn_ports::{
    Change, Cursor, Directory, DirectoryError, GroupStore, MailStore, QuotaOwner, QuotaStore,
    RecipientOutcome,
};

const NONE: u8 = 0;
const BEFORE: u8 = 1;
const AFTER: u8 = 2;

/// Makes one write fail, before or after it was made.
#[derive(Debug, Default)]
struct Once(AtomicU8);

impl Once {
    fn take(&self, when: u8) -> io::Result<()> {
        match self
            .0
            .compare_exchange(when, NONE, Ordering::SeqCst, Ordering::SeqCst)
        {
            Ok(_) => Err(io::ErrorKind::StorageFull.into()),
            Err(_) => Ok(()),
        }
    }
}

impl Faults for Once {
    fn before_commit(&self) -> io::Result<()> {
        self.take(BEFORE)
    }

    fn after_commit(&self) -> io::Result<()> {
        self.take(AFTER)
    }
}

fn faulty() -> (Place, Arc<Once>) {
    let once = Arc::new(Once::default());
    let place = Place {
        faults: Some(Arc::clone(&once) as _),
        ..Place::default()
    };
    (place, once)
}

#[tokio::test]
async fn a_group_whose_write_failed_is_made_once_when_it_is_repeated() {
    for when in [BEFORE, AFTER] {
        let (place, fault) = faulty();
        let store = place.open();
        let mut world = World::new(&store);
        let ann = world.account("ann@example.org").await;
        let old = world.store_message(&[&ann], b"old").await;
        let changes = vec![
            Change::Deliver(world.upload(&[&ann], &[7; 1_000]).await),
            Change::Expunge(world.expunge(&ann, &[old])),
        ];
        let group = world.group(changes);
        fault.0.store(when, Ordering::SeqCst);
        assert!(store.commit(&group).await.is_err(), "{when}");
        assert!(world.list(&ann, 9).await.len() <= 1, "reads go on");
        let done = store.commit(&group).await.unwrap();
        assert_eq!(done.records.len(), 2, "{when}");
        assert_eq!(store.log_end(world.generation).await.unwrap(), 3, "{when}");
        assert_eq!(world.list(&ann, 9).await.len(), 1, "{when}");
        assert_eq!(
            store
                .figure(World::<common::Store>::inbox(&ann))
                .await
                .unwrap()
                .messages,
            1,
            "{when}"
        );
        world.end = 3;
        world.store_message(&[&ann], b"new").await;
        drop(store);
        let store = place.open();
        assert_eq!(World::seeded(&store, 2).list(&ann, 9).await.len(), 2, "{when}");
    }
}

#[tokio::test]
async fn a_message_whose_chunks_were_on_their_way_is_whole_or_not_stored() {
    let (place, fault) = faulty();
    let store = place.open();
    let mut world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    let octets = vec![3; 300_000];
    let uploaded = world.upload(&[&ann], &octets).await;
    let mut partial = world.upload(&[&ann], &octets).await;
    partial.octets.stored_chunks += 1;
    fault.0.store(BEFORE, Ordering::SeqCst);
    assert!(store.add_domain("example.com").await.is_err());
    let message = uploaded.message;
    // Their chunks were written to the journal before the fault: what of them is there after it decides.
    if world.deliver(uploaded).await == [RecipientOutcome::Stored] {
        assert!(world.read(&ann, message).await.unwrap().ends_with(&octets));
    }
    assert_eq!(world.deliver(partial).await, [RecipientOutcome::OctetsLost]);
    let refused = store
        .put_chunk(world.ids.message(), 1, b"second".as_slice().into())
        .await;
    assert!(refused.is_err(), "a message's later chunk without its first");
}

#[tokio::test]
async fn a_change_of_the_directory_that_failed_is_not_remembered() {
    for (when, there) in [(BEFORE, false), (AFTER, true)] {
        let (place, fault) = faulty();
        let store = place.open();
        fault.0.store(when, Ordering::SeqCst);
        let failed = store.add_domain("example.org").await;
        assert!(matches!(failed, Err(DirectoryError::Store(_))), "{when}");
        assert_eq!(
            store.domain("example.org").await.unwrap().is_some(),
            there,
            "{when}"
        );
        let again = store.add_domain("example.org").await;
        assert_eq!(matches!(again, Err(DirectoryError::Exists(_))), there, "{when}");
        assert!(store.domain("example.org").await.unwrap().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_can_not_be_opened_again_is_tried_again_after_a_while() {
    let (mut place, fault) = faulty();
    place.options.reopen_after = Duration::from_secs(5);
    let store = place.open();
    let world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    let group = world.group(vec![Change::Deliver(world.delivery(&[&ann], b"octets"))]);
    fault.0.store(BEFORE, Ordering::SeqCst);
    assert!(store.commit(&group).await.is_err());
    let (version, aside) = (place.path().join("store/version"), place.path().join("aside"));
    std::fs::rename(&version, &aside).unwrap();
    std::fs::write(&version, b"?").unwrap();
    assert!(
        store.commit(&group).await.is_err(),
        "the first try is made at once"
    );
    assert!(
        store
            .list(World::<common::Store>::inbox(&ann), None, 9)
            .await
            .is_err()
    );
    std::fs::rename(&aside, &version).unwrap();
    assert!(store.commit(&group).await.is_err(), "the second is not");
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(store.commit(&group).await.is_ok());
    assert_eq!(world.list(&ann, 9).await.len(), 1);
}

#[tokio::test]
async fn what_is_known_of_groups_after_a_fault_is_what_is_stored() {
    for (when, made) in [(BEFORE, false), (AFTER, true)] {
        let (place, fault) = faulty();
        let store = place.open();
        let world = World::new(&store);
        let (kept, crm) = ("kept".parse().unwrap(), "crm".parse().unwrap());
        let log = world.generation;
        store.register_group(&kept, Stamp(1)).await.unwrap();
        store.save_cursor(&kept, log, &Cursor::at(4)).await.unwrap();
        fault.0.store(when, Ordering::SeqCst);
        assert!(store.register_group(&crm, Stamp(2)).await.is_err());
        // The next write opens the store anew.
        let letter = world.letter(world.ids.event());
        store.park(&kept, &letter).await.unwrap();
        assert_eq!(
            store.groups().await.unwrap().len(),
            1 + usize::from(made),
            "{when}"
        );
        assert_eq!(
            store.cursors(&kept).await.unwrap(),
            [(log, Cursor::at(4))],
            "it has not moved back"
        );
        fault.0.store(when, Ordering::SeqCst);
        assert!(store.forget_group(&kept).await.is_err());
        store.register_group(&crm, Stamp(3)).await.unwrap();
        let forgotten = store.groups().await.unwrap().len() == 1;
        assert_eq!(forgotten, made, "{when}");
        assert_eq!(store.parked(&kept, log).await.unwrap().is_empty(), made, "{when}");
        fault.0.store(when, Ordering::SeqCst);
        assert!(store.bury(&crm, &letter).await.is_err());
        store.bury(&crm, &letter).await.unwrap();
        let dead = store.groups_with_dead_letters().await.unwrap();
        let of_kept = made.then_some((kept, 1)).into_iter();
        let expected: Vec<_> = [(crm, 1)].into_iter().chain(of_kept).collect();
        assert_eq!(dead, expected, "{when}");
    }
}

#[tokio::test]
async fn usage_after_a_fault_is_what_the_rows_sum_up_to() {
    for when in [BEFORE, AFTER] {
        let (place, fault) = faulty();
        let store = place.open();
        let world = World::new(&store);
        let ann = world.account("ann@example.org").await;
        let group = world.group(vec![Change::Deliver(world.delivery(&[&ann], b"octets"))]);
        fault.0.store(when, Ordering::SeqCst);
        assert!(store.commit(&group).await.is_err());
        store.commit(&group).await.unwrap();
        let usage = store.usage(&QuotaOwner::Account(ann.id)).await.unwrap();
        assert_eq!(usage.messages, 1, "{when}");
        assert_eq!(store.recount_usage().await.unwrap(), 0, "{when}");
    }
}
