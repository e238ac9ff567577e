//! `mailhorn domain`, `mailhorn user`, `mailhorn mailbox`.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use anyhow::{Context, bail};
use mailhorn_sasl::PASSWORD_OCTETS_MAX;

use super::access::{Access, Password};
use super::addresses;
use crate::cli::{DomainCommand, MailboxCommand, PasswordFrom, Shown, UserCommand};
use crate::exit::Exit;
use crate::operations::passwd_file;
use crate::output::{Form, Output, complain, write_line};
use crate::settings::Settings;

/// The largest passwd-file that is read, in octets: some hundred thousand accounts.
const PASSWD_FILE_OCTETS_MAX: u64 = 64 * 1024 * 1024;

pub(super) fn domain(command: DomainCommand, settings: &Settings) -> anyhow::Result<Exit> {
    with(settings, |access| match command {
        DomainCommand::Add { name, alias_of } => {
            let domain = access.add_domain(&name, alias_of.as_deref())?;
            Ok(write_line(&format!("{} was added", domain.name))?)
        }
        DomainCommand::CatchAll { name, to } => addresses::catch_all(access, &name, to.address.as_deref()),
        DomainCommand::Remove { name } => {
            access.remove_domain(&name)?;
            Ok(write_line(&format!("{name} was removed"))?)
        }
        DomainCommand::List { shown } => addresses::list_domains(access, shown),
    })
}

pub(super) fn user(command: UserCommand, settings: &Settings) -> anyhow::Result<Exit> {
    match command {
        UserCommand::Add { address, password } => {
            // Asked for before the store is opened, which may not be kept from a node while somebody thinks.
            let password = read_password(password, &address)?;
            with(settings, |access| {
                let user = access.add_user(&address, &password)?;
                Ok(write_line(&format!("{} was added", user.address))?)
            })
        }
        UserCommand::Passwd { address, password } => {
            let password = read_password(password, &address)?;
            with(settings, |access| {
                access.set_password(&address, &password)?;
                Ok(write_line(&format!("the password of {address} was changed"))?)
            })
        }
        UserCommand::Remove { address } => with(settings, |access| {
            let removed = access.remove_user(&address)?;
            write_line(&format!(
                "{} was removed; messages removed with it: {}",
                removed.address, removed.messages
            ))?;
            if !removed.is_empty {
                complain(
                    "mailhorn: not all of its mail could be removed now; the next start of the node does it",
                );
            }
            Ok(())
        }),
        UserCommand::List { shown } => with(settings, |access| {
            output(shown).list(&access.users()?, |user| {
                let scram = if user.scram { "scram" } else { "no-scram" };
                format!("{}\t{}\t{scram}", user.address, user.created)
            })
        }),
        UserCommand::AppPassword(command) => addresses::app_password(command, settings),
        UserCommand::Import { file } => import(&file, settings),
    }
}

pub(super) fn mailbox(command: MailboxCommand, settings: &Settings) -> anyhow::Result<Exit> {
    with(settings, |access| match command {
        MailboxCommand::List { address, shown } => {
            let mailboxes = match address {
                Some(address) => access.mailboxes_of(&address)?,
                None => access.mailboxes()?,
            };
            output(shown).list(&mailboxes, |mailbox| {
                format!(
                    "{}\t{}\t{}\t{}",
                    mailbox.address, mailbox.mailbox, mailbox.messages, mailbox.octets
                )
            })
        }
        MailboxCommand::Show {
            address,
            mailbox,
            shown,
        } => output(shown).list(&access.messages(&address, &mailbox)?, |message| {
            format!("{}\t{}\t{}", message.unique_id, message.size, message.received)
        }),
    })
}

pub(super) fn with(
    settings: &Settings,
    work: impl FnOnce(&Access) -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    let access = Access::open(settings)?;
    let done = work(&access);
    // What failed first is what is told.
    let closed = access.close();
    done.and(closed)?;
    Ok(Exit::Done)
}

pub(super) fn output(shown: Shown) -> Output {
    Output::new(if shown.json { Form::Json } else { Form::Text })
}

/// Makes the accounts of a passwd-file. Every line that can't be taken is told with its number, and stops no other.
fn import(path: &Path, settings: &Settings) -> anyhow::Result<Exit> {
    let mut content = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(PASSWD_FILE_OCTETS_MAX + 1).read_to_end(&mut content));
    let read = read.with_context(|| format!("{}: can't be read", path.display()))?;
    if u64::try_from(read)? > PASSWD_FILE_OCTETS_MAX {
        bail!(
            "{}: is larger than {PASSWD_FILE_OCTETS_MAX} octets; import it in parts",
            path.display()
        );
    }
    let (mut numbers, mut users) = (Vec::new(), Vec::new());
    let mut failed: usize = 0;
    let mut refuse = |number: usize, what: String| {
        failed += 1;
        complain(format!("{}:{number}: {what}", path.display()));
    };
    for line in passwd_file::lines(&content) {
        match line.user {
            Ok(user) => {
                numbers.push(line.number);
                users.push(user);
            }
            Err(bad) => refuse(line.number, bad.to_string()),
        }
    }
    let access = Access::open(settings)?;
    let imported = access.import_users(&users);
    let closed = access.close();
    let imported = imported?;
    for (number, user) in numbers.iter().zip(&imported) {
        if let Some(error) = &user.error {
            refuse(*number, format!("{}: {error}", user.address));
        }
    }
    let added = imported.iter().filter(|user| user.error.is_none()).count();
    write_line(&format!(
        "{added} users were added, {failed} lines were not taken"
    ))?;
    closed?;
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

/// Reads a password: asked for twice, or the first line of the standard input.
fn read_password(from: PasswordFrom, address: &str) -> anyhow::Result<Password> {
    if from.password_stdin {
        return first_line(io::stdin().lock()).map(Password::new);
    }
    let ask =
        |prompt: String| rpassword::prompt_password(prompt).context("no password can be asked for here");
    let password = ask(format!("Password for {address}: "))?;
    if password != ask("The same again: ".to_owned())? {
        bail!("the two passwords are not the same");
    }
    Ok(Password::new(password))
}

fn first_line(input: impl BufRead) -> anyhow::Result<String> {
    // With its line end it may be two octets longer than the longest; the operation itself refuses what is too long.
    let limit = u64::try_from(PASSWORD_OCTETS_MAX)?.saturating_add(3);
    let mut line = String::new();
    input
        .take(limit)
        .read_line(&mut line)
        .context("the password can't be read from the standard input")?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_on_the_standard_input_is_its_first_line_without_the_line_end() {
        for (input, expected) in [
            ("secret\nmore", "secret"),
            ("secret\r\n", "secret"),
            (" s ", " s "),
            ("", ""),
        ] {
            assert_eq!(first_line(input.as_bytes()).unwrap(), expected);
        }
        let long = "x".repeat(PASSWORD_OCTETS_MAX * 2);
        assert!(
            first_line(long.as_bytes()).unwrap().len() > PASSWORD_OCTETS_MAX,
            "refused later, not cut to fit"
        );
    }
}
