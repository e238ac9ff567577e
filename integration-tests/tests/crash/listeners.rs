//! SIGKILL while three groups listen: each has had every event when the node has come back, and usage is the sum over the
//! messages that are there.
//!
//! The number of events is `MAILHORN_EVENTS` (4,000).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use mailhorn_integration_tests::{Lmtp, Node, NodeBuilder, Pop3, Receiving, add_users, mail, mailhorn};
use parking_lot::Mutex;
use serde_json::Value;

const DOMAIN: &str = "example.org";
const PASSWORD: &str = "correct horse";
const USERS: usize = 20;
/// Recipients of a message: events of a record.
const RECIPIENTS: usize = 10;
const SENDERS: u64 = 8;
const KILLS: usize = 3;
/// How long groups may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(600);

/// A message in somebody's mailbox.
type Place = (String, String);

fn address(user: usize) -> String {
    format!("user{user}@{DOMAIN}")
}

/// Where the node of the moment is reached.
#[derive(Default)]
struct Stage {
    lmtp: Mutex<Option<SocketAddr>>,
    acknowledged: AtomicU64,
    is_over: AtomicBool,
}

/// Sends until enough was acknowledged.
fn send(stage: &Stage, sender: u64, enough: u64) {
    let mut number = sender * 10_000_000;
    while stage.acknowledged.load(SeqCst) < enough {
        let lmtp = *stage.lmtp.lock();
        let Some(mut session) = lmtp.and_then(|lmtp| Lmtp::connect(lmtp).ok()) else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        loop {
            number += 1;
            let first = usize::try_from(number).unwrap() % USERS;
            let to: Vec<String> = (first..first + RECIPIENTS)
                .map(|user| address(user % USERS))
                .collect();
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            let Ok(replies) = session.deliver("sender@example.com", &to, &mail::sized_content(number, 300))
            else {
                break;
            };
            let taken = replies.iter().filter(|reply| reply.code == 250).count() as u64;
            if stage.acknowledged.fetch_add(taken, SeqCst) + taken >= enough {
                return;
            }
        }
    }
}

/// What the webhook's receiver was sent, until the test is over.
fn collect(receiver: &Receiving, stage: &Stage) -> BTreeSet<Place> {
    let mut had = BTreeSet::new();
    while !stage.is_over.load(SeqCst) {
        while let Some((_, event)) = receiver.next_within(Duration::from_millis(200)) {
            had.extend(places(&event));
        }
    }
    had
}

/// The messages that an event says came in.
fn places(event: &Value) -> Vec<Place> {
    if event["kind"] != "Added" {
        return Vec::new();
    }
    let user = event["user"].as_str().unwrap().to_owned();
    let messages = event["messages"].as_array().unwrap().iter();
    let id = |message: &Value| {
        message["message"]
            .as_str()
            .or(message.as_str())
            .unwrap()
            .to_owned()
    };
    messages.map(|message| (user.clone(), id(message))).collect()
}

