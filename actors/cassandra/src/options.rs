//! How the cluster's store is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// How long a call may take, unless set otherwise. Past it its outcome is not known.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Statements under way at a time from one process, unless set otherwise.
pub const REQUESTS_MAX_DEFAULT: usize = 512;
/// How old usage may be that is looked at, unless set otherwise.
pub const USAGE_REFRESH_DEFAULT: Duration = Duration::from_secs(5);
/// How far this machine's clock may be from Cassandra's.
pub(crate) const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// On how many replicas everything lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// So many in the local centre, and none elsewhere.
    Local(u32),
    /// So many in each centre.
    Centres(BTreeMap<String, u32>),
}

/// Name and password for the server.
#[derive(Clone)]
pub struct Login {
    /// The role's name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// TLS to the server.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Roots, versions and suites.
    pub config: Arc<ClientConfig>,
    /// The name that every server's certificate has.
    pub server_name: ServerName<'static>,
}

/// How a keyspace is reached.
#[derive(Debug, Clone)]
pub struct Options {
    /// Servers to ask first, each `host:port`; all others are learned from them.
    pub contact_points: Vec<String>,
    /// The centre that is near: only its servers are asked.
    pub datacenter: String,
    /// The keyspace; made where it is missing.
    pub keyspace: String,
    /// On how many replicas a new keyspace lies.
    pub replication: Replication,
    /// Who this is; `None` where the server asks nobody.
    pub login: Option<Login>,
    /// `None`: in the clear.
    pub tls: Option<Tls>,
    /// Whether what goes over the wire is compressed (LZ4).
    pub compression: bool,
    /// How long a call may take. Past it its outcome is not known.
    pub request_timeout: Duration,
    /// Statements under way at a time; others wait for their turn.
    pub requests_max: usize,
    /// How long log records are kept: Cassandra forgets them by itself after that.
    pub retention: Duration,
    /// How long notes of deliveries count.
    pub duplicate_window: Duration,
    /// How old the figure may be that tells what an account or a domain holds. It is counted anew from the view at most so
    /// often; zero: whenever it is asked for.
    pub usage_refresh: Duration,
}

impl Options {
    /// What suits one server on this machine.
    #[must_use]
    pub fn local(contact_point: &str, datacenter: &str, keyspace: &str) -> Self {
        Self {
            contact_points: vec![contact_point.to_owned()],
            datacenter: datacenter.to_owned(),
            keyspace: keyspace.to_owned(),
            replication: Replication::Local(1),
            login: None,
            tls: None,
            compression: true,
            request_timeout: REQUEST_TIMEOUT_DEFAULT,
            requests_max: REQUESTS_MAX_DEFAULT,
            retention: Duration::from_secs(7 * 86_400),
            duplicate_window: Duration::from_secs(86_400),
            usage_refresh: USAGE_REFRESH_DEFAULT,
        }
    }

    /// Seconds after which Cassandra forgets a log record.
    #[must_use]
    pub(crate) fn log_ttl_seconds(&self) -> i32 {
        seconds(self.retention)
    }

    /// Seconds after which Cassandra forgets what tells of a log: beyond its last record, so that a gap shows.
    pub(crate) fn log_names_ttl_seconds(&self) -> i32 {
        seconds(self.retention.saturating_mul(3))
    }

    /// Seconds after which Cassandra forgets a note: a day beyond the window, for a look-up goes by whole days.
    pub(crate) fn note_ttl_seconds(&self) -> i32 {
        seconds(self.duplicate_window.saturating_add(Duration::from_secs(86_400)))
    }
}

/// At least one, for no time to live means for ever; and what Cassandra takes at most, 20 years.
fn seconds(time: Duration) -> i32 {
    const TTL_MAX: i32 = 20 * 365 * 86_400;
    i32::try_from(time.as_secs()).unwrap_or(TTL_MAX).clamp(1, TTL_MAX)
}
