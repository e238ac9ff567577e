//! Domains and accounts, with the node running and without.

use std::path::Path;
use std::process::Command;

use mailhorn_integration_tests::{Lmtp, Node, Pop3, add_users, binary};
use serde_json::Value;

use super::{command, deliver, done, log_in, refused};
use crate::kit::{private_file, run, said, without_settings};

const READER: &str = "reader@example.org";
const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nhello\r\n";

/// A folder by its name alone lies in the working folder.
#[test]
fn a_data_folder_is_named_as_any_folder_is() {
    let working = tempfile::tempdir().expect("a folder");
    for name in ["data", "./data", "data/", "data/inner"] {
        let mut command = Command::new(binary());
        without_settings(&mut command);
        command
            .args(["domain", "list", "--data-dir", name])
            .current_dir(working.path());
        run(command);
    }
    assert!(working.path().join("data/inner").is_dir());
}

/// What every command of this kind says, once on a stopped node's folder and once with the node running.
fn life_of_an_account(data: &Path) -> Vec<String> {
    let list = |what: &str| {
        let json = done(data, &format!("{what} --json"), "");
        let Value::Array(list) = serde_json::from_str(&json).expect("JSON") else {
            panic!("{what}: no list: {json}");
        };
        assert_eq!(done(data, what, "").lines().count(), list.len(), "{what}");
        list
    };
    let told = vec![
        done(data, "domain add Example.ORG", ""),
        refused(data, "domain add example.org", "", 1),
        refused(data, "domain add not..a.domain", "", 1),
        done(data, "user add Reader@example.org --password-stdin", "secret\n"),
        refused(
            data,
            "user add reader@example.org --password-stdin",
            "secret\n",
            1,
        ),
        refused(
            data,
            "user add reader@example.net --password-stdin",
            "secret\n",
            1,
        ),
        refused(data, "user add reader --password-stdin", "secret\n", 1),
        refused(data, "user add empty@example.org --password-stdin", "", 1),
        refused(data, "domain remove example.org", "", 1),
        done(
            data,
            "user passwd reader@example.org --password-stdin",
            "better\n",
        ),
        refused(
            data,
            "user passwd nobody@example.org --password-stdin",
            "better\n",
            1,
        ),
        refused(data, "mailbox list nobody@example.org", "", 1),
        refused(data, "mailbox show reader@example.org Drafts", "", 1),
    ];
    assert_eq!(
        list("domain list"),
        [serde_json::json!({ "name": "example.org" })]
    );
    let users = list("user list");
    assert_eq!(users.len(), 1);
    assert_eq!(
        users[0]["address"].as_str().map(str::to_lowercase).as_deref(),
        Some(READER)
    );
    for what in ["mailbox list", "mailbox list reader@example.org"] {
        let mailboxes = list(what);
        assert_eq!(mailboxes.len(), 1, "{what}");
        assert_eq!(
            (&mailboxes[0]["mailbox"], &mailboxes[0]["messages"]),
            (&"INBOX".into(), &0.into())
        );
    }
    assert!(list("mailbox show reader@example.org").is_empty());
    let gone = [
        done(data, "user remove reader@example.org", ""),
        refused(data, "user remove reader@example.org", "", 1),
        done(data, "domain remove example.org", ""),
        refused(data, "domain remove example.org", "", 1),
    ];
    assert!(list("domain list").is_empty() && list("user list").is_empty());
    told.into_iter().chain(gone).collect()
}

#[test]
fn every_command_says_the_same_on_a_running_node_and_on_a_stopped_ones_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let stopped = life_of_an_account(folder.path());
    let node = Node::builder().data_dir(folder.path()).start();
    let running = life_of_an_account(node.data_dir());
    assert_eq!(running, stopped);
    for told in running.iter().chain(&stopped) {
        assert!(!told.contains("secret") && !told.contains("better"), "{told}");
    }
}

