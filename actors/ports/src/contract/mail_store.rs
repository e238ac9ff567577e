//! Clauses of [`MailStore`].

use bytes::Bytes;
use mailhorn_events::{Expunged, Happening, MailboxId, MessageId, Stamp};

use super::World;
use crate::directory::Directory;
use crate::store::{
    CHUNK_OCTETS_MAX, Change, Figure, MailStore, NoteKey, Octets, ReadError, RecipientOutcome, Retention,
    Verdict,
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

/// The note is looked at before the octets are: whoever would not take the message again learns of it all the same.
pub async fn a_delivery_without_octets_asks_for_its_note_and_stores_nothing<S: MailStore + Directory>(
    store: &S,
) {
    let mut world = World::new(store);
    let (ann, bob) = (world.account(ANN).await, world.account(BOB).await);
    let first = World::<S>::noted(world.delivery(&[&ann], b"same"), 5);
    assert_eq!(world.deliver(first).await, [RecipientOutcome::Stored]);
    let asked = |world: &World<'_, S>, account, note| {
        let mut delivery = World::<S>::noted(world.delivery(&[account], b""), note);
        delivery.octets = Octets {
            size: 0,
            stored_chunks: 1,
            tail: Bytes::new(),
        };
        delivery
    };
    for _ in 0..2 {
        for (account, note, outcome) in [
            (&ann, 5, RecipientOutcome::Duplicate),
            (&bob, 6, RecipientOutcome::OctetsLost),
        ] {
            let delivery = asked(&world, account, note);
            let done = world.commit(vec![Change::Deliver(delivery)]).await;
            assert_eq!(done.verdicts, [Verdict::Delivered(vec![outcome])]);
            assert!(done.records.is_empty(), "nothing happened");
        }
    }
    assert_eq!(world.list(&ann, 9).await.len(), 1);
    assert_eq!(world.list(&bob, 9).await.len(), 0);
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

/// A note whose reply may not have been read goes on counting; one of nothing that was committed does not begin to.
pub async fn a_kept_note_makes_a_duplicate_only_of_what_was_stored<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let stored = World::<S>::noted(world.delivery(&[&ann], b"first"), 5);
    assert_eq!(world.deliver(stored).await, [RecipientOutcome::Stored]);
    let notes = vec![NoteKey([5; 32]), NoteKey([6; 32])];
    let kept = world.commit(vec![Change::KeepNotes(notes)]).await;
    assert_eq!(kept.verdicts, [Verdict::Done]);
    assert!(kept.records.is_empty(), "no record tells of a note");
    for (note, outcome) in [(5, RecipientOutcome::Duplicate), (6, RecipientOutcome::Stored)] {
        let retry = World::<S>::noted(world.delivery(&[&ann], b"again"), note);
        assert_eq!(world.deliver(retry).await, [outcome]);
    }
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
    let gone = Expunged {
        message: first,
        size,
        received: first.stamp(),
        flags: Vec::new(),
    };
    let happening = Happening::Expunged {
        moved_to: None,
        messages: vec![gone],
    };
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
        ..World::<S>::NOTHING_OLD
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
