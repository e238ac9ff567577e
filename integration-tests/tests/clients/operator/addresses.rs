//! Aliases, other names of domains, catch-alls and app passwords, with the node running and without.

use std::path::Path;

use mailhorn_integration_tests::{Node, add_users};

use super::{command, deliver, done, log_in, refused};

const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nhello\r\n";

/// What every command of this kind says.
fn life_of_an_address(data: &Path) -> Vec<String> {
    vec![
        done(data, "alias add info@example.org ann@example.org", ""),
        refused(data, "alias add info@example.org bob@example.org", "", 1),
        refused(data, "alias add bob@example.org ann@example.org", "", 1),
        refused(data, "alias add sales@example.org nobody@example.org", "", 1),
        refused(data, "user add info@example.org --password-stdin", "secret\n", 1),
        done(data, "domain add example.com --alias-of example.org", ""),
        refused(data, "domain add example.net --alias-of example.com", "", 1),
        done(data, "domain catch-all example.org bob@example.org", ""),
        done(data, "alias list", ""),
        done(data, "alias list ann@example.org --json", "").replace(char::is_numeric, "0"),
        done(data, "domain list", ""),
        done(data, "recipient INFO+x@example.com", ""),
        done(data, "recipient who@example.com", ""),
        done(data, "recipient who@example.edu", ""),
        done(data, "domain catch-all example.org --none", ""),
        done(data, "recipient who@example.com", ""),
        refused(data, "domain remove example.org", "", 1),
        done(data, "domain remove example.com", ""),
        done(data, "alias remove info@example.org", ""),
        refused(data, "alias remove info@example.org", "", 1),
        done(data, "user app-password list ann@example.org", ""),
        refused(data, "user app-password remove ann@example.org phone", "", 1),
        refused(
            data,
            "user app-password add ann@example.org phone --services imap",
            "",
            1,
        ),
    ]
}

#[test]
fn every_command_about_addresses_says_the_same_with_a_node_and_without() {
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["ann", "bob"], "secret");
    let stopped = life_of_an_address(folder.path());
    let _node = Node::builder().data_dir(folder.path()).start();
    assert_eq!(life_of_an_address(folder.path()), stopped);
}

#[test]
fn mail_goes_by_aliases_and_app_passwords_open_what_they_are_for_and_both_outlive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    add_users(data, "example.org", &["ann", "bob"], "secret");
    let mut node = Node::builder().data_dir(data).start();
    done(data, "alias add info@example.org ann@example.org", "");
    done(data, "domain add example.com --alias-of example.org", "");
    done(data, "domain catch-all example.org bob@example.org", "");
    let made = |name: &str, services: &str| {
        let line = format!("user app-password add ann@example.org {name} --services {services}");
        done(data, &line, "").trim().to_owned()
    };
    let (reading, sending) = (made("phone", "pop3,smtp"), made("printer", "smtp"));
    for _ in 0..2 {
        for to in ["info@example.com", "ann+x@example.org", "whoever@example.com"] {
            assert_eq!(deliver(node.lmtp(), to, MESSAGE).code, 250, "{to}");
        }
        assert_eq!(deliver(node.lmtp(), "ann@example.net", MESSAGE).code, 550);
        log_in(node.pop3(), "ann@example.org", &reading).expect("the phone's opens POP3");
        log_in(node.pop3(), "ann@example.org", "secret").expect("the account's own opens all");
        log_in(node.pop3(), "ann@example.org", &sending).expect_err("the printer's opens SMTP alone");
        log_in(node.pop3(), "info@example.org", "secret").expect_err("nobody logs in under an alias");
        drop(node);
        node = Node::builder().data_dir(data).start();
    }
    done(data, "user app-password remove ann@example.org phone", "");
    log_in(node.pop3(), "ann@example.org", &reading).expect_err("it was revoked");
    let mailboxes = done(data, "mailbox list", "");
    let messages: Vec<&str> = mailboxes
        .lines()
        .map(|line| line.split('\t').nth(2).expect("a number"))
        .collect();
    assert_eq!(messages, ["4", "2"], "{mailboxes}");
}

#[test]
fn config_check_warns_where_mail_to_postmaster_is_nobodys() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let check = || {
        let output = command(data, "config check", "");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    assert_eq!(check(), "", "there is no store yet");
    add_users(data, "localhost", &["ann"], "secret");
    let warned = check();
    assert!(
        warned.contains("smtp.postmaster") && warned.contains("postmaster@localhost"),
        "{warned}"
    );
    let node = Node::builder().data_dir(data).start();
    assert!(check().contains("smtp.postmaster"), "a running node is asked");
    done(data, "alias add postmaster@localhost ann@localhost", "");
    assert_eq!(check(), "");
    drop(node);
    assert_eq!(check(), "");
}
