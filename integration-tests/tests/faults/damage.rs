//! Damage on the disk: in the journal, which must not pass in silence, and in a table, which must not cost more than what
//! it hits.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mailhorn_integration_tests::random::Random;
use mailhorn_integration_tests::{Node, mailhorn};

use crate::maildrop::{fill, look, prepare, print_what_it_said};

const MESSAGES: u64 = 300;
const MESSAGE_OCTETS: usize = 3_000;
/// What 4 KiB of damage can hit of such messages, with the batches that they are in.
const HIT_MAX: usize = 4;

/// All files below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

/// The journal that was written last, and how much of it is used.
fn journal(data_dir: &Path) -> (PathBuf, u64) {
    let journals = files(&data_dir.join("store"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    let path = journals
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap())
        .unwrap();
    let octets = fs::read(&path).unwrap();
    let used = octets.iter().rposition(|octet| *octet != 0).unwrap() + 1;
    (path, used as u64)
}

/// Overwrites a part of the journal's used half behind `quarter` quarters of it.
fn damage_journal(data_dir: &Path, quarter: u64, damage: impl FnOnce(&mut [u8])) {
    let (path, used) = journal(data_dir);
    let at = used / 4 * quarter;
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut octets = vec![0; 4_096];
    file.read_exact_at(&mut octets, at).unwrap();
    damage(&mut octets);
    file.write_all_at(&octets, at).unwrap();
}

/// Fills a node, kills it, damages its journal: the next start must refuse, and salvage must find nearly all.
fn damaged_journal_is_told_and_salvaged(what: &str, quarter: u64, damage: impl FnOnce(&mut [u8])) {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let builder = Node::builder().data_dir(dir.path());
    let mut node = builder.start();
    fill(&node, 0..MESSAGES, MESSAGE_OCTETS);
    node.kill();
    damage_journal(dir.path(), quarter, damage);

    println!("{what}:");
    for start in ["the first start", "the second start"] {
        let ended = builder
            .try_start()
            .expect_err("a damaged journal must not pass in silence");
        assert!(!ended.status.success(), "{start}");
        let said = ended.log.lines().last().unwrap_or_default().to_owned();
        println!("  {start} said: {said}");
        assert!(
            said.contains("mailhorn salvage --data-dir"),
            "{start}: {}",
            ended.log
        );
        assert!(
            said.contains("missing") || said.contains("damaged"),
            "{start}: {}",
            ended.log
        );
    }

    let salvage = mailhorn(&["salvage", "--data-dir", dir.path().to_str().unwrap()], "");
    let report = String::from_utf8_lossy(&salvage.stdout).into_owned();
    println!("  salvage said:");
    report.lines().for_each(|line| println!("    {line}"));
    assert!(
        salvage.status.success(),
        "{}",
        String::from_utf8_lossy(&salvage.stderr)
    );

    let node = builder.start();
    let found = look(&node, MESSAGE_OCTETS);
    let missing = usize::try_from(MESSAGES).unwrap() - found.whole.len();
    println!(
        "  {missing} of {MESSAGES} messages are gone, {} of them listed",
        found.refused.len()
    );
    assert!(missing <= HIT_MAX, "more is gone than was hit: {missing}");
    if missing > 0 {
        assert!(
            report.contains("lost:"),
            "salvage must say that something is lost"
        );
    }
    fill(&node, MESSAGES..MESSAGES + 1, MESSAGE_OCTETS);
}

#[test]
fn zeros_in_the_journal_do_not_pass_in_silence() {
    damaged_journal_is_told_and_salvaged("4 KiB of zeros in the middle of the journal", 2, |octets| {
        octets.fill(0);
    });
}

#[test]
fn a_flipped_bit_in_the_journal_does_not_pass_in_silence() {
    damaged_journal_is_told_and_salvaged("one flipped bit in the journal's third quarter", 3, |octets| {
        octets[2_000] ^= 0x10;
    });
}

/// The largest table that holds octets of messages: rows are small.
fn largest_table(data_dir: &Path) -> PathBuf {
    let tables = files(&data_dir.join("store/keyspaces"))
        .into_iter()
        .filter(|path| path.parent().is_some_and(|parent| parent.ends_with("tables")));
    tables
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

#[test]
fn damage_in_a_table_costs_the_messages_in_it_and_no_others() {
    // Fits one chunk, so that a damaged message is refused before anything of it was sent.
    const OCTETS: usize = 40_000;
    const PLACES: u64 = 3;
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let builder = Node::builder().data_dir(dir.path());
    let mut node = builder.start();
    let messages = 1_000;
    fill(&node, 0..messages, OCTETS);
    assert!(node.terminate().success(), "{}", node.log());

    let table = largest_table(dir.path());
    let length = fs::metadata(&table).unwrap().len();
    assert!(
        length > 4_000_000,
        "{}: octets have not come to a table yet",
        table.display()
    );
    let file = OpenOptions::new().read(true).write(true).open(&table).unwrap();
    let mut random = Random::new(length);
    for place in 1..=PLACES {
        // In the first three quarters: the index is at the end.
        let at = length / 4 * place - random.below(1_000);
        let mut octets = [0; 16];
        file.read_exact_at(&mut octets, at).unwrap();
        file.write_all_at(&octets.map(|octet| !octet), at).unwrap();
    }

    let mut node = builder.start();
    let found = look(&node, OCTETS);
    println!(
        "{PLACES} places of 16 octets in a table of {length} octets: {} of {messages} messages are damaged",
        found.refused.len()
    );
    print_what_it_said(&node.log());
    assert!(!found.refused.is_empty(), "the damage hit nothing");
    assert!(
        found.refused.len() <= usize::try_from(PLACES).unwrap(),
        "{:#?}",
        found.refused
    );
    let is_permanent = |refused: &String| refused.starts_with("-ERR [SYS/PERM]");
    assert!(found.refused.iter().all(is_permanent), "{:#?}", found.refused);
    assert_eq!(
        found.whole.len() + found.refused.len(),
        usize::try_from(messages).unwrap()
    );
    fill(&node, messages..messages + 10, OCTETS);
    assert!(node.terminate().success(), "{}", node.log());
}
