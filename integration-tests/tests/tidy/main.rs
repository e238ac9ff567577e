//! What the house keeps in order by a test rather than by memory: the direction of dependencies, the size of rooms,
//! the words that must not be left behind, and that the map shows what is there.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod rfc_tables;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Lines of a file beyond which a newcomer loses the way.
const FILE_LINES_MAX: usize = 650;

/// What each crate may depend on, of ours; and what it must not contain, directly or through others.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("mailhorn-lines", &[], &["tokio", "actix", "fjall", "redis"]),
    ("mailhorn-sasl", &[], &["tokio", "actix", "fjall", "redis"]),
    (
        "mailhorn-pop3",
        &["mailhorn-lines", "mailhorn-sasl"],
        &["tokio", "actix", "fjall", "redis"],
    ),
    (
        "mailhorn-smtp",
        &["mailhorn-lines", "mailhorn-sasl"],
        &["tokio", "actix", "fjall", "redis"],
    ),
    ("mailhorn-events", &[], &["tokio", "actix", "fjall", "redis"]),
    ("mailhorn-proxy", &[], &["tokio", "actix", "fjall", "redis"]),
    (
        "mailhorn-ports",
        &["mailhorn-events"],
        &["actix", "fjall", "redis"],
    ),
    (
        "mailhorn-core",
        &[
            "mailhorn-lines",
            "mailhorn-sasl",
            "mailhorn-pop3",
            "mailhorn-smtp",
            "mailhorn-events",
            "mailhorn-proxy",
            "mailhorn-ports",
        ],
        &["fjall", "redis"],
    ),
    (
        "mailhorn-embedded",
        &["mailhorn-events", "mailhorn-ports"],
        &["actix", "redis"],
    ),
    (
        "mailhorn-listeners",
        &["mailhorn-events", "mailhorn-ports"],
        &["actix", "fjall", "redis"],
    ),
    (
        "mailhorn-redis",
        &["mailhorn-events", "mailhorn-ports"],
        &["actix", "fjall"],
    ),
];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

pub(crate) fn tracked(suffix: &str) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard"])
        .current_dir(root())
        .output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    let files: Vec<_> = listed
        .lines()
        .filter(|file| file.ends_with(suffix))
        .map(PathBuf::from)
        .collect();
    assert!(
        !files.is_empty(),
        "no file ends in {suffix}: is this a git checkout?"
    );
    files
}

#[test]
fn everything_depends_downward() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut wrong = Vec::new();
    for (name, allowed, _) in ARROWS {
        let packages = metadata["packages"].as_array().unwrap();
        let package = packages
            .iter()
            .find(|package| package["name"] == *name)
            .expect(name);
        for dependency in package["dependencies"].as_array().unwrap() {
            let ours = dependency["name"].as_str().unwrap();
            let is_dev = dependency["kind"] == "dev";
            if !is_dev && ours.starts_with("mailhorn") && !allowed.contains(&ours) {
                wrong.push(format!("{name} must not depend on {ours}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn protocols_have_no_runtime_and_backends_no_actors() {
    let mut wrong = Vec::new();
    for (name, _, never) in ARROWS {
        let tree = Command::new(env!("CARGO"))
            .args([
                "tree",
                "-p",
                name,
                "-e",
                "normal",
                "--prefix",
                "none",
                "--offline",
            ])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8(tree.stdout).unwrap();
        let inside: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        let found = never.iter().filter(|never| inside.contains(**never));
        wrong.extend(found.map(|never| format!("{name} must not contain {never}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_room_is_crowded_and_every_room_has_a_name_plate() {
    let mut wrong = Vec::new();
    for file in tracked(".rs") {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!(
                "{}: {lines} lines; divide it where a reader would",
                file.display()
            ));
        }
        // A module's own tests beside it need no plate: theirs is the module's.
        if file.ends_with("tests.rs") {
            continue;
        }
        let first = text
            .lines()
            .find(|line| !line.is_empty() && !line.starts_with("#!"));
        if !first.is_some_and(|line| line.starts_with("//!")) {
            wrong.push(format!(
                "{}: begin with //! and what this module is for",
                file.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here so that this file does not find itself.
    let words = [
        (["to", "do!("].concat(), "finish it"),
        (["unimple", "mented!("].concat(), "finish it"),
        (["db", "g!("].concat(), "log it or drop it"),
        (["#[ign", "ore"].concat(), "mend it or assert what it does now"),
        (["FIX", "ME"].concat(), "mend it, or write an issue"),
        (
            ["thread::", "sleep("].concat(),
            "wait on what you wait for; a pause needs its reason in this list",
        ),
    ];
    // Where a pause is the subject and not a guess.
    let pauses = [
        "integration-tests/",
        "node/src/commands/tail.rs",
        "actors/redis/src/testkit/",
        "actors/cassandra/tests/",
    ];
    let mut wrong = Vec::new();
    for file in tracked(".rs") {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        for (number, line) in text.lines().enumerate() {
            for (word, mend) in &words {
                let is_pause =
                    word.starts_with("thread") && pauses.iter().any(|allowed| file.starts_with(allowed));
                if line.contains(word.as_str()) && !is_pause {
                    wrong.push(format!("{}:{}: {word}: {mend}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_stored_form_is_written_in_one_place() {
    let forms: [(&str, &[&str]); 2] = [
        (
            "rmp_serde",
            &[
                "protocols/events/src/wire/message_pack.rs",
                "protocols/events/src/wire/v1.rs",
                "protocols/events/src/wire/tests.rs",
                "actors/embedded/src/rows.rs",
            ],
        ),
        (
            "bincode",
            &[
                "protocols/events/src/wire/bincode.rs",
                // Its module of that name, not the library.
                "protocols/events/src/wire/mod.rs",
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for file in tracked(".rs") {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        for (library, allowed) in forms {
            let is_used = text.contains(&[library, "::"].concat());
            if is_used && !allowed.iter().any(|allowed| file == Path::new(allowed)) {
                wrong.push(format!(
                    "{}: {library} belongs in one of {allowed:?}",
                    file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_session_asks_a_name_service() {
    let calls = ["lookup_host", "lookup_addr", "to_socket_addrs", "ToSocketAddrs"];
    let paths = ["protocols/", "actors/core/src/"];
    let mut wrong = Vec::new();
    for file in tracked(".rs") {
        if !paths.iter().any(|path| file.starts_with(path)) {
            continue;
        }
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let found = calls.iter().filter(|call| text.contains(**call));
        wrong.extend(found.map(|call| format!("{}: {call}: a session goes by addresses", file.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_map_shows_what_is_there() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut wrong = Vec::new();
    for name in map.split('`').skip(1).step_by(2) {
        let is_path =
            name.contains('/') && !name.contains(' ') && !name.starts_with('/') && !name.contains("::");
        if is_path && !name.contains(['*', '<', '{', '$']) && !root().join(name).exists() {
            wrong.push(name);
        }
    }
    assert!(
        wrong.is_empty(),
        "ARCHITECTURE.md names what is not there: {wrong:#?}"
    );
}
