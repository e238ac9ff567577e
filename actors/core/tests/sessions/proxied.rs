//! Clients behind a proxy: who is taken for whom, and who is not believed.

use std::net::SocketAddr;
use std::time::Duration;

use mailhorn_core::acceptor::Proxies;
use mailhorn_core::metrics::ProxyLabels;

use super::world::{Client, Knobs, PASSWORD, World};

/// A header of version 1 for a client at `source`.
fn header(source: &str) -> String {
    format!("PROXY TCP4 {source} 198.51.100.1 4660 24\r\n")
}

/// 192.0.2.7 in version 2, with additions behind the addresses.
const HEADER_2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xC0\0\x02\x07\xC6\x33\x64\x01\x12\x34\0\x18\x04\0\x02\0\0";

/// A node that believes this machine, with this time for a header.
fn behind_a_proxy(header_timeout: Duration) -> Knobs {
    Knobs {
        proxies: Proxies {
            networks: vec!["127.0.0.0/8".parse().unwrap()],
            header_timeout,
        },
        ..Knobs::default()
    }
}

async fn node() -> World {
    World::start(behind_a_proxy(Duration::from_secs(20))).await
}

fn counted(world: &World, result: &'static str) -> u64 {
    world
        .metrics
        .proxy_headers
        .get_or_create(&ProxyLabels { result })
        .get()
}

/// A connection that has begun with these octets.
async fn begun(address: SocketAddr, octets: &[u8]) -> Client {
    let mut client = Client::connect(address).await;
    client.send_octets(octets).await;
    client
}

/// The Received field of what came by LMTP over a connection that began with these octets.
async fn received(world: &World, octets: &[u8]) -> String {
    // The greeting is not waited for: what stands directly behind the header is the client's.
    let mut client = begun(world.lmtp, &[octets, b"LHLO client.example\r\n"].concat()).await;
    client.expect("220 ").await;
    client.replies().await;
    client.transaction(&["ann"], "Subject: x\r\n\r\nx\r\n").await;
    let mut reader = begun(world.pop3, header("127.0.0.1").as_bytes()).await;
    reader.expect("+OK").await;
    reader
        .send(&format!("USER ann@example.org\r\nPASS {PASSWORD}\r\nRETR 1\r\n"))
        .await;
    reader.expect("+OK").await;
    reader.expect("+OK").await;
    let lines = reader.multi_line().await;
    lines
        .into_iter()
        .find(|line| line.starts_with("Received: "))
        .unwrap()
}

#[actix::test]
async fn the_client_that_a_header_names_is_the_one_whose_mail_it_is() {
    for octets in [header("192.0.2.7").as_bytes(), HEADER_2] {
        let world = node().await;
        let received = received(&world, octets).await;
        assert!(received.contains("[192.0.2.7]"), "{received}");
        assert_eq!(counted(&world, "proxied"), 2, "that of the reader, too");
    }
}

#[actix::test]
async fn a_proxy_that_speaks_for_itself_is_the_client() {
    for octets in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let world = node().await;
        let received = received(&world, octets).await;
        assert!(received.contains("[127.0.0.1]"), "{received}");
        assert_eq!(counted(&world, "local"), 1);
    }
}

#[actix::test]
async fn a_client_from_afar_sends_no_password_in_clear_though_its_proxy_is_here() {
    let world = node().await;
    let mut client = begun(world.pop3, header("192.0.2.7").as_bytes()).await;
    client.expect("+OK").await;
    client.send("USER ann@example.org\r\n").await;
    client.expect("-ERR").await;
}

#[actix::test]
async fn a_header_may_come_in_pieces() {
    let world = node().await;
    let mut client = Client::connect(world.lmtp).await;
    for octet in HEADER_2 {
        client.send_octets(&[*octet]).await;
        tokio::task::yield_now().await;
    }
    client.expect("220 ").await;
}

#[actix::test]
async fn a_proxy_without_a_header_is_closed_and_counted() {
    let world = node().await;
    for octets in [
        &b"LHLO client.example\r\n"[..],
        b"\x16\x03\x01",
        b"PROXY TCP9 x\r\n",
    ] {
        begun(world.lmtp, octets).await.ends().await;
    }
    assert_eq!(counted(&world, "missing"), 3);
    assert_eq!(world.admission.connections(), 0, "its place is free again");
}

#[actix::test]
async fn a_late_header_holds_up_its_own_connection_and_ends_it() {
    let world = World::start(behind_a_proxy(Duration::from_millis(300))).await;
    let mut late = begun(world.lmtp, b"PROXY TCP4 192").await;
    let mut other = begun(world.lmtp, header("192.0.2.7").as_bytes()).await;
    other.expect("220 ").await;
    late.ends().await;
    assert_eq!(counted(&world, "late"), 1);
    other.send("NOOP\r\n").await;
    other.expect("250 ").await;
}

#[actix::test]
async fn who_is_no_proxy_is_asked_for_no_header_and_believed_none() {
    let mut knobs = behind_a_proxy(Duration::from_secs(20));
    knobs.proxies.networks = vec!["10.0.0.0/8".parse().unwrap()];
    let world = World::start(knobs).await;
    let mut client = begun(world.lmtp, header("192.0.2.7").as_bytes()).await;
    client.expect("220 ").await;
    client.expect("500 ").await;
}

#[actix::test]
async fn connections_are_limited_for_each_client_and_not_for_the_proxy() {
    let world = World::start(Knobs {
        per_address_max: 1,
        connections_max: 3,
        ..behind_a_proxy(Duration::from_secs(20))
    })
    .await;
    let mut first = begun(world.pop3, header("192.0.2.7").as_bytes()).await;
    first.expect("+OK").await;
    let mut second = begun(world.pop3, header("192.0.2.8").as_bytes()).await;
    second.expect("+OK").await;
    let mut again = begun(world.pop3, header("192.0.2.7").as_bytes()).await;
    again.expect("-ERR [SYS/TEMP]").await;
    again.ends().await;
    // One that has not said for whom it speaks is one of all.
    let _silent = Client::connect(world.pop3).await;
    let mut too_many = Client::connect(world.pop3).await;
    too_many.expect("-ERR [SYS/TEMP]").await;
}

#[actix::test]
async fn the_end_of_the_node_does_not_wait_for_a_header() {
    let world = node().await;
    let mut silent = Client::connect(world.lmtp).await;
    while world.admission.connections() == 0 {
        tokio::task::yield_now().await;
    }
    world.drain.begin(Duration::from_secs(60));
    silent.ends().await;
    assert_eq!(world.admission.connections(), 0);
}
