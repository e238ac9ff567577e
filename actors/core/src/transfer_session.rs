//! The mail transfer session actor, for SMTP and LMTP: drives one [`mailhorn_smtp::Session`] over one connection.
//!
//! **Owns** the connection, the session value and the message that is coming in. **Guarantees** that a `250` after the
//! data comes after the message is durable, and that a message is never held in memory as a whole. **Never** restarted:
//! the client tries again, and a retry whose first try was stored is known ([`crate::delivery`]).

mod content;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use mailhorn_lines::{Frame, Framer};
use mailhorn_ports::{Account, Directory, Ids, MailStore};
use mailhorn_smtp::{
    Address, Answer, Ask, Limit, Options, Protocol, RecipientVerdict, Replies, Reply, Security, Session,
    Step, limits,
};
use rustls::ServerConfig;
use tokio::time::Instant;

use self::content::Receiving;
use crate::acceptor::{Accepted, Seat};
use crate::admission::ConnectionPermit;
use crate::delivery::Notes;
use crate::drain::DrainWatch;
use crate::log::LogHandle;
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::quota::{QuotaVerdict, Quotas};
use crate::transport::Connection;

/// How long a good-bye may take.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// What refusals for a quota are counted under, among the limits that were reached.
pub(crate) const QUOTA_LIMIT: &str = "quota";

/// How SMTP or LMTP sessions behave.
#[derive(Debug, Clone)]
pub struct TransferOptions {
    /// The protocol's own.
    pub session: Arc<Options>,
    /// Silence before a session ends (RFC 5321 §4.5.3.2.7: five minutes).
    pub idle_timeout: Duration,
    /// How long a client may take none of what is sent to it.
    pub write_stall: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Whether notes of deliveries are kept at all (`smtp.duplicate_window` is not 0).
    pub notes: bool,
}

/// What SMTP or LMTP sessions need.
#[derive(Debug)]
pub struct TransferDeps {
    /// Limits and time-outs.
    pub options: TransferOptions,
    /// TLS, for STARTTLS; `None` where it is not offered.
    pub tls: Option<Arc<ServerConfig>>,
    /// Octets.
    pub store: Arc<dyn MailStore>,
    /// Recipients.
    pub directory: Arc<dyn Directory>,
    /// Whether mail fits; `None` where quotas are switched off.
    pub quotas: Option<Arc<Quotas>>,
    /// Changes.
    pub log: LogHandle,
    /// Time and names.
    pub ids: Ids,
    /// The node's end.
    pub drain: DrainWatch,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The kind's counters.
    pub kind: Arc<Kind>,
}

impl TransferDeps {
    /// Whether each recipient has a reply of its own after the data.
    pub(crate) fn is_lmtp(&self) -> bool {
        self.options.session.protocol == Protocol::Lmtp
    }

    /// The protocol's name in logs and metrics.
    fn protocol(&self) -> &'static str {
        match self.options.session.protocol {
            Protocol::Smtp => "smtp",
            Protocol::Lmtp => "lmtp",
        }
    }
}

/// One session.
#[derive(Debug)]
pub struct TransferSession {
    begin: Option<(Accepted, Arc<TransferDeps>)>,
}

impl TransferSession {
    /// A session for a connection that was accepted.
    #[must_use]
    pub fn new(accepted: Accepted, deps: Arc<TransferDeps>) -> Self {
        Self {
            begin: Some((accepted, deps)),
        }
    }
}

impl Actor for TransferSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some((accepted, deps)) = self.begin.take() else {
            return ctx.stop();
        };
        match Conversation::begin(accepted, deps) {
            // Nothing else runs in this actor: the conversation is its one task, and it ends with it.
            Ok(conversation) => ctx.wait(conversation.run().into_actor(self).map(|(), _, ctx| ctx.stop())),
            Err(error) => {
                tracing::debug!(%error, "a connection was gone before it began");
                ctx.stop();
            }
        }
    }
}

enum Next {
    Command,
    Close,
}

#[derive(Debug)]
struct Conversation {
    deps: Arc<TransferDeps>,
    connection: Connection,
    framer: Framer,
    out: Vec<u8>,
    session: Session,
    /// The accounts of the recipients that were accepted in this transaction.
    accepted: Vec<(Address, Arc<Account>)>,
    /// The message that is coming in.
    receiving: Option<Box<Receiving>>,
    /// Notes of what was answered `250`, until something shows that the reply was read.
    unread: Notes,
    drain: DrainWatch,
    _permit: ConnectionPermit,
    _seat: Seat,
    alive: Alive,
}

