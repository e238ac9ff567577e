//! The end of a node, as its sessions see it: first they are asked to end, then they have to.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How far the node's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining { until: Instant },
}

/// The one who ends the node.
#[derive(Debug)]
pub struct Drain(watch::Sender<Phase>);

/// What a session or an acceptor holds.
#[derive(Debug, Clone)]
pub struct DrainWatch(watch::Receiver<Phase>);

/// A drain and what watches it.
#[must_use]
pub fn drain() -> (Drain, DrainWatch) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Drain(sender), DrainWatch(receiver))
}

impl Drain {
    /// From now on nothing new begins; transactions have `deadline` to end.
    pub fn begin(&self, deadline: Duration) {
        self.0.send_replace(Phase::Draining {
            until: Instant::now() + deadline,
        });
    }
}

impl DrainWatch {
    /// Whether the end has begun.
    #[must_use]
    pub fn begun(&self) -> bool {
        *self.0.borrow() != Phase::Serving
    }

    /// Returns when the end has begun. If the one who would begin it is gone, it has.
    pub async fn wait(&mut self) {
        drop(self.0.wait_for(|phase| *phase != Phase::Serving).await);
    }

    /// Returns when the time for transactions to end is over.
    pub async fn deadline(&mut self) {
        let phase = self
            .0
            .wait_for(|phase| *phase != Phase::Serving)
            .await
            .map(|phase| *phase);
        if let Ok(Phase::Draining { until }) = phase {
            tokio::time::sleep_until(until).await;
        }
    }
}
