//! From the start of the process to the first greeting, after a clean stop and after a kill under load, and the memory
//! of a server that has just started.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::load::{MESSAGE_OCTETS, MESSAGES};
use crate::measures::fill;
use crate::options::Options;
use crate::servers::{Certificate, Kind, Server, prepare_mailhorn, settle};
use crate::table::{Aim, Cell, Row, Unit, median};

const NAME: &str = "start";
const ACCOUNTS: Range<usize> = 0..100;
/// The least size at which the node's journal is full, by `store.journal_size`: what is left is less than a write.
const JOURNAL_OCTETS: u64 = 120 * 1024 * 1024;
/// How long the journal may take to fill.
const FILL_PATIENCE: Duration = Duration::from_secs(120);

/// Whether these measures are wanted.
pub(crate) fn wanted(options: &Options) -> bool {
    options.wants(NAME)
}

/// Runs them.
pub(crate) async fn measure(options: &Options, dir: &Path) -> anyhow::Result<Vec<Row>> {
    let mut clean = Row::new(
        NAME,
        "start to accepting, after a clean stop",
        Unit::Milliseconds,
        Aim::at_most(50.0),
    );
    let mut crash = Row::new(
        NAME,
        "start to accepting, after SIGKILL with a full journal",
        Unit::Milliseconds,
        Aim::at_most(1_000.0),
    );
    let mut memory = Row::new(
        NAME,
        "resident after start (Dovecot: PSS)",
        Unit::Mebibytes,
        Aim::at_most(20.0),
    );
    let data = dir.join("start-mailhorn");
    prepare_mailhorn(&data, ACCOUNTS.len())?;
    let start = || anyhow::Ok(Server::mailhorn(&data));
    clean_starts(options, start, &mut clean, &mut memory).await?;
    crash.set(Kind::Mailhorn, Cell::of(crash_starts(options, &data).await?));
    if options.with_dovecot {
        let certificate = Certificate::of_node(&data)?;
        let data = dir.join("start-dovecot");
        let start = || Server::dovecot(&data, ACCOUNTS.len(), &certificate);
        clean_starts(options, start, &mut clean, &mut memory).await?;
    }
    Ok(vec![clean, crash, memory])
}

async fn clean_starts(
    options: &Options,
    start: impl Fn() -> anyhow::Result<Server>,
    time: &mut Row,
    memory: &mut Row,
) -> anyhow::Result<()> {
    let server = start()?;
    let kind = server.kind;
    fill(&server, ACCOUNTS, 1, MESSAGES, MESSAGE_OCTETS).await?;
    server.stop();
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let began = Instant::now();
        let server = start()?;
        greeted(&server)?;
        times.push(milliseconds(began.elapsed()));
        settle(std::slice::from_ref(&server)).await?;
        let used = server.family.memory()?;
        crate::progress(&format!("start of {kind:?}: {:?} ms, {used:?} KiB", times.last()));
        sizes.push(mebibytes(if kind == Kind::Dovecot {
            used.proportional
        } else {
            used.resident
        }));
        server.stop();
    }
    time.set(kind, Cell::of(median(times.into_iter())));
    memory.set(kind, Cell::of(median(sizes.into_iter())));
    Ok(())
}

async fn crash_starts(options: &Options, data: &Path) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..options.rounds {
        let server = Server::mailhorn(data);
        let journal = fill_journal(&server, data).await?;
        server.kill();
        let began = Instant::now();
        let server = Server::mailhorn(data);
        greeted(&server)?;
        times.push(milliseconds(began.elapsed()));
        crate::progress(&format!(
            "start after SIGKILL: {:?} ms, journal of {journal} octets",
            times.last()
        ));
        server.stop();
    }
    Ok(median(times.into_iter()))
}

/// Delivers until the journal is full; gives its size.
async fn fill_journal(server: &Server, data: &Path) -> anyhow::Result<u64> {
    let began = Instant::now();
    loop {
        // Small messages to many: what fills the journal is rows.
        fill(server, ACCOUNTS, ACCOUNTS.len(), MESSAGES, MESSAGE_OCTETS).await?;
        let octets = journal_octets(&data.join("store"))?;
        if octets >= JOURNAL_OCTETS {
            return Ok(octets);
        }
        ensure!(
            began.elapsed() < FILL_PATIENCE,
            "the journal does not fill: {octets} octets"
        );
    }
}

/// The size of all journals under `folder`.
fn journal_octets(folder: &Path) -> anyhow::Result<u64> {
    let mut octets = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            octets += journal_octets(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "jnl") {
            octets += entry.metadata()?.len();
        }
    }
    Ok(octets)
}

/// Returns when both mail listeners have said something.
fn greeted(server: &Server) -> anyhow::Result<()> {
    let greeting = |address: SocketAddr| anyhow::Ok(TcpStream::connect(address)?.read(&mut [0; 4])? > 0);
    let lmtp = server.lmtp.context("it takes no mail")?;
    ensure!(greeting(lmtp)? && greeting(server.pop3)?, "no greeting");
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}
