//! LMTP and SMTP over the wire: what a reply promises, and retries.

use std::time::Duration;

use mailhorn_core::log::FORGET_PAUSE;
use mailhorn_ports::contract::World as ContractWorld;
use mailhorn_ports::memory::NextCommit;
use mailhorn_ports::{Directory, NoteKey};

use crate::world::{Client, Knobs, World};

const MESSAGE: &str = "Subject: one\r\n\r\ntext\r\n";

pub(crate) async fn smtp(world: &World) -> Client {
    let mut client = Client::connect(world.smtp).await;
    client.expect("220 ").await;
    client.send("EHLO client.example\r\n").await;
    client.replies().await;
    client
}

/// An LMTP session that is about to send a message to ann.
async fn at_data(world: &World) -> Client {
    let mut client = world.lmtp().await;
    client
        .send("MAIL FROM:<s@elsewhere.example>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n")
        .await;
    for code in ["250", "250", "354"] {
        client.expect(code).await;
    }
    client
}

/// Sends a message whole, and breaks the connection off before the reply could be read.
pub(crate) async fn lost_reply(world: &World, content: &str) {
    let before = world.kinds.lmtp.snapshot();
    let mut client = at_data(world).await;
    let records = world.store.all_records(world.generation).len();
    client.send(&format!("{content}.\r\n")).await;
    // The record shows that the delivery is durable; the reply is left unread.
    while world.store.all_records(world.generation).len() == records {
        tokio::task::yield_now().await;
    }
    drop(client);
    while world.kinds.lmtp.alive() > before.alive {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn retry(world: &World, content: &str) -> String {
    let mut client = at_data(world).await;
    client.send(&format!("{content}.\r\n")).await;
    let reply = client.line().await.unwrap();
    client.send("QUIT\r\n").await;
    client.expect("221").await;
    reply
}

#[actix::test]
async fn a_retry_after_a_lost_reply_is_answered_250_and_makes_no_second_copy() {
    let world = World::start(Knobs::default()).await;
    lost_reply(&world, MESSAGE).await;
    assert!(retry(&world, MESSAGE).await.starts_with("250"));
    assert_eq!(world.listed("ann").await.len(), 1);
}

/// Ends the log once all sessions have ended: by then so many notes were to be kept, and so many to be forgotten.
async fn said_of_notes(world: &World, kept: usize, forgotten: usize) {
    while world.kinds.lmtp.alive() + world.kinds.smtp.alive() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(world.log.finish().await);
    assert_eq!(
        (
            world.store.notes_kept().len(),
            world.store.notes_forgotten().len()
        ),
        (kept, forgotten)
    );
}

#[actix::test]
async fn a_note_is_kept_when_the_connection_ends_before_the_reply_was_read() {
    let world = World::start(Knobs::default()).await;
    lost_reply(&world, MESSAGE).await;
    said_of_notes(&world, 1, 0).await;
}

#[actix::test]
async fn a_note_is_forgotten_and_not_kept_when_the_reply_was_read() {
    let world = World::start(Knobs::default()).await;
    world.deliver(&["ann", "bob"], MESSAGE).await;
    said_of_notes(&world, 0, 2).await;
}

#[actix::test]
async fn a_note_to_keep_does_not_wait_for_a_change_to_travel_with() {
    let world = World::start(Knobs::default()).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    world.log.keep(vec![NoteKey([1; 32])]);
    while world.store.notes_kept().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() < FORGET_PAUSE);
}

#[actix::test]
async fn a_retry_takes_over_the_note_of_what_was_lost() {
    let world = World::start(Knobs::default()).await;
    lost_reply(&world, MESSAGE).await;
    assert!(retry(&world, MESSAGE).await.starts_with("250"));
    said_of_notes(&world, 1, 1).await;
    assert_eq!(world.store.notes_kept(), world.store.notes_forgotten());
}

#[actix::test]
async fn the_notes_of_a_451_whose_outcome_is_unknown_are_kept_though_the_log_takes_no_change_now() {
    for next in [NextCommit::UnknownDone, NextCommit::UnknownNotDone] {
        let world = World::start(Knobs::default()).await;
        world.store.next_commit(next);
        let replies = world.deliver(&["ann", "bob"], MESSAGE).await;
        assert!(
            replies.iter().all(|reply| reply.starts_with("451")),
            "{replies:?}"
        );
        said_of_notes(&world, 2, 0).await;
    }
}

#[actix::test]
async fn the_notes_of_those_who_have_it_are_kept_where_one_451_speaks_for_all() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    client
        .send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
        .await;
    for code in ["250", "250", "250", "354"] {
        client.expect(code).await;
    }
    world.store.remove_account("bob@example.org").await.unwrap();
    client.send(&format!("{MESSAGE}.\r\n")).await;
    client.expect("451 ").await;
    client.send("QUIT\r\n").await;
    client.expect("221 ").await;
    said_of_notes(&world, 1, 0).await;
}

