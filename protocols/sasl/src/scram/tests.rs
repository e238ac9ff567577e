//! The examples of the RFCs, our limits, and everything a client could get wrong.

use proptest::prelude::*;

use super::*;
use crate::Mechanism;

const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const PROOF: &str = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

/// The account of RFC 7677 §3.
fn pencil() -> StoredKeys {
    let salt = decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    StoredKeys::from_password(&Secret::new("pencil"), salt.declassify(), 4096).unwrap()
}

fn server_nonce() -> ServerNonce {
    ServerNonce::from_text(SERVER_NONCE).unwrap()
}

/// Sends client-first and gives server-first and what waits for client-final.
fn first(message: &str, keys: StoredKeys) -> (String, Exchange) {
    let Progress::FetchKeys { then, .. } = Mechanism::ScramSha256.begin(Some(message.as_bytes())) else {
        panic!("client-first was refused: {message}")
    };
    let Progress::Challenge(challenge, exchange) = then.keys(keys, &server_nonce()) else {
        panic!("server-first is a challenge")
    };
    (String::from_utf8(challenge).unwrap(), exchange)
}

fn malformed(progress: Progress) -> Option<Malformed> {
    match progress {
        Progress::Malformed(malformed) => Some(malformed),
        _ => None,
    }
}

