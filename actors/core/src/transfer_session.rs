//! The mail transfer session actor, for SMTP and LMTP: drives one [`mailhorn_smtp::Session`] over one connection.
//!
//! **Owns** the connection, the session value and the message that is coming in. **Guarantees** that a `250` after the
//! data comes after the message is durable, and that a message is never held in memory as a whole. **Never** restarted:
//! the client tries again, and a retry whose first try was stored is known ([`crate::delivery`]).

mod content;
mod log_in;
mod replies;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use ipnet::IpNet;
use mailhorn_lines::Framer;
use mailhorn_ports::{Account, Ids, MailStore};
use mailhorn_smtp::{
    Address, Answer, Ask, Options, Peer, Protocol, RecipientVerdict, Security, Session, Step,
};
use rustls::ServerConfig;
use tokio::time::Instant;

use self::content::Receiving;
use self::log_in::LogIn;
pub use self::replies::{ban_notice, refusal};
use crate::acceptor::{Accepted, Seat};
use crate::admission::ConnectionPermit;
use crate::auth::{AllowPlaintext, Authenticator};
use crate::bans::Bans;
use crate::delivery::Notes;
use crate::drain::DrainWatch;
use crate::log::LogHandle;
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::peers::is_in;
use crate::quota::{QuotaVerdict, Quotas};
use crate::recipients::{Owner, Recipients};
use crate::transport::{Connection, HANDSHAKE_TIMEOUT, WRITE_TIMEOUT, counted};

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
    /// How long a transaction may take, from `MAIL` to the end of its content.
    pub transaction_timeout: Duration,
    /// How long a client may take none of what is sent to it.
    pub write_stall: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// When a password may be sent in clear.
    pub allow_plaintext: AllowPlaintext,
    /// Peers that may send with any address (`smtp.local_senders`).
    pub trusted_networks: Vec<IpNet>,
    /// Whether notes of deliveries are kept at all (`smtp.duplicate_window` is not 0).
    pub notes: bool,
}

/// What SMTP or LMTP sessions need.
#[derive(Debug)]
pub struct TransferDeps {
    /// Limits and time-outs.
    pub options: TransferOptions,
    /// TLS, for STARTTLS and for the port that begins with it; `None` where it is not offered.
    pub tls: Option<Arc<ServerConfig>>,
    /// Octets.
    pub store: Arc<dyn MailStore>,
    /// Passwords.
    pub auth: Arc<Authenticator>,
    /// Who is not served.
    pub bans: Bans,
    /// Whose an address is.
    pub recipients: Recipients,
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

    /// What is known of a client from its address alone.
    async fn peer(&self, peer: IpAddr, security: Security) -> Peer {
        let options = &self.options;
        Peer {
            security,
            plaintext_log_in: options.allow_plaintext.allows(peer),
            scram: options.session.auth && self.auth.scram_offered().await,
            trusted: is_in(&options.trusted_networks, peer),
        }
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
    begin: Option<Box<Begin>>,
}

#[derive(Debug)]
struct Begin {
    accepted: Accepted,
    deps: Arc<TransferDeps>,
    security: Security,
}

impl TransferSession {
    /// A session for a connection that was accepted. With [`Security::Tls`] TLS begins at once (RFC 8314 §3.3).
    #[must_use]
    pub fn new(accepted: Accepted, deps: Arc<TransferDeps>, security: Security) -> Self {
        Self {
            begin: Some(Box::new(Begin {
                accepted,
                deps,
                security,
            })),
        }
    }
}

impl Actor for TransferSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(begin) = self.begin.take() else {
            return ctx.stop();
        };
        // Nothing else runs in this actor: the conversation is its one task, and it ends with it.
        ctx.wait(
            Conversation::hold(begin)
                .into_actor(self)
                .map(|(), _, ctx| ctx.stop()),
        );
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
    log_in: LogIn,
    /// Since when the client has owed a whole command.
    waiting_since: Option<Instant>,
    /// When the transaction has to have its content.
    transaction_ends: Option<Instant>,
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
    /// The whole conversation. Its rare and large parts are boxed where they are called, so that what waits for the
    /// next command is small.
    async fn hold(begin: Box<Begin>) {
        let security = begin.security;
        match Box::pin(Self::begin(*begin)).await {
            Ok(conversation) => conversation.run(security).await,
            Err(error) => tracing::debug!(%error, "a connection was gone before it began"),
        }
    }

