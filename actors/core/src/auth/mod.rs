//! Who may read which mail: passwords and SCRAM proofs, checked against the directory.
//!
//! [`Authenticator`] is shared by all sessions, on whatever arbiter they are. It guarantees that
//!
//! - a password is hashed on a thread of its own, at most [`AuthOptions::hashes_at_once`] at a time, and the line
//!   before them is limited;
//! - a user who does not exist is answered as one with a wrong password is, after the same work;
//! - failures are slowed and limited for an address and for an address with a user name, never for a user alone;
//! - a hash of another server is checked at what it costs, within bounds, and replaced by ours after the log-in's reply;
//! - nothing that it keeps in memory or prints is a password, but for that of a replacement under way.
//!
//! It never decides what a session says: that is for the protocol's crate.

pub mod app_passwords;
mod counters;
mod hashers;
mod log_ins;
mod offer;
mod options;
pub mod passwords;
mod remembered;
mod replacing;
mod throttle;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mailhorn_events::{AccountId, Stamp};
use mailhorn_ports::{Account, Credentials, Directory, Ids, Service};
use mailhorn_sasl::{PASSWORD_OCTETS_MAX, SALT_OCTETS, Secret, StoredKeys};
use mailhorn_smtp::Address;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

pub use self::counters::AuthCounts;
pub use self::log_ins::AllowPlaintext;
pub(crate) use self::log_ins::ScramUnderway;
pub use self::options::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, Argon2Cost, AuthOptions, FailureLimits,
    InvalidOptions, ScramOffer,
};

use self::counters::{AuthCounters, AuthFigures, count};
use self::hashers::{Busy, Hashers};
use self::offer::Offer;
use self::passwords::{ImportError, PasswordError};
use self::remembered::Remembered;
use self::replacing::{REPLACEMENTS_MAX, Replacing};
use self::throttle::{Attempt, DELAY_MAX, LimitReached, Throttle};
use crate::bans::Bans;

/// How long a password stays remembered whose account is to get SCRAM keys or a hash of ours and may not have got them:
/// the log-in after that tries again.
const UPGRADE_AGAIN_AFTER: Duration = Duration::from_mins(10);

/// How a log-in ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// It was right: the account as its row was when the log-in was checked.
    Accepted(Arc<Account>),
    /// No such user, or not their password. The answer was held back already.
    Refused,
    /// It was not even checked, because too many before it failed. The answer was held back already.
    TooManyFailures,
    /// It could not be checked: the directory is away, or too many wait to be checked. Later it may be.
    Unavailable,
}

/// Why a log-in was not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchecked {
    /// See [`Login::TooManyFailures`].
    TooManyFailures,
    /// See [`Login::Unavailable`].
    Unavailable,
}

impl From<Unchecked> for Login {
    fn from(unchecked: Unchecked) -> Self {
        match unchecked {
            Unchecked::TooManyFailures => Self::TooManyFailures,
            Unchecked::Unavailable => Self::Unavailable,
        }
    }
}

/// What a SCRAM exchange goes on with.
#[derive(Debug)]
#[must_use]
pub struct ScramLookup {
    /// The user's keys, or invented ones that no proof fits.
    pub keys: StoredKeys,
    /// To be handed back with the exchange's outcome.
    pub ticket: ScramTicket,
}

/// A SCRAM exchange that has begun. One that is dropped without an outcome counts for nothing: the client has
/// learned nothing either.
#[derive(Debug)]
#[must_use]
pub struct ScramTicket {
    /// The canonical address.
    name: Box<str>,
    /// Whose keys were handed out, if they were real.
    keys_of: Option<(AccountId, Stamp)>,
    underway: Underway,
}

/// Why there are no credentials of a new password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NewPasswordError {
    /// For whoever sets it.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// For whoever imports it.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Too many passwords are being checked: try again.
    #[error("too many passwords are being checked, try again later")]
    Busy,
}

/// Checks log-ins. One for a node, shared by its sessions.
pub struct Authenticator {
    options: AuthOptions,
    directory: Arc<dyn Directory>,
    ids: Ids,
    /// Of the installation, the same on all its nodes: what unknown users are answered does not change.
    installation_secret: Secret,
    /// What the password of an unknown user is checked against.
    dummy_hash: Arc<str>,
    hashers: Arc<Hashers>,
    throttle: Arc<Mutex<Throttle>>,
    remembered: Arc<Remembered>,
    offer: Arc<Offer>,
    counters: Arc<AuthCounters>,
    replacing: Arc<Replacing>,
    bans: Bans,
}