#[test]
fn the_exchange_of_rfc_7677_goes_through() {
    let (server_first, exchange) = first(&format!("n,,n=user,r={CLIENT_NONCE}"), pencil());
    assert_eq!(
        server_first,
        format!("r={CLIENT_NONCE}{SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    );
    let client_final = format!("c=biws,r={CLIENT_NONCE}{SERVER_NONCE},p={PROOF}");
    let Progress::Challenge(server_final, exchange) = exchange.respond(client_final.as_bytes()) else {
        panic!("the proof is right")
    };
    assert_eq!(server_final, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    let Progress::Proven { user } = exchange.respond(b"") else {
        panic!("the end")
    };
    assert_eq!(user, "user");
}

/// The example of RFC 5802 §5 uses SHA-1, which we do not serve. Its first two messages do not depend on the
/// hash and are the same here; its proof has the wrong length for ours.
#[test]
fn the_exchange_of_rfc_5802_is_the_same_up_to_the_hash() {
    let Progress::FetchKeys { user, then } =
        Mechanism::ScramSha256.begin(Some(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"))
    else {
        panic!("client-first was refused")
    };
    assert_eq!(user, "user");
    let salt = decode(b"QSXCR+Q6sek8bf92").unwrap();
    let keys = StoredKeys::from_password(&Secret::new("pencil"), salt.declassify(), 4096).unwrap();
    let nonce = ServerNonce::from_text("3rfcNHYJY1ZVvWVs7j").unwrap();
    let Progress::Challenge(server_first, exchange) = then.keys(keys, &nonce) else {
        panic!("server-first")
    };
    assert_eq!(
        server_first,
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    );
    let sha1 = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
    assert_eq!(malformed(exchange.respond(sha1)), Some(Malformed::Syntax));
}

#[test]
fn the_end_of_an_exchange_is_acknowledged_with_nothing() {
    let (_, exchange) = first(&format!("n,,n=user,r={CLIENT_NONCE}"), pencil());
    let client_final = format!("c=biws,r={CLIENT_NONCE}{SERVER_NONCE},p={PROOF}");
    let Progress::Challenge(_, exchange) = exchange.respond(client_final.as_bytes()) else {
        panic!("proven")
    };
    assert_eq!(malformed(exchange.respond(b"x")), Some(Malformed::Syntax));
}

#[test]
fn a_wrong_proof_is_told_apart_from_a_malformed_message() {
    let with = |binding: &str, nonce: &str, proof: &str| format!("c={binding},r={nonce},p={proof}");
    let nonce = format!("{CLIENT_NONCE}{SERVER_NONCE}");
    let wrong = encode(&[7; 32]);
    let cases = [
        (with("biws", &nonce, &wrong), None),
        (with("biws", &nonce, &encode(&[7; 31])), Some(Malformed::Syntax)),
        (with("biws", &nonce, "***"), Some(Malformed::Syntax)),
        (with("biws", CLIENT_NONCE, PROOF), Some(Malformed::Nonce)),
        (with("biws", &nonce.to_lowercase(), PROOF), Some(Malformed::Nonce)),
        (with("eSws", &nonce, PROOF), Some(Malformed::ChannelBinding)),
        (with("", &nonce, PROOF), Some(Malformed::ChannelBinding)),
        (format!("r={nonce},c=biws,p={PROOF}"), Some(Malformed::Syntax)),
        (format!("c=biws,r={nonce}"), Some(Malformed::Syntax)),
        (String::new(), Some(Malformed::Syntax)),
    ];
    for (message, expected) in cases {
        let (_, exchange) = first(&format!("n,,n=user,r={CLIENT_NONCE}"), pencil());
        let progress = exchange.respond(message.as_bytes());
        assert_eq!(
            matches!(progress, Progress::Disproven { .. }),
            expected.is_none(),
            "{message}"
        );
        assert_eq!(malformed(progress), expected, "{message}");
    }
}

#[test]
fn an_unknown_user_is_asked_like_a_known_one_and_refused_at_the_proof() {
    let fake = || StoredKeys::fake(&Secret::new("installation"), "user", 4096);
    let (server_first, exchange) = first(&format!("n,,n=user,r={CLIENT_NONCE}"), fake());
    let (again, _) = first(&format!("n,,n=user,r={CLIENT_NONCE}"), fake());
    let (known, _) = first(&format!("n,,n=user,r={CLIENT_NONCE}"), pencil());
    assert_eq!(
        server_first, again,
        "a salt that changed would give the game away"
    );
    assert_eq!(server_first.len(), known.len(), "and so would another length");
    let client_final = format!("c=biws,r={CLIENT_NONCE}{SERVER_NONCE},p={PROOF}");
    assert!(
        matches!(exchange.respond(client_final.as_bytes()), Progress::Disproven { user } if user == "user")
    );
}

#[test]
fn client_first_is_taken_or_refused_by_its_parts() {
    let long_nonce = format!("n,,n=user,r={}", "x".repeat(CLIENT_NONCE_OCTETS_MAX + 1));
    let cases: &[(&str, Result<&str, Malformed>)] = &[
        ("n,,n=user,r=abc", Ok("user")),
        ("y,,n=user,r=abc", Ok("user")),
        ("n,a=user,n=user,r=abc", Ok("user")),
        ("n,,n=user,r=abc,x=extension", Ok("user")),
        ("n,,n=a=2Cb=3Dc,r=abc", Ok("a,b=c")),
        ("n,,n=a=2cb,r=abc", Err(Malformed::Name)),
        ("n,,n=a=,r=abc", Err(Malformed::Name)),
        ("n,,n=,r=abc", Err(Malformed::Name)),
        ("n,,n=\u{7},r=abc", Err(Malformed::Name)),
        ("n,a=other,n=user,r=abc", Err(Malformed::OtherIdentity)),
        ("n,user,n=user,r=abc", Err(Malformed::Syntax)),
        ("p=tls-exporter,,n=user,r=abc", Err(Malformed::ChannelBinding)),
        ("x,,n=user,r=abc", Err(Malformed::Syntax)),
        ("n,,m=must,n=user,r=abc", Err(Malformed::Extension)),
        ("n,,n=user,r=", Err(Malformed::Nonce)),
        ("n,,n=user,r=a b", Err(Malformed::Nonce)),
        (&long_nonce, Err(Malformed::Nonce)),
        ("n,,n=user", Err(Malformed::Syntax)),
        ("n,,r=abc,n=user", Err(Malformed::Syntax)),
        ("n", Err(Malformed::Syntax)),
        ("", Err(Malformed::Syntax)),
    ];
    for (message, expected) in cases {
        let found = match Mechanism::ScramSha256.begin(Some(message.as_bytes())) {
            Progress::FetchKeys { user, .. } => Ok(user),
            Progress::Malformed(malformed) => Err(malformed),
            other => panic!("{message}: {other:?}"),
        };
        assert_eq!(
            found.as_deref().map_err(|malformed| *malformed),
            *expected,
            "{message}"
        );
    }
}

#[test]
fn the_flag_y_is_signed_as_it_was_sent() {
    let (_, exchange) = first(&format!("y,,n=user,r={CLIENT_NONCE}"), pencil());
    let wrong = encode(&[7; 32]);
    let client_final = format!("c=eSws,r={CLIENT_NONCE}{SERVER_NONCE},p={wrong}");
    assert!(matches!(
        exchange.respond(client_final.as_bytes()),
        Progress::Disproven { .. }
    ));
}

#[test]
fn a_server_nonce_is_printable_and_has_its_limits() {
    assert!(is_nonce(&ServerNonce::new([0xFF; 18]).0));
    assert_eq!(ServerNonce::from_text("short"), None);
    assert_eq!(ServerNonce::from_text("with,comma,with,comma"), None);
    assert_eq!(
        ServerNonce::from_text(&"x".repeat(ServerNonce::CHARACTERS_MAX + 1)),
        None
    );
    assert!(ServerNonce::from_text(&"x".repeat(ServerNonce::CHARACTERS_MAX)).is_some());
}

#[test]
fn an_exchange_prints_no_keys() {
    let (_, exchange) = first(&format!("n,,n=user,r={CLIENT_NONCE}"), pencil());
    let printed = format!("{exchange:?}");
    assert!(
        printed.contains("StoredKeys { iterations: 4096, .. }"),
        "{printed}"
    );
}

/// The client's side, written from RFC 5802 §3 apart from the server's.
fn prove(password: &str, client_first_bare: &str, server_first: &str, client_final_bare: &str) -> String {
    let salt = server_first
        .split(',')
        .nth(1)
        .and_then(|part| part.strip_prefix("s="))
        .unwrap();
    let mut salted = [0; 32];
    let salt = decode(salt.as_bytes()).unwrap();
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt.declassify(), 4096, &mut salted);
    let client_key = hmac(&salted, &[b"Client Key"]);
    let message = format!("{client_first_bare},{server_first},{client_final_bare}");
    let signature = hmac(&Sha256::digest(client_key), &[message.as_bytes()]);
    let proof: Vec<u8> = client_key
        .iter()
        .zip(signature)
        .map(|(key, octet)| key ^ octet)
        .collect();
    encode(&proof)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whoever_knows_the_password_proves_it_and_nobody_else(
        password in "[ -~]{1,20}", guess in "[ -~]{1,20}", nonce in "[a-zA-Z0-9+/]{1,64}", salt in any::<[u8; 16]>(),
    ) {
        let keys = StoredKeys::from_password(&Secret::new(password.as_str()), &salt, 4096).unwrap();
        let bare = format!("n=user,r={nonce}");
        let (server_first, exchange) = first(&format!("n,,{bare}"), keys);
        let final_bare = format!("c=biws,r={nonce}{SERVER_NONCE}");
        let proof = prove(&guess, &bare, &server_first, &final_bare);
        let progress = exchange.respond(format!("{final_bare},p={proof}").as_bytes());
        prop_assert_eq!(matches!(progress, Progress::Challenge(..)), guess == password);
    }

    #[test]
    fn no_message_is_too_strange_to_be_answered(message in any::<Vec<u8>>()) {
        for mechanism in Mechanism::ALL {
            drop(mechanism.begin(Some(&message)));
        }
    }
}
