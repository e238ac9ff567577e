//! The live feed: nothing lost, nothing doubled, and a reset wherever that can't be had.

use std::time::Duration;

use futures_util::FutureExt;
use mailhorn_core::events::contract::{Node, World, paused};
use mailhorn_core::events::{Fanout, Feed, FeedError, FeedHub, FeedId, FeedItem, FeedOptions};
use mailhorn_events::{Event, Generation, Happening};
use mailhorn_ports::Key;
use uuid::Uuid;

const LINGER: Duration = Duration::from_secs(30);

fn options() -> FeedOptions {
    FeedOptions {
        memory_octets: 1024 * 1024,
        linger: LINGER,
        clients_max: 100,
    }
}

fn hub(node: &Node) -> FeedHub {
    FeedHub::new(node.bus.clone(), node.generation, options())
}

fn name(event: &Event) -> String {
    match &event.happening {
        Happening::MailboxAdded { name } => name.clone(),
        other => other.name().to_owned(),
    }
}

/// The next event's name, or `reset`; and where to go on from.
async fn next(feed: &mut Feed) -> (String, FeedId) {
    let item = tokio::time::timeout(Duration::from_secs(5), feed.next()).await;
    match item.expect("something comes") {
        FeedItem::Event { id, happened } => (name(happened.event()), id),
        FeedItem::Reset { id } => ("reset".into(), id),
    }
}

async fn names(feed: &mut Feed, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < count {
        names.push(next(feed).await.0);
    }
    names
}

async fn nothing_comes(feed: &mut Feed) {
    let item = tokio::time::timeout(Duration::from_millis(500), feed.next()).await;
    assert!(item.is_err(), "{item:?}");
}

async fn announce(node: &Node, n: u64, names: impl IntoIterator<Item = u32>) {
    for name in names {
        node.announce(World::event(n, name)).await;
    }
}

