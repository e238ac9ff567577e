use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use mailhorn_events::Stamp;
use mailhorn_ports::memory::{ManualClock, MemoryStore, SeededRandom};
use mailhorn_ports::{BanStore, Ids};

use super::*;
use crate::observe::Kinds;

const HOUR: Duration = Duration::from_secs(3_600);

struct World {
    store: MemoryStore,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            clock: Arc::new(ManualClock::new(1_767_225_600_000_000)),
        }
    }

    /// The bans of a node, or of its next life.
    fn node(&self, name: &str) -> Bans {
        let options = BanOptions {
            limits: BanLimits {
                failed_log_ins_max: 2,
                abuses_max: 2,
                within: HOUR,
                time: HOUR,
                time_max: 3 * HOUR,
                entries_max: NonZeroUsize::new(100).unwrap(),
            },
            spared: vec![network("127.0.0.0/8"), network("10.1.0.0/16")],
            refresh: Duration::from_secs(10),
            node: name.into(),
        };
        let ids = Ids::new(
            Arc::clone(&self.clock) as _,
            Arc::new(SeededRandom::new(1)),
            Stamp(0),
        );
        let metrics = Arc::new(Metrics::new(Arc::new(Kinds::default())).0);
        Bans::new(options, Arc::new(self.store.clone()), ids, metrics)
    }
}

