//! Results: kept as JSON, shown as a table for a terminal or in Markdown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::case::{Case, Level};
use crate::runner::{Finding, Outcome};

/// What a run of the suite came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Product and version, as `--name` says.
    pub(crate) server: String,
    /// What else to know of it, as `--about` says.
    pub(crate) about: String,
    /// The day, `2026-01-31`.
    pub(crate) date: String,
    /// The command line.
    pub(crate) command: String,
    pub(crate) rows: Vec<Row>,
}

/// A case by one door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) rfc: u16,
    pub(crate) section: String,
    pub(crate) level: String,
    /// Whether failing means that the server does not conform.
    pub(crate) binds: bool,
    /// The words that decide.
    pub(crate) words: String,
    pub(crate) title: String,
    /// `pass`, `fail`, `not offered`, `not run`.
    pub(crate) outcome: String,
    /// Why it is no pass.
    pub(crate) why: String,
    /// The end of what went over the wire, where it failed.
    pub(crate) transcript: Vec<String>,
}

impl Row {
    fn new(finding: &Finding) -> Self {
        let rule = finding.case.rule;
        let transcript = match &finding.outcome {
            Outcome::Fail { transcript, .. } => transcript.clone(),
            _ => Vec::new(),
        };
        Self {
            id: finding.id.clone(),
            rfc: rule.rfc,
            section: rule.section.to_owned(),
            level: rule.level.name().to_owned(),
            binds: rule.level.binds(),
            words: rule.words.to_owned(),
            title: finding.case.title.to_owned(),
            outcome: finding.outcome.name().to_owned(),
            why: finding.outcome.why().to_owned(),
            transcript,
        }
    }

    /// `RFC 1939 §3`.
    pub(crate) fn paragraph(&self) -> String {
        format!("RFC {} §{}", self.rfc, self.section)
    }
}

impl Results {
    /// Of a run that began so long after 1970.
    pub(crate) fn new(server: String, about: String, began: Duration, findings: &[Finding]) -> Self {
        let seconds = i64::try_from(began.as_secs()).unwrap_or(i64::MAX);
        let day = jiff::Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d").to_string());
        let arguments: Vec<String> = std::env::args().skip(1).map(quoted).collect();
        Self {
            server,
            about,
            date: day.unwrap_or_default(),
            command: format!("conform {}", arguments.join(" ")),
            rows: findings.iter().map(Row::new).collect(),
        }
    }

    /// How many cases came to this.
    pub(crate) fn count(&self, outcome: &str) -> usize {
        self.rows.iter().filter(|row| row.outcome == outcome).count()
    }

    /// Cases that failed and may not.
    pub(crate) fn binding_failures(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.outcome == "fail" && row.binds)
    }

    /// One line of figures.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} cases: {} passed, {} failed ({} of them MUST, MUST NOT or plain statements), {} not offered, {} not run",
            self.rows.len(),
            self.count("pass"),
            self.count("fail"),
            self.binding_failures().count(),
            self.count("not offered"),
            self.count("not run"),
        )
    }
}

fn quoted(argument: String) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:@=,+".contains(character);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument;
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// Rows by RFC, in the order of the RFCs' numbers, each in the order in which they ran.
pub(crate) fn by_rfc(rows: &[Row]) -> BTreeMap<u16, Vec<&Row>> {
    let mut groups: BTreeMap<u16, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(row.rfc).or_default().push(row);
    }
    groups
}

/// What an RFC is about.
pub(crate) const fn title(rfc: u16) -> &'static str {
    match rfc {
        1870 => "message size declaration (SIZE)",
        1939 => "POP3",
        2033 => "LMTP",
        2034 => "enhanced status codes",
        2449 => "POP3 extension mechanism (CAPA)",
        2595 => "TLS with POP3 (STLS)",
        2920 => "command pipelining",
        3030 => "large and binary messages (CHUNKING, BINARYMIME)",
        3206 => "the SYS and AUTH response codes of POP3",
        3207 => "SMTP over TLS (STARTTLS)",
        4954 => "SMTP AUTH",
        5034 => "POP3 AUTH",
        5321 => "SMTP",
        6152 => "8BITMIME",
        6531 => "internationalized mail (SMTPUTF8)",
        6856 => "POP3 support for UTF-8 (UTF8, LANG)",
        8314 => "cleartext considered obsolete: implicit TLS",
        8996 => "TLS 1.0 and 1.1 are deprecated",
        9228 => "Delivered-To",
        _ => "",
    }
}

