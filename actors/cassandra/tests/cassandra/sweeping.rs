//! Octets that nobody has any more go, a day later; those that somebody has stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mailhorn_cassandra::{CassandraStore, ContentSweeper, Surroundings};
use mailhorn_events::{Happened, MessageId, Position, Record};
use mailhorn_ports::contract::World;
use mailhorn_ports::{
    Account, CHUNK_OCTETS_MAX, Change, Clock, Handled, Listener, MailStore, MemberRow, Membership, Random,
    RecipientOutcome,
};

use crate::support::{self, Slot, surroundings};

const HOUR: u64 = 3_600_000_000;
/// How long a sweep may take to show.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// How long is waited for what must not happen.
const PATIENCE: Duration = Duration::from_millis(500);

/// A clock that stands where the test puts it.
#[derive(Debug)]
struct Standing(AtomicU64);

impl Standing {
    fn go_on(&self, micros: u64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for Standing {
    fn now_micros(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Nothing is put off by chance.
#[derive(Debug)]
struct AtOnce;

impl Random for AtOnce {
    fn fill(&self, octets: &mut [u8]) {
        octets.fill(0);
    }
}

/// A process whose clock stands, and that sweeps an hour as soon as it may.
async fn standing(slot: &Slot) -> (CassandraStore, Arc<Standing>) {
    let clock = Arc::new(Standing(AtomicU64::new(support::now().0)));
    let surroundings = Surroundings {
        clock: Arc::clone(&clock) as _,
        random: Arc::new(AtOnce),
        ..surroundings()
    };
    let options = support::options(&slot.keyspace);
    let store = CassandraStore::open(options, surroundings).await.unwrap();
    (store, clock)
}

async fn tell(store: &CassandraStore, world: &World<'_, CassandraStore>, records: &[Record]) {
    let sweeper = ContentSweeper::new(store.clone());
    let position = Position {
        generation: world.generation,
        number: world.end,
    };
    for record in records {
        for happened in Happened::all(position, &Arc::new(record.clone())) {
            if sweeper.handles(happened.event()) {
                assert_eq!(sweeper.handle(&happened).await, Handled::Done);
            }
        }
    }
}

/// Expunges, and tells the listener twice.
async fn expunge(
    store: &CassandraStore,
    world: &mut World<'_, CassandraStore>,
    account: &Account,
    messages: &[MessageId],
) {
    let expunge = world.expunge(account, messages);
    let done = world.commit(vec![Change::Expunge(expunge)]).await;
    for _ in 0..2 {
        tell(store, world, &done.records).await;
    }
}

async fn rows(slot: &Slot, table: &str, message: MessageId) -> usize {
    let keyspace = &slot.keyspace;
    support::query(&format!(
        "SELECT * FROM {keyspace}.{table} WHERE message_id = {} ALLOW FILTERING",
        message.0
    ))
    .await
}

async fn condemned(slot: &Slot) -> usize {
    support::query(&format!("SELECT message_id FROM {}.condemned", slot.keyspace)).await
}

/// Steps of housekeeping, until so many are condemned.
async fn maintain_until(slot: &Slot, store: &CassandraStore, left: usize) {
    let swept = async {
        while condemned(slot).await != left {
            store
                .maintain(World::<CassandraStore>::NOTHING_OLD)
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SHOWN_WITHIN, swept).await.unwrap();
}

/// Steps of housekeeping that have nothing to do.
async fn maintain_in_vain(store: &CassandraStore) {
    for _ in 0..2 {
        store
            .maintain(World::<CassandraStore>::NOTHING_OLD)
            .await
            .unwrap();
        tokio::time::sleep(PATIENCE).await;
    }
}

/// Octets in two chunks.
fn large() -> Vec<u8> {
    vec![b'x'; CHUNK_OCTETS_MAX + 1]
}

#[tokio::test]
async fn a_day_after_the_last_mailbox_lost_a_message_its_octets_go() {
    let (_, slot) = support::empty().await;
    let (store, clock) = standing(&slot).await;
    let mut world = World::new(&store);
    let (ann, bob) = (
        world.account("ann@example.org").await,
        world.account("bob@example.org").await,
    );
    let gone = world.store_message(&[&ann, &bob], &large()).await;
    let kept = world.store_message(&[&ann, &bob], &large()).await;
    expunge(&store, &mut world, &ann, &[gone, kept]).await;
    assert_eq!(condemned(&slot).await, 0, "bob has both");
    assert_eq!(rows(&slot, "message_references", gone).await, 1);
    expunge(&store, &mut world, &bob, &[gone]).await;
    assert_eq!(condemned(&slot).await, 1);
    maintain_in_vain(&store).await;
    clock.go_on(24 * HOUR - 1);
    maintain_in_vain(&store).await;
    assert_eq!(
        (condemned(&slot).await, rows(&slot, "chunks", gone).await),
        (1, 2)
    );
    clock.go_on(HOUR);
    maintain_until(&slot, &store, 0).await;
    assert_eq!(rows(&slot, "chunks", gone).await, 0);
    assert_eq!(rows(&slot, "message_references", gone).await, 0, "nor a mark");
    assert_eq!(rows(&slot, "chunks", kept).await, 2);
    assert!(world.read(&bob, kept).await.unwrap().ends_with(b"xxx"));
}

#[tokio::test]
async fn what_came_back_stays_though_it_was_condemned() {
    let (_, slot) = support::empty().await;
    let (store, clock) = standing(&slot).await;
    let mut world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    let message = world.store_message(&[&ann], &large()).await;
    expunge(&store, &mut world, &ann, &[message]).await;
    assert_eq!(condemned(&slot).await, 1);
    let back = format!(
        "INSERT INTO {}.message_references (message_id, mailbox_id) VALUES ({}, {}) USING TIMESTAMP {}",
        slot.keyspace,
        message.0,
        ann.id,
        world.ids.stamp().0
    );
    support::query(&back).await;
    clock.go_on(25 * HOUR);
    maintain_until(&slot, &store, 0).await;
    assert_eq!(rows(&slot, "chunks", message).await, 2);
    let marked = format!(
        "SELECT message_id FROM {}.message_references WHERE message_id = {} AND condemned > 0 ALLOW FILTERING",
        slot.keyspace, message.0
    );
    assert_eq!(support::query(&marked).await, 0, "a copy may be made again");
}

#[tokio::test]
async fn two_sweepers_at_once_remove_what_is_condemned_and_nothing_else() {
    let (_, slot) = support::empty().await;
    let (one, clock) = standing(&slot).await;
    let (two, other_clock) = standing(&slot).await;
    let mut world = World::new(&one);
    let ann = world.account("ann@example.org").await;
    let mut messages = Vec::new();
    for n in 0..60 {
        messages.push(
            world
                .store_message(&[&ann], format!("octets {n}").as_bytes())
                .await,
        );
    }
    let (gone, kept) = messages.split_at(50);
    expunge(&one, &mut world, &ann, gone).await;
    assert_eq!(condemned(&slot).await, gone.len());
    clock.go_on(25 * HOUR);
    other_clock.go_on(25 * HOUR);
    tokio::join!(maintain_until(&slot, &one, 0), maintain_until(&slot, &two, 0));
    for message in gone {
        assert_eq!(rows(&slot, "chunks", *message).await, 0);
    }
    for message in kept {
        world.read(&ann, *message).await.unwrap();
        assert_eq!(rows(&slot, "chunks", *message).await, 1);
    }
}

#[tokio::test]
async fn whoever_adopts_a_log_condemns_what_no_record_speaks_of() {
    let (_, slot) = support::empty().await;
    let (dead, _) = standing(&slot).await;
    let (two, clock) = standing(&slot).await;
    let mut world = World::new(&dead);
    let ann = world.account("ann@example.org").await;
    dead.begin_log(world.generation, "one").await.unwrap();
    let member = MemberRow {
        generation: world.generation,
        node: "one".into(),
        beat: 1,
        groups: [].into(),
    };
    dead.beat(&member).await.unwrap();
    let small = world.store_message(&[&ann], b"octets").await;
    let large = world.store_message(&[&ann], &large()).await;
    // It died when it had the octets and the reference, and no record.
    let lost = world.delivery(&[&ann], b"tail");
    let octets = Bytes::from_static(b"octets");
    dead.put_chunk(lost.message, 0, octets).await.unwrap();
    let reference = format!(
        "INSERT INTO {}.message_references (message_id, mailbox_id) VALUES ({}, {}) USING TIMESTAMP {}",
        slot.keyspace,
        lost.message.0,
        lost.recipients[0].mailbox,
        lost.message.stamp().0
    );
    support::query(&reference).await;
    for _ in 0..2 {
        assert_eq!(two.adopt(world.generation).await.unwrap(), 2);
        assert_eq!(condemned(&slot).await, 1);
    }
    assert_eq!(rows(&slot, "condemned", lost.message).await, 1);
    clock.go_on(25 * HOUR);
    maintain_until(&slot, &two, 0).await;
    assert_eq!(rows(&slot, "chunks", lost.message).await, 0);
    assert_eq!(rows(&slot, "message_references", lost.message).await, 0);
    assert_eq!(rows(&slot, "chunks", small).await, 1);
    assert_eq!(rows(&slot, "chunks", large).await, 2);
}

#[tokio::test]
async fn what_a_living_process_did_not_come_to_is_condemned_too() {
    let (_, slot) = support::empty().await;
    let (store, clock) = standing(&slot).await;
    let mut world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    world.store_message(&[&ann], &large()).await;
    let mut to_nobody = world.upload(&[&ann], &large()).await;
    to_nobody.recipients[0].account = world.ids.account();
    world.upload(&[&ann], &large()).await;
    assert_eq!(world.deliver(to_nobody).await, [RecipientOutcome::Gone]);
    maintain_until(&slot, &store, 1).await;
    maintain_in_vain(&store).await;
    assert_eq!(condemned(&slot).await, 1, "one may still be taken");
    // Swept at once is what was condemned first, and condemned is the other.
    clock.go_on(23 * HOUR);
    maintain_in_vain(&store).await;
    assert_eq!(condemned(&slot).await, 1);
    clock.go_on(2 * HOUR);
    maintain_in_vain(&store).await;
    maintain_until(&slot, &store, 1).await;
    clock.go_on(25 * HOUR);
    maintain_until(&slot, &store, 0).await;
    let chunks = support::query(&format!("SELECT chunk FROM {}.chunks", slot.keyspace)).await;
    assert_eq!(chunks, 2, "of the one that ann has");
}

/// At a clean stop nothing comes any more.
#[tokio::test]
async fn whoever_leaves_condemns_what_did_not_come() {
    let (_, slot) = support::empty().await;
    let (store, _) = standing(&slot).await;
    let mut world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    store.begin_log(world.generation, "one").await.unwrap();
    world.store_message(&[&ann], &large()).await;
    let left = world.upload(&[&ann], &large()).await;
    store.close().await.unwrap();
    store.leave(world.generation).await.unwrap();
    assert_eq!(condemned(&slot).await, 1);
    assert_eq!(rows(&slot, "condemned", left.message).await, 1);
}
