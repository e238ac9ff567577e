//! What happens to a record the moment it is durable: the mailbox notes it, groups are woken, listeners are told.
//!
//! Called on the log's thread, so nothing here waits, and nothing here calls a listener.

use std::collections::HashMap;
use std::sync::Arc;

use mailhorn_events::{EventId, Generation, Happened, Position, Record};
use mailhorn_ports::GroupName;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::registrations::Registrations;
use super::sync_waits::{SyncWait, SyncWaits};
use super::tail::Tail;
use crate::mailbox::Mailboxes;
use crate::metrics::Metrics;
use crate::observe::Kind;

/// Records that wait to be sent to other nodes at most. Beyond, the receivers find out that they missed some.
pub const OUTGOING_RECORDS_MAX: usize = 4_096;

/// A record on its way to other nodes.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where it stands.
    pub position: Position,
    /// What it says.
    pub record: Arc<Record>,
}

/// Where other nodes' share of the records goes.
#[derive(Debug)]
struct Outlet {
    queue: mpsc::Sender<Outgoing>,
    /// How many did not fit.
    dropped: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    mailboxes: Mailboxes,
    tail: Arc<Tail>,
    registrations: Arc<Registrations>,
    sync_groups: Mutex<Vec<(GroupName, Arc<SyncWaits>)>>,
    outlet: Mutex<Option<Outlet>>,
    /// Counts hints that another process's log may have grown.
    nudges: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

/// The way from the log to everybody who listens. Clones share it.
#[derive(Debug, Clone)]
pub struct Dispatch(Arc<Inner>);

/// The replies' waits, by the change's name. Empty where nobody listens in mode `sync`.
pub type Waits = HashMap<EventId, SyncWait>;

impl Dispatch {
    /// A way to nobody yet but the mailboxes. `kind` counts listeners that are registered for keys.
    #[must_use]
    pub fn new(mailboxes: Mailboxes, metrics: Arc<Metrics>, kind: Arc<Kind>) -> Self {
        Self(Arc::new(Inner {
            mailboxes,
            tail: Arc::default(),
            registrations: Arc::new(Registrations::new(Arc::clone(&metrics), kind)),
            sync_groups: Mutex::default(),
            outlet: Mutex::default(),
            nudges: watch::Sender::new(0),
            metrics,
        }))
    }

    /// Records of this process's log became durable, numbered from `first`. Mailboxes have noted them when this returns.
    pub(crate) fn committed(&self, generation: Generation, first: u64, records: Vec<Record>) -> Waits {
        let inner = &*self.0;
        let mut waits = Waits::new();
        let records: Vec<Arc<Record>> = records.into_iter().map(Arc::new).collect();
        for record in &records {
            for event in &record.events {
                inner.mailboxes.changed(event, record.stamp);
            }
        }
        for (number, record) in (first..).zip(&records) {
            let position = Position { generation, number };
            let mut wait = SyncWait::default();
            for (_, group) in &*inner.sync_groups.lock() {
                group.wait_for(number).into_iter().for_each(|had| wait.add(had));
            }
            for happened in Happened::all(position, record) {
                inner.registrations.notify(&happened, &mut wait);
            }
            if !wait.is_empty() {
                waits.insert(record.id, wait);
            }
            self.send_out(position, record);
        }
        inner.tail.push(first, &records);
        waits
    }

    fn send_out(&self, position: Position, record: &Arc<Record>) {
        if let Some(outlet) = &*self.0.outlet.lock() {
            let record = Arc::clone(record);
            if outlet.queue.try_send(Outgoing { position, record }).is_err() {
                self.0.metrics.limit("outgoing_records_max");
                outlet.dropped.send_modify(|dropped| *dropped += 1);
            }
        }
    }

    /// From now on records go to other nodes too, through this queue. The second counts those that did not fit.
    pub fn open_outlet(&self) -> (mpsc::Receiver<Outgoing>, watch::Receiver<u64>) {
        self.0
            .mailboxes
            .expect_other_logs(Arc::clone(&self.0.registrations));
        let (queue, outgoing) = mpsc::channel(OUTGOING_RECORDS_MAX);
        let (dropped, drops) = watch::channel(0);
        *self.0.outlet.lock() = Some(Outlet { queue, dropped });
        (outgoing, drops)
    }

    /// A record of another process's log came in. Listeners of this node are told, the log's followers are woken.
    pub fn received(&self, position: Position, record: &Arc<Record>) {
        for event in &record.events {
            self.0.mailboxes.changed(event, record.stamp);
        }
        for happened in Happened::all(position, record) {
            // No reply of this node waits for what happened elsewhere.
            self.0.registrations.notify(&happened, &mut SyncWait::default());
        }
        self.nudge();
    }

    /// Another process's log may have grown.
    pub fn nudge(&self) {
        self.0
            .nudges
            .send_modify(|nudges| *nudges = nudges.wrapping_add(1));
    }

    /// What other nodes did may have been missed: views in memory are forgotten, listeners are told to read anew.
    pub(super) fn suspect(&self) {
        self.0.mailboxes.forget_views();
        self.0.registrations.all_missed();
        self.nudge();
    }

    pub(super) fn registrations(&self) -> &Arc<Registrations> {
        &self.0.registrations
    }

    pub(super) fn tail(&self) -> &Arc<Tail> {
        &self.0.tail
    }

    pub(super) fn nudges(&self) -> watch::Receiver<u64> {
        self.0.nudges.subscribe()
    }

    pub(super) fn add_sync_group(&self, group: GroupName, waits: Arc<SyncWaits>) {
        self.0.sync_groups.lock().push((group, waits));
    }

    pub(super) fn remove_sync_group(&self, group: &GroupName) {
        self.0.sync_groups.lock().retain(|(name, _)| name != group);
    }
}
