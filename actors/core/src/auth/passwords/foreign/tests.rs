use mailhorn_ports::Credentials;
use mailhorn_sasl::PASSWORD_OCTETS_MAX;

use super::super::tests::{import, refusal};
use super::super::{DamagedHash, check};
use super::*;

/// Fields of a passwd-file with their password.
const VECTORS: &[(&str, &str)] = &[
    // Made by Dovecot 2.3.19, `doveadm pw -s SCHEME -p PASSWORD`.
    (
        "{BLF-CRYPT}$2y$05$aoE8bz075Ihyrc7cNHK9q.zOVkmH4Eo9VvbdphX2lW3mK4AKk.ITC",
        "tanstaaf",
    ),
    (
        "{SHA512-CRYPT}$6$XR6ws2H8OOLquarb$pVQAVV3N2UedjzYA.BbTYl5P8YspG3GDwgtjC6z8znHVnIGAlF5cgdR2joNr5RJvJ6Ing.XeSZlcppnSBsFzT0",
        "tanstaaf",
    ),
    (
        "{SHA256-CRYPT}$5$eiZ61KkKYNuot4b5$smvckpLXDSSP5zM3H5luKGg.2Btzo3Z9ZhjUxbXzgJD",
        "tanstaaf",
    ),
    (
        "{PBKDF2}$1$ok716B9WnQ6VEfSr$5000$b85512bfec4f9d8a177ebe33b5b64fc4cb0b3c4c",
        "tanstaaf",
    ),
    (
        "{PBKDF2}$1$e2Xbpzi0A7bTw4A3$5000$0b4ee94b4ddae8a17b5ded6f64ec34b7c42ed0e3",
        "Ümlaut",
    ),
    (
        "{SCRAM-SHA-256}4096,20MXpwA9oMCCxWF0AmcoIQ==,mdE/boR5ERWKDgNENppJ39zByLWa7y/agDTw+4GyvF8=,avXsYdpjvP8isWMMVWmVE3N+LqahyCvTYoChjo0BfqE=",
        "tanstaaf",
    ),
    (
        "{SCRAM-SHA-256}4096,qx6nEe64eVE2fmmMtIJoXg==,zGc0SgRKPTfp2krvorn803EHWoKK0rSUsvGc6of/C9g=,Fwvy/ZZ1xRs99Bq27jotuJq0hZxzTG5tMp7rB6vMNYs=",
        "Ümlaut",
    ),
    // The password and salt of RFC 7677 §3; the keys computed with Python's hashlib and hmac.
    (
        "{scram-sha-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        "pencil",
    ),
    // RFC 6070 §2, the vector of 4,096 iterations.
    (
        "{pbkdf2}$1$salt$4096$4b007901b765489abead49d926f721d065a429c1",
        "password",
    ),
    // The passwords and salts of Drepper's SHA-crypt.txt, computed with OpenSSL (without rounds) and libxcrypt (with).
    (
        "{SHA256-CRYPT}$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
        "Hello world!",
    ),
    (
        "{sha512-crypt}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        "Hello world!",
    ),
    (
        "{SHA256-CRYPT}$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
        "Hello world!",
    ),
    (
        "{SHA512-CRYPT}$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
        "Hello world!",
    ),
    // Made by libxcrypt.
    (
        "{BLF-CRYPT}$2a$04$abcdefghijklmnopqrstuumJUK7dJmoK7yMfXBMkeTJL1Y.du7qIG",
        "tanstaaf",
    ),
    (
        "{bcrypt}$2b$04$abcdefghijklmnopqrstuu3twYEe7/9FivE8ub0pw0vRQhHL/VzZK",
        "ümlaut",
    ),
];

