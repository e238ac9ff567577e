//! The event bus of a node: where listeners are registered, and events are announced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use mailhorn_events::{Event, EventId, Generation};
use mailhorn_ports::{
    Announce, Change, GroupName, GroupStore, Ids, Key, Letter, Listener, ListenerOptions, MailStore, Mode,
    Scope, StoreError,
};
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::call::CallDeps;
use super::dispatch::Dispatch;
use super::figures::GroupFigures;
use super::group::{Group, GroupDeps, Redeliver, RedeliverError, Stop, Threads};
use super::members::Members;
use super::registrations::Registration;
use super::status::{GroupStatus, StatusCell};
use super::sync_waits::SyncWaits;
use crate::log::{LogHandle, Outcome};
use crate::metrics::Metrics;
use crate::observe::Kinds;
use crate::supervisor::{Supervise, Supervisor};

/// Redeliveries that wait for one group at most.
const REDELIVERIES_QUEUED_MAX: usize = 64;
/// Dead letters that are read at a time.
const LETTERS_PAGE: usize = 100;

/// What a bus needs.
#[derive(Debug, Clone)]
pub struct BusDeps {
    /// The logs.
    pub mail: Arc<dyn MailStore>,
    /// Cursors and letters.
    pub store: Arc<dyn GroupStore>,
    /// The way from the log.
    pub dispatch: Dispatch,
    /// The log.
    pub log: LogHandle,
    /// Time and names.
    pub ids: Ids,
    /// The log of this process.
    pub generation: Generation,
    /// The node's name, for groups of scope `cluster`.
    pub node: GroupName,
    /// Which logs are followed here.
    pub members: watch::Receiver<Arc<Members>>,
    /// Keeps the actors alive.
    pub supervisor: Addr<Supervisor>,
    /// Where they live.
    pub home: ArbiterHandle,
    /// Where groups work.
    pub threads: Threads,
    /// `events.retention`.
    pub retention: Duration,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The actors' counters.
    pub kinds: Arc<Kinds>,
}

/// Why a group was not registered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegisterError {
    /// A listener of this node has the name.
    #[error("the group {0} is registered on this node already")]
    AlreadyRegistered(GroupName),
    /// The store did not make it known.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// In scope `cluster` a group is known by its name and the node's, which together are too long.
    #[error("the group {0} and the node's name are together longer than a group's name may be")]
    TooLong(GroupName),
    /// The node ends.
    #[error("the node ends")]
    Ending,
}

/// A group that is registered on this node, as it is seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredGroup {
    /// Its name.
    pub name: GroupName,
    /// What it is known by in the store, where its letters are: its name, but in scope `cluster`.
    pub stored_as: GroupName,
    /// Where it runs.
    pub scope: Scope,
    /// Before or after the reply.
    pub mode: Mode,
    /// Where it stands.
    pub status: GroupStatus,
}

/// What became of a group's dead letters that were to be given to it again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedeliveredLetters {
    /// Those that the group took up.
    pub taken_up: usize,
    /// Those that this release can't read: they stay.
    pub unreadable: usize,
    /// Why it ended early, if it did; what is left stays.
    pub broken_off: Option<RedeliverError>,
}

#[derive(Debug)]
struct Entry {
    scope: Scope,
    mode: Mode,
    /// What it is known by in the store.
    stored_as: GroupName,
    stop: watch::Sender<Stop>,
    redeliveries: mpsc::Sender<Redeliver>,
    status: StatusCell,
}

impl Entry {
    fn seen(&self, name: &GroupName) -> RegisteredGroup {
        RegisteredGroup {
            name: name.clone(),
            stored_as: self.stored_as.clone(),
            scope: self.scope,
            mode: self.mode,
            status: self.status.get(),
        }
    }
}

/// By the name here or in the store.
fn find<'a>(groups: &'a BTreeMap<GroupName, Entry>, name: &GroupName) -> Option<(&'a GroupName, &'a Entry)> {
    let mut stored = groups.iter().filter(|(_, entry)| entry.stored_as == *name);
    groups.get_key_value(name).or_else(|| stored.next())
}

/// The bus. Clones share it.
#[derive(Debug, Clone)]
pub struct EventBus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deps: BusDeps,
    groups: Mutex<BTreeMap<GroupName, Entry>>,
    /// The groups of scope `local` that run here, for other nodes.
    local_groups: watch::Sender<Vec<GroupName>>,
}

impl EventBus {
    /// A bus without listeners.
    #[must_use]
    pub fn new(deps: BusDeps) -> Self {
        Self(Arc::new(Inner {
            deps,
            groups: Mutex::default(),
            local_groups: watch::Sender::new(Vec::new()),
        }))
    }

