//! Commands: what a client may say on a line (RFC 5321 §4.1.1, RFC 2033 §4.1, RFC 3207 §4).

use std::fmt;

use mailhorn_sasl::Secret;

use crate::limits::CLIENT_NAME_OCTETS_MAX;
use crate::parameters::MailParameters;
use crate::path::{ForwardPath, ReversePath, split_path};
use crate::reply::{self, Reply};

/// The name a client gives itself with `HELO`, `EHLO` or `LHLO`: 1 to 255 octets of visible ASCII.
///
/// RFC 5321 §4.1.4 forbids to refuse mail because the name is wrong, and many are, so nothing more is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientName(Box<str>);

impl ClientName {
    /// The name, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|octet| octet.is_ascii_graphic());
        let fits = (1..=CLIENT_NAME_OCTETS_MAX).contains(&text.len());
        (visible && fits).then(|| Self(text.into()))
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A command that is well-formed. Whether it may come now is the session's affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `HELO` (RFC 5321 §4.1.1.1).
    Helo(ClientName),
    /// `EHLO` (RFC 5321 §4.1.1.1).
    Ehlo(ClientName),
    /// `LHLO` (RFC 2033 §4.1).
    Lhlo(ClientName),
    /// `MAIL FROM:` (RFC 5321 §4.1.1.2).
    Mail(ReversePath, MailParameters),
    /// `RCPT TO:` (RFC 5321 §4.1.1.3).
    Rcpt(ForwardPath),
    /// `DATA` (RFC 5321 §4.1.1.4).
    Data,
    /// `BDAT` (RFC 3030 §2): so many octets of content follow the line.
    Bdat {
        /// How many. A number too large to be counted is `u64::MAX`.
        octets: u64,
        /// Whether the content ends with them.
        last: bool,
    },
    /// `RSET` (RFC 5321 §4.1.1.5).
    Rset,
    /// `VRFY` (RFC 5321 §4.1.1.6). Whom it asks about is not looked at: everybody gets the same answer.
    Vrfy,
    /// `EXPN` (RFC 5321 §4.1.1.7).
    Expn,
    /// `HELP` (RFC 5321 §4.1.1.8), on any subject.
    Help,
    /// `NOOP` (RFC 5321 §4.1.1.9), its argument dropped.
    Noop,
    /// `QUIT` (RFC 5321 §4.1.1.10).
    Quit,
    /// `STARTTLS` (RFC 3207 §4).
    StartTls,
    /// `AUTH` (RFC 4954 §4).
    Auth {
        /// The mechanism's name, in any case.
        mechanism: Box<str>,
        /// The initial response as it was sent, in base64.
        initial: Option<Secret>,
    },
}

/// Why a line is not a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntaxError {
    /// The verb is none of ours.
    Unrecognised,
    /// The line has octets above 127 where only ASCII may stand.
    NotText,
    /// The verb is known, its argument is missing, too much or malformed.
    Arguments,
    /// `MAIL` without a well-formed path.
    Sender,
    /// `RCPT` without a well-formed path.
    Recipient,
    /// `MAIL` or `RCPT` with an address in UTF-8, and no `SMTPUTF8` with this `MAIL` or the one before.
    NonAsciiAddress,
    /// A parameter that belongs to an extension we do not offer (RFC 5321 §4.1.1.11).
    UnknownParameter,
    /// `BDAT` without a size that can be read. Where the next command begins is not known.
    ChunkSize,
    /// `BDAT` with something behind the size that is not `LAST`. So many octets follow the line.
    ChunkEnd(u64),
}

impl SyntaxError {
    pub(crate) fn reply(self) -> Reply {
        match self {
            Self::Unrecognised => reply::UNRECOGNISED,
            Self::NotText => reply::NOT_TEXT,
            Self::Arguments | Self::ChunkSize | Self::ChunkEnd(_) => reply::BAD_ARGUMENTS,
            Self::Sender => reply::BAD_SENDER,
            Self::Recipient => reply::BAD_RECIPIENT,
            Self::NonAsciiAddress => reply::NON_ASCII_ADDRESS,
            Self::UnknownParameter => reply::UNKNOWN_PARAMETER,
        }
    }
}

