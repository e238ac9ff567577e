//! The kinds of value that a setting can have: how each is read, what it allows, and how it is written in TOML.
//!
//! Every value can be written as one text, so that the environment, the file and the default in the table of
//! settings share one parser. A list is written with commas there, or as a TOML array.

mod choices;
mod cluster;
mod listening;
mod pop3;
mod separator;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use mailhorn_smtp::{Address, Domain};
use tracing::level_filters::LevelFilter;

pub use choices::{Backend, LocalSenders, Lock, LogFormat, Plaintext, Scram, TlsVersion, Transport};
pub use cluster::{Centre, HostPort, Keyspace, RedisTarget, Replicas};
pub use listening::{EventKind, HttpUrl, Percent};
pub use separator::Separator;
pub use tls::SuiteName;

/// What a source says, before anybody knows what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// A text, a number or a truth value, as text.
    One(String),
    /// An array of those.
    Many(Vec<String>),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(text) => write!(f, "{text:?}"),
            Self::Many(texts) => write!(f, "{texts:?}"),
        }
    }
}

/// A kind of value.
pub trait Value: Sized + PartialOrd {
    /// What is allowed, in the words of an error message: `a duration such as "30s"`.
    fn allowed() -> String;

    /// Reads a value; `None` if it is not allowed.
    fn parse(text: &str) -> Option<Self>;

    /// As it stands in a TOML file.
    fn to_toml(&self) -> String;

    /// What a source says, as an error message may repeat it: without what could be a secret.
    fn shown(raw: &Raw) -> String {
        raw.to_string()
    }

    /// What was probably meant by what a source says and isn't allowed, where names are long enough to be mistyped.
    fn meant(_: &Raw) -> Option<String> {
        None
    }

    /// Reads what a source says. Only lists take more than one.
    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::One(text) => Self::parse(text.trim()),
            Raw::Many(_) => None,
        }
    }
}

fn quoted(text: impl fmt::Display) -> String {
    format!(
        "\"{}\"",
        text.to_string().replace('\\', "\\\\").replace('"', "\\\"")
    )
}

impl<T: Value> Value for Vec<T> {
    fn allowed() -> String {
        format!("a list of: {}", T::allowed())
    }

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::new());
        }
        text.split(',').map(|item| T::parse(item.trim())).collect()
    }

    fn to_toml(&self) -> String {
        let items: Vec<String> = self.iter().map(Value::to_toml).collect();
        format!("[{}]", items.join(", "))
    }

    /// Of the first of its items that isn't allowed.
    fn meant(raw: &Raw) -> Option<String> {
        let items: Vec<&str> = match raw {
            Raw::One(text) => text.split(',').collect(),
            Raw::Many(texts) => texts.iter().map(String::as_str).collect(),
        };
        let mut items = items.into_iter().map(str::trim);
        let wrong = items.find(|item| T::parse(item).is_none())?;
        T::meant(&Raw::One(wrong.to_owned()))
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::One(text) => Self::parse(text.trim()),
            Raw::Many(texts) => texts.iter().map(|text| T::parse(text.trim())).collect(),
        }
    }
}

/// An empty text stands for none.
impl<T: Value> Value for Option<T> {
    fn allowed() -> String {
        format!("{}; empty for none", T::allowed())
    }

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            Some(None)
        } else {
            T::parse(text).map(Some)
        }
    }

    fn to_toml(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), Value::to_toml)
    }

    fn shown(raw: &Raw) -> String {
        T::shown(raw)
    }
}

macro_rules! whole_number {
    ($($number:ty),*) => {
        $(impl Value for $number {
            fn allowed() -> String {
                "a whole number".to_owned()
            }

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn to_toml(&self) -> String {
                self.to_string()
            }
        })*
    };
}

whole_number!(u32, u64);

