//! Hashes that other servers made, in the forms in which Dovecot's passwd-files have them. They are checked and never
//! made: the first log-in with the password replaces one by ours.
//!
//! What a hash costs is decided by whoever made the file, so each cost has a bound of ours. Reading a hash looks at it,
//! at the import and before every check, so nothing is computed for a hash beyond it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use mailhorn_sasl::{ITERATIONS_MIN, Secret, StoredKeys};
use sha_crypt::{Sha256Params, Sha512Params};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

/// The highest cost of bcrypt that is taken: the binary logarithm of its rounds, a second of a core and more. Servers
/// use 5 to 12.
const BCRYPT_COST_MAX: u32 = 14;

/// The lowest cost that bcrypt has.
const BCRYPT_COST_MIN: u32 = 4;

/// The most octets of a password that bcrypt looks at.
const BCRYPT_PASSWORD_OCTETS: usize = 72;

/// The most rounds of SHA-crypt that are taken, a second of a core and more. The highest default in use is 656,000.
const SHA_CRYPT_ROUNDS_MAX: usize = 1_000_000;

/// The most characters of SHA-crypt's salt.
const SHA_CRYPT_SALT_MAX: usize = 16;

/// The most iterations of PBKDF2 with HMAC-SHA-1 that are taken, a second of a core and more. OWASP asks for 1,300,000.
const PBKDF2_ROUNDS_MAX: u32 = 2_000_000;

/// The octets of a key that Dovecot derives for `{PBKDF2}`.
const PBKDF2_KEY_OCTETS: usize = 20;

/// The most iterations of SCRAM-SHA-256 keys that are taken, a second of a core and more. Dovecot makes 4,096.
const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;

/// The most octets of a salt of PBKDF2 and SCRAM that is taken: those in use have 16.
const SALT_OCTETS_MAX: usize = 64;

/// bcrypt's base64. The last character of a salt or hash has more bits than octets are made of, and not every maker
/// leaves them zero.
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::BCRYPT,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// A scheme whose hashes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Bcrypt,
    Sha512Crypt,
    Sha256Crypt,
    Pbkdf2,
    ScramSha256,
}

impl Scheme {
    /// The scheme that Dovecot calls so, in whatever case.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let names = [
            ("BLF-CRYPT", Self::Bcrypt),
            ("BCRYPT", Self::Bcrypt),
            ("SHA512-CRYPT", Self::Sha512Crypt),
            ("SHA256-CRYPT", Self::Sha256Crypt),
            ("PBKDF2", Self::Pbkdf2),
            ("SCRAM-SHA-256", Self::ScramSha256),
        ];
        let found = names
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        found.map(|(_, scheme)| *scheme)
    }

    /// The name under which its hashes are stored.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bcrypt => "BLF-CRYPT",
            Self::Sha512Crypt => "SHA512-CRYPT",
            Self::Sha256Crypt => "SHA256-CRYPT",
            Self::Pbkdf2 => "PBKDF2",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// Reads a hash of this scheme, or says why it cannot be checked here.
    pub(super) fn read(self, data: &str) -> Result<ForeignHash, &'static str> {
        match self {
            Self::Bcrypt => read_bcrypt(data),
            Self::Sha512Crypt => {
                let (rounds, salt, hash) = read_sha_crypt(data, "$6$", 86)?;
                let params = Sha512Params::new(rounds).map_err(|_| SHA_CRYPT_ROUNDS)?;
                Ok(ForeignHash::Sha512Crypt { params, salt, hash })
            }
            Self::Sha256Crypt => {
                let (rounds, salt, hash) = read_sha_crypt(data, "$5$", 43)?;
                let params = Sha256Params::new(rounds).map_err(|_| SHA_CRYPT_ROUNDS)?;
                Ok(ForeignHash::Sha256Crypt { params, salt, hash })
            }
            Self::Pbkdf2 => read_pbkdf2(data),
            Self::ScramSha256 => read_scram(data).map(ForeignHash::ScramSha256),
        }
    }
}

const BCRYPT_FORM: &str =
    "it does not have the form $2y$cost$ and 53 characters ($2a$ and $2b$ are taken too)";
