//! A stop that was asked for.

use std::time::{Duration, Instant};

use mailhorn_integration_tests::clients::dot_stuffed;
use mailhorn_integration_tests::{Lmtp, Node, mail};

use crate::maildrop::{USER, look, prepare};

const OCTETS: usize = 150_000;
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_transaction_that_is_under_way_at_sigterm_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let builder = Node::builder().data_dir(dir.path());
    let mut node = builder.start();
    let mut lmtp = Lmtp::connect(node.lmtp()).unwrap();
    assert_eq!(lmtp.envelope("sender@example.net", &[USER]).unwrap().len(), 1);
    let content = dot_stuffed(&mail::sized_content(1, OCTETS));
    let (first, rest) = content.split_at(content.len() / 2);
    lmtp.write(first).unwrap();

    node.ask_to_end();
    let said = node.wait_for_log("transactions may finish", PATIENCE);
    println!("the node said: {said}");
    // Its acceptors hear of it each on its own thread, a moment later.
    let begun = Instant::now();
    while Lmtp::connect(node.lmtp()).is_ok() {
        assert!(
            begun.elapsed() < PATIENCE,
            "a node that ends takes no new connection"
        );
    }
    lmtp.write(rest).unwrap();
    assert_eq!(lmtp.reply().unwrap().code, 250);
    let status = node.wait_for_end();
    assert_eq!(status.code(), Some(0), "{}", node.log());

    assert!(dir.path().join("clean").exists(), "a clean stop is noted");
    let begun = Instant::now();
    let node = builder.start();
    println!("start after a clean stop: {:?} until it accepts", begun.elapsed());
    assert!(
        !dir.path().join("journal-kept").exists(),
        "a clean stop needs no copy of the journal"
    );
    assert_eq!(look(&node, OCTETS).whole, [1].into());
}
