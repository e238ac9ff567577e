//! Whose mail an address's is: an account's own address, an alias, a detail behind it, another name of its domain, or the
//! domain's catch-all.
//!
//! What is nearest to the address as it was given counts: first the address itself, then the same at the domain that its
//! domain is an alias of, then without its detail, then the postmaster, then the catch-all. Mail to an account's own address,
//! which is nearly all, costs one look at the directory; no address costs more than a handful, for no alias leads to another.

use std::sync::Arc;

use mailhorn_ports::{Account, Directory, LocalDomain, Name, StoreError};
use mailhorn_smtp::Address;

/// The local part that every domain has (RFC 5321 §4.5.1).
const POSTMASTER: &str = "postmaster";

/// How addresses are read.
#[derive(Debug, Clone)]
pub struct RecipientOptions {
    /// What parts a local part from its detail (RFC 5233): `ann+lists` is `ann`. `None`: nothing does.
    pub detail_separator: Option<char>,
    /// Whose address gets the mail to `postmaster` at a local domain that has no such address.
    pub postmaster: Address,
}

/// Whose an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This account's.
    Account(Arc<Account>),
    /// Nobody's, at a domain that is local.
    Nobody,
    /// Somebody else's: the domain is not local.
    Elsewhere,
}

/// Finds out whose an address is.
#[derive(Debug, Clone)]
pub struct Recipients {
    directory: Arc<dyn Directory>,
    options: RecipientOptions,
}

