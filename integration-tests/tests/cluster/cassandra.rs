//! Cassandra servers, by the script that starts them.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One cluster of them at a time: their addresses are fixed.
static ONE: Mutex<()> = Mutex::new(());

/// Running servers on 127.0.0.1, 127.0.0.2 and so on. Dropped, they end and their data goes.
pub(crate) struct Cassandra {
    _one: MutexGuard<'static, ()>,
}

impl Cassandra {
    /// So many servers in one data centre, each of which has heard of the others; with the last one's commit log elsewhere.
    pub(crate) fn start(servers: usize, last_commit_log: Option<&Path>) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            TcpStream::connect("127.0.0.1:9042").is_err(),
            "a Cassandra runs already: end it first (integration-tests/servers/cassandra stop)"
        );
        let started = Self { _one: one };
        let mut arguments = vec!["start"];
        arguments.extend(vec!["dc1"; servers]);
        let place = last_commit_log.map(|path| (format!("CASSANDRA_COMMITLOG_{servers}"), path));
        let mut script = script(&arguments);
        if servers > 1 {
            // One of them dies, and what it has is counted on when the next one does: it must know its tables again.
            script.env("CASSANDRA_UNSAFE", "false");
        }
        run(script.envs(place));
        started
    }

    pub(crate) fn kill(&self, server: usize) {
        run(&mut script(&["kill", &server.to_string()]));
    }

    pub(crate) fn again(&self, server: usize) {
        run(&mut script(&["again", &server.to_string()]));
    }

    pub(crate) fn signal(&self, server: usize, signal: &str) {
        run(&mut script(&["signal", &server.to_string(), signal]));
    }

    pub(crate) fn lives(&self, server: usize) -> bool {
        let asked = script(&["signal", &server.to_string(), "0"])
            .stderr(Stdio::null())
            .status();
        asked.unwrap().success()
    }

    /// How many lightweight transactions it has run, those that only read included.
    pub(crate) fn transactions(&self) -> u64 {
        let counts = ["CASWrite", "CASRead"].map(|scope| {
            let bean = format!("org.apache.cassandra.metrics:type=ClientRequest,scope={scope},name=Latency");
            let count = run(&mut script(&["jmx", "1", &bean, "Count"]));
            count.trim().parse::<u64>().unwrap()
        });
        counts.iter().sum()
    }
}

impl Drop for Cassandra {
    fn drop(&mut self) {
        run(&mut script(&["stop"]));
    }
}

/// The script with these arguments.
fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/cassandra"));
    command.args(arguments);
    command
}

/// Runs it to its end and gives what it printed.
fn run(script: &mut Command) -> String {
    let output = script
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{script:?}");
    String::from_utf8(output.stdout).unwrap()
}
