//! The maildrop locks of this node between nodes: taken, held for longer, and given back.
//!
//! They keep a session out while one of another node has the maildrop. No promise rests on them, so a service that is
//! away keeps nobody out: then the lock of this node alone counts, which is said once and counted each time.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join_all;
use mailhorn_events::MailboxId;
use mailhorn_ports::{Held, Ids, LockToken, MaildropLocks, Uptime};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::claim::{Claim, Heard, News, Service, Standing};
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::supervisor::ExitGuard;

/// How long a lock is held without being renewed, unless set otherwise: what a node that dies keeps its users out for.
pub const LOCK_TTL: Duration = Duration::from_secs(30);
/// How long the lock service may take to answer, unless set otherwise; later, it counts as away.
pub const LOCK_ANSWER_MAX: Duration = Duration::from_millis(100);
/// How soon a session that waits for another node's lock looks again.
pub const LOCK_LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Locks that wait to be given back at most; a further one is left to its time.
pub const LOCK_RELEASES_MAX: usize = 4_096;
/// Locks that are renewed at once at most.
pub const LOCK_RENEWALS_AT_ONCE_MAX: usize = 32;

/// Looks at the held locks within one lock's time.
const ROUNDS_IN_TTL: u32 = 30;

/// The times of locks between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterLockOptions {
    /// How long a lock is held without being renewed, at least 1 ms. It is renewed after a third of it.
    pub ttl: Duration,
    /// How long the service may take to answer.
    pub answer_max: Duration,
}

impl Default for ClusterLockOptions {
    fn default() -> Self {
        Self {
            ttl: LOCK_TTL,
            answer_max: LOCK_ANSWER_MAX,
        }
    }
}

/// The locks between nodes that sessions of this node have. Clones are handles on the same locks.
#[derive(Clone)]
pub struct ClusterLocks(Arc<Inner>);

struct Inner {
    service: Arc<dyn MaildropLocks>,
    options: ClusterLockOptions,
    uptime: Arc<dyn Uptime>,
    ids: Ids,
    metrics: Arc<Metrics>,
    state: Mutex<Service>,
    held: Mutex<HashMap<LockToken, Arc<HeldLock>>>,
    releases: mpsc::Sender<Release>,
    queue: tokio::sync::Mutex<mpsc::Receiver<Release>>,
}

/// A lock that a session has.
#[derive(Debug)]
struct HeldLock {
    mailbox: MailboxId,
    token: LockToken,
    claim: Mutex<Claim>,
}

/// A lock to be given back; by then it is free anyway.
#[derive(Debug)]
struct Release {
    mailbox: MailboxId,
    token: LockToken,
    until: Duration,
}

impl fmt::Debug for ClusterLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterLocks")
            .field("held", &self.0.held.lock().len())
            .finish_non_exhaustive()
    }
}

impl ClusterLocks {
    /// Locks kept by `service`, none of them held yet. A [`LockKeeper`] has to run for them.
    #[must_use]
    pub fn new(
        service: Arc<dyn MaildropLocks>,
        options: ClusterLockOptions,
        uptime: Arc<dyn Uptime>,
        ids: Ids,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (releases, queue) = mpsc::channel(LOCK_RELEASES_MAX);
        Self(Arc::new(Inner {
            service,
            options,
            uptime,
            ids,
            metrics,
            state: Mutex::default(),
            held: Mutex::default(),
            releases,
            queue: tokio::sync::Mutex::new(queue),
        }))
    }

    /// Takes the lock of a mailbox for a session that has this node's, looking again until `until` while another node
    /// has it; `None` when it still has. Where the service doesn't answer, the session goes on without.
    pub(super) async fn take(&self, mailbox: MailboxId, until: Instant) -> Option<ClusterLock> {
        let held = Arc::new(HeldLock {
            mailbox,
            token: LockToken(self.0.ids.random_octets()),
            claim: Mutex::new(Claim::new()),
        });
        loop {
            let (asked, heard) = self.ask(&held).await;
            if heard == Heard::Others {
                let now = Instant::now();
                if now >= until {
                    return None;
                }
                sleep_until((now + LOCK_LOOK_PAUSE).min(until)).await;
                continue;
            }
            if heard == Heard::Nothing {
                self.0.metrics.maildrop_locks_local_only.inc();
            }
            held.claim.lock().heard(asked, self.0.options.ttl, heard);
            self.0.held.lock().insert(held.token, Arc::clone(&held));
            let locks = self.clone();
            return Some(ClusterLock { locks, held });
        }
    }

