//! Who is there, as this node sees it, and whose log it has to end. Plain.
//!
//! Clocks are never compared: a heartbeat stands still when this node, by its own clock, has seen no other value for a
//! while. The first sight counts from the answer that showed it, and silence is judged by when the last look was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use mailhorn_events::Generation;
use mailhorn_ports::MemberRow;
use tokio::time::Instant;

use super::lease::LEASE;
use super::name::FormerLives;
use super::sightings::Sighting;
use super::{BEAT_PAUSE, SILENCE_MAX};
use crate::events::{Member, Members};

/// How long the heartbeat of a former life of this node must have stood still before its log is ended: until then it may be
/// a process that was held up and still trusts its lease.
pub const FORMER_SILENCE: Duration = LEASE.saturating_add(BEAT_PAUSE);
/// The pause before an adoption that failed is tried again; it doubles.
pub const ADOPT_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause before an adoption that failed is tried again.
pub const ADOPT_PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Seen {
    row: MemberRow,
    changed: Instant,
    /// It was seen to move, so it is no former life.
    has_moved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Alive,
    /// Silent, but it may still trust its lease, or another ends its log.
    Silent,
    /// Its log is this node's to end.
    Adopted,
}

/// The members as they were seen.
#[derive(Debug)]
pub(super) struct Roster {
    me: Generation,
    node: String,
    former: FormerLives,
    seen: BTreeMap<Generation, Seen>,
    /// Adoptions that failed: how often, and when they are tried again.
    failed: BTreeMap<Generation, (u32, Instant)>,
}

