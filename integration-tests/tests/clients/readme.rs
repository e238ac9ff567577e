//! README's first command.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use mailhorn_integration_tests::binary;

use crate::kit::{output, program, run, said, there_are, without_settings};

/// The demo, ended when the test ends.
struct Demo(Child);

impl Demo {
    fn start(home: &std::path::Path) -> Self {
        let mut command = Command::new(binary());
        without_settings(&mut command);
        command
            .arg("demo")
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Self(command.spawn().expect("the program runs"))
    }

    /// What it prints up to the line for sending, which is the last.
    fn lines(&mut self) -> Vec<String> {
        let printed = self.0.stdout.take().expect("it was piped");
        let mut lines = Vec::new();
        for line in BufReader::new(printed).lines() {
            lines.push(line.expect("text"));
            if lines.last().is_some_and(|line| line.contains("--upload-file")) {
                break;
            }
        }
        lines
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn readme_first_command() {
    if !there_are(&["curl"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let mut demo = Demo::start(home.path());
    let lines = demo.lines();
    let curl: Vec<&String> = lines.iter().filter(|line| line.starts_with("curl")).collect();
    let (sending, reading): (Vec<&String>, Vec<&String>) =
        curl.iter().partition(|line| line.contains("smtp://"));
    assert!(reading.len() >= 2 && !sending.is_empty(), "{lines:#?}");

    let shell =
        |line: &str| String::from_utf8_lossy(&run(program(home.path(), "sh", ["-c", line]))).into_owned();
    let list = curl
        .iter()
        .find(|line| line.ends_with('/'))
        .expect("a line that lists");
    let listed = shell(list).lines().count();
    assert!(listed > 0, "the list is not empty");
    for line in &curl {
        let printed = shell(line);
        if line.contains("smtp://") {
            let now = shell(list).lines().count();
            assert_eq!(now, listed + 1, "what was sent has come");
            let newest = shell(&format!("{list}{now}"));
            assert!(
                newest.contains("Subject: ") && newest.contains("Received: "),
                "{newest}"
            );
        } else if line != list {
            assert!(
                printed.contains("Subject: ") && printed.contains("Received: "),
                "{line}: {printed}"
            );
        }
    }

    let folder = curl.iter().find_map(|line| {
        line.split("--upload-file '")
            .nth(1)?
            .split("/demo-message")
            .next()
    });
    let folder = std::path::Path::new(folder.expect("the message lies in the data folder"));
    assert!(folder.exists());
    let ended = output(program(home.path(), "kill", ["-TERM", &demo.0.id().to_string()]));
    assert!(ended.status.success(), "{}", said(&ended));
    assert!(demo.0.wait().expect("the demo ends").success());
    assert!(!folder.exists(), "the throw-away folder is gone");
}
