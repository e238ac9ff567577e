//! POP3 over the wire: what needs the store, the log, the mailbox and its lock.

use std::time::Duration;

use mailhorn_core::mailbox::{LockMode, Reading};
use mailhorn_events::MessageId;
use mailhorn_ports::Directory;
use mailhorn_ports::memory::{MemoryStore, NextCommit};

use crate::world::{Knobs, PASSWORD, World};

const MESSAGE: &str = "Subject: one\r\n\r\n..dots\r\nend\r\n";

fn message_id(uidl: &str) -> MessageId {
    MessageId(uidl.split(' ').nth(1).unwrap().parse().unwrap())
}

#[actix::test]
async fn what_was_answered_250_is_listed_and_read_with_the_size_that_was_listed() {
    let world = World::start(Knobs::default()).await;
    assert_eq!(world.deliver(&["ann"], MESSAGE).await[0][..3], *"250");
    let mut ann = world.logged_in("ann").await;
    ann.send("LIST 1\r\nRETR 1\r\n").await;
    let listed = ann.expect("+OK 1 ").await;
    let lines = ann.multi_line().await;
    let size: usize = lines.iter().map(|line| line.len() + 2).sum();
    assert_eq!(listed, format!("+OK 1 {size}"));
    assert_eq!(lines[0], "Return-Path: <sender@elsewhere.example>");
    assert_eq!(lines[1], "Delivered-To: ann@example.org");
    assert!(lines[2].starts_with("Received: from client.example"));
    assert_eq!(lines[lines.len() - 4..], ["Subject: one", "", ".dots", "end"]);
}

#[actix::test]
async fn a_session_is_a_snapshot_and_the_next_one_sees_what_came() {
    let world = World::start(Knobs::default()).await;
    world.deliver(&["ann"], MESSAGE).await;
    let mut ann = world.logged_in("ann").await;
    world.deliver(&["ann"], MESSAGE).await;
    ann.send("STAT\r\nRSET\r\nSTAT\r\nQUIT\r\n").await;
    let before = ann.expect("+OK 1 ").await;
    ann.expect("+OK").await;
    assert_eq!(
        ann.expect("+OK 1 ").await,
        before,
        "RSET unmarks and does nothing else"
    );
    ann.expect("+OK").await;
    ann.ends().await;
    assert_eq!(world.listed("ann").await.len(), 2);
}

#[actix::test]
async fn quit_removes_what_was_marked_and_nothing_else() {
    let world = World::start(Knobs::default()).await;
    for _ in 0..3 {
        world.deliver(&["ann"], MESSAGE).await;
    }
    let before = world.listed("ann").await;
    let mut ann = world.logged_in("ann").await;
    ann.send("DELE 2\r\nQUIT\r\n").await;
    ann.expect("+OK").await;
    ann.expect("+OK").await;
    ann.ends().await;
    let after: Vec<_> = world
        .listed("ann")
        .await
        .iter()
        .map(|line| message_id(line))
        .collect();
    assert_eq!(after, [message_id(&before[0]), message_id(&before[2])]);
}

#[actix::test]
async fn a_connection_that_ends_without_quit_deletes_nothing() {
    let world = World::start(Knobs::default()).await;
    world.deliver(&["ann"], MESSAGE).await;
    let mut ann = world.logged_in("ann").await;
    ann.send("DELE 1\r\n").await;
    ann.expect("+OK").await;
    drop(ann);
    assert_eq!(world.listed("ann").await.len(), 1);
}

#[actix::test]
async fn silence_for_too_long_ends_the_session_and_deletes_nothing() {
    let knobs = Knobs {
        pop3_idle: Duration::from_millis(300),
        ..Knobs::default()
    };
    let world = World::start(knobs).await;
    world.deliver(&["ann"], MESSAGE).await;
    let mut ann = world.logged_in("ann").await;
    ann.send("DELE 1\r\n").await;
    ann.expect("+OK").await;
    ann.ends().await;
    assert_eq!(world.listed("ann").await.len(), 1);
}

