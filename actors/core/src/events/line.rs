//! How far a group is in one log: which records were read, which of them are not finished. Plain.

use std::collections::{BTreeMap, BTreeSet};

use mailhorn_ports::Cursor;

/// Records of one log that are taken up and not finished, at most.
pub(super) const OPEN_RECORDS_MAX: usize = 1_024;

/// One group in one log.
#[derive(Debug)]
pub(super) struct Line {
    /// Read up to here.
    read: u64,
    /// Taken up to here by this process or one before it.
    taken: u64,
    /// Taken up by a process before this one and not finished there: to be taken again when they are read.
    again: BTreeSet<u64>,
    /// Taken up and not finished, with the events that are left of each.
    open: BTreeMap<u64, usize>,
    saved: Cursor,
}

/// What a record is to the line that reads it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// To be taken.
    New,
    /// Finished before.
    Done,
    /// To be taken; these records before it, the first and last of them, are no longer in the log.
    AfterGap(u64, u64),
}

impl Line {
    pub(super) fn new(cursor: Cursor) -> Self {
        Self {
            read: cursor.finished(),
            taken: cursor.taken,
            again: cursor.open.clone(),
            open: BTreeMap::new(),
            saved: cursor,
        }
    }

    /// The number to read next; `None` while enough is open.
    pub(super) fn wants(&self) -> Option<u64> {
        (self.open.len() < OPEN_RECORDS_MAX).then(|| self.read.saturating_add(1))
    }

    /// All up to here is finished.
    pub(super) fn finished(&self) -> u64 {
        let first = [self.open.keys().next(), self.again.first()];
        let first = first.into_iter().flatten().min();
        first.map_or(self.taken, |first| first.saturating_sub(1))
    }

    /// A record was read: the next one that there is.
    pub(super) fn read(&mut self, number: u64) -> Read {
        let expected = self.read.saturating_add(1);
        let lost = (expected..number).find(|lost| *lost > self.taken || self.again.contains(lost));
        self.read = self.read.max(number);
        if let Some(first) = lost {
            self.again = self.again.split_off(&number);
            // What was finished beyond the gap stays so.
            self.taken = self.taken.max(number.saturating_sub(1));
            return Read::AfterGap(first, number.saturating_sub(1));
        }
        if number <= self.taken && !self.again.contains(&number) {
            Read::Done
        } else {
            Read::New
        }
    }

    /// A record is taken up, with so many events for this group.
    pub(super) fn take(&mut self, number: u64, events: usize) {
        self.again.remove(&number);
        self.taken = self.taken.max(number);
        if events > 0 {
            self.open.insert(number, events);
        }
    }

    /// An event of a record is finished. Whether its record is with it.
    pub(super) fn event_finished(&mut self, number: u64) -> bool {
        let Some(left) = self.open.get_mut(&number) else {
            return false;
        };
        *left -= 1;
        let all = *left == 0;
        if all {
            self.open.remove(&number);
        }
        all
    }

    /// Nothing before this is to be taken any more: the group made its state anew from what was there then.
    pub(super) fn skip_to(&mut self, number: u64) {
        self.read = self.read.max(number);
        self.taken = self.taken.max(number);
        self.again = self.again.split_off(&number.saturating_add(1));
    }

    /// The cursor, if it is another one than was saved last.
    pub(super) fn unsaved(&self) -> Option<Cursor> {
        let cursor = self.cursor();
        (cursor != self.saved).then_some(cursor)
    }

    pub(super) fn saved(&mut self, cursor: Cursor) {
        self.saved = cursor;
    }

    fn cursor(&self) -> Cursor {
        Cursor {
            taken: self.taken,
            open: self.open.keys().chain(&self.again).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_the_lowest_unfinished_record() {
        let mut line = Line::new(Cursor::default());
        for number in 1..=3 {
            assert_eq!(line.read(number), Read::New);
            line.take(number, 1);
        }
        assert!(line.event_finished(2));
        assert_eq!(line.finished(), 0);
        let cursor = line.unsaved().unwrap();
        assert_eq!((cursor.taken, cursor.open), (3, [1, 3].into()));
        assert!(line.event_finished(1));
        assert_eq!(line.finished(), 2);
    }

    #[test]
    fn after_a_crash_only_what_was_not_finished_is_taken_again() {
        let cursor = Cursor {
            taken: 5,
            open: [2, 4].into(),
        };
        let mut line = Line::new(cursor);
        assert_eq!(line.wants(), Some(2));
        let read: Vec<Read> = (2..=6).map(|number| line.read(number)).collect();
        assert_eq!(read, [Read::New, Read::Done, Read::New, Read::Done, Read::New]);
    }

    #[test]
    fn a_record_with_nothing_for_the_group_is_finished_at_once() {
        let mut line = Line::new(Cursor::default());
        line.read(1);
        line.take(1, 0);
        assert_eq!(line.finished(), 1);
        line.read(2);
        line.take(2, 2);
        assert!(!line.event_finished(2));
        assert!(line.event_finished(2));
        assert_eq!(line.unsaved(), Some(Cursor::at(2)));
    }

    #[test]
    fn a_gap_is_what_was_not_finished_and_is_gone() {
        let mut line = Line::new(Cursor {
            taken: 5,
            open: [2].into(),
        });
        assert_eq!(line.read(9), Read::AfterGap(2, 8));
        line.take(9, 0);
        assert_eq!(line.finished(), 9);
        let mut line = Line::new(Cursor::at(5));
        assert_eq!(line.read(6), Read::New);
    }

    #[test]
    fn what_a_rebuild_covers_is_not_taken_again() {
        let mut line = Line::new(Cursor {
            taken: 5,
            open: [2].into(),
        });
        line.skip_to(7);
        assert_eq!((line.wants(), line.finished()), (Some(8), 7));
        // The rebuild began when a record behind the gap had been read.
        assert_eq!(line.read(10), Read::AfterGap(8, 9));
        line.skip_to(12);
        assert_eq!((line.wants(), line.finished()), (Some(13), 12));
    }
}
