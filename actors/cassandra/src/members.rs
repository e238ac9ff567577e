//! [`Membership`] on Cassandra: heartbeats, seals, and what is done for a process that died.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mailhorn_events::{Generation, MessageId, Record, Stamp};
use mailhorn_ports::{MemberRow, Membership, StoreError};

use crate::apply::apply;
use crate::log::{self, Appended};
use crate::notes::{self, Taken};
use crate::statements::Statement;
use crate::store::{CassandraStore, Inner};
use crate::values::{bigint, list, text, uuid};

/// Deliveries that were taken this long before the process's last sign of life may have had a reply that nobody read: a
/// retry of theirs is to be known.
pub(crate) const TAIL: Duration = Duration::from_secs(60);
/// How often a log's name is written anew, for it goes by its time: with every so many heartbeats.
const NAME_BEATS: u64 = 1_800;

#[async_trait]
impl Membership for CassandraStore {
    async fn beat(&self, member: &MemberRow) -> Result<(), StoreError> {
        let inner = &self.0;
        let now = inner.now();
        let applied = inner.own_line(member.generation).map_or(0, |line| line.applied());
        let values = vec![
            uuid(member.generation.0),
            text(&member.node),
            bigint(member.beat),
            bigint(applied),
            list(member.groups.iter().map(|group| group.as_str().as_bytes())),
            bigint(now.0),
        ];
        inner.cql.run(Statement::Beat, values).await?;
        if member.beat.is_multiple_of(NAME_BEATS) {
            log::name_log(&*inner.cql, &inner.options, member.generation, &member.node, now).await?;
        }
        Ok(())
    }

    async fn leave(&self, generation: Generation) -> Result<(), StoreError> {
        let end = mailhorn_ports::MailStore::log_end(self, generation).await?;
        log::seal(&*self.0.cql, &self.0.options, generation, end).await?;
        self.0.condemn_all_that_came().await?;
        self.0.remove_member(generation).await
    }

    async fn members(&self) -> Result<Vec<MemberRow>, StoreError> {
        let rows = self.0.cql.run(Statement::Members, Vec::new()).await?;
        let member = |row: &crate::values::Row| {
            let name = |octets: &bytes::Bytes| {
                let name = std::str::from_utf8(octets)
                    .ok()
                    .and_then(|name| name.parse().ok());
                name.ok_or_else(|| StoreError::Damaged("a member runs a group whose name is none".into()))
            };
            Ok(MemberRow {
                generation: Generation(row.uuid(0)?),
                node: row.text(1)?,
                beat: row.number(2)?,
                groups: row.list(4)?.iter().map(name).collect::<Result<_, StoreError>>()?,
            })
        };
        let members: Result<Vec<MemberRow>, StoreError> = rows.iter().map(member).collect();
        let mut members = members?;
        members.sort_by_key(|member| member.generation);
        Ok(members)
    }

    async fn sealed(&self, generation: Generation) -> Result<Option<u64>, StoreError> {
        log::sealed(&*self.0.cql, generation).await
    }

    async fn adopt(&self, generation: Generation) -> Result<u64, StoreError> {
        let inner = &self.0;
        let last = inner.parts.last(&*inner.cql, generation).await?;
        let (found, appended) = last.map_or((0, Stamp(0)), |append| (append.last, append.appended));
        let end = log::seal(&*inner.cql, &inner.options, generation, found).await?;
        // Once more what it may not have come to. All of it may be done as often as one likes.
        let applied = inner.applied_by(generation).await?;
        inner.redo(generation, applied.saturating_add(1), end).await?;
        inner.note_tail(generation, end, appended).await?;
        // A log's name begins with when it began.
        let begun = MessageId(generation.0).stamp();
        inner.condemn_tail(generation, end, appended.max(begun)).await?;
        inner.remove_member(generation).await?;
        Ok(end)
    }
}

impl Inner {
    async fn remove_member(&self, generation: Generation) -> Result<(), StoreError> {
        self.cql
            .run(Statement::Leave, vec![bigint(self.now().0), uuid(generation.0)])
            .await?;
        Ok(())
    }

    /// How far a process said that it is. Nothing where it is no member any more: somebody has done it all.
    async fn applied_by(&self, generation: Generation) -> Result<u64, StoreError> {
        for row in self.cql.run(Statement::Members, Vec::new()).await? {
            if row.uuid(0)? == generation.0 {
                return row.number(3);
            }
        }
        Ok(u64::MAX)
    }

    /// Does what records ask for.
    async fn redo(&self, generation: Generation, from: u64, end: u64) -> Result<(), StoreError> {
        let mut next = from;
        while next <= end {
            let appends = self.parts.appends(&*self.cql, generation, next).await?;
            let Some(last) = appends.last().map(|append| append.last) else {
                return Ok(());
            };
            let entries = appends.iter().flat_map(Appended::entries);
            let happened = entries.filter(|entry| (next..=end).contains(&entry.number));
            let records: Vec<Arc<Record>> = happened.filter_map(|entry| entry.record.ok()).collect();
            apply(&*self.cql, &*self.clock, records.iter().map(AsRef::as_ref)).await?;
            next = last.saturating_add(1);
        }
        Ok(())
    }

    /// Writes the notes of what was taken shortly before a log's last append: the replies may not have been read.
    async fn note_tail(&self, generation: Generation, end: u64, last: Stamp) -> Result<(), StoreError> {
        let tail = u64::try_from(TAIL.as_micros()).unwrap_or(u64::MAX);
        let since = Stamp(last.0.saturating_sub(tail));
        let mut appends = Vec::new();
        self.parts
            .since(&*self.cql, generation, since, |append| appends.push(append))
            .await?;
        for append in appends {
            let taken = taken(&append, end)?;
            notes::write(&*self.cql, &self.options, &taken).await?;
        }
        Ok(())
    }
}

/// The deliveries of an append, as far as they happened, with their notes.
fn taken(append: &Appended, end: u64) -> Result<Vec<Taken>, StoreError> {
    let entries = append.entries();
    let taken = append.notes()?.into_iter().filter_map(|note| {
        let entry = entries.get(usize::try_from(note.record).ok()?)?;
        let record = entry.record.as_ref().ok().filter(|_| entry.number <= end)?;
        let event = record.events.get(usize::try_from(note.event).ok()?)?;
        Some(Taken {
            key: note.key,
            mailbox: event.mailbox?,
            at: append.appended,
        })
    });
    Ok(taken.collect())
}
