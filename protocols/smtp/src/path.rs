//! The paths of `MAIL` and `RCPT`: what stands between `<` and `>` (RFC 5321 §4.1.2).

use std::fmt;

use crate::address::{Address, AddressError, is_beyond_ascii, split_local_part};
use crate::limits::{ADDRESS_OCTETS_MAX, DOMAIN_OCTETS_MAX, LOCAL_PART_OCTETS_MAX};

/// Where a delivery failure would be reported: the sender of the envelope, or nobody.
///
/// It is kept as it was sent. The mailbox is somebody else's, and RFC 5321 §2.4 forbids us to change the case
/// of its local part. Its host may have underscores in it or be an address literal: neither harms us, and
/// mail from such hosts exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ReversePath(Option<Box<str>>);

impl ReversePath {
    /// `<>`, the sender of delivery reports (RFC 5321 §4.5.5).
    #[must_use]
    pub fn null() -> Self {
        Self(None)
    }

    /// Reads what stands between the angle brackets; nothing is the null path. A source route is ignored
    /// (RFC 5321 appendix C).
    ///
    /// # Errors
    /// Any [`AddressError`] but [`AddressError::AddressLiteral`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Ok(Self::null());
        }
        let mailbox = without_source_route(text)?;
        let (_, rest) = split_local_part(mailbox)?;
        let host = rest.strip_prefix('@').ok_or(AddressError::Syntax)?;
        if !is_host(host) && !is_address_literal(host) {
            return Err(AddressError::Syntax);
        }
        let local_part_octets = mailbox.len().saturating_sub(rest.len());
        let too_long = local_part_octets > LOCAL_PART_OCTETS_MAX
            || host.len() > DOMAIN_OCTETS_MAX
            || mailbox.len() > ADDRESS_OCTETS_MAX;
        if too_long {
            Err(AddressError::TooLong)
        } else {
            Ok(Self(Some(mailbox.into())))
        }
    }

    /// Whether it is `<>`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }

    /// The mailbox without angle brackets: printable text of at most [`ADDRESS_OCTETS_MAX`] octets, empty
    /// for the null path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

/// With its angle brackets.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.as_str())
    }
}

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain, in any case (RFC 5321 §4.1.1.3, §4.5.1).
    Postmaster,
    /// An address that may be one of ours.
    Mailbox(Address),
    /// Somebody at an address literal. We are the final host of domains only, so it is never one of ours.
    AtAddressLiteral,
}

impl ForwardPath {
    /// Reads what stands between the angle brackets. A source route is ignored (RFC 5321 §3.6.1).
    ///
    /// # Errors
    /// Any [`AddressError`] but [`AddressError::AddressLiteral`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.eq_ignore_ascii_case("postmaster") {
            return Ok(Self::Postmaster);
        }
        let mailbox = without_source_route(text)?;
        match Address::parse(mailbox) {
            Ok(address) => Ok(Self::Mailbox(address)),
            Err(AddressError::AddressLiteral) if mailbox.ends_with(']') => Ok(Self::AtAddressLiteral),
            Err(AddressError::AddressLiteral) => Err(AddressError::Syntax),
            Err(error) => Err(error),
        }
    }
}

/// Cuts `<path>` from the beginning of `text`: gives what stands between the brackets, and what follows
/// them. A `>` inside a quoted local part does not end the path.
pub(crate) fn split_path(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let mut quoted = false;
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            '\\' if quoted => {
                characters.next()?;
            }
            '>' if !quoted => return Some((inner.get(..at)?, characters.as_str())),
            _ => {}
        }
    }
    None
}

/// Drops `@relay,@relay:` from the front. Relays are named by the sender for nobody's good any more, but a
/// server must still read past them (RFC 5321 §3.3).
fn without_source_route(path: &str) -> Result<&str, AddressError> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let (route, mailbox) = path.split_once(':').ok_or(AddressError::Syntax)?;
    let well_formed = route
        .split(',')
        .all(|hop| hop.strip_prefix('@').is_some_and(is_host));
    if well_formed {
        Ok(mailbox)
    } else {
        Err(AddressError::Syntax)
    }
}

