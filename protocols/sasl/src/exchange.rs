//! The mechanisms and one exchange of each.

use crate::scram::{self, KeysAwaited, ProofAwaited};
use crate::{PASSWORD_OCTETS_MAX, RESPONSE_OCTETS_MAX, Secret, decode, prepare_name};

/// A mechanism that we serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Name and password in one message (RFC 4616).
    Plain,
    /// Name and password in two messages. It has no RFC; old Outlooks know nothing else.
    Login,
    /// A proof of the password (RFC 5802 with SHA-256 as RFC 7677 has it), without channel binding.
    ScramSha256,
}

impl Mechanism {
    /// All of them, the one to prefer first.
    pub const ALL: [Self; 3] = [Self::ScramSha256, Self::Plain, Self::Login];

    /// The registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The mechanism of a name, in any case: RFC 4422 §3.1 has upper case only, clients have both.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether it shows the password to whoever listens: then it is for encrypted channels only.
    #[must_use]
    pub fn shows_password(self) -> bool {
        match self {
            Self::Plain | Self::Login => true,
            Self::ScramSha256 => false,
        }
    }

    /// Begins an exchange. `initial` is the decoded initial response if there was one, which may be empty.
    #[must_use]
    pub fn begin(self, initial: Option<&[u8]>) -> Progress {
        let (challenge, exchange) = match self {
            Self::Plain => (&b""[..], Exchange(State::PlainMessage)),
            Self::Login => (&b"Username:"[..], Exchange(State::LoginName)),
            Self::ScramSha256 => (&b""[..], Exchange(State::ScramFirst)),
        };
        match initial {
            Some(response) => exchange.respond(response),
            None => Progress::Challenge(challenge.to_vec(), exchange),
        }
    }

    /// Begins an exchange from what a protocol's AUTH command has behind the mechanism's name. One equals sign is an
    /// empty initial response (RFC 5034 §4 and RFC 4954 §4).
    #[must_use]
    pub fn begin_encoded(self, initial: Option<&[u8]>) -> Progress {
        match initial {
            None => self.begin(None),
            Some(b"=") => self.begin(Some(b"")),
            Some(encoded) => match decode(encoded) {
                Some(initial) => self.begin(Some(initial.declassify())),
                None => Progress::Malformed(Malformed::Encoding),
            },
        }
    }
}

/// What comes next in an exchange.
#[derive(Debug)]
pub enum Progress {
    /// Send this challenge (in base64) and hand the response to the exchange.
    Challenge(Vec<u8>, Exchange),
    /// PLAIN and LOGIN end here: check the password, and the answer is the outcome.
    CheckPassword {
        /// Who it is to be, prepared.
        user: String,
        /// The password as it was sent.
        password: Secret,
    },
    /// SCRAM: look up the keys of this user, or make fake ones, and go on.
    FetchKeys {
        /// Who it is to be, prepared.
        user: String,
        /// What goes on when the keys are there.
        then: KeysAwaited,
    },
    /// SCRAM ends here: the proof was right, and the client has taken note of the server's.
    Proven {
        /// Who it is.
        user: String,
    },
    /// SCRAM ends here: the proof was wrong, or there is no such user.
    Disproven {
        /// Who it was to be.
        user: String,
    },
    /// The client's message is not one. No password was tried.
    Malformed(Malformed),
}

/// What is wrong with a client's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The client gave the exchange up: one asterisk (RFC 5034 §4 and RFC 4954 §4).
    Cancelled,
    /// Not base64.
    Encoding,
    /// More than [`RESPONSE_OCTETS_MAX`] octets, or a password of more than [`PASSWORD_OCTETS_MAX`].
    TooLong,
    /// Not in the mechanism's form.
    Syntax,
    /// A password that is not UTF-8 (RFC 4616 §2).
    Password,
    /// A user name that has no prepared form within [`NAME_OCTETS_MAX`](crate::NAME_OCTETS_MAX) octets.
    Name,
    /// Acting for somebody else is not offered (RFC 4616 §2, authzid).
    OtherIdentity,
    /// Channel binding is not offered, or what was said about it did not come back unchanged.
    ChannelBinding,
    /// A SCRAM extension that a server must know or refuse.
    Extension,
    /// A nonce with a character that is not allowed, one too long, or one that is not this exchange's.
    Nonce,
}

impl Malformed {
    /// A text for the client.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Cancelled => "authentication cancelled",
            Self::Encoding => "response is not base64",
            Self::TooLong => "response too long",
            Self::Syntax => "malformed response",
            Self::Name => "malformed user name",
            Self::Password => "password is not UTF-8",
            Self::OtherIdentity => "no other authorization identity allowed",
            Self::ChannelBinding => "channel binding not supported or not consistent",
            Self::Extension => "extension not supported",
            Self::Nonce => "malformed nonce",
        }
    }
}

