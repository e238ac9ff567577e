//! The listener actor of a group: shows it the events of the logs that it follows, at least once each.
//!
//! **Owns** the group's cursors, its retries and what it has parked, on this node. **Guarantees** that a cursor passes an
//! event only after the listener had it or the store keeps it (parked, dead), and that events of one mailbox and log come in
//! order, those aside that were bad. **Never** holds back a delivery, another listener, or a log: the log is its queue, and
//! what it has not taken up waits there.

mod handling;
mod reading;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::stream::{FuturesUnordered, StreamExt};
use mailhorn_events::{EventId, Generation, Happened};
use mailhorn_ports::{GroupName, Letter, MailStore, Mode, Scope, StoreError};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::attempt::handles;
use super::call::{CallDeps, Ended, opened};
use super::figures::GroupFigures;
use super::line::Line;
use super::members::Members;
use super::schedule::Schedule;
use super::standing::{ParkingLot, STOPPED_PAUSE_MAX, Standing};
use super::status::{GroupStatus, LogStatus, StatusCell};
use super::sync_waits::SyncWaits;
use super::tail::Tail;
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::own_thread::{self, ThreadEnded};
use crate::supervisor::{Exit, ExitGuard};

/// Records that are read at a time.
const READ_RECORDS_MAX: usize = 256;
/// Events that wait in a group at most: with more no record is read.
pub const WAITING_EVENTS_MAX: usize = 4_096;
/// How often cursors are saved. After a crash a group sees again what it was shown since.
pub const CURSOR_PAUSE: Duration = Duration::from_millis(200);
/// A group that is not in mode `sync` takes up what has come at once after a rest, and then at most so often: to be woken at
/// every commit would take a part of the machine that deliveries need.
pub const GATHER_PAUSE: Duration = Duration::from_millis(5);
/// How often a log that another process writes is looked at, if nothing says that there is something new.
pub const FOREIGN_POLL_PAUSE: Duration = Duration::from_secs(1);
/// The same for a log whose writer is no member: it has ended, or is that of a command, which writes a moment and is gone.
const ENDED_POLL_PAUSE: Duration = Duration::from_secs(60);
/// Records by which a listener of mode `sync` may lag before replies no longer wait for it.
const SYNC_LAG_RECORDS_MAX: u64 = 1_024;
/// Parked events with which a group that is stopped for their number parks no more.
pub const PARKED_PROBED_MAX: usize = 1_000;
/// How long calls that are under way may take at a clean stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How often the group says that it is still registered.
const REGISTER_PAUSE: Duration = Duration::from_secs(600);
/// A rebuild reads a whole store; a limit all the same.
const REBUILD_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// Where groups work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Each on a thread of its own: a listener that blocks or spins holds back itself alone.
    Own,
    /// On the actor's arbiter: in tests and in the simulation, where there is one thread and its time stands still.
    Shared,
}

/// How a group's actor is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Not at all.
    No,
    /// Calls that are under way end, cursors are saved.
    Clean,
    /// As in a crash.
    Now,
}

/// Why a dead letter was not taken up again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedeliverError {
    /// No listener of this group is registered on this node.
    #[error("no listener of the group {0} is registered on this node")]
    NotRegistered(GroupName),
    /// There is no such letter.
    #[error("there is no dead letter {0}")]
    NotFound(EventId),
    /// What it holds can't be read by this release, or was never in the log's reach.
    #[error("the dead letter can't be delivered: {0}")]
    Unreadable(String),
    /// As many wait for this group as may.
    #[error("too many redeliveries wait for this group")]
    TooMany,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Take up a dead letter: as many attempts as at first.
#[derive(Debug)]
pub(super) struct Redeliver {
    pub(super) letter: Letter,
    pub(super) reply: oneshot::Sender<Result<(), RedeliverError>>,
}

