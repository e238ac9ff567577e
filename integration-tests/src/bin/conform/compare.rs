//! Joins the results of several servers to one document: figures, what differs and which words decide, and the whole table.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::report::{Results, Row, by_rfc, title};

/// How many lines of a transcript a document shows.
const EXCERPT_LINES: usize = 8;

/// Reads results that were written with `--format json`.
pub(crate) fn read(files: &[PathBuf]) -> anyhow::Result<Vec<Results>> {
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        serde_json::from_str(&text).with_context(|| format!("{}: no results of conform", file.display()))
    };
    files.iter().map(read).collect()
}

/// The document in Markdown.
pub(crate) fn document(all: &[Results], made_by: Option<&str>, note: Option<&str>) -> String {
    let rows = joint(all);
    let differing: Vec<&Joint<'_>> = rows.iter().filter(|row| row.differs()).collect();
    let failing: Vec<&Joint<'_>> = rows.iter().filter(|row| row.fails_alike()).collect();
    let mut text = head(all, made_by, note);
    if all.len() > 1 {
        text += "\n## Where they differ\n\n";
        text += &losers(all, &differing);
        text += &details(all, &differing);
        text += "\n## Offered by one and not by another\n\n";
        text += &offers(all, &rows);
    }
    text += match all {
        [_] => {
            "
## What failed
"
        }
        _ => {
            "
## What failed, and passed nowhere
"
        }
    };
    text += &details(all, &failing);
    text += "\n## All cases\n";
    text + &tables(all, &rows)
}

/// A case with the outcome of each server, in the order of the servers.
struct Joint<'a> {
    row: &'a Row,
    outcomes: Vec<Option<&'a Row>>,
}

impl Joint<'_> {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.outcomes
            .iter()
            .map(|row| row.map_or("not run", |row| row.outcome.as_str()))
    }

    fn differs(&self) -> bool {
        self.names().any(|name| name == "fail") && self.names().any(|name| name == "pass")
    }

    fn fails_alike(&self) -> bool {
        self.names().any(|name| name == "fail") && !self.differs()
    }
}

fn joint(all: &[Results]) -> Vec<Joint<'_>> {
    let mut rows: Vec<Joint<'_>> = Vec::new();
    for (index, results) in all.iter().enumerate() {
        for row in &results.rows {
            match rows.iter_mut().find(|joint| joint.row.id == row.id) {
                Some(joint) => joint.outcomes[index] = Some(row),
                None => {
                    let mut outcomes = vec![None; all.len()];
                    outcomes[index] = Some(row);
                    rows.push(Joint { row, outcomes });
                }
            }
        }
    }
    rows
}

fn head(all: &[Results], made_by: Option<&str>, note: Option<&str>) -> String {
    let mut text = String::from(
        "# Conformance\n\n\
         What the suite `conform` found, case by case. A case cites the paragraph that decides it. Its level is the key word of that\n\
         paragraph; *states* is a paragraph that says how it is without one (older RFCs do), and binds as MUST does; *security* has\n\
         no words, only harm behind it. *Not offered* is an option that the server doesn't announce, *not run* could not be tried.\n",
    );
    if let Some(command) = made_by {
        text += &format!("\nThis document is made by `{command}`, and not by hand.\n");
    }
    if let Some(note) = note {
        text += &format!("\n{note}\n");
    }
    text += "\n| Server | Date | Passed | Failed | of them binding | Not offered | Not run |\n";
    text += "| --- | --- | --- | --- | --- | --- | --- |\n";
    for results in all {
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            results.server,
            results.date,
            results.count("pass"),
            results.count("fail"),
            results.binding_failures().count(),
            results.count("not offered"),
            results.count("not run")
        );
    }
    for results in all {
        text += &format!(
            "\n{}: {}\n\n    {}\n",
            results.server, results.about, results.command
        );
    }
    text
}

