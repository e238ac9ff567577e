//! The setting `redis.url`, read and shown.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Servers that a URL names at most: enough to find the others.
const SERVERS_MAX: usize = 64;
const HOST_OCTETS_MAX: usize = 255;

/// The setting `redis.url`: where Redis is, and how to log in. Its passwords are in no output.
///
/// The scheme, and the number of URLs, say what is there:
///
/// - `redis://[[user]:password@]host[:6379][/db]`: one server.
/// - several of these, separated by commas: nodes of a Redis Cluster, from which the others are learnt. The user and
///   password stand in the first; a cluster has no databases.
/// - `redis+sentinel://[[user]:password@]host[:26379][,host[:26379] …]/service[/db]`: Sentinels, which are asked where
///   the master of `service` is. The user and password are those of the servers; Sentinels that want some of their own get
///   them by `?sentinel_user=…&sentinel_password=…`.
///
/// `rediss` in place of `redis` is the same under TLS. What is no letter, digit or one of `-._~` in a user, password or
/// service is written as `%` and two hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub(crate) servers: Servers,
    pub(crate) is_tls: bool,
    pub(crate) login: Login,
    pub(crate) db: u32,
}

/// What is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Servers {
    One(Address),
    Cluster(Vec<Address>),
    Sentinel {
        sentinels: Vec<Address>,
        service: String,
        login: Login,
    },
}

/// A host and its port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    /// A name or an address, IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Who logs in. A user has a password; a password alone is the default user's.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "***");
        write!(f, "Login({:?}, {password:?})", self.user)
    }
}

/// What is wrong with a URL. Says what is allowed, and repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    /// No scheme that is known.
    #[error(
        "redis.url: begin with redis:// (one server, or several URLs separated by commas for a Redis Cluster) or \
         redis+sentinel://, or with rediss in place of redis for TLS"
    )]
    Scheme,
    /// A user without a password, or octets that are no text.
    #[error(
        "redis.url: write [user]:password@ before the host, with %XX for what is no letter, digit or one of -._~"
    )]
    Login,
    /// No host, or one that can't be.
    #[error("redis.url: a host is a name, an IPv4 address or an IPv6 address in brackets")]
    Host,
    /// Not a port.
    #[error("redis.url: a port is a number from 1 to 65535")]
    Port,
    /// Not a database.
    #[error("redis.url: after the host comes /db, the number of a database, or nothing")]
    Database,
    /// Sentinels without the name of what they watch.
    #[error(
        "redis.url: after Sentinels comes /service or /service/db, with the name of the service that they watch"
    )]
    Service,
    /// Nodes of a cluster that differ in what they must share.
    #[error(
        "redis.url: the nodes of a Redis Cluster are all redis:// or all rediss://, have no database, and have the user \
         and password of the first or none"
    )]
    Cluster,
    /// A parameter that is not known.
    #[error(
        "redis.url: after ? only sentinel_user and sentinel_password are allowed, and only with Sentinels"
    )]
    Parameter,
    /// Too many.
    #[error("redis.url: name at most {SERVERS_MAX} servers; the others are learnt from them")]
    TooMany,
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(RedisUrlError::Scheme)?;
        match scheme {
            "redis+sentinel" => sentinels(rest, false),
            "rediss+sentinel" => sentinels(rest, true),
            _ => servers(text),
        }
    }
}

/// One server, or nodes of a cluster.
fn servers(text: &str) -> Result<RedisUrl, RedisUrlError> {
    let mut urls: Vec<RedisUrl> = Vec::new();
    for url in text.split(',') {
        if urls.len() == SERVERS_MAX {
            return Err(RedisUrlError::TooMany);
        }
        urls.push(one(url.trim())?);
    }
    let is_same = |first: &RedisUrl, other: &RedisUrl| {
        let login = &other.login;
        first.is_tls == other.is_tls && (*login == first.login || *login == Login::default())
    };
    match urls.as_slice() {
        [] => Err(RedisUrlError::Scheme),
        [one] => Ok(one.clone()),
        [first, ..] => {
            if !urls.iter().all(|url| url.db == 0 && is_same(first, url)) {
                return Err(RedisUrlError::Cluster);
            }
            let nodes = urls.iter().filter_map(|url| match &url.servers {
                Servers::One(address) => Some(address.clone()),
                _ => None,
            });
            Ok(RedisUrl {
                servers: Servers::Cluster(nodes.collect()),
                ..first.clone()
            })
        }
    }
}

fn one(url: &str) -> Result<RedisUrl, RedisUrlError> {
    let (is_tls, rest) = match url.split_once("://") {
        Some(("redis", rest)) => (false, rest),
        Some(("rediss", rest)) => (true, rest),
        _ => return Err(RedisUrlError::Scheme),
    };
    if rest.contains(['?', '#']) {
        return Err(RedisUrlError::Parameter);
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, host) = split_login(authority)?;
    Ok(RedisUrl {
        servers: Servers::One(address(host, PORT)?),
        is_tls,
        login,
        db: database(path)?,
    })
}

