//! Sentinels: the master is found, and the one that takes over.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{PATIENCE, client, options, until_well};
use mailhorn_events::{AccountId, Generation, MailboxId};
use mailhorn_ports::{Held, Key, LockToken, MaildropLocks, Registry, Transport};
use mailhorn_redis::testkit::{RedisSentinel, RedisServer};
use mailhorn_redis::{DEADLINE, Options};
use tokio::time::Instant;
use uuid::Uuid;

const ME: Generation = Generation(Uuid::from_u128(1));
const INBOX: MailboxId = MailboxId(Uuid::nil());
const KEY: Key = Key::User(AccountId(Uuid::nil()));
const TTL: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_replica_that_takes_over_from_a_dead_master_is_found() {
    a_takeover_is_followed(|servers| servers.master.kill()).await;
}

/// Its connections are not closed: calls fail until the breaker opens, and the next connection is to another.
#[tokio::test]
async fn a_replica_that_takes_over_from_a_frozen_master_is_found() {
    a_takeover_is_followed(|servers| servers.master.freeze()).await;
}

async fn a_takeover_is_followed(fail: impl FnOnce(&mut RedisSentinel)) {
    let mut servers = RedisSentinel::start();
    let options = Options {
        deadline: DEADLINE,
        ..options()
    };
    let redis = client(&servers.url(), options);
    let hold = || redis.hold(INBOX, LockToken([1; 16]), TTL);
    assert_eq!(until_well(hold).await, Held::Mine);
    assert_eq!(servers.master.command(&["ROLE"]).lines().next(), Some("master"));
    let before = until_well(|| redis.register_keys(ME, &[KEY])).await;

    fail(&mut servers);
    servers.await_takeover();
    assert_eq!(until_well(hold).await, Held::Mine);
    // Replication lags: the replica has the epoch and perhaps not the last registrations.
    let after = until_well(|| redis.register_keys(ME, &[KEY])).await;
    assert_ne!(after, before);
    let found = until_well(|| redis.registered_for(&[KEY])).await;
    assert_eq!(found.members, [ME]);
    until_well(|| redis.send(ME, Bytes::from_static(b"frame"))).await;
    assert_eq!(
        until_well(|| redis.receive(ME)).await,
        [Bytes::from_static(b"frame")]
    );
    assert_ne!(servers.replica.command(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn a_master_that_was_demoted_is_left() {
    let servers = RedisSentinel::start();
    let redis = client(&servers.url(), options());
    let hold = || redis.hold(INBOX, LockToken([1; 16]), TTL);
    assert_eq!(hold().await, Ok(Held::Mine));
    let url = servers.url();
    let sentinel = url.rsplit_once(':').unwrap().1.split_once('/').unwrap().0;
    let failover = ["-p", sentinel, "SENTINEL", "FAILOVER", "mail"];
    let said = std::process::Command::new("redis-cli").args(failover).output();
    assert_eq!(said.unwrap().stdout, b"OK\n");
    servers.await_takeover();
    // The old master serves for a while, until the Sentinel makes it a replica; then it takes no writes.
    let began = Instant::now();
    while !servers.master.command(&["ROLE"]).starts_with("slave") {
        assert!(began.elapsed() < PATIENCE, "it is not demoted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let release = || redis.release(INBOX, LockToken([1; 16]));
    until_well(release).await;
    assert_eq!(until_well(hold).await, Held::Mine);
    assert_eq!(servers.replica.command(&["DBSIZE"]), "1");
}

#[tokio::test]
async fn an_unknown_service_is_named() {
    let servers = RedisSentinel::start();
    let url = servers.url().replace("/mail", "/other");
    let error = client(&url, options()).hold(INBOX, LockToken([1; 16]), TTL).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("check the name of the service in redis.url"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_is_no_sentinel() {
    let server = RedisServer::start();
    let url = format!("redis+sentinel://127.0.0.1:{}/mail", server.port());
    let held = client(&url, options()).hold(INBOX, LockToken([1; 16]), TTL).await;
    let error = held.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("sentinel"), "{error}");
}
