//! Logs as they lie in Cassandra: parts that are closed at a size, rows that are one append each.

use std::collections::BTreeMap;

use bytes::Bytes;
use mailhorn_events::{Generation, Stamp};
use mailhorn_ports::{LogEntry, StoreError, Unreadable};
use parking_lot::Mutex;

use crate::options::Options;
use crate::packed::{self, PlacedNote};
use crate::session::Cql;
use crate::statements::Statement;
use crate::values::{Row, bigint, blob, int, text, uuid};

/// Octets after which a part is closed and another one begins.
pub(crate) const PART_OCTETS_MAX: usize = 16 << 20;
/// Appends that one reading asks for.
const APPENDS_READ: i32 = 16;

/// Above every number that a record can have.
const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();

/// One append: what is written under one number, again and again the same, until it is known to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Append {
    pub(crate) generation: Generation,
    pub(crate) part: i32,
    /// Whether the part begins with this append.
    pub(crate) begins_part: bool,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) records: Vec<u8>,
    pub(crate) notes: Vec<u8>,
    /// When it was tried first.
    pub(crate) appended: Stamp,
    /// When the one before was; 0 for the first of a log.
    pub(crate) previous: Stamp,
}

/// Writes an append. It is there when this returns.
pub(crate) async fn append(cql: &dyn Cql, options: &Options, append: &Append) -> Result<(), StoreError> {
    if append.begins_part {
        begin_part(cql, options, append).await?;
    }
    let values = vec![
        uuid(append.generation.0),
        int(append.part),
        bigint(append.first),
        bigint(append.last),
        blob(&append.records),
        blob(&append.notes),
        bigint(append.appended.0),
        bigint(append.previous.0),
        bigint(append.appended.0),
        int(options.log_ttl_seconds()),
    ];
    cql.run(Statement::Append, values).await?;
    Ok(())
}

async fn begin_part(cql: &dyn Cql, options: &Options, append: &Append) -> Result<(), StoreError> {
    let values = vec![
        uuid(append.generation.0),
        int(append.part),
        bigint(append.first),
        bigint(append.appended.0),
        int(options.log_names_ttl_seconds()),
    ];
    cql.run(Statement::BeginPart, values).await?;
    Ok(())
}

/// Says whose log a generation is. Said again now and then, for it goes by its time.
pub(crate) async fn name_log(
    cql: &dyn Cql,
    options: &Options,
    generation: Generation,
    node: &str,
    now: Stamp,
) -> Result<(), StoreError> {
    let ttl = int(options.log_names_ttl_seconds());
    cql.run(
        Statement::BeginLog,
        vec![uuid(generation.0), text(node), bigint(now.0), ttl],
    )
    .await?;
    Ok(())
}

pub(crate) async fn logs(cql: &dyn Cql) -> Result<Vec<(Generation, String)>, StoreError> {
    let rows = cql.run(Statement::Logs, Vec::new()).await?;
    let logs: Result<Vec<_>, _> = rows
        .iter()
        .map(|row| Ok((Generation(row.uuid(0)?), row.text(1)?)))
        .collect();
    let mut logs = logs?;
    logs.sort();
    Ok(logs)
}

/// Where a log has ended; `None` while it goes on.
pub(crate) async fn sealed(cql: &dyn Cql, generation: Generation) -> Result<Option<u64>, StoreError> {
    let rows = cql.run(Statement::Sealed, vec![uuid(generation.0)]).await?;
    rows.first().map(|row| row.number(0)).transpose()
}

/// Ends a log at `last`, or tells where it has ended already.
pub(crate) async fn seal(
    cql: &dyn Cql,
    options: &Options,
    generation: Generation,
    last: u64,
) -> Result<u64, StoreError> {
    let ttl = int(options.log_names_ttl_seconds());
    let rows = cql
        .run(Statement::Seal, vec![uuid(generation.0), bigint(last), ttl])
        .await?;
    match rows.first() {
        Some(row) if !row.flag(0) => Ok(sealed(cql, generation).await?.unwrap_or(last)),
        Some(_) | None => Ok(last),
    }
}

