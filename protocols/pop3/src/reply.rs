//! What the server says: the only place where a reply is made of octets.

use std::borrow::Cow;
use std::sync::Arc;

use mailhorn_sasl::Mechanism;

use crate::command::Language;
use crate::{Announced, UniqueId};

/// A reply. [`Session::encode`](crate::Session::encode) turns it into octets.
#[derive(Debug)]
pub enum Reply {
    /// `+OK` or `-ERR` and a text.
    Line(StatusLine),
    /// `+ ` and a challenge in base64 (RFC 5034 §4).
    Challenge(String),
    /// The reply to CAPA (RFC 2449 §5).
    Capabilities(Capabilities),
    /// The reply to AUTH without an argument.
    Mechanisms(Mechanisms),
    /// The reply to LANG without an argument (RFC 6856 §3.2).
    Languages,
    /// The reply to LIST or UIDL without an argument (RFC 1939 §5, §7).
    Listing(Listing),
}

/// Whether a reply is encoded as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoded {
    /// Yes.
    All,
    /// No: encode it again when there is room.
    More,
}

/// A status indicator with a text (RFC 1939 §3) and perhaps a response code (RFC 2449 §8). The text is
/// always ours: nothing that a client, a message or a store said is ever in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusLine {
    status: Status,
    text: Cow<'static, str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    Error(Option<ResponseCode>),
}

/// What is wrong, for programs to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseCode {
    /// The credentials (RFC 3206 §4).
    Auth,
    /// Another session has the maildrop (RFC 2449 §8.1.2).
    InUse,
    /// The user's last log-in is not long enough ago (RFC 2449 §8.1.1).
    LoginDelay,
    /// We do, but not for ever (RFC 3206 §3).
    SysTemp,
    /// We do, and somebody must mend it (RFC 3206 §3).
    SysPerm,
    /// Nothing: the message is for clients in UTF-8 mode (RFC 6856 §5).
    Utf8,
}

impl StatusLine {
    pub(crate) fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: Status::Ok,
            text: text.into(),
        }
    }

    pub(crate) fn error(text: &'static str) -> Self {
        Self {
            status: Status::Error(None),
            text: text.into(),
        }
    }

    pub(crate) fn error_with(code: ResponseCode, text: &'static str) -> Self {
        Self {
            status: Status::Error(Some(code)),
            text: text.into(),
        }
    }

    /// The greeting's place when there is no room for one more session.
    #[must_use]
    pub fn too_many_connections() -> Self {
        Self::error_with(ResponseCode::SysTemp, "too many connections, try again later")
    }

    /// The greeting's place for a client whose address is not served for a while.
    #[must_use]
    pub fn banned() -> Self {
        Self::error_with(
            ResponseCode::SysTemp,
            "too many failures from your address, try again later",
        )
    }

    /// Whether it is `+OK`.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }

    /// Appends the line with its line end, at most 512 octets (RFC 1939 §3).
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let status: &[u8] = match self.status {
            Status::Ok => b"+OK ",
            Status::Error(None) => b"-ERR ",
            Status::Error(Some(ResponseCode::Auth)) => b"-ERR [AUTH] ",
            Status::Error(Some(ResponseCode::InUse)) => b"-ERR [IN-USE] ",
            Status::Error(Some(ResponseCode::LoginDelay)) => b"-ERR [LOGIN-DELAY] ",
            Status::Error(Some(ResponseCode::SysTemp)) => b"-ERR [SYS/TEMP] ",
            Status::Error(Some(ResponseCode::SysPerm)) => b"-ERR [SYS/PERM] ",
            Status::Error(Some(ResponseCode::Utf8)) => b"-ERR [UTF8] ",
        };
        push_line(out, &[status, self.text.as_bytes()]);
    }
}

/// Which mechanisms are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms {
    pub(crate) plaintext: bool,
    pub(crate) scram: bool,
}

impl Mechanisms {
    /// Whether AUTH with this mechanism would be served now.
    #[must_use]
    pub fn contains(self, mechanism: Mechanism) -> bool {
        if mechanism.shows_password() {
            self.plaintext
        } else {
            self.scram
        }
    }

    fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL
            .into_iter()
            .filter(move |mechanism| self.contains(*mechanism))
    }

    pub(crate) fn encode_into(self, out: &mut Vec<u8>) {
        push_line(out, &[b"+OK mechanisms follow"]);
        for mechanism in self.iter() {
            push_line(out, &[mechanism.name().as_bytes()]);
        }
        push_line(out, &[b"."]);
    }
}

