//! Clauses of [`MailStore`] about groups of changes, their records and the log.

use mailhorn_events::{Added, Arrival, ContentDeleted, Event, Generation, Happening, Record};

use super::World;
use crate::directory::Directory;
use crate::store::{CHUNK_OCTETS_MAX, Change, MailStore, NoteKey, RecipientOutcome, Retention, Verdict};

const ANN: &str = "ann@example.org";
const BOB: &str = "bob@example.org";

/// A writer that does not know whether a group was made repeats it and learns what it came to.
pub async fn a_repeated_group_is_not_made_twice<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let (ann, bob) = (world.account(ANN).await, world.account(BOB).await);
    let old = world.store_message(&[&ann, &bob], b"old").await;
    let noted = World::<S>::noted(world.delivery(&[&ann], b"new"), 1);
    world
        .deliver(World::<S>::noted(world.delivery(&[&bob], b"noted"), 2))
        .await;
    let retry = World::<S>::noted(world.delivery(&[&bob], b"noted"), 2);
    let changes = vec![
        Change::Deliver(noted),
        Change::Expunge(world.expunge(&ann, &[old])),
        Change::Deliver(retry),
        Change::ForgetNotes(vec![NoteKey([2; 32])]),
    ];
    let group = world.group(changes);
    let first = store.commit(&group).await.unwrap();
    assert_eq!(first.records.len(), 2);
    for _ in 0..2 {
        assert_eq!(store.commit(&group).await.unwrap(), first);
    }
    assert_eq!(world.list(&ann, 9).await.len(), 1);
    assert_eq!(world.list(&bob, 9).await.len(), 2);
    assert_eq!(store.log_end(group.generation).await.unwrap(), world.end + 2);
    assert!(world.read(&bob, old).await.is_ok());
}

/// Housekeeping between a group and its repetition changes nothing of what the writer learns.
pub async fn a_group_can_be_repeated_after_housekeeping<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let old = world.store_message(&[&ann], b"old").await;
    let changes = vec![
        Change::Deliver(world.delivery(&[&ann], b"one")),
        Change::Expunge(world.expunge(&ann, &[old])),
        Change::Deliver(world.delivery(&[&ann], b"two")),
    ];
    let group = world.group(changes);
    let done = store.commit(&group).await.unwrap();
    let retention = Retention {
        records_before: world.ids.stamp(),
        ..World::<S>::NOTHING_OLD
    };
    world.maintain(retention).await;
    assert_eq!(store.commit(&group).await.unwrap(), done);
    assert_eq!(world.list(&ann, 9).await.len(), 2);
}

/// The expunge that takes the last reference tells so, in the same record; those before it don't.
pub async fn the_end_of_a_content_is_told_once<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let (ann, bob) = (world.account(ANN).await, world.account(BOB).await);
    let shared = world
        .store_message(&[&ann, &bob], &vec![b'x'; CHUNK_OCTETS_MAX + 5])
        .await;
    let own = world.store_message(&[&bob], b"own").await;
    let mut deleted = Vec::new();
    for (account, messages) in [(&ann, vec![shared]), (&bob, vec![shared, own, shared])] {
        let expunge = world.expunge(account, &messages);
        let done = world.commit(vec![Change::Expunge(expunge)]).await;
        let [record] = &done.records[..] else {
            panic!("one record for a change: {done:?}");
        };
        for event in &record.events {
            assert_eq!(event.mailbox, Some(World::<S>::inbox(account)));
            if let Happening::MessageContentDeleted(messages) = &event.happening {
                deleted.push((account.id, messages.clone()));
            }
        }
    }
    let content = |message, octets: usize, chunks| ContentDeleted {
        message,
        octets: octets as u64,
        chunks,
    };
    let both = vec![content(shared, CHUNK_OCTETS_MAX + 5, 2), content(own, 3, 1)];
    assert_eq!(deleted, [(bob.id, both)]);
}

/// What is announced is in the log, and changes no mail.
pub async fn an_announcement_is_a_record_and_nothing_else<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let message = world.store_message(&[&ann], b"octets").await;
    let announce = world.announce(&ann, Happening::MailboxAdded { name: "a/b".into() }, None);
    let expected = Record {
        id: announce.event,
        stamp: announce.stamp,
        events: announce.events.clone(),
    };
    let group = world.group(vec![Change::Announce(announce)]);
    let done = world.commit(group.changes.clone()).await;
    assert_eq!(
        (&done.verdicts[..], &done.records[..]),
        (&[Verdict::Done][..], &[expected][..])
    );
    assert_eq!(store.commit(&group).await.unwrap(), done);
    assert!(store.highest_stamp().await.unwrap() >= done.records[0].stamp);
    assert!(world.read(&ann, message).await.is_ok());
}

