//! Version 1: a line of text (PROXY §2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::{Header, Malformed, Taken, V1_OCTETS_MAX};

pub(crate) const FIRST: u8 = b'P';
const BEGINNING: &[u8] = b"PROXY ";

/// What has come of the line.
#[derive(Debug)]
pub(crate) struct Line {
    octets: [u8; V1_OCTETS_MAX],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            octets: [0; V1_OCTETS_MAX],
            length: 0,
        }
    }
}

impl Line {
    pub(crate) fn take(&mut self, octet: u8) -> Result<Taken, Malformed> {
        let expected = BEGINNING.get(self.length);
        if expected.is_some_and(|expected| *expected != octet) {
            return Err(Malformed::NoHeader);
        }
        let Some(place) = self.octets.get_mut(self.length) else {
            return Err(Malformed::TooLong);
        };
        *place = octet;
        self.length = self.length.saturating_add(1);
        let line = self.octets.get(..self.length).unwrap_or_default();
        if let Some(line) = line.strip_suffix(b"\r\n") {
            let said = line.strip_prefix(BEGINNING).unwrap_or_default();
            return read(said).map(Taken::Done).ok_or(Malformed::Content);
        }
        match line {
            // A line end is CRLF and nothing else: what reads one of them differently than the proxy reads other octets
            // as the client's.
            [.., b'\n'] => Err(Malformed::Content),
            [.., b'\r', last] if *last != b'\n' => Err(Malformed::Content),
            _ if self.length == V1_OCTETS_MAX => Err(Malformed::TooLong),
            _ => Ok(Taken::More),
        }
    }
}

/// What stands between `PROXY ` and the line end.
fn read(said: &[u8]) -> Option<Header> {
    let text = std::str::from_utf8(said).ok()?;
    let mut words = text.split(' ');
    let protocol = words.next()?;
    if protocol == "UNKNOWN" {
        // Whatever follows is not to be looked at.
        return Some(Header::Local);
    }
    let mut next = || words.next();
    let (source, destination) = (next()?, next()?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    if words.next().is_some() {
        return None;
    }
    let (source, destination) = match protocol {
        "TCP4" => (address::<Ipv4Addr>(source)?, address::<Ipv4Addr>(destination)?),
        "TCP6" => (address::<Ipv6Addr>(source)?, address::<Ipv6Addr>(destination)?),
        _ => return None,
    };
    Some(Header::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn address<A: FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<A>().ok().map(Into::into)
}

/// A decimal number without a sign and without zeros in front.
fn port(text: &str) -> Option<u16> {
    let is_plain = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    text.parse().ok().filter(|_| is_plain)
}
