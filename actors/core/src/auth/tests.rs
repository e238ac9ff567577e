use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

use super::*;

use self::world::{OTHER_PEER, PEER, World, options, start_and_drop, while_hashing, word};

mod replacing;
mod scram;
mod world;

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn the_right_password_opens_the_account_however_its_address_is_written() {
    for name in ["ann@example.org", "ANN@Example.Org", "\"ann\"@example.org"] {
        let world = World::new(options());
        let account = world.accounts.get("ann@example.org");
        assert_eq!(
            world.try_password(name, "tanstaaf").await,
            Login::Accepted(account),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_other_password_is_refused() {
    let too_long = "a".repeat(PASSWORD_OCTETS_MAX + 1);
    let cases = [
        ("ann@example.org", "tanstaag"),
        ("ann@example.org", "tanstaaf "),
        ("ann@example.org", ""),
        ("ann@example.org", &too_long),
        ("nobody@example.org", "tanstaaf"),
        ("nobody@example.org", ""),
        ("nobody@example.org", &too_long),
        ("ann", "tanstaaf"),
        ("", "tanstaaf"),
        ("änn@example.org", "tanstaaf"),
    ];
    let world = World::new(options());
    for (name, password) in cases {
        assert_eq!(
            world.try_password(name, password).await,
            Login::Refused,
            "{name} {password}"
        );
    }
    assert_eq!(world.auth.counts().refused, 10);
}

/// The whole sequence of answers, delays and hashes of ten attempts and two more.
#[tokio::test(start_paused = true)]
async fn unknown_users_and_wrong_passwords_get_the_same_answers_after_the_same_work_and_delay() {
    let expected = [
        ("refused", 0, 1),
        ("refused", 1, 1),
        ("refused", 2, 1),
        ("refused", 4, 1),
        ("refused", 8, 1),
        ("refused", 15, 1),
        ("refused", 15, 1),
        ("refused", 15, 1),
        ("refused", 15, 1),
        ("refused", 15, 1),
        ("too many", 15, 0),
        ("too many", 15, 0),
    ];
    for name in [
        "ann@example.org",
        "bo@example.org",
        "nobody@example.org",
        "nobody@elsewhere.example",
        "nobody",
    ] {
        let world = World::new(options());
        for (nth, expected) in expected.iter().enumerate() {
            assert_eq!(
                world.measure(name, "tanstaag").await,
                *expected,
                "{name}, attempt {nth}"
            );
        }
        assert_eq!(world.auth.counts().throttled, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_verified_password_is_remembered_and_a_wrong_one_pays_for_argon2_all_the_same() {
    let world = World::new(options());
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("accepted", 0, 1)
    );
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("accepted", 0, 0)
    );
    assert_eq!(
        world.measure("ann@example.org", "tanstaag").await,
        ("refused", 0, 1)
    );
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("accepted", 0, 0)
    );
    assert_eq!(world.auth.counts().remembered_hits, 2);
}

#[tokio::test(start_paused = true)]
async fn an_app_password_opens_what_it_is_for_and_costs_no_hash_until_it_is_revoked() {
    let world = World::new(options());
    let services = mailhorn_ports::Services::new([Service::Smtp]).unwrap();
    let (secret, kept) = app_passwords::make(&world.ids, "printer".into(), services);
    let before = world.accounts.get("ann@example.org").credentials.clone();
    let with = Credentials {
        stamp: before.stamp.next(),
        app_passwords: vec![kept],
        ..before.clone()
    };
    world.accounts.put("ann@example.org", with.clone());
    let log_in = async |service| {
        let login = world
            .auth
            .password(service, PEER, "ann@example.org", &secret)
            .await;
        word(&login)
    };
    assert_eq!(log_in(Service::Smtp).await, "accepted");
    assert_eq!(world.auth.counts().hash_runs, 0);
    assert_eq!(world.auth.counts().app_passwords_accepted, 1);
    assert_eq!(log_in(Service::Pop3).await, "refused");
    assert_eq!(
        world.try_password("ann@example.org", "tanstaaf").await,
        Login::Accepted(world.accounts.get("ann@example.org"))
    );
    let revoked = Credentials {
        stamp: with.stamp.next(),
        ..before
    };
    world.accounts.put("ann@example.org", revoked);
    assert_eq!(log_in(Service::Smtp).await, "refused");
}

#[tokio::test(start_paused = true)]
async fn a_changed_password_voids_the_remembered_one() {
    let world = World::new(options());
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("accepted", 0, 1)
    );
    world.set_password("ann@example.org", "new one");
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("refused", 0, 1)
    );
    assert_eq!(
        world.measure("ann@example.org", "new one").await,
        ("accepted", 0, 1)
    );
    world.set_password("ann@example.org", "tanstaaf");
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("accepted", 0, 1),
        "set anew is not remembered"
    );
}

