//! Clauses of [`MailStore`].

use mailhorn_events::{Added, Event, Expunged, Generation, Happening, MailboxId, MessageId, Record, Stamp};

use super::World;
use crate::directory::Directory;
use crate::store::{
    CHUNK_OCTETS_MAX, Change, Figure, MailStore, NoteKey, ReadError, RecipientOutcome, Retention, Verdict,
};

const ANN: &str = "ann@example.org";
const BOB: &str = "bob@example.org";

/// Rows come by message id, whatever the order of their deliveries, and in pages that join without gap or overlap.
pub async fn listings_are_ordered_by_id_and_paged<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let mut deliveries: Vec<_> = (0..25_u8).map(|n| world.delivery(&[&ann], &[n])).collect();
    let expected: Vec<MessageId> = deliveries.iter().map(|delivery| delivery.message).collect();
    deliveries.reverse();
    for delivery in deliveries {
        world.deliver(delivery).await;
    }
    for page in [1, 7, 25, 100] {
        let listed: Vec<_> = world
            .list(&ann, page)
            .await
            .iter()
            .map(|row| row.message)
            .collect();
        assert_eq!(listed, expected, "in pages of {page}");
    }
}

/// No mailbox shows, counts or gives what is another's.
pub async fn mailboxes_are_apart<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let (ann, bob) = (world.account(ANN).await, world.account(BOB).await);
    let hers = world.store_message(&[&ann], b"hers").await;
    let his = world.store_message(&[&bob], b"his").await;
    assert_eq!(
        world
            .list(&ann, 9)
            .await
            .iter()
            .map(|row| row.message)
            .collect::<Vec<_>>(),
        [hers]
    );
    assert!(matches!(world.read(&ann, his).await, Err(ReadError::Expunged)));
    world.expunge_messages(&ann, &[his]).await;
    assert_eq!(world.list(&bob, 9).await.len(), 1);
}

/// The content is one, the prefix is each recipient's own and comes first.
pub async fn a_delivery_to_two_has_one_content_and_two_prefixes<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let (ann, bob) = (world.account(ANN).await, world.account(BOB).await);
    let message = world.store_message(&[&ann, &bob], b"shared").await;
    for account in [&ann, &bob] {
        let expected = [&World::<S>::prefix(account)[..], b"shared"].concat();
        assert_eq!(
            world.read(account, message).await.unwrap(),
            expected,
            "{}",
            account.address
        );
    }
}

/// A client that was told a size gets that many octets.
pub async fn the_size_listed_is_what_reading_gives<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    for length in [0, 1, 1_000, 200_000] {
        world.store_message(&[&ann], &vec![b'x'; length]).await;
    }
    let mut sum = 0;
    for row in world.list(&ann, 9).await {
        assert_eq!(
            world.read(&ann, row.message).await.unwrap().len() as u64,
            row.size
        );
        sum += row.size;
    }
    assert_eq!(
        store.figure(World::<S>::inbox(&ann)).await.unwrap(),
        Figure {
            messages: 4,
            octets: sum
        }
    );
}

/// Nothing is lost or doubled where a chunk ends; a part is at most a prefix and a chunk.
pub async fn contents_of_every_length_around_a_chunk_come_back<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    for length in [
        0,
        1,
        CHUNK_OCTETS_MAX - 1,
        CHUNK_OCTETS_MAX,
        CHUNK_OCTETS_MAX + 1,
        3 * CHUNK_OCTETS_MAX,
    ] {
        let octets: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let message = world.store_message(&[&ann], &octets).await;
        let prefix = World::<S>::prefix(&ann);
        assert_eq!(
            world.read(&ann, message).await.unwrap(),
            [&prefix[..], &octets].concat(),
            "{length}"
        );
        let first = store.read(World::<S>::inbox(&ann), message, 0).await.unwrap();
        assert!(first.octets.len() <= prefix.len() + CHUNK_OCTETS_MAX, "{length}");
    }
}

/// Both recipients are told that it is stored; the mailbox has it once.
pub async fn two_recipients_with_one_mailbox_get_one_copy<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let mut delivery = world.delivery(&[&ann, &ann], b"once");
    delivery.recipients[1].note = Some(NoteKey([2; 32]));
    let delivery = World::<S>::noted(delivery, 2);
    assert_eq!(world.deliver(delivery).await, [RecipientOutcome::Stored; 2]);
    assert_eq!(world.list(&ann, 9).await.len(), 1);
    assert_eq!(store.figure(World::<S>::inbox(&ann)).await.unwrap().messages, 1);
}

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

