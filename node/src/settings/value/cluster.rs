//! The kinds of value that the settings of a cluster have.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use mailhorn_cassandra::Replication;
use mailhorn_events::wire::Format;
use mailhorn_redis::RedisUrl;

use super::{Raw, Value, quoted};

/// The longest name of a keyspace that Cassandra takes.
const KEYSPACE_OCTETS_MAX: usize = 48;

/// A server, by name or address, with its port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort(String);

impl HostPort {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for HostPort {
    fn allowed() -> String {
        "a host and a port, such as \"cassandra-0.cassandra:9042\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let is_host = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet);
        let port: u16 = port.parse().ok()?;
        (!host.is_empty() && host.bytes().all(is_host) && port > 0).then(|| Self(text.to_owned()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// A keyspace's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keyspace(String);

impl Keyspace {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Keyspace {
    fn allowed() -> String {
        format!("a name of at most {KEYSPACE_OCTETS_MAX} of a-z, 0-9 and _ that begins with a letter")
    }

    fn parse(text: &str) -> Option<Self> {
        let begins_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        let is_allowed = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_';
        let fits = text.len() <= KEYSPACE_OCTETS_MAX && text.bytes().all(is_allowed);
        (begins_well && fits).then(|| Self(text.to_owned()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// A data centre's name, as Cassandra has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Centre(String);

impl Centre {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Centre {
    fn allowed() -> String {
        "the name of a data centre".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        let is_allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        (!text.is_empty() && text.bytes().all(is_allowed)).then(|| Self(text.to_owned()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// On how many replicas mail lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replicas {
    /// So many in the local centre.
    Local(u32),
    /// So many in each centre.
    Centres(BTreeMap<String, u32>),
}

impl Replicas {
    /// As the store has it.
    #[must_use]
    pub fn replication(&self) -> Replication {
        match self {
            Self::Local(replicas) => Replication::Local(*replicas),
            Self::Centres(centres) => Replication::Centres(centres.clone()),
        }
    }

    fn number(text: &str) -> Option<u32> {
        text.parse().ok().filter(|replicas| (1..=99).contains(replicas))
    }
}

impl Value for Replicas {
    fn allowed() -> String {
        "a number from 1 to 99, or one for each data centre: \"dc1:3,dc2:3\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(replicas) = Self::number(text) {
            return Some(Self::Local(replicas));
        }
        let mut centres = BTreeMap::new();
        for part in text.split(',') {
            let (centre, replicas) = part.trim().split_once(':')?;
            let centre = Centre::parse(centre.trim())?;
            let replicas = Self::number(replicas.trim())?;
            if centres.insert(centre.0, replicas).is_some() {
                return None;
            }
        }
        Some(Self::Centres(centres))
    }

    fn to_toml(&self) -> String {
        match self {
            Self::Local(replicas) => quoted(replicas),
            Self::Centres(centres) => {
                let parts: Vec<String> = centres
                    .iter()
                    .map(|(centre, n)| format!("{centre}:{n}"))
                    .collect();
                quoted(parts.join(","))
            }
        }
    }
}

/// Where Redis is. Shown without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisTarget(RedisUrl);

impl RedisTarget {
    /// As the client has it.
    #[must_use]
    pub fn url(&self) -> &RedisUrl {
        &self.0
    }
}

/// There is no order among them, and no range of them is a setting's.
impl PartialOrd for RedisTarget {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Value for RedisTarget {
    fn allowed() -> String {
        "redis://[[user]:password@]host[:port][/db], several of them separated by commas for a Redis Cluster, or \
         redis+sentinel://host,host,…/service; rediss in place of redis for TLS"
            .to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }

    fn shown(_: &Raw) -> String {
        "what it says (not repeated here, for it may hold a password)".to_owned()
    }
}

impl Value for Format {
    fn allowed() -> String {
        Self::ALL.map(|format| format!("\"{format}\"")).join(" or ")
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_host_and_a_port() {
        for good in ["localhost:9042", "10.0.0.1:1", "[::1]:9042", "a-b.c:65535"] {
            assert!(HostPort::parse(good).is_some(), "{good}");
        }
        for bad in ["", "localhost", ":9042", "a:0", "a:65536", "a b:1", "cql://a:1"] {
            assert_eq!(HostPort::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn replicas_are_a_number_or_one_for_each_centre() {
        assert_eq!(Replicas::parse("3"), Some(Replicas::Local(3)));
        let two = Replicas::parse("dc1:3, dc2:2").unwrap();
        assert_eq!(two.to_toml(), "\"dc1:3,dc2:2\"");
        for bad in ["", "0", "100", "dc1", "dc1:0", "dc1:1,dc1:2", "dc1:x", "a b:1"] {
            assert_eq!(Replicas::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_password_for_redis_is_shown_nowhere() {
        let target = RedisTarget::parse("redis://:hush@localhost:6379").unwrap();
        assert!(!target.to_toml().contains("hush") && !format!("{target:?}").contains("hush"));
        assert!(!RedisTarget::shown(&Raw::One("redis//:hush@x".into())).contains("hush"));
    }
}
