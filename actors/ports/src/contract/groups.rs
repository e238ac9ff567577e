//! Clauses of [`GroupStore`] about groups, their cursors and what they parked.

use std::collections::BTreeSet;

use mailhorn_events::{Generation, Stamp};

use super::{World, group};
use crate::directory::Directory;
use crate::groups::{Cursor, GroupStore, KnownGroup};
use crate::listener::{GroupName, Letter};
use crate::store::MailStore;

const ANN: &str = "ann@example.org";

fn open(taken: u64, open: &[u64]) -> Cursor {
    let open = open.iter().copied().collect::<BTreeSet<_>>();
    Cursor { taken, open }
}

fn generation(n: u8) -> Generation {
    Generation::from_bytes([n; 16])
}

async fn cursor<S: GroupStore>(store: &S, group: &GroupName, generation: Generation) -> Option<Cursor> {
    let cursors = store.cursors(group).await.unwrap();
    let mut of_log = cursors.into_iter().filter(|(log, _)| *log == generation);
    of_log.next().map(|(_, cursor)| cursor)
}

/// A group is told of by name, with when it was registered last.
pub async fn a_group_is_known_from_its_first_registration<S: MailStore + Directory + GroupStore>(store: &S) {
    assert!(store.groups().await.unwrap().is_empty());
    for (name, now) in [("search", 5), ("crm", 6), ("search", 9), ("search", 7)] {
        store.register_group(&group(name), Stamp(now)).await.unwrap();
    }
    let known = |name, registered| KnownGroup {
        name: group(name),
        registered: Stamp(registered),
    };
    let groups = store.groups().await.unwrap();
    assert_eq!(
        groups,
        [known("crm", 6), known("search", 9)],
        "a late one takes nothing back"
    );
}

/// What happened before a group was known is not shown to it, in whichever log.
pub async fn a_new_group_starts_at_the_end_of_every_log<S: MailStore + Directory + GroupStore>(store: &S) {
    let (mut first, mut second) = (World::new(store), World::seeded(store, 2));
    let ann = first.account(ANN).await;
    first.store_message(&[&ann], b"one").await;
    for _ in 0..3 {
        second.store_message(&[&ann], b"two").await;
    }
    let crm = group("crm");
    assert!(store.cursors(&crm).await.unwrap().is_empty());
    store.register_group(&crm, Stamp(1)).await.unwrap();
    let mut expected = [
        (first.generation, Cursor::at(1)),
        (second.generation, Cursor::at(3)),
    ];
    expected.sort_by_key(|(generation, _)| *generation);
    assert_eq!(store.cursors(&crm).await.unwrap(), expected, "oldest log first");
}

/// A group that is known sees all of a log that begins later: it has no cursor there, and nothing is trimmed.
pub async fn a_log_begun_later_is_seen_from_its_start<S: MailStore + Directory + GroupStore>(store: &S) {
    let crm = group("crm");
    store.register_group(&crm, Stamp(1)).await.unwrap();
    let mut world = World::new(store);
    store.begin_log(world.generation, "one").await.unwrap();
    let ann = world.account(ANN).await;
    for _ in 0..3 {
        world.store_message(&[&ann], b"octets").await;
    }
    assert_eq!(cursor(store, &crm, world.generation).await, None);
    world.maintain(World::<S>::NOTHING_OLD).await;
    assert_eq!(world.numbers(world.generation).await, [1, 2, 3]);
}

/// A restart registers again, and the group goes on where it was.
pub async fn registering_again_moves_no_cursor<S: MailStore + Directory + GroupStore>(store: &S) {
    let mut world = World::new(store);
    let (ann, crm) = (world.account(ANN).await, group("crm"));
    world.store_message(&[&ann], b"before").await;
    store.register_group(&crm, Stamp(1)).await.unwrap();
    world.store_message(&[&ann], b"after").await;
    store.register_group(&crm, Stamp(2)).await.unwrap();
    assert_eq!(cursor(store, &crm, world.generation).await, Some(Cursor::at(1)));
}

/// Of two that say how far a group is, what either has finished counts, in whichever order they come.
pub async fn a_cursor_never_goes_back<S: MailStore + Directory + GroupStore>(store: &S) {
    let (crm, log) = (group("crm"), generation(7));
    store.register_group(&crm, Stamp(1)).await.unwrap();
    for (saved, expected) in [
        (open(5, &[2, 4]), open(5, &[2, 4])),
        (open(3, &[]), open(5, &[4])),
        (open(4, &[1, 2, 4]), open(5, &[4])),
        (open(8, &[4, 7]), open(8, &[4, 7])),
        (open(8, &[2, 4, 7]), open(8, &[4, 7])),
        (Cursor::default(), open(8, &[4, 7])),
        (Cursor::at(7), Cursor::at(8)),
    ] {
        store.save_cursor(&crm, log, &saved).await.unwrap();
        assert_eq!(cursor(store, &crm, log).await, Some(expected), "after {saved:?}");
    }
}

/// Neither cursors nor parked letters of one group are another's.
pub async fn groups_are_apart<S: MailStore + Directory + GroupStore>(store: &S) {
    let world = World::new(store);
    let groups = ["cr", "crm", "crm-2"].map(group);
    let mut letters = Vec::new();
    for (number, group) in (1..).zip(&groups) {
        store.register_group(group, Stamp(1)).await.unwrap();
        store
            .save_cursor(group, generation(1), &Cursor::at(number))
            .await
            .unwrap();
        letters.push(world.letter(world.ids.event()));
        store.park(group, &letters[letters.len() - 1]).await.unwrap();
    }
    store.forget_group(&groups[0]).await.unwrap();
    for (number, group) in (1..).zip(&groups).skip(1) {
        let cursors = store.cursors(group).await.unwrap();
        assert_eq!(cursors, [(generation(1), Cursor::at(number))], "{group}");
        let parked = store.parked(group, world.generation).await.unwrap();
        assert_eq!(parked, letters[number as usize - 1..][..1], "{group}");
    }
}

