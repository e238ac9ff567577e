//! Nodes of one cluster.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use argon2::password_hash::{PasswordHasher as _, SaltString};
use mailhorn_integration_tests::{Node, mailhorn};

use crate::load::{DOMAIN, PASSWORD, user};

/// Accounts that are made. The last few are for what is opened.
pub(crate) const ACCOUNTS: usize = 104;

pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Node>,
    pub(crate) keyspace: String,
    pub(crate) cassandra: String,
    folder: PathBuf,
}

/// Where the Redis of all nodes is.
pub(crate) fn redis() -> String {
    std::env::var("MAILHORN_REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".into())
}

impl Nodes {
    /// So many nodes in a keyspace of their own, whose events go to others as `transport` says.
    pub(crate) fn start(folder: &Path, count: usize, transport: &str) -> anyhow::Result<Self> {
        let cassandra = std::env::var("MAILHORN_CASSANDRA").unwrap_or_else(|_| "127.0.0.1:9042".into());
        let (redis, since) = (redis(), SystemTime::now().duration_since(UNIX_EPOCH)?);
        let keyspace = format!("bench_{}", since.as_millis());
        let settings = [
            ("events.transport", transport),
            ("store.backend", "cassandra"),
            ("cassandra.contact_points", cassandra.as_str()),
            ("cassandra.keyspace", keyspace.as_str()),
            ("cassandra.replication", "1"),
            ("redis.url", redis.as_str()),
            ("redis.namespace", keyspace.as_str()),
        ];
        let file = folder.join("cluster.toml");
        fs::write(&file, merged(&settings, folder))?;
        accounts(&file)?;
        let node = |number: usize| {
            let builder = Node::builder()
                .data_dir(data_dir(folder, number))
                .setting("node.name", format!("node{number}"));
            let builder = settings
                .iter()
                .fold(builder, |builder, (key, value)| builder.setting(key, value));
            builder.setting("pop3.max_connections_per_address", 1_000).start()
        };
        Ok(Self {
            nodes: (0..count).map(node).collect(),
            keyspace,
            cassandra,
            folder: folder.to_owned(),
        })
    }

    /// Reads the live feed of an account on a node: the stream ends with it.
    pub(crate) fn feed(&self, node: usize, account: usize) -> anyhow::Result<BufReader<TcpStream>> {
        let token = fs::read_to_string(data_dir(&self.folder, node).join("admin.token"))?;
        let mut stream = TcpStream::connect(self.nodes[node].admin())?;
        let path = format!("/api/v1/events?user={}", user(account));
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
            token.trim()
        )?;
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        ensure!(line.contains("200"), "{line}");
        Ok(lines)
    }
}

fn data_dir(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("node{number}"))
}

/// The settings as a file, for commands.
fn merged(settings: &[(&str, &str)], folder: &Path) -> String {
    let mut toml = format!("[node]\ndata_dir = \"{}\"\n", folder.join("commands").display());
    let mut last = "node";
    for (key, value) in settings {
        let (section, key) = key.split_once('.').unwrap_or(("node", key));
        if section != last {
            toml.push_str(&format!("[{section}]\n"));
            last = section;
        }
        toml.push_str(&format!("{key} = \"{value}\"\n"));
    }
    toml
}

/// Makes the accounts with one cheap hash for all of them.
fn accounts(config: &Path) -> anyhow::Result<()> {
    let params = argon2::Params::new(8, 1, 1, None).map_err(|error| anyhow::anyhow!("{error}"))?;
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::encode_b64(b"bench mark salt!").map_err(|error| anyhow::anyhow!("{error}"))?;
    let hash = argon2
        .hash_password(PASSWORD.as_bytes(), &salt)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let lines = (0..ACCOUNTS).map(|account| format!("{}:{{ARGON2ID}}{hash}\n", user(account)));
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), lines.collect::<String>())?;
    let file = file.path().to_str().context("a temporary file's name is text")?;
    let config = config.to_str().context("a temporary file's name is text")?;
    for command in [["domain", "add", DOMAIN], ["user", "import", file]] {
        let output = mailhorn(&["--config", config, command[0], command[1], command[2]], "");
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "mailhorn {}: {said}", command.join(" "));
    }
    Ok(())
}
