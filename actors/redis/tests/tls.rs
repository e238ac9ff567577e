//! TLS: whom a client trusts.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{client, options, try_client};
use mailhorn_events::MailboxId;
use mailhorn_ports::{Held, LockToken, MaildropLocks, StoreError};
use mailhorn_redis::testkit::RedisServer;
use mailhorn_redis::{OpenError, Options, Redis};
use uuid::Uuid;

async fn hold(redis: &Redis) -> Result<Held, StoreError> {
    let (mailbox, ttl) = (MailboxId(Uuid::nil()), Duration::from_secs(60));
    redis.hold(mailbox, LockToken([1; 16]), ttl).await
}

/// A server under TLS that is called `name`, and the file of its certificate.
fn server(name: &str) -> (RedisServer, PathBuf) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = RedisServer::start_tls(&certificate, &key);
    let file = server.dir().join("ca.pem");
    fs::write(&file, certificate).unwrap();
    (server, file)
}

fn trusting(ca_file: PathBuf) -> Options {
    Options {
        ca_file: Some(ca_file),
        ..options()
    }
}

fn url(server: &RedisServer) -> String {
    format!("rediss://127.0.0.1:{}", server.port())
}

#[tokio::test]
async fn a_server_is_trusted_by_the_ca_file_and_by_no_other() {
    let (server_a, file_a) = server("127.0.0.1");
    let (server_b, file_b) = server("127.0.0.1");
    for (server, right, wrong) in [(&server_a, &file_a, &file_b), (&server_b, &file_b, &file_a)] {
        let redis = client(&url(server), trusting(right.clone()));
        assert_eq!(hold(&redis).await, Ok(Held::Mine));
        let redis = client(&url(server), trusting(wrong.clone()));
        let error = hold(&redis).await.unwrap_err().to_string();
        assert!(error.contains("check redis.ca_file"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (server, file) = server("redis.example.org");
    let redis = client(&url(&server), trusting(file));
    let error = hold(&redis).await.unwrap_err().to_string();
    assert!(error.contains("check redis.ca_file"), "{error}");
}

#[tokio::test]
async fn without_a_ca_file_the_system_decides() {
    let (server, _) = server("127.0.0.1");
    // A system that trusts nobody makes no client.
    if let Ok(redis) = try_client(&url(&server), options(), &Arc::default(), 1) {
        let error = hold(&redis).await.unwrap_err().to_string();
        assert!(error.contains("check redis.ca_file"), "{error}");
    }
}

#[tokio::test]
async fn tls_and_none_do_not_hang_on_each_other() {
    let (under_tls, file) = server("127.0.0.1");
    let redis = client(&under_tls.url(), options());
    assert!(hold(&redis).await.is_err());
    let plain = RedisServer::start();
    let redis = client(&url(&plain), trusting(file));
    assert!(hold(&redis).await.is_err());
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_named() {
    let server = RedisServer::start();
    let open = |url: &str, ca_file: PathBuf| {
        let opened = try_client(url, trusting(ca_file), &Arc::default(), 1);
        opened.unwrap_err()
    };
    let missing = open("rediss://a", server.dir().join("missing.pem"));
    assert!(matches!(missing, OpenError::CaFile { .. }), "{missing}");
    let empty = server.dir().join("empty.pem");
    fs::write(
        &empty,
        "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let none = open("rediss://a", empty.clone());
    assert!(matches!(none, OpenError::NoCertificate { .. }), "{none}");
    let needless = open("redis://a", empty);
    assert!(matches!(needless, OpenError::CaFileWithoutTls), "{needless}");
    for error in [missing, none, needless] {
        assert!(error.to_string().starts_with("redis.ca_file"), "{error}");
    }
}
