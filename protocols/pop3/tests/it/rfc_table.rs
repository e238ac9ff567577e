//! `RFC.md` is true: its tests exist, and every paragraph that the code cites is in it.

use std::fs;
use std::path::Path;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below a folder of this crate, one after the other.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &read(&path);
        }
    }
    text
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The last column of every row that has one.
fn tests_named(table: &str) -> Vec<&str> {
    let rows = table
        .lines()
        .filter(|line| line.starts_with('|') && !line.contains("---"));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_test_in_the_table_exists() {
    let table = read(&root().join("RFC.md"));
    let sasl = root().join("../sasl/src");
    let sources = sources(&root().join("src")) + &sources(&root().join("tests")) + &sources(&sasl);
    let named = tests_named(&table);
    assert!(named.len() > 60, "the table was read");
    let missing: Vec<&str> = named
        .into_iter()
        .filter(|name| !sources.contains(&format!("fn {name}(")))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

/// `RFC 1939 §5` and the like: every place where the text has one.
fn citations(text: &str) -> Vec<String> {
    let after = text.split("RFC ").skip(1);
    let cited = after.filter_map(|rest| {
        let (number, rest) = rest.split_once(" §")?;
        let end = rest.find(|character: char| !(character.is_ascii_digit() || character == '.'));
        let section = rest.get(..end.unwrap_or(rest.len()))?.trim_end_matches('.');
        number
            .bytes()
            .all(|octet| octet.is_ascii_digit())
            .then(|| format!("RFC {number} §{section}"))
    });
    cited.collect()
}

#[test]
fn every_paragraph_that_the_code_cites_is_in_the_table() {
    let table = citations(&read(&root().join("RFC.md")));
    let mut cited = citations(&sources(&root().join("src")));
    cited.sort();
    cited.dedup();
    assert!(cited.len() > 10, "the sources were read");
    cited.retain(|citation| !table.contains(citation));
    assert!(cited.is_empty(), "cited in the code and not in RFC.md: {cited:?}");
}
