//! What nodes send each other for a delivery, by who is told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mailhorn_core::membership::BEAT_PAUSE;

use crate::load::Sender;
use crate::nodes::{Nodes, redis};

/// Nodes of a cluster that is measured.
const SIZES: [usize; 3] = [3, 5, 10];
const DELIVERIES: u64 = 2_000;
/// Accounts that mail goes to in turns. The live feed of the first one is read on one node, which is not the one that takes
/// the mail.
const ACCOUNTS: usize = 10;
/// How long nobody delivers, to know what nodes send anyway.
const QUIET: Duration = Duration::from_secs(10);
const MESSAGE_OCTETS: usize = 1_024;

/// What Redis has counted.
#[derive(Debug, Clone, Copy)]
struct Counted {
    commands: f64,
    octets: f64,
    at: Instant,
}

impl Counted {
    fn now() -> anyhow::Result<Self> {
        let url = redis();
        let address = url
            .strip_prefix("redis://")
            .context("MAILHORN_REDIS names one server without TLS")?;
        let mut stream = TcpStream::connect(address.trim_end_matches('/'))?;
        stream.write_all(b"INFO stats\r\n")?;
        let (mut commands, mut octets) = (None, None);
        for line in BufReader::new(stream).lines() {
            let line = line?;
            let figure = |name: &str| line.strip_prefix(name).and_then(|rest| rest.trim().parse().ok());
            commands = commands.or_else(|| figure("total_commands_processed:"));
            octets = octets.or_else(|| figure("total_net_input_bytes:"));
            if let (Some(commands), Some(octets)) = (commands, octets) {
                let at = Instant::now();
                return Ok(Self { commands, octets, at });
            }
        }
        bail!("Redis does not say what it has counted");
    }

    /// Commands and octets since then, and in how many seconds.
    fn since(self, then: Self) -> (f64, f64, f64) {
        (
            self.commands - then.commands,
            self.octets - then.octets,
            self.at.duration_since(then.at).as_secs_f64(),
        )
    }
}

/// Each size of a cluster, both ways.
pub(crate) fn clusters() -> impl Iterator<Item = (usize, &'static str)> {
    SIZES
        .into_iter()
        .flat_map(|count| ["registered", "broadcast"].map(|transport| (count, transport)))
}

pub(crate) async fn measure(count: usize, transport: &str) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let nodes = Nodes::start(folder.path(), count, transport)?;
    let _feed = nodes.feed(1, 0)?;
    // Until each node has seen the others.
    tokio::time::sleep(3 * BEAT_PAUSE).await;
    let begin = Counted::now()?;
    tokio::time::sleep(QUIET).await;
    let (idle_commands, idle_octets, idle_time) = Counted::now()?.since(begin);
    let mut sender = Sender::connect(nodes.nodes[0].lmtp(), MESSAGE_OCTETS).await?;
    let begin = Counted::now()?;
    for number in 0..DELIVERIES {
        sender.deliver(number, &[number as usize % ACCOUNTS]).await?;
    }
    let (commands, octets, time) = Counted::now()?.since(begin);
    let each = |counted: f64, idle: f64| (counted - idle * time / idle_time) / DELIVERIES as f64;
    Ok(format!(
        "{count} nodes, {transport}: {:.2} commands and {:.0} octets into Redis for a delivery; at rest {:.0} octets/s",
        each(commands, idle_commands),
        each(octets, idle_octets),
        idle_octets / idle_time
    ))
}