    /// Holds a lock from now on, if it can be had. When that was asked, and what was heard.
    async fn ask(&self, held: &HeldLock) -> (Duration, Heard) {
        let Inner {
            service,
            options,
            uptime,
            ..
        } = &*self.0;
        let asked = uptime.now();
        let answer = timeout(
            options.answer_max,
            service.hold(held.mailbox, held.token, options.ttl),
        );
        let heard = match answer.await {
            Ok(Ok(Held::Mine)) => Heard::Mine,
            Ok(Ok(Held::Others)) => Heard::Others,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a maildrop lock can't be asked for");
                Heard::Nothing
            }
            Err(_) => Heard::Nothing,
        };
        self.service_heard(asked, heard != Heard::Nothing);
        (asked, heard)
    }

    fn service_heard(&self, asked: Duration, has_answered: bool) {
        let news = self.0.state.lock().heard(asked, has_answered);
        match news {
            Some(News::Away) => {
                self.0.metrics.maildrop_locks_away.set(1);
                tracing::warn!("the service of maildrop locks is away: sessions lock on this node only");
            }
            Some(News::Back) => {
                self.0.metrics.maildrop_locks_away.set(0);
                tracing::info!("the service of maildrop locks is back");
            }
            None => {}
        }
    }

    /// Whether the service is away, so that the lock of this node alone counts.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.0.state.lock().away_since().is_some()
    }

    /// Asks for a held lock once more, and notes what was heard.
    async fn hold_on(&self, held: &HeldLock) {
        let (asked, heard) = self.ask(held).await;
        let is_news = held.claim.lock().heard(asked, self.0.options.ttl, heard);
        if is_news {
            self.lost(held);
        }
    }

    fn lost(&self, held: &HeldLock) {
        self.0.metrics.maildrop_locks_lost.inc();
        tracing::warn!(mailbox = %held.mailbox, "a maildrop's lock was lost to another node: its session here removes nothing");
    }

    /// From now on the lock is not held. `None` where that was said before.
    fn end(&self, held: &HeldLock) -> Option<Release> {
        self.0.held.lock().remove(&held.token)?;
        Some(Release {
            mailbox: held.mailbox,
            token: held.token,
            until: self.0.uptime.now().saturating_add(self.0.options.ttl),
        })
    }

    /// Gives a lock back. Whether the service said so.
    async fn give_back(&self, release: &Release) -> bool {
        let asked = self.0.uptime.now();
        let released = self.0.service.release(release.mailbox, release.token);
        let is_released = matches!(timeout(self.0.options.answer_max, released).await, Ok(Ok(())));
        self.service_heard(asked, is_released);
        is_released
    }

    fn give_back_later(&self, release: Release) {
        if self.0.releases.try_send(release).is_err() {
            self.0.metrics.limit("maildrop_lock_releases_max");
        }
    }

    /// Renews held locks and gives back what sessions left, for ever.
    async fn keep(&self, kind: &Kind) {
        let mut queue = self.0.queue.lock().await;
        let mut left = VecDeque::new();
        let mut rounds = interval((self.0.options.ttl / ROUNDS_IN_TTL).max(Duration::from_millis(1)));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                begun = rounds.tick() => {
                    self.give_back_all(&mut left).await;
                    let renewed = self.renew_due().await;
                    if renewed > 0 {
                        kind.handled(renewed, begun);
                    }
                }
                Some(release) = queue.recv() => self.take_up(release, &mut left).await,
            }
        }
    }

    /// Gives a lock back at once, unless others wait already: the service is away, and the next round tries.
    async fn take_up(&self, release: Release, left: &mut VecDeque<Release>) {
        if left.len() >= LOCK_RELEASES_MAX {
            left.pop_front();
            self.0.metrics.limit("maildrop_lock_releases_max");
        }
        let is_first = left.is_empty();
        left.push_back(release);
        if is_first {
            self.give_back_all(left).await;
        }
    }

    async fn give_back_all(&self, left: &mut VecDeque<Release>) {
        while let Some(release) = left.front() {
            let is_over = release.until <= self.0.uptime.now();
            if !is_over && !self.give_back(release).await {
                return;
            }
            left.pop_front();
        }
    }

    /// Renews what is due. A service that is away is asked for the first of them in each round, and for no more.
    async fn renew_due(&self) -> u64 {
        let now = self.0.uptime.now();
        let is_due = |held: &&Arc<HeldLock>| held.claim.lock().is_due(now, self.0.options.ttl);
        let due: Vec<_> = self.0.held.lock().values().filter(is_due).cloned().collect();
        let mut renewed = 0u64;
        for some in due.chunks(LOCK_RENEWALS_AT_ONCE_MAX) {
            join_all(some.iter().map(|held| self.renew(held))).await;
            renewed = renewed.saturating_add(u64::try_from(some.len()).unwrap_or(u64::MAX));
            if self.is_away() {
                break;
            }
        }
        renewed
    }

    async fn renew(&self, held: &HeldLock) {
        self.hold_on(held).await;
        // Its session ended meanwhile, and what it gave back may have been taken again by this very call.
        if !self.0.held.lock().contains_key(&held.token) {
            self.give_back_later(Release {
                mailbox: held.mailbox,
                token: held.token,
                until: self.0.uptime.now().saturating_add(self.0.options.ttl),
            });
        }
    }
}

