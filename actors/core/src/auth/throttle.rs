//! How failing log-ins are slowed and limited: counts, decided with the time handed in.
//!
//! An attempt is counted for its pair when it begins and taken back when it succeeds, so a hundred guesses at once
//! are a hundred guesses. For its address it is counted when it has failed, since a hundred users behind one
//! address may well come at once. Success forgets the pair's failures and not the address's: an account of one's
//! own buys no guesses at others.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use super::options::FailureLimits;
use crate::counts::Counts;
use crate::peers::{counted_as, is_in};

/// How long the answer to a failure is held back: to the first not at all, to the sixth and all later ones for the
/// last of these.
const DELAYS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    DELAY_MAX,
];

/// The longest delay. Clients give up on an answer after thirty seconds and more.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(15);

/// With a user name.
type Pair = (IpNet, Arc<str>);

/// An attempt to log in that has begun. Each is ended once: [`Throttle::failed`], [`Throttle::succeeded`] or
/// [`Throttle::void`].
#[derive(Debug)]
pub(super) struct Attempt {
    /// `None` when it comes from a trusted network.
    pair: Option<Pair>,
}

/// Too many failures: the attempt is not even begun.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LimitReached;

/// The failures of late.
#[derive(Debug)]
pub(super) struct Throttle {
    limits: FailureLimits,
    trusted: Vec<IpNet>,
    addresses: Counts<IpNet>,
    pairs: Counts<Pair>,
}

impl Throttle {
    pub(super) fn new(limits: FailureLimits, trusted: Vec<IpNet>) -> Self {
        Self {
            limits,
            trusted,
            addresses: Counts::new(limits.counted_for, limits.entries_max),
            pairs: Counts::new(limits.counted_for, limits.entries_max),
        }
    }

    /// An attempt of `peer` to log in as `name`, or that it has had too many.
    pub(super) fn begin(&mut self, now: Instant, peer: IpAddr, name: &str) -> Result<Attempt, LimitReached> {
        let peer = peer.to_canonical();
        if is_in(&self.trusted, peer) {
            return Ok(Attempt { pair: None });
        }
        let source = counted_as(peer);
        let pair: Pair = (source, name.into());
        if self.addresses.count(now, &source) >= self.limits.of_address_max
            || self.pairs.count(now, &pair) >= self.limits.of_pair_max
        {
            return Err(LimitReached);
        }
        self.pairs.add(now, &pair);
        Ok(Attempt { pair: Some(pair) })
    }

    /// The attempt has failed; its answer is to be held back for so long.
    pub(super) fn failed(&mut self, now: Instant, attempt: Attempt) -> Duration {
        let Some(pair) = attempt.pair else {
            return Duration::ZERO;
        };
        let of_address = self.addresses.add(now, &pair.0);
        let of_pair = self.pairs.count(now, &pair);
        delay(of_address.max(of_pair))
    }

    /// The attempt has succeeded: the pair's failures are forgotten.
    pub(super) fn succeeded(&mut self, attempt: Attempt) {
        if let Some(pair) = attempt.pair {
            self.pairs.forget(&pair);
        }
    }

    /// Nothing was found out: the attempt is as if it had not been.
    pub(super) fn void(&mut self, attempt: Attempt) {
        if let Some(pair) = attempt.pair {
            self.pairs.take_back(&pair);
        }
    }

    /// How many addresses and pairs were forgotten before their time because the tables were full.
    pub(super) fn forgotten_early(&self) -> u64 {
        self.addresses.forgotten_early() + self.pairs.forgotten_early()
    }
}

/// The delay of the answer to the nth failure.
fn delay(failures: u32) -> Duration {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    DELAYS.get(index).copied().unwrap_or(DELAY_MAX)
}

#[cfg(test)]
mod tests;