#[actix::test]
async fn quit_with_an_unknown_outcome_says_so_whether_the_change_was_made_or_not() {
    for next in [NextCommit::UnknownDone, NextCommit::UnknownNotDone] {
        let world = World::start(Knobs::default()).await;
        world.deliver(&["ann"], MESSAGE).await;
        let mut ann = world.logged_in("ann").await;
        world.store.next_commit(next);
        ann.send("DELE 1\r\nQUIT\r\n").await;
        ann.expect("+OK").await;
        ann.expect("-ERR [SYS/TEMP]").await;
        ann.ends().await;
        // The log repeats the group until it is known: this delivery goes through only after that.
        while !world.deliver(&["ann"], "Subject: two\r\n\r\n").await[0].starts_with("250") {}
        assert_eq!(
            world.listed("ann").await.len(),
            1,
            "the marked message went, once"
        );
    }
}

#[actix::test]
async fn a_maildrop_in_use_is_told_after_a_right_password_alone() {
    let world = World::start(Knobs::default()).await;
    let first = world.logged_in("ann").await;
    let mut second = world.pop3().await;
    second.send("USER ann@example.org\r\nPASS wrong\r\n").await;
    second.expect("+OK").await;
    second.expect("-ERR [AUTH]").await;
    second
        .send("USER ann@example.org\r\nPASS correct horse\r\n")
        .await;
    second.expect("+OK").await;
    second.expect("-ERR [IN-USE]").await;
    drop(first);
    world.listed("ann").await;
}

#[actix::test]
async fn a_log_in_waits_a_moment_for_the_session_before_it() {
    let knobs = Knobs {
        lock_wait: Duration::from_secs(20),
        ..Knobs::default()
    };
    let world = World::start(knobs).await;
    let mut first = world.logged_in("ann").await;
    let mut second = world.pop3().await;
    second
        .send("USER ann@example.org\r\nPASS correct horse\r\n")
        .await;
    second.expect("+OK").await;
    first.send("QUIT\r\n").await;
    first.expect("+OK").await;
    second.expect("+OK").await;
}

#[actix::test]
async fn a_shared_maildrop_takes_several_sessions_and_one_may_delete_under_the_other() {
    let knobs = Knobs {
        lock: LockMode::Shared,
        ..Knobs::default()
    };
    let world = World::start(knobs).await;
    world.deliver(&["ann"], MESSAGE).await;
    world.deliver(&["ann"], MESSAGE).await;
    let (mut first, mut second) = (world.logged_in("ann").await, world.logged_in("ann").await);
    second.send("DELE 1\r\nQUIT\r\n").await;
    second.expect("+OK").await;
    second.expect("+OK").await;
    first.send("STAT\r\nRETR 1\r\nRETR 2\r\n").await;
    first.expect("+OK 2 ").await;
    first.expect("-ERR [SYS/TEMP]").await;
    first.multi_line().await;
    first.send("DELE 1\r\nDELE 2\r\nQUIT\r\n").await;
    for _ in 0..3 {
        first.expect("+OK").await;
    }
    assert!(world.listed("ann").await.is_empty());
}

#[actix::test]
async fn a_log_in_too_soon_is_told_after_a_right_password_alone_and_one_that_came_to_nothing_counts_for_nothing()
 {
    let knobs = || Knobs {
        login_delay: Duration::from_secs(3_600),
        ..Knobs::default()
    };
    let world = World::start(knobs()).await;
    // The maildrop is in another's hands: there is no `+OK` from which anything counts.
    let account = world.store.account("ann@example.org").await.unwrap().unwrap();
    let held = world
        .mailboxes
        .open(account.id, LockMode::Exclusive, Duration::ZERO)
        .await
        .unwrap();
    let log_in = format!("USER ann@example.org\r\nPASS {PASSWORD}\r\n");
    let mut ann = world.pop3().await;
    for _ in 0..2 {
        ann.send(&log_in).await;
        ann.expect("+OK").await;
        ann.expect("-ERR [IN-USE]").await;
    }
    held.lock.release().await;
    ann.send(&log_in).await;
    ann.expect("+OK").await;
    ann.expect("+OK").await;
    ann.send("QUIT\r\n").await;
    ann.expect("+OK").await;
    let mut again = world.pop3().await;
    again.send("USER ann@example.org\r\nPASS wrong\r\n").await;
    again.expect("+OK").await;
    again.expect("-ERR [AUTH]").await;
    again.send(&log_in).await;
    again.expect("+OK").await;
    again.expect("-ERR [LOGIN-DELAY]").await;
    world.logged_in("bob").await;
}

