//! Domains and accounts.

use std::sync::Arc;

use mailhorn_events::{AccountId, Stamp};
use mailhorn_ports::{Account, Credentials, DirectoryError, NewAccount, QuotaOwner, StoreError, domain_of};
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::core::Core;
use crate::draft::Draft;
use crate::error::Fault;
use crate::keys::{self, Table};
use crate::opened::Opened;
use crate::rows::{AccountRow, Address, DirectoryRow, Domain, decode};

/// Makes a change of the directory. Made twice, it changes nothing more.
pub(crate) fn make(draft: &mut Draft<'_>, change: &DirectoryRow) -> Result<(), Fault> {
    match change {
        DirectoryRow::AddDomain(domain) => {
            let row: Domain = draft.get(&keys::domain(domain))?.unwrap_or_default();
            draft.put(keys::domain(domain), &row);
        }
        DirectoryRow::RemoveDomain(domain) => {
            draft.forget_quota(&QuotaOwner::Domain(domain.clone()));
            draft.remove(keys::domain(domain));
        }
        DirectoryRow::PutAccount(account) => put_account(draft, account)?,
        DirectoryRow::RemoveAccount(account) => {
            drop_account(draft, &account.address)?;
            draft.put(keys::removed(AccountId(account.id)), account);
        }
        DirectoryRow::ForgetRemoved(id) => {
            draft.forget_quota(&QuotaOwner::Account(AccountId(*id)));
            draft.remove(keys::removed(AccountId(*id)));
        }
    }
    Ok(())
}

fn put_account(draft: &mut Draft<'_>, account: &AccountRow) -> Result<(), Fault> {
    drop_account(draft, &account.address)?;
    draft.put(
        keys::account_id(AccountId(account.id)),
        &Address(account.address.clone()),
    );
    count(draft, account, 1)?;
    draft.saw(Stamp(account.created.max(account.stamp)));
    draft.put(keys::account(&account.address), account);
    Ok(())
}

fn drop_account(draft: &mut Draft<'_>, address: &str) -> Result<(), Fault> {
    if let Some(old) = draft.get::<AccountRow>(&keys::account(address))? {
        draft.remove(keys::account_id(AccountId(old.id)));
        draft.remove(keys::account(address));
        count(draft, &old, -1)?;
    }
    Ok(())
}

/// Counts an account in or out.
fn count(draft: &mut Draft<'_>, account: &AccountRow, by: i64) -> Result<(), Fault> {
    if account.scram.is_none() {
        draft.state.without_scram = draft.state.without_scram.saturating_add_signed(by);
    }
    let key = keys::domain(domain_of(&account.address));
    let row: Domain = draft.get(&key)?.unwrap_or_default();
    draft.put(
        key,
        &Domain {
            accounts: row.accounts.saturating_add_signed(by),
        },
    );
    Ok(())
}

/// Accounts and domains in memory, so that a log-in pays for no thread. What is not there is not remembered.
#[derive(Debug)]
pub(crate) struct Known {
    accounts: Cache<String, Arc<Account>>,
    domains: Cache<String, ()>,
    /// Counts changes: what was read before one is not remembered after it.
    changes: Mutex<u64>,
}

impl Known {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            accounts: Cache::new(max),
            domains: Cache::new(max),
            changes: Mutex::new(0),
        }
    }

    pub(crate) fn account(&self, address: &str) -> Option<Arc<Account>> {
        self.accounts.get(address)
    }

    pub(crate) fn is_domain(&self, domain: &str) -> bool {
        self.domains.get(domain).is_some()
    }

    fn changes(&self) -> u64 {
        *self.changes.lock()
    }

    fn learn(&self, changes: u64, insert: impl FnOnce(&Self)) {
        let now = self.changes.lock();
        if *now == changes {
            insert(self);
        }
    }

    /// Called before a change, and again after it: a read in between may have seen either side.
    fn unlearn(&self, change: &DirectoryRow) {
        let mut changes = self.changes.lock();
        *changes += 1;
        match change {
            DirectoryRow::AddDomain(domain) | DirectoryRow::RemoveDomain(domain) => {
                self.domains.remove(domain);
            }
            DirectoryRow::PutAccount(account) | DirectoryRow::RemoveAccount(account) => {
                self.accounts.remove(&account.address);
            }
            DirectoryRow::ForgetRemoved(_) => {}
        }
    }
}

pub(crate) fn account(core: &Core, known: &Known, address: &str) -> Result<Option<Arc<Account>>, Fault> {
    let changes = known.changes();
    let row: Option<AccountRow> = core.read(|opened| opened.get(&keys::account(address)))?;
    let account = row.map(|row| Arc::new(Account::from(row)));
    if let Some(account) = &account {
        known.learn(changes, |known| {
            known.accounts.insert(address.to_owned(), Arc::clone(account))
        });
    }
    Ok(account)
}

pub(crate) fn is_local(core: &Core, known: &Known, domain: &str) -> Result<bool, Fault> {
    let changes = known.changes();
    let local = core.read(|opened| opened.has(&keys::domain(domain)))?;
    if local {
        known.learn(changes, |known| known.domains.insert(domain.to_owned(), ()));
    }
    Ok(local)
}

