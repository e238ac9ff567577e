//! A server that freezes, dies, forgets, refuses or holds nonsense: no call outlasts its deadline, nothing panics, and all
//! goes on once the server does.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Counted, PATIENCE, SLACK, client, options, try_client, until_well};
use mailhorn_events::{AccountId, Generation, MailboxId};
use mailhorn_ports::{Held, Key, LockToken, MaildropLocks, Registry, StoreError, Transport};
use mailhorn_redis::testkit::RedisServer;
use mailhorn_redis::{BreakerState, DEADLINE, Options, Redis};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

const ME: Generation = Generation(Uuid::from_u128(1));
const OTHER: Generation = Generation(Uuid::from_u128(2));
const INBOX: MailboxId = MailboxId(Uuid::from_u128(7));
const TOKEN: LockToken = LockToken([1; 16]);
const TTL: Duration = Duration::from_secs(60);

fn key(number: u128) -> Key {
    Key::User(AccountId(Uuid::from_u128(number)))
}

/// As in production.
fn strict() -> Options {
    Options {
        deadline: DEADLINE,
        ..options()
    }
}

async fn hold(redis: &Redis) -> Result<Held, StoreError> {
    redis.hold(INBOX, TOKEN, TTL).await
}

/// Calls everything once; gives what failed, with how long it took.
async fn call_everything(redis: &Redis) -> Vec<(&'static str, Duration, StoreError)> {
    let keys = [key(1), key(2)];
    let mut failed = Vec::new();
    macro_rules! call {
        ($($name:literal: $call:expr;)*) => {
            $(
                let began = Instant::now();
                if let Err(error) = $call.await {
                    failed.push(($name, began.elapsed(), error));
                }
            )*
        };
    }
    call! {
        "hold": redis.hold(INBOX, TOKEN, TTL);
        "release": redis.release(INBOX, TOKEN);
        "register": redis.register_keys(ME, &keys);
        "unregister": redis.unregister_keys(ME, &keys);
        "unregister all": redis.unregister_all(ME);
        "look up": redis.registered_for(&keys);
        "send": redis.send(ME, Bytes::from_static(b"frame"));
        "receive": redis.receive(ME);
    }
    failed
}

#[tokio::test]
async fn a_frozen_server_holds_nobody_up() {
    let server = RedisServer::start();
    let counted = Arc::new(Counted::default());
    let redis = try_client(&server.url(), strict(), &counted, 1).unwrap();
    // A loaded machine may miss a deadline now and then.
    let began = Instant::now();
    while !call_everything(&redis).await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "it never goes well");
    }

    server.freeze();
    for _ in 0..3 {
        let failed = call_everything(&redis).await;
        assert_eq!(failed.len(), 8, "{failed:?}");
        for (name, took, error) in failed {
            let waits = if name == "receive" {
                strict().receive_wait
            } else {
                Duration::ZERO
            };
            assert!(took <= DEADLINE + waits + SLACK, "{name} took {took:?}");
            assert!(matches!(error, StoreError::Unavailable(_)), "{name}: {error}");
        }
    }
    assert!(counted.limit("redis.deadline") >= 3);
    assert!(counted.limit("redis.failures_max") >= 1);
    let health = redis.health().await;
    assert_ne!(health.breaker, BreakerState::Closed);
    assert!(health.last_error.unwrap().contains("no answer within 100ms"));
    // Most of them were not even tried.
    assert!(counted.limit("redis.deadline") < 20);

    server.thaw();
    until_well(|| hold(&redis)).await;
    let health = redis.health().await;
    assert_eq!(health.breaker, BreakerState::Closed);
    assert!(health.round_trip.unwrap() < DEADLINE);
    until_well(|| redis.send(ME, Bytes::from_static(b"last"))).await;
    // What was sent as it froze may have come through.
    while !until_well(|| redis.receive(ME))
        .await
        .contains(&Bytes::from_static(b"last"))
    {}
}

#[tokio::test]
async fn while_the_breaker_is_open_calls_fail_at_once() {
    let server = RedisServer::start();
    let redis = client(&server.url(), strict());
    until_well(|| hold(&redis)).await;
    server.freeze();
    let began = Instant::now();
    while redis.health().await.breaker != BreakerState::Open {
        assert!(began.elapsed() < PATIENCE, "it never opens");
    }
    // All of these together take less than one call that waits.
    let began = Instant::now();
    let mut refused = 0;
    while began.elapsed() < DEADLINE / 2 && refused < 1_000 {
        let error = hold(&redis).await.unwrap_err().to_string();
        refused += usize::from(error.contains("not asked, since it did not answer lately"));
    }
    assert!(refused > 20, "{refused} refused at once");
}