fn command(data_dir: &Path, line: &str) -> Value {
    let mut args = vec!["--data-dir", data_dir.to_str().unwrap()];
    args.extend(line.split(' '));
    let output = mailhorn(&args, "");
    assert!(output.status.success(), "mailhorn {line}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until no group has anything left to do; gives how many there are.
fn wait_for_groups(data_dir: &Path) -> usize {
    let until = Instant::now() + PATIENCE;
    loop {
        let groups = command(data_dir, "events groups --json");
        let groups = groups.as_array().unwrap().clone();
        let is_idle =
            |group: &Value| group["lag"] == 0 && group["parked"] == 0 && group["state"] == "running";
        if groups.iter().all(is_idle) {
            assert!(
                groups.iter().all(|group| group["dead_letters"] == 0),
                "{groups:#?}"
            );
            return groups.len();
        }
        assert!(Instant::now() < until, "{groups:#?}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Every message of every mailbox.
fn all_messages(pop3: SocketAddr) -> BTreeSet<Place> {
    let mut all = BTreeSet::new();
    for user in 0..USERS {
        let mut session = Pop3::connect(pop3).unwrap();
        session.log_in(&address(user), PASSWORD).unwrap().unwrap();
        all.extend(
            session
                .uidl()
                .unwrap()
                .into_iter()
                .map(|(_, id)| (address(user), id)),
        );
        session.quit().unwrap().unwrap();
    }
    all
}

/// Usage as quotas know it is what the mailboxes hold.
fn usage_is_the_sum(data_dir: &Path) -> u64 {
    let mut sum = (0, 0);
    let mailboxes = command(data_dir, "mailbox list --json");
    for mailbox in mailboxes.as_array().unwrap() {
        let held = (
            mailbox["messages"].as_u64().unwrap(),
            mailbox["octets"].as_u64().unwrap(),
        );
        let address = mailbox["address"].as_str().unwrap();
        let quota = command(data_dir, &format!("quota show {address} --json"));
        assert_eq!(used(&quota), held, "{address}");
        sum = (sum.0 + held.0, sum.1 + held.1);
    }
    let quota = command(data_dir, &format!("quota show {DOMAIN} --json"));
    assert_eq!(used(&quota), sum, "the domain");
    sum.0
}

fn used(quota: &Value) -> (u64, u64) {
    (
        quota["messages"].as_u64().unwrap(),
        quota["octets"].as_u64().unwrap(),
    )
}

fn builder(data_dir: &Path, receiver: SocketAddr) -> NodeBuilder {
    let names: Vec<String> = (0..USERS).map(|user| format!("user{user}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    add_users(data_dir, DOMAIN, &names, PASSWORD);
    let secret = data_dir.join("webhook.secret");
    std::fs::write(&secret, "correct horse battery staple").unwrap();
    Node::builder()
        .data_dir(data_dir)
        .setting("auth.argon2_memory", "8MiB")
        .setting("quota.user_messages", 10_000_000)
        .setting("quota.domain_size", "64GiB")
        .setting("operation_log.enabled", true)
        .setting("webhook.url", format!("http://{receiver}/hook"))
        .setting("webhook.secret_file", secret.display())
}

/// Kills the node at equal shares of the load; gives the one that lives on.
fn live(builder: &NodeBuilder, stage: &Stage, enough: u64) -> Node {
    for kill in 1..=KILLS as u64 {
        let mut node = builder.start();
        *stage.lmtp.lock() = Some(node.lmtp());
        let share = enough * kill / (KILLS as u64 + 1);
        while stage.acknowledged.load(SeqCst) < share {
            thread::sleep(Duration::from_millis(5));
        }
        *stage.lmtp.lock() = None;
        node.kill();
    }
    let node = builder.start();
    *stage.lmtp.lock() = Some(node.lmtp());
    node
}

#[test]
fn every_group_has_had_every_event_after_crashes_and_usage_is_the_sum() {
    let enough = std::env::var("MAILHORN_EVENTS").ok();
    let enough: u64 = enough.and_then(|events| events.parse().ok()).unwrap_or(4_000);
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiving::start("127.0.0.1:0", 200);
    let builder = builder(dir.path(), receiver.address());
    let stage = Arc::new(Stage::default());
    let (told, by_webhook): (SyncSender<_>, _) = mpsc::sync_channel(1);
    let collecting = Arc::clone(&stage);
    let collector = thread::spawn(move || told.send(collect(&receiver, &collecting)).unwrap());
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let stage = Arc::clone(&stage);
            thread::spawn(move || send(&stage, sender, enough))
        })
        .collect();
    let mut node = live(&builder, &stage, enough);
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(wait_for_groups(dir.path()), 3);
    let all = all_messages(node.pop3());
    assert!(all.len() as u64 >= stage.acknowledged.load(SeqCst));
    assert_eq!(usage_is_the_sum(dir.path()), all.len() as u64);
    stage.is_over.store(true, SeqCst);
    collector.join().unwrap();
    let by_webhook = by_webhook.recv().unwrap();
    let log = std::fs::read_to_string(dir.path().join("operations.jsonl")).unwrap();
    let mut lines: BTreeMap<Place, usize> = BTreeMap::new();
    for line in log.lines() {
        // A line that a kill cut off has its event again in a later one.
        if let Ok(event) = serde_json::from_str(line) {
            places(&event)
                .into_iter()
                .for_each(|place| *lines.entry(place).or_default() += 1);
        }
    }
    let logged: BTreeSet<Place> = lines.keys().cloned().collect();
    assert_eq!(
        all.difference(&logged).count(),
        0,
        "the operation log missed events"
    );
    assert_eq!(
        all.difference(&by_webhook).count(),
        0,
        "the webhook missed events"
    );
    let repeated = lines.values().filter(|times| **times > 1).count();
    println!(
        "{} events in {} logs of a node killed {KILLS} times: every group has had each; {repeated} had twice by the \
         operation log",
        all.len(),
        KILLS + 1
    );
    assert!(node.terminate().success());
}
