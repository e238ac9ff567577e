//! The POP3 session actor: drives one [`mailhorn_pop3::Session`] over one connection.
//!
//! **Owns** the connection, the session value, the maildrop's lock and the permits; when it ends, they end with it.
//! **Guarantees** that commands are answered in order, that nothing is removed but by QUIT, and that `+OK` to QUIT
//! comes after the removal is durable, and that nothing is removed once the lock was lost to another session. **Never**
//! restarted: the client connects again.

mod answers;
mod login_delay;
mod utf8;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use mailhorn_lines::Framer;
use mailhorn_pop3::{
    Announced, Channel, Encoded, Limit, Options, PlaintextLogIn, Reply, Session, StatusLine, Step,
};
use mailhorn_ports::{Account, Ids, MailStore};
use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use self::login_delay::{Allowed, LOGINS_REMEMBERED_MAX, LoginDelay, TooSoon};

use self::answers::Body;
use crate::acceptor::{Accepted, Seat};
use crate::admission::{Admission, ConnectionPermit, UserPermit};
use crate::auth::{AllowPlaintext, Authenticator, ScramUnderway};
use crate::bans::Bans;
use crate::drain::DrainWatch;
use crate::log::LogHandle;
use crate::mailbox::{Listing, LockMode, Mailboxes, MaildropLock};
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::read_ahead::ReadAhead;
use crate::transport::{Connection, HANDSHAKE_TIMEOUT, WRITE_TIMEOUT, counted};

/// Reply octets that are gathered before they are sent. What a session holds of a message at most is this, a chunk
/// and a chunk's dots.
pub const REPLY_OCTETS_MAX: usize = 32 * 1024;
/// How long a good-bye may take.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// How POP3 sessions behave.
#[derive(Debug, Clone)]
pub struct Pop3Options {
    /// Silence before a session ends (RFC 1939 §3: at least ten minutes).
    pub idle_timeout: Duration,
    /// Silence before a session that has not logged in ends.
    pub log_in_timeout: Duration,
    /// How long a client may take none of what is sent to it.
    pub write_stall: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// One session a maildrop, or many.
    pub lock: LockMode,
    /// How long a session waits for another one's lock.
    pub lock_wait: Duration,
    /// When a password may be sent in clear.
    pub allow_plaintext: AllowPlaintext,
    /// Failed log-ins that end a connection.
    pub log_in_failures_max: std::num::NonZeroU8,
    /// What CAPA says of the operator's policy; a delay between log-ins is kept by [`Pop3Deps::login_delay`].
    pub announced: Arc<Announced>,
}

/// What POP3 sessions need.
#[derive(Debug)]
pub struct Pop3Deps {
    /// Limits and time-outs.
    pub options: Pop3Options,
    /// TLS, for STLS and for the port that begins with it; `None` where it is not offered.
    pub tls: Option<Arc<ServerConfig>>,
    /// Octets.
    pub store: Arc<dyn MailStore>,
    /// Maildrops.
    pub mailboxes: Mailboxes,
    /// Changes.
    pub log: LogHandle,
    /// Passwords.
    pub auth: Arc<Authenticator>,
    /// Permits for reading ahead.
    pub read_ahead: Arc<Semaphore>,
    /// Who may log in again, if log-ins have to be some time apart.
    pub login_delay: Option<Arc<LoginDelay>>,
    /// Who may come in.
    pub admission: Admission,
    /// Who is not served.
    pub bans: Bans,
    /// Time and names.
    pub ids: Ids,
    /// The node's end.
    pub drain: DrainWatch,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The kind's counters.
    pub kind: Arc<Kind>,
}

/// One session.
#[derive(Debug)]
pub struct Pop3Session {
    begin: Option<Box<Begin>>,
}

#[derive(Debug)]
struct Begin {
    accepted: Accepted,
    deps: Arc<Pop3Deps>,
    implicit_tls: bool,
}

impl Pop3Session {
    /// A session for a connection that was accepted. `implicit_tls`: TLS begins at once (RFC 8314 §3.2).
    #[must_use]
    pub fn new(accepted: Accepted, deps: Arc<Pop3Deps>, implicit_tls: bool) -> Self {
        Self {
            begin: Some(Box::new(Begin {
                accepted,
                deps,
                implicit_tls,
            })),
        }
    }
}

