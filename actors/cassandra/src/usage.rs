//! What accounts and domains hold: figures, counted anew from the view.
//!
//! A figure has the stamp of the moment before the view was read, and is written at it: of two counts the one that began
//! later stands. So no event is ever added up, and whatever comes twice is counted once. Each centre counts for itself,
//! for the other's view is a little older or newer.
//!
//! An account is counted when somebody asks, at most once per [`usage_refresh`](crate::Options::usage_refresh); asked in
//! between, it is counted once more when that is over, so that the last change is in its figure soon. A domain holds the sum
//! of its accounts' figures, and it is added up as seldom. Now and then its accounts are looked through: figures
//! that are missing, or have been the same for long, are counted anew, a few each time; figures of accounts that are gone
//! go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{try_join, try_join_all};
use mailhorn_events::{AccountId, MailboxId, Stamp};
use mailhorn_ports::{Directory, Figure, MailStore, QuotaOwner, StoreError, domain_of};
use parking_lot::Mutex;

use crate::directory::SHARDS;
use crate::options::Replication;
use crate::quota::key;
use crate::statements::Statement;
use crate::store::{CassandraStore, Inner};
use crate::values::{Row, bigint, int, text, uuid};

/// The accounts of a domain are looked through at most once per so many times `usage_refresh`.
const LOOK_THROUGH_EVERY: u32 = 100;
/// A figure that is so many times `usage_refresh` old is counted anew when its domain is looked through.
const OLD_AFTER: u32 = 1_000;
/// Accounts that are counted anew when a domain is looked through.
const COUNTED_MAX: usize = 64;
/// Accounts that are counted at a time.
const COUNTED_AT_ONCE: usize = 16;
/// Accounts of a domain in one answer.
const ACCOUNTS_PAGE: i32 = 1_000;
/// Domains in one answer.
const DOMAINS_PAGE: usize = 500;
/// Accounts that wait to be counted once more at most; beyond, the next event about them has them counted.
const LATER_MAX: usize = 10_000;

/// Counts that are under way or to come in this process.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    now: Mutex<BTreeSet<QuotaOwner>>,
    later: Mutex<BTreeSet<AccountId>>,
}

/// A place among the owners that are counted now.
struct Turn<'a> {
    counting: &'a Counting,
    owner: &'a QuotaOwner,
}

