//! Actors come and go: nothing is kept that nobody uses, and nothing is lost when one panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use bytes::Bytes;
use mailhorn_core::events::Dispatch;
use mailhorn_core::log::{self, Log, LogDeps, LogOptions, Outcome};
use mailhorn_core::mailbox::{LOCK_WAITERS_MAX, LockMode, Mailboxes, OpenError};
use mailhorn_core::metrics::Metrics;
use mailhorn_core::observe::Kinds;
use mailhorn_core::supervisor::{Supervise, Supervisor};
use mailhorn_events::{AccountId, Generation, MailboxId, MessageId, Stamp};
use mailhorn_ports::memory::{ManualClock, MemoryStore, SeededRandom};
use mailhorn_ports::{
    Change, CommitError, Committed, Delivery, Directory, Figure, Forever, Group, Ids, LogEntry, MailStore,
    Maintained, NewAccount, Octets, Part, ReadError, Recipient, Retention, StoreError, ViewRow,
};

use crate::world::{Knobs, World};

#[actix::test]
async fn a_session_that_ended_leaves_no_actor_behind() {
    let world = World::start(Knobs::default()).await;
    for _ in 0..5 {
        world.listed("ann").await;
    }
    world.deliver(&["ann"], "\r\n").await;
    while world.kinds.pop3.alive() + world.kinds.lmtp.alive() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.kinds.pop3.snapshot().started, 5);
    assert_eq!(
        world.mailboxes.in_use(),
        1,
        "the mailbox stays for a while, for the next session"
    );
}