fn network(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn fail_twice(bans: &Bans, peer: &str) {
    for _ in 0..2 {
        bans.failed_log_in(ip(peer));
    }
}

/// Until the keeper has stored everything.
async fn settled(bans: &Bans) {
    let inner = bans.0.as_ref().unwrap();
    inner.store_new().await;
    assert_eq!(inner.book.read().unstored(), []);
}

#[tokio::test]
async fn the_whole_network_of_a_customer_is_banned_and_a_mapped_address_is_the_address() {
    let bans = World::new().node("a");
    bans.failed_log_in(ip("2001:db8:1:2::1"));
    bans.failed_log_in(ip("2001:db8:1:2::2"));
    bans.failed_log_in(ip("::ffff:192.0.2.1"));
    bans.failed_log_in(ip("192.0.2.1"));
    for (peer, is_banned) in [
        ("2001:db8:1:2:ffff::", true),
        ("2001:db8:1:3::1", false),
        ("192.0.2.1", true),
        ("::ffff:192.0.2.1", true),
        ("192.0.2.2", false),
    ] {
        assert_eq!(bans.refuse(ip(peer)), is_banned, "{peer}");
    }
}

#[tokio::test]
async fn trusted_networks_and_proxies_are_never_banned_whoever_bans_them() {
    let world = World::new();
    let bans = world.node("a");
    for peer in ["127.0.0.1", "10.1.2.3"] {
        fail_twice(&bans, peer);
        assert!(!bans.refuse(ip(peer)), "{peer}");
    }
    for wrong in ["10.1.2.3/32", "10.0.0.0/8", "0.0.0.0/0"] {
        let told = bans.add(network(wrong), None, String::new()).await;
        assert!(matches!(told, Err(BanError::Spared(_))), "{wrong}: {told:?}");
    }
    // A node with other settings made it.
    let ban = Ban {
        network: network("10.0.0.0/8"),
        ..world
            .node("b")
            .add(network("192.0.2.0/24"), None, String::new())
            .await
            .unwrap()
    };
    world.store.put_ban(&ban).await.unwrap();
    bans.refresh().await.unwrap();
    assert!(bans.refuse(ip("10.2.0.1")) && !bans.refuse(ip("10.1.0.1")));
}

#[tokio::test]
async fn a_ban_holds_after_a_restart_and_the_next_one_is_longer() {
    let world = World::new();
    let mut lasted = Vec::new();
    for _ in 0..3 {
        let life = world.node("a");
        life.refresh().await.unwrap();
        fail_twice(&life, "192.0.2.1");
        settled(&life).await;
        let next = world.node("a");
        next.refresh().await.unwrap();
        let [ban] = &next.list()[..] else {
            panic!("there is one ban")
        };
        assert!(next.refuse(ip("192.0.2.1")));
        let micros = ban.until.0 - ban.since.0;
        lasted.push(micros / 3_600_000_000);
        world.clock.advance(Duration::from_micros(micros));
        assert!(!next.refuse(ip("192.0.2.1")) && next.list().is_empty());
    }
    assert_eq!(lasted, [1, 2, 3]);
}

#[tokio::test]
async fn while_the_store_is_away_bans_are_this_nodes_and_come_there_later() {
    let world = World::new();
    let (bans, other) = (world.node("a"), world.node("b"));
    world.store.set_unavailable(true);
    fail_twice(&bans, "192.0.2.1");
    let by_hand = bans
        .add(network("198.51.100.0/24"), Some(2 * HOUR), "spam".into())
        .await;
    assert_eq!(
        by_hand.unwrap().until,
        after(Stamp(1_767_225_600_000_000), 2 * HOUR)
    );
    assert!(bans.refresh().await.is_err());
    assert!(bans.refuse(ip("192.0.2.1")) && bans.refuse(ip("198.51.100.9")));
    assert!(matches!(
        bans.lift(network("192.0.2.1/32")).await,
        Err(BanError::Store(_))
    ));
    world.store.set_unavailable(false);
    // What another node has of it does not hide what the store doesn't know yet.
    bans.refresh().await.unwrap();
    assert_eq!(bans.list().len(), 2);
    settled(&bans).await;
    other.refresh().await.unwrap();
    assert_eq!(other.list(), bans.list());
}

#[tokio::test]
async fn only_a_ban_that_there_is_can_be_lifted_and_it_takes_what_led_to_it_along() {
    let world = World::new();
    let bans = world.node("a");
    bans.add(network("192.0.2.0/24"), None, String::new())
        .await
        .unwrap();
    let told = bans.lift(network("198.51.100.1/32")).await;
    assert!(matches!(told, Err(BanError::NoSuchBan(_))), "{told:?}");
    let told = bans.lift(network("192.0.2.7/32")).await.unwrap_err();
    assert_eq!(
        told.to_string(),
        "there is no ban of 192.0.2.7/32; it is banned by 192.0.2.0/24"
    );
    bans.lift(network("192.0.2.0/24")).await.unwrap();
    bans.failed_log_in(ip("198.51.100.1"));
    bans.add(network("198.51.100.1/32"), None, String::new())
        .await
        .unwrap();
    bans.lift(network("198.51.100.1/32")).await.unwrap();
    bans.failed_log_in(ip("198.51.100.1"));
    assert!(bans.list().is_empty(), "one failure after the lifting is one");
    assert_eq!(world.store.bans(Stamp(0), 9).await.unwrap(), []);
}

#[tokio::test]
async fn where_bans_are_off_nobody_is_banned() {
    let bans = Bans::off();
    fail_twice(&bans, "192.0.2.1");
    assert!(!bans.refuse(ip("192.0.2.1")));
    let network = network("192.0.2.1/32");
    assert!(matches!(
        bans.add(network, None, String::new()).await,
        Err(BanError::Off)
    ));
    assert!(matches!(bans.lift(network).await, Err(BanError::Off)));
    assert_eq!(bans.list(), []);
}

#[tokio::test(start_paused = true)]
async fn the_keeper_stores_at_once_and_looks_again_after_a_while_until_the_node_ends() {
    let world = World::new();
    let (bans, other) = (world.node("a"), world.node("b"));
    let kinds = Kinds::default();
    let (drain, watch) = crate::drain::drain();
    let keeping = keep(&bans, watch.clone(), &kinds.ban_keeper);
    let watched = async {
        fail_twice(&bans, "192.0.2.1");
        while world.store.bans(Stamp(0), 9).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        other.refresh().await.unwrap();
        other.lift(network("192.0.2.1/32")).await.unwrap();
        assert!(bans.refuse(ip("192.0.2.1")));
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert!(!bans.refuse(ip("192.0.2.1")));
    };
    tokio::select! {
        () = keeping => panic!("it goes on"),
        () = watched => {}
    }
    drain.begin(Duration::ZERO);
    keep(&bans, watch, &kinds.ban_keeper).await;
}
