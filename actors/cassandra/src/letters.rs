//! What groups of listeners could not handle: parked events and dead letters.
//!
//! A letter has the stamp that it was written at. What removes it is stamped just above that and not by a clock, and a
//! process that has read a letter is above its stamp from then on. So a letter that dies again, or is parked again by
//! whoever takes it up, is not hidden by what was removed before, whatever clocks say.

use std::time::Duration;

use futures_util::future::{try_join, try_join_all};
use mailhorn_events::{EventId, Generation, Position, Stamp};
use mailhorn_ports::{GroupName, Letter, StoreError};

use crate::groups::{is_known, name_of};
use crate::session::Cql;
use crate::statements::Statement;
use crate::store::Inner;
use crate::values::{Bind, Row, bigint, blob, int, text, uuid};

/// Partitions that a group's dead letters are spread over, by the first bits of their ids: one after the other they are in
/// the order of the ids.
const SHARD_BITS: u32 = 4;
const SHARDS: u8 = 1 << SHARD_BITS;
/// Letters in one answer.
const PAGE: usize = 500;
/// Letters that are removed at a time.
const REMOVALS_AT_ONCE: usize = 100;
/// What tells where to look for letters is removed when it was written this long ago and there are none: one that is being
/// written right now has just been told of.
const TOLD_AGE: Duration = Duration::from_secs(3_600);

fn shard(id: EventId) -> u8 {
    id.as_bytes()[0] >> (u8::BITS - SHARD_BITS)
}

fn shard_of(shard: u8) -> Bind {
    int(shard.into())
}

/// Octets that come before every id, or an id.
fn after(id: Option<EventId>) -> Bind {
    blob(id.as_ref().map_or(&[][..], |id| id.as_bytes()))
}

fn limit(rows: usize) -> Bind {
    int(i32::try_from(rows).unwrap_or(i32::MAX))
}

fn id_of(row: &Row) -> Result<EventId, StoreError> {
    let id = <[u8; 16]>::try_from(&row.blob(0)[..]);
    id.map(EventId::from_bytes)
        .map_err(|_| StoreError::Damaged("a letter's id has another length".into()))
}

/// A letter, and the stamp that it was written at. This process is above it from now on, and above what removes it.
fn letter_of(inner: &Inner, row: &Row) -> Result<(Letter, Stamp), StoreError> {
    let stamp = Stamp(row.number(8)?);
    inner.saw(stamp.next());
    let letter = Letter {
        id: id_of(row)?,
        position: Position {
            generation: Generation(row.uuid(1)?),
            number: row.number(2)?,
        },
        octets: row.blob(3),
        why: row.text(4)?,
        attempts: u32::try_from(row.small(5)?).unwrap_or(0),
        since: Stamp(row.number(6)?),
        last: Stamp(row.number(7)?),
    };
    Ok((letter, stamp))
}

/// The columns of a letter behind its id and its log, and the stamp of writing.
fn columns(letter: &Letter, stamp: Stamp) -> [Bind; 8] {
    [
        bigint(letter.position.number),
        blob(&letter.octets),
        text(&letter.why),
        int(i32::try_from(letter.attempts).unwrap_or(i32::MAX)),
        bigint(letter.since.0),
        bigint(letter.last.0),
        bigint(stamp.0),
        bigint(stamp.0),
    ]
}

pub(crate) async fn park(inner: &Inner, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
    if !is_known(&*inner.cql, group).await? {
        return Ok(());
    }
    let (name, stamp) = (text(group.as_str()), inner.next_stamp());
    let generation = uuid(letter.position.generation.0);
    let told = vec![name.clone(), generation.clone(), bigint(stamp.0), bigint(stamp.0)];
    let mut parked = vec![name, generation, blob(letter.id.as_bytes())];
    parked.extend(columns(letter, stamp));
    try_join(
        inner.cql.run(Statement::AddParkedLog, told),
        inner.cql.run(Statement::Park, parked),
    )
    .await?;
    Ok(())
}

pub(crate) async fn unpark(
    inner: &Inner,
    group: &GroupName,
    letter: &Letter,
    stamp: Stamp,
) -> Result<(), StoreError> {
    let values = vec![
        bigint(stamp.0),
        text(group.as_str()),
        uuid(letter.position.generation.0),
        blob(letter.id.as_bytes()),
    ];
    inner.cql.run(Statement::Unpark, values).await?;
    Ok(())
}