#[tokio::test(start_paused = true)]
async fn a_removed_account_is_refused_though_its_password_is_remembered() {
    let world = World::new(options());
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("accepted", 0, 1)
    );
    world.accounts.rows.lock().remove("ann@example.org");
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("refused", 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn with_nothing_remembered_every_log_in_is_hashed() {
    let world = World::new(AuthOptions {
        remembered_max: 0,
        ..options()
    });
    for _ in 0..3 {
        assert_eq!(
            world.measure("ann@example.org", "tanstaaf").await,
            ("accepted", 0, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_locks_a_user_out_from_elsewhere() {
    let world = World::new(options());
    for _ in 0..20 {
        world.try_password("ann@example.org", "tanstaag").await;
    }
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("too many", 15, 0)
    );
    let secret = Secret::new("tanstaaf");
    assert_eq!(
        word(
            &world
                .auth
                .password(Service::Pop3, OTHER_PEER, "ann@example.org", &secret)
                .await
        ),
        "accepted"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_are_forgotten_after_their_time() {
    let world = World::new(options());
    let began = Instant::now();
    for _ in 0..10 {
        world.try_password("ann@example.org", "tanstaag").await;
    }
    tokio::time::advance(15 * MINUTE - began.elapsed()).await;
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("accepted", 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_address_may_fail_only_so_often_whatever_names_it_tries() {
    let failures = FailureLimits {
        of_address_max: 3,
        ..FailureLimits::default()
    };
    let world = World::new(AuthOptions {
        failures,
        ..options()
    });
    for name in ["a@example.org", "b@example.org", "c@example.org"] {
        assert_eq!(world.try_password(name, "tanstaaf").await, Login::Refused);
    }
    assert_eq!(
        world.try_password("ann@example.org", "tanstaaf").await,
        Login::TooManyFailures
    );
}

#[tokio::test(start_paused = true)]
async fn success_resets_the_count_of_the_pair() {
    let world = World::new(options());
    for _ in 0..5 {
        for _ in 0..9 {
            world.try_password("ann@example.org", "tanstaag").await;
        }
        assert_eq!(
            word(&world.try_password("ann@example.org", "tanstaaf").await),
            "accepted"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn trusted_networks_are_neither_slowed_nor_limited() {
    let world = World::new(options());
    let began = Instant::now();
    for _ in 0..200 {
        let login = world
            .auth
            .password(
                Service::Pop3,
                [127, 0, 0, 1].into(),
                "ann@example.org",
                &Secret::new("tanstaag"),
            )
            .await;
        assert_eq!(login, Login::Refused);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn hanging_up_before_the_answer_counts_as_a_failure() {
    let world = World::new(AuthOptions {
        hashes_at_once: NonZeroUsize::MIN,
        ..options()
    });
    let hang_up_often = async {
        for _ in 0..10 {
            start_and_drop(world.try_password("ann@example.org", "tanstaag")).await;
        }
    };
    while_hashing(&world, hang_up_often).await;
    assert_eq!(
        world.auth.counts().hash_runs,
        0,
        "all of them were still in the line"
    );
    assert_eq!(
        world.try_password("ann@example.org", "tanstaaf").await,
        Login::TooManyFailures
    );
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_away_is_unavailable_and_no_failure_of_the_user() {
    let world = World::new(options());
    world.accounts.is_away.store(true, Ordering::Relaxed);
    for _ in 0..20 {
        assert_eq!(
            world.measure("ann@example.org", "tanstaag").await,
            ("unavailable", 0, 0)
        );
    }
    world.accounts.is_away.store(false, Ordering::Relaxed);
    assert_eq!(
        world.measure("ann@example.org", "tanstaag").await,
        ("refused", 0, 1)
    );
    assert_eq!(world.auth.counts().unavailable, 20);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_row_is_unavailable_and_no_failure_of_the_user() {
    let world = World::new(options());
    let stamp = world.ids.stamp();
    world.accounts.put(
        "ann@example.org",
        Credentials {
            stamp,
            hash: "damaged".to_owned(),
            scram: None,
            app_passwords: Vec::new(),
        },
    );
    assert_eq!(
        world.try_password("ann@example.org", "tanstaaf").await,
        Login::Unavailable
    );
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_line_full_is_turned_away_at_once_and_has_not_failed() {
    let world = World::new(AuthOptions {
        hashes_at_once: NonZeroUsize::MIN,
        waiting_max: 0,
        ..options()
    });
    let turned_away = async {
        for _ in 0..20 {
            assert_eq!(
                world.measure("ann@example.org", "tanstaag").await,
                ("unavailable", 0, 0)
            );
        }
    };
    while_hashing(&world, turned_away).await;
    let counts = world.auth.counts();
    assert_eq!((counts.unavailable, counts.line_full), (20, 20));
    assert_eq!(
        world.measure("ann@example.org", "tanstaag").await,
        ("refused", 0, 1),
        "it is the first failure"
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_the_line_is_answered_when_the_turn_comes() {
    let world = World::new(AuthOptions {
        hashes_at_once: NonZeroUsize::MIN,
        waiting_max: 2,
        ..options()
    });
    let (finish, finished) = sync_channel::<()>(1);
    let (_, ann, bo, nobody, ()) = tokio::join!(
        biased;
        world.auth.hashers.run(move || finished.recv()),
        world.try_password("ann@example.org", "tanstaag"),
        world.try_password("bo@example.org", "tanstaaf"),
        world.try_password("nobody@example.org", "tanstaaf"),
        async { finish.send(()).unwrap() },
    );
    assert_eq!(
        [ann, bo, nobody].each_ref().map(word),
        ["refused", "accepted", "unavailable"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_remembered_user_gets_in_while_the_line_is_full() {
    let world = World::new(AuthOptions {
        hashes_at_once: NonZeroUsize::MIN,
        waiting_max: 0,
        ..options()
    });
    assert_eq!(
        world.measure("ann@example.org", "tanstaaf").await,
        ("accepted", 0, 1)
    );
    let again = world.measure("ann@example.org", "tanstaaf");
    assert_eq!(while_hashing(&world, again).await, ("accepted", 0, 0));
}

#[tokio::test(start_paused = true)]
async fn new_passwords_are_hashed_by_the_options_and_in_the_line() {
    let world = World::new(AuthOptions {
        hashes_at_once: NonZeroUsize::MIN,
        waiting_max: 0,
        ..options()
    });
    let (plain, field) = (Secret::new("new one"), Secret::new("{PLAIN}new one"));
    for made in [
        world.auth.make_credentials(&plain).await,
        world.auth.import_credentials(&field).await,
    ] {
        let made = made.unwrap();
        assert!(made.hash.contains("$m=8,t=1,p=1$"));
        assert!(made.scram.is_some());
    }
    let refused = world.auth.make_credentials(&Secret::new("")).await.unwrap_err();
    assert_eq!(refused, NewPasswordError::Password(PasswordError::Empty));
    let refused = world.auth.import_credentials(&plain).await.unwrap_err();
    assert_eq!(refused, NewPasswordError::Import(ImportError::NoScheme));
    let busy = while_hashing(&world, world.auth.make_credentials(&plain)).await;
    assert_eq!(busy, Err(NewPasswordError::Busy));
}

#[tokio::test]
async fn nothing_is_printed_that_is_secret() {
    let world = World::new(options());
    assert!(!format!("{:?}", world.auth).contains("[3, 3"));
    let lookup = world.auth.scram_keys(PEER, "ann@example.org").await.unwrap();
    let keys = world
        .accounts
        .get("ann@example.org")
        .credentials
        .scram
        .clone()
        .unwrap();
    for printed in [format!("{lookup:?}"), format!("{:?}", world.accounts)] {
        assert!(!printed.contains(&format!("{:?}", keys.stored_key)), "{printed}");
        assert!(!printed.contains("$argon2id"), "{printed}");
    }
}

#[test]
fn an_authenticator_is_shared_by_threads_and_its_futures_may_move() {
    fn shared<T: Send + Sync>() {}
    fn movable<F: Future + Send>(_: impl FnOnce(&'static Authenticator) -> F) {}
    shared::<Authenticator>();
    movable(|auth| async {
        let _: Login = auth.password(Service::Pop3, PEER, "", &Secret::new("")).await;
        let lookup = auth.scram_keys(PEER, "").await.unwrap();
        auth.scram_refused(lookup.ticket).await;
        let lookup = auth.scram_keys(PEER, "").await.unwrap();
        (
            auth.scram_verified(lookup.ticket).await,
            auth.scram_offered().await,
        )
    });
}
