//! The session: one frame in, one step out, at most one ask outstanding.

mod authorization;
mod transaction;

use std::mem;
use std::num::NonZeroU8;
use std::sync::Arc;

use mailhorn_lines::Frame;
use mailhorn_sasl::{Exchange, KeysAwaited, Mechanism, Secret, ServerNonce, StoredKeys};

use crate::command::{self, Command, LanguageRange, SyntaxError};
use crate::reply::{About, Column, Next, ResponseCode, push_languages, push_line, push_scan_line};
use crate::{
    Announced, BAD_COMMANDS_AFTER_LOG_IN_MAX, BAD_COMMANDS_BEFORE_LOG_IN_MAX, BodyEncoder,
    COMMAND_OCTETS_MAX, Capabilities, Encoded, Lines, Listing, Maildrop, Mechanisms,
    RESPONSE_LINE_OCTETS_MAX, Reply, StatusLine, Verb,
};
use transaction::Transaction;

/// What a session may offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// When USER, PASS, PLAIN and LOGIN are offered and taken.
    pub plaintext_log_in: PlaintextLogIn,
    /// Whether there is a certificate, so that STLS can be offered. Default: no.
    pub stls: bool,
    /// Whether SCRAM-SHA-256 is offered. Default: yes.
    pub scram: bool,
    /// So many refused log-ins end the connection. Default: 3.
    pub log_in_failures_max: NonZeroU8,
    /// What CAPA says of the operator's policy. Default: nothing.
    pub announced: Arc<Announced>,
}

impl Default for Options {
    fn default() -> Self {
        const THREE: NonZeroU8 = NonZeroU8::new(3).expect("three is not zero");
        Self {
            plaintext_log_in: PlaintextLogIn::OnlyWithTls,
            stls: false,
            scram: true,
            log_in_failures_max: THREE,
            announced: Arc::default(),
        }
    }
}

/// When a password may cross the wire as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaintextLogIn {
    /// When TLS is on (RFC 2595 §2.3).
    OnlyWithTls,
    /// Always: for a network that nobody listens to, and for tests.
    Always,
}

/// What the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Anybody on the way can read it.
    Plain,
    /// TLS is on, from the first octet (RFC 8314 §3.1, port 995) or since STLS.
    Tls,
}

/// What the driver has to do next.
#[derive(Debug)]
pub enum Step {
    /// Send the reply and read on.
    Reply(Reply),
    /// Send the reply, then the message through the encoder, then its end, and read on. If the octets break
    /// off, close the connection without the end: the client must not take a part for the whole.
    ReplyThenBody(Reply, BodyEncoder),
    /// Send the reply and close the connection.
    ReplyThenClose(Reply),
    /// If the framer holds anything, close at once: it came before TLS and must not count after it
    /// (CVE-2011-0411). Otherwise send the reply, shake hands, and call [`Session::tls_started`].
    ReplyThenTls(Reply),
    /// Close the connection without a word.
    Close,
    /// Find out, and call [`Session::answer`]. Nothing else goes in before.
    Ask(Ask),
}

/// What the session wants to know from the world. At most one is outstanding.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// Check the password and open the maildrop. Answers: [`Answer::Opened`], [`Answer::Refused`],
    /// [`Answer::InUse`], [`Answer::TooSoon`], [`Answer::TooManySessions`], [`Answer::Unavailable`].
    LogIn {
        /// The name, prepared (RFC 4013).
        user: String,
        /// The password as it was sent.
        password: Secret,
        /// How it came.
        method: Method,
    },
    /// Look up the keys of a user, or make [`StoredKeys::fake`] ones, and a nonce. Answers:
    /// [`Answer::ScramKeys`], [`Answer::Unavailable`].
    ScramKeys {
        /// The name, prepared.
        user: String,
    },
    /// The proof was wrong: count it and wait as after a wrong password. Answer: [`Answer::Refused`].
    ScramRefused {
        /// The name, prepared.
        user: String,
    },
    /// The proof was right: open the maildrop. Answers: those of [`Ask::LogIn`].
    ScramLogIn {
        /// The name, prepared.
        user: String,
    },
    /// Have the first octets of a message at hand. Answers: [`Answer::Body`], [`Answer::Missing`],
    /// [`Answer::NeedsUtf8`], [`Answer::Damaged`], [`Answer::Unavailable`].
    Body {
        /// The position in the maildrop.
        index: usize,
        /// How much of it will be sent.
        lines: Lines,
        /// Whether the client said that it understands UTF-8. To one that didn't, a message that was sent as
        /// internationalized mail (RFC 6531) and has a header of UTF-8 is not given; see
        /// [`HeaderScan`](crate::HeaderScan).
        utf8: bool,
    },
    /// Delete the messages durably (RFC 1939 §6). Answers: [`Answer::Committed`], [`Answer::CommitUnknown`].
    Commit {
        /// The positions in the maildrop: rising, at least one.
        indexes: Vec<usize>,
    },
}

