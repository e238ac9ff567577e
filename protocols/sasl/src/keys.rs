//! What a server keeps of a password for SCRAM (RFC 5802 §3).

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::prepare::prepare_password;
use crate::{ITERATIONS_MAX, ITERATIONS_MIN, PASSWORD_OCTETS_MAX, SALT_OCTETS, Secret};

/// What a server keeps of a password so that SCRAM-SHA-256 can check a proof of it.
///
/// Not the password, but enough to guess it offline and to pose as the server, so `Debug` shows only the
/// iterations. The fields are plain because a user store writes and reads them as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKeys {
    /// The salt of this password alone, [`SALT_OCTETS`] random octets when it was set here.
    pub salt: Vec<u8>,
    /// The iterations of PBKDF2, [`ITERATIONS_MIN`] to [`ITERATIONS_MAX`].
    pub iterations: u32,
    /// SHA-256 of the client's key: a proof is checked with it.
    pub stored_key: [u8; 32],
    /// The key with which the server proves that it knows the account too.
    pub server_key: [u8; 32],
}

/// Why there are no keys of a password. Each is for whoever sets the password to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// It is not UTF-8, or SASLprep prohibits it or leaves nothing of it.
    #[error("the password cannot be prepared for SCRAM")]
    Unpreparable,
    /// It has more than [`PASSWORD_OCTETS_MAX`] octets.
    #[error("the password is longer than {PASSWORD_OCTETS_MAX} octets")]
    TooLong,
    /// The iterations are outside [`ITERATIONS_MIN`] to [`ITERATIONS_MAX`].
    #[error("the iterations are not between {ITERATIONS_MIN} and {ITERATIONS_MAX}")]
    Iterations,
}

impl StoredKeys {
    /// Derives the keys of a password (RFC 5802 §3). `salt` is random and never used for another password.
    ///
    /// This is slow on purpose, `iterations` HMACs: milliseconds of one core. Not for a thread that serves
    /// sessions.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub fn from_password(password: &Secret, salt: &[u8], iterations: u32) -> Result<Self, KeysError> {
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(KeysError::Iterations);
        }
        if password.len() > PASSWORD_OCTETS_MAX {
            return Err(KeysError::TooLong);
        }
        let prepared = prepare_password(password).ok_or(KeysError::Unpreparable)?;
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(prepared.as_bytes(), salt, iterations, salted.as_mut());
        let client_key = Zeroizing::new(hmac(salted.as_ref(), &[b"Client Key"]));
        Ok(Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: Sha256::digest(client_key.as_ref()).into(),
            server_key: hmac(salted.as_ref(), &[b"Server Key"]),
        })
    }

    /// Keys for a user who does not exist, so that an exchange for them looks like any other up to its end.
    ///
    /// They depend on the installation's secret and the name alone: asking twice, or asking two nodes, shows
    /// the same salt, as a real account would. No proof fits them, because the stored key is an HMAC and
    /// nobody knows a preimage of it. `iterations` should be those of the real accounts.
    #[must_use]
    pub fn fake(installation_secret: &Secret, user: &str, iterations: u32) -> Self {
        let derive = |purpose: &[u8]| {
            hmac(
                installation_secret.declassify(),
                &[purpose, b"\0", user.as_bytes()],
            )
        };
        Self {
            salt: derive(b"scram fake salt")
                .iter()
                .copied()
                .take(SALT_OCTETS)
                .collect(),
            iterations,
            stored_key: derive(b"scram fake stored key"),
            server_key: derive(b"scram fake server key"),
        }
    }
}

impl fmt::Debug for StoredKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoredKeys")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// HMAC-SHA-256 over the parts, one after the other.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104 §3)");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_only_within_the_limits() {
        let cases = [
            (b"pencil".to_vec(), ITERATIONS_MIN - 1, Err(KeysError::Iterations)),
            (b"pencil".to_vec(), ITERATIONS_MAX + 1, Err(KeysError::Iterations)),
            (b"pencil".to_vec(), ITERATIONS_MIN, Ok(())),
            (vec![b'a'; PASSWORD_OCTETS_MAX], ITERATIONS_MIN, Ok(())),
            (
                vec![b'a'; PASSWORD_OCTETS_MAX + 1],
                ITERATIONS_MIN,
                Err(KeysError::TooLong),
            ),
            (b"\xFF".to_vec(), ITERATIONS_MIN, Err(KeysError::Unpreparable)),
            (b"bell\x07".to_vec(), ITERATIONS_MIN, Err(KeysError::Unpreparable)),
            (Vec::new(), ITERATIONS_MIN, Err(KeysError::Unpreparable)),
        ];
        for (password, iterations, expected) in cases {
            let made = StoredKeys::from_password(&Secret::new(password.clone()), b"salt", iterations);
            assert_eq!(made.map(|_| ()), expected, "{password:?} {iterations}");
        }
    }

    #[test]
    fn fake_keys_are_stable_and_differ_by_user_and_installation() {
        let (here, there) = (Secret::new("here"), Secret::new("there"));
        let fake = StoredKeys::fake(&here, "nobody", 4096);
        assert_eq!(fake, StoredKeys::fake(&here, "nobody", 4096));
        assert_eq!(fake.salt.len(), SALT_OCTETS);
        assert_ne!(fake.salt, StoredKeys::fake(&here, "somebody", 4096).salt);
        assert_ne!(fake.salt, StoredKeys::fake(&there, "nobody", 4096).salt);
        assert_ne!(fake.stored_key, fake.server_key);
    }

    #[test]
    fn keys_are_never_printed() {
        let printed = format!("{:?}", StoredKeys::fake(&Secret::new("here"), "nobody", 4096));
        assert_eq!(printed, "StoredKeys { iterations: 4096, .. }");
    }
}