/// A retry of what is stored already is told so, and stored again only when its note is too old.
pub async fn a_note_makes_its_delivery_a_duplicate_within_the_window<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let attempt = |world: &World<'_, S>| World::<S>::noted(world.delivery(&[&ann], b"same"), 5);
    let (first, other) = (
        attempt(&world),
        World::<S>::noted(world.delivery(&[&ann], b"other"), 6),
    );
    let noted_at = world.ids.now();
    assert_eq!(world.deliver(first).await, [RecipientOutcome::Stored]);
    assert_eq!(world.deliver(other).await, [RecipientOutcome::Stored]);
    world.notes_since = noted_at;
    let retry = attempt(&world);
    assert_eq!(world.deliver(retry).await, [RecipientOutcome::Duplicate]);
    assert_eq!(world.list(&ann, 9).await.len(), 2);
    world.notes_since = noted_at.next();
    let late = attempt(&world);
    assert_eq!(world.deliver(late).await, [RecipientOutcome::Stored]);
    assert_eq!(world.list(&ann, 9).await.len(), 3);
}

/// A note whose reply was read does not stand in the way of the same octets sent again on purpose.
pub async fn a_forgotten_note_makes_no_duplicate<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    for _ in 0..2 {
        let delivery = World::<S>::noted(world.delivery(&[&ann], b"same"), 5);
        assert_eq!(world.deliver(delivery).await, [RecipientOutcome::Stored]);
        let forgotten = world
            .commit(vec![Change::ForgetNotes(vec![
                NoteKey([5; 32]),
                NoteKey([6; 32]),
            ])])
            .await;
        assert!(forgotten.records.is_empty(), "no record tells of a note");
    }
    assert_eq!(world.list(&ann, 9).await.len(), 2);
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
        notes_since: Stamp(0),
    };
    while store.maintain(retention).await.unwrap().more {}
    assert_eq!(store.commit(&group).await.unwrap(), done);
    assert_eq!(world.list(&ann, 9).await.len(), 2);
}

/// A note says that mail is in a mailbox; where none came to be, the next try must not be told so.
pub async fn no_note_is_left_where_nothing_was_stored<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    store.remove_account(ANN).await.unwrap();
    let attempt = |world: &World<'_, S>, account| World::<S>::noted(world.delivery(&[account], b"same"), 5);
    let first = attempt(&world, &ann);
    assert_eq!(world.deliver(first).await, [RecipientOutcome::Gone]);
    let ann = world.account(ANN).await;
    let second = attempt(&world, &ann);
    assert_eq!(world.deliver(second).await, [RecipientOutcome::Stored]);
}

/// Mail that was accepted for an account that is gone by now is not stored; other recipients' is.
pub async fn a_removed_account_gets_nothing<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let (ann, bob) = (world.account(ANN).await, world.account(BOB).await);
    let delivery = world.delivery(&[&ann, &bob], b"for two");
    store.remove_account(ANN).await.unwrap();
    assert_eq!(
        world.deliver(delivery).await,
        [RecipientOutcome::Gone, RecipientOutcome::Stored]
    );
    assert!(world.list(&ann, 9).await.is_empty());
    assert_eq!(world.list(&bob, 9).await.len(), 1);
    let delivery = world.delivery(&[&ann], b"for nobody");
    let nothing = world.commit(vec![Change::Deliver(delivery)]).await;
    assert!(
        nothing.records.is_empty(),
        "a change without effect makes no record"
    );
}

/// What is gone, or was never there, is neither an error nor counted again.
pub async fn an_expunge_passes_over_what_is_not_there<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let [first, second] = [
        world.store_message(&[&ann], b"one").await,
        world.store_message(&[&ann], b"two").await,
    ];
    let unknown = world.ids.message();
    let expunge = world.expunge(&ann, &[unknown, first, first]);
    let stamp = expunge.stamp;
    let done = world.commit(vec![Change::Expunge(expunge)]).await;
    let size = (World::<S>::prefix(&ann).len() + 3) as u64;
    let happening = Happening::Expunged(vec![Expunged { message: first, size }]);
    assert_eq!(done.records[0].events[0].happening, happening);
    assert_eq!(done.records[0].stamp, stamp);
    let again = world.expunge(&ann, &[first, unknown]);
    assert!(
        world
            .commit(vec![Change::Expunge(again)])
            .await
            .records
            .is_empty()
    );
    assert_eq!(
        world
            .list(&ann, 9)
            .await
            .iter()
            .map(|row| row.message)
            .collect::<Vec<_>>(),
        [second]
    );
    assert_eq!(
        store.figure(World::<S>::inbox(&ann)).await.unwrap(),
        Figure {
            messages: 1,
            octets: size
        }
    );
}

