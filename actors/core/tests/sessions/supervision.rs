//! Actors come and go: nothing is kept that nobody uses, and nothing is lost that panics.

use std::time::Duration;

use mailhorn_core::mailbox::{LockMode, OpenError};
use mailhorn_ports::Directory;

use crate::world::{Knobs, World};

#[actix::test]
async fn a_session_that_ended_leaves_no_actor_behind() {
    let world = World::start(Knobs::default()).await;
    for _ in 0..5 {
        world.listed("ann").await;
    }
    world.deliver(&["ann"], "\r\n").await;
    while world.kinds.pop3.alive() + world.kinds.lmtp.alive() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.kinds.pop3.snapshot().started, 5);
    assert_eq!(world.mailboxes.in_use(), 1, "the mailbox stays for a while, for the next session");
}

#[actix::test]
async fn waiting_for_a_lock_is_bounded_in_time_and_in_number() {
    let world = World::start(Knobs::default()).await;
    let account = world.store.account("ann@example.org").await.unwrap().unwrap();
    let held = world.mailboxes.open(account.id, LockMode::Exclusive, Duration::ZERO).await.unwrap();
    let waiting: Vec<_> = (0..mailhorn_core::mailbox::LOCK_WAITERS_MAX)
        .map(|_| {
            let (mailboxes, id) = (world.mailboxes.clone(), account.id);
            actix_rt::spawn(async move { mailboxes.open(id, LockMode::Exclusive, Duration::from_secs(20)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let one_too_many = world.mailboxes.open(account.id, LockMode::Exclusive, Duration::from_secs(20)).await;
    assert!(matches!(one_too_many, Err(OpenError::InUse)));
    drop(held);
    for waiting in waiting {
        drop(waiting.await.unwrap().unwrap());
    }
    world.mailboxes.open(account.id, LockMode::Exclusive, Duration::ZERO).await.unwrap();
}
