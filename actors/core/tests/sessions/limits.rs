//! Limits of SMTP and LMTP sessions: what is said when they are reached, and that it is counted.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::authentication::limit_reached;
use crate::bans::banning;
use crate::transfer::smtp;
use crate::world::{Client, Knobs, World};

/// Long enough for some commands, and short enough to be waited for.
const SHORT: Duration = Duration::from_millis(300);

async fn in_transaction(client: &mut Client) {
    client.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\n").await;
    client.expect("250 ").await;
    client.expect("250 ").await;
}

async fn with_a_short_transaction() -> World {
    World::start(Knobs {
        transfer: |options, _| options.transaction_timeout = SHORT,
        ..Knobs::default()
    })
    .await
}

#[actix::test]
async fn a_transaction_that_takes_too_long_ends_with_421_wherever_it_is() {
    let world = with_a_short_transaction().await;
    for (sent, replies) in [
        ("", 0),
        ("DATA\r\nSubject: slow\r\n", 1),
        ("BDAT 10\r\nSubj", 0),
        ("BDAT 3\r\na\r\n", 1),
    ] {
        let mut client = smtp(&world).await;
        in_transaction(&mut client).await;
        client.send(sent).await;
        for _ in 0..replies {
            client.line().await.unwrap();
        }
        let reply = client.expect("421 4.4.2").await;
        assert!(reply.contains("transaction"), "{reply}");
        client.ends().await;
    }
    assert_eq!(limit_reached(&world, "smtp.transaction_timeout"), 4);
    assert!(world.listed("ann").await.is_empty());
}

#[actix::test]
async fn a_client_that_never_pauses_is_timed_as_well() {
    let world = with_a_short_transaction().await;
    let mut client = smtp(&world).await;
    in_transaction(&mut client).await;
    client.send("DATA\r\n").await;
    client.send_until_closed("a line that is well-formed\r\n").await;
    assert_eq!(limit_reached(&world, "smtp.transaction_timeout"), 1);
    // A chunk that is read past belongs to no transaction.
    let mut client = smtp(&world).await;
    client.send("BDAT 4000000\r\nx").await;
    client.expect("421 4.4.2").await;
    assert_eq!(limit_reached(&world, "smtp.transaction_timeout"), 2);
}

#[actix::test]
async fn the_time_of_a_transaction_ends_with_it() {
    let world = with_a_short_transaction().await;
    let mut client = smtp(&world).await;
    in_transaction(&mut client).await;
    client.send("RSET\r\n").await;
    client.expect("250 ").await;
    tokio::time::sleep(SHORT + SHORT / 4).await;
    in_transaction(&mut client).await;
}

#[actix::test]
async fn silence_within_content_is_told_and_counted_for_each_protocol() {
    let world = World::start(Knobs {
        transfer: |options, _| options.idle_timeout = SHORT,
        ..Knobs::default()
    })
    .await;
    for limit in ["smtp.idle_timeout", "lmtp.idle_timeout"] {
        let mut client = match limit {
            "smtp.idle_timeout" => smtp(&world).await,
            _ => world.lmtp().await,
        };
        in_transaction(&mut client).await;
        client.send("DATA\r\nSubject: silent\r\n").await;
        client.expect("354 ").await;
        let reply = client.expect("421 4.4.2").await;
        assert!(reply.contains("idle"), "{reply}");
        client.ends().await;
        assert_eq!(limit_reached(&world, limit), 1, "{limit}");
    }
}

#[actix::test]
async fn limits_that_the_protocol_knows_are_counted_by_their_settings() {
    let world = World::start(Knobs {
        transfer: |_, session| {
            session.recipients_max = 1;
            session.bad_commands_max = 1;
            session.messages_max = NonZeroU32::new(1);
        },
        ..Knobs::default()
    })
    .await;
    let mut client = smtp(&world).await;
    in_transaction(&mut client).await;
    client.send("RCPT TO:<bob@example.org>\r\n").await;
    client.expect("452 4.5.3").await;
    client.send("BDAT 3 LAST\r\na\r\nMAIL FROM:<>\r\n").await;
    client.expect("250 2.0.0 delivered").await;
    client.expect("421 4.7.0").await;
    client.ends().await;
    let mut client = smtp(&world).await;
    client.send("MAIL FROM:<> SIZE=1000001\r\nONE\r\nTWO\r\n").await;
    for code in ["552 5.3.4", "500 ", "421 4.7.0"] {
        client.expect(code).await;
    }
    client.ends().await;
    for setting in [
        "smtp.max_recipients",
        "smtp.max_messages",
        "smtp.max_message_size",
        "smtp.max_bad_commands",
    ] {
        assert_eq!(limit_reached(&world, setting), 1, "{setting}");
    }
}