#[actix::test]
async fn sessions_of_one_user_are_limited() {
    let knobs = Knobs {
        lock: LockMode::Shared,
        ..Knobs::default()
    };
    let world = World::start(knobs).await;
    let _held = [
        world.logged_in("ann").await,
        world.logged_in("ann").await,
        world.logged_in("ann").await,
    ];
    let mut fourth = world.pop3().await;
    fourth
        .send("USER ann@example.org\r\nPASS correct horse\r\n")
        .await;
    fourth.expect("+OK").await;
    fourth.expect("-ERR [").await;
    let _bob = world.logged_in("bob").await;
}

#[actix::test]
async fn a_message_that_cannot_be_read_costs_itself_alone_and_no_reader_removes_it() {
    let world = World::start(Knobs::default()).await;
    for _ in 0..3 {
        world.deliver(&["ann"], MESSAGE).await;
    }
    let listed = world.listed("ann").await;
    world.store.lose_octets(message_id(&listed[0]));
    world.store.damage_octets(message_id(&listed[1]));
    let mut ann = world.logged_in("ann").await;
    ann.send("RETR 1\r\nRETR 2\r\nRETR 3\r\n").await;
    ann.expect("-ERR [SYS/TEMP]").await;
    ann.expect("-ERR [SYS/PERM]").await;
    ann.multi_line().await;
    ann.send("QUIT\r\n").await;
    ann.expect("+OK").await;
    assert_eq!(world.listed("ann").await, listed);
}

#[actix::test]
async fn a_store_that_is_away_is_told_and_comes_back() {
    let world = World::start(Knobs::default()).await;
    world.deliver(&["ann"], MESSAGE).await;
    world.store.set_unavailable(true);
    let mut ann = world.pop3().await;
    ann.send("USER ann@example.org\r\nPASS correct horse\r\n").await;
    ann.expect("+OK").await;
    ann.expect("-ERR [SYS/TEMP]").await;
    world.store.set_unavailable(false);
    assert_eq!(world.listed("ann").await.len(), 1);
}

/// Logs in with the right password while listings are refused, then while they are not.
async fn cannot_list(reading: Reading) {
    let knobs = Knobs {
        reading,
        ..Knobs::default()
    };
    let world = World::start(knobs).await;
    world.deliver(&["ann"], MESSAGE).await;
    world.store.refuse_listings(true);
    let mut ann = world.pop3().await;
    ann.send("USER ann@example.org\r\nPASS correct horse\r\n").await;
    ann.expect("+OK").await;
    ann.expect("-ERR [SYS/TEMP]").await;
    world.store.refuse_listings(false);
    ann.send("USER ann@example.org\r\nPASS correct horse\r\nSTAT\r\n")
        .await;
    ann.expect("+OK").await;
    ann.expect("+OK").await;
    ann.expect("+OK 1 ").await;
}

#[actix::test]
async fn a_maildrop_that_cannot_be_listed_now_is_told_and_stays_free() {
    cannot_list(Reading::Cached).await;
    cannot_list(Reading::Through).await;
}

#[actix::test]
async fn each_way_to_log_in_tells_of_a_store_that_is_away() {
    let world = World::start(Knobs::default()).await;
    // Ann's name and a nonce (RFC 5802 §7); her name and password (RFC 4616 §2).
    for first in [
        "SCRAM-SHA-256 biwsbj1hbm5AZXhhbXBsZS5vcmcscj1meWtvK2QybGJiRmdPTlJ2OXFreGRhd0w=",
        "PLAIN AGFubkBleGFtcGxlLm9yZwBjb3JyZWN0IGhvcnNl",
    ] {
        let mut ann = world.pop3().await;
        world.store.set_unavailable(true);
        ann.send(&format!("AUTH {first}\r\n")).await;
        ann.expect("-ERR [SYS/TEMP]").await;
        world.store.set_unavailable(false);
    }
}

