//! App passwords: made by us, so that they can't be guessed and checking one costs next to nothing.

use mailhorn_ports::{AppPassword, Ids, Service, Services};
use mailhorn_sasl::Secret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// 32 signs that are hard to take for one another, so a sign is five bits.
const SIGNS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// How many of them there are: 100 bits, far beyond what can be tried, with any hash.
const LENGTH: usize = 20;

/// A hyphen after so many of them, for whoever has to type it.
const GROUP: usize = 5;

/// Makes an app password, and what is kept of it.
pub fn make(ids: &Ids, name: String, services: Services) -> (Secret, AppPassword) {
    let random: [u8; LENGTH] = ids.random_octets();
    let mut password = Vec::with_capacity(LENGTH + LENGTH / GROUP);
    for group in random.chunks(GROUP) {
        if !password.is_empty() {
            password.push(b'-');
        }
        password.extend(
            group
                .iter()
                .filter_map(|octet| SIGNS.get(usize::from(octet % 32))),
        );
    }
    let password = Secret::new(password);
    let salt = ids.random_octets();
    let kept = AppPassword {
        name,
        services,
        created: ids.stamp(),
        salt,
        digest: digest(&salt, &password),
    };
    (password, kept)
}

/// Whether a password is one of these and opens a service. It takes the same time whichever of them it is.
pub(super) fn opens(app_passwords: &[AppPassword], service: Service, password: &Secret) -> bool {
    let mut found = Choice::from(0);
    for app_password in app_passwords.iter().filter(|it| it.services.has(service)) {
        found |= digest(&app_password.salt, password).ct_eq(&app_password.digest);
    }
    found.into()
}

fn digest(salt: &[u8; 16], password: &Secret) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(salt);
    hash.update(password.declassify());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use mailhorn_events::Stamp;
    use mailhorn_ports::memory::{ManualClock, SeededRandom};

    use super::*;

    fn ids() -> Ids {
        Ids::new(
            Arc::new(ManualClock::new(1)),
            Arc::new(SeededRandom::new(1)),
            Stamp(0),
        )
    }

    #[test]
    fn an_app_password_opens_its_services_and_no_other() {
        let ids = ids();
        let services = |services: &[Service]| Services::new(services.iter().copied()).unwrap();
        let (phone, kept_phone) = make(&ids, "phone".into(), services(&Service::ALL));
        let (printer, kept_printer) = make(&ids, "printer".into(), services(&[Service::Smtp]));
        let kept = [kept_phone, kept_printer];
        let table = [
            (&phone, Service::Pop3, true),
            (&phone, Service::Smtp, true),
            (&printer, Service::Smtp, true),
            (&printer, Service::Pop3, false),
            (&Secret::new("guessed"), Service::Smtp, false),
        ];
        for (password, service, expected) in table {
            assert_eq!(opens(&kept, service, password), expected, "{service:?}");
        }
        assert!(!opens(&[], Service::Pop3, &phone));
        assert!(!opens(&kept[1..], Service::Smtp, &phone), "it was revoked");
    }

    #[test]
    fn an_app_password_is_easy_to_type_and_every_one_is_another() {
        let (ids, services) = (ids(), Services::new(Service::ALL).unwrap());
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let (password, _) = make(&ids, "phone".into(), services);
            let text = String::from_utf8(password.declassify().to_vec()).unwrap();
            let groups: Vec<&str> = text.split('-').collect();
            assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [5; 4]);
            assert!(
                text.bytes().all(|sign| sign == b'-' || SIGNS.contains(&sign)),
                "{text}"
            );
            assert!(seen.insert(text));
        }
    }
}
