//! Probes of the fast path: whoever gets one echoes it, and the asking node says who did and how fast.
//!
//! A probe takes the way of every event: through the exchange, the transport, and the exchange of the other node. So it
//! shows what an event would meet there. What it lost is not sent again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mailhorn_events::Generation;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long echoes are waited for.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// Probes that wait for their echoes at once at most, and as many that wait to be sent.
pub const PROBES_MAX: usize = 16;

/// What a node made of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// The log of its process.
    pub generation: Generation,
    /// The node's name.
    pub node: String,
    /// How long its echo took; `None`: it did not come in time.
    pub round_trip: Option<Duration>,
}

/// Why nobody was probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// As many as may be are under way.
    #[error("too many probes are under way: try again")]
    TooMany,
    /// The exchange ended before it had an answer.
    #[error("the exchange with other nodes ended meanwhile")]
    Ended,
}

/// A probe to be sent.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: u64,
    pub(super) told: oneshot::Sender<Vec<Echo>>,
}

/// The way to an exchange for whoever wants to probe. Clones share it.
#[derive(Debug, Clone)]
pub struct Prober {
    asks: mpsc::Sender<Ask>,
    /// Counts in this process, so that an exchange that was started anew takes no late echo for another's.
    last_id: Arc<AtomicU64>,
}

impl Prober {
    pub(super) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, queue) = mpsc::channel(PROBES_MAX);
        let last_id = Arc::default();
        (Self { asks, last_id }, queue)
    }

    /// Sends a probe to every other member. Returns when all have echoed, at the latest after [`PROBE_PATIENCE`].
    ///
    /// # Errors
    ///
    /// [`ProbeError`].
    pub async fn probe(&self) -> Result<Vec<Echo>, ProbeError> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let (told, echoes) = oneshot::channel();
        let sent = self.asks.try_send(Ask { id, told });
        sent.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProbeError::TooMany,
            mpsc::error::TrySendError::Closed(_) => ProbeError::Ended,
        })?;
        echoes.await.map_err(|_| ProbeError::Ended)
    }
}

#[derive(Debug)]
struct Pending {
    told: oneshot::Sender<Vec<Echo>>,
    until: Instant,
    /// When it was sent to whom, and what became of it.
    sent: Vec<(Instant, Echo)>,
}

/// Probes whose echoes are waited for. Plain.
#[derive(Debug, Default)]
pub(super) struct Probes(BTreeMap<u64, Pending>);

impl Probes {
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < PROBES_MAX
    }

    /// A probe went out to these, to each at its time.
    pub(super) fn sent(&mut self, ask: Ask, to: Vec<(Instant, Generation, String)>, now: Instant) {
        let echo = |(at, generation, node)| {
            let round_trip = None;
            let echo = Echo {
                generation,
                node,
                round_trip,
            };
            (at, echo)
        };
        let pending = Pending {
            told: ask.told,
            until: now + PROBE_PATIENCE,
            sent: to.into_iter().map(echo).collect(),
        };
        self.0.insert(ask.id, pending);
        self.tell(ask.id, false);
    }

    /// An echo came in. One that came twice counts once, one that is late not at all.
    pub(super) fn echoed(&mut self, id: u64, by: Generation, now: Instant) {
        let sent = self.0.get_mut(&id).map(|pending| &mut pending.sent);
        let awaited = sent
            .into_iter()
            .flatten()
            .filter(|(_, echo)| echo.generation == by);
        for (at, echo) in awaited {
            echo.round_trip.get_or_insert_with(|| now.duration_since(*at));
        }
        self.tell(id, false);
    }

    /// When the next one's time is over.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.values().map(|pending| pending.until).min()
    }

    /// Whoever has not echoed by now is not waited for.
    pub(super) fn expire(&mut self, now: Instant) {
        let over = self.0.iter().filter(|(_, pending)| pending.until <= now);
        let over: Vec<u64> = over.map(|(id, _)| *id).collect();
        for id in over {
            self.tell(id, true);
        }
    }

    fn tell(&mut self, id: u64, is_over: bool) {
        let is_complete = |pending: &Pending| pending.sent.iter().all(|(_, echo)| echo.round_trip.is_some());
        if self
            .0
            .get(&id)
            .is_some_and(|pending| is_over || is_complete(pending))
            && let Some(pending) = self.0.remove(&id)
        {
            let echoes = pending.sent.into_iter().map(|(_, echo)| echo).collect();
            // Whoever asked may have gone.
            pending.told.send(echoes).ok();
        }
    }
}
