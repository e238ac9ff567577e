//! Domains and addresses in the one form that look-ups use.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

use crate::limits::{ADDRESS_OCTETS_MAX, DOMAIN_OCTETS_MAX, LABEL_OCTETS_MAX, LOCAL_PART_OCTETS_MAX};

/// Why a text is not an address or a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// Not of the form RFC 5321 §4.1.2 and RFC 6531 §3.3 give.
    Syntax,
    /// The local part, the domain or both together are longer than [`crate::limits`] allows.
    TooLong,
    /// The domain is an address literal such as `[192.0.2.1]`, which never names a mail domain.
    AddressLiteral,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not a mail address",
            Self::TooLong => "the address is too long",
            Self::AddressLiteral => "an address literal is not a mail domain",
        })
    }
}

impl std::error::Error for AddressError {}

/// A mail domain: labels of letters, digits and inner hyphens (RFC 5321 §2.3.5), in lower case. A label in another
/// script is its A-label (RFC 5890 §2.3.2.1): `bücher.example` is `xn--bcher-kva.example`.
///
/// Two domains are equal when DNS takes them for equal, so a `Domain` can be a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// Reads a domain of at most [`DOMAIN_OCTETS_MAX`] octets, without a dot at its end, in A-labels or U-labels.
    ///
    /// # Errors
    /// Any [`AddressError`]; none of them goes away by trying again.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.starts_with('[') {
            return Err(AddressError::AddressLiteral);
        }
        if text.len() > DOMAIN_OCTETS_MAX {
            return Err(AddressError::TooLong);
        }
        let text = a_labels(text)?;
        if !text.split('.').all(is_label) {
            return Err(AddressError::Syntax);
        }
        Ok(Self(text.to_ascii_lowercase().into_boxed_str()))
    }

    /// The domain in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// The address of a mailbox here: who gets mail, who logs in.
///
/// It is in canonical form, so that it can be a key: the domain in lower case (RFC 5321 §2.4 makes domains
/// case-insensitive), the local part without quotes (`"ann"@example.org` and `ann@example.org` are one
/// mailbox, §4.1.2) and in lower case too. §2.4 leaves a local part's meaning to the host that has the
/// mailbox, and that host is us: accounts that differ in case alone would only help an impostor. One in UTF-8
/// (RFC 6531) is in normalization form C besides, so that it does not matter which keyboard wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    local_part: Box<str>,
    domain: Domain,
}

impl Address {
    /// Reads `local-part@domain`, quoted local parts included.
    ///
    /// # Errors
    /// Any [`AddressError`]; none of them goes away by trying again.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local_part, rest) = split_local_part(text)?;
        let domain = rest.strip_prefix('@').ok_or(AddressError::Syntax)?;
        Self::new(&local_part, Domain::parse(domain)?)
    }

    /// The mailbox `local_part`, given without quotes, at `domain`.
    ///
    /// # Errors
    /// Any [`AddressError`] but [`AddressError::AddressLiteral`].
    pub fn new(local_part: &str, domain: Domain) -> Result<Self, AddressError> {
        if local_part.is_empty() || !local_part.chars().all(is_printable) {
            return Err(AddressError::Syntax);
        }
        let local_part = canonical(local_part).into_boxed_str();
        let encoded = encode_local_part(&local_part).len();
        let whole = encoded.saturating_add(1).saturating_add(domain.as_str().len());
        if encoded > LOCAL_PART_OCTETS_MAX || whole > ADDRESS_OCTETS_MAX {
            return Err(AddressError::TooLong);
        }
        Ok(Self { local_part, domain })
    }

    /// The local part in lower case, without quotes: it may have spaces and `@` in it.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// Whether only mail that came with `SMTPUTF8` can be for it (RFC 6531): its local part is not ASCII.
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.local_part.is_ascii()
    }

    /// The domain.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }
}