/// An append as it is read.
#[derive(Debug, Clone)]
pub(crate) struct Appended {
    pub(crate) first: u64,
    pub(crate) last: u64,
    records: Bytes,
    notes: Bytes,
    pub(crate) appended: Stamp,
    previous: Stamp,
}

impl Appended {
    fn of(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            first: row.number(0)?,
            last: row.number(1)?,
            records: row.blob(2),
            notes: row.blob(3),
            appended: Stamp(row.number(4)?),
            previous: Stamp(row.number(5)?),
        })
    }

    pub(crate) fn entries(&self) -> Vec<LogEntry> {
        packed::unpack(self.first, self.last, &self.records)
    }

    pub(crate) fn notes(&self) -> Result<Vec<PlacedNote>, StoreError> {
        packed::unpack_notes(&self.notes)
    }
}

/// The parts of logs that were looked at: the number of each part's first record.
#[derive(Debug, Default)]
pub(crate) struct Parts(Mutex<BTreeMap<Generation, BTreeMap<u64, i32>>>);

/// Logs whose parts are remembered at most.
const LOGS_REMEMBERED_MAX: usize = 1_000;

impl Parts {
    async fn read(&self, cql: &dyn Cql, generation: Generation) -> Result<BTreeMap<u64, i32>, StoreError> {
        let mut parts = BTreeMap::new();
        for row in cql.run(Statement::Parts, vec![uuid(generation.0)]).await? {
            parts.insert(row.number(1)?, row.small(0)?);
        }
        let mut known = self.0.lock();
        if known.len() >= LOGS_REMEMBERED_MAX {
            known.clear();
        }
        known.insert(generation, parts.clone());
        Ok(parts)
    }

    /// Parts from the one that holds `number` on, in their order. What is remembered may lack the newest.
    async fn from(&self, cql: &dyn Cql, generation: Generation, number: u64) -> Result<Vec<i32>, StoreError> {
        let known = self.0.lock().get(&generation).cloned();
        let parts = match known {
            Some(parts) if !parts.is_empty() => parts,
            _ => self.read(cql, generation).await?,
        };
        let holding = parts
            .range(..=number)
            .next_back()
            .map_or(number, |(first, _)| *first);
        Ok(parts.range(holding..).map(|(_, part)| *part).collect())
    }

    /// Some appends of a log that hold `number` and what comes behind it, in their order; none when there is none yet.
    /// The first may begin behind `number`.
    pub(crate) async fn appends(
        &self,
        cql: &dyn Cql,
        generation: Generation,
        number: u64,
    ) -> Result<Vec<Appended>, StoreError> {
        let remembered = self.from(cql, generation, number).await?;
        let found = appends_in(cql, generation, number, &remembered).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        // Perhaps another part has begun.
        self.read(cql, generation).await?;
        let parts = self.from(cql, generation, number).await?;
        if parts == remembered {
            return Ok(found);
        }
        appends_in(cql, generation, number, &parts).await
    }

    /// The number of a part that a log does not have yet, by what was read of it last.
    pub(crate) fn next_part(&self, generation: Generation) -> i32 {
        let known = self.0.lock();
        let parts = known.get(&generation);
        parts
            .and_then(|parts| parts.values().max())
            .map_or(0, |last| last.saturating_add(1))
    }

    /// The last append of a log.
    pub(crate) async fn last(
        &self,
        cql: &dyn Cql,
        generation: Generation,
    ) -> Result<Option<Appended>, StoreError> {
        let parts = self.read(cql, generation).await?;
        for part in parts.values().rev() {
            let last = up_to(cql, generation, *part, NUMBER_MAX, 1).await?;
            if let Some(append) = last.into_iter().next() {
                return Ok(Some(append));
            }
        }
        Ok(None)
    }

    /// Shows the appends of a log that were made since then, the last one first.
    pub(crate) async fn since(
        &self,
        cql: &dyn Cql,
        generation: Generation,
        since: Stamp,
        mut see: impl FnMut(Appended) + Send,
    ) -> Result<(), StoreError> {
        let parts = self.read(cql, generation).await?;
        for part in parts.values().rev() {
            let mut number = NUMBER_MAX;
            loop {
                let appends = up_to(cql, generation, *part, number, APPENDS_READ).await?;
                let Some(first) = appends.last().map(|append| append.first) else {
                    break;
                };
                for append in appends {
                    if append.appended < since {
                        return Ok(());
                    }
                    see(append);
                }
                number = first.saturating_sub(1);
            }
        }
        Ok(())
    }
}

