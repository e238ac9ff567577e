//! The cluster as a running node sees it, and probes of the other nodes.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use mailhorn_core::events::{ProbeError, Prober};
use mailhorn_core::membership::Sightings;
use mailhorn_core::metrics::Metrics;
use mailhorn_events::Generation;
use mailhorn_ports::{Lease, Membership};

use super::OperationError;
use super::listening::EventOperations;
use super::views::{
    Adoptions, CassandraHealth, ClusterLog, ClusterState, ClusterStatus, LocksMode, Probed, RedisHealth,
};

/// What a node of a cluster stands on, as it sees it.
#[async_trait]
pub trait Servers: Debug + Send + Sync {
    /// How Cassandra is. Nobody is asked.
    fn cassandra(&self) -> CassandraHealth;

    /// How Redis is. It is asked.
    async fn redis(&self) -> RedisHealth;

    /// What keeps a second session out of a maildrop.
    fn maildrop_locks(&self) -> LocksMode;
}

/// What a node of a cluster has besides.
#[derive(Debug, Clone)]
pub struct InCluster {
    /// Whether it may speak for its log.
    pub lease: Arc<dyn Lease>,
    /// When it saw whom.
    pub sightings: Sightings,
    /// Where logs are ended.
    pub membership: Arc<dyn Membership>,
    /// The way to the others.
    pub prober: Prober,
    /// What it stands on.
    pub servers: Arc<dyn Servers>,
    /// The word for `events.transport`.
    pub transport: &'static str,
    /// The word for `events.format`.
    pub format: &'static str,
    /// Figures.
    pub metrics: Arc<Metrics>,
}

/// What is asked of the cluster. Clones share it.
#[derive(Debug, Clone)]
pub struct ClusterOperations {
    /// The node's name.
    pub node: String,
    /// The log of this life of its process.
    pub generation: Generation,
    /// `None`: it is alone with its store.
    pub cluster: Option<InCluster>,
    /// Groups and logs.
    pub events: EventOperations,
}

impl From<ProbeError> for OperationError {
    fn from(error: ProbeError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl ClusterOperations {
    /// The cluster. What the store doesn't say now is left out and told: that is when an operator looks.
    pub async fn status(&self) -> ClusterStatus {
        let cluster = match &self.cluster {
            Some(cluster) => Some(self.state(cluster).await),
            None => None,
        };
        ClusterStatus {
            node: self.node.clone(),
            generation: self.generation.to_string(),
            cluster,
        }
    }

    async fn state(&self, cluster: &InCluster) -> ClusterState {
        let (logs, groups, redis) = tokio::join!(
            self.logs(&*cluster.membership),
            self.events.groups(),
            cluster.servers.redis()
        );
        let unread = logs.as_ref().err().or_else(|| groups.as_ref().err());
        let unread = unread.map(ToString::to_string);
        let seen = cluster.sightings.get();
        ClusterState {
            holds_lease: cluster.lease.holds(),
            members: seen.members.iter().map(Into::into).collect(),
            logs: logs.unwrap_or_default(),
            groups: groups.unwrap_or_default(),
            unread,
            registered_keys: self.events.bus.registered_keys(),
            transport: cluster.transport.to_owned(),
            format: cluster.format.to_owned(),
            cassandra: cluster.servers.cassandra(),
            redis,
            maildrop_locks: cluster.servers.maildrop_locks(),
            adoptions: Adoptions::new(cluster.metrics.adoptions.get(), &seen),
        }
    }

    async fn logs(&self, membership: &dyn Membership) -> Result<Vec<ClusterLog>, OperationError> {
        let mut logs = Vec::new();
        for (log, node) in self.events.mail.logs().await? {
            logs.push(ClusterLog {
                node,
                generation: log.to_string(),
                end: self.events.mail.log_end(log).await?,
                sealed: membership.sealed(log).await?,
            });
        }
        Ok(logs)
    }

    /// Sends a probe to the other nodes, and waits for their echoes for as long as [`PROBE_PATIENCE`].
    ///
    /// [`PROBE_PATIENCE`]: mailhorn_core::events::PROBE_PATIENCE
    ///
    /// # Errors
    ///
    /// [`OperationError`]: also for a node that is alone with its store.
    pub async fn probe(&self) -> Result<Vec<Probed>, OperationError> {
        let Some(cluster) = &self.cluster else {
            let told = format!("{} is alone with its store: there is nobody to probe", self.node);
            return Err(OperationError::Conflict(told));
        };
        let echoes = cluster.prober.probe().await?;
        let seen = cluster.sightings.get();
        let mut probed: Vec<Probed> = echoes.iter().map(|echo| Probed::new(echo, &seen)).collect();
        probed.sort_by(|a, b| (&a.node, &a.generation).cmp(&(&b.node, &b.generation)));
        Ok(probed)
    }
}
