//! A disk that fills up under the node, and gets room again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mailhorn_integration_tests::disk::Disk;
use mailhorn_integration_tests::{Lmtp, Node};

use crate::maildrop::{deliver, look, open, prepare, print_what_it_said};

const DISK: &str = "400m";
const BALLAST_OCTETS: usize = 160 * 1024 * 1024;
const MESSAGE_OCTETS: usize = 100 * 1024;
/// More than the disk holds.
const MESSAGES_MAX: u64 = 3_000;
const DELETED: u32 = 5;
/// How long a node may take to notice that there is room again.
const PATIENCE: Duration = Duration::from_secs(60);

fn write_ballast(path: &PathBuf) {
    let mut ballast = File::create(path).unwrap();
    let block = vec![7; 1024 * 1024];
    for _ in 0..BALLAST_OCTETS / block.len() {
        ballast.write_all(&block).unwrap();
    }
}

/// Delivers until the first refusal; gives what was taken and the refusal.
fn fill_up(node: &Node) -> (BTreeSet<u64>, u16) {
    let mut taken = BTreeSet::new();
    let mut lmtp = Lmtp::connect(node.lmtp()).unwrap();
    for number in 0..MESSAGES_MAX {
        match deliver(&mut lmtp, number, MESSAGE_OCTETS) {
            250 => assert!(taken.insert(number)),
            refused => return (taken, refused),
        }
    }
    panic!("the disk did not fill up");
}

/// Tries a message again, as a mail server does, until it is taken.
fn deliver_with_patience(node: &Node, number: u64) {
    let until = Instant::now() + PATIENCE;
    let mut lmtp = Lmtp::connect(node.lmtp()).unwrap();
    loop {
        let code = deliver(&mut lmtp, number, MESSAGE_OCTETS);
        if code == 250 {
            return;
        }
        assert!(
            code / 100 == 4,
            "{code}: mail may be put off and never be refused"
        );
        assert!(Instant::now() < until, "still {code}:\n{}", node.log());
        // The client's own pause between two tries.
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_full_disk_puts_mail_off_and_costs_none() {
    let Some(disk) = Disk::mount(DISK) else { return };
    let data_dir = disk.path().join("data");
    prepare(&data_dir);
    let ballast = disk.path().join("ballast");
    write_ballast(&ballast);
    let builder = Node::builder()
        .data_dir(&data_dir)
        .setting("store.journal_size", "64MiB")
        .setting("store.segment_size", "32MiB");
    let mut node = builder.start();

    let (mut kept, refused) = fill_up(&node);
    println!(
        "after {} messages of {MESSAGE_OCTETS} octets the disk was full: {refused}",
        kept.len()
    );
    assert!(refused == 452 || refused == 451, "{refused}");
    for number in MESSAGES_MAX..MESSAGES_MAX + 5 {
        let code = deliver(&mut Lmtp::connect(node.lmtp()).unwrap(), number, MESSAGE_OCTETS);
        assert!(matches!(code, 250 | 451 | 452), "{code}");
        if code == 250 {
            kept.insert(number);
        }
    }

    // What is there can be read while nothing can be written.
    assert_eq!(
        look(&node, MESSAGE_OCTETS).whole.intersection(&kept).count(),
        kept.len()
    );
    let mut pop3 = open(&node);
    for row in 1..=DELETED {
        pop3.command(&format!("DELE {row}")).unwrap().unwrap();
    }
    let quit = pop3.quit().unwrap();
    println!("QUIT with {DELETED} deletions on the full disk: {quit:?}");
    assert!(
        quit.is_ok()
            || quit
                .as_ref()
                .is_err_and(|refused| refused.starts_with("-ERR [SYS/TEMP]"))
    );
    // The first were delivered first: their deletion may have come to pass, and must if it was confirmed.
    let marked: BTreeSet<u64> = kept.iter().copied().take(DELETED as usize).collect();

    fs::remove_file(&ballast).unwrap();
    deliver_with_patience(&node, 2 * MESSAGES_MAX);
    kept.insert(2 * MESSAGES_MAX);
    print_what_it_said(&node.log());
    let holds_all = |node: &Node| {
        let found = look(node, MESSAGE_OCTETS);
        assert_eq!(found.refused, Vec::<String>::new());
        let missing: Vec<u64> = kept.difference(&found.whole).copied().collect();
        assert!(
            missing.iter().all(|number| marked.contains(number)),
            "lost: {missing:?}"
        );
        if quit.is_ok() {
            assert!(found.whole.is_disjoint(&marked), "deletions were undone");
        }
    };
    holds_all(&node);
    assert!(node.terminate().success(), "{}", node.log());
    holds_all(&builder.start());
}
