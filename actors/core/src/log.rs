//! The log: every change of this process becomes durable here, in one line, in groups.
//!
//! **Owns** the numbers of this process's log and the thread that commits. **Guarantees** that a change is answered
//! *done* only after it is durable and every mailbox actor has been told, that records have no holes, and that a
//! commit whose outcome is unknown is repeated, the same group under the same number, before anything comes behind
//! it. **Never** decides whether mail is taken, and appends nothing once the lease on it is over: another process may have
//! ended it.
//!
//! The front ([`LogHandle`]) is a bounded channel that sessions put changes into; whatever has gathered while one
//! group was on its way to the disk is the next group, so one sync serves many.

mod front;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use mailhorn_events::{EventId, Generation, Stamp};
use mailhorn_ports::{
    Change, CommitError, Committed, Group, Ids, Lease, MailStore, Retention, StoreError, Verdict,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::events::{Dispatch, SyncWait, Waits};
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::own_thread::{self, ThreadEnded};
use crate::supervisor::{Exit, ExitGuard};

use front::{Answer, Request, Waiting};
pub use front::{LogHandle, LogQueue, Outcome, queue};

/// Octets of content in one group at most (about: the change that passes it is still taken).
pub const GROUP_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// How long a note that no longer counts may wait for a group to travel with.
pub const FORGET_PAUSE: Duration = Duration::from_millis(100);
/// The first pause before an unknown commit is repeated; it doubles.
pub const REPEAT_PAUSE_MIN: Duration = Duration::from_millis(20);
/// Changes that wait for the log at most, unless set otherwise.
pub const QUEUE_CHANGES_MAX_DEFAULT: usize = 4_096;
/// Changes in one group at most, unless set otherwise.
pub const GROUP_CHANGES_MAX_DEFAULT: usize = 256;
/// How often housekeeping gets a turn, unless set otherwise.
pub const MAINTAIN_PAUSE_DEFAULT: Duration = Duration::from_secs(5);
/// The longest pause before an unknown commit is repeated.
pub const REPEAT_PAUSE_MAX: Duration = Duration::from_secs(2);
/// The pause between two steps of housekeeping while there is more to do.
pub const MAINTAIN_STEP_PAUSE: Duration = Duration::from_millis(5);

/// How the log behaves.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// How long a change may wait for its outcome before its session calls it unknown.
    pub append_deadline: Duration,
    /// Changes that wait at most. Beyond, a change is refused at once: the sender tries later.
    pub queue_changes_max: usize,
    /// Changes in one group at most.
    pub group_changes_max: usize,
    /// How often housekeeping gets a turn when it has said that there is nothing more to do.
    pub maintain_pause: Duration,
    /// How long records are kept at most (`events.retention`).
    pub retention: Duration,
    /// How long a reply waits for listeners of mode `sync` (`events.sync_timeout`).
    pub sync_timeout: Duration,
    /// How long notes of deliveries count (`smtp.duplicate_window`).
    pub duplicate_window: Duration,
}

/// What the log's line of work needs.
#[derive(Debug, Clone)]
pub struct LogDeps {
    /// Where changes become durable.
    pub store: Arc<dyn MailStore>,
    /// The way to whoever is told of them.
    pub dispatch: Dispatch,
    /// Time.
    pub ids: Ids,
    /// Whose log this is.
    pub generation: Generation,
    /// Whether it still is. The store looks at it too, after an append.
    pub lease: Arc<dyn Lease>,
    /// Limits and windows.
    pub options: LogOptions,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The kind's counters.
    pub kind: Arc<Kind>,
}

/// The numbers of a log. Plain: what is decided here is tested without a store.
#[derive(Debug)]
struct Line {
    generation: Generation,
    next: u64,
    /// A group whose outcome is unknown, and how often it was tried.
    unknown: Option<(Group, u32)>,
}

impl Line {
    fn group(&self, changes: Vec<Change>, now: Stamp, window: Duration) -> Group {
        Group {
            generation: self.generation,
            first: self.next,
            now,
            notes_since: before(now, window),
            changes,
        }
    }