impl Authenticator {
    /// An authenticator of the accounts of `directory`.
    ///
    /// `installation_secret` is random, made once and kept: with it the SCRAM keys of unknown users are invented, the
    /// same ones at every log-in and on every node.
    ///
    /// # Errors
    /// [`InvalidOptions`] for the operator.
    pub fn new(
        options: AuthOptions,
        directory: Arc<dyn Directory>,
        ids: Ids,
        installation_secret: [u8; 32],
    ) -> Result<Self, InvalidOptions> {
        options.validate()?;
        let hashers =
            Hashers::new(options.hashes_at_once, options.waiting_max).map_err(|_| InvalidOptions::Threads)?;
        let hashers = Arc::new(hashers);
        let remembered = Arc::new(Remembered::new(options.remembered_max, ids.random_octets()));
        let offer = Arc::new(Offer::new(options.scram));
        let counters: Arc<AuthCounters> = Arc::default();
        let replacing = Replacing {
            ids: ids.clone(),
            directory: Arc::clone(&directory),
            hashers: Arc::clone(&hashers),
            remembered: Arc::clone(&remembered),
            offer: Arc::clone(&offer),
            counters: Arc::clone(&counters),
            argon2: options.argon2,
            scram_iterations: options.scram_iterations,
            places: Arc::new(Semaphore::new(REPLACEMENTS_MAX)),
        };
        Ok(Self {
            directory,
            installation_secret: Secret::new(installation_secret),
            dummy_hash: passwords::dummy_hash(&ids, options.argon2)?.into(),
            hashers,
            throttle: Arc::new(Mutex::new(Throttle::new(
                options.failures,
                options.trusted_networks.clone(),
            ))),
            remembered,
            offer,
            counters,
            replacing: Arc::new(replacing),
            bans: Bans::off(),
            ids,
            options,
        })
    }

    /// The same, with failures told to `bans`.
    #[must_use]
    pub fn with_bans(mut self, bans: Bans) -> Self {
        self.bans = bans;
        self
    }

    /// Checks a password that `peer` has given for `name`, to use this service: the account's own, or an app password
    /// that opens it.
    ///
    /// Answers after the delay that earlier failures have earned. Dropping the future counts as a failure: a client
    /// does not get around the count by hanging up.
    pub async fn password(&self, service: Service, peer: IpAddr, name: &str, password: &Secret) -> Login {
        let name = canonical(name);
        let mut underway = match self.begin(peer, name.as_deref()).await {
            Ok(underway) => underway,
            Err(unchecked) => return unchecked.into(),
        };
        underway.has_guessed = true;
        let checked = self.check_password(service, name.as_deref(), password).await;
        self.conclude(underway, checked).await
    }

    /// The keys with which a SCRAM exchange of `name` goes on: real ones, or invented ones for a user who does not
    /// exist or has none.
    ///
    /// # Errors
    /// [`Unchecked`]: the exchange is over.
    pub async fn scram_keys(&self, peer: IpAddr, name: &str) -> Result<ScramLookup, Unchecked> {
        let canonical = canonical(name);
        let underway = self.begin(peer, canonical.as_deref()).await?;
        let shown_name = canonical.as_deref().unwrap_or(name);
        // They are made for everybody, so that the time tells nothing.
        let invented = StoredKeys::fake(
            &self.installation_secret,
            shown_name,
            self.options.scram_iterations,
        );
        let account = match self.account(canonical.as_deref()).await {
            Ok(account) => account,
            Err(unchecked) => {
                underway.void();
                count(&self.counters.unavailable);
                return Err(unchecked);
            }
        };
        let real = account.and_then(|account| {
            let keys = passwords::usable(account.credentials.scram.as_ref()?);
            Some((keys, (account.id, account.credentials.stamp)))
        });
        let (keys, keys_of) = real.map_or((invented, None), |(keys, of)| (keys, Some(of)));
        let name = canonical.unwrap_or_default();
        Ok(ScramLookup {
            keys,
            ticket: ScramTicket {
                name,
                keys_of,
                underway,
            },
        })
    }

    /// The proof was wrong. Returns when the client may be told so.
    pub async fn scram_refused(&self, mut ticket: ScramTicket) {
        ticket.underway.has_guessed = true;
        self.refuse(ticket.underway).await;
    }

    /// The proof was right. Reads the account again: it may have been removed or had its password changed since the
    /// keys were read, and is refused then.
    pub async fn scram_verified(&self, mut ticket: ScramTicket) -> Login {
        ticket.underway.has_guessed = true;
        let ScramTicket {
            name,
            keys_of,
            underway,
        } = ticket;
        let now = self.account(Some(&name)).await;
        let same = now.map(|account| {
            account.filter(|account| keys_of == Some((account.id, account.credentials.stamp)))
        });
        self.conclude(underway, same).await
    }