async fn has_parked(cql: &dyn Cql, group: &GroupName, generation: Generation) -> Result<bool, StoreError> {
    let values = vec![text(group.as_str()), uuid(generation.0)];
    Ok(!cql.run(Statement::AnyParked, values).await?.is_empty())
}

/// Logs that were told to have something parked, when that was, and whether they have.
async fn told_logs(cql: &dyn Cql, group: &GroupName) -> Result<Vec<(Generation, Stamp, bool)>, StoreError> {
    let rows = cql.run(Statement::ParkedLogs, vec![text(group.as_str())]).await?;
    let looks = rows.iter().map(|row| async move {
        let (generation, stamp) = (Generation(row.uuid(0)?), Stamp(row.number(1)?));
        let has = has_parked(cql, group, generation).await?;
        Ok::<_, StoreError>((generation, stamp, has))
    });
    try_join_all(looks).await
}

pub(crate) async fn parked_logs(inner: &Inner, group: &GroupName) -> Result<Vec<Generation>, StoreError> {
    let told = told_logs(&*inner.cql, group).await?;
    let mut logs: Vec<Generation> = told
        .into_iter()
        .filter_map(|(generation, _, has)| has.then_some(generation))
        .collect();
    logs.sort();
    Ok(logs)
}

pub(crate) async fn parked(
    inner: &Inner,
    group: &GroupName,
    generation: Generation,
) -> Result<Vec<Letter>, StoreError> {
    let mut letters: Vec<Letter> = Vec::new();
    loop {
        let last = letters.last().map(|letter| letter.id);
        let values = vec![text(group.as_str()), uuid(generation.0), after(last), limit(PAGE)];
        let rows = inner.cql.run(Statement::Parked, values).await?;
        for row in &rows {
            letters.push(letter_of(inner, row)?.0);
        }
        if rows.len() < PAGE {
            return Ok(letters);
        }
    }
}

/// Buries whatever a group has parked.
pub(crate) async fn bury_parked(inner: &Inner, group: &GroupName) -> Result<(), StoreError> {
    for generation in parked_logs(inner, group).await? {
        let letters = parked(inner, group, generation).await?;
        for letters in letters.chunks(REMOVALS_AT_ONCE) {
            try_join_all(letters.iter().map(|letter| bury(inner, group, letter))).await?;
        }
    }
    Ok(())
}

pub(crate) async fn bury(inner: &Inner, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
    let (name, stamp) = (text(group.as_str()), inner.next_stamp());
    let told = vec![name.clone(), bigint(stamp.0), bigint(stamp.0)];
    let mut dead = vec![
        name,
        shard_of(shard(letter.id)),
        blob(letter.id.as_bytes()),
        uuid(letter.position.generation.0),
    ];
    dead.extend(columns(letter, stamp));
    try_join(
        inner.cql.run(Statement::AddDeadGroup, told),
        inner.cql.run(Statement::Bury, dead),
    )
    .await?;
    // Dead before it is no longer parked: a crash in between tries it once more. At the same stamp, so that whoever has
    // read the dead letter parks it above that.
    unpark(inner, group, letter, stamp).await
}

/// At most `max` dead letters after an id, in the order of their ids.
pub(crate) async fn dead(
    inner: &Inner,
    group: &GroupName,
    after_id: Option<EventId>,
    max: usize,
) -> Result<Vec<Letter>, StoreError> {
    let mut letters: Vec<Letter> = Vec::new();
    let mut last = after_id;
    for shard in after_id.map_or(0, shard)..SHARDS {
        loop {
            let page = PAGE.min(max.saturating_sub(letters.len()));
            if page == 0 {
                return Ok(letters);
            }
            let values = vec![text(group.as_str()), shard_of(shard), after(last), limit(page)];
            let rows = inner.cql.run(Statement::DeadFrom, values).await?;
            for row in &rows {
                letters.push(letter_of(inner, row)?.0);
            }
            last = letters.last().map(|letter| letter.id).or(last);
            if rows.len() < page {
                break;
            }
        }
    }
    Ok(letters)
}

pub(crate) async fn dead_one(
    inner: &Inner,
    group: &GroupName,
    id: EventId,
) -> Result<Option<Letter>, StoreError> {
    let values = vec![text(group.as_str()), shard_of(shard(id)), blob(id.as_bytes())];
    let rows = inner.cql.run(Statement::Dead, values).await?;
    let letter = rows.first().map(|row| letter_of(inner, row)).transpose()?;
    Ok(letter.map(|(letter, _)| letter))
}