#[actix::test]
async fn waiting_for_a_lock_is_bounded_in_time_and_in_number() {
    let world = World::start(Knobs::default()).await;
    let account = world.store.account("ann@example.org").await.unwrap().unwrap();
    let held = world
        .mailboxes
        .open(account.id, LockMode::Exclusive, Duration::ZERO)
        .await
        .unwrap();
    let waiting: Vec<_> = (0..LOCK_WAITERS_MAX)
        .map(|_| {
            let (mailboxes, id) = (world.mailboxes.clone(), account.id);
            actix_rt::spawn(async move {
                mailboxes
                    .open(id, LockMode::Exclusive, Duration::from_secs(20))
                    .await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let one_too_many = world
        .mailboxes
        .open(account.id, LockMode::Exclusive, Duration::from_secs(20))
        .await;
    assert!(matches!(one_too_many, Err(OpenError::InUse)));
    drop(held);
    for waiting in waiting {
        drop(waiting.await.unwrap().unwrap());
    }
    world
        .mailboxes
        .open(account.id, LockMode::Exclusive, Duration::ZERO)
        .await
        .unwrap();
}

/// A store that panics, as a bug in it would, in its first commit and its first listing.
#[derive(Debug, Default)]
struct Buggy {
    store: MemoryStore,
    commits: AtomicU32,
    listings: AtomicU32,
}

fn panic_the_first_time(count: &AtomicU32) {
    if count.fetch_add(1, Ordering::Relaxed) == 0 {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

#[async_trait]
impl MailStore for Buggy {
    async fn put_chunk(&self, message: MessageId, index: u32, octets: Bytes) -> Result<(), StoreError> {
        self.store.put_chunk(message, index, octets).await
    }

    async fn commit(&self, group: &Group) -> Result<Committed, CommitError> {
        panic_the_first_time(&self.commits);
        self.store.commit(group).await
    }

    async fn begin_log(&self, generation: Generation, node: &str) -> Result<(), StoreError> {
        self.store.begin_log(generation, node).await
    }

    async fn logs(&self) -> Result<Vec<(Generation, String)>, StoreError> {
        self.store.logs().await
    }

    async fn log_end(&self, generation: Generation) -> Result<u64, StoreError> {
        self.store.log_end(generation).await
    }

    async fn records(
        &self,
        generation: Generation,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        self.store.records(generation, from, limit).await
    }

    async fn highest_stamp(&self) -> Result<Stamp, StoreError> {
        self.store.highest_stamp().await
    }

    async fn list(
        &self,
        mailbox: MailboxId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<ViewRow>, StoreError> {
        panic_the_first_time(&self.listings);
        self.store.list(mailbox, after, limit).await
    }

    async fn figure(&self, mailbox: MailboxId) -> Result<Figure, StoreError> {
        self.store.figure(mailbox).await
    }

    async fn read(&self, mailbox: MailboxId, message: MessageId, part: u32) -> Result<Part, ReadError> {
        self.store.read(mailbox, message, part).await
    }

    async fn read_ahead(&self, mailbox: MailboxId, messages: &[MessageId], octets_max: usize) -> Vec<Part> {
        self.store.read_ahead(mailbox, messages, octets_max).await
    }

    async fn maintain(&self, retention: Retention) -> Result<Maintained, StoreError> {
        self.store.maintain(retention).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

fn ids() -> Ids {
    let clock = ManualClock::new(1_767_225_600_000_000);
    Ids::new(Arc::new(clock), Arc::new(SeededRandom::new(1)), Stamp(0))
}

async fn account(store: &MemoryStore, ids: &Ids) -> AccountId {
    store.add_domain("example.org").await.unwrap();
    let credentials = mailhorn_ports::Credentials {
        stamp: ids.stamp(),
        hash: String::new(),
        scram: None,
        app_passwords: Vec::new(),
    };
    let account = NewAccount {
        id: ids.account(),
        address: "ann@example.org".into(),
        credentials,
        created: ids.stamp(),
    };
    store.add_account(account).await.unwrap().id
}

fn delivery(ids: &Ids, account: AccountId) -> Change {
    let recipient = Recipient {
        user: "ann@example.org".into(),
        account,
        mailbox: MailboxId::inbox(account),
        prefix: Bytes::new(),
        note: None,
    };
    let octets = Octets {
        size: 2,
        stored_chunks: 0,
        tail: Bytes::from_static(b"\r\n"),
    };
    Change::Deliver(Delivery {
        event: ids.event(),
        message: ids.message(),
        octets,
        recipients: vec![recipient],
    })
}

#[actix::test]
async fn a_log_that_panics_answers_unknown_and_is_replaced_by_one_that_goes_on() {
    let kinds = Kinds::default();
    let metrics = Arc::new(Metrics::new(Arc::default()).0);
    let buggy = Arc::new(Buggy::default());
    let ids = ids();
    let account = account(&buggy.store, &ids).await;
    let store: Arc<dyn MailStore> = Arc::clone(&buggy) as _;
    let idle = Duration::from_secs(60);
    let mailboxes = Mailboxes::new(
        Arc::clone(&store),
        idle,
        Arc::clone(&kinds.mailbox),
        Arc::clone(&metrics),
    );
    let options = LogOptions {
        append_deadline: Duration::from_secs(20),
        queue_changes_max: 8,
        group_changes_max: 8,
        maintain_pause: Duration::from_secs(3_600),
        retention: Duration::from_secs(3_600),
        sync_timeout: Duration::from_millis(250),
        duplicate_window: Duration::ZERO,
    };
    let (log, queue) = log::queue(&options, Arc::clone(&kinds.log), Arc::clone(&metrics));
    let deps = LogDeps {
        store,
        dispatch: Dispatch::new(mailboxes, Arc::clone(&metrics), Arc::clone(&kinds.key_listener)),
        ids: ids.clone(),
        generation: ids.generation(),
        lease: Arc::new(Forever),
        options,
        metrics,
        kind: Arc::clone(&kinds.log),
    };
    let (fatal, _) = tokio::sync::mpsc::channel(1);
    let supervisor = Supervisor::new(Arc::clone(&kinds.supervisor), fatal).start();
    let factory = move |guard| {
        Log::new(deps.clone(), queue.clone(), guard).start();
    };
    let child = Supervise {
        child: "log".into(),
        kind: Arc::clone(&kinds.log),
        essential: true,
        factory: Box::new(factory),
    };
    supervisor.send(child).await.unwrap();
    assert_eq!(log.append(delivery(&ids, account)).await, Outcome::Unknown);
    assert!(matches!(
        log.append(delivery(&ids, account)).await,
        Outcome::Done(_)
    ));
    assert_eq!(kinds.log.snapshot().restarted, 1);
    assert!(log.finish().await);
}

#[actix::test]
async fn a_mailbox_that_panics_is_started_anew_and_keeps_no_lock() {
    let kinds = Kinds::default();
    let metrics = Arc::new(Metrics::new(Arc::default()).0);
    let buggy = Arc::new(Buggy::default());
    let account = account(&buggy.store, &ids()).await;
    let mailboxes = Mailboxes::new(
        buggy,
        Duration::from_secs(60),
        Arc::clone(&kinds.mailbox),
        metrics,
    );
    // The first listing panics with the actor; the session is served by the one that is started in its place.
    let open = mailboxes
        .open(account, LockMode::Exclusive, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(kinds.mailbox.snapshot().panicked, 1);
    drop(open);
    mailboxes
        .open(account, LockMode::Exclusive, Duration::ZERO)
        .await
        .unwrap();
}
