//! Hostile clients at a node, and what a client that behaves well has of it: its latency, its failures, and the node's
//! memory, before, during and after each attack. Options: `--seconds N` for each attack, `--only NAME`.
//!
//! The node has its default settings, but for what is trusted: the client that behaves well comes from 127.0.0.1, which is
//! trusted, and hostile ones from other addresses of 127.0.0.0/8, to which all limits apply.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and there is no clock to hand in"
)]

mod attacks;
mod friend;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mailhorn_integration_tests::figures::{limits_reached, resident_kib};
use mailhorn_integration_tests::{Node, add_users};

use crate::attacks::{ATTACKS, Attack, Target};
use crate::friend::{Friend, Service};

/// How long the node has to come to rest after an attack.
const REST: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let mut out = std::io::stdout();
    match measure() {
        Ok(table) => match out.write_all(table.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            drop(writeln!(std::io::stderr(), "bench-hostile: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

struct Options {
    seconds: u64,
    only: Option<String>,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options {
        seconds: 10,
        only: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--seconds" => options.seconds = value()?.parse().context("--seconds takes a number")?,
            "--only" => options.only = Some(value()?),
            _ => bail!("usage: bench-hostile [--seconds N] [--only NAME]"),
        }
    }
    Ok(options)
}

fn measure() -> anyhow::Result<String> {
    let options = options()?;
    let folder = tempfile::tempdir()?;
    add_users(
        folder.path(),
        "example.org",
        &["friend", "mallory"],
        friend::PASSWORD,
    );
    let node = Node::builder()
        .data_dir(folder.path())
        .setting("auth.trusted_networks", "127.0.0.1/32")
        .start();
    let target = Target {
        pop3: node.pop3(),
        smtp: node.smtp(),
        lmtp: node.lmtp(),
    };
    let friend = Friend::start(&target);
    let mut table = String::from(
        "| attack | attempts | open at most | octets sent | friend p50 | p99 | longest | failures | RSS before | at most | after | limits reached |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let attacks = ATTACKS
        .iter()
        .filter(|attack| options.only.as_deref().is_none_or(|only| attack.name == only));
    for attack in attacks {
        let row = one(
            attack,
            &node,
            &target,
            &friend,
            Duration::from_secs(options.seconds),
        )?;
        table.push_str(&row);
        drop(writeln!(std::io::stderr(), "{row}"));
    }
    Ok(table)
}

/// One attack: a row of the table.
fn one(
    attack: &Attack,
    node: &Node,
    target: &Target,
    friend: &Friend,
    time: Duration,
) -> anyhow::Result<String> {
    let (before, limits_before) = figures(node)?;
    friend.take();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let watch = Watch::start(node);
    let done = runtime.block_on(attack.run(target, time));
    let service = friend.take();
    drop(runtime);
    let most = watch.end();
    std::thread::sleep(REST);
    let (after, limits) = figures(node)?;
    let reached: Vec<String> = limits
        .iter()
        .filter_map(|(limit, count)| {
            let more = count - limits_before.get(limit).unwrap_or(&0);
            (more > 0).then(|| format!("{limit} {more}"))
        })
        .collect();
    let Service {
        p50,
        p99,
        longest,
        failures,
    } = service;
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    Ok(format!(
        "| {} | {} | {} | {:.0} MB | {p50:.1?} | {p99:.1?} | {longest:.1?} | {failures} | {} | {} | {} | {} |\n",
        attack.title,
        done.attempts,
        done.open_most,
        done.octets as f64 / 1e6,
        mib(before),
        mib(most),
        mib(after),
        reached.join(", "),
    ))
}

/// Its memory, and how often each limit was reached.
fn figures(node: &Node) -> anyhow::Result<(u64, BTreeMap<String, u64>)> {
    let resident = resident_kib(node.pid()).context("the node's memory can't be read")?;
    Ok((resident, limits_reached(node)?))
}

/// Looks at the node's memory all the time, on a thread of its own.
struct Watch {
    end: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<u64>,
}

impl Watch {
    fn start(node: &Node) -> Self {
        let pid = node.pid();
        let (end, ended) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while ended.recv_timeout(Duration::from_millis(50))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                most = resident_kib(pid).unwrap_or(0).max(most);
            }
            most
        });
        Self { end, thread }
    }

    fn end(self) -> u64 {
        drop(self.end);
        self.thread.join().unwrap_or(0)
    }
}
