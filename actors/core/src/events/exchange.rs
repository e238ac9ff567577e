//! The exchange actor: what happens on this node is told to the others that want to know, and the other way round.
//!
//! **Owns** the link numbers, and this node's registrations with the registry; who is alive it is told
//! ([`crate::membership`]). **Guarantees** that what the fast path lost is noticed: views are read again and listeners told.
//! **Never** holds up a reply: it works after it, and the store has the truth.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use mailhorn_events::link::{Body, Frame};
use mailhorn_events::{Generation, wire};
use mailhorn_ports::{Epoch, Key, Registry, StoreError, Transport};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::dispatch::{Dispatch, Outgoing};
use super::links::{Arrived, LINK_BEAT_PAUSE, LinksIn, LinksOut};
use super::members::Members;
use super::probe::{Ask, Prober, Probes};
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::supervisor::{Exit, ExitGuard};

/// How often what is registered is registered again, so that its lease does not end.
pub const RENEW_PAUSE: Duration = Duration::from_secs(2);
/// How long a sender that can't trust the registry sends to everybody.
pub const DISTRUST: Duration = Duration::from_secs(30);
/// Registrations that wait for the registry at most.
const KEY_CHANGES_QUEUED_MAX: usize = 1_024;

/// Who gets an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fanout {
    /// Nodes on which somebody is registered for it.
    Registered,
    /// All.
    Broadcast,
}

/// A change of what this node is registered for.
#[derive(Debug)]
pub(super) enum KeyChange {
    Register(Vec<Key>, oneshot::Sender<()>),
    Unregister(Vec<Key>),
}

/// What an exchange needs.
#[derive(Debug)]
pub struct ExchangeDeps {
    /// The log of this process.
    pub generation: Generation,
    /// Who wants to know of what.
    pub registry: Arc<dyn Registry>,
    /// The way to other nodes.
    pub transport: Arc<dyn Transport>,
    /// Who gets an event.
    pub fanout: Fanout,
    /// How records are written for the way.
    pub format: wire::Format,
    /// The way from the log, and to listeners.
    pub dispatch: Dispatch,
    /// Who is there.
    pub members: watch::Receiver<Arc<Members>>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The kind's counters.
    pub kind: Arc<Kind>,
}

/// Where an exchange's input waits, so that one that is started anew takes up where another left off.
#[derive(Debug)]
struct Queues {
    outgoing: mpsc::Receiver<Outgoing>,
    dropped: watch::Receiver<u64>,
    keys: mpsc::Receiver<KeyChange>,
    asks: mpsc::Receiver<Ask>,
}

/// An exchange that can be started.
#[derive(Debug, Clone)]
pub struct ExchangeParts {
    deps: Arc<ExchangeDeps>,
    queues: Arc<Mutex<Queues>>,
    prober: Prober,
    stop: watch::Receiver<bool>,
}

impl ExchangeParts {
    /// Opens the way from the log. The exchange ends well when the sender of `stop` says so, and as in a crash when it is
    /// dropped.
    #[must_use]
    pub fn new(deps: ExchangeDeps, stop: watch::Receiver<bool>) -> Self {
        let (outgoing, dropped) = deps.dispatch.open_outlet();
        let (sender, keys) = mpsc::channel(KEY_CHANGES_QUEUED_MAX);
        deps.dispatch.registrations().open_key_changes(sender);
        let (prober, asks) = Prober::new();
        let queues = Queues {
            outgoing,
            dropped,
            keys,
            asks,
        };
        Self {
            deps: Arc::new(deps),
            queues: Arc::new(Mutex::new(queues)),
            prober,
            stop,
        }
    }

    /// The way for probes of the other nodes.
    #[must_use]
    pub fn prober(&self) -> Prober {
        self.prober.clone()
    }
}

/// The actor.
#[derive(Debug)]
pub struct Exchange {
    parts: ExchangeParts,
    guard: Option<ExitGuard>,
    _alive: Alive,
}