    /// Whether SCRAM is to be offered now. Asks the directory every few seconds at most.
    pub async fn scram_offered(&self) -> bool {
        self.offer.current(&*self.directory).await
    }

    /// Accounts were added, removed or changed here: [`Authenticator::scram_offered`] asks the directory again.
    pub fn accounts_changed(&self) {
        self.offer.forget();
    }

    /// The figures since the process began.
    #[must_use]
    pub fn counts(&self) -> AuthCounts {
        let forgotten = self.throttle.lock().forgotten_early();
        self.counters.snapshot(forgotten)
    }

    /// The same for a registry of metrics: `mailhorn_auth_total`.
    #[must_use]
    pub fn figures(self: &Arc<Self>) -> Box<dyn Collector> {
        Box::new(AuthFigures(Arc::clone(self)))
    }

    /// [`passwords::make_credentials`] by these options, in line with the password checks.
    ///
    /// # Errors
    /// See [`NewPasswordError`].
    pub async fn make_credentials(&self, password: &Secret) -> Result<Credentials, NewPasswordError> {
        let (ids, password, options) = (self.ids.clone(), password.clone(), self.options.clone());
        let make =
            move || passwords::make_credentials(&ids, &password, options.argon2, options.scram_iterations);
        Ok(self.hash(make).await.map_err(|Busy| NewPasswordError::Busy)??)
    }

    /// [`passwords::import_credentials`] by these options, in line with the password checks.
    ///
    /// # Errors
    /// See [`NewPasswordError`].
    pub async fn import_credentials(&self, field: &Secret) -> Result<Credentials, NewPasswordError> {
        let (ids, field, options) = (self.ids.clone(), field.clone(), self.options.clone());
        let make =
            move || passwords::import_credentials(&ids, &field, options.argon2, options.scram_iterations);
        Ok(self.hash(make).await.map_err(|Busy| NewPasswordError::Busy)??)
    }

    /// Begins an attempt, or answers late that there were too many. All names that are no addresses are one user:
    /// none of them is anybody.
    async fn begin(&self, peer: IpAddr, name: Option<&str>) -> Result<Underway, Unchecked> {
        let begun = self
            .throttle
            .lock()
            .begin(Instant::now(), peer, name.unwrap_or_default());
        match begun {
            Ok(attempt) => {
                let throttle = Arc::clone(&self.throttle);
                Ok(Underway {
                    throttle,
                    bans: self.bans.clone(),
                    peer,
                    attempt: Some(attempt),
                    has_guessed: false,
                })
            }
            Err(LimitReached) => {
                count(&self.counters.throttled);
                self.bans.failed_log_in(peer);
                sleep(DELAY_MAX).await;
                Err(Unchecked::TooManyFailures)
            }
        }
    }

    /// Ends an attempt: `checked` is whose log-in was right, if it was.
    async fn conclude(&self, underway: Underway, checked: Result<Option<Arc<Account>>, Unchecked>) -> Login {
        match checked {
            Ok(Some(account)) => {
                underway.succeeded();
                count(&self.counters.accepted);
                Login::Accepted(account)
            }
            Ok(None) => {
                self.refuse(underway).await;
                Login::Refused
            }
            Err(unchecked) => {
                underway.void();
                count(&self.counters.unavailable);
                unchecked.into()
            }
        }
    }

    async fn refuse(&self, underway: Underway) {
        count(&self.counters.refused);
        let delay = underway.failed();
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }

    /// The account whose password this is.
    async fn check_password(
        &self,
        service: Service,
        name: Option<&str>,
        password: &Secret,
    ) -> Result<Option<Arc<Account>>, Unchecked> {
        if password.is_empty() || password.len() > PASSWORD_OCTETS_MAX {
            return Ok(None);
        }
        let account = self.account(name).await?;
        if let Some(account) = &account
            && self.remembered.knows(account, password, Instant::now())
        {
            count(&self.counters.remembered_hits);
            return Ok(Some(Arc::clone(account)));
        }
        if let Some(account) = &account
            && app_passwords::opens(&account.credentials.app_passwords, service, password)
        {
            count(&self.counters.app_passwords_accepted);
            return Ok(Some(Arc::clone(account)));
        }
        let (is_right, keys) = self.check_hash(account.as_deref(), password).await?;
        let Some(account) = account.filter(|_| is_right) else {
            return Ok(None);
        };
        let is_replaceable = passwords::is_replaceable(&account.credentials.hash, password);
        let is_complete = match keys {
            Some(keys) => self.store_keys(&account, keys).await,
            None => !is_replaceable,
        };
        let until = (!is_complete).then(|| Instant::now() + UPGRADE_AGAIN_AFTER);
        self.remembered.insert(&account, password, until);
        if is_replaceable {
            self.replacing.begin(&account, password);
        }
        Ok(Some(account))
    }

