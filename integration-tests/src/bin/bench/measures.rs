//! Rates and processor time: deliveries, polls, retrieval, deletion. In each round every server has its turn, so that
//! what else the machine does falls on all of them.

use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;

use crate::bare;
use crate::load::{MESSAGE_OCTETS, MESSAGES, Sample, Sender, Tally, Visit, run, visit};
use crate::options::Options;
use crate::servers::{Kind, Server, settle};
use crate::table::{Aim, Cell as Figure, Row, Unit, median};

/// Accounts that get mail which nobody reads.
const DELIVERED: Range<usize> = 0..100;
/// Accounts with a mailbox that is polled and retrieved.
const READ: Range<usize> = 100..200;
/// Accounts whose mail is retrieved and deleted: enough for a run that can be measured.
const DRAINED: Range<usize> = 200..600;
/// All of them.
pub(crate) const ACCOUNTS: usize = DRAINED.end;
/// Connections in POP3 measures.
const READERS: usize = 8;
/// Connections that fill mailboxes.
const FILLERS: usize = 16;

#[derive(Debug, Clone, Copy)]
enum Work {
    Deliver { connections: usize, chunks: bool },
    Visit(Visit),
}

struct Measure {
    name: &'static str,
    title: &'static str,
    work: Work,
    unit: Unit,
    aim: Aim,
}

const MEASURES: [Measure; 7] = [
    Measure {
        name: "lmtp-1",
        title: "LMTP deliveries/s, 1 connection",
        work: Work::Deliver {
            connections: 1,
            chunks: false,
        },
        unit: Unit::PerSecond,
        aim: Aim::NONE,
    },
    Measure {
        name: "lmtp-8",
        title: "LMTP deliveries/s, 8 connections",
        work: Work::Deliver {
            connections: 8,
            chunks: false,
        },
        unit: Unit::PerSecond,
        aim: Aim::rate(8.0, 0.2),
    },
    Measure {
        name: "lmtp-64",
        title: "LMTP deliveries/s, 64 connections",
        work: Work::Deliver {
            connections: 64,
            chunks: false,
        },
        unit: Unit::PerSecond,
        aim: Aim::NONE,
    },
    Measure {
        name: "bdat",
        title: "LMTP deliveries/s by BDAT, 8 connections",
        work: Work::Deliver {
            connections: 8,
            chunks: true,
        },
        unit: Unit::PerSecond,
        aim: Aim::NONE,
    },
    Measure {
        name: "poll",
        title: "POP3 polls/s, 8 connections",
        work: Work::Visit(Visit::Poll),
        unit: Unit::PerSecond,
        aim: Aim::rate(8.0, 0.13),
    },
    Measure {
        name: "retrieve",
        title: "POP3 sessions that retrieve 20 messages, MB/s, 8 connections",
        work: Work::Visit(Visit::Retrieve),
        unit: Unit::MegabytesPerSecond,
        aim: Aim::rate(3.7, 0.6),
    },
    Measure {
        name: "drain",
        title: "POP3 sessions/s that retrieve and delete 20 messages, 8 connections",
        work: Work::Visit(Visit::Drain),
        unit: Unit::PerSecond,
        aim: Aim::at_least(8.0),
    },
];

/// Whether any of these measures is wanted.
pub(crate) fn wanted(options: &Options) -> bool {
    MEASURES.iter().any(|measure| options.wants(measure.name))
}

/// Runs those that are wanted.
pub(crate) async fn measure(options: &Options, dir: &Path, servers: &[Server]) -> anyhow::Result<Vec<Row>> {
    let wanted = MEASURES.iter().filter(|measure| options.wants(measure.name));
    let wanted: Vec<_> = wanted.collect();
    for server in servers.iter().filter(|server| server.lmtp.is_some()) {
        prepare(server, &wanted).await?;
    }
    let mut rows = Vec::new();
    for measure in wanted {
        rows.push(measure.row(options, dir, servers).await?);
    }
    Ok(rows)
}

/// Fills the mailboxes that are read. The first log-in of an account, and the first message of a mailbox, cost more than
/// those that follow: they are done here.
async fn prepare(server: &Server, wanted: &[&Measure]) -> anyhow::Result<()> {
    let wants = |is_it: fn(&Work) -> bool| wanted.iter().any(|measure| is_it(&measure.work));
    if wants(|work| matches!(work, Work::Deliver { .. })) {
        fill(server, DELIVERED, 1, 1, MESSAGE_OCTETS).await?;
    }
    if wants(|work| matches!(work, Work::Visit(Visit::Poll | Visit::Retrieve))) {
        fill(server, READ, 1, MESSAGES, MESSAGE_OCTETS).await?;
        visits(server, READ, Visit::Poll, None).await?;
    }
    if wants(|work| matches!(work, Work::Visit(Visit::Drain))) {
        fill(server, DRAINED, 1, MESSAGES, MESSAGE_OCTETS).await?;
        visits(server, DRAINED, Visit::Drain, None).await?;
    }
    Ok(())
}