#[test]
fn a_hash_of_another_server_is_imported_as_it_is_and_opens_for_its_password_alone() {
    for (field, password) in VECTORS {
        let Credentials { hash, scram, .. } = import(field).unwrap();
        let (scheme, data) = field.split_once('}').unwrap();
        let canonical = scheme.to_uppercase().replace("{BCRYPT", "{BLF-CRYPT");
        assert_eq!(hash, format!("{canonical}}}{data}"));
        assert_eq!(check(&Secret::new(*password), &hash), Ok(true), "{field}");
        for wrong in [
            password.to_uppercase(),
            format!("{password} "),
            format!("{password}\0"),
            String::new(),
        ] {
            assert_eq!(
                check(&Secret::new(wrong.as_str()), &hash),
                Ok(false),
                "{field} {wrong:?}"
            );
        }
        assert_eq!(
            scram.is_some(),
            field.to_uppercase().starts_with("{SCRAM"),
            "{field}"
        );
    }
}

#[test]
fn imported_scram_keys_are_those_of_the_password() {
    for (field, password) in VECTORS {
        if let Some(keys) = import(field).unwrap().scram {
            let of_password = StoredKeys::from_password(&Secret::new(*password), &keys.salt, keys.iterations);
            assert_eq!(super::super::usable(&keys), of_password.unwrap());
        }
    }
}

#[test]
fn bcrypt_looks_at_72_octets_as_everywhere() {
    // Made by Dovecot 2.3.19 of 80 times `x`.
    let hash = "{BLF-CRYPT}$2y$05$G6ghq5/fVSttkX.YJyqlqO63fHlqMlvLMQOmqv4pBHb9FCqc8g.Ry";
    for (octets, expected) in [(80, true), (72, true), (PASSWORD_OCTETS_MAX, true), (71, false)] {
        assert_eq!(
            check(&Secret::new(vec![b'x'; octets]), hash),
            Ok(expected),
            "{octets}"
        );
    }
}

/// Fields that are not taken with the end of the reason; `H86`, `H43` and `B53` are a hash's characters.
const REFUSED: &[(&str, &str)] = &[
    ("{BLF-CRYPT}", BCRYPT_FORM),
    ("{BLF-CRYPT}$2x$05$B53", BCRYPT_FORM),
    ("{BLF-CRYPT}$2y$5$B53", BCRYPT_FORM),
    ("{BLF-CRYPT}$2y$+5$B53", BCRYPT_FORM),
    ("{BLF-CRYPT}$2y$05$B53a", BCRYPT_FORM),
    ("{BLF-CRYPT}$2y$05$ürgs", BCRYPT_FORM),
    ("{BLF-CRYPT}$2y$05$!B53", BCRYPT_FORM),
    ("{BLF-CRYPT}$2y$03$B53", "its cost is not between 4 and 14"),
    ("{BLF-CRYPT}$2y$15$B53", "its cost is not between 4 and 14"),
    ("{BCRYPT}$2b$31$B53", "its cost is not between 4 and 14"),
    ("{SHA512-CRYPT}$5$salt$H43", SHA_CRYPT_FORM),
    ("{SHA256-CRYPT}$6$salt$H86", SHA_CRYPT_FORM),
    ("{SHA512-CRYPT}$6$salt", SHA_CRYPT_FORM),
    ("{SHA512-CRYPT}$6$rounds=999$salt$H86", SHA_CRYPT_ROUNDS),
    ("{SHA512-CRYPT}$6$rounds=1000001$salt$H86", SHA_CRYPT_ROUNDS),
    ("{SHA256-CRYPT}$5$rounds=999999999$salt$H43", SHA_CRYPT_ROUNDS),
    (
        "{SHA256-CRYPT}$5$rounds=99999999999999$salt$H43",
        SHA_CRYPT_ROUNDS,
    ),
    ("{SHA256-CRYPT}$5$rounds=$salt$H43", SHA_CRYPT_ROUNDS),
    (
        "{SHA512-CRYPT}$6$$H86",
        "its salt does not have 1 to 16 characters",
    ),
    (
        "{SHA512-CRYPT}$6$saltstringsaltstr$H86",
        "its salt does not have 1 to 16 characters",
    ),
    (
        "{SHA512-CRYPT}$6$salt$H43",
        "its hash is cut off, too long or not in crypt's base64",
    ),
    (
        "{SHA512-CRYPT}$6$salt$H86.",
        "its hash is cut off, too long or not in crypt's base64",
    ),
    ("{PBKDF2}4b007901", PBKDF2_FORM),
    ("{PBKDF2}$1$salt$5000$4b", PBKDF2_FORM),
    (
        "{PBKDF2}$1$salt$5000$4b007901b765489abead49d926f721d065a429cx",
        PBKDF2_FORM,
    ),
    (
        "{PBKDF2}$1$salt$5000$4b007901b765489abead49d926f721d065a429c1$",
        PBKDF2_FORM,
    ),
    (
        "{PBKDF2}$1$$5000$4b007901b765489abead49d926f721d065a429c1",
        "its salt does not have 1 to 64 characters",
    ),
    (
        "{PBKDF2}$1$salt$0$4b007901b765489abead49d926f721d065a429c1",
        "its rounds are not between 1 and 2000000",
    ),
    (
        "{PBKDF2}$1$salt$1000000000$4b007901b765489abead49d926f721d065a429c1",
        "its rounds are not between 1 and 2000000",
    ),
    ("{SCRAM-SHA-256}4096,c2FsdA==", SCRAM_FORM),
    ("{SCRAM-SHA-256}4096,salt!,KEY,KEY", SCRAM_FORM),
    ("{SCRAM-SHA-256}4096,c2FsdA==,KEY,KEY,", SCRAM_FORM),
    (
        "{SCRAM-SHA-256}4095,c2FsdA==,KEY,KEY",
        "its iterations are not between 4096 and 1000000",
    ),
    (
        "{SCRAM-SHA-256}1000001,c2FsdA==,KEY,KEY",
        "its iterations are not between 4096 and 1000000",
    ),
    (
        "{SCRAM-SHA-256}4096,,KEY,KEY",
        "its salt does not have 1 to 64 octets",
    ),
    (
        "{SCRAM-SHA-256}4096,c2FsdA==,c2FsdA==,KEY",
        "its keys do not have 32 octets, as SHA-256 makes them",
    ),
];

