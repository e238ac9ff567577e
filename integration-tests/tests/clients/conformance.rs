//! The conformance suite against a node: everything passes but what is named here, with its reason.

use std::path::Path;
use std::process::{Command, Stdio};

use mailhorn_integration_tests::{Lmtp, Node, Pop3, Reply, add_users};
use serde_json::Value;

const PASSWORD: &str = "a-long-password";

/// Cases that a node fails, and why it is left so. A case that passes again has to go from here.
const FAILS: &[(&str, &str)] = &[
    (
        "lmtp.line-end.lf-in-command",
        "a bare LF ends a command: protocols/lines says why",
    ),
    (
        "smtp.line-end.lf-in-command",
        "a bare LF ends a command: protocols/lines says why",
    ),
    (
        "lmtp.return-path.one",
        "content is stored as it came, an old Return-Path too",
    ),
    (
        "smtp.return-path.one",
        "content is stored as it came, an old Return-Path too",
    ),
];

fn node(dir: &Path) -> Node {
    add_users(dir, "example.org", &["ann", "bob"], PASSWORD);
    Node::builder()
        .data_dir(dir)
        .setting("smtp.postmaster", "ann@example.org")
        .start()
}

/// The suite on a node's POP3 and LMTP, with ann's account.
fn suite(node: &Node) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conform"));
    command
        .args(["--pop3", &node.pop3().to_string()])
        .args(["--lmtp", &node.lmtp().to_string()])
        .args(["--user", "ann@example.org"])
        .env("CONFORM_PASSWORD", PASSWORD)
        .stdin(Stdio::null());
    command
}

#[test]
fn a_node_passes_every_case_of_the_conformance_suite_but_those_that_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path());
    let output = suite(&node)
        .args(["--pop3s", &node.pop3s().to_string()])
        .args(["--smtp", &node.smtp().to_string()])
        .args(["--second-user", "bob@example.org", "--format", "json"])
        .output()
        .expect("the suite runs");
    let told = String::from_utf8_lossy(&output.stderr);
    let results: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    let rows = results["rows"].as_array().expect("rows");
    let came_to =
        |outcome: &str| -> Vec<&Value> { rows.iter().filter(|row| row["outcome"] == outcome).collect() };
    let failed: Vec<&str> = came_to("fail")
        .iter()
        .filter_map(|row| row["id"].as_str())
        .collect();
    let mut expected: Vec<&str> = FAILS.iter().map(|(id, _)| *id).collect();
    expected.sort_by_key(|id| rows.iter().position(|row| row["id"] == *id));
    assert_eq!(failed, expected, "{:#?}\n{}", came_to("fail"), node.log());
    // So that nothing passes by not being tried.
    let unrun: Vec<&str> = came_to("not run")
        .iter()
        .filter_map(|row| row["id"].as_str())
        .collect();
    assert_eq!(unrun, ["pop3.timer"]);
    assert!(came_to("pass").len() > 400, "{} passed", came_to("pass").len());
}

#[test]
fn the_suite_leaves_mail_of_others_alone_and_wants_to_be_told_that_it_may_run_beside_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path());
    let mut lmtp = Lmtp::connect(node.lmtp()).expect("LMTP");
    let content = b"Subject: not to be lost\r\n\r\nbody\r\n";
    let replies = lmtp.deliver("eve@example.com", &["ann@example.org"], content);
    assert!(replies.expect("a reply").iter().all(Reply::is_ok));

    let refused = suite(&node).output().expect("the suite runs");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("--maildrop-may-have-mail"), "{told}");

    let ran = suite(&node)
        .args([
            "--maildrop-may-have-mail",
            "--only",
            "pop3.quit",
            "--only",
            "pop3.dele",
            "--only",
            "pop3.stat",
        ])
        .output()
        .expect("the suite runs");
    let shown = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(
        ran.status.code(),
        Some(0),
        "{shown}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(shown.contains("the maildrop holds mail of others"), "{shown}");

    let mut pop3 = Pop3::connect(node.pop3()).expect("POP3");
    pop3.log_in("ann@example.org", PASSWORD)
        .expect("POP3")
        .expect("a log-in");
    assert_eq!(pop3.list().expect("a listing").len(), 1);
    let kept = pop3.retr(1).expect("POP3").expect("the message");
    assert!(kept.ends_with(content), "{}", String::from_utf8_lossy(&kept));
}
