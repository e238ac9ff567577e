//! Which events may be handled now. Plain: no time, no runtime, no store.
//!
//! Events stand in **lanes**, one for each mailbox. Those of a lane are handled in their order and one call after the
//! other; lanes are independent of each other, as many calls at a time as the listener allows.

use std::collections::{HashMap, VecDeque};

use mailhorn_events::Event;
use uuid::Uuid;

/// The mailbox of an event, or the account of one that has no mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lane(Uuid);

impl Lane {
    pub(super) fn of(event: &Event) -> Self {
        Self(event.mailbox.map_or(event.account.0, |mailbox| mailbox.0))
    }
}

#[derive(Debug)]
struct LaneState<T> {
    waiting: VecDeque<T>,
    busy: bool,
}

// Derived, it would ask the same of `T`.
impl<T> Default for LaneState<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            busy: false,
        }
    }
}

/// A call's worth of events. It holds its lanes until [`Schedule::ended`].
#[derive(Debug)]
pub(super) struct Turn<T> {
    pub(super) jobs: Vec<(Lane, T)>,
    lanes: Vec<Lane>,
}

/// Events that wait, and the lanes that are held.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    concurrency: usize,
    batch_max: usize,
    /// So many of the next events go one by one: a call with several of them ended without saying which is to blame.
    singly: usize,
    lanes: HashMap<Lane, LaneState<T>>,
    /// Lanes that have something waiting and are not held, each once.
    ready: VecDeque<Lane>,
    waiting: usize,
    running: usize,
}

impl<T> Schedule<T> {
    pub(super) fn new(concurrency: usize, batch_max: usize) -> Self {
        Self {
            concurrency: concurrency.max(1),
            batch_max: batch_max.max(1),
            singly: 0,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            waiting: 0,
            running: 0,
        }
    }

    /// Events that wait for a call.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Calls under way.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// An event comes behind all others of its lane.
    pub(super) fn push(&mut self, lane: Lane, job: T) {
        self.place(lane, |waiting| waiting.push_back(job));
    }

    /// Events that were not handled come back, before all others of their lanes and in their order.
    pub(super) fn put_back(&mut self, jobs: Vec<(Lane, T)>) {
        for (lane, job) in jobs.into_iter().rev() {
            self.place(lane, |waiting| waiting.push_front(job));
        }
    }

    /// The next so many events go one by one.
    pub(super) fn singly(&mut self, events: usize) {
        self.singly = self.singly.max(events);
    }

    fn place(&mut self, lane: Lane, place: impl FnOnce(&mut VecDeque<T>)) {
        let state = self.lanes.entry(lane).or_default();
        if state.waiting.is_empty() && !state.busy {
            self.ready.push_back(lane);
        }
        place(&mut state.waiting);
        self.waiting += 1;
    }

    /// The next call, of at most `events_max` events; `None` when nothing may run now.
    pub(super) fn next(&mut self, events_max: usize) -> Option<Turn<T>> {
        if self.running >= self.concurrency {
            return None;
        }
        let limit = if self.singly > 0 {
            1
        } else {
            self.batch_max.min(events_max)
        };
        let mut turn = Turn {
            jobs: Vec::new(),
            lanes: Vec::new(),
        };
        while turn.jobs.len() < limit
            && let Some(lane) = self.ready.pop_front()
        {
            if let Some(state) = self.lanes.get_mut(&lane) {
                state.busy = true;
                let count = state.waiting.len().min(limit - turn.jobs.len());
                turn.jobs
                    .extend(state.waiting.drain(..count).map(|job| (lane, job)));
                turn.lanes.push(lane);
            }
        }
        if turn.jobs.is_empty() {
            return None;
        }
        self.singly = self.singly.saturating_sub(turn.jobs.len());
        self.waiting -= turn.jobs.len();
        self.running += 1;
        Some(turn)
    }

    /// Holds a lane for an event that doesn't wait in it. `None` when it may not run now.
    pub(super) fn hold(&mut self, lane: Lane, job: T) -> Option<Turn<T>> {
        let is_held = self.lanes.get(&lane).is_some_and(|state| state.busy);
        if self.running >= self.concurrency || is_held {
            return None;
        }
        let state = self.lanes.entry(lane).or_default();
        state.busy = true;
        self.ready.retain(|ready| *ready != lane);
        self.running += 1;
        Some(Turn {
            jobs: vec![(lane, job)],
            lanes: vec![lane],
        })
    }

