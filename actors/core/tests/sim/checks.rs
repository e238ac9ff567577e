//! What must hold when a cluster has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mailhorn_core::mailbox::LockMode;
use mailhorn_events::{EventId, Generation, Happened, Happening, MailboxId, MessageId, QuotaRoot};
use mailhorn_pop3::Maildrop;
use mailhorn_ports::{GroupStore, Key, ListenerOptions, MailStore, Membership, QuotaOwner, QuotaStore};

use crate::cluster::{AtRest, GROUPS};
use crate::listeners::{DEFAULTS, PERCENTS, Seen};

/// Gives how many events the logs held.
pub(crate) async fn check(rest: &AtRest) -> u64 {
    nobody_was_taken_for_dead_who_trusted_its_lease(rest);
    whoever_is_gone_was_adopted(rest).await;
    nothing_promised_is_lost(rest).await;
    let events = events(rest);
    for (name, ..) in GROUPS {
        let dead = dead(rest, name).await;
        every_event_was_had(name, &rest.seen[name], &events, &dead);
        order_was_kept(name, &rest.seen[name]);
    }
    assert_eq!(
        dead(rest, "quota").await,
        BTreeSet::new(),
        "quotas call nothing bad"
    );
    every_crossing_was_announced_once(rest).await;
    every_view_is_true(rest).await;
    every_watcher_is_right(rest).await;
    events.len() as u64
}

fn nobody_was_taken_for_dead_who_trusted_its_lease(rest: &AtRest) {
    let net = rest.net.lock();
    assert_eq!(net.wronged(), [], "logs were ended whose lease held");
}

/// Those that live are members, and nobody else is.
async fn whoever_is_gone_was_adopted(rest: &AtRest) {
    let members = rest.store.members().await.unwrap();
    let members: BTreeSet<Generation> = members.into_iter().map(|member| member.generation).collect();
    let alive = rest.nodes.iter().map(|(node, _)| node.generation).collect();
    assert_eq!(members, alive);
}

async fn rows(rest: &AtRest, mailbox: MailboxId) -> BTreeSet<MessageId> {
    let rows = rest.store.list(mailbox, None, usize::MAX).await.unwrap();
    rows.into_iter().map(|row| row.message).collect()
}

async fn nothing_promised_is_lost(rest: &AtRest) {
    for user in &*rest.users {
        let mailbox = MailboxId::inbox(user.id);
        let rows = rows(rest, mailbox).await;
        let ledger = &rest.ledger;
        for (of, message) in &ledger.delivered {
            let place = (*of, *message);
            let may_be_gone = ledger.deleted.contains(&place) || ledger.perhaps_deleted.contains(&place);
            assert!(
                *of != mailbox || rows.contains(message) || may_be_gone,
                "{message} was acknowledged and is lost"
            );
        }
        for message in rows {
            let place = (mailbox, message);
            assert!(
                !ledger.deleted.contains(&place),
                "{message} was deleted and is back"
            );
            assert!(
                ledger.delivered.contains(&place) || ledger.perhaps_delivered.contains(&place),
                "{message} was never sent"
            );
        }
    }
}

/// All events that ever stood in a log.
fn events(rest: &AtRest) -> BTreeMap<EventId, Happened> {
    let mut events = BTreeMap::new();
    for (position, record) in rest.store.history() {
        for happened in Happened::all(position, &record) {
            if !happened.event().happening.is_noop() {
                events.insert(happened.id(), happened);
            }
        }
    }
    events
}

async fn dead(rest: &AtRest, name: &str) -> BTreeSet<EventId> {
    let letters = rest
        .store
        .dead_letters(&name.parse().unwrap(), None, usize::MAX)
        .await
        .unwrap();
    letters.into_iter().map(|letter| letter.id).collect()
}