/// How a password came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By USER and PASS.
    UserPass,
    /// By AUTH.
    Sasl(Mechanism),
}

/// What the world says. An answer that does not belong to the ask ends the session with `[SYS/TEMP]`, and
/// the session deletes nothing.
#[derive(Debug)]
pub enum Answer<M> {
    /// Logged in: this is the maildrop.
    Opened(M),
    /// The name or the password is wrong, or the account may not log in. The client does not learn which.
    Refused,
    /// Another session has the maildrop.
    InUse,
    /// The user's last log-in is not long enough ago. Only for one who has shown the password: it tells that
    /// the user exists.
    TooSoon,
    /// This user has as many sessions as a user may have.
    TooManySessions,
    /// It cannot be done now: a store is away, a queue is full.
    Unavailable,
    /// The keys for SCRAM and a nonce that is used once.
    ScramKeys {
        /// Real or fake.
        keys: StoredKeys,
        /// From a cryptographic source.
        nonce: ServerNonce,
    },
    /// The first octets are at hand, and the rest will follow.
    Body,
    /// The maildrop lists the message, but its octets are not there: not yet, or no more.
    Missing,
    /// The octets are there and are not those of the message.
    Damaged,
    /// The message is for clients that asked for UTF-8, and this one did not.
    NeedsUtf8,
    /// All deletions are durable.
    Committed,
    /// Some deletions did not happen, or nobody knows.
    CommitUnknown,
}

/// A limit that ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`crate::BAD_COMMANDS_BEFORE_LOG_IN_MAX`] or [`crate::BAD_COMMANDS_AFTER_LOG_IN_MAX`].
    BadCommands,
    /// [`mailhorn_lines::ENDLESS_TIMES_LIMIT`].
    EndlessLine,
}

/// One client's session.
#[derive(Debug)]
pub struct Session<M> {
    options: Options,
    channel: Channel,
    /// RFC 6856 §2.1.
    utf8: bool,
    bad_commands: u8,
    reached: Option<Limit>,
    log_in_failures: u8,
    verb: Verb,
    state: State<M>,
}

/// Each state owns what only it has. A state in which an ask is outstanding takes no frame.
#[derive(Debug)]
enum State<M> {
    /// RFC 1939 §4; a name once USER has given one.
    Authorization { user: Option<String> },
    /// The next line is a SASL response (RFC 5034 §4).
    Responding {
        mechanism: Mechanism,
        exchange: Exchange,
    },
    /// [`Ask::LogIn`] or [`Ask::ScramLogIn`] is outstanding.
    LoggingIn,
    /// [`Ask::ScramKeys`] is outstanding.
    KeysAwaited(KeysAwaited),
    /// [`Ask::ScramRefused`] is outstanding.
    Refusing,
    /// The reply to STLS is on its way; the next thing is the handshake.
    TlsAwaited,
    /// RFC 1939 §5.
    Transaction(Transaction<M>),
    /// [`Ask::Body`] is outstanding.
    BodyAwaited {
        transaction: Transaction<M>,
        index: usize,
        lines: Lines,
    },
    /// [`Ask::Commit`] is outstanding: RFC 1939 §6.
    Update(Transaction<M>),
    /// Nothing comes after this.
    Closed,
}

impl<M: Maildrop> Session<M> {
    /// A session on a connection that has just been made.
    #[must_use]
    pub fn new(options: Options, channel: Channel) -> Self {
        Self {
            options,
            channel,
            utf8: false,
            bad_commands: 0,
            reached: None,
            log_in_failures: 0,
            verb: Verb::Unknown,
            state: State::Authorization { user: None },
        }
    }

    /// The first thing to send (RFC 1939 §4). It has no timestamp, because APOP is not offered.
    #[must_use]
    pub fn greeting(&self) -> Reply {
        Reply::Line(StatusLine::ok("POP3 server ready"))
    }

