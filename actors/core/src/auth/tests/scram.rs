//! SCRAM: its keys, its outcomes, when it is offered, and how an account gets its keys.

use super::world::{INSTALLATION_SECRET, ITERATIONS};
use super::*;

async fn ticket(world: &World, name: &str) -> ScramTicket {
    world.auth.scram_keys(PEER, name).await.unwrap().ticket
}

#[tokio::test(start_paused = true)]
async fn keys_are_the_accounts_or_invented_ones_that_never_change() {
    let world = World::new(options());
    let real = passwords::usable(
        world
            .accounts
            .get("ann@example.org")
            .credentials
            .scram
            .as_ref()
            .unwrap(),
    );
    let fake = |name: &str| StoredKeys::fake(&Secret::new(INSTALLATION_SECRET), name, ITERATIONS);
    let cases = [
        ("ann@example.org", real.clone()),
        ("Ann@Example.ORG", real),
        ("bo@example.org", fake("bo@example.org")),
        ("nobody@example.org", fake("nobody@example.org")),
        ("NOBODY@example.org", fake("nobody@example.org")),
        ("no address", fake("no address")),
    ];
    for (name, expected) in cases {
        for _ in 0..2 {
            let lookup = world.auth.scram_keys(PEER, name).await.unwrap();
            assert_eq!(lookup.keys, expected, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_proof_opens_the_account_while_its_row_is_what_it_was() {
    type Change = fn(&World);
    let changes: [(&str, Change); 5] = [
        ("accepted", |_| ()),
        ("refused", |world| {
            world.set_password("ann@example.org", "new one")
        }),
        ("refused", |world| {
            world.set_password("ann@example.org", "tanstaaf")
        }),
        ("refused", |world| {
            drop(world.accounts.rows.lock().remove("ann@example.org"))
        }),
        ("unavailable", |world| {
            world.accounts.is_away.store(true, Ordering::Relaxed)
        }),
    ];
    for (nth, (expected, change)) in changes.into_iter().enumerate() {
        let world = World::new(options());
        let ticket = ticket(&world, "ann@example.org").await;
        change(&world);
        assert_eq!(
            word(&world.auth.scram_verified(ticket).await),
            expected,
            "change {nth}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_made_again_under_the_same_stamp_is_another_one() {
    let world = World::new(options());
    let ticket = ticket(&world, "ann@example.org").await;
    let mut again = (*world.accounts.get("ann@example.org")).clone();
    again.id = AccountId::from_bytes([99; 16]);
    world
        .accounts
        .rows
        .lock()
        .insert(again.address.clone(), Arc::new(again));
    assert_eq!(world.auth.scram_verified(ticket).await, Login::Refused);
}

#[tokio::test(start_paused = true)]
async fn nobody_with_invented_keys_is_let_in() {
    for name in ["nobody@example.org", "bo@example.org", "no address"] {
        let world = World::new(options());
        let ticket = ticket(&world, name).await;
        assert_eq!(world.auth.scram_verified(ticket).await, Login::Refused, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_proofs_are_delayed_and_limited_as_wrong_passwords_are() {
    for name in ["ann@example.org", "nobody@example.org"] {
        let world = World::new(options());
        for expected in [0, 1, 2, 4, 8, 15, 15, 15, 15, 15] {
            let ticket = ticket(&world, name).await;
            let began = Instant::now();
            world.auth.scram_refused(ticket).await;
            assert_eq!(began.elapsed().as_secs(), expected, "{name}");
        }
        let began = Instant::now();
        assert_eq!(
            world.auth.scram_keys(PEER, name).await.unwrap_err(),
            Unchecked::TooManyFailures
        );
        assert_eq!(began.elapsed(), DELAY_MAX);
        assert_eq!(world.try_password(name, "tanstaaf").await, Login::TooManyFailures);
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_proof_resets_the_count_of_the_pair() {
    let world = World::new(options());
    for _ in 0..9 {
        world.try_password("ann@example.org", "tanstaag").await;
    }
    let right = ticket(&world, "ann@example.org").await;
    assert_eq!(word(&world.auth.scram_verified(right).await), "accepted");
    let wrong = ticket(&world, "ann@example.org").await;
    world.auth.scram_refused(wrong).await;
    assert_eq!(
        word(&world.try_password("ann@example.org", "tanstaaf").await),
        "accepted"
    );
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_is_broken_off_is_no_failure_but_counts_while_it_lasts() {
    let world = World::new(options());
    for _ in 0..20 {
        drop(ticket(&world, "ann@example.org").await);
    }
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(ticket(&world, "ann@example.org").await);
    }
    assert!(
        world.auth.scram_keys(PEER, "ann@example.org").await.is_err(),
        "proofs cannot be tried side by side"
    );
    drop(held);
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("accepted", 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn hanging_up_on_the_delay_of_a_wrong_proof_does_not_undo_it() {
    let world = World::new(options());
    world.try_password("ann@example.org", "tanstaag").await;
    for _ in 0..9 {
        let ticket = ticket(&world, "ann@example.org").await;
        start_and_drop(world.auth.scram_refused(ticket)).await;
    }
    assert!(world.auth.scram_keys(PEER, "ann@example.org").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_the_directory_there_are_no_keys_and_no_failure() {
    let world = World::new(options());
    world.accounts.is_away.store(true, Ordering::Relaxed);
    for _ in 0..20 {
        let outcome = world.auth.scram_keys(PEER, "ann@example.org").await;
        assert_eq!(outcome.unwrap_err(), Unchecked::Unavailable);
    }
    world.accounts.is_away.store(false, Ordering::Relaxed);
    assert!(world.auth.scram_keys(PEER, "ann@example.org").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_account_gets_its_scram_keys_at_its_first_log_in_with_the_password() {
    let world = World::new(options());
    let before = world.accounts.get("bo@example.org").credentials.clone();
    assert_eq!(
        world.measure("bo@example.org", "tanstaag").await,
        ("refused", 0, 1)
    );
    assert_eq!(
        world.accounts.get("bo@example.org").credentials,
        before,
        "a wrong password makes no keys"
    );

    assert_eq!(
        world.measure("bo@example.org", "tanstaaf").await,
        ("accepted", 0, 1)
    );
    let after = world.accounts.get("bo@example.org").credentials.clone();
    let keys = passwords::usable(after.scram.as_ref().unwrap());
    assert_eq!(
        keys,
        StoredKeys::from_password(&Secret::new("tanstaaf"), &keys.salt, ITERATIONS).unwrap()
    );
    assert_eq!(
        (after.stamp, &after.hash),
        (before.stamp, &before.hash),
        "the password is the same"
    );
    assert_eq!(world.auth.counts().scram_upgrades, 1);

    assert_eq!(
        world.measure("bo@example.org", "tanstaaf").await,
        ("accepted", 0, 0),
        "it is still remembered"
    );
    assert_eq!(
        world.auth.scram_keys(PEER, "bo@example.org").await.unwrap().keys,
        keys
    );
}

#[tokio::test(start_paused = true)]
async fn an_account_with_a_password_that_scram_cannot_have_logs_in_without_keys() {
    let world = World::new(options());
    world.set_password("bell@example.org", "bell\x07");
    for runs in [1, 0] {
        assert_eq!(
            world.measure("bell@example.org", "bell\x07").await,
            ("accepted", 0, runs)
        );
    }
    assert_eq!(world.accounts.get("bell@example.org").credentials.scram, None);
}

#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_stored_do_not_fail_the_log_in_and_are_tried_again_later() {
    let world = World::new(options());
    world.accounts.is_full.store(true, Ordering::Relaxed);
    for runs in [1, 0] {
        assert_eq!(
            world.measure("bo@example.org", "tanstaaf").await,
            ("accepted", 0, runs)
        );
    }
    assert_eq!(world.accounts.get("bo@example.org").credentials.scram, None);
    world.accounts.is_full.store(false, Ordering::Relaxed);
    tokio::time::advance(UPGRADE_AGAIN_AFTER).await;
    for runs in [1, 0] {
        assert_eq!(
            world.measure("bo@example.org", "tanstaaf").await,
            ("accepted", 0, runs)
        );
    }
    assert!(world.accounts.get("bo@example.org").credentials.scram.is_some());
}

#[tokio::test(start_paused = true)]
async fn keys_of_an_old_password_do_not_replace_a_new_one() {
    let world = World::new(options());
    let old = world.accounts.get("bo@example.org");
    let keys = StoredKeys::from_password(&Secret::new("tanstaaf"), b"salt", ITERATIONS).unwrap();
    world.set_password("bo@example.org", "new one");
    let new = world.accounts.get("bo@example.org");
    assert!(!world.auth.store_keys(&old, keys).await);
    assert_eq!(world.accounts.get("bo@example.org"), new);
}

#[tokio::test(start_paused = true)]
async fn scram_is_offered_as_the_operator_says_or_while_everybody_has_keys() {
    let cases = [
        (ScramOffer::Off, [false, false, false]),
        (ScramOffer::On, [true, true, true]),
        (ScramOffer::Auto, [false, true, false]),
    ];
    for (scram, expected) in cases {
        let world = World::new(AuthOptions { scram, ..options() });
        let at_first = world.auth.scram_offered().await;
        world.try_password("bo@example.org", "tanstaaf").await;
        let after_the_last_upgrade = world.auth.scram_offered().await;
        world.accounts.is_away.store(true, Ordering::Relaxed);
        world.auth.accounts_changed();
        let unknown = world.auth.scram_offered().await || scram == ScramOffer::On;
        assert_eq!([at_first, after_the_last_upgrade, unknown], expected, "{scram:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_directory_is_asked_about_scram_only_when_the_answer_is_old_or_void() {
    let world = World::new(options());
    let times = || world.accounts.times_counted.load(Ordering::Relaxed);
    for _ in 0..100 {
        assert!(!world.auth.scram_offered().await);
    }
    assert_eq!(times(), 1);
    world.set_password("bo@example.org", "tanstaaf");
    assert!(!world.auth.scram_offered().await, "another node did that");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(world.auth.scram_offered().await);
    assert_eq!(times(), 2);
    world.import("bo@example.org", "tanstaaf");
    world.auth.accounts_changed();
    assert!(!world.auth.scram_offered().await);
    assert_eq!(times(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_scram_from_before_a_change_is_not_kept() {
    let world = World::new(options());
    world.set_password("bo@example.org", "tanstaaf");
    let held = world.accounts.counting.lock().await;
    let (at_first, ()) = tokio::join!(biased; world.auth.scram_offered(), async {
        world.import("bo@example.org", "tanstaaf");
        world.auth.accounts_changed();
        drop(held);
    });
    assert!(at_first, "so it was when the directory was asked");
    assert!(!world.auth.scram_offered().await);
}

#[tokio::test(start_paused = true)]
async fn while_one_session_asks_about_scram_the_others_take_the_old_answer() {
    let world = World::new(options());
    assert!(!world.auth.scram_offered().await);
    world.set_password("bo@example.org", "tanstaaf");
    tokio::time::advance(Duration::from_secs(10)).await;
    let held = world.accounts.counting.lock().await;
    let (asking, other, ()) =
        tokio::join!(biased; world.auth.scram_offered(), world.auth.scram_offered(), async { drop(held) });
    assert_eq!((asking, other), (true, false));
    assert!(world.auth.scram_offered().await);
    assert_eq!(world.accounts.times_counted.load(Ordering::Relaxed), 2);
}
