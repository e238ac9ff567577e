//! Which groups of listeners are known and how far they are.
//!
//! # Incarnations
//!
//! A group that is made known gets an incarnation, a stamp, and its cursors are found by that. To forget a group is to
//! remove its one row; a group of the same name that comes back is another incarnation and finds nothing of the one before.
//! So no cursor is ever deleted, they go by their time: a deletion is stamped by a clock, cursors are not, and it would
//! hide every later one.
//!
//! Two nodes that make a group known at once leave two rows, of which the lower counts. Either's cursors will do: a node
//! looks at the ends of the logs before it looks whether the group is known, so that an end that it notes is of a moment at
//! which no node had made the group known.
//!
//! # Cursors
//!
//! Each process says in a row of its own how far the group is, and a reader joins these rows ([`Cursor::join`]). So two
//! processes that follow one log write over nothing that the other has finished, and nobody takes for finished what nobody
//! finished. A row is written at the time that is its cursor's own number, which grows with every record that is taken up
//! and every one that is finished: of two writes of one row the further cursor stands, in whatever order they arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use mailhorn_events::{EventId, Generation, Stamp};
use mailhorn_ports::{Cursor, GroupName, GroupStore, KnownGroup, Letter, MailStore, Random, StoreError};
use parking_lot::Mutex;
use uuid::{Builder, Uuid};

use crate::letters;
use crate::log;
use crate::session::Cql;
use crate::statements::Statement;
use crate::store::{CassandraStore, Inner};
use crate::values::{Row, bigint, int, list, text, uuid};

/// How long a process goes on saving cursors of a group before it looks again whether the group is still known.
const KNOWN_FOR: Duration = Duration::from_secs(10);
/// How often groups that nobody registers are looked for.
const FORGET_PAUSE: Duration = Duration::from_secs(600);

/// What this process knows of groups.
#[derive(Debug)]
pub(crate) struct Groups {
    /// By what rows of cursors are told apart from other processes' rows.
    writer: Uuid,
    known: Mutex<BTreeMap<GroupName, Following>>,
    /// Up to when groups were forgotten that nobody registered; nothing at first.
    forgotten_before: AtomicU64,
    /// Held by whoever removes all dead letters of a group.
    removal: tokio::sync::Mutex<()>,
}

/// A group as this process saw it last.
#[derive(Debug)]
struct Following {
    incarnation: Stamp,
    read_at: Stamp,
    /// What this process said of each log.
    cursors: BTreeMap<Generation, Cursor>,
}

/// A group that is known, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    /// When each of its incarnations was registered last; the first counts.
    incarnations: BTreeMap<Stamp, Stamp>,
}

impl Known {
    fn incarnation(&self) -> Stamp {
        self.incarnations.keys().next().copied().unwrap_or_default()
    }

    fn registered(&self) -> Stamp {
        self.incarnations.values().max().copied().unwrap_or_default()
    }
}

/// A cursor as its row has it.
struct Saved {
    generation: Generation,
    cursor: Cursor,
    ttl_seconds: i32,
}

impl Groups {
    pub(crate) fn new(random: &dyn Random) -> Self {
        let mut octets = [0; 16];
        random.fill(&mut octets);
        Self {
            writer: Builder::from_random_bytes(octets).into_uuid(),
            known: Mutex::default(),
            forgotten_before: AtomicU64::new(0),
            removal: tokio::sync::Mutex::default(),
        }
    }

    /// The turn of whoever removes all dead letters of a group.
    pub(crate) async fn removal(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.removal.lock().await
    }

    /// The incarnation of a group, if it was read not long ago.
    fn remembered(&self, group: &GroupName, now: Stamp) -> Option<Stamp> {
        let known = self.known.lock();
        let following = known.get(group)?;
        let age = Duration::from_micros(now.0.saturating_sub(following.read_at.0));
        (age <= KNOWN_FOR).then_some(following.incarnation)
    }

    fn remember(&self, group: &GroupName, incarnation: Option<Stamp>, now: Stamp) {
        let mut known = self.known.lock();
        let Some(incarnation) = incarnation else {
            known.remove(group);
            return;
        };
        let following = known.entry(group.clone()).or_insert_with(|| Following {
            incarnation,
            read_at: now,
            cursors: BTreeMap::new(),
        });
        following.read_at = now;
        if following.incarnation != incarnation {
            following.incarnation = incarnation;
            following.cursors.clear();
        }
    }