/// As it is written in a path, quoted only where that is needed: printable text of at most
/// [`ADDRESS_OCTETS_MAX`] octets, fit for a header field. Its domain is in A-labels.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", encode_local_part(&self.local_part), self.domain)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// Reads the local part at the beginning of `text` (RFC 5321 §4.1.2: `Dot-string` or `Quoted-string`).
/// Gives it without its quotes, and what follows it.
pub(crate) fn split_local_part(text: &str) -> Result<(String, &str), AddressError> {
    if let Some(quoted) = text.strip_prefix('"') {
        return split_quoted(quoted);
    }
    let (local_part, _) = text.split_once('@').ok_or(AddressError::Syntax)?;
    if !is_dot_string(local_part) {
        return Err(AddressError::Syntax);
    }
    let rest = text.strip_prefix(local_part).unwrap_or_default();
    Ok((local_part.to_owned(), rest))
}

/// The rest of a `Quoted-string` after its first quote. An empty one is refused: it names nobody.
fn split_quoted(text: &str) -> Result<(String, &str), AddressError> {
    let mut content = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let meant = match character {
            '"' if content.is_empty() => return Err(AddressError::Syntax),
            '"' => return Ok((content, characters.as_str())),
            // Nothing outside of ASCII is ever quoted by a backslash (RFC 6531 §3.3).
            '\\' => characters.next().filter(char::is_ascii),
            other => Some(other),
        };
        content.push(
            meant
                .filter(|meant| is_printable(*meant))
                .ok_or(AddressError::Syntax)?,
        );
    }
    Err(AddressError::Syntax)
}

/// In small letters and in normalization form C, which ASCII has as it is.
fn canonical(local_part: &str) -> String {
    if local_part.is_ascii() {
        return local_part.to_ascii_lowercase();
    }
    // RFC 8265 §3.3 has the same two steps; a small letter and its mark may fit together where the large ones did not.
    let small = local_part.nfc().collect::<String>().to_lowercase();
    small.nfc().collect()
}

fn encode_local_part(local_part: &str) -> Cow<'_, str> {
    if is_dot_string(local_part) {
        return Cow::Borrowed(local_part);
    }
    let mut quoted = String::from("\"");
    for character in local_part.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

fn is_dot_string(text: &str) -> bool {
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// RFC 5322 §3.2.3, and what RFC 6531 §3.3 adds.
fn is_atext(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(character)
        || is_beyond_ascii(character)
}

fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~') || is_beyond_ascii(character)
}

/// RFC 6531 §3.3 takes every character beyond ASCII. Not so we: controls and other line ends would let an address write
/// into places where it is shown, and blanks that look like nothing make two addresses look like one.
pub(crate) fn is_beyond_ascii(character: char) -> bool {
    !character.is_ascii() && !character.is_control() && !character.is_whitespace()
}

