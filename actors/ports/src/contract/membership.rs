//! Clauses of [`Membership`]: who is there, and what becomes of the log of one that is not any more.

use std::sync::Arc;

use mailhorn_events::Generation;

use super::World;
use crate::cluster::{MemberRow, Membership};
use crate::directory::{Account, Directory};
use crate::store::{Change, CommitError, MailStore};

const ANN: &str = "ann@example.org";

fn member(generation: Generation, beat: u64) -> MemberRow {
    MemberRow {
        generation,
        node: "one".into(),
        beat,
        groups: ["quota".parse().unwrap(), "webhook".parse().unwrap()].into(),
    }
}

/// A process that is a member, and has stored `messages` messages of Ann's.
async fn writer<S: MailStore + Directory + Membership>(
    store: &S,
    seed: u64,
    messages: usize,
) -> (World<'_, S>, Arc<Account>) {
    let mut world = World::seeded(store, seed);
    let ann = match store.account(ANN).await.unwrap() {
        Some(ann) => ann,
        None => world.account(ANN).await,
    };
    store.begin_log(world.generation, "one").await.unwrap();
    store.beat(&member(world.generation, 1)).await.unwrap();
    for _ in 0..messages {
        world.store_message(&[&ann], b"octets").await;
    }
    (world, ann)
}

async fn members<S: Membership>(store: &S) -> Vec<Generation> {
    let members = store.members().await.unwrap();
    members.into_iter().map(|member| member.generation).collect()
}

/// A log alone makes no member.
pub async fn nobody_is_a_member_before_a_heartbeat<S: MailStore + Directory + Membership>(store: &S) {
    let world = World::new(store);
    store.begin_log(world.generation, "one").await.unwrap();
    assert_eq!(store.members().await.unwrap(), []);
}

/// The last one counts.
pub async fn a_heartbeat_is_seen_with_its_number_and_groups<S: MailStore + Directory + Membership>(
    store: &S,
) {
    let generation = World::new(store).generation;
    let mut row = member(generation, 1);
    store.beat(&row).await.unwrap();
    assert_eq!(store.members().await.unwrap(), [row.clone()]);
    row.beat = 7;
    row.groups.clear();
    store.beat(&row).await.unwrap();
    assert_eq!(store.members().await.unwrap(), [row]);
}

/// Every node sees them in the same order.
pub async fn members_are_listed_by_generation<S: MailStore + Directory + Membership>(store: &S) {
    let mut generations: Vec<Generation> = (1..=5).map(|n| World::seeded(store, n).generation).collect();
    for generation in generations.iter().rev() {
        store.beat(&member(*generation, 1)).await.unwrap();
    }
    generations.sort_unstable();
    assert_eq!(members(store).await, generations);
}

/// The others stay.
pub async fn who_left_is_no_member<S: MailStore + Directory + Membership>(store: &S) {
    let (one, two) = (writer(store, 1, 1).await.0, writer(store, 2, 1).await.0);
    store.leave(one.generation).await.unwrap();
    assert_eq!(members(store).await, [two.generation]);
}

/// A process that was not told that it has left may say so again.
pub async fn leaving_twice_is_leaving_once<S: MailStore + Directory + Membership>(store: &S) {
    let (world, _) = writer(store, 1, 1).await;
    store.leave(world.generation).await.unwrap();
    store.leave(world.generation).await.unwrap();
    assert_eq!(members(store).await, []);
    assert_eq!(store.log_end(world.generation).await.unwrap(), 1);
}

/// Groups that have not seen all of it follow it to its end.
pub async fn a_log_that_was_left_stays_readable<S: MailStore + Directory + Membership>(store: &S) {
    let (world, ann) = writer(store, 1, 3).await;
    store.leave(world.generation).await.unwrap();
    assert_eq!(world.numbers(world.generation).await, [1, 2, 3]);
    assert_eq!(store.log_end(world.generation).await.unwrap(), 3);
    assert_eq!(world.list(&ann, 9).await.len(), 3);
    let logs = store.logs().await.unwrap();
    assert_eq!(logs, [(world.generation, "one".to_owned())]);
}

/// Adoption ends a membership.
pub async fn an_adopted_process_is_no_member<S: MailStore + Directory + Membership>(store: &S) {
    let (one, two) = (writer(store, 1, 1).await.0, writer(store, 2, 1).await.0);
    store.adopt(one.generation).await.unwrap();
    assert_eq!(members(store).await, [two.generation]);
}

/// All that was acknowledged stays.
pub async fn an_adopted_log_ends_at_its_last_record<S: MailStore + Directory + Membership>(store: &S) {
    let (world, ann) = writer(store, 1, 3).await;
    assert_eq!(store.adopt(world.generation).await.unwrap(), 3);
    assert_eq!(world.numbers(world.generation).await, [1, 2, 3]);
    assert_eq!(store.log_end(world.generation).await.unwrap(), 3);
    assert_eq!(world.list(&ann, 9).await.len(), 3);
}

