//! What sessions of all protocols do for a log-in.

use std::net::IpAddr;

use mailhorn_ports::Ids;
use mailhorn_sasl::{ServerNonce, StoredKeys};

use super::{Authenticator, Login, ScramTicket};

/// When a password may be sent in clear (`auth.allow_plaintext`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowPlaintext {
    /// From a loopback address.
    Loopback,
    /// Not at all.
    Never,
    /// From anywhere.
    Always,
}

impl AllowPlaintext {
    /// Whether `peer` may send its password in clear.
    #[must_use]
    pub fn allows(self, peer: IpAddr) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Loopback => peer.to_canonical().is_loopback(),
        }
    }
}

impl Login {
    /// What a log-in that ended so is counted as.
    #[must_use]
    pub fn result(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Refused => "refused",
            Self::TooManyFailures => "throttled",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The SCRAM exchange of a session that is under way, if one is. It ends in one of two ways, or with the session.
#[derive(Debug, Default)]
pub(crate) struct ScramUnderway(Option<ScramTicket>);

impl ScramUnderway {
    /// The keys of `user`, or invented ones, and our part of the nonce.
    ///
    /// # Errors
    ///
    /// The exchange is over, and this is how.
    pub(crate) async fn begin(
        &mut self,
        auth: &Authenticator,
        ids: &Ids,
        peer: IpAddr,
        user: &str,
    ) -> Result<(StoredKeys, ServerNonce), Login> {
        let lookup = auth.scram_keys(peer, user).await?;
        self.0 = Some(lookup.ticket);
        Ok((lookup.keys, ServerNonce::new(ids.random_octets())))
    }

    /// The proof was wrong.
    pub(crate) async fn disproven(&mut self, auth: &Authenticator) -> Login {
        if let Some(ticket) = self.0.take() {
            auth.scram_refused(ticket).await;
        }
        Login::Refused
    }

    /// The proof was right.
    pub(crate) async fn proven(&mut self, auth: &Authenticator) -> Login {
        match self.0.take() {
            Some(ticket) => auth.scram_verified(ticket).await,
            None => Login::Refused,
        }
    }
}
