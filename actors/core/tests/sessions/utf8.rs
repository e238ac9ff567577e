//! Internationalized mail (RFC 6531, RFC 6532) and clients that may not understand it (RFC 6856).

use mailhorn_ports::CHUNK_OCTETS_MAX;

use crate::world::{Client, Knobs, PASSWORD, World};

/// Our own field, as a message of this transmission has it.
fn received(with: &str) -> String {
    format!(
        "Received: from client.example ([192.0.2.1])\r\n\tby mx.example.org with {with}\r\n\tid 1;\r\n\tThu, 1 Jan 2026 \
         00:00:00 +0000\r\n"
    )
}

async fn in_utf8_mode(world: &World) -> Client {
    let mut client = world.pop3().await;
    client
        .send(&format!("UTF8\r\nUSER ann@example.org\r\nPASS {PASSWORD}\r\n"))
        .await;
    for _ in 0..3 {
        client.expect("+OK").await;
    }
    client
}

/// Asks for message 1 by LIST, RETR and TOP, which must give as much as LIST says and begin with the same lines.
async fn is_given(client: &mut Client) -> Vec<String> {
    client.send("LIST 1\r\nRETR 1\r\nTOP 1 0\r\n").await;
    let listed = client.expect("+OK 1 ").await;
    let lines = client.multi_line().await;
    let size: usize = lines.iter().map(|line| line.len() + 2).sum();
    assert_eq!(listed, format!("+OK 1 {size}"));
    let top = client.multi_line().await;
    assert_eq!(top, lines[..top.len()]);
    lines
}

async fn is_refused(client: &mut Client) {
    client
        .send("LIST 1\r\nRETR 1\r\nTOP 1 0\r\nTOP 1 99\r\nSTAT\r\n")
        .await;
    client.expect("+OK 1 ").await;
    for _ in 0..3 {
        client.expect("-ERR [UTF8] ").await;
    }
    client.expect("+OK 1 ").await;
}

#[actix::test]
async fn internationalized_mail_is_given_to_clients_in_utf8_mode_alone_and_at_the_same_size() {
    let world = World::start(Knobs::default()).await;
    for with in ["UTF8SMTP", "UTF8SMTPS", "UTF8SMTPSA", "UTF8LMTP"] {
        let content = received(with) + "Subject: gr\u{FC}n\r\n\r\ngr\u{FC}n\r\n";
        world.store_message("ann", content.as_bytes()).await;
        let mut ann = world.logged_in("ann").await;
        is_refused(&mut ann).await;
        ann.send("QUIT\r\n").await;
        ann.expect("+OK").await;
        ann.ends().await;
        let mut ann = in_utf8_mode(&world).await;
        let lines = is_given(&mut ann).await;
        assert_eq!(lines[lines.len() - 3..], ["Subject: gr\u{FC}n", "", "gr\u{FC}n"]);
        ann.send("DELE 1\r\nQUIT\r\n").await;
        ann.expect("+OK").await;
        ann.expect("+OK").await;
        ann.ends().await;
    }
}

#[actix::test]
async fn what_was_not_sent_as_internationalized_mail_goes_out_as_it_came() {
    let headers = [
        (received("ESMTP"), "Subject: gr\u{FC}n\r\n"),
        // Of an ASCII header nobody needs to know.
        (received("UTF8SMTPS"), "Subject: green\r\n"),
        // A field below ours is another host's, or anybody's.
        (
            received("ESMTPS"),
            "X: gr\u{FC}n\r\nReceived: from a\r\n\tby b with UTF8SMTP\r\n",
        ),
        (
            String::new(),
            "Received: from a\r\n\tby b\r\n\twith UTF8SMTP\r\nX: gr\u{FC}n\r\n",
        ),
    ];
    for (ours, header) in headers {
        let world = World::start(Knobs::default()).await;
        world
            .store_message("ann", format!("{ours}{header}\r\ngr\u{FC}n\r\n").as_bytes())
            .await;
        let mut ann = world.logged_in("ann").await;
        let lines = is_given(&mut ann).await;
        assert_eq!(lines.last().map(String::as_str), Some("gr\u{FC}n"), "{header}");
    }
}

#[actix::test]
async fn a_header_of_many_chunks_is_looked_through_to_its_end() {
    let long: String = (0..CHUNK_OCTETS_MAX / 40)
        .map(|n| format!("X-{n:06}: {:0>60}\r\n", n))
        .collect();
    let world = World::start(Knobs::default()).await;
    let content = received("UTF8SMTP") + &long + "Subject: gr\u{FC}n\r\n\r\nbody\r\n";
    world.store_message("ann", content.as_bytes()).await;
    is_refused(&mut world.logged_in("ann").await).await;
    let world = World::start(Knobs::default()).await;
    let content = received("UTF8SMTP") + &long + "\r\ngr\u{FC}n\r\n";
    world.store_message("ann", content.as_bytes()).await;
    is_given(&mut world.logged_in("ann").await).await;
}
