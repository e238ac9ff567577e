//! A webhook whose receiver answers 500 for a while: every delivery is taken, nothing is lost, and nothing is given up.
//!
//! The while is `MAILHORN_OUTAGE_SECONDS` (5); the times of deliveries with and without it are printed, for whoever runs it
//! to compare.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use mailhorn_integration_tests::listening::{group_when, is_idle, with_webhook};
use mailhorn_integration_tests::{Lmtp, Node, Receiving, add_users, mail};

const USER: &str = "user@example.org";
const SENDERS: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(300);

/// Delivers from several connections for a while; gives how long each delivery took, in order of length.
fn deliver_for(lmtp: SocketAddr, time: Duration, first: u64) -> Vec<Duration> {
    let begun = Instant::now();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            thread::spawn(move || {
                let mut session = Lmtp::connect(lmtp).unwrap();
                let mut times = Vec::new();
                let mut number = first + sender * 1_000_000;
                while begun.elapsed() < time {
                    number += 1;
                    let content = mail::sized_content(number, 2_000);
                    let sent = Instant::now();
                    let replies = session.deliver("sender@example.com", &[USER], &content).unwrap();
                    assert_eq!(replies[0].code, 250);
                    times.push(sent.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times: Vec<Duration> = senders
        .into_iter()
        .flat_map(|sender| sender.join().unwrap())
        .collect();
    times.sort_unstable();
    times
}

fn told(what: &str, times: &[Duration]) {
    let at = |part: usize| times[(times.len() - 1) * part / 1_000];
    println!(
        "{what}: {} deliveries, median {:?}, p99 {:?}",
        times.len(),
        at(500),
        at(990)
    );
}

#[test]
fn a_receiver_that_answers_500_for_a_while_gets_everything_when_it_is_mended() {
    let seconds = std::env::var("MAILHORN_OUTAGE_SECONDS").ok();
    let outage = Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(5));
    let dir = tempfile::tempdir().unwrap();
    add_users(dir.path(), "example.org", &["user"], "secret");
    let plain = Node::builder().data_dir(dir.path());
    let mut node = plain.start();
    let without = deliver_for(node.lmtp(), outage, 0);
    assert!(node.terminate().success());

    let receiver = Receiving::start("127.0.0.1:0", 500);
    let hooked = with_webhook(plain, dir.path(), receiver.address());
    let mut node = hooked.start();
    let with = deliver_for(node.lmtp(), outage, 500_000);
    let group = group_when(dir.path(), "webhook", PATIENCE, |group| {
        group["state"] == "stopped"
    });
    assert_eq!(group["dead_letters"], 0);
    receiver.answer(200);
    let (give, taken) = sync_channel(1);
    let expected = with.len();
    thread::spawn(move || {
        let mut had = BTreeSet::new();
        while had.len() < expected
            && let Some((status, event)) = receiver.next_within(PATIENCE)
        {
            if status == 200 {
                had.insert(event["id"].as_str().unwrap().to_owned());
            }
        }
        give.send(had.len()).unwrap();
    });
    assert_eq!(taken.recv_timeout(PATIENCE).unwrap(), expected, "nothing is lost");
    let group = group_when(dir.path(), "webhook", PATIENCE, is_idle);
    assert_eq!(group["dead_letters"], 0);
    told("no webhook", &without);
    told(&format!("a webhook that answers 500 for {outage:?}"), &with);
    assert!(node.terminate().success());
}
