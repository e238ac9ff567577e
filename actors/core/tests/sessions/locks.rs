//! Maildrop locks between nodes, and a service of them that is away, is late, forgets, or gives a lock to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use mailhorn_core::mailbox::{
    ClusterLockOptions, LOCK_ANSWER_MAX, LOCK_TTL, LockLost, LockMode, OpenMaildrop, Reading,
};
use mailhorn_events::{AccountId, MailboxId};
use mailhorn_ports::memory::{MemoryLocks, MemoryStore};
use mailhorn_ports::{Directory, Held, LockToken, MaildropLocks, StoreError};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::world::{Client, Knobs, PASSWORD, World};

const MESSAGE: &str = "Subject: one\r\n\r\ntext\r\n";
const STRANGER: LockToken = LockToken([9; 16]);

/// How a node's calls of the lock service fare.
#[derive(Debug, Clone, Copy, Default)]
enum Fare {
    #[default]
    Well,
    /// They are refused.
    Fail,
    /// They are never answered.
    Hang,
    /// Locks are asked for, and taken so much later.
    HoldLate(Duration),
}

/// A node's way to the locks that all nodes share.
#[derive(Debug)]
struct Way {
    locks: MemoryLocks,
    fare: Mutex<Fare>,
    asked: AtomicU64,
}

impl Way {
    fn to(locks: &MemoryLocks) -> Arc<Self> {
        Arc::new(Self {
            locks: locks.clone(),
            fare: Mutex::default(),
            asked: AtomicU64::new(0),
        })
    }

    fn set(&self, fare: Fare) {
        *self.fare.lock() = fare;
    }

    async fn go(&self) -> Result<Duration, StoreError> {
        let fare = *self.fare.lock();
        match fare {
            Fare::Well => Ok(Duration::ZERO),
            Fare::HoldLate(late) => Ok(late),
            Fare::Fail => Err(StoreError::Unavailable("the way was cut".into())),
            Fare::Hang => std::future::pending().await,
        }
    }
}

#[async_trait]
impl MaildropLocks for Way {
    async fn hold(&self, mailbox: MailboxId, token: LockToken, ttl: Duration) -> Result<Held, StoreError> {
        self.asked.fetch_add(1, Relaxed);
        let late = self.go().await?;
        sleep(late).await;
        self.locks.hold(mailbox, token, ttl).await
    }

    async fn release(&self, mailbox: MailboxId, token: LockToken) -> Result<(), StoreError> {
        self.go().await?;
        self.locks.release(mailbox, token).await
    }
}

/// Two nodes on one store and one lock service, each with its own way there.
struct Two {
    locks: MemoryLocks,
    ways: [Arc<Way>; 2],
    nodes: [World; 2],
}

impl Two {
    async fn start(ttl: Duration, lock_wait: Duration, lock: LockMode) -> Self {
        let (store, locks) = (MemoryStore::new(), MemoryLocks::default());
        let ways = [Way::to(&locks), Way::to(&locks)];
        let node = |seed: u64, way: &Arc<Way>| {
            let options = ClusterLockOptions {
                ttl,
                answer_max: LOCK_ANSWER_MAX,
            };
            let knobs = Knobs {
                lock,
                lock_wait,
                reading: Reading::Through,
                locks: Some((Arc::clone(way) as _, options)),
                ..Knobs::default()
            };
            World::start_on(store.clone(), seed, knobs)
        };
        let nodes = [node(1, &ways[0]).await, node(2, &ways[1]).await];
        nodes[0].deliver(&["ann"], MESSAGE).await;
        Self { locks, ways, nodes }
    }

    async fn account(&self) -> AccountId {
        let account = self.nodes[0].store.account("ann@example.org").await;
        account.unwrap().unwrap().id
    }

    async fn mailbox(&self) -> MailboxId {
        MailboxId::inbox(self.account().await)
    }

    async fn open(&self, node: usize, wait: Duration) -> OpenMaildrop {
        let mailboxes = &self.nodes[node].mailboxes;
        let open = mailboxes.open(self.account().await, LockMode::Exclusive, wait);
        open.await.unwrap()
    }
}

async fn quits(mut client: Client) {
    client.send("QUIT\r\n").await;
    client.expect("+OK").await;
    client.ends().await;
}

