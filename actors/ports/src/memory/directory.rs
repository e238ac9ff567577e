//! [`Directory`] in memory.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use mailhorn_events::{AccountId, Stamp};

use super::{MemoryStore, State};
use crate::directory::{
    Account, Alias, Credentials, Directory, DirectoryError, LocalDomain, Name, NewAccount, Target, domain_of,
};
use crate::quota::QuotaOwner;
use crate::store::StoreError;

impl State {
    fn put(&mut self, account: Arc<Account>) {
        self.stamp = self.stamp.max(account.created).max(account.credentials.stamp);
        let address = account.address.clone();
        self.names.insert(address, Name::Account(account));
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.names.values().filter_map(|name| match name {
            Name::Account(account) => Some(account),
            Name::Alias(_) => None,
        })
    }

    fn account(&self, address: &str) -> Option<&Arc<Account>> {
        match self.names.get(address)? {
            Name::Account(account) => Some(account),
            Name::Alias(_) => None,
        }
    }

    /// Whether an address is free, at a domain that has addresses of its own.
    fn free(&self, address: &str) -> Result<(), DirectoryError> {
        if self.names.contains_key(address) {
            return Err(DirectoryError::Exists(address.into()));
        }
        self.own_addresses(domain_of(address))
    }

    /// Whether a domain is local and no alias.
    fn own_addresses(&self, domain: &str) -> Result<(), DirectoryError> {
        match self.domains.get(domain) {
            None => Err(DirectoryError::NoSuchDomain(domain.into())),
            Some(row) if row.alias_of.is_some() => Err(DirectoryError::AliasDomain(domain.into())),
            Some(_) => Ok(()),
        }
    }

    fn add_domain(&mut self, domain: &str, alias_of: Option<&str>) -> Result<(), DirectoryError> {
        if self.domains.contains_key(domain) {
            return Err(DirectoryError::Exists(domain.into()));
        }
        let row = LocalDomain {
            name: domain.into(),
            alias_of: alias_of.map(str::to_owned),
            catch_all: None,
        };
        self.domains.insert(domain.into(), Arc::new(row));
        Ok(())
    }

    fn forget_quota(&mut self, owner: &QuotaOwner) {
        self.limits.remove(owner);
        self.thresholds.remove(owner);
    }

    fn present(&self, address: &str) -> Result<Arc<Account>, DirectoryError> {
        self.account(address)
            .cloned()
            .ok_or_else(|| DirectoryError::NotFound(address.into()))
    }
}

