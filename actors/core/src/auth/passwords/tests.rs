use std::sync::Arc;

use mailhorn_events::Stamp;
use mailhorn_ports::{Clock, Random};

use super::*;

const CHEAP: Argon2Cost = Argon2Cost {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};
const ITERATIONS: u32 = mailhorn_sasl::ITERATIONS_MIN;
/// `tanstaaf` with the salt `somesalt`, as OpenSSL computes it.
const REFERENCE: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$iJ065eAs4DtaWHJxZzRe6GrM9bnVYQDIWSdeI+llGqA";

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now_micros(&self) -> u64 {
        1
    }
}

/// Counts, so that no two salts are equal.
#[derive(Debug, Default)]
struct Counting(parking_lot::Mutex<u8>);

impl Random for Counting {
    fn fill(&self, octets: &mut [u8]) {
        let mut next = self.0.lock();
        *next += 1;
        octets.fill(*next);
    }
}

fn ids() -> Ids {
    Ids::new(Arc::new(Fixed), Arc::new(Counting::default()), Stamp(0))
}

fn make(ids: &Ids, password: &[u8]) -> Result<Credentials, PasswordError> {
    make_credentials(ids, &Secret::new(password), CHEAP, ITERATIONS)
}

/// Why a field is not taken.
pub(super) fn refusal(field: &str) -> String {
    import(field).unwrap_err().to_string()
}

pub(super) fn import(field: &str) -> Result<Credentials, ImportError> {
    import_credentials(&ids(), &Secret::new(field), CHEAP, ITERATIONS)
}

#[test]
fn a_password_becomes_an_argon2id_hash_and_scram_keys_of_its_own_salts_under_a_new_stamp() {
    let ids = ids();
    let first = make(&ids, b"tanstaaf").unwrap();
    let second = make(&ids, b"tanstaaf").unwrap();
    for made in [&first, &second] {
        assert!(
            made.hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"),
            "{}",
            made.hash
        );
        assert_eq!(check(&Secret::new("tanstaaf"), &made.hash), Ok(true));
        assert_eq!(check(&Secret::new("tanstaag"), &made.hash), Ok(false));
        let keys = made.scram.as_ref().unwrap();
        let expected = StoredKeys::from_password(&Secret::new("tanstaaf"), &keys.salt, ITERATIONS).unwrap();
        assert_eq!(usable(keys), expected);
        assert_eq!(stored(expected), *keys);
        assert_eq!(keys.salt.len(), SALT_OCTETS);
    }
    assert_ne!(first.hash, second.hash);
    assert_ne!(first.scram, second.scram);
    assert!(first.stamp < second.stamp);
}

#[test]
fn a_password_that_saslprep_prohibits_has_a_hash_of_its_octets_and_no_scram_keys() {
    for password in [&b"bell\x07"[..], "\u{AD}".as_bytes()] {
        let made = make(&ids(), password).unwrap();
        assert_eq!(made.scram, None, "{password:?}");
        assert_eq!(
            check(&Secret::new(password), &made.hash),
            Ok(true),
            "{password:?}"
        );
    }
}

#[test]
fn passwords_and_costs_out_of_their_limits_are_refused() {
    let longest = vec![b'a'; PASSWORD_OCTETS_MAX];
    let too_long = vec![b'a'; PASSWORD_OCTETS_MAX + 1];
    assert_eq!(make(&ids(), b""), Err(PasswordError::Empty));
    assert_eq!(make(&ids(), b"gr\xFCn"), Err(PasswordError::NotUtf8));
    assert_eq!(make(&ids(), &too_long), Err(PasswordError::TooLong));
    assert!(make(&ids(), &longest).is_ok());
    let password = Secret::new("tanstaaf");
    assert_eq!(
        make_credentials(
            &ids(),
            &password,
            Argon2Cost {
                memory_kib: 1,
                ..CHEAP
            },
            ITERATIONS
        ),
        Err(InvalidOptions::Argon2.into())
    );
    assert_eq!(
        make_credentials(&ids(), &password, CHEAP, ITERATIONS - 1),
        Err(InvalidOptions::ScramIterations.into())
    );
}

#[test]
fn a_plain_password_is_imported_with_scram_keys_and_may_hold_anything() {
    for (field, password) in [
        ("{PLAIN}a{b}:c", "a{b}:c"),
        ("{plain}tanstaaf", "tanstaaf"),
        ("{Plain} ", " "),
    ] {
        let made = import(field).unwrap();
        assert_eq!(check(&Secret::new(password), &made.hash), Ok(true), "{field}");
        assert!(made.scram.is_some(), "{field}");
    }
    assert_eq!(
        import("{PLAIN}"),
        Err(ImportError::Password(PasswordError::Empty))
    );
}

#[test]
fn an_argon2id_hash_is_imported_as_it_is_without_scram_keys() {
    for scheme in ["ARGON2ID", "argon2id"] {
        let made = import(&format!("{{{scheme}}}{REFERENCE}")).unwrap();
        assert_eq!(made.hash, REFERENCE);
        assert_eq!(made.scram, None);
        assert_eq!(check(&Secret::new("tanstaaf"), &made.hash), Ok(true));
        assert_eq!(check(&Secret::new("Tanstaaf"), &made.hash), Ok(false));
    }
}

