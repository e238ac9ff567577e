//! How programs are run, and files are laid out for them.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// How long a mail program may take, in the words of `timeout`.
const PATIENCE: &str = "300s";

/// Whether all of these programs are there. Where one is not, that fails the test in CI and is said aloud elsewhere.
pub(crate) fn there_are(programs: &[&str]) -> bool {
    let is_missing = |program: &&str| {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\"", program])
            .stdout(Stdio::null())
            .status();
        !found.is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> = programs.iter().copied().filter(is_missing).collect();
    if missing.is_empty() {
        return true;
    }
    let told = format!("not installed: {}", missing.join(", "));
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{told}");
    // The test harness keeps what the macros print of a test that passes; this reaches the terminal.
    drop(writeln!(
        std::io::stderr(),
        "\n*** THIS TEST DID NOTHING: {told} ***"
    ));
    false
}

/// A program with its arguments, with a limit on its time and without what the tester's own home would tell it.
pub(crate) fn program<S: AsRef<OsStr>>(
    home: &Path,
    name: &str,
    args: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new("timeout");
    command
        .args([PATIENCE, name])
        .args(args)
        .env("HOME", home)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .current_dir(home);
    without_settings(&mut command);
    command
}

/// Takes away what the tester's own environment would set.
pub(crate) fn without_settings(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("MAILHORN__") {
            command.env_remove(key);
        }
    }
}

/// Runs it to its end.
pub(crate) fn output(mut command: Command) -> Output {
    command.output().expect("the program runs")
}

/// Runs it to its end and gives its standard output.
///
/// # Panics
///
/// When it fails; the message has what it said.
pub(crate) fn run(command: Command) -> Vec<u8> {
    let told = format!("{command:?}");
    let output = output(command);
    assert!(output.status.success(), "{told}: {}", said(&output));
    output.stdout
}

/// All that a program said, and how it ended.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A file that only its owner can read: several mail programs take their settings from no other.
pub(crate) fn private_file(folder: &Path, name: &str, content: &str) -> PathBuf {
    file_with_mode(&folder.join(name), content, 0o600)
}

fn file_with_mode(path: &Path, content: &str, mode: u32) -> PathBuf {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes()))
        .expect("a file can be written");
    path.to_path_buf()
}

/// A program that puts each message from its standard input into a file of its own, and ends with `last`.
pub(crate) fn delivery_agent(home: &Path, folder: &Path, last: &str) -> PathBuf {
    let folder = folder.display();
    let script = format!("#!/bin/sh\nset -e\ncat >\"$(mktemp -p '{folder}')\"\n{last}\n");
    file_with_mode(&home.join("deliver"), &script, 0o700)
}

/// The content of every file in a folder.
pub(crate) fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    entries
        .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file can be read"))
        .collect()
}

/// A new folder in another.
pub(crate) fn folder(parent: &Path, name: &str) -> PathBuf {
    let path = parent.join(name);
    fs::create_dir_all(&path).expect("a folder can be made");
    path
}

/// A script of these tests.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients/scripts")
        .join(name)
}
