//! Quotas: limits, the threshold that was announced last, and how owners stand.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{try_join, try_join_all};
use mailhorn_events::{QuotaLimits, Stamp};
use mailhorn_ports::{Figure, QuotaDefaults, QuotaOwner, QuotaStanding, QuotaStore, StoreError};
use parking_lot::Mutex;

use crate::session::Cql;
use crate::statements::Statement;
use crate::store::{CassandraStore, Inner};
use crate::usage;
use crate::values::{bigint, int, text};

/// Owners without limits that are remembered at most; beyond, all are forgotten and asked for again.
const UNLIMITED_MAX: usize = 100_000;

/// Owners for whom no limits were set and nothing was announced, and when that was read: mail for them comes and goes, and
/// there is nothing to say of it.
#[derive(Debug, Default)]
pub(crate) struct Unlimited(Mutex<HashMap<QuotaOwner, Stamp>>);

impl Unlimited {
    fn read_at(&self, owner: &QuotaOwner) -> Option<Stamp> {
        self.0.lock().get(owner).copied()
    }

    fn remember(&self, owner: &QuotaOwner, now: Stamp) {
        let mut unlimited = self.0.lock();
        if unlimited.len() >= UNLIMITED_MAX {
            unlimited.clear();
        }
        unlimited.insert(owner.clone(), now);
    }

    fn forget(&self, owner: &QuotaOwner) {
        self.0.lock().remove(owner);
    }
}

/// What an owner's rows are found by.
pub(crate) fn key(owner: &QuotaOwner) -> String {
    match owner {
        QuotaOwner::Account(account) => format!("account {account}"),
        QuotaOwner::Domain(domain) => format!("domain {domain}"),
    }
}

/// The threshold that was announced last, in percent; 0 at first.
pub(crate) async fn announced(cql: &dyn Cql, owner: &QuotaOwner) -> Result<u8, StoreError> {
    let rows = cql.run(Statement::Announced, vec![text(&key(owner))]).await?;
    let percent = rows.first().map(|row| row.small(0)).transpose()?;
    Ok(percent
        .and_then(|percent| u8::try_from(percent).ok())
        .unwrap_or(0))
}

pub(crate) async fn set_announced(
    cql: &dyn Cql,
    owner: &QuotaOwner,
    percent: u8,
    stamp: Stamp,
) -> Result<(), StoreError> {
    let values = vec![text(&key(owner)), int(percent.into()), bigint(stamp.0)];
    cql.run(Statement::SetAnnounced, values).await?;
    Ok(())
}

