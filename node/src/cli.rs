//! The command line.
//!
//! Exit status: 0 it was done; 1 it was not, or not all of it; 2 the command line or the settings have to be mended.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::settings::value::{ByteSize, Value};

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
    /// Other addresses of accounts
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Show who gets mail to an address: by its account, an alias, its detail, another name of its domain, or a catch-all
    Recipient {
        /// The address
        address: String,
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Mailboxes
    #[command(subcommand)]
    Mailbox(MailboxCommand),
    /// How much users and domains may hold
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// What happens in mailboxes, and who listens
    #[command(subcommand)]
    Events(EventsCommand),
    /// The cluster as a running node sees it
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Certificates
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Addresses that are not served for a while
    #[command(subcommand)]
    Bans(BansCommand),
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
        /// As for this one, which has the addresses: another name of it
        #[arg(long, value_name = "DOMAIN")]
        alias_of: Option<String>,
    },
    /// Give mail to addresses of a domain that nobody has to an account, instead of refusing it
    CatchAll {
        /// The domain
        name: String,
        /// Who gets it.
        #[command(flatten)]
        to: CatchAllTo,
    },
    /// List the domains
    List {
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Take no more mail for a domain; it must have no accounts, no aliases and no other names
    Remove {
        /// The domain
        name: String,
    },
}

/// Who gets what nobody has.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct CatchAllTo {
    /// The account's address
    pub address: Option<String>,
    /// Nobody: it is refused
    #[arg(long)]
    pub none: bool,
}

