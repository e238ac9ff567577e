//! Hashes of other servers: how they are checked, and replaced by ours after the log-in.

use super::super::replacing::REPLACEMENTS_MAX;
use super::world::{CHEAP, ITERATIONS};
use super::*;

/// Of `tanstaaf`, made by libxcrypt.
const BCRYPT: &str = "{BLF-CRYPT}$2b$04$abcdefghijklmnopqrstuumJUK7dJmoK7yMfXBMkeTJL1Y.du7qIG";
/// Of `tanstaaf`, made by Dovecot 2.3.19.
const SCRAM: &str = "{SCRAM-SHA-256}4096,20MXpwA9oMCCxWF0AmcoIQ==,mdE/boR5ERWKDgNENppJ39zByLWa7y/agDTw+4GyvF8=,avXsYdpjvP8isWMMVWmVE3N+LqahyCvTYoChjo0BfqE=";
const CARL: &str = "carl@example.org";

fn with(field: &str) -> World {
    let world = World::new(options());
    import(&world, field);
    world
}

fn import(world: &World, field: &str) {
    let made = passwords::import_credentials(&world.ids, &Secret::new(field), CHEAP, ITERATIONS);
    world.accounts.put(CARL, made.unwrap());
}

/// Until nothing is being replaced any more.
async fn settled(world: &World) {
    let all = u32::try_from(REPLACEMENTS_MAX).unwrap();
    drop(world.auth.replacing.places.acquire_many(all).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_first_log_in_replaces_a_foreign_hash_by_ours_with_keys_and_the_next_pays_for_no_hash() {
    for field in [BCRYPT, SCRAM] {
        let world = with(field);
        let before = world.accounts.get(CARL).credentials.clone();
        assert_eq!(world.measure(CARL, "tanstaag").await, ("refused", 0, 1));
        settled(&world).await;
        assert_eq!(
            world.accounts.get(CARL).credentials,
            before,
            "a wrong password replaces nothing"
        );
        assert_eq!(world.measure(CARL, "tanstaaf").await, ("accepted", 0, 1));
        settled(&world).await;

        let after = world.accounts.get(CARL).credentials.clone();
        assert_eq!(after.stamp, before.stamp.next());
        assert!(
            after.hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"),
            "{}",
            after.hash
        );
        let keys = passwords::usable(after.scram.as_ref().unwrap());
        let of_password = StoredKeys::from_password(&Secret::new("tanstaaf"), &keys.salt, ITERATIONS);
        assert_eq!(keys, of_password.unwrap());
        assert_eq!(
            world.measure(CARL, "tanstaaf").await,
            ("accepted", 0, 0),
            "it is remembered"
        );
        assert_eq!(world.auth.counts().hashes_replaced, 1);
        assert_eq!(world.auth.counts().scram_upgrades, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn imported_scram_keys_are_handed_out_at_once() {
    let world = with(SCRAM);
    let lookup = world.auth.scram_keys(PEER, CARL).await.unwrap();
    let of_password = StoredKeys::from_password(&Secret::new("tanstaaf"), &lookup.keys.salt, 4_096);
    assert_eq!(lookup.keys, of_password.unwrap());
    assert_eq!(word(&world.auth.scram_verified(lookup.ticket).await), "accepted");
}

#[tokio::test(start_paused = true)]
async fn a_log_in_has_its_reply_before_the_hash_is_replaced() {
    let world = with(BCRYPT);
    let before = world.accounts.get(CARL);
    let held = world.accounts.setting.lock().await;
    assert_eq!(world.measure(CARL, "tanstaaf").await, ("accepted", 0, 1));
    assert_eq!(
        world.measure(CARL, "tanstaaf").await,
        ("accepted", 0, 0),
        "it is remembered meanwhile"
    );
    assert_eq!(world.accounts.get(CARL), before);
    drop(held);
    settled(&world).await;
    assert_ne!(world.accounts.get(CARL), before);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_was_changed_before_the_replacement_is_stored_stays() {
    let world = with(BCRYPT);
    let held = world.accounts.setting.lock().await;
    assert_eq!(world.measure(CARL, "tanstaaf").await, ("accepted", 0, 1));
    world.set_password(CARL, "new one");
    let changed = world.accounts.get(CARL);
    drop(held);
    settled(&world).await;
    assert_eq!(world.accounts.get(CARL), changed);
    assert_eq!(
        world.measure(CARL, "tanstaaf").await,
        ("refused", 0, 1),
        "nor is the old one remembered"
    );
    assert_eq!(world.measure(CARL, "new one").await, ("accepted", 0, 1));
    assert_eq!(world.auth.counts().hashes_replaced, 0);
}

#[tokio::test(start_paused = true)]
async fn a_password_set_after_the_replacement_has_a_stamp_above_it() {
    let world = with(BCRYPT);
    world.try_password(CARL, "tanstaaf").await;
    settled(&world).await;
    let replaced = world.accounts.get(CARL).credentials.stamp;
    assert!(
        world
            .auth
            .make_credentials(&Secret::new("new one"))
            .await
            .unwrap()
            .stamp
            > replaced
    );
}

#[tokio::test(start_paused = true)]
async fn of_log_ins_at_once_one_replaces_and_all_get_in() {
    let world = with(BCRYPT);
    let (one, other) = tokio::join!(
        world.try_password(CARL, "tanstaaf"),
        world.try_password(CARL, "tanstaaf")
    );
    assert_eq!([one, other].each_ref().map(word), ["accepted"; 2]);
    settled(&world).await;
    assert_eq!(world.auth.counts().hashes_replaced, 1);
    assert_eq!(word(&world.try_password(CARL, "tanstaaf").await), "accepted");
}

#[tokio::test(start_paused = true)]
async fn a_hash_that_cannot_be_replaced_does_not_fail_the_log_in_and_is_tried_again_later() {
    let world = with(BCRYPT);
    world.accounts.is_full.store(true, Ordering::Relaxed);
    for runs in [1, 0] {
        assert_eq!(world.measure(CARL, "tanstaaf").await, ("accepted", 0, runs));
        settled(&world).await;
    }
    world.accounts.is_full.store(false, Ordering::Relaxed);
    tokio::time::advance(UPGRADE_AGAIN_AFTER).await;
    for runs in [1, 0] {
        assert_eq!(world.measure(CARL, "tanstaaf").await, ("accepted", 0, runs));
        settled(&world).await;
    }
    assert_eq!(world.auth.counts().hashes_replaced, 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_hashes_are_replaced_at_once_than_have_a_place() {
    let world = with(BCRYPT);
    let all = u32::try_from(REPLACEMENTS_MAX).unwrap();
    let taken = world.auth.replacing.places.acquire_many(all).await.unwrap();
    assert_eq!(world.measure(CARL, "tanstaaf").await, ("accepted", 0, 1));
    drop(taken);
    settled(&world).await;
    let counts = world.auth.counts();
    assert_eq!((counts.hashes_replaced, counts.replacements_put_off), (0, 1));
    tokio::time::advance(UPGRADE_AGAIN_AFTER).await;
    assert_eq!(world.measure(CARL, "tanstaaf").await, ("accepted", 0, 1));
    settled(&world).await;
    assert_eq!(world.auth.counts().hashes_replaced, 1);
}

#[tokio::test(start_paused = true)]
async fn a_password_of_which_bcrypt_sees_only_a_part_is_never_made_the_one_that_counts() {
    // Of 80 times `x`, made by Dovecot 2.3.19.
    let world = with("{BLF-CRYPT}$2y$05$G6ghq5/fVSttkX.YJyqlqO63fHlqMlvLMQOmqv4pBHb9FCqc8g.Ry");
    let before = world.accounts.get(CARL);
    for slip in ["x".repeat(79) + "y", "x".repeat(72), "x".repeat(80)] {
        assert_eq!(word(&world.try_password(CARL, &slip).await), "accepted");
        settled(&world).await;
        assert_eq!(world.accounts.get(CARL), before);
    }
}
