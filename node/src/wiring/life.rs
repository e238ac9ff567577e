//! How a node ends: well, in the other order than it began; or at once, when its log is no longer its own.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_web::dev::ServerHandle;
use mailhorn_core::admission::Admission;
use mailhorn_core::drain::Drain;
use mailhorn_core::log::LogHandle;
use mailhorn_core::observe::Kinds;
use mailhorn_core::supervisor::{Fatal, Supervisor};
use mailhorn_events::Generation;
use tokio::time::{Instant, sleep, timeout};

use super::Ended;
use super::cluster::Joined;
use super::events::Listening;
use crate::admin::{Readiness, State};

/// How often the end of the last sessions is looked for.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// What sessions get beyond the deadline to say good-bye.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// A node that runs, as whoever ends it has it.
pub(super) struct Life {
    pub(super) generation: Generation,
    pub(super) log: LogHandle,
    pub(super) kinds: Arc<Kinds>,
    pub(super) listening: Listening,
    /// `None`: the node is in no cluster.
    pub(super) joined: Option<Joined>,
    pub(super) admissions: Vec<Admission>,
    pub(super) arbiters: Vec<Arbiter>,
    pub(super) drain: Drain,
    pub(super) readiness: Readiness,
    pub(super) stop_admin: ServerHandle,
    /// Kept for as long as its children may need it.
    pub(super) _supervisor: Addr<Supervisor>,
    /// `node.shutdown_deadline`.
    pub(super) deadline: Duration,
}

impl Life {
    /// Ends it; `why` is `None` when it was asked to end.
    pub(super) async fn end(self, why: Option<Fatal>) -> anyhow::Result<Ended> {
        self.readiness.set(State::Draining);
        match why {
            Some(Fatal::LeaseLost) => Ok(self.abandon().await),
            Some(Fatal::FailsTooOften(_)) | None => self.finish(why).await,
        }
    }

    async fn finish(mut self, why: Option<Fatal>) -> anyhow::Result<Ended> {
        tracing::info!(
            deadline_s = self.deadline.as_secs(),
            "the node ends: transactions may finish"
        );
        self.wait_for_sessions(self.deadline).await;
        // After the sessions, whose replies may wait for listeners, and before the log, which closes the store: until
        // then listeners may announce (the quota's do), letters are parked and cursors are saved.
        self.listening.finish().await;
        let durable = self.log.finish().await;
        // After the log, for from then on another node may take it that this log has ended. One that did not end well is
        // left to whoever adopts it.
        if let Some(joined) = self.joined.take().filter(|_| durable) {
            joined.leave().await;
        }
        self.stop_admin.stop(true).await;
        self.stop_threads();
        match (why, durable) {
            (Some(why), _) => Err(anyhow::Error::new(why)),
            (None, false) => {
                anyhow::bail!("the store could not be closed: the next start reads its journal again")
            }
            (None, true) => {
                tracing::info!("the node has ended, everything is durable");
                Ok(Ended::Stopped)
            }
        }
    }

    /// Nothing that is still under way can be promised: sessions are told so and end, and nothing is waited for that may
    /// wait for the store. Whatever this life left half done is made whole by whoever ends its log.
    async fn abandon(self) -> Ended {
        tracing::error!(log = %self.generation, "the lease on the log was lost: this life of the node ends, and another begins");
        self.listening.bus.drop_all();
        self.wait_for_sessions(Duration::ZERO).await;
        let closed = timeout(DRAIN_GRACE, self.log.finish()).await;
        if closed != Ok(true) {
            tracing::debug!("the log has ended without its store");
        }
        self.stop_admin.stop(false).await;
        // Groups ask the store, whose connections go with this life.
        let ended = |life: &Self| life.kinds.acceptor.alive() + life.kinds.group.alive() == 0;
        self.wait_for(ended, DRAIN_GRACE).await;
        self.stop_threads();
        Ended::LeaseLost(self.generation)
    }

    /// Begins the drain and returns when the last session has ended, or the deadline is past.
    async fn wait_for_sessions(&self, deadline: Duration) {
        self.drain.begin(deadline);
        let ended = |life: &Self| {
            life.admissions
                .iter()
                .all(|admission| admission.connections() == 0)
        };
        if !self.wait_for(ended, deadline + DRAIN_GRACE).await {
            tracing::warn!("sessions did not end in time: what they had not finished was not promised");
        }
    }

    /// Whether it came to this in time.
    async fn wait_for(&self, is_so: impl Fn(&Self) -> bool, time: Duration) -> bool {
        let last = Instant::now() + time;
        while !is_so(self) {
            if Instant::now() >= last {
                return false;
            }
            sleep(DRAIN_LOOK).await;
        }
        true
    }

    fn stop_threads(&self) {
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        self.listening.stop();
    }
}
