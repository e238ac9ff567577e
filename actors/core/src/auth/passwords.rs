//! Passwords as the directory keeps them: an argon2id hash, and SCRAM keys where the password itself was there.
//!
//! Everything here is slow on purpose and blocks: [`Authenticator`](super::Authenticator) runs it where it stops
//! nobody, a command-line tool runs it as it is. No error holds any part of a password.

use argon2::password_hash::{Decimal, Error as HashError, Output, ParamsString, Salt, SaltString};
use argon2::{
    ARGON2ID_IDENT, Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version,
};
use mailhorn_ports::{Credentials, Ids, ScramKeys};
use mailhorn_sasl::{KeysError, PASSWORD_OCTETS_MAX, SALT_OCTETS, Secret, StoredKeys};

use super::options::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, Argon2Cost, InvalidOptions,
};

/// `v=19`, the only version in use (RFC 9106 §3.1).
const ARGON2_VERSION: Decimal = 19;

/// The fewest octets of an argon2id hash that is taken: less could be met by chance.
const HASH_OCTETS_MIN: usize = 16;

/// The fewest octets of a salt that is taken (RFC 9106 §3.1).
const ARGON2_SALT_OCTETS_MIN: usize = 8;

/// The most characters of an unknown scheme's name that an error repeats.
const SCHEME_SHOWN_MAX: usize = 20;

/// Why there are no credentials of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// There is none. For whoever sets it.
    #[error("the password is empty")]
    Empty,
    /// For whoever sets it.
    #[error("the password is longer than {PASSWORD_OCTETS_MAX} octets")]
    TooLong,
    /// For the operator.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
}

/// Why a password field of another server was not taken. Each is for whoever imports to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The field does not begin with a scheme, so it could mean anything.
    #[error("the password has no scheme before it: {{PLAIN}} and {{ARGON2ID}} are taken")]
    NoScheme,
    /// The field's scheme is not one of those that are taken.
    #[error("the password scheme {{{0}}} is not taken, only {{PLAIN}} and {{ARGON2ID}} are")]
    UnknownScheme(String),
    /// What follows `{ARGON2ID}` is not an argon2id hash that can be checked.
    #[error("this is not an argon2id hash that can be taken: {0}")]
    Hash(&'static str),
    /// What follows `{PLAIN}` is not a password.
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// A stored hash cannot be read: the account's row is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored password hash cannot be read")]
pub struct DamagedHash;

/// Makes the credentials of a new password, under a new stamp: its argon2id hash, and its SCRAM keys with
/// `scram_iterations`.
///
/// A password that SASLprep prohibits (RFC 4013 §2.3: control characters, octets that are not UTF-8) has no SCRAM
/// keys; it works with the mechanisms that show it.
///
/// Blocks for as long as `cost` and `scram_iterations` say, tens of milliseconds by default.
///
/// # Errors
/// See [`PasswordError`].
pub fn make_credentials(
    ids: &Ids,
    password: &Secret,
    cost: Argon2Cost,
    scram_iterations: u32,
) -> Result<Credentials, PasswordError> {
    let params = cost.params()?;
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    let scram =
        match StoredKeys::from_password(password, &ids.random_octets::<SALT_OCTETS>(), scram_iterations) {
            Ok(keys) => Some(stored(keys)),
            Err(KeysError::Unpreparable) => None,
            Err(KeysError::TooLong) => return Err(PasswordError::TooLong),
            Err(KeysError::Iterations) => return Err(InvalidOptions::ScramIterations.into()),
        };
    let salt = salt(ids);
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.declassify(), &salt)
        .map_err(|_| InvalidOptions::Argon2)?;
    Ok(Credentials {
        stamp: ids.stamp(),
        argon2id: hash.to_string(),
        scram,
    })
}

/// Makes credentials, under a new stamp, from the password field of a Dovecot passwd-file.
///
/// Taken are `{PLAIN}` with a password, which is hashed as [`make_credentials`] does, and `{ARGON2ID}` with a hash in
/// PHC form, which is kept as it is: such an account gets its SCRAM keys when its user first logs in with the
/// password. The scheme's case does not matter.
///
/// A hash of another cost than this node's takes another time to check than the answer to an unknown user does, until
/// its password is set anew.
///
/// # Errors
/// See [`ImportError`].
pub fn import_credentials(
    ids: &Ids,
    field: &Secret,
    cost: Argon2Cost,
    scram_iterations: u32,
) -> Result<Credentials, ImportError> {
    let (scheme, data) = split_scheme(field.declassify()).ok_or(ImportError::NoScheme)?;
    if scheme.eq_ignore_ascii_case(b"PLAIN") {
        return Ok(make_credentials(ids, &Secret::new(data), cost, scram_iterations)?);
    }
    if scheme.eq_ignore_ascii_case(b"ARGON2ID") {
        let phc = std::str::from_utf8(data).map_err(|_| ImportError::Hash("it is not text"))?;
        validate(phc)?;
        return Ok(Credentials {
            stamp: ids.stamp(),
            argon2id: phc.to_owned(),
            scram: None,
        });
    }
    Err(ImportError::UnknownScheme(shown(scheme)))
}

