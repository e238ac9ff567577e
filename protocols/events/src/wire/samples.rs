//! Records for tests: one for each kind, which the golden files hold, and arbitrary ones.

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use crate::ids::{AccountId, EventId, MailboxId, MessageId, Stamp};
use crate::model::{
    Acl, Added, Arrival, ContentDeleted, Event, Expunged, FlagsUpdated, Happening, QuotaLimits, QuotaRoot,
    QuotaUsage, Record,
};

const RECEIVED: Stamp = Stamp(1_767_225_600_000_000);

pub(crate) fn record(happenings: Vec<Happening>) -> Record {
    Record {
        id: EventId(Uuid::from_u128(0x1111)),
        stamp: Stamp(1_767_225_600_000_001),
        events: happenings.into_iter().map(event).collect(),
    }
}

fn event(happening: Happening) -> Event {
    let about_the_user = matches!(
        happening,
        Happening::QuotaUsageUpdated(_) | Happening::QuotaLimitsUpdated { .. }
    );
    Event {
        user: "ann@example.org".into(),
        account: AccountId(Uuid::from_u128(0x2222)),
        mailbox: (!about_the_user).then_some(mailbox(0x3333)),
        happening,
    }
}

fn mailbox(number: u128) -> MailboxId {
    MailboxId(Uuid::from_u128(number))
}

fn message() -> MessageId {
    MessageId::new(RECEIVED, [9; 8])
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn acl(entries: &[(&str, &str)]) -> Acl {
    let entries = entries.iter();
    entries
        .map(|&(who, rights)| (who.to_owned(), rights.to_owned()))
        .collect()
}

pub(crate) fn added(arrival: Arrival) -> Happening {
    let messages = vec![Added {
        message: message(),
        size: 4_294_967_296,
        chunks: 3,
        received: RECEIVED,
        flags: Vec::new(),
        unique_id: None,
        prefix: Bytes::from_static(b"Return-Path: <>\r\nDelivered-To: ann@example.org\r\n"),
    }];
    Happening::Added { arrival, messages }
}

fn added_with_all(arrival: Arrival) -> Happening {
    let messages = vec![Added {
        message: message(),
        size: 17,
        chunks: 1,
        received: RECEIVED,
        flags: texts(&["\\Seen", "$Forwarded"]),
        unique_id: Some("0000a1".into()),
        prefix: Bytes::from_static(b"X-Not-Text: \xff\r\n"),
    }];
    Happening::Added { arrival, messages }
}

pub(crate) fn v1_added() -> Record {
    let mut record = record(vec![added(Arrival::Delivered), added(Arrival::Delivered)]);
    let second = &mut record.events[1];
    second.user = "bob@example.org".into();
    if let Happening::Added { messages, .. } = &mut second.happening {
        messages[0].flags = texts(&["\\Seen"]);
        messages[0].unique_id = Some("0000a1".into());
    }
    record
}

pub(crate) fn v1_expunged() -> Record {
    record(vec![Happening::Expunged {
        moved_to: None,
        messages: vec![Expunged {
            message: message(),
            size: 17,
            received: RECEIVED,
            flags: Vec::new(),
        }],
    }])
}

/// One record for each kind; the variants that a kind has are events of the same record.
pub(crate) fn one_of_each() -> Vec<Record> {
    let (name, from, to) = ("Work/2026".to_owned(), "Work".to_owned(), "Arbeit".to_owned());
    let removed = |moved_to| Happening::Expunged {
        moved_to,
        messages: vec![Expunged {
            message: message(),
            size: 17,
            received: Stamp(1_700_000_000_000_000),
            flags: texts(&["\\Deleted"]),
        }],
    };
    let content = ContentDeleted {
        message: message(),
        octets: 4_294_967_247,
        chunks: 3,
    };
    let updated = FlagsUpdated {
        message: message(),
        before: texts(&["\\Flagged"]),
        after: texts(&["\\Flagged", "\\Seen"]),
    };
    let mut records = vec![
        record(vec![
            added(Arrival::Delivered),
            added_with_all(Arrival::Appended),
            added_with_all(Arrival::Moved(mailbox(0x5555))),
            added_with_all(Arrival::Copied(mailbox(0x5555))),
        ]),
        record(vec![removed(None), removed(Some(mailbox(0x5555)))]),
        record(vec![Happening::FlagsUpdated(vec![updated])]),
        record(vec![Happening::MailboxAdded { name: name.clone() }]),
        record(vec![Happening::MailboxRenamed { from, to }]),
        record(vec![Happening::MailboxDeleted {
            name: name.clone(),
            messages: 60,
            octets: 1_000,
        }]),
        record(vec![Happening::MailboxAclUpdated {
            name: name.clone(),
            before: Acl::new(),
            after: acl(&[("bob@example.org", "lrs"), ("-anyone", "i")]),
        }]),
        record(vec![Happening::MailboxSubscribed { name: name.clone() }]),
        record(vec![Happening::MailboxUnsubscribed { name }]),
        record(vec![Happening::MessageMoved {
            from: vec![mailbox(0x3333)],
            to: vec![mailbox(0x5555)],
            messages: vec![message()],
        }]),
        record(vec![Happening::MessageContentDeleted(vec![content])]),
    ];
    records.extend(quotas());
    records
}

fn quotas() -> [Record; 2] {
    let limits = QuotaLimits {
        messages: None,
        octets: Some(1_000_000),
    };
    let usage = |root| {
        Happening::QuotaUsageUpdated(QuotaUsage {
            root,
            messages: 12,
            octets: 900_000,
            limits,
            reached_percent: 90,
            before_percent: 80,
        })
    };
    let changed = |root| Happening::QuotaLimitsUpdated {
        root,
        before: QuotaLimits::default(),
        after: limits,
    };
    let domain = || QuotaRoot::Domain("example.org".into());
    [
        record(vec![usage(QuotaRoot::User), usage(domain())]),
        record(vec![changed(QuotaRoot::User), changed(domain())]),
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z@.]{0,12}", any::<String>()]
}

fn any_flags() -> impl Strategy<Value = Vec<String>> {
    vec(any_text(), 0..3)
}

fn any_uuid() -> impl Strategy<Value = Uuid> {
    any::<[u8; 16]>().prop_map(Uuid::from_bytes)
}

fn any_mailbox() -> impl Strategy<Value = MailboxId> {
    any_uuid().prop_map(MailboxId)
}

fn any_message() -> impl Strategy<Value = MessageId> {
    any_uuid().prop_map(MessageId)
}

fn any_acl() -> impl Strategy<Value = Acl> {
    btree_map(any_text(), any_text(), 0..3)
}

fn any_limits() -> impl Strategy<Value = QuotaLimits> {
    any::<(Option<u64>, Option<u64>)>().prop_map(|(messages, octets)| QuotaLimits { messages, octets })
}

fn any_root() -> impl Strategy<Value = QuotaRoot> {
    prop_oneof![Just(QuotaRoot::User), any_text().prop_map(QuotaRoot::Domain)]
}

fn any_added() -> impl Strategy<Value = Added> {
    let prefix = prop_oneof![vec(any::<u8>(), 0..40), any_text().prop_map(String::into_bytes)];
    let names = (any_message(), any_flags(), option::of(any_text()), prefix);
    (names, any::<(u64, u32, u64)>()).prop_map(|(names, (size, chunks, received))| {
        let (message, flags, unique_id, prefix) = names;
        Added {
            message,
            size,
            chunks,
            received: Stamp(received),
            flags,
            unique_id,
            prefix: prefix.into(),
        }
    })
}

fn any_expunged() -> impl Strategy<Value = Expunged> {
    let numbers = any::<(u64, u64)>();
    (any_message(), numbers, any_flags()).prop_map(|(message, (size, received), flags)| Expunged {
        message,
        size,
        received: Stamp(received),
        flags,
    })
}

fn any_updated() -> impl Strategy<Value = FlagsUpdated> {
    (any_message(), any_flags(), any_flags()).prop_map(|(message, before, after)| FlagsUpdated {
        message,
        before,
        after,
    })
}

fn any_content() -> impl Strategy<Value = ContentDeleted> {
    (any_message(), any::<(u64, u32)>()).prop_map(|(message, (octets, chunks))| ContentDeleted {
        message,
        octets,
        chunks,
    })
}

fn any_usage() -> impl Strategy<Value = QuotaUsage> {
    let numbers = any::<(u64, u64, u8, u8)>();
    (any_root(), any_limits(), numbers).prop_map(|(root, limits, numbers)| QuotaUsage {
        root,
        messages: numbers.0,
        octets: numbers.1,
        limits,
        reached_percent: numbers.2,
        before_percent: numbers.3,
    })
}

fn any_arrival() -> impl Strategy<Value = Arrival> {
    prop_oneof![
        Just(Arrival::Delivered),
        Just(Arrival::Appended),
        any_mailbox().prop_map(Arrival::Moved),
        any_mailbox().prop_map(Arrival::Copied),
    ]
}

fn any_message_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (any_arrival(), vec(any_added(), 0..3))
            .prop_map(|(arrival, messages)| Happening::Added { arrival, messages }),
        (option::of(any_mailbox()), vec(any_expunged(), 0..3))
            .prop_map(|(moved_to, messages)| Happening::Expunged { moved_to, messages }),
        vec(any_updated(), 0..3).prop_map(Happening::FlagsUpdated),
        vec(any_content(), 0..3).prop_map(Happening::MessageContentDeleted),
        (
            vec(any_mailbox(), 0..3),
            vec(any_mailbox(), 0..3),
            vec(any_message(), 0..3)
        )
            .prop_map(|(from, to, messages)| Happening::MessageMoved { from, to, messages }),
    ]
}