impl Exchange {
    /// An exchange that reports to its supervisor through `guard`.
    #[must_use]
    pub fn new(parts: ExchangeParts, guard: ExitGuard) -> Self {
        let alive = parts.deps.kind.born();
        Self {
            parts,
            guard: Some(guard),
            _alive: alive,
        }
    }
}

impl Actor for Exchange {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let work = work(self.parts.clone()).into_actor(self);
        ctx.wait(work.map(|(), act, ctx| {
            if let Some(mut guard) = act.guard.take() {
                guard.ends(Exit::Stopped);
            }
            ctx.stop();
        }));
    }
}

struct Worker {
    deps: Arc<ExchangeDeps>,
    /// Other processes that are alive.
    alive: Vec<Generation>,
    /// Those that fell silent and whose log was not ended yet.
    silent: Vec<Generation>,
    links_in: LinksIn,
    links_out: LinksOut,
    /// The registry's epoch as it was when this node registered last.
    registered_in: Option<Epoch>,
    /// Something was registered in vain: others don't know of it, until it is registered again.
    is_unsure: bool,
    /// The epoch in which a look-up was trusted.
    looked_up_in: Option<Epoch>,
    /// Until then events go to everybody.
    distrust_until: Option<Instant>,
    dropped: u64,
    probes: Probes,
}

async fn work(parts: ExchangeParts) {
    let mut queues = parts.queues.lock().await;
    let Queues {
        outgoing,
        dropped,
        keys,
        asks,
    } = &mut *queues;
    let (deps, mut stop) = (parts.deps, parts.stop);
    let mut worker = Worker::new(Arc::clone(&deps));
    let mut members = deps.members.clone();
    let (mut renew_at, mut link_beat_at) = (Instant::now(), Instant::now() + LINK_BEAT_PAUSE);
    worker.members_changed(&members.borrow_and_update().clone());
    let receive = || Box::pin(receive(Arc::clone(&deps)));
    let mut incoming = receive();
    loop {
        tokio::select! {
            biased;
            stopped = stop.changed() => {
                if stopped.is_ok() && *stop.borrow() {
                    worker.leave().await;
                }
                return;
            }
            Ok(()) = members.changed() => {
                let now = members.borrow_and_update().clone();
                worker.members_changed(&now);
            }
            Some(change) = keys.recv() => worker.keys_changed(change).await,
            frames = &mut incoming => {
                incoming = receive();
                for frame in frames {
                    worker.received(&frame).await;
                }
            }
            Some(ask) = asks.recv(), if worker.probes.has_room() => worker.probe(ask).await,
            Some(record) = outgoing.recv() => {
                worker.forward(record, *dropped.borrow_and_update()).await;
            }
            () = tokio::time::sleep_until(worker.probes.until().unwrap_or(renew_at).min(renew_at).min(link_beat_at)) => {
                let now = Instant::now();
                worker.probes.expire(now);
                if now >= renew_at {
                    worker.renew().await;
                    renew_at = now + RENEW_PAUSE;
                }
                if now >= link_beat_at {
                    worker.link_beat(*dropped.borrow_and_update()).await;
                    link_beat_at = now + LINK_BEAT_PAUSE;
                }
            }
        }
    }
}

/// Frames for this process; after a fault of the transport none, a while later.
async fn receive(deps: Arc<ExchangeDeps>) -> Vec<Bytes> {
    match deps.transport.receive(deps.generation).await {
        Ok(frames) => frames,
        Err(error) => {
            tracing::debug!(%error, "nothing can be received from other nodes");
            tokio::time::sleep(LINK_BEAT_PAUSE).await;
            Vec::new()
        }
    }
}

impl Worker {
    fn new(deps: Arc<ExchangeDeps>) -> Self {
        Self {
            deps,
            alive: Vec::new(),
            silent: Vec::new(),
            links_in: LinksIn::default(),
            links_out: LinksOut::default(),
            registered_in: None,
            is_unsure: false,
            looked_up_in: None,
            distrust_until: None,
            dropped: 0,
            probes: Probes::default(),
        }
    }

