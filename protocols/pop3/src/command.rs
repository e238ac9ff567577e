//! One line of a client, parsed into a command that cannot be wrong in itself.

use std::num::NonZeroUsize;

use mailhorn_sasl::{Secret, prepare_name};

use crate::Lines;

/// The first word of a command, for metrics and transcripts; what follows it may be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the command of that name")]
pub enum Verb {
    Auth,
    Capa,
    Dele,
    Lang,
    List,
    Noop,
    Pass,
    Quit,
    Retr,
    Rset,
    Stat,
    Stls,
    Top,
    Uidl,
    User,
    Utf8,
    /// Any other word, no word, or a line too long to look at.
    Unknown,
}

impl Verb {
    /// Every verb that is served.
    pub const SERVED: [Self; 16] = [
        Self::Auth,
        Self::Capa,
        Self::Dele,
        Self::Lang,
        Self::List,
        Self::Noop,
        Self::Pass,
        Self::Quit,
        Self::Retr,
        Self::Rset,
        Self::Stat,
        Self::Stls,
        Self::Top,
        Self::Uidl,
        Self::User,
        Self::Utf8,
    ];

    /// As it is written; `UNKNOWN` for what is not served.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "AUTH",
            Self::Capa => "CAPA",
            Self::Dele => "DELE",
            Self::Lang => "LANG",
            Self::List => "LIST",
            Self::Noop => "NOOP",
            Self::Pass => "PASS",
            Self::Quit => "QUIT",
            Self::Retr => "RETR",
            Self::Rset => "RSET",
            Self::Stat => "STAT",
            Self::Stls => "STLS",
            Self::Top => "TOP",
            Self::Uidl => "UIDL",
            Self::User => "USER",
            Self::Utf8 => "UTF8",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// RFC 1939 §3: keywords are case-insensitive.
    fn of(word: &[u8]) -> Self {
        let same = |verb: &Self| verb.as_str().as_bytes().eq_ignore_ascii_case(word);
        Self::SERVED.into_iter().find(same).unwrap_or(Self::Unknown)
    }
}

/// A message number: 1 or more (RFC 1939 §4). Whether the maildrop has it is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageNumber(NonZeroUsize);

impl MessageNumber {
    /// Its position in the maildrop.
    pub(crate) fn index(self) -> usize {
        self.0.get().saturating_sub(1)
    }

    /// Digits and nothing else. What no maildrop can have is told apart from what is no number.
    fn parse(word: &[u8]) -> Result<Self, SyntaxError> {
        if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
            return Err(SyntaxError::NoNumber);
        }
        let number = std::str::from_utf8(word)
            .ok()
            .and_then(|digits| digits.parse().ok());
        number.map(Self).ok_or(SyntaxError::NoSuchMessage)
    }
}

/// A command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    User(String),
    Pass(Secret),
    /// AUTH without a mechanism: which are there? (RFC 5034 leaves it out, but old clients ask.)
    AuthList,
    Auth {
        mechanism: Vec<u8>,
        /// Still encoded.
        initial: Option<Secret>,
    },
    Capa,
    Dele(MessageNumber),
    Lang(Option<LanguageRange>),
    List(Option<MessageNumber>),
    Noop,
    Quit,
    /// RETR or TOP.
    Body(MessageNumber, Lines),
    Rset,
    Stat,
    Stls,
    Uidl(Option<MessageNumber>),
    Utf8,
}

/// What LANG asks for (RFC 6856 §3.2): a basic language range of RFC 4647 §2.1, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LanguageRange {
    /// What the replies are written in, by one of its tags.
    Known(Language),
    /// None of the languages that there are.
    Unknown,
}

/// A tag under which the replies can be had. It is the same English: `i-default` has to be there, and has to be
/// understood by whoever reads English (RFC 2277 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Default,
    English,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::Default, Self::English];

    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Default => "i-default",
            Self::English => "en",
        }
    }
}

impl LanguageRange {
    /// Tags have no case. A range that is not there is shortened at its end until one is (RFC 4647 §3.4), so whoever
    /// wants `en-GB` gets `en`. `*` is what the administrator prefers (RFC 6856 §3.2), and there is nothing else.
    fn parse(range: &[u8]) -> Self {
        if range == b"*" {
            return Self::Known(Language::English);
        }
        let mut wanted = range;
        loop {
            let same = |language: &Language| language.tag().as_bytes().eq_ignore_ascii_case(wanted);
            if let Some(language) = Language::ALL.into_iter().find(same) {
                return Self::Known(language);
            }
            let Some(end) = memchr::memrchr(b'-', wanted) else {
                return Self::Unknown;
            };
            wanted = wanted.get(..end).unwrap_or_default();
        }
    }
}

/// Why a line is not a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyntaxError {
    Empty,
    TooLong,
    UnknownCommand,
    Missing,
    Surplus,
    NoNumber,
    NoSuchMessage,
    Name,
    Password,
}

