//! Domains, other addresses, and app passwords.

use mailhorn_ports::{LocalDomain, Service};
use mailhorn_sasl::Secret;
use serde::{Deserialize, Serialize};

use super::time;

/// A local domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// The domain whose addresses it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
    /// The account that gets mail to addresses that nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_all: Option<String>,
}

impl From<&LocalDomain> for Domain {
    fn from(domain: &LocalDomain) -> Self {
        Self {
            name: domain.name.clone(),
            alias_of: domain.alias_of.clone(),
            catch_all: domain.catch_all.as_ref().map(|target| target.address.clone()),
        }
    }
}

/// Another address of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The other address.
    pub alias: String,
    /// The account's own.
    pub address: String,
    /// When it was made (RFC 3339).
    pub created: String,
}

impl From<&mailhorn_ports::Alias> for Alias {
    fn from(alias: &mailhorn_ports::Alias) -> Self {
        Self {
            alias: alias.address.clone(),
            address: alias.target.address.clone(),
            created: time(alias.created),
        }
    }
}

/// Whose mail an address's is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address, in canonical form.
    pub recipient: String,
    /// Whether mail for its domain is taken here.
    pub local: bool,
    /// The account that gets it; `None`: it is refused.
    pub address: Option<String>,
}

/// An app password, without what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPassword {
    /// What its user calls it.
    pub name: String,
    /// What it opens: `pop3`, `smtp`.
    pub services: Vec<String>,
    /// When it was made (RFC 3339).
    pub created: String,
}

impl From<&mailhorn_ports::AppPassword> for AppPassword {
    fn from(app_password: &mailhorn_ports::AppPassword) -> Self {
        let services = app_password.services.iter().map(Service::name);
        Self {
            name: app_password.name.clone(),
            services: services.map(str::to_owned).collect(),
            created: time(app_password.created),
        }
    }
}

/// An app password with what it is, for whoever made it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAppPassword {
    /// Everything else.
    #[serde(flatten)]
    pub app_password: AppPassword,
    /// What it is. It is kept nowhere.
    pub password: String,
}

impl NewAppPassword {
    /// Shows a password that was just made. It is of signs that are text.
    #[must_use]
    pub fn new(app_password: AppPassword, password: &Secret) -> Self {
        let password = String::from_utf8_lossy(password.declassify()).into_owned();
        Self {
            app_password,
            password,
        }
    }
}

impl std::fmt::Debug for NewAppPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAppPassword")
            .field("app_password", &self.app_password)
            .finish_non_exhaustive()
    }
}