    /// Registers a listener for mailboxes or users, on the arbiter of the caller. What happens from the return of this on
    /// it is told as soon as may be; not again if it fails over it.
    pub async fn register(
        &self,
        listener: Arc<dyn Listener>,
        keys: &[Key],
        options: ListenerOptions,
    ) -> Registration {
        self.0
            .deps
            .dispatch
            .registrations()
            .register(listener, keys, options)
            .await
    }

    pub(super) fn count_limit(&self, limit: &'static str) {
        self.0.deps.metrics.limit(limit);
    }

    /// Registers a group. What happens from the return of this on it gets, at least once; the first registration ever
    /// shows it nothing of before, a later one goes on where it was.
    ///
    /// # Errors
    ///
    /// [`RegisterError`].
    pub async fn register_group(
        &self,
        name: GroupName,
        scope: Scope,
        listener: Arc<dyn Listener>,
        options: ListenerOptions,
    ) -> Result<(), RegisterError> {
        let deps = &self.0.deps;
        let stored_as = match scope {
            Scope::Local => name.clone(),
            // Every node has a cursor of its own.
            Scope::Cluster => format!("{name}@{}", deps.node)
                .parse()
                .map_err(|_| RegisterError::TooLong(name.clone()))?,
        };
        if self.0.groups.lock().contains_key(&name) {
            return Err(RegisterError::AlreadyRegistered(name));
        }
        deps.store.register_group(&stored_as, deps.ids.now()).await?;
        let (stop, stopped) = watch::channel(Stop::No);
        let (redeliveries, queue) = mpsc::channel(REDELIVERIES_QUEUED_MAX);
        let (status, sync) = (StatusCell::default(), Arc::<SyncWaits>::default());
        let group_deps = Arc::new(GroupDeps {
            call: Arc::new(CallDeps {
                group: stored_as.clone(),
                listener,
                options,
                store: Arc::clone(&deps.store),
                ids: deps.ids.clone(),
            }),
            scope,
            threads: deps.threads,
            mail: Arc::clone(&deps.mail),
            tail: Arc::clone(deps.dispatch.tail()),
            members: deps.members.clone(),
            nudge: deps.dispatch.nudges(),
            redeliveries: tokio::sync::Mutex::new(queue),
            stop: stopped,
            status: status.clone(),
            sync: Arc::clone(&sync),
            retention: deps.retention,
            metrics: Arc::clone(&deps.metrics),
            figures: GroupFigures::new(&deps.metrics, name.as_str()),
            kind: Arc::clone(&deps.kinds.group),
        });
        {
            let mut groups = self.0.groups.lock();
            if groups.contains_key(&name) {
                return Err(RegisterError::AlreadyRegistered(name));
            }
            let mode = options.mode;
            let entry = Entry {
                scope,
                mode,
                stored_as,
                stop,
                redeliveries,
                status,
            };
            groups.insert(name.clone(), entry);
        }
        if options.mode == Mode::Sync {
            deps.dispatch.add_sync_group(name.clone(), sync);
        }
        self.tell_groups();
        let home = deps.home.clone();
        let child = Supervise {
            child: format!("group {name} {}", deps.ids.event()).into(),
            kind: Arc::clone(&deps.kinds.group),
            essential: false,
            factory: Box::new(move |guard| {
                let deps = Arc::clone(&group_deps);
                // A home that is gone has ended with the node.
                home.spawn_fn(move || {
                    Group::new(deps, guard).start();
                });
            }),
        };
        deps.supervisor
            .send(child)
            .await
            .map_err(|_| RegisterError::Ending)
    }

    /// Takes a group's listener off this node. It may be registered again, and goes on where it was. False when none was
    /// registered.
    pub fn unregister_group(&self, name: &GroupName) -> bool {
        self.stop_group(name, Stop::Clean)
    }

    fn stop_group(&self, name: &GroupName, how: Stop) -> bool {
        let Some(entry) = self.0.groups.lock().remove(name) else {
            return false;
        };
        self.0.deps.dispatch.remove_sync_group(name);
        entry.stop.send_replace(how);
        self.tell_groups();
        true
    }

    fn tell_groups(&self) {
        let groups = self.0.groups.lock();
        let local = groups.iter().filter(|(_, entry)| entry.scope == Scope::Local);
        let names: Vec<GroupName> = local.map(|(name, _)| name.clone()).collect();
        self.0.local_groups.send_replace(names);
    }

    /// The groups of scope `local` that run here, and their changes.
    #[must_use]
    pub fn local_groups(&self) -> watch::Receiver<Vec<GroupName>> {
        self.0.local_groups.subscribe()
    }

    /// Of how many mailboxes and users this node wants to know what happens elsewhere.
    #[must_use]
    pub fn registered_keys(&self) -> usize {
        self.0.deps.dispatch.registrations().keys().len()
    }