/// For a terminal.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::new();
    for (rfc, rows) in by_rfc(&results.rows) {
        text += &format!("\nRFC {rfc}, {}\n", title(rfc));
        let width = rows.iter().map(|row| row.id.len()).max().unwrap_or_default();
        for row in rows {
            text += &format!(
                "  {:<11} {:<10} §{:<12} {:<width$}  {}\n",
                row.outcome, row.level, row.section, row.id, row.title
            );
            if !row.why.is_empty() {
                text += &format!("{:14}{}\n", "", row.why);
            }
            if row.outcome == "fail" {
                text += &format!("{:14}the words: {}\n", "", row.words);
                for line in &row.transcript {
                    text += &format!("{:16}{line}\n", "");
                }
            }
        }
    }
    format!("{text}\n{}: {}\n", results.server, results.summary())
}

/// For a page.
pub(crate) fn markdown(results: &Results) -> String {
    crate::compare::document(std::slice::from_ref(results), None, None)
}

/// For `conform compare`.
pub(crate) fn json(results: &Results) -> String {
    // The derived form has neither maps with odd keys nor anything else that can't be written.
    let mut text = serde_json::to_string_pretty(results).unwrap_or_default();
    text.push('\n');
    text
}

/// All cases with the words that decide them.
pub(crate) fn list(cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases {
        let ids: Vec<String> = case.ids().into_iter().map(|(id, _)| id).collect();
        let rule = case.rule;
        text += &format!(
            "{}\n  {}\n  RFC {} §{} {}: {}\n",
            ids.join(", "),
            case.title,
            rule.rfc,
            rule.section,
            rule.level.name(),
            match rule.level {
                Level::Security => rule.words.to_owned(),
                _ => format!("«{}»", rule.words),
            }
        );
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row with an outcome.
    pub(crate) fn row(id: &str, rfc: u16, outcome: &str, binds: bool) -> Row {
        Row {
            id: id.to_owned(),
            rfc,
            section: "3".to_owned(),
            level: if binds { "MUST" } else { "SHOULD" }.to_owned(),
            binds,
            words: "the words".to_owned(),
            title: format!("title of {id}"),
            outcome: outcome.to_owned(),
            why: if outcome == "pass" {
                String::new()
            } else {
                "the reason".to_owned()
            },
            transcript: if outcome == "fail" {
                vec!["C1: NOOP".to_owned()]
            } else {
                Vec::new()
            },
        }
    }

    /// Results of a server.
    pub(crate) fn results(server: &str, rows: Vec<Row>) -> Results {
        Results {
            server: server.to_owned(),
            about: format!("settings of {server}"),
            date: "2026-01-31".to_owned(),
            command: "conform --pop3 127.0.0.1:110".to_owned(),
            rows,
        }
    }

    #[test]
    fn only_what_binds_decides_whether_a_server_conforms() {
        let rows = vec![
            row("a", 1939, "fail", false),
            row("b", 1939, "fail", true),
            row("c", 1939, "pass", true),
        ];
        let results = results("s", rows);
        let failures: Vec<&str> = results.binding_failures().map(|row| row.id.as_str()).collect();
        assert_eq!(failures, ["b"]);
        assert_eq!(
            results.summary(),
            "3 cases: 1 passed, 2 failed (1 of them MUST, MUST NOT or plain statements), 0 not offered, 0 not run"
        );
    }

    #[test]
    fn the_table_is_grouped_by_rfc_and_shows_why_with_the_words_and_the_transcript() {
        let rows = vec![row("late", 5321, "pass", true), row("early", 1939, "fail", true)];
        let table = table(&results("s", rows));
        let at = |text: &str| {
            table
                .find(text)
                .unwrap_or_else(|| panic!("no {text:?} in:\n{table}"))
        };
        assert!(at("RFC 1939, POP3") < at("RFC 5321, SMTP"), "{table}");
        for shown in ["the reason", "the words: the words", "C1: NOOP"] {
            assert!(at("early") < at(shown), "{table}");
        }
    }

    #[test]
    fn results_come_back_from_their_json() {
        let before = results("s", vec![row("a", 1939, "fail", true)]);
        let after: Results = serde_json::from_str(&json(&before)).unwrap();
        assert_eq!((after.server, after.rows), (before.server, before.rows));
    }

    #[test]
    fn arguments_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("127.0.0.1:110".to_owned()), "127.0.0.1:110");
        assert_eq!(quoted("a b".to_owned()), "'a b'");
        assert_eq!(quoted("a'b".to_owned()), r"'a'\''b'");
    }
}
