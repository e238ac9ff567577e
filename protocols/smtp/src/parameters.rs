//! The parameters of `MAIL` (RFC 5321 §4.1.1.11).

use std::fmt;
use std::mem;

use crate::command::SyntaxError;

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
