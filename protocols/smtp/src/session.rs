//! One connection's side of the conversation: what may come when, and what is answered.

mod authentication;
mod transaction;

use std::borrow::Cow;
use std::mem;
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;

use mailhorn_lines::Frame;
use mailhorn_sasl::{Exchange, KeysAwaited, Mechanism, Secret};

use crate::address::{Address, Domain};
use crate::command::{ClientName, Command, SyntaxError};
use crate::limits::{
    AUTH_LINE_OCTETS_MAX, BAD_COMMANDS_MAX_DEFAULT, COMMAND_LINE_OCTETS_MAX, LOG_IN_FAILURES_MAX_DEFAULT,
    MESSAGES_MAX_DEFAULT, RECIPIENTS_MAX_DEFAULT, SIZE_OCTETS_MAX_DEFAULT,
};
use crate::reply::{self, Replies, Reply};
use crate::transmission::Hello;
use crate::turn::{Answer, DeliveryVerdict, RecipientVerdict, Step};
use transaction::Transaction;

/// CRLF, which the limits of lines count and a frame no longer has.
const LINE_END_OCTETS: usize = 2;

/// Which of the two protocols a listener speaks. They differ in the greeting, in `LHLO` for `EHLO`, and in
/// how many replies follow the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321: one reply after the content, for all recipients together.
    Smtp,
    /// RFC 2033: one reply for each accepted recipient.
    Lmtp,
}

/// Whether the octets of the connection are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// They are not.
    Plain,
    /// They are, from the first octet or since `STARTTLS`.
    Tls,
}

/// Who may send with an address of a local domain in the reverse-path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalSenders {
    /// Anyone, as SMTP has it (RFC 5321 §7.1).
    #[default]
    Anyone,
    /// Who has logged in, and with an address of their own alone. A peer that is [`Peer::trusted`] is not asked.
    Authenticated,
}

/// What is known of a client before it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Whether TLS is on from the first octet (RFC 8314 §3.3).
    pub security: Security,
    /// Whether it may send a password in clear.
    pub plaintext_log_in: bool,
    /// Whether SCRAM-SHA-256 is offered to it.
    pub scram: bool,
    /// Whether it may send with any address, as [`LocalSenders`] would forbid.
    pub trusted: bool,
}

impl Peer {
    /// One that can't log in in clear nor by SCRAM, and is not trusted.
    #[must_use]
    pub fn new(security: Security) -> Self {
        Self {
            security,
            plaintext_log_in: false,
            scram: false,
            trusted: false,
        }
    }
}

/// What all sessions of one listener have in common.
#[derive(Debug, Clone)]
pub struct Options {
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// Our name, in the greeting and in trace fields.
    pub hostname: Domain,
    /// Who gets mail to `<Postmaster>` without a domain (RFC 5321 §4.5.1).
    pub postmaster: Address,
    /// The largest content, in octets; announced with `SIZE`, where 0 would say that there is no limit
    /// (RFC 1870 §3), so it is at least 1.
    pub size_octets_max: u64,
    /// Accepted recipients of one transaction. RFC 5321 §4.5.3.1.8 asks for at least 100.
    pub recipients_max: usize,
    /// Wrong commands that are answered; one more ends the session with `421`.
    pub bad_commands_max: u32,
    /// Messages whose content was sent, taken or not, after which `MAIL` ends the session with `421`. `None` for a client
    /// that is to keep its connection, as a server in front of LMTP does.
    pub messages_max: Option<NonZeroU32>,
    /// Whether `AUTH` is offered (RFC 4954), where the client may send what it takes. Never on LMTP.
    pub auth: bool,
    /// So many log-ins that fail end the session with `421`.
    pub log_in_failures_max: NonZeroU8,
    /// Who may send with an address of ours. LMTP takes mail from a server that has seen to it.
    pub local_senders: LocalSenders,
    /// Whether `STARTTLS` is offered while the connection is [`Security::Plain`].
    pub starttls: bool,
}

impl Options {
    /// The limits of [`crate::limits`], no `STARTTLS` and no `AUTH`.
    #[must_use]
    pub fn new(protocol: Protocol, hostname: Domain, postmaster: Address) -> Self {
        Self {
            protocol,
            hostname,
            postmaster,
            size_octets_max: SIZE_OCTETS_MAX_DEFAULT,
            recipients_max: RECIPIENTS_MAX_DEFAULT,
            bad_commands_max: BAD_COMMANDS_MAX_DEFAULT,
            messages_max: match protocol {
                Protocol::Smtp => Some(MESSAGES_MAX_DEFAULT),
                Protocol::Lmtp => None,
            },
            auth: false,
            log_in_failures_max: LOG_IN_FAILURES_MAX_DEFAULT,
            local_senders: LocalSenders::Anyone,
            starttls: false,
        }
    }
}

