//! What a crash, or damage to the journal, leaves of groups and quotas.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use common::{Place, Store};
use mailhorn_embedded::salvage;
use mailhorn_events::{EventId, Happening, QuotaLimits, QuotaRoot, QuotaUsage, Stamp};
use mailhorn_ports::contract::{Reopen, World};
use mailhorn_ports::{
    Change, Cursor, GroupStore, MailStore, QuotaDefaults, QuotaOwner, QuotaStore, ThresholdMove,
};

const ANN: &str = "ann@example.org";

/// A cursor waits for no sync, a parked letter does: so no cursor is past a record that is neither done nor parked.
#[tokio::test]
async fn after_a_crash_a_cursor_is_never_ahead_of_a_parked_letter() {
    let place = Place::default();
    let store = place.open();
    let mut world = World::new(&store);
    let ann = world.account(ANN).await;
    let (crm, log) = ("crm".parse().unwrap(), world.generation);
    store.register_group(&crm, Stamp(1)).await.unwrap();
    let mut letters: Vec<EventId> = Vec::new();
    let mut taken_after_crash = Vec::new();
    for number in 1..=40 {
        world.store_message(&[&ann], b"octets").await;
        let mut letter = world.letter(world.ids.event());
        letter.position.number = number;
        store.park(&crm, &letter).await.unwrap();
        letters.push(letter.id);
        store.save_cursor(&crm, log, &Cursor::at(number)).await.unwrap();
        if number % 8 > 0 {
            continue;
        }
        let copy = place.crashed();
        let store = copy.open();
        let cursors = store.cursors(&crm).await.unwrap();
        let taken = cursors.first().map_or(0, |(_, cursor)| cursor.taken);
        assert!(taken <= number);
        taken_after_crash.push(taken);
        let parked = store.parked(&crm, log).await.unwrap();
        assert_eq!(
            parked.len() as u64,
            number,
            "what was parked is parked, ahead of the cursor too"
        );
    }
    assert!(taken_after_crash.is_sorted());
    let last = *taken_after_crash.last().unwrap();
    assert!(
        (20..=40).contains(&last),
        "cursors go along with other batches: {taken_after_crash:?}"
    );
}

/// Records behind the damage are made again, with what they say of quotas.
#[tokio::test]
async fn salvage_leaves_usage_at_what_rows_sum_up_to_and_thresholds_where_they_were_announced() {
    let place = Place::default();
    let store = place.open();
    let mut world = World::new(&store);
    let ann = world.account(ANN).await;
    let owner = QuotaOwner::Account(ann.id);
    let mut messages = Vec::new();
    for n in 0..30_u8 {
        let body = format!("message {n:03}");
        messages.push(world.store_message(&[&ann], body.as_bytes()).await);
    }
    world.expunge_messages(&ann, &messages[25..]).await;
    let usage = QuotaUsage {
        root: QuotaRoot::User,
        messages: 25,
        octets: 1_000,
        limits: QuotaLimits::default(),
        reached_percent: 80,
        before_percent: 0,
    };
    let threshold = ThresholdMove {
        owner: owner.clone(),
        from_percent: 0,
        to_percent: 80,
    };
    let announce = world.announce(&ann, Happening::QuotaUsageUpdated(usage), Some(threshold));
    world.commit(vec![Change::Announce(announce)]).await;
    let log = world.generation;
    let records = store.records(log, 1, 99).await.unwrap();

    let place = place.crashed();
    let journal = place.journal();
    let octets = fs::read(&journal).unwrap();
    let at = octets
        .windows(11)
        .position(|window| window == b"message 010")
        .unwrap();
    let journal = OpenOptions::new().write(true).open(journal).unwrap();
    journal.write_all_at(b"massage", at as u64).unwrap();
    assert!(place.try_open().is_err());
    let report = salvage(place.path(), &place.options).unwrap();
    assert!(report.lost.is_empty(), "{report}");
    let store = place.open();
    assert_eq!(store.records(log, 1, 99).await.unwrap(), records);
    let standings = store
        .quota_standings(std::slice::from_ref(&owner), QuotaDefaults::default())
        .await
        .unwrap();
    assert_eq!(standings[0].announced_percent, 80);
    let inbox = World::<Store>::inbox(&ann);
    let usage = store.usage(&owner).await.unwrap();
    assert_eq!((usage.messages, usage), (25, store.figure(inbox).await.unwrap()));
    assert_eq!(store.recount_usage().await.unwrap(), 0);
}