    /// Takes a command, or a SASL response where one is awaited. Frames must have been cut with the limit of
    /// [`Session::line_octets_max`].
    pub fn command(&mut self, frame: Frame) -> Step {
        let state = mem::replace(&mut self.state, State::Closed);
        let line = match frame {
            // It may hold a password: it is cleared when it has been read.
            Frame::Line(line) => Some(Secret::new(line)),
            Frame::TooLong => None,
            Frame::Endless => {
                self.verb = Verb::Unknown;
                return self.end_for(Limit::EndlessLine, "line without an end");
            }
        };
        match state {
            State::Authorization { user } => {
                let command = self.parse(line);
                self.authorization(user, command)
            }
            State::Responding { mechanism, exchange } => self.response(mechanism, exchange, line),
            State::Transaction(transaction) => {
                let command = self.parse(line);
                self.transaction(transaction, command)
            }
            State::LoggingIn
            | State::KeysAwaited(_)
            | State::Refusing
            | State::TlsAwaited
            | State::BodyAwaited { .. }
            | State::Update(_)
            | State::Closed => out_of_turn(),
        }
    }

    /// Takes the answer to the outstanding ask.
    pub fn answer(&mut self, answer: Answer<M>) -> Step {
        match mem::replace(&mut self.state, State::Closed) {
            State::LoggingIn => self.logged_in(answer),
            State::KeysAwaited(awaited) => self.keys(awaited, answer),
            State::Refusing => self.refused(&answer),
            State::BodyAwaited {
                transaction,
                index,
                lines,
            } => self.body(transaction, index, lines, &answer),
            State::Update(_) => updated(&answer),
            State::Authorization { .. }
            | State::Responding { .. }
            | State::TlsAwaited
            | State::Transaction(_)
            | State::Closed => out_of_turn(),
        }
    }

    /// The handshake that [`Step::ReplyThenTls`] asked for is done. What the client said before is forgotten
    /// (RFC 2595 §4); the counts of failures are not, they protect us and not the client. At any other
    /// time it does nothing.
    pub fn tls_started(&mut self) {
        if matches!(self.state, State::TlsAwaited) {
            self.channel = Channel::Tls;
            self.state = State::Authorization { user: None };
        }
    }

    /// The client was silent for too long, 10 minutes at the least. RFC 1939 §3: the connection is closed
    /// without a response, and nothing is deleted.
    pub fn timed_out(&mut self) -> Step {
        self.state = State::Closed;
        Step::Close
    }

    /// The server stops. Marked messages stay; what an outstanding [`Ask::Commit`] does is not known. Not to
    /// be called while a listing or a message is being sent: the reply would be in the middle of it.
    pub fn shutting_down(&mut self) -> Step {
        self.state = State::Closed;
        close_with(ResponseCode::SysTemp, "server is shutting down, try again later")
    }

    /// The limit of the next line, line end included: a response may be longer than a command.
    #[must_use]
    pub fn line_octets_max(&self) -> usize {
        match self.state {
            State::Responding { .. } | State::KeysAwaited(_) => RESPONSE_LINE_OCTETS_MAX,
            _ => COMMAND_OCTETS_MAX,
        }
    }

    /// The maildrop, from the log-in until the session ends.
    #[must_use]
    pub fn maildrop(&self) -> Option<&M> {
        self.opened().map(Transaction::maildrop)
    }

