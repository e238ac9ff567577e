//! Passwords for one program each, and how they are written down.

use std::fmt;
use std::str::FromStr;

use mailhorn_events::Stamp;

/// How many app passwords an account may have.
pub const APP_PASSWORDS_MAX: usize = 32;

/// How long the name of an app password may be, in octets.
pub const APP_PASSWORD_NAME_OCTETS_MAX: usize = 64;

/// What a log-in is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Fetching mail.
    Pop3,
    /// Sending mail.
    Smtp,
}

impl Service {
    /// All there are, in their order.
    pub const ALL: [Self; 2] = [Self::Pop3, Self::Smtp];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
        }
    }
}

impl FromStr for Service {
    type Err = MalformedAppPassword;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|service| service.name() == text);
        found.ok_or(MalformedAppPassword("a service is unknown"))
    }
}

/// The services that a password opens; never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Services {
    pop3: bool,
    smtp: bool,
}

impl Services {
    /// These services; `None` if there are none.
    pub fn new(services: impl IntoIterator<Item = Service>) -> Option<Self> {
        let mut opened = Self {
            pop3: false,
            smtp: false,
        };
        for service in services {
            match service {
                Service::Pop3 => opened.pop3 = true,
                Service::Smtp => opened.smtp = true,
            }
        }
        (opened.pop3 || opened.smtp).then_some(opened)
    }

    /// Whether it has this service.
    #[must_use]
    pub const fn has(self, service: Service) -> bool {
        match service {
            Service::Pop3 => self.pop3,
            Service::Smtp => self.smtp,
        }
    }

    /// Its services, in their order.
    pub fn iter(self) -> impl Iterator<Item = Service> {
        Service::ALL.into_iter().filter(move |service| self.has(*service))
    }
}

/// A password for one program, which opens only what that program needs and is revoked alone.
///
/// It is random and long, so a plain hash of it with a salt is as hard to turn back as a slow one. Stores keep it as the text
/// that [`fmt::Display`] writes and [`FromStr`] reads.
#[derive(Clone, PartialEq, Eq)]
pub struct AppPassword {
    /// What its user calls it; of one account's no two have the same.
    pub name: String,
    /// What it opens.
    pub services: Services,
    /// When it was made.
    pub created: Stamp,
    /// Random, of this one alone.
    pub salt: [u8; 16],
    /// SHA-256 of the salt and the password.
    pub digest: [u8; 32],
}

impl fmt::Debug for AppPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppPassword")
            .field("name", &self.name)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

/// The name comes last, for it may have colons.
impl fmt::Display for AppPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<&str> = self.services.iter().map(Service::name).collect();
        write!(f, "1:{}:{}:", services.join(","), self.created.0)?;
        self.salt.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        f.write_str(":")?;
        self.digest
            .iter()
            .try_for_each(|octet| write!(f, "{octet:02x}"))?;
        write!(f, ":{}", self.name)
    }
}

/// Why a text is no app password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an app password is malformed: {0}")]
pub struct MalformedAppPassword(&'static str);

impl FromStr for AppPassword {
    type Err = MalformedAppPassword;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next().ok_or(MalformedAppPassword("a part is missing"));
        if part()? != "1" {
            return Err(MalformedAppPassword("it is of a later release"));
        }
        let services = part()?
            .split(',')
            .map(str::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let services = Services::new(services).ok_or(MalformedAppPassword("it opens nothing"))?;
        let created = part()?
            .parse()
            .map_err(|_| MalformedAppPassword("its time is no number"))?;
        Ok(Self {
            services,
            created: Stamp(created),
            salt: octets(part()?)?,
            digest: octets(part()?)?,
            name: part()?.to_owned(),
        })
    }
}

/// Octets as two hexadecimal digits each.
fn octets<const N: usize>(digits: &str) -> Result<[u8; N], MalformedAppPassword> {
    let malformed = MalformedAppPassword("its octets are not hexadecimal digits");
    let nibbles = digits
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|nibble| u8::try_from(nibble).ok()));
    let nibbles: Vec<u8> = nibbles.collect::<Option<_>>().ok_or(malformed)?;
    let octets: Vec<u8> = nibbles
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |octet, nibble| octet << 4 | nibble))
        .collect();
    if !nibbles.len().is_multiple_of(2) {
        return Err(malformed);
    }
    octets.try_into().map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> AppPassword {
        AppPassword {
            name: "phone: the old one".into(),
            services: Services::new([Service::Smtp, Service::Pop3]).unwrap(),
            created: Stamp(1_700_000_000_000_000),
            salt: [0xA0; 16],
            digest: [7; 32],
        }
    }

    #[test]
    fn an_app_password_is_read_as_it_was_written() {
        let written = sample().to_string();
        let salt = "a0".repeat(16);
        let digest = "07".repeat(32);
        assert_eq!(
            written,
            format!("1:pop3,smtp:1700000000000000:{salt}:{digest}:phone: the old one")
        );
        assert_eq!(written.parse(), Ok(sample()));
    }

    #[test]
    fn what_is_malformed_is_refused_and_never_half_believed() {
        let written = sample().to_string();
        for (from, to) in [
            ("1:", "2:"),
            ("pop3,", "pop4,"),
            ("pop3,smtp", ""),
            (":1700000000000000", ":soon"),
            ("a0a0", "a0a"),
            ("a0a0", "a0a0a0"),
            ("a0a0", "a0x0"),
        ] {
            let spoilt = written.replacen(from, to, 1);
            assert!(spoilt.parse::<AppPassword>().is_err(), "{spoilt}");
        }
        assert!("1:pop3:5".parse::<AppPassword>().is_err());
    }

    #[test]
    fn services_are_those_that_were_named_and_never_none() {
        let smtp = Services::new([Service::Smtp]).unwrap();
        assert!(smtp.has(Service::Smtp) && !smtp.has(Service::Pop3));
        assert_eq!(Services::new([]), None);
    }

    #[test]
    fn no_hash_is_printed() {
        assert!(!format!("{:?}", sample()).contains("160"));
    }
}
