//! One server as a process.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::wait_until;

/// Starts with other ports until a server gets one: between finding and binding it another process may.
const STARTS_MAX: usize = 5;
const READY: &str = "Ready to accept connections";

/// A running `redis-server` without persistence. Dropped, it is killed.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    arguments: Vec<String>,
    ready: &'static str,
    child: Child,
    dir: TempDir,
}

impl RedisServer {
    /// A server on a free loopback port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// One with further settings, as on the command line: `["--requirepass", "secret"]`.
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        Self::start_by(READY, |_, port| {
            let mut arguments = vec!["--port".to_owned(), port.to_string()];
            arguments.extend(["--save", "", "--appendonly", "no"].map(Into::into));
            arguments.extend(settings.iter().map(|setting| (*setting).to_owned()));
            arguments
        })
    }

    /// One whose port speaks TLS only, with a certificate and its key in PEM.
    #[must_use]
    pub fn start_tls(certificate: &str, key: &str) -> Self {
        Self::start_by(READY, |dir, port| {
            let file = |name: &str, text: &str| {
                let path = dir.join(name);
                fs::write(&path, text).unwrap();
                path.display().to_string()
            };
            let (certificate, key) = (file("server.pem", certificate), file("server.key", key));
            let mut arguments = [
                "--port",
                "0",
                "--save",
                "",
                "--tls-auth-clients",
                "no",
                "--tls-port",
            ]
            .map(str::to_owned)
            .to_vec();
            arguments.push(port.to_string());
            arguments.extend(["--tls-cert-file".to_owned(), certificate.clone()]);
            arguments.extend(["--tls-ca-cert-file".to_owned(), certificate]);
            arguments.extend(["--tls-key-file".to_owned(), key]);
            arguments
        })
    }

    /// One whose arguments are made from its folder and its port, and which says `ready` in its log when it is.
    pub(super) fn start_by(ready: &'static str, arguments: impl Fn(&Path, u16) -> Vec<String>) -> Self {
        for _ in 0..STARTS_MAX {
            let dir = tempfile::tempdir().unwrap();
            let port = free_port();
            let arguments = arguments(dir.path(), port);
            let child = spawn(dir.path(), &arguments);
            let mut server = Self {
                port,
                arguments,
                ready,
                child,
                dir,
            };
            if server.is_started() {
                return server;
            }
        }
        panic!("redis-server ends at once, {STARTS_MAX} times");
    }

    /// Waits until it serves. False where it ended instead.
    fn is_started(&mut self) -> bool {
        let mut is_up = false;
        wait_until("redis-server is ready", || {
            is_up = self.log().contains(self.ready);
            is_up || self.child.try_wait().unwrap().is_some()
        });
        is_up
    }

    /// What it has logged since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log_file(self.dir.path())).unwrap_or_default()
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder, which goes with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What stands in `redis.url` for it, without TLS and without a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Freezes it: it neither answers nor closes a connection.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{signal}");
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on its port, in its folder, after it was killed.
    pub fn restart(&mut self) {
        fs::remove_file(log_file(self.dir.path())).unwrap();
        self.child = spawn(self.dir.path(), &self.arguments);
        assert!(self.is_started(), "its port was taken: {}", self.log());
    }

    /// Loses everything it has.
    pub fn flush_all(&self) {
        assert_eq!(self.command(&["FLUSHALL"]), "OK");
    }

    /// What it answers to a command, as `redis-cli` shows it. Without TLS, to a user without a password.
    #[must_use]
    pub fn command(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let mut arguments = vec!["-h", "127.0.0.1", "-p", &port];
        arguments.extend(command);
        cli(&arguments)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may be dead already, and a frozen one dies as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(dir: &Path, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    // The configuration file is the first argument of all.
    command.args(arguments);
    command
        .args(["--bind", "127.0.0.1", "--daemonize", "no", "--dir"])
        .arg(dir);
    command.arg("--logfile").arg(log_file(dir));
    let started = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    started.unwrap_or_else(|error| panic!("redis-server: {error}: install Debian's package redis-server"))
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// What `redis-cli` prints.
pub(super) fn cli(arguments: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("redis-cli: {error}: install Debian's package redis-tools"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A port that nobody listens on at this moment.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
