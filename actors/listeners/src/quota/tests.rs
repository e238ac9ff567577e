use mailhorn_events::{
    AccountId, EventId, Generation, MailboxId, MessageId, Position, QuotaRoot, Record, Stamp,
};
use mailhorn_ports::memory::{ManualClock, MemoryStore, SeededRandom};
use mailhorn_ports::{
    Account, Credentials, Delivery, Directory, Expunge, Group, MailStore, NewAccount, Octets, Recipient,
};
use tokio::sync::Mutex;

use super::*;

/// Octets of every message here: its content has none of its own.
const MESSAGE_OCTETS: usize = 100;

/// Commits to a log of its own, as a node does.
#[derive(Debug)]
struct Log {
    store: MemoryStore,
    generation: Generation,
    end: Mutex<u64>,
}

impl Log {
    async fn commit(&self, change: Change) -> Result<Vec<Record>, StoreError> {
        let mut end = self.end.lock().await;
        let group = Group {
            generation: self.generation,
            first: *end + 1,
            now: Stamp(1),
            notes_since: Stamp(0),
            changes: vec![change],
        };
        let done = self.store.commit(&group).await;
        let done = done.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        *end += done.records.len() as u64;
        Ok(done.records)
    }
}

#[async_trait]
impl Writer for Log {
    async fn write(&self, change: Change) -> Result<(), StoreError> {
        self.commit(change).await.map(|_| ())
    }
}

struct World {
    store: MemoryStore,
    ids: Ids,
    /// Of two nodes.
    logs: [Arc<Log>; 2],
    ann: Arc<Account>,
    bob: Arc<Account>,
    thresholds: QuotaThresholds,
}

impl World {
    async fn new(defaults: QuotaDefaults) -> Self {
        let store = MemoryStore::new();
        store.keep_history();
        let clock = Arc::new(ManualClock::new(1_000_000));
        let ids = Ids::new(clock, Arc::new(SeededRandom::new(1)), Stamp(0));
        let log = || {
            Arc::new(Log {
                store: store.clone(),
                generation: ids.generation(),
                end: Mutex::new(0),
            })
        };
        let logs = [log(), log()];
        store.add_domain("example.org").await.unwrap();
        let (ann, bob) = (
            account(&store, &ids, "ann@example.org").await,
            account(&store, &ids, "bob@example.org").await,
        );
        let thresholds = QuotaThresholds::new(QuotaThresholdsDeps {
            quota: Arc::new(store.clone()),
            writer: log(),
            ids: ids.clone(),
            defaults,
            percents: vec![100, 50, 80],
        });
        Self {
            store,
            ids,
            logs,
            ann,
            bob,
            thresholds,
        }
    }

    async fn add(&self, log: usize, account: &Account) -> (MessageId, Vec<Happened>) {
        let message = self.ids.message();
        let recipient = Recipient {
            user: account.address.clone(),
            account: account.id,
            mailbox: MailboxId::inbox(account.id),
            prefix: vec![b'x'; MESSAGE_OCTETS].into(),
            note: None,
        };
        let delivery = Delivery {
            event: self.ids.event(),
            message,
            octets: Octets {
                size: 0,
                stored_chunks: 0,
                tail: Default::default(),
            },
            recipients: vec![recipient],
        };
        (message, self.happens(log, Change::Deliver(delivery)).await)
    }

    async fn expunge(&self, log: usize, account: &Account, messages: &[MessageId]) -> Vec<Happened> {
        let expunge = Expunge {
            event: self.ids.event(),
            stamp: self.ids.stamp(),
            user: account.address.clone(),
            account: account.id,
            mailbox: MailboxId::inbox(account.id),
            messages: messages.to_vec(),
        };
        self.happens(log, Change::Expunge(expunge)).await
    }

    async fn happens(&self, log: usize, change: Change) -> Vec<Happened> {
        let log = &self.logs[log];
        let records = log.commit(change).await.unwrap();
        let number = *log.end.lock().await;
        let generation = log.generation;
        let position = Position { generation, number };
        let records = records.into_iter().map(Arc::new);
        records
            .flat_map(|record| Happened::all(position, &record))
            .collect()
    }

    async fn handle(&self, batch: &[Happened]) {
        let all = BatchHandled::all(batch.len());
        assert_eq!(self.thresholds.handle_batch(batch).await, all);
    }

