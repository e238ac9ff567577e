//! Clauses of [`GroupStore`] about dead letters.
//!
//! They answer one by one to the contract that Apache James has for its own (`EventDeadLettersContract`), but for its
//! eleven methods about arguments that are null: no argument here can be, since a [`GroupName`] is a name, an [`EventId`]
//! is an id and a [`Letter`] has both.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use mailhorn_events::{EventId, Stamp};

use super::{World, group};
use crate::directory::Directory;
use crate::groups::GroupStore;
use crate::listener::{GroupName, Letter};
use crate::store::MailStore;

/// Callers at the same time, and what each of them does.
const CALLERS: usize = 10;
const CALLS: usize = 12;

fn two_groups() -> [GroupName; 2] {
    ["crm", "search"].map(group)
}

/// Buries letters of a group in the order of their ids.
async fn bury<S: MailStore + Directory + GroupStore>(
    store: &S,
    group: &GroupName,
    letters: usize,
) -> Vec<Letter> {
    let world = World::new(store);
    let mut buried = Vec::new();
    for _ in 0..letters {
        let letter = world.letter(world.ids.event());
        store.bury(group, &letter).await.unwrap();
        buried.push(letter);
    }
    buried.sort_by_key(|letter| letter.id);
    buried
}

async fn listed<S: GroupStore>(store: &S, group: &GroupName) -> Vec<Letter> {
    store.dead_letters(group, None, usize::MAX).await.unwrap()
}

async fn counts<S: GroupStore>(store: &S) -> Vec<(String, u64)> {
    let groups = store.groups_with_dead_letters().await.unwrap();
    groups
        .into_iter()
        .map(|(group, count)| (group.to_string(), count))
        .collect()
}

/// A name that nothing was buried under.
fn another_id<S: MailStore + Directory>(store: &S) -> EventId {
    World::seeded(store, 9).ids.event()
}

/// Runs all of them at the same time, to their ends.
async fn at_once<'a>(mut calls: Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>) {
    std::future::poll_fn(|context| {
        calls.retain_mut(|call| call.as_mut().poll(context).is_pending());
        match calls.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

/// What was buried is found under its group and its name, as it was.
pub async fn a_buried_letter_is_found_by_group_and_id<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, search] = two_groups();
    for letter in bury(store, &crm, 2).await {
        assert_eq!(
            store.dead_letter(&crm, letter.id).await.unwrap().as_ref(),
            Some(&letter)
        );
        assert_eq!(store.dead_letter(&search, letter.id).await.unwrap(), None);
    }
}

/// No letter is lost, or put with another group's, because others are buried meanwhile.
pub async fn letters_buried_at_once_are_all_kept<S: MailStore + Directory + GroupStore>(store: &S) {
    let world = World::new(store);
    let groups = two_groups();
    let ids: Vec<EventId> = (0..CALLERS * CALLS).map(|_| world.ids.event()).collect();
    let caller = |n: usize| {
        let (group, world, ids) = (&groups[n % 2], &world, &ids[n * CALLS..][..CALLS]);
        Box::pin(async move {
            for id in ids {
                store.bury(group, &world.letter(*id)).await.unwrap();
            }
        }) as Pin<Box<dyn Future<Output = ()> + '_>>
    };
    at_once((0..CALLERS).map(caller).collect()).await;
    for (n, group) in groups.iter().enumerate() {
        let mut expected: Vec<EventId> = ids
            .chunks(CALLS)
            .enumerate()
            .filter(|(caller, _)| caller % 2 == n)
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect();
        expected.sort();
        let kept: Vec<_> = listed(store, group)
            .await
            .iter()
            .map(|letter| letter.id)
            .collect();
        assert_eq!(kept, expected, "{group}");
    }
    let half = (CALLERS * CALLS / 2) as u64;
    assert_eq!(
        counts(store).await,
        [("crm".into(), half), ("search".into(), half)]
    );
}

