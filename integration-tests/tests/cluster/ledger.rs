//! What was promised to the clients of all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::nodes::{NODES, PATIENCE};

/// The number of a message, from which its content is made.
pub(crate) type Number = u64;

/// What every client writes down, before and after.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Facts>, Condvar);

#[derive(Debug)]
struct Facts {
    maildrops: Vec<Maildrop>,
    /// When which node acknowledged a delivery.
    acknowledged: Vec<(Instant, usize)>,
    figures: Figures,
    violations: BTreeSet<String>,
}

/// What is known of one user's maildrop.
#[derive(Debug, Clone, Default)]
struct Maildrop {
    /// Deliveries whose `250` was read.
    acknowledged: BTreeSet<Number>,
    /// Those that were sent again: only they may be there twice.
    retried: BTreeSet<Number>,
    /// Which message has which unique-id, as sessions found out.
    numbers: BTreeMap<String, Number>,
    /// Unique-ids in a session whose QUIT was sent: they may be gone.
    marked: BTreeSet<String>,
    /// Those whose QUIT was answered with `+OK`: they must be gone.
    deleted: BTreeSet<String>,
}

/// What was counted on the way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Deliveries answered with something else than `250`.
    pub(crate) refused: u64,
    /// Deliveries whose answer was not read.
    pub(crate) unknown: u64,
    /// Sessions of POP3 that got to a listing.
    pub(crate) sessions: u64,
    /// Deletions confirmed by `+OK` to QUIT, by each of the sessions that asked for them.
    pub(crate) deleted: u64,
    /// Messages that came back whole.
    pub(crate) fetched: u64,
    pub(crate) acknowledged: u64,
    /// Acknowledged messages that are neither there nor may be gone.
    pub(crate) lost: u64,
    /// Copies that a retry made.
    pub(crate) doubled: u64,
    /// Messages in the maildrops at the end.
    pub(crate) left: u64,
}

/// What had been promised about a maildrop before a session began.
#[derive(Debug)]
pub(crate) struct Promised {
    acknowledged: BTreeSet<Number>,
    deleted: BTreeSet<String>,
}