fn from(after: Option<&str>) -> (Bound<&str>, Bound<&str>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

#[async_trait]
impl Directory for MemoryStore {
    async fn name(&self, address: &str) -> Result<Option<Name>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        if state.script.panic_at_account.as_deref() == Some(address) {
            std::panic::resume_unwind(Box::new("the double was told to"));
        }
        Ok(state.names.get(address).cloned())
    }

    async fn domain(&self, domain: &str) -> Result<Option<Arc<LocalDomain>>, StoreError> {
        self.available()?;
        Ok(self.0.lock().domains.get(domain).cloned())
    }

    async fn domains(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<LocalDomain>>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let domains = state.domains.range::<str, _>(from(after));
        Ok(domains
            .take(limit)
            .map(|(_, domain)| Arc::clone(domain))
            .collect())
    }

    async fn aliases(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<Alias>>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let names = state.names.range::<str, _>(from(after));
        let aliases = names.filter_map(|(_, name)| match name {
            Name::Alias(alias) if alias.target.account == account => Some(Arc::clone(alias)),
            Name::Alias(_) | Name::Account(_) => None,
        });
        Ok(aliases.take(limit).collect())
    }

    async fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<Account>>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let is_after = |account: &&Arc<Account>| after.is_none_or(|after| account.address.as_str() > after);
        Ok(state.accounts().filter(is_after).take(limit).cloned().collect())
    }

    async fn accounts_without_scram(&self) -> Result<u64, StoreError> {
        self.available()?;
        let state = self.0.lock();
        Ok(state
            .accounts()
            .filter(|account| account.credentials.scram.is_none())
            .count() as u64)
    }

    async fn add_domain(&self, domain: &str) -> Result<(), DirectoryError> {
        self.available()?;
        self.0.lock().add_domain(domain, None)
    }

    async fn add_alias_domain(&self, domain: &str, of: &str) -> Result<(), DirectoryError> {
        self.available()?;
        let mut state = self.0.lock();
        state.own_addresses(of)?;
        state.add_domain(domain, Some(of))
    }

    async fn set_catch_all(&self, domain: &str, target: Option<Target>) -> Result<(), DirectoryError> {
        self.available()?;
        let mut state = self.0.lock();
        let row = state.domains.get_mut(domain);
        let row = row.ok_or_else(|| DirectoryError::NotFound(domain.into()))?;
        if row.alias_of.is_some() {
            return Err(DirectoryError::AliasDomain(domain.into()));
        }
        Arc::make_mut(row).catch_all = target;
        Ok(())
    }

    async fn remove_domain(&self, domain: &str) -> Result<(), DirectoryError> {
        self.available()?;
        let mut state = self.0.lock();
        let has_names = state.names.keys().any(|address| domain_of(address) == domain);
        let mut others = state.domains.values();
        if has_names || others.any(|other| other.alias_of.as_deref() == Some(domain)) {
            return Err(DirectoryError::NotEmpty(domain.into()));
        }
        state.forget_quota(&QuotaOwner::Domain(domain.into()));
        match state.domains.remove(domain) {
            Some(_) => Ok(()),
            None => Err(DirectoryError::NotFound(domain.into())),
        }
    }

    async fn add_account(&self, account: NewAccount) -> Result<Arc<Account>, DirectoryError> {
        self.available()?;
        let NewAccount {
            id,
            address,
            credentials,
            created,
        } = account;
        let mut state = self.0.lock();
        state.free(&address)?;
        let account = Arc::new(Account {
            id,
            address,
            credentials,
            created,
        });
        state.put(Arc::clone(&account));
        Ok(account)
    }

    async fn add_alias(&self, alias: Alias) -> Result<(), DirectoryError> {
        self.available()?;
        let mut state = self.0.lock();
        state.free(&alias.address)?;
        state.stamp = state.stamp.max(alias.created);
        let address = alias.address.clone();
        state.names.insert(address, Name::Alias(Arc::new(alias)));
        Ok(())
    }

    async fn remove_alias(&self, address: &str) -> Result<Arc<Alias>, DirectoryError> {
        self.available()?;
        let mut state = self.0.lock();
        let Some(Name::Alias(alias)) = state.names.get(address).cloned() else {
            return Err(DirectoryError::NotFound(address.into()));
        };
        state.names.remove(address);
        Ok(alias)
    }

    async fn set_credentials(
        &self,
        address: &str,
        credentials: Credentials,
        expected: Option<Stamp>,
    ) -> Result<(), DirectoryError> {
        self.available()?;
        let mut state = self.0.lock();
        let account = state.present(address)?;
        if expected.is_some_and(|expected| expected != account.credentials.stamp) {
            return Err(DirectoryError::Changed(address.into()));
        }
        state.put(Arc::new(Account {
            credentials,
            ..(*account).clone()
        }));
        Ok(())
    }

    async fn remove_account(&self, address: &str) -> Result<Arc<Account>, DirectoryError> {
        self.available()?;
        let mut state = self.0.lock();
        let account = state.present(address)?;
        state.names.remove(address);
        state.removed.insert(account.id, Arc::clone(&account));
        Ok(account)
    }

    async fn removed_accounts(&self) -> Result<Vec<Arc<Account>>, StoreError> {
        self.available()?;
        Ok(self.0.lock().removed.values().cloned().collect())
    }

    async fn forget_removed(&self, id: AccountId) -> Result<(), StoreError> {
        self.available()?;
        let mut state = self.0.lock();
        state.removed.remove(&id);
        state.forget_quota(&QuotaOwner::Account(id));
        Ok(())
    }
}
