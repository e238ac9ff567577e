use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use mailhorn_ports::QuotaStanding;
use mailhorn_ports::memory::MemoryStore;
use tokio::time::advance;

use super::*;

const ANN: AccountId = AccountId(uuid::Uuid::from_u128(1));
const ADDRESS: &str = "ann@example.org";

/// Counts what is asked for.
#[derive(Debug, Default)]
struct Asked {
    store: MemoryStore,
    limits: AtomicU64,
    usage: AtomicU64,
}

impl Asked {
    fn counts(&self) -> (u64, u64) {
        (
            self.limits.load(Ordering::Relaxed),
            self.usage.load(Ordering::Relaxed),
        )
    }
}

#[async_trait]
impl QuotaStore for Asked {
    async fn quota_limits(&self, owner: &QuotaOwner) -> Result<Option<QuotaLimits>, StoreError> {
        self.limits.fetch_add(1, Ordering::Relaxed);
        self.store.quota_limits(owner).await
    }

    async fn set_quota_limits(
        &self,
        owner: &QuotaOwner,
        limits: Option<QuotaLimits>,
    ) -> Result<(), StoreError> {
        self.store.set_quota_limits(owner, limits).await
    }

    async fn usage(&self, owner: &QuotaOwner) -> Result<Figure, StoreError> {
        self.usage.fetch_add(1, Ordering::Relaxed);
        self.store.usage(owner).await
    }

    async fn quota_standings(
        &self,
        owners: &[QuotaOwner],
        defaults: QuotaDefaults,
    ) -> Result<Vec<QuotaStanding>, StoreError> {
        self.store.quota_standings(owners, defaults).await
    }

    async fn recount_usage(&self) -> Result<u64, StoreError> {
        self.store.recount_usage().await
    }
}

fn limits(messages: Option<u64>, octets: Option<u64>) -> QuotaLimits {
    QuotaLimits { messages, octets }
}

fn domain() -> QuotaOwner {
    QuotaOwner::Domain("example.org".into())
}

#[test]
fn a_message_fits_full_or_too_large() {
    use QuotaVerdict::{Fits, Full, TooLarge};
    let cases = [
        // limits, used messages and octets, the message's octets
        ((None, None), (9, 900), 1_000, Fits),
        ((Some(10), Some(1_000)), (9, 900), 100, Fits),
        ((Some(10), Some(1_000)), (9, 900), 101, Full),
        ((Some(10), Some(1_000)), (10, 0), 1, Full),
        ((Some(10), Some(1_000)), (0, 0), 1_000, Fits),
        ((Some(10), Some(1_000)), (0, 0), 1_001, TooLarge),
        ((Some(10), Some(1_000)), (99, 0), 1_001, TooLarge),
        ((Some(0), None), (0, 0), 1, TooLarge),
        ((None, Some(0)), (0, 0), 0, TooLarge),
        ((None, Some(1_000)), (1, 999), 0, Fits),
        ((None, Some(1_000)), (1, 1_000), 0, Full),
        ((None, Some(u64::MAX)), (1, u64::MAX), u64::MAX, Fits),
    ];
    for ((messages_max, octets_max), (messages, octets), message, expected) in cases {
        let (limits, usage) = (limits(messages_max, octets_max), Figure { messages, octets });
        assert_eq!(
            decide(limits, usage, message),
            expected,
            "{limits:?} {usage:?} {message}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_without_limits_costs_the_store_nothing_once_it_is_known() {
    let store = Arc::new(Asked::default());
    let quotas = Quotas::new(QuotaOptions::default(), Arc::clone(&store) as _);
    for _ in 0..3 {
        assert_eq!(quotas.ask(ANN, ADDRESS, 1).await.unwrap(), QuotaVerdict::Fits);
    }
    assert_eq!(store.counts(), (2, 0), "the account's limits and the domain's");
    advance(REFRESH_DEFAULT).await;
    quotas.ask(ANN, ADDRESS, 1).await.unwrap();
    assert_eq!(store.counts(), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn usage_is_asked_for_each_time_and_only_where_there_is_a_limit() {
    let store = Arc::new(Asked::default());
    let options = QuotaOptions {
        defaults: QuotaDefaults {
            domain: limits(Some(5), None),
            ..QuotaDefaults::default()
        },
        ..QuotaOptions::default()
    };
    let quotas = Quotas::new(options, Arc::clone(&store) as _);
    for _ in 0..3 {
        assert_eq!(quotas.ask(ANN, ADDRESS, 1).await.unwrap(), QuotaVerdict::Fits);
    }
    assert_eq!(store.counts(), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn changed_limits_hold_at_once_where_they_were_changed_and_soon_elsewhere() {
    let store = Arc::new(Asked::default());
    let here = Quotas::new(QuotaOptions::default(), Arc::clone(&store) as _);
    let elsewhere = Quotas::new(QuotaOptions::default(), Arc::clone(&store) as _);
    for quotas in [&here, &elsewhere] {
        quotas.ask(ANN, ADDRESS, 10).await.unwrap();
    }
    let limits = limits(None, Some(9));
    store.set_quota_limits(&domain(), Some(limits)).await.unwrap();
    here.limits_changed(&domain());
    assert_eq!(here.ask(ANN, ADDRESS, 10).await.unwrap(), QuotaVerdict::TooLarge);
    assert_eq!(elsewhere.ask(ANN, ADDRESS, 10).await.unwrap(), QuotaVerdict::Fits);
    advance(REFRESH_DEFAULT).await;
    assert_eq!(
        elsewhere.ask(ANN, ADDRESS, 10).await.unwrap(),
        QuotaVerdict::TooLarge
    );
}

#[tokio::test(start_paused = true)]
async fn limits_that_were_set_hold_in_place_of_the_settings() {
    let store = Arc::new(Asked::default());
    let options = QuotaOptions {
        defaults: QuotaDefaults {
            user: limits(None, Some(5)),
            ..QuotaDefaults::default()
        },
        ..QuotaOptions::default()
    };
    let quotas = Quotas::new(options, Arc::clone(&store) as _);
    assert_eq!(
        quotas.ask(ANN, ADDRESS, 10).await.unwrap(),
        QuotaVerdict::TooLarge
    );
    let owner = QuotaOwner::Account(ANN);
    let unlimited = Some(QuotaLimits::default());
    store.set_quota_limits(&owner, unlimited).await.unwrap();
    quotas.limits_changed(&owner);
    assert_eq!(quotas.ask(ANN, ADDRESS, 10).await.unwrap(), QuotaVerdict::Fits);
}

#[tokio::test]
async fn what_can_not_be_asked_is_an_error_and_is_not_remembered() {
    let store = Arc::new(Asked::default());
    let quotas = Quotas::new(QuotaOptions::default(), Arc::clone(&store) as _);
    store.store.set_unavailable(true);
    assert!(quotas.ask(ANN, ADDRESS, 1).await.is_err());
    store.store.set_unavailable(false);
    assert_eq!(quotas.ask(ANN, ADDRESS, 1).await.unwrap(), QuotaVerdict::Fits);
}