/// A session's lock between nodes. Dropping it gives it back a little later; nothing waits for that.
#[derive(Debug)]
pub(super) struct ClusterLock {
    locks: ClusterLocks,
    held: Arc<HeldLock>,
}

impl ClusterLock {
    /// Whether its session may remove mail. Asks the service, and so takes what vanished again.
    pub(super) async fn check(&self) -> bool {
        let locks = &self.locks;
        locks.hold_on(&self.held).await;
        let now = locks.0.uptime.now();
        let away_since = locks.0.state.lock().away_since();
        let standing = self.held.claim.lock().standing(now, away_since);
        match standing {
            Standing::Held => true,
            Standing::LocalOnly => {
                locks.0.metrics.maildrop_locks_local_only.inc();
                true
            }
            Standing::Lost => {
                let is_news = self.held.claim.lock().lose();
                if is_news {
                    locks.lost(&self.held);
                }
                false
            }
        }
    }

    /// Gives it back now; where the service doesn't answer in time, that is tried again until it is free anyway.
    pub(super) async fn release(self) {
        let Some(release) = self.locks.end(&self.held) else {
            return;
        };
        if !self.locks.give_back(&release).await {
            self.locks.give_back_later(release);
        }
    }
}

impl Drop for ClusterLock {
    fn drop(&mut self) {
        if let Some(release) = self.locks.end(&self.held) {
            self.locks.give_back_later(release);
        }
    }
}

/// The actor that renews the locks between nodes and gives back those of sessions that ended without a good-bye.
///
/// **Owns** nothing: the locks are their sessions'. **Guarantees** that a lock is asked for again before its time is over,
/// that one which vanished is set again, and that one which nobody has any more is given back. **Never** ends by itself.
#[derive(Debug)]
pub struct LockKeeper {
    locks: ClusterLocks,
    kind: Arc<Kind>,
    _guard: ExitGuard,
    _alive: Alive,
}

impl LockKeeper {
    /// The keeper of `locks`; one for a node.
    #[must_use]
    pub fn new(locks: ClusterLocks, kind: Arc<Kind>, guard: ExitGuard) -> Self {
        let alive = kind.born();
        Self {
            locks,
            kind,
            _guard: guard,
            _alive: alive,
        }
    }
}

impl Actor for LockKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (locks, kind) = (self.locks.clone(), Arc::clone(&self.kind));
        let keep = async move { locks.keep(&kind).await };
        ctx.wait(keep.into_actor(self));
    }
}
