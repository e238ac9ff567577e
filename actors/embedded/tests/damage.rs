//! What happens when the disk gives back something else than was written.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use common::Place;
use mailhorn_embedded::{EmbeddedStore, OpenError, Range, salvage};
use mailhorn_events::MessageId;
use mailhorn_ports::contract::{Reopen, World};
use mailhorn_ports::{Account, Directory, MailStore, ReadError};

const ANN: &str = "ann@example.org";
const MESSAGES: u8 = 40;

/// Where `needle` is in a file.
fn find(file: &Path, needle: &[u8]) -> u64 {
    let octets = fs::read(file).unwrap();
    octets
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap() as u64
}

/// Octets that a batch begins with, before its first item.
const BATCH_HEAD: usize = 13;

/// Where the batch with `needle` begins: behind the trailer of the one before it.
fn batch_of(journal: &Path, needle: &[u8]) -> u64 {
    let before = &fs::read(journal).unwrap()[..find(journal, needle) as usize];
    memmem(before, b"FJL\x03").pop().unwrap() as u64 + 4
}

fn overwrite(file: &Path, at: u64, octets: &[u8]) {
    OpenOptions::new()
        .write(true)
        .open(file)
        .unwrap()
        .write_all_at(octets, at)
        .unwrap();
}

fn body(n: u8) -> Vec<u8> {
    [format!("message {n:03} ").as_bytes(), &[n; 3_000]].concat()
}

/// Forty messages in the journal, each in a commit of its own; then an account made after them. Dropped, not closed.
async fn filled(place: &Place) -> (Arc<Account>, Vec<MessageId>, World<'static, EmbeddedStore>) {
    let store: &'static EmbeddedStore = Box::leak(Box::new(place.open()));
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let mut messages = Vec::new();
    for n in 0..MESSAGES {
        messages.push(world.store_message(&[&ann], &body(n)).await);
    }
    world.expunge_messages(&ann, &messages[..2]).await;
    world.account("late@example.org").await;
    (ann, messages, world)
}

async fn assert_all_there(place: &Place, ann: &Account, messages: &[MessageId]) {
    let store = place.open();
    let world = World::seeded(&store, 2);
    let listed: Vec<_> = world.list(ann, 100).await.iter().map(|row| row.message).collect();
    assert_eq!(listed, messages[2..]);
    for (n, message) in (0..).zip(messages).skip(2) {
        assert!(
            world.read(ann, *message).await.unwrap().ends_with(&body(n)),
            "message {n}"
        );
    }
    let inbox = World::<EmbeddedStore>::inbox(ann);
    assert_eq!(
        store.figure(inbox).await.unwrap().messages,
        messages.len() as u64 - 2
    );
    assert!(
        store.account("late@example.org").await.unwrap().is_some(),
        "changes of the directory are recovered"
    );
}

#[tokio::test]
async fn zeros_in_the_journal_stop_the_start_and_salvage_recovers_what_is_behind() {
    let place = Place::default();
    let (ann, messages, world) = filled(&place).await;
    let place = place.crashed();
    let journal = place.journal();
    overwrite(&journal, batch_of(&journal, b"message 020"), &[0; BATCH_HEAD]);

    for _ in 0..2 {
        match place.try_open() {
            Err(
                error @ OpenError::LogBehind {
                    generation,
                    have,
                    synced,
                    changes,
                    ..
                },
            ) => {
                assert_eq!((generation, have, synced), (world.generation, 20, 41));
                assert_eq!(changes, 41 - 20 + 1);
                assert!(
                    error.to_string().contains("mailhorn salvage --data-dir"),
                    "{error}"
                );
            }
            result => panic!("opened in spite of what is missing: {result:?}"),
        }
    }
    let report = salvage(place.path(), &place.options).unwrap();
    assert_eq!(report.lost.len() + report.octets_lost.len(), 0, "{report}");
    assert_eq!(
        report.recovered,
        [Range {
            generation: world.generation,
            first: 21,
            last: 41
        }]
    );
    assert_eq!(report.directory_changes, 1);
    assert_all_there(&place, &ann, &messages).await;
    assert!(!place.path().join("journal-kept").exists());
}

