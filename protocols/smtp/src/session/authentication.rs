//! Who is it? `AUTH` (RFC 4954), and what a log-in is good for: a sender of ours.

use mailhorn_sasl::{
    Exchange, KeysAwaited, Malformed, Mechanism, Progress, Secret, ServerNonce, StoredKeys, encode,
};

use super::{LocalSenders, Protocol, Security, Session, State, say};
use crate::address::Address;
use crate::path::ReversePath;
use crate::reply;
use crate::turn::{Ask, SenderStanding, Step};

/// What has to be known of a sender.
pub(super) enum AboutSender {
    Nothing,
    /// Whose address it is.
    Standing(Address),
    /// It is known already: not the user's.
    IsNotOwn,
}

impl Session {
    /// The mechanisms that are offered now, the one to prefer first: none that shows a password where it may not be
    /// shown, none after a log-in, none on LMTP.
    pub(super) fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        let plaintext = self.peer.plaintext_log_in || self.peer.security == Security::Tls;
        let scram = self.peer.scram;
        let offers = self.has_auth() && !self.authenticated;
        Mechanism::ALL.into_iter().filter(move |mechanism| {
            offers
                && if mechanism.shows_password() {
                    plaintext
                } else {
                    scram
                }
        })
    }

    pub(super) fn has_auth(&self) -> bool {
        self.options.auth && self.options.protocol == Protocol::Smtp
    }

    /// RFC 4954 §4.
    pub(super) fn auth(&mut self, name: &str, initial: Option<&Secret>) -> Step {
        if !self.has_auth() {
            return self.bad_command(reply::NOT_IMPLEMENTED);
        }
        if self.client.is_none() {
            return self.bad_command(reply::HELLO_FIRST);
        }
        if self.authenticated {
            return self.bad_command(reply::LOGGED_IN_ALREADY);
        }
        if self.is_in_transaction() {
            return self.bad_command(reply::LOG_IN_TOO_LATE);
        }
        let Some(mechanism) = Mechanism::from_name(name.as_bytes()) else {
            return self.bad_command(reply::UNKNOWN_MECHANISM);
        };
        if self.mechanisms().any(|offered| offered == mechanism) {
            return self.proceed(mechanism.begin_encoded(initial.map(Secret::declassify)));
        }
        self.bad_command(if mechanism.shows_password() {
            reply::LOG_IN_NEEDS_TLS
        } else {
            reply::UNKNOWN_MECHANISM
        })
    }

    /// A line while a response is awaited.
    pub(super) fn response(&mut self, exchange: Exchange, line: Option<Secret>) -> Step {
        match line {
            Some(line) => self.proceed(exchange.respond_encoded(line.declassify())),
            // All of it was thrown away, so no part of it can be taken for a command.
            None => self.bad_command(reply::AUTH_LINE_TOO_LONG),
        }
    }

    fn proceed(&mut self, progress: Progress) -> Step {
        let (state, step) = match progress {
            Progress::Challenge(challenge, exchange) => (
                State::Responding(exchange),
                say(reply::challenge(encode(&challenge))),
            ),
            Progress::CheckPassword { user, password } => {
                (State::LoggingIn, Step::Ask(Ask::LogIn { user, password }))
            }
            Progress::FetchKeys { user, then } => {
                (State::KeysAwaited(then), Step::Ask(Ask::ScramKeys { user }))
            }
            Progress::Proven { user } => (State::LoggingIn, Step::Ask(Ask::ScramLogIn { user })),
            Progress::Disproven { user } => (State::Refusing, Step::Ask(Ask::ScramRefused { user })),
            Progress::Malformed(malformed) => return self.bad_command(malformed_reply(malformed)),
        };
        self.state = state;
        step
    }

    /// The answer to [`Ask::ScramKeys`].
    pub(super) fn keys(&mut self, awaited: KeysAwaited, keys: StoredKeys, nonce: &ServerNonce) -> Step {
        self.proceed(awaited.keys(keys, nonce))
    }

    /// The log-in was right.
    pub(super) fn logged_in(&mut self) -> Step {
        self.authenticated = true;
        say(reply::LOGGED_IN)
    }

    /// The log-in was wrong.
    pub(super) fn refuse_log_in(&mut self) -> Step {
        self.log_in_failures = self.log_in_failures.saturating_add(1);
        if self.log_in_failures >= self.options.log_in_failures_max.get() {
            return self.close(reply::too_many_log_in_failures(&self.options.hostname));
        }
        say(reply::LOG_IN_REFUSED)
    }

    /// What has to be known of a sender before its `MAIL` is accepted.
    pub(super) fn about_sender(&self, reverse_path: &ReversePath) -> AboutSender {
        let concerned = self.options.local_senders == LocalSenders::Authenticated
            && self.options.protocol == Protocol::Smtp
            && !self.peer.trusted
            && !reverse_path.is_null();
        if !concerned {
            return AboutSender::Nothing;
        }
        match Address::parse(reverse_path.as_str()) {
            Ok(address) => AboutSender::Standing(address),
            // An address literal, a host with an underscore: nobody here has that, and it passes for nobody here.
            Err(_) if self.authenticated => AboutSender::IsNotOwn,
            Err(_) => AboutSender::Nothing,
        }
    }

    /// Whether a sender is accepted of whom this is known; the reply if not.
    pub(super) fn refusal_of_sender(&self, standing: SenderStanding) -> Option<reply::Reply> {
        match (standing, self.authenticated) {
            (SenderStanding::Unavailable, _) => Some(reply::UNAVAILABLE),
            (SenderStanding::Local, false) => Some(reply::LOG_IN_NEEDED),
            (SenderStanding::Elsewhere, false) | (SenderStanding::Own, _) => None,
            (SenderStanding::Elsewhere | SenderStanding::Local, true) => Some(reply::NOT_YOUR_ADDRESS),
        }
    }
}

/// RFC 4954 §4 and §6.
fn malformed_reply(malformed: Malformed) -> reply::Reply {
    match malformed {
        Malformed::TooLong => reply::AUTH_LINE_TOO_LONG,
        Malformed::Cancelled => reply::Reply::new(501, "5.7.0", malformed.text()),
        Malformed::Encoding => reply::Reply::new(501, "5.5.2", malformed.text()),
        Malformed::Syntax
        | Malformed::Name
        | Malformed::Password
        | Malformed::OtherIdentity
        | Malformed::ChannelBinding
        | Malformed::Extension
        | Malformed::Nonce => reply::Reply::new(501, "5.5.4", malformed.text()),
    }
}
