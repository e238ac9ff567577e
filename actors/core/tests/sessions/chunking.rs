//! Messages that come in chunks (RFC 3030) over the wire.

use mailhorn_ports::memory::NextCommit;

use crate::transfer::{lost_reply, smtp};
use crate::world::{Client, Knobs, World};

const MESSAGE: &str = "Subject: one\r\n\r\n.\r\n..text\r\n";

async fn to_ann(client: &mut Client) {
    client
        .send("MAIL FROM:<s@elsewhere.example>\r\nRCPT TO:<ann@example.org>\r\n")
        .await;
    client.expect("250 ").await;
    client.expect("250 ").await;
}

/// The messages of ann, without our own fields.
async fn contents_of_ann(world: &World) -> Vec<String> {
    let numbers = 1..=world.listed("ann").await.len();
    let mut client = world.logged_in("ann").await;
    let mut contents = Vec::new();
    for number in numbers {
        client.send(&format!("RETR {number}\r\n")).await;
        let ours = ["Return-Path:", "Delivered-To:", "Received:", "\t"];
        let lines = client.multi_line().await.into_iter();
        let content = lines.skip_while(|line| ours.iter().any(|ours| line.starts_with(ours)));
        contents.push(content.map(|line| line + "\r\n").collect());
    }
    contents
}

#[actix::test]
async fn chunks_that_are_cut_anywhere_give_the_message_that_was_sent() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    for cut in 0..=MESSAGE.len() {
        to_ann(&mut client).await;
        let (first, second) = MESSAGE.split_at(cut);
        let (octets, more) = (first.len(), second.len());
        // All at once: where one chunk ends and the next command begins, only the count says.
        client
            .send(&format!(
                "BDAT {octets}\r\n{first}BDAT {more}\r\n{second}BDAT 0 LAST\r\nNOOP\r\n"
            ))
            .await;
        client
            .expect(&format!("250 2.0.0 {octets} octets received"))
            .await;
        client.expect(&format!("250 2.0.0 {more} octets received")).await;
        client.expect("250 2.0.0 delivered").await;
        client.expect("250 2.0.0 ok").await;
    }
    let contents = contents_of_ann(&world).await;
    assert_eq!(contents.len(), MESSAGE.len() + 1);
    for (cut, content) in contents.iter().enumerate() {
        assert_eq!(content, MESSAGE, "cut at {cut}");
    }
}

#[actix::test]
async fn a_retry_in_chunks_of_what_came_by_data_makes_no_second_copy() {
    let world = World::start(Knobs::default()).await;
    lost_reply(&world, "Subject: one\r\n\r\ntext\r\n").await;
    let mut client = world.lmtp().await;
    to_ann(&mut client).await;
    // Its last line is open: it is ended as the one that came by DATA was.
    client.send("BDAT 20 LAST\r\nSubject: one\r\n\r\ntext").await;
    client.expect("250 2.0.0 delivered").await;
    client.send("QUIT\r\n").await;
    client.expect("221 ").await;
    assert_eq!(world.listed("ann").await.len(), 1);
}

#[actix::test]
async fn only_the_last_chunk_is_answered_for_what_is_durable() {
    let world = World::start(Knobs::default()).await;
    let mut client = world.lmtp().await;
    to_ann(&mut client).await;
    client.send("BDAT 4\r\na\r\n\r").await;
    client.expect("250 2.0.0 4 octets received").await;
    assert!(world.store.all_records(world.generation).is_empty());
    world.store.next_commit(NextCommit::UnknownNotDone);
    client.send("BDAT 1 LAST\r\n\n").await;
    client.expect("451 4.3.0").await;
}

#[actix::test]
async fn a_chunk_that_is_refused_is_read_past_and_the_session_goes_on() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    to_ann(&mut client).await;
    let smuggled = "a\n.\nMAIL FROM:<evil@x>\r\n";
    client
        .send(&format!(
            "BDAT {}\r\n{smuggled}BDAT 5 LAST\r\nQUIT\n",
            smuggled.len()
        ))
        .await;
    client.expect("550 5.6.0").await;
    client.expect("503 5.5.1").await;
    to_ann(&mut client).await;
    let large = "x".repeat(1_000_001);
    client
        .send(&format!("BDAT {} LAST\r\n{large}", large.len()))
        .await;
    client.expect("552 5.3.4").await;
    client.send("NOOP\r\n").await;
    client.expect("250 ").await;
    assert!(world.listed("ann").await.is_empty());
}

#[actix::test]
async fn a_chunk_that_is_far_too_large_is_not_waited_for() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    to_ann(&mut client).await;
    client.send("BDAT 1000000000000000\r\n").await;
    client.expect("552 5.3.4").await;
    client.ends().await;
}

#[actix::test]
async fn chunks_without_a_last_one_are_no_message() {
    let world = World::start(Knobs::default()).await;
    let mut client = smtp(&world).await;
    for drop_it in ["RSET", "EHLO c"] {
        to_ann(&mut client).await;
        client.send(&format!("BDAT 3\r\na\r\n{drop_it}\r\n")).await;
        client.expect("250 2.0.0 3 octets received").await;
        client.replies().await;
    }
    to_ann(&mut client).await;
    client.send("BDAT 3\r\nb\r\nQUIT\r\n").await;
    client.expect("250 2.0.0 3 octets received").await;
    client.expect("221 ").await;
    client.ends().await;
    assert!(world.listed("ann").await.is_empty());
}
