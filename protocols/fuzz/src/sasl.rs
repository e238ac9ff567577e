//! SASL messages of any octets: no message is too strange to be answered, and none proves a password that it does not know.

use std::sync::OnceLock;

use mailhorn_sasl::{
    Mechanism, NAME_OCTETS_MAX, PASSWORD_OCTETS_MAX, Progress, Secret, ServerNonce, StoredKeys,
};

/// The exchange of RFC 7677 §3: nothing else proves the password of `user` to this nonce.
const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const CLIENT_FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SALT: &[u8] = b"W22ZaJ0SNY7soEsUEjb6gQ==";

fn keys(user: &str) -> StoredKeys {
    static KEYS: OnceLock<StoredKeys> = OnceLock::new();
    if user != "user" {
        return StoredKeys::fake(&Secret::new("installation"), user, 4096);
    }
    let real = || {
        let salt = mailhorn_sasl::decode(SALT).expect("base64");
        StoredKeys::from_password(&Secret::new("pencil"), salt.declassify(), 4096).expect("keys")
    };
    KEYS.get_or_init(real).clone()
}

/// The messages of the client stand behind one another, parted by 0xFF, which no valid message contains.
pub(crate) fn target(input: &[u8]) {
    for mechanism in Mechanism::ALL {
        let mut messages = input.split(|octet| *octet == 0xFF);
        let mut progress = mechanism.begin(messages.next());
        loop {
            progress = match progress {
                Progress::Challenge(_, exchange) => match messages.next() {
                    Some(message) => exchange.respond(message),
                    None => break,
                },
                Progress::FetchKeys { user, then } => {
                    let nonce = ServerNonce::from_text(NONCE).expect("a nonce");
                    then.keys(keys(&user), &nonce)
                }
                Progress::Proven { user } => {
                    assert_eq!(user, "user");
                    let right: Vec<u8> = [CLIENT_FIRST, &[0xFF], CLIENT_FINAL, &[0xFF]].concat();
                    assert!(input.starts_with(&right), "a proof for keys that nobody has");
                    break;
                }
                Progress::CheckPassword { user, password } => {
                    assert!(!user.is_empty() && user.len() <= NAME_OCTETS_MAX);
                    assert!(!password.is_empty() && password.len() <= PASSWORD_OCTETS_MAX);
                    assert!(std::str::from_utf8(password.declassify()).is_ok());
                    break;
                }
                Progress::Disproven { .. } | Progress::Malformed(_) => break,
            };
        }
    }
    base64(input);
    if let Some(name) = mailhorn_sasl::prepare_name(input) {
        assert!(!name.is_empty() && name.len() <= NAME_OCTETS_MAX);
        assert_eq!(
            mailhorn_sasl::prepare_name(name.as_bytes()),
            Some(name),
            "what is prepared stays"
        );
    }
}

fn base64(input: &[u8]) {
    if let Some(decoded) = mailhorn_sasl::decode(input) {
        assert_eq!(
            mailhorn_sasl::encode(decoded.declassify()).as_bytes(),
            input,
            "there is one form"
        );
    }
    let encoded = mailhorn_sasl::encode(input);
    if let Some(decoded) = mailhorn_sasl::decode(encoded.as_bytes()) {
        assert_eq!(decoded.declassify(), input);
    }
}
