//! Passwords as the directory keeps them: a hash, and SCRAM keys where the password itself was there.
//!
//! A stored hash is one text that says what it is. Ours is argon2id in PHC form (`$argon2id$v=19$…`). One of another
//! server has its scheme before it, as in Dovecot's passwd-file (`{SHA512-CRYPT}$6$…`), and is replaced by ours at the
//! first log-in that shows its password.
//!
//! Everything here is slow on purpose and blocks: [`Authenticator`](super::Authenticator) runs it where it stops
//! nobody, a command-line tool runs it as it is. No error holds any part of a password.

use argon2::password_hash::{Decimal, Output, ParamsString, Salt, SaltString};
use argon2::{ARGON2ID_IDENT, Params, PasswordHash};
use mailhorn_ports::{Credentials, Ids, ScramKeys};
use mailhorn_sasl::{KeysError, PASSWORD_OCTETS_MAX, SALT_OCTETS, Secret, StoredKeys};

mod argon2id;
mod foreign;

use self::foreign::{ForeignHash, Scheme};
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

/// The schemes that an import takes, for whoever imports.
const SCHEMES_TAKEN: &str = "{PLAIN}, {ARGON2ID}, {BLF-CRYPT}, {SHA512-CRYPT}, {SHA256-CRYPT}, {PBKDF2} and {SCRAM-SHA-256} are taken";

/// Why there are no credentials of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// There is none. For whoever sets it.
    #[error("the password is empty")]
    Empty,
    /// For whoever sets it.
    #[error("the password is longer than {PASSWORD_OCTETS_MAX} octets")]
    TooLong,
    /// Nobody could log in with it. For whoever sets it.
    #[error("the password is not UTF-8")]
    NotUtf8,
    /// For the operator.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
}

/// Why a password field of another server was not taken. Each is for whoever imports to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The field does not begin with a scheme, so it could mean anything.
    #[error("the password has no scheme before it: {SCHEMES_TAKEN}")]
    NoScheme,
    /// The field's scheme is not one of those that are taken.
    #[error("the password scheme {{{0}}} is not taken: {SCHEMES_TAKEN}")]
    UnknownScheme(String),
    /// What follows the scheme is not a hash of it that can be checked, or would cost too much to check.
    #[error("this is not a hash of {{{scheme}}} that can be taken: {reason}")]
    Hash {
        /// Which scheme.
        scheme: &'static str,
        /// What is wrong with it, and what would be right.
        reason: &'static str,
    },
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
/// A password that SASLprep prohibits (RFC 4013 §2.3: control characters) has no SCRAM keys; it works with the
/// mechanisms that show it.
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
    if str::from_utf8(password.declassify()).is_err() {
        return Err(PasswordError::NotUtf8);
    }
    let scram =
        match StoredKeys::from_password(password, &ids.random_octets::<SALT_OCTETS>(), scram_iterations) {
            Ok(keys) => Some(stored(keys)),
            Err(KeysError::Unpreparable) => None,
            Err(KeysError::TooLong) => return Err(PasswordError::TooLong),
            Err(KeysError::Iterations) => return Err(InvalidOptions::ScramIterations.into()),
        };
    let salt = ids.random_octets::<{ Salt::RECOMMENDED_LENGTH }>();
    let hash = argon2id::hash(params.clone(), password, &salt).map_err(|_| InvalidOptions::Argon2)?;
    Ok(Credentials {
        stamp: ids.stamp(),
        hash: phc(&params, &salt, hash)?,
        scram,
        app_passwords: Vec::new(),
    })
}

