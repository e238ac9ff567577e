//! Every octet that is kept breaks no rule, on any tool-chain; and what libFuzzer is told is what there is.
#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test that can't go on fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mailhorn_fuzz::{TARGETS, Target, target};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder, in their order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn names(folder: &str) -> BTreeSet<String> {
    let named = files(&root().join(folder));
    named
        .iter()
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// Says which input it was, should the target panic.
struct Replayed<'a>(&'a Path);

#[expect(clippy::print_stderr, reason = "a panic in the target does not say it")]
impl Drop for Replayed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input: {}", self.0.display());
        }
    }
}

fn replay(target: Target, path: &Path, before: &[u8], after: &[u8]) {
    let _replayed = Replayed(path);
    target(&[before, &fs::read(path).unwrap(), after].concat());
}

#[test]
fn what_is_kept_breaks_no_rule() {
    for (name, target) in TARGETS {
        let kept = files(&root().join("corpus").join(name));
        assert!(!kept.is_empty(), "{name} has no input");
        for path in kept {
            replay(*target, &path, b"", b"");
        }
    }
}

#[test]
fn stored_forms_of_every_release_break_no_rule() {
    for path in files(&root().join("../events/src/golden")) {
        replay(target("events_record"), &path, b"", b"");
    }
}

#[test]
fn mail_of_every_kind_breaks_no_rule_on_its_way_in_and_out() {
    for path in files(&root().join("../../integration-tests/corpus")) {
        for choices in [[1, 255], [7, 0], [64, 3]] {
            replay(target("pop3_body"), &path, &choices, b"");
        }
        for choices in [[1, 255], [64, 255], [7, 1]] {
            replay(target("smtp_data"), &path, &choices, b"\r\n.\r\n");
        }
    }
}

#[test]
fn libfuzzer_and_the_folders_know_every_target_and_no_other() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("libfuzzer/fuzz_targets"), targets);
    assert!(names("dictionaries").is_subset(&targets));
    let manifest = fs::read_to_string(root().join("libfuzzer/Cargo.toml")).unwrap();
    for name in targets {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is no binary of libfuzzer"
        );
    }
}
