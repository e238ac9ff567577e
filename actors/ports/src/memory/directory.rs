//! [`Directory`] in memory.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use mailhorn_events::{AccountId, Stamp};

use super::{MemoryStore, State};
use crate::directory::{Account, Credentials, Directory, DirectoryError, NewAccount, domain_of};
use crate::quota::QuotaOwner;
use crate::store::StoreError;

impl State {
    fn put(&mut self, account: Arc<Account>) {
        self.stamp = self.stamp.max(account.created).max(account.credentials.stamp);
        self.accounts.insert(account.address.clone(), account);
    }

    fn forget_quota(&mut self, owner: &QuotaOwner) {
        self.limits.remove(owner);
        self.thresholds.remove(owner);
    }

    fn present(&self, address: &str) -> Result<Arc<Account>, DirectoryError> {
        self.accounts
            .get(address)
            .cloned()
            .ok_or_else(|| DirectoryError::NotFound(address.into()))
    }
}

fn from(after: Option<&str>) -> (Bound<&str>, Bound<&str>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

#[async_trait]
impl Directory for MemoryStore {
    async fn account(&self, address: &str) -> Result<Option<Arc<Account>>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        if state.script.panic_at_account.as_deref() == Some(address) {
            std::panic::resume_unwind(Box::new("the double was told to"));
        }
        Ok(state.accounts.get(address).cloned())
    }

    async fn is_local(&self, domain: &str) -> Result<bool, StoreError> {
        self.available()?;
        Ok(self.0.lock().domains.contains(domain))
    }

    async fn domains(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.available()?;
        Ok(self
            .0
            .lock()
            .domains
            .range::<str, _>(from(after))
            .take(limit)
            .cloned()
            .collect())
    }

    async fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<Account>>, StoreError> {
        self.available()?;
        let state = self.0.lock();
        let accounts = state
            .accounts
            .range::<str, _>(from(after))
            .map(|(_, account)| Arc::clone(account));
        Ok(accounts.take(limit).collect())
    }

    async fn accounts_without_scram(&self) -> Result<u64, StoreError> {
        self.available()?;
        let state = self.0.lock();
        Ok(state
            .accounts
            .values()
            .filter(|account| account.credentials.scram.is_none())
            .count() as u64)
    }

    async fn add_domain(&self, domain: &str) -> Result<(), DirectoryError> {
        self.available()?;
        match self.0.lock().domains.insert(domain.into()) {
            true => Ok(()),
            false => Err(DirectoryError::Exists(domain.into())),
        }
    }

    async fn remove_domain(&self, domain: &str) -> Result<(), DirectoryError> {
        self.available()?;
        let mut state = self.0.lock();
        if state.accounts.keys().any(|address| domain_of(address) == domain) {
            return Err(DirectoryError::NotEmpty(domain.into()));
        }
        state.forget_quota(&QuotaOwner::Domain(domain.into()));
        match state.domains.remove(domain) {
            true => Ok(()),
            false => Err(DirectoryError::NotFound(domain.into())),
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
        if state.accounts.contains_key(&address) {
            return Err(DirectoryError::Exists(address));
        }
        if !state.domains.contains(domain_of(&address)) {
            return Err(DirectoryError::NoSuchDomain(domain_of(&address).into()));
        }
        let account = Arc::new(Account {
            id,
            address,
            credentials,
            created,
        });
        state.put(Arc::clone(&account));
        Ok(account)
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
        state.accounts.remove(address);
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
