//! What an administrator does: domains, accounts, mailboxes, quotas, dead letters. One implementation for the HTTP API of a running node
//! and for the commands on a stopped one.
//!
//! Names are taken as people write them and made canonical here.

pub mod bans;
pub mod cluster;
pub mod listening;
pub mod offline;
pub mod passwd_file;
pub mod quota;
pub mod views;

mod addresses;
mod announcements;
mod app_passwords;
mod letters;

pub use letters::group_name;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use mailhorn_core::auth::{Authenticator, NewPasswordError};
use mailhorn_core::recipients::Recipients;
use mailhorn_events::{MailboxId, MessageId};
use mailhorn_ports::{
    Account, Change, Credentials, Directory, DirectoryError, Expunge, GroupStore, Ids, MailStore, NewAccount,
    StoreError, Writer,
};
use mailhorn_sasl::Secret;
use mailhorn_smtp::{Address, Domain};

use quota::Quota;
use views::{Imported, Mailbox, Message, NewUser, Page, Removed, User};

/// The most entries of a page, and what a page has unless fewer are asked for.
pub const PAGE_ENTRIES_MAX: usize = 1_000;

/// How many messages one change expunges at most.
const EXPUNGED_AT_ONCE_MAX: usize = 1_000;

/// The one mailbox that every account has.
const INBOX: &str = "INBOX";

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// What was given can't be; for whoever gave it.
    #[error("{0}")]
    Invalid(String),
    /// It is not there.
    #[error("{0}")]
    NotFound(String),
    /// It doesn't go with what is there.
    #[error("{0}")]
    Conflict(String),
    /// Not now; later it may be.
    #[error("{0}")]
    Unavailable(String),
    /// The store is damaged there; for the operator.
    #[error("{0}")]
    Damaged(String),
}

impl From<DirectoryError> for OperationError {
    fn from(error: DirectoryError) -> Self {
        let told = error.to_string();
        match error {
            DirectoryError::NotFound(_) => Self::NotFound(told),
            DirectoryError::Exists(_)
            | DirectoryError::NoSuchDomain(_)
            | DirectoryError::AliasDomain(_)
            | DirectoryError::NotEmpty(_)
            | DirectoryError::Changed(_) => Self::Conflict(told),
            DirectoryError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable(error.to_string()),
            StoreError::Damaged(_) => Self::Damaged(error.to_string()),
        }
    }
}

impl From<NewPasswordError> for OperationError {
    fn from(error: NewPasswordError) -> Self {
        match error {
            NewPasswordError::Busy => Self::Unavailable(error.to_string()),
            NewPasswordError::Password(_) | NewPasswordError::Import(_) => Self::Invalid(error.to_string()),
        }
    }
}

/// Makes credentials, where that stops nobody.
#[async_trait]
pub trait Hashing: Debug + Send + Sync {
    /// Of a new password.
    async fn make(&self, password: &Secret) -> Result<Credentials, NewPasswordError>;

    /// Of the password field of a passwd-file.
    async fn import(&self, field: &Secret) -> Result<Credentials, NewPasswordError>;

    /// Accounts were added, removed or changed.
    fn accounts_changed(&self);
}

#[async_trait]
impl Hashing for Authenticator {
    async fn make(&self, password: &Secret) -> Result<Credentials, NewPasswordError> {
        self.make_credentials(password).await
    }

    async fn import(&self, field: &Secret) -> Result<Credentials, NewPasswordError> {
        self.import_credentials(field).await
    }

    fn accounts_changed(&self) {
        Authenticator::accounts_changed(self);
    }
}

/// The operations. Clones share what they work on.
#[derive(Debug, Clone)]
pub struct Operations {
    /// Domains and accounts.
    pub directory: Arc<dyn Directory>,
    /// Whose an address is.
    pub recipients: Recipients,
    /// Mail.
    pub store: Arc<dyn MailStore>,
    /// Dead letters.
    pub groups: Arc<dyn GroupStore>,
    /// Quotas.
    pub quota: Quota,
    /// Names and stamps.
    pub ids: Ids,
    /// Passwords.
    pub hashing: Arc<dyn Hashing>,
    /// Changes.
    pub writer: Arc<dyn Writer>,
}

