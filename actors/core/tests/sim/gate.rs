//! What stands between a node and its world: a node can be held up as a whole, lose the store for a while, be cut off from
//! other nodes, or be gone.
//!
//! A node that is held up hangs in every call of a port, before and after what it does: what was on its way when it
//! stopped is done at once or only when it wakes, and its answer is seen only then. Its time stands still for as long, and
//! then it is late.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mailhorn_core::events::contract::{ClusterPorts, Ground, Ports};
use mailhorn_core::membership::LogLease;
use mailhorn_events::Generation;
use mailhorn_ports::memory::TokioUptime;
use mailhorn_ports::{StoreError, Uptime};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::gated::{GatedRegistry, GatedStore, GatedTransport};

/// Which nodes reach each other, and what went wrong that no node may notice.
#[derive(Debug, Default)]
pub(crate) struct Net {
    /// On which node a log is written.
    slots: BTreeMap<Generation, usize>,
    /// The side of a cut that each node is on.
    sides: BTreeMap<usize, u64>,
    /// Logs that were ended while their process could trust its lease.
    wronged: Vec<Generation>,
}

/// Shared by all nodes of a cluster.
pub(crate) type SharedNet = Arc<Mutex<Net>>;

impl Net {
    /// From now on nodes of different sides don't reach each other.
    pub(crate) fn cut(&mut self, sides: BTreeMap<usize, u64>) {
        self.sides = sides;
    }

    pub(crate) fn is_cut(&self, from: usize, to: Generation) -> bool {
        let side = |slot: &usize| self.sides.get(slot).copied().unwrap_or(0);
        self.slots.get(&to).is_some_and(|to| side(to) != side(&from))
    }

    pub(crate) fn belongs(&mut self, log: Generation, slot: usize) {
        self.slots.insert(log, slot);
    }

    pub(crate) fn wronged(&self) -> &[Generation] {
        &self.wronged
    }

    pub(crate) fn wrong(&mut self, log: Generation) {
        self.wronged.push(log);
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Since when it is held up, by the true time.
    frozen: Option<Duration>,
    is_dead: bool,
    is_store_away: bool,
}

/// The gate of one life of a node. Clones are the same gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) slot: usize,
    pub(crate) net: SharedNet,
    state: Arc<watch::Sender<State>>,
    uptime: TokioUptime,
    /// The next commit is done so much later than its caller believes.
    late: Arc<Mutex<Option<Duration>>>,
}

impl Gate {
    pub(crate) fn new(slot: usize, net: SharedNet) -> Self {
        Self {
            slot,
            net,
            state: Arc::default(),
            uptime: TokioUptime::default(),
            late: Arc::default(),
        }
    }

    /// Ground for a node that goes through this gate.
    pub(crate) fn ground(&self, ports: &Ports) -> Ground {
        let mut ground = Ground::new(ports.clone());
        ground.lease = Arc::new(LogLease::new(Arc::new(self.clone())));
        let store = ports.memory.clone().expect("nodes stand on memory");
        let gated = Arc::new(GatedStore {
            gate: self.clone(),
            store,
            lease: Arc::clone(&ground.lease),
        });
        let cluster = ports.cluster.as_ref().map(|cluster| ClusterPorts {
            registry: Arc::new(GatedRegistry {
                gate: self.clone(),
                registry: Arc::clone(&cluster.registry),
            }),
            transport: Arc::new(GatedTransport {
                gate: self.clone(),
                transport: Arc::clone(&cluster.transport),
            }),
            ..cluster.clone()
        });
        ground.ports = Ports {
            mail: gated.clone(),
            groups: gated.clone(),
            quota: gated.clone(),
            membership: gated,
            cluster,
            ..ports.clone()
        };
        ground
    }

    pub(crate) fn freeze(&self, is_frozen: bool) {
        let now = self.uptime.now();
        self.state
            .send_modify(|state| state.frozen = is_frozen.then_some(now));
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.state.borrow().frozen.is_some()
    }

    /// Whether the node goes on and reaches what it needs.
    pub(crate) fn is_open(&self) -> bool {
        let state = *self.state.borrow();
        state.frozen.is_none() && !state.is_store_away && !state.is_dead
    }

    pub(crate) fn set_store_away(&self, is_away: bool) {
        self.state.send_modify(|state| state.is_store_away = is_away);
    }

    /// The process is gone: nothing that it does has an effect any more.
    pub(crate) fn kill(&self) {
        self.state.send_modify(|state| state.is_dead = true);
    }

    pub(crate) fn make_next_commit_late(&self, by: Duration) {
        *self.late.lock() = Some(by);
    }

    pub(crate) fn take_late(&self) -> Option<Duration> {
        self.late.lock().take()
    }

    /// Waits while the node is held up. An error when it is gone.
    pub(crate) async fn pass(&self) -> Result<(), StoreError> {
        let mut state = self.state.subscribe();
        let passable = state
            .wait_for(|state| state.is_dead || state.frozen.is_none())
            .await;
        match passable.is_ok_and(|state| !state.is_dead) {
            true => Ok(()),
            false => Err(StoreError::Unavailable("the process is gone".into())),
        }
    }

    async fn pass_to_store(&self) -> Result<(), StoreError> {
        self.pass().await?;
        match self.state.borrow().is_store_away {
            true => Err(StoreError::Unavailable(
                "this node does not reach the store".into(),
            )),
            false => Ok(()),
        }
    }

    /// A call of the store. Whoever loses it meanwhile doesn't learn what came of it.
    pub(crate) async fn store<T>(&self, call: impl Future<Output = T>) -> Result<T, StoreError> {
        self.pass_to_store().await?;
        let answer = call.await;
        self.pass_to_store().await?;
        Ok(answer)
    }

    /// A call of anything else.
    pub(crate) async fn other<T>(&self, call: impl Future<Output = T>) -> Result<T, StoreError> {
        self.pass().await?;
        let answer = call.await;
        self.pass().await?;
        Ok(answer)
    }
}

impl Uptime for Gate {
    fn now(&self) -> Duration {
        let frozen = self.state.borrow().frozen;
        frozen.unwrap_or_else(|| self.uptime.now())
    }
}
