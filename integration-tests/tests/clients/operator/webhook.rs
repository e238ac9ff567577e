//! A webhook whose receiver is away, refuses, and is mended.

use std::net::{SocketAddr, TcpListener};

use mailhorn_integration_tests::listening::{self, is_idle, json, with_webhook};
use mailhorn_integration_tests::{Node, NodeBuilder, Receiving, add_users};
use serde_json::Value;

use super::{PATIENCE, deliver, done};

const READER: &str = "reader@example.org";
const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nhello\r\n";

fn builder(folder: &tempfile::TempDir, receiver: SocketAddr) -> NodeBuilder {
    add_users(folder.path(), "example.org", &["reader"], "secret");
    let builder = Node::builder().data_dir(folder.path());
    with_webhook(builder, folder.path(), receiver).setting("webhook.events", "Added")
}

/// The webhook's group when it is as it should be.
fn group_when(folder: &tempfile::TempDir, is_there: impl Fn(&Value) -> bool) -> Value {
    listening::group_when(folder.path(), "webhook", PATIENCE, is_there)
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
    group_when(&folder, is_idle);
    assert_eq!(done(folder.path(), "events dead-letters", ""), "");
}

#[test]
fn what_a_receiver_refuses_is_a_dead_letter_that_it_gets_again_when_it_was_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiving::start("127.0.0.1:0", 400);
    let node = builder(&folder, receiver.address()).start();
    assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, 250);
    let refused = receiver.next(400);
    group_when(&folder, |group| group["dead_letters"] == 1);
    let letters = json(folder.path(), "events dead-letters webhook --json");
    let id = letters[0]["id"].as_str().expect("an id");
    assert_eq!(refused["id"], id);
    let shown = json(folder.path(), &format!("events dead-letters show webhook {id}"));
    assert_eq!(shown["events"][0]["kind"], "Added");

    receiver.answer(200);
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