/// An exchange that waits for the client's next response.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    PlainMessage,
    LoginName,
    LoginPassword { user: String },
    ScramFirst,
    ScramFinal(Box<ProofAwaited>),
    ScramAcknowledged { user: String },
}

impl Exchange {
    pub(crate) fn scram_final(awaited: ProofAwaited) -> Self {
        Self(State::ScramFinal(Box::new(awaited)))
    }

    pub(crate) fn scram_acknowledged(user: String) -> Self {
        Self(State::ScramAcknowledged { user })
    }

    /// Takes the client's response as its line has it.
    #[must_use]
    pub fn respond_encoded(self, line: &[u8]) -> Progress {
        if line == b"*" {
            return Progress::Malformed(Malformed::Cancelled);
        }
        match decode(line) {
            Some(response) => self.respond(response.declassify()),
            None => Progress::Malformed(Malformed::Encoding),
        }
    }

    /// Takes the client's decoded response.
    #[must_use]
    pub fn respond(self, response: &[u8]) -> Progress {
        if response.len() > RESPONSE_OCTETS_MAX {
            return Progress::Malformed(Malformed::TooLong);
        }
        match self.0 {
            State::PlainMessage => plain_message(response),
            State::LoginName => login_name(response),
            State::LoginPassword { user } => check_password(user, response),
            State::ScramFirst => scram::client_first(response),
            State::ScramFinal(awaited) => awaited.client_final(response),
            // RFC 4422 §3.6: server-final went out as a challenge, so the client answers with nothing.
            State::ScramAcknowledged { user } if response.is_empty() => Progress::Proven { user },
            State::ScramAcknowledged { .. } => Progress::Malformed(Malformed::Syntax),
        }
    }
}

/// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`.
fn plain_message(message: &[u8]) -> Progress {
    let mut parts = message.split(|octet| *octet == 0);
    let (Some(identity), Some(name), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Progress::Malformed(Malformed::Syntax);
    };
    let Some(user) = prepare_name(name) else {
        return Progress::Malformed(Malformed::Name);
    };
    if !identity.is_empty() && prepare_name(identity).as_ref() != Some(&user) {
        return Progress::Malformed(Malformed::OtherIdentity);
    }
    check_password(user, password)
}

fn login_name(name: &[u8]) -> Progress {
    match prepare_name(name) {
        Some(user) => Progress::Challenge(b"Password:".to_vec(), Exchange(State::LoginPassword { user })),
        None => Progress::Malformed(Malformed::Name),
    }
}