impl Command {
    /// Reads a line without its line end. Verbs and keywords are known in any case, and white space at the
    /// end is overlooked (RFC 5321 §2.4, §4.1.1). `smtputf8`: the transaction under way began with that parameter, so
    /// `RCPT` may name an address in UTF-8.
    ///
    /// # Errors
    /// A [`SyntaxError`], which says what to answer.
    pub fn parse(line: &[u8], smtputf8: bool) -> Result<Self, SyntaxError> {
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(not_utf8(line));
        };
        let line = line.trim_ascii_end();
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let argument = argument.trim_ascii_start();
        let alone = |command| {
            if argument.is_empty() {
                Ok(command)
            } else {
                Err(SyntaxError::Arguments)
            }
        };
        let named = |command: fn(ClientName) -> Self| {
            ClientName::parse(argument)
                .map(command)
                .ok_or(SyntaxError::Arguments)
        };
        let verb = verb.to_ascii_uppercase();
        match verb.as_str() {
            "MAIL" => mail(argument),
            "RCPT" => rcpt(argument, smtputf8),
            "VRFY" if argument.is_empty() => Err(SyntaxError::Arguments),
            "VRFY" => Ok(Self::Vrfy),
            "EXPN" => Ok(Self::Expn),
            "BDAT" => bdat(argument),
            // Whatever was meant, octets of content may follow.
            verb if verb.starts_with("BDAT") => Err(SyntaxError::ChunkSize),
            _ if !line.is_ascii() => Err(SyntaxError::NotText),
            "HELO" => named(Self::Helo),
            "EHLO" => named(Self::Ehlo),
            "LHLO" => named(Self::Lhlo),
            "DATA" => alone(Self::Data),
            "RSET" => alone(Self::Rset),
            "HELP" => Ok(Self::Help),
            "NOOP" => Ok(Self::Noop),
            "QUIT" => alone(Self::Quit),
            "STARTTLS" => alone(Self::StartTls),
            "AUTH" => auth(argument),
            _ => Err(SyntaxError::Unrecognised),
        }
    }
}

fn not_utf8(line: &[u8]) -> SyntaxError {
    let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
    match verb.as_slice() {
        b"MAIL" => SyntaxError::Sender,
        b"RCPT" => SyntaxError::Recipient,
        b"BDAT" => SyntaxError::ChunkSize,
        _ => SyntaxError::NotText,
    }
}

/// RFC 4954 §4: a mechanism and perhaps an initial response, which may be a password.
fn auth(argument: &str) -> Result<Command, SyntaxError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth {
            mechanism: mechanism.into(),
            initial: initial.map(Secret::new),
        }),
        _ => Err(SyntaxError::Arguments),
    }
}

/// RFC 3030 §2: a size of any number of digits, and perhaps `LAST`.
fn bdat(argument: &str) -> Result<Command, SyntaxError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let digits = |word: &&str| word.bytes().all(|octet| octet.is_ascii_digit());
    let size = words.next().filter(digits).ok_or(SyntaxError::ChunkSize)?;
    let octets = size.parse().unwrap_or(u64::MAX);
    match (words.next(), words.next()) {
        (None, _) => Ok(Command::Bdat { octets, last: false }),
        (Some(end), None) if end.eq_ignore_ascii_case("LAST") => Ok(Command::Bdat { octets, last: true }),
        _ => Err(SyntaxError::ChunkEnd(octets)),
    }
}

fn mail(argument: &str) -> Result<Command, SyntaxError> {
    let (path, parameters) = path_and_parameters(argument, "FROM:").ok_or(SyntaxError::Sender)?;
    let reverse_path = ReversePath::parse(path).map_err(|_| SyntaxError::Sender)?;
    let parameters = MailParameters::parse(parameters)?;
    if path.is_ascii() || parameters.smtputf8 {
        Ok(Command::Mail(reverse_path, parameters))
    } else {
        Err(SyntaxError::NonAsciiAddress)
    }
}

fn rcpt(argument: &str, smtputf8: bool) -> Result<Command, SyntaxError> {
    let (path, parameters) = path_and_parameters(argument, "TO:").ok_or(SyntaxError::Recipient)?;
    let forward_path = ForwardPath::parse(path).map_err(|_| SyntaxError::Recipient)?;
    // No extension we offer has a parameter for RCPT.
    if !parameters.is_empty() {
        return Err(SyntaxError::UnknownParameter);
    }
    if path.is_ascii() || smtputf8 {
        Ok(Command::Rcpt(forward_path))
    } else {
        Err(SyntaxError::NonAsciiAddress)
    }
}