/// The server's side of one SMTP or LMTP connection.
///
/// Each [`Step`] says which call comes next. A call out of turn is a fault of the driver; it ends the session
/// with `421 4.3.0` and never panics.
#[derive(Debug)]
pub struct Session {
    options: Arc<Options>,
    peer: Peer,
    authenticated: bool,
    log_in_failures: u8,
    bad_commands: u32,
    messages: u32,
    /// None until the client has introduced itself.
    client: Option<Client>,
    state: State,
}

#[derive(Debug)]
struct Client {
    name: ClientName,
    hello: Hello,
}

/// The content that comes in. The driver has the envelope.
#[derive(Debug, Clone, Copy)]
struct Content {
    /// Of the envelope.
    recipients: usize,
    /// Of all chunks so far, the one that comes in included.
    chunks_octets: u64,
    /// How many of them are the chunk that comes in; `None` where the content comes in whole or ends with it.
    not_last: Option<u64>,
}

/// Where the session is. What only one place needs lives in its variant.
#[derive(Debug, Default)]
enum State {
    /// No transaction.
    #[default]
    Idle,
    /// `MAIL` was accepted.
    Transaction(Box<Transaction>),
    /// The next line is a SASL response (RFC 4954 §4).
    Responding(Exchange),
    /// An [`Ask::ScramKeys`] is outstanding.
    KeysAwaited(KeysAwaited),
    /// An [`Ask::LogIn`] or [`Ask::ScramLogIn`] is outstanding.
    LoggingIn,
    /// An [`Ask::ScramRefused`] is outstanding.
    Refusing,
    /// An [`Ask::Sender`] is outstanding; the transaction begins if it is answered well.
    AskedForSender(Box<Transaction>),
    /// An [`Ask::Recipient`] is outstanding.
    AskedForRecipient(Box<Transaction>, Address),
    /// The driver takes content in, all of it or a chunk.
    Content(Content),
    /// A chunk was taken in that was not the last one; content goes on with `BDAT`.
    BetweenChunks(Content),
    /// An [`Ask::Deliver`] is outstanding.
    AskedToDeliver { recipients: usize },
    /// `STARTTLS` was accepted.
    StartingTls,
    /// The last reply was sent.
    Closed,
}

impl Session {
    /// A session at its beginning. The driver sends [`Session::greeting`] first.
    #[must_use]
    pub fn new(options: Arc<Options>, peer: Peer) -> Self {
        Self {
            options,
            peer,
            authenticated: false,
            log_in_failures: 0,
            bad_commands: 0,
            messages: 0,
            client: None,
            state: State::Idle,
        }
    }

    /// The first reply, before any command (RFC 5321 §3.1).
    #[must_use]
    pub fn greeting(&self) -> Replies {
        let protocol = match self.options.protocol {
            Protocol::Smtp => "ESMTP",
            Protocol::Lmtp => "LMTP",
        };
        reply::greeting(&self.options.hostname, protocol).into()
    }

    /// The limit of the next line, line end included: with a SASL response it may be longer.
    #[must_use]
    pub fn line_octets_max(&self) -> usize {
        if self.awaits_response() || self.mechanisms().next().is_some() {
            AUTH_LINE_OCTETS_MAX
        } else {
            COMMAND_LINE_OCTETS_MAX
        }
    }

    /// Whether the next line is a SASL response and not a command (RFC 4954 §4).
    #[must_use]
    pub fn awaits_response(&self) -> bool {
        matches!(self.state, State::Responding(_))
    }