    async fn begin(
        Begin {
            accepted,
            deps,
            security,
        }: Begin,
    ) -> io::Result<Box<Self>> {
        let connection = Connection::new(accepted.socket, accepted.peer)?;
        let peer = deps.peer(connection.peer(), security).await;
        let session = Session::new(Arc::clone(&deps.options.session), peer);
        Ok(Box::new(Self {
            framer: Framer::new(session.line_octets_max()),
            session,
            connection,
            out: Vec::new(),
            accepted: Vec::new(),
            log_in: LogIn::default(),
            waiting_since: None,
            transaction_ends: None,
            receiving: None,
            unread: Notes::new(deps.log.clone()),
            alive: deps.kind.born(),
            drain: deps.drain.clone(),
            _permit: accepted.permit,
            _seat: accepted.seat,
            deps,
        }))
    }

    async fn run(mut self: Box<Self>, security: Security) {
        let ended = self.talk(security).await;
        self.unread.keep();
        match ended {
            Ok(()) => Box::pin(self.connection.close(CLOSE_DEADLINE)).await,
            Err(error) => {
                let peer = self.connection.peer();
                tracing::debug!(session = self.alive.number(), protocol = self.deps.protocol(), %peer, %error, "connection lost");
            }
        }
    }

    async fn talk(&mut self, security: Security) -> io::Result<()> {
        if security == Security::Tls {
            self.start_tls().await?;
        }
        let greeting = self.session.greeting();
        greeting.encode(&mut self.out);
        loop {
            self.framer.set_limit(self.session.line_octets_max());
            let step = match self.framer.next_frame() {
                Some(frame) => {
                    self.waiting_since = None;
                    let begun = Instant::now();
                    let verb = self.verb(&frame);
                    let step = self.session.command(frame);
                    let next = self.perform(step, verb).await?;
                    self.deps.kind.handled(1, begun);
                    if self.session.is_in_transaction() {
                        self.time_transaction();
                    } else {
                        self.accepted.clear();
                        self.receiving = None;
                        self.transaction_ends = None;
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
        // An octet of a command is not the command: a client that sends one now and then is as silent.
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let deadline = self.deadline(since);
        if deadline <= Instant::now() {
            return Ok(Fill::End(self.out_of_time()));
        }
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
            () = tokio::time::sleep_until(deadline) => Ok(Fill::End(self.out_of_time())),
        }
    }

    async fn ask(&mut self, ask: Ask) -> io::Result<Answer> {
        Ok(match ask {
            Ask::Recipient {
                address,
                declared_octets,
            } => Answer::Recipient(self.recipient(address, declared_octets).await),
            Ask::Sender { address } => Answer::Sender(self.sender(&address).await),
            Ask::Deliver => {
                let verdicts = self.deliver().await;
                // What came in with the message can't be an answer to our reply.
                let framer = &mut self.framer;
                self.connection.read_ready(|octets| framer.push(octets)).await?;
                Answer::Delivered(verdicts)
            }
            Ask::LogIn { user, password } => {
                // It may take long; what was answered before it must not wait for it.
                self.flush().await?;
                self.password(&user, &password).await
            }
            Ask::ScramKeys { user } => self.scram_keys(&user).await,
            Ask::ScramRefused { .. } => self.scram_refused().await,
            Ask::ScramLogIn { .. } => self.scram_verified().await,
        })
    }

    async fn perform(&mut self, mut step: Step, verb: &'static str) -> io::Result<Next> {
        loop {
            step = match step {
                Step::Ask(ask) => {
                    let answer = Box::pin(self.ask(ask)).await?;
                    self.session.answer(answer)
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
        let handshake = self
            .connection
            .start_tls(config, self.deps.options.handshake_timeout);
        counted(&self.deps.metrics, HANDSHAKE_TIMEOUT, Box::pin(handshake).await)
    }

    async fn recipient(&mut self, address: Address, declared_octets: Option<u64>) -> RecipientVerdict {
        match self.deps.recipients.owner(&address).await {
            Ok(Owner::Account(account)) => {
                let verdict = self.room(&account, declared_octets).await;
                if verdict == RecipientVerdict::Accepted {
                    self.accepted.push((address, account));
                }
                verdict
            }
            Ok(Owner::Nobody) => RecipientVerdict::NoSuchUser,
            Ok(Owner::Elsewhere) => RecipientVerdict::NotLocal,
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

    async fn flush(&mut self) -> io::Result<()> {
        let written = self
            .connection
            .write(&mut self.out, self.deps.options.write_stall)
            .await;
        counted(&self.deps.metrics, WRITE_TIMEOUT, written)
    }
}

enum Fill {
    Octets,
    Gone,
    End(Step),
}