#[actix::test]
async fn what_was_refused_leaves_no_note_to_keep() {
    let world = World::start(Knobs::default()).await;
    let mut clients = [at_data(&world).await, at_data(&world).await];
    world.store.set_unavailable(true);
    // The first one is unknown, and repeated in vain; the second one is not tried meanwhile.
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&format!("Subject: {n}\r\n\r\n.\r\n")).await;
        client.expect("451 ").await;
    }
    world.store.set_unavailable(false);
    drop(clients);
    said_of_notes(&world, 1, 0).await;
    assert_eq!(world.store.all_records(world.generation).len(), 1);
}

#[actix::test]
async fn a_session_that_panics_keeps_the_notes_of_what_was_not_read() {
    let world = World::start(Knobs::default()).await;
    let mut client = at_data(&world).await;
    // What is behind the message shows nothing.
    world.store.panic_at_account("bob@example.org");
    client
        .send(&format!(
            "{MESSAGE}.\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\n"
        ))
        .await;
    client.ends().await;
    assert_eq!(world.kinds.lmtp.snapshot().panicked, 1);
    said_of_notes(&world, 1, 0).await;
}

#[actix::test]
async fn two_equal_messages_whose_replies_were_read_are_both_kept() {
    let world = World::start(Knobs::default()).await;
    assert!(retry(&world, MESSAGE).await.starts_with("250"));
    assert!(retry(&world, MESSAGE).await.starts_with("250"));
    assert_eq!(world.listed("ann").await.len(), 2);
}

#[actix::test]
async fn a_command_pipelined_behind_the_final_dot_shows_nothing() {
    let world = World::start(Knobs::default()).await;
    let mut client = at_data(&world).await;
    client.send(&format!("{MESSAGE}.\r\nQUIT\r\n")).await;
    client.expect("250").await;
    client.expect("221").await;
    client.ends().await;
    assert!(retry(&world, MESSAGE).await.starts_with("250"));
    assert_eq!(world.listed("ann").await.len(), 1);
}

#[actix::test]
async fn what_was_answered_451_and_came_to_be_stored_is_known_at_the_retry() {
    for next in [NextCommit::UnknownDone, NextCommit::UnknownNotDone] {
        let world = World::start(Knobs::default()).await;
        world.store.next_commit(next);
        assert!(retry(&world, MESSAGE).await.starts_with("451"));
        let mut reply = retry(&world, MESSAGE).await;
        while reply.starts_with("451") {
            reply = retry(&world, MESSAGE).await;
        }
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(world.listed("ann").await.len(), 1);
    }
}

#[actix::test]
async fn a_note_is_too_old_after_the_window() {
    let world = World::start(Knobs::default()).await;
    lost_reply(&world, MESSAGE).await;
    world.clock.advance(Duration::from_secs(86_401));
    assert!(retry(&world, MESSAGE).await.starts_with("250"));
    assert_eq!(world.listed("ann").await.len(), 2);
}

#[actix::test]
async fn without_a_window_nothing_is_taken_for_a_retry() {
    let world = World::start(Knobs {
        notes: false,
        ..Knobs::default()
    })
    .await;
    lost_reply(&world, MESSAGE).await;
    assert!(retry(&world, MESSAGE).await.starts_with("250"));
    assert_eq!(world.listed("ann").await.len(), 2);
}

#[actix::test]
async fn lmtp_answers_for_each_recipient_and_both_share_the_octets() {
    let world = World::start(Knobs::default()).await;
    let replies = world.deliver(&["ann", "bob"], MESSAGE).await;
    assert!(
        replies.iter().all(|reply| reply.starts_with("250 ")),
        "{replies:?}"
    );
    assert_eq!(
        world.listed("ann").await,
        world.listed("bob").await,
        "one message id a transaction"
    );
}

#[actix::test]
async fn one_recipient_named_twice_gets_one_copy_and_two_replies() {
    let world = World::start(Knobs::default()).await;
    let replies = world.deliver(&["ann", "ann"], MESSAGE).await;
    assert!(
        replies.iter().all(|reply| reply.starts_with("250 ")),
        "{replies:?}"
    );
    assert_eq!(world.listed("ann").await.len(), 1);
}