/// What a group's actor needs.
#[derive(Debug)]
pub(super) struct GroupDeps {
    pub(super) call: Arc<CallDeps>,
    pub(super) scope: Scope,
    pub(super) threads: Threads,
    pub(super) mail: Arc<dyn MailStore>,
    pub(super) tail: Arc<Tail>,
    pub(super) members: watch::Receiver<Arc<Members>>,
    /// Another process's log may have grown.
    pub(super) nudge: watch::Receiver<u64>,
    pub(super) redeliveries: Mutex<mpsc::Receiver<Redeliver>>,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) status: StatusCell,
    pub(super) sync: Arc<SyncWaits>,
    pub(super) retention: Duration,
    pub(super) metrics: Arc<Metrics>,
    pub(super) figures: GroupFigures,
    pub(super) kind: Arc<Kind>,
}

/// The actor.
#[derive(Debug)]
pub(super) struct Group {
    deps: Arc<GroupDeps>,
    guard: Option<ExitGuard>,
    _alive: Alive,
}

impl Group {
    pub(super) fn new(deps: Arc<GroupDeps>, guard: ExitGuard) -> Self {
        let alive = deps.kind.born();
        Self {
            deps,
            guard: Some(guard),
            _alive: alive,
        }
    }
}

impl Actor for Group {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let deps = Arc::clone(&self.deps);
        match deps.threads {
            Threads::Own => {
                let name = format!("group {}", deps.call.group);
                let work = move || async {
                    work(deps).await;
                    Exit::Stopped
                };
                if let Err(error) = own_thread::start(name, ctx.address().recipient(), work) {
                    tracing::error!(%error, "a group's thread could not be started");
                    ctx.stop();
                }
            }
            // Nothing else runs in this actor then: following the logs is its one task, and it ends with it.
            Threads::Shared => ctx.wait(
                work(deps)
                    .into_actor(self)
                    .map(|(), act, ctx| act.ended(Exit::Stopped, ctx)),
            ),
        }
    }
}

impl Group {
    fn ended(&mut self, how: Exit, ctx: &mut Context<Self>) {
        if let Some(mut guard) = self.guard.take() {
            guard.ends(how);
        }
        ctx.stop();
    }
}

impl Handler<ThreadEnded> for Group {
    type Result = ();

    fn handle(&mut self, message: ThreadEnded, ctx: &mut Self::Context) {
        self.ended(message.how, ctx);
    }
}

type Calls = FuturesUnordered<Pin<Box<dyn Future<Output = Ended>>>>;

/// One log that is followed.
#[derive(Debug)]
struct Followed {
    line: Line,
    /// When a log of another process is looked at again; `None`: when something says so.
    poll_at: Option<Instant>,
    end: u64,
}

struct Worker {
    deps: Arc<GroupDeps>,
    /// The cluster by which it follows what it does.
    members: Arc<Members>,
    lines: BTreeMap<Generation, Followed>,
    schedule: Schedule<Happened>,
    lot: ParkingLot,
    standing: Standing,
    calls: Calls,
    save_at: Instant,
    /// When it took up records of this process's log because there were new ones.
    woken: Instant,
    /// When it is to be found out which logs are followed here; again, where the store did not say.
    follow_at: Option<Instant>,
    /// Something happened since it was shown where the group stands.
    is_shown_late: bool,
    /// When the next parked event is due.
    retry_at: Option<Instant>,
    register_at: Instant,
    /// The oldest unfinished event is older than half the retention, and that was said.
    is_late: bool,
}