    fn committed(&mut self, committed: &Committed) {
        let made = u64::try_from(committed.records.len()).unwrap_or(u64::MAX);
        self.next = self.next.saturating_add(made);
        self.unknown = None;
    }

    fn outcome_unknown(&mut self, group: Group) {
        let tries = self.unknown.as_ref().map_or(0, |(_, tries)| *tries);
        self.unknown = Some((group, tries.saturating_add(1)));
    }

    fn repeat_pause(&self) -> Option<Duration> {
        let (_, tries) = self.unknown.as_ref()?;
        let doublings = tries.saturating_sub(1).min(16);
        Some(
            REPEAT_PAUSE_MIN
                .saturating_mul(2u32.saturating_pow(doublings))
                .min(REPEAT_PAUSE_MAX),
        )
    }
}

fn before(now: Stamp, window: Duration) -> Stamp {
    let micros = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
    Stamp(now.0.saturating_sub(micros))
}

/// Why a log can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Nothing more is appended under this generation: another process may have ended the log. What waited was answered.
    #[error("the lease on the log was lost")]
    LeaseLost,
    /// The log's end can't be read, or the store can't be closed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Works the log off until it is to finish ([`LogHandle::finish`]) or every handle is gone, then closes the store. Runs
/// on a thread of its own in a node ([`Log`]), and as a task in tests and the simulation.
///
/// # Errors
///
/// [`LogError`].
pub async fn work(deps: &LogDeps, queue: &LogQueue) -> Result<(), LogError> {
    let mut receiver = queue.0.lock().await;
    let end = deps.store.log_end(deps.generation).await?;
    let mut worker = Worker {
        deps,
        line: Line {
            generation: deps.generation,
            next: end.saturating_add(1),
            unknown: None,
        },
        waiting: Vec::new(),
        finishing: None,
        maintain_at: Instant::now() + deps.options.maintain_pause,
        is_lost: false,
    };
    deps.metrics.log_open.set(1);
    loop {
        if worker.is_lost {
            worker.end(&mut receiver);
            return Err(LogError::LeaseLost);
        } else if worker.line.unknown.is_some() {
            worker.repeat(&mut receiver).await;
        } else if let Some(told) = worker.finishing.take_if(|_| worker.waiting.is_empty()) {
            deps.store.close().await?;
            // Whoever asked may be gone; the store is closed all the same.
            if told.send(()).is_err() {
                tracing::debug!("nobody waits for the log to finish");
            }
            return Ok(());
        } else if worker.gather(&mut receiver).await {
            worker.commit().await;
        } else if worker.finishing.is_none() {
            return Ok(deps.store.close().await?);
        }
    }
}

struct Worker<'a> {
    deps: &'a LogDeps,
    line: Line,
    waiting: Vec<Waiting>,
    finishing: Option<oneshot::Sender<()>>,
    maintain_at: Instant,
    /// The lease is over, by what it says itself or by what the store says.
    is_lost: bool,
}