#[actix::test]
async fn only_local_recipients_are_taken() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    client
        .send("MAIL FROM:<>\r\nRCPT TO:<nobody@example.org>\r\nRCPT TO:<x@elsewhere.example>\r\n")
        .await;
    client.expect("250 ").await;
    client.expect("550 5.1.1").await;
    client.expect("550 5.7.1").await;
    client.send("RCPT TO:<Ann@EXAMPLE.org>\r\n").await;
    client.expect("250 ").await;
    world.store.set_unavailable(true);
    client
        .send("RCPT TO:<bob@example.org>\r\nRCPT TO:<x@elsewhere.example>\r\n")
        .await;
    client.expect("451 4.3.0").await;
    client.expect("451 4.3.0").await;
    world.store.set_unavailable(false);
    client.send("RCPT TO:<bob@example.org>\r\n").await;
    client.expect("250 ").await;
}

#[actix::test]
async fn a_stored_message_says_that_it_came_with_smtputf8() {
    let world = World::start(Knobs::default()).await;
    for (parameter, word, said) in [(" SMTPUTF8", "UTF8LMTP", true), ("", "LMTP", false)] {
        let mut client = world.lmtp().await;
        client
            .send(&format!(
                "MAIL FROM:<{word}@elsewhere.example>{parameter}\r\nRCPT TO:<ann@example.org>\r\nBDAT 2 LAST\r\n\r\n"
            ))
            .await;
        for code in ["250", "250", "250 2.0.0 delivered"] {
            client.expect(code).await;
        }
        let mut client = world.logged_in("ann").await;
        client.send("RETR 1\r\nDELE 1\r\nQUIT\r\n").await;
        let stored = client.multi_line().await.join("\r\n");
        assert!(stored.contains(&format!(" with {word}\r\n")), "{stored}");
        assert_eq!(mailhorn_smtp::trace::came_with_smtputf8(stored.as_bytes()), said);
        client.expect("+OK").await;
        client.expect("+OK").await;
    }
}

#[actix::test]
async fn smtp_answers_once_for_all_and_451_when_the_outcome_is_unknown() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    world.store.next_commit(NextCommit::UnknownNotDone);
    client
        .send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
        .await;
    for code in ["250", "250", "250", "354"] {
        client.expect(code).await;
    }
    client.send(&format!("{MESSAGE}.\r\n")).await;
    client.expect("451 4.3.0").await;
    client.send("NOOP\r\n").await;
    client.expect("250").await;
}

#[actix::test]
async fn a_bare_line_feed_is_refused_and_leaves_nothing() {
    let world = World::start(Knobs::default()).await;
    let mut client = world.lmtp().await;
    let reply = client
        .transaction(&["ann"], "Subject: x\r\n\r\nsmuggled\n.\nMAIL FROM:<evil@x>\r\n")
        .await;
    assert!(reply[0].starts_with("550 5.6.0"), "{reply:?}");
    client.send("NOOP\r\n").await;
    client.expect("250").await;
    assert!(world.listed("ann").await.is_empty());
}

#[actix::test]
async fn a_message_too_large_is_refused_when_it_ends_and_the_session_goes_on() {
    let world = World::start(Knobs::default()).await;
    let mut client = world.lmtp().await;
    let content = "0123456789\r\n".repeat(100_000);
    let reply = client.transaction(&["ann"], &content).await;
    assert!(reply[0].starts_with("552 5.3.4"), "{reply:?}");
    let reply = client.transaction(&["ann"], MESSAGE).await;
    assert!(reply[0].starts_with("250"), "{reply:?}");
}

#[actix::test]
async fn a_store_that_is_away_in_the_middle_of_a_message_is_451() {
    let world = World::start(Knobs::default()).await;
    let mut client = world.lmtp().await;
    client
        .send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n")
        .await;
    for code in ["250", "250", "354"] {
        client.expect(code).await;
    }
    world.store.set_unavailable(true);
    client.send(&"0123456789\r\n".repeat(20_000)).await;
    client.send(".\r\n").await;
    client.expect("451 4.3.0").await;
    world.store.set_unavailable(false);
    let reply = client.transaction(&["ann"], MESSAGE).await;
    assert!(reply[0].starts_with("250"), "{reply:?}");
    assert_eq!(world.listed("ann").await.len(), 1);
}

#[actix::test]
async fn a_transaction_that_has_begun_may_end_while_the_node_drains() {
    let world = World::start(Knobs::default()).await;
    let mut idle = world.lmtp().await;
    let mut busy = world.lmtp().await;
    busy.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n")
        .await;
    for code in ["250", "250", "354"] {
        busy.expect(code).await;
    }
    world.drain.begin(Duration::from_secs(20));
    idle.expect("421 4.3.2").await;
    idle.ends().await;
    busy.send(&format!("{MESSAGE}.\r\n")).await;
    busy.expect("250").await;
    busy.expect("421 4.3.2").await;
    busy.ends().await;
    assert!(world.log.finish().await);
    assert_eq!(world.store.all_records(world.generation).len(), 1);
}