    /// All announcements so far: whose, about whom, from which percent to which.
    fn told(&self) -> Vec<(QuotaRoot, String, u8, u8)> {
        let mut told = Vec::new();
        for (_, record) in self.store.history() {
            for event in &record.events {
                if let Happening::QuotaUsageUpdated(usage) = &event.happening {
                    assert_eq!(event.mailbox, None);
                    let (from, to) = (usage.before_percent, usage.reached_percent);
                    told.push((usage.root.clone(), event.user.clone(), from, to));
                }
            }
        }
        told
    }

    async fn announced(&self, owner: &QuotaOwner) -> u8 {
        let owner = std::slice::from_ref(owner);
        self.store
            .quota_standings(owner, QuotaDefaults::default())
            .await
            .unwrap()[0]
            .announced_percent
    }
}

async fn account(store: &MemoryStore, ids: &Ids, address: &str) -> Arc<Account> {
    let credentials = Credentials {
        stamp: ids.stamp(),
        hash: String::new(),
        scram: None,
        app_passwords: Vec::new(),
    };
    let account = NewAccount {
        id: ids.account(),
        address: address.into(),
        credentials,
        created: ids.stamp(),
    };
    store.add_account(account).await.unwrap();
    store.account(address).await.unwrap().unwrap()
}

fn messages(limit: u64) -> QuotaLimits {
    QuotaLimits {
        messages: Some(limit),
        octets: None,
    }
}

fn of_users(limit: u64) -> QuotaDefaults {
    QuotaDefaults {
        user: messages(limit),
        ..QuotaDefaults::default()
    }
}

fn example_org() -> QuotaOwner {
    QuotaOwner::Domain("example.org".into())
}

#[test]
fn the_fuller_of_messages_and_octets_decides() {
    const NONE: Option<u64> = None;
    let cases = [
        // percents, used messages and octets, their limits, reached
        (&[50, 80, 100][..], (0, 0), (Some(10), Some(1_000)), 0),
        (&[50, 80, 100], (4, 499), (Some(10), Some(1_000)), 0),
        (&[50, 80, 100], (5, 0), (Some(10), Some(1_000)), 50),
        (&[50, 80, 100], (5, 800), (Some(10), Some(1_000)), 80),
        (&[50, 80, 100], (8, 500), (Some(10), Some(1_000)), 80),
        (&[100, 50, 80], (79, 0), (Some(100), NONE), 50),
        (&[50, 80, 100], (1, 1_001), (NONE, Some(1_000)), 100),
        (&[50, 80, 100], (99, 99), (NONE, NONE), 0),
        (&[50, 120], (12, 0), (Some(10), NONE), 120),
        (&[50, 80, 100], (0, 0), (Some(0), Some(0)), 0),
        (&[50, 80, 100], (1, 0), (Some(0), NONE), 100),
        (&[0, 100], (1, 1), (Some(10), NONE), 0),
        (&[], (10, 10), (Some(1), Some(1)), 0),
        (&[99, 100], (1, u64::MAX), (NONE, Some(u64::MAX)), 100),
        // A percent of a limit that is no whole number is reached by the next whole one.
        (&[50], (1, 0), (Some(3), NONE), 0),
        (&[50], (2, 0), (Some(3), NONE), 50),
    ];
    for (percents, (messages, octets), (messages_max, octets_max), expected) in cases {
        let usage = Figure { messages, octets };
        let limits = QuotaLimits {
            messages: messages_max,
            octets: octets_max,
        };
        assert_eq!(
            reached(percents, usage, limits),
            expected,
            "{percents:?} {usage:?} {limits:?}"
        );
    }
}

#[tokio::test]
async fn a_crossing_is_announced_once_either_way_however_often_its_events_come() {
    let world = World::new(of_users(4)).await;
    let mut held = Vec::new();
    let mut all = Vec::new();
    for _ in 0..4 {
        let (message, happened) = world.add(0, &world.ann).await;
        held.push(message);
        world.handle(&happened).await;
        world.handle(&happened).await;
        all.extend(happened);
    }
    world.handle(&all).await;
    let ann = || (QuotaRoot::User, world.ann.address.clone());
    let up = [(0, 50), (50, 100)];
    let told = |moves: &[(u8, u8)]| {
        let told = moves.iter().map(|(from, to)| (ann().0, ann().1, *from, *to));
        told.collect::<Vec<_>>()
    };
    assert_eq!(world.told(), told(&up));
    let happened = world.expunge(0, &world.ann, &held[..3]).await;
    world.handle(&happened).await;
    world.handle(&all).await;
    world.handle(&happened).await;
    assert_eq!(world.told(), told(&[(0, 50), (50, 100), (100, 0)]));
}

