//! `RFC.md` says what is claimed and which test shows it. It must not say more than there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn crate_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

fn table() -> String {
    fs::read_to_string(crate_root().join("RFC.md")).unwrap()
}

/// The names in backquotes in the last column of the first table, that of the claims.
fn tests_named(table: &str) -> BTreeSet<&str> {
    let claims = table
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let last_cells = claims.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    last_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

/// Every `RFC n §m` in a text, without the dot or comma that may follow.
fn paragraphs(text: &str) -> BTreeSet<String> {
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| !matches!(*word, "///" | "//" | "//!"))
        .collect();
    let mut found = BTreeSet::new();
    for three in words.windows(3) {
        let [rfc, number, section] = three else { continue };
        let digits = |word: &str| !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit());
        if rfc.trim_start_matches('(') == "RFC" && digits(number) && section.starts_with('§') {
            let section: String = section
                .chars()
                .skip(1)
                .take_while(|c| c.is_ascii_digit() || *c == '.')
                .collect();
            found.insert(format!("RFC {number} §{}", section.trim_end_matches('.')));
        }
    }
    found
}

#[test]
fn every_test_that_the_table_names_exists() {
    let sources = sources(&crate_root().join("src")) + &sources(&crate_root().join("tests"));
    let table = table();
    let named = tests_named(&table);
    assert!(named.len() > 30, "the table is read");
    for test in named {
        assert!(
            sources.contains(&format!("fn {test}(")),
            "RFC.md names {test}, which is no test"
        );
    }
}

#[test]
fn every_paragraph_that_the_code_cites_is_in_the_table() {
    let claimed = paragraphs(&table());
    let cited = paragraphs(&sources(&crate_root().join("src")));
    assert!(cited.len() > 20, "the sources are read");
    let missing: Vec<&String> = cited.difference(&claimed).collect();
    assert!(missing.is_empty(), "cited but not in RFC.md: {missing:?}");
}