const SHA_CRYPT_FORM: &str =
    "it does not have the form $6$rounds=…$salt$hash ($5$ for SHA256-CRYPT), the rounds being optional";
const SHA_CRYPT_ROUNDS: &str = "its rounds are not between 1000 and 1000000";
const PBKDF2_FORM: &str =
    "it does not have the form $1$salt$rounds$hash, the hash being 40 hexadecimal digits";
const SCRAM_FORM: &str =
    "it does not have the form iterations,salt,StoredKey,ServerKey, all but the first in base64";

/// A hash that was read, within our bounds.
pub(super) enum ForeignHash {
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
        hash: Vec<u8>,
    },
    Sha512Crypt {
        params: Sha512Params,
        salt: String,
        hash: String,
    },
    Sha256Crypt {
        params: Sha256Params,
        salt: String,
        hash: String,
    },
    Pbkdf2 {
        rounds: u32,
        salt: String,
        hash: Vec<u8>,
    },
    ScramSha256(StoredKeys),
}

impl ForeignHash {
    /// Whether it is of this password. Blocks for as long as its cost says.
    pub(super) fn is_of(&self, password: &Secret) -> bool {
        let octets = password.declassify();
        // Those who made these hashes take a zero for a password's end, and HMAC takes one at the end for none.
        if octets.contains(&0) {
            return false;
        }
        match self {
            Self::Bcrypt { cost, salt, hash } => {
                let computed = bcrypt::bcrypt(*cost, *salt, Secret::new(bcrypt_key(octets)).declassify());
                let (computed, _) = computed.split_at(hash.len());
                computed.ct_eq(hash).into()
            }
            Self::Sha512Crypt { params, salt, hash } => {
                let computed = sha_crypt::sha512_crypt_b64(octets, salt.as_bytes(), params);
                computed.is_ok_and(|computed| computed.as_bytes().ct_eq(hash.as_bytes()).into())
            }
            Self::Sha256Crypt { params, salt, hash } => {
                let computed = sha_crypt::sha256_crypt_b64(octets, salt.as_bytes(), params);
                computed.is_ok_and(|computed| computed.as_bytes().ct_eq(hash.as_bytes()).into())
            }
            Self::Pbkdf2 { rounds, salt, hash } => {
                let mut computed = [0; PBKDF2_KEY_OCTETS];
                pbkdf2::pbkdf2_hmac::<Sha1>(octets, salt.as_bytes(), *rounds, &mut computed);
                computed.ct_eq(hash).into()
            }
            Self::ScramSha256(keys) => {
                // RFC 5802 §3: the password prepared and stretched is all that the stored keys are made of.
                let computed = StoredKeys::from_password(password, &keys.salt, keys.iterations);
                computed.is_ok_and(|computed| computed.stored_key.ct_eq(&keys.stored_key).into())
            }
        }
    }

    /// Whether a password that it is of is known to be the whole one. If not, a hash of ours would make of a slip behind
    /// what bcrypt looks at the password that counts.
    pub(super) fn tells_all_of(&self, password: &Secret) -> bool {
        !matches!(self, Self::Bcrypt { .. }) || password.len() < BCRYPT_PASSWORD_OCTETS
    }

    /// The SCRAM keys that it is, where it is some.
    pub(super) fn keys(&self) -> Option<&StoredKeys> {
        match self {
            Self::ScramSha256(keys) => Some(keys),
            _ => None,
        }
    }
}

/// What bcrypt looks at: the password and the zero that ends it in C, up to its limit.
fn bcrypt_key(password: &[u8]) -> Vec<u8> {
    let octets = password.iter().copied().chain([0]);
    octets.take(BCRYPT_PASSWORD_OCTETS).collect()
}

