//! How far a group is in one log: which records were read, which of them are not finished. Plain.

use std::collections::{BTreeMap, BTreeSet};

use mailhorn_events::Stamp;
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
    /// Taken up and not finished.
    open: BTreeMap<u64, Open>,
    /// The cursor moved since it was saved.
    is_unsaved: bool,
}

#[derive(Debug)]
struct Open {
    /// Events that are left of it.
    events: usize,
    stamp: Stamp,
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
            again: cursor.open,
            open: BTreeMap::new(),
            is_unsaved: false,
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

    /// What the next record that there is, is to this line. Nothing moves over that: what a gap or a record that can't be
    /// read calls for may fail, and then they are looked at again.
    pub(super) fn look(&self, number: u64) -> Read {
        let expected = self.read.saturating_add(1);
        let lost = (expected..number).find(|lost| *lost > self.taken || self.again.contains(lost));
        if let Some(first) = lost {
            Read::AfterGap(first, number.saturating_sub(1))
        } else if number <= self.taken && !self.again.contains(&number) {
            Read::Done
        } else {
            Read::New
        }
    }

    /// A record was finished before.
    pub(super) fn pass(&mut self, number: u64) {
        self.read = self.read.max(number);
    }

    /// A record is taken up, with so many events for this group.
    pub(super) fn take(&mut self, number: u64, stamp: Stamp, events: usize) {
        self.read = self.read.max(number);
        self.again.remove(&number);
        self.taken = self.taken.max(number);
        self.is_unsaved = true;
        if events > 0 {
            self.open.insert(number, Open { events, stamp });
        }
    }

    /// An event of a record is finished. Whether its record is with it.
    pub(super) fn event_finished(&mut self, number: u64) -> bool {
        let Some(open) = self.open.get_mut(&number) else {
            return false;
        };
        open.events -= 1;
        let all = open.events == 0;
        if all {
            self.open.remove(&number);
            self.is_unsaved = true;
        }
        all
    }

    /// Nothing up to this is to be taken any more: it is gone and was dealt with, or the group made its state anew.
    pub(super) fn skip_to(&mut self, number: u64) {
        self.read = self.read.max(number);
        self.taken = self.taken.max(number);
        self.again = self.again.split_off(&number.saturating_add(1));
        self.is_unsaved = true;
    }

    /// The stamp of the first record that is taken up and not finished.
    pub(super) fn oldest(&self) -> Option<Stamp> {
        self.open.values().next().map(|open| open.stamp)
    }

    /// Whether the cursor moved since it was saved.
    pub(super) fn is_unsaved(&self) -> bool {
        self.is_unsaved
    }

    /// The cursor as it stands is saved.
    pub(super) fn saved(&mut self) {
        self.is_unsaved = false;
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            taken: self.taken,
            open: self.open.keys().chain(&self.again).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a record whose stamp is its number.
    fn take(line: &mut Line, number: u64, events: usize) {
        line.take(number, Stamp(number), events);
    }

    #[test]
    fn the_cursor_is_the_lowest_unfinished_record() {
        let mut line = Line::new(Cursor::default());
        for number in 1..=3 {
            assert_eq!(line.look(number), Read::New);
            take(&mut line, number, 1);
        }
        assert!(line.event_finished(2));
        assert_eq!(line.finished(), 0);
        let cursor = line.cursor();
        assert_eq!((cursor.taken, cursor.open), (3, [1, 3].into()));
        assert_eq!(line.oldest(), Some(Stamp(1)));
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
        let mut read = Vec::new();
        for number in 2..=6 {
            read.push(line.look(number));
            match read.last() {
                Some(Read::New) => take(&mut line, number, 1),
                _ => line.pass(number),
            }
        }
        assert_eq!(read, [Read::New, Read::Done, Read::New, Read::Done, Read::New]);
    }

    #[test]
    fn a_record_with_nothing_for_the_group_is_finished_at_once() {
        let mut line = Line::new(Cursor::default());
        take(&mut line, 1, 0);
        assert_eq!(line.finished(), 1);
        take(&mut line, 2, 2);
        assert!(!line.event_finished(2));
        assert!(line.event_finished(2));
        assert_eq!((line.cursor(), line.oldest()), (Cursor::at(2), None));
    }

    #[test]
    fn a_gap_is_what_was_not_finished_and_is_gone() {
        let mut line = Line::new(Cursor {
            taken: 5,
            open: [2].into(),
        });
        for _ in 0..2 {
            assert_eq!(line.look(9), Read::AfterGap(2, 8), "until it was dealt with");
            assert_eq!((line.wants(), line.finished()), (Some(2), 1));
        }
        line.skip_to(8);
        assert_eq!(line.look(9), Read::New);
        take(&mut line, 9, 0);
        assert_eq!((line.wants(), line.finished()), (Some(10), 9));
        assert_eq!(Line::new(Cursor::at(5)).look(6), Read::New);
    }

    #[test]
    fn what_was_finished_before_is_passed_and_not_read_again() {
        let mut line = Line::new(Cursor {
            taken: 3,
            open: [1].into(),
        });
        take(&mut line, 1, 1);
        assert_eq!(line.look(2), Read::Done);
        line.pass(2);
        assert_eq!((line.wants(), line.finished()), (Some(3), 0));
    }

    #[test]
    fn a_cursor_is_to_be_saved_when_it_moved_and_only_then() {
        let mut line = Line::new(Cursor {
            taken: 5,
            open: [2].into(),
        });
        let mut moves = |move_it: &dyn Fn(&mut Line)| {
            let before = line.cursor();
            move_it(&mut line);
            let is_unsaved = line.is_unsaved();
            assert!(is_unsaved || line.cursor() == before);
            line.saved();
            is_unsaved
        };
        assert!(!moves(&|line| line.pass(1)));
        moves(&|line| take(line, 2, 2));
        assert!(!moves(&|line| {
            line.event_finished(2);
        }));
        assert!(moves(&|line| {
            line.event_finished(2);
        }));
        assert!(moves(&|line| take(line, 6, 0)));
        assert!(moves(&|line| line.skip_to(12)), "over a gap");
        assert!(!moves(&|line| {
            line.event_finished(12);
        }));
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
        assert_eq!(line.look(10), Read::AfterGap(8, 9));
        line.skip_to(12);
        assert_eq!((line.wants(), line.finished()), (Some(13), 12));
    }
}
