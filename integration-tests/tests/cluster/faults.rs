//! What breaks: a node, and Redis.

use std::thread;
use std::time::{Duration, Instant};

use crate::is_long;
use crate::load::World;
use crate::nodes::{Cluster, PATIENCE};
use crate::phase::{self, ALL, SOME};

/// The node that is killed and frozen, and those that are left.
const VICTIM: usize = 2;
const OTHERS: [usize; 2] = [0, 1];

/// How long a node is frozen in the long form. The short one ends as soon as the others believe that it is gone.
const LONG_FREEZE: Duration = Duration::from_secs(60);
/// What a node says when Redis goes and comes.
const AWAY: &str = "the service of maildrop locks is away";
const BACK: &str = "the service of maildrop locks is back";
/// How often Redis is wiped.
const WIPES: usize = 3;

#[test]
fn no_mail_is_lost_whatever_breaks() {
    let mut cluster = Cluster::start(1);
    mail_runs_without_lightweight_transactions(&mut cluster);
    phase::run(&mut cluster, "kill", &OTHERS, a_node_is_killed);
    phase::run(&mut cluster, "freeze", &OTHERS, a_node_is_frozen);
    phase::run(&mut cluster, "redis-kill", &ALL, redis_is_killed);
    phase::run(&mut cluster, "redis-wipe", &ALL, redis_is_wiped);
    if is_long() {
        phase::run(&mut cluster, "redis-freeze", &ALL, redis_is_frozen);
    }
}

/// Cassandra's lightweight transactions are slow and fail first: accounts and the ends of logs need them, mail never.
fn mail_runs_without_lightweight_transactions(cluster: &mut Cluster) {
    phase::run(cluster, "quiet", &ALL, |cluster, world| {
        let before = cluster.cassandra.transactions();
        world.ledger.wait_for(&ALL, 3 * SOME);
        let counted = cluster.cassandra.transactions() - before;
        assert_eq!(counted, 0, "lightweight transactions on mail's way");
        assert!(
            before > 0,
            "accounts were made by some, so that they are counted at all"
        );
    });
}

/// A killed node's log is ended by the others, or by its next life, and what it acknowledged shows on them.
fn a_node_is_killed(cluster: &mut Cluster, world: &World) {
    let log = cluster.log_after(VICTIM, 0);
    cluster.nodes[VICTIM].kill();
    world.ledger.wait_for(&OTHERS, SOME);
    if is_long() {
        // Its next life would do that sooner.
        cluster.wait_for_adoption(&log, &OTHERS);
    }
    cluster.restart(VICTIM);
    cluster.wait_for_adoption(&log, &ALL);
    assert_ne!(
        cluster.log_after(VICTIM, 0),
        log,
        "a new life has a log of its own"
    );
}

/// What a frozen node was doing is refused when it thaws: its log was ended meanwhile. It goes on in the same process, with
/// another log.
fn a_node_is_frozen(cluster: &mut Cluster, world: &World) {
    let log = cluster.log_after(VICTIM, 0);
    let lines = cluster.nodes[VICTIM].log_lines();
    let frozen = Instant::now();
    cluster.nodes[VICTIM].signal("STOP");
    world.ledger.wait_for(&OTHERS, SOME);
    cluster.wait_for_adoption(&log, &OTHERS);
    if is_long() {
        thread::sleep(LONG_FREEZE.saturating_sub(frozen.elapsed()));
    }
    cluster.nodes[VICTIM].signal("CONT");
    let said = "this life of the node ends";
    let lost = cluster.nodes[VICTIM].wait_for_later_log(lines, said, PATIENCE);
    assert!(lost.contains(&log), "it is the frozen log that has ended: {lost}");
    assert_ne!(
        cluster.log_after(VICTIM, lines),
        log,
        "a new life has a log of its own"
    );
}

/// Without Redis mail comes and goes; a maildrop's lock holds for one node meanwhile.
fn redis_is_killed(cluster: &mut Cluster, world: &World) {
    let lines = cluster.log_lines();
    cluster.redis.kill();
    world.ledger.wait_for(&ALL, SOME);
    cluster.wait_for_all_to_say(&lines, AWAY);
    cluster.redis.restart();
    cluster.wait_for_all_to_say(&lines, BACK);
}

/// A Redis that neither answers nor ends is as one that is gone.
fn redis_is_frozen(cluster: &mut Cluster, world: &World) {
    let lines = cluster.log_lines();
    cluster.redis.freeze();
    world.ledger.wait_for(&ALL, SOME);
    cluster.wait_for_all_to_say(&lines, AWAY);
    cluster.redis.thaw();
    cluster.wait_for_all_to_say(&lines, BACK);
}

/// A Redis that forgets everything takes locks from under sessions and registrations from under nodes.
fn redis_is_wiped(cluster: &mut Cluster, world: &World) {
    for _ in 0..WIPES {
        cluster.redis.flush_all();
        world.ledger.wait_for(&ALL, SOME);
    }
}