fn any_mailbox_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        any_text().prop_map(|name| Happening::MailboxAdded { name }),
        any_text().prop_map(|name| Happening::MailboxSubscribed { name }),
        any_text().prop_map(|name| Happening::MailboxUnsubscribed { name }),
        (any_text(), any_text()).prop_map(|(from, to)| Happening::MailboxRenamed { from, to }),
        (any_text(), any::<(u64, u64)>()).prop_map(|(name, (messages, octets))| Happening::MailboxDeleted {
            name,
            messages,
            octets,
        }),
        (any_text(), any_acl(), any_acl()).prop_map(|(name, before, after)| Happening::MailboxAclUpdated {
            name,
            before,
            after,
        }),
        any_usage().prop_map(Happening::QuotaUsageUpdated),
        (any_root(), any_limits(), any_limits())
            .prop_map(|(root, before, after)| { Happening::QuotaLimitsUpdated { root, before, after } }),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let happening = prop_oneof![any_message_happening(), any_mailbox_happening()];
    (any_text(), any_uuid(), option::of(any_mailbox()), happening).prop_map(
        |(user, account, mailbox, happening)| Event {
            user,
            account: AccountId(account),
            mailbox,
            happening,
        },
    )
}

pub(crate) fn any_record() -> impl Strategy<Value = Record> {
    (any_uuid(), any::<u64>(), vec(any_event(), 0..4)).prop_map(|(id, stamp, events)| Record {
        id: EventId(id),
        stamp: Stamp(stamp),
        events,
    })
}