fn is_host(text: &str) -> bool {
    text.split('.').all(|label| {
        let allowed = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '-' | '_') || is_beyond_ascii(character)
        };
        !label.is_empty() && label.chars().all(allowed)
    })
}

/// RFC 5321 §4.1.3, without looking at what kind of address it is.
fn is_address_literal(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| {
        !inner.is_empty()
            && inner
                .bytes()
                .all(|octet| matches!(octet, b'!'..=b'Z' | b'^'..=b'~'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reverse_path_is_kept_as_it_was_sent() {
        for (text, kept) in [
            ("", ""),
            ("Ann.Lee@Example.ORG", "Ann.Lee@Example.ORG"),
            ("\"ann lee\"@example.org", "\"ann lee\"@example.org"),
            ("ann@[IPv6:2001:db8::1]", "ann@[IPv6:2001:db8::1]"),
            ("bounce@srv_1.example.org", "bounce@srv_1.example.org"),
            ("A\u{308}nn@b\u{fc}cher.example", "A\u{308}nn@b\u{fc}cher.example"),
            ("@a.example,@b.example:Ann@example.org", "Ann@example.org"),
        ] {
            assert_eq!(ReversePath::parse(text).unwrap().as_str(), kept, "{text}");
        }
        assert!(ReversePath::parse("").unwrap().is_null());
        assert_eq!(ReversePath::null().to_string(), "<>");
    }

    #[test]
    fn a_reverse_path_that_could_break_a_header_field_is_refused() {
        for text in [
            "ann",
            "ann@",
            "@example.org",
            "ann@example.org\r",
            "ann@exa mple.org",
            "ann@[192.0.2.1",
            "ann@[]",
            "ann@[192\r.0.2.1]",
            "ann@[1]]",
            "@a.example:",
            "@a.example,b.example:ann@example.org",
            "\"ann\n\"@example.org",
            "a\u{85}nn@example.org",
            "ann@exam\u{2028}ple.org",
            "ann@[IPv6:\u{e4}]",
        ] {
            assert_eq!(ReversePath::parse(text), Err(AddressError::Syntax), "{text:?}");
        }
        let long = "l".repeat(LOCAL_PART_OCTETS_MAX + 1);
        assert_eq!(
            ReversePath::parse(&format!("{long}@example.org")),
            Err(AddressError::TooLong)
        );
        let long = "d".repeat(ADDRESS_OCTETS_MAX - 1);
        assert_eq!(
            ReversePath::parse(&format!("a@{long}")),
            Err(AddressError::TooLong)
        );
    }

    #[test]
    fn a_forward_path_is_an_address_or_the_postmaster_or_surely_not_ours() {
        let ann = ForwardPath::Mailbox(Address::parse("ann@example.org").unwrap());
        for (text, path) in [
            ("Ann@example.org", Ok(ann.clone())),
            ("@a.example,@b.example:ann@example.org", Ok(ann)),
            ("PostMaster", Ok(ForwardPath::Postmaster)),
            ("ann@[192.0.2.1]", Ok(ForwardPath::AtAddressLiteral)),
            ("ann@[192.0.2.1", Err(AddressError::Syntax)),
            ("", Err(AddressError::Syntax)),
            ("ann", Err(AddressError::Syntax)),
            ("@a.example ann@example.org", Err(AddressError::Syntax)),
        ] {
            assert_eq!(ForwardPath::parse(text), path, "{text:?}");
        }
    }

    #[test]
    fn only_a_bracket_outside_quotes_ends_a_path() {
        for (text, parts) in [
            ("<a@b> SIZE=1", Some(("a@b", " SIZE=1"))),
            ("<>", Some(("", ""))),
            ("<\"a>b\"@c>", Some(("\"a>b\"@c", ""))),
            ("<\"a\\\">b\"@c>x", Some(("\"a\\\">b\"@c", "x"))),
            ("<a@b", None),
            ("a@b>", None),
            ("<\"a@b>", None),
            ("<\"a\\", None),
        ] {
            assert_eq!(split_path(text), parts, "{text:?}");
        }
    }
}