#[tokio::test]
async fn every_event_doubled_announces_nothing_twice() {
    let world = World::new(of_users(2)).await;
    let (_, happened) = world.add(0, &world.ann).await;
    let doubled: Vec<Happened> = happened.iter().chain(&happened).cloned().collect();
    world.handle(&doubled).await;
    for one in &doubled {
        assert_eq!(world.thresholds.handle(one).await, Handled::Done);
    }
    assert_eq!(world.told().len(), 1);
}

#[tokio::test]
async fn two_orders_of_two_logs_end_at_the_same_threshold() {
    let mut ends = Vec::new();
    for order in [[0, 1], [1, 0]] {
        let world = World::new(of_users(4)).await;
        let mut logs: [Vec<Happened>; 2] = Default::default();
        let (message, happened) = world.add(0, &world.ann).await;
        logs[0].extend(happened);
        for _ in 0..2 {
            logs[1].extend(world.add(1, &world.ann).await.1);
        }
        logs[1].extend(world.expunge(1, &world.ann, &[message]).await);
        logs[0].extend(world.add(0, &world.ann).await.1);
        for log in order {
            for one in &logs[log] {
                assert_eq!(world.thresholds.handle(one).await, Handled::Done);
            }
        }
        ends.push(world.announced(&QuotaOwner::Account(world.ann.id)).await);
    }
    assert_eq!(ends, [50, 50]);
}

#[tokio::test]
async fn two_orders_in_which_usage_moves_between_the_events_end_at_the_same_threshold() {
    let mut ends = Vec::new();
    for late in [0, 1] {
        let world = World::new(of_users(2)).await;
        let (message, added) = world.add(0, &world.ann).await;
        if late == 1 {
            world.handle(&added).await;
        }
        let expunged = world.expunge(1, &world.ann, &[message]).await;
        world.handle(&expunged).await;
        if late == 0 {
            world.handle(&added).await;
        }
        ends.push(world.announced(&QuotaOwner::Account(world.ann.id)).await);
    }
    assert_eq!(ends, [0, 0]);
}

#[tokio::test]
async fn a_domain_is_announced_about_the_user_whose_mail_did_it() {
    let defaults = QuotaDefaults {
        domain: messages(4),
        ..QuotaDefaults::default()
    };
    let world = World::new(defaults).await;
    let mut batch = world.add(0, &world.ann).await.1;
    batch.extend(world.add(0, &world.bob).await.1);
    world.handle(&batch).await;
    let root = QuotaRoot::Domain("example.org".into());
    assert_eq!(world.told(), [(root, world.bob.address.clone(), 0, 50)]);
    assert_eq!(world.announced(&example_org()).await, 50);
}

#[tokio::test]
async fn limits_that_were_set_hold_in_place_of_the_settings() {
    let world = World::new(of_users(2)).await;
    let ann = QuotaOwner::Account(world.ann.id);
    let octets = QuotaLimits {
        messages: None,
        octets: Some(MESSAGE_OCTETS as u64 * 10),
    };
    world.store.set_quota_limits(&ann, Some(octets)).await.unwrap();
    let happened = world.add(0, &world.ann).await.1;
    world.handle(&happened).await;
    assert_eq!(world.told(), []);
    let unlimited = QuotaLimits::default();
    world.store.set_quota_limits(&ann, None).await.unwrap();
    world.handle(&happened).await;
    assert_eq!(world.announced(&ann).await, 50);
    world.store.set_quota_limits(&ann, Some(unlimited)).await.unwrap();
    world.handle(&happened).await;
    assert_eq!(world.announced(&ann).await, 0);
}

/// A writer before whom usage moves and somebody else announces.
#[derive(Debug)]
struct Overtaken {
    log: Arc<Log>,
    first: Mutex<Vec<Change>>,
}

