use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mailhorn_events::{ContentDeleted, Expunged, FlagsUpdated, QuotaUsage};
use serde_json::Value;

use super::*;
use crate::testing::{STAMP, delivered, happened, made, message};

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

async fn write(log: &OperationLog, names: &[&str]) {
    let batch = happened(names.iter().map(|name| made(name)));
    assert_eq!(log.handle_batch(&batch).await, BatchHandled::all(names.len()));
}

/// The names of the mailboxes that the lines are about.
fn names(path: &Path) -> Vec<String> {
    let name = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["name"].as_str().unwrap().to_owned()
    };
    lines(path).iter().map(name).collect()
}

#[tokio::test]
async fn a_line_says_who_did_what_to_which_mailbox_and_nothing_of_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operations.log");
    let log = OperationLog::open(&path).unwrap();
    assert_eq!(log.handle(&happened([delivered(2)])[0]).await, Handled::Done);
    let expected = concat!(
        r#"{"time":"2026-01-01T00:00:00.000001Z","event":"00000000-0000-0000-0000-000000001111","#,
        r#""position":"00000000-0000-0000-0000-000000004444/7/0","kind":"Added","user":"ann@example.org","#,
        r#""account":"00000000-0000-0000-0000-000000002222","mailbox":"00000000-0000-0000-0000-000000003333","#,
        r#""arrival":"delivered","message_count":2,"octets":200,"#,
        r#""messages":["00000000-0000-0000-0000-000000000001","00000000-0000-0000-0000-000000000002"]}"#,
    );
    assert_eq!(lines(&path), [expected]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// One of each kind.
fn every_kind() -> Vec<Happening> {
    let name = || "Work".to_owned();
    let limits = QuotaLimits::default();
    vec![
        delivered(1),
        Happening::Expunged {
            moved_to: Some(MailboxId(uuid::Uuid::from_u128(5))),
            messages: vec![Expunged {
                message: message(1),
                size: 3,
                received: STAMP,
                flags: Vec::new(),
            }],
        },
        Happening::FlagsUpdated(vec![FlagsUpdated {
            message: message(1),
            before: Vec::new(),
            after: vec!["\\Seen".into()],
        }]),
        made("Work"),
        Happening::MailboxRenamed {
            from: name(),
            to: "Play".into(),
        },
        Happening::MailboxDeleted {
            name: name(),
            messages: 3,
            octets: 4,
        },
        Happening::MailboxAclUpdated {
            name: name(),
            before: Acl::new(),
            after: Acl::from([("bob".into(), "lr".into())]),
        },
        Happening::MailboxSubscribed { name: name() },
        Happening::MailboxUnsubscribed { name: name() },
        Happening::MessageMoved {
            from: vec![MailboxId(uuid::Uuid::from_u128(5))],
            to: vec![MailboxId(uuid::Uuid::from_u128(6))],
            messages: vec![message(1)],
        },
        Happening::MessageContentDeleted(vec![ContentDeleted {
            message: message(1),
            octets: 3,
            chunks: 1,
        }]),
        Happening::QuotaUsageUpdated(QuotaUsage {
            root: QuotaRoot::Domain("example.org".into()),
            messages: 1,
            octets: 2,
            limits,
            reached_percent: 80,
            before_percent: 0,
        }),
        Happening::QuotaLimitsUpdated {
            root: QuotaRoot::User,
            before: limits,
            after: QuotaLimits {
                messages: Some(1),
                octets: None,
            },
        },
    ]
}

#[tokio::test]
async fn every_kind_has_a_line_that_says_more_than_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operations.log");
    let log = OperationLog::open(&path).unwrap();
    let batch = happened(every_kind());
    assert_eq!(log.handle_batch(&batch).await, BatchHandled::all(batch.len()));
    let lines = lines(&path);
    let kinds: Vec<&str> = Happening::NAMES.to_vec();
    assert_eq!(lines.len(), kinds.len());
    for (line, kind) in lines.iter().zip(kinds) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["kind"], kind);
        assert!(line.as_object().unwrap().len() > 7, "{line}");
    }
}

#[tokio::test]
async fn message_ids_are_bounded_and_their_count_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operations.log");
    let log = OperationLog::open(&path).unwrap();
    log.handle(&happened([delivered(1_000)])[0]).await;
    let line: Value = serde_json::from_str(&lines(&path)[0]).unwrap();
    assert_eq!(line["message_count"], 1_000);
    assert_eq!(line["messages"].as_array().unwrap().len(), IDS_MAX);
}

#[tokio::test]
async fn a_repeated_event_is_a_repeated_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operations.log");
    let log = OperationLog::open(&path).unwrap();
    write(&log, &["one", "two"]).await;
    write(&log, &["one", "two"]).await;
    assert_eq!(names(&path), ["one", "two", "one", "two"]);
    assert_eq!(lines(&path)[0], lines(&path)[2]);
}

#[tokio::test]
async fn a_file_that_was_rotated_away_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("operations.log"), folder.path().join("old"));
    let log = OperationLog::open(&path).unwrap();
    write(&log, &["one"]).await;
    fs::rename(&path, &old).unwrap();
    write(&log, &["two"]).await;
    assert_eq!(
        (names(&old), names(&path)),
        (vec!["one".into()], vec!["two".into()])
    );
    fs::remove_file(&path).unwrap();
    write(&log, &["three"]).await;
    assert_eq!(names(&path), ["three"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Renamed, and another one made by the one who did it.
    fs::rename(&path, &old).unwrap();
    fs::write(&path, "").unwrap();
    write(&log, &["four"]).await;
    assert_eq!(names(&path), ["four"]);
}

#[tokio::test]
async fn a_line_that_was_cut_off_does_not_spoil_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operations.log");
    fs::write(&path, "{\"time\":\"2026").unwrap();
    let log = OperationLog::open(&path).unwrap();
    write(&log, &["one"]).await;
    let lines = lines(&path);
    assert_eq!(lines.len(), 2);
    assert!(serde_json::from_str::<Value>(&lines[1]).is_ok());
}

#[tokio::test]
async fn what_can_not_be_written_now_waits() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("operations.log");
    let log = OperationLog::open(&path).unwrap();
    fs::remove_dir_all(&inner).unwrap();
    let batch = happened([made("one"), made("two")]);
    let handled = log.handle_batch(&batch).await;
    assert!(
        matches!(&handled, BatchHandled { done: 0, then: Handled::NotNow(why) } if why.contains("operations.log")),
        "{handled:?}"
    );
    fs::create_dir(&inner).unwrap();
    write(&log, &["one", "two"]).await;
    assert_eq!(names(&path), ["one", "two"]);
}

#[tokio::test]
async fn a_full_disk_is_not_now() {
    // Linux's device for it: it is opened, and every write fails.
    let log = OperationLog::open("/dev/full").unwrap();
    let handled = log.handle(&happened([made("one")])[0]).await;
    assert!(matches!(handled, Handled::NotNow(_)), "{handled:?}");
}
