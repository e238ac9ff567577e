//! A node without sessions: the embedded store, the log on its thread, the bus with a thread for each listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use mailhorn_core::events::{BusDeps, Dispatch, EventBus, Members, Threads};
use mailhorn_core::log::{self, Log, LogDeps, LogHandle, LogOptions, Outcome};
use mailhorn_core::mailbox::Mailboxes;
use mailhorn_core::metrics::Metrics;
use mailhorn_core::observe::Kinds;
use mailhorn_core::supervisor::{Supervise, Supervisor};
use mailhorn_embedded::{EmbeddedStore, Surroundings};
use mailhorn_events::{Event, Happened, Happening, MailboxId};
use mailhorn_ports::{
    Account, Change, Clock, Credentials, Delivery, Directory, Forever, GroupName, GroupStore, Handled, Ids,
    Listener, ListenerOptions, MailStore, NewAccount, Octets, Random, Recipient, Scope, Verdict,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

const ACCOUNTS: usize = 100;
const MESSAGE_OCTETS: usize = 10 * 1024;
const ANNOUNCERS: u64 = 64;
const PAGE: usize = 256;

#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    fn now_micros(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

/// Differs from call to call, which is all that names need here.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, octets: &mut [u8]) {
        for chunk in octets.chunks_mut(8) {
            let n = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            for (octet, random) in chunk.iter_mut().zip((n ^ (n >> 29)).to_le_bytes()) {
                *octet = random;
            }
        }
    }
}

/// A listener that counts.
#[derive(Debug)]
pub(crate) struct Counter(watch::Sender<u64>);

impl Counter {
    /// Waits until it had so many events.
    pub(crate) async fn wait(&self, events: u64) {
        let mut count = self.0.subscribe();
        // The sender is this counter's own.
        drop(count.wait_for(|count| *count >= events).await);
    }
}

#[async_trait]
impl Listener for Counter {
    async fn handle(&self, _: &Happened) -> Handled {
        self.0.send_modify(|count| *count += 1);
        Handled::Done
    }
}

pub(crate) struct Rig {
    folder: Arc<TempDir>,
    store: EmbeddedStore,
    ids: Ids,
    log: LogHandle,
    bus: EventBus,
    accounts: Vec<Arc<Account>>,
}

