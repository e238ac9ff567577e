//! The view: what is in a mailbox, and where a listing starts.
//!
//! A deleted row leaves a tombstone, and a listing from the beginning would read past all of them: after a hundred
//! thousand Cassandra refuses. Ids go by age and mail is mostly deleted by age, so a listing begins at a **start**: a
//! little below the oldest message that lives. A row that comes in below it would not be seen, so that whoever writes one
//! says so in a row of its own, which no raise of the start can overwrite; both are read at once.
//!
//! # Why no message is missed
//!
//! A start is at most `now - TRAIL` of whoever raises it, by what was listed *before*. Whoever writes a row looks at his
//! clock *after* the row is durable: if the message is younger than [`SURE_AGE`] then, every listing that could raise the
//! start above it is still to come, and sees the row. If not, it is written below. Clocks are at most
//! [`CLOCK_SKEW_MAX`] off the servers', so two of them at most twice that off each other: `TRAIL > SURE_AGE + 2 · skew`.
//! A message is acknowledged after that. How long a process is frozen in between doesn't matter.

use std::time::Duration;

use mailhorn_events::{MailboxId, MessageId, Stamp};
use mailhorn_ports::{StoreError, ViewRow};

use crate::options::CLOCK_SKEW_MAX;
use crate::session::Cql;
use crate::statements::Statement;
use crate::values::{Bind, Row, bigint, int, list, uuid};

/// How far a start stays behind the time of whoever raises it.
pub(crate) const TRAIL: Duration = Duration::from_secs(60);
/// A message that is younger than this when its row is durable is above every start.
pub(crate) const SURE_AGE: Duration = Duration::from_secs(45);
/// A start is raised by at least this much: a write for each listing would be a waste.
pub(crate) const RAISE_MIN: Duration = Duration::from_secs(60);
/// Messages below the start that are known of a mailbox at most; beyond, the oldest are not seen as being there, and the start
/// is not raised.
pub(crate) const BELOW_MAX: i32 = 100_000;
/// Ids in one statement.
pub(crate) const IDS_MAX: usize = 1_000;
/// A message that was written below the start and has no row is forgotten when it was written this long ago.
pub(crate) const BELOW_AGE: Duration = Duration::from_secs(86_400);

const _: () = assert!(TRAIL.as_secs() > SURE_AGE.as_secs() + 2 * CLOCK_SKEW_MAX.as_secs());

/// Where a mailbox's listing starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Start {
    /// Nothing below this lives, but what is [`below`](Self::below).
    pub(crate) at: Option<MessageId>,
    /// Messages below, in their order, some of which may not live any more.
    pub(crate) below: Vec<MessageId>,
}

impl Start {
    pub(crate) async fn read(cql: &dyn Cql, mailbox: MailboxId) -> Result<Self, StoreError> {
        let rows = cql
            .run(Statement::Start, vec![uuid(mailbox.0), int(BELOW_MAX)])
            .await?;
        let mut start = Self::default();
        for row in rows {
            start.at = row.maybe_uuid(0)?.map(MessageId);
            start.below.extend(row.maybe_uuid(1)?.map(MessageId));
        }
        Ok(start)
    }

    /// Ids below the start and above `after`.
    fn below_after(&self, after: Option<MessageId>) -> impl Iterator<Item = MessageId> {
        let is_below =
            move |id: &MessageId| self.at.is_some_and(|at| *id < at) && after.is_none_or(|after| *id > after);
        self.below.iter().copied().filter(is_below)
    }

    /// Where it may be raised to after a listing whose first row at or above the start is `first` was read at `now`; `None`
    /// when that is not worth a write.
    pub(crate) fn raised(&self, first: Option<MessageId>, now: Stamp) -> Option<MessageId> {
        if i32::try_from(self.below.len()).is_ok_and(|below| below >= BELOW_MAX) {
            return None;
        }
        let oldest = first.map_or(now, |first| first.stamp().min(now));
        let at = MessageId::new(before(oldest, TRAIL), [0; 8]);
        let least = self.at.map_or(Stamp(0), |at| after(at.stamp(), RAISE_MIN));
        (at.stamp() >= least).then_some(at)
    }
}

/// Whether a message whose row is durable `now` has to be told as being below the start.
pub(crate) fn may_be_below(message: MessageId, now: Stamp) -> bool {
    message.stamp() <= before(now, SURE_AGE)
}

fn before(stamp: Stamp, time: Duration) -> Stamp {
    Stamp(
        stamp
            .0
            .saturating_sub(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
    )
}

fn after(stamp: Stamp, time: Duration) -> Stamp {
    Stamp(
        stamp
            .0
            .saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
    )
}

/// A page of a listing.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) rows: Vec<ViewRow>,
    pub(crate) start: Start,
    /// The first row at or above the start, where this page began there and so saw the first that lives.
    pub(crate) first: Option<MessageId>,
    /// Whether [`first`](Self::first) says something: the page began below the start or at it.
    pub(crate) from_start: bool,
}

