//! Tells when users and domains come near their quotas: a group listener that announces each crossing of a threshold
//! once, up and down.
//!
//! It looks at usage as it is now and not at what the events say, so it ends in the same state whatever comes twice and
//! in whichever order two logs are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use mailhorn_events::{Event, Happened, Happening, QuotaLimits, QuotaUsage};
use mailhorn_ports::{
    Announce, BatchHandled, Change, Figure, Handled, Ids, Listener, QuotaDefaults, QuotaOwner, QuotaStanding,
    QuotaStore, StoreError, ThresholdMove, Writer,
};

/// How often an owner is looked at in one batch at most. Each look but the last ends with an announcement of it.
pub const LOOKS_MAX: u32 = 8;

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
/// After mail came or went, or limits were set, it looks at the accounts and domains of the batch, all at once. A crossing
/// is announced on the condition that nobody else announced it ([`ThresholdMove`]). The event is about the user whose mail
/// was the last of the batch to be counted, and about no mailbox.
#[derive(Debug)]
pub struct QuotaThresholds(QuotaThresholdsDeps);

impl QuotaThresholds {
    /// Of these thresholds and limits.
    #[must_use]
    pub fn new(deps: QuotaThresholdsDeps) -> Self {
        Self(deps)
    }

    /// Looks at all these owners until what was announced of each is what its usage has reached. Usage may move, and
    /// another node may announce, between the look and the announcement: of whom something was announced is looked at
    /// again, so that the one who comes last leaves it right. After [`LOOKS_MAX`] looks it is left to the events that go
    /// on moving it.
    async fn look(&self, mut touched: BTreeMap<QuotaOwner, &Event>) -> Result<(), StoreError> {
        for _ in 0..LOOKS_MAX {
            let owners: Vec<QuotaOwner> = touched.keys().cloned().collect();
            let standings = self.0.quota.quota_standings(&owners, self.0.defaults).await?;
            let mut announced = BTreeMap::new();
            for ((owner, cause), standing) in touched.into_iter().zip(standings) {
                if let Some(usage) = self.crossing(&owner, standing) {
                    self.announce(&owner, usage, cause).await?;
                    announced.insert(owner, cause);
                }
            }
            touched = announced;
            if touched.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn announce(&self, owner: &QuotaOwner, usage: QuotaUsage, cause: &Event) -> Result<(), StoreError> {
        let crossing = ThresholdMove {
            owner: owner.clone(),
            from_percent: usage.before_percent,
            to_percent: usage.reached_percent,
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
        self.0.writer.write(Change::Announce(announce)).await
    }

    /// What there is to announce of an owner that stands so, if anything.
    fn crossing(&self, owner: &QuotaOwner, standing: QuotaStanding) -> Option<QuotaUsage> {
        let limits = standing.limits;
        let Figure { messages, octets } = standing.usage;
        let usage = QuotaUsage {
            root: owner.root(),
            messages,
            octets,
            limits,
            reached_percent: reached(&self.0.percents, standing.usage, limits),
            before_percent: standing.announced_percent,
        };
        (usage.reached_percent != usage.before_percent).then_some(usage)
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
        match self.look(touched(events)).await {
            Ok(()) => BatchHandled::all(batch.len()),
            // Nothing of the batch is done then: looking again at those that were looked at finds nothing to announce.
            Err(error) => failed(batch.len(), &error),
        }
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
        match &event.happening {
            Happening::QuotaLimitsUpdated { root, .. } => {
                touched.insert(QuotaOwner::of_root(root, event.account), event);
            }
            _ => {
                let owners = QuotaOwner::of(event.account, &event.user);
                touched.extend(owners.map(|owner| (owner, event)));
            }
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