#[actix::test]
async fn a_group_of_many_deliveries_is_one_commit() {
    let world = World::start(Knobs::default()).await;
    world.store.delay_commits(Duration::from_millis(20));
    let deliveries = (0..16).map(|n| {
        let world = &world;
        async move { world.deliver(&["ann"], &format!("Subject: {n}\r\n\r\n")).await }
    });
    for replies in futures_join(deliveries).await {
        assert!(replies[0].starts_with("250"), "{replies:?}");
    }
    assert!(
        world.store.commits() < 14,
        "{} commits for 16 deliveries",
        world.store.commits()
    );
    assert_eq!(world.listed("ann").await.len(), 16);
    let numbers: Vec<_> = world
        .store
        .all_records(world.generation)
        .iter()
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(numbers, (1..=16).collect::<Vec<_>>(), "a log has no holes");
}

/// Runs all of them at once.
async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[actix::test]
async fn mail_to_another_address_of_an_account_arrives_there_and_says_under_which_it_was_sent() {
    let world = World::start(Knobs::default()).await;
    let clauses = ContractWorld::seeded(&world.store, 9);
    let ann = world.store.account("ann@example.org").await.unwrap().unwrap();
    clauses.alias("info@example.org", &ann).await;
    world
        .store
        .add_alias_domain("example.com", "example.org")
        .await
        .unwrap();
    let others = [
        "ann+lists@example.org",
        "info@example.org",
        "Ann@example.com",
        "postmaster@example.com",
    ];
    for (nth, other) in others.into_iter().enumerate() {
        let mut client = smtp(&world).await;
        let lines = format!("MAIL FROM:<s@elsewhere.example>\r\nRCPT TO:<{other}>\r\nDATA\r\n");
        client.send(&lines).await;
        for code in ["250", "250", "354"] {
            client.expect(code).await;
        }
        client.send(&format!("Subject: {nth}\r\n\r\n.\r\nQUIT\r\n")).await;
        client.expect("250").await;
        client.expect("221").await;
        let mut ann = world.logged_in("ann").await;
        ann.send(&format!("RETR {}\r\n", nth + 1)).await;
        let lines = ann.multi_line().await;
        assert_eq!(lines[1], format!("Delivered-To: {}", other.to_lowercase()));
        ann.send("QUIT\r\n").await;
        ann.expect("+OK").await;
        ann.ends().await;
    }
    let mut client = smtp(&world).await;
    client
        .send("MAIL FROM:<>\r\nRCPT TO:<nobody@example.com>\r\nRCPT TO:<ann@example.net>\r\n")
        .await;
    for reply in ["250", "550 5.1.1", "550 5.7.1"] {
        client.expect(reply).await;
    }
}

fn delivered_to(address: &str) -> String {
    format!("Subject: round\r\nDelivered-To: {address}\r\n\r\ntext\r\n")
}

#[actix::test]
async fn a_message_that_a_recipient_has_had_is_refused_on_lmtp_for_that_one_alone() {
    let world = World::start(Knobs::default()).await;
    let content = delivered_to("\"ANN\"@Example.org");
    let replies = world.deliver(&["ann", "bob", "ann"], &content).await;
    let starts = ["554 5.4.6", "250 2.0.0", "554 5.4.6"];
    for (reply, start) in replies.iter().zip(starts) {
        assert!(reply.starts_with(start), "{replies:?}");
    }
    assert!(world.listed("ann").await.is_empty());
    assert_eq!(world.listed("bob").await.len(), 1);
}

#[actix::test]
async fn what_a_mailbox_here_gave_out_is_known_when_it_comes_back() {
    let world = World::start(Knobs::default()).await;
    world.deliver(&["ann"], MESSAGE).await;
    let mut client = world.logged_in("ann").await;
    client.send("RETR 1\r\n").await;
    let stored = client.multi_line().await.join("\r\n") + "\r\n";
    let replies = world.deliver(&["ann", "bob"], &stored).await;
    assert!(replies[0].starts_with("554 5.4.6"), "{replies:?}");
    assert!(replies[1].starts_with("250"), "{replies:?}");
}

#[actix::test]
async fn on_smtp_a_loop_is_refused_where_all_recipients_have_had_it_and_else_all_get_it() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    for (recipients, reply) in [(&["ann"][..], "554 5.4.6"), (&["ann", "bob"], "250 2.0.0")] {
        client.send("MAIL FROM:<>\r\n").await;
        client.expect("250 ").await;
        for recipient in recipients {
            client
                .send(&format!("RCPT TO:<{recipient}@example.org>\r\n"))
                .await;
            client.expect("250 ").await;
        }
        client
            .send(&format!("DATA\r\n{}.\r\n", delivered_to("ann@example.org")))
            .await;
        client.expect("354 ").await;
        client.expect(reply).await;
    }
    assert_eq!(world.listed("ann").await.len(), 1);
    assert_eq!(world.listed("bob").await.len(), 1);
}
