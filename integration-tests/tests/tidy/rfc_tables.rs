//! Each protocol crate's `RFC.md` says what is claimed, where it is and which test shows it. It says no more than there is, and no
//! less than the code cites.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::{root, tracked};

/// Crates that speak to the outside by somebody's standard. Fewer rows than these mean that a table was not read.
const TABLES: &[(&str, usize)] = &[
    ("protocols/lines", 3),
    ("protocols/sasl", 12),
    ("protocols/events", 6),
    ("protocols/pop3", 60),
    ("protocols/smtp", 40),
];

/// Heads of the column with the tests, which is the last one of a table of claims.
const TESTS: [&str; 2] = ["Tests", "Shown by"];

/// The rows of all tables of claims, without their heads.
fn claims(page: &str) -> Vec<&str> {
    let mut is_claims = false;
    let mut rows = Vec::new();
    let mut before = "";
    for line in page.lines() {
        if !line.starts_with('|') {
            is_claims = false;
        } else if !before.starts_with('|') {
            is_claims = TESTS.contains(&last_cell(line).trim());
        } else if is_claims && !line.starts_with("| ---") {
            rows.push(line);
        }
        before = line;
    }
    rows
}

fn last_cell(row: &str) -> &str {
    row.trim_end()
        .trim_end_matches('|')
        .rsplit('|')
        .next()
        .unwrap_or_default()
}

fn in_backquotes(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Every function of ours with `#[test]` or the like before it, also inside `proptest!`.
fn tests_of(text: &str) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.contains("::test");
        } else if !line.starts_with("//") && !line.is_empty() {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            let name = function.and_then(|function| function.split('(').next());
            tests.extend(name.filter(|_| is_test).map(str::to_owned));
            is_test = false;
        }
    }
    tests
}

/// Every `RFC n §m` of a text: over the end of a line, and for `RFC n §m and §o` both.
fn paragraphs(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut words = text
        .split_whitespace()
        .filter(|word| !matches!(*word, "///" | "//" | "//!"))
        .peekable();
    let mut rfc = None;
    while let Some(word) = words.next() {
        let bare = word.trim_start_matches(['(', '*', '`']);
        if bare == "RFC" {
            rfc = words.next_if(|number| number.bytes().all(|octet| octet.is_ascii_digit()));
        } else if let (Some(number), Some(section)) = (rfc, bare.strip_prefix('§')) {
            let is_of_one = |character: &char| character.is_ascii_digit() || *character == '.';
            let section: String = section.chars().take_while(is_of_one).collect();
            found.insert(format!("RFC {number} §{}", section.trim_end_matches('.')));
        } else if !matches!(bare, "and" | "or" | "to") {
            rfc = None;
        }
    }
    found
}

fn sources_below(folder: &str) -> BTreeMap<String, String> {
    let files = tracked(".rs").into_iter().filter(|file| file.starts_with(folder));
    files
        .map(|file| {
            let text = fs::read_to_string(root().join(&file)).unwrap();
            (file.display().to_string(), text)
        })
        .collect()
}

#[test]
fn every_test_that_a_table_of_rfcs_names_exists() {
    let tests: BTreeSet<String> = sources_below("")
        .values()
        .flat_map(|text| tests_of(text))
        .collect();
    let mut wrong = Vec::new();
    for (place, rows_min) in TABLES {
        let page = fs::read_to_string(root().join(place).join("RFC.md")).unwrap();
        let rows = claims(&page);
        assert!(rows.len() >= *rows_min, "{place}/RFC.md: {} rows", rows.len());
        for row in rows {
            let named: Vec<_> = in_backquotes(last_cell(row)).collect();
            if named.is_empty() {
                wrong.push(format!("{place}/RFC.md: no test shows {row}"));
            }
            let missing = named.iter().filter(|name| !tests.contains(**name));
            wrong.extend(missing.map(|name| format!("{place}/RFC.md: {name} is no test")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_paragraph_that_a_protocol_cites_is_in_its_table() {
    let mut wrong = Vec::new();
    for (place, _) in TABLES {
        let page = fs::read_to_string(root().join(place).join("RFC.md")).unwrap();
        let listed = paragraphs(&page);
        let mut cited = 0;
        for (file, text) in sources_below(&format!("{place}/src")) {
            let in_file = paragraphs(&text);
            cited += in_file.len();
            let missing = in_file.difference(&listed);
            wrong.extend(missing.map(|paragraph| format!("{file}: {paragraph} is not in {place}/RFC.md")));
        }
        assert!(cited > 0, "{place}: nothing was read");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_protocol_that_cites_an_rfc_has_a_table() {
    let with_table: BTreeSet<&str> = TABLES.iter().map(|(place, _)| *place).collect();
    let mut without = BTreeSet::new();
    for (file, text) in sources_below("protocols") {
        let place = Path::new(&file).iter().take(2).collect::<std::path::PathBuf>();
        let place = place.display().to_string();
        if !paragraphs(&text).is_empty() && file.contains("/src/") && !with_table.contains(place.as_str()) {
            without.insert(place);
        }
    }
    // What fuzzes the others cites what they keep.
    without.remove("protocols/fuzz");
    assert!(without.is_empty(), "no RFC.md is held to these: {without:?}");
}

#[test]
fn citations_are_found_over_line_ends_and_in_rows() {
    let text = "/// (RFC 1939 §7, UIDL), and RFC 5321\n/// §2.3.8. RFC 5802 §5 to §7, RFC 7677. §9 of nothing, RFC 2449 §4: and §5";
    let found: Vec<String> = paragraphs(text).into_iter().collect();
    let expected = [
        "RFC 1939 §7",
        "RFC 2449 §4",
        "RFC 2449 §5",
        "RFC 5321 §2.3.8",
        "RFC 5802 §5",
        "RFC 5802 §7",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_table_that_says_too_much_is_noticed() {
    let page = "| RFC | Where | Tests |\n| --- | --- | --- |\n| a | b | `c`, `d` |\n\n| Left out | Why |\n| --- | --- |\n| `e` | `f` |\n";
    assert_eq!(claims(page), ["| a | b | `c`, `d` |"]);
    let text = "#[test]\n/// Why.\nfn c() {\nfn d() {\n#[tokio::test(start_paused = true)]\nasync fn e() {\nproptest! {\n    #[test]\n    fn f(";
    assert_eq!(tests_of(text), ["c", "e", "f"].map(str::to_owned).into());
}