/// What was removed is found no more.
pub async fn a_removed_letter_is_gone<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    let letters = bury(store, &crm, 1).await;
    store.remove_dead_letter(&crm, letters[0].id).await.unwrap();
    assert_eq!(store.dead_letter(&crm, letters[0].id).await.unwrap(), None);
}

/// A group whose last letter went is not told of.
pub async fn removing_the_last_letter_removes_the_group<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    for letter in bury(store, &crm, 2).await {
        assert_eq!(counts(store).await.len(), 1);
        store.remove_dead_letter(&crm, letter.id).await.unwrap();
    }
    assert!(counts(store).await.is_empty());
}

/// None is left, and it is told how many they were.
pub async fn removing_all_letters_of_a_group_leaves_it_none<S: MailStore + Directory + GroupStore>(
    store: &S,
) {
    let [crm, _] = two_groups();
    bury(store, &crm, 3).await;
    assert_eq!(store.remove_dead_letters(&crm).await.unwrap(), 3);
    assert!(listed(store, &crm).await.is_empty());
}

/// A group whose letters all went is not told of.
pub async fn removing_all_letters_of_a_group_removes_the_group<S: MailStore + Directory + GroupStore>(
    store: &S,
) {
    let [crm, _] = two_groups();
    bury(store, &crm, 3).await;
    store.remove_dead_letters(&crm).await.unwrap();
    assert!(counts(store).await.is_empty());
}

/// Another group is told of all the same.
pub async fn removing_all_letters_of_a_group_does_not_remove_another_group<
    S: MailStore + Directory + GroupStore,
>(
    store: &S,
) {
    let [crm, search] = two_groups();
    bury(store, &crm, 2).await;
    bury(store, &search, 2).await;
    store.remove_dead_letters(&crm).await.unwrap();
    assert_eq!(counts(store).await, [("search".into(), 2)]);
}

/// One letter goes, those beside it stay.
pub async fn removing_a_letter_keeps_the_others<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, search] = two_groups();
    let letters = bury(store, &crm, 3).await;
    store.bury(&search, &letters[1]).await.unwrap();
    store.remove_dead_letter(&crm, letters[1].id).await.unwrap();
    assert_eq!(
        listed(store, &crm).await,
        [letters[0].clone(), letters[2].clone()]
    );
    assert_eq!(listed(store, &search).await, letters[1..2]);
}

/// Letters of another group stay, those under the same names too, and those of a group whose name goes on where this
/// one's ends.
pub async fn removing_all_letters_of_a_group_keeps_those_of_others<S: MailStore + Directory + GroupStore>(
    store: &S,
) {
    let groups = ["crm", "crm-2", "cr"].map(group);
    let mut letters = Vec::new();
    for group in &groups {
        letters = bury(store, group, 2).await;
    }
    store.remove_dead_letters(&groups[0]).await.unwrap();
    assert!(listed(store, &groups[0]).await.is_empty());
    for group in &groups[1..] {
        assert_eq!(listed(store, group).await, letters, "{group}");
    }
}

/// Removing is removing once.
pub async fn removing_a_letter_that_is_not_there_is_no_error<S: MailStore + Directory + GroupStore>(
    store: &S,
) {
    let [crm, _] = two_groups();
    let letters = bury(store, &crm, 1).await;
    store.remove_dead_letter(&crm, another_id(store)).await.unwrap();
    assert_eq!(listed(store, &crm).await, letters);
    assert_eq!(counts(store).await, [("crm".into(), 1)]);
}

/// Nor does a group have to have letters.
pub async fn removing_a_letter_of_a_group_without_any_is_no_error<S: MailStore + Directory + GroupStore>(
    store: &S,
) {
    let [crm, search] = two_groups();
    let letters = bury(store, &crm, 1).await;
    store.remove_dead_letter(&search, letters[0].id).await.unwrap();
    assert_eq!(listed(store, &crm).await, letters);
}

/// Nor when all are to go.
pub async fn removing_all_letters_of_a_group_without_any_is_no_error<
    S: MailStore + Directory + GroupStore,