#[test]
fn mailboxes_are_listed_and_shown_as_pop3_has_them() {
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader"], "secret");
    let mut node = Node::builder().data_dir(folder.path()).start();
    for number in 0..3 {
        let content = format!("Subject: {number}\r\n\r\n{}\r\n", "x".repeat(number * 1000));
        assert_eq!(deliver(node.lmtp(), READER, content.as_bytes()).code, 250);
    }
    let mut session = Pop3::connect(node.pop3()).expect("POP3");
    assert!(session.log_in(READER, "secret").expect("a reply").is_ok());
    let sizes: Vec<u64> = session
        .list()
        .expect("a list")
        .into_iter()
        .map(|(_, size)| size)
        .collect();
    let ids: Vec<String> = session
        .uidl()
        .expect("a list")
        .into_iter()
        .map(|(_, id)| id)
        .collect();
    assert!(session.quit().expect("a reply").is_ok());

    let shown = |what: &str| done(folder.path(), &format!("{what} --json"), "");
    let running = (
        shown("mailbox list"),
        shown("mailbox show reader@example.org inbox"),
    );
    assert!(node.terminate().success());
    let stopped = (shown("mailbox list"), shown("mailbox show reader@example.org"));
    assert_eq!(running, stopped);
    let (mailboxes, messages): (Value, Value) = (
        serde_json::from_str(&stopped.0).expect("JSON"),
        serde_json::from_str(&stopped.1).expect("JSON"),
    );
    assert_eq!(mailboxes[0]["messages"], 3);
    assert_eq!(mailboxes[0]["octets"], sizes.iter().sum::<u64>());
    let messages: Vec<_> = messages
        .as_array()
        .expect("a list")
        .iter()
        .map(|message| (message["unique_id"].clone(), message["size"].clone()))
        .collect();
    let expected = ids
        .into_iter()
        .zip(sizes)
        .map(|(id, size)| (id.into(), size.into()));
    assert_eq!(messages, expected.collect::<Vec<(Value, Value)>>());
}

#[test]
fn a_changed_password_holds_at_the_next_log_in_whatever_was_remembered() {
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader", "other"], "first");
    let node = Node::builder().data_dir(folder.path()).start();
    for _ in 0..3 {
        assert!(log_in(node.pop3(), READER, "first").is_ok());
        assert!(log_in(node.pop3(), "other@example.org", "first").is_ok());
    }
    let mut open = Pop3::connect(node.pop3()).expect("POP3");
    assert!(open.log_in(READER, "first").expect("a reply").is_ok());

    done(
        folder.path(),
        "user passwd reader@example.org --password-stdin",
        "second\n",
    );
    assert!(
        open.command("NOOP").expect("a reply").is_ok(),
        "a session that is open stays open"
    );
    assert!(open.quit().expect("a reply").is_ok());
    let refused = log_in(node.pop3(), READER, "first").expect_err("the old password");
    assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
    assert!(log_in(node.pop3(), READER, "second").is_ok());
    assert!(
        log_in(node.pop3(), "other@example.org", "first").is_ok(),
        "nobody else's was changed"
    );
}

#[test]
fn an_unknown_user_and_a_wrong_password_are_answered_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader"], "secret");
    let node = Node::builder().data_dir(folder.path()).start();
    let wrong = log_in(node.pop3(), READER, "wrong").expect_err("refused");
    assert!(wrong.starts_with("-ERR [AUTH]"), "{wrong}");
    for user in ["nobody@example.org", "reader@example.net", "reader"] {
        assert_eq!(log_in(node.pop3(), user, "secret"), Err(wrong.clone()), "{user}");
    }
    assert!(
        log_in(node.pop3(), "READER@Example.Org", "secret").is_ok(),
        "an address has no case here"
    );
}