    /// What this process says of a log from now on.
    fn advance(&self, group: &GroupName, generation: Generation, cursor: &Cursor) -> Cursor {
        let mut known = self.known.lock();
        let Some(following) = known.get_mut(group) else {
            return cursor.clone();
        };
        let said = following.cursors.entry(generation).or_default();
        *said = said.join(cursor);
        said.clone()
    }

    /// Forgets what this process said of other logs than these.
    fn retain(&self, group: &GroupName, logs: &BTreeSet<Generation>) {
        if let Some(following) = self.known.lock().get_mut(group) {
            following
                .cursors
                .retain(|generation, _| logs.contains(generation));
        }
    }
}

fn known_of(rows: &[Row]) -> Result<BTreeMap<String, Known>, StoreError> {
    let mut groups: BTreeMap<String, Known> = BTreeMap::new();
    for row in rows {
        let group = groups.entry(row.text(0)?).or_insert_with(|| Known {
            incarnations: BTreeMap::new(),
        });
        group
            .incarnations
            .insert(Stamp(row.number(1)?), Stamp(row.number(2)?));
    }
    Ok(groups)
}

/// A group's name as a row has it.
pub(crate) fn name_of(text: &str) -> Result<GroupName, StoreError> {
    text.parse()
        .map_err(|error| StoreError::Damaged(format!("{text:?}: {error}")))
}

async fn known(cql: &dyn Cql, group: &GroupName) -> Result<Option<Known>, StoreError> {
    let rows = cql.run(Statement::KnownGroup, vec![text(group.as_str())]).await?;
    Ok(known_of(&rows)?.remove(group.as_str()))
}

/// Whether a group is known now.
pub(crate) async fn is_known(cql: &dyn Cql, group: &GroupName) -> Result<bool, StoreError> {
    Ok(known(cql, group).await?.is_some())
}

/// The number that a cursor is written at: it is higher for whatever is further.
fn number_of(cursor: &Cursor) -> u64 {
    let open = u64::try_from(cursor.open.len()).unwrap_or(u64::MAX);
    cursor.taken.saturating_mul(2).saturating_sub(open)
}

async fn write_cursor(
    inner: &Inner,
    group: &GroupName,
    incarnation: Stamp,
    generation: Generation,
    cursor: &Cursor,
) -> Result<(), StoreError> {
    let open: Vec<[u8; 8]> = cursor.open.iter().map(|number| number.to_be_bytes()).collect();
    let values = vec![
        text(group.as_str()),
        bigint(incarnation.0),
        uuid(generation.0),
        uuid(inner.groups.writer),
        bigint(cursor.taken),
        list(open.iter().map(|number| &number[..])),
        bigint(number_of(cursor)),
        int(inner.options.log_names_ttl_seconds()),
    ];
    inner.cql.run(Statement::SaveCursor, values).await?;
    Ok(())
}

fn saved_of(row: &Row) -> Result<Saved, StoreError> {
    let number = |octets: &bytes::Bytes| {
        let octets: [u8; 8] = octets[..]
            .try_into()
            .map_err(|_| StoreError::Damaged("a cursor's open record is no number".into()))?;
        Ok::<_, StoreError>(u64::from_be_bytes(octets))
    };
    Ok(Saved {
        generation: Generation(row.uuid(0)?),
        cursor: Cursor {
            taken: row.number(1)?,
            open: row.list(2)?.iter().map(number).collect::<Result<_, _>>()?,
        },
        ttl_seconds: row.small(3)?,
    })
}

/// What all processes together say, and how long it is still there.
async fn read_cursors(
    cql: &dyn Cql,
    group: &GroupName,
    incarnation: Stamp,
) -> Result<BTreeMap<Generation, (Cursor, i32)>, StoreError> {
    let values = vec![text(group.as_str()), bigint(incarnation.0)];
    let mut cursors: BTreeMap<Generation, (Cursor, i32)> = BTreeMap::new();
    for row in cql.run(Statement::Cursors, values).await? {
        let saved = saved_of(&row)?;
        let (cursor, ttl) = cursors.entry(saved.generation).or_default();
        *cursor = cursor.join(&saved.cursor);
        *ttl = saved.ttl_seconds.max(*ttl);
    }
    Ok(cursors)
}