impl Conversation {
    fn begin(accepted: Accepted, deps: Arc<TransferDeps>) -> io::Result<Box<Self>> {
        let connection = Connection::new(accepted.socket, accepted.peer)?;
        Ok(Box::new(Self {
            session: Session::new(Arc::clone(&deps.options.session), Security::Plain),
            connection,
            framer: Framer::new(limits::COMMAND_LINE_OCTETS_MAX),
            out: Vec::new(),
            accepted: Vec::new(),
            receiving: None,
            unread: Notes::new(deps.log.clone()),
            alive: deps.kind.born(),
            drain: deps.drain.clone(),
            _permit: accepted.permit,
            _seat: accepted.seat,
            deps,
        }))
    }

    async fn run(mut self: Box<Self>) {
        let ended = self.talk().await;
        self.unread.keep();
        match ended {
            Ok(()) => Box::pin(self.connection.close(CLOSE_DEADLINE)).await,
            Err(error) => {
                let peer = self.connection.peer();
                tracing::debug!(session = self.alive.number(), protocol = self.deps.protocol(), %peer, %error, "connection lost");
            }
        }
    }

    async fn talk(&mut self) -> io::Result<()> {
        let greeting = self.session.greeting();
        greeting.encode(&mut self.out);
        loop {
            let step = match self.framer.next_frame() {
                Some(frame) => {
                    let begun = Instant::now();
                    let verb = verb(&frame);
                    let step = self.session.command(frame);
                    let next = self.perform(step, verb).await?;
                    self.deps.kind.handled(1, begun);
                    if !self.session.is_in_transaction() {
                        self.accepted.clear();
                        self.receiving = None;
                    }
                    match next {
                        Next::Command => continue,
                        Next::Close => return self.flush().await,
                    }
                }
                None => {
                    self.flush().await?;
                    self.out = Vec::new();
                    match self.fill().await? {
                        Fill::Octets => continue,
                        Fill::Gone => return Ok(()),
                        Fill::End(step) => step,
                    }
                }
            };
            self.perform(step, "NONE").await?;
            return self.flush().await;
        }
    }

    /// Waits for octets, or for a reason to end. A transaction that has begun may go on while the node drains.
    async fn fill(&mut self) -> io::Result<Fill> {
        let was_empty = self.framer.is_empty();
        let framer = &mut self.framer;
        let read = self.connection.read(|octets| framer.push(octets));
        let in_transaction = self.session.is_in_transaction();
        let drain = &mut self.drain;
        let ending = async {
            if in_transaction {
                drain.deadline().await
            } else {
                drain.wait().await
            }
        };
        tokio::select! {
            biased;
            read = read => {
                if read? == 0 {
                    return Ok(Fill::Gone);
                }
                // The client goes on after it was answered: it has its reply. What was on its way together with the
                // message says nothing, and was taken in before the reply was written.
                if was_empty {
                    self.unread.were_read();
                }
                Ok(Fill::Octets)
            }
            () = ending => Ok(Fill::End(self.session.shutting_down())),
            () = tokio::time::sleep(self.deps.options.idle_timeout) => Ok(Fill::End(self.idle_for_too_long())),
        }
    }

    fn idle_for_too_long(&mut self) -> Step {
        self.deps.metrics.limit(match self.deps.options.session.protocol {
            Protocol::Smtp => "smtp.idle_timeout",
            Protocol::Lmtp => "lmtp.idle_timeout",
        });
        self.session.timed_out()
    }

    async fn perform(&mut self, mut step: Step, verb: &'static str) -> io::Result<Next> {
        loop {
            step = match step {
                Step::Ask(Ask::Recipient {
                    address,
                    declared_octets,
                }) => {
                    let verdict = Box::pin(self.recipient(address, declared_octets)).await;
                    self.session.answer(Answer::Recipient(verdict))
                }
                Step::Ask(Ask::Deliver) => {
                    let verdicts = Box::pin(self.deliver()).await;
                    // What came in with the message can't be an answer to our reply.
                    let framer = &mut self.framer;
                    self.connection.read_ready(|octets| framer.push(octets)).await?;
                    self.session.answer(Answer::Delivered(verdicts))
                }
                Step::Reply(replies) => {
                    self.reply(&replies, verb);
                    return Ok(Next::Command);
                }
                Step::Data { reply, envelope } => {
                    self.reply(&reply, verb);
                    self.flush().await?;
                    Box::pin(self.data(envelope)).await?
                }
                Step::Chunk {
                    envelope,
                    octets,
                    last,
                } => Box::pin(self.chunk(envelope, octets, last)).await?,
                Step::SkipChunk { octets, reply } => match Box::pin(self.skip_chunk(octets)).await? {
                    Some(end) => end,
                    None => Step::Reply(reply),
                },
                Step::ReplyThenTls(replies) => {
                    if !self.framer.is_empty() {
                        return Ok(Next::Close);
                    }
                    self.reply(&replies, verb);
                    self.flush().await?;
                    self.start_tls().await?;
                    self.session.tls_started();
                    return Ok(Next::Command);
                }
                Step::ReplyThenClose(replies) => {
                    self.reply(&replies, verb);
                    return Ok(Next::Close);
                }
            }
        }
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        let Some(config) = self.deps.tls.clone() else {
            return Err(io::Error::other("TLS was asked for where it is not offered"));
        };
        Box::pin(
            self.connection
                .start_tls(config, self.deps.options.handshake_timeout),
        )
        .await
    }

