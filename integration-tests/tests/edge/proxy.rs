//! Clients behind a proxy, by its header before whatever the listener speaks.

use std::io::Write;
use std::net::TcpStream;

use mailhorn_integration_tests::{Node, add_users};
use rustls::version::TLS13;

use crate::kit::{PATIENCE, Talk, TlsTalk, done};

const HEADER: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4660 24\r\n";

#[test]
fn the_header_comes_before_tls_and_names_the_client_in_received_and_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    add_users(folder.path(), "example.org", &["ann"], "a-long-password");
    let node = Node::builder()
        .data_dir(folder.path())
        .setting("net.proxy_networks", "127.0.0.0/8,::1/128")
        .setting("net.proxy_timeout", "500ms")
        .start();

    let mut lmtp = Talk::connect(node.lmtp());
    lmtp.send(HEADER.as_bytes());
    assert!(lmtp.line().starts_with("220 "));
    let commands =
        "LHLO client.example.net\r\nMAIL FROM:<bob@example.net>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n";
    lmtp.send(commands.as_bytes());
    while !lmtp.line().starts_with("354 ") {}
    assert!(lmtp.ask("Subject: x\r\n\r\nx\r\n.").starts_with("250 "));
    drop(node.wait_for_log("peer=192.0.2.7", PATIENCE));

    let mut stream = TcpStream::connect(node.pop3s()).unwrap();
    stream.write_all(HEADER.as_bytes()).unwrap();
    let (mut pop3, _) = TlsTalk::begin(stream, "localhost", &[&TLS13]).unwrap();
    assert!(pop3.line().starts_with("+OK"));
    assert!(pop3.ask("USER ann@example.org").starts_with("+OK"));
    assert!(pop3.ask("PASS a-long-password").starts_with("+OK"));
    assert!(pop3.ask("RETR 1").starts_with("+OK"));
    let mut received = pop3.line();
    while !received.starts_with("Received: ") {
        received = pop3.line();
    }
    assert!(received.contains("[192.0.2.7]"), "{received}");

    // TLS at once, where a header has to be.
    let stream = TcpStream::connect(node.pop3s()).unwrap();
    assert!(TlsTalk::begin(stream, "localhost", &[&TLS13]).is_err());
    drop(node.wait_for_log("net.proxy_networks was closed: no PROXY header", PATIENCE));
    // A client that waits for the greeting.
    assert_eq!(Talk::connect(node.smtp()).line(), "");
    drop(node.wait_for_log("no header within net.proxy_timeout", PATIENCE));
    // Commands and probes come as before.
    assert_eq!(done(folder.path(), "domain list").trim(), "example.org");
}
