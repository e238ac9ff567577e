//! Clauses of [`BanStore`].

use ipnet::IpNet;
use mailhorn_events::Stamp;

use crate::bans::{Ban, BanStore};

/// A time that is still to come when these run: a store may go by its own clock, too.
const NOW: Stamp = Stamp(4_102_444_800_000_000);
const MINUTE: u64 = 60_000_000;

fn network(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ban(on: &str, reason: &str, minutes: u64) -> Ban {
    Ban {
        network: network(on),
        reason: reason.into(),
        since: NOW,
        until: Stamp(NOW.0 + minutes * MINUTE),
        kept_until: Stamp(NOW.0 + 2 * minutes * MINUTE),
        node: "mail-1".into(),
    }
}

/// In the order of their networks.
async fn listed<S: BanStore>(store: &S, now: Stamp) -> Vec<Ban> {
    let mut bans = store.bans(now, 100).await.unwrap();
    bans.sort_by_key(|ban| ban.network);
    bans
}

/// All of a ban comes back, of either family and of any width.
pub async fn a_ban_is_listed_as_it_was_put<S: BanStore>(store: &S) {
    assert_eq!(store.bans(NOW, 100).await.unwrap(), []);
    let bans = [
        ban("192.0.2.7/32", "failed log-ins", 60),
        ban("198.51.100.0/24", "by hand: größer", 1),
        ban("2001:db8:1:2::/64", "", 1_440),
    ];
    for ban in &bans {
        store.put_ban(ban).await.unwrap();
    }
    assert_eq!(listed(store, NOW).await, bans);
}

/// A network has one ban: the last.
pub async fn a_ban_replaces_the_one_before<S: BanStore>(store: &S) {
    for (reason, minutes) in [("first", 60), ("longer", 120), ("shorter", 5)] {
        let ban = ban("192.0.2.7/32", reason, minutes);
        store.put_ban(&ban).await.unwrap();
        assert_eq!(listed(store, NOW).await, [ban]);
    }
    // A network is another one than a network in it.
    store.put_ban(&ban("192.0.2.0/24", "wide", 5)).await.unwrap();
    assert_eq!(listed(store, NOW).await.len(), 2);
}

/// A ban that was lifted is gone, and can be made again.
pub async fn a_ban_that_was_lifted_is_gone<S: BanStore>(store: &S) {
    let (one, other) = (ban("192.0.2.7/32", "one", 5), ban("192.0.2.8/32", "other", 5));
    store.lift_ban(one.network).await.unwrap();
    for ban in [&one, &other] {
        store.put_ban(ban).await.unwrap();
    }
    store.lift_ban(one.network).await.unwrap();
    store.lift_ban(network("192.0.2.0/24")).await.unwrap();
    assert_eq!(listed(store, NOW).await, std::slice::from_ref(&other));
    store.put_ban(&one).await.unwrap();
    assert_eq!(listed(store, NOW).await, [one, other]);
}

/// A ban that is over is remembered until its time for that is over as well.
pub async fn a_ban_is_remembered_for_its_time<S: BanStore>(store: &S) {
    let short = ban("192.0.2.7/32", "short", 5);
    let long = ban("192.0.2.8/32", "long", 60);
    for ban in [&short, &long] {
        store.put_ban(ban).await.unwrap();
    }
    assert_eq!(listed(store, short.until).await.len(), 2);
    assert_eq!(listed(store, short.kept_until).await, std::slice::from_ref(&long));
    // Another ban later, where those that are forgotten may be cleared away.
    let later = Ban {
        since: short.kept_until,
        ..ban("192.0.2.9/32", "later", 90)
    };
    store.put_ban(&later).await.unwrap();
    assert_eq!(listed(store, short.kept_until).await, [long, later]);
}

/// No more are given than were asked for.
pub async fn a_listing_is_bounded<S: BanStore>(store: &S) {
    for nth in 0..5 {
        store
            .put_ban(&ban(&format!("192.0.2.{nth}/32"), "", 5))
            .await
            .unwrap();
    }
    assert_eq!(store.bans(NOW, 3).await.unwrap().len(), 3);
    assert_eq!(store.bans(NOW, 100).await.unwrap().len(), 5);
}