    /// Whether there is a maildrop.
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        self.opened().is_some()
    }

    /// The limit that it ended for, if it did.
    #[must_use]
    pub fn reached(&self) -> Option<Limit> {
        self.reached
    }

    /// The command that is being served or was served last, for metrics; AUTH also for its responses.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// Appends a reply, or its next part, to `out`.
    ///
    /// Only listings have parts: a call stops behind the line with which it has written `budget` octets, so
    /// `out` grows by less than `budget` plus 100 octets, and by one line at least. A listing belongs to the
    /// state it was made in and has to be encoded to its end before anything else goes in. If the session has
    /// ended meanwhile it stays without an end, as a client has to see it.
    pub fn encode(&self, reply: &mut Reply, out: &mut Vec<u8>, budget: usize) -> Encoded {
        match reply {
            Reply::Line(line) => line.encode_into(out),
            Reply::Challenge(challenge) => push_line(out, &[b"+ ", challenge.as_bytes()]),
            Reply::Capabilities(capabilities) => capabilities.encode_into(out),
            Reply::Mechanisms(mechanisms) => mechanisms.encode_into(out),
            Reply::Languages => push_languages(out),
            Reply::Listing(listing) => {
                let full = out.len().saturating_add(budget);
                return self.opened().map_or(Encoded::All, |transaction| {
                    encode_listing(transaction, listing, out, full)
                });
            }
        }
        Encoded::All
    }

    fn opened(&self) -> Option<&Transaction<M>> {
        match &self.state {
            State::Transaction(transaction)
            | State::BodyAwaited { transaction, .. }
            | State::Update(transaction) => Some(transaction),
            _ => None,
        }
    }

    /// Nothing stands for a line that was too long.
    fn parse(&mut self, line: Option<Secret>) -> Result<Command, SyntaxError> {
        let (verb, command) = match line {
            Some(line) => command::parse(line.declassify()),
            None => (Verb::Unknown, Err(SyntaxError::TooLong)),
        };
        self.verb = verb;
        command
    }

    fn go_on(&mut self, state: State<M>, reply: Reply) -> Step {
        self.state = state;
        Step::Reply(reply)
    }

    fn ask(&mut self, state: State<M>, ask: Ask) -> Step {
        self.state = state;
        Step::Ask(ask)
    }

    /// A line that was of no use. Too many of them end the session.
    fn bad(&mut self, state: State<M>, text: &'static str) -> Step {
        self.bad_commands = self.bad_commands.saturating_add(1);
        let max = match state {
            State::Transaction(_) => BAD_COMMANDS_AFTER_LOG_IN_MAX,
            _ => BAD_COMMANDS_BEFORE_LOG_IN_MAX,
        };
        if self.bad_commands >= max {
            return self.end_for(Limit::BadCommands, "too many bad commands");
        }
        self.go_on(state, error(text))
    }

    fn end_for(&mut self, limit: Limit, text: &'static str) -> Step {
        self.reached = Some(limit);
        Step::ReplyThenClose(error(text))
    }

    fn capabilities(&self, before_log_in: bool) -> Reply {
        Reply::Capabilities(Capabilities {
            mechanisms: self.mechanisms(),
            stls: before_log_in && self.options.stls && self.channel == Channel::Plain && !self.utf8,
            announced: Arc::clone(&self.options.announced),
        })
    }

    fn mechanisms(&self) -> Mechanisms {
        let plaintext = match (self.options.plaintext_log_in, self.channel) {
            (PlaintextLogIn::Always, _) | (PlaintextLogIn::OnlyWithTls, Channel::Tls) => true,
            (PlaintextLogIn::OnlyWithTls, Channel::Plain) => false,
        };
        Mechanisms {
            plaintext,
            scram: self.options.scram,
        }
    }
}

/// RFC 6856 §3.2. There is nothing to remember: the texts are the same under each tag.
fn language(range: Option<LanguageRange>) -> Reply {
    match range {
        None => Reply::Languages,
        Some(LanguageRange::Known(language)) => Reply::Line(StatusLine::ok(format!(
            "{} replies are in English",
            language.tag()
        ))),
        Some(LanguageRange::Unknown) => error("no such language, replies stay in English"),
    }
}

fn encode_listing<M: Maildrop>(
    transaction: &Transaction<M>,
    listing: &mut Listing,
    out: &mut Vec<u8>,
    full: usize,
) -> Encoded {
    loop {
        let from = match listing.next {
            Next::Status => {
                transaction.summary().encode_into(out);
                0
            }
            Next::Message(from) => {
                let Some(index) = transaction.live(from).next() else {
                    push_line(out, &[b"."]);
                    return Encoded::All;
                };
                let about = match listing.column {
                    Column::Size => About::Size(transaction.maildrop().size(index)),
                    Column::UniqueId => About::UniqueId(transaction.maildrop().unique_id(index)),
                };
                push_scan_line(out, index, &about);
                index.saturating_add(1)
            }
        };
        listing.next = Next::Message(from);
        if out.len() >= full {
            return Encoded::More;
        }
    }
}

/// The driver fed the session out of turn, which is a bug of ours. The client is told to come again, and
/// nothing is deleted that was not asked for before.
fn out_of_turn() -> Step {
    close_with(ResponseCode::SysTemp, "internal error, try again later")
}

/// RFC 1939 §6: the connection is closed whatever became of the deletions, and the reply does not claim more
/// than is known.
fn updated<M>(answer: &Answer<M>) -> Step {
    match answer {
        Answer::Committed => Step::ReplyThenClose(ok("messages deleted, bye")),
        _ => close_with(
            ResponseCode::SysTemp,
            "some deleted messages may not have been removed",
        ),
    }
}

fn ok(text: &'static str) -> Reply {
    Reply::Line(StatusLine::ok(text))
}

fn error(text: &'static str) -> Reply {
    Reply::Line(StatusLine::error(text))
}

fn error_with(code: ResponseCode, text: &'static str) -> Reply {
    Reply::Line(StatusLine::error_with(code, text))
}

fn close_with(code: ResponseCode, text: &'static str) -> Step {
    Step::ReplyThenClose(error_with(code, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tens of thousands of them wait at the same time.
    #[test]
    fn an_idle_session_is_small() {
        assert!(
            size_of::<Session<Arc<()>>>() <= 96,
            "{} octets",
            size_of::<Session<Arc<()>>>()
        );
    }
}
