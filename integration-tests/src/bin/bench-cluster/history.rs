//! What opening a maildrop costs: one of many messages, and one that took and lost many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use mailhorn_cassandra::{CassandraStore, Options as StoreOptions, Surroundings};
use mailhorn_events::{MailboxId, MessageId, Stamp};
use mailhorn_ports::{
    Account, Change, Clock, Delivery, Directory as _, Expunge, Forever, Group, Ids, MailStore as _, Octets,
    Random, Recipient,
};

use crate::load::user;
use crate::nodes::{ACCOUNTS, Nodes};
use crate::{Options, median, progress};

/// Messages that come, or go, at a time.
const GROUP: usize = 250;
/// Messages between two log-ins that empty the maildrop.
const ROUND: usize = 1_000;
const DAY: u64 = 86_400_000_000;
/// How often each maildrop is opened; the median counts.
const OPENINGS: usize = 21;

#[derive(Debug)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, octets: &mut [u8]) {
        for chunk in octets.chunks_mut(8) {
            let next = self
                .0
                .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
                .to_be_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}

/// A process of its own on the nodes' keyspace, with a clock that is set.
struct Process {
    store: CassandraStore,
    clock: Arc<Hand>,
    ids: Ids,
    generation: mailhorn_events::Generation,
    next: u64,
}

fn now() -> anyhow::Result<u64> {
    Ok(u64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros(),
    )?)
}

impl Process {
    /// Its ids begin at `begin` (microseconds), for they never go back. A store opens only with the right time.
    async fn open(nodes: &Nodes, begin: u64) -> anyhow::Result<Self> {
        let clock = Arc::new(Hand(now()?.into()));
        let random: Arc<dyn Random> = Arc::new(Counting(now()?.into()));
        let surroundings = Surroundings {
            runtime: tokio::runtime::Handle::current(),
            clock: Arc::clone(&clock) as _,
            random: Arc::clone(&random),
            lease: Arc::new(Forever),
        };
        let options = StoreOptions::local(&nodes.cassandra, "dc1", &nodes.keyspace);
        let store = CassandraStore::open(options, surroundings).await?;
        clock.0.store(begin, Ordering::Relaxed);
        let ids = Ids::new(Arc::clone(&clock) as _, random, Stamp(0));
        let generation = ids.generation();
        store.begin_log(generation, "history").await?;
        Ok(Self {
            store,
            clock,
            ids,
            generation,
            next: 1,
        })
    }

    async fn account(&self, number: usize) -> anyhow::Result<Arc<Account>> {
        self.store
            .account(&user(number))
            .await?
            .context("the account is there")
    }

    async fn commit(&mut self, changes: Vec<Change>) -> anyhow::Result<()> {
        let group = Group {
            generation: self.generation,
            first: self.next,
            now: self.ids.now(),
            notes_since: Stamp(0),
            changes,
        };
        self.next += self.store.commit(&group).await?.records.len() as u64;
        Ok(())
    }

    /// Messages without octets: what is measured is their rows.
    async fn deliver(&mut self, account: &Account, count: usize) -> anyhow::Result<Vec<MessageId>> {
        let deliveries: Vec<Delivery> = (0..count).map(|_| self.delivery(account)).collect();
        let messages = deliveries.iter().map(|delivery| delivery.message).collect();
        self.commit(deliveries.into_iter().map(Change::Deliver).collect())
            .await?;
        Ok(messages)
    }

    fn delivery(&self, account: &Account) -> Delivery {
        Delivery {
            event: self.ids.event(),
            message: self.ids.message(),
            octets: Octets {
                size: 0,
                stored_chunks: 0,
                tail: Bytes::new(),
            },
            recipients: vec![Recipient {
                user: account.address.clone(),
                account: account.id,
                mailbox: MailboxId::inbox(account.id),
                prefix: Bytes::from_static(b"Return-Path: <>\r\n"),
                note: None,
            }],
        }
    }

    async fn expunge(&mut self, account: &Account, messages: Vec<MessageId>) -> anyhow::Result<()> {
        let expunge = Expunge {
            event: self.ids.event(),
            stamp: self.ids.stamp(),
            user: account.address.clone(),
            account: account.id,
            mailbox: MailboxId::inbox(account.id),
            messages,
        };
        self.commit(vec![Change::Expunge(expunge)]).await
    }

    /// What a log-in reads.
    async fn open_maildrop(&self, account: &Account) -> anyhow::Result<usize> {
        let (mailbox, mut after, mut rows) = (MailboxId::inbox(account.id), None, 0);
        loop {
            let page = self.store.list(mailbox, after, 1_000).await?;
            rows += page.len();
            after = page.last().map(|row| row.message);
            if page.len() < 1_000 {
                return Ok(rows);
            }
        }
    }

    async fn millis(&self, account: &Account) -> anyhow::Result<f64> {
        let mut millis = Vec::new();
        for _ in 0..OPENINGS {
            let began = Instant::now();
            self.open_maildrop(account).await?;
            millis.push(began.elapsed().as_secs_f64() * 1e3);
        }
        Ok(median(millis))
    }
}

/// A maildrop of many messages beside one of twenty.
pub(crate) async fn opening(options: &Options, nodes: &Nodes) -> anyhow::Result<String> {
    let mut process = Process::open(nodes, now()?).await?;
    let (many, few) = (
        process.account(ACCOUNTS - 1).await?,
        process.account(ACCOUNTS - 2).await?,
    );
    for _ in 0..options.messages.div_ceil(GROUP) {
        process.deliver(&many, GROUP).await?;
    }
    process.deliver(&few, 20).await?;
    let (many, few) = (process.millis(&many).await?, process.millis(&few).await?);
    Ok(format!(
        "opening a maildrop of {} messages: {many:.1} ms; of 20: {few:.2} ms",
        options.messages
    ))
}

/// A maildrop that took and lost many messages over a day, each thousand emptied by a log-in, beside a new one.
pub(crate) async fn tombstones(options: &Options, nodes: &Nodes) -> anyhow::Result<String> {
    let (begin, rounds) = (now()? - DAY, options.tombstones.div_ceil(ROUND) as u64);
    let mut process = Process::open(nodes, begin).await?;
    let (old, new) = (
        process.account(ACCOUNTS - 3).await?,
        process.account(ACCOUNTS - 4).await?,
    );
    let began = Instant::now();
    for round in 0..rounds {
        process
            .clock
            .0
            .store(begin + round * DAY / rounds, Ordering::Relaxed);
        let mut messages = Vec::new();
        for _ in 0..ROUND / GROUP {
            messages.extend(process.deliver(&old, GROUP).await?);
        }
        // A log-in lists before it deletes, and that is what moves the start on.
        process.open_maildrop(&old).await?;
        process.expunge(&old, messages).await?;
        if round % 100 == 99 {
            let millis = process.millis(&old).await?;
            progress(&format!(
                "tombstones: {} after {:.0?}, opens in {millis:.2} ms",
                (round + 1) * ROUND as u64,
                began.elapsed()
            ));
        }
    }
    process.clock.0.store(now()?, Ordering::Relaxed);
    let (old, new) = (process.millis(&old).await?, process.millis(&new).await?);
    Ok(format!(
        "a maildrop that took and lost {} messages over a day opens in {old:.2} ms, a new one in {new:.2} ms: ratio {:.2}",
        options.tombstones,
        old / new
    ))
}
