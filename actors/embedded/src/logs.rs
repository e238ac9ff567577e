//! Whose log is whose.

use std::collections::{BTreeMap, BTreeSet};

use mailhorn_events::Generation;

use crate::core::Core;
use crate::draft::Draft;
use crate::error::Fault;
use crate::keys::{self, Table};
use crate::opened::Opened;
use crate::rows::{LogOwner, decode};

/// Logs that are looked at in one go. One is begun at each start, and those without a record left are forgotten then.
const LOGS_MAX: usize = 10_000;

/// The logs and their owners, oldest first.
pub(crate) fn all(opened: &Opened) -> Result<Vec<(Generation, String)>, Fault> {
    let rows = opened.page(&keys::key(Table::Logs, &[]), None, LOGS_MAX)?;
    rows.iter()
        .map(|(key, row)| {
            let generation =
                keys::owned_log(key).ok_or_else(|| Fault::Damaged("a log's key is malformed".into()))?;
            let owner: LogOwner = decode(row)?;
            Ok((generation, owner.node))
        })
        .collect()
}

/// The logs that have records, and their first one's number.
pub(crate) fn with_records(opened: &Opened) -> Result<BTreeMap<Generation, u64>, Fault> {
    let mut logs = BTreeMap::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let next = opened.page(&keys::key(Table::Log, &[]), after.as_deref(), 1)?;
        let Some((key, _)) = next.first() else {
            return Ok(logs);
        };
        let (generation, number) =
            keys::position(key).ok_or_else(|| Fault::Damaged("a key of the log is malformed".into()))?;
        logs.insert(generation, number);
        after = Some(keys::record(generation, u64::MAX));
    }
}

/// Writes down whose log `generation` is, and forgets logs that have no record left, with the groups' cursors in them.
pub(crate) fn begin(core: &Core, generation: Generation, node: String) -> Result<(), Fault> {
    core.write(|opened, writer| {
        let mut draft = Draft::new(opened, writer.state);
        let mut forgotten = core.groups.logs();
        forgotten.extend(all(opened)?.into_iter().map(|(old, _)| old));
        forgotten.remove(&generation);
        for old in logs_that_end(opened, &forgotten)? {
            forgotten.remove(&old);
        }
        for old in &forgotten {
            draft.remove(keys::log_owner(*old));
        }
        core.groups.forget_logs(&mut draft, &forgotten);
        draft.put(keys::log_owner(generation), &LogOwner { node });
        core.apply(writer, draft)
    })
}

/// Those of them that have a record.
fn logs_that_end(opened: &Opened, logs: &BTreeSet<Generation>) -> Result<Vec<Generation>, Fault> {
    let mut ending = Vec::new();
    for generation in logs {
        if opened.log_end(*generation)? > 0 {
            ending.push(*generation);
        }
    }
    Ok(ending)
}
