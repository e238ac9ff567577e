//! AUTHORIZATION: who is it? (RFC 1939 §4 and §7, RFC 2595, RFC 5034)

use mailhorn_sasl::{Exchange, KeysAwaited, Mechanism, Progress, Secret, encode};

use super::transaction::Transaction;
use super::{
    Answer, Ask, Channel, Method, Session, State, Step, close_with, error, error_with, language, ok,
    out_of_turn,
};
use crate::command::{Command, SyntaxError};
use crate::reply::ResponseCode;
use crate::{Maildrop, Reply};

impl<M: Maildrop> Session<M> {
    pub(super) fn authorization(
        &mut self,
        user: Option<String>,
        command: Result<Command, SyntaxError>,
    ) -> Step {
        // What is not about the name leaves it as it was: USER, CAPA, PASS is no reason to fail.
        let plaintext = self.mechanisms().plaintext;
        match (command, user) {
            (Ok(Command::User(_) | Command::Pass(_)), user) if !plaintext => self.needs_tls(user),
            (Ok(Command::User(name)), _) => {
                self.go_on(State::Authorization { user: Some(name) }, ok("send PASS"))
            }
            (Ok(Command::Pass(password)), Some(user)) => self.ask(
                State::LoggingIn,
                Ask::LogIn {
                    user,
                    password,
                    method: Method::UserPass,
                },
            ),
            (Ok(Command::Pass(_)), None) => {
                self.go_on(State::Authorization { user: None }, error("send USER first"))
            }
            (Ok(Command::AuthList), user) => {
                let mechanisms = Reply::Mechanisms(self.mechanisms());
                self.go_on(State::Authorization { user }, mechanisms)
            }
            (Ok(Command::Auth { mechanism, initial }), user) => self.auth(user, &mechanism, initial.as_ref()),
            (Ok(Command::Stls), user) => self.stls(user),
            (Ok(Command::Capa), user) => {
                let capabilities = self.capabilities(true);
                self.go_on(State::Authorization { user }, capabilities)
            }
            (Ok(Command::Utf8), user) => {
                self.utf8 = true;
                self.go_on(State::Authorization { user }, ok("UTF-8 mode is on"))
            }
            (Ok(Command::Lang(range)), user) => self.go_on(State::Authorization { user }, language(range)),
            (Ok(Command::Quit), _) => Step::ReplyThenClose(ok("bye")),
            (
                Ok(
                    Command::Stat
                    | Command::List(_)
                    | Command::Uidl(_)
                    | Command::Body(..)
                    | Command::Dele(_)
                    | Command::Noop
                    | Command::Rset,
                ),
                user,
            ) => self.go_on(State::Authorization { user }, error("log in first")),
            (Err(syntax), user) => self.bad(State::Authorization { user }, syntax.text()),
        }
    }

    /// RFC 2595 §2.3. No `[AUTH]`: that would send the client back to its user for another password.
    fn needs_tls(&mut self, user: Option<String>) -> Step {
        let stls = self.options.stls && self.channel == Channel::Plain;
        let text = if stls {
            "log-in needs TLS, send STLS first"
        } else {
            "log-in needs TLS"
        };
        self.go_on(State::Authorization { user }, error(text))
    }

    /// RFC 2595 §4: only in AUTHORIZATION, and only once. RFC 6856 §2.1: never after UTF8.
    fn stls(&mut self, user: Option<String>) -> Step {
        if self.channel == Channel::Tls {
            return self.go_on(State::Authorization { user }, error("TLS is on already"));
        }
        if !self.options.stls {
            return self.go_on(State::Authorization { user }, error("TLS is not available"));
        }
        if self.utf8 {
            return self.go_on(State::Authorization { user }, error("STLS comes before UTF8"));
        }
        self.state = State::TlsAwaited;
        Step::ReplyThenTls(ok("begin TLS"))
    }

    /// RFC 5034 §4.
    fn auth(&mut self, user: Option<String>, name: &[u8], initial: Option<&Secret>) -> Step {
        let mechanism = match Mechanism::from_name(name) {
            Some(mechanism) if self.mechanisms().contains(mechanism) => mechanism,
            Some(mechanism) if mechanism.shows_password() => return self.needs_tls(user),
            Some(_) | None => {
                let unsupported = error("authentication mechanism not supported");
                return self.go_on(State::Authorization { user }, unsupported);
            }
        };
        let progress = mechanism.begin_encoded(initial.map(Secret::declassify));
        self.proceed(user, mechanism, progress)
    }

