//! [`MailStore`] on Cassandra.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::future::{join_all, try_join, try_join_all};
use mailhorn_events::{Generation, MailboxId, MessageId, Stamp};
use mailhorn_ports::{
    Clock, CommitError, Committed, Figure, Group, Lease, LogEntry, MailStore, Maintained, Part, Random,
    ReadError, Retention, StoreError, ViewRow,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

use crate::groups::{self, Groups};
use crate::line::Line;
use crate::log::{self, Parts};
use crate::notes::Notes;
use crate::options::Options;
use crate::quota::Unlimited;
use crate::session::{Cql, Health, OpenError, Servers};
use crate::statements::Statement;
use crate::sweep::{self, Sweep};
use crate::uploads::Uploads;
use crate::usage::Counting;
use crate::values::{bigint, blob, int, uuid};
use crate::view;

/// Rows that summing a mailbox up asks for at once.
const FIGURE_ROWS: usize = 5_000;
/// Messages that reading ahead asks for at once.
const READ_AHEAD_MESSAGES: usize = 8;

/// What the store takes from outside.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where connections live, whoever asks first, and what nobody waits for runs. It must outlast those who ask.
    pub runtime: Handle,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Whether this process may still speak for its log.
    pub lease: Arc<dyn Lease>,
}

/// An open keyspace. Clones are handles on the same.
#[derive(Debug, Clone)]
pub struct CassandraStore(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) cql: Arc<dyn Cql>,
    pub(crate) options: Options,
    pub(crate) runtime: Handle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) lease: Arc<dyn Lease>,
    pub(crate) notes: Notes,
    pub(crate) parts: Parts,
    pub(crate) groups: Groups,
    pub(crate) unlimited: Unlimited,
    pub(crate) counting: Counting,
    pub(crate) uploads: Uploads,
    pub(crate) sweep: Sweep,
    lines: Mutex<BTreeMap<Generation, Arc<Line>>>,
    /// The highest stamp that this process wrote or read.
    stamp: AtomicU64,
}

impl CassandraStore {
    /// Opens the keyspace, and makes what is missing of it.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which names the setting to mend.
    pub async fn open(options: Options, surroundings: Surroundings) -> Result<Self, OpenError> {
        let servers = Servers::open(&options, &surroundings);
        let servers = TokioContext::new(servers, surroundings.runtime.clone()).await?;
        Ok(Self::on(Arc::new(servers), options, surroundings))
    }

    /// A store on whatever answers statements.
    pub(crate) fn on(cql: Arc<dyn Cql>, options: Options, surroundings: Surroundings) -> Self {
        Self(Arc::new(Inner {
            cql,
            options,
            runtime: surroundings.runtime,
            clock: surroundings.clock,
            lease: surroundings.lease,
            notes: Notes::default(),
            parts: Parts::default(),
            groups: Groups::new(&*surroundings.random),
            random: surroundings.random,
            unlimited: Unlimited::default(),
            counting: Counting::default(),
            uploads: Uploads::default(),
            sweep: Sweep::default(),
            lines: Mutex::default(),
            stamp: AtomicU64::new(0),
        }))
    }

