//! The servers that are measured, each started on free loopback ports with a data folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use argon2::password_hash::{PasswordHasher as _, SaltString};
use mailhorn_integration_tests::{Node, mailhorn};

use crate::bare::Bare;
use crate::dovecot::Dovecot;
use crate::family::Family;
use crate::load::{DOMAIN, PASSWORD, user};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Mailhorn,
    Dovecot,
    /// What the machine gives without a mail server.
    Bare,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) family: Family,
    pub(crate) lmtp: Option<SocketAddr>,
    pub(crate) pop3: SocketAddr,
    pub(crate) pop3s: Option<SocketAddr>,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Mailhorn(Node),
    Dovecot(Dovecot),
    Bare(Bare),
}

impl Server {
    /// A node on the accounts that [`prepare_mailhorn`] made.
    pub(crate) fn mailhorn(data_dir: &Path) -> Self {
        let node = Node::builder()
            .data_dir(data_dir)
            .setting("pop3.max_connections", 50_000)
            .start();
        Self {
            kind: Kind::Mailhorn,
            family: Family::of(node.pid()),
            lmtp: Some(node.lmtp()),
            pop3: node.pop3(),
            pop3s: Some(node.pop3s()),
            process: Process::Mailhorn(node),
        }
    }

    /// Dovecot with as many accounts.
    pub(crate) fn dovecot(dir: &Path, accounts: usize, certificate: &Certificate) -> anyhow::Result<Self> {
        let dovecot = Dovecot::start(dir, accounts, certificate)?;
        Ok(Self {
            kind: Kind::Dovecot,
            family: Family::of(dovecot.pid()),
            lmtp: Some(dovecot.lmtp),
            pop3: dovecot.pop3,
            pop3s: Some(dovecot.pop3s),
            process: Process::Dovecot(dovecot),
        })
    }

    /// A loop that accepts and answers.
    pub(crate) fn bare() -> anyhow::Result<Self> {
        let bare = Bare::start()?;
        Ok(Self {
            kind: Kind::Bare,
            family: Family::of(bare.pid()),
            lmtp: None,
            pop3: bare.address,
            pop3s: None,
            process: Process::Bare(bare),
        })
    }

    /// Ends it as an administrator would.
    pub(crate) fn stop(self) {
        match self.process {
            Process::Mailhorn(mut node) => {
                node.terminate();
            }
            Process::Dovecot(dovecot) => drop(dovecot),
            Process::Bare(bare) => drop(bare),
        }
    }

    /// Ends it without a warning (SIGKILL).
    pub(crate) fn kill(self) {
        if let Process::Mailhorn(mut node) = self.process {
            node.kill();
        }
    }
}

/// Waits until no server has anything left to do: background work of one must not be another's loss.
pub(crate) async fn settle(servers: &[Server]) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_millis(250);
    const LOOKS_MAX: usize = 80;
    let synced = std::process::Command::new("sync").status()?;
    ensure!(synced.success(), "sync");
    let busy = || {
        servers
            .iter()
            .map(|server| server.family.cpu())
            .sum::<anyhow::Result<Duration>>()
    };
    for _ in 0..LOOKS_MAX {
        let before = busy()?;
        tokio::time::sleep(LOOK).await;
        if busy()?.saturating_sub(before) <= LOOK / 12 {
            break;
        }
    }
    Ok(())
}

/// A PEM file with a certificate and one with its key.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// The one that a node has made in its data folder.
    pub(crate) fn of_node(data_dir: &Path) -> anyhow::Result<Self> {
        let folder = data_dir.join("tls");
        let certificate = folder.join("self-signed.pem");
        let key = folder.join("self-signed.key");
        ensure!(certificate.exists(), "{} is not there", certificate.display());
        Ok(Self { certificate, key })
    }
}

/// Makes the accounts with one cheap hash for all of them: a good hash takes 30 ms, and 15,000 of them minutes. What
/// a poll costs isn't touched by it: a verified password is remembered.
pub(crate) fn prepare_mailhorn(data_dir: &Path, accounts: usize) -> anyhow::Result<()> {
    let hash = cheap_hash()?;
    let lines = (0..accounts).map(|account| format!("{}:{{ARGON2ID}}{hash}\n", user(account)));
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), lines.collect::<String>())?;
    let file = file.path().to_str().context("a temporary file's name is text")?;
    let dir = data_dir.to_str().context("the data folder's name is text")?;
    for command in [["domain", "add", DOMAIN], ["user", "import", file]] {
        let output = mailhorn(&[command[0], command[1], command[2], "--data-dir", dir], "");
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "mailhorn {}: {said}", command.join(" "));
    }
    Ok(())
}

fn cheap_hash() -> anyhow::Result<String> {
    let params = argon2::Params::new(8, 1, 1, None).map_err(|error| anyhow::anyhow!("{error}"))?;
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::encode_b64(b"bench mark salt!").map_err(|error| anyhow::anyhow!("{error}"))?;
    let hash = argon2.hash_password(PASSWORD.as_bytes(), &salt);
    Ok(hash.map_err(|error| anyhow::anyhow!("{error}"))?.to_string())
}