impl SyntaxError {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Empty => "empty command",
            Self::TooLong => "line too long",
            Self::UnknownCommand => "unknown command",
            Self::Missing => "argument missing",
            Self::Surplus => "too many arguments",
            Self::NoNumber => "argument is not a number",
            Self::NoSuchMessage => "no such message",
            Self::Name => "malformed user name",
            Self::Password => "password is not UTF-8",
        }
    }
}

/// Parses a line without its line end. The verb is there even when the rest of the line is wrong.
pub(crate) fn parse(line: &[u8]) -> (Verb, Result<Command, SyntaxError>) {
    if line.is_empty() {
        return (Verb::Unknown, Err(SyntaxError::Empty));
    }
    let mut halves = line.splitn(2, |octet| *octet == b' ');
    let verb = Verb::of(halves.next().unwrap_or_default());
    let rest = halves.next().unwrap_or_default();
    (verb, arguments(verb, rest))
}

fn arguments(verb: Verb, rest: &[u8]) -> Result<Command, SyntaxError> {
    let mut words = Words(rest);
    let command = match verb {
        // RFC 1939 §7: PASS has one argument, so spaces belong to it, at its ends too.
        Verb::Pass if rest.is_empty() => return Err(SyntaxError::Missing),
        // RFC 6856 §2.2: who takes UTF-8 here takes nothing else.
        Verb::Pass if std::str::from_utf8(rest).is_err() => return Err(SyntaxError::Password),
        Verb::Pass => return Ok(Command::Pass(Secret::new(rest))),
        Verb::User => Command::User(prepare_name(words.required()?).ok_or(SyntaxError::Name)?),
        Verb::Auth => match words.optional() {
            None => Command::AuthList,
            Some(name) => Command::Auth {
                mechanism: name.to_vec(),
                initial: words.optional().map(Secret::new),
            },
        },
        Verb::Capa => Command::Capa,
        Verb::Dele => Command::Dele(MessageNumber::parse(words.required()?)?),
        Verb::Lang => Command::Lang(words.optional().map(LanguageRange::parse)),
        Verb::List => Command::List(words.optional().map(MessageNumber::parse).transpose()?),
        Verb::Noop => Command::Noop,
        Verb::Quit => Command::Quit,
        Verb::Retr => Command::Body(MessageNumber::parse(words.required()?)?, Lines::All),
        Verb::Rset => Command::Rset,
        Verb::Stat => Command::Stat,
        Verb::Stls => Command::Stls,
        Verb::Top => {
            let number = MessageNumber::parse(words.required()?)?;
            Command::Body(number, Lines::Top(line_count(words.required()?)?))
        }
        Verb::Uidl => Command::Uidl(words.optional().map(MessageNumber::parse).transpose()?),
        Verb::Utf8 => Command::Utf8,
        Verb::Unknown => return Err(SyntaxError::UnknownCommand),
    };
    match words.optional() {
        None => Ok(command),
        Some(_) => Err(SyntaxError::Surplus),
    }
}

/// A non-negative number of lines (RFC 1939 §7, TOP).
fn line_count(word: &[u8]) -> Result<u64, SyntaxError> {
    if !word.iter().all(u8::is_ascii_digit) {
        return Err(SyntaxError::NoNumber);
    }
    let number = std::str::from_utf8(word)
        .ok()
        .and_then(|digits| digits.parse().ok());
    number.ok_or(SyntaxError::NoNumber)
}