#[tokio::test]
async fn a_record_that_is_damaged_itself_is_reported_as_lost_and_the_others_are_recovered() {
    let place = Place::default();
    let (ann, messages, world) = filled(&place).await;
    let place = place.crashed();
    let journal = place.journal();
    let octets = fs::read(&journal).unwrap();
    let records: Vec<usize> = memmem(&octets, b"MHR1");
    overwrite(&journal, records[30] as u64 + 20, &[0xff; 4]);
    assert!(matches!(
        place.try_open(),
        Err(OpenError::Damaged { .. } | OpenError::LogBehind { .. })
    ));
    let report = salvage(place.path(), &place.options).unwrap();
    let range = |first, last| Range {
        generation: world.generation,
        first,
        last,
    };
    assert_eq!(report.lost, [range(31, 31)]);
    assert_eq!(report.recovered, [range(32, 41)]);
    let store = place.open();
    let listed: Vec<_> = World::seeded(&store, 2)
        .list(&ann, 100)
        .await
        .iter()
        .map(|row| row.message)
        .collect();
    let expected: Vec<_> = messages
        .iter()
        .enumerate()
        .filter(|(n, _)| *n > 1 && *n != 30)
        .map(|(_, id)| *id)
        .collect();
    assert_eq!(listed, expected);
}

fn memmem(octets: &[u8], needle: &[u8]) -> Vec<usize> {
    octets
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .map(|(at, _)| at)
        .collect()
}

#[tokio::test]
async fn a_flipped_bit_in_the_journal_stops_the_start_and_costs_one_message_its_octets() {
    let place = Place::default();
    let (ann, messages, _world) = filled(&place).await;
    let place = place.crashed();
    let journal = place.journal();
    let at = find(&journal, b"message 010") + 100;
    overwrite(&journal, at, &[10 ^ 0x40]);
    let error = place.try_open().unwrap_err();
    assert!(matches!(error, OpenError::LogBehind { .. }), "{error}");
    assert!(
        error.to_string().contains("mailhorn salvage --data-dir"),
        "{error}"
    );
    let report = salvage(place.path(), &place.options).unwrap();
    assert_eq!(
        (report.lost.as_slice(), report.octets_lost.as_slice()),
        (&[][..], &messages[10..11]),
        "{report}"
    );
    let store = place.open();
    let world = World::seeded(&store, 2);
    assert_eq!(world.list(&ann, 100).await.len(), messages.len() - 2);
    assert!(matches!(
        world.read(&ann, messages[10]).await,
        Err(ReadError::Missing)
    ));
    assert!(world.read(&ann, messages[11]).await.is_ok());
}

/// fjall would panic over lengths that contradict each other; whoever starts the node must not have to know.
#[tokio::test]
async fn zeros_within_an_entry_stop_the_start_with_the_same_advice() {
    let place = Place::default();
    let (ann, messages, _world) = filled(&place).await;
    let place = place.crashed();
    let journal = place.journal();
    overwrite(&journal, find(&journal, b"message 020") - 90, &[0; 20]);
    let error = place.try_open().unwrap_err();
    assert!(matches!(error, OpenError::LogBehind { .. }), "{error}");
    assert!(
        error.to_string().contains("mailhorn salvage --data-dir"),
        "{error}"
    );
    let report = salvage(place.path(), &place.options).unwrap();
    assert_eq!(report.lost.len() + report.octets_lost.len(), 0, "{report}");
    assert_all_there(&place, &ann, &messages).await;
}

#[tokio::test]
async fn a_salvage_that_did_not_end_can_be_run_again() {
    let place = Place::default();
    let (ann, messages, _world) = filled(&place).await;
    let place = place.crashed();
    let journal = place.journal();
    overwrite(&journal, batch_of(&journal, b"message 020"), &[0; BATCH_HEAD]);
    assert!(place.try_open().is_err());
    let (kept, aside) = (place.path().join("journal-kept"), place.path().join("aside"));
    fs::create_dir(&aside).unwrap();
    for entry in fs::read_dir(&kept).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), aside.join(entry.file_name())).unwrap();
    }
    let first = salvage(place.path(), &place.options).unwrap();
    assert!(!first.recovered.is_empty());
    // As if it had stopped before it removed the kept journal.
    fs::rename(&aside, &kept).unwrap();
    salvage(place.path(), &place.options).unwrap();
    assert_all_there(&place, &ann, &messages).await;
}

#[tokio::test]
async fn salvage_changes_nothing_where_nothing_is_missing() {
    let place = Place::default();
    let (ann, messages, _world) = filled(&place).await;
    let place = place.crashed();
    let report = salvage(place.path(), &place.options).unwrap();
    assert_eq!(
        (
            report.lost.len(),
            report.recovered.len(),
            report.octets_lost.len()
        ),
        (0, 0, 0),
        "{report}"
    );
    assert_all_there(&place, &ann, &messages).await;
}