#[async_trait]
impl Writer for Overtaken {
    async fn write(&self, change: Change) -> Result<(), StoreError> {
        for earlier in self.first.lock().await.drain(..) {
            self.log.write(earlier).await?;
        }
        self.log.write(change).await
    }
}

#[tokio::test]
async fn who_announces_what_is_no_longer_so_sets_it_right() {
    let mut world = World::new(of_users(2)).await;
    let (message, added) = world.add(0, &world.ann).await;
    let expunge = Expunge {
        event: world.ids.event(),
        stamp: world.ids.stamp(),
        user: world.ann.address.clone(),
        account: world.ann.id,
        mailbox: MailboxId::inbox(world.ann.id),
        messages: vec![message],
    };
    world.thresholds.0.writer = Arc::new(Overtaken {
        log: Arc::clone(&world.logs[0]),
        first: Mutex::new(vec![Change::Expunge(expunge)]),
    });
    world.handle(&added).await;
    let moves: Vec<_> = world
        .told()
        .into_iter()
        .map(|(_, _, from, to)| (from, to))
        .collect();
    assert_eq!(moves, [(0, 50), (50, 0)]);
}

#[tokio::test]
async fn nothing_is_given_up_while_the_store_is_away() {
    let world = World::new(of_users(2)).await;
    let happened = world.add(0, &world.ann).await.1;
    world.store.set_unavailable(true);
    let BatchHandled { done, then } = world.thresholds.handle_batch(&happened).await;
    assert_eq!(done, 0);
    assert!(matches!(then, Handled::NotNow(_)), "{then:?}");
    assert!(world.thresholds.rebuild().await.is_err());
    world.store.set_unavailable(false);
    world
        .store
        .next_commit(mailhorn_ports::memory::NextCommit::UnknownDone);
    let handled = world.thresholds.handle(&happened[0]).await;
    assert!(matches!(handled, Handled::NotNow(_)), "{handled:?}");
    assert_eq!(world.thresholds.handle(&happened[0]).await, Handled::Done);
    assert_eq!(world.told().len(), 1);
    assert_eq!(world.thresholds.rebuild().await, Ok(true));
}

#[tokio::test]
async fn only_mail_that_comes_and_goes_is_looked_at() {
    let world = World::new(of_users(1)).await;
    let announced = Record {
        id: EventId::from_bytes([7; 16]),
        stamp: Stamp(1),
        events: vec![Event {
            user: "x@example.org".into(),
            account: AccountId::from_bytes([7; 16]),
            mailbox: None,
            happening: Happening::MailboxAdded { name: "INBOX".into() },
        }],
    };
    let event = &announced.events[0];
    assert!(!world.thresholds.handles(event));
    assert!(
        world
            .thresholds
            .handles(world.add(0, &world.ann).await.1[0].event())
    );
}

#[tokio::test]
async fn limits_that_change_are_looked_at_at_once() {
    let world = World::new(of_users(4)).await;
    let happened = world.add(0, &world.ann).await.1;
    world.handle(&happened).await;
    assert_eq!(world.told(), []);
    let ann = QuotaOwner::Account(world.ann.id);
    let after = messages(1);
    world.store.set_quota_limits(&ann, Some(after)).await.unwrap();
    let changed = Record {
        id: EventId::from_bytes([8; 16]),
        stamp: Stamp(1),
        events: vec![Event {
            user: world.ann.address.clone(),
            account: world.ann.id,
            mailbox: None,
            happening: Happening::QuotaLimitsUpdated {
                root: QuotaRoot::User,
                before: messages(4),
                after,
            },
        }],
    };
    let position = Position {
        generation: world.logs[0].generation,
        number: 9,
    };
    let changed: Vec<Happened> = Happened::all(position, &Arc::new(changed)).collect();
    world.handle(&changed).await;
    assert_eq!(world.announced(&ann).await, 100);
}

#[test]
fn what_is_damaged_is_the_fault_of_one_event_and_stops_no_other() {
    let damaged = StoreError::Damaged("a row".into());
    assert_eq!(failed(3, &damaged).then, Handled::Done, "one by one");
    assert!(matches!(failed(1, &damaged).then, Handled::Bad(_)));
    let away = StoreError::Unavailable("away".into());
    assert!(matches!(failed(3, &away).then, Handled::NotNow(_)));
}
