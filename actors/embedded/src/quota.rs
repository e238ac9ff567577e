//! Limits and usage.
//!
//! Usage is changed in the batch that changes the view ([`Draft::make`], [`Draft::expunge`]), so it can't come apart from
//! it; [`recount`] is for a store that was written by a release without usage, and for whoever doubts.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fjall::{Guard, Readable, Snapshot};
use mailhorn_events::{AccountId, QuotaLimits};
use mailhorn_ports::{Figure, QuotaDefaults, QuotaOwner, QuotaStanding, QuotaStore, StoreError, domain_of};

use crate::core::Core;
use crate::draft::Draft;
use crate::error::Fault;
use crate::keys::{self, Table};
use crate::opened::Opened;
use crate::read;
use crate::rows::{
    AccountRow, Address, FORMAT, FORMAT_WITHOUT_USAGE, FigureRow, LimitsRow, Row, Threshold, View, decode,
};
use crate::store::EmbeddedStore;

/// Owners whose sums are held in memory at a time. With more, the view is read more than once.
const OWNERS_MAX: usize = 50_000;
/// Figures that are put right in one batch: a few milliseconds, which the next group commit waits.
const CORRECTED_MAX: usize = 1_000;

/// By how much an owner's figure is wrong.
struct Correction {
    key: Vec<u8>,
    messages: i128,
    octets: i128,
}

/// Sums over rows of the view, for the first owners by key from `from` on.
struct Sums {
    from: Vec<u8>,
    /// The first owner that is left for another time.
    until: Option<Vec<u8>>,
    owners_max: usize,
    owners: BTreeMap<Vec<u8>, FigureRow>,
}

impl Sums {
    fn add(&mut self, owner: &[u8], by: FigureRow) {
        if owner < &*self.from || self.until.as_deref().is_some_and(|until| owner >= until) {
            return;
        }
        let sum = self.owners.entry(owner.to_vec()).or_default();
        sum.messages = sum.messages.saturating_add(by.messages);
        sum.octets = sum.octets.saturating_add(by.octets);
        if self.owners.len() > self.owners_max {
            self.until = self.owners.pop_last().map(|(owner, _)| owner);
        }
    }
}

/// Makes all figures anew, and gives how many were wrong.
///
/// Each pass compares the sums with the figures as both stood at one moment, and corrects what a figure has come to
/// meanwhile by the difference. So changes go on.
pub(crate) fn recount(core: &Core, owners_max: usize) -> Result<u64, Fault> {
    let mut wrong = 0;
    let mut next = Some(keys::key(Table::Usage, &[]));
    while let Some(from) = next {
        let mut corrections = Vec::new();
        next = core.read(|opened| compare(opened, from, owners_max, &mut corrections))?;
        wrong += corrections.len() as u64;
        for corrections in corrections.chunks(CORRECTED_MAX) {
            core.write(|opened, writer| {
                let mut draft = Draft::new(opened, writer.state);
                for correction in corrections {
                    correct(&mut draft, correction)?;
                }
                core.apply(writer, draft)
            })?;
        }
    }
    Ok(wrong)
}

/// Compares the figures of the first owners from `from` on; gives the first that is left for another time.
fn compare(
    opened: &Opened,
    from: Vec<u8>,
    owners_max: usize,
    corrections: &mut Vec<Correction>,
) -> Result<Option<Vec<u8>>, Fault> {
    let snapshot = opened.db.snapshot();
    let mut sums = Sums {
        from: from.clone(),
        until: None,
        owners_max,
        owners: BTreeMap::new(),
    };
    sum_up(opened, &snapshot, &mut sums)?;
    let Sums {
        until, mut owners, ..
    } = sums;
    let end = until.clone().unwrap_or_else(|| vec![Table::Usage as u8 + 1]);
    for guard in snapshot.range(&opened.rows, from..end) {
        let (key, row) = Guard::into_inner(guard)?;
        let is: FigureRow = decode(&row)?;
        let should = owners.remove(&*key).unwrap_or_default();
        corrections.extend(Correction::of(key.to_vec(), is, should));
    }
    for (key, should) in owners {
        corrections.extend(Correction::of(key, FigureRow::default(), should));
    }
    Ok(until)
}

