//! The figures of a node, as Prometheus reads them. One set for a node, handed in: there is no global registry, so
//! two nodes live in one process.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::observe::{DURATION_BUCKETS, Kinds};

/// A command and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CommandLabels {
    /// `pop3`, `smtp` or `lmtp`.
    pub protocol: &'static str,
    /// The verb in capitals, or `other`.
    pub verb: &'static str,
    /// `ok`, `temporary` or `refused`.
    pub result: &'static str,
}

/// A named limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabels {
    /// The limit's name: its setting's where it has one, else one of its own, such as `quota` or `file_descriptors`.
    pub limit: &'static str,
}

/// What came of a connection from a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProxyLabels {
    /// `proxied`, `local` (the proxy speaks for itself), `missing` (what came is no header), `late` or `gone`.
    pub result: &'static str,
}

/// What was done to the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StoreLabels {
    /// `commit`, `read`, `list` or `put_chunk`.
    pub operation: &'static str,
}

/// What became of a delivery to one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeliveryLabels {
    /// `stored`, `duplicate`, `gone`, `mailbox_full`, `over_quota` or `unavailable`.
    pub outcome: &'static str,
}

/// How a log-in ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LogInLabels {
    /// `accepted`, `refused`, `throttled`, `in_use` or `unavailable`.
    pub result: &'static str,
}

/// A group of listeners and how it ended with an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ListenedLabels {
    /// The group's name.
    pub group: String,
    /// `done`, `bad` (a try, of which an event may have several) or `dead`.
    pub outcome: &'static str,
}

/// A group of listeners.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GroupLabels {
    /// The group's name.
    pub group: String,
}

/// The node's figures.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Commands by verb and result.
    pub commands: Family<CommandLabels, Counter>,
    /// Limits reached.
    pub limits: Family<LimitLabels, Counter>,
    /// Headers of the PROXY protocol, by what came of them.
    pub proxy_headers: Family<ProxyLabels, Counter>,
    /// Bans in force that this node knows.
    pub bans: Gauge,
    /// Bans made here.
    pub bans_made: Counter,
    /// Connections that were not served, for their address is banned.
    pub connections_banned: Counter,
    /// Store calls, seconds.
    pub store: Family<StoreLabels, Histogram, fn() -> Histogram>,
    /// Deliveries by outcome, one for each recipient.
    pub deliveries: Family<DeliveryLabels, Counter>,
    /// Log-ins by result.
    pub log_ins: Family<LogInLabels, Counter>,
    /// Octets of mail taken.
    pub octets_in: Counter,
    /// Octets of mail given.
    pub octets_out: Counter,
    /// Changes in a group commit.
    pub commit_changes: Histogram,
    /// Commits whose outcome was unknown.
    pub commits_unknown: Counter,
    /// View rows whose octets were not found or damaged.
    pub unreadable: Counter,
    /// Whether the log takes changes: 1, or 0 while a commit's outcome is unknown.
    pub log_open: Gauge,
    /// Events by group and outcome.
    pub listened: Family<ListenedLabels, Counter>,
    /// Records that a group has not finished.
    pub listener_lag: Family<GroupLabels, Gauge>,
    /// Events that a group has parked.
    pub listener_parked: Family<GroupLabels, Gauge>,
    /// 1 while a group waits for its back end.
    pub listener_stopped: Family<GroupLabels, Gauge>,
    /// 1 while a group's oldest event is older than half of `events.retention`.
    pub listener_late: Family<GroupLabels, Gauge>,
    /// Events shown to listeners that are registered for a mailbox or a user.
    pub notified: Counter,
    /// Times that events of other nodes may have been missed, so that views were read again.
    pub suspicions: Counter,
    /// 1 while the service of maildrop locks is away.
    pub maildrop_locks_away: Gauge,
    /// Log-ins, and deletions at QUIT, that had this node's lock only.
    pub maildrop_locks_local_only: Counter,
    /// Locks that another node took while a session here had the maildrop.
    pub maildrop_locks_lost: Counter,
    /// Processes of the cluster that are alive, this one among them; 0 for a node that is alone.
    pub members_alive: Gauge,
    /// Logs of processes that are gone that this one ended.
    pub adoptions: Counter,
    /// Times that this process lost the lease on its log and went on with another.
    pub leases_lost: Counter,
}