/// The domain as DNS has it (RFC 5891 §5, with the mapping that browsers do: UTS #46).
fn a_labels(domain: &str) -> Result<Cow<'_, str>, AddressError> {
    if domain.is_ascii() {
        return Ok(Cow::Borrowed(domain));
    }
    Uts46::new()
        .to_ascii(
            domain.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .map_err(|_| AddressError::Syntax)
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_OCTETS_MAX).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read_into_one_canonical_form() {
        for (text, canonical) in [
            ("ann@example.org", "ann@example.org"),
            ("Ann.Lee+Lists@Example.ORG", "ann.lee+lists@example.org"),
            ("\"ann\"@example.org", "ann@example.org"),
            ("\"a\\nn\"@example.org", "ann@example.org"),
            ("\"ann lee\"@example.org", "\"ann lee\"@example.org"),
            ("\"a@b\"@example.org", "\"a@b\"@example.org"),
            ("\"a\\\"b\\\\c\"@example.org", "\"a\\\"b\\\\c\"@example.org"),
            ("\".\"@example.org", "\".\"@example.org"),
            ("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~@x"),
            ("ann@XN--bcher-kva.example", "ann@xn--bcher-kva.example"),
            ("ann@b\u{fc}cher.example", "ann@xn--bcher-kva.example"),
            ("ann@B\u{dc}CHER\u{3002}example", "ann@xn--bcher-kva.example"),
            ("\u{c4}nn@example.org", "\u{e4}nn@example.org"),
            ("A\u{308}nn@example.org", "\u{e4}nn@example.org"),
            ("\"a\u{308}nn lee\"@example.org", "\"\u{e4}nn lee\"@example.org"),
            (
                "\u{7528}\u{6237}@\u{4f8b}\u{5b50}.example",
                "\u{7528}\u{6237}@xn--fsqu00a.example",
            ),
        ] {
            assert_eq!(
                Address::parse(text).map(|address| address.to_string()),
                Ok(canonical.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        use AddressError::{AddressLiteral, Syntax};
        for (text, error) in [
            ("", Syntax),
            ("ann", Syntax),
            ("@example.org", Syntax),
            ("ann@", Syntax),
            ("ann@example.org.", Syntax),
            ("ann@-example.org", Syntax),
            ("ann@example-.org", Syntax),
            ("ann@exa_mple.org", Syntax),
            ("ann@b@example.org", Syntax),
            (".ann@example.org", Syntax),
            ("ann.@example.org", Syntax),
            ("a..n@example.org", Syntax),
            ("a n@example.org", Syntax),
            ("a\rn@example.org", Syntax),
            ("\"a\rn\"@example.org", Syntax),
            ("\"a\\\rn\"@example.org", Syntax),
            ("\"ann@example.org", Syntax),
            ("\"ann\\", Syntax),
            ("\"\"@example.org", Syntax),
            ("\"ann\"lee@example.org", Syntax),
            ("a\u{85}nn@example.org", Syntax),
            ("a\u{2028}nn@example.org", Syntax),
            ("\"a\u{a0}nn\"@example.org", Syntax),
            ("\"\\\u{e4}nn\"@example.org", Syntax),
            ("ann@ex\u{e4}_mple.org", Syntax),
            ("ann@-\u{e4}.org", Syntax),
            ("ann@\u{ad}.org", Syntax),
            ("ann@\u{5d0}b.example", Syntax),
            ("ann@[192.0.2.1]", AddressLiteral),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_taken_up_to_their_limits_and_not_one_octet_further() {
        let label = "d".repeat(LABEL_OCTETS_MAX);
        let longest = format!("{label}.{label}.{label}.{}", "d".repeat(63));
        assert_eq!(longest.len(), DOMAIN_OCTETS_MAX);
        assert!(Domain::parse(&longest).is_ok());
        assert_eq!(Domain::parse(&format!("{longest}d")), Err(AddressError::TooLong));
        assert_eq!(Domain::parse(&format!("d{label}.org")), Err(AddressError::Syntax));

        let local_part = "l".repeat(LOCAL_PART_OCTETS_MAX);
        assert!(Address::parse(&format!("{local_part}@x")).is_ok());
        assert_eq!(
            Address::parse(&format!("{local_part}l@x")),
            Err(AddressError::TooLong)
        );
        let octets_count = "\u{e4}".repeat(LOCAL_PART_OCTETS_MAX / 2);
        assert!(Address::parse(&format!("{octets_count}@x")).is_ok());
        assert_eq!(
            Address::parse(&format!("{octets_count}l@x")),
            Err(AddressError::TooLong)
        );

        let domain = format!(
            "{label}.{label}.{}",
            "d".repeat(ADDRESS_OCTETS_MAX - 64 - 1 - 128)
        );
        assert_eq!(format!("{local_part}@{domain}").len(), ADDRESS_OCTETS_MAX);
        assert!(Address::parse(&format!("{local_part}@{domain}")).is_ok());
        assert_eq!(
            Address::parse(&format!("{local_part}@{domain}d")),
            Err(AddressError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_the_same_address(local_part in "[ -~]{1,30}|[ -~äÄÖßΣσςİıǅﬁ가\u{308}\u{327}]{1,12}", domain in "[a-z0-9]{1,9}(\\.[a-zäß]{1,9}){0,3}") {
            let address = Address::new(&local_part, Domain::parse(&domain).unwrap()).unwrap();
            prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
        }

        #[test]
        fn no_text_makes_the_parser_panic_and_every_address_is_a_fixed_point(text in "\\PC{0,40}|[a\"\\\\@. \\[<>-]{0,12}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
            }
        }
    }
}