/// A process may die before it has appended anything, or before it was a member.
pub async fn a_log_without_records_ends_at_nothing<S: MailStore + Directory + Membership>(store: &S) {
    let (world, _) = writer(store, 1, 0).await;
    assert_eq!(store.adopt(world.generation).await.unwrap(), 0);
    let unheard_of = World::seeded(store, 2).generation;
    assert_eq!(store.adopt(unheard_of).await.unwrap(), 0);
    assert_eq!(members(store).await, []);
}

/// The second adopter finds what the first one wrote.
pub async fn adopting_twice_is_adopting_once<S: MailStore + Directory + Membership>(store: &S) {
    let (world, ann) = writer(store, 1, 2).await;
    for _ in 0..3 {
        assert_eq!(store.adopt(world.generation).await.unwrap(), 2);
    }
    assert_eq!(world.list(&ann, 9).await.len(), 2);
    assert_eq!(members(store).await, []);
}

/// Two survivors that see different members may both adopt.
pub async fn two_who_adopt_at_once_end_in_the_same<S: MailStore + Directory + Membership>(store: &S) {
    let (world, ann) = writer(store, 1, 4).await;
    let adopt = || store.adopt(world.generation);
    let (first, second, third) = tokio::join!(adopt(), adopt(), adopt());
    assert_eq!([first.unwrap(), second.unwrap(), third.unwrap()], [4, 4, 4]);
    assert_eq!(world.list(&ann, 9).await.len(), 4);
}

/// A delivery and an expunge of the dead are as their records have it.
pub async fn every_change_of_an_adopted_log_is_whole<S: MailStore + Directory + Membership>(store: &S) {
    let (mut world, ann) = writer(store, 1, 1).await;
    let gone = world.store_message(&[&ann], b"gone").await;
    let kept = world.store_message(&[&ann], b"kept").await;
    world.expunge_messages(&ann, &[gone]).await;
    assert_eq!(store.adopt(world.generation).await.unwrap(), 4);
    let listed: Vec<_> = world.list(&ann, 9).await.iter().map(|row| row.message).collect();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&kept) && !listed.contains(&gone));
    assert!(world.read(&ann, kept).await.is_ok());
}

/// A process that was taken for dead and was not may append for a while: it is refused, or nobody is shown it.
pub async fn what_is_appended_behind_a_seal_is_shown_to_nobody<S: MailStore + Directory + Membership>(
    store: &S,
) {
    let (mut world, ann) = writer(store, 1, 2).await;
    store.adopt(world.generation).await.unwrap();
    for _ in 0..2 {
        let group = world.group(vec![Change::Deliver(world.delivery(&[&ann], b"late"))]);
        match store.commit(&group).await {
            Err(CommitError::LeaseLost) => {}
            // The store can't know; its writer's lease would.
            Ok(committed) => world.end += committed.records.len() as u64,
            Err(CommitError::Unknown(why)) => {
                panic!("an append behind a seal would be repeated for ever: {why}")
            }
        }
        assert_eq!(world.numbers(world.generation).await, [1, 2]);
        assert_eq!(store.log_end(world.generation).await.unwrap(), 2);
    }
    assert_eq!(store.adopt(world.generation).await.unwrap(), 2);
    assert_eq!(world.numbers(world.generation).await, [1, 2]);
}

/// The adopter's own log goes on, and its node's next one.
pub async fn adopting_one_log_ends_no_other<S: MailStore + Directory + Membership>(store: &S) {
    let (one, _) = writer(store, 1, 2).await;
    let (mut two, ann) = writer(store, 2, 1).await;
    store.adopt(one.generation).await.unwrap();
    two.store_message(&[&ann], b"octets").await;
    assert_eq!(two.numbers(two.generation).await, [1, 2]);
    assert_eq!(two.list(&ann, 9).await.len(), 4);
}

/// Left or adopted.
pub async fn a_log_says_where_it_was_ended_and_one_that_goes_on_says_nothing<
    S: MailStore + Directory + Membership,
>(
    store: &S,
) {
    let (left, dead, living) = (
        writer(store, 1, 1).await.0.generation,
        writer(store, 2, 2).await.0.generation,
        writer(store, 3, 1).await.0.generation,
    );
    store.leave(left).await.unwrap();
    let end = store.adopt(dead).await.unwrap();
    assert_eq!(
        store.sealed(left).await.unwrap(),
        Some(store.log_end(left).await.unwrap())
    );
    assert_eq!(store.sealed(dead).await.unwrap(), Some(end));
    assert_eq!(store.sealed(living).await.unwrap(), None);
}