#[actix::test]
async fn a_line_without_an_end_ends_the_session_wherever_it_is() {
    let world = World::start(banning()).await;
    let mut logged_in = world.logged_in("ann").await;
    let mut client = world.pop3().await;
    client.send_until_closed(&"x".repeat(8_192)).await;
    let mut client = smtp(&world).await;
    client.send_until_closed(&"x".repeat(8_192)).await;
    logged_in.send_until_closed(&"x".repeat(8_192)).await;
    assert_eq!(limit_reached(&world, "pop3.endless_line"), 2);
    assert_eq!(limit_reached(&world, "smtp.endless_line"), 1);
    let [ban] = &world.bans.list()[..] else {
        panic!("who has not logged in and goes on so is banned")
    };
    assert_eq!(ban.reason, "2 sessions of bad commands in 10 min");
}

/// Sends an octet now and then, and gives what is said to it.
async fn drip(client: &mut Client) -> Option<String> {
    loop {
        tokio::select! {
            line = client.line() => return line,
            () = tokio::time::sleep(SHORT / 6) => client.send("N").await,
        }
    }
}

#[actix::test]
async fn a_client_that_sends_its_command_octet_by_octet_is_as_good_as_silent() {
    let world = World::start(Knobs {
        pop3_idle: SHORT,
        transfer: |options, _| options.idle_timeout = SHORT,
        ..Knobs::default()
    })
    .await;
    for limit in ["smtp.idle_timeout", "lmtp.idle_timeout", "pop3.idle_timeout"] {
        let mut client = match limit {
            "smtp.idle_timeout" => smtp(&world).await,
            "lmtp.idle_timeout" => world.lmtp().await,
            _ => world.logged_in("ann").await,
        };
        let said = drip(&mut client).await;
        let expected = (limit != "pop3.idle_timeout").then_some("421 4.4.2");
        assert_eq!(said.as_ref().map(|said| &said[..9]), expected, "{limit}");
        assert_eq!(limit_reached(&world, limit), 1, "{limit}");
    }
}

#[actix::test]
async fn a_client_that_reads_nothing_is_given_up_whatever_it_speaks() {
    let world = World::start(Knobs {
        write_stall: SHORT,
        ..Knobs::default()
    })
    .await;
    for (nth, protocol) in ["pop3", "smtp", "lmtp"].into_iter().enumerate() {
        let (mut client, command) = match protocol {
            "pop3" => (world.pop3().await, "CAPA\r\n"),
            "smtp" => (smtp(&world).await, "EHLO client.example\r\n"),
            _ => (world.lmtp().await, "LHLO client.example\r\n"),
        };
        client.send_until_closed(&command.repeat(1_000)).await;
        let counted = limit_reached(&world, "net.write_timeout");
        assert_eq!(counted, nth as u64 + 1, "{protocol}");
    }
    world.pop3().await;
}

#[actix::test]
async fn too_many_connections_are_refused_in_a_line_and_counted() {
    let few = |connections_max, per_address_max| Knobs {
        connections_max,
        per_address_max,
        ..Knobs::default()
    };
    for (limit, knobs) in [
        ("max_connections", few(2, 100)),
        ("max_connections_per_address", few(100, 2)),
    ] {
        let world = World::start(knobs).await;
        let _held = [world.pop3().await, world.pop3().await];
        let mut third = Client::connect(world.pop3).await;
        third.expect("-ERR [SYS/TEMP]").await;
        third.ends().await;
        assert_eq!(limit_reached(&world, limit), 1, "{limit}");
    }
}