/// Follows the logs until it is stopped. At [`Stop::Now`] it waits for nothing: the store that it may be asking may not answer,
/// and goes away with the life of the node.
async fn work(deps: Arc<GroupDeps>) {
    let mut stop = deps.stop.clone();
    let now = async {
        if stop.wait_for(|stop| *stop == Stop::Now).await.is_err() {
            // Nobody is left who could say so.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = now => deps.sync.set_open(false),
        () = follow_logs(Arc::clone(&deps)) => {}
    }
}

async fn follow_logs(deps: Arc<GroupDeps>) {
    let mut redeliveries = deps.redeliveries.lock().await;
    let (mut members, mut nudge, mut stop) = (deps.members.clone(), deps.nudge.clone(), deps.stop.clone());
    let mut head = deps.tail.head();
    let mut worker = Worker::new(Arc::clone(&deps));
    if !worker.open(&mut stop).await {
        return;
    }
    loop {
        worker.read_on().await;
        // What it read while it was told to stop is for whoever goes on.
        if stop.has_changed().unwrap_or(true) {
            break;
        }
        worker.give_out();
        worker.housekeep().await;
        worker.open_to_replies();
        let gathers_until = worker.gathers_until();
        let wake_at = worker.wake_at(gathers_until);
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            Some(ended) = worker.calls.next() => worker.ended(ended),
            Some(redeliver) = redeliveries.recv() => worker.redeliver(redeliver).await,
            Ok(()) = head.changed(), if gathers_until.is_none() => worker.woken = Instant::now(),
            Ok(()) = nudge.changed() => worker.nudged(),
            // It looks at them before it reads.
            Ok(()) = members.changed() => {}
            () = tokio::time::sleep_until(wake_at) => {}
        }
        // Whatever ended meanwhile, before anything is read for it.
        while let Some(Some(ended)) = futures_util::FutureExt::now_or_never(worker.calls.next()) {
            worker.ended(ended);
        }
    }
    worker.finish().await;
}

impl Worker {
    fn new(deps: Arc<GroupDeps>) -> Self {
        let options = deps.call.options;
        let members = Arc::clone(&deps.members.borrow());
        Self {
            deps,
            members,
            lines: BTreeMap::new(),
            schedule: Schedule::new(options.concurrency, options.batch_max),
            lot: ParkingLot::default(),
            standing: Standing::Running,
            calls: FuturesUnordered::new(),
            save_at: Instant::now() + CURSOR_PAUSE,
            woken: Instant::now() - GATHER_PAUSE,
            follow_at: None,
            is_shown_late: true,
            retry_at: None,
            register_at: Instant::now() + REGISTER_PAUSE,
            is_late: false,
        }
    }

    /// Finds out where the group stands. False when it was stopped over that.
    async fn open(&mut self, stop: &mut watch::Receiver<Stop>) -> bool {
        loop {
            if self.follow().await {
                self.show();
                self.deps.sync.set_open(true);
                return true;
            }
            tokio::select! {
                biased;
                _ = stop.changed() => return false,
                () = tokio::time::sleep(STOPPED_PAUSE_MAX) => {}
            }
        }
    }

    async fn redeliver(&mut self, Redeliver { letter, reply }: Redeliver) {
        let answer = self.take_up(letter).await;
        if reply.send(answer).is_err() {
            tracing::debug!("whoever asked for a redelivery has gone");
        }
    }

    async fn take_up(&mut self, letter: Letter) -> Result<(), RedeliverError> {
        let happened = opened(&letter).map_err(RedeliverError::Unreadable)?;
        let (group, store) = (&self.deps.call.group, &self.deps.call.store);
        if handles(&*self.deps.call.listener, happened.event()) {
            let letter = Letter {
                attempts: 0,
                ..letter.clone()
            };
            // Parked before it is no longer dead: a crash between the two delivers it again.
            store.park(group, &letter).await?;
            self.is_shown_late = true;
            self.lot.park(letter, happened, Instant::now());
        }
        Ok(store.remove_dead_letter(group, letter.id).await?)
    }

    /// Saves cursors, and whatever else is done by time.
    async fn housekeep(&mut self) {
        let now = Instant::now();
        if self.follow_at.is_some_and(|at| at <= now) {
            let followed = self.follow().await;
            self.follow_at = (!followed).then(|| now + FOREIGN_POLL_PAUSE);
        }
        if now >= self.save_at {
            self.save().await;
            self.save_at = now + CURSOR_PAUSE;
            self.look_at_age();
            self.show();
            self.is_shown_late = false;
        }
        if now >= self.register_at {
            self.register_at = now + REGISTER_PAUSE;
            let call = &self.deps.call;
            if let Err(error) = call.store.register_group(&call.group, call.ids.now()).await {
                tracing::warn!(group = %call.group, %error, "the store was not told that the group is still there");
            }
        }
    }

