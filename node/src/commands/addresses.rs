//! `mailhorn alias`, `mailhorn user app-password`, and what domains are beside their names.

use super::access::Access;
use super::accounts::{output, with};
use crate::cli::{AliasCommand, AppPasswordCommand, Shown};
use crate::exit::Exit;
use crate::output::{complain, write_line};
use crate::settings::Settings;

pub(super) fn alias(command: AliasCommand, settings: &Settings) -> anyhow::Result<Exit> {
    with(settings, |access| match command {
        AliasCommand::Add { alias, address } => {
            let added = access.add_alias(&alias, &address)?;
            Ok(write_line(&format!(
                "{} is another address of {}",
                added.alias, added.address
            ))?)
        }
        AliasCommand::List { address, shown } => {
            let aliases = match address {
                Some(address) => access.aliases_of(&address)?,
                None => access.aliases()?,
            };
            output(shown).list(&aliases, |alias| format!("{}\t{}", alias.alias, alias.address))
        }
        AliasCommand::Remove { alias } => {
            access.remove_alias(&alias)?;
            Ok(write_line(&format!("{alias} was removed"))?)
        }
    })
}

pub(super) fn recipient(address: &str, shown: Shown, settings: &Settings) -> anyhow::Result<Exit> {
    with(settings, |access| {
        output(shown).one(&access.recipient(address)?, |found| {
            match (&found.address, found.local) {
                (Some(account), _) => format!("{}\t{account}", found.recipient),
                (None, true) => format!("{}\tnobody: refused with 550 5.1.1", found.recipient),
                (None, false) => format!("{}\tnot local: refused with 550 5.7.1", found.recipient),
            }
        })
    })
}

/// What the settings name and nobody is: told by `config check`, and stops nothing.
pub(super) fn nobody_named(settings: &Settings) -> anyhow::Result<Option<String>> {
    let postmaster = settings.postmaster().to_string();
    let mut told = None;
    with(settings, |access| {
        if !access.domains()?.is_empty() && access.recipient(&postmaster)?.address.is_none() {
            told = Some(format!(
                "smtp.postmaster: {postmaster} is nobody's address, so mail to postmaster is refused (RFC 5321 §4.5.1 asks \
                 every server to take it): name an account, or make this one"
            ));
        }
        Ok(())
    })?;
    Ok(told)
}

pub(super) fn catch_all(access: &Access, domain: &str, address: Option<&str>) -> anyhow::Result<()> {
    access.set_catch_all(domain, address)?;
    let told = match address {
        Some(address) => format!("{address} gets mail to addresses of {domain} that nobody has"),
        None => format!("mail to addresses of {domain} that nobody has is refused"),
    };
    Ok(write_line(&told)?)
}

pub(super) fn list_domains(access: &Access, shown: Shown) -> anyhow::Result<()> {
    output(shown).list(&access.domains()?, |domain| {
        match (&domain.alias_of, &domain.catch_all) {
            (Some(of), _) => format!("{}\talias of {of}", domain.name),
            (None, Some(address)) => format!("{}\tcatch-all {address}", domain.name),
            (None, None) => domain.name.clone(),
        }
    })
}

pub(super) fn app_password(command: AppPasswordCommand, settings: &Settings) -> anyhow::Result<Exit> {
    with(settings, |access| match command {
        AppPasswordCommand::Add {
            address,
            name,
            services,
        } => {
            let made = access.add_app_password(&address, &name, &services)?;
            // Alone on the standard output, so that a script gets it and nothing else.
            write_line(&made.password)?;
            complain(format!(
                "mailhorn: this is the app password {name} of {address}, for {}; it can't be shown again",
                made.app_password.services.join(" and ")
            ));
            Ok(())
        }
        AppPasswordCommand::List { address, shown } => {
            output(shown).list(&access.app_passwords(&address)?, |app_password| {
                let services = app_password.services.join(",");
                format!("{}\t{services}\t{}", app_password.name, app_password.created)
            })
        }
        AppPasswordCommand::Remove { address, name } => {
            access.remove_app_password(&address, &name)?;
            Ok(write_line(&format!(
                "the app password {name} of {address} was revoked"
            ))?)
        }
    })
}
