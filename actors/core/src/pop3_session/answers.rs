//! What the session value asks for, done: log-ins, octets, and the commit at QUIT.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use mailhorn_events::MailboxId;
use mailhorn_pop3::{Answer, Ask, BodyEncoder, Need};
use mailhorn_ports::{Account, Change, Expunge, Part, ReadError, Service};
use tokio::time::Instant;

use super::{Conversation, REPLY_OCTETS_MAX, TooSoon};
use crate::auth::Login;
use crate::log::Outcome;
use crate::mailbox::{Listing, OpenError};
use crate::metrics::LogInLabels;
use crate::read_ahead::{READ_AHEAD_MESSAGES_MAX, READ_AHEAD_OCTETS_MAX};

/// A message that is about to be sent, with its first part at hand.
#[derive(Debug)]
pub(super) struct Body {
    index: usize,
    part: Part,
}

impl Conversation {
    pub(super) async fn ask(&mut self, ask: Ask) -> Answer<Arc<Listing>> {
        let peer = self.connection.peer();
        match ask {
            Ask::LogIn {
                user,
                password,
                method: _,
            } => {
                let login = self
                    .deps
                    .auth
                    .password(Service::Pop3, peer, &user, &password)
                    .await;
                self.logged_in(login).await
            }
            Ask::ScramKeys { user } => {
                let begun = self.scram.begin(&self.deps.auth, &self.deps.ids, peer, &user);
                match begun.await {
                    Ok((keys, nonce)) => Answer::ScramKeys { keys, nonce },
                    Err(login) => self.logged_in(login).await,
                }
            }
            Ask::ScramRefused { .. } => {
                let login = self.scram.disproven(&self.deps.auth).await;
                self.logged_in(login).await
            }
            Ask::ScramLogIn { .. } => {
                let login = self.scram.proven(&self.deps.auth).await;
                self.logged_in(login).await
            }
            Ask::Body { index, utf8, .. } => self.open_body(index, utf8).await,
            Ask::Commit { indexes } => self.commit(&indexes).await,
        }
    }

    async fn logged_in(&mut self, login: Login) -> Answer<Arc<Listing>> {
        let result = login.result();
        let (answer, result) = match login {
            Login::Accepted(account) => self.open_maildrop(account).await,
            Login::Refused => (Answer::Refused, result),
            Login::TooManyFailures | Login::Unavailable => (Answer::Unavailable, result),
        };
        self.deps
            .metrics
            .log_ins
            .get_or_create(&LogInLabels { result })
            .inc();
        if result != "accepted" {
            tracing::info!(
                session = self.alive.number(),
                peer = %self.connection.peer(),
                result,
                "POP3 log-in refused"
            );
        }
        answer
    }

    async fn open_maildrop(&mut self, account: Arc<Account>) -> (Answer<Arc<Listing>>, &'static str) {
        let login_delay = self.deps.login_delay.clone();
        let allowed = match login_delay
            .as_ref()
            .map(|delay| delay.ask(account.id))
            .transpose()
        {
            Ok(allowed) => allowed,
            Err(TooSoon) => return (Answer::TooSoon, "too_soon"),
        };
        let Ok(user_permit) = self.deps.admission.user(account.id) else {
            self.deps.metrics.limit("pop3.max_sessions_per_user");
            return (Answer::TooManySessions, "too_many");
        };
        let options = &self.deps.options;
        match self
            .deps
            .mailboxes
            .open(account.id, options.lock, options.lock_wait)
            .await
        {
            Ok(open) => {
                tracing::info!(
                    session = self.alive.number(),
                    peer = %self.connection.peer(),
                    user = account.address,
                    tls = self.connection.is_tls(),
                    "POP3 log-in"
                );
                self.account = Some(account);
                self.lock = Some(open.lock);
                self.user_permit = Some(user_permit);
                if let Some(allowed) = allowed {
                    allowed.logged_in();
                }
                (Answer::Opened(open.listing), "accepted")
            }
            Err(OpenError::InUse) => (Answer::InUse, "in_use"),
            Err(OpenError::Unavailable(error)) => {
                tracing::warn!(session = self.alive.number(), user = account.address, %error, "a maildrop can't be listed");
                (Answer::Unavailable, "unavailable")
            }
        }
    }

    async fn open_body(&mut self, index: usize, utf8: bool) -> Answer<Arc<Listing>> {
        let opened = match self.first_part(index).await {
            Ok(part) if utf8 => Ok((part, false)),
            Ok(part) => self.needs_utf8(index, &part).await.map(|needs| (part, needs)),
            Err(error) => Err(error),
        };
        match opened {
            Ok((_, true)) => Answer::NeedsUtf8,
            Ok((part, false)) => {
                self.body = Some(Body { index, part });
                Answer::Body
            }
            Err(error) => {
                tracing::warn!(session = self.alive.number(), index, %error, "a message can't be read");
                self.deps.metrics.unreadable.inc();
                match error {
                    ReadError::Damaged => Answer::Damaged,
                    ReadError::Expunged | ReadError::Missing => Answer::Missing,
                    ReadError::Unavailable(_) => Answer::Unavailable,
                }
            }
        }
    }

