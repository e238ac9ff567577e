//! Domains, and addresses that are no account's own: aliases, and who gets what nobody has.

use std::sync::Arc;

use mailhorn_core::recipients::Owner;
use mailhorn_ports::{Account, Alias, DirectoryError, StoreError, Target};

use super::views::{Alias as AliasView, Domain as DomainView, Page, Recipient};
use super::{OperationError, Operations, PAGE_ENTRIES_MAX, address, domain};

impl Operations {
    /// Takes mail for a domain from now on; with `alias_of`, as for that one.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn add_domain(&self, name: &str, alias_of: Option<&str>) -> Result<DomainView, OperationError> {
        let name = domain(name)?;
        let alias_of = alias_of.map(domain).transpose()?;
        match &alias_of {
            Some(of) => {
                self.directory
                    .add_alias_domain(name.as_str(), of.as_str())
                    .await?
            }
            None => self.directory.add_domain(name.as_str()).await?,
        }
        Ok(DomainView {
            name: name.to_string(),
            alias_of: alias_of.map(|of| of.to_string()),
            catch_all: None,
        })
    }

    /// Takes no more mail for a domain of which nothing is left.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn remove_domain(&self, name: &str) -> Result<(), OperationError> {
        Ok(self.directory.remove_domain(domain(name)?.as_str()).await?)
    }

    /// Says who gets mail to addresses of a domain that nobody has; nobody with `None`.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn set_catch_all(&self, name: &str, of: Option<&str>) -> Result<(), OperationError> {
        let name = domain(name)?;
        let target = match of {
            Some(of) => Some(Target::from(&*self.account(of).await?)),
            None => None,
        };
        Ok(self.directory.set_catch_all(name.as_str(), target).await?)
    }

    /// The domains after one.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn domains(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<DomainView>, OperationError> {
        let limit = limit.clamp(1, PAGE_ENTRIES_MAX);
        let domains = self.directory.domains(after, limit).await?;
        let last = domains.last().filter(|_| domains.len() == limit);
        Ok(Page {
            next: last.map(|domain| domain.name.clone()),
            items: domains.iter().map(|domain| DomainView::from(&**domain)).collect(),
        })
    }

    /// Whose mail an address's is, and why it would be refused.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn recipient(&self, text: &str) -> Result<Recipient, OperationError> {
        let recipient = address(text)?;
        let owner = self.recipients.owner(&recipient).await?;
        Ok(Recipient {
            recipient: recipient.to_string(),
            local: owner != Owner::Elsewhere,
            address: match owner {
                Owner::Account(account) => Some(account.address.clone()),
                Owner::Nobody | Owner::Elsewhere => None,
            },
        })
    }

    /// Makes another address of an account.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn add_alias(&self, alias: &str, of: &str) -> Result<AliasView, OperationError> {
        let alias = self.free_address(alias).await?;
        let account = self.account(of).await?;
        let alias = Alias {
            address: alias,
            target: Target::from(&*account),
            created: self.ids.stamp(),
        };
        self.directory.add_alias(alias.clone()).await?;
        Ok(AliasView::from(&alias))
    }

    /// Removes another address of an account.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn remove_alias(&self, alias: &str) -> Result<(), OperationError> {
        self.directory.remove_alias(&address(alias)?.to_string()).await?;
        Ok(())
    }

    /// The other addresses of an account.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn aliases_of(
        &self,
        address: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<AliasView>, OperationError> {
        let account = self.account(address).await?;
        let limit = limit.clamp(1, PAGE_ENTRIES_MAX);
        let aliases = self.directory.aliases(account.id, after, limit).await?;
        let last = aliases.last().filter(|_| aliases.len() == limit);
        Ok(Page {
            next: last.map(|alias| alias.address.clone()),
            items: aliases.iter().map(|alias| AliasView::from(&**alias)).collect(),
        })
    }

    /// The other addresses of the accounts after one: all of each.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn aliases(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<AliasView>, OperationError> {
        let (accounts, next) = self.accounts(after, limit).await?;
        let mut items = Vec::new();
        for account in accounts {
            let aliases = self.all_aliases(&account).await?;
            items.extend(aliases.iter().map(|alias| AliasView::from(&**alias)));
        }
        Ok(Page { items, next })
    }

    /// Removes what is left of the names of an account that was removed.
    pub(super) async fn remove_aliases_of(&self, account: &Account) -> Result<(), StoreError> {
        for alias in self.all_aliases(account).await? {
            match self.directory.remove_alias(&alias.address).await {
                Ok(_) | Err(DirectoryError::NotFound(_)) => {}
                Err(DirectoryError::Store(error)) => return Err(error),
                Err(error) => return Err(StoreError::Unavailable(error.to_string())),
            }
        }
        Ok(())
    }

    async fn all_aliases(&self, account: &Account) -> Result<Vec<Arc<Alias>>, StoreError> {
        let mut all: Vec<Arc<Alias>> = Vec::new();
        loop {
            let after = all.last().map(|alias| alias.address.as_str());
            let page = self
                .directory
                .aliases(account.id, after, PAGE_ENTRIES_MAX)
                .await?;
            let is_last = page.len() < PAGE_ENTRIES_MAX;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }
}
