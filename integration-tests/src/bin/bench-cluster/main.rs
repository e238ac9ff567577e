//! The benchmark of a cluster: two nodes beside the bare driver that asks the same statements of the same Cassandra, what a
//! long history costs, and what nodes tell each other. What each row means stands in BENCHMARKS.md.
//!
//! It wants a Cassandra at `MAILHORN_CASSANDRA` (`127.0.0.1:9042`; centre `dc1`) and a Redis at `MAILHORN_REDIS`
//! (`redis://127.0.0.1:6379`), and uses a keyspace of its own.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and there is no clock to hand in"
)]

mod bare;
#[path = "../bench/family.rs"]
#[allow(dead_code, reason = "shared with the other benchmark, which uses all of it")]
mod family;
mod history;
#[path = "../bench/load.rs"]
#[allow(dead_code, reason = "shared with the other benchmark, which uses all of it")]
mod load;
mod nodes;
mod rates;
mod traffic;
#[path = "../bench/wire.rs"]
#[allow(dead_code, reason = "shared with the other benchmark, which uses all of it")]
mod wire;

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;

const HELP: &str = "bench-cluster [--seconds N] [--rounds N] [--only NAME]… [--tombstones N] [--messages N]
  rows: deliveries polls events opening tombstones traffic
  --tombstones N   messages that a maildrop takes and loses over a day (1000000)
  --messages N     messages of the maildrop that is opened (100000)
";

/// What is measured, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) time: Duration,
    pub(crate) rounds: usize,
    only: Vec<String>,
    pub(crate) tombstones: usize,
    pub(crate) messages: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut options = Self {
            time: Duration::from_secs(5),
            rounds: 3,
            only: Vec::new(),
            tombstones: 1_000_000,
            messages: 100_000,
        };
        while let Some(name) = arguments.next() {
            if name == "--help" {
                return Ok(None);
            }
            let value = arguments
                .next()
                .with_context(|| format!("{name} wants a value"))?;
            match name.as_str() {
                "--seconds" => options.time = Duration::from_secs(value.parse()?),
                "--rounds" => options.rounds = value.parse()?,
                "--only" => options.only.push(value),
                "--tombstones" => options.tombstones = value.parse()?,
                "--messages" => options.messages = value.parse()?,
                _ => anyhow::bail!("there is no {name}; see --help"),
            }
        }
        Ok(Some(options))
    }

    fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == row)
    }
}

fn main() -> anyhow::Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        return Ok(write!(std::io::stdout(), "{HELP}")?);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, all(&options))
}

/// What is measured is told at once: a row that fails takes none with it.
async fn all(options: &Options) -> anyhow::Result<()> {
    if options.wants("traffic") {
        for (count, transport) in traffic::clusters() {
            tell(traffic::measure(count, transport).await?)?;
        }
    }
    if !["deliveries", "polls", "events", "opening", "tombstones"]
        .iter()
        .any(|row| options.wants(row))
    {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let nodes = nodes::Nodes::start(folder.path(), 2, "registered")?;
    let bare = bare::Bare::connect(&nodes).await?;
    if options.wants("deliveries") {
        tell(rates::deliveries(options, &nodes, &bare).await?)?;
    }
    if options.wants("polls") {
        tell(rates::polls(options, &nodes, &bare).await?)?;
    }
    if options.wants("events") {
        tell(rates::events(&nodes).await?)?;
    }
    if options.wants("opening") {
        tell(history::opening(options, &nodes).await?)?;
    }
    if options.wants("tombstones") {
        tell(history::tombstones(options, &nodes).await?)?;
    }
    Ok(())
}

fn tell(line: String) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Tells on the standard error output how far it is.
pub(crate) fn progress(line: &str) {
    // Who doesn't want to read it loses nothing.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which so many of a hundred are.
pub(crate) fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(place).copied().unwrap_or(f64::NAN)
}
