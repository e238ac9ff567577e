//! A Cassandra server dies, hangs, or its disk fills up, while mail lies on three.

use std::fs::File;
use std::io::Write;

use mailhorn_integration_tests::disk::Disk;

use crate::cassandra::Cassandra;
use crate::is_long;
use crate::nodes::Cluster;
use crate::phase::{self, ALL, SOME};

/// Servers in the order in which they die; the control connection of every node is to the first one.
const DYING: [usize; 2] = [3, 1];
/// The one that is frozen after that.
const FROZEN: usize = 2;

/// Room for the segments that a server begins with, and a few more.
const DISK: &str = "200m";
const BLOCK_OCTETS: usize = 64 * 1024;

#[test]
fn a_dead_or_frozen_server_of_three_costs_no_mail() {
    if !is_long() {
        println!("NOT SHOWN: three Cassandra servers take long to start; set MAILHORN_CLUSTER_LONG=1");
        return;
    }
    let mut cluster = Cluster::start(3);
    for server in DYING {
        phase::run(
            &mut cluster,
            &format!("cassandra-{server}-kill"),
            &ALL,
            |cluster, world| {
                cluster.cassandra.kill(server);
                world.ledger.wait_for(&ALL, 3 * SOME);
                cluster.cassandra.again(server);
                world.ledger.wait_for(&ALL, SOME);
            },
        );
    }
    // Its connections stay, and nothing comes over them: as a machine that is gone without a word.
    phase::run(&mut cluster, "cassandra-stop", &ALL, |cluster, world| {
        cluster.cassandra.signal(FROZEN, "STOP");
        world.ledger.wait_for(&ALL, 5 * SOME);
        cluster.cassandra.signal(FROZEN, "CONT");
        world.ledger.wait_for(&ALL, SOME);
    });
}

#[test]
fn a_server_of_three_with_a_full_disk_costs_no_mail() {
    if !is_long() {
        println!("NOT SHOWN: three Cassandra servers take long to start; set MAILHORN_CLUSTER_LONG=1");
        return;
    }
    let Some(disk) = Disk::mount(DISK) else { return };
    let mut cluster = Cluster::start_on(3, Cassandra::start(3, Some(disk.path())));
    phase::run(&mut cluster, "disk-full", &ALL, |cluster, world| {
        let ballast = disk.path().join("ballast");
        fill(&ballast);
        // Its commit log lies in mapped memory, where a full disk is a signal that ends it.
        while cluster.cassandra.lives(3) {
            world.ledger.wait_for(&ALL, SOME);
        }
        world.ledger.wait_for(&ALL, 3 * SOME);
        std::fs::remove_file(&ballast).unwrap();
        cluster.cassandra.again(3);
        world.ledger.wait_for(&ALL, SOME);
    });
}

/// Writes until there is no room.
fn fill(ballast: &std::path::Path) {
    let mut ballast = File::create(ballast).unwrap();
    while ballast.write_all(&[7; BLOCK_OCTETS]).is_ok() {}
}
