//! A group's figures, looked up once: they are counted for each event.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::status::GroupStatus;
use crate::metrics::{GroupLabels, ListenedLabels, Metrics};

/// The figures of one group.
#[derive(Debug, Clone)]
pub(super) struct GroupFigures {
    /// Events that the listener had.
    pub(super) done: Counter,
    /// Tries that ended in *bad event*.
    pub(super) bad: Counter,
    /// Events that were given up.
    pub(super) dead: Counter,
    lag: Gauge,
    parked: Gauge,
    stopped: Gauge,
    late: Gauge,
}

impl GroupFigures {
    pub(super) fn new(metrics: &Metrics, group: &str) -> Self {
        let labels = GroupLabels {
            group: group.to_owned(),
        };
        let counter = |outcome| {
            let group = group.to_owned();
            metrics
                .listened
                .get_or_create_owned(&ListenedLabels { group, outcome })
        };
        Self {
            done: counter("done"),
            bad: counter("bad"),
            dead: counter("dead"),
            lag: metrics.listener_lag.get_or_create_owned(&labels),
            parked: metrics.listener_parked.get_or_create_owned(&labels),
            stopped: metrics.listener_stopped.get_or_create_owned(&labels),
            late: metrics.listener_late.get_or_create_owned(&labels),
        }
    }

    /// Where the group stands.
    pub(super) fn shown(&self, status: &GroupStatus) {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.lag.set(count(status.lag()));
        self.parked.set(count(status.parked as u64));
        self.stopped.set(i64::from(status.why.is_some()));
        self.late.set(i64::from(status.late));
    }
}