    /// Obeys one line of the client. It was cut with the limit of [`Session::line_octets_max`].
    pub fn command(&mut self, frame: Frame) -> Step {
        let line = match frame {
            // It may have a password in it, and is cleared when it was read.
            Frame::Line(line) => Some(Secret::new(line)),
            Frame::TooLong => None,
            Frame::Endless => return self.close(reply::endless_line(&self.options.hostname)),
        };
        if self.awaits_response()
            && let State::Responding(exchange) = mem::take(&mut self.state)
        {
            return self.response(exchange, line);
        }
        if !matches!(
            self.state,
            State::Idle | State::Transaction(_) | State::BetweenChunks(_)
        ) {
            return self.out_of_turn();
        }
        let Some(line) = line.filter(is_within_limit) else {
            return self.bad_command(reply::LINE_TOO_LONG);
        };
        let smtputf8 = match &self.state {
            State::Transaction(transaction) => transaction.parameters.smtputf8,
            _ => false,
        };
        match Command::parse(line.declassify(), smtputf8) {
            Ok(command) => self.obey(command),
            Err(SyntaxError::ChunkSize) => self.close(reply::unreadable_chunk(&self.options.hostname)),
            Err(SyntaxError::ChunkEnd(octets)) => self.skip_chunk(octets, reply::BAD_ARGUMENTS.into()),
            Err(error) => self.bad_command(error.reply()),
        }
    }

    /// Goes on with what the driver found out.
    pub fn answer(&mut self, answer: Answer) -> Step {
        match (mem::take(&mut self.state), answer) {
            (State::AskedForRecipient(mut transaction, address), Answer::Recipient(verdict)) => {
                if verdict == RecipientVerdict::Accepted {
                    transaction.recipients.push(address);
                }
                self.state = State::Transaction(transaction);
                Step::Reply(verdict.reply().into())
            }
            (State::AskedToDeliver { recipients }, Answer::Delivered(verdicts)) => {
                let missing = std::iter::repeat(DeliveryVerdict::Unavailable);
                let verdicts = verdicts.into_iter().chain(missing).take(recipients).collect();
                Step::Reply(self.delivered(verdicts))
            }
            (State::AskedForSender(transaction), Answer::Sender(standing)) => {
                if let Some(refusal) = self.refusal_of_sender(standing) {
                    return say(refusal);
                }
                self.begin_transaction(transaction)
            }
            (State::LoggingIn, Answer::LoggedIn) => self.logged_in(),
            (State::LoggingIn | State::Refusing, Answer::Refused) => self.refuse_log_in(),
            (State::LoggingIn | State::KeysAwaited(_), Answer::Unavailable) => say(reply::LOG_IN_UNAVAILABLE),
            (State::KeysAwaited(awaited), Answer::ScramKeys { keys, nonce }) => {
                self.keys(awaited, keys, &nonce)
            }
            _ => self.out_of_turn(),
        }
    }

    /// The TLS handshake that [`Step::ReplyThenTls`] asked for is done. Nothing the client said before counts
    /// any more; it introduces itself again (RFC 3207 §4.2). There is no second greeting.
    pub fn tls_started(&mut self) {
        self.peer.security = Security::Tls;
        self.client = None;
        self.state = State::Idle;
    }

    /// The client was silent for too long (RFC 5321 §4.5.3.2.7).
    pub fn timed_out(&mut self) -> Step {
        self.close(reply::timed_out(&self.options.hostname))
    }

    /// The transaction has gone on for too long, with however little silence. Only while there is one, or octets of a
    /// chunk that was refused are read past.
    pub fn transaction_timed_out(&mut self) -> Step {
        self.close(reply::transaction_timed_out(&self.options.hostname))
    }

    /// The node goes down (RFC 5321 §3.8). A transaction under way is dropped, and the client tries again.
    pub fn shutting_down(&mut self) -> Step {
        self.close(reply::shutting_down(&self.options.hostname))
    }

    /// Whether a message is under way: between an accepted `MAIL` and the reply to its content.
    #[must_use]
    pub fn is_in_transaction(&self) -> bool {
        matches!(
            self.state,
            State::Transaction(_)
                | State::AskedForRecipient(..)
                | State::Content(_)
                | State::BetweenChunks(_)
                | State::AskedToDeliver { .. }
        )
    }