pub(crate) fn domains(opened: &Opened, after: Option<&str>, limit: usize) -> Result<Vec<String>, Fault> {
    let after = after.map(keys::domain);
    let rows = opened.page(&keys::key(Table::Domains, &[]), after.as_deref(), limit)?;
    rows.into_iter()
        .map(|(key, _)| {
            let name = String::from_utf8(key.iter().skip(1).copied().collect());
            name.map_err(|error| Fault::Damaged(format!("the name of a domain is malformed: {error}")))
        })
        .collect()
}

/// A page of accounts, or of removed ones.
pub(crate) fn accounts(
    opened: &Opened,
    table: Table,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Arc<Account>>, Fault> {
    let rows = opened.page(&keys::key(table, &[]), after, limit)?;
    rows.iter()
        .map(|(_, row)| Ok(Arc::new(decode::<AccountRow>(row)?.into())))
        .collect()
}

/// Makes a change that `decide` derives from what is there, durably.
fn change<T>(
    core: &Core,
    known: &Known,
    decide: impl FnOnce(&Opened) -> Result<(DirectoryRow, T), Refusal>,
) -> Result<T, DirectoryError> {
    let changed = core.write(|opened, writer| {
        let (row, result) = match decide(opened) {
            Ok(decided) => decided,
            Err(Refusal::Fault(fault)) => return Err(fault),
            Err(Refusal::Because(error)) => return Ok(Err(error)),
        };
        let mut draft = Draft::new(opened, writer.state);
        draft.direct(&row)?;
        known.unlearn(&row);
        let applied = core.apply(writer, draft);
        known.unlearn(&row);
        applied.map(|()| Ok(result))
    });
    changed.map_err(StoreError::from)?
}

enum Refusal {
    Because(DirectoryError),
    Fault(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        Self::Because(error)
    }
}

fn present(opened: &Opened, address: &str) -> Result<AccountRow, Refusal> {
    let row = opened.get(&keys::account(address))?;
    row.ok_or_else(|| DirectoryError::NotFound(address.to_owned()).into())
}

pub(crate) fn add_domain(core: &Core, known: &Known, domain: &str) -> Result<(), DirectoryError> {
    change(core, known, |opened| {
        if opened.has(&keys::domain(domain))? {
            return Err(DirectoryError::Exists(domain.to_owned()).into());
        }
        Ok((DirectoryRow::AddDomain(domain.to_owned()), ()))
    })
}

pub(crate) fn remove_domain(core: &Core, known: &Known, domain: &str) -> Result<(), DirectoryError> {
    change(core, known, |opened| {
        match opened.get::<Domain>(&keys::domain(domain))? {
            None => Err(DirectoryError::NotFound(domain.to_owned()).into()),
            Some(row) if row.accounts > 0 => Err(DirectoryError::NotEmpty(domain.to_owned()).into()),
            Some(_) => Ok((DirectoryRow::RemoveDomain(domain.to_owned()), ())),
        }
    })
}

pub(crate) fn add_account(
    core: &Core,
    known: &Known,
    new: NewAccount,
) -> Result<Arc<Account>, DirectoryError> {
    let NewAccount {
        id,
        address,
        credentials,
        created,
    } = new;
    change(core, known, |opened| {
        if opened.has(&keys::account(&address))? {
            return Err(DirectoryError::Exists(address).into());
        }
        let domain = domain_of(&address);
        if !opened.has(&keys::domain(domain))? {
            return Err(DirectoryError::NoSuchDomain(domain.to_owned()).into());
        }
        let account = Account {
            id,
            address,
            credentials,
            created,
        };
        Ok((
            DirectoryRow::PutAccount(AccountRow::from(&account)),
            Arc::new(account),
        ))
    })
}

pub(crate) fn set_credentials(
    core: &Core,
    known: &Known,
    address: &str,
    credentials: Credentials,
    expected: Option<Stamp>,
) -> Result<(), DirectoryError> {
    change(core, known, |opened| {
        let account = Account::from(present(opened, address)?);
        if expected.is_some_and(|expected| expected != account.credentials.stamp) {
            return Err(DirectoryError::Changed(address.to_owned()).into());
        }
        let account = Account {
            credentials,
            ..account
        };
        Ok((DirectoryRow::PutAccount(AccountRow::from(&account)), ()))
    })
}

pub(crate) fn remove_account(
    core: &Core,
    known: &Known,
    address: &str,
) -> Result<Arc<Account>, DirectoryError> {
    change(core, known, |opened| {
        let row = present(opened, address)?;
        Ok((
            DirectoryRow::RemoveAccount(row.clone()),
            Arc::new(Account::from(row)),
        ))
    })
}

pub(crate) fn forget_removed(core: &Core, known: &Known, id: AccountId) -> Result<(), StoreError> {
    let forgotten = change(core, known, |_| Ok((DirectoryRow::ForgetRemoved(id.0), ())));
    forgotten.map_err(|error| match error {
        DirectoryError::Store(error) => error,
        error => StoreError::Unavailable(error.to_string()),
    })
}