/// For each server the cases in which it fails and another passes.
fn losers(all: &[Results], differing: &[&Joint<'_>]) -> String {
    let mut text =
        String::from("The words that are cited decide. Cases that a server fails and another passes:\n\n");
    for (index, results) in all.iter().enumerate() {
        let fails = |joint: &&&Joint<'_>| joint.names().nth(index) == Some("fail");
        let ids: Vec<String> = differing
            .iter()
            .filter(fails)
            .map(|joint| format!("`{}`", joint.row.id))
            .collect();
        let ids = if ids.is_empty() {
            "none".to_owned()
        } else {
            ids.join(", ")
        };
        text += &format!("- {}: {ids}\n", results.server);
    }
    text
}

fn details(all: &[Results], rows: &[&Joint<'_>]) -> String {
    let mut text = String::new();
    for joint in rows {
        let row = joint.row;
        text += &format!("\n### {}: {}\n\n", row.id, row.title);
        text += &format!("{}, {}: {}\n\n", row.paragraph(), row.level, cited(row));
        for (results, outcome) in all.iter().zip(&joint.outcomes) {
            let (name, why) = outcome.map_or(("not run", ""), |row| (row.outcome.as_str(), row.why.as_str()));
            let because = if why.is_empty() {
                String::new()
            } else {
                format!(": {}", escaped(why))
            };
            text += &format!("- {}: **{name}**{because}\n", results.server);
            let transcript = outcome.map(|row| row.transcript.as_slice()).unwrap_or_default();
            let from = transcript.len().saturating_sub(EXCERPT_LINES);
            if !transcript.is_empty() {
                text += &format!("\n  ```text\n  {}\n  ```\n", transcript[from..].join("\n  "));
            }
        }
    }
    if rows.is_empty() {
        text += "\nNothing.\n";
    }
    text
}

/// The words of an RFC in quotation marks; what is said in its place, as in brackets or of security, without.
fn cited(row: &Row) -> String {
    match row.level == "security" || row.words.starts_with('[') {
        true => escaped(&row.words),
        false => format!("“{}”", escaped(&row.words)),
    }
}

fn offers(all: &[Results], rows: &[Joint<'_>]) -> String {
    let is_unequal = |joint: &&Joint<'_>| {
        joint.names().any(|name| name == "not offered")
            && joint.names().any(|name| name == "pass" || name == "fail")
    };
    let unequal: Vec<&Joint<'_>> = rows.iter().filter(is_unequal).collect();
    if unequal.is_empty() {
        return "Nothing.\n".to_owned();
    }
    let mut text = table_head(all);
    for joint in unequal {
        text += &table_row(joint);
    }
    text
}

fn table_head(all: &[Results]) -> String {
    let servers: Vec<&str> = all.iter().map(|results| results.server.as_str()).collect();
    format!(
        "| ¶ | Level | Case | {} |\n| --- | --- | --- |{}\n",
        servers.join(" | "),
        " --- |".repeat(all.len())
    )
}

fn table_row(joint: &Joint<'_>) -> String {
    let cells: Vec<&str> = joint
        .names()
        .map(|name| if name == "fail" { "**fail**" } else { name })
        .collect();
    let row = joint.row;
    let title = escaped(&row.title);
    format!(
        "| {} | {} | `{}` {title} | {} |\n",
        row.section,
        row.level,
        row.id,
        cells.join(" | ")
    )
}

fn tables(all: &[Results], rows: &[Joint<'_>]) -> String {
    let first: Vec<Row> = rows.iter().map(|joint| joint.row.clone()).collect();
    let mut text = String::new();
    for (rfc, _) in by_rfc(&first) {
        text += &format!("\n### RFC {rfc}, {}\n\n{}", title(rfc), table_head(all));
        for joint in rows.iter().filter(|joint| joint.row.rfc == rfc) {
            text += &table_row(joint);
        }
    }
    text
}

/// What would end a cell, or be taken for a tag, can't.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{results, row};

    fn two() -> Vec<Results> {
        vec![
            results(
                "A 1.0",
                vec![
                    row("same", 1939, "pass", true),
                    row("worse", 1939, "fail", true),
                    row("both", 5321, "fail", false),
                    row("option", 2449, "not offered", true),
                ],
            ),
            results(
                "B 2.0",
                vec![
                    row("same", 1939, "pass", true),
                    row("worse", 1939, "pass", true),
                    row("both", 5321, "fail", false),
                    row("option", 2449, "pass", true),
                    row("alone", 5321, "pass", true),
                ],
            ),
        ]
    }

    fn section<'a>(document: &'a str, heading: &str) -> &'a str {
        let (_, rest) = document.split_once(&format!("\n## {heading}\n")).expect(heading);
        rest.split("\n## ").next().unwrap_or(rest)
    }

    #[test]
    fn a_difference_is_told_with_the_words_that_decide_and_the_transcript() {
        let document = document(&two(), None, None);
        let differing = section(&document, "Where they differ");
        assert!(
            differing.contains("- A 1.0: `worse`\n- B 2.0: none\n"),
            "{differing}"
        );
        for told in [
            "### worse",
            "RFC 1939 §3, MUST: “the words”",
            "A 1.0: **fail**: the reason",
            "B 2.0: **pass**",
            "C1: NOOP",
        ] {
            assert!(differing.contains(told), "no {told:?} in:\n{differing}");
        }
        assert!(
            !differing.contains("both") && !differing.contains("same"),
            "{differing}"
        );
        assert!(section(&document, "What failed, and passed nowhere").contains("### both"));
        assert!(section(&document, "Offered by one and not by another").contains("`option`"));
    }

    #[test]
    fn the_table_has_a_column_for_each_server_and_every_case() {
        let document = document(&two(), Some("make it"), Some("Who wrote it."));
        let all = section(&document, "All cases");
        for row in [
            "| ¶ | Level | Case | A 1.0 | B 2.0 |",
            "| 3 | MUST | `worse` title of worse | **fail** | pass |",
            "| 3 | MUST | `alone` title of alone | not run | pass |",
        ] {
            assert!(all.contains(row), "no {row:?} in:\n{all}");
        }
        assert!(document.contains("made by `make it`"), "{document}");
        let told = "A 1.0: settings of A 1.0\n\n    conform --pop3 127.0.0.1:110\n";
        assert!(
            document.contains(told) && document.contains("\nWho wrote it.\n"),
            "{document}"
        );
    }

    #[test]
    fn words_are_cited_in_quotation_marks_and_what_stands_in_their_place_is_not() {
        let mut row = row("a", 1939, "fail", true);
        assert_eq!(cited(&row), "“the words”");
        row.words = "[in other words]".to_owned();
        assert_eq!(cited(&row), "[in other words]");
        row.level = "security".to_owned();
        row.words = "It harms.".to_owned();
        assert_eq!(cited(&row), "It harms.");
    }

    #[test]
    fn one_server_alone_has_what_failed_and_no_differences() {
        let document = document(&two()[..1], None, None);
        assert!(!document.contains("## Where they differ"), "{document}");
        assert!(section(&document, "What failed").contains("### worse"));
    }
}