/// Other addresses of accounts.
#[derive(Debug, Subcommand)]
pub enum AliasCommand {
    /// Give an account another address
    Add {
        /// The other address
        alias: String,
        /// The account's address
        address: String,
    },
    /// List the aliases of an account, or of all
    List {
        /// The account's address
        address: Option<String>,
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Remove an alias
    Remove {
        /// The other address
        alias: String,
    },
}

/// Passwords for one program each.
#[derive(Debug, Subcommand)]
pub enum AppPasswordCommand {
    /// Make an app password and print it: it is shown this once
    Add {
        /// The account's address
        address: String,
        /// What to call it: where it will be used
        name: String,
        /// What it opens
        #[arg(
            long,
            value_delimiter = ',',
            value_name = "SERVICES",
            default_value = "pop3,smtp"
        )]
        services: Vec<String>,
    },
    /// List an account's app passwords, without what they are
    List {
        /// The account's address
        address: String,
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Revoke an app password
    Remove {
        /// The account's address
        address: String,
        /// What it is called
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
    /// Passwords for one program each, which open only what they are for and are revoked alone
    #[command(subcommand)]
    AppPassword(AppPasswordCommand),
    /// Make accounts from a passwd-file as Dovecot has it: address:{SCHEME}secret, with PLAIN, ARGON2ID, BLF-CRYPT,
    /// SHA512-CRYPT, SHA256-CRYPT, PBKDF2 or SCRAM-SHA-256
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

/// Quotas.
#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// Show what a user or a domain holds and may hold
    Show {
        /// The user's address, or the domain
        owner: String,
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Set limits of a user or a domain, in place of the settings'. What is not given is unlimited
    Set {
        /// The user's address, or the domain
        owner: String,
        /// The limits.
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Take limits back: those of the settings hold again
    Unset {
        /// The user's address, or the domain
        owner: String,
    },
}

/// Limits of a quota: at least one.
#[derive(Debug, Clone, Copy, Args)]
#[group(required = true, multiple = true)]
pub struct LimitArgs {
    /// How many messages
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,
    /// How much they may hold together, such as 1GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub size: Option<ByteSize>,
}

fn size(text: &str) -> Result<ByteSize, String> {
    ByteSize::parse(text).ok_or_else(|| format!("not {}", ByteSize::allowed()))
}

/// Events.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Show what happens in a mailbox or to a user, as it happens, until Ctrl-C; the node must run
    Tail {
        /// Whose events.
        #[command(flatten)]
        of: FeedOf,
        /// A line of JSON for each event
        #[arg(long)]
        json: bool,
    },
    /// List the groups of listeners: what they do and how far they are; the node must run
    Groups {
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Forget a group that nobody runs any more, so that the log is kept for it no longer; what waited for another try
    /// is among its dead letters then; the node must run
    Forget {
        /// The group
        group: String,
    },
    /// List events that a group could not handle, or the groups that have some
    #[command(args_conflicts_with_subcommands = true)]
    DeadLetters {
        /// What to do with them.
        #[command(subcommand)]
        command: Option<DeadLetterCommand>,
        /// The group
        group: Option<String>,
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
}

/// The cluster.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ClusterCommand {
    /// Show who is there, the logs, how far listeners are, and how Cassandra and Redis are; the node must run
    Status {
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Send a probe to the other nodes and show who echoes it and how fast; fails if one doesn't; the node must run
    Probe {
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
}

/// Certificates.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum TlsCommand {
    /// Read the certificates' files again and show what is in use; fails if one can't be used; the node must run
    Reload {
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
}

/// Bans.
#[derive(Debug, Subcommand)]
pub enum BansCommand {
    /// List the bans in force; the node must run
    List {
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Ban an address or a network; the node must run
    Add {
        /// The address (of IPv6 its /64), or a network such as 192.0.2.0/24
        network: String,
        /// For how long, such as 2h, in place of the setting bans.time; 365d at most
        #[arg(long, value_name = "TIME")]
        time: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Lift a ban; the node must run
    Lift {
        /// The address or the network, as it is listed
        network: String,
    },
}

/// Whose events are shown.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct FeedOf {
    /// The user's address
    #[arg(long, value_name = "ADDRESS")]
    pub user: Option<String>,
    /// The mailbox's id, as `mailbox list --json` has it
    #[arg(long, value_name = "ID")]
    pub mailbox: Option<String>,
}

/// Dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// Show a dead letter with its event, as JSON
    Show {
        /// The group
        group: String,
        /// The event's id
        id: String,
    },
    /// Remove dead letters: their group never gets these events
    Delete {
        /// The group
        group: String,
        /// Which.
        #[command(flatten)]
        which: WhichLetters,
    },
    /// Give dead letters to their groups again; the node must run
    Redeliver {
        /// The group. None: all
        group: Option<String>,
        /// The event's id. None: the first of the group
        #[arg(requires = "group")]
        id: Option<String>,
        /// How many of a group at most, in place of the setting events.redeliver_limit
        #[arg(long, value_name = "N", conflicts_with = "id")]
        limit: Option<usize>,
    },
}

/// One letter, or all of a group.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct WhichLetters {
    /// The event's id
    pub id: Option<String>,
    /// All of the group
    #[arg(long)]
    pub all: bool,
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
            "domain add example.com --alias-of example.org",
            "domain catch-all example.org a@example.org",
            "domain catch-all example.org --none",
            "domain list --json",
            "domain remove example.org",
            "user add a@example.org --password-stdin",
            "user passwd a@example.org",
            "user remove a@example.org",
            "user list --json",
            "user import users.passwd",
            "user app-password add a@example.org phone --services pop3",
            "user app-password list a@example.org --json",
            "user app-password remove a@example.org phone",
            "alias add info@example.org a@example.org",
            "alias list",
            "alias list a@example.org --json",
            "alias remove info@example.org",
            "recipient info+x@example.com --json",
            "mailbox list",
            "mailbox list a@example.org --json",
            "mailbox show a@example.org",
            "mailbox show a@example.org INBOX --json",
            "quota show a@example.org --json",
            "quota set example.org --messages 5 --size 1GiB",
            "quota unset example.org",
            "events tail --user a@example.org",
            "events tail --mailbox 5 --json",
            "events groups --json",
            "events forget old",
            "events dead-letters",
            "events dead-letters webhook --json",
            "events dead-letters show webhook 5",
            "events dead-letters delete webhook 5",
            "events dead-letters delete webhook --all",
            "events dead-letters redeliver",
            "events dead-letters redeliver webhook --limit 5",
            "events dead-letters redeliver webhook 5",
            "cluster status --json",
            "cluster probe --json",
            "tls reload --json",
            "bans list --json",
            "bans add 192.0.2.7",
            "bans add 192.0.2.0/24 --time 2h --reason why",
            "bans lift 192.0.2.7",
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
    fn what_would_do_nothing_or_two_things_is_refused() {
        for line in [
            "domain catch-all example.org",
            "domain catch-all example.org a@example.org --none",
            "quota set a@example.org",
            "quota set a@example.org --size 1GB",
            "events tail",
            "events tail --user a@example.org --mailbox 5",
            "events dead-letters delete webhook",
            "events dead-letters delete webhook 5 --all",
            "events dead-letters redeliver webhook 5 --limit 5",
        ] {
            let line = format!("mailhorn {line}");
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
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
