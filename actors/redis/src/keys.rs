//! The names of keys. What is touched by one script has one tag in braces, and so one slot of a Redis Cluster.

use mailhorn_events::{Generation, MailboxId};
use mailhorn_ports::Key;

/// The version of the layout: processes of one cluster that disagree about it would not find each other.
const LAYOUT: u8 = 1;
/// Parts of the registry, so that a Redis Cluster can spread it. Part of the layout.
pub(crate) const PARTS: usize = 16;
const NAMESPACE_OCTETS_MAX: usize = 64;

/// Makes the names of keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys(String);

impl Keys {
    /// `None` for a namespace that is not plain.
    pub(crate) fn new(namespace: &str) -> Option<Self> {
        let is_plain =
            |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-_.".contains(&octet);
        let is_good =
            (1..=NAMESPACE_OCTETS_MAX).contains(&namespace.len()) && namespace.bytes().all(is_plain);
        is_good.then(|| Self(format!("{namespace}:{LAYOUT}")))
    }

    pub(crate) fn epoch(&self, part: usize) -> String {
        format!("{}:{{registry-{part:02}}}:epoch", self.0)
    }

    /// The part of the registry in which a key lies, and its name there.
    pub(crate) fn registered(&self, key: &Key) -> (usize, String) {
        let (kind, id) = match key {
            Key::Mailbox(mailbox) => ('m', mailbox.0),
            Key::User(account) => ('u', account.0),
        };
        let folded = id.as_bytes().iter().fold(0, |folded, octet| folded ^ octet);
        let part = usize::from(folded) % PARTS;
        (part, format!("{}:{{registry-{part:02}}}:{kind}:{id}", self.0))
    }

    pub(crate) fn of(&self, part: usize, generation: Generation) -> String {
        format!("{}:{{registry-{part:02}}}:of:{generation}", self.0)
    }

    /// The frames for a process, and what is known of them.
    pub(crate) fn inbox(&self, generation: Generation) -> [String; 2] {
        ["frames", "state"].map(|what| format!("{}:{{inbox-{generation}}}:{what}", self.0))
    }

    pub(crate) fn lock(&self, mailbox: MailboxId) -> String {
        format!("{}:lock:{mailbox}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use mailhorn_events::AccountId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_namespace_is_plain() {
        for good in ["mailhorn", "a", "mail-2.test_x"] {
            assert!(Keys::new(good).is_some(), "{good}");
        }
        for bad in ["", "A", "a:b", "{a}", "a b", &"a".repeat(65)] {
            assert!(Keys::new(bad).is_none(), "{bad}");
        }
    }

    /// The layout is shared by processes of different releases.
    #[test]
    fn names_are_as_they_are_documented() {
        let keys = Keys::new("ns").unwrap();
        let id = Uuid::from_u128(0x0123_4567_89ab_7def_8123_4567_89ab_cd1e);
        let generation = Generation(id);
        let (part, mailbox) = keys.registered(&Key::Mailbox(MailboxId(id)));
        assert_eq!(
            (part, mailbox.as_str()),
            (1, "ns:1:{registry-01}:m:01234567-89ab-7def-8123-456789abcd1e")
        );
        let (_, user) = keys.registered(&Key::User(AccountId(id)));
        assert_eq!(user, "ns:1:{registry-01}:u:01234567-89ab-7def-8123-456789abcd1e");
        assert_eq!(keys.epoch(1), "ns:1:{registry-01}:epoch");
        assert_eq!(
            keys.of(1, generation),
            "ns:1:{registry-01}:of:01234567-89ab-7def-8123-456789abcd1e"
        );
        assert_eq!(
            keys.inbox(generation),
            [
                "ns:1:{inbox-01234567-89ab-7def-8123-456789abcd1e}:frames",
                "ns:1:{inbox-01234567-89ab-7def-8123-456789abcd1e}:state"
            ]
        );
        assert_eq!(
            keys.lock(MailboxId(id)),
            "ns:1:lock:01234567-89ab-7def-8123-456789abcd1e"
        );
    }
}
