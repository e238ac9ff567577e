//! An operator's day: settings that are wrong, ports and folders that are taken, domains and accounts with the node
//! running and without, quotas, who listens to what happens, what the node shows of itself, and what it never shows.

mod accounts;
mod addresses;
mod listening;
mod looking_in;
mod quotas;
mod secrets;
mod settings;
mod webhook;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mailhorn_integration_tests::{Lmtp, Pop3, Reply, mailhorn};

/// How long the admin server may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command on a data folder.
fn command(data_dir: &Path, line: &str, stdin: &str) -> Output {
    let mut args = vec!["--data-dir", data_dir.to_str().expect("a path")];
    args.extend(line.split(' '));
    mailhorn(&args, stdin)
}

/// The same, where it has to be done; gives what it printed.
fn done(data_dir: &Path, line: &str, stdin: &str) -> String {
    let output = command(data_dir, line, stdin);
    assert!(
        output.status.success(),
        "mailhorn {line}: {}",
        crate::kit::said(&output)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// The same, where it has to fail with this exit status; gives the reason.
fn refused(data_dir: &Path, line: &str, stdin: &str, status: i32) -> String {
    let output = command(data_dir, line, stdin);
    assert_eq!(
        output.status.code(),
        Some(status),
        "mailhorn {line}: {}",
        crate::kit::said(&output)
    );
    String::from_utf8(output.stderr).expect("text")
}

/// Logs in; gives what PASS was answered with.
fn log_in(pop3: SocketAddr, user: &str, password: &str) -> Result<String, String> {
    let mut session = Pop3::connect(pop3).expect("POP3");
    let answer = session.log_in(user, password).expect("a reply");
    if answer.is_ok() {
        assert!(session.quit().expect("a reply").is_ok());
    }
    answer
}

/// Delivers a small message by LMTP; gives the recipient's reply. No two are the same: an equal one would be taken for a
/// retry of one before it, whose reply nobody showed to have read.
fn deliver(lmtp: SocketAddr, to: &str, content: &[u8]) -> Reply {
    static MESSAGES: AtomicU64 = AtomicU64::new(0);
    let id = MESSAGES.fetch_add(1, Ordering::SeqCst);
    let mut message = format!("Message-Id: <{id}@example.com>\r\n").into_bytes();
    message.extend_from_slice(content);
    let content = &message;
    let mut session = Lmtp::connect(lmtp).expect("LMTP");
    let replies = session
        .deliver("ines.kaya@example.com", &[to], content)
        .expect("a reply");
    replies.into_iter().next().expect("one recipient, one reply")
}

/// The token of a node's admin server.
fn token(data_dir: &Path) -> String {
    let token = std::fs::read_to_string(data_dir.join("admin.token")).expect("the token's file");
    token.trim().to_owned()
}

/// Asks the admin server; gives the status and the body.
fn get(admin: SocketAddr, path: &str, token: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).expect("the admin server");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{token}\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the request is taken");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response in text");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}
