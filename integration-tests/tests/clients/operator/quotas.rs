//! Quotas, from who sets one to who is refused by it.

use mailhorn_integration_tests::{Lmtp, Node, Pop3, add_users};
use serde_json::{Value, json};

use super::{deliver, done, refused};

const READER: &str = "reader@example.org";
const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nhello\r\n";

#[test]
fn who_is_over_quota_gets_no_more_mail_until_some_is_deleted_by_pop3() {
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader", "other"], "secret");
    done(folder.path(), "quota set example.org --size 1GiB", "");
    let mut node = Node::builder().data_dir(folder.path()).start();
    done(folder.path(), "quota set reader@example.org --messages 2", "");
    for code in [250, 250, 452, 452] {
        assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, code);
    }
    let mut smtp = Lmtp::connect_smtp(node.smtp()).expect("SMTP");
    let replies = smtp
        .envelope("ines.kaya@example.com", &[READER, "other@example.org"])
        .expect("a reply");
    let codes: Vec<u16> = replies.iter().map(|reply| reply.code).collect();
    assert_eq!(
        codes,
        [452, 250],
        "it holds for one alone, before the content is sent"
    );

    let shown = done(folder.path(), "quota show reader@example.org --json", "");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(
        (&shown["messages"], &shown["effective"]["messages"]),
        (&json!(2), &json!(2))
    );

    let mut session = Pop3::connect(node.pop3()).expect("POP3");
    assert!(session.log_in(READER, "secret").expect("a reply").is_ok());
    assert!(session.command("DELE 1").expect("a reply").is_ok());
    assert!(session.quit().expect("a reply").is_ok());
    for code in [250, 452] {
        assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, code);
    }
    done(folder.path(), "quota unset reader@example.org", "");
    assert_eq!(deliver(node.lmtp(), READER, MESSAGE).code, 250);
    assert!(node.terminate().success());
}

#[test]
fn quotas_are_the_same_on_a_running_node_and_on_a_stopped_ones_folder() {
    let life = |data: &std::path::Path| {
        [
            done(data, "quota show reader@example.org", ""),
            done(data, "quota set reader@example.org --messages 5 --size 1MiB", ""),
            done(data, "quota set example.org --size 2MiB", ""),
            done(data, "quota show example.org", ""),
            done(data, "quota unset reader@example.org", ""),
            done(data, "quota unset example.org", ""),
            refused(data, "quota show nobody@example.org", "", 1),
            refused(data, "quota set example.net --messages 1", "", 1),
        ]
    };
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader"], "secret");
    let stopped = life(folder.path());
    let node = Node::builder().data_dir(folder.path()).start();
    assert_eq!(life(folder.path()), stopped);
    drop(node);
}