/// At most `limit` appends of a part that begin at `number` or before, the last one first.
async fn up_to(
    cql: &dyn Cql,
    generation: Generation,
    part: i32,
    number: u64,
    limit: i32,
) -> Result<Vec<Appended>, StoreError> {
    let values = vec![uuid(generation.0), int(part), bigint(number), int(limit)];
    let rows = cql.run(Statement::RecordsUpTo, values).await?;
    rows.iter().map(Appended::of).collect()
}

async fn appends_in(
    cql: &dyn Cql,
    generation: Generation,
    number: u64,
    parts: &[i32],
) -> Result<Vec<Appended>, StoreError> {
    for part in parts {
        let values = vec![uuid(generation.0), int(*part), bigint(number), int(APPENDS_READ)];
        let rows = cql.run(Statement::RecordsFrom, values).await?;
        let mut appends = rows.iter().map(Appended::of).collect::<Result<Vec<_>, _>>()?;
        if appends.first().is_none_or(|append| append.first > number)
            && let Some(holding) = up_to(cql, generation, *part, number, 1).await?.pop()
            && holding.last >= number
        {
            appends.insert(0, holding);
        }
        if !appends.is_empty() {
            return Ok(appends);
        }
    }
    Ok(Vec::new())
}

/// Records of a log from `from` on, as a reader may see them: without a hole that may still be filled, and nothing behind
/// the log's end.
///
/// A number that is missing was either there once and is too old, or is not there yet (seen from another centre, where a
/// later append may arrive first). When the append before the hole is older than records are kept, it is the former.
pub(crate) fn readable(
    appends: Vec<Appended>,
    from: u64,
    sealed: Option<u64>,
    kept_since: Stamp,
    limit: usize,
) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    let mut next = from;
    for append in appends {
        if append.first > next && append.previous >= kept_since {
            break;
        }
        next = append.last.saturating_add(1);
        let wanted = append.entries().into_iter().filter(|entry| entry.number >= from);
        entries.extend(wanted.filter(|entry| sealed.is_none_or(|last| entry.number <= last)));
    }
    entries.truncate(limit);
    entries
}

/// What stands for the last record of a log that has ended and of which nothing is left: without it a group that didn't see
/// it would not notice the gap.
pub(crate) fn fell_out(last: u64) -> LogEntry {
    LogEntry {
        number: last,
        record: Err(Unreadable {
            octets: Bytes::new(),
            why: "it is older than logs are kept (events.retention)".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(first: u64, last: u64, appended: u64, previous: u64) -> Appended {
        Appended {
            first,
            last,
            records: Bytes::new(),
            notes: Bytes::new(),
            appended: Stamp(appended),
            previous: Stamp(previous),
        }
    }

    fn numbers(appends: Vec<Appended>, from: u64, sealed: Option<u64>) -> Vec<u64> {
        let entries = readable(appends, from, sealed, Stamp(100), 99);
        entries.iter().map(|entry| entry.number).collect()
    }

    #[test]
    fn a_hole_that_may_still_be_filled_hides_what_is_behind_it() {
        let appends = || vec![appended(3, 4, 200, 190), appended(7, 7, 230, 220)];
        assert_eq!(numbers(appends(), 3, None), [3, 4]);
        assert!(numbers(appends(), 2, None).is_empty(), "2 is under way");
    }

    #[test]
    fn a_hole_whose_records_are_too_old_shows() {
        let appends = vec![appended(5, 6, 200, 99), appended(7, 7, 230, 200)];
        assert_eq!(numbers(appends, 2, None), [5, 6, 7]);
    }

    #[test]
    fn nothing_behind_the_end_is_shown() {
        let appends = || vec![appended(3, 5, 200, 190), appended(6, 7, 230, 200)];
        assert_eq!(numbers(appends(), 4, Some(4)), [4]);
        assert!(numbers(appends(), 4, Some(2)).is_empty());
    }
}