impl Measure {
    async fn row(&self, options: &Options, dir: &Path, servers: &[Server]) -> anyhow::Result<Row> {
        let mut samples = vec![Vec::new(); servers.len()];
        for round in 0..options.rounds {
            for (server, samples) in servers.iter().zip(&mut samples) {
                settle(servers).await?;
                let sample = self.sample(options, dir, server).await;
                let sample = sample.with_context(|| format!("{} of {:?}", self.name, server.kind))?;
                crate::progress(&format!(
                    "{} {:?} round {}: {:.0}, server {:.3} ms, load tool {:.3} ms",
                    self.name,
                    server.kind,
                    round + 1,
                    self.unit.of(&sample),
                    sample.server_ms(),
                    sample.client_ms()
                ));
                samples.push(sample);
            }
        }
        let mut row = Row::new(self.name, self.title, self.unit, self.aim);
        for (server, samples) in servers.iter().zip(&samples) {
            let figure = Figure {
                value: median(samples.iter().map(|sample| self.unit.of(sample))),
                server_ms: Some(median(samples.iter().map(Sample::server_ms))),
                client_ms: Some(median(samples.iter().map(Sample::client_ms))),
            };
            row.set(server.kind, figure);
        }
        Ok(row)
    }

    async fn sample(&self, options: &Options, dir: &Path, server: &Server) -> anyhow::Result<Sample> {
        match (self.work, server.kind) {
            (Work::Deliver { connections, .. }, Kind::Bare) => {
                bare::append_and_sync(dir, connections, options.time)
            }
            (Work::Deliver { connections, chunks }, _) => {
                deliveries(server, connections, chunks, options.time).await
            }
            (Work::Visit(Visit::Drain), kind) => {
                if kind != Kind::Bare {
                    fill(server, DRAINED, 1, MESSAGES, MESSAGE_OCTETS).await?;
                    settle(std::slice::from_ref(server)).await?;
                }
                visits(server, DRAINED, Visit::Drain, None).await
            }
            (Work::Visit(visit), _) => visits(server, READ, visit, Some(options.time)).await,
        }
    }
}

/// Numbers that no other message of this program's life has.
fn next_number() -> u64 {
    thread_local!(static NEXT: Cell<u64> = const { Cell::new(0) });
    NEXT.replace(NEXT.get() + 1)
}

async fn deliveries(
    server: &Server,
    connections: usize,
    chunks: bool,
    time: Duration,
) -> anyhow::Result<Sample> {
    let lmtp = server.lmtp.context("it takes no mail")?;
    let tally = Rc::new(Tally::default());
    let mut clients = Vec::new();
    for first in 0..connections {
        let mut sender = Sender::connect(lmtp, MESSAGE_OCTETS).await?;
        sender.chunks = chunks;
        let tally = Rc::clone(&tally);
        clients.push(async move {
            for account in DELIVERED.cycle().skip(first) {
                sender.deliver(next_number(), &[account]).await?;
                if !tally.count(0) {
                    break;
                }
            }
            Ok(())
        });
    }
    run(&server.family, clients, &tally, Some(time)).await
}

/// Sessions on these accounts: for a time, or else one for each.
async fn visits(
    server: &Server,
    accounts: Range<usize>,
    what: Visit,
    time: Option<Duration>,
) -> anyhow::Result<Sample> {
    let tally = Rc::new(Tally::default());
    let clients = (0..READERS).map(|first| {
        let (tally, accounts, address) = (Rc::clone(&tally), accounts.clone(), server.pop3);
        async move {
            // No two clients share an account: a maildrop has one session at a time.
            for account in rounds(accounts.skip(first).step_by(READERS), time.is_some()) {
                let octets = visit(address, account, what).await?;
                if !tally.count(octets) {
                    break;
                }
            }
            Ok(())
        }
    });
    run(&server.family, clients.collect(), &tally, time).await
}

/// The accounts once, or again and again.
fn rounds(accounts: impl Iterator<Item = usize> + Clone, again: bool) -> impl Iterator<Item = usize> {
    let times = if again { usize::MAX } else { 1 };
    std::iter::repeat_n(accounts, times).flatten()
}

/// Puts `messages` messages into each account's mailbox, each message into `together` of them at once.
pub(crate) async fn fill(
    server: &Server,
    accounts: Range<usize>,
    together: usize,
    messages: usize,
    octets: usize,
) -> anyhow::Result<()> {
    let lmtp = server.lmtp.context("it takes no mail")?;
    let accounts: Vec<usize> = accounts.collect();
    let tally = Rc::new(Tally::default());
    let mut clients = Vec::new();
    // Each account has one sender: two that bring a mailbox its first message at once can crash Dovecot 2.3.
    let share = accounts.len().div_ceil(FILLERS).next_multiple_of(together);
    for accounts in accounts.chunks(share) {
        let (accounts, mut sender) = (accounts.to_vec(), Sender::connect(lmtp, octets).await?);
        clients.push(async move {
            for _ in 0..messages {
                for accounts in accounts.chunks(together) {
                    sender.deliver(next_number(), accounts).await?;
                }
            }
            Ok(())
        });
    }
    run(&server.family, clients, &tally, None).await?;
    Ok(())
}