impl Operations {
    /// Makes an account with a password.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn add_user(&self, address: &str, password: &Secret) -> Result<User, OperationError> {
        let address = self.free_address(address).await?;
        let credentials = self.hashing.make(password).await?;
        self.add_account(address, credentials).await
    }

    /// Makes accounts, each for itself: one that can't be made is told with the reason and stops no other.
    pub async fn import_users(&self, users: &[NewUser]) -> Vec<Imported> {
        let mut imported = Vec::with_capacity(users.len());
        for user in users {
            let error = self.import_user(user).await.err().map(|error| error.to_string());
            imported.push(Imported {
                address: user.address.clone(),
                error,
            });
        }
        imported
    }

    async fn import_user(&self, user: &NewUser) -> Result<User, OperationError> {
        let address = self.free_address(&user.address).await?;
        let credentials = self.hashing.import(&user.secret()).await?;
        self.add_account(address, credentials).await
    }

    /// An address that can be made an account, as far as can be known before: a hash costs much.
    async fn free_address(&self, text: &str) -> Result<String, OperationError> {
        let address = address(text)?;
        let domain = address.domain().as_str();
        match self.directory.domain(domain).await? {
            None => return Err(DirectoryError::NoSuchDomain(domain.to_owned()).into()),
            Some(row) if row.alias_of.is_some() => {
                return Err(DirectoryError::AliasDomain(domain.to_owned()).into());
            }
            Some(_) => {}
        }
        let canonical = address.to_string();
        if self.directory.name(&canonical).await?.is_some() {
            return Err(DirectoryError::Exists(canonical).into());
        }
        Ok(canonical)
    }

    async fn add_account(&self, address: String, credentials: Credentials) -> Result<User, OperationError> {
        let account = NewAccount {
            id: self.ids.account(),
            address,
            credentials,
            created: self.ids.stamp(),
        };
        let account = self.directory.add_account(account).await?;
        self.hashing.accounts_changed();
        if let Err(error) = self.announce_inbox(&account).await {
            // The account is there and takes mail; undoing that would be worse than an event that nobody heard.
            tracing::warn!(account = %account.id, %error, "nobody is told of a new mailbox");
        }
        Ok(User::from(&*account))
    }

    /// Sets a password. What was remembered of the old one is void; app passwords stay.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn set_password(&self, address: &str, password: &Secret) -> Result<(), OperationError> {
        self.account(address).await?;
        let made = self.hashing.make(password).await?;
        let change = |old: &Credentials| {
            Ok(Credentials {
                app_passwords: old.app_passwords.clone(),
                ..made.clone()
            })
        };
        self.change_credentials(address, change).await
    }

    /// Changes credentials to what `change` makes of them, under a new stamp. Whoever changed them in between is not undone.
    async fn change_credentials(
        &self,
        address: &str,
        change: impl Fn(&Credentials) -> Result<Credentials, OperationError>,
    ) -> Result<(), OperationError> {
        loop {
            let account = self.account(address).await?;
            let old = &account.credentials;
            self.ids.saw(old.stamp);
            let credentials = Credentials {
                stamp: self.ids.stamp(),
                ..change(old)?
            };
            let set = self
                .directory
                .set_credentials(&account.address, credentials, Some(old.stamp));
            match set.await {
                // Each time somebody else came through.
                Err(DirectoryError::Changed(_)) => {}
                done => {
                    done?;
                    self.hashing.accounts_changed();
                    return Ok(());
                }
            }
        }
    }

    /// Removes an account and its mail. The account is gone at once; where its mail can't be removed now, the next
    /// start of the node does it.
    ///
    /// # Errors
    ///
    /// [`OperationError`]: the account is as it was.
    pub async fn remove_user(&self, address_text: &str) -> Result<Removed, OperationError> {
        let address = address(address_text)?.to_string();
        let account = self.directory.remove_account(&address).await?;
        self.hashing.accounts_changed();
        let emptied = self.empty_and_forget(&account).await;
        if let Err(error) = &emptied {
            tracing::warn!(account = %account.id, %error, "the mail of a removed account is still there");
        }
        Ok(Removed {
            address,
            messages: emptied.as_ref().copied().unwrap_or_default(),
            is_empty: emptied.is_ok(),
        })
    }

    /// Removes the mail of accounts that were removed, where that was interrupted.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; what is left is for the next time.
    pub async fn finish_removals(&self) -> Result<(), StoreError> {
        for account in self.directory.removed_accounts().await? {
            let messages = self.empty_and_forget(&account).await?;
            tracing::info!(account = %account.id, messages, "the mail of a removed account was removed");
        }
        Ok(())
    }

    async fn empty_and_forget(&self, account: &Account) -> Result<u64, StoreError> {
        let messages = self.empty(account).await?;
        self.remove_aliases_of(account).await?;
        // Before the account is forgotten: after a crash between the two it is told again.
        self.announce_inbox_gone(account).await?;
        self.directory.forget_removed(account.id).await?;
        Ok(messages)
    }

    async fn empty(&self, account: &Account) -> Result<u64, StoreError> {
        let mailbox = MailboxId::inbox(account.id);
        let mut removed: u64 = 0;
        let mut after = None;
        loop {
            let rows = self.store.list(mailbox, after, EXPUNGED_AT_ONCE_MAX).await?;
            let Some(last) = rows.last() else {
                return Ok(removed);
            };
            after = Some(last.message);
            rows.iter().for_each(|row| self.ids.saw(row.stamp));
            let messages: Vec<MessageId> = rows.iter().map(|row| row.message).collect();
            removed = removed.saturating_add(u64::try_from(messages.len()).unwrap_or(u64::MAX));
            let expunge = Expunge {
                event: self.ids.event(),
                stamp: self.ids.stamp(),
                user: account.address.clone(),
                account: account.id,
                mailbox,
                messages,
            };
            self.writer.write(Change::Expunge(expunge)).await?;
        }
    }

    /// The accounts after one.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn users(&self, after: Option<&str>, limit: usize) -> Result<Page<User>, OperationError> {
        let (accounts, next) = self.accounts(after, limit).await?;
        Ok(Page {
            items: accounts.iter().map(|account| User::from(&**account)).collect(),
            next,
        })
    }

    async fn accounts(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Arc<Account>>, Option<String>), OperationError> {
        let limit = limit.clamp(1, PAGE_ENTRIES_MAX);
        let accounts = self.directory.accounts(after, limit).await?;
        let next = accounts
            .last()
            .filter(|_| accounts.len() == limit)
            .map(|account| account.address.clone());
        Ok((accounts, next))
    }

    /// The mailboxes of the accounts after one.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn mailboxes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Mailbox>, OperationError> {
        let (accounts, next) = self.accounts(after, limit).await?;
        let mut items = Vec::with_capacity(accounts.len());
        for account in accounts {
            items.push(self.inbox(&account).await?);
        }
        Ok(Page { items, next })
    }

    /// The mailboxes of an account.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn mailboxes_of(&self, address: &str) -> Result<Vec<Mailbox>, OperationError> {
        let account = self.account(address).await?;
        Ok(vec![self.inbox(&account).await?])
    }

    async fn inbox(&self, account: &Account) -> Result<Mailbox, OperationError> {
        let id = MailboxId::inbox(account.id);
        let figure = self.store.figure(id).await?;
        Ok(Mailbox {
            address: account.address.clone(),
            mailbox: INBOX.to_owned(),
            id: id.to_string(),
            messages: figure.messages,
            octets: figure.octets,
        })
    }

    /// The messages of a mailbox after one, in the order in which POP3 lists them.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn messages(
        &self,
        address: &str,
        mailbox: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Message>, OperationError> {
        let account = self.account(address).await?;
        // RFC 9051 §5.1: INBOX is the one name without regard to case.
        if !mailbox.eq_ignore_ascii_case(INBOX) {
            return Err(OperationError::NotFound(format!(
                "{} has no mailbox {mailbox}",
                account.address
            )));
        }
        let limit = limit.clamp(1, PAGE_ENTRIES_MAX);
        let after = after.map(message_id).transpose()?;
        let rows = self
            .store
            .list(MailboxId::inbox(account.id), after, limit)
            .await?;
        let next = rows
            .last()
            .filter(|_| rows.len() == limit)
            .map(|row| row.message.to_string());
        Ok(Page {
            items: rows.iter().map(Message::from).collect(),
            next,
        })
    }

    /// An account that is there.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn account(&self, text: &str) -> Result<Arc<Account>, OperationError> {
        let address = address(text)?.to_string();
        let account = self.directory.account(&address).await?;
        account.ok_or_else(|| DirectoryError::NotFound(address).into())
    }
}

fn domain(text: &str) -> Result<Domain, OperationError> {
    Domain::parse(text).map_err(|error| OperationError::Invalid(format!("{text:?} is no domain: {error}")))
}

fn address(text: &str) -> Result<Address, OperationError> {
    Address::parse(text).map_err(|error| OperationError::Invalid(format!("{text:?} is no address: {error}")))
}

/// A mailbox's id as people write it. Whether there is such a mailbox is another question.
///
/// # Errors
///
/// [`OperationError::Invalid`].
pub fn mailbox_id(text: &str) -> Result<MailboxId, OperationError> {
    let id = text
        .parse()
        .map_err(|_| OperationError::Invalid(format!("{text:?} is no mailbox id")))?;
    Ok(MailboxId(id))
}

fn message_id(text: &str) -> Result<MessageId, OperationError> {
    let id = text
        .parse()
        .map_err(|_| OperationError::Invalid(format!("{text:?} is no message id")))?;
    Ok(MessageId(id))
}

#[cfg(test)]
pub(crate) mod tests;
