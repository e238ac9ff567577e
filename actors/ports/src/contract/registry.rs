//! Clauses of [`Registry`].

use std::time::Duration;

use mailhorn_events::{AccountId, Generation, MailboxId};
use tokio::time::Instant;
use uuid::Uuid;

use super::PATIENCE;
use crate::cluster::{Epoch, Registry};
use crate::listener::Key;

/// So many keys that they do not fit in one call of any backend.
const MANY_KEYS: u128 = 5_000;

/// An empty registry under test.
#[expect(async_fn_in_trait, reason = "a clause runs on the runtime of its own test")]
pub trait RegistryPlace {
    /// The registry.
    type Registry: Registry;

    /// The registry.
    fn registry(&self) -> &Self::Registry;

    /// How long a registration lasts that nobody says again: short, since a clause waits for it.
    fn lease(&self) -> Duration;

    /// Loses everything at once, as a server that was wiped.
    async fn wipe(&self);
}

fn process(number: u128) -> Generation {
    Generation(Uuid::from_u128(number << 64 | number))
}

fn mailbox(number: u128) -> Key {
    Key::Mailbox(MailboxId(Uuid::from_u128(number)))
}

fn user(number: u128) -> Key {
    Key::User(AccountId(Uuid::from_u128(number)))
}

async fn found<P: RegistryPlace>(place: &P, keys: &[Key]) -> Vec<Generation> {
    place.registry().registered_for(keys).await.unwrap().members
}

async fn register<P: RegistryPlace>(place: &P, process: Generation, keys: &[Key]) -> Epoch {
    place.registry().register_keys(process, keys).await.unwrap()
}

/// Who is registered is found by the key and by no other, a mailbox and a user of one name being two.
pub async fn registered_is_found<P: RegistryPlace>(place: &P) {
    assert_eq!(found(place, &[mailbox(1), user(1)]).await, []);
    register(place, process(1), &[mailbox(1), user(2)]).await;
    assert_eq!(found(place, &[mailbox(1)]).await, [process(1)]);
    assert_eq!(found(place, &[user(2)]).await, [process(1)]);
    assert_eq!(found(place, &[user(1), mailbox(2), mailbox(3)]).await, []);
    assert_eq!(found(place, &[]).await, []);
}

/// Registering again changes nothing of who is found.
pub async fn registering_again_is_registering_once<P: RegistryPlace>(place: &P) {
    for _ in 0..3 {
        register(place, process(1), &[mailbox(1), mailbox(1)]).await;
    }
    assert_eq!(found(place, &[mailbox(1)]).await, [process(1)]);
    let registry = place.registry();
    registry.unregister_keys(process(1), &[mailbox(1)]).await.unwrap();
    assert_eq!(found(place, &[mailbox(1)]).await, []);
}

/// A process that takes a key back is not found by it any more; by others it is, and others are by that one.
pub async fn unregistered_is_not_found<P: RegistryPlace>(place: &P) {
    register(place, process(1), &[mailbox(1), mailbox(2)]).await;
    register(place, process(2), &[mailbox(1)]).await;
    let registry = place.registry();
    registry
        .unregister_keys(process(1), &[mailbox(1), mailbox(9)])
        .await
        .unwrap();
    assert_eq!(found(place, &[mailbox(1)]).await, [process(2)]);
    assert_eq!(found(place, &[mailbox(2)]).await, [process(1)]);
}

/// A process that ends well is registered for nothing any more; others stay.
pub async fn unregister_all_leaves_others<P: RegistryPlace>(place: &P) {
    let keys: Vec<Key> = (0..MANY_KEYS).map(mailbox).collect();
    register(place, process(1), &keys).await;
    register(place, process(2), &keys[..2]).await;
    place.registry().unregister_all(process(1)).await.unwrap();
    place.registry().unregister_all(process(3)).await.unwrap();
    assert_eq!(found(place, &keys).await, [process(2)]);
    register(place, process(1), &keys[..1]).await;
    assert_eq!(found(place, &keys[..1]).await, [process(1), process(2)]);
    assert_eq!(found(place, &keys[1..2]).await, [process(2)]);
}

/// Each member is told once, in order, however many of the keys it is registered for.
pub async fn each_member_is_told_once_and_in_order<P: RegistryPlace>(place: &P) {
    for number in [3, 1, 2] {
        register(place, process(number), &[mailbox(number), mailbox(7), user(7)]).await;
    }
    let keys = [mailbox(7), user(7), mailbox(3), mailbox(3)];
    assert_eq!(found(place, &keys).await, [process(1), process(2), process(3)]);
}

/// All of many keys are registered, looked up and taken back.
pub async fn many_keys_are_all_registered<P: RegistryPlace>(place: &P) {
    let keys: Vec<Key> = (0..MANY_KEYS).map(mailbox).collect();
    register(place, process(1), &keys).await;
    for key in keys.iter().step_by(97) {
        assert_eq!(found(place, &[*key]).await, [process(1)], "{key:?}");
    }
    register(place, process(2), &keys[4_999..]).await;
    assert_eq!(found(place, &keys).await, [process(1), process(2)]);
    let registry = place.registry();
    registry.unregister_keys(process(1), &keys).await.unwrap();
    assert_eq!(found(place, &keys).await, [process(2)]);
}

/// The epoch is the same for everybody and every call while nothing is lost.
pub async fn the_epoch_stays_while_nothing_is_lost<P: RegistryPlace>(place: &P) {
    let epoch = register(place, process(1), &[mailbox(1)]).await;
    for number in 0..100 {
        assert_eq!(register(place, process(2), &[mailbox(number)]).await, epoch);
        let found = place.registry().registered_for(&[user(number)]).await.unwrap();
        assert_eq!(found.epoch, epoch);
    }
    place.registry().unregister_all(process(1)).await.unwrap();
    assert_eq!(register(place, process(1), &[]).await, epoch);
}

/// After a loss of everything the next look-up and the next registration tell another epoch, and it is the same one.
pub async fn a_wipe_changes_the_epoch<P: RegistryPlace>(place: &P) {
    let before = register(place, process(1), &[mailbox(1), mailbox(2), user(1)]).await;
    place.wipe().await;
    let after = place.registry().registered_for(&[mailbox(1)]).await.unwrap();
    assert_ne!(after.epoch, before);
    assert_eq!(after.members, []);
    assert_eq!(register(place, process(1), &[mailbox(2)]).await, after.epoch);
    place.wipe().await;
    let again = register(place, process(1), &[mailbox(1)]).await;
    assert!(again != after.epoch && again != before);
    for number in 0..100 {
        assert_eq!(register(place, process(1), &[mailbox(number)]).await, again);
    }
}

/// A registration that is not said again ends with its lease, not before; one that is goes on.
pub async fn a_lease_ends_unless_it_is_renewed<P: RegistryPlace>(place: &P) {
    let began = Instant::now();
    register(place, process(1), &[mailbox(1)]).await;
    register(place, process(2), &[mailbox(1)]).await;
    loop {
        let renewed = Instant::now();
        register(place, process(2), &[mailbox(1)]).await;
        let members = found(place, &[mailbox(1)]).await;
        if renewed.elapsed() < place.lease() {
            assert!(members.contains(&process(2)), "its lease has not ended");
        }
        if !members.contains(&process(1)) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "a lease does not end");
        tokio::time::sleep(place.lease() / 10).await;
    }
    // A server's clock counts whole milliseconds.
    assert!(began.elapsed() + Duration::from_millis(1) >= place.lease());
    assert_eq!(found(place, &[mailbox(1), mailbox(2)]).await, [process(2)]);
}