#[test]
fn a_removed_user_gets_no_mail_and_no_session_and_made_again_starts_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader", "other"], "secret");
    let node = Node::builder().data_dir(folder.path()).start();
    let both = [READER, "other@example.org"];
    let mut lmtp = Lmtp::connect(node.lmtp()).expect("LMTP");
    for reply in lmtp
        .deliver("ines.kaya@example.com", &both, MESSAGE)
        .expect("replies")
    {
        assert_eq!(reply.code, 250, "{reply:?}");
    }

    let told = done(folder.path(), "user remove reader@example.org", "");
    assert!(told.contains("removed with it: 1"), "{told}");
    let reply = deliver(node.lmtp(), READER, MESSAGE);
    assert_eq!(
        (reply.code, reply.text.starts_with("5.1.1 ")),
        (550, true),
        "{reply:?}"
    );
    let mut smtp = Lmtp::connect_smtp(node.smtp()).expect("SMTP");
    let reply = smtp
        .deliver("ines.kaya@example.com", &[READER], MESSAGE)
        .expect("a reply")
        .remove(0);
    assert_eq!(
        (reply.code, reply.text.starts_with("5.1.1 ")),
        (550, true),
        "{reply:?}"
    );
    assert!(log_in(node.pop3(), READER, "secret").is_err());

    done(
        folder.path(),
        "user add reader@example.org --password-stdin",
        "secret\n",
    );
    let count = |user: &str| {
        let mut session = Pop3::connect(node.pop3()).expect("POP3");
        assert!(session.log_in(user, "secret").expect("a reply").is_ok());
        session.list().expect("a list").len()
    };
    assert_eq!(count(READER), 0, "it starts empty");
    assert_eq!(
        count("other@example.org"),
        1,
        "another's copy of the same message stays"
    );
    // The same message is no duplicate of what the account before had.
    assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, 250);
    assert_eq!(count(READER), 1);
}

