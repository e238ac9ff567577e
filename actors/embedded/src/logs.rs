//! Whose log is whose.

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

/// Writes down whose log `generation` is, and forgets logs that have no record left.
pub(crate) fn begin(core: &Core, generation: Generation, node: String) -> Result<(), Fault> {
    core.write(|opened, writer| {
        let mut draft = Draft::new(opened, writer.state);
        for (old, _) in all(opened)? {
            if opened.log_end(old)? == 0 {
                draft.remove(keys::log_owner(old));
            }
        }
        draft.put(keys::log_owner(generation), &LogOwner { node });
        core.apply(writer, draft)
    })
}