    /// Others came, fell silent or went. What one that is gone did last may not have come here, and what it left half
    /// done was made whole by whoever ended its log.
    fn members_changed(&mut self, members: &Members) {
        let others = members.alive().iter().map(|member| member.generation);
        let others: Vec<Generation> = others.filter(|other| *other != self.deps.generation).collect();
        let silent: Vec<Generation> = members.silent().iter().map(|member| member.generation).collect();
        let is_new = others.iter().any(|other| !self.alive.contains(other));
        let is_gone = self.alive.iter().any(|before| !others.contains(before));
        let is_ended = self.silent.iter().any(|before| !silent.contains(before));
        self.links_in.members(&others, Instant::now());
        self.links_out.keep(&others);
        (self.alive, self.silent) = (others, silent);
        if is_new {
            self.suspect("a node is new");
        } else if is_gone {
            self.suspect("a node is gone");
        } else if is_ended {
            self.suspect("the log of a node was ended");
        }
    }

    /// Registers again whatever is registered, before the lease ends.
    async fn renew(&mut self) {
        let keys = self.deps.dispatch.registrations().keys();
        if self.deps.fanout == Fanout::Registered && !keys.is_empty() {
            self.register(&keys).await;
        }
    }

    async fn register(&mut self, keys: &[Key]) {
        match self.deps.registry.register_keys(self.deps.generation, keys).await {
            Ok(epoch) => {
                let before = self.registered_in.replace(epoch);
                let is_lost = before.is_some_and(|before| before != epoch);
                if is_lost || std::mem::take(&mut self.is_unsure) {
                    let all = self.deps.dispatch.registrations().keys();
                    if let Err(error) = self.deps.registry.register_keys(self.deps.generation, &all).await {
                        return self.in_vain(&error);
                    }
                    self.suspect("registrations were not known");
                }
            }
            Err(error) => self.in_vain(&error),
        }
    }

    fn in_vain(&mut self, error: &StoreError) {
        self.is_unsure = true;
        tracing::warn!(%error, "the registry does not take registrations: what other nodes do is seen late");
    }

    async fn keys_changed(&mut self, change: KeyChange) {
        match change {
            KeyChange::Register(keys, told) => {
                if self.deps.fanout == Fanout::Registered {
                    self.register(&keys).await;
                }
                told.send(()).ok();
            }
            KeyChange::Unregister(keys) => {
                // Somebody may have registered anew in between.
                let registrations = self.deps.dispatch.registrations();
                let gone: Vec<Key> = keys.into_iter().filter(|key| !registrations.has(key)).collect();
                let unregistered = self
                    .deps
                    .registry
                    .unregister_keys(self.deps.generation, &gone)
                    .await;
                if let Err(error) = unregistered {
                    // Its lease ends by itself; until then a few events come that nobody wants.
                    tracing::debug!(%error, "registrations were not taken back");
                }
            }
        }
    }

    /// Sends a record to whoever wants to know.
    async fn forward(&mut self, outgoing: Outgoing, dropped: u64) {
        self.skip(dropped);
        let receivers = self.receivers(&outgoing).await;
        if receivers.is_empty() {
            return;
        }
        let record = Bytes::from(wire::encode(&outgoing.record, self.deps.format));
        for receiver in receivers {
            let number = self.links_out.next(receiver);
            self.send(receiver, number, Body::Record(outgoing.position, record.clone()))
                .await;
        }
    }

    async fn receivers(&mut self, outgoing: &Outgoing) -> Vec<Generation> {
        if self.alive.is_empty() || self.deps.fanout == Fanout::Broadcast {
            return self.alive.clone();
        }
        let keys: BTreeSet<Key> = outgoing.record.events.iter().flat_map(Key::of).collect();
        let keys: Vec<Key> = keys.into_iter().collect();
        let found = self.deps.registry.registered_for(&keys).await;
        let now = Instant::now();
        match found {
            Ok(found) => {
                let before = self.looked_up_in.replace(found.epoch);
                if before.is_some_and(|before| before != found.epoch) {
                    self.distrust_until = Some(now + DISTRUST);
                }
                if self.distrust_until.is_some_and(|until| until > now) {
                    return self.alive.clone();
                }
                let mut members = found.members;
                members.retain(|member| *member != self.deps.generation);
                members
            }
            Err(error) => {
                tracing::debug!(%error, "nobody says who is registered: the event goes to all");
                self.alive.clone()
            }
        }
    }