/// Forgets groups that no node has registered since. Not at every call: who calls it does so often.
pub(crate) async fn forget_groups(inner: &Inner, before: Stamp) -> Result<(), StoreError> {
    let pause = u64::try_from(FORGET_PAUSE.as_micros()).unwrap_or(u64::MAX);
    let done = inner.groups.forgotten_before.load(Ordering::Relaxed);
    if before.0 < done.saturating_add(pause) {
        return Ok(());
    }
    let rows = inner.cql.run(Statement::KnownGroups, Vec::new()).await?;
    for (name, known) in known_of(&rows)? {
        let group = name_of(&name)?;
        if known.registered() < before {
            tracing::warn!(%group, "no node has registered this group for as long as logs are kept: it is forgotten");
            forget(inner, &group).await?;
        } else {
            letters::tidy_parked_logs(inner, &group).await?;
        }
    }
    letters::tidy_dead_groups(inner).await?;
    inner
        .groups
        .forgotten_before
        .fetch_max(before.0, Ordering::Relaxed);
    Ok(())
}

/// Forgets a group. What it has parked is dead: nobody tries it again.
async fn forget(inner: &Inner, group: &GroupName) -> Result<(), StoreError> {
    letters::bury_parked(inner, group).await?;
    if let Some(known) = known(&*inner.cql, group).await? {
        try_join_all(known.incarnations.iter().map(|(incarnation, registered)| {
            // Just above what it removes: a registration that is made meanwhile stays.
            let values = vec![
                bigint(registered.next().0),
                text(group.as_str()),
                bigint(incarnation.0),
            ];
            inner.cql.run(Statement::ForgetGroup, values)
        }))
        .await?;
    }
    inner.groups.remember(group, None, inner.now());
    // What was parked by a node that had just seen that the group is known.
    letters::bury_parked(inner, group).await
}

impl CassandraStore {
    /// The incarnation of a group, or none while it is not known.
    async fn incarnation(&self, group: &GroupName) -> Result<Option<Stamp>, StoreError> {
        let (inner, now) = (&self.0, self.0.now());
        if let Some(incarnation) = inner.groups.remembered(group, now) {
            return Ok(Some(incarnation));
        }
        let known = known(&*inner.cql, group).await?;
        let incarnation = known.map(|known| known.incarnation());
        inner.groups.remember(group, incarnation, now);
        Ok(incarnation)
    }

    async fn note_registration(
        &self,
        group: &GroupName,
        incarnation: Stamp,
        now: Stamp,
    ) -> Result<(), StoreError> {
        // Written at its own time: a late one takes nothing back.
        let values = vec![
            text(group.as_str()),
            bigint(incarnation.0),
            bigint(now.0),
            bigint(now.0),
        ];
        self.0.cql.run(Statement::KnowGroup, values).await?;
        Ok(())
    }

    /// All logs: those that were begun, and those that this process writes.
    async fn all_logs(&self) -> Result<BTreeSet<Generation>, StoreError> {
        let begun = log::logs(&*self.0.cql).await?;
        let begun = begun.into_iter().map(|(generation, _)| generation);
        Ok(begun.chain(self.0.own_logs()).collect())
    }

    /// The end of every log that has one.
    async fn ends(&self) -> Result<Vec<(Generation, u64)>, StoreError> {
        let end = |generation| async move {
            let end = self.log_end(generation).await?;
            Ok::<_, StoreError>((generation, end))
        };
        let ends = try_join_all(self.all_logs().await?.into_iter().map(end)).await?;
        Ok(ends.into_iter().filter(|(_, end)| *end > 0).collect())
    }

    /// Writes cursors again before they go by their time, of logs that are still there: a group that has been at the end
    /// of a log for long says nothing of it.
    async fn refresh_cursors(&self, group: &GroupName, incarnation: Stamp) -> Result<(), StoreError> {
        let (inner, logs) = (&self.0, self.all_logs().await?);
        inner.groups.retain(group, &logs);
        let cursors = read_cursors(&*inner.cql, group, incarnation).await?;
        let half = inner.options.log_names_ttl_seconds() / 2;
        let due = cursors
            .into_iter()
            .filter(|(generation, (_, ttl))| *ttl < half && logs.contains(generation));
        try_join_all(due.map(|(generation, (cursor, _))| async move {
            let cursor = inner.groups.advance(group, generation, &cursor);
            write_cursor(inner, group, incarnation, generation, &cursor).await
        }))
        .await?;
        Ok(())
    }
}

