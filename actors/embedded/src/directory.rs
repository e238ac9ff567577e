//! Domains, accounts and their other addresses.

use std::sync::Arc;

use mailhorn_events::{AccountId, Stamp};
use mailhorn_ports::{
    Account, Alias, Credentials, DirectoryError, LocalDomain, Name, NewAccount, QuotaOwner, StoreError,
    Target, domain_of,
};
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::core::Core;
use crate::draft::Draft;
use crate::error::Fault;
use crate::keys::{self, Table};
use crate::opened::Opened;
use crate::rows::{
    AccountRow, Address, AliasRow, DirectoryRow, Domain, Present, TargetRow, decode, decode_name,
};

/// Makes a change of the directory. Made twice, it changes nothing more.
pub(crate) fn make(draft: &mut Draft<'_>, change: &DirectoryRow) -> Result<(), Fault> {
    match change {
        DirectoryRow::AddDomain(domain) => {
            let row: Domain = draft.get(&keys::domain(domain))?.unwrap_or_default();
            draft.put(keys::domain(domain), &row);
        }
        DirectoryRow::AddAliasDomain(domain, of) => {
            let mut row: Domain = draft.get(&keys::domain(domain))?.unwrap_or_default();
            row.more.alias_of = Some(of.clone());
            draft.put(keys::domain(domain), &row);
        }
        DirectoryRow::SetCatchAll(domain, target) => {
            let mut row: Domain = draft.get(&keys::domain(domain))?.unwrap_or_default();
            row.more.catch_all.clone_from(target);
            draft.put(keys::domain(domain), &row);
        }
        DirectoryRow::AddAlias(alias) => put_alias(draft, alias)?,
        DirectoryRow::RemoveAlias(alias) => drop_alias(draft, alias)?,
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

fn put_alias(draft: &mut Draft<'_>, alias: &AliasRow) -> Result<(), Fault> {
    drop_alias(draft, alias)?;
    draft.saw(Stamp(alias.created));
    draft.put(
        keys::alias(AccountId(alias.target.account), &alias.address),
        &Present,
    );
    count_address(draft, &alias.address, 1)?;
    draft.put(keys::name(&alias.address), alias);
    Ok(())
}

fn drop_alias(draft: &mut Draft<'_>, alias: &AliasRow) -> Result<(), Fault> {
    if draft.has(&keys::name(&alias.address))? {
        draft.remove(keys::alias(AccountId(alias.target.account), &alias.address));
        draft.remove(keys::name(&alias.address));
        count_address(draft, &alias.address, -1)?;
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
    draft.put(keys::name(&account.address), account);
    Ok(())
}

fn drop_account(draft: &mut Draft<'_>, address: &str) -> Result<(), Fault> {
    if let Some(old) = draft.get::<AccountRow>(&keys::name(address))? {
        draft.remove(keys::account_id(AccountId(old.id)));
        draft.remove(keys::name(address));
        count(draft, &old, -1)?;
    }
    Ok(())
}

/// Counts an account in or out.
fn count(draft: &mut Draft<'_>, account: &AccountRow, by: i64) -> Result<(), Fault> {
    if account.scram.is_none() {
        draft.state.without_scram = draft.state.without_scram.saturating_add_signed(by);
    }
    count_address(draft, &account.address, by)
}

/// Counts an address in or out of its domain.
fn count_address(draft: &mut Draft<'_>, address: &str, by: i64) -> Result<(), Fault> {
    let key = keys::domain(domain_of(address));
    let mut row: Domain = draft.get(&key)?.unwrap_or_default();
    row.addresses = row.addresses.saturating_add_signed(by);
    draft.put(key, &row);
    Ok(())
}

/// Addresses and domains in memory, so that a log-in pays for no thread. What is not there is not remembered.
#[derive(Debug)]
pub(crate) struct Known {
    names: Cache<String, Name>,
    domains: Cache<String, Arc<LocalDomain>>,
    /// Counts changes: what was read before one is not remembered after it.
    changes: Mutex<u64>,
}

impl Known {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            names: Cache::new(max),
            domains: Cache::new(max),
            changes: Mutex::new(0),
        }
    }

    pub(crate) fn name(&self, address: &str) -> Option<Name> {
        self.names.get(address)
    }

    pub(crate) fn domain(&self, domain: &str) -> Option<Arc<LocalDomain>> {
        self.domains.get(domain)
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
            DirectoryRow::AddDomain(domain)
            | DirectoryRow::RemoveDomain(domain)
            | DirectoryRow::AddAliasDomain(domain, _)
            | DirectoryRow::SetCatchAll(domain, _) => {
                self.domains.remove(domain);
            }
            DirectoryRow::PutAccount(account) | DirectoryRow::RemoveAccount(account) => {
                self.names.remove(&account.address);
            }
            DirectoryRow::AddAlias(alias) | DirectoryRow::RemoveAlias(alias) => {
                self.names.remove(&alias.address);
            }
            DirectoryRow::ForgetRemoved(_) => {}
        }
    }
}