/// Whether this is the password of a stored argon2id hash. Blocks for as long as the hash says.
///
/// # Errors
/// [`DamagedHash`] when the hash cannot be read; no password is right then.
pub fn check(password: &Secret, argon2id: &str) -> Result<bool, DamagedHash> {
    let hash = PasswordHash::new(argon2id).map_err(|_| DamagedHash)?;
    match Argon2::default().verify_password(password.declassify(), &hash) {
        Ok(()) => Ok(true),
        Err(HashError::Password) => Ok(false),
        Err(_) => Err(DamagedHash),
    }
}

/// A hash of no password, which costs as much to check as a real one.
pub(super) fn dummy_hash(ids: &Ids, cost: Argon2Cost) -> Result<String, InvalidOptions> {
    let params = cost.params()?;
    let salt = salt(ids);
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(ARGON2_VERSION),
        params: ParamsString::try_from(&params).map_err(|_| InvalidOptions::Argon2)?,
        salt: Some(salt.as_salt()),
        hash: Output::new(&ids.random_octets::<{ Params::DEFAULT_OUTPUT_LEN }>()).ok(),
    };
    Ok(hash.to_string())
}

/// Keys as the directory stores them.
pub(super) fn stored(keys: StoredKeys) -> ScramKeys {
    let StoredKeys {
        salt,
        iterations,
        stored_key,
        server_key,
    } = keys;
    ScramKeys {
        salt,
        iterations,
        stored_key,
        server_key,
    }
}

/// Keys as an exchange uses them.
pub(super) fn usable(keys: &ScramKeys) -> StoredKeys {
    StoredKeys {
        salt: keys.salt.clone(),
        iterations: keys.iterations,
        stored_key: keys.stored_key,
        server_key: keys.server_key,
    }
}

fn salt(ids: &Ids) -> SaltString {
    SaltString::encode_b64(&ids.random_octets::<{ Salt::RECOMMENDED_LENGTH }>())
        .expect("a salt of the recommended length can be encoded")
}

/// `{SCHEME}data`.
fn split_scheme(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = field.strip_prefix(b"{")?;
    let end = rest.iter().position(|octet| *octet == b'}')?;
    Some((rest.get(..end)?, rest.get(end + 1..)?))
}

/// A scheme's name for an error. What does not look like a name may be a part of a password, and is not shown.
fn shown(scheme: &[u8]) -> String {
    let is_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    if scheme.len() <= SCHEME_SHOWN_MAX && scheme.iter().all(is_name) {
        String::from_utf8_lossy(scheme).to_ascii_uppercase()
    } else {
        "…".to_owned()
    }
}

/// Whether a hash can be checked here, later, within our limits.
fn validate(phc: &str) -> Result<(), ImportError> {
    let refuse = |reason| Err(ImportError::Hash(reason));
    let Ok(hash) = PasswordHash::new(phc) else {
        return refuse("it does not have the form $argon2id$v=19$m=…,t=…,p=…$salt$hash");
    };
    if hash.algorithm != ARGON2ID_IDENT {
        return refuse("its algorithm is not argon2id");
    }
    if hash.version != Some(ARGON2_VERSION) {
        return refuse("its version is not v=19");
    }
    if ["m", "t", "p"]
        .iter()
        .any(|name| hash.params.get_decimal(*name).is_none())
    {
        return refuse("it does not say m, t and p");
    }
    let Ok(params) = Params::try_from(&hash) else {
        return refuse("its parameters are out of argon2's range");
    };
    if !params.keyid().is_empty() || !params.data().is_empty() {
        return refuse("it has a keyid or data");
    }
    if params.m_cost() > ARGON2_MEMORY_KIB_MAX {
        return refuse("it needs more than 262144 KiB of memory (m)");
    }
    if params.t_cost() > ARGON2_PASSES_MAX {
        return refuse("it needs more than 32 passes (t)");
    }
    if params.p_cost() > ARGON2_LANES_MAX {
        return refuse("it needs more than 16 lanes (p)");
    }
    let mut octets = [0; Salt::MAX_LENGTH];
    match hash.salt.map(|salt| salt.decode_b64(&mut octets)) {
        Some(Ok(salt)) if salt.len() >= ARGON2_SALT_OCTETS_MIN => {}
        _ => return refuse("its salt is missing, too short or not base64"),
    }
    match hash.hash {
        Some(output) if output.len() >= HASH_OCTETS_MIN => Ok(()),
        _ => refuse("its hash is missing or too short"),
    }
}

#[cfg(test)]
mod tests;
