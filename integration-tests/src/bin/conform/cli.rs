//! The command line.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::mail::TOKEN_PREFIX;
use crate::setup::{Account, Setup};
use crate::tls::Tls;
use crate::wire::Address;

/// Where a password may stand instead of in a file.
const PASSWORD_VARIABLE: &str = "CONFORM_PASSWORD";

/// Tries a POP3, LMTP or SMTP server against the RFCs, over real sockets, and says which paragraph decides.
#[derive(Debug, Parser)]
#[command(
    name = "conform",
    after_help = "Give it an account that is for tests. It brings its own mail in and deletes only that, known by a token.\n\
    Exit status: 0 no MUST, MUST NOT or plain statement was missed, 1 one was, 2 it could not run."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What can be done beside running.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Join results (--format json) of several servers to one document in Markdown, with what differs and what decides
    Compare {
        /// Results, in the order of their columns
        #[arg(required = true)]
        results: Vec<PathBuf>,
        /// What makes the document, for its head
        #[arg(long, value_name = "COMMAND")]
        made_by: Option<String>,
        /// What else a reader should know, for its head
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Markdown,
    Json,
}

/// What is tried, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// POP3, in clear or with STLS
    #[arg(long, value_name = "HOST:PORT")]
    pop3: Option<Address>,
    /// POP3 with TLS from the first octet
    #[arg(long, value_name = "HOST:PORT")]
    pop3s: Option<Address>,
    /// LMTP
    #[arg(long, value_name = "HOST:PORT|PATH")]
    lmtp: Option<Address>,
    /// SMTP
    #[arg(long, value_name = "HOST:PORT|PATH")]
    smtp: Option<Address>,
    /// Who logs in
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Where mail for the user goes, if it isn't the name
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// A second account, with the same password
    #[arg(long, value_name = "NAME")]
    second_user: Option<String>,
    /// Where mail for the second user goes, if it isn't the name
    #[arg(long, value_name = "ADDRESS")]
    second_recipient: Option<String>,
    /// File whose first line is the password; without it, the variable CONFORM_PASSWORD
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Check certificates against those in this PEM file; without it none is checked
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Run although the maildrop holds mail of others, which stays untouched. It needs UIDL
    #[arg(long)]
    maildrop_may_have_mail: bool,
    /// Only cases whose id begins so; may be given several times
    #[arg(long, value_name = "PREFIX")]
    pub(crate) only: Vec<String>,
    /// Wait for the case that takes 10 minutes too
    #[arg(long)]
    slow: bool,
    /// Seconds in which an answer is to come
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    patience: u64,
    /// What the server is called in tables: product and version
    #[arg(long, value_name = "TEXT", default_value = "server")]
    pub(crate) name: String,
    /// What else to know of it, such as its settings
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) about: String,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// List the cases and what decides them, and try nothing
    #[arg(long)]
    pub(crate) list: bool,
}

impl Options {
    /// What a run needs.
    pub(crate) fn setup(&self, token: u64) -> anyhow::Result<Setup> {
        let given = [&self.pop3, &self.pop3s, &self.lmtp, &self.smtp];
        ensure!(
            given.iter().any(|address| address.is_some()),
            "name a listener: --pop3, --pop3s, --lmtp or --smtp"
        );
        let user = self
            .user
            .as_deref()
            .context("name an account for tests: --user")?;
        let password = self.password()?;
        let account = |name: &str, address: &Option<String>| Account {
            name: name.to_owned(),
            password: password.clone(),
            address: address.clone().unwrap_or_else(|| name.to_owned()),
        };
        let second = self.second_user.as_deref();
        Ok(Setup {
            pop3: self.pop3.clone(),
            pop3s: self.pop3s.clone(),
            lmtp: self.lmtp.clone(),
            smtp: self.smtp.clone(),
            user: account(user, &self.recipient),
            second: second.map(|name| account(name, &self.second_recipient)),
            patience: Duration::from_secs(self.patience.max(1)),
            may_have_mail: self.maildrop_may_have_mail,
            slow: self.slow,
            tls: Tls::new(self.ca.as_deref())?,
            token: format!("{TOKEN_PREFIX}{token:012x}"),
        })
    }

    fn password(&self) -> anyhow::Result<String> {
        let Some(file) = &self.password_file else {
            return std::env::var(PASSWORD_VARIABLE)
                .with_context(|| format!("no password: --password-file or {PASSWORD_VARIABLE}"));
        };
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}