#[tokio::test]
async fn a_torn_end_of_the_journal_is_no_damage() {
    let place = Place::default();
    let (ann, messages, _world) = filled(&place).await;
    let place = place.crashed();
    let journal = place.journal();
    let octets = fs::read(&journal).unwrap();
    let end = octets.iter().rposition(|octet| *octet != 0).unwrap() as u64 + 1;
    // The beginning of a batch that was never synced, and so never acknowledged.
    overwrite(&journal, end, &[1, 3, 0, 0, 0, 9, 9, 0, 0, 0, 0, 0, 0, 2, 0, 0]);
    assert_all_there(&place, &ann, &messages).await;
}

/// A loss of power leaves any pages out of what was not synced: within a value, where entries can still be decoded and
/// their sum is wrong, or within an entry, over which fjall panics.
#[tokio::test]
async fn pages_missing_from_a_batch_that_was_not_synced_are_no_damage() {
    for missing in ["of a value", "of lengths"] {
        let place = Place::default();
        let (ann, messages, _world) = filled(&place).await;
        let place = place.crashed();
        let journal = place.journal();
        let octets = fs::read(&journal).unwrap();
        let end = octets.iter().rposition(|octet| *octet != 0).unwrap() + 1;
        // An upload and its commit once more, as if they were the next: whole but for what is left out.
        let from = batch_of(&journal, b"message 038") as usize;
        let mut again = octets[from..batch_of(&journal, b"message 039") as usize].to_vec();
        let value = memmem(&again, b"message 038").pop().unwrap();
        match missing {
            "of a value" => again[value + 100..value + 2_000].fill(0),
            _ => again[value - 90..value - 70].fill(0),
        }
        overwrite(&journal, end as u64, &again);
        assert_all_there(&place, &ann, &messages).await;
    }
}

#[tokio::test]
async fn a_damaged_table_of_octets_costs_its_messages_and_holds_nothing_else_up() {
    let place = Place {
        options: small_segments(),
        ..Place::default()
    };
    let store = place.open();
    let mut world = World::new(&store);
    let ann = world.account(ANN).await;
    let mut messages = Vec::new();
    for n in 0..MESSAGES {
        messages.push(world.store_message(&[&ann], &body(n)).await);
    }
    store.close().await.unwrap();
    drop(store);
    // Salvage is one way to have everything written to tables.
    salvage(place.path(), &place.options).unwrap();
    let needle = b"message 005";
    let table = place.files(|path| path.is_file() && path.extension().is_none_or(|e| e != "jnl"));
    let table = table
        .iter()
        .find(|path| !memmem(&fs::read(path).unwrap(), needle).is_empty())
        .unwrap();
    overwrite(table, find(table, needle) + 50, b"damaged");

    let store = place.open();
    let mut world = World {
        end: u64::from(MESSAGES),
        ..World::new(&store)
    };
    for (n, message) in messages.iter().enumerate() {
        let read = world.read(&ann, *message).await;
        assert_eq!(
            matches!(read, Err(ReadError::Damaged)),
            n == 5,
            "message {n}: {read:?}"
        );
    }
    // Everything but the damaged message and every tenth goes: what is left is moved, the damaged one is not.
    let gone: Vec<_> = messages
        .iter()
        .enumerate()
        .filter(|(n, _)| n % 10 > 0 && *n != 5)
        .map(|(_, id)| *id)
        .collect();
    world.generation = world.ids.generation();
    world.end = 0;
    world.expunge_messages(&ann, &gone).await;
    let mut steps = 0;
    while store
        .maintain(World::<common::Store>::NOTHING_OLD)
        .await
        .unwrap()
        .more
    {
        steps += 1;
        assert!(steps < 100, "housekeeping ends");
    }
    for n in [0, 10, 20, 30] {
        assert!(
            world
                .read(&ann, messages[n])
                .await
                .unwrap()
                .ends_with(&body(n as u8)),
            "message {n}"
        );
    }
    assert!(matches!(
        world.read(&ann, messages[5]).await,
        Err(ReadError::Damaged)
    ));
    world.store_message(&[&ann], b"and more mail comes").await;
}

fn small_segments() -> mailhorn_embedded::Options {
    mailhorn_embedded::Options {
        segment_octets_max: 30_000,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_second_process_is_told_that_the_store_is_in_use() {
    let place = Place::default();
    let store = place.open();
    assert!(matches!(place.try_open(), Err(OpenError::InUse { .. })));
    assert!(salvage(place.path(), &place.options).is_err());
    store.close().await.unwrap();
    assert!(place.try_open().is_ok());
}

#[tokio::test]
async fn the_secret_of_an_installation_stays() {
    let place = Place::default();
    let secret = place.open().installation_secret();
    assert_ne!(secret, [0; 32]);
    assert_eq!(place.open().installation_secret(), secret);
    assert_ne!(Place::default().path(), place.path());
}