impl Worker<'_> {
    /// Fills `waiting` with the next group. False when there is none: nobody is left to ask, or the log finishes.
    async fn gather(&mut self, receiver: &mut mpsc::Receiver<Request>) -> bool {
        let mut octets = 0usize;
        // Notes may have waited for a group whose outcome was unknown.
        while self.waiting.is_empty() && self.finishing.is_none() {
            tokio::select! {
                biased;
                request = receiver.recv() => match request {
                    Some(request) => octets = self.take(request),
                    None => return false,
                },
                () = tokio::time::sleep_until(self.maintain_at) => self.maintain().await,
            }
        }
        // Notes alone don't hurry: they wait a moment for a change that pays for the sync.
        let deadline = Instant::now() + FORGET_PAUSE;
        while self.only_notes() {
            match tokio::time::timeout_at(deadline, receiver.recv()).await {
                Ok(Some(request)) => octets = octets.saturating_add(self.take(request)),
                Ok(None) | Err(_) => break,
            }
        }
        while self.has_room() && octets < GROUP_OCTETS_MAX {
            match receiver.try_recv() {
                Ok(request) => octets = octets.saturating_add(self.take(request)),
                Err(_) => break,
            }
        }
        !self.waiting.is_empty()
    }

    /// Takes a request up; gives the octets that it adds to the group.
    fn take(&mut self, request: Request) -> usize {
        let waiting = match request {
            Request::Append(waiting) => waiting,
            Request::Finish(told) => {
                self.finishing = Some(told);
                return 0;
            }
        };
        self.deps.kind.taken(1);
        let octets = match &waiting.change {
            Change::Deliver(delivery) => delivery.octets.tail.len(),
            Change::Expunge(_) | Change::Announce(_) | Change::ForgetNotes(_) | Change::KeepNotes(_) => 0,
        };
        self.waiting.push(waiting);
        octets
    }

    fn has_room(&self) -> bool {
        self.finishing.is_none() && self.waiting.len() < self.deps.options.group_changes_max
    }

    fn only_notes(&self) -> bool {
        self.has_room()
            && self
                .waiting
                .iter()
                .all(|waiting| matches!(waiting.change, Change::ForgetNotes(_)))
    }

    async fn commit(&mut self) {
        let begun = Instant::now();
        let requests = std::mem::take(&mut self.waiting);
        let count = u64::try_from(requests.len()).unwrap_or(u64::MAX);
        let mut changes = Vec::with_capacity(requests.len());
        let mut replies = Vec::with_capacity(requests.len());
        for waiting in requests {
            replies.push((name(&waiting.change), waiting.reply));
            changes.push(waiting.change);
        }
        self.deps.metrics.commit_changes.observe(count as f64);
        let group = self
            .line
            .group(changes, self.deps.ids.now(), self.deps.options.duplicate_window);
        match self.append(&group).await {
            Ok(committed) => {
                let (verdicts, mut waits) = self.done(committed);
                for ((name, reply), verdict) in replies.into_iter().zip(verdicts) {
                    let wait = name.and_then(|name| waits.remove(&name));
                    answer(reply, Outcome::Done(verdict), wait);
                }
            }
            Err(error) => {
                self.failed(group, &error);
                for (_, reply) in replies {
                    answer(reply, Outcome::Unknown, None);
                }
            }
        }
        self.deps.metrics.stored("commit", begun);
        self.deps.kind.handled(count, begun);
        if !self.is_lost && Instant::now() >= self.maintain_at {
            self.maintain().await;
        }
    }

    /// Appends a group, if the log is still this process's.
    async fn append(&self, group: &Group) -> Result<Committed, CommitError> {
        if !self.deps.lease.holds() {
            return Err(CommitError::LeaseLost);
        }
        self.deps.store.commit(group).await
    }

    /// Nothing comes any more: what waits was never tried.
    fn end(&mut self, receiver: &mut mpsc::Receiver<Request>) {
        receiver.close();
        while let Ok(request) = receiver.try_recv() {
            if let Request::Append(waiting) = request {
                self.deps.kind.taken(1);
                answer(waiting.reply, Outcome::Refused, None);
            }
        }
    }

    /// Nothing may come behind a group whose outcome is unknown: it is repeated until it is known, and what arrives
    /// meanwhile is refused.
    async fn repeat(&mut self, receiver: &mut mpsc::Receiver<Request>) {
        let Some(pause) = self.line.repeat_pause() else {
            return;
        };
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => break,
                request = receiver.recv() => match request {
                    Some(request) => self.put_off(request),
                    None => {
                        tokio::time::sleep_until(until).await;
                        break;
                    }
                },
            }
        }
        let Some((group, _)) = self.line.unknown.clone() else {
            return;
        };
        match self.append(&group).await {
            Ok(committed) => {
                tracing::info!(
                    first = group.first,
                    changes = group.changes.len(),
                    "a commit with an unknown outcome is done now"
                );
                self.done(committed);
            }
            Err(error) => self.failed(group, &error),
        }
    }

    /// Takes in what must not be lost though it can't be appended now, and refuses the rest. Notes to keep are of replies
    /// that have left already, perhaps of the very change whose outcome is unknown.
    fn put_off(&mut self, request: Request) {
        let has_room = self.waiting.len() < self.deps.options.group_changes_max;
        match request {
            Request::Append(Waiting {
                change: Change::KeepNotes(_),
                ..
            }) if has_room => {
                self.take(request);
            }
            Request::Finish(told) => self.finishing = Some(told),
            Request::Append(waiting) => {
                self.deps.kind.taken(1);
                answer(waiting.reply, Outcome::Refused, None);
            }
        }
    }

    /// Mailboxes are told before the change is answered, so whoever hears of the answer and asks a mailbox sees the
    /// change. Listeners are woken; those of mode `sync` are for the replies to wait for.
    fn done(&mut self, committed: Committed) -> (Vec<Verdict>, Waits) {
        let first = self.line.next;
        self.line.committed(&committed);
        self.deps.metrics.log_open.set(1);
        let Committed { verdicts, records } = committed;
        let waits = self.deps.dispatch.committed(self.deps.generation, first, records);
        (verdicts, waits)
    }

    fn failed(&mut self, group: Group, error: &CommitError) {
        if *error == CommitError::LeaseLost {
            self.is_lost = true;
            self.deps.metrics.log_open.set(0);
            tracing::error!(
                first = self.line.next,
                "the lease on the log was lost: nothing more is appended to it"
            );
            return;
        }
        self.line.outcome_unknown(group);
        self.deps.metrics.commits_unknown.inc();
        self.deps.metrics.log_open.set(0);
        tracing::error!(%error, first = self.line.next, "mail is answered 451 until this commit is repeated with success");
    }

    async fn maintain(&mut self) {
        let now = self.deps.ids.now();
        let retention = Retention {
            records_before: before(now, self.deps.options.retention),
            groups_before: before(now, self.deps.options.retention),
            notes_since: before(now, self.deps.options.duplicate_window),
        };
        let more = match self.deps.store.maintain(retention).await {
            Ok(maintained) => {
                tracing::debug!(?maintained, "housekeeping");
                maintained.more
            }
            Err(error) => {
                tracing::warn!(%error, "housekeeping of the store was put off");
                false
            }
        };
        // One step between two groups: deliveries wait for a step at most, never for all of it.
        let pause = if more {
            MAINTAIN_STEP_PAUSE
        } else {
            self.deps.options.maintain_pause
        };
        self.maintain_at = Instant::now() + pause;
    }
}