pub(crate) fn name(core: &Core, known: &Known, address: &str) -> Result<Option<Name>, Fault> {
    let changes = known.changes();
    let name = core.read(|opened| name_in(opened, address))?;
    if let Some(name) = &name {
        known.learn(changes, |known| {
            known.names.insert(address.to_owned(), name.clone())
        });
    }
    Ok(name)
}

fn name_in(opened: &Opened, address: &str) -> Result<Option<Name>, Fault> {
    let row = opened.octets(&keys::name(address))?;
    row.map(|row| decode_name(&row)).transpose()
}

pub(crate) fn domain(core: &Core, known: &Known, name: &str) -> Result<Option<Arc<LocalDomain>>, Fault> {
    let changes = known.changes();
    let row: Option<Domain> = core.read(|opened| opened.get(&keys::domain(name)))?;
    let domain = row.map(|row| local_domain(name, row));
    if let Some(domain) = &domain {
        known.learn(changes, |known| {
            known.domains.insert(name.to_owned(), Arc::clone(domain))
        });
    }
    Ok(domain)
}

fn local_domain(name: &str, row: Domain) -> Arc<LocalDomain> {
    Arc::new(LocalDomain {
        name: name.to_owned(),
        alias_of: row.more.alias_of,
        catch_all: row.more.catch_all.map(Target::from),
    })
}

