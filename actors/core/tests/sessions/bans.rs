//! Who is not served any more: after failed log-ins, after nonsense; and who is again.

use std::num::NonZeroUsize;
use std::time::Duration;

use mailhorn_core::bans::BanLimits;
use mailhorn_ports::BanStore;
use mailhorn_ports::memory::MemoryStore;

use super::world::{Client, Knobs, World};

const NOTICE: &str = "-ERR [SYS/TEMP] too many failures from your address";

pub(crate) fn banning() -> Knobs {
    Knobs {
        bans: Some(BanLimits {
            failed_log_ins_max: 4,
            abuses_max: 2,
            within: Duration::from_secs(600),
            time: Duration::from_secs(3_600),
            time_max: Duration::from_secs(86_400),
            entries_max: NonZeroUsize::new(100).unwrap(),
        }),
        ..Knobs::default()
    }
}

/// A session that guesses until its end.
async fn guess(world: &World) {
    let mut client = world.pop3().await;
    for _ in 0..3 {
        client.send("USER ann@example.org\r\nPASS wrong\r\n").await;
        client.expect("+OK").await;
        client.expect("-ERR [AUTH]").await;
    }
    client.ends().await;
}

async fn is_banned(world: &World) {
    for address in [world.pop3, world.smtp, world.lmtp] {
        let mut client = Client::connect(address).await;
        client.expect(NOTICE).await;
        client.ends().await;
    }
}

/// Returns when the store has a ban.
async fn stored(store: &MemoryStore) {
    while store.bans(mailhorn_events::Stamp(0), 9).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn an_address_that_fails_to_log_in_too_often_is_not_served_until_that_is_lifted() {
    let world = World::start(banning()).await;
    guess(&world).await;
    let mut there_before = world.pop3().await;
    there_before.send("USER ann@example.org\r\nPASS wrong\r\n").await;
    there_before.expect("+OK").await;
    there_before.expect("-ERR [AUTH]").await;
    is_banned(&world).await;
    assert_eq!(world.metrics.connections_banned.get(), 3);
    assert_eq!(world.admission.connections(), 1, "it takes no place");
    there_before.send("CAPA\r\n").await;
    there_before.multi_line().await;
    let [ban] = &world.bans.list()[..] else {
        panic!("there is one ban")
    };
    assert_eq!(ban.network.to_string(), "127.0.0.1/32");
    assert_eq!(ban.reason, "4 failed log-ins in 10 min");
    world.bans.lift(ban.network).await.unwrap();
    world.pop3().await;
}

#[actix::test]
async fn sessions_that_end_for_too_many_bad_commands_make_a_ban_whatever_they_speak() {
    let world = World::start(banning()).await;
    for address in [world.pop3, world.smtp] {
        assert!(world.bans.list().is_empty());
        let mut client = Client::connect(address).await;
        let request = "GET / HTTP/1.1\r\nHost: mail.example.org\r\n".repeat(20);
        client.send(&request).await;
        while client.line().await.is_some() {}
    }
    is_banned(&world).await;
    assert_eq!(
        world.bans.list()[0].reason,
        "2 sessions of bad commands in 10 min"
    );
}

#[actix::test]
async fn a_ban_ends_by_its_time() {
    let world = World::start(banning()).await;
    guess(&world).await;
    guess_once(&world).await;
    is_banned(&world).await;
    world.clock.advance(Duration::from_secs(3_601));
    world.pop3().await;
    assert!(world.bans.list().is_empty());
}

async fn guess_once(world: &World) {
    let mut client = world.pop3().await;
    client.send("USER ann@example.org\r\nPASS wrong\r\n").await;
    client.expect("+OK").await;
    client.expect("-ERR [AUTH]").await;
}

#[actix::test]
async fn another_node_on_the_store_hears_of_a_ban() {
    let store = MemoryStore::new();
    let one = World::start_on(store.clone(), 1, banning()).await;
    let other = World::start_on(store.clone(), 2, banning()).await;
    guess(&one).await;
    guess_once(&one).await;
    stored(&store).await;
    other.pop3().await;
    other.bans.refresh().await.unwrap();
    is_banned(&other).await;
    other.bans.lift("127.0.0.1/32".parse().unwrap()).await.unwrap();
    one.bans.refresh().await.unwrap();
    one.pop3().await;
}
