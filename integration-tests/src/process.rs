//! A node as a process: started on free ports, listened to, killed, ended well.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start may take before it counts as failed. A debug build under a tracer is slow.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a node may take to end after SIGTERM: its own deadline is 30 s.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// The listeners, as the node's log names them.
const LISTENERS: [&str; 6] = ["smtp", "smtps", "lmtp", "pop3", "pop3s", "admin"];

/// The `mailhorn` program: `MAILHORN_BIN`, or else the one that was built beside the test.
///
/// # Panics
///
/// When it is not there: `cargo test` builds it only when it is told to test the whole workspace.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MAILHORN_BIN") {
        return path.into();
    }
    let exe = std::env::current_exe().expect("a test has a path");
    let folder = exe.parent().expect("a program lies in a folder");
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    let path = folder.join("mailhorn");
    assert!(
        path.exists(),
        "{} is not built: run `cargo build -p mailhorn` first, or name one by MAILHORN_BIN",
        path.display()
    );
    path
}

/// Runs a command of the program to its end, with `stdin` as its standard input.
///
/// # Panics
///
/// When it can't be run at all.
#[must_use]
pub fn mailhorn(args: &[&str], stdin: &str) -> Output {
    let mut child = program(&[])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut input = child.stdin.take().expect("it was piped");
    // A command that takes no input may be gone already.
    drop(input.write_all(stdin.as_bytes()));
    drop(input);
    child.wait_with_output().expect("the program ends")
}

/// Makes a domain and accounts, all with the same password, on a data folder that no node has open.
///
/// # Panics
///
/// When a command fails; the message has what it said.
pub fn add_users(data_dir: &Path, domain: &str, users: &[&str], password: &str) {
    let dir = data_dir.to_str().expect("the data folder's name is text");
    let file = tempfile::NamedTempFile::new().expect("a file for the accounts");
    let lines = users
        .iter()
        .map(|user| format!("{user}@{domain}:{{PLAIN}}{password}\n"));
    std::fs::write(file.path(), lines.collect::<String>()).expect("the accounts are written");
    let file = file.path().to_str().expect("a temporary file's name is text");
    for command in [["domain", "add", domain], ["user", "import", file]] {
        let args: Vec<&str> = command.iter().chain(&["--data-dir", dir]).copied().collect();
        let output = mailhorn(&args, "");
        assert!(
            output.status.success(),
            "mailhorn {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The program behind `wrapper`, without any setting of the tester's own environment.
fn program(wrapper: &[OsString]) -> Command {
    let mut command = match wrapper {
        [] => Command::new(binary()),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(binary());
            command
        }
    };
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("MAILHORN__") {
            command.env_remove(key);
        }
    }
    command
}

/// How a node is to be started.
#[derive(Debug, Clone)]
pub struct NodeBuilder {
    data_dir: PathBuf,
    settings: BTreeMap<String, String>,
    wrapper: Vec<OsString>,
}

impl NodeBuilder {
    /// Where its data lies. Without it: a `mailhorn-data` folder where the test runs, which nobody wants.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = path.into();
        self
    }

    /// A setting by its key, such as `pop3.lock`.
    #[must_use]
    pub fn setting(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.settings.insert(key.to_owned(), value.to_string());
        self
    }

    /// What is logged, such as `info,mailhorn_core=debug`.
    #[must_use]
    pub fn log_levels(self, levels: &str) -> Self {
        self.setting("log.levels", levels)
    }

    /// A command that runs the program in its place and keeps its process id: `nsenter`, `strace -D`.
    #[must_use]
    pub fn wrapped_by<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper.into_iter().map(|part| part.as_ref().into()).collect();
        self
    }

    /// Starts it and waits until it accepts on all listeners.
    ///
    /// # Panics
    ///
    /// When it doesn't; the message has its log.
    #[must_use]
    pub fn start(&self) -> Node {
        match self.try_start() {
            Ok(node) => node,
            Err(ended) => panic!("the node did not start: {ended}"),
        }
    }

    /// The same, where the node may refuse to start.
    ///
    /// # Errors
    ///
    /// The node that ended instead of accepting.
    ///
    /// # Panics
    ///
    /// When it neither accepts nor ends.
    pub fn try_start(&self) -> Result<Node, Ended> {
        let mut child = self
            .configured(&["serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let stderr = child.stderr.take().expect("it was piped");
        let log = Log::default();
        let sink = log.clone();
        thread::spawn(move || sink.take_all(stderr));
        let mut node = Node {
            child,
            log,
            addresses: BTreeMap::new(),
            data_dir: self.data_dir.clone(),
        };
        let listening = |lines: &Lines| addresses(&lines.all).len() == LISTENERS.len();
        node.log
            .wait(START_PATIENCE, |lines| listening(lines) || lines.ended);
        node.addresses = addresses(&node.log.lock().all);
        if node.addresses.len() == LISTENERS.len() {
            return Ok(node);
        }
        assert!(
            node.log.lock().ended,
            "the node neither accepts nor ends:\n{}",
            node.log()
        );
        let status = node.child.wait().expect("a child can be waited for");
        Err(Ended {
            status,
            log: node.log(),
        })
    }

    /// Runs a command with the node's settings to its end.
    ///
    /// # Panics
    ///
    /// When it fails; the message has what it said.
    pub fn run(&self, args: &[&str]) {
        let output = self.configured(args).stdin(Stdio::null()).output();
        let output = output.expect("the program runs");
        assert!(
            output.status.success(),
            "mailhorn {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn configured(&self, args: &[&str]) -> Command {
        let mut command = program(&self.wrapper);
        command.args(args).arg("--data-dir").arg(&self.data_dir);
        for (key, value) in &self.settings {
            let key = key.to_uppercase().replace('.', "__");
            command.env(format!("MAILHORN__{key}"), value);
        }
        command
    }
}

/// A node that ended where it should have started.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it said.
    pub log: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.status, self.log)
    }
}