    /// A line while a SASL response is awaited (RFC 5034 §4).
    pub(super) fn response(
        &mut self,
        mechanism: Mechanism,
        exchange: Exchange,
        line: Option<Secret>,
    ) -> Step {
        let Some(line) = line else {
            // What follows a response too long to hold could be the rest of a password: it is not read as
            // a command.
            return Step::ReplyThenClose(error("response too long"));
        };
        let progress = exchange.respond_encoded(line.declassify());
        self.proceed(None, mechanism, progress)
    }

    /// `user` is the name that USER gave before, which an AUTH that never began leaves alone.
    fn proceed(&mut self, user: Option<String>, mechanism: Mechanism, progress: Progress) -> Step {
        match progress {
            Progress::Challenge(challenge, exchange) => {
                let reply = Reply::Challenge(encode(&challenge));
                self.go_on(State::Responding { mechanism, exchange }, reply)
            }
            Progress::CheckPassword { user, password } => {
                let ask = Ask::LogIn {
                    user,
                    password,
                    method: Method::Sasl(mechanism),
                };
                self.ask(State::LoggingIn, ask)
            }
            Progress::FetchKeys { user, then } => self.ask(State::KeysAwaited(then), Ask::ScramKeys { user }),
            Progress::Proven { user } => self.ask(State::LoggingIn, Ask::ScramLogIn { user }),
            Progress::Disproven { user } => self.ask(State::Refusing, Ask::ScramRefused { user }),
            Progress::Malformed(malformed) => self.bad(State::Authorization { user }, malformed.text()),
        }
    }

    /// The answer to [`Ask::ScramKeys`].
    pub(super) fn keys(&mut self, awaited: KeysAwaited, answer: Answer<M>) -> Step {
        match answer {
            Answer::ScramKeys { keys, nonce } => {
                let progress = awaited.keys(keys, &nonce);
                self.proceed(None, Mechanism::ScramSha256, progress)
            }
            Answer::Unavailable => self.unavailable(),
            _ => out_of_turn(),
        }
    }

    /// The answer to [`Ask::LogIn`] and [`Ask::ScramLogIn`]. The codes are RFC 3206's and RFC 2449's.
    pub(super) fn logged_in(&mut self, answer: Answer<M>) -> Step {
        match answer {
            Answer::Opened(maildrop) => {
                self.bad_commands = 0;
                let transaction = Transaction::new(maildrop);
                let reply = Reply::Line(transaction.summary());
                self.go_on(State::Transaction(transaction), reply)
            }
            Answer::Refused => self.refuse(),
            Answer::InUse => self.not_now(ResponseCode::InUse, "another session has the maildrop"),
            Answer::TooSoon => self.not_now(
                ResponseCode::LoginDelay,
                "logged in a short time ago, try again later",
            ),
            Answer::TooManySessions => self.not_now(
                ResponseCode::SysTemp,
                "too many sessions of this user, try again later",
            ),
            Answer::Unavailable => self.unavailable(),
            _ => out_of_turn(),
        }
    }

    /// The answer to [`Ask::ScramRefused`].
    pub(super) fn refused(&mut self, answer: &Answer<M>) -> Step {
        match answer {
            Answer::Refused => self.refuse(),
            _ => out_of_turn(),
        }
    }

    fn refuse(&mut self) -> Step {
        const TEXT: &str = "authentication failed";
        self.log_in_failures = self.log_in_failures.saturating_add(1);
        if self.log_in_failures >= self.options.log_in_failures_max.get() {
            return close_with(ResponseCode::Auth, TEXT);
        }
        self.not_now(ResponseCode::Auth, TEXT)
    }

    fn unavailable(&mut self) -> Step {
        self.not_now(ResponseCode::SysTemp, "log-in not possible now, try again later")
    }

    fn not_now(&mut self, code: ResponseCode, text: &'static str) -> Step {
        self.go_on(State::Authorization { user: None }, error_with(code, text))
    }
}