#[tokio::test]
async fn a_server_that_is_frozen_before_the_first_call_is_found_when_it_goes_on() {
    let server = RedisServer::start();
    server.freeze();
    let redis = client(&server.url(), strict());
    let began = Instant::now();
    assert!(hold(&redis).await.is_err());
    assert!(began.elapsed() < DEADLINE + SLACK);
    server.thaw();
    assert_eq!(until_well(|| hold(&redis)).await, Held::Mine);
}

#[tokio::test]
async fn a_server_that_was_killed_and_started_again_is_used_again_in_another_epoch() {
    let mut server = RedisServer::start();
    let redis = client(&server.url(), strict());
    let keys = [key(1)];
    let before = until_well(|| redis.register_keys(ME, &keys)).await;
    until_well(|| hold(&redis)).await;
    server.kill();
    for (name, took, error) in call_everything(&redis).await {
        let limit = DEADLINE + strict().receive_wait + SLACK;
        assert!(took < limit, "{name} took {took:?}: {error}");
    }
    assert!(hold(&redis).await.is_err());
    server.restart();
    let after = until_well(|| redis.registered_for(&keys)).await;
    assert_ne!(after.epoch, before);
    assert_eq!(after.members, []);
    assert_eq!(until_well(|| hold(&redis)).await, Held::Mine);
    until_well(|| redis.send(ME, Bytes::from_static(b"frame"))).await;
    assert_eq!(
        until_well(|| redis.receive(ME)).await,
        [Bytes::from_static(b"frame")]
    );
}

/// The dump has the epoch and some registrations; what was registered later is lost all the same.
#[tokio::test]
async fn an_old_dump_is_noticed() {
    let mut server = RedisServer::start();
    let redis = client(&server.url(), options());
    redis.register_keys(ME, &[key(1)]).await.unwrap();
    assert_eq!(server.command(&["SAVE"]), "OK");
    let before = redis.register_keys(ME, &[key(2)]).await.unwrap();
    assert_eq!(redis.registered_for(&[key(3)]).await.unwrap().epoch, before);
    server.kill();
    server.restart();
    let keys = server.command(&["KEYS", "*epoch"]);
    assert!(keys.contains("epoch"), "the dump was read: {keys}");
    let keys = [key(2)];
    let after = until_well(|| redis.registered_for(&keys)).await;
    assert_ne!(after.epoch, before);
    assert_eq!(after.members, []);
}

