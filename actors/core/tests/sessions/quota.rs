//! Quotas over the wire: who is refused, when, and with which reply.

use std::time::Duration;

use mailhorn_core::quota::QuotaOptions;
use mailhorn_events::QuotaLimits;
use mailhorn_ports::memory::NextCommit;
use mailhorn_ports::{Directory, QuotaDefaults, QuotaOwner, QuotaStore};

use crate::transfer::{lost_reply, retry, smtp};
use crate::world::{Client, Knobs, World};

/// How long the log may take to know an outcome.
const PATIENCE: Duration = Duration::from_secs(60);

const MESSAGE: &str = "Subject: one\r\n\r\ntext\r\n";

/// More than any message here has beside its text: our own lines and its header.
const LINES_OCTETS: u64 = 1_000;

fn messages(limit: u64) -> QuotaLimits {
    QuotaLimits {
        messages: Some(limit),
        octets: None,
    }
}

fn octets(limit: u64) -> QuotaLimits {
    QuotaLimits {
        messages: None,
        octets: Some(limit),
    }
}

async fn limited(user: QuotaLimits, domain: QuotaLimits) -> World {
    let quota = QuotaOptions {
        defaults: QuotaDefaults { user, domain },
        ..QuotaOptions::default()
    };
    World::start(Knobs {
        quota: Some(quota),
        ..Knobs::default()
    })
    .await
}

/// Gives one user other limits than the rest has.
async fn limit(world: &World, user: &str, limits: QuotaLimits) {
    let address = format!("{user}@example.org");
    let account = world.store.account(&address).await.unwrap().unwrap();
    let owner = QuotaOwner::Account(account.id);
    world.store.set_quota_limits(&owner, Some(limits)).await.unwrap();
    world.quotas.as_ref().unwrap().limits_changed(&owner);
}

async fn expunge_first(world: &World, user: &str) {
    let mut client = world.logged_in(user).await;
    client.send("DELE 1\r\nQUIT\r\n").await;
    client.expect("+OK").await;
    client.expect("+OK").await;
}

/// By SMTP, up to the one reply after the data.
async fn send(client: &mut Client, users: &[&str], content: &str) -> String {
    let rcpt: String = users
        .iter()
        .map(|user| format!("RCPT TO:<{user}@example.org>\r\n"))
        .collect();
    client.send(&format!("MAIL FROM:<>\r\n{rcpt}DATA\r\n")).await;
    for _ in 0..=users.len() {
        client.expect("250").await;
    }
    client.expect("354").await;
    client.send(&format!("{content}.\r\n")).await;
    client.line().await.unwrap()
}

fn starts(replies: &[String], expected: &[&str]) {
    let fits = |(reply, start): (&String, &&str)| reply.starts_with(*start);
    assert!(
        replies.len() == expected.len() && replies.iter().zip(expected).all(fits),
        "{expected:?} was expected and {replies:?} came"
    );
}

#[actix::test]
async fn lmtp_refuses_the_full_recipient_and_delivers_to_the_others() {
    let world = limited(messages(2), QuotaLimits::default()).await;
    for _ in 0..2 {
        starts(&world.deliver(&["ann"], MESSAGE).await, &["250 "]);
    }
    let replies = world.deliver(&["ann", "bob", "ann"], MESSAGE).await;
    starts(&replies, &["452 4.2.2", "250 ", "452 4.2.2"]);
    assert_eq!(world.listed("ann").await.len(), 2);
    assert_eq!(world.listed("bob").await.len(), 1);
}

#[actix::test]
async fn lmtp_goes_by_the_real_size_with_our_own_lines() {
    let world = limited(QuotaLimits::default(), QuotaLimits::default()).await;
    starts(&world.deliver(&["ann"], MESSAGE).await, &["250 "]);
    let mut client = world.logged_in("ann").await;
    client.send("STAT\r\n").await;
    let stat = client.expect("+OK 1 ").await;
    let size: u64 = stat.rsplit(' ').next().unwrap().parse().unwrap();
    client.send("QUIT\r\n").await;
    client.expect("+OK").await;
    for (held, reply) in [
        (2 * size - 1, "452 4.2.2"),
        (size - 1, "552 5.2.2"),
        (2 * size, "250 "),
    ] {
        limit(&world, "ann", octets(held)).await;
        starts(&world.deliver(&["ann"], MESSAGE).await, &[reply]);
    }
    assert_eq!(world.listed("ann").await.len(), 2);
}