    /// The groups that are registered here, by name.
    #[must_use]
    pub fn groups(&self) -> Vec<RegisteredGroup> {
        let groups = self.0.groups.lock();
        groups.iter().map(|(name, entry)| entry.seen(name)).collect()
    }

    /// The group that is registered here and has this name, here or in the store.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<RegisteredGroup> {
        let groups = self.0.groups.lock();
        find(&groups, name).map(|(name, entry)| entry.seen(name))
    }

    /// Announces events: they are durable, and with whoever listens in mode `sync`, when it returns *done*. Events in which
    /// nothing happened are left out.
    pub async fn announce(&self, mut events: Vec<Event>) -> Outcome {
        events.retain(|event| !event.happening.is_noop());
        if events.is_empty() {
            return Outcome::Done(mailhorn_ports::Verdict::Done);
        }
        let announce = Announce {
            event: self.0.deps.ids.event(),
            stamp: self.0.deps.ids.stamp(),
            events,
            threshold: None,
        };
        self.0.deps.log.append(Change::Announce(announce)).await
    }

    /// Gives a dead letter to its group again, which tries it as often as at first. The group may be named as here or as in
    /// the store.
    ///
    /// # Errors
    ///
    /// [`RedeliverError`]: the letter stays where it is.
    pub async fn redeliver(&self, name: &GroupName, id: EventId) -> Result<(), RedeliverError> {
        let (stored_as, queue) = self.redeliveries(name)?;
        let letter = self.0.deps.store.dead_letter(&stored_as, id).await?;
        let letter = letter.ok_or(RedeliverError::NotFound(id))?;
        self.redeliver_letter(name, &queue, letter).await
    }

    /// The same for the letters of a group, until `limit` of them were taken up, by id. Those that can't be delivered
    /// stay.
    pub async fn redeliver_all(&self, name: &GroupName, limit: usize) -> RedeliveredLetters {
        let mut given = RedeliveredLetters::default();
        given.broken_off = self.redeliver_up_to(limit, name, &mut given).await.err();
        given
    }

    async fn redeliver_up_to(
        &self,
        limit: usize,
        name: &GroupName,
        given: &mut RedeliveredLetters,
    ) -> Result<(), RedeliverError> {
        let (stored_as, queue) = self.redeliveries(name)?;
        let mut after = None;
        loop {
            let page = LETTERS_PAGE.min(limit.saturating_sub(given.taken_up));
            let letters = self.0.deps.store.dead_letters(&stored_as, after, page).await?;
            let Some(last) = letters.last() else {
                return Ok(());
            };
            after = Some(last.id);
            for letter in letters {
                match self.redeliver_letter(name, &queue, letter).await {
                    Ok(()) => given.taken_up += 1,
                    Err(RedeliverError::Unreadable(_)) => given.unreadable += 1,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Where a group's letters are, and how it is given one.
    fn redeliveries(&self, name: &GroupName) -> Result<(GroupName, mpsc::Sender<Redeliver>), RedeliverError> {
        let groups = self.0.groups.lock();
        let (_, entry) = find(&groups, name).ok_or_else(|| RedeliverError::NotRegistered(name.clone()))?;
        Ok((entry.stored_as.clone(), entry.redeliveries.clone()))
    }

    async fn redeliver_letter(
        &self,
        name: &GroupName,
        queue: &mpsc::Sender<Redeliver>,
        letter: Letter,
    ) -> Result<(), RedeliverError> {
        let gone = || RedeliverError::NotRegistered(name.clone());
        let (reply, answer) = oneshot::channel();
        queue
            .try_send(Redeliver { letter, reply })
            .map_err(|error| match error {
                TrySendError::Full(_) => {
                    self.count_limit("redeliveries_queued_max");
                    RedeliverError::TooMany
                }
                TrySendError::Closed(_) => gone(),
            })?;
        answer.await.map_err(|_| gone())?
    }

    /// Ends all groups: calls under way may end, cursors are saved. Returns when they have ended, or after `deadline`.
    pub async fn finish(&self, deadline: Duration) {
        self.stop_all(Stop::Clean);
        let kind = &self.0.deps.kinds.group;
        let ended = async {
            while kind.alive() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(deadline, ended).await.is_err() {
            tracing::warn!(
                "groups of listeners did not end in time: they see again what they were shown last"
            );
        }
    }

    /// Ends all groups as a crash would: nothing more is saved.
    pub fn drop_all(&self) {
        self.stop_all(Stop::Now);
    }

    fn stop_all(&self, how: Stop) {
        let names: Vec<GroupName> = self.0.groups.lock().keys().cloned().collect();
        for name in names {
            self.stop_group(&name, how);
        }
    }
}
