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
/// Messages below the start that are known of a mailbox at most. With more a listing goes from the beginning, past all
/// tombstones, so that it hides none of them; the start is not raised then.
pub(crate) const BELOW_MAX: usize = 100_000;
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
    /// There may be more of them than were read.
    is_full: bool,
}

impl Start {
    pub(crate) async fn read(cql: &dyn Cql, mailbox: MailboxId) -> Result<Self, StoreError> {
        let limit = i32::try_from(BELOW_MAX).unwrap_or(i32::MAX);
        let rows = cql
            .run(Statement::Start, vec![uuid(mailbox.0), int(limit)])
            .await?;
        let mut start = Self::default();
        for row in &rows {
            start.at = row.maybe_uuid(0)?.map(MessageId);
            start.below.extend(row.maybe_uuid(1)?.map(MessageId));
        }
        // There may be more that were not read.
        start.is_full = start.below.len() >= BELOW_MAX;
        start.at = start.at.filter(|_| !start.is_full);
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
        if self.is_full {
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
    /// Whether what is at or above the start was read, so that [`first`](Self::first) says something.
    pub(crate) reaches_start: bool,
    /// Whether there may be more rows behind the last one.
    is_cut: bool,
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
    let mut first = None;
    let reaches_start = rows.len() < limit;
    if reaches_start {
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
    }
    rows.truncate(limit);
    Ok(Page {
        is_cut: rows.len() >= limit,
        rows,
        start,
        first,
        reaches_start,
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
    // Of what is behind the last row of a page that was cut nothing is known.
    let last = page.rows.last().filter(|_| page.is_cut).map(|row| row.message);
    let may_live = |id: &MessageId| {
        let is_listed = page.rows.binary_search_by_key(id, |row| row.message).is_ok();
        is_listed || last.is_some_and(|last| *id > last)
    };
    let gone: Vec<MessageId> = page
        .start
        .below
        .iter()
        .copied()
        .filter(|id| id.stamp() < old && !may_live(id))
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use parking_lot::Mutex;

    use super::*;
    use crate::session::Health;

    fn id(n: u64) -> MessageId {
        MessageId::new(Stamp(n), [7; 8])
    }

    /// Servers that know a start, ids below it, and rows.
    #[derive(Debug, Default)]
    struct Rows {
        start: Option<MessageId>,
        below: Vec<MessageId>,
        rows: Vec<MessageId>,
        asked: Mutex<Vec<Statement>>,
    }

    fn row(id: MessageId) -> Row {
        let number = || bigint(1).map(Bytes::from);
        Row(vec![
            uuid(id.0).map(Bytes::from),
            number(),
            number(),
            number(),
            None,
        ])
    }

    #[async_trait]
    impl Cql for Rows {
        async fn run(&self, statement: Statement, values: Vec<Bind>) -> Result<Vec<Row>, StoreError> {
            self.asked.lock().push(statement);
            let bound = |place: usize| Row(vec![values[place].clone().map(Bytes::from)]);
            let start = || self.start.and_then(|start| uuid(start.0)).map(Bytes::from);
            let below = |id: &MessageId| Row(vec![start(), uuid(id.0).map(Bytes::from)]);
            Ok(match statement {
                Statement::Start if self.below.is_empty() => vec![Row(vec![start(), None])],
                Statement::Start => self.below.iter().map(below).collect(),
                Statement::ListFrom => {
                    let from = MessageId(bound(1).uuid(0)?);
                    let limit = usize::try_from(bound(2).small(0)?).unwrap();
                    let above = self.rows.iter().filter(|id| **id > from);
                    above.take(limit).map(|id| row(*id)).collect()
                }
                Statement::ListThese => {
                    let these = bound(1).list(0)?;
                    let is_asked =
                        |id: &&MessageId| these.iter().any(|these| these[..] == id.0.as_bytes()[..]);
                    self.rows.iter().filter(is_asked).map(|id| row(*id)).collect()
                }
                _ => Vec::new(),
            })
        }

        fn health(&self) -> Health {
            Health::default()
        }
    }

    async fn listed(rows: &Rows, limit: usize) -> Vec<MessageId> {
        let page = page(rows, MailboxId(::uuid::Uuid::nil()), None, limit)
            .await
            .unwrap();
        page.rows.iter().map(|row| row.message).collect()
    }

    #[tokio::test]
    async fn what_was_told_of_below_the_start_is_listed_before_what_is_above() {
        let servers = Rows {
            start: Some(MessageId::new(Stamp(50), [0; 8])),
            below: vec![id(10), id(20), id(60)],
            rows: vec![id(20), id(60), id(70)],
            ..Rows::default()
        };
        assert_eq!(listed(&servers, 9).await, [id(20), id(60), id(70)]);
        assert_eq!(listed(&servers, 2).await, [id(20), id(60)]);
    }

    #[tokio::test]
    async fn more_below_the_start_than_is_read_hides_nothing() {
        let many = u64::try_from(BELOW_MAX).unwrap();
        let servers = Rows {
            start: Some(MessageId::new(Stamp(10 * many), [0; 8])),
            below: (0..many).map(id).collect(),
            // Told of below the start, and not among those that were read.
            rows: vec![id(many + 5)],
            ..Rows::default()
        };
        let page = page(&servers, MailboxId(::uuid::Uuid::nil()), None, 9)
            .await
            .unwrap();
        assert_eq!(page.rows.len(), 1);
        assert_eq!(page.start.raised(page.first, Stamp(u64::MAX)), None);
    }

    #[tokio::test]
    async fn nothing_is_forgotten_that_a_cut_page_did_not_come_to() {
        let now = Stamp(10 * u64::try_from(BELOW_AGE.as_micros()).unwrap());
        for (limit, is_forgotten) in [(1, false), (9, true)] {
            let servers = Rows {
                below: vec![id(1), id(3)],
                rows: vec![id(1), id(2)],
                ..Rows::default()
            };
            let page = page(&servers, MailboxId(::uuid::Uuid::nil()), None, limit)
                .await
                .unwrap();
            forget_below(&servers, MailboxId(::uuid::Uuid::nil()), &page, now)
                .await
                .unwrap();
            let forgot = servers.asked.lock().contains(&Statement::RemoveBelow);
            assert_eq!(forgot, is_forgotten, "a page of {limit}");
        }
    }
}
