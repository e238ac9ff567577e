//! SIGKILL while three groups listen: each has had every event when the node has come back, and usage is the sum over the
//! messages that are there.
//!
//! The number of events is `MAILHORN_EVENTS` (4,000).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use mailhorn_integration_tests::listening::{groups_when, is_idle, json, with_webhook};
use mailhorn_integration_tests::{Lmtp, Node, NodeBuilder, Pop3, Receiving, add_users, mail};
use serde_json::Value;

use crate::stage::{Life, Stage};

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

/// What the clients and whoever counts share.
#[derive(Default)]
struct Run {
    stage: Stage,
    acknowledged: AtomicU64,
    is_over: AtomicBool,
}

/// Sends until enough was acknowledged, a step a message.
fn send(run: &Run, sender: u64, enough: u64) {
    let mut number = sender * 10_000_000;
    let mut last = None;
    while run.acknowledged.load(SeqCst) < enough {
        let life = run.stage.after(last);
        last = Some(life.number);
        if let Err(error) = send_in(run, life, &mut number, enough) {
            assert!(run.stage.is_over(life), "{error} while the node was alive");
        }
    }
}

/// Sends in one life of the node.
fn send_in(run: &Run, life: Life, number: &mut u64, enough: u64) -> io::Result<()> {
    let mut session = Lmtp::connect(life.lmtp)?;
    while run.acknowledged.load(SeqCst) < enough {
        *number += 1;
        let first = usize::try_from(*number).unwrap() % USERS;
        let to: Vec<String> = (first..first + RECIPIENTS)
            .map(|user| address(user % USERS))
            .collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let replies = session.deliver("sender@example.com", &to, &mail::sized_content(*number, 300))?;
        let taken = replies.iter().filter(|reply| reply.code == 250).count() as u64;
        run.acknowledged.fetch_add(taken, SeqCst);
        run.stage.step();
    }
    Ok(())
}

/// What the webhook's receiver was sent, until the test is over.
fn collect(receiver: &Receiving, run: &Run) -> BTreeSet<Place> {
    let mut had = BTreeSet::new();
    while !run.is_over.load(SeqCst) {
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
    let mailboxes = json(data_dir, "mailbox list --json");
    for mailbox in mailboxes.as_array().unwrap() {
        let held = (
            mailbox["messages"].as_u64().unwrap(),
            mailbox["octets"].as_u64().unwrap(),
        );
        let address = mailbox["address"].as_str().unwrap();
        let quota = json(data_dir, &format!("quota show {address} --json"));
        assert_eq!(used(&quota), held, "{address}");
        sum = (sum.0 + held.0, sum.1 + held.1);
    }
    let quota = json(data_dir, &format!("quota show {DOMAIN} --json"));
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
    let builder = Node::builder()
        .data_dir(data_dir)
        .setting("auth.argon2_memory", "8MiB")
        .setting("quota.user_messages", 10_000_000)
        .setting("quota.domain_size", "64GiB")
        .setting("operation_log.enabled", true);
    with_webhook(builder, data_dir, receiver)
}

/// Kills the node at equal shares of the load; gives the one that lives on.
fn live(builder: &NodeBuilder, stage: &Stage, enough: u64) -> Node {
    let share = enough / RECIPIENTS as u64 / (KILLS as u64 + 1);
    for kill in 0..KILLS {
        let mut node = builder.start();
        stage.enter(kill, &node, false);
        stage.doom_after(share);
        node.kill();
    }
    let node = builder.start();
    stage.enter(KILLS, &node, true);
    node
}

#[test]
fn every_group_has_had_every_event_after_crashes_and_usage_is_the_sum() {
    let enough = std::env::var("MAILHORN_EVENTS").ok();
    let enough: u64 = enough.and_then(|events| events.parse().ok()).unwrap_or(4_000);
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiving::start("127.0.0.1:0", 200);
    let builder = builder(dir.path(), receiver.address());
    let run = Arc::new(Run::default());
    let (told, by_webhook): (SyncSender<_>, _) = mpsc::sync_channel(1);
    let collecting = Arc::clone(&run);
    let collector = thread::spawn(move || told.send(collect(&receiver, &collecting)).unwrap());
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let run = Arc::clone(&run);
            thread::spawn(move || send(&run, sender, enough))
        })
        .collect();
    let mut node = live(&builder, &run.stage, enough);
    for sender in senders {
        sender.join().unwrap();
    }
    let groups = groups_when(dir.path(), PATIENCE, is_idle);
    assert_eq!(groups.len(), 3);
    assert!(
        groups.iter().all(|group| group["dead_letters"] == 0),
        "{groups:#?}"
    );
    let all = all_messages(node.pop3());
    assert!(all.len() as u64 >= run.acknowledged.load(SeqCst));
    assert_eq!(usage_is_the_sum(dir.path()), all.len() as u64);
    run.is_over.store(true, SeqCst);
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
