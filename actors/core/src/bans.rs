//! Bans: an address that keeps failing to log in, or whose sessions talk nonsense, is not served for a while.
//!
//! What is decided is plain: when and for how long (`ledger.rs`), who is banned now (`book.rs`). An address is IPv4 or a /64 of
//! IPv6, as for all limits. Whoever accepts a connection asks the memory of this node and nobody else; one actor, the
//! [`BanKeeper`], writes what was made here to the store and reads what was made elsewhere. While the store is away, bans stay
//! where they were made.
//!
//! Trusted networks and proxies are never banned: the first speak for many, the second for all.

mod book;
mod ledger;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use ipnet::IpNet;
use mailhorn_ports::{Ban, BanStore, Ids, StoreError};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use self::book::Book;
pub use self::ledger::BanLimits;
use self::ledger::{Ledger, Offence, after};
use crate::drain::DrainWatch;
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::peers::{counted_as, is_in};
use crate::supervisor::{Exit, ExitGuard};

/// The limit of bans, for the metric.
const ENTRIES_MAX: &str = "bans.max_entries";

/// How bans are made and kept.
#[derive(Debug, Clone)]
pub struct BanOptions {
    /// When, and for how long.
    pub limits: BanLimits,
    /// Networks that are never banned.
    pub spared: Vec<IpNet>,
    /// How often the store is asked for those of other nodes.
    pub refresh: Duration,
    /// This node, for those that it makes.
    pub node: String,
}

/// Why a ban was not made or lifted.
#[derive(Debug, thiserror::Error)]
pub enum BanError {
    /// They are switched off.
    #[error("bans are switched off (bans.enabled)")]
    Off,
    /// Part of it is never banned.
    #[error("{0} is in auth.trusted_networks or net.proxy_networks, which are never banned")]
    Spared(IpNet),
    /// There is none of this network.
    #[error("there is no ban of {0}")]
    NoSuchBan(IpNet),
    /// There is none of this network, but of one around it.
    #[error("there is no ban of {0}; it is banned by {1}")]
    Wider(IpNet, IpNet),
    /// The store is away: nothing was lifted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The bans of a node. Clones share them.
#[derive(Debug, Clone)]
pub struct Bans(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    options: BanOptions,
    store: Arc<dyn BanStore>,
    ids: Ids,
    metrics: Arc<Metrics>,
    book: RwLock<Book>,
    ledger: Mutex<Ledger>,
    /// Something waits to be stored.
    made: Notify,
}

impl Bans {
    /// Nobody is banned by anybody.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Bans that are kept in `store`, none of them known yet. A [`BanKeeper`] has to run for them.
    #[must_use]
    pub fn new(options: BanOptions, store: Arc<dyn BanStore>, ids: Ids, metrics: Arc<Metrics>) -> Self {
        let limits = options.limits;
        Self(Some(Arc::new(Inner {
            options,
            store,
            ids,
            metrics,
            book: RwLock::new(Book::new(limits.entries_max.get())),
            ledger: Mutex::new(Ledger::new(limits)),
            made: Notify::new(),
        })))
    }

    /// Whether connections from there are not served now. Counts it if so.
    #[must_use]
    pub fn refuse(&self, peer: IpAddr) -> bool {
        let Some(inner) = &self.0 else { return false };
        let peer = peer.to_canonical();
        let refused = inner.book.read().in_force(peer, inner.ids.now()).is_some() && !inner.spares(peer);
        if refused {
            inner.metrics.connections_banned.inc();
        }
        refused
    }

    /// A log-in from there failed.
    pub fn failed_log_in(&self, peer: IpAddr) {
        self.offended(peer, Offence::LogIn);
    }

    /// A session from there ended because of too many bad commands.
    pub fn abused(&self, peer: IpAddr) {
        self.offended(peer, Offence::Abuse);
    }

    fn offended(&self, peer: IpAddr, offence: Offence) {
        let Some(inner) = &self.0 else { return };
        let (peer, now) = (peer.to_canonical(), inner.ids.now());
        // What goes on in sessions that were there before the ban makes no other.
        if inner.spares(peer) || inner.book.read().in_force(peer, now).is_some() {
            return;
        }
        let network = counted_as(peer);
        if inner.ledger.lock().note(Instant::now(), network, offence) {
            inner.ban(network, offence);
        }
    }

    /// The bans in force, in the order of their networks; at most as many as are known.
    #[must_use]
    pub fn list(&self) -> Vec<Ban> {
        let Some(inner) = &self.0 else { return Vec::new() };
        inner.book.read().all_in_force(inner.ids.now())
    }

    /// Bans a network for a time, or as long as a first ban lasts, in place of a ban that it has. It holds here from now on,
    /// and is in the store unless that is away: then it comes there later.
    ///
    /// # Errors
    ///
    /// [`BanError::Off`] and [`BanError::Spared`].
    pub async fn add(&self, network: IpNet, time: Option<Duration>, reason: String) -> Result<Ban, BanError> {
        let inner = self.0.as_ref().ok_or(BanError::Off)?;
        let network = network.trunc();
        let spared = inner.options.spared.iter();
        let mut overlaps = spared.filter(|spared| spared.contains(&network) || network.contains(*spared));
        if let Some(spared) = overlaps.next() {
            return Err(BanError::Spared(*spared));
        }
        let since = inner.ids.now();
        let until = after(since, time.unwrap_or(inner.options.limits.time));
        let ban = Ban {
            network,
            reason,
            since,
            until,
            kept_until: until,
            node: inner.options.node.clone(),
        };
        inner.make(ban.clone());
        inner.store_new().await;
        Ok(ban)
    }

