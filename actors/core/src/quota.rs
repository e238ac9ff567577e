//! Whether a message fits: the quotas of an account and of its domain, asked where mail comes in.
//!
//! Limits are remembered for a moment, so an owner without any costs the store nothing; usage is read anew each time,
//! and only where there is a limit. What is asked and what is then stored are two moments: messages that come in at
//! once, or for several users of a domain, may each fit and together pass the limit. A quota bounds what is taken from
//! then on, not the last octet.

use std::sync::Arc;
use std::time::Duration;

use mailhorn_events::{AccountId, QuotaLimits};
use mailhorn_ports::{Figure, QuotaDefaults, QuotaOwner, QuotaStore, StoreError};
use quick_cache::sync::Cache;
use tokio::time::Instant;

/// How long limits are remembered, unless set otherwise: how late a change made elsewhere may be noticed.
pub const REFRESH_DEFAULT: Duration = Duration::from_secs(5);
/// How many owners' limits are remembered at most, unless set otherwise. An entry takes some 100 octets.
pub const CACHED_MAX_DEFAULT: usize = 10_000;

/// How quotas are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaOptions {
    /// The limits of owners for whom none were set.
    pub defaults: QuotaDefaults,
    /// How long limits are remembered.
    pub refresh: Duration,
    /// How many owners' limits are remembered at most (about); those asked for least give way.
    pub cached_max: usize,
}

impl Default for QuotaOptions {
    fn default() -> Self {
        Self {
            defaults: QuotaDefaults::default(),
            refresh: REFRESH_DEFAULT,
            cached_max: CACHED_MAX_DEFAULT,
        }
    }
}

/// Whether a message fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaVerdict {
    /// It does, as things are now.
    Fits,
    /// It doesn't now, and may when something was removed.
    Full,
    /// It would not fit though nothing else were there.
    TooLarge,
}

/// The quotas, as sessions ask them.
#[derive(Debug)]
pub struct Quotas {
    options: QuotaOptions,
    store: Arc<dyn QuotaStore>,
    limits: Cache<QuotaOwner, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    limits: QuotaLimits,
    until: Instant,
}

impl Quotas {
    /// The quotas in `store`; nothing is remembered yet.
    #[must_use]
    pub fn new(options: QuotaOptions, store: Arc<dyn QuotaStore>) -> Self {
        Self {
            options,
            store,
            limits: Cache::new(options.cached_max),
        }
    }

    /// Whether a message of `octets` octets (0 where it is not known) fits into the quota of the account and into that
    /// of the domain of `address`, its address in canonical form; the worse of both.
    ///
    /// # Errors
    ///
    /// The [`StoreError`] of the one that can't be asked now.
    pub async fn ask(
        &self,
        account: AccountId,
        address: &str,
        octets: u64,
    ) -> Result<QuotaVerdict, StoreError> {
        let mut worst = QuotaVerdict::Fits;
        for owner in QuotaOwner::of(account, address) {
            worst = worst.max(self.ask_owner(owner, octets).await?);
        }
        Ok(worst)
    }

    /// Forgets what was remembered of an owner whose limits were changed on this node. An answer that is being read
    /// from the store at this moment may still bring the old ones, for as long as they are remembered.
    pub fn limits_changed(&self, owner: &QuotaOwner) {
        self.limits.remove(owner);
    }

    async fn ask_owner(&self, owner: QuotaOwner, octets: u64) -> Result<QuotaVerdict, StoreError> {
        let limits = self.limits_of(&owner).await?;
        if limits.is_unlimited() {
            return Ok(QuotaVerdict::Fits);
        }
        let usage = self.store.usage(&owner).await?;
        Ok(decide(limits, usage, octets))
    }

    async fn limits_of(&self, owner: &QuotaOwner) -> Result<QuotaLimits, StoreError> {
        if let Some(known) = self.limits.get(owner)
            && Instant::now() < known.until
        {
            return Ok(known.limits);
        }
        // From before the question: what is read may be as old as that.
        let until = Instant::now() + self.options.refresh;
        let set = self.store.quota_limits(owner).await?;
        let limits = self.options.defaults.in_force(owner, set);
        self.limits.insert(owner.clone(), Known { limits, until });
        Ok(limits)
    }
}

/// Whether one more message of `octets` octets fits beside what is there. A message of which nothing is known has at
/// least an octet: our own lines.
fn decide(limits: QuotaLimits, usage: Figure, octets: u64) -> QuotaVerdict {
    let octets = octets.max(1);
    let passes = |limit: Option<u64>, used: u64, more: u64| {
        limit.is_some_and(|limit| used.saturating_add(more) > limit)
    };
    if passes(limits.messages, 0, 1) || passes(limits.octets, 0, octets) {
        QuotaVerdict::TooLarge
    } else if passes(limits.messages, usage.messages, 1) || passes(limits.octets, usage.octets, octets) {
        QuotaVerdict::Full
    } else {
        QuotaVerdict::Fits
    }
}

#[cfg(test)]
mod tests;