/// Octets are shared; the last mailbox to let go of them ends them.
pub async fn octets_stay_until_the_last_reference_goes<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let (ann, bob) = (world.account(ANN).await, world.account(BOB).await);
    let octets = vec![b'x'; 2 * CHUNK_OCTETS_MAX + 5];
    let message = world.store_message(&[&ann, &bob], &octets).await;
    world.expunge_messages(&ann, &[message]).await;
    assert!(matches!(
        world.read(&ann, message).await,
        Err(ReadError::Expunged)
    ));
    assert!(world.read(&bob, message).await.unwrap().ends_with(&octets));
    world.expunge_messages(&bob, &[message]).await;
    assert!(matches!(
        world.read(&bob, message).await,
        Err(ReadError::Expunged)
    ));
}

/// Octets without a change are nobody's, whatever becomes of them.
pub async fn chunks_are_invisible_before_their_change<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let delivery = world.upload(&[&ann], &vec![1; CHUNK_OCTETS_MAX * 2]).await;
    assert!(world.list(&ann, 9).await.is_empty());
    assert_eq!(
        store.figure(World::<S>::inbox(&ann)).await.unwrap(),
        Figure::default()
    );
    assert!(matches!(
        world.read(&ann, delivery.message).await,
        Err(ReadError::Expunged)
    ));
    assert_eq!(store.log_end(world.generation).await.unwrap(), 0);
    let message = delivery.message;
    world.deliver(delivery).await;
    assert!(world.read(&ann, message).await.is_ok());
}

/// Reading ahead gives what reading each message's first part would, and stops at the limit or at what is not there.
pub async fn reading_ahead_gives_first_parts_in_order_until_the_limit<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account("ann@example.org").await;
    let mailbox = MailboxId::inbox(ann.id);
    let mut messages = Vec::new();
    for size in [10, 20, 30, 40] {
        let delivery = world.delivery(&[&ann], &vec![b'x'; size]);
        messages.push(delivery.message);
        world.commit(vec![Change::Deliver(delivery)]).await;
    }
    let mut parts = Vec::new();
    for message in &messages {
        parts.push(store.read(mailbox, *message, 0).await.unwrap());
    }
    assert_eq!(store.read_ahead(mailbox, &messages, usize::MAX).await, parts);
    assert_eq!(
        store.read_ahead(mailbox, &messages, 1).await,
        parts[..1],
        "the first in any case"
    );
    let two = parts[0].octets.len() + 1;
    assert_eq!(store.read_ahead(mailbox, &messages, two).await, parts[..2]);
    let expunge = world.expunge(&ann, &messages[1..2]);
    world.commit(vec![Change::Expunge(expunge)]).await;
    assert_eq!(store.read_ahead(mailbox, &messages, usize::MAX).await, parts[..1]);
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
    let numbers =
        |records: Vec<(u64, Record)>| records.into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    let all = numbers(store.records(world.generation, 1, 100).await.unwrap());
    assert_eq!(all, (1..=10).collect::<Vec<_>>());
    assert_eq!(
        numbers(store.records(world.generation, 4, 3).await.unwrap()),
        [4, 5, 6]
    );
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
            mailbox,
            happening: Happening::Added(vec![added]),
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

/// Whatever is trimmed or moved: mail is as it was, the log's end is known, and notes within the window count.
pub async fn housekeeping_takes_nothing_that_counts<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let octets = vec![b'x'; CHUNK_OCTETS_MAX + 1];
    let kept = world.store_message(&[&ann], &octets).await;
    for note in [1, 2] {
        let delivery = World::<S>::noted(world.delivery(&[&ann], b"noted"), note);
        world.deliver(delivery).await;
        world.clock.advance(std::time::Duration::from_secs(60));
    }
    let second_note = Stamp(world.ids.now().0 - 60_000_000);
    let retention = Retention {
        records_before: world.ids.stamp(),
        notes_since: second_note,
    };
    let mut notes = 0;
    while {
        let done = store.maintain(retention).await.unwrap();
        notes += done.notes;
        done.more
    } {}
    assert_eq!(notes, 1);
    assert_eq!(store.log_end(world.generation).await.unwrap(), 3);
    world.notes_since = second_note;
    for (note, outcome) in [(1, RecipientOutcome::Stored), (2, RecipientOutcome::Duplicate)] {
        let delivery = World::<S>::noted(world.delivery(&[&ann], b"noted"), note);
        assert_eq!(world.deliver(delivery).await, [outcome], "note {note}");
    }
    assert!(world.read(&ann, kept).await.unwrap().ends_with(&octets));
    assert_eq!(world.list(&ann, 9).await.len(), 4);
}
