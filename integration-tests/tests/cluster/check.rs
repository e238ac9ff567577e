//! The end of a run, when everything is mended: what is in the maildrops, seen from every node.

use std::collections::BTreeSet;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{Listing, World, open};
use crate::nodes::{NODES, PATIENCE};

const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Retrieves everything that is left, and holds the maildrops against the ledger.
pub(crate) fn check_maildrops(world: &World) {
    for user in 0..world.users.len() {
        let views: Vec<BTreeSet<String>> = (0..NODES).map(|node| look(world, node, user)).collect();
        for (node, view) in views.iter().enumerate() {
            if *view != views[0] {
                let differs: Vec<&String> = view.symmetric_difference(&views[0]).collect();
                world
                    .ledger
                    .violated(format!("user {user}: nodes 0 and {node} differ in {differs:?}"));
            }
        }
        world.ledger.check_end(user, &views[0]);
    }
}

/// What one node lists; the first one gives everything.
fn look(world: &World, node: usize, user: usize) -> BTreeSet<String> {
    let mut listing = open_with_patience(world, node, user);
    if node == 0 {
        for row in 0..listing.rows.len() {
            listing.retrieve(world, row).unwrap();
        }
    }
    let unique_ids = listing.unique_ids();
    listing.pop3.quit().unwrap().unwrap();
    unique_ids
}

/// A maildrop may be in use by a session that a fault has left behind, for as long as its lock holds.
fn open_with_patience(world: &World, node: usize, user: usize) -> Listing {
    let until = Instant::now() + PATIENCE;
    loop {
        let opened: io::Result<Option<Listing>> = open(world, node, user);
        if let Ok(Some(listing)) = opened {
            return listing;
        }
        let why = opened.err();
        assert!(
            Instant::now() < until,
            "node {node} doesn't open the maildrop of {user}: {why:?}"
        );
        thread::sleep(RETRY_PAUSE);
    }
}
