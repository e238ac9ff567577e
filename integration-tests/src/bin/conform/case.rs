//! What a case is, and how it can end.

use std::fmt;
use std::io;

use crate::world::World;

/// How binding the words are that a case cites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// MUST, REQUIRED, SHALL of RFC 2119, or "MUST" in an RFC that is older.
    Must,
    /// MUST NOT.
    MustNot,
    /// The RFC says how it is, without a key word: "the server returns one reply for each". Older RFCs say most things so. It
    /// counts as MUST does.
    States,
    /// SHOULD, RECOMMENDED, or "should".
    Should,
    /// SHOULD NOT, or "strongly discouraged".
    ShouldNot,
    /// MAY: nobody who leaves it out is wrong, but who does it does it so.
    May,
    /// No words decide. A server that behaves otherwise can be attacked, or made to hang.
    Security,
}

impl Level {
    /// As it is shown, and stored in results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::States => "states",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
            Self::Security => "security",
        }
    }

    /// Whether a server that fails here does not conform.
    pub(crate) const fn binds(self) -> bool {
        matches!(self, Self::Must | Self::MustNot | Self::States)
    }
}

/// The words of an RFC that decide a case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) rfc: u16,
    /// The number of the section, `4.1.1.4`.
    pub(crate) section: &'static str,
    pub(crate) level: Level,
    /// Cited, or what speaks for a case of [`Level::Security`].
    pub(crate) words: &'static str,
}

/// A rule in one line.
pub(crate) const fn rule(rfc: u16, section: &'static str, level: Level, words: &'static str) -> Rule {
    Rule {
        rfc,
        section,
        level,
        words,
    }
}

/// What comes in by a door: LMTP (RFC 2033) or SMTP (RFC 5321).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Lmtp,
    Smtp,
}

impl Door {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lmtp => "lmtp",
            Self::Smtp => "smtp",
        }
    }

    /// The command that greets with extensions.
    pub(crate) const fn hello(self) -> &'static str {
        match self {
            Self::Lmtp => "LHLO conform.example",
            Self::Smtp => "EHLO conform.example",
        }
    }
}

/// What has to be there before a case can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// So many letters of ours in the maildrop, and a way in for them.
    Letters(usize),
    /// A maildrop that holds nothing, nothing of others either.
    EmptyMaildrop,
    /// Mail can be brought in, and read again by POP3.
    WayThrough,
    /// This is in the answer to CAPA.
    Capability(&'static str),
    /// This is in the answer to EHLO or LHLO.
    Extension(&'static str),
    /// An account beside the first.
    SecondUser,
    /// A listener with TLS from the first octet.
    Pop3s,
    /// Minutes of silence were allowed.
    Slowness,
}

/// By which listener a case goes, and what it does there.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    Pop3(fn(&mut World) -> Checked),
    /// By LMTP and by SMTP, as far as the two are offered.
    Both(fn(&mut World, Door) -> Checked),
    /// By one of the two.
    One(Door, fn(&mut World, Door) -> Checked),
    /// In by whichever is there, out by POP3.
    Through(fn(&mut World) -> Checked),
}

/// One thing that a server does or doesn't.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// Without the protocol: `retr.dot-stuffing`.
    pub(crate) name: &'static str,
    pub(crate) rule: Rule,
    /// What holds when the case passes.
    pub(crate) title: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: Run,
}

impl Case {
    /// Its ids, with the door by which each goes: one, or one for each of LMTP and SMTP.
    pub(crate) fn ids(&self) -> Vec<(String, Option<Door>)> {
        let of = |door: Door| (format!("{}.{}", door.name(), self.name), Some(door));
        match self.run {
            Run::Pop3(_) => vec![(format!("pop3.{}", self.name), None)],
            Run::Through(_) => vec![(format!("through.{}", self.name), None)],
            Run::One(door, _) => vec![of(door)],
            Run::Both(_) => vec![of(Door::Lmtp), of(Door::Smtp)],
        }
    }
}

/// Why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The server did otherwise.
    Failed(String),
    /// The connection was closed where an answer was due. Some cases take that for an answer.
    Closed,
    /// No answer came in time.
    Silent,
    /// It is optional, and the server doesn't announce it.
    NotOffered(String),
    /// It could not be tried.
    NotRun(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) | Self::NotOffered(why) | Self::NotRun(why) => f.write_str(why),
            Self::Closed => f.write_str("the connection was closed where an answer was due"),
            Self::Silent => f.write_str("no answer came in time"),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock,
        };
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Self::Closed,
            TimedOut | WouldBlock => Self::Silent,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// What a case, or a step of it, comes to.
pub(crate) type Checked<T = ()> = Result<T, Stop>;

/// Fails the case with a message unless the condition holds.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::case::Stop::Failed(format!($($message)+)));
        }
    };
}
pub(crate) use check;
