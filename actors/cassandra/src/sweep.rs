//! When condemned octets are looked at.
//!
//! Every process goes through every hour that ended a day ago, each at a moment of its own within the next hour. Usually
//! the first of them does the work, and the others find nothing left. Two at once do no harm (see [`content`](crate::content)).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use mailhorn_events::{MessageId, Stamp};
use mailhorn_ports::{Random, StoreError};
use parking_lot::Mutex;

use crate::content::{Condemned, SHARDS, Settled, settle};
use crate::session::Cql;
use crate::store::Inner;

const HOUR: Duration = Duration::from_secs(3_600);
/// Octets stay for so long after their message was condemned: longer than Cassandra keeps hints for a server that is away,
/// and than anything is on its way.
const CONDEMNED_FOR: Duration = Duration::from_secs(86_400);
/// Hours that are gone back to: while a server is away nothing is removed, and one that is away for longer than Cassandra's
/// tombstones last (10 days) may not come back with what it had.
const HOURS_BACK: u64 = 12 * 24;
/// Condemned messages that are asked for at once.
const ROWS_READ: usize = 500;
/// Messages that are looked at at once.
const AT_ONCE: usize = 16;
/// An hour is put off when this many of its messages could not be looked at.
const LEFT_MAX: usize = 1_000;

/// The hour of a moment, counted since 1970.
pub(crate) fn hour(stamp: Stamp) -> i32 {
    i32::try_from(hour_number(stamp)).unwrap_or(i32::MAX)
}

fn hour_number(stamp: Stamp) -> u64 {
    stamp.0 / 1_000_000 / HOUR.as_secs()
}

/// Where this process is.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    turns: Mutex<BTreeMap<u64, Turn>>,
    is_under_way: AtomicBool,
}

/// When an hour is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    At(Stamp),
    Over,
}

/// What became of the messages of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Swept {
    removed: usize,
    kept: usize,
    /// Not every replica answered.
    left: usize,
}

/// Dropped, another sweep may begin.
struct UnderWay(Arc<Inner>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.sweep.is_under_way.store(false, Ordering::Release);
    }
}

impl Sweep {
    /// The latest hour whose turn it is. Hours that are new get a turn.
    fn due(&self, now: Stamp, random: &dyn Random) -> Option<u64> {
        let condemned_before = now.0.saturating_sub(micros(CONDEMNED_FOR));
        // That hour has not ended by then; those before it have.
        let end = hour_number(Stamp(condemned_before));
        let first = end.saturating_sub(HOURS_BACK);
        let mut turns = self.turns.lock();
        turns.retain(|hour, _| *hour >= first);
        for hour in first..end {
            turns.entry(hour).or_insert_with(|| Turn::At(soon(now, random)));
        }
        let is_due = |turn: &Turn| matches!(turn, Turn::At(at) if *at <= now);
        turns
            .range(..end)
            .rev()
            .find(|(_, turn)| is_due(turn))
            .map(|(hour, _)| *hour)
    }