    fn obey(&mut self, command: Command) -> Step {
        match (self.options.protocol, command) {
            (Protocol::Smtp, Command::Helo(name)) => self.hello(name, Hello::Helo),
            (Protocol::Smtp, Command::Ehlo(name)) => self.hello(name, Hello::Ehlo),
            (Protocol::Lmtp, Command::Lhlo(name)) => self.hello(name, Hello::Lhlo),
            // RFC 2033 §4.1: HELO and EHLO must not succeed in LMTP. The other way round LHLO is unknown.
            (Protocol::Lmtp, Command::Helo(_) | Command::Ehlo(_)) | (Protocol::Smtp, Command::Lhlo(_)) => {
                self.bad_command(reply::UNRECOGNISED)
            }
            (_, Command::Mail(reverse_path, parameters)) => self.mail(reverse_path, parameters),
            (_, Command::Rcpt(forward_path)) => self.rcpt(forward_path),
            (_, Command::Data) => self.data(),
            (_, Command::Bdat { octets, last }) => self.bdat(octets, last),
            (_, Command::Rset) => {
                self.state = State::Idle;
                say(reply::OK)
            }
            (_, Command::Noop) => say(reply::OK),
            (_, Command::Help) => say(reply::HELP),
            (_, Command::Vrfy) => say(reply::CANNOT_VERIFY),
            (_, Command::Expn) => self.bad_command(reply::NOT_IMPLEMENTED),
            (_, Command::StartTls) => self.start_tls(),
            (_, Command::Auth { mechanism, initial }) => self.auth(&mechanism, initial.as_ref()),
            (_, Command::Quit) => self.close(reply::BYE),
        }
    }

    /// RFC 5321 §4.1.1.1 and §4.1.4: ends a transaction, as `RSET` does.
    fn hello(&mut self, name: ClientName, hello: Hello) -> Step {
        self.state = State::Idle;
        self.client = Some(Client { name, hello });
        let extensions = match hello {
            Hello::Helo => Vec::new(),
            Hello::Ehlo | Hello::Lhlo => self.extensions(),
        };
        say(reply::hello(&self.options.hostname, extensions))
    }

    fn extensions(&self) -> Vec<Cow<'static, str>> {
        let mut extensions = vec![
            "PIPELINING".into(),
            format!("SIZE {}", self.options.size_octets_max).into(),
            "8BITMIME".into(),
            "CHUNKING".into(),
            "SMTPUTF8".into(),
            "ENHANCEDSTATUSCODES".into(),
        ];
        if self.options.starttls && self.peer.security == Security::Plain && !self.authenticated {
            extensions.push("STARTTLS".into());
        }
        let mechanisms: Vec<&str> = self.mechanisms().map(Mechanism::name).collect();
        if !mechanisms.is_empty() {
            extensions.push(format!("AUTH {}", mechanisms.join(" ")).into());
        }
        extensions
    }

    fn start_tls(&mut self) -> Step {
        if self.peer.security == Security::Tls {
            return self.bad_command(reply::TLS_ALREADY);
        }
        if self.authenticated {
            return self.bad_command(reply::TLS_TOO_LATE);
        }
        if !self.options.starttls {
            return self.bad_command(reply::NOT_IMPLEMENTED);
        }
        self.state = State::StartingTls;
        Step::ReplyThenTls(reply::READY_FOR_TLS.into())
    }

    /// Answers a command that should not have come, and ends the session when there were too many of them.
    fn bad_command(&mut self, reply: Reply) -> Step {
        self.bad_commands = self.bad_commands.saturating_add(1);
        if self.bad_commands > self.options.bad_commands_max {
            return self.close(reply::too_many_errors(&self.options.hostname));
        }
        say(reply)
    }

    fn out_of_turn(&mut self) -> Step {
        self.close(reply::internal_error(&self.options.hostname))
    }

    fn close(&mut self, reply: Reply) -> Step {
        self.state = State::Closed;
        Step::ReplyThenClose(reply.into())
    }
}

/// A line that is longer than a command may be is one of `AUTH`, or it is too long.
fn is_within_limit(line: &Secret) -> bool {
    let line = line.declassify();
    let is_auth = line
        .get(..5)
        .is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
    is_auth || line.len() <= COMMAND_LINE_OCTETS_MAX.saturating_sub(LINE_END_OCTETS)
}

fn say(reply: Reply) -> Step {
    Step::Reply(reply.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_are_those_the_rfcs_ask_for() {
        let hostname = Domain::parse("mx.example.org").unwrap();
        let postmaster = Address::parse("postmaster@example.org").unwrap();
        let options = Options::new(Protocol::Smtp, hostname, postmaster);
        assert!(options.recipients_max >= 100, "RFC 5321 §4.5.3.1.8");
        assert!(options.size_octets_max >= 64 * 1024, "RFC 5321 §4.5.3.1.7");
        assert!(!options.starttls);
    }

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Session>() <= 96, "{} octets", size_of::<Session>());
    }
}