/// The buckets of group sizes.
const GROUP_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

fn durations() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

impl Metrics {
    /// A node's figures, and the registry that encodes them, with the kinds of actor among them.
    #[must_use]
    pub fn new(kinds: Arc<Kinds>) -> (Self, Registry) {
        let metrics = Self {
            commands: Family::default(),
            limits: Family::default(),
            proxy_headers: Family::default(),
            bans: Gauge::default(),
            bans_made: Counter::default(),
            connections_banned: Counter::default(),
            store: Family::new_with_constructor(durations),
            deliveries: Family::default(),
            log_ins: Family::default(),
            octets_in: Counter::default(),
            octets_out: Counter::default(),
            commit_changes: Histogram::new(GROUP_BUCKETS),
            commits_unknown: Counter::default(),
            unreadable: Counter::default(),
            log_open: Gauge::default(),
            listened: Family::default(),
            listener_lag: Family::default(),
            listener_parked: Family::default(),
            listener_stopped: Family::default(),
            listener_late: Family::default(),
            notified: Counter::default(),
            suspicions: Counter::default(),
            maildrop_locks_away: Gauge::default(),
            maildrop_locks_local_only: Counter::default(),
            maildrop_locks_lost: Counter::default(),
            members_alive: Gauge::default(),
            adoptions: Counter::default(),
            leases_lost: Counter::default(),
        };
        let mut registry = Registry::with_prefix("mailhorn");
        registry.register(
            "commands",
            "Commands by verb and result",
            metrics.commands.clone(),
        );
        registry.register(
            "limits_reached",
            "Times that a named limit was reached",
            metrics.limits.clone(),
        );
        registry.register(
            "proxy_headers",
            "Connections from net.proxy_networks, by what came of their header",
            metrics.proxy_headers.clone(),
        );
        registry.register(
            "store_seconds",
            "Time of a call of the store",
            metrics.store.clone(),
        );
        registry.register(
            "deliveries",
            "Deliveries by outcome, for each recipient",
            metrics.deliveries.clone(),
        );
        registry.register("log_ins", "Log-ins by result", metrics.log_ins.clone());
        registry.register(
            "mail_in_octets",
            "Octets of mail taken",
            metrics.octets_in.clone(),
        );
        registry.register(
            "mail_out_octets",
            "Octets of mail given",
            metrics.octets_out.clone(),
        );
        registry.register(
            "commit_changes",
            "Changes in a group commit",
            metrics.commit_changes.clone(),
        );
        registry.register(
            "commits_unknown",
            "Commits with an unknown outcome",
            metrics.commits_unknown.clone(),
        );
        registry.register(
            "unreadable",
            "Messages whose octets were missing or damaged",
            metrics.unreadable.clone(),
        );
        registry.register(
            "log_open",
            "1 while the log takes changes",
            metrics.log_open.clone(),
        );
        metrics.register_bans(&mut registry);
        metrics.register_listeners(&mut registry);
        metrics.register_locks(&mut registry);
        metrics.register_membership(&mut registry);
        registry.register_collector(Box::new(KindsCollector(kinds)));
        (metrics, registry)
    }

    fn register_membership(&self, registry: &mut Registry) {
        registry.register(
            "members_alive",
            "Processes of the cluster that are alive",
            self.members_alive.clone(),
        );
        registry.register(
            "adoptions",
            "Logs of processes that are gone that this one ended",
            self.adoptions.clone(),
        );
        registry.register(
            "leases_lost",
            "Times that this process lost the lease on its log",
            self.leases_lost.clone(),
        );
    }

    fn register_bans(&self, registry: &mut Registry) {
        registry.register("bans", "Bans in force that this node knows", self.bans.clone());
        registry.register("bans_made", "Bans made by this node", self.bans_made.clone());
        registry.register(
            "connections_banned",
            "Connections that were not served, for their address is banned",
            self.connections_banned.clone(),
        );
    }

