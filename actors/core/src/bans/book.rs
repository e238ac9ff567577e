//! The bans that a node knows, as the one who looks an address up needs them: decided with the time handed in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use mailhorn_events::Stamp;
use mailhorn_ports::Ban;

/// The bans, in memory.
#[derive(Debug)]
pub(super) struct Book {
    bans: HashMap<IpNet, Ban>,
    /// How many bans have a prefix of this length, for IPv4 and IPv6: an address is looked up once for each length.
    v4_lengths: BTreeMap<u8, usize>,
    v6_lengths: BTreeMap<u8, usize>,
    /// Of these the store does not know yet.
    unstored: BTreeSet<IpNet>,
    /// Counts changes made here, so that a list that was read before one does not undo it.
    changes: u64,
    bans_max: usize,
}

impl Book {
    pub(super) fn new(bans_max: usize) -> Self {
        Self {
            bans: HashMap::new(),
            v4_lengths: BTreeMap::new(),
            v6_lengths: BTreeMap::new(),
            unstored: BTreeSet::new(),
            changes: 0,
            bans_max,
        }
    }

    /// The ban that is in force for this address, which is canonical.
    pub(super) fn in_force(&self, peer: IpAddr, now: Stamp) -> Option<&Ban> {
        let lengths = match peer {
            IpAddr::V4(_) => &self.v4_lengths,
            IpAddr::V6(_) => &self.v6_lengths,
        };
        lengths.keys().find_map(|length| {
            let network = IpNet::new(peer, *length).ok()?.trunc();
            self.bans.get(&network).filter(|ban| ban.until > now)
        })
    }

    /// What is remembered of this very network: a ban that is in force, or one that was.
    pub(super) fn remembered(&self, network: IpNet, now: Stamp) -> Option<&Ban> {
        self.bans.get(&network).filter(|ban| ban.kept_until > now)
    }

    /// Notes a ban that was made here. Whether another one had to be forgotten for it: that which ends first.
    pub(super) fn make(&mut self, ban: Ban, now: Stamp) -> bool {
        self.changes += 1;
        self.forget_past(now);
        let is_full = !self.bans.contains_key(&ban.network) && self.bans.len() >= self.bans_max;
        if is_full {
            let first = self
                .bans
                .values()
                .min_by_key(|ban| ban.until)
                .map(|ban| ban.network);
            first.inspect(|network| self.remove(*network));
        }
        self.unstored.insert(ban.network);
        self.insert(ban);
        is_full
    }

    /// Takes a ban back.
    pub(super) fn lift(&mut self, network: IpNet) {
        self.changes += 1;
        self.remove(network);
    }

    /// To be handed back to [`Book::refresh`] with what was read after it.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Puts what the store has in place of what is here, but for what the store does not know yet. Without an effect where
    /// something was made or lifted since `changes`: the list may be older than that.
    pub(super) fn refresh(&mut self, listed: Vec<Ban>, changes: u64) {
        if changes != self.changes {
            return;
        }
        let own: Vec<Ban> = self.unstored().into_iter().collect();
        self.bans.clear();
        self.v4_lengths.clear();
        self.v6_lengths.clear();
        for ban in listed.into_iter().take(self.bans_max).chain(own) {
            self.insert(ban);
        }
    }

    /// Bans that the store does not know yet.
    pub(super) fn unstored(&self) -> Vec<Ban> {
        let bans = self.unstored.iter().filter_map(|network| self.bans.get(network));
        bans.cloned().collect()
    }

    /// The store knows this one.
    pub(super) fn stored(&mut self, ban: &Ban) {
        if self.bans.get(&ban.network) == Some(ban) {
            self.unstored.remove(&ban.network);
        }
    }

    /// All that are in force, in the order of their networks.
    pub(super) fn all_in_force(&self, now: Stamp) -> Vec<Ban> {
        let mut bans: Vec<Ban> = self
            .bans
            .values()
            .filter(|ban| ban.until > now)
            .cloned()
            .collect();
        bans.sort_by_key(|ban| ban.network);
        bans
    }

    /// How many that is.
    pub(super) fn count_in_force(&self, now: Stamp) -> usize {
        self.bans.values().filter(|ban| ban.until > now).count()
    }

    fn lengths(&mut self, network: IpNet) -> &mut BTreeMap<u8, usize> {
        match network {
            IpNet::V4(_) => &mut self.v4_lengths,
            IpNet::V6(_) => &mut self.v6_lengths,
        }
    }

    fn insert(&mut self, ban: Ban) {
        let network = ban.network;
        if self.bans.insert(network, ban).is_none() {
            *self.lengths(network).entry(network.prefix_len()).or_default() += 1;
        }
    }