impl Counting {
    fn turn<'a>(&'a self, owner: &'a QuotaOwner) -> Option<Turn<'a>> {
        let is_first = self.now.lock().insert(owner.clone());
        is_first.then_some(Turn {
            counting: self,
            owner,
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.counting.now.lock().remove(self.owner);
    }
}

/// A figure as it is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) figure: Figure,
    /// When counting began.
    counted: Stamp,
    /// Of a domain: when its accounts were looked through.
    looked_through: Stamp,
}

/// How old something is.
fn age(inner: &Inner, stamp: Stamp) -> Duration {
    Duration::from_micros(inner.now().0.saturating_sub(stamp.0))
}

async fn stored(inner: &Inner, owner: &QuotaOwner) -> Result<Option<Counted>, StoreError> {
    let values = vec![text(&key(owner)), text(&inner.options.datacenter)];
    let rows = inner.cql.run(Statement::QuotaUsage, values).await?;
    let counted = |row: &Row| {
        Ok(Counted {
            figure: Figure {
                messages: row.number(0)?,
                octets: row.number(1)?,
            },
            counted: Stamp(row.number(2)?),
            looked_through: Stamp(row.number(3)?),
        })
    };
    rows.first().map(counted).transpose()
}

async fn store(inner: &Inner, owner: &QuotaOwner, counted: Counted) -> Result<(), StoreError> {
    let values = vec![
        text(&key(owner)),
        text(&inner.options.datacenter),
        bigint(counted.figure.messages),
        bigint(counted.figure.octets),
        bigint(counted.counted.0),
        bigint(counted.looked_through.0),
        bigint(counted.counted.0),
    ];
    inner.cql.run(Statement::SetQuotaUsage, values).await?;
    Ok(())
}

/// The shard that an account's figure is in.
fn shard(account: AccountId) -> i32 {
    i32::from(account.as_bytes()[0]).rem_euclid(SHARDS)
}

/// The address of an account that is there, or was removed and not forgotten yet.
async fn address(inner: &Inner, account: AccountId) -> Result<Option<String>, StoreError> {
    for statement in [Statement::AccountLives, Statement::RemovedAddress] {
        let rows = inner.cql.run(statement, vec![uuid(account.0)]).await?;
        if let Some(row) = rows.first() {
            return row.text(0).map(Some);
        }
    }
    Ok(None)
}

/// What the owner holds, as old as [`usage_refresh`](crate::Options::usage_refresh) at most.
pub(crate) async fn usage(mail: &CassandraStore, owner: &QuotaOwner) -> Result<Figure, StoreError> {
    let inner = &mail.0;
    let before = stored(inner, owner).await?;
    let counted = before.unwrap_or_default();
    let refresh = inner.options.usage_refresh;
    if before.is_some() && age(inner, counted.counted) < refresh {
        if let QuotaOwner::Account(account) = owner {
            count_later(mail, *account, counted.counted);
        }
        return Ok(counted.figure);
    }
    // Whoever asks while it is counted is content with what was counted before.
    let turn = inner.counting.turn(owner);
    if turn.is_none() && before.is_some() {
        return Ok(counted.figure);
    }
    count(mail, owner, counted).await
}

async fn count(mail: &CassandraStore, owner: &QuotaOwner, before: Counted) -> Result<Figure, StoreError> {
    match owner {
        QuotaOwner::Account(account) => count_account(mail, *account, before.counted).await,
        QuotaOwner::Domain(domain) => count_domain(mail, domain, before).await,
    }
}

/// Counts an account once more when its figure may be counted again.
fn count_later(mail: &CassandraStore, account: AccountId, counted: Stamp) {
    let inner = &mail.0;
    let mut later = inner.counting.later.lock();
    if later.len() >= LATER_MAX || !later.insert(account) {
        return;
    }
    let pause = inner.options.usage_refresh.saturating_sub(age(inner, counted));
    let weak = Arc::downgrade(inner);
    inner.runtime.spawn(async move {
        tokio::time::sleep(pause).await;
        let Some(inner) = weak.upgrade() else { return };
        // From here on whoever asks has it counted once more again.
        inner.counting.later.lock().remove(&account);
        let owner = QuotaOwner::Account(account);
        if let Err(error) = usage(&CassandraStore(inner), &owner).await {
            tracing::debug!(%account, %error, "an account's usage stays as it was counted");
        }
    });
}

/// Counts an account. Of one that nobody knows nothing is kept.
async fn count_account(
    mail: &CassandraStore,
    account: AccountId,
    before: Stamp,
) -> Result<Figure, StoreError> {
    let inner = &mail.0;
    // Before the view is read.
    let counted = inner.now().max(before.next());
    let (figure, address) = try_join(mail.figure(MailboxId::inbox(account)), address(inner, account)).await?;
    let Some(address) = address else {
        return Ok(figure);
    };
    let values = vec![
        text(domain_of(&address)),
        text(&inner.options.datacenter),
        int(shard(account)),
        uuid(account.0),
        bigint(figure.messages),
        bigint(figure.octets),
        bigint(counted.0),
        bigint(counted.0),
    ];
    let of_account = Counted {
        figure,
        counted,
        looked_through: Stamp(0),
    };
    let owner = QuotaOwner::Account(account);
    try_join(
        store(inner, &owner, of_account),
        inner.cql.run(Statement::SetDomainUsage, values),
    )
    .await?;
    Ok(figure)
}

/// The figures of a domain's accounts, and when each was counted.
async fn figures(inner: &Inner, domain: &str) -> Result<BTreeMap<AccountId, (Figure, Stamp)>, StoreError> {
    let shards = (0..SHARDS).map(|shard| {
        let values = vec![text(domain), text(&inner.options.datacenter), int(shard)];
        inner.cql.run(Statement::DomainUsage, values)
    });
    let mut figures = BTreeMap::new();
    for row in try_join_all(shards).await?.into_iter().flatten() {
        let figure = Figure {
            messages: row.number(1)?,
            octets: row.number(2)?,
        };
        figures.insert(AccountId(row.uuid(0)?), (figure, Stamp(row.number(3)?)));
    }
    Ok(figures)
}

/// The accounts whose mail counts for a domain: those that live, then those that were removed. In this order, for that is how
/// they go.
async fn accounts(mail: &CassandraStore, domain: &str) -> Result<BTreeSet<AccountId>, StoreError> {
    let of_shard = |shard| async move {
        let (mut after, mut accounts) = (String::new(), Vec::new());
        loop {
            let values = vec![text(domain), int(shard), text(&after), int(ACCOUNTS_PAGE)];
            let rows = mail.0.cql.run(Statement::OfDomain, values).await?;
            let Some(last) = rows.last() else {
                return Ok::<_, StoreError>(accounts);
            };
            after = last.text(0)?;
            for row in &rows {
                accounts.push(AccountId(row.uuid(1)?));
            }
        }
    };
    let living = try_join_all((0..SHARDS).map(of_shard))
        .await?
        .into_iter()
        .flatten();
    let removed = mail.removed_accounts().await?;
    let removed = removed
        .iter()
        .filter(|account| domain_of(&account.address) == domain);
    Ok(living.chain(removed.map(|account| account.id)).collect())
}

async fn remove_figure(
    inner: &Inner,
    domain: &str,
    centre: &str,
    account: AccountId,
    stamp: Stamp,
) -> Result<(), StoreError> {
    let values = vec![
        bigint(stamp.0),
        text(domain),
        text(centre),
        int(shard(account)),
        uuid(account.0),
    ];
    inner.cql.run(Statement::RemoveDomainUsage, values).await?;
    Ok(())
}

/// Counts accounts, a few at a time.
async fn count_all(
    mail: &CassandraStore,
    accounts: &[(AccountId, Stamp)],
) -> Result<Vec<Figure>, StoreError> {
    let mut figures = Vec::new();
    for accounts in accounts.chunks(COUNTED_AT_ONCE) {
        let counts = accounts
            .iter()
            .map(|(account, before)| count_account(mail, *account, *before));
        figures.extend(try_join_all(counts).await?);
    }
    Ok(figures)
}

/// Counts those of a domain's accounts anew whose figures are missing or old, and removes figures of nobody.
async fn look_through(
    mail: &CassandraStore,
    domain: &str,
    figures: &mut BTreeMap<AccountId, (Figure, Stamp)>,
) -> Result<(), StoreError> {
    let inner = &mail.0;
    let accounts = accounts(mail, domain).await?;
    let nobodys: Vec<AccountId> = figures
        .keys()
        .filter(|account| !accounts.contains(account))
        .copied()
        .collect();
    for account in nobodys {
        if let Some((_, counted)) = figures.remove(&account) {
            let centre = &inner.options.datacenter;
            remove_figure(inner, domain, centre, account, counted.next()).await?;
        }
    }
    let old_after = inner.options.usage_refresh.saturating_mul(OLD_AFTER);
    let counted = |account: AccountId| figures.get(&account).map_or(Stamp(0), |(_, counted)| *counted);
    let mut old: Vec<(AccountId, Stamp)> = accounts
        .into_iter()
        .map(|account| (account, counted(account)))
        .filter(|(_, counted)| age(inner, *counted) >= old_after)
        .collect();
    old.sort_by_key(|(_, counted)| *counted);
    old.truncate(COUNTED_MAX);
    for ((account, before), figure) in old.iter().zip(count_all(mail, &old).await?) {
        figures.insert(*account, (figure, *before));
    }
    Ok(())
}

async fn count_domain(mail: &CassandraStore, domain: &str, before: Counted) -> Result<Figure, StoreError> {
    let inner = &mail.0;
    let counted = inner.now().max(before.counted.next());
    let mut figures = figures(inner, domain).await?;
    let every = inner.options.usage_refresh.saturating_mul(LOOK_THROUGH_EVERY);
    let mut looked_through = before.looked_through;
    if age(inner, looked_through) >= every {
        look_through(mail, domain, &mut figures).await?;
        looked_through = counted;
    }
    let mut figure = Figure::default();
    for (of_account, _) in figures.values() {
        figure.messages = figure.messages.saturating_add(of_account.messages);
        figure.octets = figure.octets.saturating_add(of_account.octets);
    }
    let of_domain = Counted {
        figure,
        counted,
        looked_through,
    };
    store(inner, &QuotaOwner::Domain(domain.to_owned()), of_domain).await?;
    Ok(figure)
}

/// Counts everybody anew; gives how many figures were wrong.
pub(crate) async fn recount(mail: &CassandraStore) -> Result<u64, StoreError> {
    let mut wrong = 0u64;
    let mut domains = all_domains(mail).await?;
    let removed = mail.removed_accounts().await?;
    domains.extend(
        removed
            .iter()
            .map(|account| domain_of(&account.address).to_owned()),
    );
    for domain in domains {
        wrong = wrong.saturating_add(recount_domain(mail, &domain).await?);
    }
    Ok(wrong)
}

async fn all_domains(mail: &CassandraStore) -> Result<BTreeSet<String>, StoreError> {
    let mut domains = BTreeSet::new();
    loop {
        let after = domains.last().cloned();
        let page = mail.domains(after.as_deref(), DOMAINS_PAGE).await?;
        let is_last = page.len() < DOMAINS_PAGE;
        domains.extend(page.iter().map(|domain| domain.name.clone()));
        if is_last {
            return Ok(domains);
        }
    }
}

async fn recount_domain(mail: &CassandraStore, domain: &str) -> Result<u64, StoreError> {
    let inner = &mail.0;
    let mut wrong = 0u64;
    let accounts: Vec<AccountId> = accounts(mail, domain).await?.into_iter().collect();
    for accounts in accounts.chunks(COUNTED_AT_ONCE) {
        let owners: Vec<QuotaOwner> = accounts.iter().copied().map(QuotaOwner::Account).collect();
        let before = try_join_all(owners.iter().map(|owner| stored(inner, owner))).await?;
        let counted = |before: &Option<Counted>| before.map_or(Stamp(0), |before| before.counted);
        let to_count: Vec<(AccountId, Stamp)> =
            accounts.iter().copied().zip(before.iter().map(counted)).collect();
        let after = count_all(mail, &to_count).await?;
        let is_wrong =
            |(before, after): &(Option<Counted>, Figure)| before.unwrap_or_default().figure != *after;
        let figures = before.into_iter().zip(after).filter(is_wrong);
        wrong = wrong.saturating_add(u64::try_from(figures.count()).unwrap_or(u64::MAX));
    }
    let owner = QuotaOwner::Domain(domain.to_owned());
    let before = stored(inner, &owner).await?.unwrap_or_default();
    let after = count_domain(mail, domain, before).await?;
    Ok(wrong.saturating_add((before.figure != after).into()))
}

/// The centres that have figures.
fn centres(inner: &Inner) -> BTreeSet<&str> {
    let replicated = match &inner.options.replication {
        Replication::Local(_) => Vec::new(),
        Replication::Centres(centres) => centres.keys().map(String::as_str).collect(),
    };
    replicated
        .into_iter()
        .chain([inner.options.datacenter.as_str()])
        .collect()
}

/// Removes the figures of an owner who is gone, in every centre. Of an account before it is forgotten: its domain is known by
/// then.
pub(crate) async fn forget(inner: &Inner, owner: &QuotaOwner) -> Result<(), StoreError> {
    let counted = stored(inner, owner)
        .await?
        .map_or(Stamp(0), |counted| counted.counted);
    let stamp = inner.next_stamp().max(counted.next());
    let figures = centres(inner).into_iter().map(|centre| {
        let values = vec![bigint(stamp.0), text(&key(owner)), text(centre)];
        inner.cql.run(Statement::RemoveQuotaUsage, values)
    });
    try_join_all(figures).await?;
    let QuotaOwner::Account(account) = owner else {
        return Ok(());
    };
    let Some(address) = address(inner, *account).await? else {
        return Ok(());
    };
    let in_domain = centres(inner)
        .into_iter()
        .map(|centre| remove_figure(inner, domain_of(&address), centre, *account, stamp));
    try_join_all(in_domain).await?;
    Ok(())
}
