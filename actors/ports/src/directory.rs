//! Who has mail here: domains, accounts, and how a password is checked.
//!
//! Making and removing them is rare and may cost a consensus round in a cluster; reading an account is on every
//! log-in's and every recipient's way and must not.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mailhorn_events::{AccountId, Stamp};

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
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("stamp", &self.stamp)
            .field("scram", &self.scram.is_some())
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
    /// The domain still has accounts.
    #[error("the domain {0} still has accounts")]
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
    /// The account of `address`.
    async fn account(&self, address: &str) -> Result<Option<Arc<Account>>, StoreError>;

    /// Whether mail for `domain` is taken here.
    async fn is_local(&self, domain: &str) -> Result<bool, StoreError>;

    /// At most `limit` domains after `after`, in the order of their names.
    async fn domains(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError>;

    /// At most `limit` accounts whose address comes after `after`, in the order of their addresses.
    async fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<Account>>, StoreError>;

    /// How many accounts have no SCRAM keys. While it is 0, SCRAM can be offered to everybody.
    async fn accounts_without_scram(&self) -> Result<u64, StoreError>;

    /// Makes a domain local. [`DirectoryError::Exists`] when it is.
    async fn add_domain(&self, domain: &str) -> Result<(), DirectoryError>;

    /// Takes no more mail for a domain. [`DirectoryError::NotEmpty`] while it has accounts.
    async fn remove_domain(&self, domain: &str) -> Result<(), DirectoryError>;

    /// Makes an account. [`DirectoryError::Exists`], [`DirectoryError::NoSuchDomain`].
    async fn add_account(&self, account: NewAccount) -> Result<Arc<Account>, DirectoryError>;

    /// Sets credentials. With `expected`, only while the account's credentials have that stamp
    /// ([`DirectoryError::Changed`] otherwise): an upgrade of keys or of a hash must not undo a change of password.
    async fn set_credentials(
        &self,
        address: &str,
        credentials: Credentials,
        expected: Option<Stamp>,
    ) -> Result<(), DirectoryError>;

    /// Removes an account and gives what it was. From then on it takes no mail and no log-in; its mailboxes are
    /// for the caller to empty ([`Directory::removed_accounts`] tells of them until
    /// [`Directory::forget_removed`]).
    async fn remove_account(&self, address: &str) -> Result<Arc<Account>, DirectoryError>;

    /// Removed accounts whose mail may still be there, after a crash too.
    async fn removed_accounts(&self) -> Result<Vec<Arc<Account>>, StoreError>;

    /// The mail of this removed account is gone.
    async fn forget_removed(&self, id: AccountId) -> Result<(), StoreError>;
}
