//! Tells when users and domains come near their quotas: a group listener that announces each crossing of a threshold
//! once, up and down.
//!
//! It looks at usage as it is now and not at what the events say, so it ends in the same state whatever comes twice and
//! in whichever order two logs are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use mailhorn_events::{Event, Happened, Happening, QuotaLimits, QuotaRoot, QuotaUsage};
use mailhorn_ports::{
    Announce, BatchHandled, Change, Figure, Handled, Ids, Listener, QuotaOwner, QuotaStore, StoreError,
    ThresholdMove, Writer,
};

/// How often an owner is looked at in one batch at most. Each look but the last ends with an announcement.
pub const LOOKS_MAX: u32 = 8;

/// The limits of owners for whom none were set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaDefaults {
    /// Each account's.
    pub user: QuotaLimits,
    /// Each domain's.
    pub domain: QuotaLimits,
}

/// What [`QuotaThresholds`] needs.
#[derive(Debug)]
pub struct QuotaThresholdsDeps {
    /// Limits, usage, and what was announced last.
    pub quota: Arc<dyn QuotaStore>,
    /// Takes the announcements.
    pub writer: Arc<dyn Writer>,
    /// Names and stamps of the announcements.
    pub ids: Ids,
    /// Where no limits were set.
    pub defaults: QuotaDefaults,
    /// The thresholds in percent of the limit, in any order. 0 is no threshold: it is what holds below all of them.
    pub percents: Vec<u8>,
}

/// Announces [`Happening::QuotaUsageUpdated`] when usage crosses a threshold.
///
/// After mail came or went, or limits were set, it looks once at each account and domain of the batch. A crossing is announced on the
/// condition that nobody else announced it ([`ThresholdMove`]). The event is about the user whose mail was the last of
/// the batch to be counted, and about no mailbox.
#[derive(Debug)]
pub struct QuotaThresholds(QuotaThresholdsDeps);

impl QuotaThresholds {
    /// Of these thresholds and limits.
    #[must_use]
    pub fn new(deps: QuotaThresholdsDeps) -> Self {
        Self(deps)
    }

    /// Announces crossings until what was announced is what usage has reached. Usage may move, and another node may
    /// announce, between the look and the announcement: whoever announces looks again, so that the one who comes last
    /// leaves it right. After [`LOOKS_MAX`] looks it is left to the events that go on moving it.
    async fn look(&self, owner: &QuotaOwner, cause: &Event) -> Result<(), StoreError> {
        for _ in 0..LOOKS_MAX {
            let Some((usage, crossing)) = self.crossing(owner).await? else {
                return Ok(());
            };
            let event = Event {
                user: cause.user.clone(),
                account: cause.account,
                mailbox: None,
                happening: Happening::QuotaUsageUpdated(usage),
            };
            let announce = Announce {
                event: self.0.ids.event(),
                stamp: self.0.ids.stamp(),
                events: vec![event],
                threshold: Some(crossing),
            };
            self.0.writer.write(Change::Announce(announce)).await?;
        }
        Ok(())
    }

    /// What there is to announce of an owner, if anything.
    async fn crossing(&self, owner: &QuotaOwner) -> Result<Option<(QuotaUsage, ThresholdMove)>, StoreError> {
        let quota = &self.0.quota;
        let (root, default) = match owner {
            QuotaOwner::Account(_) => (QuotaRoot::User, self.0.defaults.user),
            QuotaOwner::Domain(name) => (QuotaRoot::Domain(name.clone()), self.0.defaults.domain),
        };
        let limits = quota.quota_limits(owner).await?.unwrap_or(default);
        // The announced one first: usage that is read later is never older than what it is compared with.
        let before_percent = quota.announced_threshold(owner).await?;
        // Where nothing is limited nothing is reached, and usage need not be asked for.
        let used = if limits == QuotaLimits::default() {
            if before_percent == 0 {
                return Ok(None);
            }
            Figure::default()
        } else {
            quota.usage(owner).await?
        };
        let reached_percent = reached(&self.0.percents, used, limits);
        if reached_percent == before_percent {
            return Ok(None);
        }
        let usage = QuotaUsage {
            root,
            messages: used.messages,
            octets: used.octets,
            limits,
            reached_percent,
            before_percent,
        };
        let crossing = ThresholdMove {
            owner: owner.clone(),
            from_percent: before_percent,
            to_percent: reached_percent,
        };
        Ok(Some((usage, crossing)))
    }
}

#[async_trait]
impl Listener for QuotaThresholds {
    fn handles(&self, event: &Event) -> bool {
        matches!(
            event.happening,
            Happening::Added { .. } | Happening::Expunged { .. } | Happening::QuotaLimitsUpdated { .. }
        )
    }

    async fn handle(&self, happened: &Happened) -> Handled {
        self.handle_batch(std::slice::from_ref(happened)).await.then
    }

    async fn handle_batch(&self, batch: &[Happened]) -> BatchHandled {
        let events = batch
            .iter()
            .map(Happened::event)
            .filter(|event| self.handles(event));
        for (owner, cause) in touched(events) {
            // Nothing of the batch is done then: looking again at those that were looked at finds nothing to announce.
            if let Err(error) = self.look(&owner, cause).await {
                return failed(batch.len(), &error);
            }
        }
        BatchHandled::all(batch.len())
    }

    /// Counts usage anew. Thresholds that were crossed in the gap are announced with the owner's next mail.
    async fn rebuild(&self) -> Result<bool, String> {
        match self.0.quota.recount_usage().await {
            Ok(_) => Ok(true),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A store or a log that is away is waited for. What is damaged stays so and must not stop all others: the events come
/// again one by one, and the one that leads there is bad.
fn failed(events: usize, error: &StoreError) -> BatchHandled {
    let then = match error {
        StoreError::Unavailable(_) => Handled::NotNow(error.to_string()),
        StoreError::Damaged(_) if events == 1 => Handled::Bad(error.to_string()),
        StoreError::Damaged(_) => Handled::Done,
    };
    BatchHandled { done: 0, then }
}

/// The owners whose usage or limits these events changed, each once, with the last event that did.
fn touched<'a>(events: impl Iterator<Item = &'a Event>) -> BTreeMap<QuotaOwner, &'a Event> {
    let mut touched = BTreeMap::new();
    for event in events {
        if let Happening::QuotaLimitsUpdated { root, .. } = &event.happening {
            let owner = match root {
                QuotaRoot::User => QuotaOwner::Account(event.account),
                QuotaRoot::Domain(name) => QuotaOwner::Domain(name.clone()),
            };
            touched.insert(owner, event);
            continue;
        }
        touched.insert(QuotaOwner::Account(event.account), event);
        if let Some((_, domain)) = event.user.rsplit_once('@') {
            touched.insert(QuotaOwner::Domain(domain.to_owned()), event);
        }
    }
    touched
}

/// The highest of `percents` that usage has reached, of messages or of octets, whichever is fuller; 0 when it is below
/// all of them. Who holds nothing has reached nothing, even of a limit of 0: an owner that is gone is never announced.
fn reached(percents: &[u8], usage: Figure, limits: QuotaLimits) -> u8 {
    let fills = |used: u64, limit: Option<u64>, percent: u8| {
        let is_filled = |limit| u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
        used > 0 && limit.is_some_and(is_filled)
    };
    let reached = percents.iter().copied().filter(|percent| {
        fills(usage.messages, limits.messages, *percent) || fills(usage.octets, limits.octets, *percent)
    });
    reached.max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
