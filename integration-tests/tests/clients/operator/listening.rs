//! Following what happens: on the terminal, and over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use mailhorn_integration_tests::listening::{groups_when, is_idle, json};
use mailhorn_integration_tests::{Node, Pop3, add_users, binary};
use serde_json::Value;

use super::{PATIENCE, deliver, done, get, refused, token};
use crate::kit::without_settings;

const READER: &str = "reader@example.org";
const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nhello\r\n";

/// Lines that may wait to be looked at.
const LINES_WAITING_MAX: usize = 1_024;

fn folder_with_reader() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader"], "secret");
    folder
}

/// A `mailhorn events tail` that runs.
struct Tail {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Tail {
    fn start(data_dir: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(binary());
        without_settings(&mut command);
        let mut child = command
            .args(["events", "tail", "--data-dir"])
            .arg(data_dir)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let out = lines(child.stdout.take().expect("it was piped"));
        let err = lines(child.stderr.take().expect("it was piped"));
        let tail = Self { child, out, err };
        tail.wait_for("following");
        tail
    }

    /// What it shows next.
    fn line(&self) -> String {
        self.out.recv_timeout(PATIENCE).expect("an event is shown")
    }

    /// Waits until it says something to whoever watches. It may say other things for ever.
    fn wait_for(&self, needle: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            if self.err.recv_timeout(rest).expect(needle).contains(needle) {
                return;
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lines(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_WAITING_MAX);
    thread::spawn(move || {
        for line in BufReader::new(source).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

#[test]
fn tail_shows_mail_that_comes_and_goes_and_goes_on_after_a_restart_of_the_node() {
    let folder = folder_with_reader();
    let mut node = Node::builder().data_dir(folder.path()).start();
    let text = Tail::start(folder.path(), &["--user", READER]);
    let mailboxes = json(folder.path(), "mailbox list --json");
    let mailbox = mailboxes[0]["id"].as_str().expect("an id");
    let json = Tail::start(folder.path(), &["--mailbox", mailbox, "--json"]);

    assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, 250);
    let line = text.line();
    assert!(line.contains(READER) && line.contains("Added"), "{line}");
    let event: Value = serde_json::from_str(&json.line()).expect("JSON");
    assert_eq!(
        (event["kind"].as_str(), event["mailbox"].as_str()),
        (Some("Added"), Some(mailbox))
    );

    let mut session = Pop3::connect(node.pop3()).expect("POP3");
    assert!(session.log_in(READER, "secret").expect("a reply").is_ok());
    assert!(session.command("DELE 1").expect("a reply").is_ok());
    assert!(session.quit().expect("a reply").is_ok());
    assert!(text.line().contains("Expunged"));
    assert!(text.line().contains("MessageContentDeleted"));

    // A client that follows doesn't hold the end up.
    assert!(node.terminate().success());
    let node = Node::builder().data_dir(folder.path()).start();
    text.wait_for("events were missed");
    assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, 250);
    assert!(text.line().contains("Added"));
}

/// A client of the live feed that speaks HTTP itself.
struct Feed {
    lines: std::io::Lines<BufReader<TcpStream>>,
}

impl Feed {
    fn connect(node: &Node, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(node.admin()).expect("the admin server");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let last = last.map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
        let request = format!(
            "GET /api/v1/events?user={READER} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{last}\r\n",
            node.admin(),
            token(node.data_dir()),
        );
        stream
            .write_all(request.as_bytes())
            .expect("the request is taken");
        Self {
            lines: BufReader::new(stream).lines(),
        }
    }

    /// The next value of a field; the sizes of chunks and other fields are passed over.
    fn field(&mut self, name: &str) -> String {
        loop {
            let line = self.lines.next().expect("the feed goes on").expect("text");
            if let Some(value) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")) {
                return value.to_owned();
            }
        }
    }
}

#[test]
fn a_feed_goes_on_where_the_client_was() {
    let folder = folder_with_reader();
    let node = Node::builder().data_dir(folder.path()).start();
    assert_eq!(
        get(node.admin(), &format!("/api/v1/events?user={READER}"), None).0,
        401
    );
    let mut feed = Feed::connect(&node, None);
    let begin = feed.field("id");
    assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, 250);
    assert_eq!(feed.field("event"), "Added");
    drop(feed);
    assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, 250);

    let mut again = Feed::connect(&node, Some(&begin));
    let (mut ids, mut messages) = (Vec::new(), Vec::new());
    // Its standing, then the two that came since.
    assert_eq!(again.field("id"), begin);
    for _ in 0..2 {
        ids.push(again.field("id"));
        assert_eq!(again.field("event"), "Added");
        let event: Value = serde_json::from_str(&again.field("data")).expect("JSON");
        messages.push(event["messages"][0]["message"].clone());
    }
    assert_ne!(messages[0], messages[1]);
    let mut last = Feed::connect(&node, Some(&ids[0]));
    last.field("event");
    let event: Value = serde_json::from_str(&last.field("data")).expect("JSON");
    assert_eq!(event["messages"][0]["message"], messages[1], "the second alone");
}

#[test]
fn groups_are_listed_and_what_needs_a_running_node_says_so() {
    let folder = folder_with_reader();
    for line in [
        "events groups",
        "events forget quota",
        "events tail --user reader@example.org",
        "events dead-letters redeliver",
    ] {
        let reason = refused(folder.path(), line, "", 1);
        assert!(reason.contains("no node runs on"), "{line}: {reason}");
    }
    let node = Node::builder().data_dir(folder.path()).start();
    let groups = json(folder.path(), "events groups --json");
    assert_eq!(
        (&groups[0]["name"], &groups[0]["state"]),
        (&"quota".into(), &"running".into())
    );
    assert!(done(folder.path(), "events groups", "").starts_with("quota\trunning\tlag 0"));
    let reason = refused(folder.path(), "events forget quota", "", 1);
    assert!(reason.contains("registered on this node"), "{reason}");
    let reason = refused(folder.path(), "events dead-letters quotas", "", 1);
    assert!(reason.contains("no group quotas"), "{reason}");
    let reason = refused(folder.path(), "events tail --user nobody@example.org", "", 1);
    assert!(reason.contains("nobody@example.org"), "{reason}");
    drop(node);
    // Its listener switched off, the group can be forgotten.
    let node = Node::builder()
        .data_dir(folder.path())
        .setting("quota.enabled", false)
        .start();
    let warned = node.wait_for_log("whose listener is switched off", PATIENCE);
    assert!(warned.contains("quota"), "{warned}");
    done(folder.path(), "events forget quota", "");
    assert_eq!(done(folder.path(), "events groups", ""), "");
    drop(node);
}

/// The kind and the user of each event in the operation log.
fn operations_logged(data_dir: &Path) -> Vec<(String, String)> {
    let log = std::fs::read_to_string(data_dir.join("operations.jsonl")).expect("the operation log");
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let event = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
    let events = log.lines().map(event);
    events
        .map(|event| (text(&event, "kind"), text(&event, "user")))
        .collect()
}

#[test]
fn listeners_hear_of_what_was_done_while_the_node_was_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let builder = Node::builder()
        .data_dir(folder.path())
        .setting("operation_log.enabled", true);
    assert!(builder.start().terminate().success());
    add_users(folder.path(), "example.org", &["reader"], "secret");

    let mut node = builder.start();
    assert_eq!(groups_when(folder.path(), PATIENCE, is_idle).len(), 2);
    assert!(node.terminate().success());
    let added = ("MailboxAdded".to_owned(), READER.to_owned());
    assert_eq!(operations_logged(folder.path()), [added]);
}
