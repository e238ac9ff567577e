//! The base64 in which the line-based protocols carry SASL messages (RFC 4422 leaves this to them; RFC 5034
//! §4 and RFC 4954 §4 agree).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{RESPONSE_ENCODED_OCTETS_MAX, Secret};

/// Decodes a client's response. A response may be a password, so what comes out is a [`Secret`].
///
/// `None` when it is not canonical base64 (RFC 4648 §4: padded, no octet from outside the alphabet) or longer
/// than [`RESPONSE_ENCODED_OCTETS_MAX`]. An empty response is an empty secret; the `=` that stands for an
/// empty *initial* response is the affair of the protocol's AUTH command.
#[must_use]
pub fn decode(encoded: &[u8]) -> Option<Secret> {
    if encoded.len() > RESPONSE_ENCODED_OCTETS_MAX {
        return None;
    }
    STANDARD.decode(encoded).ok().map(Secret::new)
}

/// Encodes a server's challenge.
#[must_use]
pub fn encode(challenge: &[u8]) -> String {
    STANDARD.encode(challenge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RESPONSE_OCTETS_MAX;

    #[test]
    fn only_canonical_base64_is_taken() {
        let cases: &[(&str, Option<&str>)] = &[
            ("", Some("")),
            ("dGlt", Some("tim")),
            ("dGk=", Some("ti")),
            ("=", None),
            ("dGk", None),
            ("dGl=", None),
            ("dG lt", None),
            ("dGlt\r", None),
            ("dG_t", None),
        ];
        for (encoded, expected) in cases {
            assert_eq!(
                decode(encoded.as_bytes()),
                expected.map(Secret::new),
                "{encoded:?}"
            );
        }
    }

    #[test]
    fn a_response_of_exactly_the_limit_is_taken_and_one_octet_more_is_not() {
        assert!(decode(encode(&[0; RESPONSE_OCTETS_MAX]).as_bytes()).is_some());
        assert!(decode(encode(&[0; RESPONSE_OCTETS_MAX + 1]).as_bytes()).is_none());
    }
}
