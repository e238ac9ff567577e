//! What was promised to the clients, and whether a maildrop keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The number of a message, from which its content is made.
pub(crate) type Number = u64;

/// What every client writes down, before and after.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Facts>);

#[derive(Debug)]
struct Facts {
    users: Vec<Drop>,
    figures: Figures,
    violations: BTreeSet<String>,
}

/// What is known of one user's maildrop.
#[derive(Debug, Clone, Default)]
struct Drop {
    /// Deliveries whose `250` was read.
    acknowledged: BTreeSet<Number>,
    /// Which message has which unique-id, as sessions found out.
    numbers: BTreeMap<String, Number>,
    /// Unique-ids in a session whose QUIT was sent: they may be gone.
    marked: BTreeSet<String>,
    /// Those whose QUIT was answered with `+OK`: they must be gone.
    deleted: BTreeSet<String>,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) kills: u64,
    /// `250`s read, one a recipient.
    pub(crate) acknowledged: u64,
    /// Deletions confirmed by `+OK` to QUIT.
    pub(crate) deleted: u64,
    /// Deliveries sent again because no answer had come.
    pub(crate) retries: u64,
    /// Deliveries answered with something else than `250`.
    pub(crate) refused: u64,
    /// Copies that a retry made.
    pub(crate) duplicates: u64,
    /// Messages that came back whole.
    pub(crate) retrieved: u64,
    /// Sessions of POP3 that got to a listing.
    pub(crate) sessions: u64,
    /// Messages in the maildrops at the end.
    pub(crate) left: u64,
    /// Acknowledged messages that are neither there nor may be gone.
    pub(crate) lost: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kills {}, acknowledged {}, deleted {}, retries {}, refused {}, sessions {}, retrieved whole {}, left at the \
             end {}, duplicates {}, lost {}",
            self.kills,
            self.acknowledged,
            self.deleted,
            self.retries,
            self.refused,
            self.sessions,
            self.retrieved,
            self.left,
            self.duplicates,
            self.lost
        )
    }
}

/// What had been promised about a maildrop before a session began.
#[derive(Debug)]
pub(crate) struct Promised {
    acknowledged: BTreeSet<Number>,
    deleted: BTreeSet<String>,
}

impl Ledger {
    pub(crate) fn new(users: usize) -> Self {
        Self(Mutex::new(Facts {
            users: vec![Drop::default(); users],
            figures: Figures::default(),
            violations: BTreeSet::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acknowledge(&self, user: usize, number: Number) {
        let mut facts = self.lock();
        facts.users[user].acknowledged.insert(number);
        facts.figures.acknowledged += 1;
    }

    /// Before a session begins.
    pub(crate) fn promised(&self, user: usize) -> Promised {
        let facts = self.lock();
        Promised {
            acknowledged: facts.users[user].acknowledged.clone(),
            deleted: facts.users[user].deleted.clone(),
        }
    }

    pub(crate) fn number_of(&self, user: usize, unique_id: &str) -> Option<Number> {
        self.lock().users[user].numbers.get(unique_id).copied()
    }

    /// A session found out which message has this unique-id. A second one for the same message is a second copy.
    pub(crate) fn learn(&self, user: usize, unique_id: &str, number: Number) {
        let mut facts = self.lock();
        let is_second = facts.users[user].numbers.values().any(|known| *known == number);
        facts.users[user].numbers.insert(unique_id.to_owned(), number);
        facts.figures.duplicates += u64::from(is_second);
    }

    /// A session listed these unique-ids, all of them known: does that keep what had been promised?
    pub(crate) fn check_listing(&self, user: usize, promised: &Promised, listed: &BTreeSet<String>) {
        let mut facts = self.lock();
        facts.figures.sessions += 1;
        let user_facts = &facts.users[user];
        let mut wrong: Vec<String> = promised
            .deleted
            .intersection(listed)
            .map(|unique_id| format!("user {user}: {unique_id} was deleted and is listed"))
            .collect();
        let mut excused: BTreeSet<Number> = BTreeSet::new();
        for (unique_id, number) in &user_facts.numbers {
            if listed.contains(unique_id) || user_facts.marked.contains(unique_id) {
                excused.insert(*number);
            }
        }
        let lost: Vec<Number> = promised.acknowledged.difference(&excused).copied().collect();
        facts.figures.lost += lost.len() as u64;
        wrong.extend(
            lost.iter().map(|number| {
                format!("user {user}: message {number} was answered with 250 and is not listed")
            }),
        );
        facts.violations.extend(wrong);
    }

    /// QUIT is about to be sent.
    pub(crate) fn mark(&self, user: usize, unique_ids: &[String]) {
        self.lock().users[user].marked.extend(unique_ids.iter().cloned());
    }

    /// It was answered with `+OK`.
    pub(crate) fn delete(&self, user: usize, unique_ids: &[String]) {
        let mut facts = self.lock();
        facts.users[user].deleted.extend(unique_ids.iter().cloned());
        facts.figures.deleted += unique_ids.len() as u64;
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.lock().figures);
    }

    /// Something that must never be.
    pub(crate) fn violated(&self, what: String) {
        self.lock().violations.insert(what);
    }

    /// What the run came to, and what was violated.
    pub(crate) fn end(&self) -> (Figures, Vec<String>) {
        let facts = self.lock();
        (facts.figures, facts.violations.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(unique_ids: &[&str]) -> BTreeSet<String> {
        unique_ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn violations_of(listing: &[&str]) -> Vec<String> {
        let ledger = Ledger::new(1);
        for number in 1..=3 {
            ledger.acknowledge(0, number);
            ledger.learn(0, &format!("u{number}"), number);
        }
        ledger.mark(0, &["u2".into(), "u3".into()]);
        ledger.delete(0, &["u3".into()]);
        ledger.check_listing(0, &ledger.promised(0), &listed(listing));
        ledger.end().1
    }

    #[test]
    fn a_listing_is_held_against_what_was_promised() {
        let lost = "user 0: message 1 was answered with 250 and is not listed";
        let undone = "user 0: u3 was deleted and is listed";
        let table: [(&[&str], &[&str]); 5] = [
            (&["u1", "u2"], &[]),
            (&["u1"], &[]),
            (&["u2"], &[lost]),
            (&["u1", "u3"], &[undone]),
            (&[], &[lost]),
        ];
        for (listing, expected) in table {
            assert_eq!(violations_of(listing), expected, "{listing:?}");
        }
    }

    #[test]
    fn a_second_unique_id_for_a_message_is_a_duplicate() {
        let ledger = Ledger::new(2);
        ledger.learn(0, "a", 1);
        ledger.learn(1, "a", 1);
        ledger.learn(0, "b", 1);
        assert_eq!(ledger.end().0.duplicates, 1);
    }
}