/// The limits that were set, and when.
async fn limits(cql: &dyn Cql, owner: &QuotaOwner) -> Result<Option<(QuotaLimits, Stamp)>, StoreError> {
    let rows = cql.run(Statement::QuotaLimits, vec![text(&key(owner))]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let limits = QuotaLimits {
        messages: row.maybe_number(0)?,
        octets: row.maybe_number(1)?,
    };
    Ok(Some((limits, Stamp(row.number(2)?))))
}

async fn remove_limits(inner: &Inner, owner: &QuotaOwner) -> Result<(), StoreError> {
    let Some((_, set)) = limits(&*inner.cql, owner).await? else {
        return Ok(());
    };
    // Just above what it removes, and this process is above it from now on: limits that are set again are not hidden.
    inner.saw(set.next());
    let values = vec![bigint(set.next().0), text(&key(owner))];
    inner.cql.run(Statement::RemoveQuotaLimits, values).await?;
    Ok(())
}

async fn set_limits(inner: &Inner, owner: &QuotaOwner, to: QuotaLimits) -> Result<(), StoreError> {
    // Above what was set before, whatever this machine's clock says.
    if let Some((_, set)) = limits(&*inner.cql, owner).await? {
        inner.saw(set);
    }
    let stamp = inner.next_stamp();
    let values = vec![
        text(&key(owner)),
        to.messages.and_then(bigint),
        to.octets.and_then(bigint),
        bigint(stamp.0),
        bigint(stamp.0),
    ];
    inner.cql.run(Statement::SetQuotaLimits, values).await?;
    Ok(())
}

async fn remove_announced(inner: &Inner, owner: &QuotaOwner) -> Result<(), StoreError> {
    let rows = inner
        .cql
        .run(Statement::AnnouncedAt, vec![text(&key(owner))])
        .await?;
    let Some(at) = rows.first().map(|row| row.number(0)).transpose()? else {
        return Ok(());
    };
    let stamp = inner.next_stamp().max(Stamp(at).next());
    let values = vec![bigint(stamp.0), text(&key(owner))];
    inner.cql.run(Statement::RemoveAnnounced, values).await?;
    Ok(())
}

/// Removes what is kept of an owner who is gone: a domain that was removed, or an account that is about to be forgotten.
pub(crate) async fn forget(inner: &Inner, owner: &QuotaOwner) -> Result<(), StoreError> {
    let own = try_join(remove_limits(inner, owner), remove_announced(inner, owner));
    try_join(own, usage::forget(inner, owner)).await?;
    Ok(())
}

/// What these owners hold. Accounts come first, for their domain's sum is of their figures.
async fn usages(
    mail: &CassandraStore,
    owners: &[QuotaOwner],
) -> Result<BTreeMap<QuotaOwner, Figure>, StoreError> {
    let is_account = |owner: &&QuotaOwner| matches!(owner, QuotaOwner::Account(_));
    let (accounts, domains): (Vec<&QuotaOwner>, Vec<&QuotaOwner>) = owners.iter().partition(is_account);
    let mut usages = BTreeMap::new();
    for owners in [accounts, domains] {
        let of_each = owners.into_iter().map(|owner| async move {
            let figure = usage::usage(mail, owner).await?;
            Ok::<_, StoreError>((owner.clone(), figure))
        });
        usages.extend(try_join_all(of_each).await?);
    }
    Ok(usages)
}

impl CassandraStore {
    /// The limits that were set for an owner, and the threshold that was announced last. That there is neither, and no
    /// default that could lead to one, is remembered for as long as usage is.
    async fn marks(
        &self,
        owner: &QuotaOwner,
        defaults: QuotaDefaults,
    ) -> Result<(Option<QuotaLimits>, u8), StoreError> {
        let (inner, now) = (&self.0, self.0.now());
        let is_recent = |read_at: Stamp| {
            Duration::from_micros(now.0.saturating_sub(read_at.0)) < inner.options.usage_refresh
        };
        if inner.unlimited.read_at(owner).is_some_and(is_recent) {
            return Ok((None, 0));
        }
        let cql = &*inner.cql;
        let (limits, percent) = try_join(limits(cql, owner), announced(cql, owner)).await?;
        let limits = limits.map(|(limits, _)| limits);
        if limits.is_none() && percent == 0 && defaults.in_force(owner, None).is_unlimited() {
            inner.unlimited.remember(owner, now);
        }
        Ok((limits, percent))
    }
}

#[async_trait]
impl QuotaStore for CassandraStore {
    async fn quota_limits(&self, owner: &QuotaOwner) -> Result<Option<QuotaLimits>, StoreError> {
        let limits = limits(&*self.0.cql, owner).await?;
        Ok(limits.map(|(limits, _)| limits))
    }

    async fn set_quota_limits(
        &self,
        owner: &QuotaOwner,
        limits: Option<QuotaLimits>,
    ) -> Result<(), StoreError> {
        let set = match limits {
            Some(limits) => set_limits(&self.0, owner, limits).await,
            None => remove_limits(&self.0, owner).await,
        };
        // After it was tried: what was read in between may be from before.
        self.0.unlimited.forget(owner);
        set
    }

    async fn usage(&self, owner: &QuotaOwner) -> Result<Figure, StoreError> {
        usage::usage(self, owner).await
    }

    async fn quota_standings(
        &self,
        owners: &[QuotaOwner],
        defaults: QuotaDefaults,
    ) -> Result<Vec<QuotaStanding>, StoreError> {
        let of_each = owners.iter().map(|owner| self.marks(owner, defaults));
        let marks = try_join_all(of_each).await?.into_iter().zip(owners);
        let marks: Vec<(QuotaLimits, u8)> = marks
            .map(|((set, percent), owner)| (defaults.in_force(owner, set), percent))
            .collect();
        // After the thresholds, as the port has it. Of whom nothing is limited nothing is counted.
        let limited = owners
            .iter()
            .zip(&marks)
            .filter(|(_, (limits, _))| !limits.is_unlimited());
        let limited: Vec<QuotaOwner> = limited.map(|(owner, _)| owner.clone()).collect();
        let usages = usages(self, &limited).await?;
        let standing =
            |(owner, (limits, announced_percent)): (&QuotaOwner, (QuotaLimits, u8))| QuotaStanding {
                limits,
                announced_percent,
                usage: usages.get(owner).copied().unwrap_or_default(),
            };
        Ok(owners.iter().zip(marks).map(standing).collect())
    }

    async fn recount_usage(&self) -> Result<u64, StoreError> {
        usage::recount(self).await
    }
}
