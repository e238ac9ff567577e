//! A conformance suite for servers of POP3, LMTP and SMTP reception: it knows nothing of the server but addresses and an account,
//! speaks the protocols octet by octet, and says of each case which paragraph of which RFC decides it.
//!
//! A case is a row in `cases/` and a small function. It passes, fails (then the transcript is shown), is not offered (it is optional
//! and not announced) or can't be run (and why). The suite brings its own mail in, and deletes that mail alone.

#![allow(
    clippy::disallowed_methods,
    reason = "sockets live in real time, and there is no clock to hand in"
)]

mod case;
mod cases;
mod cli;
mod compare;
mod mail;
mod pop3;
mod report;
mod runner;
mod setup;
mod tls;
mod transfer;
mod wire;
mod world;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Parser as _;

use crate::cli::{Cli, Command, Format, Options};
use crate::report::Results;
use crate::world::World;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Compare {
            results,
            made_by,
            note,
        }) => compare::read(results)
            .and_then(|results| write(&compare::document(&results, made_by.as_deref(), note.as_deref())))
            .map(|()| true),
        None if cli.options.list => write(&report::list(&cases::all())).map(|()| true),
        None => run(&cli.options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            drop(writeln!(io::stderr(), "conform: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Whether no case failed that binds.
fn run(options: &Options) -> anyhow::Result<bool> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock")?;
    let token = u64::from(now.subsec_nanos()) ^ (now.as_secs() << 16) ^ (u64::from(std::process::id()) << 40);
    let mut world = World::new(options.setup(token & 0xFFFF_FFFF_FFFF)?)?;
    let mut told = io::stderr();
    // How far it is, for whoever waits; who doesn't read it loses nothing.
    let findings = runner::run(&mut world, &cases::all(), &options.only, |outcome| {
        drop(write!(told, "{}", outcome.sign()));
    })?;
    drop(writeln!(told));
    let results = Results::new(options.name.clone(), options.about.clone(), now, &findings);
    write(&match options.format {
        Format::Table => report::table(&results),
        Format::Markdown => report::markdown(&results),
        Format::Json => report::json(&results),
    })?;
    Ok(results.binding_failures().next().is_none())
}

fn write(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