impl Actor for Pop3Session {
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

/// What is told to a connection that may not come in.
#[must_use]
pub fn refusal() -> Vec<u8> {
    let mut octets = Vec::new();
    StatusLine::too_many_connections().encode_into(&mut octets);
    octets
}

/// What is told to a connection whose address is banned.
#[must_use]
pub fn ban_notice() -> Vec<u8> {
    let mut octets = Vec::new();
    StatusLine::banned().encode_into(&mut octets);
    octets
}

async fn session_options(deps: &Pop3Deps, peer: IpAddr) -> Options {
    Options {
        plaintext_log_in: if deps.options.allow_plaintext.allows(peer) {
            PlaintextLogIn::Always
        } else {
            PlaintextLogIn::OnlyWithTls
        },
        stls: deps.tls.is_some(),
        scram: deps.auth.scram_offered().await,
        log_in_failures_max: deps.options.log_in_failures_max,
        announced: Arc::clone(&deps.options.announced),
    }
}

/// What follows a step.
enum Next {
    Command,
    Close,
}

#[derive(Debug)]
struct Conversation {
    deps: Arc<Pop3Deps>,
    connection: Connection,
    framer: Framer,
    out: Vec<u8>,
    session: Session<Arc<Listing>>,
    body: Option<Body>,
    ahead: ReadAhead,
    /// Since when the client has owed a whole command.
    waiting_since: Option<Instant>,
    account: Option<Arc<Account>>,
    scram: ScramUnderway,
    // Fields are dropped in this order: the maildrop is free before the connection's place is.
    lock: Option<MaildropLock>,
    user_permit: Option<UserPermit>,
    _permit: ConnectionPermit,
    _seat: Seat,
    drain: DrainWatch,
    alive: Alive,
}

impl Conversation {
    /// The whole conversation. Its rare and large parts are boxed where they are called, so that what waits for the
    /// next command, which is what nearly all sessions do nearly all the time, is small.
    async fn hold(begin: Box<Begin>) {
        let implicit_tls = begin.implicit_tls;
        match Box::pin(Self::begin(*begin)).await {
            Ok(conversation) => conversation.run(implicit_tls).await,
            Err(error) => tracing::debug!(%error, "a connection was gone before it began"),
        }
    }

    async fn begin(
        Begin {
            accepted,
            deps,
            implicit_tls,
        }: Begin,
    ) -> io::Result<Box<Self>> {
        let alive = deps.kind.born();
        let connection = Connection::new(accepted.socket, accepted.peer)?;
        let channel = if implicit_tls {
            Channel::Tls
        } else {
            Channel::Plain
        };
        let session = Session::new(session_options(&deps, connection.peer()).await, channel);
        Ok(Box::new(Self {
            connection,
            framer: Framer::new(session.line_octets_max()),
            out: Vec::new(),
            session,
            body: None,
            ahead: ReadAhead::default(),
            waiting_since: None,
            account: None,
            scram: ScramUnderway::default(),
            lock: None,
            user_permit: None,
            _permit: accepted.permit,
            _seat: accepted.seat,
            drain: deps.drain.clone(),
            alive,
            deps,
        }))
    }

    async fn run(mut self: Box<Self>, implicit_tls: bool) {
        let ended = self.talk(implicit_tls).await;
        if let Some(limit) = self.session.reached() {
            self.deps.metrics.limit(match limit {
                Limit::BadCommands => "pop3.bad_commands",
                Limit::EndlessLine => "pop3.endless_line",
            });
            if self.account.is_none() {
                self.deps.bans.abused(self.connection.peer());
            }
        }
        if let Err(error) = &ended {
            tracing::debug!(session = self.alive.number(), peer = %self.connection.peer(), %error, "POP3 connection lost");
        }
        // The maildrop is free before the client can know that the session has ended.
        if let Some(lock) = self.lock.take() {
            Box::pin(lock.release()).await;
        }
        self.user_permit = None;
        if ended.is_ok() {
            Box::pin(self.connection.close(CLOSE_DEADLINE)).await;
        }
    }

