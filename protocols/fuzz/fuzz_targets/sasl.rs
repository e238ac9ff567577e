//! SASL messages of any octets: no message is too strange to be answered, and none proves a password that it
//! does not know.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailhorn_sasl::{Mechanism, Progress, Secret, ServerNonce, StoredKeys};

// The messages of the client stand behind one another, parted by 0xFF, which no valid message contains.
fuzz_target!(|input: &[u8]| {
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
                    let keys = StoredKeys::fake(&Secret::new("installation"), &user, 4096);
                    then.keys(keys, &ServerNonce::new([7; 18]))
                }
                Progress::Proven { .. } => panic!("a proof for keys that nobody has"),
                Progress::CheckPassword { user, password } => {
                    assert!(!user.is_empty() && user.len() <= mailhorn_sasl::NAME_OCTETS_MAX);
                    assert!(!password.is_empty() && password.len() <= mailhorn_sasl::PASSWORD_OCTETS_MAX);
                    break;
                }
                Progress::Disproven { .. } | Progress::Malformed(_) => break,
            };
        }
    }
    drop(mailhorn_sasl::decode(input));
});