    /// A call has ended. Gives its events back to whoever puts some of them back.
    pub(super) fn ended(&mut self, turn: Turn<T>) -> Vec<(Lane, T)> {
        self.running -= 1;
        for lane in turn.lanes {
            if let Some(state) = self.lanes.get_mut(&lane) {
                state.busy = false;
                if state.waiting.is_empty() {
                    self.lanes.remove(&lane);
                } else {
                    self.ready.push_back(lane);
                }
            }
        }
        turn.jobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lane(n: u8) -> Lane {
        Lane(Uuid::from_u128(u128::from(n)))
    }

    fn jobs(turn: &Turn<u32>) -> Vec<u32> {
        turn.jobs.iter().map(|(_, job)| *job).collect()
    }

    #[test]
    fn a_lane_waits_for_its_call_and_others_do_not() {
        let mut schedule = Schedule::new(2, 1);
        for (n, job) in [(1, 10), (1, 11), (2, 20), (3, 30)] {
            schedule.push(lane(n), job);
        }
        let first = schedule.next(9).unwrap();
        let second = schedule.next(9).unwrap();
        assert_eq!((jobs(&first), jobs(&second)), (vec![10], vec![20]));
        assert!(schedule.next(9).is_none(), "two at a time");
        schedule.ended(second);
        assert_eq!(jobs(&schedule.next(9).unwrap()), [30], "11 waits for 10");
        schedule.ended(first);
        assert_eq!(jobs(&schedule.next(9).unwrap()), [11]);
    }

    #[test]
    fn what_comes_back_comes_first_and_may_go_singly() {
        let mut schedule = Schedule::new(4, 3);
        for job in 1..=5 {
            schedule.push(lane(1), job);
        }
        let turn = schedule.next(9).unwrap();
        assert_eq!(jobs(&turn), [1, 2, 3]);
        let mut back = schedule.ended(turn);
        back.remove(0);
        schedule.put_back(back);
        schedule.singly(2);
        for expected in [vec![2], vec![3], vec![4, 5]] {
            let turn = schedule.next(9).unwrap();
            assert_eq!(jobs(&turn), expected);
            schedule.ended(turn);
        }
        assert_eq!((schedule.waiting(), schedule.running()), (0, 0));
    }

    #[test]
    fn a_retry_holds_its_lane() {
        let mut schedule = Schedule::new(4, 1);
        schedule.push(lane(1), 1);
        let retry = schedule.hold(lane(1), 99).unwrap();
        assert!(schedule.next(9).is_none(), "the lane is held");
        assert!(schedule.hold(lane(1), 98).is_none());
        schedule.ended(retry);
        assert_eq!(jobs(&schedule.next(9).unwrap()), [1]);
    }

    proptest! {
        /// Whatever is pushed, put back and ended in whatever order: every event comes, in the order of its lane, never
        /// two calls of a lane at a time, never more calls than allowed.
        #[test]
        fn order_and_bounds_hold(steps in proptest::collection::vec((0u8..4, 0u8..5, any::<bool>()), 1..200)) {
            let mut schedule = Schedule::new(3, 2);
            let (mut under_way, mut seen, mut pushed): (Vec<Turn<u32>>, Vec<(Lane, u32)>, u32) = Default::default();
            for (step, n, fails) in steps {
                match step {
                    0 | 1 => { pushed += 1; schedule.push(lane(n), pushed); }
                    2 => if let Some(turn) = schedule.next(2) { under_way.push(turn); },
                    _ => if !under_way.is_empty() {
                        let turn = under_way.remove(usize::from(n) % under_way.len());
                        let mut jobs = schedule.ended(turn);
                        if fails { schedule.put_back(jobs.split_off(1)); }
                        seen.extend(jobs);
                    },
                }
                prop_assert!(under_way.len() <= 3);
                prop_assert_eq!(schedule.running(), under_way.len());
                let held: Vec<Lane> = under_way.iter().flat_map(|turn| turn.lanes.clone()).collect();
                prop_assert!(held.iter().enumerate().all(|(at, lane)| !held[..at].contains(lane)));
            }
            for turn in under_way { seen.extend(schedule.ended(turn)); }
            while let Some(turn) = schedule.next(2) { seen.extend(schedule.ended(turn)); }
            prop_assert_eq!(seen.len(), pushed as usize);
            for n in 0..5 {
                let of_lane: Vec<u32> = seen.iter().filter(|(of, _)| *of == lane(n)).map(|(_, job)| *job).collect();
                prop_assert!(of_lane.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }
    }
}