/// A record is known by node, generation and number: logs tell their node, and one without records may be forgotten.
pub async fn a_log_says_which_node_it_belongs_to<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account("ann@example.org").await;
    store.begin_log(world.generation, "one").await.unwrap();
    let delivery = world.delivery(&[&ann], b"\r\n");
    world.commit(vec![Change::Deliver(delivery)]).await;
    let later = Generation::from_bytes([0xfe; 16]);
    store.begin_log(later, "two").await.unwrap();
    let logs = store.logs().await.unwrap();
    assert_eq!(
        logs,
        [(world.generation, "one".to_owned()), (later, "two".to_owned())]
    );
}

/// Groups of any mixture are numbered one after the other, and each log counts by itself.
pub async fn log_numbers_have_no_holes<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let mut other = World::seeded(store, 2);
    for round in 0..5_u8 {
        let two = [world.delivery(&[&ann], b"a"), world.delivery(&[&ann], b"b")].map(Change::Deliver);
        let nothing = Change::Expunge(world.expunge(&ann, &[world.ids.message()]));
        let [first, second] = two;
        world
            .commit(vec![first, nothing, Change::ForgetNotes(vec![]), second])
            .await;
        other.store_message(&[&ann], &[round]).await;
    }
    let all = world.numbers(world.generation).await;
    assert_eq!(all, (1..=10).collect::<Vec<_>>());
    let some = store.records(world.generation, 4, 3).await.unwrap();
    let numbers: Vec<_> = some.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [4, 5, 6]);
    assert_eq!(store.log_end(other.generation).await.unwrap(), 5);
}

/// Nothing is made of a group that another, unknown one must come before, or that takes another's numbers.
pub async fn a_group_that_would_leave_a_hole_is_not_made<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    world.store_message(&[&ann], b"first").await;
    for first in [1, 3] {
        let mut group = world.group(vec![Change::Deliver(world.delivery(&[&ann], b"second"))]);
        group.first = first;
        assert!(
            store.commit(&group).await.is_err(),
            "number {first} where 2 is next"
        );
    }
    assert_eq!(world.list(&ann, 9).await.len(), 1);
    assert_eq!(store.log_end(world.generation).await.unwrap(), 1);
}

/// A record is enough to make its change again, but for the octets.
pub async fn a_record_holds_all_that_its_change_needs<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let (ann, bob) = (world.account(ANN).await, world.account(BOB).await);
    let delivery = world
        .upload(&[&ann, &bob], &vec![b'x'; CHUNK_OCTETS_MAX + 1])
        .await;
    let (message, event, stamp) = (delivery.message, delivery.event, delivery.message.stamp());
    let done = world.commit(vec![Change::Deliver(delivery)]).await;
    let expected = |account: &crate::Account| {
        let prefix = World::<S>::prefix(account);
        let added = Added {
            message,
            size: (prefix.len() + CHUNK_OCTETS_MAX + 1) as u64,
            chunks: 2,
            received: stamp,
            flags: Vec::new(),
            unique_id: None,
            prefix,
        };
        let (user, mailbox) = (account.address.clone(), World::<S>::inbox(account));
        Event {
            user,
            account: account.id,
            mailbox: Some(mailbox),
            happening: Happening::Added {
                arrival: Arrival::Delivered,
                messages: vec![added],
            },
        }
    };
    assert_eq!(
        done.records,
        [Record {
            id: event,
            stamp,
            events: vec![expected(&ann), expected(&bob)]
        }]
    );
}

/// A group is a sequence: what a change made, the next one finds.
pub async fn changes_of_one_group_see_each_other<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let first = World::<S>::noted(world.delivery(&[&ann], b"same"), 1);
    let second = World::<S>::noted(world.delivery(&[&ann], b"same"), 1);
    let third = world.delivery(&[&ann], b"third");
    let expunge = world.expunge(&ann, &[first.message]);
    let changes = vec![
        Change::Deliver(first),
        Change::Deliver(second),
        Change::Expunge(expunge),
        Change::Deliver(third.clone()),
    ];
    let done = world.commit(changes).await;
    let delivered = |outcome| Verdict::Delivered(vec![outcome]);
    assert_eq!(
        done.verdicts,
        [
            delivered(RecipientOutcome::Stored),
            delivered(RecipientOutcome::Duplicate),
            Verdict::Done,
            delivered(RecipientOutcome::Stored)
        ]
    );
    assert_eq!(done.records.len(), 3);
    assert_eq!(
        world
            .list(&ann, 9)
            .await
            .iter()
            .map(|row| row.message)
            .collect::<Vec<_>>(),
        [third.message]
    );
}

/// A process that starts makes no stamp that is below one it wrote before, whatever its clock says.
pub async fn the_highest_stamp_is_above_every_row<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    assert!(store.highest_stamp().await.unwrap() >= ann.credentials.stamp);
    let message = world.store_message(&[&ann], b"octets").await;
    assert!(store.highest_stamp().await.unwrap() >= message.stamp());
    let expunge = world.expunge(&ann, &[message]);
    let stamp = expunge.stamp;
    world.commit(vec![Change::Expunge(expunge)]).await;
    assert!(store.highest_stamp().await.unwrap() >= stamp);
}
