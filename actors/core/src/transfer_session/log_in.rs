//! Who the client is, and whose address it sends with.

use std::sync::Arc;

use mailhorn_ports::{Account, Service};
use mailhorn_sasl::Secret;
use mailhorn_smtp::{Address, Answer, SenderStanding};

use super::Conversation;
use crate::auth::{Login, ScramUnderway};
use crate::metrics::LogInLabels;
use crate::recipients::Owner;

/// Of a session that may log in.
#[derive(Debug, Default)]
pub(super) struct LogIn {
    scram: ScramUnderway,
    /// Whose session it is, from the log-in on.
    account: Option<Arc<Account>>,
}

impl LogIn {
    pub(super) fn is_done(&self) -> bool {
        self.account.is_some()
    }
}

impl Conversation {
    pub(super) async fn password(&mut self, user: &str, password: &Secret) -> Answer {
        let peer = self.connection.peer();
        let login = self.deps.auth.password(Service::Smtp, peer, user, password).await;
        self.logged_in(login)
    }

    pub(super) async fn scram_keys(&mut self, user: &str) -> Answer {
        let peer = self.connection.peer();
        let scram = &mut self.log_in.scram;
        match scram.begin(&self.deps.auth, &self.deps.ids, peer, user).await {
            Ok((keys, nonce)) => Answer::ScramKeys { keys, nonce },
            Err(login) => self.logged_in(login),
        }
    }

    pub(super) async fn scram_refused(&mut self) -> Answer {
        let login = self.log_in.scram.disproven(&self.deps.auth).await;
        self.logged_in(login)
    }

    pub(super) async fn scram_verified(&mut self) -> Answer {
        let login = self.log_in.scram.proven(&self.deps.auth).await;
        self.logged_in(login)
    }

    fn logged_in(&mut self, login: Login) -> Answer {
        let result = login.result();
        let counted = LogInLabels { result };
        self.deps.metrics.log_ins.get_or_create(&counted).inc();
        let (session, peer) = (self.alive.number(), self.connection.peer());
        match login {
            Login::Accepted(account) => {
                let (user, tls) = (&account.address, self.connection.is_tls());
                tracing::info!(session, %peer, user, tls, "SMTP log-in");
                self.log_in.account = Some(account);
                Answer::LoggedIn
            }
            Login::Refused => {
                tracing::info!(session, %peer, result, "SMTP log-in refused");
                Answer::Refused
            }
            Login::TooManyFailures | Login::Unavailable => {
                tracing::info!(session, %peer, result, "SMTP log-in refused");
                Answer::Unavailable
            }
        }
    }

    /// Whose address a sender is: by the account that mail to it goes to, as far as there is one.
    pub(super) async fn sender(&self, address: &Address) -> SenderStanding {
        let own = self.log_in.account.as_ref().map(|account| account.id);
        match self.deps.recipients.owner(address).await {
            Ok(Owner::Account(account)) if Some(account.id) == own => SenderStanding::Own,
            Ok(Owner::Account(_) | Owner::Nobody) => SenderStanding::Local,
            Ok(Owner::Elsewhere) => SenderStanding::Elsewhere,
            Err(error) => {
                tracing::warn!(session = self.alive.number(), %error, "a sender can't be looked up");
                SenderStanding::Unavailable
            }
        }
    }
}
