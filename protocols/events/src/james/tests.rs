use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{Arrival, Expunged, FlagsUpdated, Happening, QuotaLimits, QuotaRoot, QuotaUsage};
use crate::wire::samples::{any_record, one_of_each};

const STAMP: Stamp = Stamp(1_767_225_600_000_001);
const EVENT: &str = "6e0dd59d-660e-4d9b-b22f-0354479f47b4";
const MAILBOX: &str = "0d3a1b1e-5d2f-4a64-9a1f-0c0c6f5b9a11";

/// The one event of what James says.
fn read_one(james: &Value) -> Event {
    let mut records = read(&james.to_string(), STAMP).unwrap();
    let mut record = records.pop().unwrap();
    assert!(records.is_empty());
    assert_eq!((record.id.to_string().as_str(), record.stamp), (EVENT, STAMP));
    let event = record.events.pop().unwrap();
    assert!(record.events.is_empty());
    assert_eq!((event.user.as_str(), event.account), ("bob", account("bob")));
    event
}

fn path(name: &str) -> Value {
    json!({"namespace": "#private", "user": "bob", "name": name})
}

fn meta(uid: u64, id: &str) -> Value {
    json!({
        "uid": uid, "modSeq": 35, "size": 45,
        "flags": {"systemFlags": ["Draft", "Answered"], "userFlags": ["User Custom Flag"]},
        "internalDate": "2018-12-14T09:41:51.541Z", "saveDate": "2018-12-14T09:41:51.541Z",
        "messageId": id, "threadId": id,
    })
}

fn added() -> Value {
    json!({"Added": {
        "eventId": EVENT, "path": path("INBOX"), "mailboxId": "18", "sessionId": -42, "user": "bob",
        "added": {"123456": meta(123_456, "42"), "99": meta(99, MAILBOX)},
        "isDelivery": false, "isAppended": true,
    }})
}

