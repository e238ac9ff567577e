//! The event system's benchmark: events through groups beside reading the log alone, and deliveries with and without
//! listeners, on the embedded store, in one process and one run. What the rows mean stands in BENCHMARKS.md.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures real time, and prints its table"
)]

mod rig;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rig::Rig;

/// What is measured, unless the command line says otherwise.
struct Options {
    events: u64,
    seconds: u64,
    rounds: usize,
}

fn main() -> anyhow::Result<()> {
    let options = parse(std::env::args().skip(1))?;
    actix_rt::System::new().block_on(run(options))
}

fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let mut options = Options {
        events: 200_000,
        seconds: 4,
        rounds: 3,
    };
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--events" => options.events = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            _ => anyhow::bail!("unknown option {argument}; there are --events, --seconds and --rounds"),
        }
    }
    Ok(options)
}

async fn run(options: Options) -> anyhow::Result<()> {
    println!("| Measure | Median of {} rounds |", options.rounds);
    println!("| --- | --- |");
    let mut through = Vec::new();
    for _ in 0..options.rounds {
        through.push(through_groups(options.events).await?);
    }
    let rate = |pick: fn(&Through) -> f64| median(through.iter().map(pick).collect());
    let bare = rate(|round| round.bare);
    println!("| bare limit: reading the log and decoding it, events/s | {bare:.0} |");
    for (name, pick) in [
        (
            "1 group behind, events/s",
            (|round| round.one) as fn(&Through) -> f64,
        ),
        ("5 groups behind, events/s each", |round| round.five),
        ("1 group that keeps up with 64 announcers, events/s", |round| {
            round.live_one
        }),
        (
            "5 groups that keep up with 64 announcers, events/s each",
            |round| round.live_five,
        ),
    ] {
        let rate = rate(pick);
        println!("| {name} | {rate:.0} ({:.2} of the bare limit) |", rate / bare);
    }
    for senders in [8, 64] {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            without.push(deliveries(senders, 0, options.seconds).await?);
            with.push(deliveries(senders, 5, options.seconds).await?);
        }
        let (without, with) = (median(without), median(with));
        println!("| deliveries/s at {senders} senders, no listener | {without:.0} |");
        println!(
            "| deliveries/s at {senders} senders, 5 groups | {with:.0} ({:+.1} %) |",
            (with / without - 1.0) * 100.0
        );
    }
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

struct Through {
    bare: f64,
    one: f64,
    five: f64,
    live_one: f64,
    live_five: f64,
}

fn per_second(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

async fn through_groups(events: u64) -> anyhow::Result<Through> {
    let rig = Rig::start().await?;
    rig.make_known(6).await?;
    rig.announce(events).await?;
    let rig = rig.again().await?;
    let begun = Instant::now();
    anyhow::ensure!(rig.read_log().await? >= events, "the log has them all");
    let bare = per_second(events, begun.elapsed());
    let one = behind(&rig, &[0], events).await?;
    let five = behind(&rig, &[1, 2, 3, 4, 5], events).await?;
    rig.end().await;
    let live_one = live(1, events / 4).await?;
    let live_five = live(5, events / 4).await?;
    Ok(Through {
        bare,
        one,
        five,
        live_one,
        live_five,
    })
}

/// Groups that have everything before them.
async fn behind(rig: &Rig, groups: &[usize], events: u64) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let counters = rig.register(groups).await?;
    for counter in counters {
        counter.wait(events).await;
    }
    Ok(per_second(events, begun.elapsed()))
}

/// Groups that are there while events come.
async fn live(groups: usize, events: u64) -> anyhow::Result<f64> {
    let rig = Rig::start().await?;
    let counters = rig.register(&(0..groups).collect::<Vec<_>>()).await?;
    let begun = Instant::now();
    rig.announce(events).await?;
    for counter in counters {
        counter.wait(events).await;
    }
    let rate = per_second(events, begun.elapsed());
    rig.end().await;
    Ok(rate)
}

/// Deliveries of 10 KiB, each to one of a hundred accounts.
async fn deliveries(senders: usize, groups: usize, seconds: u64) -> anyhow::Result<f64> {
    let rig = Rig::start().await?;
    rig.register(&(0..groups).collect::<Vec<_>>()).await?;
    let delivered = rig.deliver(senders, Duration::from_secs(seconds)).await?;
    rig.end().await;
    Ok(delivered)
}
