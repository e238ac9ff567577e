//! A run: load on all nodes, something that happens in it, and the check when it is mended.

use std::thread;
use std::time::{Duration, Instant};

use mailhorn_integration_tests::random::Random;

use crate::check::check_maildrops;
use crate::ledger::Figures;
use crate::load::{By, World, read_mail, send_mail};
use crate::nodes::{Cluster, DOMAIN, NODES};

pub(crate) const USERS: usize = 9;
/// Deliveries that each node takes before something happens, and after it was mended.
pub(crate) const SOME: usize = 10;
pub(crate) const ALL: [usize; NODES] = [0, 1, 2];

/// Ends the clients however the run ends.
struct Clients<'a>(&'a World);

impl Drop for Clients<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.give_up();
        }
        self.0.finish();
    }
}

/// Makes accounts for a run of their own: what it comes to is then of this run alone.
pub(crate) fn world(cluster: &Cluster, name: &str) -> World {
    let users: Vec<String> = (0..USERS).map(|user| format!("{name}{user}@{DOMAIN}")).collect();
    cluster.add_users(&users);
    World::new(cluster.places(), users)
}

/// Lets clients loose, does `happens` among them, and checks what it came to. Service is measured on `survivors`.
///
/// # Panics
///
/// When mail was lost, or anything else was not as promised.
pub(crate) fn run(
    cluster: &mut Cluster,
    name: &str,
    survivors: &[usize],
    happens: impl FnOnce(&mut Cluster, &World),
) {
    let world = world(cluster, name);
    let seed = Random::seed_from("MAILHORN_SEED");
    println!("{name}: MAILHORN_SEED={seed}");
    let begun = Instant::now();
    let gap = thread::scope(|scope| {
        let (world, clients) = (&world, Clients(&world));
        for node in ALL {
            let seed = (seed % 1_000_000).wrapping_mul(16) + 3 * node as u64;
            scope.spawn(move || send_mail(world, node, By::Smtp, seed));
            scope.spawn(move || send_mail(world, node, By::Lmtp, seed + 1));
            scope.spawn(move || read_mail(world, node, seed + 2));
        }
        world.ledger.wait_for(&ALL, SOME);
        happens(cluster, world);
        world.ledger.wait_for(&ALL, SOME);
        let gap = world.ledger.longest_gap(begun, survivors);
        drop(clients);
        gap
    });
    let ran = begun.elapsed();
    check_maildrops(&world);
    for node in &cluster.nodes {
        assert!(!node.log().contains("panicked at"), "{name}: a node panicked");
    }
    report(name, ran, gap, &world);
}

fn report(name: &str, ran: Duration, gap: Duration, world: &World) {
    let (figures, violations) = world.ledger.end();
    let Figures {
        acknowledged,
        lost,
        doubled,
        refused,
        unknown,
        sessions,
        deleted,
        fetched,
        left,
    } = figures;
    println!(
        "| run | acknowledged | lost | doubled | refused | unknown | sessions | deleted | fetched whole | left | longest gap | took |"
    );
    println!(
        "| {name} | {acknowledged} | {lost} | {doubled} | {refused} | {unknown} | {sessions} | {deleted} | {fetched} | {left} | \
         {gap:.1?} | {ran:.0?} |"
    );
    assert!(violations.is_empty(), "{name}: {violations:#?}");
    assert!(lost == 0, "{name}: {lost} lost");
    assert!(sessions > 0 && deleted > 0, "{name}: nobody read");
}