    /// Whether the password is the account's, and the SCRAM keys of it that the account lacks and does not get with a
    /// hash of ours. The work for nobody is that for an account.
    async fn check_hash(
        &self,
        account: Option<&Account>,
        password: &Secret,
    ) -> Result<(bool, Option<StoredKeys>), Unchecked> {
        let hash = account.map_or_else(
            || Arc::clone(&self.dummy_hash),
            |account| account.credentials.hash.as_str().into(),
        );
        let keys_missing = account
            .map(|account| &account.credentials)
            .is_some_and(|credentials| {
                credentials.scram.is_none() && !passwords::is_foreign(&credentials.hash)
            });
        let salt = keys_missing.then(|| self.ids.random_octets::<SALT_OCTETS>());
        let (iterations, counters, password) = (
            self.options.scram_iterations,
            Arc::clone(&self.counters),
            password.clone(),
        );
        let checked = self.hash(move || {
            count(&counters.hash_runs);
            let is_right = passwords::check(&password, &hash)?;
            let salt = salt.filter(|_| is_right);
            let keys = salt.and_then(|salt| StoredKeys::from_password(&password, &salt, iterations).ok());
            Ok::<_, passwords::DamagedHash>((is_right, keys))
        });
        match checked.await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(damaged)) => {
                tracing::error!(account = ?account.map(|account| account.id), "{damaged}: set the password anew");
                Err(Unchecked::Unavailable)
            }
            Err(Busy) => Err(Unchecked::Unavailable),
        }
    }

    /// Gives the account its SCRAM keys, and says whether it has them now. The credentials keep their stamp: the
    /// password is the same, so what was remembered or begun under it still holds.
    async fn store_keys(&self, account: &Account, keys: StoredKeys) -> bool {
        let stamp = account.credentials.stamp;
        let credentials = Credentials {
            scram: Some(passwords::stored(keys)),
            ..account.credentials.clone()
        };
        match self
            .directory
            .set_credentials(&account.address, credentials, Some(stamp))
            .await
        {
            Ok(()) => {
                count(&self.counters.scram_upgrades);
                self.offer.forget();
                true
            }
            Err(error) => {
                // The log-in was right all the same.
                tracing::warn!(account = %account.id, %error, "the SCRAM keys were not stored");
                false
            }
        }
    }

    async fn hash<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let done = self.hashers.run(work).await;
        if done.is_err() {
            count(&self.counters.line_full);
        }
        done
    }

    async fn account(&self, name: Option<&str>) -> Result<Option<Arc<Account>>, Unchecked> {
        let Some(name) = name else {
            return Ok(None);
        };
        self.directory.account(name).await.map_err(|error| {
            tracing::warn!(%error, "a log-in could not be checked");
            Unchecked::Unavailable
        })
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authenticator")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The address that a user name means, if it is one.
fn canonical(name: &str) -> Option<Box<str>> {
    Address::parse(name)
        .ok()
        .map(|address| address.to_string().into_boxed_str())
}

/// An attempt that has begun, and ends however its owner does.
#[derive(Debug)]
struct Underway {
    throttle: Arc<Mutex<Throttle>>,
    bans: Bans,
    peer: IpAddr,
    /// `None` once it has ended.
    attempt: Option<Attempt>,
    /// Whether a password or a proof was given: if so, hanging up does not undo it.
    has_guessed: bool,
}

impl Underway {
    fn failed(mut self) -> Duration {
        let attempt = self.attempt.take();
        attempt.map_or(Duration::ZERO, |attempt| self.count_failure(attempt))
    }

    fn count_failure(&self, attempt: Attempt) -> Duration {
        self.bans.failed_log_in(self.peer);
        self.throttle.lock().failed(Instant::now(), attempt)
    }

    fn succeeded(mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.throttle.lock().succeeded(attempt);
        }
    }

    fn void(mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.throttle.lock().void(attempt);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let Some(attempt) = self.attempt.take() else {
            return;
        };
        if self.has_guessed {
            self.count_failure(attempt);
        } else {
            self.throttle.lock().void(attempt);
        }
    }
}

#[cfg(test)]
mod tests;