    async fn talk(&mut self, implicit_tls: bool) -> io::Result<()> {
        if implicit_tls {
            self.start_tls().await?;
        }
        let mut greeting = self.session.greeting();
        self.session
            .encode(&mut greeting, &mut self.out, REPLY_OCTETS_MAX);
        loop {
            self.framer.set_limit(self.session.line_octets_max());
            let step = match self.framer.next_frame() {
                Some(frame) => {
                    self.waiting_since = None;
                    let begun = Instant::now();
                    let step = self.session.command(frame);
                    let next = self.perform(step).await?;
                    self.deps.kind.handled(1, begun);
                    match next {
                        Next::Command => continue,
                        Next::Close => return self.flush().await,
                    }
                }
                None => {
                    self.flush().await?;
                    self.out = Vec::new();
                    match self.fill().await? {
                        None => continue,
                        Some(step) => step,
                    }
                }
            };
            self.perform(step).await?;
            return self.flush().await;
        }
    }

    /// Waits for octets. A step instead, when the session has to end: the client was silent for too long, the node
    /// ends, or the client has gone.
    async fn fill(&mut self) -> io::Result<Option<Step>> {
        let options = &self.deps.options;
        let silence = if self.session.is_logged_in() {
            options.idle_timeout
        } else {
            options.log_in_timeout
        };
        // A command resets the timer (RFC 1939 §3), an octet of one doesn't.
        let begun = *self.waiting_since.get_or_insert_with(Instant::now);
        let framer = &mut self.framer;
        let read = self.connection.read(|octets| framer.push(octets));
        tokio::select! {
            biased;
            read = read => Ok((read? == 0).then_some(Step::Close)),
            () = self.drain.wait() => Ok(Some(self.session.shutting_down())),
            () = tokio::time::sleep_until(begun + silence) => {
                self.deps.metrics.limit("pop3.idle_timeout");
                Ok(Some(self.session.timed_out()))
            }
        }
    }

    /// Does what the session asks for until it wants the next command.
    async fn perform(&mut self, mut step: Step) -> io::Result<Next> {
        loop {
            step = match step {
                Step::Ask(ask) => {
                    // A log-in may take long; what was answered before it must not wait for it.
                    if !self.session.is_logged_in() && !self.out.is_empty() {
                        self.flush().await?;
                    }
                    let answer = Box::pin(self.ask(ask)).await;
                    self.session.answer(answer)
                }
                Step::Reply(reply) => {
                    self.reply(reply).await?;
                    return Ok(Next::Command);
                }
                Step::ReplyThenBody(reply, encoder) => {
                    self.reply(reply).await?;
                    Box::pin(self.send_body(encoder)).await?;
                    return Ok(Next::Command);
                }
                Step::ReplyThenTls(reply) => {
                    // What stands behind STLS was sent in clear, by anybody (CVE-2021-38542): it is not read.
                    if !self.framer.is_empty() {
                        return Ok(Next::Close);
                    }
                    self.reply(reply).await?;
                    self.flush().await?;
                    self.start_tls().await?;
                    self.session.tls_started();
                    return Ok(Next::Command);
                }
                Step::ReplyThenClose(reply) => {
                    self.reply(reply).await?;
                    return Ok(Next::Close);
                }
                Step::Close => return Ok(Next::Close),
            }
        }
    }

    async fn reply(&mut self, mut reply: Reply) -> io::Result<()> {
        let begin = self.out.len();
        let mut encoded = self.session.encode(&mut reply, &mut self.out, REPLY_OCTETS_MAX);
        let said = self.out.get(begin..).unwrap_or_default();
        let result = match said {
            [b'+', ..] => "ok",
            text if text.starts_with(b"-ERR [SYS/TEMP]") => "temporary",
            _ => "refused",
        };
        let verb = self.session.verb().as_str();
        // What was asked by its verb and answered by its first line: no argument, so no password; no content.
        tracing::trace!(
            session = self.alive.number(),
            protocol = "pop3",
            verb,
            reply = first_line(said),
            "command"
        );
        self.deps.metrics.command("pop3", verb, result);
        while encoded == Encoded::More {
            self.flush().await?;
            encoded = self.session.encode(&mut reply, &mut self.out, REPLY_OCTETS_MAX);
        }
        if self.out.len() >= REPLY_OCTETS_MAX {
            self.flush().await
        } else {
            Ok(())
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let written = self
            .connection
            .write(&mut self.out, self.deps.options.write_stall)
            .await;
        counted(&self.deps.metrics, WRITE_TIMEOUT, written)
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
}

/// The first line of a reply, for the log: at most an RFC 1939 §3 line of it.
fn first_line(said: &[u8]) -> &str {
    let line = said.split(|octet| *octet == b'\r').next().unwrap_or_default();
    std::str::from_utf8(line).unwrap_or_default()
}