/// At most `limit` rows after `after`, by id.
pub(crate) async fn page(
    cql: &dyn Cql,
    mailbox: MailboxId,
    after: Option<MessageId>,
    limit: usize,
) -> Result<Page, StoreError> {
    let start = Start::read(cql, mailbox).await?;
    let mut rows = Vec::new();
    let below: Vec<MessageId> = start.below_after(after).collect();
    for ids in below.chunks(IDS_MAX) {
        if rows.len() >= limit {
            break;
        }
        rows.extend(these(cql, mailbox, ids).await?);
    }
    let from_start = match (after, start.at) {
        (None, _) => true,
        (Some(after), Some(at)) => after < at,
        (Some(_), None) => false,
    };
    let mut first = None;
    if rows.len() < limit {
        let left = i32::try_from(limit - rows.len()).unwrap_or(i32::MAX);
        // Above, not at: a start is no message's id.
        let from = after
            .max(start.at)
            .unwrap_or_else(|| MessageId::new(Stamp(0), [0; 8]));
        let found = cql
            .run(
                Statement::ListFrom,
                vec![uuid(mailbox.0), uuid(from.0), int(left)],
            )
            .await?;
        let found = found.iter().map(view_row).collect::<Result<Vec<_>, _>>()?;
        first = found.first().map(|row| row.message);
        rows.extend(found);
        return Ok(Page {
            rows,
            start,
            first,
            from_start,
        });
    }
    rows.truncate(limit);
    Ok(Page {
        rows,
        start,
        first,
        from_start: false,
    })
}

/// The rows of these messages, as far as they live, by id.
pub(crate) async fn these(
    cql: &dyn Cql,
    mailbox: MailboxId,
    ids: &[MessageId],
) -> Result<Vec<ViewRow>, StoreError> {
    let mut rows = Vec::new();
    for ids in ids.chunks(IDS_MAX) {
        let found = cql
            .run(Statement::ListThese, vec![uuid(mailbox.0), id_list(ids)])
            .await?;
        for row in &found {
            rows.push(view_row(row)?);
        }
    }
    rows.sort_by_key(|row| row.message);
    Ok(rows)
}

pub(crate) fn id_list(ids: &[MessageId]) -> Bind {
    list(ids.iter().map(|id| &id.0.as_bytes()[..]))
}

fn view_row(row: &Row) -> Result<ViewRow, StoreError> {
    Ok(ViewRow {
        message: MessageId(row.uuid(0)?),
        size: row.number(1)?,
        received: Stamp(row.number(2)?),
        stamp: Stamp(row.number(3)?),
        unique_id: row.maybe_text(4)?,
    })
}

/// Raises a mailbox's start. Of two raises the higher one stands, for its time of writing is its own.
pub(crate) async fn raise(cql: &dyn Cql, mailbox: MailboxId, at: MessageId) -> Result<(), StoreError> {
    cql.run(
        Statement::RaiseStart,
        vec![bigint(at.stamp().0), uuid(at.0), uuid(mailbox.0)],
    )
    .await?;
    Ok(())
}

/// Forgets ids below the start that have no row, if they were written long ago: one that is being written right now may
/// not have its row yet.
pub(crate) async fn forget_below(
    cql: &dyn Cql,
    mailbox: MailboxId,
    page: &Page,
    now: Stamp,
) -> Result<(), StoreError> {
    let old = before(now, BELOW_AGE);
    let lives = |id: &MessageId| page.rows.binary_search_by_key(id, |row| row.message).is_ok();
    let gone: Vec<MessageId> = page
        .start
        .below
        .iter()
        .copied()
        .filter(|id| id.stamp() < old && !lives(id))
        .collect();
    for ids in gone.chunks(IDS_MAX) {
        // Stamped as old as what may be forgotten: who writes the message again, writes it below again, and later.
        cql.run(
            Statement::RemoveBelow,
            vec![bigint(old.0), uuid(mailbox.0), id_list(ids)],
        )
        .await?;
    }
    Ok(())
}

/// Tells that a message lies below the start, whatever that is.
pub(crate) async fn add_below(
    cql: &dyn Cql,
    mailbox: MailboxId,
    message: MessageId,
    now: Stamp,
) -> Result<(), StoreError> {
    cql.run(
        Statement::AddBelow,
        vec![uuid(mailbox.0), uuid(message.0), bigint(now.0)],
    )
    .await?;
    Ok(())
}
