//! Who has mail here: domains, accounts, their other addresses, and how a password is checked.
//!
//! An address is a name of at most one thing: an account or an alias. So one row says what it is, one read finds it, and
//! two who make it at once can't both succeed.
//!
//! Making and removing names is rare and may cost a consensus round in a cluster; reading one is on every log-in's and
//! every recipient's way and must not.

mod app_password;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mailhorn_events::{AccountId, Stamp};

pub use self::app_password::{
    APP_PASSWORD_NAME_OCTETS_MAX, APP_PASSWORDS_MAX, AppPassword, MalformedAppPassword, Service, Services,
};

use crate::store::StoreError;

/// An account as the directory knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name for ever.
    pub id: AccountId,
    /// Its address in canonical form (`mailhorn_smtp::Address`).
    pub address: String,
    /// How its password is checked.
    pub credentials: Credentials,
    /// When it was made.
    pub created: Stamp,
}

/// Another address of an account: mail to it is the account's. Nobody logs in under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The other address in canonical form.
    pub address: String,
    /// Whose it is.
    pub target: Target,
    /// When it was made.
    pub created: Stamp,
}

/// An account that something points to. Both parts have to fit: an account that was removed and made again under the same
/// address is another's, and gets nothing that was meant for the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its address in canonical form.
    pub address: String,
    /// Its name for ever.
    pub account: AccountId,
}

impl From<&Account> for Target {
    fn from(account: &Account) -> Self {
        Self {
            address: account.address.clone(),
            account: account.id,
        }
    }
}

/// What an address is in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// An account's own address.
    Account(Arc<Account>),
    /// Another address of one.
    Alias(Arc<Alias>),
}

/// A domain for which mail is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDomain {
    /// Its name in canonical form.
    pub name: String,
    /// The domain whose addresses this one's are, where it has none of its own. That one is no alias.
    pub alias_of: Option<String>,
    /// Who gets mail to addresses that nobody has.
    pub catch_all: Option<Target>,
}

/// The domain of an address in canonical form; nothing of what is none.
#[must_use]
pub fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// How a password is checked. Never holds a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Changes with every change of the password, so whatever was remembered under an older one is void.
    pub stamp: Stamp,
    /// A hash that says what it is: argon2id in PHC form (`$argon2id$v=19$…`), or one of another server with its scheme
    /// before it (`{SHA512-CRYPT}$6$…`), until its user has logged in.
    pub hash: String,
    /// SCRAM-SHA-256 keys (RFC 5802 §3), where they could be made: they need the password itself.
    pub scram: Option<ScramKeys>,
    /// Further passwords, each for one program of the user's and revoked alone; at most [`APP_PASSWORDS_MAX`].
    pub app_passwords: Vec<AppPassword>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("stamp", &self.stamp)
            .field("scram", &self.scram.is_some())
            .field("app_passwords", &self.app_passwords.len())
            .finish_non_exhaustive()
    }
}

/// SCRAM-SHA-256 keys as they are stored (RFC 5802 §3): enough to check a client, not to be one.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Random, of this account alone.
    pub salt: Vec<u8>,
    /// PBKDF2 iterations.
    pub iterations: u32,
    /// `H(ClientKey)`.
    pub stored_key: [u8; 32],
    /// `HMAC(SaltedPassword, "Server Key")`.
    pub server_key: [u8; 32],
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// What [`Directory::add_account`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// A new id.
    pub id: AccountId,
    /// The address in canonical form.
    pub address: String,
    /// Its credentials.
    pub credentials: Credentials,
    /// When.
    pub created: Stamp,
}

/// Why the directory was not changed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// It is not there.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The address's domain is not local: add the domain first.
    #[error("the domain {0} is not served here")]
    NoSuchDomain(String),
    /// The domain is an alias of another, which has its addresses.
    #[error("the domain {0} is an alias of another domain: make the address there")]
    AliasDomain(String),
    /// The domain still has accounts, aliases or domains that are aliases of it.
    #[error("the domain {0} still has accounts, or aliases, or domains that are aliases of it")]
    NotEmpty(String),
    /// The credentials were changed by somebody else in between.
    #[error("the credentials of {0} were changed in between")]
    Changed(String),
    /// The store did not do it, or not surely.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Domains and accounts. Addresses and domains are given in canonical form (lower case).