/// What is offered. Nothing stands here that is not so, and what depends on the options or on TLS is left
/// out when it is not so now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    pub(crate) mechanisms: Mechanisms,
    pub(crate) stls: bool,
    pub(crate) announced: Arc<Announced>,
}

impl Capabilities {
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        push_line(out, &[b"+OK capabilities follow"]);
        for capability in [
            "TOP",
            "UIDL",
            "RESP-CODES",
            "AUTH-RESP-CODE",
            "PIPELINING",
            "UTF8 USER",
            "LANG",
        ] {
            push_line(out, &[capability.as_bytes()]);
        }
        if self.mechanisms.plaintext {
            push_line(out, &[b"USER"]);
        }
        if self.mechanisms.iter().next().is_some() {
            out.extend_from_slice(b"SASL");
            for mechanism in self.mechanisms.iter() {
                out.extend_from_slice(b" ");
                out.extend_from_slice(mechanism.name().as_bytes());
            }
            push_line(out, &[]);
        }
        if self.stls {
            push_line(out, &[b"STLS"]);
        }
        self.announced.encode_into(out);
        push_line(out, &[b"."]);
    }
}

/// RFC 6856 §3.2: each language's tag, and its description in the language itself.
pub(crate) fn push_languages(out: &mut Vec<u8>) {
    push_line(out, &[b"+OK languages follow"]);
    for language in Language::ALL {
        push_line(out, &[language.tag().as_bytes(), b" English"]);
    }
    push_line(out, &[b"."]);
}

/// Where an encoding of LIST or UIDL stands. The listing itself is never in memory: a maildrop may have a
/// million messages.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    pub(crate) column: Column,
    pub(crate) next: Next,
}

/// What a listing says of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Size,
    UniqueId,
}

/// The line of a listing that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Status,
    /// The first message that is not deleted from this position on, or the end if there is none.
    Message(usize),
}

impl Listing {
    pub(crate) fn new(column: Column) -> Self {
        Self {
            column,
            next: Next::Status,
        }
    }
}

/// What a line about one message says.
#[derive(Debug)]
pub(crate) enum About {
    Size(u64),
    UniqueId(UniqueId),
}

/// `1 120` or `1 whqtswO00WBw418f9t5JxYwZ` (RFC 1939 §5, §7).
pub(crate) fn push_scan_line(out: &mut Vec<u8>, index: usize, about: &About) {
    push_decimal(out, u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1));
    out.push(b' ');
    match about {
        About::Size(octets) => push_decimal(out, *octets),
        About::UniqueId(id) => out.extend_from_slice(id.as_bytes()),
    }
    push_line(out, &[]);
}

pub(crate) fn push_line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

/// Decimal digits, without the formatting machinery: a listing has two numbers a message.
fn push_decimal(out: &mut Vec<u8>, number: u64) {
    let start = out.len();
    let mut rest = number;
    loop {
        out.push(b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or(0)));
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 1, 9, 10, 99, 100, 4_294_967_296, u64::MAX] {
            let mut out = b"x".to_vec();
            push_decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{number}"));
        }
    }

    #[test]
    fn a_response_code_stands_directly_after_the_status() {
        let cases = [
            (StatusLine::ok("bye"), "+OK bye\r\n"),
            (StatusLine::error("unknown command"), "-ERR unknown command\r\n"),
            (
                StatusLine::error_with(ResponseCode::Auth, "no"),
                "-ERR [AUTH] no\r\n",
            ),
            (
                StatusLine::error_with(ResponseCode::InUse, "no"),
                "-ERR [IN-USE] no\r\n",
            ),
            (
                StatusLine::error_with(ResponseCode::LoginDelay, "no"),
                "-ERR [LOGIN-DELAY] no\r\n",
            ),
            (
                StatusLine::error_with(ResponseCode::SysPerm, "no"),
                "-ERR [SYS/PERM] no\r\n",
            ),
            (
                StatusLine::error_with(ResponseCode::Utf8, "no"),
                "-ERR [UTF8] no\r\n",
            ),
            (
                StatusLine::too_many_connections(),
                "-ERR [SYS/TEMP] too many connections, try again later\r\n",
            ),
            (
                StatusLine::banned(),
                "-ERR [SYS/TEMP] too many failures from your address, try again later\r\n",
            ),
        ];
        for (line, expected) in cases {
            let mut out = Vec::new();
            line.encode_into(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