/// Arrival by what the fields say; `None` takes a field away.
fn arrival(fields: [(&str, Option<Value>); 3]) -> Arrival {
    let mut james = added();
    let object = james["Added"].as_object_mut().unwrap();
    for (name, value) in fields {
        object.remove(name);
        object.extend(value.map(|value| (name.to_owned(), value)));
    }
    match read_one(&james).happening {
        Happening::Added { arrival, .. } => arrival,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_that_were_added_are_read_in_the_order_of_their_uids() {
    let event = read_one(&added());
    assert_eq!(event.mailbox, Some(mailbox("18")));
    let Happening::Added { arrival, messages } = event.happening else {
        panic!("they were added");
    };
    assert_eq!(arrival, Arrival::Appended);
    let ids: Vec<MessageId> = messages.iter().map(|one| one.message).collect();
    assert_eq!(ids, [message(MAILBOX), message("42")]);
    assert_eq!(messages[1].flags, ["User Custom Flag", "\\Answered", "\\Draft"]);
    assert_eq!((messages[1].size, messages[1].chunks), (45, 0));
    assert_eq!(messages[1].received, Stamp(1_544_780_511_541_000));
}

#[test]
fn how_messages_arrived_is_read_with_the_defaults_of_older_releases() {
    let (yes, no) = (|| Some(json!(true)), || Some(json!(false)));
    let how = |delivery, appended, from| {
        arrival([
            ("isDelivery", delivery),
            ("isAppended", appended),
            ("movedFromMailboxId", from),
        ])
    };
    assert_eq!(how(None, None, None), Arrival::Appended);
    assert_eq!(how(yes(), None, None), Arrival::Delivered);
    assert_eq!(how(yes(), yes(), None), Arrival::Delivered);
    assert_eq!(how(None, no(), None), Arrival::Copied(MailboxId(Uuid::nil())));
    assert_eq!(how(no(), no(), Some(json!("24"))), Arrival::Moved(mailbox("24")));
    assert_eq!(how(no(), yes(), Some(Value::Null)), Arrival::Appended);
}

#[test]
fn messages_that_were_expunged_are_read() {
    let james = json!({"Expunged": {
        "eventId": EVENT, "path": path("INBOX"), "mailboxId": MAILBOX, "sessionId": 42, "user": "alice",
        "expunged": {"1": meta(1, "42")}, "movedToMailboxId": "24",
    }});
    let event = read_one(&james);
    assert_eq!(event.mailbox.unwrap().to_string(), MAILBOX);
    let messages = vec![Expunged {
        message: message("42"),
        size: 45,
        received: Stamp(1_544_780_511_541_000),
        flags: vec!["User Custom Flag".into(), "\\Answered".into(), "\\Draft".into()],
    }];
    let moved_to = Some(mailbox("24"));
    assert_eq!(event.happening, Happening::Expunged { moved_to, messages });
}

#[test]
fn flags_are_read_with_and_without_a_message_id() {
    let flags = |system: &[&str], user: &[&str]| json!({"systemFlags": system, "userFlags": user});
    let james = json!({"FlagsUpdated": {
        "eventId": EVENT, "path": path("INBOX"), "mailboxId": "18", "sessionId": 42, "user": "bob",
        "updatedFlags": [
            {"uid": 7, "modSeq": 35, "oldFlags": flags(&["Seen", "Deleted"], &["Old"]), "newFlags": flags(&[], &[])},
            {"uid": 8, "messageId": "42", "modSeq": 35, "internalDate": "2018-12-14T09:41:51.541Z",
             "oldFlags": flags(&[], &[]), "newFlags": flags(&["Flagged"], &[])},
        ],
    }});
    let first = FlagsUpdated {
        message: message_of_uid(mailbox("18"), 7),
        before: vec!["Old".into(), "\\Deleted".into(), "\\Seen".into()],
        after: Vec::new(),
    };
    let second = FlagsUpdated {
        message: message("42"),
        before: Vec::new(),
        after: vec!["\\Flagged".into()],
    };
    assert_eq!(
        read_one(&james).happening,
        Happening::FlagsUpdated(vec![first, second])
    );
}

#[test]
fn what_happens_to_a_mailbox_is_read() {
    let name = || "Work".to_owned();
    for (james, happening) in [
        ("MailboxAdded", Happening::MailboxAdded { name: name() }),
        (
            "MailboxSubscribedEvent",
            Happening::MailboxSubscribed { name: name() },
        ),
        (
            "MailboxUnSubscribedEvent",
            Happening::MailboxUnsubscribed { name: name() },
        ),
    ] {
        let fields = json!({
            "eventId": EVENT, "mailboxPath": path("Work"), "mailboxId": "18", "sessionId": 6, "user": "alice",
        });
        assert_eq!(read_one(&json!({james: fields})).happening, happening);
    }
    let renamed = json!({"MailboxRenamed": {
        "eventId": EVENT, "path": path("Work"), "newPath": path("Arbeit"), "mailboxId": "18", "sessionId": 1,
        "user": "bob",
    }});
    let (from, to) = (name(), "Arbeit".to_owned());
    assert_eq!(
        read_one(&renamed).happening,
        Happening::MailboxRenamed { from, to }
    );
}

#[test]
fn a_deleted_mailbox_is_read_with_and_without_its_acl() {
    let mut james = json!({"MailboxDeletion": {
        "eventId": EVENT, "mailboxACL": {"entries": {"bob": "aeiklprstwx"}}, "sessionId": 3652, "user": "bob",
        "path": path("Work"), "quotaRoot": "#private&bob", "deletedMessageCount": 60, "totalDeletedSize": 100,
        "mailboxId": "789",
    }});
    let deleted = Happening::MailboxDeleted {
        name: "Work".into(),
        messages: 60,
        octets: 100,
    };
    assert_eq!(read_one(&james).happening, deleted);
    james["MailboxDeletion"]
        .as_object_mut()
        .unwrap()
        .remove("mailboxACL");
    assert_eq!(read_one(&james).happening, deleted);
}

#[test]
fn rights_are_read() {
    let james = json!({"MailboxACLUpdated": {
        "eventId": EVENT, "mailboxPath": path("Work"), "mailboxId": "23", "sessionId": 6, "user": "bob",
        "aclDiff": {"oldACL": {}, "newACL": {"$any": "ar", "-alice": "i"}},
    }});
    let after = [("$any", "ar"), ("-alice", "i")].map(|(who, rights)| (who.to_owned(), rights.to_owned()));
    let updated = Happening::MailboxAclUpdated {
        name: "Work".into(),
        before: Default::default(),
        after: after.into(),
    };
    assert_eq!(read_one(&james).happening, updated);
}

#[test]
fn usage_is_read_and_null_is_unlimited() {
    let james = json!({"QuotaUsageUpdatedEvent": {
        "eventId": EVENT, "quotaRoot": "#private&bob", "user": "bob", "time": "2018-11-13T12:00:55Z",
        "countQuota": {"used": 12, "limit": null, "limits": {}},
        "sizeQuota": {"used": 1234, "limit": 10000, "limits": {"User": 10000}},
    }});
    let event = read_one(&james);
    assert_eq!(event.mailbox, None);
    let usage = QuotaUsage {
        root: QuotaRoot::User,
        messages: 12,
        octets: 1234,
        limits: QuotaLimits {
            messages: None,
            octets: Some(10_000),
        },
        reached_percent: 12,
        before_percent: 0,
    };
    assert_eq!(event.happening, Happening::QuotaUsageUpdated(usage));
}

#[test]
fn a_move_and_deleted_content_are_read() {
    let moved = json!({"MessageMoveEvent": {
        "eventId": EVENT, "user": "bob", "previousMailboxIds": ["18", "24"], "targetMailboxIds": ["36"],
        "messageIds": ["42"],
    }});
    let happening = Happening::MessageMoved {
        from: vec![mailbox("18"), mailbox("24")],
        to: vec![mailbox("36")],
        messages: vec![message("42")],
    };
    assert_eq!(read_one(&moved).happening, happening);

    let deleted = json!({"MessageContentDeletionEvent": {
        "eventId": EVENT, "username": "bob", "mailboxId": "18", "messageId": "42", "size": 12,
        "internalDate": "2018-12-14T09:41:51.541Z", "hasAttachments": true, "headerBlobId": "h", "bodyBlobId": "b",
    }});
    let event = read_one(&deleted);
    assert_eq!(event.mailbox, Some(mailbox("18")));
    let content = crate::model::ContentDeleted {
        message: message("42"),
        octets: 12,
        chunks: 0,
    };
    assert_eq!(event.happening, Happening::MessageContentDeleted(vec![content]));
}

#[test]
fn a_uuid_is_itself_and_any_other_text_is_always_the_same_name() {
    assert_eq!(mailbox(MAILBOX).to_string(), MAILBOX);
    assert_eq!(mailbox("18").to_string(), "73b99a45-1b4a-51ce-802f-5ef2524129e2");
    assert_ne!(mailbox("18").0, message("18").0);
    assert_ne!(mailbox("18"), mailbox("018"));
    let digits = MAILBOX.replace('-', "");
    assert_ne!(mailbox(&digits), mailbox(MAILBOX));
}

#[test]
fn our_events_are_what_the_golden_file_holds() {
    let lines: Vec<String> = one_of_each().iter().map(write).collect();
    let lines = lines.join("\n") + "\n";
    let golden = crate::wire::tests::golden("james.jsonl", lines.as_bytes());
    assert_eq!(lines, String::from_utf8(golden).unwrap());
}

/// What the way through James does to an event, by the documentation of the module.
fn through_james(mut event: Event) -> Event {
    event.account = account(&event.user);
    let milliseconds = |stamp: Stamp| Stamp(stamp.0 / 1_000 * 1_000);
    let sort = |flags: &mut Vec<String>| {
        flags.sort_unstable();
        flags.dedup();
    };
    match &mut event.happening {
        Happening::Added { arrival, messages } => {
            if let Arrival::Copied(from) = arrival {
                from.0 = Uuid::nil();
            }
            for one in messages {
                one.received = milliseconds(one.received);
                one.chunks = 0;
                one.prefix = Default::default();
                one.unique_id = None;
                sort(&mut one.flags);
            }
        }
        Happening::Expunged { messages, .. } => {
            for one in messages {
                one.received = milliseconds(one.received);
                sort(&mut one.flags);
            }
        }
        Happening::MessageContentDeleted(messages) => {
            for one in messages {
                one.chunks = 0;
            }
        }
        Happening::MessageMoved { .. } => event.mailbox = None,
        Happening::QuotaUsageUpdated(usage) => (usage.reached_percent, usage.before_percent) = (90, 0),
        _ => {}
    }
    event
}

#[test]
fn what_was_written_is_read_as_far_as_it_is_told() {
    for record in one_of_each() {
        let read = read(&write(&record), STAMP).unwrap();
        let expected = record.events.iter().enumerate().filter(|(_, event)| {
            let other = |root: &QuotaRoot| *root != QuotaRoot::User;
            !matches!(&event.happening, Happening::QuotaUsageUpdated(usage) if other(&usage.root))
                && !matches!(&event.happening, Happening::QuotaLimitsUpdated { .. })
        });
        let expected: Vec<Record> = expected
            .map(|(index, event)| Record {
                id: record.id.of_event(index),
                stamp: STAMP,
                events: vec![through_james(event.clone())],
            })
            .collect();
        assert_eq!(read, expected);
    }
}

#[test]
fn contents_that_were_deleted_together_have_names_of_their_own() {
    let mut record = one_of_each().remove(10);
    let Happening::MessageContentDeleted(messages) = &mut record.events[0].happening else {
        panic!("the order of the samples");
    };
    let mut other = messages[0];
    other.message = message("42");
    messages.push(other);
    let read = read(&write(&record), STAMP).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].id, record.id);
    assert!(![record.id, record.id.of_event(1)].contains(&read[1].id));
}

#[test]
fn what_is_no_event_is_refused_with_what_is_wrong() {
    let said = |json: &str| {
        let error = read(json, STAMP).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        source.unwrap_or_else(|| error.to_string())
    };
    assert!(said(r#"{"MailboxPainted": {}}"#).contains("unknown variant `MailboxPainted`"));
    assert!(said(r#"[{"Added": {}}]"#).contains("missing field `eventId`"));
    assert!(said("").contains("EOF"));
    assert!(said(&"[".repeat(1_000_000)).contains("line 1"));
    let later = added()
        .to_string()
        .replace("2018-12-14T09:41:51.541Z", "yesterday");
    assert_eq!(said(&later), "not a time: yesterday");
    assert_eq!(read("[]", STAMP).unwrap(), []);
}

proptest! {
    #[test]
    fn whatever_is_written_is_read(record in any_record()) {
        let first = read(&write(&record), STAMP).unwrap();
        // From then on nothing is lost any more.
        for one in &first {
            prop_assert_eq!(&read(&write(one), STAMP).unwrap(), std::slice::from_ref(one));
        }
    }

    #[test]
    fn text_of_any_kind_does_no_harm(text in any::<String>()) {
        prop_assert!(read(&text, STAMP).is_err());
    }
}