/// A group that was forgotten while it ran leaves nothing that would hold the log, or turn up when it comes back.
pub async fn nothing_is_kept_of_a_group_that_is_not_known<S: MailStore + Directory + GroupStore>(store: &S) {
    let (world, crm) = (World::new(store), group("crm"));
    let [letter, other] = [(); 2].map(|()| world.letter(world.ids.event()));
    store
        .save_cursor(&crm, world.generation, &Cursor::at(3))
        .await
        .unwrap();
    store.park(&crm, &letter).await.unwrap();
    store.unpark(&crm, &other).await.unwrap();
    assert!(store.groups().await.unwrap().is_empty());
    store.register_group(&crm, Stamp(1)).await.unwrap();
    assert!(store.cursors(&crm).await.unwrap().is_empty());
    assert!(store.parked(&crm, world.generation).await.unwrap().is_empty());
}

/// A group that is forgotten and comes back is a new one; its dead letters, and what it had parked among them, are
/// somebody's to look at all the while.
pub async fn a_forgotten_group_leaves_dead_letters_only<S: MailStore + Directory + GroupStore>(store: &S) {
    let mut world = World::new(store);
    let (ann, crm) = (world.account(ANN).await, group("crm"));
    store.register_group(&crm, Stamp(5)).await.unwrap();
    let [parked, dead] = [(); 2].map(|()| world.letter(world.ids.event()));
    let both = world.letter(world.ids.event());
    for letter in [&dead, &both] {
        store.bury(&crm, letter).await.unwrap();
    }
    // One of the two is dead as well: so a redelivery leaves it that a crash cut in two.
    for letter in [&parked, &both] {
        store.park(&crm, letter).await.unwrap();
    }
    world.store_message(&[&ann], b"octets").await;
    for _ in 0..2 {
        store.forget_group(&crm).await.unwrap();
        assert!(store.groups().await.unwrap().is_empty());
        assert!(store.cursors(&crm).await.unwrap().is_empty());
        assert!(store.parked(&crm, world.generation).await.unwrap().is_empty());
        let mut left = [&parked, &dead, &both].map(Clone::clone);
        left.sort_by_key(|letter| letter.id);
        assert_eq!(store.dead_letters(&crm, None, 9).await.unwrap(), left);
        let counted = store.groups_with_dead_letters().await.unwrap();
        assert_eq!(counted, [(crm.clone(), 3)]);
    }
    store.register_group(&crm, Stamp(3)).await.unwrap();
    assert_eq!(store.groups().await.unwrap()[0].registered, Stamp(3));
    assert_eq!(cursor(store, &crm, world.generation).await, Some(Cursor::at(1)));
}

/// A letter that is parked again, with one more attempt, is the same letter.
pub async fn a_letter_parked_twice_is_one_letter<S: MailStore + Directory + GroupStore>(store: &S) {
    let (world, crm) = (World::new(store), group("crm"));
    store.register_group(&crm, Stamp(1)).await.unwrap();
    let mut letter = world.letter(world.ids.event());
    for attempts in 1..4 {
        letter.attempts = attempts;
        store.park(&crm, &letter).await.unwrap();
        let parked = store.parked(&crm, world.generation).await.unwrap();
        assert_eq!(parked, std::slice::from_ref(&letter));
    }
}

/// Whoever follows a log takes up what was parked of it, by id, and of no other.
pub async fn parked_letters_are_told_by_log<S: MailStore + Directory + GroupStore>(store: &S) {
    let (world, crm) = (World::new(store), group("crm"));
    store.register_group(&crm, Stamp(1)).await.unwrap();
    let mut letters = Vec::new();
    for n in 0..6 {
        let mut letter = world.letter(world.ids.event());
        letter.position.generation = generation(n % 2);
        store.park(&crm, &letter).await.unwrap();
        letters.push(letter);
    }
    letters.sort_by_key(|letter| letter.id);
    for n in 0..3 {
        let of_log = |letter: &&Letter| letter.position.generation == generation(n);
        let expected: Vec<_> = letters.iter().filter(of_log).cloned().collect();
        assert_eq!(store.parked(&crm, generation(n)).await.unwrap(), expected);
    }
}

/// What was handled after all, or given up, is parked no longer; the rest is.
pub async fn a_letter_is_parked_until_it_is_handled_or_dead<S: MailStore + Directory + GroupStore>(
    store: &S,
) {
    let (world, crm) = (World::new(store), group("crm"));
    store.register_group(&crm, Stamp(1)).await.unwrap();
    let letters = [(); 3].map(|()| world.letter(world.ids.event()));
    for letter in &letters {
        store.park(&crm, letter).await.unwrap();
    }
    for _ in 0..2 {
        store.unpark(&crm, &letters[0]).await.unwrap();
        store.bury(&crm, &letters[1]).await.unwrap();
        let parked = store.parked(&crm, world.generation).await.unwrap();
        assert_eq!(parked, letters[2..]);
        let dead = store.dead_letters(&crm, None, 9).await.unwrap();
        assert_eq!(dead, letters[1..2]);
    }
}
