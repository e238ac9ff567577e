//! Version 2: octets (PROXY §2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{Header, Malformed, Taken, V2_OCTETS_MAX};

pub(crate) const FIRST: u8 = b'\r';
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version with command, family with protocol, length.
const FIXED_OCTETS: usize = 16;
/// Two IPv6 addresses and two ports. Of what may stand behind (Unix paths, additions) nothing is needed.
const ADDRESS_OCTETS_MAX: usize = 36;
const HELD_OCTETS_MAX: usize = FIXED_OCTETS + ADDRESS_OCTETS_MAX;

const VERSION_2: u8 = 0x20;
const LOCAL: u8 = 0x0;
const PROXY: u8 = 0x1;

/// What has come of the header.
#[derive(Debug)]
pub(crate) struct Block {
    held: [u8; HELD_OCTETS_MAX],
    taken: usize,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            held: [0; HELD_OCTETS_MAX],
            taken: 0,
        }
    }
}

impl Block {
    pub(crate) fn take(&mut self, octet: u8) -> Result<Taken, Malformed> {
        let expected = SIGNATURE.get(self.taken);
        if expected.is_some_and(|expected| *expected != octet) {
            return Err(Malformed::NoHeader);
        }
        if let Some(place) = self.held.get_mut(self.taken) {
            *place = octet;
        }
        self.taken = self.taken.saturating_add(1);
        if self.taken < FIXED_OCTETS {
            return Ok(Taken::More);
        }
        let [.., version_command, family, high, low] = *self.fixed();
        let length = usize::from(u16::from_be_bytes([high, low]));
        let whole = FIXED_OCTETS.saturating_add(length);
        if self.taken == FIXED_OCTETS {
            if version_command & 0xF0 != VERSION_2 || version_command & 0x0F > PROXY {
                return Err(Malformed::Content);
            }
            if whole > V2_OCTETS_MAX {
                return Err(Malformed::TooLong);
            }
        }
        if self.taken < whole {
            return Ok(Taken::More);
        }
        if version_command & 0x0F == LOCAL {
            // The family and all that follows are not to be looked at.
            return Ok(Taken::Done(Header::Local));
        }
        self.client(family, length)
            .map(Taken::Done)
            .ok_or(Malformed::Content)
    }

    fn fixed(&self) -> &[u8; FIXED_OCTETS] {
        self.held.first_chunk().unwrap_or(&[0; FIXED_OCTETS])
    }

    fn client(&self, family: u8, length: usize) -> Option<Header> {
        let length = length.min(ADDRESS_OCTETS_MAX);
        let addresses = self.held.get(FIXED_OCTETS..)?.get(..length)?;
        match family {
            // TCP over IPv4, and over IPv6.
            0x11 => {
                let (from, rest) = addresses.split_first_chunk::<4>()?;
                let (to, ports) = rest.split_first_chunk::<4>()?;
                proxied(Ipv4Addr::from(*from).into(), Ipv4Addr::from(*to).into(), ports)
            }
            0x21 => {
                let (from, rest) = addresses.split_first_chunk::<16>()?;
                let (to, ports) = rest.split_first_chunk::<16>()?;
                proxied(Ipv6Addr::from(*from).into(), Ipv6Addr::from(*to).into(), ports)
            }
            // Unspecified, datagrams, Unix sockets: the real end of the connection may be taken instead.
            0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Some(Header::Local),
            _ => None,
        }
    }
}

fn proxied(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Option<Header> {
    let ([from_high, from_low, to_high, to_low], _) = ports.split_first_chunk::<4>()?;
    Some(Header::Proxied {
        source: SocketAddr::new(source, u16::from_be_bytes([*from_high, *from_low])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([*to_high, *to_low])),
    })
}