    fn turn(&self, hour: u64, turn: Turn) {
        self.turns.lock().insert(hour, turn);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A moment within the next hour.
fn soon(now: Stamp, random: &dyn Random) -> Stamp {
    let mut octets = [0; 8];
    random.fill(&mut octets);
    let delay = u64::from_be_bytes(octets).rem_euclid(micros(HOUR));
    Stamp(now.0.saturating_add(delay))
}

/// Begins whatever is to be done, unless that is still under way. Nobody waits for it.
pub(crate) fn begin(inner: &Arc<Inner>) {
    let now = inner.now();
    let given_up = inner.uploads.given_up(now);
    let due = inner.sweep.due(now, &*inner.random);
    if given_up.is_empty() && due.is_none() {
        return;
    }
    if inner.sweep.is_under_way.swap(true, Ordering::Acquire) {
        return;
    }
    let under_way = UnderWay(Arc::clone(inner));
    inner.runtime.spawn(async move {
        let inner = &under_way.0;
        if let Err(error) = inner.condemn_given_up(&given_up).await {
            tracing::debug!(%error, "octets that were given up are condemned later");
        }
        if let Some(hour) = due {
            go_through(inner, hour).await;
        }
    });
}

/// One hour; the next is begun by the next step of housekeeping.
async fn go_through(inner: &Inner, hour: u64) {
    let swept = sweep(&*inner.cql, hour).await;
    let is_over = matches!(swept, Ok(swept) if swept.left == 0);
    let turn = match is_over {
        true => Turn::Over,
        false => Turn::At(soon(inner.now(), &*inner.random)),
    };
    inner.sweep.turn(hour, turn);
    match swept {
        Ok(Swept {
            removed: 0,
            kept: 0,
            left: 0,
        }) => {}
        Ok(Swept { removed, kept, left }) => {
            tracing::info!(removed, kept, left, "octets that nobody had were swept");
        }
        Err(error) => tracing::debug!(%error, "octets that nobody has are swept later"),
    }
}

/// Goes through all that was condemned in an hour.
async fn sweep(cql: &dyn Cql, hour: u64) -> Result<Swept, StoreError> {
    let hour = i32::try_from(hour).unwrap_or(i32::MAX);
    let mut swept = Swept::default();
    for shard in 0..SHARDS {
        let mut after: Option<MessageId> = None;
        loop {
            let limit = i32::try_from(ROWS_READ).unwrap_or(i32::MAX);
            let page = Condemned::read(cql, hour, shard, after, limit).await?;
            for some in page.chunks(AT_ONCE) {
                for settled in join_all(some.iter().map(|condemned| settle(cql, condemned))).await {
                    match settled {
                        Ok(Settled::Removed) => swept.removed = swept.removed.saturating_add(1),
                        Ok(Settled::Kept) => swept.kept = swept.kept.saturating_add(1),
                        Err(_) => swept.left = swept.left.saturating_add(1),
                    }
                }
                if swept.left >= LEFT_MAX {
                    return Ok(swept);
                }
            }
            after = page.last().map(|condemned| condemned.message);
            if page.len() < ROWS_READ {
                break;
            }
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000;

    /// Every delay is the same.
    #[derive(Debug)]
    struct Delay(u64);

    impl Random for Delay {
        fn fill(&self, octets: &mut [u8]) {
            octets.copy_from_slice(&self.0.to_be_bytes());
        }
    }

    #[test]
    fn an_hour_has_its_turn_a_day_after_its_end_and_once() {
        let sweep = Sweep::default();
        let hours = 480_000;
        let hour = micros(HOUR);
        let at_once = Delay(0);
        let end = Stamp((hours + 1) * hour + DAY);
        let mut gone_through = Vec::new();
        while let Some(due) = sweep.due(Stamp(end.0 - 1), &at_once) {
            sweep.turn(due, Turn::Over);
            gone_through.push(due);
        }
        assert_eq!(gone_through.len(), usize::try_from(HOURS_BACK).unwrap());
        assert_eq!(gone_through.iter().max(), Some(&(hours - 1)));
        assert_eq!(sweep.due(end, &at_once), Some(hours));
        sweep.turn(hours, Turn::Over);
        assert_eq!(sweep.due(end, &at_once), None);
        assert_eq!(
            sweep.turns.lock().len(),
            gone_through.len(),
            "the oldest is forgotten"
        );
    }

    #[test]
    fn a_process_waits_for_its_own_moment_within_the_hour() {
        let (sweep, late) = (Sweep::default(), Delay(micros(HOUR) - 1));
        let now = Stamp(480_000 * micros(HOUR));
        let last = Stamp(now.0 + micros(HOUR) - 1);
        assert_eq!(sweep.due(now, &late), None);
        assert_eq!(sweep.due(Stamp(last.0 - 1), &late), None);
        assert!(sweep.due(last, &late).is_some());
    }
}