/// Makes credentials, under a new stamp, from the password field of a Dovecot passwd-file.
///
/// Taken are `{PLAIN}` with a password, which is hashed as [`make_credentials`] does, and hashes, which are kept as they
/// are: `{ARGON2ID}` in PHC form, `{BLF-CRYPT}` or `{BCRYPT}`, `{SHA512-CRYPT}`, `{SHA256-CRYPT}`, `{PBKDF2}` and
/// `{SCRAM-SHA-256}`. The last one are keys, with which its user can log in by SCRAM at once; all others get theirs when
/// their user first logs in with the password. The scheme's case does not matter.
///
/// A hash of another cost than this node's takes another time to check than the answer to an unknown user does, until
/// its password is set anew or, unless it is argon2id, its user has logged in with it.
///
/// # Errors
/// See [`ImportError`].
pub fn import_credentials(
    ids: &Ids,
    field: &Secret,
    cost: Argon2Cost,
    scram_iterations: u32,
) -> Result<Credentials, ImportError> {
    let (name, data) = split_scheme(field.declassify()).ok_or(ImportError::NoScheme)?;
    if name.eq_ignore_ascii_case(b"PLAIN") {
        return Ok(make_credentials(ids, &Secret::new(data), cost, scram_iterations)?);
    }
    let is_argon2id = name.eq_ignore_ascii_case(b"ARGON2ID");
    let foreign = Scheme::of(name);
    let scheme = match foreign {
        _ if is_argon2id => "ARGON2ID",
        Some(scheme) => scheme.name(),
        None => return Err(ImportError::UnknownScheme(shown(name))),
    };
    let refuse = |reason| ImportError::Hash { scheme, reason };
    let text = str::from_utf8(data).map_err(|_| refuse("it is not text"))?;
    let (hash, scram) = match foreign {
        None => {
            validate(text).map_err(refuse)?;
            (text.to_owned(), None)
        }
        Some(foreign) => {
            let read = foreign.read(text).map_err(refuse)?;
            (format!("{{{scheme}}}{text}"), read.keys().cloned().map(stored))
        }
    };
    Ok(Credentials {
        stamp: ids.stamp(),
        hash,
        scram,
        app_passwords: Vec::new(),
    })
}

/// Whether this is the password of a stored hash. Blocks for as long as the hash says, within the bounds that hold for
/// an import too.
///
/// # Errors
/// [`DamagedHash`] when the hash cannot be read or costs more than an import takes; no password is right then.
pub fn check(password: &Secret, hash: &str) -> Result<bool, DamagedHash> {
    if let Some(foreign) = foreign(hash)? {
        return Ok(foreign.is_of(password));
    }
    validate(hash).map_err(|_| DamagedHash)?;
    let hash = PasswordHash::new(hash).map_err(|_| DamagedHash)?;
    let params = Params::try_from(&hash).map_err(|_| DamagedHash)?;
    let (salt, expected) = hash.salt.zip(hash.hash).ok_or(DamagedHash)?;
    let mut octets = [0; Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut octets).map_err(|_| DamagedHash)?;
    let hash = argon2id::hash(params, password, salt).map_err(|_| DamagedHash)?;
    // It takes as long whatever the octets are.
    Ok(hash == expected)
}

/// Whether a stored hash is one of another server.
pub(super) fn is_foreign(hash: &str) -> bool {
    hash.starts_with('{')
}

/// Whether a stored hash is one of another server, and one of ours of this password, which was verified, may take its
/// place.
pub(super) fn is_replaceable(hash: &str, password: &Secret) -> bool {
    matches!(foreign(hash), Ok(Some(foreign)) if foreign.tells_all_of(password))
}

/// A stored hash of another server; nothing when it is ours.
fn foreign(hash: &str) -> Result<Option<ForeignHash>, DamagedHash> {
    if !is_foreign(hash) {
        return Ok(None);
    }
    let (name, data) = hash
        .strip_prefix('{')
        .and_then(|rest| rest.split_once('}'))
        .ok_or(DamagedHash)?;
    let scheme = Scheme::of(name.as_bytes()).ok_or(DamagedHash)?;
    scheme.read(data).map(Some).map_err(|_| DamagedHash)
}

/// A hash of no password, which costs as much to check as a real one.
pub(super) fn dummy_hash(ids: &Ids, cost: Argon2Cost) -> Result<String, InvalidOptions> {
    let salt = ids.random_octets::<{ Salt::RECOMMENDED_LENGTH }>();
    let hash = Output::new(&ids.random_octets::<{ Params::DEFAULT_OUTPUT_LEN }>());
    phc(&cost.params()?, &salt, hash.map_err(|_| InvalidOptions::Argon2)?)
}

/// The text of an argon2id hash.
fn phc(params: &Params, salt: &[u8], hash: Output) -> Result<String, InvalidOptions> {
    let salt = SaltString::encode_b64(salt).map_err(|_| InvalidOptions::Argon2)?;
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(ARGON2_VERSION),
        params: ParamsString::try_from(params).map_err(|_| InvalidOptions::Argon2)?,
        salt: Some(salt.as_salt()),
        hash: Some(hash),
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

/// Whether an argon2id hash can be checked here, within our limits; otherwise why not.
fn validate(phc: &str) -> Result<(), &'static str> {
    let refuse = Err;
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
