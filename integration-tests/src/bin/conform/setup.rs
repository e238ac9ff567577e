//! What an operator gave: where the server is, and who may log in.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tls::Tls;
use crate::wire::Address;

/// Who logs in.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) password: String,
    /// Where mail for it goes.
    pub(crate) address: String,
}

impl Account {
    /// The message of SASL PLAIN (RFC 4616) in base64.
    pub(crate) fn plain(&self) -> String {
        STANDARD.encode(format!("\0{}\0{}", self.name, self.password))
    }
}

/// What an operator gave.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) pop3: Option<Address>,
    pub(crate) pop3s: Option<Address>,
    pub(crate) lmtp: Option<Address>,
    pub(crate) smtp: Option<Address>,
    pub(crate) user: Account,
    pub(crate) second: Option<Account>,
    pub(crate) patience: Duration,
    pub(crate) may_have_mail: bool,
    pub(crate) slow: bool,
    pub(crate) tls: Tls,
    /// Different in every run.
    pub(crate) token: String,
}
