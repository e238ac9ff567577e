//! The membership actor: it says that this process lives, sees who else does, and ends the logs of those that don't.
//!
//! **Owns** the heartbeat, the lease that rests on it, and the view of who is there. **Guarantees** that a process whose
//! heartbeat does not come through stops to speak for its log long before another may end it, and that of every dead
//! process somebody ends the log: it is sealed, and what its changes lack is made up for. **Never** waits for the fast path,
//! listeners or sessions: it has a thread of its own.

mod lease;
mod name;
mod roster;
mod sightings;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::OptionFuture;
use mailhorn_events::Generation;
use mailhorn_ports::{GroupName, MemberRow, Membership, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::events::{Members, Threads};
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::own_thread::{self, ThreadEnded};
use crate::supervisor::{Exit, ExitGuard, Supervise};

pub use lease::{LEASE, LogLease};
pub use name::{FormerLives, NAME_WATCH, NameError, check_name};
use roster::Roster;
pub use roster::{ADOPT_PAUSE_MAX, ADOPT_PAUSE_MIN, FORMER_SILENCE};
pub use sightings::{Seen, Sighting, Sightings};

/// How often a process says that it lives, and looks who else does.
pub const BEAT_PAUSE: Duration = Duration::from_secs(2);
/// How long a heartbeat, or a look at the others, may take: the next one may fare better before the lease is over.
pub const BEAT_DEADLINE: Duration = Duration::from_secs(4);
/// A process whose heartbeat stands still for so long is taken for dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What a membership needs.
#[derive(Debug)]
pub struct MembershipDeps {
    /// The log of this process, which has begun.
    pub generation: Generation,
    /// The node's name.
    pub node: String,
    /// Who had that name before ([`check_name`]).
    pub former: FormerLives,
    /// Who is there.
    pub membership: Arc<dyn Membership>,
    /// The lease on this process's log.
    pub lease: Arc<LogLease>,
    /// Where the view of who is there goes.
    pub members: watch::Sender<Arc<Members>>,
    /// Where it shows when whom it saw.
    pub sightings: Sightings,
    /// The groups that run here ([`EventBus::local_groups`](crate::events::EventBus::local_groups)).
    pub groups: watch::Receiver<Vec<GroupName>>,
    /// Where it works.
    pub threads: Threads,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The kind's counters.
    pub kind: Arc<Kind>,
}

/// A membership that can be started.
#[derive(Debug, Clone)]
pub struct MembershipParts {
    deps: Arc<MembershipDeps>,
    stop: watch::Receiver<bool>,
}

impl MembershipParts {
    /// The membership ends well when the sender of `stop` says so, which is after the log has finished; and as in a crash
    /// when it is dropped.
    #[must_use]
    pub fn new(deps: MembershipDeps, stop: watch::Receiver<bool>) -> Self {
        let deps = Arc::new(deps);
        Self { deps, stop }
    }

    /// What the supervisor is to do for it: it starts the actor on the arbiter of the supervisor.
    #[must_use]
    pub fn supervise(self) -> Supervise {
        Supervise {
            child: "membership".into(),
            kind: Arc::clone(&self.deps.kind),
            essential: true,
            factory: Box::new(move |guard| {
                MembershipActor::new(self.clone(), guard).start();
            }),
        }
    }
}

/// The actor. It ends with [`Exit::LeaseLost`] when the lease is over.
#[derive(Debug)]
pub struct MembershipActor {
    parts: MembershipParts,
    guard: Option<ExitGuard>,
    _alive: Alive,
}

impl MembershipActor {
    /// A membership that reports to its supervisor through `guard`.
    #[must_use]
    pub fn new(parts: MembershipParts, guard: ExitGuard) -> Self {
        let alive = parts.deps.kind.born();
        Self {
            parts,
            guard: Some(guard),
            _alive: alive,
        }
    }

    fn ended(&mut self, how: Exit, ctx: &mut Context<Self>) {
        if let Some(mut guard) = self.guard.take() {
            guard.ends(how);
        }
        ctx.stop();
    }
}

impl Actor for MembershipActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let parts = self.parts.clone();
        match parts.deps.threads {
            Threads::Own => {
                let work = move || work(parts);
                if let Err(error) = own_thread::start("membership".into(), ctx.address().recipient(), work) {
                    tracing::error!(%error, "the thread of the membership could not be started");
                    ctx.stop();
                }
            }
            Threads::Shared => ctx.wait(
                work(parts)
                    .into_actor(self)
                    .map(|how, act, ctx| act.ended(how, ctx)),
            ),
        }
    }
}

impl Handler<ThreadEnded> for MembershipActor {
    type Result = ();

    fn handle(&mut self, message: ThreadEnded, ctx: &mut Self::Context) {
        self.ended(message.how, ctx);
    }
}

