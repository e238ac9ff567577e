//! Log-ins on SMTP over the wire (RFC 4954), and what they are good for.

use std::num::NonZeroU8;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use mailhorn_core::auth::AllowPlaintext;
use mailhorn_core::metrics::{LimitLabels, LogInLabels};
use mailhorn_smtp::LocalSenders;
use sha2::{Digest as _, Sha256};

use crate::transfer::smtp;
use crate::world::{Client, Knobs, PASSWORD, World};

fn plain(user: &str, password: &str) -> String {
    let message = STANDARD.encode(format!("\0{user}@example.org\0{password}"));
    format!("AUTH PLAIN {message}\r\n")
}

fn log_ins(world: &World, result: &'static str) -> u64 {
    world.metrics.log_ins.get_or_create(&LogInLabels { result }).get()
}

pub(crate) fn limit_reached(world: &World, limit: &'static str) -> u64 {
    world.metrics.limits.get_or_create(&LimitLabels { limit }).get()
}

async fn logged_in(world: &World, user: &str) -> Client {
    let mut client = smtp(world).await;
    client.send(&plain(user, PASSWORD)).await;
    client.expect("235 2.7.0").await;
    client
}

#[actix::test]
async fn plain_and_login_log_in_and_the_message_says_so() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    client.send("AUTH LOGIN\r\n").await;
    client.expect("334 ").await;
    for part in ["ann@example.org", PASSWORD] {
        client.send(&format!("{}\r\n", STANDARD.encode(part))).await;
        client.line().await;
    }
    client.send("QUIT\r\n").await;
    client.expect("221 ").await;
    let mut client = logged_in(&world, "ann").await;
    let sent = "MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nBDAT 3 LAST\r\na\r\n";
    client.send(sent).await;
    for code in ["250", "250", "250 2.0.0 delivered"] {
        client.expect(code).await;
    }
    assert_eq!(log_ins(&world, "accepted"), 2);
    let mut client = world.logged_in("bob").await;
    client.send("RETR 1\r\n").await;
    let stored = client.multi_line().await.join("\n");
    assert!(stored.contains(" with ESMTPA\n"), "{stored}");
}

/// The client's proof (RFC 5802 §3), and what comes before it in client-final.
fn client_final(client_first: &str, server_first: &str, password: &str) -> String {
    let part = |name: &str| {
        server_first
            .split(',')
            .find_map(|part| part.strip_prefix(name))
            .unwrap()
    };
    let salt = STANDARD.decode(part("s=")).unwrap();
    let mut salted = [0; 32];
    pbkdf2::pbkdf2::<Hmac<Sha256>>(
        password.as_bytes(),
        &salt,
        part("i=").parse().unwrap(),
        &mut salted,
    )
    .unwrap();
    let hmac = |key: &[u8], text: &[u8]| {
        let mut hmac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        hmac.update(text);
        hmac.finalize().into_bytes()
    };
    let without_proof = format!("c=biws,r={}", part("r="));
    let client_key = hmac(&salted, b"Client Key");
    let signed = format!("{client_first},{server_first},{without_proof}");
    let signature = hmac(&Sha256::digest(client_key), signed.as_bytes());
    let proof: Vec<u8> = client_key
        .iter()
        .zip(signature)
        .map(|(key, octet)| key ^ octet)
        .collect();
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

/// Begins SCRAM and gives the reply to the proof.
async fn scram(world: &World, password: &str) -> (Client, String) {
    let mut client = smtp(world).await;
    let first = "n=ann@example.org,r=fyko+d2lbbFgONRv9qkxdawL";
    let initial = STANDARD.encode(format!("n,,{first}"));
    client.send(&format!("AUTH SCRAM-SHA-256 {initial}\r\n")).await;
    let challenge = client.expect("334 ").await;
    let server_first = String::from_utf8(STANDARD.decode(&challenge[4..]).unwrap()).unwrap();
    let last = STANDARD.encode(client_final(first, &server_first, password));
    client.send(&format!("{last}\r\n")).await;
    let reply = client.line().await.unwrap();
    (client, reply)
}

#[actix::test]
async fn scram_logs_in_without_showing_the_password() {
    let world = World::start(Knobs {
        transfer: |options, _| options.allow_plaintext = AllowPlaintext::Never,
        ..Knobs::default()
    })
    .await;
    let (mut client, reply) = scram(&world, PASSWORD).await;
    assert!(reply.starts_with("334 "), "{reply}");
    client.send("\r\n").await;
    client.expect("235 2.7.0").await;
    let (mut client, reply) = scram(&world, "wrong horse").await;
    assert!(reply.starts_with("535 5.7.8"), "{reply}");
    client.send(&plain("ann", PASSWORD)).await;
    client.expect("538 5.7.11").await;
    assert_eq!((log_ins(&world, "accepted"), log_ins(&world, "refused")), (1, 1));
}

#[actix::test]
async fn a_long_initial_response_is_no_line_too_long() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    let padded = STANDARD.encode("x".repeat(6000));
    client
        .send(&format!("AUTH PLAIN {padded}\r\nAUTH PLAIN\r\n"))
        .await;
    client.expect("501 5.5.4").await;
    client.expect("334 ").await;
    client.send(&format!("{}\r\nNOOP\r\n", "A".repeat(12_300))).await;
    client.expect("500 5.5.6").await;
    client.expect("250 ").await;
}