impl Roster {
    pub(super) fn new(me: Generation, node: String, former: FormerLives) -> Self {
        Self {
            me,
            node,
            former,
            seen: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// A look at the members was asked for at `asked` and answered at `answered`. Gives the cluster as it is now.
    pub(super) fn saw(&mut self, rows: Vec<MemberRow>, asked: Instant, answered: Instant) -> Members {
        let listed: Vec<Generation> = rows.iter().map(|row| row.generation).collect();
        self.seen.retain(|log, _| listed.contains(log));
        self.failed.retain(|log, _| listed.contains(log));
        for row in rows {
            self.saw_one(row, answered);
        }
        let (mut alive, mut silent) = (Vec::new(), Vec::new());
        for seen in self.seen.values() {
            match self.is_alive(seen, asked) {
                true => alive.push(member(&seen.row)),
                false => silent.push(member(&seen.row)),
            }
        }
        Members::new(self.me, alive, silent)
    }

    /// Who was seen when, those that `members` counts as alive being so.
    pub(super) fn sightings(&self, members: &Members) -> Vec<Sighting> {
        let is_alive = |log| members.alive().iter().any(|member| member.generation == log);
        let sighting = |seen: &Seen| Sighting {
            generation: seen.row.generation,
            node: seen.row.node.clone(),
            groups: seen.row.groups.clone(),
            is_alive: is_alive(seen.row.generation),
            moved: seen.changed,
        };
        self.seen.values().map(sighting).collect()
    }

    fn saw_one(&mut self, row: MemberRow, now: Instant) {
        if let Some(seen) = self.seen.get_mut(&row.generation) {
            if seen.row.beat != row.beat {
                (seen.changed, seen.has_moved) = (now, true);
                self.warn_of_namesake(&row);
            }
            if let Some(seen) = self.seen.get_mut(&row.generation) {
                seen.row = row;
            }
            return;
        }
        let before = self.former.still.iter().find(|(still, _)| *still == row);
        let changed = before.map_or(now, |(_, since)| *since);
        let has_moved = false;
        let log = row.generation;
        self.seen.insert(
            log,
            Seen {
                row,
                changed,
                has_moved,
            },
        );
    }

    /// Both started at a time at which neither could see the other.
    fn warn_of_namesake(&self, row: &MemberRow) {
        if row.node == self.node && row.generation != self.me {
            tracing::error!(node = %row.node, log = %row.generation, "node.name: another process has this node's name: give each node a name of its own");
        }
    }

    /// Whether the process of this row is one of this node's before.
    fn is_former(&self, seen: &Seen) -> bool {
        seen.row.node == self.node && seen.row.generation != self.me && !seen.has_moved
    }

    fn is_alive(&self, seen: &Seen, now: Instant) -> bool {
        let log = seen.row.generation;
        log == self.me
            || !self.former.ended.contains(&log)
                && !self.is_former(seen)
                && now.duration_since(seen.changed) <= SILENCE_MAX
    }

    fn standing(&self, seen: &Seen, members: &Members, now: Instant) -> Standing {
        let log = seen.row.generation;
        let silence = now.duration_since(seen.changed);
        let is_mine = self.former.ended.contains(&log)
            || self.is_former(seen) && silence > FORMER_SILENCE
            || silence > SILENCE_MAX && members.adopts(log);
        if self.is_alive(seen, now) {
            Standing::Alive
        } else if is_mine {
            Standing::Adopted
        } else {
            Standing::Silent
        }
    }

    /// The next log that this node has to end, as of a look that was asked for at `asked`.
    pub(super) fn next_adoption(
        &self,
        members: &Members,
        asked: Instant,
        now: Instant,
    ) -> Option<Generation> {
        let is_due = |log: &Generation| self.failed.get(log).is_none_or(|(_, again)| *again <= now);
        let mine = self
            .seen
            .values()
            .filter(|seen| self.standing(seen, members, asked) == Standing::Adopted);
        mine.map(|seen| seen.row.generation).find(is_due)
    }

    /// The log was ended: its process is no member any more.
    pub(super) fn adopted(&mut self, log: Generation) {
        self.seen.remove(&log);
        self.failed.remove(&log);
    }

    /// An adoption failed; gives the pause before it is tried again.
    pub(super) fn adoption_failed(&mut self, log: Generation, now: Instant) -> Duration {
        let tries = self.failed.get(&log).map_or(0, |(tries, _)| *tries);
        let doubled = ADOPT_PAUSE_MIN.saturating_mul(2u32.saturating_pow(tries));
        let pause = doubled.min(ADOPT_PAUSE_MAX);
        self.failed.insert(log, (tries.saturating_add(1), now + pause));
        pause
    }
}

fn member(row: &MemberRow) -> Member {
    Member {
        generation: row.generation,
        node: row.node.clone(),
        groups: row.groups.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use uuid::Uuid;

    const SECOND: Duration = Duration::from_secs(1);

    fn log(n: u128) -> Generation {
        Generation(Uuid::from_u128(n))
    }

    /// The row of the log `n` on a node of its own.
    fn row(n: u128, beat: u64) -> MemberRow {
        named(n, &format!("node-{n}"), beat)
    }

    fn named(n: u128, node: &str, beat: u64) -> MemberRow {
        MemberRow {
            generation: log(n),
            node: node.into(),
            beat,
            groups: BTreeSet::new(),
        }
    }

    fn roster(me: u128) -> Roster {
        Roster::new(log(me), format!("node-{me}"), FormerLives::default())
    }

    struct Look {
        alive: Vec<Generation>,
        adopts: Option<Generation>,
    }

    fn look(roster: &mut Roster, rows: &[MemberRow], now: Instant) -> Look {
        let members = roster.saw(rows.to_vec(), now, now);
        Look {
            alive: members.alive().iter().map(|member| member.generation).collect(),
            adopts: roster.next_adoption(&members, now, now),
        }
    }

    #[test]
    fn a_heartbeat_that_moves_is_alive_whatever_it_says() {
        let (mut roster, begun) = (roster(1), Instant::now());
        // A process whose counter was set back lives all the same.
        for (n, beat) in (0..).zip([9, 10, 11, 1, 2, 3]) {
            let looked = look(&mut roster, &[row(1, 1), row(2, beat)], begun + SILENCE_MAX * n);
            assert_eq!(looked.alive, [log(1), log(2)]);
            assert_eq!(looked.adopts, None);
        }
    }

    #[test]
    fn one_that_stands_still_for_too_long_is_dead_and_its_log_ended_by_one_alone() {
        let begun = Instant::now();
        let rows: Vec<MemberRow> = (1..=5).map(|n| row(n, 1)).collect();
        let mut adopters = Vec::new();
        for me in 1..=4 {
            let mut roster = roster(me);
            look(&mut roster, &rows, begun);
            let mut later = rows.clone();
            later[..4].iter_mut().for_each(|row| row.beat += 1);
            let last = look(&mut roster, &later, begun + SILENCE_MAX);
            assert_eq!((last.alive.len(), last.adopts), (5, None));
            let dead = look(&mut roster, &later, begun + SILENCE_MAX + SECOND);
            assert_eq!(dead.alive, [log(1), log(2), log(3), log(4)]);
            adopters.extend(dead.adopts.map(|adopted| (me, adopted)));
        }
        assert_eq!(adopters.len(), 1, "{adopters:?}");
        assert_eq!(adopters[0].1, log(5));
    }

    #[test]
    fn whoever_looks_sees_since_when_a_member_is_silent() {
        let (mut roster, begun) = (roster(1), Instant::now());
        roster.saw(vec![row(1, 1), row(2, 1)], begun, begun);
        let later = begun + SILENCE_MAX + SECOND;
        let members = roster.saw(vec![row(1, 2), row(2, 1)], later, later);
        let seen = roster.sightings(&members).into_iter();
        let seen: Vec<_> = seen
            .map(|seen| (seen.generation, seen.is_alive, seen.moved))
            .collect();
        assert_eq!(seen, [(log(1), true, later), (log(2), false, begun)]);
    }

    #[test]
    fn silence_is_counted_from_the_answer_to_the_question() {
        let (mut roster, begun) = (roster(1), Instant::now());
        let rows = vec![row(1, 1), row(2, 1)];
        roster.saw(rows.clone(), begun, begun + SECOND * 5);
        let asked = begun + SILENCE_MAX + SECOND * 4;
        let members = roster.saw(rows, asked, asked + SECOND * 20);
        assert_eq!(members.alive().len(), 2);
    }

    #[test]
    fn a_former_life_is_adopted_once_its_lease_must_be_over() {
        let begun = Instant::now();
        let before = named(2, "node-1", 7);
        let former = FormerLives {
            ended: BTreeSet::new(),
            still: vec![(before.clone(), begun)],
        };
        let mut roster = Roster::new(log(1), "node-1".into(), former);
        let rows = [row(1, 1), before];
        let first = look(&mut roster, &rows, begun + SECOND * 6);
        assert_eq!((first.alive, first.adopts), (vec![log(1)], None));
        assert_eq!(look(&mut roster, &rows, begun + FORMER_SILENCE).adopts, None);
        let later = look(&mut roster, &rows, begun + FORMER_SILENCE + SECOND);
        assert_eq!(later.adopts, Some(log(2)));
    }

    #[test]
    fn a_log_of_this_very_process_is_adopted_at_once() {
        let former = FormerLives {
            ended: [log(2)].into(),
            still: Vec::new(),
        };
        let mut roster = Roster::new(log(1), "node-1".into(), former);
        let looked = look(&mut roster, &[row(1, 1), named(2, "node-1", 7)], Instant::now());
        assert_eq!((looked.alive, looked.adopts), (vec![log(1)], Some(log(2))));
    }

    #[test]
    fn a_namesake_that_moves_is_no_former_life() {
        let (mut roster, begun) = (roster(1), Instant::now());
        look(&mut roster, &[row(1, 1), named(2, "node-1", 7)], begun);
        let moved = look(&mut roster, &[row(1, 1), named(2, "node-1", 8)], begun + SECOND);
        assert_eq!(moved.alive, [log(1), log(2)]);
        let still = look(
            &mut roster,
            &[row(1, 1), named(2, "node-1", 8)],
            begun + FORMER_SILENCE * 2,
        );
        assert_eq!(still.adopts, None);
    }

    #[test]
    fn an_adoption_that_failed_waits_longer_each_time_and_holds_up_no_other() {
        let former = FormerLives {
            ended: [log(2), log(3)].into(),
            still: Vec::new(),
        };
        let mut roster = Roster::new(log(1), "node-1".into(), former);
        let rows = [row(1, 1), named(2, "node-1", 1), named(3, "node-1", 1)];
        let now = Instant::now();
        assert_eq!(look(&mut roster, &rows, now).adopts, Some(log(2)));
        let pauses: Vec<u64> = (0..7)
            .map(|_| roster.adoption_failed(log(2), now).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(look(&mut roster, &rows, now + SECOND).adopts, Some(log(3)));
        roster.adopted(log(3));
        let rows = &rows[..2];
        assert_eq!(look(&mut roster, rows, now + SECOND).adopts, None);
        assert_eq!(
            look(&mut roster, rows, now + ADOPT_PAUSE_MAX).adopts,
            Some(log(2))
        );
    }
}
