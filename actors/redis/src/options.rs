//! What the client is told and what it is handed.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mailhorn_ports::{REGISTRATION_LEASE, Random};
use tokio::runtime::Handle;

/// How long a call may take, if nothing else is said: a log-in waits for it.
pub const DEADLINE: Duration = Duration::from_millis(100);
/// How long a connection may take to be made, in the background, asking Sentinels or a cluster's nodes included.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long one look for frames waits in Redis, if nothing else is said.
pub const RECEIVE_WAIT: Duration = Duration::from_secs(1);
/// Frames that wait for one process at most, if nothing else is said; beyond, the oldest are lost.
pub const INBOX_FRAMES_MAX: usize = 10_000;
/// Octets of them at most, if nothing else is said. The newest stays, however large.
pub const INBOX_OCTETS_MAX: usize = 64 * 1024 * 1024;
/// What keys begin with, if nothing else is said.
const NAMESPACE: &str = "mailhorn";

/// Limits and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whom to trust under TLS: a file of certificates (PEM), in place of the system's. The setting `redis.ca_file`.
    /// Certificates must name a server by what `redis.url`, the Sentinels or the cluster call it.
    pub ca_file: Option<PathBuf>,
    /// What keys begin with: up to 64 of `a-z`, `0-9`, `-`, `_` and `.`, the same for all nodes of a cluster and another
    /// for each cluster on one Redis. The setting `redis.namespace`. Default `mailhorn`.
    pub namespace: String,
    /// How long a call may take. Registering or looking up more than a few thousand keys takes several round trips, each
    /// of which may take so long. Default 100 ms.
    pub deadline: Duration,
    /// How long a registration lasts that is not said again. Default [`REGISTRATION_LEASE`].
    pub lease: Duration,
    /// How long one look for frames waits in Redis; a frozen Redis is noticed that much later by who receives. Default
    /// 1 s.
    pub receive_wait: Duration,
    /// Frames that wait for one process at most; beyond, the oldest are lost. Default 10,000.
    pub inbox_frames_max: usize,
    /// Octets of frames that wait for one process at most; the newest stays, however large. Default 64 MiB.
    pub inbox_octets_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ca_file: None,
            namespace: NAMESPACE.to_owned(),
            deadline: DEADLINE,
            lease: REGISTRATION_LEASE,
            receive_wait: RECEIVE_WAIT,
            inbox_frames_max: INBOX_FRAMES_MAX,
            inbox_octets_max: INBOX_OCTETS_MAX,
        }
    }
}

/// What the client is handed.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The runtime on which connections live. It must outlast those who call.
    pub runtime: Handle,
    /// For epochs.
    pub random: Arc<dyn Random>,
    /// Who is told what an operator counts.
    pub notices: Arc<dyn Notices>,
}

/// Who is told what an operator counts. Called from within a call: it must not block.
pub trait Notices: Debug + Send + Sync {
    /// A limit was reached, by its name in `limits_reached`: `redis.deadline` (a call was not answered in time),
    /// `redis.failures_max` (so many failed in a row that calls fail at once for a while), `redis.inbox_max` (a frame that
    /// was sent pushed others out).
    fn limit_reached(&self, limit: &'static str);

    /// So many frames that others sent to this process were pushed out before it read them.
    fn frames_lost(&self, frames: u64);
}

pub(crate) const LIMIT_DEADLINE: &str = "redis.deadline";
pub(crate) const LIMIT_FAILURES: &str = "redis.failures_max";
pub(crate) const LIMIT_INBOX: &str = "redis.inbox_max";