#[actix::test]
async fn lmtp_tells_too_large_from_full_for_each_recipient() {
    let world = limited(QuotaLimits::default(), QuotaLimits::default()).await;
    let content = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(20_000));
    starts(&world.deliver(&["bob"], MESSAGE).await, &["250 "]);
    limit(&world, "ann", octets(200_000)).await;
    limit(&world, "bob", messages(1)).await;
    let records = world.store.all_records(world.generation).len();
    starts(
        &world.deliver(&["ann", "bob"], &content).await,
        &["552 5.2.2", "452 4.2.2"],
    );
    assert_eq!(
        world.store.all_records(world.generation).len(),
        records,
        "nothing happened"
    );
}

#[actix::test]
async fn smtp_refuses_at_rcpt() {
    let world = limited(messages(1), QuotaLimits::default()).await;
    let mut client = smtp(&world).await;
    assert!(send(&mut client, &["ann"], MESSAGE).await.starts_with("250"));
    client
        .send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
        .await;
    for code in ["250", "452 4.2.2", "250", "354"] {
        client.expect(code).await;
    }
    client.send(&format!("{MESSAGE}.\r\n")).await;
    client.expect("250").await;
    assert_eq!(world.listed("ann").await.len(), 1);
    assert_eq!(world.listed("bob").await.len(), 1);
}

#[actix::test]
async fn a_quota_that_cannot_be_asked_now_is_451_at_rcpt() {
    let world = limited(messages(2), QuotaLimits::default()).await;
    for mut client in [smtp(&world).await, world.lmtp().await] {
        world.store.refuse_usage(true);
        client.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\n").await;
        client.expect("250 ").await;
        client.expect("451 4.3.0").await;
        world.store.refuse_usage(false);
        client.send("RCPT TO:<ann@example.org>\r\n").await;
        client.expect("250 ").await;
    }
}

#[actix::test]
async fn a_quota_that_cannot_be_asked_after_the_data_is_451_and_nothing_is_stored() {
    let world = limited(messages(2), QuotaLimits::default()).await;
    let mut client = world.lmtp().await;
    client
        .send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n")
        .await;
    for code in ["250 ", "250 ", "354 "] {
        client.expect(code).await;
    }
    world.store.set_unavailable(true);
    client.send(&format!("{MESSAGE}.\r\n")).await;
    client.expect("451 4.3.0").await;
    world.store.set_unavailable(false);
    assert!(world.listed("ann").await.is_empty());
}

#[actix::test]
async fn a_declared_size_above_the_limit_is_refused_for_good_at_rcpt() {
    let world = limited(octets(5_000), QuotaLimits::default()).await;
    let mut lmtp = world.lmtp().await;
    let mut smtp = smtp(&world).await;
    for client in [&mut smtp, &mut lmtp] {
        client
            .send("MAIL FROM:<> SIZE=5001\r\nRCPT TO:<ann@example.org>\r\nRSET\r\n")
            .await;
        for code in ["250", "552 5.2.2", "250"] {
            client.expect(code).await;
        }
        client
            .send("MAIL FROM:<> SIZE=5000\r\nRCPT TO:<ann@example.org>\r\nRSET\r\n")
            .await;
        for code in ["250", "250", "250"] {
            client.expect(code).await;
        }
    }
    limit(&world, "bob", messages(0)).await;
    smtp.send("MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\n").await;
    smtp.expect("250").await;
    smtp.expect("552 5.2.2").await;
}

#[actix::test]
async fn the_declared_size_is_added_to_what_is_held() {
    let world = limited(octets(5_000), QuotaLimits::default()).await;
    let mut client = smtp(&world).await;
    let content = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(250));
    assert!(send(&mut client, &["ann"], &content).await.starts_with("250"));
    for (declared, code) in [(" SIZE=3000", "452 4.2.2"), (" SIZE=500", "250"), ("", "250")] {
        client
            .send(&format!(
                "MAIL FROM:<>{declared}\r\nRCPT TO:<ann@example.org>\r\nRSET\r\n"
            ))
            .await;
        for code in ["250", code, "250"] {
            client.expect(code).await;
        }
    }
}

#[actix::test]
async fn smtp_delivers_what_it_accepted_though_the_mailbox_filled_up_meanwhile() {
    let world = limited(messages(1), QuotaLimits::default()).await;
    let mut client = smtp(&world).await;
    client
        .send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n")
        .await;
    for code in ["250", "250", "354"] {
        client.expect(code).await;
    }
    starts(&world.deliver(&["ann"], MESSAGE).await, &["250 "]);
    client.send("Subject: two\r\n\r\n.\r\n").await;
    client.expect("250").await;
    assert_eq!(world.listed("ann").await.len(), 2);
}