/// Adds up the rows of the view, mailbox by mailbox.
fn sum_up(opened: &Opened, snapshot: &Snapshot, sums: &mut Sums) -> Result<(), Fault> {
    let mut mailbox = Vec::new();
    let mut account = None;
    let mut owners = Vec::new();
    for guard in snapshot.prefix(&opened.rows, keys::key(Table::View, &[])) {
        let (key, row) = Guard::into_inner(guard)?;
        let row: View = decode(&row)?;
        let of = key.get(..key.len().saturating_sub(16)).unwrap_or_default();
        if mailbox != of || account != Some(row.account) {
            (mailbox, account) = (of.to_vec(), Some(row.account));
            owners = owners_of(opened, snapshot, AccountId(row.account))?;
        }
        for owner in &owners {
            let (messages, octets) = (1, row.size);
            sums.add(owner, FigureRow { messages, octets });
        }
    }
    Ok(())
}

/// The keys of an account's usage and of its domain's. The domain of an account that was forgotten is not known.
fn owners_of(opened: &Opened, snapshot: &Snapshot, id: AccountId) -> Result<Vec<Vec<u8>>, Fault> {
    let mut owners = vec![keys::of_account(Table::Usage, id.0)];
    let address = match get::<Address>(opened, snapshot, &keys::account_id(id))? {
        Some(Address(address)) => Some(address),
        None => get::<AccountRow>(opened, snapshot, &keys::removed(id))?.map(|row| row.address),
    };
    let domain = address.as_deref().map(domain_of);
    owners.extend(domain.map(|domain| keys::of_domain(Table::Usage, domain)));
    Ok(owners)
}

fn get<R: Row>(opened: &Opened, snapshot: &Snapshot, key: &[u8]) -> Result<Option<R>, Fault> {
    snapshot
        .get(&opened.rows, key)?
        .map(|row| decode(&row))
        .transpose()
}

impl Correction {
    fn of(key: Vec<u8>, is: FigureRow, should: FigureRow) -> Option<Self> {
        let difference = |should: u64, is: u64| i128::from(should) - i128::from(is);
        (is != should).then(|| Self {
            key,
            messages: difference(should.messages, is.messages),
            octets: difference(should.octets, is.octets),
        })
    }
}

fn correct(draft: &mut Draft<'_>, correction: &Correction) -> Result<(), Fault> {
    let is: FigureRow = draft.get(&correction.key)?.unwrap_or_default();
    let by = |is: u64, by: i128| {
        let corrected = i128::from(is).saturating_add(by).max(0);
        u64::try_from(corrected).unwrap_or(u64::MAX)
    };
    let (messages, octets) = (
        by(is.messages, correction.messages),
        by(is.octets, correction.octets),
    );
    draft.put_figure(correction.key.clone(), FigureRow { messages, octets });
    Ok(())
}

/// Gives a store of the format before what this one adds: the figures. Stopped half-way, it is done again at the next
/// opening.
pub(crate) fn upgrade(core: &Core) -> Result<(), Fault> {
    let format = core.read(|opened| Ok(opened.rows.get(keys::format())?))?;
    if format.as_deref() != Some(&[FORMAT_WITHOUT_USAGE]) {
        return Ok(());
    }
    let owners = recount(core, OWNERS_MAX)?;
    core.write(|opened, writer| {
        let mut draft = Draft::new(opened, writer.state);
        draft.put_octets(keys::format(), vec![FORMAT]);
        core.apply(writer, draft)
    })?;
    tracing::info!(owners, "usage was counted for the first time");
    Ok(())
}