impl Rig {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mailhorn-events").tempdir()?;
        Self::open(Arc::new(folder)).await
    }

    /// A new life on the same folder.
    pub(crate) async fn again(self) -> anyhow::Result<Self> {
        let folder = Arc::clone(&self.folder);
        self.end().await;
        Self::open(folder).await
    }

    async fn open(folder: Arc<TempDir>) -> anyhow::Result<Self> {
        let random: Arc<dyn Random> = Arc::new(Counting::default());
        let surroundings = Surroundings {
            runtime: tokio::runtime::Handle::current(),
            random: Arc::clone(&random),
            faults: None,
        };
        let store = EmbeddedStore::open(folder.path(), Default::default(), surroundings)?;
        let ids = Ids::new(Arc::new(WallClock), random, store.highest_stamp().await?);
        let generation = ids.generation();
        store.begin_log(generation, "bench").await?;
        let kinds = Arc::new(Kinds::default());
        let metrics = Arc::new(Metrics::new(Arc::clone(&kinds)).0);
        let mail: Arc<dyn MailStore> = Arc::new(store.clone());
        let mailboxes = Mailboxes::new(
            Arc::clone(&mail),
            Duration::from_secs(60),
            Arc::clone(&kinds.mailbox),
            Arc::clone(&metrics),
        );
        let dispatch = Dispatch::new(mailboxes, Arc::clone(&metrics), Arc::clone(&kinds.key_listener));
        let options = LogOptions {
            append_deadline: Duration::from_secs(60),
            queue_changes_max: log::QUEUE_CHANGES_MAX_DEFAULT,
            group_changes_max: log::GROUP_CHANGES_MAX_DEFAULT,
            maintain_pause: log::MAINTAIN_PAUSE_DEFAULT,
            retention: Duration::from_secs(7 * 86_400),
            sync_timeout: Duration::from_millis(250),
            duplicate_window: Duration::from_secs(86_400),
        };
        let (handle, queue) = log::queue(&options, Arc::clone(&kinds.log), Arc::clone(&metrics));
        let deps = LogDeps {
            store: Arc::clone(&mail),
            dispatch: dispatch.clone(),
            ids: ids.clone(),
            generation,
            lease: Arc::new(Forever),
            options,
            metrics: Arc::clone(&metrics),
            kind: Arc::clone(&kinds.log),
        };
        let (fatal, _) = mpsc::channel(1);
        let supervisor = Supervisor::new(Arc::clone(&kinds.supervisor), fatal).start();
        let child = Supervise {
            child: "log".into(),
            kind: Arc::clone(&kinds.log),
            essential: true,
            factory: Box::new(move |guard| {
                Log::new(deps.clone(), queue.clone(), guard).start();
            }),
        };
        supervisor.send(child).await?;
        let bus = EventBus::new(BusDeps {
            mail,
            store: Arc::new(store.clone()),
            dispatch,
            log: handle.clone(),
            ids: ids.clone(),
            generation,
            node: "bench".parse()?,
            members: watch::channel(Arc::new(Members::alone(generation))).1,
            supervisor,
            home: Arbiter::new().handle(),
            threads: Threads::Own,
            retention: options.retention,
            metrics,
            kinds,
        });
        let accounts = accounts(&store, &ids).await?;
        Ok(Self {
            folder,
            store,
            ids,
            log: handle,
            bus,
            accounts,
        })
    }

    fn group(n: usize) -> anyhow::Result<GroupName> {
        Ok(format!("group-{n}").parse()?)
    }

    /// Makes groups known without running them, so that what comes is kept for them.
    pub(crate) async fn make_known(&self, groups: usize) -> anyhow::Result<()> {
        for n in 0..groups {
            self.store
                .register_group(&Self::group(n)?, self.ids.now())
                .await?;
        }
        Ok(())
    }

    /// Runs groups that count.
    pub(crate) async fn register(&self, groups: &[usize]) -> anyhow::Result<Vec<Arc<Counter>>> {
        let mut counters = Vec::new();
        for n in groups {
            let counter = Arc::new(Counter(watch::Sender::new(0)));
            let listener = Arc::clone(&counter) as Arc<dyn Listener>;
            let options = ListenerOptions::default();
            self.bus
                .register_group(Self::group(*n)?, Scope::Local, listener, options)
                .await?;
            counters.push(counter);
        }
        Ok(counters)
    }

    /// Announces events, each as a change of its own, from many tasks.
    pub(crate) async fn announce(&self, events: u64) -> anyhow::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..ANNOUNCERS {
            let (bus, account) = (self.bus.clone(), Arc::clone(self.account(task)?));
            let share = events / ANNOUNCERS + u64::from(task < events % ANNOUNCERS);
            tasks.spawn(async move {
                for n in 0..share {
                    let event = Event {
                        user: account.address.clone(),
                        account: account.id,
                        mailbox: Some(MailboxId::inbox(account.id)),
                        happening: Happening::MailboxAdded { name: n.to_string() },
                    };
                    let outcome = bus.announce(vec![event]).await;
                    anyhow::ensure!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
                }
                Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    fn account(&self, n: u64) -> anyhow::Result<&Arc<Account>> {
        let place = usize::try_from(n)? % self.accounts.len();
        self.accounts.get(place).context("there are accounts")
    }

    /// Reads every record of every log; gives how many events they hold.
    pub(crate) async fn read_log(&self) -> anyhow::Result<u64> {
        let mut events = 0;
        for (log, _) in self.store.logs().await? {
            let mut from = 1;
            loop {
                let entries = self.store.records(log, from, PAGE).await?;
                let Some(last) = entries.last() else { break };
                from = last.number + 1;
                for entry in entries {
                    events += entry.record.map_or(0, |record| record.events.len() as u64);
                }
            }
        }
        Ok(events)
    }

    /// Delivers for a while; gives deliveries a second.
    pub(crate) async fn deliver(&self, senders: usize, time: Duration) -> anyhow::Result<f64> {
        let content = Bytes::from(vec![b'x'; MESSAGE_OCTETS]);
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for sender in 0..senders {
            let (log, ids, content) = (self.log.clone(), self.ids.clone(), content.clone());
            let accounts = self.accounts.clone();
            tasks.spawn(async move {
                let mut delivered = 0u64;
                while begun.elapsed() < time {
                    let place = (sender + usize::try_from(delivered)? * senders) % accounts.len();
                    let account = accounts.get(place).context("there are accounts")?;
                    let outcome = log
                        .append(Change::Deliver(delivery(&ids, account, &content)))
                        .await;
                    let done = matches!(outcome, Outcome::Done(Verdict::Delivered(_)));
                    anyhow::ensure!(done, "{outcome:?}");
                    delivered += 1;
                }
                anyhow::Ok(delivered)
            });
        }
        let mut delivered = 0;
        while let Some(ended) = tasks.join_next().await {
            delivered += ended??;
        }
        Ok(delivered as f64 / begun.elapsed().as_secs_f64())
    }

    pub(crate) async fn end(self) {
        self.bus.finish(Duration::from_secs(10)).await;
        self.log.finish().await;
    }
}

fn delivery(ids: &Ids, account: &Account, content: &Bytes) -> Delivery {
    Delivery {
        event: ids.event(),
        message: ids.message(),
        octets: Octets {
            size: content.len() as u64,
            stored_chunks: 0,
            tail: content.clone(),
        },
        recipients: vec![Recipient {
            user: account.address.clone(),
            account: account.id,
            mailbox: MailboxId::inbox(account.id),
            prefix: Bytes::from_static(b"Return-Path: <>\r\nDelivered-To: somebody@example.org\r\n"),
            note: None,
        }],
    }
}

async fn accounts(store: &EmbeddedStore, ids: &Ids) -> anyhow::Result<Vec<Arc<Account>>> {
    let present = store.accounts(None, ACCOUNTS).await?;
    if present.len() == ACCOUNTS {
        return Ok(present);
    }
    store.add_domain("example.org").await?;
    let mut accounts = Vec::new();
    for n in 0..ACCOUNTS {
        let credentials = Credentials {
            stamp: ids.stamp(),
            hash: String::new(),
            scram: None,
            app_passwords: Vec::new(),
        };
        let account = NewAccount {
            id: ids.account(),
            address: format!("user-{n}@example.org"),
            credentials,
            created: ids.stamp(),
        };
        accounts.push(store.add_account(account).await?);
    }
    Ok(accounts)
}