#[actix::test]
async fn smtp_delivers_what_came_larger_than_it_was_declared() {
    let world = limited(octets(LINES_OCTETS), QuotaLimits::default()).await;
    let mut client = smtp(&world).await;
    client
        .send("MAIL FROM:<> SIZE=500\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n")
        .await;
    for code in ["250", "250", "354"] {
        client.expect(code).await;
    }
    let content = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(500));
    client.send(&format!("{content}.\r\n")).await;
    client.expect("250").await;
    client.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\n").await;
    client.expect("250").await;
    client.expect("452 4.2.2").await;
}

#[actix::test]
async fn what_pop3_deletes_makes_room() {
    let world = limited(messages(1), QuotaLimits::default()).await;
    starts(&world.deliver(&["ann"], MESSAGE).await, &["250 "]);
    starts(&world.deliver(&["ann"], MESSAGE).await, &["452 4.2.2"]);
    expunge_first(&world, "ann").await;
    starts(&world.deliver(&["ann"], MESSAGE).await, &["250 "]);
    let mut client = smtp(&world).await;
    client.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\n").await;
    client.expect("250").await;
    client.expect("452 4.2.2").await;
    expunge_first(&world, "ann").await;
    client.send("RCPT TO:<ann@example.org>\r\n").await;
    client.expect("250").await;
}

#[actix::test]
async fn a_domain_is_full_for_all_its_users() {
    let world = limited(QuotaLimits::default(), messages(2)).await;
    starts(&world.deliver(&["ann", "bob"], MESSAGE).await, &["250 ", "250 "]);
    starts(
        &world.deliver(&["ann", "bob"], MESSAGE).await,
        &["452 4.2.2", "452 4.2.2"],
    );
    let mut client = smtp(&world).await;
    client.send("MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\n").await;
    client.expect("250").await;
    client.expect("452 4.2.2").await;
    expunge_first(&world, "ann").await;
    client.send("RCPT TO:<bob@example.org>\r\n").await;
    client.expect("250").await;
}

#[actix::test]
async fn a_retry_of_what_filled_the_mailbox_is_answered_250() {
    for limits in [messages(1), octets(2 * LINES_OCTETS)] {
        let world = limited(limits, QuotaLimits::default()).await;
        // More than half of what either limit allows.
        let content = format!("Subject: one\r\n\r\n{}", "0123456789\r\n".repeat(100));
        lost_reply(&world, &content).await;
        assert!(retry(&world, &content).await.starts_with("250"));
        assert!(
            retry(&world, &content).await.starts_with("452 4.2.2"),
            "its reply was read"
        );
    }
}

#[actix::test]
async fn a_first_try_whose_outcome_was_unknown_is_known_though_the_mailbox_is_full() {
    let world = limited(messages(1), QuotaLimits::default()).await;
    starts(
        &world.deliver(&["bob"], "Subject: other\r\n\r\n").await,
        &["250 "],
    );
    world.store.next_commit(NextCommit::UnknownDone);
    starts(&world.deliver(&["ann"], MESSAGE).await, &["451 4.3.0"]);
    // The log takes nothing until it knows what became of it.
    let known = async {
        loop {
            let replies = world.deliver(&["ann", "bob"], MESSAGE).await;
            if !replies[0].starts_with("451") {
                return replies;
            }
        }
    };
    let known = tokio::time::timeout(PATIENCE, known).await;
    let replies = known.expect("the log takes changes again");
    starts(&replies, &["250 ", "452 4.2.2"]);
    assert_eq!(world.listed("ann").await.len(), 1);
}

#[actix::test]
async fn without_notes_lmtp_refuses_the_full_mailbox_at_rcpt() {
    let quota = QuotaOptions {
        defaults: QuotaDefaults {
            user: messages(1),
            ..QuotaDefaults::default()
        },
        ..QuotaOptions::default()
    };
    let world = World::start(Knobs {
        quota: Some(quota),
        notes: false,
        ..Knobs::default()
    })
    .await;
    starts(&world.deliver(&["ann"], MESSAGE).await, &["250 "]);
    let mut client = world.lmtp().await;
    client.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\n").await;
    client.expect("250").await;
    client.expect("452 4.2.2").await;
}