    async fn save(&mut self) {
        let call = &self.deps.call;
        for (log, followed) in &mut self.lines {
            if !followed.line.is_unsaved() {
                continue;
            }
            let cursor = followed.line.cursor();
            match call.store.save_cursor(&call.group, *log, &cursor).await {
                Ok(()) => followed.line.saved(),
                // It is saved with the next; until then a crash repeats more.
                Err(error) => tracing::debug!(group = %call.group, %error, "a cursor was not saved"),
            }
        }
    }

    /// Says it once when the oldest unfinished event is so old that half the retention is over.
    fn look_at_age(&mut self) {
        let oldest = self.lines.values().filter_map(|followed| followed.line.oldest());
        let oldest = oldest.min();
        let now = self.deps.call.ids.now();
        let age = oldest.map_or(Duration::ZERO, |oldest| {
            Duration::from_micros(now.0.saturating_sub(oldest.0))
        });
        let is_late = age > self.deps.retention / 2;
        if is_late && !self.is_late {
            tracing::error!(group = %self.deps.call.group, age_s = age.as_secs(), why = self.standing.why(), "a group lags by more than half of events.retention: mend what it waits for, or events fall out of the log");
        }
        self.is_late = is_late;
    }

    /// Until when new records of this process's log are left to gather.
    fn gathers_until(&self) -> Option<Instant> {
        let until = self.woken + GATHER_PAUSE;
        let gathers = self.deps.call.options.mode == Mode::Async && until > Instant::now();
        gathers.then_some(until)
    }

    /// When something is to be done by time. `gathered`: when records that come meanwhile are to be taken up.
    fn wake_at(&self, gathered: Option<Instant>) -> Instant {
        let now = Instant::now();
        let has_room = self.schedule.waiting() < WAITING_EVENTS_MAX;
        let polls = self
            .lines
            .values()
            .filter(|followed| has_room && followed.line.wants().is_some())
            .filter_map(|followed| followed.poll_at);
        // While calls are under way their end is what is waited for.
        let probe = self.standing.due().filter(|_| self.schedule.running() == 0);
        let unsaved = self.lines.values().any(|followed| followed.line.is_unsaved());
        let save = (unsaved || self.is_shown_late || !self.is_idle()).then_some(self.save_at);
        let times = [
            probe,
            self.retry_at,
            save,
            self.follow_at,
            gathered,
            Some(self.register_at),
        ];
        times.into_iter().flatten().chain(polls).min().unwrap_or(now)
    }

    fn is_idle(&self) -> bool {
        self.schedule.running() == 0 && self.schedule.waiting() == 0
    }

    /// Replies wait for a listener of mode `sync` only while it keeps up.
    fn open_to_replies(&self) {
        if self.deps.call.options.mode == Mode::Sync {
            let lag: u64 = self
                .lines
                .values()
                .map(|followed| followed.end.saturating_sub(followed.line.finished()))
                .sum();
            let keeps_up = self.standing == Standing::Running && lag <= SYNC_LAG_RECORDS_MAX;
            self.deps.sync.set_open(keeps_up);
        }
    }

    /// Shows where the group stands to whoever looks.
    fn show(&self) {
        let logs = self.lines.iter().map(|(log, followed)| LogStatus {
            log: *log,
            finished: followed.line.finished(),
            end: followed.end,
        });
        let status = GroupStatus {
            // Nothing else is shown while it does.
            rebuilding: false,
            why: self.standing.why().map(str::to_owned),
            logs: logs.collect(),
            parked: self.lot.len(),
            waiting: self.schedule.waiting(),
            running: self.schedule.running(),
            late: self.is_late,
        };
        self.deps.figures.shown(&status);
        self.deps.status.set(status);
    }

    async fn finish(&mut self) {
        self.deps.sync.set_open(false);
        let deadline = Instant::now() + STOP_GRACE;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.calls.next()).await {
            self.ended(ended);
        }
        self.save().await;
        self.show();
    }
}
