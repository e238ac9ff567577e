//! What became of log-ins, in figures.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

use super::Authenticator;

/// The figures of a process since it began.
#[derive(Debug, Default)]
pub(super) struct AuthCounters {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) throttled: AtomicU64,
    pub(super) unavailable: AtomicU64,
    pub(super) line_full: AtomicU64,
    pub(super) remembered_hits: AtomicU64,
    pub(super) app_passwords_accepted: AtomicU64,
    pub(super) hash_runs: AtomicU64,
    pub(super) scram_upgrades: AtomicU64,
    pub(super) hashes_replaced: AtomicU64,
    pub(super) replacements_put_off: AtomicU64,
}

/// What became of the log-ins of a process since it began. All of these only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuthCounts {
    /// Log-ins that were right.
    pub accepted: u64,
    /// Log-ins that were wrong.
    pub refused: u64,
    /// Log-ins refused unheard, for too many failures before them.
    pub throttled: u64,
    /// Log-ins that could not be checked: the directory was away, or the line of password checks was full.
    pub unavailable: u64,
    /// Password checks for which the line was full: [`AuthOptions::waiting_max`] was reached.
    ///
    /// [`AuthOptions::waiting_max`]: super::AuthOptions::waiting_max
    pub line_full: u64,
    /// Passwords that were remembered, so no hash was computed.
    pub remembered_hits: u64,
    /// Log-ins with an app password; [`AuthCounts::accepted`] has them too.
    pub app_passwords_accepted: u64,
    /// Passwords checked against a hash, for users who do not exist too.
    pub hash_runs: u64,
    /// Accounts that got SCRAM keys at a log-in.
    pub scram_upgrades: u64,
    /// Hashes of other servers that were replaced by ours after a log-in.
    pub hashes_replaced: u64,
    /// Such hashes that stay for now, because too many were being replaced or the line was full.
    pub replacements_put_off: u64,
    /// Addresses and pairs of address and user whose failures were forgotten before their time:
    /// [`FailureLimits::entries_max`] was reached.
    ///
    /// [`FailureLimits::entries_max`]: super::FailureLimits::entries_max
    pub failures_forgotten: u64,
}

impl AuthCounters {
    pub(super) fn snapshot(&self, failures_forgotten: u64) -> AuthCounts {
        AuthCounts {
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
            unavailable: self.unavailable.load(Ordering::Relaxed),
            line_full: self.line_full.load(Ordering::Relaxed),
            remembered_hits: self.remembered_hits.load(Ordering::Relaxed),
            app_passwords_accepted: self.app_passwords_accepted.load(Ordering::Relaxed),
            hash_runs: self.hash_runs.load(Ordering::Relaxed),
            scram_upgrades: self.scram_upgrades.load(Ordering::Relaxed),
            hashes_replaced: self.hashes_replaced.load(Ordering::Relaxed),
            replacements_put_off: self.replacements_put_off.load(Ordering::Relaxed),
            failures_forgotten,
        }
    }
}

impl AuthCounts {
    /// Each with the name that `/metrics` has for it.
    fn named(&self) -> [(&'static str, u64); 12] {
        [
            ("accepted", self.accepted),
            ("refused", self.refused),
            ("throttled", self.throttled),
            ("unavailable", self.unavailable),
            ("hash_queue_full", self.line_full),
            ("remembered", self.remembered_hits),
            ("app_password_accepted", self.app_passwords_accepted),
            ("hashed", self.hash_runs),
            ("scram_keys_made", self.scram_upgrades),
            ("hash_replaced", self.hashes_replaced),
            ("hash_replacement_put_off", self.replacements_put_off),
            ("failures_forgotten", self.failures_forgotten),
        ]
    }
}

/// The figures of log-ins in `/metrics`: `mailhorn_auth_total`.
#[derive(Debug)]
pub(super) struct AuthFigures(pub(super) Arc<Authenticator>);

impl Collector for AuthFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Log-ins by what became of them, and the work for them; `throttled`, `hash_queue_full` and \
                    `failures_forgotten` are limits that were reached";
        let metric = ConstCounter::new(0u64);
        let mut family = encoder.encode_descriptor("auth", help, None, metric.metric_type())?;
        for (what, count) in self.0.counts().named() {
            ConstCounter::new(count).encode(family.encode_family(&[("what", what)])?)?;
        }
        Ok(())
    }
}

/// Counts one more. The figures order nothing, so no ordering is asked for.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