/// A running `mailhorn serve`. Dropped, it is killed.
#[derive(Debug)]
pub struct Node {
    child: Child,
    log: Log,
    addresses: BTreeMap<String, SocketAddr>,
    data_dir: PathBuf,
}

impl Node {
    /// A node on free loopback ports.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        let listen = [
            "smtp.listen",
            "smtp.listen_tls",
            "lmtp.listen",
            "pop3.listen",
            "pop3.listen_tls",
            "admin.listen",
        ];
        NodeBuilder {
            data_dir: "mailhorn-data".into(),
            settings: listen
                .map(|key| (key.to_owned(), "127.0.0.1:0".to_owned()))
                .into(),
            wrapper: Vec::new(),
        }
    }

    /// Where it speaks POP3.
    #[must_use]
    pub fn pop3(&self) -> SocketAddr {
        self.address("pop3")
    }

    /// Where it speaks POP3 with TLS from the first octet.
    #[must_use]
    pub fn pop3s(&self) -> SocketAddr {
        self.address("pop3s")
    }

    /// Where it speaks SMTP.
    #[must_use]
    pub fn smtp(&self) -> SocketAddr {
        self.address("smtp")
    }

    /// Where it speaks SMTP with TLS from the first octet.
    #[must_use]
    pub fn smtps(&self) -> SocketAddr {
        self.address("smtps")
    }

    /// Where it speaks LMTP.
    #[must_use]
    pub fn lmtp(&self) -> SocketAddr {
        self.address("lmtp")
    }

    /// Where its admin HTTP is.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    fn address(&self, listener: &str) -> SocketAddr {
        *self
            .addresses
            .get(listener)
            .expect("a started node has all listeners")
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said up to now.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().all.join("\n")
    }

    /// Waits for a line that holds `needle`, said before or from now on.
    ///
    /// # Panics
    ///
    /// When it doesn't come within `patience`; the message has the log.
    #[must_use]
    pub fn wait_for_log(&self, needle: &str, patience: Duration) -> String {
        self.wait_for_later_log(0, needle, patience)
    }

    /// How many lines it has said.
    #[must_use]
    pub fn log_lines(&self) -> usize {
        self.log.lock().all.len()
    }

    /// Waits for a line that holds `needle` behind the first `from` lines.
    ///
    /// # Panics
    ///
    /// As [`Node::wait_for_log`].
    #[must_use]
    pub fn wait_for_later_log(&self, from: usize, needle: &str, patience: Duration) -> String {
        let found = |lines: &Lines| {
            let later = lines.all.iter().skip(from);
            later.clone().find(|line| line.contains(needle)).cloned()
        };
        self.log
            .wait(patience, |lines| lines.ended || found(lines).is_some());
        let line = found(&self.log.lock());
        line.unwrap_or_else(|| panic!("no {needle:?} in the node's log:\n{}", self.log()))
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Panics
    ///
    /// When it can't be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks it to end (SIGTERM), without waiting.
    ///
    /// # Panics
    ///
    /// When it can't be asked.
    pub fn ask_to_end(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal by its name, such as `STOP`.
    ///
    /// # Panics
    ///
    /// When it can't be sent.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &self.pid().to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{signal}");
    }

    /// Asks it to end (SIGTERM) and waits for its end.
    ///
    /// # Panics
    ///
    /// When it doesn't end; the message has its log.
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_end();
        self.wait_for_end()
    }

    /// Waits for an end that was asked for.
    ///
    /// # Panics
    ///
    /// When it doesn't end; the message has its log.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        // The log ends with the process, so this is how the end is waited for with a limit.
        self.log.wait(END_PATIENCE, |lines| lines.ended);
        assert!(
            self.log.lock().ended,
            "the node did not end after SIGTERM:\n{}",
            self.log()
        );
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What the node says, line by line, as it says it.
#[derive(Debug, Clone, Default)]
struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    all: Vec<String>,
    ended: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_all(&self, source: impl std::io::Read) {
        for line in BufReader::new(source).split(b'\n') {
            let Ok(line) = line else { break };
            self.lock().all.push(String::from_utf8_lossy(&line).into_owned());
            self.0.1.notify_all();
        }
        self.lock().ended = true;
        self.0.1.notify_all();
    }

    /// Returns when `is_there` holds, or `patience` is over.
    fn wait(&self, patience: Duration, is_there: impl Fn(&Lines) -> bool) {
        let until = Instant::now() + patience;
        let mut lines = self.lock();
        while !is_there(&lines) {
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return;
            }
            let waited = self.0.1.wait_timeout(lines, rest);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The addresses in lines such as `… listening listener="pop3" address=127.0.0.1:2110`.
fn addresses(lines: &[String]) -> BTreeMap<String, SocketAddr> {
    let field = |line: &str, name: &str| {
        let value = line.split(name).nth(1)?.split_whitespace().next()?;
        Some(value.trim_matches('"').to_owned())
    };
    lines
        .iter()
        .filter(|line| line.contains("listening"))
        .filter_map(|line| Some((field(line, "listener=")?, field(line, "address=")?.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_log() {
        let line = r#"2026-01-01T00:00:00Z  INFO mailhorn::wiring: listening listener="pop3" address=127.0.0.1:2110"#;
        let expected = [("pop3".to_owned(), "127.0.0.1:2110".parse().unwrap())];
        assert_eq!(addresses(&[line.to_owned(), "else".to_owned()]), expected.into());
    }
}