/// Removes what was written at the stamp that the row tells, and nothing that is written later.
async fn remove(inner: &Inner, group: &GroupName, row: &Row) -> Result<(), StoreError> {
    let (id, stamp) = (id_of(row)?, Stamp(row.number(1)?).next());
    inner.saw(stamp);
    let values = vec![
        bigint(stamp.0),
        text(group.as_str()),
        shard_of(shard(id)),
        blob(id.as_bytes()),
    ];
    inner.cql.run(Statement::RemoveDead, values).await?;
    Ok(())
}

pub(crate) async fn remove_one(inner: &Inner, group: &GroupName, id: EventId) -> Result<(), StoreError> {
    let values = vec![text(group.as_str()), shard_of(shard(id)), blob(id.as_bytes())];
    match inner.cql.run(Statement::DeadStamp, values).await?.first() {
        Some(row) => remove(inner, group, row).await,
        None => Ok(()),
    }
}

/// Removes all dead letters of a group, and tells how many. Of two calls of one process each letter is counted by one.
pub(crate) async fn remove_all(inner: &Inner, group: &GroupName) -> Result<u64, StoreError> {
    let _one_at_a_time = inner.groups.removal().await;
    let mut removed = 0u64;
    for shard in 0..SHARDS {
        let mut last = None;
        loop {
            let values = vec![text(group.as_str()), shard_of(shard), after(last), limit(PAGE)];
            let rows = inner.cql.run(Statement::DeadStampsFrom, values).await?;
            for rows in rows.chunks(REMOVALS_AT_ONCE) {
                try_join_all(rows.iter().map(|row| remove(inner, group, row))).await?;
            }
            removed = removed.saturating_add(u64::try_from(rows.len()).unwrap_or(u64::MAX));
            match rows.last() {
                Some(row) if rows.len() == PAGE => last = Some(id_of(row)?),
                _ => break,
            }
        }
    }
    Ok(removed)
}

async fn count(cql: &dyn Cql, group: &GroupName) -> Result<u64, StoreError> {
    let counts = (0..SHARDS).map(|shard| async move {
        let values = vec![text(group.as_str()), shard_of(shard)];
        let rows = cql.run(Statement::CountDead, values).await?;
        rows.first().map_or(Ok(0), |row| row.number(0))
    });
    Ok(try_join_all(counts).await?.into_iter().sum())
}

/// Groups that were told to have dead letters, when that was, and how many they have.
async fn told_groups(cql: &dyn Cql) -> Result<Vec<(GroupName, Stamp, u64)>, StoreError> {
    let rows = cql.run(Statement::DeadGroups, Vec::new()).await?;
    let counts = rows.iter().map(|row| async move {
        let (group, stamp) = (name_of(&row.text(0)?)?, Stamp(row.number(1)?));
        let count = count(cql, &group).await?;
        Ok::<_, StoreError>((group, stamp, count))
    });
    try_join_all(counts).await
}

pub(crate) async fn counts(inner: &Inner) -> Result<Vec<(GroupName, u64)>, StoreError> {
    let told = told_groups(&*inner.cql).await?;
    let counts = told.into_iter().map(|(group, _, count)| (group, count));
    Ok(counts.filter(|(_, count)| *count > 0).collect())
}

fn is_old(inner: &Inner, told: Stamp) -> bool {
    Duration::from_micros(inner.now().0.saturating_sub(told.0)) > TOLD_AGE
}

/// Forgets logs of which a group has had nothing parked for long.
pub(crate) async fn tidy_parked_logs(inner: &Inner, group: &GroupName) -> Result<(), StoreError> {
    for (generation, told, has) in told_logs(&*inner.cql, group).await? {
        if !has && is_old(inner, told) {
            let values = vec![bigint(told.0), text(group.as_str()), uuid(generation.0)];
            inner.cql.run(Statement::RemoveParkedLog, values).await?;
        }
    }
    Ok(())
}

/// Forgets groups that have had no dead letters for long.
pub(crate) async fn tidy_dead_groups(inner: &Inner) -> Result<(), StoreError> {
    for (group, told, count) in told_groups(&*inner.cql).await? {
        if count == 0 && is_old(inner, told) {
            let values = vec![bigint(told.0), text(group.as_str())];
            inner.cql.run(Statement::RemoveDeadGroup, values).await?;
        }
    }
    Ok(())
}
