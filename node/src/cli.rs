//! The command line.
//!
//! Exit status: 0 it was done; 1 it was not, or not all of it; 2 the command line or the settings have to be mended.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A mail node: SMTP and LMTP in, POP3 out.
#[derive(Debug, Parser)]
#[command(
    name = "mailhorn",
    version,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage or settings."
)]
pub struct Cli {
    /// Where settings come from.
    #[command(flatten)]
    pub from: From,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct From {
    /// Settings file (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data folder, in place of the setting node.data_dir
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node
    Serve,
    /// Run a node to play with: a throw-away data folder, two users, sample mail
    Demo,
    /// Domains for which mail is taken
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Accounts
    #[command(subcommand)]
    User(UserCommand),
    /// Mailboxes
    #[command(subcommand)]
    Mailbox(MailboxCommand),
    /// Settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Rescue what can be rescued from a damaged data folder; the node must be stopped
    Salvage,
}

/// How a list is shown.
#[derive(Debug, Clone, Copy, Args)]
pub struct Shown {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Where a password comes from. Never from an argument, where every process could read it.
#[derive(Debug, Clone, Copy, Args)]
pub struct PasswordFrom {
    /// Read the password from the first line of the standard input instead of asking for it
    #[arg(long)]
    pub password_stdin: bool,
}

/// Domains.
#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Take mail for a domain
    Add {
        /// The domain
        name: String,
    },
    /// List the domains
    List {
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Take no more mail for a domain; it must have no accounts
    Remove {
        /// The domain
        name: String,
    },
}

/// Accounts.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an account
    Add {
        /// Its address
        address: String,
        /// Its password.
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Set an account's password
    Passwd {
        /// Its address
        address: String,
        /// Its new password.
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Remove an account and its mail
    Remove {
        /// Its address
        address: String,
    },
    /// List the accounts
    List {
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Make accounts from a passwd-file as Dovecot has it: address:{SCHEME}secret, with PLAIN or ARGON2ID
    Import {
        /// The file
        file: PathBuf,
    },
}

/// Mailboxes.
#[derive(Debug, Subcommand)]
pub enum MailboxCommand {
    /// List the mailboxes of an account, or of all
    List {
        /// The account's address
        address: Option<String>,
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// List the messages in a mailbox
    Show {
        /// The account's address
        address: String,
        /// The mailbox
        #[arg(default_value = "INBOX")]
        mailbox: String,
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
}

/// Settings.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Print a settings file with every setting, its default and its meaning
    Default,
    /// Check the settings
    Check,
    /// Print the settings in force
    Show,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn config_and_data_dir_are_options_of_every_command() {
        let commands = [
            "serve",
            "demo",
            "domain add example.org",
            "domain list --json",
            "domain remove example.org",
            "user add a@example.org --password-stdin",
            "user passwd a@example.org",
            "user remove a@example.org",
            "user list --json",
            "user import users.passwd",
            "mailbox list",
            "mailbox list a@example.org --json",
            "mailbox show a@example.org",
            "mailbox show a@example.org INBOX --json",
            "config default",
            "config check",
            "config show",
            "salvage",
        ];
        for command in commands {
            let line = format!("mailhorn {command} --config c.toml --data-dir d");
            let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(cli.from.config, Some("c.toml".into()), "{line}");
            assert_eq!(cli.from.data_dir, Some("d".into()), "{line}");
        }
    }

    #[test]
    fn a_password_is_never_an_argument() {
        for line in [
            "mailhorn user add a@example.org secret",
            "mailhorn user add a@example.org --password secret",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