/// Marks the only message, quits, and expects this of it.
async fn deletes(client: &mut Client, expected: &str) {
    client.send("DELE 1\r\nQUIT\r\n").await;
    client.expect("+OK").await;
    client.expect(expected).await;
    client.ends().await;
}

async fn refused(world: &World) {
    let mut client = world.pop3().await;
    client
        .send(&format!("USER ann@example.org\r\nPASS {PASSWORD}\r\n"))
        .await;
    client.expect("+OK").await;
    client.expect("-ERR [IN-USE]").await;
}

#[actix::test]
async fn a_maildrop_in_use_on_another_node_is_told_and_is_free_at_once_after_quit() {
    let two = Two::start(LOCK_TTL, Duration::ZERO, LockMode::Exclusive).await;
    let first = two.nodes[0].logged_in("ann").await;
    refused(&two.nodes[1]).await;
    quits(first).await;
    let second = two.nodes[1].logged_in("ann").await;
    refused(&two.nodes[0]).await;
    quits(second).await;
    assert_eq!(two.nodes[0].metrics.maildrop_locks_local_only.get(), 0);
}

#[actix::test]
async fn a_log_in_waits_for_a_session_of_another_node_that_loses_its_connection() {
    // Sooner than the lock's time is over.
    let two = Two::start(LOCK_TTL, LOCK_TTL / 2, LockMode::Exclusive).await;
    let first = two.nodes[0].logged_in("ann").await;
    let mut second = two.nodes[1].pop3().await;
    second
        .send(&format!("USER ann@example.org\r\nPASS {PASSWORD}\r\n"))
        .await;
    second.expect("+OK").await;
    drop(first);
    second.expect("+OK").await;
}

#[actix::test]
async fn a_dead_nodes_maildrop_is_free_within_the_locks_time_and_what_wakes_there_deletes_nothing() {
    let ttl = Duration::from_secs(1);
    let two = Two::start(ttl, Duration::from_secs(20), LockMode::Exclusive).await;
    let mut asleep = two.nodes[0].logged_in("ann").await;
    two.ways[0].set(Fare::Hang);
    let second = two.nodes[1].logged_in("ann").await;
    two.ways[0].set(Fare::Well);
    deletes(&mut asleep, "-ERR [SYS/TEMP]").await;
    assert_eq!(two.nodes[0].metrics.maildrop_locks_lost.get(), 1);
    quits(second).await;
    assert_eq!(two.nodes[1].listed("ann").await.len(), 1);
}

#[actix::test]
async fn without_the_lock_service_each_node_locks_for_itself_and_quit_deletes() {
    for fare in [Fare::Fail, Fare::Hang] {
        let two = Two::start(Duration::from_secs(3), Duration::ZERO, LockMode::Exclusive).await;
        two.ways.iter().for_each(|way| way.set(fare));
        let mut first = two.nodes[0].logged_in("ann").await;
        let second = two.nodes[1].logged_in("ann").await;
        refused(&two.nodes[0]).await;
        deletes(&mut first, "+OK").await;
        assert_eq!(two.nodes[0].metrics.maildrop_locks_local_only.get(), 2);
        assert_eq!(two.nodes[0].metrics.maildrop_locks_away.get(), 1);

        two.ways.iter().for_each(|way| way.set(Fare::Well));
        while two.locks.holder(two.mailbox().await).is_none() {
            tokio::task::yield_now().await;
        }
        refused(&two.nodes[0]).await;
        quits(second).await;
        assert!(two.nodes[0].listed("ann").await.is_empty());
    }
}

#[actix::test]
async fn a_lock_that_another_has_before_quit_means_that_nothing_is_deleted() {
    let two = Two::start(LOCK_TTL, Duration::ZERO, LockMode::Exclusive).await;
    let mut ann = two.nodes[0].logged_in("ann").await;
    let mailbox = two.mailbox().await;
    two.locks.wipe();
    two.locks.hold(mailbox, STRANGER, LOCK_TTL).await.unwrap();
    deletes(&mut ann, "-ERR [SYS/TEMP]").await;
    assert_eq!(
        two.locks.holder(mailbox),
        Some(STRANGER),
        "another's lock stays as it is"
    );
    two.locks.wipe();
    assert_eq!(two.nodes[1].listed("ann").await.len(), 1);
}