    fn register_listeners(&self, registry: &mut Registry) {
        registry.register(
            "listener_events",
            "Events by group and outcome; a bad one is counted at each try",
            self.listened.clone(),
        );
        let gauges = [
            (
                "listener_lag_records",
                "Records that a group has not finished",
                &self.listener_lag,
            ),
            (
                "listener_parked",
                "Events that a group has parked",
                &self.listener_parked,
            ),
            (
                "listener_stopped",
                "1 while a group waits for its back end",
                &self.listener_stopped,
            ),
            (
                "listener_late",
                "1 while a group lags by more than half of events.retention",
                &self.listener_late,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "notifications",
            "Events shown to listeners of a mailbox or a user",
            self.notified.clone(),
        );
        registry.register(
            "suspicions",
            "Times that events of other nodes may have been missed",
            self.suspicions.clone(),
        );
    }

    fn register_locks(&self, registry: &mut Registry) {
        registry.register(
            "maildrop_locks_away",
            "1 while the service of maildrop locks is away",
            self.maildrop_locks_away.clone(),
        );
        registry.register(
            "maildrop_locks_local_only",
            "Log-ins, and deletions at QUIT, that had this node's lock only",
            self.maildrop_locks_local_only.clone(),
        );
        registry.register(
            "maildrop_locks_lost",
            "Locks that another node took while a session here had the maildrop",
            self.maildrop_locks_lost.clone(),
        );
    }

    /// Counts a command.
    pub fn command(&self, protocol: &'static str, verb: &'static str, result: &'static str) {
        self.commands
            .get_or_create(&CommandLabels {
                protocol,
                verb,
                result,
            })
            .inc();
    }

    /// Counts a limit that was reached.
    pub fn limit(&self, limit: &'static str) {
        self.limits.get_or_create(&LimitLabels { limit }).inc();
    }

    /// Counts what came of a proxy's header.
    pub(crate) fn proxy_header(&self, result: &'static str) {
        self.proxy_headers.get_or_create(&ProxyLabels { result }).inc();
    }

    /// Counts a store call that has `begun` then.
    pub fn stored(&self, operation: &'static str, begun: tokio::time::Instant) {
        self.store
            .get_or_create(&StoreLabels { operation })
            .observe(begun.elapsed().as_secs_f64());
    }
}

/// Reads the kinds of actor when Prometheus asks.
#[derive(Debug)]
struct KindsCollector(Arc<Kinds>);

impl Collector for KindsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        type Field = fn(&crate::observe::KindSnapshot) -> u64;
        let gauges: [(&str, &str, Field); 2] = [
            ("actors", "Actors alive", |kind| kind.alive),
            ("actor_queue", "Messages that wait for actors", |kind| kind.queued),
        ];
        let counters: [(&str, &str, Field); 5] = [
            ("actors_started", "Actors started", |kind| kind.started),
            ("actor_panics", "Actors that ended in a panic", |kind| {
                kind.panicked
            }),
            ("actor_restarts", "Actors restarted by the supervisor", |kind| {
                kind.restarted
            }),
            ("actor_handled", "Messages and commands handled", |kind| {
                kind.handled
            }),
            ("actor_handling_microseconds", "Time spent in handling", |kind| {
                kind.handling_micros
            }),
        ];
        let kinds = self.0.snapshot();
        for (name, help, field) in gauges {
            let metric = ConstGauge::new(0i64);
            let mut family = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            for kind in &kinds {
                let labels = [("kind", kind.kind)];
                ConstGauge::new(field(kind)).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, field) in counters {
            let metric = ConstCounter::new(0u64);
            let mut family = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            for kind in &kinds {
                let labels = [("kind", kind.kind)];
                ConstCounter::new(field(kind)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_encodes_commands_and_kinds() {
        let kinds = Arc::new(Kinds::default());
        let (metrics, registry) = Metrics::new(Arc::clone(&kinds));
        let _alive = kinds.pop3.born();
        metrics.command("pop3", "STAT", "ok");
        metrics.limit("pop3.connections_max");
        metrics.stored("read", tokio::time::Instant::now());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"mailhorn_commands_total{protocol="pop3",verb="STAT",result="ok"} 1"#,
            r#"mailhorn_limits_reached_total{limit="pop3.connections_max"} 1"#,
            r#"mailhorn_actors{kind="pop3_session"} 1"#,
            r#"mailhorn_actors_started_total{kind="pop3_session"} 1"#,
            r#"mailhorn_store_seconds_count{operation="read"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