#[tokio::test]
async fn two_clients_agree_on_the_epoch() {
    let server = RedisServer::start();
    let clients = [1, 2].map(|seed| try_client(&server.url(), options(), &Arc::default(), seed).unwrap());
    let [one, two] = &clients;
    let first = one.register_keys(ME, &[key(1)]).await.unwrap();
    assert_eq!(two.registered_for(&[key(9)]).await.unwrap().epoch, first);
    server.flush_all();
    let second = two.register_keys(OTHER, &[key(1)]).await.unwrap();
    assert_eq!(one.registered_for(&[key(1)]).await.unwrap().epoch, second);
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_costs_no_call() {
    let server = RedisServer::start();
    let counted = Arc::new(Counted::default());
    let redis = try_client(&server.url(), options(), &counted, 1).unwrap();
    for _ in 0..5 {
        assert_eq!(hold(&redis).await, Ok(Held::Mine));
        assert_eq!(server.command(&["CLIENT", "KILL", "TYPE", "normal"]), "1");
    }
    assert_eq!(redis.health().await.last_error, None);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_the_setting() {
    let server = RedisServer::start_with(&["--requirepass", "open sesame"]);
    for login in ["", ":wrong-secret@", "nobody:wrong-secret@"] {
        let url = format!("redis://{login}127.0.0.1:{}", server.port());
        let error = hold(&client(&url, options())).await.unwrap_err().to_string();
        assert!(
            error.contains("set the user and password in redis.url"),
            "{error}"
        );
        assert!(!error.contains("wrong-secret"), "{error}");
    }
    let url = format!("redis://:open%20sesame@127.0.0.1:{}/3", server.port());
    assert_eq!(hold(&client(&url, options())).await, Ok(Held::Mine));
    let url = format!("redis://:open%20sesame@127.0.0.1:{}/99", server.port());
    let error = hold(&client(&url, options())).await.unwrap_err().to_string();
    assert!(
        error.contains("check the number of the database in redis.url"),
        "{error}"
    );
}

#[tokio::test]
async fn a_user_without_permissions_is_told_so() {
    let server = RedisServer::start();
    let user = ["ACL", "SETUSER", "mail", "on", ">pw", "~other:*", "+@all"];
    assert_eq!(server.command(&user), "OK");
    let url = format!("redis://mail:pw@127.0.0.1:{}", server.port());
    let redis = client(&url, options());
    for _ in 0..5 {
        let error = hold(&redis).await.unwrap_err().to_string();
        assert!(error.contains("redis.namespace"), "{error}");
    }
    let health = redis.health().await;
    assert_eq!(health.breaker, BreakerState::Closed, "it answers");
}

#[tokio::test]
async fn one_server_is_no_cluster() {
    let server = RedisServer::start();
    let url = format!("{0},{0}", server.url());
    let error = hold(&client(&url, options())).await.unwrap_err().to_string();
    assert!(error.contains("name one"), "{error}");
}

#[tokio::test]
async fn health_tells_where_redis_is_without_passwords() {
    let server = RedisServer::start();
    let url = format!("redis://:secret@127.0.0.1:{}", server.port());
    let health = client(&url, options()).health().await;
    let address = format!("redis://:***@127.0.0.1:{}", server.port());
    assert_eq!(health.address, address);
    assert!(health.last_error.unwrap().contains("redis.url"));
    assert_eq!(health.round_trip, None);
    let health = client(&server.url(), options()).health().await;
    assert_eq!(health.last_error, None);
    assert!(health.round_trip.is_some());
}

/// What others wrote under our keys is told or passed over, and what is ours works.
#[tokio::test]
async fn nonsense_in_redis_is_survived() {
    let server = RedisServer::start();
    let redis = client(&server.url(), options());
    let put = |command: &[&str]| drop(server.command(command));

    put(&[
        "SET",
        "mailhorn:1:lock:00000000-0000-0000-0000-000000000007",
        "x y",
    ]);
    assert_eq!(hold(&redis).await, Ok(Held::Others));
    put(&["FLUSHALL"]);
    put(&[
        "RPUSH",
        "mailhorn:1:lock:00000000-0000-0000-0000-000000000007",
        "x",
    ]);
    assert!(hold(&redis).await.unwrap_err().to_string().contains("WRONGTYPE"));

    put(&["SET", "mailhorn:1:{registry-01}:epoch", "no number\n"]);
    let later = "99999999999999";
    for member in ["nobody", "", "00000000-0000-0000-0000-000000000001"] {
        put(&[
            "ZADD",
            "mailhorn:1:{registry-01}:u:00000000-0000-0000-0000-000000000001",
            later,
            member,
        ]);
    }
    assert_eq!(redis.registered_for(&[key(1)]).await.unwrap().members, [ME]);
    put(&[
        "SET",
        "mailhorn:1:{registry-02}:u:00000000-0000-0000-0000-000000000002",
        "x",
    ]);
    assert!(redis.registered_for(&[key(2)]).await.is_err());
    assert!(redis.register_keys(ME, &[key(2)]).await.is_err());
    assert_eq!(redis.registered_for(&[key(1)]).await.unwrap().members, [ME]);

    let frames = "mailhorn:1:{inbox-00000000-0000-0000-0000-000000000001}:frames";
    put(&["XADD", frames, "*", "a", "b", "c", "d"]);
    redis.send(ME, Bytes::from_static(b"frame")).await.unwrap();
    let came = timeout(PATIENCE, redis.receive(ME)).await.unwrap();
    assert_eq!(came.unwrap(), [Bytes::from_static(b"frame")]);
    put(&["SET", frames, "x"]);
    assert!(redis.receive(ME).await.is_err());
    assert!(redis.send(ME, Bytes::new()).await.is_err());
    put(&["DEL", frames]);
    redis.send(ME, Bytes::from_static(b"again")).await.unwrap();
    assert_eq!(
        until_well(|| redis.receive(ME)).await,
        [Bytes::from_static(b"again")]
    );
}

/// Both sides learn of it, the receiver also where nothing follows.
#[tokio::test]
async fn frames_that_were_pushed_out_are_told_on_both_sides() {
    let server = RedisServer::start();
    let counted = Arc::new(Counted::default());
    let options = Options {
        inbox_frames_max: 4,
        inbox_octets_max: 1_000,
        ..options()
    };
    let redis = try_client(&server.url(), options, &counted, 1).unwrap();
    let send = async |octets: usize, fill: u8| {
        let frame = Bytes::from(vec![fill; octets]);
        redis.send(ME, frame).await.unwrap();
    };
    for fill in 0..7 {
        send(10, fill).await;
    }
    assert_eq!(counted.limit("redis.inbox_max"), 3, "too many");
    assert_eq!(counted.lost(), 0, "nobody looked");
    let came = redis.receive(ME).await.unwrap();
    let fills: Vec<u8> = came.iter().map(|frame| frame[0]).collect();
    assert_eq!(fills, [3, 4, 5, 6]);
    assert_eq!(counted.lost(), 3);

    for fill in 0..4 {
        send(400, fill).await;
    }
    let came = redis.receive(ME).await.unwrap();
    let fills: Vec<u8> = came.iter().map(|frame| frame[0]).collect();
    assert_eq!(fills, [2, 3], "too large together");
    assert_eq!(counted.lost(), 5);
    send(5_000, 9).await;
    assert_eq!(redis.receive(ME).await.unwrap().len(), 1, "the newest stays");

    assert_eq!(counted.lost(), 5, "what was read is not lost");
    let pushes = counted.limit("redis.inbox_max");

    // Whoever looks for frames and finds none is told all the same.
    let state = "mailhorn:1:{inbox-00000000-0000-0000-0000-000000000001}:state";
    let waiting = redis.receive(ME);
    let losing = async {
        assert_eq!(server.command(&["HINCRBY", state, "lost", "2"]), "13");
        let began = Instant::now();
        while counted.lost() != 7 {
            assert!(began.elapsed() < PATIENCE, "{} lost", counted.lost());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        send(10, 1).await;
    };
    let (came, ()) = tokio::join!(waiting, losing);
    assert_eq!(came.unwrap().len(), 1);
    assert_eq!(counted.limit("redis.inbox_max"), pushes);
}

#[tokio::test]
async fn what_is_read_leaves_nothing_and_all_else_ends_by_itself() {
    let server = RedisServer::start();
    let redis = client(&server.url(), options());
    for number in 0..700 {
        redis
            .send(ME, Bytes::from(format!("frame {number}")))
            .await
            .unwrap();
        if number % 250 == 249 {
            redis.receive(ME).await.unwrap();
        }
    }
    redis.receive(ME).await.unwrap();
    // The next look takes out what was read before it waits.
    let waiting = timeout(PATIENCE, redis.receive(ME));
    let looking = async {
        let began = Instant::now();
        while !server.command(&["KEYS", "*:frames"]).is_empty() {
            assert!(began.elapsed() < PATIENCE, "{}", server.command(&["KEYS", "*"]));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        redis.send(ME, Bytes::new()).await.unwrap();
    };
    let (came, ()) = tokio::join!(waiting, looking);
    assert_eq!(came.unwrap().unwrap(), [Bytes::new()]);

    hold(&redis).await.unwrap();
    redis.send(OTHER, Bytes::from_static(b"frame")).await.unwrap();
    redis.register_keys(OTHER, &[key(1), key(2)]).await.unwrap();
    let keys = server.command(&["KEYS", "*"]);
    let mut ending = 0;
    for key in keys.lines().filter(|key| !key.ends_with(":epoch")) {
        let ttl: i64 = server.command(&["PTTL", key]).parse().unwrap();
        assert!((1..=60_000).contains(&ttl), "{key} ends in {ttl} ms");
        ending += 1;
    }
    assert!(ending >= 6, "{keys}");
}

/// A receiver that is started anew reads what its predecessor did not take.
#[tokio::test]
async fn frames_outlive_their_receiver() {
    let server = RedisServer::start();
    let redis = client(&server.url(), options());
    redis.send(ME, Bytes::from_static(b"one")).await.unwrap();
    assert_eq!(redis.receive(ME).await.unwrap().len(), 1);
    drop(redis);
    let redis = client(&server.url(), options());
    redis.send(ME, Bytes::from_static(b"two")).await.unwrap();
    let came = redis.receive(ME).await.unwrap();
    assert_eq!(
        came,
        [Bytes::from_static(b"one"), Bytes::from_static(b"two")],
        "a frame may come twice, and none is missing"
    );
}
