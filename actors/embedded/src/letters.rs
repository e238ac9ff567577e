//! Parked events and dead letters.

use mailhorn_events::{EventId, Generation};
use mailhorn_ports::{GroupName, Letter};

use crate::core::Core;
use crate::draft::Draft;
use crate::error::Fault;
use crate::keys::{self, Table};
use crate::opened::Opened;
use crate::rows::{DeadCount, LetterRow, decode};

/// Dead letters that are removed in one batch: a few milliseconds, which the next group commit waits.
const REMOVED_MAX: usize = 1_000;

/// Letters whose keys begin with `prefix` and come after `after`.
pub(crate) fn page(
    opened: &Opened,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Letter>, Fault> {
    let rows = opened.page(prefix, after, limit)?;
    rows.iter()
        .map(|(_, row)| Ok(decode::<LetterRow>(row)?.into()))
        .collect()
}

pub(crate) fn get(opened: &Opened, key: &[u8]) -> Result<Option<Letter>, Fault> {
    Ok(opened.get::<LetterRow>(key)?.map(Letter::from))
}

/// The logs of which a group has something parked, looked up one by one: what is parked of one is stepped over.
pub(crate) fn parked_logs(opened: &Opened, group: &GroupName) -> Result<Vec<Generation>, Fault> {
    let prefix = keys::of_group(Table::Parked, group);
    let (mut logs, mut after): (Vec<Generation>, Option<Vec<u8>>) = (Vec::new(), None);
    loop {
        let next = opened.page(&prefix, after.as_deref(), 1)?;
        let Some((key, _)) = next.first() else {
            return Ok(logs);
        };
        let log = keys::log_of_parked(key).ok_or_else(malformed)?;
        logs.push(log);
        after = Some(keys::parked(group, log, EventId::from_bytes([0xff; 16])));
    }
}

fn malformed() -> Fault {
    Fault::Damaged("a key of parked events is malformed".into())
}

/// How many dead letters each group has, where it has some.
pub(crate) fn counts(opened: &Opened) -> Result<Vec<(GroupName, u64)>, Fault> {
    let rows = opened.page(&keys::key(Table::DeadCounts, &[]), None, usize::MAX)?;
    rows.iter()
        .map(|(key, row)| {
            let group = keys::group_of(key)
                .ok_or_else(|| Fault::Damaged("a key of dead letters is malformed".into()))?;
            let DeadCount(count) = decode(row)?;
            Ok((group, count))
        })
        .collect()
}

pub(crate) fn park(core: &Core, group: &GroupName, letter: &Letter) -> Result<(), Fault> {
    core.write(|opened, writer| {
        if !core.groups.is_known(group) {
            return Ok(());
        }
        let mut draft = Draft::new(opened, writer.state);
        let key = keys::parked(group, letter.position.generation, letter.id);
        draft.put(key, &LetterRow::from(letter));
        core.apply(writer, draft)
    })
}

/// Not synced: it is durable with the next batch, and a crash before that repeats what was handled.
pub(crate) fn unpark(core: &Core, key: Vec<u8>) -> Result<(), Fault> {
    core.write(|opened, _| Ok(opened.rows.remove(key).inspect_err(|_| core.fail())?))
}

pub(crate) fn bury(core: &Core, group: &GroupName, letter: &Letter) -> Result<(), Fault> {
    core.write(|opened, writer| {
        let mut draft = Draft::new(opened, writer.state);
        count_if_new(&mut draft, group, letter.id)?;
        draft.put(keys::dead(group, letter.id), &LetterRow::from(letter));
        draft.remove(keys::parked(group, letter.position.generation, letter.id));
        core.apply(writer, draft)
    })
}

/// Makes dead what a group has parked, and gives how many that is. Their rows stay as they are, so that one that can't be
/// read stops nothing.
pub(crate) fn bury_parked(draft: &mut Draft<'_>, group: &GroupName) -> Result<usize, Fault> {
    let parked = draft
        .opened
        .page(&keys::of_group(Table::Parked, group), None, usize::MAX)?;
    for (key, row) in &parked {
        let id = keys::id_of_parked(key).ok_or_else(malformed)?;
        count_if_new(draft, group, id)?;
        draft.put_octets(keys::dead(group, id), row.to_vec());
        draft.remove(key.to_vec());
    }
    Ok(parked.len())
}

pub(crate) fn remove(core: &Core, group: &GroupName, id: EventId) -> Result<(), Fault> {
    core.write(|opened, writer| {
        let mut draft = Draft::new(opened, writer.state);
        let key = keys::dead(group, id);
        if !draft.has(&key)? {
            return Ok(());
        }
        draft.remove(key);
        count(&mut draft, group, -1)?;
        core.apply(writer, draft)
    })
}

/// Removes all dead letters of a group, in batches; gives how many.
pub(crate) fn remove_all(core: &Core, group: &GroupName) -> Result<u64, Fault> {
    let prefix = keys::of_group(Table::Dead, group);
    let (mut removed, mut after) = (0, None);
    loop {
        let last = core.write(|opened, writer| {
            let mut draft = Draft::new(opened, writer.state);
            let rows = opened.page(&prefix, after.as_deref(), REMOVED_MAX)?;
            let Some((last, _)) = rows.last() else {
                return Ok(None);
            };
            for (key, _) in &rows {
                draft.remove(key.to_vec());
            }
            let number = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            count(&mut draft, group, -number)?;
            core.apply(writer, draft)?;
            removed += rows.len() as u64;
            Ok(Some(last.to_vec()))
        })?;
        match last {
            Some(_) => after = last,
            None => return Ok(removed),
        }
    }
}

/// Counts a dead letter that is to be written, unless it is there.
fn count_if_new(draft: &mut Draft<'_>, group: &GroupName, id: EventId) -> Result<(), Fault> {
    if draft.has(&keys::dead(group, id))? {
        return Ok(());
    }
    count(draft, group, 1)
}

fn count(draft: &mut Draft<'_>, group: &GroupName, by: i64) -> Result<(), Fault> {
    let key = keys::group_row(Table::DeadCounts, group);
    let DeadCount(count) = draft.get(&key)?.unwrap_or_default();
    match count.saturating_add_signed(by) {
        0 => draft.remove(key),
        count => draft.put(key, &DeadCount(count)),
    }
    Ok(())
}