>(
    store: &S,
) {
    let [crm, search] = two_groups();
    let letters = bury(store, &crm, 1).await;
    assert_eq!(store.remove_dead_letters(&search).await.unwrap(), 0);
    assert_eq!(listed(store, &crm).await, letters);
}

/// Each is removed, whoever else removes.
pub async fn letters_removed_at_once_are_all_gone<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, search] = two_groups();
    let letters = bury(store, &crm, CALLERS * CALLS).await;
    let kept = bury(store, &search, 1).await;
    let mut calls: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
    // Each letter is removed by two of them.
    for letters in letters.chunks(CALLS).chain(letters.chunks(CALLS)) {
        let crm = &crm;
        calls.push(Box::pin(async move {
            for letter in letters {
                store.remove_dead_letter(crm, letter.id).await.unwrap();
            }
        }));
    }
    at_once(calls).await;
    assert!(listed(store, &crm).await.is_empty());
    assert_eq!(listed(store, &search).await, kept);
    assert_eq!(counts(store).await, [("search".into(), 1)]);
}

/// All are removed, whoever else removes all.
pub async fn removing_all_letters_at_once_from_several_sides_leaves_none<
    S: MailStore + Directory + GroupStore,
>(
    store: &S,
) {
    let [crm, _] = two_groups();
    bury(store, &crm, CALLS).await;
    let removed = std::cell::Cell::new(0);
    let caller = |_| {
        let (crm, removed) = (&crm, &removed);
        Box::pin(async move {
            let more = store.remove_dead_letters(crm).await.unwrap();
            removed.set(removed.get() + more);
        }) as Pin<Box<dyn Future<Output = ()> + '_>>
    };
    at_once((0..CALLERS).map(caller).collect()).await;
    assert_eq!(removed.get(), CALLS as u64, "each is removed by one of them");
    assert!(listed(store, &crm).await.is_empty());
    assert!(counts(store).await.is_empty());
}

/// There is none under another name.
pub async fn a_letter_that_is_not_there_is_not_found<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    bury(store, &crm, 1).await;
    assert_eq!(store.dead_letter(&crm, another_id(store)).await.unwrap(), None);
}

/// It is found among others.
pub async fn a_letter_that_is_there_is_found<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    let letters = bury(store, &crm, 3).await;
    assert_eq!(
        store.dead_letter(&crm, letters[1].id).await.unwrap(),
        Some(letters[1].clone())
    );
}

/// Looking changes nothing.
pub async fn looking_at_a_letter_does_not_remove_it<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    let letters = bury(store, &crm, 1).await;
    for _ in 0..2 {
        assert!(store.dead_letter(&crm, letters[0].id).await.unwrap().is_some());
    }
    assert_eq!(listed(store, &crm).await, letters);
}

/// A group that has none is like one that never was.
pub async fn looking_for_a_letter_in_a_group_without_any_is_no_error<
    S: MailStore + Directory + GroupStore,
>(
    store: &S,
) {
    let [crm, search] = two_groups();
    let letters = bury(store, &crm, 1).await;
    assert_eq!(store.dead_letter(&search, letters[0].id).await.unwrap(), None);
}

/// Listing a group that has none gives none.
pub async fn letters_of_a_group_without_any_are_none<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, search] = two_groups();
    bury(store, &crm, 2).await;
    assert!(listed(store, &search).await.is_empty());
}

/// A group's letters are listed, by id, in pages that join; another's are not.
pub async fn all_letters_of_a_group_are_listed_and_no_others<S: MailStore + Directory + GroupStore>(
    store: &S,
) {
    let [crm, search] = two_groups();
    let letters = bury(store, &crm, 7).await;
    store
        .bury(&search, &World::new(store).letter(another_id(store)))
        .await
        .unwrap();
    for page in [1, 3, 7, 100] {
        let mut pages = Vec::new();
        loop {
            let after = pages.last().map(|letter: &Letter| letter.id);
            let next = store.dead_letters(&crm, after, page).await.unwrap();
            assert!(next.len() <= page);
            if next.is_empty() {
                break;
            }
            pages.extend(next);
        }
        assert_eq!(pages, letters, "in pages of {page}");
    }
}

