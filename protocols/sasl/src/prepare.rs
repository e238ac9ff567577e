//! SASLprep (RFC 4013): one form for strings that look the same.

use zeroize::Zeroizing;

use crate::{NAME_OCTETS_MAX, Secret};

/// The prepared form of a user name: UTF-8, SASLprep, not empty, at most [`NAME_OCTETS_MAX`] octets.
///
/// `None` when the octets have no such form (RFC 4616 §2: the exchange then fails). A protocol's own log-in
/// command uses this too, so that a name means the same account whichever way it came.
#[must_use]
pub fn prepare_name(octets: &[u8]) -> Option<String> {
    // Preparation can shorten a string but hardly lengthen it beyond four times; this bounds the work.
    if octets.len() > NAME_OCTETS_MAX {
        return None;
    }
    let name = stringprep::saslprep(std::str::from_utf8(octets).ok()?).ok()?;
    (!name.is_empty() && name.len() <= NAME_OCTETS_MAX).then(|| name.into_owned())
}

/// The prepared form of a password for SCRAM (RFC 5802 §2.2), or `None` when it has none.
pub(crate) fn prepare_password(password: &Secret) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(password.declassify()).ok()?;
    let prepared = stringprep::saslprep(text).ok()?;
    (!prepared.is_empty()).then(|| Zeroizing::new(prepared.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4013 §3, and our limits.
    #[test]
    fn names_are_prepared_as_rfc_4013_says() {
        let cases: &[(&[u8], Option<&str>)] = &[
            ("I\u{AD}X".as_bytes(), Some("IX")),
            (b"user", Some("user")),
            (b"USER", Some("USER")),
            ("\u{AA}".as_bytes(), Some("a")),
            ("\u{2168}".as_bytes(), Some("IX")),
            (b"\x07", None),
            ("\u{627}1".as_bytes(), None),
            (b"", None),
            ("\u{AD}".as_bytes(), None),
            (b"\xFF", None),
            (b"a\0b", None),
        ];
        for (octets, expected) in cases {
            assert_eq!(prepare_name(octets).as_deref(), *expected, "{octets:?}");
        }
    }

    #[test]
    fn a_name_of_exactly_the_limit_is_taken_and_one_octet_more_is_not() {
        assert!(prepare_name(&[b'a'; NAME_OCTETS_MAX]).is_some());
        assert!(prepare_name(&[b'a'; NAME_OCTETS_MAX + 1]).is_none());
        let grows = "\u{FB03}".repeat(NAME_OCTETS_MAX / 3);
        assert_eq!(
            prepare_name(grows.as_bytes()).map(|name| name.len()),
            Some(NAME_OCTETS_MAX)
        );
    }
}