/// Splits `FROM:<path> parameters`. White space after the colon is against RFC 5321 §3.3 and common.
fn path_and_parameters<'a>(argument: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (found, rest) = argument.split_at_checked(keyword.len())?;
    if !found.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (path, rest) = split_path(rest.trim_ascii_start())?;
    let separated = rest.is_empty() || rest.starts_with(' ');
    separated.then(|| (path, rest.trim_ascii_start()))
}

/// As a client writes it, without the line end, and without what may be a password. What the parser drops (an argument of `NOOP`, an address
/// literal) is written as something that reads back as the same command.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helo(name) => write!(f, "HELO {}", name.as_str()),
            Self::Ehlo(name) => write!(f, "EHLO {}", name.as_str()),
            Self::Lhlo(name) => write!(f, "LHLO {}", name.as_str()),
            Self::Mail(reverse_path, parameters) => {
                write!(f, "MAIL FROM:{reverse_path}{parameters}")
            }
            Self::Rcpt(ForwardPath::Postmaster) => f.write_str("RCPT TO:<Postmaster>"),
            Self::Rcpt(ForwardPath::Mailbox(address)) => write!(f, "RCPT TO:<{address}>"),
            Self::Rcpt(ForwardPath::AtAddressLiteral) => f.write_str("RCPT TO:<somebody@[0.0.0.0]>"),
            Self::Data => f.write_str("DATA"),
            Self::Bdat { octets, last: false } => write!(f, "BDAT {octets}"),
            Self::Bdat { octets, last: true } => write!(f, "BDAT {octets} LAST"),
            Self::Rset => f.write_str("RSET"),
            Self::Vrfy => f.write_str("VRFY somebody"),
            Self::Expn => f.write_str("EXPN"),
            Self::Help => f.write_str("HELP"),
            Self::Noop => f.write_str("NOOP"),
            Self::Quit => f.write_str("QUIT"),
            Self::StartTls => f.write_str("STARTTLS"),
            Self::Auth { mechanism, .. } => write!(f, "AUTH {mechanism}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::{Address, Domain};
    use crate::parameters::BodyKind;

    fn name(text: &str) -> ClientName {
        ClientName::parse(text).unwrap()
    }

    fn mail_from(path: &str, declared_octets: Option<u64>, body: BodyKind) -> Command {
        Command::Mail(
            ReversePath::parse(path).unwrap(),
            MailParameters {
                declared_octets,
                body,
                ..MailParameters::default()
            },
        )
    }

    fn rcpt_to(address: &str) -> Command {
        Command::Rcpt(ForwardPath::Mailbox(Address::parse(address).unwrap()))
    }

    #[test]
    fn commands_are_read_in_any_case_and_with_the_blanks_clients_send() {
        use BodyKind::{EightBitMime, SevenBit};
        for (line, command) in [
            ("HELO client.example", Command::Helo(name("client.example"))),
            ("ehlo [192.0.2.1]  ", Command::Ehlo(name("[192.0.2.1]"))),
            ("LHLO under_score", Command::Lhlo(name("under_score"))),
            ("MAIL FROM:<>", mail_from("", None, SevenBit)),
            (
                "mail from: <Ann@Example.org> ",
                mail_from("Ann@Example.org", None, SevenBit),
            ),
            (
                "MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME",
                mail_from("a@b", Some(10), EightBitMime),
            ),
            (
                "MAIL FROM:<a@b>  body=7bit  size=0",
                mail_from("a@b", Some(0), SevenBit),
            ),
            (
                "MAIL FROM:<a@b> SIZE=99999999999999999999",
                mail_from("a@b", Some(u64::MAX), SevenBit),
            ),
            ("RCPT TO:<ann@example.org>", rcpt_to("ann@example.org")),
            (
                "rcpt to: <@relay.example:ann@example.org>",
                rcpt_to("ann@example.org"),
            ),
            ("RCPT TO:<\"a>b\"@example.org>", rcpt_to("\"a>b\"@example.org")),
            ("RCPT TO:<postmaster>", Command::Rcpt(ForwardPath::Postmaster)),
            (
                "RCPT TO:<ann@[192.0.2.1]>",
                Command::Rcpt(ForwardPath::AtAddressLiteral),
            ),
            ("data", Command::Data),
            (
                "BDAT 0",
                Command::Bdat {
                    octets: 0,
                    last: false,
                },
            ),
            (
                "bdat  86 last ",
                Command::Bdat {
                    octets: 86,
                    last: true,
                },
            ),
            (
                "BDAT 99999999999999999999999 LAST",
                Command::Bdat {
                    octets: u64::MAX,
                    last: true,
                },
            ),
            ("RSET ", Command::Rset),
            ("VRFY ann", Command::Vrfy),
            ("EXPN staff", Command::Expn),
            ("HELP me", Command::Help),
            ("NOOP anything at all", Command::Noop),
            ("QUIT\t", Command::Quit),
            ("StartTLS", Command::StartTls),
            (
                "auth plain AHRpbQBwYXNz ",
                Command::Auth {
                    mechanism: "plain".into(),
                    initial: Some(Secret::new("AHRpbQBwYXNz")),
                },
            ),
        ] {
            assert_eq!(Command::parse(line.as_bytes(), false), Ok(command), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_no_command_says_why() {
        use SyntaxError::{
            Arguments, ChunkEnd, ChunkSize, NonAsciiAddress, NotText, Recipient, Sender, UnknownParameter,
            Unrecognised,
        };
        for (line, error) in [
            ("", Unrecognised),
            (" NOOP", Unrecognised),
            ("NOOP\rDATA", Unrecognised),
            ("MAILFROM:<a@b>", Unrecognised),
            ("GRÜSS", NotText),
            ("NOOP ü", NotText),
            ("EHLO", Arguments),
            ("HELO two names", Arguments),
            ("EHLO na\u{7f}me", Arguments),
            ("DATA now", Arguments),
            ("BDAT", ChunkSize),
            ("BDAT many", ChunkSize),
            ("BDAT -1", ChunkSize),
            ("BDAT LAST", ChunkSize),
            ("BDAT 10\rLAST", ChunkSize),
            ("BDAT\t10", ChunkSize),
            ("BDAT10", ChunkSize),
            ("BDAT 1ü", ChunkSize),
            ("BDAT 10 FIRST", ChunkEnd(10)),
            ("BDAT 10 LAST LAST", ChunkEnd(10)),
            ("QUIT now", Arguments),
            ("RSET now", Arguments),
            ("STARTTLS now", Arguments),
            ("AUTH", Arguments),
            ("AUTH PLAIN = =", Arguments),
            ("VRFY", Arguments),
            ("MAIL", Sender),
            ("MAIL FROM", Sender),
            ("MAIL TO:<a@b>", Sender),
            ("MAIL FROM:a@b", Sender),
            ("MAIL FROM:<a@b", Sender),
            ("MAIL FROM:<a b@c>", Sender),
            ("MAIL FROM:<a@b>SIZE=1", Sender),
            ("MAIL FROM:<ä@b>", NonAsciiAddress),
            ("MAIL FROM:<a@ä>", NonAsciiAddress),
            ("MAIL FROM:<ä b@c> SMTPUTF8", Sender),
            ("MAIL FROM:<a@b> SMTPUTF8=", Arguments),
            ("MAIL FROM:<a@b> SMTPUTF8=yes", Arguments),
            ("MAIL FROM:<a@b> SMTPUTF8 SMTPUTF8", Arguments),
            ("MAIL FROM:<a@b> SMTPÜTF8", UnknownParameter),
            ("MAIL FROM:<a@b> SIZE=", Arguments),
            ("MAIL FROM:<a@b> SIZE=-1", Arguments),
            ("MAIL FROM:<a@b> SIZE=+1", Arguments),
            ("MAIL FROM:<a@b> SIZE=111111111111111111111", Arguments),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", Arguments),
            ("MAIL FROM:<a@b> BODY=7BIT BODY=8BITMIME", Arguments),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", UnknownParameter),
            ("MAIL FROM:<a@b> AUTH", Arguments),
            ("MAIL FROM:<a@b> AUTH=", Arguments),
            ("MAIL FROM:<a@b> AUTH=<> AUTH=<>", Arguments),
            ("RCPT", Recipient),
            ("RCPT TO:<>", Recipient),
            ("RCPT TO:<ann>", Recipient),
            ("RCPT TO:ann@example.org", Recipient),
            ("RCPT TO:<ann@exämple.org>", NonAsciiAddress),
            ("RCPT TO:<ann@example.org> NOTIFY=NEVER", UnknownParameter),
        ] {
            assert_eq!(Command::parse(line.as_bytes(), false), Err(error), "{line:?}");
        }
    }

    #[test]
    fn an_address_in_utf8_needs_its_parameter() {
        let sender = ReversePath::parse("\u{e4}@b\u{fc}cher.example").unwrap();
        let parameters = MailParameters {
            smtputf8: true,
            ..MailParameters::default()
        };
        let line = "MAIL FROM:<\u{e4}@b\u{fc}cher.example> smtputf8";
        let mail = Command::Mail(sender, parameters);
        assert_eq!(Command::parse(line.as_bytes(), false), Ok(mail));
        for (line, address) in [
            ("RCPT TO:<A\u{308}@example.org>", "\u{e4}@example.org"),
            ("RCPT TO:<ann@b\u{fc}cher.example>", "ann@xn--bcher-kva.example"),
        ] {
            let refused = Err(SyntaxError::NonAsciiAddress);
            assert_eq!(Command::parse(line.as_bytes(), false), refused, "{line}");
            assert_eq!(
                Command::parse(line.as_bytes(), true),
                Ok(rcpt_to(address)),
                "{line}"
            );
        }
        for (line, error) in [
            (&b"MAIL FROM:<\xff@b> SMTPUTF8"[..], SyntaxError::Sender),
            (b"RCPT TO:<\xff@b>", SyntaxError::Recipient),
            (b"NOOP \xff", SyntaxError::NotText),
            (b"BDAT 1\xff", SyntaxError::ChunkSize),
        ] {
            assert_eq!(Command::parse(line, true), Err(error), "{}", line.escape_ascii());
        }
        for line in ["VRFY \u{e4}nn", "VRFY \u{e4}nn SMTPUTF8"] {
            assert_eq!(Command::parse(line.as_bytes(), false), Ok(Command::Vrfy));
        }
    }

    #[test]
    fn a_client_name_may_have_two_hundred_and_fifty_five_octets() {
        assert!(ClientName::parse(&"n".repeat(CLIENT_NAME_OCTETS_MAX)).is_some());
        assert!(ClientName::parse(&"n".repeat(CLIENT_NAME_OCTETS_MAX + 1)).is_none());
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let address =
            ("[ -~äÖ]{1,20}", "[a-z0-9]{1,9}(\\.[a-zä]{1,9}){0,2}").prop_map(|(local_part, domain)| {
                Address::new(&local_part, Domain::parse(&domain).unwrap()).unwrap()
            });
        let body = prop_oneof![Just(BodyKind::SevenBit), Just(BodyKind::EightBitMime)];
        let parameters =
            (proptest::option::of(any::<u64>()), body).prop_map(|(declared_octets, body)| MailParameters {
                declared_octets,
                body,
                smtputf8: true,
                auth: true,
            });
        let reverse_path = prop_oneof![
            Just(ReversePath::null()),
            address
                .clone()
                .prop_map(|address| ReversePath::parse(&address.to_string()).unwrap()),
        ];
        let forward_path = prop_oneof![
            Just(ForwardPath::Postmaster),
            Just(ForwardPath::AtAddressLiteral),
            address.prop_map(ForwardPath::Mailbox),
        ];
        let client = "[!-~]{1,255}".prop_map(|text| ClientName::parse(&text).unwrap());
        let alone = proptest::sample::select(vec![
            Command::Data,
            Command::Rset,
            Command::Vrfy,
            Command::Expn,
            Command::Help,
            Command::Noop,
            Command::Quit,
            Command::StartTls,
        ]);
        let auth = "[!-~]{1,20}".prop_map(|mechanism| Command::Auth {
            mechanism: mechanism.into(),
            initial: None,
        });
        let chunk = any::<(u64, bool)>().prop_map(|(octets, last)| Command::Bdat { octets, last });
        prop_oneof![
            auth,
            chunk,
            client.clone().prop_map(Command::Helo),
            client.clone().prop_map(Command::Ehlo),
            client.prop_map(Command::Lhlo),
            (reverse_path, parameters).prop_map(|(path, parameters)| Command::Mail(path, parameters)),
            forward_path.prop_map(Command::Rcpt),
            alone,
        ]
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_the_same_command(command in any_command()) {
            prop_assert_eq!(Command::parse(command.to_string().as_bytes(), true), Ok(command));
        }

        #[test]
        fn any_line_gets_an_answer(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(command) = Command::parse(&line, true) {
                prop_assert_eq!(Command::parse(command.to_string().as_bytes(), true), Ok(command));
            }
        }
    }
}
