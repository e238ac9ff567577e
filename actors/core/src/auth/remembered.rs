//! Which passwords were verified of late, without keeping any of them.
//!
//! An entry is HMAC-SHA-256 under a key that is this process's alone, over the account, the stamp of its credentials
//! and the password. The stamp is read from the account's row at every log-in, so a changed password empties its
//! entry by itself. An entry can only ever say yes: whoever is not remembered pays for argon2.

use hmac::{Hmac, Mac};
use mailhorn_events::{AccountId, Stamp};
use mailhorn_ports::Account;
use mailhorn_sasl::Secret;
use quick_cache::sync::Cache;
use sha2::Sha256;
use tokio::time::Instant;

/// The verified passwords.
pub(super) struct Remembered {
    key: Secret,
    entries: Option<Cache<AccountId, Entry>>,
}

#[derive(Clone)]
struct Entry {
    code: [u8; 32],
    until: Option<Instant>,
}

impl Remembered {
    /// Of at most `accounts_max` accounts; `key` is random.
    pub(super) fn new(accounts_max: usize, key: [u8; 32]) -> Self {
        Self {
            key: Secret::new(key),
            entries: (accounts_max > 0).then(|| Cache::new(accounts_max)),
        }
    }

    /// Whether this password was verified for the account as it is now. Takes the same time for every password of
    /// one length.
    pub(super) fn knows(&self, account: &Account, password: &Secret, now: Instant) -> bool {
        let Some(entry) = self.entries.as_ref().and_then(|entries| entries.get(&account.id)) else {
            return false;
        };
        let fresh = entry.until.is_none_or(|until| now < until);
        fresh
            && self
                .mac(account.id, account.credentials.stamp, password)
                .verify_slice(&entry.code)
                .is_ok()
    }

    /// Remembers a verified password, at most until then.
    pub(super) fn insert(&self, account: &Account, password: &Secret, until: Option<Instant>) {
        if let Some(entries) = &self.entries {
            let code = self
                .mac(account.id, account.credentials.stamp, password)
                .finalize()
                .into_bytes()
                .into();
            entries.insert(account.id, Entry { code, until });
        }
    }

    /// The fields before the password have one length each, so no two inputs run together to the same octets.
    fn mac(&self, account: AccountId, stamp: Stamp, password: &Secret) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.declassify())
            .expect("HMAC takes a key of any length (RFC 2104 §3)");
        mac.update(account.as_bytes());
        mac.update(&stamp.0.to_be_bytes());
        mac.update(password.declassify());
        mac
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailhorn_ports::Credentials;

    use super::*;

    fn account(id: u8, stamp: u64) -> Account {
        Account {
            id: AccountId::from_bytes([id; 16]),
            address: "ann@example.org".to_owned(),
            credentials: Credentials {
                stamp: Stamp(stamp),
                hash: String::new(),
                scram: None,
                app_passwords: Vec::new(),
            },
            created: Stamp(1),
        }
    }

    #[test]
    fn a_password_is_known_only_for_its_account_and_its_stamp() {
        let now = Instant::now();
        let remembered = Remembered::new(10, [7; 32]);
        let password = Secret::new("tanstaaf");
        assert!(!remembered.knows(&account(1, 1), &password, now));
        remembered.insert(&account(1, 1), &password, None);
        assert!(remembered.knows(&account(1, 1), &password, now));
        assert!(!remembered.knows(&account(1, 1), &Secret::new("tanstaag"), now));
        assert!(!remembered.knows(&account(2, 1), &password, now));
        assert!(
            !remembered.knows(&account(1, 2), &password, now),
            "the password was changed"
        );
    }

    #[test]
    fn an_entry_ends_when_it_was_told_to() {
        let now = Instant::now();
        let until = now + Duration::from_secs(1);
        let remembered = Remembered::new(10, [7; 32]);
        let password = Secret::new("tanstaaf");
        remembered.insert(&account(1, 1), &password, Some(until));
        assert!(remembered.knows(&account(1, 1), &password, until - Duration::from_nanos(1)));
        assert!(!remembered.knows(&account(1, 1), &password, until));
    }

    #[test]
    fn no_more_accounts_are_remembered_than_allowed() {
        let password = Secret::new("tanstaaf");
        for accounts_max in [0, 10] {
            let remembered = Remembered::new(accounts_max, [7; 32]);
            for id in 0..100 {
                remembered.insert(&account(id, 1), &password, None);
            }
            let known = (0..100)
                .filter(|id| remembered.knows(&account(*id, 1), &password, Instant::now()))
                .count();
            assert!(known <= accounts_max, "{known} of {accounts_max}");
            assert_eq!(known == 0, accounts_max == 0);
        }
    }

    #[test]
    fn what_is_kept_depends_on_the_process_and_is_not_the_password() {
        let password = Secret::new("tanstaaf");
        let code = |key| {
            let remembered = Remembered::new(1, [key; 32]);
            remembered.insert(&account(1, 1), &password, None);
            remembered
                .entries
                .unwrap()
                .get(&AccountId::from_bytes([1; 16]))
                .unwrap()
                .code
        };
        assert_ne!(code(1), code(2));
        assert!(!code(1).windows(8).any(|octets| octets == b"tanstaaf"));
    }
}