///
/// Every change is durable when its call returns `Ok`, and is seen by every later read on this node.
#[async_trait]
pub trait Directory: fmt::Debug + Send + Sync {
    /// What `address` is.
    async fn name(&self, address: &str) -> Result<Option<Name>, StoreError>;

    /// The account whose own address `address` is.
    async fn account(&self, address: &str) -> Result<Option<Arc<Account>>, StoreError> {
        Ok(match self.name(address).await? {
            Some(Name::Account(account)) => Some(account),
            Some(Name::Alias(_)) | None => None,
        })
    }

    /// The account that is pointed to, while it is there.
    async fn target(&self, target: &Target) -> Result<Option<Arc<Account>>, StoreError> {
        let account = self.account(&target.address).await?;
        Ok(account.filter(|account| account.id == target.account))
    }

    /// The domain, if mail for it is taken here.
    async fn domain(&self, domain: &str) -> Result<Option<Arc<LocalDomain>>, StoreError>;

    /// At most `limit` domains after `after`, in the order of their names.
    async fn domains(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<LocalDomain>>, StoreError>;

    /// At most `limit` aliases of an account after `after`, in the order of their addresses.
    async fn aliases(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<Alias>>, StoreError>;

    /// At most `limit` accounts whose address comes after `after`, in the order of their addresses.
    async fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<Account>>, StoreError>;

    /// How many accounts have no SCRAM keys. While it is 0, SCRAM can be offered to everybody.
    async fn accounts_without_scram(&self) -> Result<u64, StoreError>;

    /// Makes a domain local. [`DirectoryError::Exists`] when it is.
    async fn add_domain(&self, domain: &str) -> Result<(), DirectoryError>;

    /// Makes a domain local as another name of `of`. [`DirectoryError::Exists`] when it is local; of the other
    /// [`DirectoryError::NoSuchDomain`] when it isn't, [`DirectoryError::AliasDomain`] when it is an alias itself.
    async fn add_alias_domain(&self, domain: &str, of: &str) -> Result<(), DirectoryError>;

    /// Says who gets mail to addresses of a domain that nobody has; nobody with `None`. [`DirectoryError::NotFound`],
    /// [`DirectoryError::AliasDomain`].
    async fn set_catch_all(&self, domain: &str, target: Option<Target>) -> Result<(), DirectoryError>;

    /// Takes no more mail for a domain. [`DirectoryError::NotEmpty`] while something is left of it.
    async fn remove_domain(&self, domain: &str) -> Result<(), DirectoryError>;

    /// Makes an account. [`DirectoryError::Exists`], also where the address is an alias,
    /// [`DirectoryError::NoSuchDomain`], [`DirectoryError::AliasDomain`].
    async fn add_account(&self, account: NewAccount) -> Result<Arc<Account>, DirectoryError>;

    /// Makes an alias. The same errors as for an account. That its target is there is for the caller to see: it may go
    /// at any moment, and an alias without one is as good as none.
    async fn add_alias(&self, alias: Alias) -> Result<(), DirectoryError>;

    /// Removes an alias and gives what it was. [`DirectoryError::NotFound`], also of an account.
    async fn remove_alias(&self, address: &str) -> Result<Arc<Alias>, DirectoryError>;

    /// Sets credentials. With `expected`, only while the account's credentials have that stamp
    /// ([`DirectoryError::Changed`] otherwise): an upgrade of keys or of a hash must not undo a change of password.
    async fn set_credentials(
        &self,
        address: &str,
        credentials: Credentials,
        expected: Option<Stamp>,
    ) -> Result<(), DirectoryError>;

    /// Removes an account and gives what it was. From then on it takes no mail and no log-in; its mailboxes are
    /// for the caller to empty, and its aliases to remove ([`Directory::removed_accounts`] tells of it until
    /// [`Directory::forget_removed`]).
    async fn remove_account(&self, address: &str) -> Result<Arc<Account>, DirectoryError>;

    /// Removed accounts whose mail may still be there, after a crash too.
    async fn removed_accounts(&self) -> Result<Vec<Arc<Account>>, StoreError>;

    /// The mail of this removed account is gone.
    async fn forget_removed(&self, id: AccountId) -> Result<(), StoreError>;
}