    fn remove(&mut self, network: IpNet) {
        self.unstored.remove(&network);
        if self.bans.remove(&network).is_none() {
            return;
        }
        let lengths = self.lengths(network);
        let count = lengths.entry(network.prefix_len()).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            lengths.remove(&network.prefix_len());
        }
    }

    fn forget_past(&mut self, now: Stamp) {
        if self.bans.len() < self.bans_max {
            return;
        }
        let past = self.bans.values().filter(|ban| ban.kept_until <= now);
        let past: Vec<IpNet> = past.map(|ban| ban.network).collect();
        past.into_iter().for_each(|network| self.remove(network));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(network: &str, until: u64) -> Ban {
        Ban {
            network: network.parse().unwrap(),
            reason: String::new(),
            since: Stamp(1),
            until: Stamp(until),
            kept_until: Stamp(until * 2),
            node: "a".into(),
        }
    }

    fn found(book: &Book, peer: &str, now: u64) -> Option<String> {
        let ban = book.in_force(peer.parse().unwrap(), Stamp(now));
        ban.map(|ban| ban.network.to_string())
    }

    #[test]
    fn an_address_is_banned_by_every_network_that_has_it_while_the_ban_lasts() {
        let mut book = Book::new(100);
        for (network, until) in [
            ("192.0.2.7/32", 10),
            ("192.0.2.0/24", 20),
            ("2001:db8:1:2::/64", 10),
            ("0.0.0.0/0", 5),
        ] {
            book.make(ban(network, until), Stamp(1));
        }
        let table = [
            ("192.0.2.7", 6, Some("192.0.2.0/24")),
            ("192.0.2.8", 6, Some("192.0.2.0/24")),
            ("192.0.2.8", 20, None),
            ("198.51.100.1", 4, Some("0.0.0.0/0")),
            ("198.51.100.1", 5, None),
            ("2001:db8:1:2:3:4:5:6", 9, Some("2001:db8:1:2::/64")),
            ("2001:db8:1:3::", 9, None),
            ("::", 1, None),
        ];
        for (peer, now, expected) in table {
            assert_eq!(found(&book, peer, now).as_deref(), expected, "{peer} at {now}");
        }
        book.lift("192.0.2.0/24".parse().unwrap());
        assert_eq!(found(&book, "192.0.2.8", 6), None);
        assert_eq!(found(&book, "192.0.2.7", 6).as_deref(), Some("192.0.2.7/32"));
        assert_eq!(book.v4_lengths.keys().copied().collect::<Vec<_>>(), [0, 32]);
    }

    #[test]
    fn a_full_book_forgets_what_is_past_and_then_what_ends_first() {
        let mut book = Book::new(2);
        assert!(!book.make(ban("192.0.2.1/32", 10), Stamp(1)));
        assert!(!book.make(ban("192.0.2.2/32", 20), Stamp(1)));
        assert!(
            !book.make(ban("192.0.2.2/32", 30), Stamp(1)),
            "it takes its own place"
        );
        assert!(
            !book.make(ban("192.0.2.3/32", 40), Stamp(20)),
            "the first is past"
        );
        assert!(book.make(ban("192.0.2.4/32", 50), Stamp(21)));
        let left: Vec<u64> = book
            .all_in_force(Stamp(21))
            .iter()
            .map(|ban| ban.until.0)
            .collect();
        assert_eq!(left, [40, 50]);
    }

    #[test]
    fn a_list_replaces_what_is_here_but_for_what_the_store_does_not_know() {
        let mut book = Book::new(100);
        let own = ban("192.0.2.1/32", 10);
        book.make(own.clone(), Stamp(1));
        let before = book.changes();
        book.refresh(vec![ban("192.0.2.2/32", 10)], before);
        assert_eq!(book.all_in_force(Stamp(1)).len(), 2);
        assert_eq!(book.unstored(), std::slice::from_ref(&own));
        book.stored(&own);
        book.refresh(vec![ban("192.0.2.2/32", 10)], before);
        assert_eq!(found(&book, "192.0.2.1", 1), None, "it was lifted elsewhere");
    }

    #[test]
    fn a_list_that_is_older_than_a_change_does_not_undo_it() {
        let mut book = Book::new(100);
        let listed = vec![ban("192.0.2.1/32", 10)];
        book.refresh(listed.clone(), 0);
        book.lift("192.0.2.1/32".parse().unwrap());
        book.refresh(listed, 0);
        assert_eq!(found(&book, "192.0.2.1", 1), None);
    }

    #[test]
    fn a_ban_that_changed_while_it_was_stored_is_stored_again() {
        let mut book = Book::new(100);
        let (first, second) = (ban("192.0.2.1/32", 10), ban("192.0.2.1/32", 20));
        book.make(first.clone(), Stamp(1));
        book.make(second.clone(), Stamp(1));
        book.stored(&first);
        assert_eq!(book.unstored(), [second]);
    }
}