/// Arguments between spaces. One space parts them (RFC 1939 §3); more, and spaces at the end, are forgiven,
/// because Outlook sends `AUTH ` where it means `AUTH`.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn optional(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|octet| *octet != b' ')?;
        let rest = self.0.get(start..).unwrap_or_default();
        let end = rest.iter().position(|octet| *octet == b' ').unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(end)?;
        self.0 = rest;
        Some(word)
    }

    fn required(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.optional().ok_or(SyntaxError::Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: usize) -> MessageNumber {
        MessageNumber(NonZeroUsize::new(number).unwrap())
    }

    #[test]
    fn a_line_is_a_command_or_says_why_not() {
        let auth = |mechanism: &str, initial: Option<&str>| {
            Ok(Command::Auth {
                mechanism: mechanism.into(),
                initial: initial.map(Secret::new),
            })
        };
        let cases = [
            ("", Err(SyntaxError::Empty)),
            (" ", Err(SyntaxError::UnknownCommand)),
            (" STAT", Err(SyntaxError::UnknownCommand)),
            ("STAT\t", Err(SyntaxError::UnknownCommand)),
            (
                "APOP mrose c4c9334bac560ecc979e58001b3e22fb",
                Err(SyntaxError::UnknownCommand),
            ),
            ("stat", Ok(Command::Stat)),
            ("STAT ", Ok(Command::Stat)),
            ("STAT 1", Err(SyntaxError::Surplus)),
            ("USER mrose", Ok(Command::User("mrose".into()))),
            ("USER", Err(SyntaxError::Missing)),
            ("USER a b", Err(SyntaxError::Surplus)),
            ("USER \x07", Err(SyntaxError::Name)),
            ("PASS", Err(SyntaxError::Missing)),
            ("PASS ", Err(SyntaxError::Missing)),
            ("PASS  a b ", Ok(Command::Pass(Secret::new(" a b ")))),
            ("AUTH", Ok(Command::AuthList)),
            ("AUTH ", Ok(Command::AuthList)),
            ("AUTH PLAIN", auth("PLAIN", None)),
            ("AUTH PLAIN =", auth("PLAIN", Some("="))),
            ("auth plain AHRpbQ== x", Err(SyntaxError::Surplus)),
            ("UIDL", Ok(Command::Uidl(None))),
            ("UIDL 7", Ok(Command::Uidl(Some(number(7))))),
            ("TOP 1", Err(SyntaxError::Missing)),
            ("TOP 1 0", Ok(Command::Body(number(1), Lines::Top(0)))),
            ("TOP 1 -1", Err(SyntaxError::NoNumber)),
            ("TOP 1 18446744073709551616", Err(SyntaxError::NoNumber)),
            ("TOP 1 0 0", Err(SyntaxError::Surplus)),
            ("UTF8", Ok(Command::Utf8)),
            ("UTF8 USER", Err(SyntaxError::Surplus)),
            ("LANG", Ok(Command::Lang(None))),
            ("LANG en de", Err(SyntaxError::Surplus)),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line.as_bytes()).1, expected, "{line:?}");
        }
    }

    #[test]
    fn a_message_number_is_digits_and_never_zero() {
        let cases = [
            ("1", Ok(number(1))),
            ("01", Ok(number(1))),
            ("0", Err(SyntaxError::NoSuchMessage)),
            ("00", Err(SyntaxError::NoSuchMessage)),
            ("-1", Err(SyntaxError::NoNumber)),
            ("+1", Err(SyntaxError::NoNumber)),
            ("1.5", Err(SyntaxError::NoNumber)),
            ("0x1", Err(SyntaxError::NoNumber)),
            ("1x", Err(SyntaxError::NoNumber)),
            ("\u{661}", Err(SyntaxError::NoNumber)),
            ("4294967297", Ok(number(4_294_967_297))),
            ("18446744073709551616", Err(SyntaxError::NoSuchMessage)),
            ("18446744073709551617", Err(SyntaxError::NoSuchMessage)),
        ];
        for (word, expected) in cases {
            assert_eq!(MessageNumber::parse(word.as_bytes()), expected, "{word}");
            let retr = parse(format!("RETR {word}").as_bytes()).1;
            assert_eq!(
                retr,
                expected.map(|number| Command::Body(number, Lines::All)),
                "{word}"
            );
            assert_eq!(
                parse(format!("DELE {word}").as_bytes()).1,
                expected.map(Command::Dele),
                "{word}"
            );
        }
    }

    #[test]
    fn a_name_or_a_password_that_is_not_utf_8_is_refused() {
        assert_eq!(parse(b"USER t\xF6m").1, Err(SyntaxError::Name));
        assert_eq!(parse(b"PASS t\xF6m").1, Err(SyntaxError::Password));
        assert_eq!(parse(b"PASS t\xED\xA0\x80").1, Err(SyntaxError::Password));
        let (name, password) = ("USER t\u{F6}m".as_bytes(), "PASS t\u{F6}m".as_bytes());
        assert_eq!(parse(name).1, Ok(Command::User("t\u{F6}m".into())));
        assert_eq!(parse(password).1, Ok(Command::Pass(Secret::new("t\u{F6}m"))));
    }

    #[test]
    fn a_language_is_found_by_its_tag_by_a_longer_one_and_by_a_star() {
        let cases = [
            ("en", LanguageRange::Known(Language::English)),
            ("EN-gb-oxendict", LanguageRange::Known(Language::English)),
            ("*", LanguageRange::Known(Language::English)),
            ("I-Default", LanguageRange::Known(Language::Default)),
            ("i", LanguageRange::Unknown),
            ("de", LanguageRange::Unknown),
            ("eng", LanguageRange::Unknown),
            ("-", LanguageRange::Unknown),
            ("de-*", LanguageRange::Unknown),
            ("\u{e9}", LanguageRange::Unknown),
        ];
        for (range, expected) in cases {
            let command = parse(format!("LANG {range}").as_bytes()).1;
            assert_eq!(command, Ok(Command::Lang(Some(expected))), "{range}");
        }
    }

    #[test]
    fn every_verb_is_known_in_any_case() {
        for verb in Verb::SERVED {
            assert_eq!(parse(verb.as_str().as_bytes()).0, verb);
            assert_eq!(parse(verb.as_str().to_ascii_lowercase().as_bytes()).0, verb);
        }
        assert_eq!(parse(b"XTND XMIT").0, Verb::Unknown);
    }

    #[test]
    fn a_command_prints_no_password() {
        for line in ["PASS tanstaaf", "AUTH PLAIN tanstaaf"] {
            let printed = format!("{:?}", parse(line.as_bytes()));
            assert!(!printed.contains("tanstaaf"), "{printed}");
        }
    }
}