#[test]
fn an_import_takes_the_good_lines_and_tells_each_bad_one_by_its_number() {
    const SECRET: &str = "hunter2-in-the-file";
    let argon2 = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$not-base64!";
    let file = format!(
        "# accounts\n\none@example.org:{{PLAIN}}{SECRET}\ntwo@example.org:{{CRYPT}}{SECRET}\n\
         three@example.net:{{PLAIN}}{SECRET}\nno colon {SECRET}\none@example.org:{{PLAIN}}{SECRET}\n\
         four@example.org:\nfive@example.org:{{ARGON2ID}}{argon2}\n\
         six@example.org:{{PLAIN}}{SECRET}:1000:1000::/home/six::\n"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let path = private_file(folder.path(), "users", &file);
    for running in [false, true] {
        let data = folder.path().join(format!("running-{running}"));
        let node = running.then(|| Node::builder().data_dir(&data).start());
        done(&data, "domain add example.org", "");
        let output = command(&data, &format!("user import {}", path.display()), "");
        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for line in 1..=10 {
            let is_told = told.contains(&format!("{}:{line}:", path.display()));
            assert_eq!(is_told, [4, 5, 6, 7, 8, 9].contains(&line), "line {line}: {told}");
        }
        assert!(
            told.contains("2 users were added, 6 lines were not taken"),
            "{told}"
        );
        assert!(!told.contains(SECRET) && !told.contains("c29tZXNhbHR"), "{told}");
        let users = done(&data, "user list", "");
        assert!(
            users.lines().count() == 2 && users.contains("six@example.org"),
            "{users}"
        );
        if let Some(node) = node {
            assert!(log_in(node.pop3(), "six@example.org", SECRET).is_ok());
        }
    }
}

#[test]
fn scram_is_offered_while_every_account_has_keys_and_a_hash_that_was_imported_gets_them_at_its_first_log_in()
{
    // Of the password "tanstaaf" with the salt "somesalt", as OpenSSL computes it.
    let hash = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$iJ065eAs4DtaWHJxZzRe6GrM9bnVYQDIWSdeI+llGqA";
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader"], "secret");
    let node = Node::builder().data_dir(folder.path()).start();
    let offers_scram = || {
        let mut session = Pop3::connect(node.pop3()).expect("POP3");
        let offered = session
            .multi_line("CAPA")
            .expect("a reply")
            .expect("capabilities");
        let challenged =
            session.command("AUTH SCRAM-SHA-256 biwsbj1yZWFkZXJAZXhhbXBsZS5vcmcscj1yT3ByTkdmd0Vi");
        let is_taken = challenged
            .expect("a reply")
            .is_err_and(|answer| answer.starts_with("+ "));
        let is_offered = String::from_utf8_lossy(&offered).contains("SCRAM-SHA-256");
        assert_eq!(is_offered, is_taken, "what is offered is what is taken");
        is_offered
    };
    assert!(
        offers_scram(),
        "keys are made of a password that is imported in clear"
    );
    let file = private_file(
        folder.path(),
        "users",
        &format!("moved@example.org:{{ARGON2ID}}{hash}\n"),
    );
    done(folder.path(), &format!("user import {}", file.display()), "");
    assert!(!offers_scram(), "a client that takes SCRAM would not get in");
    assert!(log_in(node.pop3(), "moved@example.org", "wrong").is_err());
    assert!(!offers_scram());
    assert!(log_in(node.pop3(), "moved@example.org", "tanstaaf").is_ok());
    assert!(offers_scram(), "now every account has keys");
}

#[test]
fn hashes_of_another_server_are_imported_and_open_for_their_passwords_until_and_after_they_are_replaced() {
    // Of the password "tanstaaf", made by Dovecot 2.3.19 with `doveadm pw`.
    let hashes = [
        "{BLF-CRYPT}$2y$05$aoE8bz075Ihyrc7cNHK9q.zOVkmH4Eo9VvbdphX2lW3mK4AKk.ITC",
        "{SHA512-CRYPT}$6$XR6ws2H8OOLquarb$pVQAVV3N2UedjzYA.BbTYl5P8YspG3GDwgtjC6z8znHVnIGAlF5cgdR2joNr5RJvJ6Ing.XeSZlcppnSBsFzT0",
        "{SHA256-CRYPT}$5$eiZ61KkKYNuot4b5$smvckpLXDSSP5zM3H5luKGg.2Btzo3Z9ZhjUxbXzgJD",
        "{PBKDF2}$1$ok716B9WnQ6VEfSr$5000$b85512bfec4f9d8a177ebe33b5b64fc4cb0b3c4c",
        "{SCRAM-SHA-256}4096,20MXpwA9oMCCxWF0AmcoIQ==,mdE/boR5ERWKDgNENppJ39zByLWa7y/agDTw+4GyvF8=,avXsYdpjvP8isWMMVWmVE3N+LqahyCvTYoChjo0BfqE=",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let lines = hashes.iter().enumerate();
    let file: String = lines
        .map(|(nth, hash)| format!("user{nth}@example.org:{hash}:1000:1000::/home/x::\n"))
        .collect();
    let costly =
        "costly@example.org:{BLF-CRYPT}$2y$31$aoE8bz075Ihyrc7cNHK9q.zOVkmH4Eo9VvbdphX2lW3mK4AKk.ITC\n";
    let path = private_file(folder.path(), "users", &format!("{file}{costly}"));
    done(folder.path(), "domain add example.org", "");
    let output = command(folder.path(), &format!("user import {}", path.display()), "");
    let told = said(&output);
    assert!(told.contains(&format!("{}:6:", path.display())), "{told}");
    assert!(
        told.contains("its cost is not between 4 and 14") && !told.contains("aoE8bz"),
        "{told}"
    );
    assert!(
        told.contains("5 users were added, 1 lines were not taken"),
        "{told}"
    );
    for _life in 0..2 {
        let node = Node::builder().data_dir(folder.path()).start();
        for nth in 0..hashes.len() {
            let user = format!("user{nth}@example.org");
            assert!(log_in(node.pop3(), &user, "wrong").is_err(), "{user}");
            assert!(log_in(node.pop3(), &user, "tanstaaf").is_ok(), "{user}");
        }
    }
}