    /// Random octets that all processes on this keyspace have in common; made by the first that asks.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn installation_secret(&self, random: &dyn Random) -> Result<[u8; 32], StoreError> {
        let mut secret = [0; 32];
        random.fill(&mut secret);
        if self.0.cql.run(Statement::Secret, Vec::new()).await?.is_empty() {
            self.0.cql.run(Statement::MakeSecret, vec![blob(&secret)]).await?;
        }
        let rows = self.0.cql.run(Statement::Secret, Vec::new()).await?;
        let made = rows.first().map(|row| row.blob(0)).unwrap_or_default();
        let misshapen = |_| StoreError::Damaged("the installation's secret has another length".into());
        made[..].try_into().map_err(misshapen)
    }

    /// How the servers are, as this process sees them.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.cql.health()
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Stamp {
        Stamp(self.clock.now_micros())
    }

    pub(crate) fn saw(&self, stamp: Stamp) {
        self.stamp.fetch_max(stamp.0, Ordering::Relaxed);
    }

    /// A stamp above all that this process wrote or read, and not below its clock.
    pub(crate) fn next_stamp(&self) -> Stamp {
        let now = self.clock.now_micros();
        let next = |last: u64| now.max(last.saturating_add(1));
        let last = self
            .stamp
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        Stamp(next(last.unwrap_or_else(|last| last)))
    }

    /// The logs that this process writes.
    pub(crate) fn own_logs(&self) -> Vec<Generation> {
        self.lines.lock().keys().copied().collect()
    }

    /// This process's log of that name.
    pub(crate) fn line(&self, generation: Generation) -> Arc<Line> {
        Arc::clone(self.lines.lock().entry(generation).or_default())
    }

    /// This process's log of that name, if it writes one.
    pub(crate) fn own_line(&self, generation: Generation) -> Option<Arc<Line>> {
        self.lines.lock().get(&generation).cloned()
    }

    pub(crate) async fn put_chunk(
        &self,
        message: MessageId,
        index: u32,
        octets: &[u8],
    ) -> Result<(), StoreError> {
        let index = int(i32::try_from(index).unwrap_or(i32::MAX));
        let values = vec![uuid(message.0), index, blob(octets), bigint(message.stamp().0)];
        self.cql.run(Statement::PutChunk, values).await?;
        Ok(())
    }

    async fn chunk(&self, message: MessageId, index: u32) -> Result<Option<Bytes>, StoreError> {
        let index = int(i32::try_from(index).unwrap_or(i32::MAX));
        let rows = self
            .cql
            .run(Statement::Chunk, vec![uuid(message.0), index])
            .await?;
        Ok(rows.first().map(|row| row.blob(0)))
    }

    /// After a listing from the beginning: raises the start, and forgets what is below it and gone. Nobody waits for it.
    fn raise_later(self: &Arc<Self>, mailbox: MailboxId, page: &view::Page, was_read: Stamp) {
        let raised = page.start.raised(page.first, was_read);
        let has_below = !page.start.below.is_empty();
        if raised.is_none() && !has_below {
            return;
        }
        let (inner, page) = (Arc::clone(self), page.clone());
        self.runtime.spawn(async move {
            let forgotten = view::forget_below(&*inner.cql, mailbox, &page, was_read).await;
            let raised = match raised {
                Some(at) => view::raise(&*inner.cql, mailbox, at).await,
                None => Ok(()),
            };
            if let Err(error) = forgotten.and(raised) {
                tracing::debug!(%mailbox, %error, "a listing's start stays where it was");
            }
        });
    }
}

#[async_trait]
impl MailStore for CassandraStore {
    async fn put_chunk(&self, message: MessageId, index: u32, octets: Bytes) -> Result<(), StoreError> {
        if index == 0 {
            let generation = self.0.lines.lock().keys().next_back().copied();
            if let Some(generation) = generation {
                self.0.announce_upload(generation, &[message]).await?;
            }
        }
        self.0.put_chunk(message, index, &octets).await?;
        self.0.uploads.wrote(message, index, self.0.now());
        Ok(())
    }

    async fn commit(&self, group: &Group) -> Result<Committed, CommitError> {
        self.0.line(group.generation).commit(&self.0, group).await
    }

    async fn begin_log(&self, generation: Generation, node: &str) -> Result<(), StoreError> {
        log::name_log(&*self.0.cql, &self.0.options, generation, node, self.0.now()).await?;
        self.0.line(generation);
        Ok(())
    }

    async fn logs(&self) -> Result<Vec<(Generation, String)>, StoreError> {
        log::logs(&*self.0.cql).await
    }

    async fn log_end(&self, generation: Generation) -> Result<u64, StoreError> {
        if let Some(line) = self.0.own_line(generation) {
            return line.end(&self.0, generation).await;
        }
        let cql = &*self.0.cql;
        let (last, sealed) =
            try_join(self.0.parts.last(cql, generation), log::sealed(cql, generation)).await?;
        let last = last.map_or(0, |append| append.last);
        Ok(sealed.unwrap_or(last))
    }