    /// Records that did not fit in the queue were sent to nobody: the numbers show it.
    fn skip(&mut self, dropped: u64) {
        if dropped != self.dropped {
            self.dropped = dropped;
            self.links_out.skip_all(self.alive.iter().copied());
        }
    }

    async fn link_beat(&mut self, dropped: u64) {
        self.skip(dropped);
        for receiver in self.alive.clone() {
            let number = self.links_out.last(receiver);
            self.send(receiver, number, Body::Heartbeat).await;
        }
        if self.links_in.fell_silent(Instant::now()) {
            self.suspect("a node is silent");
        }
    }

    /// Asks every other member for an echo, those that fell silent too: they may answer here.
    async fn probe(&mut self, ask: Ask) {
        let members = self.deps.members.borrow().clone();
        let mut sent = Vec::new();
        for member in members.alive().iter().chain(members.silent()) {
            if member.generation != self.deps.generation {
                let number = self.links_out.last(member.generation);
                sent.push((Instant::now(), member.generation, member.node.clone()));
                self.send(member.generation, number, Body::Probe(ask.id)).await;
            }
        }
        self.probes.sent(ask, sent, Instant::now());
    }

    async fn send(&self, receiver: Generation, number: u64, body: Body) {
        let frame = Frame {
            origin: self.deps.generation,
            receiver,
            number,
            body,
        };
        if let Err(error) = self.deps.transport.send(receiver, frame.encode()).await {
            tracing::debug!(%error, %receiver, "a frame was not sent: its receiver will see the gap");
        }
    }

    /// A frame came in.
    async fn received(&mut self, octets: &Bytes) {
        let begun = Instant::now();
        let frame = match Frame::decode(octets) {
            Ok(frame) if frame.receiver == self.deps.generation => frame,
            Ok(_) => return,
            Err(error) => return tracing::warn!(%error, "a frame from another node can't be read"),
        };
        match frame.body {
            Body::Heartbeat => {
                let arrived = self.links_in.heartbeat(frame.origin, frame.number, begun);
                self.after(arrived);
            }
            Body::Record(position, record) => {
                let arrived = self.links_in.record(frame.origin, frame.number, begun);
                if arrived == Arrived::Late {
                    return;
                }
                match wire::decode(&record) {
                    Ok(record) => self.deps.dispatch.received(position, &Arc::new(record)),
                    Err(error) => {
                        tracing::warn!(%error, "a record from another node can't be read");
                        self.suspect("a record can't be read");
                    }
                }
                self.after(arrived);
            }
            Body::Probe(id) => {
                let arrived = self.links_in.heartbeat(frame.origin, frame.number, begun);
                self.after(arrived);
                let number = self.links_out.last(frame.origin);
                self.send(frame.origin, number, Body::Echo(id)).await;
            }
            Body::Echo(id) => {
                let arrived = self.links_in.heartbeat(frame.origin, frame.number, begun);
                self.after(arrived);
                self.probes.echoed(id, frame.origin, begun);
            }
        }
        self.deps.kind.handled(1, begun);
    }

    fn after(&self, arrived: Arrived) {
        if arrived == Arrived::AfterGap {
            self.suspect("the fast path lost something");
        }
    }

    /// What other nodes did may have been missed: views are read again, and listeners told to read anew.
    fn suspect(&self, why: &'static str) {
        self.deps.metrics.suspicions.inc();
        tracing::debug!(why, "what is registered here is suspect");
        self.deps.dispatch.suspect();
    }

    async fn leave(&self) {
        if let Err(error) = self.deps.registry.unregister_all(self.deps.generation).await {
            tracing::debug!(%error, "registrations were not taken back: their lease ends by itself");
        }
    }
}