/// At least once each, or it is a dead letter that failed as often as one has to.
fn every_event_was_had(
    name: &str,
    seen: &Seen,
    events: &BTreeMap<EventId, Happened>,
    dead: &BTreeSet<EventId>,
) {
    let retries = ListenerOptions::default().retries;
    for id in dead {
        assert!(
            events.contains_key(id),
            "the group {name} gave up {id}, which never happened"
        );
        let failures = seen.failed.get(id).copied().unwrap_or(0);
        assert!(
            failures > retries,
            "the group {name} gave {id} up after {failures} failures"
        );
    }
    for (id, happened) in events {
        assert!(
            seen.known.contains(id) || dead.contains(id),
            "the group {name} never had {id} at {:?}",
            happened.position()
        );
    }
}

/// Of one mailbox and log, in the order of the log; those aside that failed.
fn order_was_kept(name: &str, seen: &Seen) {
    let mut last: BTreeMap<(Generation, Key), u64> = BTreeMap::new();
    for happened in &seen.done {
        if seen.failed.contains_key(&happened.id()) {
            continue;
        }
        let position = happened.position();
        let event = happened.event();
        let of = event.mailbox.map_or(Key::User(event.account), Key::Mailbox);
        let lane = (position.generation, of);
        let before = last.insert(lane, position.number).unwrap_or(0);
        assert!(
            before <= position.number,
            "the group {name} had {} before {} of {lane:?}",
            before,
            position.number
        );
    }
}

/// What was announced last of every quota is what usage has reached, and the announcements lead there one after the other.
async fn every_crossing_was_announced_once(rest: &AtRest) {
    let mut last: BTreeMap<QuotaOwner, u8> = BTreeMap::new();
    for (_, record) in rest.store.history() {
        for event in &record.events {
            if let Happening::QuotaUsageUpdated(usage) = &event.happening {
                let owner = match &usage.root {
                    QuotaRoot::User => QuotaOwner::Account(event.account),
                    QuotaRoot::Domain(name) => QuotaOwner::Domain(name.clone()),
                };
                let before = last.insert(owner, usage.reached_percent).unwrap_or(0);
                assert_eq!(
                    before, usage.before_percent,
                    "a crossing was announced twice, or left out"
                );
            }
        }
    }
    let domain = QuotaOwner::Domain("example.org".into());
    let owners = rest.users.iter().map(|user| QuotaOwner::Account(user.id));
    for owner in owners.chain([domain]) {
        let limits = match owner {
            QuotaOwner::Account(_) => DEFAULTS.user,
            QuotaOwner::Domain(_) => DEFAULTS.domain,
        };
        let used = rest.store.usage(&owner).await.unwrap().messages;
        let reached = PERCENTS
            .into_iter()
            .filter(|percent| used > 0 && used * 100 >= limits.messages.unwrap() * u64::from(*percent));
        let announced = last.get(&owner).copied().unwrap_or(0);
        assert_eq!(
            announced,
            reached.max().unwrap_or(0),
            "{owner:?} holds {used} messages"
        );
    }
}

/// The view that a node holds in memory is what the store has.
async fn every_view_is_true(rest: &AtRest) {
    for (node, _) in &rest.nodes {
        for user in &*rest.users {
            let opened = node
                .mailboxes
                .open(user.id, LockMode::Shared, Duration::ZERO)
                .await;
            let listing = opened.expect("a maildrop opens").listing;
            let listed: BTreeSet<MessageId> = (0..listing.len())
                .filter_map(|index| listing.message(index))
                .collect();
            let rows = rows(rest, MailboxId::inbox(user.id)).await;
            assert_eq!(
                listed, rows,
                "the view of {} on {} is wrong",
                user.address, node.name
            );
        }
    }
}

/// A session that stayed and only listened believes what is true.
async fn every_watcher_is_right(rest: &AtRest) {
    for (node, watcher) in &rest.nodes {
        let believed: BTreeSet<MessageId> = watcher.believes().into_iter().collect();
        let rows = rows(rest, watcher.mailbox).await;
        assert_eq!(believed, rows, "who watches on {} is wrong", node.name);
    }
}
