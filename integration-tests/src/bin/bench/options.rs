//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Measures Mailhorn beside Dovecot and beside the bare limit, and prints a table.

Options:
  --seconds N      how long each rate is measured, in each round (default 4)
  --rounds N       rounds, of which the median counts (default 3)
  --only NAME      only the measures whose name begins so; may be given several times:
                   lmtp-1 lmtp-8 lmtp-64 poll retrieve drain idle idle-tls start
  --sessions N     idle sessions for Mailhorn (default 15000); Dovecot gets at most 1000, a process for each
  --dir DIR        where the servers keep their data (default: the system's temporary folder)
  --no-dovecot     without Dovecot
  --json           JSON instead of a table
";

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) time: Duration,
    pub(crate) rounds: usize,
    pub(crate) only: Vec<String>,
    pub(crate) sessions: usize,
    pub(crate) dir: PathBuf,
    pub(crate) with_dovecot: bool,
    pub(crate) json: bool,
}

impl Options {
    /// Reads the arguments; nothing where help was asked for.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut options = Self {
            time: Duration::from_secs(4),
            rounds: 3,
            only: Vec::new(),
            sessions: 15_000,
            dir: std::env::temp_dir(),
            with_dovecot: true,
            json: false,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--seconds" => options.time = Duration::from_secs(value()?.parse().context("--seconds")?),
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--only" => options.only.push(value()?),
                "--sessions" => options.sessions = value()?.parse().context("--sessions")?,
                "--dir" => options.dir = value()?.into(),
                "--no-dovecot" => options.with_dovecot = false,
                "--json" => options.json = true,
                "--help" | "-h" => return Ok(None),
                other => bail!("{other} is no option:\n{HELP}"),
            }
        }
        anyhow::ensure!(options.rounds > 0, "--rounds: at least 1");
        Ok(Some(options))
    }

    /// Whether the measure with this name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }
}
