//! Hostile clients at a node: each reaches a limit that is counted, the node's memory stays bounded, and a client that behaves
//! well is served before, during and after.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use mailhorn_integration_tests::figures::{counted, resident_kib};
use mailhorn_integration_tests::{Lmtp, Node, NodeBuilder, Pop3, add_users};

use crate::kit::connect_from;

const PASSWORD: &str = "a-long-password";
/// Where hostile clients come from. Nobody trusts it.
const HOSTILE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// What a node may grow by under any of these attacks. Some of them send as much as that each second.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

/// A node as it comes, but for how soon it gives up, and that this machine's other addresses are strangers.
fn node(folder: &Path) -> NodeBuilder {
    add_users(folder, "example.org", &["friend"], PASSWORD);
    Node::builder()
        .data_dir(folder)
        .setting("auth.trusted_networks", "127.0.0.1/32")
        .setting("net.write_timeout", "10s")
        .setting("tls.handshake_timeout", "1s")
        .setting("smtp.max_message_size", "1MiB")
}

fn hostile(to: SocketAddr) -> TcpStream {
    connect_from(HOSTILE, to)
}

/// That a connection was reset is an end as well; that nothing happens for too long is none.
fn assert_closed(error: &io::Error) {
    use io::ErrorKind::{TimedOut, WouldBlock};
    assert!(!matches!(error.kind(), TimedOut | WouldBlock), "it is still open");
}

/// Sends the same octets until the node has closed the connection, or they were sent so often. Gives whether it has.
fn flood(mut stream: &TcpStream, octets: &[u8], times: usize) -> bool {
    (0..times).any(|_| stream.write_all(octets).inspect_err(assert_closed).is_err())
}

/// Returns when the node has closed the connection; gives what it said.
fn said_to_the_end(mut stream: &TcpStream) -> String {
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_closed(&error);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Mail comes and is fetched and deleted. No two messages are alike: one would be the other's retry.
fn serve_a_friend(node: &Node) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let content = mailhorn_integration_tests::mail::content(NEXT.fetch_add(1, Ordering::Relaxed));
    let mut lmtp = Lmtp::connect(node.lmtp()).unwrap();
    let replies = lmtp
        .deliver("someone@example.com", &["friend@example.org"], &content)
        .unwrap();
    assert_eq!(replies[0].code, 250);
    let mut pop3 = Pop3::connect(node.pop3()).unwrap();
    assert!(pop3.log_in("friend@example.org", PASSWORD).unwrap().is_ok());
    assert!(pop3.retr(1).unwrap().is_ok());
    assert!(pop3.command("DELE 1").unwrap().is_ok());
    assert!(pop3.quit().unwrap().is_ok());
}

/// Attacks a node of its own, and holds what must hold of it. `limit` must have been counted at least so often.
fn withstands(limit: &str, times: u64, attack: impl FnOnce(&Node) + Send) {
    withstands_counted("mailhorn_limits_reached_total", limit, times, attack);
}

/// The same of what another metric counts.
fn withstands_counted(metric: &str, limit: &str, times: u64, attack: impl FnOnce(&Node) + Send) {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).start();
    serve_a_friend(&node);
    let before = resident_kib(node.pid()).unwrap();
    let most = std::thread::scope(|scope| {
        let attacking = scope.spawn(|| attack(&node));
        let mut most = 0;
        while !attacking.is_finished() {
            serve_a_friend(&node);
            most = resident_kib(node.pid()).unwrap().max(most);
        }
        attacking.join().unwrap();
        most
    });
    serve_a_friend(&node);
    let counted = counted(&node, metric).unwrap();
    assert!(
        counted.get(limit).is_some_and(|count| *count >= times),
        "{limit} was not counted: {counted:?}"
    );
    assert!(
        most < before + GROWTH_KIB_MAX,
        "the node has grown from {before} KiB to {most} KiB"
    );
}

#[test]
fn lines_without_an_end() {
    withstands("pop3.endless_line", 1, |node| {
        let line = [b'a'; 65_536];
        for to in [node.pop3(), node.smtp()] {
            let stream = hostile(to);
            assert!(flood(&stream, &line, 1_000), "it is not read for ever");
        }
    });
}

#[test]
fn clients_that_ask_much_and_read_nothing() {
    withstands("net.write_timeout", 2, |node| {
        let commands = [("CAPA\r\n", node.pop3()), ("NOOP\r\n", node.smtp())];
        std::thread::scope(|scope| {
            for (command, to) in commands {
                scope.spawn(move || {
                    let stream = hostile(to);
                    assert!(flood(&stream, command.repeat(10_000).as_bytes(), 1_000));
                });
            }
        });
    });
}

#[test]
fn ten_thousand_bad_commands() {
    withstands("pop3.bad_commands", 1, |node| {
        let stream = hostile(node.pop3());
        flood(&stream, "XYZZY\r\n".repeat(10_000).as_bytes(), 1);
        assert!(said_to_the_end(&stream).matches("-ERR").count() < 10);
    });
}

#[test]
fn twenty_five_megabytes_of_nul_as_content() {
    withstands("smtp.max_message_size", 1, |node| {
        let mut stream = hostile(node.lmtp());
        stream
            .write_all(b"LHLO h\r\nMAIL FROM:<>\r\nRCPT TO:<friend@example.org>\r\nDATA\r\n")
            .unwrap();
        assert!(
            !flood(&stream, &[0; 65_536], 25_000_000 / 65_536),
            "it is read to its end"
        );
        stream.write_all(b"\r\n.\r\nQUIT\r\n").unwrap();
        let said = said_to_the_end(&stream);
        assert!(said.contains("\r\n552 5.3.4 "), "{said}");
    });
}

#[test]
fn twenty_five_megabytes_of_nul_as_commands() {
    withstands("smtp.endless_line", 1, |node| {
        let stream = hostile(node.smtp());
        assert!(
            flood(&stream, &[0; 65_536], 25_000_000 / 65_536),
            "it is not read to its end"
        );
    });
}

#[test]
fn five_thousand_connections_of_one_address() {
    withstands("pop3.max_connections_per_address", 4_900, |node| {
        let held: Vec<TcpStream> = (0..100).map(|_| hostile(node.pop3())).collect();
        for stream in &held {
            let greeting = &mut [0; 3];
            let mut stream = stream;
            stream.read_exact(greeting).unwrap();
            assert_eq!(greeting, b"+OK");
        }
        for _ in 0..4_900 {
            let said = said_to_the_end(&hostile(node.pop3()));
            assert!(said.starts_with("-ERR [SYS/TEMP]"), "{said}");
        }
    });
}

#[test]
fn handshakes_of_tls_that_never_begin() {
    withstands("tls.handshake_timeout", 2, |node| {
        for stream in [hostile(node.pop3s()), hostile(node.smtps())] {
            assert_eq!(said_to_the_end(&stream), "");
        }
    });
}

/// Each hash fills 19 MiB, and there are as many at a time as cores: what is taken for them is taken once.
#[test]
fn passwords_that_are_guessed() {
    withstands_counted("mailhorn_auth_total", "refused", 60, |node| {
        let to = node.pop3();
        std::thread::scope(|scope| {
            for client in 0..20 {
                scope.spawn(move || {
                    // Each of its own address: what one address may is another limit.
                    let mut stream = connect_from(Ipv4Addr::new(127, 0, 1, client), to);
                    for guess in 0..3 {
                        write!(stream, "USER friend@example.org\r\nPASS guess-{guess}\r\n").unwrap();
                    }
                    assert_eq!(said_to_the_end(&stream).matches("-ERR [AUTH]").count(), 3);
                });
            }
        });
    });
}