fn read_bcrypt(data: &str) -> Result<ForeignHash, &'static str> {
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|prefix| data.strip_prefix(prefix))
        .ok_or(BCRYPT_FORM)?;
    let (cost, rest) = rest.split_once('$').ok_or(BCRYPT_FORM)?;
    if cost.len() != 2 {
        return Err(BCRYPT_FORM);
    }
    let cost = number(cost).ok_or(BCRYPT_FORM)?;
    if !(BCRYPT_COST_MIN..=BCRYPT_COST_MAX).contains(&cost) {
        return Err("its cost is not between 4 and 14");
    }
    let (salt, hash) = rest.split_at_checked(22).ok_or(BCRYPT_FORM)?;
    let decode = |text| BCRYPT_BASE64.decode(text).map_err(|_| BCRYPT_FORM);
    let salt = decode(salt)?.try_into().map_err(|_| BCRYPT_FORM)?;
    let hash = decode(hash)?;
    match hash.len() {
        23 => Ok(ForeignHash::Bcrypt { cost, salt, hash }),
        _ => Err(BCRYPT_FORM),
    }
}

/// The rounds, the salt and the hash, which has so many characters.
fn read_sha_crypt(
    data: &str,
    prefix: &str,
    hash_characters: usize,
) -> Result<(usize, String, String), &'static str> {
    let rest = data.strip_prefix(prefix).ok_or(SHA_CRYPT_FORM)?;
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        None => (sha_crypt::ROUNDS_DEFAULT, rest),
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$').ok_or(SHA_CRYPT_FORM)?;
            let rounds = number(rounds).and_then(|rounds| usize::try_from(rounds).ok());
            (rounds.ok_or(SHA_CRYPT_ROUNDS)?, rest)
        }
    };
    if !(sha_crypt::ROUNDS_MIN..=SHA_CRYPT_ROUNDS_MAX).contains(&rounds) {
        return Err(SHA_CRYPT_ROUNDS);
    }
    let (salt, hash) = rest.split_once('$').ok_or(SHA_CRYPT_FORM)?;
    if salt.is_empty() || salt.len() > SHA_CRYPT_SALT_MAX {
        return Err("its salt does not have 1 to 16 characters");
    }
    let is_digit = |octet: u8| octet.is_ascii_alphanumeric() || b"./".contains(&octet);
    if hash.len() != hash_characters || !hash.bytes().all(is_digit) {
        return Err("its hash is cut off, too long or not in crypt's base64");
    }
    Ok((rounds, salt.to_owned(), hash.to_owned()))
}

fn read_pbkdf2(data: &str) -> Result<ForeignHash, &'static str> {
    let mut parts = data.strip_prefix("$1$").ok_or(PBKDF2_FORM)?.split('$');
    let (Some(salt), Some(rounds), Some(hash), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(PBKDF2_FORM);
    };
    let rounds = number(rounds).ok_or(PBKDF2_FORM)?;
    if !(1..=PBKDF2_ROUNDS_MAX).contains(&rounds) {
        return Err("its rounds are not between 1 and 2000000");
    }
    if salt.is_empty() || salt.len() > SALT_OCTETS_MAX {
        return Err("its salt does not have 1 to 64 characters");
    }
    let hash = hexadecimal(hash)
        .filter(|hash| hash.len() == PBKDF2_KEY_OCTETS)
        .ok_or(PBKDF2_FORM)?;
    let salt = salt.to_owned();
    Ok(ForeignHash::Pbkdf2 { rounds, salt, hash })
}

fn read_scram(data: &str) -> Result<StoredKeys, &'static str> {
    let mut parts = data.split(',');
    let (Some(iterations), Some(salt), Some(stored_key), Some(server_key), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(SCRAM_FORM);
    };
    let iterations = number(iterations).ok_or(SCRAM_FORM)?;
    if !(ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(&iterations) {
        return Err("its iterations are not between 4096 and 1000000");
    }
    let decode = |text| STANDARD.decode(text).map_err(|_| SCRAM_FORM);
    let key = |text| {
        <[u8; 32]>::try_from(decode(text)?)
            .map_err(|_| "its keys do not have 32 octets, as SHA-256 makes them")
    };
    let salt = decode(salt)?;
    if salt.is_empty() || salt.len() > SALT_OCTETS_MAX {
        return Err("its salt does not have 1 to 64 octets");
    }
    Ok(StoredKeys {
        salt,
        iterations,
        stored_key: key(stored_key)?,
        server_key: key(server_key)?,
    })
}

/// Decimal digits alone: no sign, no blank.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|octet| octet.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |octet: &u8| {
        char::from(*octet)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let octets = pairs
        .iter()
        .map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    octets.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests;
