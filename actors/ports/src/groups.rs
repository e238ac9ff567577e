//! What a group of listeners leaves in the store: how far it is in each log, what it parked, what it gave up.
//!
//! # The contract
//!
//! - A group is known from its first registration on. Its cursor in every log that there is then stands at that log's
//!   end: what happened before is not shown to it. In a log that begins later it starts at the beginning.
//! - A **cursor never goes back**: of two, what either has finished stays finished ([`Cursor::join`]). It may be lost with
//!   a crash (its group then sees some events again); what it says is past is durable elsewhere before: done, parked or
//!   dead.
//! - What is **parked or dead is durable** when the call returns, and kept under its event's name, so that doing it twice
//!   is doing it once.
//! - Of a group that is **not known** no cursor and nothing parked is kept: it was forgotten. Its dead letters are, and
//!   what it had parked when it was forgotten is among them: nobody's mistake with a setting loses an event that the
//!   log may no longer have.

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;
use mailhorn_events::{EventId, Generation, Stamp};

use crate::listener::{GroupName, Letter};
use crate::store::StoreError;

/// How far a group is in one log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Records up to this number were taken up.
    pub taken: u64,
    /// Those among them that are not finished.
    pub open: BTreeSet<u64>,
}

impl Cursor {
    /// Everything up to `number` is finished.
    #[must_use]
    pub fn at(number: u64) -> Self {
        Self {
            taken: number,
            open: BTreeSet::new(),
        }
    }

    /// All records up to this number are done, parked or dead.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.open
            .first()
            .map_or(self.taken, |first| first.saturating_sub(1))
    }

    /// Whether a record was not finished.
    #[must_use]
    pub fn is_open(&self, number: u64) -> bool {
        number > self.taken || self.open.contains(&number)
    }

    /// What either of the two has finished.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let both = self.open.union(&other.open).copied();
        Self {
            taken: self.taken.max(other.taken),
            open: both
                .filter(|number| self.is_open(*number) && other.is_open(*number))
                .collect(),
        }
    }
}

/// A group that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownGroup {
    /// Its name.
    pub name: GroupName,
    /// When it was registered last, by any node.
    pub registered: Stamp,
}

/// Cursors, parked events and dead letters of groups. Every call may fail with a [`StoreError`].
#[async_trait]
pub trait GroupStore: Debug + Send + Sync {
    /// Makes a group known, or notes that it still is. Durable when it returns. A process does it for each of its groups
    /// before its first housekeeping: after a long rest they would be forgotten there
    /// ([`Retention::groups_before`](crate::Retention::groups_before)).
    async fn register_group(&self, group: &GroupName, now: Stamp) -> Result<(), StoreError>;

    /// The groups that are known, by name.
    async fn groups(&self) -> Result<Vec<KnownGroup>, StoreError>;

    /// Forgets a group and its cursors, so that the log is kept for it no longer. What it parked is dead; its dead letters
    /// stay. Durable, in one, when it returns.
    async fn forget_group(&self, group: &GroupName) -> Result<(), StoreError>;

    /// How far the group is, in each log that it has a cursor in, oldest log first. A log without one: at its
    /// beginning.
    async fn cursors(&self, group: &GroupName) -> Result<Vec<(Generation, Cursor)>, StoreError>;

    /// Notes how far the group is in a log. Quick: nothing waits for the disk, so a crash may take it back some way.
    async fn save_cursor(
        &self,
        group: &GroupName,
        generation: Generation,
        cursor: &Cursor,
    ) -> Result<(), StoreError>;

    /// Parks an event, or notes how often it was tried. Durable when it returns.
    async fn park(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError>;

    /// The logs of which the group has something parked, oldest first, those that are otherwise forgotten among them.
    async fn parked_logs(&self, group: &GroupName) -> Result<Vec<Generation>, StoreError>;

    /// What the group has parked of a log, by id.
    async fn parked(&self, group: &GroupName, generation: Generation) -> Result<Vec<Letter>, StoreError>;

    /// A parked event was handled after all. May be lost with a crash: then it is handled again.
    async fn unpark(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError>;

    /// Gives an event up: it is dead, and no longer parked, in one. Durable when it returns.
    async fn bury(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError>;

    /// At most `limit` dead letters of a group after `after`, by id.
    async fn dead_letters(
        &self,
        group: &GroupName,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Letter>, StoreError>;

    /// A dead letter.
    async fn dead_letter(&self, group: &GroupName, id: EventId) -> Result<Option<Letter>, StoreError>;

    /// Removes a dead letter, if it is there. Durable when it returns.
    async fn remove_dead_letter(&self, group: &GroupName, id: EventId) -> Result<(), StoreError>;

    /// Removes all dead letters of a group, and tells how many they were. One that comes meanwhile may stay. Durable when
    /// it returns; of one that fails half-way some are gone.
    async fn remove_dead_letters(&self, group: &GroupName) -> Result<u64, StoreError>;

    /// The groups that have dead letters, by name, and how many.
    async fn groups_with_dead_letters(&self) -> Result<Vec<(GroupName, u64)>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(taken: u64, open: &[u64]) -> Cursor {
        Cursor {
            taken,
            open: open.iter().copied().collect(),
        }
    }

    #[test]
    fn what_either_cursor_has_finished_is_finished_in_both() {
        for (a, b, joined) in [
            (cursor(0, &[]), cursor(5, &[2]), cursor(5, &[2])),
            (cursor(10, &[3, 7]), cursor(12, &[3]), cursor(12, &[3])),
            (cursor(10, &[3]), cursor(5, &[]), cursor(10, &[])),
            (cursor(10, &[3, 8]), cursor(5, &[4]), cursor(10, &[8])),
            (cursor(5, &[]), cursor(9, &[7]), cursor(9, &[7])),
        ] {
            assert_eq!(a.join(&b), joined);
            assert_eq!(b.join(&a), joined);
            assert_eq!(joined.join(&a), joined);
        }
    }
}