fn standing(opened: &Opened, owner: &QuotaOwner, defaults: QuotaDefaults) -> Result<QuotaStanding, Fault> {
    let limits: Option<LimitsRow> = opened.get(&keys::of_owner(Table::Limits, owner))?;
    let announced: Option<Threshold> = opened.get(&keys::of_owner(Table::Thresholds, owner))?;
    let Threshold(announced_percent) = announced.unwrap_or_default();
    let limits = defaults.in_force(owner, limits.map(QuotaLimits::from));
    Ok(QuotaStanding {
        limits,
        announced_percent,
        // After the threshold, as the port has it.
        usage: match limits.is_unlimited() {
            true => Figure::default(),
            false => read::figure_at(opened, &keys::of_owner(Table::Usage, owner))?,
        },
    })
}

fn set_limits(core: &Core, owner: &QuotaOwner, limits: Option<QuotaLimits>) -> Result<(), Fault> {
    core.write(|opened, writer| {
        let mut draft = Draft::new(opened, writer.state);
        let key = keys::of_owner(Table::Limits, owner);
        match limits {
            Some(limits) => draft.put(key, &LimitsRow::from(limits)),
            None => draft.remove(key),
        }
        core.apply(writer, draft)
    })
}

#[async_trait]
impl QuotaStore for EmbeddedStore {
    async fn quota_limits(&self, owner: &QuotaOwner) -> Result<Option<QuotaLimits>, StoreError> {
        let key = keys::of_owner(Table::Limits, owner);
        let row: Option<LimitsRow> = self.read_blocking(move |opened| opened.get(&key)).await?;
        Ok(row.map(QuotaLimits::from))
    }

    async fn set_quota_limits(
        &self,
        owner: &QuotaOwner,
        limits: Option<QuotaLimits>,
    ) -> Result<(), StoreError> {
        let owner = owner.clone();
        self.blocking(move |core| set_limits(core, &owner, limits)).await
    }

    async fn usage(&self, owner: &QuotaOwner) -> Result<Figure, StoreError> {
        let key = keys::of_owner(Table::Usage, owner);
        Ok(self
            .read_blocking(move |opened| read::figure_at(opened, &key))
            .await?)
    }

    async fn quota_standings(
        &self,
        owners: &[QuotaOwner],
        defaults: QuotaDefaults,
    ) -> Result<Vec<QuotaStanding>, StoreError> {
        let owners = owners.to_vec();
        let read = move |opened: &Opened| {
            owners
                .iter()
                .map(|owner| standing(opened, owner, defaults))
                .collect()
        };
        Ok(self.read_blocking(read).await?)
    }