#[actix::test]
async fn a_lock_that_vanished_is_set_again_and_quit_deletes() {
    let ttl = Duration::from_secs(1);
    let two = Two::start(ttl, Duration::ZERO, LockMode::Exclusive).await;
    let mut ann = two.nodes[0].logged_in("ann").await;
    two.locks.wipe();
    while two.locks.holder(two.mailbox().await).is_none() {
        tokio::task::yield_now().await;
    }
    refused(&two.nodes[1]).await;
    two.locks.wipe();
    deletes(&mut ann, "+OK").await;
    assert!(two.nodes[1].listed("ann").await.is_empty());
    assert_eq!(two.nodes[0].metrics.maildrop_locks_lost.get(), 0);
}

#[actix::test]
async fn a_shared_maildrop_has_no_lock_between_nodes() {
    let two = Two::start(LOCK_TTL, Duration::ZERO, LockMode::Shared).await;
    let _first = two.nodes[0].logged_in("ann").await;
    let mut second = two.nodes[1].logged_in("ann").await;
    assert_eq!(two.locks.holder(two.mailbox().await), None);
    deletes(&mut second, "+OK").await;
}

#[actix::test]
async fn a_lock_is_renewed_for_as_long_as_its_session_lasts() {
    let two = Two::start(LOCK_TTL, Duration::ZERO, LockMode::Exclusive).await;
    let mailbox = two.mailbox().await;
    let open = two.open(0, Duration::ZERO).await;
    let token = two.locks.holder(mailbox);
    assert!(token.is_some());
    tokio::time::pause();
    for _ in 0..100 {
        sleep(LOCK_TTL / 10).await;
        assert_eq!(two.locks.holder(mailbox), token);
    }
    open.lock.release().await;
    assert_eq!(two.locks.holder(mailbox), None);
    sleep(LOCK_TTL).await;
    assert_eq!(two.locks.holder(mailbox), None, "nobody renews it any more");
}

#[actix::test]
async fn a_session_that_ended_without_a_good_bye_leaves_its_lock_to_the_keeper() {
    let two = Two::start(LOCK_TTL, Duration::ZERO, LockMode::Exclusive).await;
    let open = two.open(0, Duration::ZERO).await;
    drop(open);
    // Sooner than the lock's time is over.
    drop(two.open(1, LOCK_TTL / 2).await);

    // While the service is away it is tried again and again.
    let open = two.open(0, LOCK_TTL / 2).await;
    two.ways[0].set(Fare::Fail);
    open.lock.release().await;
    two.ways[0].set(Fare::Well);
    drop(two.open(1, LOCK_TTL / 2).await);
}

#[actix::test]
async fn a_renewal_under_way_when_its_session_ends_leaves_no_lock_behind() {
    let two = Two::start(LOCK_TTL, Duration::ZERO, LockMode::Exclusive).await;
    let mailbox = two.mailbox().await;
    let open = two.open(0, Duration::ZERO).await;
    tokio::time::pause();
    two.ways[0].set(Fare::HoldLate(LOCK_ANSWER_MAX / 2));
    let asked = two.ways[0].asked.load(Relaxed);
    while two.ways[0].asked.load(Relaxed) == asked {
        sleep(Duration::from_millis(1)).await;
    }
    open.lock.release().await;
    assert_eq!(two.locks.holder(mailbox), None);
    // The renewal takes the lock after it was given back, for a session that is gone.
    sleep(LOCK_ANSWER_MAX).await;
    assert_eq!(two.locks.holder(mailbox), None);
}

#[actix::test]
async fn a_service_that_is_back_takes_part_at_the_next_check() {
    let two = Two::start(LOCK_TTL, Duration::ZERO, LockMode::Exclusive).await;
    let mailbox = two.mailbox().await;
    two.ways[0].set(Fare::Fail);
    let open = two.open(0, Duration::ZERO).await;
    assert_eq!(open.lock.check().await, Ok(()));
    two.locks.hold(mailbox, STRANGER, LOCK_TTL).await.unwrap();
    assert_eq!(open.lock.check().await, Ok(()), "nobody can know");
    two.ways[0].set(Fare::Well);
    assert_eq!(open.lock.check().await, Err(LockLost));
    two.locks.wipe();
    assert_eq!(open.lock.check().await, Err(LockLost), "lost once is lost");
}
