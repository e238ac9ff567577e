//! Addresses of clients, as every limit takes them: in one place, so that all limits mean the same by "an address".

use std::net::IpAddr;

use ipnet::IpNet;

/// How much of an IPv6 address counts: one customer often holds a whole /64, and may take a new address of it for each
/// connection.
const V6_PREFIX_LENGTH: u8 = 64;

/// What counts as one address: an IPv4 address, also where it is mapped into IPv6, or a /64 of IPv6.
#[must_use]
pub fn counted_as(peer: IpAddr) -> IpNet {
    let peer = peer.to_canonical();
    let length = match peer {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => V6_PREFIX_LENGTH,
    };
    IpNet::new_assert(peer, length).trunc()
}

/// Whether an address is in one of these networks, also where it is mapped into IPv6.
pub(crate) fn is_in(networks: &[IpNet], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    networks.iter().any(|network| network.contains(&peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_one_and_so_are_a_mapped_one_and_a_64_of_ipv6() {
        for (peer, expected) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(counted_as(peer.parse().unwrap()).to_string(), expected, "{peer}");
        }
    }

    #[test]
    fn a_mapped_address_is_in_the_networks_of_the_address() {
        let networks = ["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        for (peer, expected) in [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("2001:db8::1", true),
            ("198.51.100.1", false),
            ("::1", false),
        ] {
            assert_eq!(is_in(&networks, peer.parse().unwrap()), expected, "{peer}");
        }
    }
}
