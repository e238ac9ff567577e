//! Faults, sorted by what the caller can do.

use std::io;
use std::path::PathBuf;

use mailhorn_ports::StoreError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why no client was made: an operator's mistake, named by its setting.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file of certificates can't be read.
    #[error("redis.ca_file: {}: {source}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file holds nothing to trust.
    #[error("redis.ca_file: {}: no certificate in it can be used; it takes certificates of authorities in PEM", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There is a file of certificates and no TLS.
    #[error(
        "redis.ca_file is set, and redis.url asks for no TLS: begin it with rediss, or leave redis.ca_file out"
    )]
    CaFileWithoutTls,
    /// The system trusts nobody.
    #[error(
        "redis.url asks for TLS, and the system has no certificates to trust ({0}): name some in redis.ca_file"
    )]
    NoSystemRoots(String),
    /// Not fit for the beginning of a key.
    #[error("redis.namespace: up to 64 of a-z, 0-9, -, _ and . are allowed")]
    Namespace,
    /// The client library refuses it.
    #[error("redis.url: {0}")]
    Url(String),
}

/// Whether calls are worth trying after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Redis did not answer, or said that it can't serve now. Counts for the breaker.
    Away,
    /// Redis answered, with a refusal.
    Answered,
}

/// Why a call did not end well. It may work later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) why: String,
    pub(crate) reach: Reach,
    /// The connection is of no use any more.
    pub(crate) is_cut: bool,
}

impl Fault {
    pub(crate) fn away(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            reach: Reach::Away,
            is_cut: false,
        }
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let kind = error.kind();
        let reach = match kind {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain,
            ) => Reach::Away,
            ErrorKind::Server(_) | ErrorKind::Extension => Reach::Answered,
            _ => Reach::Away,
        };
        // A master that was demoted refuses writes; a new connection finds the new one.
        let is_demoted = kind == ErrorKind::Server(ServerErrorKind::ReadOnly);
        Self {
            why: told(&error),
            reach,
            is_cut: is_demoted || error.is_unrecoverable_error(),
        }
    }
}

/// What an operator reads: what Redis said, and the setting to mend where it is one.
fn told(error: &RedisError) -> String {
    let server = error.clone().into_server_errors();
    let server = server.as_deref().and_then(|errors| errors.first());
    let code = server.map(|(_, error)| error.code());
    let said = match server {
        Some((_, error)) => [error.code(), error.details().unwrap_or_default()].join(" "),
        None => error.to_string(),
    };
    let mend = match (error.kind(), code) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
            "set the user and password in redis.url"
        }
        (_, Some("NOPERM")) => "allow the user of redis.url all commands on the keys of redis.namespace",
        (_, Some("MOVED")) => {
            "this server is a node of a Redis Cluster: name several of its nodes in redis.url, separated by commas"
        }
        (ErrorKind::MasterNameNotFoundBySentinel, _) => {
            "no Sentinel knows a working master: check the name of the service in redis.url"
        }
        _ if said.contains("cluster support disabled") => {
            "several servers in redis.url mean a Redis Cluster, and these are none: name one"
        }
        _ if said.contains("switch database") => "check the number of the database in redis.url",
        _ if said.contains("certificate") => "check redis.ca_file, and the names in the server's certificate",
        _ => return said,
    };
    format!("{said} ({mend})")
}

/// What came was not what this release wrote: another wrote under its keys.
pub(crate) fn nonsense(what: &str) -> StoreError {
    StoreError::Damaged(format!("Redis answered what {what} is not"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: ErrorKind) -> Fault {
        Fault::from(RedisError::from((kind, "said")))
    }

    #[test]
    fn a_master_that_was_demoted_is_left() {
        let demoted = fault(ErrorKind::Server(ServerErrorKind::ReadOnly));
        assert!(demoted.is_cut, "another connection finds the new master");
        assert_eq!(demoted.reach, Reach::Away);
    }

    #[test]
    fn a_refusal_is_an_answer_and_what_passes_is_none() {
        for kind in [ServerErrorKind::ResponseError, ServerErrorKind::NoPerm] {
            let refused = fault(ErrorKind::Server(kind));
            assert_eq!(
                (refused.reach, refused.is_cut),
                (Reach::Answered, false),
                "{kind:?}"
            );
        }
        for kind in [ServerErrorKind::BusyLoading, ServerErrorKind::ClusterDown] {
            assert_eq!(fault(ErrorKind::Server(kind)).reach, Reach::Away, "{kind:?}");
        }
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        let broken = Fault::from(RedisError::from(broken));
        assert_eq!((broken.reach, broken.is_cut), (Reach::Away, true));
    }
}