    /// Takes a ban back, and what is held against its network. Other nodes of a cluster hear of it at their next look.
    ///
    /// # Errors
    ///
    /// [`BanError`]; nothing was lifted then.
    pub async fn lift(&self, network: IpNet) -> Result<(), BanError> {
        let inner = self.0.as_ref().ok_or(BanError::Off)?;
        let (network, now) = (network.trunc(), inner.ids.now());
        if inner.book.read().remembered(network, now).is_none() {
            let book = inner.book.read();
            let wider = book.in_force(network.addr(), now).map(|ban| ban.network);
            let wider = wider.filter(|wider| wider.contains(&network));
            return Err(wider.map_or(BanError::NoSuchBan(network), |wider| {
                BanError::Wider(network, wider)
            }));
        }
        inner.store.lift_ban(network).await?;
        inner.book.write().lift(network);
        inner.ledger.lock().forget(network);
        inner.count();
        tracing::info!(%network, "a ban was lifted");
        Ok(())
    }

    /// Reads what the store has. While it is away, what is known stays.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let changes = inner.book.read().changes();
        let limit = inner.options.limits.entries_max.get();
        let listed = inner.store.bans(inner.ids.now(), limit).await?;
        inner.book.write().refresh(listed, changes);
        inner.count();
        Ok(())
    }
}

impl Inner {
    fn spares(&self, peer: IpAddr) -> bool {
        is_in(&self.options.spared, peer)
    }

    fn ban(&self, network: IpNet, offence: Offence) {
        let (since, limits) = (self.ids.now(), &self.options.limits);
        let (until, kept_until) = {
            let book = self.book.read();
            limits.ends(since, book.remembered(network, since))
        };
        let reason = limits.reason(offence);
        let seconds = until.0.saturating_sub(since.0) / 1_000_000;
        tracing::warn!(%network, reason, seconds, "an address is banned");
        self.make(Ban {
            network,
            reason,
            since,
            until,
            kept_until,
            node: self.options.node.clone(),
        });
        self.made.notify_one();
    }

    fn make(&self, ban: Ban) {
        self.metrics.bans_made.inc();
        let now = self.ids.now();
        if self.book.write().make(ban, now) {
            self.metrics.limit(ENTRIES_MAX);
        }
        self.count();
    }

    fn count(&self) {
        let in_force = self.book.read().count_in_force(self.ids.now());
        self.metrics.bans.set(i64::try_from(in_force).unwrap_or(i64::MAX));
    }

    /// Brings to the store what it doesn't know, as far as it takes it.
    async fn store_new(&self) {
        let unstored = self.book.read().unstored();
        for ban in unstored {
            match self.store.put_ban(&ban).await {
                Ok(()) => self.book.write().stored(&ban),
                Err(error) => {
                    tracing::warn!(%error, network = %ban.network, "a ban stays on this node: the store does not take it");
                    return;
                }
            }
        }
    }
}

/// Writes and reads bans until the node ends. Owns nothing; one for a node. Restarted, it goes on.
#[derive(Debug)]
pub struct BanKeeper {
    bans: Bans,
    drain: DrainWatch,
    kind: Arc<Kind>,
    guard: ExitGuard,
    _alive: Alive,
}

impl BanKeeper {
    /// The keeper of `bans`.
    #[must_use]
    pub fn new(bans: Bans, drain: DrainWatch, kind: Arc<Kind>, guard: ExitGuard) -> Self {
        let alive = kind.born();
        Self {
            bans,
            drain,
            kind,
            guard,
            _alive: alive,
        }
    }
}

impl Actor for BanKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (bans, drain, kind) = (self.bans.clone(), self.drain.clone(), Arc::clone(&self.kind));
        let keep = async move { keep(&bans, drain, &kind).await };
        ctx.wait(keep.into_actor(self).map(|(), act, ctx| {
            act.guard.ends(Exit::Stopped);
            ctx.stop();
        }));
    }
}

async fn keep(bans: &Bans, mut drain: DrainWatch, kind: &Kind) {
    let Some(inner) = &bans.0 else {
        return drain.wait().await;
    };
    let mut next = Instant::now() + inner.options.refresh;
    loop {
        let is_due = tokio::select! {
            biased;
            // The store ends after the sessions, so there is time for what has just been made.
            () = drain.wait() => return inner.store_new().await,
            () = sleep_until(next) => true,
            () = inner.made.notified() => false,
        };
        let begun = Instant::now();
        inner.store_new().await;
        if is_due {
            if let Err(error) = bans.refresh().await {
                tracing::warn!(%error, "bans of other nodes can't be read");
            }
            next = Instant::now() + inner.options.refresh;
        }
        kind.handled(1, begun);
    }
}

#[cfg(test)]
mod tests;
