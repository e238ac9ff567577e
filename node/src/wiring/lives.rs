//! The lives of a node within one process.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use mailhorn_events::Generation;
use tokio::time::sleep;

use super::{Ended, NodeHandle};

/// The pause before a life that could not begin after a lost lease is tried again; it doubles.
const START_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const START_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Runs lives of a node one after the other: one that lost the lease on its log is followed by another, in the same
/// process and with a log of its own. Returns when one ends as it was asked to. `start` is told the logs that have ended.
///
/// # Errors
///
/// When the first life can't begin, or one did not end well.
pub async fn live(
    shutdown: impl Future<Output = ()> + Clone,
    start: impl AsyncFn(&BTreeSet<Generation>) -> anyhow::Result<NodeHandle>,
) -> anyhow::Result<()> {
    let mut ended = BTreeSet::new();
    let mut node = start(&ended).await?;
    while let Ended::LeaseLost(log) = node.finished().await? {
        ended.insert(log);
        let started = tokio::select! {
            biased;
            () = shutdown.clone() => return Ok(()),
            started = start_again(&start, &ended) => started,
        };
        node = started;
    }
    Ok(())
}

/// What took the lease away may last, and the store with it: it is tried until it is over.
async fn start_again(
    start: &impl AsyncFn(&BTreeSet<Generation>) -> anyhow::Result<NodeHandle>,
    ended: &BTreeSet<Generation>,
) -> NodeHandle {
    let mut pause = START_PAUSE_MIN;
    loop {
        match start(ended).await {
            Ok(node) => return node,
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    pause_s = pause.as_secs(),
                    "the node can't go on yet"
                );
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(START_PAUSE_MAX);
    }
}
