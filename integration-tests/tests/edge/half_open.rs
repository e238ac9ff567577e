//! Clients that are gone without a word: their machine lost its power, or a firewall forgot them. The system finds that out,
//! long before a time-out of ours would.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use mailhorn_integration_tests::network::in_own_network;
use mailhorn_integration_tests::{Lmtp, Node, add_users};

use crate::kit::{PATIENCE, Talk};

const PASSWORD: &str = "a-long-password";
/// Where those clients are.
const AWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// `net.user_timeout`, and until when it is to be noticed: `pop3.idle_timeout` and `net.write_timeout` are of minutes.
const USER_TIMEOUT: Duration = Duration::from_secs(10);
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

fn ip(line: &str) {
    let status = Command::new("ip").args(line.split(' ')).status().unwrap();
    assert!(status.success(), "ip {line}");
}

fn log_in(talk: &mut Talk<std::net::TcpStream>, user: &str) -> String {
    assert!(talk.line().starts_with("+OK"));
    assert!(talk.ask(&format!("USER {user}@example.org")).starts_with("+OK"));
    talk.ask(&format!("PASS {PASSWORD}"))
}

/// When the user's maildrop is free again.
fn free_again(node: &Node, user: &str, since: Instant) -> Duration {
    loop {
        let answer = log_in(&mut Talk::connect(node.pop3()), user);
        if answer.starts_with("+OK") {
            return since.elapsed();
        }
        assert!(answer.starts_with("-ERR [IN-USE]"), "{answer}");
        assert!(since.elapsed() < PATIENCE, "{user}'s maildrop stays locked");
    }
}

#[test]
fn who_is_gone_without_a_word_is_found_out_silent_or_in_the_middle_of_a_message() {
    in_own_network(
        "half_open::who_is_gone_without_a_word_is_found_out_silent_or_in_the_middle_of_a_message",
        || {
            ip(&format!("addr add {AWAY}/32 dev lo"));
            let folder = tempfile::tempdir().unwrap();
            add_users(folder.path(), "example.org", &["ann", "bob"], PASSWORD);
            let node = Node::builder()
                .data_dir(folder.path())
                .setting("auth.allow_plaintext", "always")
                .setting("net.keepalive_idle", "1s")
                .setting("net.keepalive_interval", "1s")
                .setting("net.user_timeout", format!("{}s", USER_TIMEOUT.as_secs()))
                .setting("pop3.lock_wait", "0")
                .start();
            let large = "Subject: x\r\n\r\n".to_owned() + &"0123456789\r\n".repeat(2 << 20);
            let mut lmtp = Lmtp::connect(node.lmtp()).unwrap();
            let delivered = lmtp.deliver("", &["bob@example.org"], large.as_bytes()).unwrap();
            assert_eq!(delivered[0].code, 250);

            // What counts is when they were heard last, which is after this.
            let since = Instant::now();
            let mut silent = Talk::connect_from(AWAY, node.pop3());
            assert!(log_in(&mut silent, "ann").starts_with("+OK"));
            let mut fetching = Talk::connect_from(AWAY, node.pop3());
            assert!(log_in(&mut fetching, "bob").starts_with("+OK"));
            assert!(fetching.ask("RETR 1").starts_with("+OK"));
            ip(&format!("addr del {AWAY}/32 dev lo"));

            std::thread::scope(|scope| {
                for user in ["ann", "bob"] {
                    let node = &node;
                    scope.spawn(move || {
                        let took = free_again(node, user, since);
                        let expected = USER_TIMEOUT..NOTICED_WITHIN;
                        assert!(
                            expected.contains(&took),
                            "{user}'s maildrop was free after {took:?}"
                        );
                    });
                }
            });
        },
    );
}
