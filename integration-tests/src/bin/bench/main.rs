//! The benchmark: Mailhorn beside Dovecot and beside the bare limit, in one run on one machine. What each row means and
//! how to read it stands in BENCHMARKS.md.
//!
//! The load tool is one thread, so that it takes as little as it can from the servers with which it shares the machine.
//! Its own processor time is told beside theirs: where it is the greater part, the rate is the tool's limit and only the
//! server's processor time says something about the server.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and there is no clock to hand in"
)]

mod bare;
mod dovecot;
mod family;
mod idle;
mod load;
mod measures;
mod options;
mod servers;
mod starts;
mod table;
mod wire;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::dovecot::Dovecot;
use crate::options::{HELP, Options};
use crate::servers::{Certificate, Server, prepare_mailhorn};
use crate::table::Row;

fn main() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn begin() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    if arguments.first().is_some_and(|first| first == bare::ARGUMENT) {
        return local.block_on(&runtime, bare::serve());
    }
    let command = format!(
        "cargo run --release -p mailhorn-integration-tests --bin bench -- {}",
        arguments.join(" ")
    );
    let mut out = std::io::stdout();
    let Some(mut options) = Options::parse(arguments.into_iter())? else {
        write!(out, "{HELP}")?;
        return Ok(());
    };
    if let Some(obstacle) = Dovecot::obstacle().filter(|_| options.with_dovecot) {
        progress(&format!("without Dovecot: {obstacle}"));
        options.with_dovecot = false;
    }
    let rows = local.block_on(&runtime, all(&options))?;
    if options.json {
        writeln!(out, "{:#}", table::json(command.trim(), &rows))?;
    } else {
        writeln!(out, "`{}`\n\n{}", command.trim(), table::markdown(&rows))?;
    }
    Ok(())
}

async fn all(options: &Options) -> anyhow::Result<Vec<Row>> {
    let folder = tempfile::Builder::new()
        .prefix("mailhorn-bench")
        .tempdir_in(&options.dir)?;
    let mut rows = Vec::new();
    if measures::wanted(options) {
        rows.extend(rates(options, folder.path()).await?);
    }
    if idle::wanted(options) {
        rows.extend(idle::measure(options, folder.path()).await?);
    }
    if starts::wanted(options) {
        rows.extend(starts::measure(options, folder.path()).await?);
    }
    Ok(rows)
}

async fn rates(options: &Options, folder: &Path) -> anyhow::Result<Vec<Row>> {
    let data = folder.join("mailhorn");
    prepare_mailhorn(&data, measures::ACCOUNTS)?;
    let mut servers = vec![Server::mailhorn(&data)];
    if options.with_dovecot {
        let certificate = Certificate::of_node(&data)?;
        servers.push(Server::dovecot(
            &folder.join("dovecot"),
            measures::ACCOUNTS,
            &certificate,
        )?);
    }
    servers.push(Server::bare()?);
    measures::measure(options, folder, &servers).await
}

/// Tells on the standard error output how far it is.
pub(crate) fn progress(line: &str) {
    // Who doesn't want to read it loses nothing.
    drop(writeln!(std::io::stderr(), "{line}"));
}
