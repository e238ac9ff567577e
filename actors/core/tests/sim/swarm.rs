//! What a seed draws.

use std::sync::Arc;
use std::time::Duration;

use mailhorn_core::events::Fanout;
use mailhorn_ports::memory::{SeededRandom, Weather};

/// A fault, and when.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) at: Duration,
    pub(crate) what: What,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// The next commit's outcome is unknown, and it was made.
    UnknownDone,
    /// The next commit's outcome is unknown, and it was not made.
    UnknownNotDone,
    /// The next commit of this node is done so much later than it believes.
    LateCommit(usize, Duration),
    /// The store is away for so long.
    StoreAway(Duration),
    /// The store is away for this node for so long.
    StoreAwayFor(usize, Duration),
    /// This node is held up for so long: nothing of it goes on meanwhile.
    Freeze(usize, Duration),
    /// Nodes reach only those of their side for so long; the sides by the bits of the number.
    Cut(u64, Duration),
    /// Commits take so long from now on.
    SlowCommits(Duration),
    /// A node is killed, and started again after so long.
    Crash(usize, Duration),
    /// A node is stopped well, and started again after so long.
    Stop(usize, Duration),
    /// The way between nodes is like this from now on.
    Weather(Weather),
    /// The registry forgets all registrations.
    Wipe,
    /// The registry is away for so long.
    RegistryAway(Duration),
    /// What listeners of this group write to is away for so long.
    BackEndAway(Duration),
    /// Housekeeping trims what everybody has passed.
    Trim,
}

/// A seed's draw.
#[derive(Debug, Clone)]
pub(crate) struct Swarm {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) users: u64,
    pub(crate) fanout: Fanout,
    /// How long clients work.
    pub(crate) life: Duration,
    /// Between two things that a client of a node does.
    pub(crate) pause_ms_max: u64,
    /// How far each node's clock is from the true time, in microseconds.
    pub(crate) skews: Vec<i64>,
    /// In chances of 1,000: a call that is bad, and one that panics.
    pub(crate) bad: u64,
    pub(crate) panics: u64,
    pub(crate) faults: Vec<Fault>,
}

impl Swarm {
    pub(crate) fn draw(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let nodes = match random.below(8) {
            few @ 0..2 => 1 + few as usize,
            _ => 3 + random.below(3) as usize,
        };
        // Some live long enough to see a node wake after its log was ended. Seeds find more than many events do.
        let (life, pause_ms_max) = match random.below(3) {
            0 => (65 + random.below(40), 300 + random.below(600)),
            _ => (5 + random.below(40), 50 + random.below(400)),
        };
        let life = Duration::from_secs(life);
        let count = random.below(25);
        let mut faults: Vec<Fault> = (0..count).map(|_| fault(&random, nodes, life)).collect();
        faults.sort_by_key(|fault| fault.at);
        Self {
            seed,
            nodes,
            users: 1 + random.below(6),
            fanout: match random.below(2) {
                0 => Fanout::Registered,
                _ => Fanout::Broadcast,
            },
            life,
            pause_ms_max,
            skews: (0..nodes)
                .map(|_| random.below(4_000_000) as i64 - 2_000_000)
                .collect(),
            bad: random.below(60),
            panics: random.below(20),
            faults,
        }
    }

    /// Randomness of its own for a part of the simulation.
    pub(crate) fn random(&self, part: u64) -> Arc<SeededRandom> {
        Arc::new(SeededRandom::new(
            self.seed.wrapping_mul(1_000_003).wrapping_add(part),
        ))
    }
}

fn fault(random: &SeededRandom, nodes: usize, life: Duration) -> Fault {
    let millis = |least: u64, range: u64| Duration::from_millis(least + random.below(range));
    let node = random.below(nodes as u64) as usize;
    let what = match random.below(17) {
        0 => What::UnknownDone,
        1 => What::UnknownNotDone,
        2 => What::StoreAway(match random.below(4) {
            // Long enough for every lease.
            0 => millis(5_000, 20_000),
            _ => millis(10, 4_000),
        }),
        3 => What::SlowCommits(millis(0, 200)),
        4 | 5 => What::Crash(node, millis(0, 45_000)),
        6 => What::Stop(node, millis(0, 20_000)),
        7 => What::Weather(Weather {
            lost: random.below(300),
            doubled: random.below(300),
            delay_ms_max: random.below(2_000),
        }),
        8 => match random.below(2) {
            0 => What::Wipe,
            _ => What::RegistryAway(millis(10, 40_000)),
        },
        9 => What::BackEndAway(millis(10, 20_000)),
        10 => What::LateCommit(node, millis(1, 40_000)),
        11 => What::StoreAwayFor(node, millis(10, 45_000)),
        12 | 13 => What::Freeze(node, millis(40_000, 50_000)),
        14 | 15 => What::Cut(random.below(1 << nodes), millis(10, 40_000)),
        _ => What::Trim,
    };
    Fault {
        at: Duration::from_millis(random.below(life.as_millis() as u64)),
        what,
    }
}