    /// The first part of a message, and while the client goes on in order those of the next ones with it.
    async fn first_part(&mut self, index: usize) -> Result<Part, ReadError> {
        let in_order = self.ahead.expects(index);
        if let Some(part) = self.ahead.take(index) {
            return Ok(part);
        }
        let permit = Arc::clone(&self.deps.read_ahead).try_acquire_owned();
        if let (true, Ok(permit), Some(account), Some(listing)) =
            (in_order, permit, &self.account, self.session.maildrop())
        {
            let messages: Vec<_> = (index..)
                .map_while(|index| listing.message(index))
                .take(READ_AHEAD_MESSAGES_MAX)
                .collect();
            let begun = Instant::now();
            let mailbox = MailboxId::inbox(account.id);
            let parts = self
                .deps
                .store
                .read_ahead(mailbox, &messages, READ_AHEAD_OCTETS_MAX);
            let mut parts = VecDeque::from(parts.await);
            self.deps.metrics.stored("read", begun);
            if let Some(part) = parts.pop_front() {
                self.ahead.keep(index, parts, permit);
                return Ok(part);
            }
        }
        self.read_part(index, 0).await
    }

    pub(super) async fn read_part(&self, index: usize, number: u32) -> Result<Part, ReadError> {
        let (Some(account), Some(message)) = (
            &self.account,
            self.session.maildrop().and_then(|listing| listing.message(index)),
        ) else {
            return Err(ReadError::Expunged);
        };
        let begun = Instant::now();
        let read = self
            .deps
            .store
            .read(MailboxId::inbox(account.id), message, number)
            .await;
        self.deps.metrics.stored("read", begun);
        read
    }

    /// Sends what [`Conversation::open_body`] has begun to read. When the store breaks off, so does the connection:
    /// the client must not take a part for the whole.
    pub(super) async fn send_body(&mut self, mut encoder: BodyEncoder) -> io::Result<()> {
        let Some(Body { index, mut part }) = self.body.take() else {
            return Err(io::Error::other("a body was to be sent that was not opened"));
        };
        let mut number = 0u32;
        loop {
            let need = encoder.push(&part.octets, &mut self.out);
            self.deps
                .metrics
                .octets_out
                .inc_by(u64::try_from(part.octets.len()).unwrap_or(u64::MAX));
            if self.out.len() >= REPLY_OCTETS_MAX {
                self.flush().await?;
            }
            if need == Need::Enough || !part.more {
                break;
            }
            number = number.saturating_add(1);
            part = match self.read_part(index, number).await {
                Ok(part) => part,
                Err(error) => {
                    tracing::warn!(session = self.alive.number(), index, %error, "a message broke off");
                    self.deps.metrics.unreadable.inc();
                    return Err(io::Error::other(error));
                }
            };
        }
        encoder.finish(&mut self.out);
        if self.out.len() >= REPLY_OCTETS_MAX {
            self.flush().await
        } else {
            Ok(())
        }
    }

    async fn commit(&mut self, indexes: &[usize]) -> Answer<Arc<Listing>> {
        let (Some(account), Some(listing), Some(lock)) = (&self.account, self.session.maildrop(), &self.lock)
        else {
            return Answer::CommitUnknown;
        };
        if let Err(error) = lock.check().await {
            tracing::warn!(session = self.alive.number(), user = account.address, %error, "QUIT removed nothing");
            return Answer::CommitUnknown;
        }
        let messages: Vec<_> = indexes
            .iter()
            .filter_map(|index| listing.message(*index))
            .collect();
        // A deletion's stamp is above that of every row that it deletes, whatever the clock says.
        if let Some(latest) = messages.iter().map(|message| message.stamp()).max() {
            self.deps.ids.saw(latest);
        }
        let expunge = Expunge {
            event: self.deps.ids.event(),
            stamp: self.deps.ids.stamp(),
            user: account.address.clone(),
            account: account.id,
            mailbox: MailboxId::inbox(account.id),
            messages,
        };
        match self.deps.log.append(Change::Expunge(expunge)).await {
            Outcome::Done(_) => Answer::Committed,
            outcome => {
                tracing::warn!(
                    session = self.alive.number(),
                    ?outcome,
                    "QUIT did not surely remove what was marked"
                );
                Answer::CommitUnknown
            }
        }
    }
}