    async fn recount_usage(&self) -> Result<u64, StoreError> {
        self.blocking(|core| recount(core, OWNERS_MAX)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mailhorn_ports::contract::World;
    use mailhorn_ports::{Account, Directory, MailStore};

    use super::*;
    use crate::testing::open;

    async fn accounts(world: &mut World<'_, EmbeddedStore>) -> Vec<Arc<Account>> {
        let mut accounts = Vec::new();
        for n in 0..7 {
            let account = world.account(&format!("user{n}@{}.example", n % 2)).await;
            world.store_message(&[&account], &vec![b'x'; n]).await;
            accounts.push(account);
        }
        world.store.remove_account(&accounts[3].address).await.unwrap();
        accounts
    }

    fn owners(accounts: &[Arc<Account>]) -> Vec<QuotaOwner> {
        let domains = ["0.example", "1.example"].map(|name| QuotaOwner::Domain(name.into()));
        let accounts = accounts.iter().map(|account| QuotaOwner::Account(account.id));
        accounts.chain(domains).collect()
    }

    async fn usage(store: &EmbeddedStore, owners: &[QuotaOwner]) -> Vec<Figure> {
        let mut usage = Vec::new();
        for owner in owners {
            usage.push(store.usage(owner).await.unwrap());
        }
        usage
    }

    /// Changes rows behind everybody's back.
    fn tamper(store: &EmbeddedStore, change: impl FnOnce(&mut Draft<'_>)) {
        let tampered = store.core.write(|opened, writer| {
            let mut draft = Draft::new(opened, writer.state);
            change(&mut draft);
            store.core.apply(writer, draft)
        });
        tampered.unwrap();
    }

    #[tokio::test]
    async fn figures_are_put_right_however_few_are_held_in_memory() {
        for owners_max in [1, 2, 3, 100] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path()).unwrap();
            let accounts = accounts(&mut World::new(&store)).await;
            let owners = owners(&accounts);
            let right = usage(&store, &owners).await;
            let stray = keys::of_domain(Table::Usage, "stray.example");
            tamper(&store, |draft| {
                let (messages, octets) = (9, 1);
                for owner in [&owners[0], &owners[8]] {
                    draft.remove(keys::of_owner(Table::Usage, owner));
                }
                for key in [stray.clone(), keys::of_owner(Table::Usage, &owners[4])] {
                    draft.put_figure(key, FigureRow { messages, octets });
                }
            });
            assert_eq!(
                recount(&store.core, owners_max).unwrap(),
                4,
                "{owners_max} in memory"
            );
            assert_eq!(usage(&store, &owners).await, right);
            assert!(!store.core.read(|opened| opened.has(&stray)).unwrap());
            assert_eq!(recount(&store.core, owners_max).unwrap(), 0);
        }
    }

    /// What changes while the rows are read is neither missed nor counted twice.
    #[tokio::test]
    async fn a_change_between_counting_and_correcting_counts() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let mut world = World::new(&store);
        let ann = world.account("ann@example.org").await;
        let old = world.store_message(&[&ann], b"old").await;
        world.store_message(&[&ann], b"kept").await;
        let owner = QuotaOwner::Account(ann.id);
        let key = keys::of_owner(Table::Usage, &owner);
        let (messages, octets) = (7, 7_000);
        tamper(&store, |draft| {
            draft.put_figure(key, FigureRow { messages, octets })
        });
        let mut corrections = Vec::new();
        let from = keys::key(Table::Usage, &[]);
        let compared = store
            .core
            .read(|opened| compare(opened, from, 9, &mut corrections));
        assert_eq!(compared.unwrap(), None);
        world.expunge_messages(&ann, &[old]).await;
        world.store_message(&[&ann], b"newer").await;
        tamper(&store, |draft| {
            for correction in &corrections {
                correct(draft, correction).unwrap();
            }
        });
        let inbox = World::<EmbeddedStore>::inbox(&ann);
        assert_eq!(
            store.usage(&owner).await.unwrap(),
            store.figure(inbox).await.unwrap()
        );
    }

    /// Such a store has none of the tables, and the format before.
    #[tokio::test]
    async fn a_store_of_a_release_without_quotas_is_counted_once_at_its_opening() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let accounts = accounts(&mut World::new(&store)).await;
        let owners = owners(&accounts);
        let right = usage(&store, &owners).await;
        tamper(&store, |draft| {
            for owner in &owners {
                draft.remove(keys::of_owner(Table::Usage, owner));
            }
            draft.put_octets(keys::format(), vec![FORMAT_WITHOUT_USAGE]);
        });
        assert_eq!(
            usage(&store, &owners).await,
            vec![Figure::default(); owners.len()]
        );
        drop(store);
        for _ in 0..2 {
            let store = open(dir.path()).unwrap();
            assert_eq!(usage(&store, &owners).await, right);
            let format = store.core.read(|opened| Ok(opened.rows.get(keys::format())?));
            assert_eq!(format.unwrap().as_deref(), Some(&[FORMAT][..]));
            let world = World::seeded(&store, 2);
            assert_eq!(world.list(&accounts[1], 9).await.len(), 1);
        }
    }
}