#[async_trait]
impl GroupStore for CassandraStore {
    async fn register_group(&self, group: &GroupName, now: Stamp) -> Result<(), StoreError> {
        let inner = &self.0;
        let mut found = known(&*inner.cql, group).await?;
        let mut ends = Vec::new();
        if found.is_none() {
            // In this order: see the module.
            ends = self.ends().await?;
            found = known(&*inner.cql, group).await?;
        }
        if let Some(found) = found {
            let incarnation = found.incarnation();
            inner.groups.remember(group, Some(incarnation), inner.now());
            self.note_registration(group, incarnation, now).await?;
            return self.refresh_cursors(group, incarnation).await;
        }
        let incarnation = inner.next_stamp();
        // Before the group is known: a crash in between leaves cursors of nobody.
        try_join_all(ends.into_iter().map(|(generation, end)| async move {
            write_cursor(inner, group, incarnation, generation, &Cursor::at(end)).await
        }))
        .await?;
        self.note_registration(group, incarnation, now).await?;
        inner.groups.remember(group, Some(incarnation), inner.now());
        Ok(())
    }

    async fn groups(&self) -> Result<Vec<KnownGroup>, StoreError> {
        let rows = self.0.cql.run(Statement::KnownGroups, Vec::new()).await?;
        let known = known_of(&rows)?.into_iter().map(|(name, known)| {
            Ok(KnownGroup {
                name: name_of(&name)?,
                registered: known.registered(),
            })
        });
        known.collect()
    }

    async fn forget_group(&self, group: &GroupName) -> Result<(), StoreError> {
        forget(&self.0, group).await
    }

    async fn cursors(&self, group: &GroupName) -> Result<Vec<(Generation, Cursor)>, StoreError> {
        let Some(known) = known(&*self.0.cql, group).await? else {
            return Ok(Vec::new());
        };
        let cursors = read_cursors(&*self.0.cql, group, known.incarnation()).await?;
        Ok(cursors
            .into_iter()
            .map(|(generation, (cursor, _))| (generation, cursor))
            .collect())
    }

    async fn save_cursor(
        &self,
        group: &GroupName,
        generation: Generation,
        cursor: &Cursor,
    ) -> Result<(), StoreError> {
        let Some(incarnation) = self.incarnation(group).await? else {
            return Ok(());
        };
        let cursor = self.0.groups.advance(group, generation, cursor);
        write_cursor(&self.0, group, incarnation, generation, &cursor).await
    }

    async fn park(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        letters::park(&self.0, group, letter).await
    }

    async fn parked_logs(&self, group: &GroupName) -> Result<Vec<Generation>, StoreError> {
        letters::parked_logs(&self.0, group).await
    }

    async fn parked(&self, group: &GroupName, generation: Generation) -> Result<Vec<Letter>, StoreError> {
        letters::parked(&self.0, group, generation).await
    }

    async fn unpark(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        letters::unpark(&self.0, group, letter, self.0.next_stamp()).await
    }

    async fn bury(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        letters::bury(&self.0, group, letter).await
    }

    async fn dead_letters(
        &self,
        group: &GroupName,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Letter>, StoreError> {
        letters::dead(&self.0, group, after, limit).await
    }

    async fn dead_letter(&self, group: &GroupName, id: EventId) -> Result<Option<Letter>, StoreError> {
        letters::dead_one(&self.0, group, id).await
    }

    async fn remove_dead_letter(&self, group: &GroupName, id: EventId) -> Result<(), StoreError> {
        letters::remove_one(&self.0, group, id).await
    }

    async fn remove_dead_letters(&self, group: &GroupName) -> Result<u64, StoreError> {
        letters::remove_all(&self.0, group).await
    }

    async fn groups_with_dead_letters(&self) -> Result<Vec<(GroupName, u64)>, StoreError> {
        letters::counts(&self.0).await
    }
}