fn numbers(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

fn test(test: impl AsyncFnOnce(World, Node) + 'static) {
    paused(async {
        let world = World::alone();
        let node = world.node("a").await;
        test(world, node).await;
    });
}

#[test]
fn a_feed_id_is_text_and_back() {
    let id = FeedId {
        life: Generation(Uuid::from_u128(7)),
        sequence: 12,
    };
    assert_eq!(id.to_string(), "00000000-0000-0000-0000-000000000007.12");
    assert_eq!(id.to_string().parse(), Ok(id));
    for bad in ["", ".", "7.12", "00000000-0000-0000-0000-000000000007.", "x.1"] {
        assert!(bad.parse::<FeedId>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_client_has_what_happens_under_its_key_from_the_subscription_on() {
    test(async |_, node| {
        let hub = hub(&node);
        announce(&node, 1, [0]).await;
        let mut of_mailbox = hub.subscribe(World::key(1), None).await.unwrap();
        let mut of_user = hub.subscribe(Key::User(World::user(1)), None).await.unwrap();
        announce(&node, 2, [5]).await;
        announce(&node, 1, 1..4).await;
        assert_eq!(names(&mut of_mailbox, 3).await, numbers(1..4));
        assert_eq!(names(&mut of_user, 3).await, numbers(1..4));
        nothing_comes(&mut of_mailbox).await;
        nothing_comes(&mut of_user).await;
    });
}

#[test]
fn nothing_is_lost_or_doubled_while_others_announce() {
    test(async |_, node| {
        const EVENTS: u32 = 300;
        let hub = hub(&node);
        let bus = node.bus.clone();
        let announcer = actix_rt::spawn(async move {
            for number in 0..EVENTS {
                bus.announce(vec![World::event(1, number)]).await;
                if number % 7 == 0 {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
        });
        let mut clients = Vec::new();
        for client in 0..20_u32 {
            let hub = hub.clone();
            clients.push(actix_rt::spawn(async move {
                tokio::time::sleep(Duration::from_millis(u64::from(client))).await;
                let mut feed = hub.subscribe(World::key(1), None).await.unwrap();
                let mut seen = vec![next(&mut feed).await.0.parse::<u32>().unwrap()];
                while seen.last() != Some(&(EVENTS - 1)) {
                    if seen.len() % 13 == 0 {
                        // The line breaks, and the client comes back.
                        let at = feed.at();
                        drop(feed);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        feed = hub.subscribe(World::key(1), Some(at)).await.unwrap();
                    }
                    seen.push(next(&mut feed).await.0.parse().unwrap());
                }
                assert_eq!(seen, (seen[0]..EVENTS).collect::<Vec<_>>());
            }));
        }
        announcer.await.unwrap();
        for client in clients {
            client.await.unwrap();
        }
    });
}

#[test]
fn who_comes_back_has_exactly_what_it_missed() {
    test(async |_, node| {
        let hub = hub(&node);
        let mut feed = hub.subscribe(World::key(1), None).await.unwrap();
        announce(&node, 1, 0..3).await;
        let (_, at) = next(&mut feed).await;
        drop(feed);
        announce(&node, 1, 3..5).await;
        let mut feed = hub.subscribe(World::key(1), Some(at)).await.unwrap();
        assert_eq!(names(&mut feed, 4).await, numbers(1..5));
        nothing_comes(&mut feed).await;
    });
}

#[test]
fn who_saw_no_event_yet_can_come_back_too() {
    test(async |_, node| {
        let hub = hub(&node);
        let at = hub.subscribe(World::key(1), None).await.unwrap().at();
        announce(&node, 1, 0..2).await;
        let mut feed = hub.subscribe(World::key(1), Some(at)).await.expect("a feed");
        assert_eq!(names(&mut feed, 2).await, numbers(0..2));
    });
}

/// Subscribes with this id, and has a reset and then what comes.
async fn is_reset(node: &Node, hub: &FeedHub, last: FeedId) {
    let mut feed = hub.subscribe(World::key(1), Some(last)).await.expect("a feed");
    let (item, at) = next(&mut feed).await;
    assert_eq!(item, "reset");
    announce(node, 1, [99]).await;
    assert_eq!(next(&mut feed).await.0, "99");
    // The reset is a place to come back to.
    let mut again = hub.subscribe(World::key(1), Some(at)).await.expect("a feed");
    assert_eq!(next(&mut again).await.0, "99");
    nothing_comes(&mut again).await;
}

#[test]
fn another_life_is_reset() {
    test(async |_, node| {
        let hub = hub(&node);
        let mut last = hub.subscribe(World::key(1), None).await.unwrap().at();
        last.life = Generation(Uuid::from_u128(1));
        is_reset(&node, &hub, last).await;
    });
}

#[test]
fn a_number_of_the_future_is_reset() {
    test(async |_, node| {
        let hub = hub(&node);
        let mut last = hub.subscribe(World::key(1), None).await.unwrap().at();
        last.sequence += 1_000;
        is_reset(&node, &hub, last).await;
    });
}

#[test]
fn a_reset_that_was_not_read_is_not_forgotten() {
    test(async |_, node| {
        let hub = hub(&node);
        let mut last = hub.subscribe(World::key(1), None).await.unwrap().at();
        last.life = Generation(Uuid::from_u128(1));
        let unread = hub.subscribe(World::key(1), Some(last)).await.unwrap().at();
        is_reset(&node, &hub, unread).await;
    });
}

#[test]
fn who_comes_back_after_the_linger_is_reset() {
    test(async |_, node| {
        let hub = hub(&node);
        let last = hub.subscribe(World::key(1), None).await.unwrap().at();
        tokio::time::sleep(LINGER + Duration::from_millis(10)).await;
        announce(&node, 1, [0]).await;
        is_reset(&node, &hub, last).await;
    });
}

#[test]
fn a_key_lingers_from_its_last_client_on() {
    test(async |_, node| {
        let hub = hub(&node);
        let mut last = hub.subscribe(World::key(1), None).await.unwrap().at();
        for _ in 0..5 {
            tokio::time::sleep(LINGER - Duration::from_secs(1)).await;
            announce(&node, 1, [7]).await;
            let mut feed = hub.subscribe(World::key(1), Some(last)).await.expect("a feed");
            let (item, at) = next(&mut feed).await;
            assert_eq!(item, "7");
            last = at;
        }
        assert_eq!(node.kinds.key_listener.alive(), 1);
        tokio::time::sleep(LINGER + Duration::from_secs(1)).await;
        assert_eq!(node.kinds.key_listener.alive(), 0);
    });
}

#[test]
fn keys_that_linger_are_bounded() {
    test(async |_, node| {
        let options = FeedOptions {
            clients_max: 2,
            ..options()
        };
        let hub = FeedHub::new(node.bus.clone(), node.generation, options);
        let mut last = Vec::new();
        for n in 1..4 {
            last.push(hub.subscribe(World::key(n), None).await.unwrap().at());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut of_second = hub.subscribe(World::key(2), Some(last[1])).await.expect("a feed");
        nothing_comes(&mut of_second).await;
        is_reset_of_key(&hub, World::key(1), last[0]).await;
    });
}

async fn is_reset_of_key(hub: &FeedHub, key: Key, last: FeedId) {
    let mut feed = hub.subscribe(key, Some(last)).await.expect("a feed");
    assert_eq!(next(&mut feed).await.0, "reset");
}

#[test]
fn an_id_of_another_key_does_not_hide_a_gap() {
    test(async |_, node| {
        let hub = hub(&node);
        let mut feed = hub.subscribe(World::key(2), None).await.unwrap();
        announce(&node, 1, [0]).await;
        announce(&node, 2, [1]).await;
        let (_, last) = next(&mut feed).await;
        is_reset(&node, &hub, last).await;
    });
}

#[test]
fn who_falls_out_of_the_ring_is_reset_and_the_others_are_not() {
    test(async |_, node| {
        let options = FeedOptions {
            memory_octets: 10_000,
            ..options()
        };
        let hub = FeedHub::new(node.bus.clone(), node.generation, options);
        let mut slow = hub.subscribe(World::key(1), None).await.unwrap();
        let mut quick = hub.subscribe(World::key(1), None).await.unwrap();
        let mut quiet = hub.subscribe(World::key(2), None).await.unwrap();
        let gone = quick.at();
        for number in 0..100 {
            announce(&node, 1, [number]).await;
            assert_eq!(next(&mut quick).await.0, number.to_string());
        }
        assert_eq!(next(&mut slow).await.0, "reset");
        nothing_comes(&mut slow).await;
        nothing_comes(&mut quiet).await;
        is_reset(&node, &hub, gone).await;
        assert_eq!(next(&mut slow).await.0, "99");
    });
}

#[test]
fn an_event_that_is_larger_than_the_ring_resets() {
    test(async |_, node| {
        let options = FeedOptions {
            memory_octets: 0,
            ..options()
        };
        let hub = FeedHub::new(node.bus.clone(), node.generation, options);
        let mut feed = hub.subscribe(World::key(1), None).await.unwrap();
        announce(&node, 1, [0]).await;
        assert_eq!(next(&mut feed).await.0, "reset");
        nothing_comes(&mut feed).await;
    });
}

#[test]
fn what_the_listener_missed_resets_every_key_of_it() {
    test(async |_, node| {
        let hub = hub(&node);
        let mut of_mailbox = hub.subscribe(World::key(1), None).await.unwrap();
        let mut of_user = hub.subscribe(Key::User(World::user(1)), None).await.unwrap();
        let mut other = hub.subscribe(World::key(2), None).await.unwrap();
        // More at once than wait for one listener.
        let many = (0..2_000).map(|number| World::event(1, number)).collect();
        node.announce_all(many).await;
        for feed in [&mut of_mailbox, &mut of_user] {
            while next(feed).await.0 != "reset" {}
            nothing_comes(feed).await;
        }
        nothing_comes(&mut other).await;
        announce(&node, 1, [3]).await;
        assert_eq!(next(&mut of_user).await.0, "3");
    });
}

#[test]
fn clients_are_bounded() {
    test(async |_, node| {
        let options = FeedOptions {
            clients_max: 2,
            ..options()
        };
        let hub = FeedHub::new(node.bus.clone(), node.generation, options);
        let one = hub.subscribe(World::key(1), None).await.unwrap();
        let _two = hub.subscribe(World::key(2), None).await.unwrap();
        let third = hub.subscribe(World::key(1), None).await;
        assert_eq!(third.err(), Some(FeedError::TooMany(2)));
        drop(one);
        assert!(hub.subscribe(World::key(3), None).await.is_ok());
    });
}

#[test]
fn a_subscription_that_is_given_up_leaves_nothing() {
    paused(async {
        let world = World::cluster(Fanout::Registered, 9);
        let node = world.node("a").await;
        let hub = hub(&node);
        // Other nodes are told first, which takes longer than one look.
        assert!(hub.subscribe(World::key(1), None).now_or_never().is_none());
        let mut feed = hub.subscribe(World::key(1), None).await.unwrap();
        announce(&node, 1, [0]).await;
        assert_eq!(next(&mut feed).await.0, "0");
        drop((feed, hub));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(node.kinds.key_listener.alive(), 0);
        node.stop().await;
    });
}

#[test]
fn what_happens_on_other_nodes_is_in_the_feed() {
    paused(async {
        let world = World::cluster(Fanout::Registered, 8);
        let (a, b) = (world.node("a").await, world.node("b").await);
        a.wait_members(2).await;
        b.wait_members(2).await;
        let hub = hub(&a);
        let mut feed = hub.subscribe(World::key(1), None).await.unwrap();
        announce(&b, 1, [4]).await;
        loop {
            // A link that has just begun may have to say that something was missed.
            if next(&mut feed).await.0 == "4" {
                break;
            }
        }
        a.stop().await;
        b.stop().await;
    });
}
