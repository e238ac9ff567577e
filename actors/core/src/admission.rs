//! Who may come in: connection counts in all, for each address and for each user.
//!
//! A permit is a value that travels with what it admits and gives its place back when it is dropped, however that
//! comes about. Trusted networks are left out of what is counted for each address.
//!
//! A connection is counted twice, in this order: as one more ([`Admission::place`]), and as one of its address
//! ([`Place::of`]). Behind a proxy the address is known later than the connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mailhorn_events::AccountId;
use parking_lot::Mutex;

use crate::peers::{counted_as, is_in};

/// How many may be in at a time.
#[derive(Debug, Clone)]
pub struct AdmissionLimits {
    /// Connections in all.
    pub connections_max: usize,
    /// Connections from one address (an IPv6 /64 is one address).
    pub per_address_max: usize,
    /// Logged-in sessions of one user.
    pub per_user_max: usize,
    /// Networks whose addresses are not counted.
    pub trusted_networks: Vec<IpNet>,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Connections in all.
    Total,
    /// Connections from this address.
    Address,
    /// Sessions of this user.
    User,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    addresses: HashMap<IpNet, usize>,
    users: HashMap<AccountId, usize>,
}

/// The counts of one protocol.
#[derive(Debug, Clone)]
pub struct Admission {
    limits: Arc<AdmissionLimits>,
    counts: Arc<Mutex<Counts>>,
}

/// A connection's place among all.
#[derive(Debug)]
pub struct Place {
    limits: Arc<AdmissionLimits>,
    counts: Arc<Mutex<Counts>>,
}

/// A connection's place among all, and among those of its address.
#[derive(Debug)]
pub struct ConnectionPermit {
    place: Place,
    address: Option<IpNet>,
}

/// A logged-in session's place.
#[derive(Debug)]
pub struct UserPermit {
    counts: Arc<Mutex<Counts>>,
    user: AccountId,
}

impl Admission {
    /// Nobody is in.
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits: Arc::new(limits),
            counts: Arc::default(),
        }
    }

    /// A place for a connection, from wherever it is.
    ///
    /// # Errors
    ///
    /// [`Refusal::Total`].
    pub fn place(&self) -> Result<Place, Refusal> {
        let mut counts = self.counts.lock();
        if counts.total >= self.limits.connections_max {
            return Err(Refusal::Total);
        }
        counts.total += 1;
        Ok(Place {
            limits: Arc::clone(&self.limits),
            counts: Arc::clone(&self.counts),
        })
    }

    /// A place for a session of `user`.
    ///
    /// # Errors
    ///
    /// [`Refusal::User`].
    pub fn user(&self, user: AccountId) -> Result<UserPermit, Refusal> {
        let mut counts = self.counts.lock();
        let count = counts.users.entry(user).or_default();
        if *count >= self.limits.per_user_max {
            return Err(Refusal::User);
        }
        *count += 1;
        Ok(UserPermit {
            counts: Arc::clone(&self.counts),
            user,
        })
    }

    /// Connections that are in.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.counts.lock().total
    }
}

impl Place {
    /// The same for a connection from `peer`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Address`]; the place is given back.
    pub fn of(self, peer: IpAddr) -> Result<ConnectionPermit, Refusal> {
        let trusted = is_in(&self.limits.trusted_networks, peer);
        let address = (!trusted).then(|| counted_as(peer));
        if let Some(address) = address {
            let mut counts = self.counts.lock();
            let count = counts.addresses.entry(address).or_default();
            if *count >= self.limits.per_address_max {
                drop(counts);
                return Err(Refusal::Address);
            }
            *count += 1;
        }
        Ok(ConnectionPermit { place: self, address })
    }
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        if *entry.get() <= 1 {
            entry.remove();
        } else {
            *entry.get_mut() -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.total = counts.total.saturating_sub(1);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            give_back(&mut self.place.counts.lock().addresses, address);
        }
    }
}

impl Drop for UserPermit {
    fn drop(&mut self) {
        give_back(&mut self.counts.lock().users, self.user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn admission() -> Admission {
        Admission::new(AdmissionLimits {
            connections_max: 4,
            per_address_max: 2,
            per_user_max: 1,
            trusted_networks: vec!["127.0.0.0/8".parse().unwrap()],
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn connection(admission: &Admission, peer: IpAddr) -> Result<ConnectionPermit, Refusal> {
        admission.place()?.of(peer)
    }

    #[test]
    fn an_address_has_its_own_limit_and_a_dropped_permit_gives_its_place_back() {
        let admission = admission();
        let first = connection(&admission, ip("192.0.2.1")).unwrap();
        let _second = connection(&admission, ip("192.0.2.1")).unwrap();
        assert_eq!(
            connection(&admission, ip("192.0.2.1")).unwrap_err(),
            Refusal::Address
        );
        drop(first);
        let _third = connection(&admission, ip("192.0.2.1")).unwrap();
        assert_eq!(admission.connections(), 2);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let admission = admission();
        let _a = connection(&admission, ip("2001:db8::1")).unwrap();
        let _b = connection(&admission, ip("2001:db8::2")).unwrap();
        assert_eq!(
            connection(&admission, ip("2001:db8::3")).unwrap_err(),
            Refusal::Address
        );
        let _other = connection(&admission, ip("2001:db8:0:1::3")).unwrap();
    }

    #[test]
    fn a_trusted_network_is_bound_by_the_total_alone() {
        let admission = admission();
        let permits: Vec<_> = (0..4)
            .map(|_| connection(&admission, ip("127.0.0.1")).unwrap())
            .collect();
        assert_eq!(
            connection(&admission, ip("127.0.0.1")).unwrap_err(),
            Refusal::Total
        );
        drop(permits);
        assert_eq!(admission.connections(), 0);
        assert!(admission.counts.lock().addresses.is_empty());
    }

    #[test]
    fn a_connection_whose_address_is_not_known_yet_is_one_of_all() {
        let admission = admission();
        let places: Vec<_> = (0..4).map(|_| admission.place().unwrap()).collect();
        assert_eq!(admission.place().unwrap_err(), Refusal::Total);
        let mut places = places.into_iter();
        let mut of = |peer| places.next().unwrap().of(ip(peer));
        let _permits = [of("192.0.2.1").unwrap(), of("192.0.2.1").unwrap()];
        assert_eq!(of("192.0.2.1").unwrap_err(), Refusal::Address);
        assert_eq!(admission.connections(), 3, "the place was given back");
        assert!(of("192.0.2.2").is_ok());
    }

    #[test]
    fn a_user_has_a_limit_of_sessions() {
        let admission = admission();
        let user = AccountId(Uuid::from_u128(1));
        let permit = admission.user(user).unwrap();
        assert_eq!(admission.user(user).unwrap_err(), Refusal::User);
        drop(permit);
        assert!(admission.user(user).is_ok());
        assert!(admission.counts.lock().users.is_empty());
    }
}
