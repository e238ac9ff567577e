//! Real Redis servers for tests: started on free loopback ports, frozen, killed, wiped, and gone when they are dropped.
//!
//! They need Debian's packages `redis-server` and `redis-tools`; without them a test fails and says so.

#![expect(clippy::unwrap_used, reason = "a test that has no server has failed")]

mod cluster;
mod sentinel;
mod server;

pub use cluster::RedisCluster;
pub use sentinel::RedisSentinel;
pub use server::RedisServer;

use std::thread;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(5);
/// Pauses until a test gives up: half a minute.
const PAUSES_MAX: usize = 6_000;

/// Waits until `is_so`, by asking again and again.
///
/// # Panics
///
/// When it is not after half a minute.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..PAUSES_MAX {
        if is_so() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("not within half a minute: {what}");
}
