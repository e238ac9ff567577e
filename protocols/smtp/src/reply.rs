//! Every reply the servers give: code, enhanced status code and text are chosen here and nowhere else.
//!
//! Codes are those of RFC 5321 §4.2.3, enhanced status codes those of RFC 3463 §3.

use std::borrow::Cow;

use crate::address::Domain;

/// A limit that a reply speaks of, for whoever counts how often it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`crate::Options::size_octets_max`].
    MessageSize,
    /// [`crate::Options::recipients_max`].
    Recipients,
    /// [`crate::Options::bad_commands_max`].
    BadCommands,
    /// [`crate::Options::log_in_failures_max`].
    LogInFailures,
    /// [`crate::Options::messages_max`].
    Messages,
    /// [`mailhorn_lines::ENDLESS_TIMES_LIMIT`].
    EndlessLine,
}

/// One reply: a code, an enhanced status code where RFC 2034 §4 wants one, and a text of one or more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// Absent from the greeting, from replies to `HELO`, `EHLO` and `LHLO`, and from `354` (RFC 2034 §4).
    status: Option<&'static str>,
    text: Cow<'static, str>,
    /// The lines after the first.
    further: Vec<Cow<'static, str>>,
    limit: Option<Limit>,
}

impl Reply {
    /// One whose text is not always the same.
    pub(crate) fn owned(code: u16, status: &'static str, text: String) -> Self {
        Self {
            text: Cow::Owned(text),
            ..Self::new(code, status, "")
        }
    }

    pub(crate) const fn new(code: u16, status: &'static str, text: &'static str) -> Self {
        Self {
            code,
            status: Some(status),
            text: Cow::Borrowed(text),
            further: Vec::new(),
            limit: None,
        }
    }

    fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: None,
            text: text.into(),
            further: Vec::new(),
            limit: None,
        }
    }

    fn closing(status: &'static str, hostname: &Domain, why: &str) -> Self {
        // RFC 5321 §4.2.3: the text of a 421 begins with the domain.
        let text = Cow::Owned(format!("{hostname} {why}"));
        Self {
            code: 421,
            status: Some(status),
            text,
            further: Vec::new(),
            limit: None,
        }
    }

    const fn at_limit(limit: Limit, code: u16, status: &'static str, text: &'static str) -> Self {
        Self {
            code,
            status: Some(status),
            text: Cow::Borrowed(text),
            further: Vec::new(),
            limit: Some(limit),
        }
    }

    /// The three digits.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code, such as `5.1.1` (RFC 3463 §2).
    #[must_use]
    pub fn status(&self) -> Option<&'static str> {
        self.status
    }

    /// The limit that it speaks of, if it does.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// Appends the reply as it is sent: one line, or `250-` lines and a last one (RFC 5321 §4.2.1).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let code = self.code.to_string();
        let mut lines = std::iter::once(&self.text).chain(&self.further).peekable();
        while let Some(line) = lines.next() {
            out.extend_from_slice(code.as_bytes());
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            if let Some(status) = self.status {
                out.extend_from_slice(status.as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// One reply, or in LMTP one for each recipient (RFC 2033 §4.2). Never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replies {
    first: Reply,
    others: Vec<Reply>,
}

impl Replies {
    /// The replies in the order in which they are sent.
    pub fn iter(&self) -> impl Iterator<Item = &Reply> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Appends all of them as they are sent.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for reply in self.iter() {
            reply.encode(out);
        }
    }

    /// `reply`, followed by `others`.
    pub(crate) fn with_others(reply: Reply, others: Vec<Reply>) -> Self {
        Self { first: reply, others }
    }
}

impl From<Reply> for Replies {
    fn from(reply: Reply) -> Self {
        Self {
            first: reply,
            others: Vec::new(),
        }
    }
}

/// What is sent instead of a greeting when there are as many connections as may be; then the connection is
/// closed (RFC 5321 §3.1 and §4.2.3).
#[must_use]
pub fn too_many_connections(hostname: &Domain) -> Replies {
    Reply::closing("4.7.0", hostname, "too many connections, try again later").into()
}

/// What is sent instead of a greeting to a client whose address is not served for a while; then the connection is closed
/// (RFC 5321 §3.1 and §4.2.3).
#[must_use]
pub fn banned(hostname: &Domain) -> Replies {
    Reply::closing(
        "4.7.0",
        hostname,
        "too many failures from your address, try again later",
    )
    .into()
}

/// RFC 5321 §4.2: the domain comes first in the greeting.
pub(crate) fn greeting(hostname: &Domain, protocol: &str) -> Reply {
    Reply::plain(220, format!("{hostname} {protocol} Mailhorn"))
}

/// The reply to `HELO`, and to `EHLO` and `LHLO` with a line for each extension (RFC 5321 §4.1.1.1).
pub(crate) fn hello(hostname: &Domain, extensions: Vec<Cow<'static, str>>) -> Reply {
    Reply {
        further: extensions,
        ..Reply::plain(250, hostname.as_str().to_owned())
    }
}

/// RFC 5321 §4.1.1.4.
pub(crate) fn start_mail_input() -> Reply {
    Reply::plain(354, "go ahead, end with <CRLF>.<CRLF>")
}

pub(crate) fn timed_out(hostname: &Domain) -> Reply {
    Reply::closing("4.4.2", hostname, "idle for too long, closing")
}

pub(crate) fn transaction_timed_out(hostname: &Domain) -> Reply {
    Reply::closing("4.4.2", hostname, "the transaction took too long, closing")
}

pub(crate) fn too_many_messages(hostname: &Domain) -> Reply {
    Reply {
        limit: Some(Limit::Messages),
        ..Reply::closing(
            "4.7.0",
            hostname,
            "too many messages for one connection, connect again",
        )
    }
}

pub(crate) fn shutting_down(hostname: &Domain) -> Reply {
    Reply::closing("4.3.2", hostname, "shutting down, try again later")
}

pub(crate) fn too_many_errors(hostname: &Domain) -> Reply {
    Reply {
        limit: Some(Limit::BadCommands),
        ..Reply::closing("4.7.0", hostname, "too many errors, closing")
    }
}

pub(crate) fn endless_line(hostname: &Domain) -> Reply {
    Reply {
        limit: Some(Limit::EndlessLine),
        ..Reply::closing("4.7.0", hostname, "line without an end, closing")
    }
}

pub(crate) fn internal_error(hostname: &Domain) -> Reply {
    Reply::closing("4.3.0", hostname, "internal error, closing")
}

/// What follows the line can't be told from commands.
pub(crate) fn unreadable_chunk(hostname: &Domain) -> Reply {
    Reply::closing("4.5.4", hostname, "BDAT needs a size, closing")
}

pub(crate) fn too_many_log_in_failures(hostname: &Domain) -> Reply {
    Reply {
        limit: Some(Limit::LogInFailures),
        ..Reply::closing("4.7.0", hostname, "too many failed log-ins, closing")
    }
}

/// RFC 4954 §4: a challenge, in base64.
pub(crate) fn challenge(encoded: String) -> Reply {
    Reply::plain(334, encoded)
}

/// The reply to a chunk that is not the last one: it promises nothing (RFC 3030 §2).
pub(crate) fn octets_received(octets: u64) -> Reply {
    Reply::owned(250, "2.0.0", format!("{octets} octets received"))
}

pub(crate) const OK: Reply = Reply::new(250, "2.0.0", "ok");
pub(crate) const BYE: Reply = Reply::new(221, "2.0.0", "bye");
pub(crate) const HELP: Reply = Reply::new(214, "2.0.0", "see RFC 5321 and RFC 2033");
/// RFC 5321 §3.5.3: neither yes nor no, so that nobody learns our users this way.
pub(crate) const CANNOT_VERIFY: Reply = Reply::new(252, "2.5.0", "not verified, send mail to find out");
pub(crate) const READY_FOR_TLS: Reply = Reply::new(220, "2.0.0", "ready to start TLS");

pub(crate) const SENDER_OK: Reply = Reply::new(250, "2.1.0", "sender ok");
pub(crate) const RECIPIENT_OK: Reply = Reply::new(250, "2.1.5", "recipient ok");
pub(crate) const DELIVERED: Reply = Reply::new(250, "2.0.0", "delivered");

pub(crate) const MAILBOX_FULL: Reply = Reply::new(452, "4.2.2", "mailbox full, try again later");
pub(crate) const OVER_QUOTA: Reply = Reply::new(552, "5.2.2", "the message does not fit into the mailbox");
pub(crate) const NO_SUCH_USER: Reply = Reply::new(550, "5.1.1", "no such user here");
pub(crate) const NOT_LOCAL: Reply = Reply::new(550, "5.7.1", "not a domain of ours, no relaying");
pub(crate) const TOO_MANY_RECIPIENTS: Reply = Reply::at_limit(
    Limit::Recipients,
    452,
    "4.5.3",
    "too many recipients, send the rest later",
);
pub(crate) const UNAVAILABLE: Reply = Reply::new(451, "4.3.0", "temporarily unavailable, try again later");
pub(crate) const NO_STORAGE: Reply = Reply::new(452, "4.3.1", "out of storage, try again later");

pub(crate) const TOO_LARGE: Reply = Reply::at_limit(
    Limit::MessageSize,
    552,
    "5.3.4",
    "the message is larger than SIZE allows",
);
pub(crate) const BARE_LINE_END: Reply = Reply::new(
    550,
    "5.6.0",
    "lines must end in CRLF, CR and LF may not stand alone",
);
pub(crate) const LOOPING: Reply = Reply::new(554, "5.4.6", "this mailbox has had the message, mail loop");
pub(crate) const TOO_MANY_HOPS: Reply = Reply::new(554, "5.4.6", "too many Received fields, mail loop");

pub(crate) const UNRECOGNISED: Reply = Reply::new(500, "5.5.1", "command not recognised");
pub(crate) const NOT_TEXT: Reply = Reply::new(500, "5.5.2", "commands are ASCII");
pub(crate) const LINE_TOO_LONG: Reply = Reply::new(500, "5.5.2", "line too long");
pub(crate) const NOT_IMPLEMENTED: Reply = Reply::new(502, "5.5.1", "command not implemented");
pub(crate) const BAD_ARGUMENTS: Reply = Reply::new(501, "5.5.4", "syntax error in parameters");
pub(crate) const BAD_SENDER: Reply = Reply::new(501, "5.1.7", "bad sender address syntax");
pub(crate) const BAD_RECIPIENT: Reply = Reply::new(501, "5.1.3", "bad recipient address syntax");
/// RFC 6531 §3.5.
pub(crate) const NON_ASCII_ADDRESS: Reply = Reply::new(
    553,
    "5.6.7",
    "an address that is not ASCII needs MAIL with SMTPUTF8",
);
pub(crate) const UNKNOWN_PARAMETER: Reply =
    Reply::new(555, "5.5.4", "parameter not recognised or implemented");

pub(crate) const HELLO_FIRST: Reply = Reply::new(503, "5.5.1", "introduce yourself first");
pub(crate) const MAIL_FIRST: Reply = Reply::new(503, "5.5.1", "MAIL first");
pub(crate) const MAIL_ALREADY: Reply = Reply::new(503, "5.5.1", "MAIL was given already");
/// RFC 2033 §4.2 asks for 503 when no recipient was accepted.
pub(crate) const RECIPIENT_FIRST: Reply = Reply::new(503, "5.5.1", "no valid recipients");
/// RFC 5321 §3.3.
pub(crate) const NO_VALID_RECIPIENTS: Reply = Reply::new(554, "5.5.1", "no valid recipients");
/// RFC 3030 §2.
pub(crate) const CONTENT_BEGUN: Reply =
    Reply::new(503, "5.5.1", "the content has begun, go on with BDAT or RSET");
/// RFC 4954 §6, as all that follow.
pub(crate) const LOGGED_IN: Reply = Reply::new(235, "2.7.0", "logged in");
pub(crate) const LOG_IN_REFUSED: Reply = Reply::new(535, "5.7.8", "authentication failed");
pub(crate) const LOG_IN_UNAVAILABLE: Reply =
    Reply::new(454, "4.7.0", "log-in not possible now, try again later");
pub(crate) const LOG_IN_NEEDS_TLS: Reply = Reply::new(538, "5.7.11", "this mechanism needs TLS");
pub(crate) const LOG_IN_NEEDED: Reply = Reply::new(530, "5.7.0", "log in to send with this address");
pub(crate) const AUTH_LINE_TOO_LONG: Reply = Reply::new(500, "5.5.6", "response too long");
/// RFC 4954 §4.
pub(crate) const UNKNOWN_MECHANISM: Reply =
    Reply::new(504, "5.5.4", "authentication mechanism not supported");
pub(crate) const LOGGED_IN_ALREADY: Reply = Reply::new(503, "5.5.1", "you have logged in already");
pub(crate) const LOG_IN_TOO_LATE: Reply = Reply::new(503, "5.5.1", "not within a mail transaction");
pub(crate) const NOT_YOUR_ADDRESS: Reply =
    Reply::new(553, "5.7.1", "not an address of the user who has logged in");

/// A man in the middle could have logged in before TLS.
pub(crate) const TLS_TOO_LATE: Reply = Reply::new(503, "5.5.1", "STARTTLS comes before AUTH");
pub(crate) const TLS_ALREADY: Reply = Reply::new(503, "5.5.1", "TLS is on already");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_reply_has_a_space_and_the_others_a_hyphen() {
        let hostname = Domain::parse("mx.example.org").unwrap();
        let mut out = Vec::new();
        hello(&hostname, vec!["PIPELINING".into(), "SIZE 1".into()]).encode(&mut out);
        OK.encode(&mut out);
        assert_eq!(
            out,
            b"250-mx.example.org\r\n250-PIPELINING\r\n250 SIZE 1\r\n250 2.0.0 ok\r\n"
        );
    }
}