pub(crate) fn domains(
    opened: &Opened,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Arc<LocalDomain>>, Fault> {
    let after = after.map(keys::domain);
    let rows = opened.page(&keys::key(Table::Domains, &[]), after.as_deref(), limit)?;
    rows.into_iter()
        .map(|(key, row)| {
            let name = std::str::from_utf8(key.get(1..).unwrap_or_default());
            let name =
                name.map_err(|error| Fault::Damaged(format!("the name of a domain is malformed: {error}")))?;
            Ok(local_domain(name, decode(&row)?))
        })
        .collect()
}

/// A page of accounts.
pub(crate) fn accounts(
    opened: &Opened,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Arc<Account>>, Fault> {
    let after = after.map(keys::name);
    let table = keys::key(Table::Names, &[]);
    let names = opened.scan(&table, after.as_deref());
    let accounts = names.filter_map(|row| match row.and_then(|(_, row)| decode_name(&row)) {
        Ok(Name::Account(account)) => Some(Ok(account)),
        Ok(Name::Alias(_)) => None,
        Err(fault) => Some(Err(fault)),
    });
    accounts.take(limit).collect()
}

/// At most `limit` accounts that were removed.
pub(crate) fn removed_accounts(opened: &Opened, limit: usize) -> Result<Vec<Arc<Account>>, Fault> {
    let rows = opened.page(&keys::key(Table::Removed, &[]), None, limit)?;
    rows.iter()
        .map(|(_, row)| Ok(Arc::new(decode::<AccountRow>(row)?.try_into()?)))
        .collect()
}

/// A page of an account's aliases.
pub(crate) fn aliases(
    opened: &Opened,
    account: AccountId,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Arc<Alias>>, Fault> {
    let after = after.map(|after| keys::alias(account, after));
    let rows = opened.page(&keys::aliases(account), after.as_deref(), limit)?;
    rows.iter()
        .map(|(key, _)| {
            let address = keys::alias_address(key)
                .ok_or_else(|| Fault::Damaged("the address of an alias is malformed".into()))?;
            match name_in(opened, address)? {
                Some(Name::Alias(alias)) => Ok(alias),
                Some(Name::Account(_)) | None => Err(Fault::Damaged(format!(
                    "{address} is listed as an alias and is none"
                ))),
            }
        })
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

fn present(opened: &Opened, address: &str) -> Result<Arc<Account>, Refusal> {
    match name_in(opened, address)? {
        Some(Name::Account(account)) => Ok(account),
        Some(Name::Alias(_)) | None => Err(DirectoryError::NotFound(address.to_owned()).into()),
    }
}

/// Whether an address is free, at a domain that has addresses of its own.
fn free(opened: &Opened, address: &str) -> Result<(), Refusal> {
    if opened.has(&keys::name(address))? {
        return Err(DirectoryError::Exists(address.to_owned()).into());
    }
    own_addresses(opened, domain_of(address))
}

/// Whether a domain is local and no alias.
fn own_addresses(opened: &Opened, domain: &str) -> Result<(), Refusal> {
    match opened.get::<Domain>(&keys::domain(domain))? {
        None => Err(DirectoryError::NoSuchDomain(domain.to_owned()).into()),
        Some(row) if row.more.alias_of.is_some() => {
            Err(DirectoryError::AliasDomain(domain.to_owned()).into())
        }
        Some(_) => Ok(()),
    }
}

fn new_domain(opened: &Opened, domain: &str) -> Result<(), Refusal> {
    if opened.has(&keys::domain(domain))? {
        return Err(DirectoryError::Exists(domain.to_owned()).into());
    }
    Ok(())
}

pub(crate) fn add_domain(core: &Core, known: &Known, domain: &str) -> Result<(), DirectoryError> {
    change(core, known, |opened| {
        new_domain(opened, domain)?;
        Ok((DirectoryRow::AddDomain(domain.to_owned()), ()))
    })
}

pub(crate) fn add_alias_domain(
    core: &Core,
    known: &Known,
    domain: &str,
    of: &str,
) -> Result<(), DirectoryError> {
    change(core, known, |opened| {
        new_domain(opened, domain)?;
        own_addresses(opened, of)?;
        Ok((DirectoryRow::AddAliasDomain(domain.to_owned(), of.to_owned()), ()))
    })
}

pub(crate) fn set_catch_all(
    core: &Core,
    known: &Known,
    domain: &str,
    target: Option<&Target>,
) -> Result<(), DirectoryError> {
    change(core, known, |opened| {
        if !opened.has(&keys::domain(domain))? {
            return Err(DirectoryError::NotFound(domain.to_owned()).into());
        }
        own_addresses(opened, domain)?;
        let target = target.map(TargetRow::from);
        Ok((DirectoryRow::SetCatchAll(domain.to_owned(), target), ()))
    })
}

/// Whether other domains are aliases of this one. There are few domains beside accounts, and they are removed rarely.
fn has_alias_domains(opened: &Opened, domain: &str) -> Result<bool, Fault> {
    for row in opened.scan(&keys::key(Table::Domains, &[]), None) {
        if decode::<Domain>(&row?.1)?.more.alias_of.as_deref() == Some(domain) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn remove_domain(core: &Core, known: &Known, domain: &str) -> Result<(), DirectoryError> {
    change(core, known, |opened| {
        match opened.get::<Domain>(&keys::domain(domain))? {
            None => Err(DirectoryError::NotFound(domain.to_owned()).into()),
            Some(row) if row.addresses > 0 || has_alias_domains(opened, domain)? => {
                Err(DirectoryError::NotEmpty(domain.to_owned()).into())
            }
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
        free(opened, &address)?;
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

pub(crate) fn add_alias(core: &Core, known: &Known, alias: &Alias) -> Result<(), DirectoryError> {
    change(core, known, |opened| {
        free(opened, &alias.address)?;
        Ok((DirectoryRow::AddAlias(AliasRow::from(alias)), ()))
    })
}

pub(crate) fn remove_alias(core: &Core, known: &Known, address: &str) -> Result<Arc<Alias>, DirectoryError> {
    change(core, known, |opened| match name_in(opened, address)? {
        Some(Name::Alias(alias)) => Ok((DirectoryRow::RemoveAlias(AliasRow::from(&*alias)), alias)),
        Some(Name::Account(_)) | None => Err(DirectoryError::NotFound(address.to_owned()).into()),
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
        let account = present(opened, address)?;
        if expected.is_some_and(|expected| expected != account.credentials.stamp) {
            return Err(DirectoryError::Changed(address.to_owned()).into());
        }
        let account = Account {
            credentials,
            ..(*account).clone()
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
        let account = present(opened, address)?;
        Ok((DirectoryRow::RemoveAccount(AccountRow::from(&*account)), account))
    })
}

pub(crate) fn forget_removed(core: &Core, known: &Known, id: AccountId) -> Result<(), StoreError> {
    let forgotten = change(core, known, |_| Ok((DirectoryRow::ForgetRemoved(id.0), ())));
    forgotten.map_err(|error| match error {
        DirectoryError::Store(error) => error,
        error => StoreError::Unavailable(error.to_string()),
    })
}
