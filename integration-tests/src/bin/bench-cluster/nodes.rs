//! Two nodes of one cluster.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use argon2::password_hash::{PasswordHasher as _, SaltString};
use mailhorn_integration_tests::{Node, mailhorn};

use crate::load::{DOMAIN, PASSWORD, user};

/// Accounts that are made. The last few are for what is opened.
pub(crate) const ACCOUNTS: usize = 104;

pub(crate) struct Nodes {
    pub(crate) one: Node,
    pub(crate) two: Node,
    pub(crate) keyspace: String,
    pub(crate) cassandra: String,
    pub(crate) folder: std::path::PathBuf,
}

impl Nodes {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let cassandra = std::env::var("MAILHORN_CASSANDRA").unwrap_or_else(|_| "127.0.0.1:9042".into());
        let redis = std::env::var("MAILHORN_REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
        let keyspace = format!(
            "bench_{}",
            SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()
        );
        let settings = [
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
        let node = |name: &str| {
            let builder = Node::builder()
                .data_dir(folder.join(name))
                .setting("node.name", name);
            let builder = settings
                .iter()
                .fold(builder, |builder, (key, value)| builder.setting(key, value));
            builder.setting("pop3.max_connections_per_address", 1_000).start()
        };
        Ok(Self {
            one: node("one"),
            two: node("two"),
            keyspace,
            cassandra,
            folder: folder.to_owned(),
        })
    }
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