const NO_SCHEME: &str = "the password has no scheme before it: {PLAIN}, {ARGON2ID}, {BLF-CRYPT}, {SHA512-CRYPT}, {SHA256-CRYPT}, {PBKDF2} and {SCRAM-SHA-256} are taken";

/// Each field with the end of its error.
const REFUSED: &[(&str, &str)] = &[
    ("tanstaaf", NO_SCHEME),
    ("", NO_SCHEME),
    ("{PLAIN", NO_SCHEME),
    (
        "{}x",
        "the password scheme {} is not taken: {PLAIN}, {ARGON2ID}, {BLF-CRYPT}, {SHA512-CRYPT}, {SHA256-CRYPT}, {PBKDF2} and {SCRAM-SHA-256} are taken",
    ),
    (
        "{md5-crypt}$1$x$y",
        "the password scheme {MD5-CRYPT} is not taken: {PLAIN}, {ARGON2ID}, {BLF-CRYPT}, {SHA512-CRYPT}, {SHA256-CRYPT}, {PBKDF2} and {SCRAM-SHA-256} are taken",
    ),
    (
        "{PLAIN.b64}eA==",
        "the password scheme {PLAIN.B64} is not taken: {PLAIN}, {ARGON2ID}, {BLF-CRYPT}, {SHA512-CRYPT}, {SHA256-CRYPT}, {PBKDF2} and {SCRAM-SHA-256} are taken",
    ),
    (
        "{my secret!}x",
        "the password scheme {…} is not taken: {PLAIN}, {ARGON2ID}, {BLF-CRYPT}, {SHA512-CRYPT}, {SHA256-CRYPT}, {PBKDF2} and {SCRAM-SHA-256} are taken",
    ),
    (
        "{aaaaaaaaaaaaaaaaaaaaa}x",
        "the password scheme {…} is not taken: {PLAIN}, {ARGON2ID}, {BLF-CRYPT}, {SHA512-CRYPT}, {SHA256-CRYPT}, {PBKDF2} and {SCRAM-SHA-256} are taken",
    ),
    (
        "{ARGON2ID}",
        "it does not have the form $argon2id$v=19$m=…,t=…,p=…$salt$hash",
    ),
    (
        "{ARGON2ID}tanstaaf",
        "it does not have the form $argon2id$v=19$m=…,t=…,p=…$salt$hash",
    ),
    (
        "{ARGON2ID}$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$HASH",
        "its algorithm is not argon2id",
    ),
    (
        "{ARGON2ID}$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$HASH",
        "its version is not v=19",
    ),
    (
        "{ARGON2ID}$argon2id$m=64,t=1,p=1$c29tZXNhbHQ$HASH",
        "its version is not v=19",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=64,t=1$c29tZXNhbHQ$HASH",
        "it does not say m, t and p",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1,x=1$c29tZXNhbHQ$HASH",
        "its parameters are out of argon2's range",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=1,t=1,p=1$c29tZXNhbHQ$HASH",
        "its parameters are out of argon2's range",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$HASH",
        "its parameters are out of argon2's range",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1,keyid=AAAA$c29tZXNhbHQ$HASH",
        "it has a keyid or data",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=262145,t=1,p=1$c29tZXNhbHQ$HASH",
        "it needs more than 262144 KiB of memory (m)",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=1024,t=33,p=1$c29tZXNhbHQ$HASH",
        "it needs more than 32 passes (t)",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=1024,t=1,p=17$c29tZXNhbHQ$HASH",
        "it needs more than 16 lanes (p)",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$c29t$HASH",
        "its salt is missing, too short or not base64",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
        "its hash is missing or too short",
    ),
    (
        "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAA",
        "its hash is missing or too short",
    ),
];

#[test]
fn what_cannot_be_imported_is_refused_with_its_reason() {
    for (field, reason) in REFUSED {
        let field = field.replace("HASH", &"A".repeat(43));
        let error = import(&field).unwrap_err().to_string();
        assert!(error.ends_with(reason), "{field}: {error}");
        assert!(
            !error.contains("tanstaaf") && !error.contains("secret"),
            "{error}"
        );
    }
}

#[test]
fn a_stored_hash_that_cannot_be_read_is_damage_and_not_a_wrong_password() {
    for argon2id in [
        "",
        "{",
        "{MD5-CRYPT}$1$x$y",
        "{SHA512-CRYPT}",
        "$argon2id$v=19$m=262145,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "tanstaaf",
        "$argon2id$v=19$m=1,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(
            check(&Secret::new("tanstaaf"), argon2id),
            Err(DamagedHash),
            "{argon2id}"
        );
    }
}

#[test]
fn the_hash_of_nobody_has_the_cost_of_a_real_one_and_no_password() {
    let ids = ids();
    let dummy = dummy_hash(&ids, CHEAP).unwrap();
    let real = make(&ids, b"tanstaaf").unwrap().hash;
    let shape = |phc: &str| {
        let hash = PasswordHash::new(phc).unwrap();
        (
            hash.algorithm.to_string(),
            hash.version,
            hash.params.to_string(),
            phc.len(),
        )
    };
    assert_eq!(shape(&dummy), shape(&real));
    assert_eq!(check(&Secret::new("tanstaaf"), &dummy), Ok(false));
}
