//! What CAPA says of the operator's policy (RFC 2449 §6.5, §6.7 and §6.9).

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::reply::push_line;

/// What is announced and differs from place to place. By default nothing is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Announced {
    /// How long mail may be left on the server.
    pub expire: Option<Expire>,
    /// How many seconds a user has to wait between two log-ins (RFC 2449 §6.5). The driver sees to it, and answers
    /// [`Answer::TooSoon`](crate::Answer::TooSoon).
    pub login_delay_seconds: Option<NonZeroU32>,
    /// What the server is.
    pub implementation: Option<Implementation>,
}

impl Announced {
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        if let Some(expire) = self.expire {
            push_line(out, &[b"EXPIRE ", expire.to_string().as_bytes()]);
        }
        if let Some(seconds) = self.login_delay_seconds {
            push_line(out, &[b"LOGIN-DELAY ", seconds.to_string().as_bytes()]);
        }
        if let Some(Implementation(text)) = &self.implementation {
            push_line(out, &[b"IMPLEMENTATION ", text.as_bytes()]);
        }
    }
}

/// How long mail may be left on the server (RFC 2449 §6.7).
///
/// There is no `EXPIRE 0`: it says that a message which was retrieved may be gone after QUIT without a DELE, and a
/// session deletes nothing that it was not told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expire {
    /// So many days at the least.
    Days(NonZeroU32),
    /// For ever.
    Never,
}

/// The text is neither `NEVER` nor a number of days from 1 to 4294967295.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotExpire;

impl FromStr for Expire {
    type Err = NotExpire;

    fn from_str(text: &str) -> Result<Self, NotExpire> {
        if text == "NEVER" {
            return Ok(Self::Never);
        }
        if !text.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(NotExpire);
        }
        text.parse().map(Self::Days).map_err(|_| NotExpire)
    }
}

impl fmt::Display for Expire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => days.fmt(formatter),
            Self::Never => formatter.write_str("NEVER"),
        }
    }
}

/// What the server says that it is (RFC 2449 §6.9): words of visible ASCII characters with one space between them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Implementation(String);

impl Implementation {
    /// The most octets of one: with `IMPLEMENTATION ` before it and CRLF behind it a line has 512 (RFC 2449 §3).
    pub const OCTETS_MAX: usize = 495;

    /// `None` when the text is not of that form, or too long.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_graphic());
        (text.len() <= Self::OCTETS_MAX && text.split(' ').all(is_word)).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_never_or_a_number_of_days_and_never_none() {
        for text in ["NEVER", "1", "30", "4294967295"] {
            assert_eq!(text.parse::<Expire>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "0",
            "00",
            "never",
            "-1",
            "+1",
            "1.5",
            "30d",
            "30 USER",
            "4294967296",
        ] {
            assert_eq!(text.parse::<Expire>(), Err(NotExpire), "{text}");
        }
    }

    #[test]
    fn an_implementation_is_words_of_visible_characters_that_fit_a_line() {
        let longest = "x".repeat(Implementation::OCTETS_MAX);
        for text in ["Mailhorn", "Mailhorn 1.0 (example.org)", &longest] {
            assert_eq!(Implementation::new(text).unwrap().as_str(), text);
        }
        let too_long = "x".repeat(Implementation::OCTETS_MAX + 1);
        for text in ["", " ", "a  b", "a ", "a\tb", "a\r\nSTLS", "gr\u{FC}n", &too_long] {
            assert_eq!(Implementation::new(text), None, "{text:?}");
        }
        let announced = Announced {
            implementation: Implementation::new(&longest),
            ..Announced::default()
        };
        let mut line = Vec::new();
        announced.encode_into(&mut line);
        assert_eq!(line.len(), 512);
    }
}
