//! What a node shows of itself over HTTP.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mailhorn_integration_tests::{Node, Pop3, add_users};
use serde_json::Value;

use super::{deliver, get, log_in, token};

const READER: &str = "reader@example.org";

fn node() -> (Node, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader"], "secret");
    (Node::builder().data_dir(folder.path()).start(), folder)
}

#[test]
fn probes_and_metrics_answer_whoever_asks_and_the_rest_only_who_has_the_token() {
    let (node, _folder) = node();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(node.admin(), path, None).0, 200, "{path}");
    }
    let token = token(node.data_dir());
    for path in ["/actors", "/api/v1/users", "/api/v1/domains", "/api/v1/mailboxes"] {
        assert_eq!(get(node.admin(), path, None).0, 401, "{path}");
        assert_eq!(get(node.admin(), path, Some("wrong")).0, 401, "{path}");
        let (status, body) = get(node.admin(), path, Some(&token));
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str::<Value>(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
    }
    assert_eq!(get(node.admin(), "/api/v1/nothing", Some(&token)).0, 404);
}

#[test]
fn what_lies_in_the_data_folder_is_its_owners_alone() {
    let (node, folder) = node();
    let mode = |path: &str| {
        let metadata = fs::metadata(folder.path().join(path)).expect(path);
        metadata.permissions().mode() & 0o777
    };
    for path in ["admin.token", "tls/self-signed.key"] {
        assert_eq!(mode(path), 0o600, "{path}");
    }
    drop(node);
}

#[test]
fn metrics_count_deliveries_commands_log_ins_and_actors() {
    let (node, _folder) = node();
    assert_eq!(deliver(node.lmtp(), READER, b"\r\nhello\r\n").code, 250);
    assert!(log_in(node.pop3(), READER, "secret").is_ok());
    assert!(log_in(node.pop3(), READER, "wrong").is_err());
    let mut open = Pop3::connect(node.pop3()).expect("POP3");
    assert!(open.log_in(READER, "secret").expect("a reply").is_ok());
    assert!(open.retr(1).expect("a reply").is_ok());

    let (_, metrics) = get(node.admin(), "/metrics", None);
    assert!(metrics.ends_with("# EOF\n"), "OpenMetrics ends so");
    for subject in [
        "deliver", "octets", "commit", "log_in", "command", "actor", "restart", "store",
    ] {
        let has_value = |line: &str| {
            !line.starts_with('#')
                && line.contains(subject)
                && !line.ends_with(" 0")
                && !line.ends_with(" 0.0")
        };
        let may_be_zero = subject == "restart" && metrics.contains(subject);
        assert!(
            may_be_zero || metrics.lines().any(has_value),
            "{subject}: {metrics}"
        );
    }
    assert!(!metrics.contains(READER), "no user is named");

    let (_, actors) = get(node.admin(), "/actors", Some(&token(node.data_dir())));
    let actors: Value = serde_json::from_str(&actors).expect("JSON");
    let told = actors.to_string();
    for kind in ["pop3", "mailbox", "log", "supervisor"] {
        assert!(told.contains(kind), "{kind}: {told}");
    }
}
