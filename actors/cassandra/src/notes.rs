//! Notes of deliveries: what a retry is known by.
//!
//! A delivery's note is kept in memory until its session says that the reply was read (it is forgotten) or may not have
//! been (it is written). So in the ordinary case nothing is written; this process knows its own retries at once, and every
//! node knows those that begin after the note was written.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use mailhorn_events::{MailboxId, Stamp};
use mailhorn_ports::{NoteKey, StoreError};
use parking_lot::Mutex;

use crate::options::Options;
use crate::session::Cql;
use crate::statements::Statement;
use crate::values::{bigint, blob, int, list, uuid};

/// Notes in memory at most. Beyond, those that were made longest ago are written, as if their reply were unread.
pub(crate) const PENDING_MAX: usize = 100_000;
/// Days that a look-up asks for at most.
const DAYS_MAX: u64 = 32;
const DAY: Duration = Duration::from_secs(86_400);

/// A delivery that may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) key: NoteKey,
    pub(crate) mailbox: MailboxId,
    /// When it was taken.
    pub(crate) at: Stamp,
}

#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    pending: BTreeMap<NoteKey, Taken>,
    /// Written by this process, so that it can be taken back.
    written: BTreeMap<NoteKey, Taken>,
}

impl Notes {
    /// When the delivery under a note was taken, if one is known.
    pub(crate) async fn taken(
        &self,
        cql: &dyn Cql,
        mailbox: MailboxId,
        key: NoteKey,
        since: Stamp,
        now: Stamp,
    ) -> Result<Option<Stamp>, StoreError> {
        if let Some(taken) = self.0.lock().pending.get(&key) {
            return Ok(Some(taken.at));
        }
        let first = day(since).max(day(now).saturating_sub(DAYS_MAX));
        let days: Vec<[u8; 4]> = (first..=day(now)).map(octets).collect();
        let days = list(days.iter().map(|day| &day[..]));
        let rows = cql
            .run(Statement::Note, vec![uuid(mailbox.0), days, blob(&key.0)])
            .await?;
        let taken: Result<Vec<u64>, StoreError> = rows.iter().map(|row| row.number(0)).collect();
        Ok(taken?.into_iter().max().map(Stamp))
    }

    /// A delivery was made. Gives what has to be written because there are too many.
    pub(crate) fn made(&self, taken: impl IntoIterator<Item = Taken>) -> Vec<Taken> {
        let mut state = self.0.lock();
        for taken in taken {
            state.pending.insert(taken.key, taken);
        }
        let over = state.pending.len().saturating_sub(PENDING_MAX);
        if over == 0 {
            return Vec::new();
        }
        let mut oldest: Vec<Taken> = state.pending.values().copied().collect();
        oldest.sort_by_key(|taken| taken.at);
        oldest.truncate(over);
        oldest
    }

    /// Of these, those that are to be written.
    pub(crate) fn to_keep(&self, keys: &[NoteKey]) -> Vec<Taken> {
        let state = self.0.lock();
        keys.iter()
            .filter_map(|key| state.pending.get(key))
            .copied()
            .collect()
    }

    /// Forgets; gives those that were written and have to be taken back.
    pub(crate) fn forget(&self, keys: &[NoteKey]) -> Vec<Taken> {
        let mut state = self.0.lock();
        keys.iter()
            .filter_map(|key| {
                state.pending.remove(key);
                state.written.remove(key)
            })
            .collect()
    }

    fn were_written(&self, written: &[Taken]) {
        let mut state = self.0.lock();
        for taken in written {
            state.pending.remove(&taken.key);
            state.written.insert(taken.key, *taken);
        }
    }

    /// Forgets what is older than notes count.
    pub(crate) fn expire(&self, since: Stamp) {
        let mut state = self.0.lock();
        state.pending.retain(|_, taken| taken.at >= since);
        state.written.retain(|_, taken| taken.at >= since);
    }

    /// Writes notes: from then on a retry is known on every node.
    pub(crate) async fn write(
        &self,
        cql: &dyn Cql,
        options: &Options,
        notes: &[Taken],
    ) -> Result<(), StoreError> {
        write(cql, options, notes).await?;
        self.were_written(notes);
        Ok(())
    }

    /// Takes written notes back.
    pub(crate) async fn take_back(&self, cql: &dyn Cql, notes: &[Taken]) -> Result<(), StoreError> {
        let removals = notes.iter().map(|taken| {
            let values = vec![
                bigint(taken.at.next().0),
                uuid(taken.mailbox.0),
                Some(octets(day(taken.at)).to_vec()),
                blob(&taken.key.0),
            ];
            cql.run(Statement::RemoveNote, values)
        });
        try_join_all(removals).await?;
        Ok(())
    }
}

pub(crate) async fn write(cql: &dyn Cql, options: &Options, notes: &[Taken]) -> Result<(), StoreError> {
    let writes = notes.iter().map(|taken| {
        let values = vec![
            uuid(taken.mailbox.0),
            Some(octets(day(taken.at)).to_vec()),
            blob(&taken.key.0),
            bigint(taken.at.0),
            bigint(taken.at.0),
            int(options.note_ttl_seconds()),
        ];
        cql.run(Statement::PutNote, values)
    });
    try_join_all(writes).await?;
    Ok(())
}

fn day(stamp: Stamp) -> u64 {
    stamp.0 / 1_000_000 / DAY.as_secs()
}

fn octets(day: u64) -> [u8; 4] {
    i32::try_from(day).unwrap_or(i32::MAX).to_be_bytes()
}