/// The password stays as it was sent: the protocols' own log-in commands do not prepare theirs either, and
/// one password must not work one way and fail the other. For the same reason it is UTF-8 in LOGIN, too.
fn check_password(user: String, password: &[u8]) -> Progress {
    if password.is_empty() || password.contains(&0) {
        return Progress::Malformed(Malformed::Syntax);
    }
    if password.len() > PASSWORD_OCTETS_MAX {
        return Progress::Malformed(Malformed::TooLong);
    }
    if std::str::from_utf8(password).is_err() {
        return Progress::Malformed(Malformed::Password);
    }
    Progress::CheckPassword {
        user,
        password: Secret::new(password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NAME_OCTETS_MAX;

    /// One word an outcome, so that a table can hold it.
    fn outcome(progress: Progress) -> String {
        match progress {
            Progress::Challenge(challenge, _) => format!("challenge {}", String::from_utf8_lossy(&challenge)),
            Progress::CheckPassword { user, password } => {
                format!("check {user} {}", String::from_utf8_lossy(password.declassify()))
            }
            Progress::FetchKeys { user, .. } => format!("keys {user}"),
            Progress::Proven { user } => format!("proven {user}"),
            Progress::Disproven { user } => format!("disproven {user}"),
            Progress::Malformed(malformed) => format!("{malformed:?}"),
        }
    }

    #[test]
    fn plain_takes_one_message_of_three_parts() {
        let cases: &[(&str, &str)] = &[
            ("\0tim\0tanstaaftanstaaf", "check tim tanstaaftanstaaf"),
            ("tim\0tim\0pass", "check tim pass"),
            ("Ursel\0Kurt\0xipj3plmq", "OtherIdentity"),
            ("\0tim\0with space ", "check tim with space "),
            ("\0tim\0", "Syntax"),
            ("\0\0pass", "Name"),
            ("", "Syntax"),
            ("tim", "Syntax"),
            ("\0tim", "Syntax"),
            ("\0tim\0pass\0", "Syntax"),
            ("\0t\x07m\0pass", "Name"),
            ("\0\u{2168}\0pass", "check IX pass"),
        ];
        for (message, expected) in cases {
            assert_eq!(
                outcome(Mechanism::Plain.begin(Some(message.as_bytes()))),
                *expected,
                "{message:?}"
            );
        }
    }

    #[test]
    fn login_asks_for_the_name_and_then_for_the_password() {
        let Progress::Challenge(first, exchange) = Mechanism::Login.begin(None) else {
            panic!("no challenge")
        };
        assert_eq!(first, b"Username:");
        let Progress::Challenge(second, exchange) = exchange.respond(b"tim") else {
            panic!("no challenge")
        };
        assert_eq!(second, b"Password:");
        assert_eq!(outcome(exchange.respond(b"secret")), "check tim secret");
    }

    #[test]
    fn a_password_is_utf_8_whichever_way_it_comes() {
        assert_eq!(
            outcome(Mechanism::Plain.begin(Some("\0tim\0gr\u{FC}n".as_bytes()))),
            "check tim gr\u{FC}n"
        );
        assert_eq!(
            outcome(Mechanism::Plain.begin(Some(b"\0tim\0gr\xFCn"))),
            "Password"
        );
        let Progress::Challenge(_, exchange) = Mechanism::Login.begin(Some(b"tim")) else {
            panic!("no challenge")
        };
        assert_eq!(outcome(exchange.respond(b"gr\xFCn")), "Password");
    }

    #[test]
    fn login_takes_the_name_as_an_initial_response() {
        let Progress::Challenge(challenge, exchange) = Mechanism::Login.begin(Some(b"tim")) else {
            panic!("no challenge")
        };
        assert_eq!(challenge, b"Password:");
        assert_eq!(outcome(exchange.respond(b"")), "Syntax");
        assert_eq!(outcome(Mechanism::Login.begin(Some(b""))), "Name");
    }

    #[test]
    fn lines_are_base64_with_an_equals_sign_for_nothing_and_a_star_to_give_up() {
        let begun = |initial: &str| outcome(Mechanism::Plain.begin_encoded(Some(initial.as_bytes())));
        assert_eq!(begun("AHRpbQBwYXNz"), "check tim pass");
        assert_eq!(begun("="), "Syntax", "an empty message");
        assert_eq!(begun("AHRpbQBwYXNz="), "Encoding");
        assert_eq!(
            outcome(Mechanism::Login.begin_encoded(None)),
            "challenge Username:"
        );
        let responded = |line: &str| {
            let Progress::Challenge(_, exchange) = Mechanism::Plain.begin(None) else {
                panic!("no challenge")
            };
            outcome(exchange.respond_encoded(line.as_bytes()))
        };
        assert_eq!(responded("AHRpbQBwYXNz"), "check tim pass");
        assert_eq!(responded(""), "Syntax");
        assert_eq!(responded("="), "Encoding");
        assert_eq!(responded("*"), "Cancelled");
    }

    #[test]
    fn a_client_that_sends_first_is_asked_with_an_empty_challenge() {
        for mechanism in [Mechanism::Plain, Mechanism::ScramSha256] {
            assert_eq!(outcome(mechanism.begin(None)), "challenge ");
        }
    }

    #[test]
    fn every_length_has_its_limit() {
        let password = |octets: usize| [b"\0tim\0".to_vec(), vec![b'a'; octets]].concat();
        let fits = Mechanism::Plain.begin(Some(&password(PASSWORD_OCTETS_MAX)));
        assert!(outcome(fits).starts_with("check tim"));
        assert_eq!(
            outcome(Mechanism::Plain.begin(Some(&password(PASSWORD_OCTETS_MAX + 1)))),
            "TooLong"
        );
        assert_eq!(
            outcome(Mechanism::Plain.begin(Some(&[b'a'; RESPONSE_OCTETS_MAX + 1]))),
            "TooLong"
        );
        assert_eq!(
            outcome(Mechanism::Login.begin(Some(&[b'a'; NAME_OCTETS_MAX + 1]))),
            "Name"
        );
    }

    #[test]
    fn a_mechanism_is_known_by_its_name_in_any_case() {
        for mechanism in Mechanism::ALL {
            assert_eq!(
                Mechanism::from_name(mechanism.name().to_ascii_lowercase().as_bytes()),
                Some(mechanism)
            );
        }
        for unknown in [
            "",
            "SCRAM-SHA-1",
            "SCRAM-SHA-256-PLUS",
            "CRAM-MD5",
            "PLAIN ",
            "XOAUTH2",
        ] {
            assert_eq!(Mechanism::from_name(unknown.as_bytes()), None, "{unknown}");
        }
    }
}