    async fn records(
        &self,
        generation: Generation,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let (cql, from) = (&*self.0.cql, from.max(1));
        let is_own = self.0.own_line(generation).is_some();
        let mut entries = Vec::new();
        let mut next = from;
        let kept = u64::try_from(self.0.options.retention.as_micros()).unwrap_or(u64::MAX);
        let kept_since = Stamp(self.0.now().0.saturating_sub(kept));
        loop {
            let appends = self.0.parts.appends(cql, generation, next).await?;
            // The seal is read after the records: what was appended behind it is not shown.
            let sealed = if is_own {
                None
            } else {
                log::sealed(cql, generation).await?
            };
            if appends.is_empty() {
                let fell_out = sealed.filter(|last| entries.is_empty() && *last >= from && *last > 0);
                return Ok(fell_out.map(log::fell_out).into_iter().chain(entries).collect());
            }
            let read = log::readable(
                appends,
                next,
                sealed,
                kept_since,
                limit.saturating_sub(entries.len()),
            );
            let Some(last) = read.last().map(|entry| entry.number) else {
                return Ok(entries);
            };
            entries.extend(read);
            if entries.len() >= limit {
                return Ok(entries);
            }
            next = last.saturating_add(1);
        }
    }

    async fn highest_stamp(&self) -> Result<Stamp, StoreError> {
        Ok(Stamp(self.0.stamp.load(Ordering::Relaxed)))
    }

    async fn list(
        &self,
        mailbox: MailboxId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<ViewRow>, StoreError> {
        let was_read = self.0.now();
        let page = view::page(&*self.0.cql, mailbox, after, limit).await?;
        if after.is_none() && page.reaches_start {
            self.0.raise_later(mailbox, &page, was_read);
        }
        if let Some(highest) = page.rows.iter().map(|row| row.stamp).max() {
            self.0.saw(highest);
        }
        Ok(page.rows)
    }

    async fn figure(&self, mailbox: MailboxId) -> Result<Figure, StoreError> {
        let (mut figure, mut after) = (Figure::default(), None);
        loop {
            let page = view::page(&*self.0.cql, mailbox, after, FIGURE_ROWS).await?;
            for row in &page.rows {
                figure.messages = figure.messages.saturating_add(1);
                figure.octets = figure.octets.saturating_add(row.size);
            }
            after = page.rows.last().map(|row| row.message);
            if page.rows.len() < FIGURE_ROWS {
                return Ok(figure);
            }
        }
    }

    async fn read(&self, mailbox: MailboxId, message: MessageId, part: u32) -> Result<Part, ReadError> {
        let unavailable = |error: StoreError| match error {
            StoreError::Unavailable(why) => ReadError::Unavailable(why),
            StoreError::Damaged(_) => ReadError::Damaged,
        };
        let row = self
            .0
            .cql
            .run(Statement::RowForReading, vec![uuid(mailbox.0), uuid(message.0)]);
        let (rows, chunk) = try_join(row, self.0.chunk(message, part))
            .await
            .map_err(unavailable)?;
        let row = rows.first().ok_or(ReadError::Expunged)?;
        let chunks = u32::try_from(row.small(1).map_err(unavailable)?).unwrap_or(0);
        let mut octets = BytesMut::new();
        if part == 0 {
            octets.extend_from_slice(&row.blob(0));
        }
        if part < chunks {
            octets.extend_from_slice(&chunk.ok_or(ReadError::Missing)?);
        }
        Ok(Part {
            octets: octets.freeze(),
            more: part.saturating_add(1) < chunks,
        })
    }

    async fn read_ahead(&self, mailbox: MailboxId, messages: &[MessageId], octets_max: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut octets = 0usize;
        // The first by itself, for it may be all that there is room for; then several at once.
        let (first, rest) = messages.split_at(messages.len().min(1));
        for messages in [first].into_iter().chain(rest.chunks(READ_AHEAD_MESSAGES)) {
            let read = join_all(messages.iter().map(|message| self.read(mailbox, *message, 0))).await;
            for part in read {
                let Ok(part) = part else { return parts };
                octets = octets.saturating_add(part.octets.len());
                parts.push(part);
                if octets >= octets_max {
                    return parts;
                }
            }
        }
        parts
    }

    async fn maintain(&self, retention: Retention) -> Result<Maintained, StoreError> {
        // Records, logs and notes go by their time, in Cassandra itself.
        self.0.notes.expire(retention.notes_since);
        groups::forget_groups(&self.0, retention.groups_before).await?;
        sweep::begin(&self.0);
        Ok(Maintained::default())
    }

    async fn close(&self) -> Result<(), StoreError> {
        let lines: Vec<(Generation, Arc<Line>)> = self
            .0
            .lines
            .lock()
            .iter()
            .map(|(generation, line)| (*generation, Arc::clone(line)))
            .collect();
        try_join_all(
            lines
                .iter()
                .map(|(generation, line)| line.end(&self.0, *generation)),
        )
        .await?;
        Ok(())
    }
}
