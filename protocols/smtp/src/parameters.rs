//! The parameters of `MAIL` (RFC 5321 §4.1.1.11).

use std::fmt;
use std::mem;

use crate::command::SyntaxError;
use crate::path::ReversePath;

/// What the sender says about the octets of the content (RFC 6152 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// `BODY=7BIT`, and what holds when nothing is said. Octets above 127 are taken nevertheless.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBitMime,
}

/// The parameters of `MAIL` that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailParameters {
    /// `SIZE=`: how many octets the content will have, as far as the client knows (RFC 1870 §6.1). A number
    /// too large to be counted is `u64::MAX`.
    pub declared_octets: Option<u64>,
    /// `BODY=`.
    pub body: BodyKind,
    /// `SMTPUTF8`: addresses and header fields may be in UTF-8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// `AUTH=` (RFC 4954 §5). Who it names is not kept: we neither relay nor believe it.
    pub auth: bool,
}

impl MailParameters {
    /// Reads what stands behind the path.
    pub(crate) fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut parameters = Self::default();
        let mut body = None;
        for parameter in text.split_ascii_whitespace() {
            let (keyword, value) = match parameter.split_once('=') {
                Some((keyword, value)) => (keyword, Some(value)),
                None => (parameter, None),
            };
            // A parameter that comes twice contradicts itself; SMTPUTF8 has no value.
            let once = match keyword.to_ascii_uppercase().as_str() {
                "SIZE" => {
                    let octets = octets(value.unwrap_or_default())?;
                    parameters.declared_octets.replace(octets).is_none()
                }
                "BODY" => body.replace(body_kind(value.unwrap_or_default())?).is_none(),
                "AUTH" if value.is_some_and(is_auth_identity) => !mem::replace(&mut parameters.auth, true),
                "AUTH" => false,
                "SMTPUTF8" if value.is_none() => !mem::replace(&mut parameters.smtputf8, true),
                "SMTPUTF8" => false,
                _ => return Err(SyntaxError::UnknownParameter),
            };
            if !once {
                return Err(SyntaxError::Arguments);
            }
        }
        parameters.body = body.unwrap_or_default();
        Ok(parameters)
    }
}

/// As they stand behind the path, each with a space before it.
impl fmt::Display for MailParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(octets) = self.declared_octets {
            write!(f, " SIZE={octets}")?;
        }
        if self.body == BodyKind::EightBitMime {
            f.write_str(" BODY=8BITMIME")?;
        }
        if self.smtputf8 {
            f.write_str(" SMTPUTF8")?;
        }
        if self.auth {
            f.write_str(" AUTH=<>")?;
        }
        Ok(())
    }
}

/// RFC 1870 §3: 1 to 20 digits. Twenty nines are more than 64 bits hold, and too large for anybody.
fn octets(value: &str) -> Result<u64, SyntaxError> {
    let digits = (1..=20).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
    if digits {
        Ok(value.parse().unwrap_or(u64::MAX))
    } else {
        Err(SyntaxError::Arguments)
    }
}

fn body_kind(value: &str) -> Result<BodyKind, SyntaxError> {
    if value.eq_ignore_ascii_case("7BIT") {
        Ok(BodyKind::SevenBit)
    } else if value.eq_ignore_ascii_case("8BITMIME") {
        Ok(BodyKind::EightBitMime)
    } else {
        // BINARYMIME (RFC 3030 §3) is not offered: such content could neither be given out by POP3 nor handed on.
        Err(SyntaxError::UnknownParameter)
    }
}

/// RFC 4954 §5: `<>` or an address, in xtext. Within it a plus sign stands before two hexadecimal digits, and neither an
/// equals sign nor a plus sign stands for itself (RFC 3461 §4).
fn is_auth_identity(value: &str) -> bool {
    let Some(decoded) = xtext(value) else { return false };
    decoded == b"<>"
        || std::str::from_utf8(&decoded)
            .is_ok_and(|text| !text.is_empty() && ReversePath::parse(text).is_ok())
}

fn xtext(value: &str) -> Option<Vec<u8>> {
    let mut pieces = value.split('+');
    let mut decoded = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        let is_hex = |octet: u8| matches!(octet, b'0'..=b'9' | b'A'..=b'F');
        decoded.push(
            u8::from_str_radix(digits, 16)
                .ok()
                .filter(|_| digits.bytes().all(is_hex))?,
        );
        decoded.extend_from_slice(rest.as_bytes());
    }
    let is_xchar = |octet: u8| octet.is_ascii_graphic() && octet != b'=';
    value.bytes().all(is_xchar).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_auth_is_an_address_in_xtext_or_nobody() {
        for (value, good) in [
            ("<>", true),
            ("ann@example.org", true),
            ("e+3Dmc2@example.com", true),
            ("+3C+3E", true),
            ("", false),
            ("e=mc2@example.com", false),
            ("e+3dmc2@example.com", false),
            ("e+3", false),
            ("+FF@example.com", false),
            ("ann", false),
            ("<ann@example.org>", false),
        ] {
            assert_eq!(is_auth_identity(value), good, "{value}");
        }
    }
}