type Adoption = Pin<Box<dyn Future<Output = (Generation, Result<u64, StoreError>)>>>;

struct Worker {
    deps: Arc<MembershipDeps>,
    beat: u64,
    roster: Roster,
    /// The log that is being ended: it may take a while, and no heartbeat waits for it.
    adoption: Option<Adoption>,
}

/// Says that the process lives until it is stopped or its lease is over.
async fn work(parts: MembershipParts) -> Exit {
    let MembershipParts { deps, mut stop } = parts;
    let mut groups = deps.groups.clone();
    let mut worker = Worker::new(Arc::clone(&deps));
    let mut beat_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            stopped = stop.changed() => {
                if stopped.is_ok() && *stop.borrow() {
                    worker.leave().await;
                }
                return Exit::Stopped;
            }
            // What runs here is known to the others with the next heartbeat, which is now.
            Ok(()) = groups.changed() => beat_at = Instant::now(),
            () = tokio::time::sleep_until(beat_at) => {
                beat_at = Instant::now() + BEAT_PAUSE;
                worker.turn().await;
                if deps.lease.is_over() {
                    tracing::error!(
                        lease_s = LEASE.as_secs(),
                        "no heartbeat came through for the time of the lease: this log has ended"
                    );
                    return Exit::LeaseLost;
                }
            }
            Some((log, adopted)) = OptionFuture::from(worker.adoption.as_mut()) => worker.adopted(log, adopted),
        }
    }
}

impl Worker {
    fn new(deps: Arc<MembershipDeps>) -> Self {
        Self {
            beat: 0,
            roster: Roster::new(deps.generation, deps.node.clone(), deps.former.clone()),
            adoption: None,
            deps,
        }
    }

    /// A heartbeat, and a look at the others. Only who is certain to live itself says of others that they don't.
    async fn turn(&mut self) {
        let begun = Instant::now();
        if self.deps.lease.is_over() {
            return;
        }
        match self.beat_and_look().await {
            Ok(_) if self.deps.lease.is_over() => {}
            Ok((rows, asked)) => self.saw(rows, asked),
            Err(error) => tracing::warn!(%error, "the store does not answer who is there"),
        }
        self.deps.kind.handled(1, begun);
    }

    async fn beat_and_look(&mut self) -> Result<(Vec<MemberRow>, Instant), StoreError> {
        self.beat += 1;
        let groups: BTreeSet<GroupName> = self.deps.groups.borrow().iter().cloned().collect();
        let row = MemberRow {
            generation: self.deps.generation,
            node: self.deps.node.clone(),
            beat: self.beat,
            groups,
        };
        let (membership, lease) = (&self.deps.membership, &self.deps.lease);
        let sent = lease.now();
        in_time(membership.beat(&row)).await?;
        lease.renewed(sent);
        let asked = Instant::now();
        Ok((in_time(membership.members()).await?, asked))
    }

    fn saw(&mut self, rows: Vec<MemberRow>, asked: Instant) {
        let now = Instant::now();
        let members = self.roster.saw(rows, asked, now);
        self.deps.sightings.saw(self.roster.sightings(&members));
        let alive = i64::try_from(members.alive().len()).unwrap_or(i64::MAX);
        self.deps.metrics.members_alive.set(alive);
        let next = self.roster.next_adoption(&members, asked, now);
        let members = Arc::new(members);
        if **self.deps.members.borrow() != *members {
            self.deps.members.send_replace(members);
        }
        if let Some(log) = next.filter(|_| self.adoption.is_none()) {
            tracing::warn!(%log, "the process that writes a log is gone: the log is ended");
            self.deps.sightings.adopting(Some(log));
            let membership = Arc::clone(&self.deps.membership);
            self.adoption = Some(Box::pin(async move { (log, membership.adopt(log).await) }));
        }
    }

    fn adopted(&mut self, log: Generation, adopted: Result<u64, StoreError>) {
        self.adoption = None;
        self.deps.sightings.adopting(None);
        match adopted {
            Ok(end) => {
                tracing::info!(%log, end, "a log was adopted: its changes are whole and its listeners go on with it");
                self.deps.metrics.adoptions.inc();
                self.roster.adopted(log);
            }
            Err(error) => {
                let pause = self.roster.adoption_failed(log, Instant::now());
                tracing::warn!(%error, %log, pause_s = pause.as_secs(), "a log can't be adopted now");
            }
        }
    }

    /// The log has finished: nothing more is appended, and nobody needs to end it.
    async fn leave(&self) {
        self.deps.lease.give_up();
        if let Err(error) = in_time(self.deps.membership.leave(self.deps.generation)).await {
            tracing::warn!(%error, "other nodes were not told that this one ends: they find out");
        }
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable("it did not answer in time".into());
    timeout(BEAT_DEADLINE, call).await.map_err(late)?
}