    async fn recipient(&mut self, address: Address, declared_octets: Option<u64>) -> RecipientVerdict {
        let looked_up = match self.deps.directory.account(&address.to_string()).await {
            Ok(Some(account)) => {
                let verdict = self.room(&account, declared_octets).await;
                if verdict == RecipientVerdict::Accepted {
                    self.accepted.push((address, account));
                }
                return verdict;
            }
            Ok(None) => self.deps.directory.is_local(address.domain().as_str()).await,
            Err(error) => Err(error),
        };
        match looked_up {
            Ok(true) => RecipientVerdict::NoSuchUser,
            Ok(false) => RecipientVerdict::NotLocal,
            Err(error) => {
                tracing::warn!(session = self.alive.number(), %error, "a recipient can't be looked up");
                RecipientVerdict::Unavailable
            }
        }
    }

    /// Whether the account may get a message of about that size.
    ///
    /// On SMTP this is the last word: one reply after the data speaks for all recipients, so whoever was accepted here
    /// gets the message. A retry can't be known here, for its content has not come: where the first try itself filled
    /// the mailbox, its sender hears `452` until there is room, and may at last be told that the message failed which
    /// is there. LMTP knows better: where notes are kept, a full mailbox waits for the content, whose digest shows
    /// whether this is a retry, and the reply after the data is each recipient's own. A message too large to ever
    /// fit is refused here on both: its first try was not stored either, unless the limit was lowered in between.
    async fn room(&self, account: &Account, declared_octets: Option<u64>) -> RecipientVerdict {
        let Some(quotas) = &self.deps.quotas else {
            return RecipientVerdict::Accepted;
        };
        let octets = declared_octets.unwrap_or(0);
        let verdict = match quotas.ask(account.id, &account.address, octets).await {
            Ok(QuotaVerdict::Fits) => return RecipientVerdict::Accepted,
            Ok(QuotaVerdict::Full) if self.deps.is_lmtp() && self.deps.options.notes => {
                return RecipientVerdict::Accepted;
            }
            Ok(QuotaVerdict::Full) => RecipientVerdict::MailboxFull,
            Ok(QuotaVerdict::TooLarge) => RecipientVerdict::OverQuota,
            Err(error) => {
                tracing::warn!(session = self.alive.number(), %error, "a recipient's quota can't be asked");
                return RecipientVerdict::Unavailable;
            }
        };
        self.deps.metrics.limit(QUOTA_LIMIT);
        verdict
    }

    fn reply(&mut self, replies: &Replies, verb: &'static str) {
        for reply in replies.iter() {
            let result = match reply.code() {
                ..400 => "ok",
                400..500 => "temporary",
                500.. => "refused",
            };
            tracing::trace!(
                session = self.alive.number(),
                protocol = self.deps.protocol(),
                verb,
                reply = reply.code(),
                "command"
            );
            self.deps.metrics.command(self.deps.protocol(), verb, result);
        }
        if let Some(limit) = replies.iter().find_map(Reply::limit) {
            self.deps.metrics.limit(setting(limit));
        }
        replies.encode(&mut self.out);
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.connection
            .write(&mut self.out, self.deps.options.write_stall)
            .await
    }
}

enum Fill {
    Octets,
    Gone,
    End(Step),
}

/// What is told to a connection that may not come in.
#[must_use]
pub fn refusal(options: &Options) -> Vec<u8> {
    let mut octets = Vec::new();
    mailhorn_smtp::too_many_connections(&options.hostname).encode(&mut octets);
    octets
}

/// The setting of a limit that was reached: of SMTP, and LMTP has it too.
fn setting(limit: Limit) -> &'static str {
    match limit {
        Limit::MessageSize => "smtp.max_message_size",
        Limit::Recipients => "smtp.max_recipients",
        Limit::BadCommands => "smtp.max_bad_commands",
    }
}

/// The command's verb for the metric: one of a known set, so that a client can't make up new ones.
fn verb(frame: &Frame) -> &'static str {
    const VERBS: [&str; 14] = [
        "HELO", "EHLO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "EXPN",
        "HELP", "STARTTLS",
    ];
    let Frame::Line(line) = frame else { return "other" };
    let word = line.split(|octet| *octet == b' ').next().unwrap_or_default();
    VERBS
        .into_iter()
        .find(|verb| verb.as_bytes().eq_ignore_ascii_case(word))
        .unwrap_or("other")
}
