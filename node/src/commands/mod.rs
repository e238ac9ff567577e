//! The commands.

mod access;
mod accounts;
mod addresses;
mod bans;
mod cluster;
mod config;
mod dead_letters;
mod demo;
mod events;
mod quota;
mod sample_mail;
mod serve;
mod tail;
mod tls;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::output::{complain, write_line};
use crate::settings::{Settings, Sources};

/// Runs the command that the command line asks for.
#[must_use]
pub fn run() -> Exit {
    match run_command(Cli::parse()) {
        Ok(exit) => exit,
        Err(error) => {
            complain(format!("mailhorn: {error:#}"));
            Exit::of(&error)
        }
    }
}

fn run_command(cli: Cli) -> anyhow::Result<Exit> {
    let sources = Sources::of_process(cli.from.config, cli.from.data_dir);
    match cli.command {
        Command::Serve => serve::serve(sources.load()?),
        Command::Demo => demo::demo(sources),
        Command::Domain(command) => accounts::domain(command, &sources.load()?),
        Command::User(command) => accounts::user(command, &sources.load()?),
        Command::Alias(command) => addresses::alias(command, &sources.load()?),
        Command::Recipient { address, shown } => addresses::recipient(&address, shown, &sources.load()?),
        Command::Mailbox(command) => accounts::mailbox(command, &sources.load()?),
        Command::Quota(command) => quota::quota(command, &sources.load()?),
        Command::Events(command) => events::events(command, &sources.load()?),
        Command::Cluster(command) => cluster::cluster(command, &sources.load()?),
        Command::Tls(command) => tls::tls(command, &sources.load()?),
        Command::Bans(command) => bans::bans(command, &sources.load()?),
        Command::Config(command) => config::config(command, &sources),
        Command::Salvage => salvage(&sources.load()?),
    }
}

fn salvage(settings: &Settings) -> anyhow::Result<Exit> {
    let report = mailhorn_embedded::salvage(&settings.store_dir(), &settings.embedded_options())?;
    write_line(&report.to_string())?;
    Ok(Exit::Done)
}
