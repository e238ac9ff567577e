//! Hashes of other servers replaced by ours, after the log-in that has shown the password.
//!
//! No log-in waits for it: it has its reply by then. New credentials have a stamp just above the one of those that were
//! verified and are stored only while those are still there, so a password that was changed meanwhile stays, and its
//! stamp is the higher one. Of two log-ins at once one replaces and the other finds it done.

use std::sync::Arc;

use mailhorn_ports::{Account, Credentials, Directory, DirectoryError, Ids};
use mailhorn_sasl::Secret;
use tokio::sync::Semaphore;

use super::counters::{AuthCounters, count};
use super::hashers::{Busy, Hashers};
use super::offer::Offer;
use super::options::Argon2Cost;
use super::passwords;
use super::remembered::Remembered;

/// How many hashes may be replaced at a time. They wait in the line of the password checks, of which they must not take
/// much on the morning after a move; whoever finds no place is replaced at a later log-in.
pub(super) const REPLACEMENTS_MAX: usize = 16;

/// What replaces hashes.
pub(super) struct Replacing {
    pub(super) ids: Ids,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) hashers: Arc<Hashers>,
    pub(super) remembered: Arc<Remembered>,
    pub(super) offer: Arc<Offer>,
    pub(super) counters: Arc<AuthCounters>,
    pub(super) argon2: Argon2Cost,
    pub(super) scram_iterations: u32,
    /// A permit for each that is under way.
    pub(super) places: Arc<Semaphore>,
}

impl Replacing {
    /// Replaces the hash of `account`, of which this is the verified password, on the caller's runtime and without
    /// holding up the caller. Where it does not come to that, the account stays as it is.
    pub(super) fn begin(self: &Arc<Self>, account: &Arc<Account>, password: &Secret) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            count(&self.counters.replacements_put_off);
            return;
        };
        let (this, account, password) = (Arc::clone(self), Arc::clone(account), password.clone());
        drop(tokio::spawn(async move {
            this.replace(&account, password).await;
            drop(place);
        }));
    }

    async fn replace(&self, account: &Account, password: Secret) {
        let Some(credentials) = self.make(account, &password).await else {
            return;
        };
        let verified = account.credentials.stamp;
        let replaced = self
            .directory
            .set_credentials(&account.address, credentials.clone(), Some(verified));
        match replaced.await {
            Ok(()) => {
                count(&self.counters.hashes_replaced);
                self.offer.forget();
                let account = Account {
                    credentials,
                    ..account.clone()
                };
                // Who comes again does not pay for a hash because its stamp is another one now.
                self.remembered.insert(&account, &password, None);
            }
            Err(DirectoryError::Changed(_) | DirectoryError::NotFound(_)) => {
                tracing::debug!(account = %account.id, "an imported hash was replaced or removed in between");
            }
            Err(error) => {
                tracing::warn!(account = %account.id, %error, "an imported hash was not replaced");
            }
        }
    }

    /// Our credentials of the password, stamped just above those of the account.
    async fn make(&self, account: &Account, password: &Secret) -> Option<Credentials> {
        let (ids, password, cost, iterations) = (
            self.ids.clone(),
            password.clone(),
            self.argon2,
            self.scram_iterations,
        );
        let made = self
            .hashers
            .run(move || passwords::make_credentials(&ids, &password, cost, iterations));
        match made.await {
            Ok(Ok(made)) => {
                let stamp = account.credentials.stamp.next();
                self.ids.saw(stamp);
                let app_passwords = account.credentials.app_passwords.clone();
                Some(Credentials {
                    stamp,
                    app_passwords,
                    ..made
                })
            }
            Ok(Err(error)) => {
                tracing::warn!(account = %account.id, %error, "an imported hash was not replaced");
                None
            }
            Err(Busy) => {
                count(&self.counters.line_full);
                count(&self.counters.replacements_put_off);
                None
            }
        }
    }
}
