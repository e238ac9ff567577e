//! A webhook whose receiver is away, refuses, and is mended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use mailhorn_integration_tests::{Node, NodeBuilder, add_users};
use serde_json::Value;

use super::{PATIENCE, deliver, done};
use crate::kit::private_file;

const READER: &str = "reader@example.org";
const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nhello\r\n";

/// Requests that may wait to be looked at.
const REQUESTS_WAITING_MAX: usize = 1_024;

/// The program that the webhook calls.
struct Receiving {
    address: SocketAddr,
    /// What it answers with.
    status: Arc<AtomicU16>,
    /// What it was sent, with what it answered.
    bodies: Receiver<(u16, Value)>,
}

impl Receiving {
    fn start(at: &str, status: u16) -> Self {
        let listener = TcpListener::bind(at).expect("a port");
        let address = listener.local_addr().expect("an address");
        let status = Arc::new(AtomicU16::new(status));
        let (told, bodies) = sync_channel(REQUESTS_WAITING_MAX);
        let answer = Arc::clone(&status);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, told) = (Arc::clone(&answer), told.clone());
                thread::spawn(move || serve(stream, &answer, &told));
            }
        });
        Self {
            address,
            status,
            bodies,
        }
    }

    /// The next request that was answered so.
    fn next(&self, status: u16) -> Value {
        loop {
            let (answered, body) = self.bodies.recv_timeout(PATIENCE).expect("a request");
            if answered == status {
                return body;
            }
        }
    }
}

/// Takes the requests of a connection.
fn serve(stream: TcpStream, status: &AtomicU16, told: &SyncSender<(u16, Value)>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|octets| octets > 0) && line != "\r\n" {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if line.is_empty() || reader.read_exact(&mut body).is_err() {
            return;
        }
        let status = status.load(SeqCst);
        let body = serde_json::from_slice(&body).expect("JSON");
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        if told.send((status, body)).is_err() || reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn builder(folder: &tempfile::TempDir, receiver: SocketAddr) -> NodeBuilder {
    add_users(folder.path(), "example.org", &["reader"], "secret");
    let secret = private_file(folder.path(), "webhook.secret", "correct horse battery staple\n");
    Node::builder()
        .data_dir(folder.path())
        .setting("webhook.url", format!("http://{receiver}/hook"))
        .setting("webhook.secret_file", secret.display())
        .setting("webhook.events", "Added")
}

/// The webhook's group when it is as it should be.
fn group_when(folder: &tempfile::TempDir, is_there: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let groups = done(folder.path(), "events groups --json", "");
        let groups: Vec<Value> = serde_json::from_str(&groups).expect("JSON");
        let webhook = groups.into_iter().find(|group| group["name"] == "webhook");
        let webhook = webhook.expect("it is registered");
        if is_there(&webhook) {
            return webhook;
        }
        assert!(Instant::now() < until, "{webhook}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_receiver_that_is_away_makes_no_dead_letter_and_gets_everything_when_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let node = builder(&folder, address).start();
    for _ in 0..3 {
        assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, 250);
    }
    let group = group_when(&folder, |group| group["state"] == "stopped");
    assert!(group["why"].is_string(), "{group}");
    assert_eq!(done(folder.path(), "events dead-letters", ""), "");
    let receiver = Receiving::start(&address.to_string(), 200);
    for _ in 0..3 {
        assert_eq!(receiver.next(200)["kind"], "Added");
    }
    group_when(&folder, |group| group["state"] == "running" && group["lag"] == 0);
    assert_eq!(done(folder.path(), "events dead-letters", ""), "");
}

#[test]
fn what_a_receiver_refuses_is_a_dead_letter_that_it_gets_again_when_it_was_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiving::start("127.0.0.1:0", 400);
    let node = builder(&folder, receiver.address).start();
    assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, 250);
    let refused = receiver.next(400);
    group_when(&folder, |group| group["dead_letters"] == 1);
    let letters = done(folder.path(), "events dead-letters webhook --json", "");
    let letters: Value = serde_json::from_str(&letters).expect("JSON");
    let id = letters[0]["id"].as_str().expect("an id");
    assert_eq!(refused["id"], id);
    let shown = done(
        folder.path(),
        &format!("events dead-letters show webhook {id}"),
        "",
    );
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["events"][0]["kind"], "Added");

    receiver.status.store(200, SeqCst);
    done(folder.path(), "events dead-letters redeliver webhook", "");
    assert_eq!(receiver.next(200)["id"], id);
    group_when(&folder, |group| {
        group["dead_letters"] == 0 && group["parked"] == 0
    });
    drop(node);
    assert_eq!(
        done(folder.path(), "events dead-letters", ""),
        "",
        "on the stopped node's folder too"
    );
}