impl Ledger {
    pub(crate) fn new(users: usize) -> Self {
        let facts = Facts {
            maildrops: vec![Maildrop::default(); users],
            acknowledged: Vec::new(),
            figures: Figures::default(),
            violations: BTreeSet::new(),
        };
        Self(Mutex::new(facts), Condvar::new())
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acknowledge(&self, node: usize, user: usize, number: Number) {
        let mut facts = self.lock();
        facts.maildrops[user].acknowledged.insert(number);
        facts.acknowledged.push((Instant::now(), node));
        facts.figures.acknowledged += 1;
        self.1.notify_all();
    }

    /// A delivery is sent again.
    pub(crate) fn retry(&self, user: usize, number: Number) {
        self.lock().maildrops[user].retried.insert(number);
    }

    /// Waits until each of these nodes has acknowledged so many deliveries more.
    pub(crate) fn wait_for(&self, nodes: &[usize], deliveries: usize) {
        let mut facts = self.lock();
        let counts = |facts: &Facts| {
            let mut counts = [0; NODES];
            for (_, node) in &facts.acknowledged {
                counts[*node] += 1;
            }
            counts
        };
        let before = counts(&facts);
        let until = Instant::now() + PATIENCE;
        loop {
            let now = counts(&facts);
            if nodes.iter().all(|node| now[*node] >= before[*node] + deliveries) {
                return;
            }
            let rest = until.saturating_duration_since(Instant::now());
            assert!(
                !rest.is_zero(),
                "nodes {nodes:?} take no mail: before {before:?}, now {now:?}"
            );
            facts = self
                .1
                .wait_timeout(facts, rest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The longest time from `begun` to now without an acknowledgement by any of these nodes.
    pub(crate) fn longest_gap(&self, begun: Instant, nodes: &[usize]) -> Duration {
        let facts = self.lock();
        let of_nodes = facts.acknowledged.iter().filter(|(_, node)| nodes.contains(node));
        let (mut last, mut longest) = (begun, Duration::ZERO);
        for at in of_nodes.map(|(at, _)| *at).chain([Instant::now()]) {
            longest = longest.max(at.saturating_duration_since(last));
            last = last.max(at);
        }
        longest
    }

    /// Before a session begins.
    pub(crate) fn promised(&self, user: usize) -> Promised {
        let facts = self.lock();
        Promised {
            acknowledged: facts.maildrops[user].acknowledged.clone(),
            deleted: facts.maildrops[user].deleted.clone(),
        }
    }

    pub(crate) fn number_of(&self, user: usize, unique_id: &str) -> Option<Number> {
        self.lock().maildrops[user].numbers.get(unique_id).copied()
    }

    /// A session found out which message has this unique-id.
    pub(crate) fn learn(&self, user: usize, unique_id: &str, number: Number) {
        let mut facts = self.lock();
        facts.maildrops[user].numbers.insert(unique_id.to_owned(), number);
    }

    /// Whether a session was about to delete this message.
    pub(crate) fn is_marked(&self, user: usize, unique_id: &str) -> bool {
        self.lock().maildrops[user].marked.contains(unique_id)
    }

    /// A session listed these unique-ids, all of them known: does that keep what had been promised before it? Gives the
    /// messages that are lost.
    pub(crate) fn check_listing(
        &self,
        user: usize,
        promised: &Promised,
        listed: &BTreeSet<String>,
    ) -> BTreeSet<Number> {
        let mut facts = self.lock();
        facts.figures.sessions += 1;
        let maildrop = &facts.maildrops[user];
        let undone = promised.deleted.intersection(listed);
        let mut wrong: Vec<String> = undone
            .map(|unique_id| format!("user {user}: {unique_id} was deleted and is listed"))
            .collect();
        let excused: BTreeSet<Number> = maildrop
            .numbers
            .iter()
            .filter(|(unique_id, _)| listed.contains(*unique_id) || maildrop.marked.contains(*unique_id))
            .map(|(_, number)| *number)
            .collect();
        let lost: BTreeSet<Number> = promised.acknowledged.difference(&excused).copied().collect();
        wrong.extend(
            lost.iter().map(|number| {
                format!("user {user}: message {number} was answered with 250 and is not listed")
            }),
        );
        facts.violations.extend(wrong);
        lost
    }

    /// QUIT is about to be sent.
    pub(crate) fn mark(&self, user: usize, unique_ids: &[String]) {
        self.lock().maildrops[user]
            .marked
            .extend(unique_ids.iter().cloned());
    }

    /// It was answered with `+OK`.
    pub(crate) fn delete(&self, user: usize, unique_ids: &[String]) {
        let mut facts = self.lock();
        facts.maildrops[user].deleted.extend(unique_ids.iter().cloned());
        facts.figures.deleted += unique_ids.len() as u64;
    }

    /// The last listing of a maildrop, when nobody changes it any more.
    pub(crate) fn check_end(&self, user: usize, listed: &BTreeSet<String>) {
        let lost = self.check_listing(user, &self.promised(user), listed);
        let mut facts = self.lock();
        facts.figures.lost += lost.len() as u64;
        facts.figures.left += listed.len() as u64;
        let maildrop = facts.maildrops[user].clone();
        let mut copies: BTreeMap<Number, u64> = BTreeMap::new();
        for (unique_id, number) in &maildrop.numbers {
            *copies.entry(*number).or_default() += 1;
            if !listed.contains(unique_id) && !maildrop.marked.contains(unique_id) {
                facts
                    .violations
                    .insert(format!("user {user}: {unique_id} is gone and nobody deleted it"));
            }
        }
        for (number, copies) in copies {
            facts.figures.doubled += copies - 1;
            if copies > 1 && !maildrop.retried.contains(&number) {
                let twice =
                    format!("user {user}: message {number} is there {copies} times and was sent once");
                facts.violations.insert(twice);
            }
        }
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.lock().figures);
    }

    /// Something that must never be.
    pub(crate) fn violated(&self, what: String) {
        self.lock().violations.insert(what);
    }

    /// What was counted, and what was violated.
    pub(crate) fn end(&self) -> (Figures, Vec<String>) {
        let facts = self.lock();
        (facts.figures, facts.violations.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations_of(listing: &[&str]) -> Vec<String> {
        let ledger = Ledger::new(1);
        for number in 1..=4 {
            ledger.acknowledge(0, 0, number);
            ledger.learn(0, &format!("u{number}"), number);
        }
        ledger.learn(0, "u4again", 4);
        ledger.retry(0, 4);
        ledger.mark(0, &["u2".into(), "u3".into()]);
        ledger.delete(0, &["u3".into()]);
        ledger.check_end(0, &listing.iter().map(|id| (*id).to_owned()).collect());
        ledger.end().1
    }

    #[test]
    fn the_end_is_held_against_what_was_promised() {
        let lost = "user 0: message 1 was answered with 250 and is not listed";
        let gone = "user 0: u1 is gone and nobody deleted it";
        let copy = "user 0: u4again is gone and nobody deleted it";
        let undone = "user 0: u3 was deleted and is listed";
        let table: [(&[&str], &[&str]); 5] = [
            (&["u1", "u2", "u4", "u4again"], &[]),
            (&["u1", "u4", "u4again"], &[]),
            (&["u4", "u4again"], &[lost, gone]),
            (&["u1", "u3", "u4", "u4again"], &[undone]),
            (&["u1", "u4"], &[copy]),
        ];
        for (listing, expected) in table {
            assert_eq!(violations_of(listing), expected, "{listing:?}");
        }
    }

    #[test]
    fn two_copies_of_what_was_sent_once_are_a_violation() {
        let ledger = Ledger::new(1);
        ledger.learn(0, "a", 1);
        ledger.learn(0, "b", 1);
        ledger.check_end(0, &["a".to_owned(), "b".to_owned()].into());
        let (figures, violations) = ledger.end();
        assert_eq!(figures.doubled, 1);
        assert_eq!(
            violations,
            ["user 0: message 1 is there 2 times and was sent once"]
        );
    }
}