fn answer(reply: Option<oneshot::Sender<Answer>>, outcome: Outcome, wait: Option<SyncWait>) {
    if let Some(reply) = reply {
        // A session that went away doesn't read its answer; the change stands all the same.
        drop(reply.send(Answer { outcome, wait }));
    }
}

/// The name that a change's record has.
fn name(change: &Change) -> Option<EventId> {
    match change {
        Change::Deliver(delivery) => Some(delivery.event),
        Change::Expunge(expunge) => Some(expunge.event),
        Change::Announce(announce) => Some(announce.event),
        Change::ForgetNotes(_) | Change::KeepNotes(_) => None,
    }
}

/// The log's actor: it keeps the thread, and ends when the thread does, so that the supervisor starts another.
#[derive(Debug)]
pub struct Log {
    deps: LogDeps,
    queue: LogQueue,
    guard: ExitGuard,
    _alive: Alive,
}

impl Log {
    /// A log that works `queue` off.
    #[must_use]
    pub fn new(deps: LogDeps, queue: LogQueue, guard: ExitGuard) -> Self {
        let alive = deps.kind.born();
        Self {
            deps,
            queue,
            guard,
            _alive: alive,
        }
    }
}

impl Actor for Log {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (deps, queue) = (self.deps.clone(), self.queue.clone());
        let work = async move {
            match work(&deps, &queue).await {
                Ok(()) => Exit::Stopped,
                Err(LogError::LeaseLost) => Exit::LeaseLost,
                Err(LogError::Store(error)) => {
                    tracing::error!(%error, "the log can't go on");
                    Exit::Failed
                }
            }
        };
        if let Err(error) = own_thread::start("log".into(), ctx.address().recipient(), || work) {
            tracing::error!(%error, "the log's thread could not be started");
            ctx.stop();
        }
    }
}

impl Handler<ThreadEnded> for Log {
    type Result = ();

    fn handle(&mut self, message: ThreadEnded, ctx: &mut Self::Context) {
        self.guard.ends(message.how);
        ctx.stop();
    }
}