impl Value for bool {
    fn allowed() -> String {
        "true or false".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Value for SocketAddr {
    fn allowed() -> String {
        "an IP address with a port, such as \"127.0.0.1:2525\" or \"[::1]:2525\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

impl Value for IpNet {
    fn allowed() -> String {
        "a network such as \"192.0.2.0/24\" or \"2001:db8::/32\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

impl Value for String {
    fn allowed() -> String {
        "a text".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

impl Value for PathBuf {
    fn allowed() -> String {
        "a path".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }

    fn to_toml(&self) -> String {
        quoted(self.display())
    }
}

impl Value for Domain {
    fn allowed() -> String {
        "a domain name in ASCII, such as \"mail.example.org\", of at most 243 octets".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        // The node's own name must leave room for its postmaster's address (RFC 5321 §4.5.1, §4.5.3.1.3).
        Self::parse(text)
            .ok()
            .filter(|domain| Address::new("postmaster", domain.clone()).is_ok())
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

impl Value for Address {
    fn allowed() -> String {
        "a mail address such as \"postmaster@example.org\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

/// Each unit of time with its milliseconds, the largest first.
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Value for Duration {
    fn allowed() -> String {
        "a duration in ms, s, m, h or d, such as \"30s\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self::ZERO);
        }
        with_unit(text, &TIME_UNITS).map(Self::from_millis)
    }

    fn to_toml(&self) -> String {
        quoted(in_largest_unit(
            u64::try_from(self.as_millis()).unwrap_or(u64::MAX),
            &TIME_UNITS,
        ))
    }
}

/// A number of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// Each unit of size with its octets, the largest first.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

impl ByteSize {
    /// In octets.
    #[must_use]
    pub fn octets(self) -> u64 {
        self.0
    }
}

impl Value for ByteSize {
    fn allowed() -> String {
        "a size in octets, KiB, MiB or GiB, such as 65536 or \"50MiB\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        with_unit(text, &SIZE_UNITS).map(Self)
    }

    fn to_toml(&self) -> String {
        let text = in_largest_unit(self.0, &SIZE_UNITS);
        if text.ends_with("iB") { quoted(text) } else { text }
    }
}

/// A whole number directly followed by its unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn in_largest_unit(amount: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor))
        .map_or_else(
            || amount.to_string(),
            |(name, factor)| format!("{}{name}", amount / factor),
        )
}

/// The name of a node: it stands in logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName(String);

/// As long as a label of a domain name may be (RFC 1035 §2.3.4).
const NODE_NAME_OCTETS_MAX: usize = 63;

impl NodeName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for NodeName {
    fn allowed() -> String {
        format!("1 to {NODE_NAME_OCTETS_MAX} letters, digits, '-', '_' or '.'")
    }

    fn parse(text: &str) -> Option<Self> {
        let fits = (1..=NODE_NAME_OCTETS_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
        fits.then(|| Self(text.to_owned()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// How many threads do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Threads {
    /// One for each core.
    Cores,
    /// This many.
    Count(NonZeroUsize),
}

/// More threads than any machine of today has cores.
const THREADS_MAX: usize = 1_024;

impl Threads {
    /// How many that is on this machine.
    #[must_use]
    pub fn count(self) -> NonZeroUsize {
        match self {
            Self::Cores => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            Self::Count(count) => count,
        }
    }
}

impl Value for Threads {
    fn allowed() -> String {
        format!("\"cores\" (one a core) or a number from 1 to {THREADS_MAX}")
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "cores" {
            return Some(Self::Cores);
        }
        text.parse()
            .ok()
            .filter(|count: &NonZeroUsize| count.get() <= THREADS_MAX)
            .map(Self::Count)
    }

    fn to_toml(&self) -> String {
        match self {
            Self::Cores => quoted("cores"),
            Self::Count(count) => count.to_string(),
        }
    }
}

/// What is logged: a level for everything, and others for the modules that are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// For everything that `modules` doesn't name.
    pub general: LevelFilter,
    /// For a module and those in it; the longest name that fits counts.
    pub modules: Vec<(String, LevelFilter)>,
}

/// Levels have no order that a range could use.
impl PartialOrd for Levels {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl Value for Levels {
    fn allowed() -> String {
        "a level (off, error, warn, info, debug, trace), and others for modules, such as \
         \"info,mailhorn_core=debug\""
            .to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut levels = Self {
            general: LevelFilter::INFO,
            modules: Vec::new(),
        };
        for item in text.split(',').map(str::trim) {
            match item.split_once('=') {
                None => levels.general = level(item)?,
                Some((module, at)) if is_module(module) => {
                    levels.modules.push((module.to_owned(), level(at)?))
                }
                Some(_) => return None,
            }
        }
        Some(levels)
    }

    fn to_toml(&self) -> String {
        let modules = self
            .modules
            .iter()
            .map(|(module, level)| format!(",{module}={level}"));
        quoted(format!("{}{}", self.general, modules.collect::<String>()))
    }
}

/// Only by name: the numbers that tracing takes as well would be guesses to a reader.
fn level(text: &str) -> Option<LevelFilter> {
    let named = ["off", "error", "warn", "info", "debug", "trace"].contains(&text);
    text.parse().ok().filter(|_| named)
}

fn is_module(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"_:".contains(&octet))
}

#[cfg(test)]
mod tests;