/// Listing changes nothing.
pub async fn listing_letters_does_not_remove_them<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    let letters = bury(store, &crm, 2).await;
    for _ in 0..2 {
        assert_eq!(listed(store, &crm).await, letters);
    }
}

/// Each group that has letters is told once, by name, with their number.
pub async fn all_groups_with_letters_are_listed<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, search] = two_groups();
    bury(store, &search, 1).await;
    bury(store, &crm, 3).await;
    assert_eq!(counts(store).await, [("crm".into(), 3), ("search".into(), 1)]);
}

/// A group that is known has no letters for that.
pub async fn no_group_is_listed_where_nothing_was_buried<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    store.register_group(&crm, Stamp(1)).await.unwrap();
    assert!(counts(store).await.is_empty());
}

/// Nothing is dead at first, nor what is only parked.
pub async fn there_are_no_dead_letters_at_first<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    assert!(counts(store).await.is_empty());
    store.register_group(&crm, Stamp(1)).await.unwrap();
    let letter = World::new(store).letter(another_id(store));
    store.park(&crm, &letter).await.unwrap();
    assert!(counts(store).await.is_empty());
    assert_eq!(store.dead_letter(&crm, letter.id).await.unwrap(), None);
}

/// Burying is enough: the group need not be known.
pub async fn there_are_dead_letters_once_one_is_buried<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    bury(store, &crm, 1).await;
    assert!(!counts(store).await.is_empty());
    assert!(store.groups().await.unwrap().is_empty());
}

/// With the last of them nothing is left.
pub async fn there_are_none_left_when_all_were_removed<S: MailStore + Directory + GroupStore>(store: &S) {
    for group in &two_groups() {
        bury(store, group, 2).await;
    }
    for group in &two_groups() {
        assert!(!counts(store).await.is_empty());
        store.remove_dead_letters(group).await.unwrap();
    }
    assert!(counts(store).await.is_empty());
}

/// As long as one is there, it is told of.
pub async fn there_are_some_left_when_some_were_removed<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    let letters = bury(store, &crm, 2).await;
    store.remove_dead_letter(&crm, letters[0].id).await.unwrap();
    assert_eq!(counts(store).await, [("crm".into(), 1)]);
}

/// A letter that is buried again, after a crash, is one letter: as it was buried last.
pub async fn a_letter_buried_twice_is_one_letter<S: MailStore + Directory + GroupStore>(store: &S) {
    let [crm, _] = two_groups();
    let mut letters = bury(store, &crm, 1).await;
    letters[0].attempts += 1;
    letters[0].why = "still not".into();
    store.bury(&crm, &letters[0]).await.unwrap();
    assert_eq!(listed(store, &crm).await, letters);
    assert_eq!(counts(store).await, [("crm".into(), 1)]);
}

/// What no release can read is kept for whoever can: no octet is changed, and none is needed.
pub async fn octets_that_nobody_can_read_come_back_as_they_were<S: MailStore + Directory + GroupStore>(
    store: &S,
) {
    let world = World::new(store);
    let [crm, _] = two_groups();
    store.register_group(&crm, Stamp(1)).await.unwrap();
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for octets in [&[][..], &[0], b"\xff\xfe\x00later", &all] {
        let letter = Letter {
            octets: Bytes::copy_from_slice(octets),
            why: String::new(),
            ..world.letter(world.ids.event())
        };
        store.park(&crm, &letter).await.unwrap();
        let parked = store.parked(&crm, letter.position.generation).await.unwrap();
        assert_eq!(parked, std::slice::from_ref(&letter));
        store.bury(&crm, &letter).await.unwrap();
        assert_eq!(store.dead_letter(&crm, letter.id).await.unwrap(), Some(letter));
    }
}
