//! Passwords for one program each.

use mailhorn_core::auth::app_passwords;
use mailhorn_ports::directory::{APP_PASSWORD_NAME_OCTETS_MAX, APP_PASSWORDS_MAX};
use mailhorn_ports::{Credentials, Service, Services};

use super::views::{AppPassword, NewAppPassword};
use super::{OperationError, Operations};

impl Operations {
    /// Makes an app password. What it is, is shown this once.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn add_app_password(
        &self,
        address: &str,
        name: &str,
        services: &[String],
    ) -> Result<NewAppPassword, OperationError> {
        let services = services_of(services)?;
        if name.is_empty() || name.len() > APP_PASSWORD_NAME_OCTETS_MAX || name.contains(char::is_control) {
            return Err(OperationError::Invalid(format!(
                "the name of an app password is 1 to {APP_PASSWORD_NAME_OCTETS_MAX} octets of printable text"
            )));
        }
        let (password, kept) = app_passwords::make(&self.ids, name.to_owned(), services);
        let change = |old: &Credentials| {
            if old.app_passwords.iter().any(|other| other.name == kept.name) {
                return Err(OperationError::Conflict(format!(
                    "{address} has an app password {name} already"
                )));
            }
            if old.app_passwords.len() >= APP_PASSWORDS_MAX {
                return Err(OperationError::Conflict(format!(
                    "{address} has {APP_PASSWORDS_MAX} app passwords, and no account can have more"
                )));
            }
            let mut credentials = old.clone();
            credentials.app_passwords.push(kept.clone());
            Ok(credentials)
        };
        self.change_credentials(address, change).await?;
        Ok(NewAppPassword::new(AppPassword::from(&kept), &password))
    }

    /// Revokes an app password: from now on it opens nothing.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn remove_app_password(&self, address: &str, name: &str) -> Result<(), OperationError> {
        let change = |old: &Credentials| {
            let mut credentials = old.clone();
            credentials.app_passwords.retain(|other| other.name != name);
            if credentials.app_passwords.len() == old.app_passwords.len() {
                return Err(OperationError::NotFound(format!(
                    "{address} has no app password {name}"
                )));
            }
            Ok(credentials)
        };
        self.change_credentials(address, change).await
    }

    /// The app passwords of an account, without what they are.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn app_passwords(&self, address: &str) -> Result<Vec<AppPassword>, OperationError> {
        let account = self.account(address).await?;
        let app_passwords = account.credentials.app_passwords.iter();
        Ok(app_passwords.map(AppPassword::from).collect())
    }
}

fn services_of(names: &[String]) -> Result<Services, OperationError> {
    let invalid = || {
        let known = Service::ALL.map(Service::name).join(" and ");
        OperationError::Invalid(format!("an app password is for one or more of {known}"))
    };
    let services: Vec<Service> = names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()
        .map_err(|_| invalid())?;
    Services::new(services).ok_or_else(invalid)
}
