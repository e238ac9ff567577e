//! Which node follows which log for which group. Plain: every node computes the same from the same view.
//!
//! A log is followed by the node that writes it. Where that node doesn't run the group, or is gone, one that does takes its
//! place, chosen by rendezvous hash. A node that fell silent is gone once its log was ended: before that nobody knows where. While nodes see different members two may follow one log: that is waste, no harm, for
//! cursors never go back and listeners are idempotent.

use std::collections::BTreeSet;

use mailhorn_events::Generation;
use mailhorn_ports::{GroupName, Scope};
use sha2::{Digest, Sha256};

/// A process that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its log.
    pub generation: Generation,
    /// The node's name.
    pub node: String,
    /// The groups of scope `local` that it runs.
    pub groups: BTreeSet<GroupName>,
}

/// The cluster as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    me: Generation,
    alive: Vec<Member>,
    silent: Vec<Member>,
}

impl Members {
    /// A cluster of these, seen by the one whose log is `me`: those that are alive, and those that fell silent and whose log
    /// was not ended yet.
    #[must_use]
    pub fn new(me: Generation, mut alive: Vec<Member>, mut silent: Vec<Member>) -> Self {
        alive.sort_by_key(|member| member.generation);
        silent.sort_by_key(|member| member.generation);
        Self { me, alive, silent }
    }

    /// A node without others: it follows every log there is.
    #[must_use]
    pub fn alone(me: Generation) -> Self {
        Self {
            me,
            alive: Vec::new(),
            silent: Vec::new(),
        }
    }

    /// The log of this process.
    #[must_use]
    pub fn me(&self) -> Generation {
        self.me
    }

    /// Those that are alive.
    #[must_use]
    pub fn alive(&self) -> &[Member] {
        &self.alive
    }

    /// Those that fell silent and whose log was not ended yet.
    #[must_use]
    pub fn silent(&self) -> &[Member] {
        &self.silent
    }

    /// Whether it is this node that ends `log`, whose process is gone: one of the living does.
    #[must_use]
    pub fn adopts(&self, log: Generation) -> bool {
        let mine = weight(self.me, log, None);
        let mut others = self.alive.iter().filter(|member| member.generation != self.me);
        others.all(|other| weight(other.generation, log, None) < mine)
    }

    /// Whether this node follows `log` for `group`, which it runs.
    #[must_use]
    pub fn follows(&self, log: Generation, group: &GroupName, scope: Scope) -> bool {
        if scope == Scope::Cluster || log == self.me {
            return true;
        }
        if self.is_silent_runner(log, group) {
            return false;
        }
        let others = self.alive.iter().filter(|member| member.generation != self.me);
        let mut runners = others.filter(|member| member.groups.contains(group)).peekable();
        if runners.peek().is_none() {
            return true;
        }
        let runners: Vec<Generation> = runners.map(|member| member.generation).collect();
        if runners.contains(&log) {
            return false;
        }
        let mine = weight(self.me, log, Some(group));
        runners
            .into_iter()
            .all(|other| weight(other, log, Some(group)) < mine)
    }

    /// Whether the process that writes `log` runs the group, is silent, and may have appended what is not seen yet.
    fn is_silent_runner(&self, log: Generation, group: &GroupName) -> bool {
        let mut silent = self.silent.iter();
        silent.any(|member| member.generation == log && member.groups.contains(group))
    }
}

/// The weight of a member for a log, or for a group's share of one.
fn weight(member: Generation, log: Generation, group: Option<&GroupName>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(member.as_bytes());
    hash.update(log.as_bytes());
    if let Some(group) = group {
        hash.update(group.as_str());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn log(n: u128) -> Generation {
        Generation(Uuid::from_u128(n))
    }

    fn cluster(runs: &[(u128, bool)]) -> Vec<Member> {
        let groups = |runs| match runs {
            true => ["quota".parse().unwrap()].into(),
            false => BTreeSet::new(),
        };
        let member = |(n, runs): &(u128, bool)| Member {
            generation: log(*n),
            node: format!("node-{n}"),
            groups: groups(*runs),
        };
        runs.iter().map(member).collect()
    }

    fn followers(alive: &[(u128, bool)], of: u128) -> Vec<u128> {
        let group = "quota".parse().unwrap();
        let runners = alive.iter().filter(|(_, runs)| *runs);
        let follows =
            |me| Members::new(log(me), cluster(alive), Vec::new()).follows(log(of), &group, Scope::Local);
        runners.map(|(n, _)| *n).filter(|me| follows(*me)).collect()
    }

    #[test]
    fn a_log_has_one_follower_and_its_writer_comes_first() {
        let alive = [(1, true), (2, true), (3, false), (4, true)];
        assert_eq!(followers(&alive, 1), [1]);
        assert_eq!(followers(&alive, 4), [4]);
        for of in [3, 9, 10, 11, 12] {
            assert_eq!(followers(&alive, of).len(), 1, "log {of}");
        }
        let spread: BTreeSet<u128> = (20..60).flat_map(|of| followers(&alive, of)).collect();
        assert_eq!(spread, [1, 2, 4].into(), "logs of the dead are spread");
    }

    #[test]
    fn a_node_alone_follows_all_and_a_cluster_listener_everywhere() {
        let group = "quota".parse().unwrap();
        assert!(Members::alone(log(1)).follows(log(9), &group, Scope::Local));
        let members = Members::new(log(1), cluster(&[(1, true), (2, true)]), Vec::new());
        assert!(!members.follows(log(2), &group, Scope::Local));
        assert!(members.follows(log(2), &group, Scope::Cluster));
    }

    #[test]
    fn a_log_whose_writer_is_silent_is_followed_once_it_was_ended() {
        let group = "quota".parse().unwrap();
        let alive = cluster(&[(1, true)]);
        let before = Members::new(log(1), alive.clone(), cluster(&[(2, true), (3, false)]));
        assert!(!before.follows(log(2), &group, Scope::Local));
        assert!(before.follows(log(2), &group, Scope::Cluster));
        assert!(
            before.follows(log(3), &group, Scope::Local),
            "its writer never ran the group"
        );
        let after = Members::new(log(1), alive, Vec::new());
        assert!(after.follows(log(2), &group, Scope::Local));
    }

    #[test]
    fn a_log_is_ended_by_one_of_the_living_and_the_work_is_spread() {
        let alive = [(1, true), (2, false), (3, true)];
        let adopters = |of| {
            let adopts = |me| Members::new(log(me), cluster(&alive), Vec::new()).adopts(log(of));
            (1..=3).filter(|me| adopts(*me)).collect::<Vec<u128>>()
        };
        let adopters: Vec<Vec<u128>> = (20..60).map(adopters).collect();
        assert!(adopters.iter().all(|adopters| adopters.len() == 1));
        assert_eq!(adopters.concat().into_iter().collect::<BTreeSet<_>>().len(), 3);
    }
}