#[actix::test]
async fn failed_log_ins_end_the_connection_and_are_counted() {
    let world = World::start(Knobs {
        transfer: |_, session| session.log_in_failures_max = NonZeroU8::new(2).unwrap(),
        ..Knobs::default()
    })
    .await;
    let mut client = smtp(&world).await;
    client.send(&plain("ann", "wrong horse")).await;
    client.expect("535 5.7.8").await;
    client.send(&plain("nobody", PASSWORD)).await;
    client.expect("421 4.7.0").await;
    client.ends().await;
    assert_eq!(log_ins(&world, "refused"), 2);
    assert_eq!(limit_reached(&world, "smtp.max_log_in_failures"), 1);
}

#[actix::test]
async fn a_log_in_that_cant_be_checked_is_told_apart_from_a_wrong_one() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    world.store.set_unavailable(true);
    client.send(&plain("ann", PASSWORD)).await;
    client.expect("454 4.7.0").await;
    world.store.set_unavailable(false);
    client.send(&plain("ann", PASSWORD)).await;
    client.expect("235 2.7.0").await;
}

#[actix::test]
async fn local_senders_log_in_and_use_their_own_address() {
    let world = World::start(Knobs {
        transfer: |_, session| session.local_senders = LocalSenders::Authenticated,
        ..Knobs::default()
    })
    .await;
    let mut client = smtp(&world).await;
    for (sender, reply) in [
        ("Ann@Example.org", "530 5.7.0"),
        ("nobody@example.org", "530 5.7.0"),
        ("ann@elsewhere.example", "250 "),
    ] {
        client.send(&format!("MAIL FROM:<{sender}>\r\nRSET\r\n")).await;
        client.expect(reply).await;
        client.expect("250 ").await;
    }
    let mut client = logged_in(&world, "ann").await;
    for (sender, reply) in [
        ("bob@example.org", "553 5.7.1"),
        ("ann@elsewhere.example", "553 5.7.1"),
        ("", "250 "),
        ("ANN@example.org", "250 "),
    ] {
        client.send(&format!("MAIL FROM:<{sender}>\r\nRSET\r\n")).await;
        client.expect(reply).await;
        client.expect("250 ").await;
    }
    world.store.set_unavailable(true);
    client.send("MAIL FROM:<ann@example.org>\r\n").await;
    client.expect("451 4.3.0").await;
    world.store.set_unavailable(false);
    let replies = world.deliver(&["bob"], "Subject: lmtp\r\n\r\n").await;
    assert!(replies[0].starts_with("250"), "{replies:?}");
}

#[actix::test]
async fn a_trusted_network_sends_with_any_address() {
    let world = World::start(Knobs {
        transfer: |options, session| {
            session.local_senders = LocalSenders::Authenticated;
            options.trusted_networks = vec!["127.0.0.0/8".parse().unwrap()];
        },
        ..Knobs::default()
    })
    .await;
    let mut client = smtp(&world).await;
    client.send("MAIL FROM:<ann@example.org>\r\n").await;
    client.expect("250 ").await;
}