fn spelled_out(field: &str) -> String {
    let key = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=";
    [
        ("H86", "A".repeat(86)),
        ("H43", "A".repeat(43)),
        ("B53", "a".repeat(53)),
        ("KEY", key.to_owned()),
    ]
    .iter()
    .fold(field.to_owned(), |field, (short, long)| {
        field.replace(short, long)
    })
}

#[test]
fn a_broken_or_costly_hash_is_refused_with_its_scheme_and_reason_and_never_computed() {
    for (field, reason) in REFUSED {
        let field = spelled_out(field);
        let told = refusal(&field);
        let scheme = Scheme::of(field[1..].split_once('}').unwrap().0.as_bytes())
            .unwrap()
            .name();
        assert_eq!(
            told,
            format!("this is not a hash of {{{scheme}}} that can be taken: {reason}"),
            "{field}"
        );
        // A row that has it nevertheless is damage, and its cost is not paid: this would take hours otherwise.
        assert_eq!(
            check(&Secret::new("tanstaaf"), &field),
            Err(DamagedHash),
            "{field}"
        );
    }
}

#[test]
fn the_bounds_that_are_told_are_those_that_hold() {
    for (reason, max) in [
        (
            refusal(&spelled_out("{BCRYPT}$2b$31$B53")),
            BCRYPT_COST_MAX.to_string(),
        ),
        (SHA_CRYPT_ROUNDS.to_owned(), SHA_CRYPT_ROUNDS_MAX.to_string()),
        (refusal("{PBKDF2}$1$a$0$"), PBKDF2_ROUNDS_MAX.to_string()),
        (refusal("{SCRAM-SHA-256}1,,,"), SCRAM_ITERATIONS_MAX.to_string()),
    ] {
        assert!(reason.ends_with(&format!(" and {max}")), "{reason}");
    }
}
