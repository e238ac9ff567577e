//! A Cassandra server dies while mail lies on three.

use crate::is_long;
use crate::nodes::Cluster;
use crate::phase::{self, ALL, SOME};

/// Servers in the order in which they die; the first of all is the one that the nodes are told of.
const DYING: [usize; 2] = [3, 1];

#[test]
fn a_dead_server_of_three_costs_no_mail() {
    if !is_long() {
        println!("NOT SHOWN: three Cassandra servers take long to start; set MAILHORN_CLUSTER_LONG=1");
        return;
    }
    let mut cluster = Cluster::start(3);
    cluster.add_domain();
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
}
