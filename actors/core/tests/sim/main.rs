//! Several nodes in one process, on one store, with faults: everything follows from one seed.
//!
//! A seed draws the cluster, what its clients do, and what goes wrong: commits whose outcome is unknown or that are done after
//! their caller gave up, a store that is away for all or for one, or slow, crashes, clean stops, nodes that are held up until
//! their log was ended and then wake, clocks apart, listeners that fail, panic and wait, a way between nodes that loses,
//! doubles, delays, reorders and is cut, a registry that is away or forgets. Then everything is mended, and within a bounded
//! time the cluster must come to rest in a state that checkers outside the nodes hold against what was promised.
//!
//! `MAILHORN_SIM_SECONDS=110` is the budget (10 unless set); `MAILHORN_SIM_SEED=7` runs one seed and says what it drew.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a simulation that can't go on has failed, and says so"
)]

mod checks;
mod clients;
mod cluster;
mod gate;
mod gated;
mod listeners;
mod swarm;

use std::time::Duration;

use cluster::Cluster;
use mailhorn_core::events::contract::paused;
use swarm::Swarm;

/// What seeds went through, for whoever asks whether they went through anything.
#[derive(Debug, Clone, Copy, Default)]
struct Ran {
    /// Events in the logs.
    events: u64,
    /// Lives that ended with their lease.
    lost: u64,
    /// Logs that were ended by others than their writers.
    adopted: u64,
}

/// Runs one seed.
fn run(seed: u64) -> Ran {
    let swarm = Swarm::draw(seed);
    if std::env::var_os("MAILHORN_SIM_SEED").is_some() {
        println!("{swarm:#?}");
        let lines = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false);
        // Where one seed is run twice in a process the first one's lines go on.
        lines.without_time().try_init().ok();
    }
    let (told, ran) = std::sync::mpsc::sync_channel(1);
    paused(async move {
        let cluster = Cluster::start(swarm).await;
        cluster.live().await;
        let at_rest = cluster.come_to_rest().await;
        let events = checks::check(&at_rest).await;
        let ran = Ran {
            events,
            lost: at_rest.lost,
            adopted: at_rest.adopted,
        };
        told.send(ran).unwrap();
    });
    ran.recv().unwrap()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the budget is of the wall clock")]
fn whatever_goes_wrong_nothing_promised_is_lost_and_everybody_who_listens_hears_of_it() {
    if let Some(seed) = number("MAILHORN_SIM_SEED") {
        run(seed);
        return;
    }
    let budget = Duration::from_secs(number("MAILHORN_SIM_SECONDS").unwrap_or(10));
    let first = number("MAILHORN_SIM_FIRST").unwrap_or(1);
    let begun = std::time::Instant::now();
    let next = std::sync::atomic::AtomicU64::new(first);
    let sum = std::sync::Mutex::new(Ran::default());
    std::thread::scope(|scope| {
        let worker = || {
            while begun.elapsed() < budget {
                let seed = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let ran = std::panic::catch_unwind(|| run(seed));
                match ran {
                    Ok(ran) => {
                        let mut sum = sum.lock().unwrap();
                        sum.events += ran.events;
                        sum.lost += ran.lost;
                        sum.adopted += ran.adopted;
                    }
                    Err(panic) => {
                        println!("failed: MAILHORN_SIM_SEED={seed} cargo test -p mailhorn-core --test sim");
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let (seeds, sum) = (next.into_inner() - first, sum.into_inner().unwrap());
    println!(
        "simulation: {seeds} seeds from {first} on, {} events in their logs, {} lives lost their lease, {} logs were adopted",
        sum.events, sum.lost, sum.adopted
    );
}