impl Recipients {
    /// By what this directory says.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>, options: RecipientOptions) -> Self {
        Self { directory, options }
    }

    /// Whose `address` is.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it is not known now.
    pub async fn owner(&self, address: &Address) -> Result<Owner, StoreError> {
        if let Some(account) = self.account(&address.to_string()).await? {
            return Ok(Owner::Account(account));
        }
        let Some(mut domain) = self.directory.domain(address.domain().as_str()).await? else {
            return Ok(Owner::Elsewhere);
        };
        let local_part = address.local_part();
        if let Some(of) = &domain.alias_of {
            let Some(other) = self.directory.domain(of).await? else {
                return Ok(Owner::Nobody);
            };
            domain = other;
            if let Some(account) = self.at(local_part, &domain).await? {
                return Ok(Owner::Account(account));
            }
        }
        let found = self.without_detail(local_part, &domain).await?;
        Ok(found.map_or(Owner::Nobody, Owner::Account))
    }

    /// Whose an address is at a domain that has none such.
    async fn without_detail(
        &self,
        local_part: &str,
        domain: &LocalDomain,
    ) -> Result<Option<Arc<Account>>, StoreError> {
        let base = self.options.detail_separator.and_then(|separator| {
            let (base, _) = local_part.split_once(separator)?;
            (!base.is_empty()).then_some(base)
        });
        if let Some(base) = base
            && let Some(account) = self.at(base, domain).await?
        {
            return Ok(Some(account));
        }
        if base.unwrap_or(local_part) == POSTMASTER
            && let Some(account) = self.account(&self.options.postmaster.to_string()).await?
        {
            return Ok(Some(account));
        }
        match &domain.catch_all {
            Some(target) => self.directory.target(target).await,
            None => Ok(None),
        }
    }

    async fn at(&self, local_part: &str, domain: &LocalDomain) -> Result<Option<Arc<Account>>, StoreError> {
        // What would be too long there is nobody's.
        let address = domain
            .name
            .parse()
            .and_then(|domain| Address::new(local_part, domain));
        match address {
            Ok(address) => self.account(&address.to_string()).await,
            Err(_) => Ok(None),
        }
    }

    /// Whose this very address is, its own or as an alias.
    async fn account(&self, address: &str) -> Result<Option<Arc<Account>>, StoreError> {
        match self.directory.name(address).await? {
            Some(Name::Account(account)) => Ok(Some(account)),
            Some(Name::Alias(alias)) => self.directory.target(&alias.target).await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use mailhorn_ports::contract::World;
    use mailhorn_ports::memory::MemoryStore;

    use super::*;

    fn recipients(store: &MemoryStore, detail_separator: Option<char>) -> Recipients {
        let options = RecipientOptions {
            detail_separator,
            postmaster: "ann@example.org".parse().unwrap(),
        };
        Recipients::new(Arc::new(store.clone()), options)
    }

    async fn owner(recipients: &Recipients, address: &str) -> String {
        match recipients.owner(&address.parse().unwrap()).await.unwrap() {
            Owner::Account(account) => account.address.clone(),
            Owner::Nobody => "nobody".into(),
            Owner::Elsewhere => "elsewhere".into(),
        }
    }

    /// `example.org` with accounts, an alias and a catch-all; `example.com` is an alias of it; `example.net` is neither.
    async fn store() -> MemoryStore {
        let store = MemoryStore::new();
        let world = World::new(&store);
        let ann = world.account("ann@example.org").await;
        world.account("bob@example.org").await;
        world.account("a+b@example.org").await;
        let carol = world.account("carol@example.net").await;
        world.alias("sales@example.org", &ann).await;
        world.alias("sales+eu@example.org", &carol).await;
        store
            .add_alias_domain("example.com", "example.org")
            .await
            .unwrap();
        store
    }

    #[tokio::test]
    async fn the_nearest_reading_of_an_address_counts() {
        let store = store().await;
        let recipients = recipients(&store, Some('+'));
        for (address, expected) in [
            ("bob@example.org", "bob@example.org"),
            ("BOB@EXAMPLE.ORG", "bob@example.org"),
            ("sales@example.org", "ann@example.org"),
            ("bob+lists@example.org", "bob@example.org"),
            ("bob+lists+more@example.org", "bob@example.org"),
            ("sales+de@example.org", "ann@example.org"),
            ("sales+eu@example.org", "carol@example.net"),
            ("a+b@example.org", "a+b@example.org"),
            ("a+c@example.org", "nobody"),
            ("+bob@example.org", "nobody"),
            ("bob@example.com", "bob@example.org"),
            ("sales+de@example.com", "ann@example.org"),
            ("postmaster@example.org", "ann@example.org"),
            ("PostMaster@example.com", "ann@example.org"),
            ("postmaster+abuse@example.net", "ann@example.org"),
            ("nobody@example.org", "nobody"),
            ("nobody@example.com", "nobody"),
            ("bob@example.net", "nobody"),
            ("bob@example.edu", "elsewhere"),
            ("postmaster@example.edu", "elsewhere"),
        ] {
            assert_eq!(owner(&recipients, address).await, expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_detail_is_a_part_of_the_name_where_nothing_parts_it() {
        let store = store().await;
        let none = recipients(&store, None);
        assert_eq!(owner(&none, "bob+lists@example.org").await, "nobody");
        let hyphen = recipients(&store, Some('-'));
        assert_eq!(owner(&hyphen, "bob-lists@example.org").await, "bob@example.org");
        assert_eq!(owner(&hyphen, "bob+lists@example.org").await, "nobody");
    }

    #[tokio::test]
    async fn a_postmaster_of_its_own_goes_before_the_common_one() {
        let store = store().await;
        World::seeded(&store, 2).account("postmaster@example.net").await;
        let recipients = recipients(&store, Some('+'));
        assert_eq!(
            owner(&recipients, "postmaster@example.net").await,
            "postmaster@example.net"
        );
        assert_eq!(
            owner(&recipients, "postmaster@example.org").await,
            "ann@example.org"
        );
    }

    #[tokio::test]
    async fn a_catch_all_gets_what_nobody_has_and_nothing_else() {
        let store = store().await;
        let recipients = recipients(&store, Some('+'));
        let bob = store.account("bob@example.org").await.unwrap().unwrap();
        let target = Some((&*bob).into());
        store.set_catch_all("example.org", target).await.unwrap();
        for (address, expected) in [
            ("who@example.org", "bob@example.org"),
            ("who+ever@example.com", "bob@example.org"),
            ("sales@example.org", "ann@example.org"),
            ("postmaster@example.org", "ann@example.org"),
            ("who@example.net", "nobody"),
        ] {
            assert_eq!(owner(&recipients, address).await, expected, "{address}");
        }
        store.remove_account("bob@example.org").await.unwrap();
        assert_eq!(owner(&recipients, "who@example.org").await, "nobody");
        World::seeded(&store, 3).account("bob@example.org").await;
        assert_eq!(
            owner(&recipients, "who@example.org").await,
            "nobody",
            "it is another Bob"
        );
    }

    #[tokio::test]
    async fn an_alias_of_an_account_that_was_removed_is_nobodys() {
        let store = store().await;
        let recipients = recipients(&store, Some('+'));
        store.remove_account("ann@example.org").await.unwrap();
        World::seeded(&store, 4).account("ann@example.org").await;
        assert_eq!(owner(&recipients, "sales@example.org").await, "nobody");
        assert_eq!(owner(&recipients, "ann@example.org").await, "ann@example.org");
    }
}
