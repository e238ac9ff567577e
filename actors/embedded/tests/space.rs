//! Space comes back: what the store takes on disk is bounded by what is live.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::collections::VecDeque;

use common::Place;
use mailhorn_embedded::Options;
use mailhorn_events::MessageId;
use mailhorn_ports::contract::{Reopen, World};
use mailhorn_ports::memory::SeededRandom;
use mailhorn_ports::{Change, MailStore};

const SEGMENT_OCTETS: u64 = 1_000_000;
/// One segment that is being filled, one that is being emptied, and rows.
const ALLOWANCE: u64 = 4 * SEGMENT_OCTETS;

/// Octets of all tables: journals have a bound of their own.
fn octets_on_disk(place: &Place) -> u64 {
    let tables = place.files(|path| path.extension().is_none_or(|extension| extension != "jnl"));
    tables.iter().map(|path| path.metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn filling_and_emptying_takes_less_than_thrice_what_is_live() {
    let place = Place {
        options: Options {
            segment_octets_max: SEGMENT_OCTETS,
            ..Options::default()
        },
        ..Place::default()
    };
    let store = place.open();
    let mut world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    let (random, mut live, mut live_octets) = (SeededRandom::new(3), VecDeque::<(MessageId, u64)>::new(), 0);
    for round in 0..30 {
        let mut changes = Vec::new();
        for _ in 0..40 {
            let octets = vec![round as u8; random.below(60_000) as usize];
            let delivery = world.delivery(&[&ann], &octets);
            live.push_back((delivery.message, octets.len() as u64));
            live_octets += octets.len() as u64;
            changes.push(Change::Deliver(delivery));
        }
        // Chunks whose change never comes are swept as well.
        world.upload(&[&ann], &vec![1; 200_000]).await;
        let mut gone = Vec::new();
        while live.len() > 60 {
            // Mostly old ones, now and then a younger one.
            let at = if random.below(4) == 0 {
                random.below(live.len() as u64) as usize
            } else {
                0
            };
            let (message, octets) = live.remove(at).unwrap();
            live_octets -= octets;
            gone.push(message);
        }
        changes.push(Change::Expunge(world.expunge(&ann, &gone)));
        let committed = store.commit(&world.group(changes)).await.unwrap();
        world.end += committed.records.len() as u64;
        while store
            .maintain(World::<common::Store>::NOTHING_OLD)
            .await
            .unwrap()
            .more
        {}
        assert_eq!(world.list(&ann, 100).await.len(), live.len());
    }
    for (message, octets) in &live {
        let prefix = World::<common::Store>::prefix(&ann).len() as u64;
        assert_eq!(
            world.read(&ann, *message).await.unwrap().len() as u64,
            octets + prefix
        );
    }
    let taken = octets_on_disk(&place);
    assert!(
        taken < 3 * live_octets + ALLOWANCE,
        "{taken} octets on disk for {live_octets} live ones"
    );
    assert_eq!(store.log_end(world.generation).await.unwrap(), world.end);
}

#[tokio::test]
async fn an_emptied_mailbox_gives_its_segments_back() {
    let place = Place {
        options: Options {
            segment_octets_max: SEGMENT_OCTETS,
            ..Options::default()
        },
        ..Place::default()
    };
    let store = place.open();
    let mut world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    let mut messages = Vec::new();
    for n in 0..100_u8 {
        messages.push(world.store_message(&[&ann], &vec![n; 50_000]).await);
    }
    world.expunge_messages(&ann, &messages).await;
    let mut given_back = 0;
    while {
        let done = store.maintain(World::<common::Store>::NOTHING_OLD).await.unwrap();
        given_back += done.octets;
        done.more
    } {}
    assert!(given_back >= 100 * 50_000 - SEGMENT_OCTETS, "{given_back}");
    drop(store);
    let store = place.open();
    assert!(World::seeded(&store, 2).list(&ann, 9).await.is_empty());
}
