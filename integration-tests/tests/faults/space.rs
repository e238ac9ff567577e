//! Space comes back: a store that is filled and emptied again and again stays below three times its live content plus a
//! fixed allowance.
//!
//! 100 MB five times; with `MAILHORN_SPACE=full`, in a release build, 2 GB twenty times.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mailhorn_integration_tests::{Lmtp, Node, mail};

use crate::maildrop::{USER, open, prepare};

const MIB: u64 = 1024 * 1024;
const MESSAGE_OCTETS: u64 = 100_000;
/// How often the folder is measured while it is filled.
const MEASURED_EVERY: u64 = 100;
/// How long housekeeping may take to give back what a session deleted.
const PATIENCE: Duration = Duration::from_secs(60);

/// One size of the test.
struct Run {
    content: u64,
    rounds: u64,
    segment_mib: u64,
    journal_mib: u64,
    /// What a store may take beyond three times its live content: journals, and segments that wait for their turn.
    allowance_mib: u64,
}

const SCALED: Run = Run {
    content: 100_000_000,
    rounds: 5,
    segment_mib: 8,
    journal_mib: 64,
    allowance_mib: 256,
};
const FULL: Run = Run {
    content: 2_000_000_000,
    rounds: 20,
    segment_mib: 128,
    journal_mib: 128,
    allowance_mib: 512,
};

/// What a folder takes on the disk; files that go while it is measured count as gone.
fn used(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => used(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(of).sum()
}

/// What was measured in all rounds.
#[derive(Default)]
struct Measured {
    peak: u64,
    /// The most that was used beyond three times the live content.
    beyond: u64,
}

impl Measured {
    fn take(&mut self, dir: &Path, live: u64) -> u64 {
        let used = used(dir);
        self.peak = self.peak.max(used);
        self.beyond = self.beyond.max(used.saturating_sub(3 * live));
        used
    }
}

/// Waits until an emptied store is as small as it must be.
fn wait_for_space(dir: &Path, run: &Run) -> Duration {
    let begun = Instant::now();
    while used(dir) > run.allowance_mib * MIB {
        let passed = begun.elapsed();
        assert!(
            passed < PATIENCE,
            "{} MiB are still used by an empty store",
            used(dir) / MIB
        );
        // Housekeeping tells nobody when it is through.
        thread::sleep(Duration::from_millis(50));
    }
    begun.elapsed()
}

fn fill_and_empty(node: &Node, dir: &Path, run: &Run, round: u64, measured: &mut Measured) {
    let messages = run.content / MESSAGE_OCTETS;
    let begun = Instant::now();
    // Equal messages that were each answered with 250 are each kept.
    let content = mail::sized_content(round, usize::try_from(MESSAGE_OCTETS).unwrap());
    let mut lmtp = Lmtp::connect(node.lmtp()).unwrap();
    for message in 1..=messages {
        let replies = lmtp.deliver("sender@example.net", &[USER], &content).unwrap();
        assert_eq!(replies[0].code, 250, "{}", node.log());
        if message % MEASURED_EVERY == 0 {
            measured.take(dir, message * MESSAGE_OCTETS);
        }
    }
    let full = measured.take(dir, run.content);
    let mut pop3 = open(node);
    let rows = pop3.list().unwrap();
    assert_eq!(rows.len() as u64, messages);
    for (row, _) in rows {
        pop3.command(&format!("DELE {row}")).unwrap().unwrap();
    }
    pop3.quit().unwrap().unwrap();
    let filled = begun.elapsed();
    let given_back = wait_for_space(dir, run);
    let empty = measured.take(dir, 0);
    println!(
        "round {}: {} MiB when full, {} MiB {:.1} s after QUIT; {:.1} s to fill and delete",
        round + 1,
        full / MIB,
        empty / MIB,
        given_back.as_secs_f64(),
        filled.as_secs_f64()
    );
}

#[test]
fn space_comes_back() {
    let run = match std::env::var("MAILHORN_SPACE").as_deref() {
        Ok("full") => &FULL,
        _ => &SCALED,
    };
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let mut node = Node::builder()
        .data_dir(dir.path())
        .setting("store.segment_size", format!("{}MiB", run.segment_mib))
        .setting("store.journal_size", format!("{}MiB", run.journal_mib))
        .start();
    let mut measured = Measured::default();
    for round in 0..run.rounds {
        fill_and_empty(&node, dir.path(), run, round, &mut measured);
    }
    println!(
        "{} times {} MB: at most {} MiB in all, at most {} MiB beyond three times the live content (allowed {})",
        run.rounds,
        run.content / 1_000_000,
        measured.peak / MIB,
        measured.beyond / MIB,
        run.allowance_mib
    );
    assert!(node.terminate().success(), "{}", node.log());
    println!("after a clean stop: {} MiB", used(dir.path()) / MIB);
    assert!(
        measured.beyond <= run.allowance_mib * MIB,
        "it took too much space"
    );
}
