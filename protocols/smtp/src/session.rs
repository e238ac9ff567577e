//! One connection's side of the conversation: what may come when, and what is answered.

mod transaction;

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use mailhorn_lines::Frame;

use crate::address::{Address, Domain};
use crate::command::{ClientName, Command, SyntaxError};
use crate::limits::{BAD_COMMANDS_MAX_DEFAULT, RECIPIENTS_MAX_DEFAULT, SIZE_OCTETS_MAX_DEFAULT};
use crate::reply::{self, Replies, Reply};
use crate::transmission::Hello;
use crate::turn::{Answer, DeliveryVerdict, RecipientVerdict, Step};
use transaction::Transaction;

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
    /// Whether `STARTTLS` is offered while the connection is [`Security::Plain`].
    pub starttls: bool,
}

impl Options {
    /// The limits of [`crate::limits`], and no `STARTTLS`.
    #[must_use]
    pub fn new(protocol: Protocol, hostname: Domain, postmaster: Address) -> Self {
        Self {
            protocol,
            hostname,
            postmaster,
            size_octets_max: SIZE_OCTETS_MAX_DEFAULT,
            recipients_max: RECIPIENTS_MAX_DEFAULT,
            bad_commands_max: BAD_COMMANDS_MAX_DEFAULT,
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
    security: Security,
    bad_commands: u32,
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
    pub fn new(options: Arc<Options>, security: Security) -> Self {
        Self {
            options,
            security,
            bad_commands: 0,
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

    /// Obeys one line of the client.
    pub fn command(&mut self, frame: Frame) -> Step {
        if !matches!(
            self.state,
            State::Idle | State::Transaction(_) | State::BetweenChunks(_)
        ) {
            return self.out_of_turn();
        }
        let Frame::Line(line) = frame else {
            return self.bad_command(reply::LINE_TOO_LONG);
        };
        let smtputf8 = match &self.state {
            State::Transaction(transaction) => transaction.parameters.smtputf8,
            _ => false,
        };
        match Command::parse(&line, smtputf8) {
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
            _ => self.out_of_turn(),
        }
    }

    /// The TLS handshake that [`Step::ReplyThenTls`] asked for is done. Nothing the client said before counts
    /// any more; it introduces itself again (RFC 3207 §4.2). There is no second greeting.
    pub fn tls_started(&mut self) {
        self.security = Security::Tls;
        self.client = None;
        self.state = State::Idle;
    }

    /// The client was silent for too long (RFC 5321 §4.5.3.2.7).
    pub fn timed_out(&mut self) -> Step {
        self.close(reply::timed_out(&self.options.hostname))
    }

    /// The node goes down (RFC 5321 §3.8). A transaction under way is dropped, and the client tries again.
    pub fn shutting_down(&mut self) -> Step {
        self.close(reply::shutting_down(&self.options.hostname))
    }

    /// Whether a message is under way: between an accepted `MAIL` and the reply to its content.
    #[must_use]
    pub fn is_in_transaction(&self) -> bool {
        !matches!(self.state, State::Idle | State::StartingTls | State::Closed)
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
        if self.options.starttls && self.security == Security::Plain {
            extensions.push("STARTTLS".into());
        }
        extensions
    }

    fn start_tls(&mut self) -> Step {
        if self.security == Security::Tls {
            return self.bad_command(reply::TLS_ALREADY);
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
