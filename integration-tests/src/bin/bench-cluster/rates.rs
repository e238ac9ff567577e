//! Deliveries and polls beside the bare driver; how soon another node hears of a delivery.

use std::io::BufRead as _;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use mailhorn_core::membership::BEAT_PAUSE;
use uuid::Uuid;

use crate::bare::Bare;
use crate::family::Family;
use crate::load::{MESSAGE_OCTETS, MESSAGES, Sample, Sender, Tally, Visit, run, user, visit};
use crate::nodes::Nodes;
use crate::{Options, median, percentile, progress};

/// Clients at a time.
const CLIENTS: usize = 64;
/// Accounts that deliveries go to.
const DELIVERED: usize = 100;
/// Accounts that are polled, with [`MESSAGES`] each.
const POLLED: std::ops::Range<usize> = 0..32;
/// Deliveries of which another node's listener is waited for.
const EVENTS: usize = 500;

fn ratio(name: &str, ours: Vec<Sample>, bare: Vec<Sample>) -> String {
    let rate = |samples: &[Sample]| median(samples.iter().map(Sample::per_second).collect());
    let ratios = ours
        .iter()
        .zip(&bare)
        .map(|(ours, bare)| ours.per_second() / bare.per_second());
    let node = median(ours.iter().map(Sample::server_ms).collect());
    format!(
        "{name}: {:.0}/s, bare driver {:.0}/s, ratio {:.2}; node's CPU {node:.3} ms",
        rate(&ours),
        rate(&bare),
        median(ratios.collect())
    )
}

pub(crate) async fn deliveries(options: &Options, nodes: &Nodes, bare: &Bare) -> anyhow::Result<String> {
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    let server = Family::of(nodes.nodes[0].pid());
    for round in 0..options.rounds {
        let tally = Rc::new(Tally::default());
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let (mut sender, tally) = (
                Sender::connect(nodes.nodes[0].lmtp(), MESSAGE_OCTETS).await?,
                Rc::clone(&tally),
            );
            clients.push(async move {
                // Room for sixteen million of each client, and twelve digits for all of them.
                let mut number = ((round * CLIENTS + client) as u64) << 24;
                loop {
                    number += 1;
                    sender
                        .deliver(
                            number,
                            &[POLLED.end + (number as usize + client) % (DELIVERED - POLLED.end)],
                        )
                        .await?;
                    if !tally.count(MESSAGE_OCTETS as u64) {
                        return Ok(());
                    }
                }
            });
        }
        ours.push(run(&server, clients, &tally, Some(options.time)).await?);
        bares.push(bare_deliveries(options, bare, round).await?);
        progress(&format!("deliveries, round {round}"));
    }
    Ok(ratio("deliveries of 10 KiB at 64 connections", ours, bares))
}

async fn bare_deliveries(options: &Options, bare: &Bare, round: usize) -> anyhow::Result<Sample> {
    let tally = Tally::default();
    let (octets, log) = (
        Bytes::from(vec![b'x'; MESSAGE_OCTETS]),
        Uuid::from_u128(round as u128 + 1),
    );
    let began = Instant::now();
    let workers = (0..CLIENTS as u64).map(|client| {
        let (tally, octets) = (&tally, &octets);
        async move {
            let mut number = client;
            while began.elapsed() < options.time {
                let mailbox = Uuid::from_u128(u128::from(number % 68) + 1_000);
                bare.deliver(((round as u64) << 32) + number, mailbox, log, octets)
                    .await?;
                tally.count(MESSAGE_OCTETS as u64);
                number += CLIENTS as u64;
            }
            Ok::<_, anyhow::Error>(())
        }
    });
    futures_util::future::try_join_all(workers).await?;
    Ok(sample(&tally, began))
}

fn sample(tally: &Tally, began: Instant) -> Sample {
    Sample {
        done: tally.done.get(),
        octets: tally.octets.get(),
        elapsed: began.elapsed(),
        server: Duration::ZERO,
        client: Duration::ZERO,
    }
}

/// The mailbox that the bare side polls where a node polls an account's.
fn polled_bare(account: usize) -> Uuid {
    Uuid::from_u128(account as u128 + 2_000)
}

pub(crate) async fn polls(options: &Options, nodes: &Nodes, bare: &Bare) -> anyhow::Result<String> {
    let mut sender = Sender::connect(nodes.nodes[0].lmtp(), MESSAGE_OCTETS).await?;
    let octets = Bytes::from(vec![b'x'; MESSAGE_OCTETS]);
    for account in POLLED {
        for message in 0..MESSAGES {
            let number = (account * MESSAGES + message) as u64;
            sender.deliver(number, &[account]).await?;
            // As many for the bare side, in a mailbox that nothing else goes to.
            bare.deliver((1 << 40) + number, polled_bare(account), Uuid::nil(), &octets)
                .await?;
        }
    }
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    let server = Family::of(nodes.nodes[1].pid());
    for round in 0..options.rounds {
        let tally = Rc::new(Tally::default());
        let clients = POLLED.map(|account| {
            let (address, tally) = (nodes.nodes[1].pop3(), Rc::clone(&tally));
            async move {
                loop {
                    visit(address, account, Visit::Poll).await?;
                    if !tally.count(0) {
                        return Ok(());
                    }
                }
            }
        });
        ours.push(run(&server, clients.collect(), &tally, Some(options.time)).await?);
        let (tally, began) = (Tally::default(), Instant::now());
        let workers = POLLED.map(|account| {
            let tally = &tally;
            async move {
                let mailbox = polled_bare(account);
                while began.elapsed() < options.time {
                    bare.poll(&user(account), mailbox).await?;
                    tally.count(0);
                }
                Ok::<_, anyhow::Error>(())
            }
        });
        futures_util::future::try_join_all(workers).await?;
        bares.push(sample(&tally, began));
        progress(&format!("polls, round {round}"));
    }
    Ok(ratio("POP3 polls of 20 messages at 32 clients", ours, bares))
}

/// From the `250` on one node to the line of the live feed on the other.
pub(crate) async fn events(nodes: &Nodes) -> anyhow::Result<String> {
    let account = POLLED.end;
    let heard = feed(nodes, account)?;
    let mut sender = Sender::connect(nodes.nodes[0].lmtp(), 1_024).await?;
    let mut millis = Vec::new();
    for number in 0..EVENTS as u64 {
        sender.deliver(1_000_000 + number, &[account]).await?;
        let answered = Instant::now();
        let at = heard
            .recv_timeout(Duration::from_secs(10))
            .context("the other node heard nothing")?;
        millis.push(at.saturating_duration_since(answered).as_secs_f64() * 1e3);
    }
    let (p50, p99) = (median(millis.clone()), percentile(millis, 99));
    Ok(format!(
        "from a 250 on one node to a listener on the other: p50 {p50:.2} ms, p99 {p99:.2} ms ({EVENTS} deliveries one by one)"
    ))
}

/// When each event of an account came in on the second node.
fn feed(nodes: &Nodes, account: usize) -> anyhow::Result<mpsc::Receiver<Instant>> {
    let mut lines = nodes.feed(1, account)?;
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
            if line.starts_with("event: Added") && sender.send(Instant::now()).is_err() {
                return;
            }
            line.clear();
        }
    });
    // Until each node has seen the other: one that it doesn't know is sent nothing.
    std::thread::sleep(3 * BEAT_PAUSE);
    Ok(heard)
}