#[actix::test]
async fn a_store_that_is_away_under_a_session_is_told_at_each_command_that_needs_it() {
    let world = World::start(Knobs::default()).await;
    world.deliver(&["ann"], MESSAGE).await;
    world.deliver(&["ann"], MESSAGE).await;
    let mut ann = world.logged_in("ann").await;
    world.store.set_unavailable(true);
    ann.send("RETR 1\r\nRETR 2\r\nTOP 1 0\r\nSTAT\r\n").await;
    for _ in 0..3 {
        ann.expect("-ERR [SYS/TEMP]").await;
    }
    ann.expect("+OK 2 ").await;
    world.store.set_unavailable(false);
    ann.send("RETR 1\r\n").await;
    ann.multi_line().await;
    world.store.set_unavailable(true);
    ann.send("DELE 1\r\nQUIT\r\n").await;
    ann.expect("+OK").await;
    ann.expect("-ERR [SYS/TEMP]").await;
    ann.ends().await;
}

#[actix::test]
async fn reading_through_lists_what_another_node_answered_for_though_nothing_told_of_it() {
    let store = MemoryStore::new();
    let knobs = || Knobs {
        reading: Reading::Through,
        ..Knobs::default()
    };
    let here = World::start_on(store.clone(), 1, knobs()).await;
    let there = World::start_on(store, 2, knobs()).await;
    here.deliver(&["ann"], MESSAGE).await;
    assert_eq!(here.listed("ann").await.len(), 1);
    there.deliver(&["ann"], "Subject: two\r\n\r\n").await;
    assert_eq!(here.listed("ann").await.len(), 2);
    let mut ann = there.logged_in("ann").await;
    ann.send("DELE 1\r\nDELE 2\r\nQUIT\r\n").await;
    for _ in 0..3 {
        ann.expect("+OK").await;
    }
    assert!(here.listed("ann").await.is_empty());
    assert_eq!(
        here.mailboxes.in_use(),
        0,
        "no actor keeps a view that nobody reads"
    );
}

#[actix::test]
async fn stls_where_there_is_no_certificate_is_neither_offered_nor_taken() {
    let world = World::start(Knobs::default()).await;
    let mut client = world.pop3().await;
    client.send("CAPA\r\n").await;
    let capabilities = client.multi_line().await;
    assert!(capabilities.iter().all(|line| line != "STLS"), "{capabilities:?}");
    assert!(
        capabilities.contains(&"SASL SCRAM-SHA-256 PLAIN LOGIN".to_owned()),
        "{capabilities:?}"
    );
    client.send("STLS\r\n").await;
    client.expect("-ERR").await;
}

#[actix::test]
async fn a_thousand_pipelined_commands_are_answered_in_order() {
    let world = World::start(Knobs::default()).await;
    world.deliver(&["ann"], MESSAGE).await;
    let mut ann = world.logged_in("ann").await;
    let mut commands = String::new();
    for _ in 0..500 {
        commands.push_str("RETR 1\r\nSTAT\r\n");
    }
    ann.send(&commands).await;
    for _ in 0..500 {
        ann.multi_line().await;
        ann.expect("+OK 1 ").await;
    }
}

#[actix::test]
async fn a_message_of_many_chunks_is_read_octet_for_octet() {
    let world = World::start(Knobs::default()).await;
    let body: String = (0..9_000)
        .map(|n| format!(".line {n} of a message of several chunks\r\n"))
        .collect();
    let content: String = body
        .split_inclusive("\r\n")
        .map(|line| format!(".{line}"))
        .collect();
    world
        .deliver(&["ann"], &format!("Subject: long\r\n\r\n{content}"))
        .await;
    let mut ann = world.logged_in("ann").await;
    ann.send("LIST 1\r\nRETR 1\r\nTOP 1 2\r\n").await;
    let listed = ann.expect("+OK 1 ").await;
    let lines = ann.multi_line().await;
    let size: usize = lines.iter().map(|line| line.len() + 2).sum();
    assert_eq!(listed, format!("+OK 1 {size}"));
    assert_eq!(lines.last().unwrap(), ".line 8999 of a message of several chunks");
    assert_eq!(
        ann.multi_line().await.last().unwrap(),
        ".line 1 of a message of several chunks"
    );
}

#[actix::test]
async fn the_nodes_end_deletes_nothing_and_says_why() {
    let world = World::start(Knobs::default()).await;
    world.deliver(&["ann"], MESSAGE).await;
    let mut ann = world.logged_in("ann").await;
    ann.send("DELE 1\r\n").await;
    ann.expect("+OK").await;
    world.drain.begin(Duration::from_secs(5));
    ann.expect("-ERR [SYS/TEMP]").await;
    ann.ends().await;
    assert!(world.log.finish().await);
}
