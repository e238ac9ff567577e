//! SIGKILL at any moment under load: atomicity. The page cache survives it; what a loss of power does is for
//! [`crate::cutback`].

use std::path::Path;
use std::thread;

use mailhorn_integration_tests::random::Random;
use mailhorn_integration_tests::{Node, NodeBuilder, add_users};

use crate::clients::{DOMAIN, PASSWORD, World, open, read_mail, send_mail, user};
use crate::ledger::{Figures, Ledger};
use crate::stage::{Life, Stage};

const SENDERS: u64 = 8;
const READERS: u64 = 4;
const USERS: usize = 12;
/// Steps of the clients in one life: sent commands, replies read. About ten deliveries to a few hundred.
const STEPS_MAX: u64 = 900;
const VIOLATIONS_SHOWN_MAX: usize = 20;

/// How nodes begin and end.
pub(crate) trait Power {
    fn start(&mut self, builder: NodeBuilder, life: usize) -> Node;
    /// Ends a node at once.
    fn cut(&mut self, node: Node, life: usize);
}

/// SIGKILL, and the page cache stays.
struct Killed;

impl Power for Killed {
    fn start(&mut self, builder: NodeBuilder, _: usize) -> Node {
        builder.start()
    }

    fn cut(&mut self, mut node: Node, _: usize) {
        node.kill();
    }
}

/// Runs `kills` lives and a last one, and gives what they came to when every maildrop was read to its end.
///
/// # Panics
///
/// When a promise was not kept.
pub(crate) fn run(data_dir: &Path, kills: usize, seed: u64, power: &mut dyn Power) -> Figures {
    println!("seed {seed} (MAILHORN_SEED)");
    let names: Vec<String> = (0..USERS).map(user).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    add_users(data_dir, DOMAIN, &names, PASSWORD);
    let builder = Node::builder()
        .data_dir(data_dir)
        .setting("store.segment_size", "4MiB")
        .setting("store.journal_size", "64MiB")
        .setting("pop3.lock_wait", "0s")
        .setting("auth.argon2_memory", "8MiB");
    let world = World {
        stage: Stage::default(),
        ledger: Ledger::new(USERS),
        users: USERS,
    };
    let mut random = Random::new(seed);
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for client in 0..SENDERS {
            let (world, seed) = (&world, random.number());
            clients.push(scope.spawn(move || send_mail(world, client, seed)));
        }
        for _ in 0..READERS {
            let (world, seed) = (&world, random.number());
            clients.push(scope.spawn(move || read_mail(world, seed)));
        }
        for life in 0..kills {
            let node = power.start(builder.clone(), life);
            world.stage.enter(life, &node, false);
            world.stage.doom_after(random.below(STEPS_MAX));
            power.cut(node, life);
            world.ledger.count(|figures| figures.kills += 1);
        }
        let node = builder.start();
        world.stage.enter(kills, &node, true);
        for client in clients {
            client.join().unwrap();
        }
        read_all(&world, kills, node);
    });
    let (figures, violations) = world.ledger.end();
    println!("{figures}");
    let first = violations.iter().take(VIOLATIONS_SHOWN_MAX);
    assert!(
        violations.is_empty(),
        "seed {seed}: {} promises were not kept, such as {:#?}",
        violations.len(),
        first.collect::<Vec<_>>()
    );
    assert_eq!(figures.duplicates, 0, "seed {seed}: retries made copies");
    figures
}

/// Every maildrop to its last octet.
fn read_all(world: &World, life: usize, mut node: Node) {
    let life = Life {
        number: life,
        lmtp: node.lmtp(),
        pop3: node.pop3(),
    };
    for user in 0..world.users {
        let listing = open(world, life, user).unwrap();
        listing.unwrap().retrieve_all(world).unwrap();
    }
    assert!(node.terminate().success(), "{}", node.log());
}

#[test]
fn a_node_killed_under_load_keeps_every_promise() {
    let kills = std::env::var("MAILHORN_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok());
    let dir = tempfile::tempdir().unwrap();
    let figures = run(
        dir.path(),
        kills.unwrap_or(50),
        Random::seed_from("MAILHORN_SEED"),
        &mut Killed,
    );
    assert_eq!(figures.lost, 0);
    assert!(
        figures.acknowledged > figures.kills && figures.deleted > 0,
        "there was no load"
    );
}