fn sentinels(rest: &str, is_tls: bool) -> Result<RedisUrl, RedisUrlError> {
    let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if rest.contains('#') {
        return Err(RedisUrlError::Parameter);
    }
    let (authority, path) = rest.split_once('/').ok_or(RedisUrlError::Service)?;
    let (login, hosts) = split_login(authority)?;
    let (service, db) = path.split_once('/').unwrap_or((path, ""));
    let service = decoded(service).map_err(|_| RedisUrlError::Service)?;
    if service.is_empty() {
        return Err(RedisUrlError::Service);
    }
    let addresses = hosts.split(',').map(|host| address(host.trim(), SENTINEL_PORT));
    let sentinels = addresses.collect::<Result<Vec<_>, _>>()?;
    if sentinels.len() > SERVERS_MAX {
        return Err(RedisUrlError::TooMany);
    }
    Ok(RedisUrl {
        servers: Servers::Sentinel {
            sentinels,
            service,
            login: sentinel_login(parameters)?,
        },
        is_tls,
        login,
        db: database(db)?,
    })
}

fn sentinel_login(parameters: &str) -> Result<Login, RedisUrlError> {
    let mut login = Login::default();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let part = match parameter.split_once('=') {
            Some(("sentinel_user", user)) => (&mut login.user, user),
            Some(("sentinel_password", password)) => (&mut login.password, password),
            _ => return Err(RedisUrlError::Parameter),
        };
        *part.0 = Some(decoded(part.1)?).filter(|part| !part.is_empty());
    }
    checked(login)
}

/// The last `@` ends the login, so that one in a password does no harm.
fn split_login(authority: &str) -> Result<(Login, &str), RedisUrlError> {
    let Some((login, host)) = authority.rsplit_once('@') else {
        return Ok((Login::default(), authority));
    };
    let (user, password) = login.split_once(':').ok_or(RedisUrlError::Login)?;
    let part = |text| decoded(text).map(|text| Some(text).filter(|text| !text.is_empty()));
    let login = Login {
        user: part(user)?,
        password: part(password)?,
    };
    Ok((checked(login)?, host))
}

fn checked(login: Login) -> Result<Login, RedisUrlError> {
    match login {
        Login {
            user: Some(_),
            password: None,
        } => Err(RedisUrlError::Login),
        login => Ok(login),
    }
}

fn decoded(text: &str) -> Result<String, RedisUrlError> {
    // What is no two digits after a percent sign would be taken as it stands, and so would be a forgotten %25.
    let mut parts = text.split('%').skip(1);
    let is_digits =
        |part: &str| part.len() >= 2 && part.bytes().take(2).all(|octet| octet.is_ascii_hexdigit());
    if !parts.all(is_digits) {
        return Err(RedisUrlError::Login);
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| RedisUrlError::Login)
}

fn address(text: &str, default_port: u16) -> Result<Address, RedisUrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(RedisUrlError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| RedisUrlError::Host)?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':').ok_or(RedisUrlError::Host)?)),
            }
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let is_name = |octet: u8| octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
            if !(1..=HOST_OCTETS_MAX).contains(&host.len()) || !host.bytes().all(is_name) {
                return Err(RedisUrlError::Host);
            }
            (host, port)
        }
    };
    let port = port
        .map_or(Some(default_port), number)
        .ok_or(RedisUrlError::Port)?;
    if port == 0 {
        return Err(RedisUrlError::Port);
    }
    let host = host.to_owned();
    Ok(Address { host, port })
}

fn database(path: &str) -> Result<u32, RedisUrlError> {
    match path {
        "" => Ok(0),
        _ => number(path).ok_or(RedisUrlError::Database),
    }
}

/// Digits and nothing else; `parse` takes a plus sign.
fn number<N: FromStr>(text: &str) -> Option<N> {
    let is_digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// As it was written, without passwords.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let login = match (&self.login.user, &self.login.password) {
            (None, None) => String::new(),
            (user, _) => format!("{}:***@", user.as_deref().unwrap_or_default()),
        };
        let list = |addresses: &[Address]| {
            let addresses: Vec<String> = addresses.iter().map(Address::to_string).collect();
            addresses.join(",")
        };
        match &self.servers {
            Servers::One(address) => write!(f, "{scheme}://{login}{address}")?,
            Servers::Cluster(nodes) => {
                let nodes = nodes.iter().map(|node| format!("{scheme}://{login}{node}"));
                f.write_str(&nodes.collect::<Vec<_>>().join(","))?;
            }
            Servers::Sentinel {
                sentinels, service, ..
            } => write!(f, "{scheme}+sentinel://{login}{}/{service}", list(sentinels))?,
        }
        match self.db {
            0 => Ok(()),
            db => write!(f, "/{db}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
