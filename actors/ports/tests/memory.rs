//! The in-memory doubles pass the contract suites, and fail when they are told to.

use std::sync::Arc;
use std::time::Duration;

use mailhorn_events::{MessageId, Stamp};
use mailhorn_ports::contract::{LocksPlace, RegistryPlace, TransportPlace, World, trimming};
use mailhorn_ports::memory::{
    ManualClock, MemoryLocks, MemoryRegistry, MemoryStore, MemoryTransport, NextCommit, SeededRandom,
};
use mailhorn_ports::{Change, Clock, Directory, MailStore, Random, ReadError, RecipientOutcome};

mod mail_store {
    use super::MemoryStore;
    mailhorn_ports::mail_store_contract!((MemoryStore::new(), ()));
    mailhorn_ports::clean_up_contract!((MemoryStore::new(), ()));
}

mod directory {
    use super::MemoryStore;
    mailhorn_ports::directory_contract!((MemoryStore::new(), ()));
}

mod group_store {
    use super::MemoryStore;
    mailhorn_ports::group_store_contract!((MemoryStore::new(), ()));
}

mod trimming_logs {
    use super::MemoryStore;
    mailhorn_ports::trimming_contract!((MemoryStore::new(), ()));
}

mod quota_store {
    use super::MemoryStore;
    mailhorn_ports::quota_store_contract!((MemoryStore::new(), ()));
}

mod ban_store {
    use super::MemoryStore;
    mailhorn_ports::ban_store_contract!((MemoryStore::new(), ()));
}

/// Each double is a place of itself.
struct Double<T>(T);

impl RegistryPlace for Double<MemoryRegistry> {
    type Registry = MemoryRegistry;

    fn registry(&self) -> &MemoryRegistry {
        &self.0
    }

    fn lease(&self) -> Duration {
        LEASE
    }

    async fn wipe(&self) {
        self.0.wipe();
    }
}

impl LocksPlace for Double<MemoryLocks> {
    type Locks = MemoryLocks;

    fn locks(&self) -> &MemoryLocks {
        &self.0
    }

    async fn wipe(&self) {
        self.0.wipe();
    }
}

impl TransportPlace for Double<MemoryTransport> {
    type Transport = MemoryTransport;

    fn transport(&self) -> &MemoryTransport {
        &self.0
    }

    fn frames_max(&self) -> usize {
        MemoryTransport::FRAMES_MAX
    }
}

const LEASE: Duration = Duration::from_secs(1);

mod registry {
    use super::{Double, LEASE, MemoryRegistry};
    mailhorn_ports::registry_contract!((Double(MemoryRegistry::with_lease(LEASE)), ()));
}

mod maildrop_locks {
    use super::{Double, MemoryLocks};
    mailhorn_ports::maildrop_locks_contract!((Double(MemoryLocks::default()), ()));
}

mod transport {
    use super::{Arc, Double, MemoryTransport, SeededRandom};
    mailhorn_ports::transport_contract!({
        let random = Arc::new(SeededRandom::new(1));
        (Double(MemoryTransport::new(random)), ())
    });
}

mod membership {
    use super::MemoryStore;
    mailhorn_ports::membership_contract!((MemoryStore::new(), ()));
}

#[tokio::test]
async fn an_unreadable_record_hides_none_behind_it() {
    let store = MemoryStore::new();
    let garble = |generation, number| store.garble_record(generation, number);
    trimming::an_unreadable_record_hides_none_behind_it(&store, garble).await;
    let store = MemoryStore::new();
    let garble = |generation, number| store.garble_record(generation, number);
    trimming::an_unreadable_record_is_as_old_as_the_next(&store, garble).await;
}

#[tokio::test]
async fn an_unknown_commit_that_was_made_is_not_made_again_when_repeated() {
    for (answer, made) in [(NextCommit::UnknownDone, 1), (NextCommit::UnknownNotDone, 0)] {
        let store = MemoryStore::new();
        let world = World::new(&store);
        let ann = world.account("ann@example.org").await;
        let group = world.group(vec![Change::Deliver(world.delivery(&[&ann], b"octets"))]);
        store.next_commit(answer);
        assert!(store.commit(&group).await.is_err());
        assert_eq!(store.commits(), made, "{answer:?}");
        store.commit(&group).await.unwrap();
        assert_eq!(store.commits(), 1, "{answer:?}");
        assert_eq!(store.all_records(group.generation).len(), 1);
        assert_eq!(
            store
                .figure(World::<MemoryStore>::inbox(&ann))
                .await
                .unwrap()
                .messages,
            1
        );
    }
}

#[tokio::test]
async fn octets_are_lost_or_damaged_while_their_row_stays() {
    let store = MemoryStore::new();
    let mut world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    let inbox = World::<MemoryStore>::inbox(&ann);
    let [lost, damaged] = [
        world.store_message(&[&ann], b"one").await,
        world.store_message(&[&ann], b"two").await,
    ];
    store.lose_octets(lost);
    store.damage_octets(damaged);
    assert!(matches!(
        store.read(inbox, lost, 0).await,
        Err(ReadError::Missing)
    ));
    assert!(matches!(
        store.read(inbox, damaged, 0).await,
        Err(ReadError::Damaged)
    ));
    assert_eq!(store.list(inbox, None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_delivery_whose_chunks_are_gone_is_not_stored() {
    let store = MemoryStore::new();
    let mut world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    let delivery = world.upload(&[&ann], &vec![7; 200_000]).await;
    store.lose_octets(delivery.message);
    assert_eq!(world.deliver(delivery).await, [RecipientOutcome::OctetsLost]);
}

#[tokio::test]
async fn an_unavailable_store_refuses_everything_until_it_is_back() {
    let store = MemoryStore::new();
    let world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    let group = world.group(vec![Change::Deliver(world.delivery(&[&ann], b"octets"))]);
    store.set_unavailable(true);
    let message = MessageId::new(Stamp(1), [0; 8]);
    assert!(store.put_chunk(message, 0, b"x".as_slice().into()).await.is_err());
    assert!(store.commit(&group).await.is_err());
    assert!(store.account("ann@example.org").await.is_err());
    store.set_unavailable(false);
    assert!(store.commit(&group).await.is_ok());
}

#[test]
fn seeded_octets_repeat() {
    let octets = |seed| {
        let mut octets = [0; 20];
        SeededRandom::new(seed).fill(&mut octets);
        octets
    };
    assert_eq!(octets(1), octets(1));
    assert_ne!(octets(1), octets(2));
    assert_eq!(ManualClock::default().now_micros(), 0);
}
