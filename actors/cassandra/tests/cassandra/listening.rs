//! Several processes on one keyspace: what groups of listeners leave there, and what accounts and domains hold.

use std::sync::Arc;
use std::time::Duration;

use mailhorn_cassandra::{CassandraStore, Options, Surroundings};
use mailhorn_events::{EventId, Generation, QuotaLimits};
use mailhorn_ports::contract::World;
use mailhorn_ports::{
    Clock, Cursor, Directory, GroupName, GroupStore, MailStore, MemberRow, Membership, QuotaDefaults,
    QuotaOwner, QuotaStore, Random, Retention,
};

use crate::support::{self, Chance, Slot, Wall, surroundings};

/// A clock that is behind by as much as a node may be.
#[derive(Debug)]
struct Behind;

impl Clock for Behind {
    fn now_micros(&self) -> u64 {
        Wall.now_micros() - 4_000_000
    }
}

async fn behind(slot: &Slot) -> CassandraStore {
    let surroundings = Surroundings {
        clock: Arc::new(Behind),
        ..surroundings()
    };
    CassandraStore::open(support::options(&slot.keyspace), surroundings)
        .await
        .unwrap()
}

async fn with(slot: &Slot, change: impl FnOnce(&mut Options)) -> CassandraStore {
    let mut options = support::options(&slot.keyspace);
    change(&mut options);
    CassandraStore::open(options, surroundings()).await.unwrap()
}

fn group(name: &str) -> GroupName {
    name.parse().unwrap()
}

fn open(taken: u64, open: &[u64]) -> Cursor {
    Cursor {
        taken,
        open: open.iter().copied().collect(),
    }
}

fn random_id() -> EventId {
    let mut octets = [0; 16];
    Chance.fill(&mut octets);
    EventId::from_bytes(octets)
}

/// Two adopters of one log finish different records of it. None of that is lost, and nothing else is taken for finished,
/// whoever writes last and with however old a state.
#[tokio::test]
async fn cursors_of_two_processes_never_go_back() {
    let (one, slot) = support::empty().await;
    let two = behind(&slot).await;
    let (crm, log) = (group("crm"), Generation::from_bytes([7; 16]));
    one.register_group(&crm, support::now()).await.unwrap();
    let states = [
        (&one, open(6, &[2, 4, 6])),
        (&two, open(9, &[2, 3, 6, 9])),
        (&one, open(7, &[2, 4])),
        (&two, open(9, &[2, 3, 6])),
        (&one, open(5, &[2])),
        (&two, open(12, &[2, 6, 11])),
    ];
    let mut joined = Cursor::default();
    for from in 0..states.len() {
        for (store, state) in states.iter().cycle().skip(from).take(states.len()) {
            store.save_cursor(&crm, log, state).await.unwrap();
            joined = joined.join(state);
            for reader in [&one, &two] {
                assert_eq!(reader.cursors(&crm).await.unwrap(), [(log, joined.clone())]);
            }
        }
    }
    assert_eq!(joined, open(12, &[2, 11]));
}

/// The same at once: what stands in the end is what all of them have finished.
#[tokio::test]
async fn cursors_written_at_once_are_joined() {
    let (one, slot) = support::empty().await;
    let (two, third) = (behind(&slot).await, support::open(&slot).await);
    let (crm, log) = (group("crm"), Generation::from_bytes([7; 16]));
    one.register_group(&crm, support::now()).await.unwrap();
    let follows = |store: CassandraStore, keeps: u64| {
        let crm = crm.clone();
        async move {
            for taken in 1..=60 {
                let left = (1..=taken).filter(|number| number % 7 == keeps);
                let cursor = open(taken, &left.collect::<Vec<_>>());
                store.save_cursor(&crm, log, &cursor).await.unwrap();
            }
        }
    };
    tokio::join!(follows(one.clone(), 3), follows(two, 5));
    let all = third.cursors(&crm).await.unwrap();
    assert_eq!(
        all,
        [(log, Cursor::at(60))],
        "each has finished what the other left open"
    );
}

/// Nodes that start together register the same groups. They end with one registration and its cursors.
#[tokio::test]
async fn a_group_made_known_by_several_at_once_is_one_group() {
    let (one, slot) = support::empty().await;
    let (two, third) = (support::open(&slot).await, behind(&slot).await);
    let mut world = World::new(&one);
    let ann = world.account("ann@example.org").await;
    one.begin_log(world.generation, "one").await.unwrap();
    for _ in 0..3 {
        world.store_message(&[&ann], b"before").await;
    }
    let (crm, now) = (group("crm"), support::now());
    let made = tokio::join!(
        one.register_group(&crm, now),
        two.register_group(&crm, now.next()),
        third.register_group(&crm, now),
    );
    for made in [made.0, made.1, made.2] {
        made.unwrap();
    }
    for store in [&one, &two, &third] {
        let known = store.groups().await.unwrap();
        assert_eq!((known.len(), known[0].registered), (1, now.next()));
        let cursors = store.cursors(&crm).await.unwrap();
        assert_eq!(cursors, [(world.generation, Cursor::at(3))]);
    }
    third.forget_group(&crm).await.unwrap();
    assert!(one.groups().await.unwrap().is_empty());
    assert!(one.cursors(&crm).await.unwrap().is_empty());
}

/// A process that has not yet heard that its group was forgotten leaves nothing that the group finds when it comes back.
#[tokio::test]
async fn a_process_that_goes_on_leaves_nothing_to_a_group_that_was_forgotten() {
    let (one, slot) = support::empty().await;
    let two = support::open(&slot).await;
    let (crm, log) = (group("crm"), Generation::from_bytes([7; 16]));
    two.register_group(&crm, support::now()).await.unwrap();
    two.save_cursor(&crm, log, &Cursor::at(5)).await.unwrap();
    one.forget_group(&crm).await.unwrap();
    two.save_cursor(&crm, log, &Cursor::at(6)).await.unwrap();
    let letter = World::new(&two).letter(random_id());
    two.park(&crm, &letter).await.unwrap();
    one.register_group(&crm, support::now()).await.unwrap();
    assert!(one.cursors(&crm).await.unwrap().is_empty());
    assert!(one.parked_logs(&crm).await.unwrap().is_empty());
}

/// A cursor at the end of a log where nothing happens is not forgotten while its group is there.
#[tokio::test]
async fn a_cursor_outlives_its_time_while_its_group_and_its_log_are_there() {
    let (_, slot) = support::empty().await;
    // Cursors and names of logs go after six seconds.
    let store = with(&slot, |options| options.retention = Duration::from_secs(2)).await;
    let crm = group("crm");
    let [kept, gone] = [8, 9].map(|octet| Generation::from_bytes([octet; 16]));
    store.begin_log(kept, "one").await.unwrap();
    let other = with(&slot, |options| options.retention = Duration::from_secs(2)).await;
    other.begin_log(gone, "two").await.unwrap();
    store.register_group(&crm, support::now()).await.unwrap();
    for log in [kept, gone] {
        store.save_cursor(&crm, log, &open(5, &[3])).await.unwrap();
    }
    // The other one is written once more while its log has a name, and then no more.
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.begin_log(kept, "one").await.unwrap();
        store.register_group(&crm, support::now()).await.unwrap();
    }
    assert_eq!(store.cursors(&crm).await.unwrap(), [(kept, open(5, &[3]))]);
}

/// However many there are, they come in the order of their ids, each once, in pages of any size.
#[tokio::test]
async fn ten_thousand_dead_letters_are_listed_in_pages() {
    const LETTERS: usize = 10_000;
    let (store, slot) = support::empty().await;
    let (crm, world) = (group("crm"), World::new(&store));
    let mut ids: Vec<EventId> = (0..LETTERS).map(|_| random_id()).collect();
    for ids in ids.chunks(200) {
        let buried = ids.iter().map(|id| {
            let (store, crm, letter) = (store.clone(), crm.clone(), world.letter(*id));
            tokio::spawn(async move { store.bury(&crm, &letter).await })
        });
        for buried in buried.collect::<Vec<_>>() {
            buried.await.unwrap().unwrap();
        }
    }
    ids.sort();
    let elsewhere = support::open(&slot).await;
    for page in [37, 1_000, LETTERS] {
        let mut listed: Vec<EventId> = Vec::new();
        loop {
            let after = listed.last().copied();
            let letters = elsewhere.dead_letters(&crm, after, page).await.unwrap();
            assert!(letters.len() <= page);
            listed.extend(letters.iter().map(|letter| letter.id));
            if letters.is_empty() {
                break;
            }
        }
        assert_eq!(listed, ids, "in pages of {page}");
    }
    let count = u64::try_from(LETTERS).unwrap();
    let groups = elsewhere.groups_with_dead_letters().await.unwrap();
    assert_eq!(groups, [(crm.clone(), count)]);
    assert_eq!(elsewhere.remove_dead_letters(&crm).await.unwrap(), count);
    assert!(store.groups_with_dead_letters().await.unwrap().is_empty());
}

/// Clocks of nodes differ. A letter that is removed is gone, and one that dies once more, or is taken up once more, is
/// there, on whichever node.
#[tokio::test]
async fn letters_come_and_go_whatever_clocks_say() {
    let (ahead, slot) = support::empty().await;
    let late = behind(&slot).await;
    let crm = group("crm");
    ahead.register_group(&crm, support::now()).await.unwrap();
    let letter = World::new(&ahead).letter(random_id());
    let log = letter.position.generation;
    for _ in 0..3 {
        ahead.bury(&crm, &letter).await.unwrap();
        late.remove_dead_letter(&crm, letter.id).await.unwrap();
        assert_eq!(ahead.dead_letter(&crm, letter.id).await.unwrap(), None);
        ahead.bury(&crm, &letter).await.unwrap();
        // It is taken up where the clock is behind: parked first, then no longer dead.
        let found = late.dead_letter(&crm, letter.id).await.unwrap().unwrap();
        late.park(&crm, &found).await.unwrap();
        late.remove_dead_letter(&crm, letter.id).await.unwrap();
        assert_eq!(
            ahead.parked(&crm, log).await.unwrap(),
            std::slice::from_ref(&letter)
        );
        late.bury(&crm, &found).await.unwrap();
        assert_eq!(ahead.parked(&crm, log).await.unwrap(), []);
        assert_eq!(
            ahead.dead_letters(&crm, None, 9).await.unwrap(),
            std::slice::from_ref(&letter)
        );
        late.remove_dead_letters(&crm).await.unwrap();
    }
}

/// What housekeeping does on Cassandra: nothing to the log, which goes by its time, whatever cursors say; but a group that no
/// node registers is forgotten, and what it had parked is dead.
#[tokio::test]
async fn a_group_that_no_node_registers_is_forgotten() {
    let (store, _slot) = support::empty().await;
    let mut world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    store.begin_log(world.generation, "one").await.unwrap();
    let (crm, search) = (group("crm"), group("search"));
    for group in [&crm, &search] {
        store.register_group(group, world.ids.now()).await.unwrap();
    }
    for _ in 0..3 {
        world.store_message(&[&ann], b"octets").await;
    }
    for group in [&crm, &search] {
        let cursor = Cursor::at(2);
        store.save_cursor(group, world.generation, &cursor).await.unwrap();
    }
    let letter = world.letter(world.ids.event());
    store.park(&crm, &letter).await.unwrap();
    assert_eq!(store.parked_logs(&crm).await.unwrap(), [world.generation]);
    let since = world.ids.stamp();
    store.register_group(&search, since).await.unwrap();
    let retention = Retention {
        records_before: since,
        groups_before: since,
        notes_since: since,
    };
    assert_eq!(world.maintain(retention).await, 0);
    assert_eq!(world.numbers(world.generation).await, [1, 2, 3]);
    let known = store.groups().await.unwrap();
    assert_eq!((known.len(), &known[0].name), (1, &search));
    assert!(store.cursors(&crm).await.unwrap().is_empty());
    assert!(store.parked_logs(&crm).await.unwrap().is_empty());
    assert_eq!(store.dead_letters(&crm, None, 9).await.unwrap(), [letter]);
    let cursors = store.cursors(&search).await.unwrap();
    assert_eq!(cursors, [(world.generation, Cursor::at(2))]);
}

/// Records go by their time, and a group that has not seen them learns of it: by the first number that is left, or, of a
/// log that has ended and of which nothing is left, by a last record that can't be read.
#[tokio::test]
async fn a_gap_shows_in_a_log_that_goes_on_and_in_one_that_has_ended() {
    let (_, slot) = support::empty().await;
    let brief = |options: &mut Options| options.retention = Duration::from_secs(2);
    let (one, two) = (with(&slot, brief).await, with(&slot, brief).await);
    let (mut goes_on, mut ends) = (World::new(&one), World::seeded(&one, 2));
    let ann = goes_on.account("ann@example.org").await;
    for world in [&mut goes_on, &mut ends] {
        world.clock.set(support::now().0);
        world.store_message(&[&ann], b"octets").await;
        world.store_message(&[&ann], b"octets").await;
    }
    let member = MemberRow {
        generation: ends.generation,
        node: "one".into(),
        beat: 1,
        groups: [].into(),
    };
    one.beat(&member).await.unwrap();
    assert_eq!(two.adopt(ends.generation).await.unwrap(), 2);
    tokio::time::sleep(Duration::from_secs(3)).await;
    goes_on.clock.set(support::now().0);
    goes_on.store_message(&[&ann], b"octets").await;
    assert_eq!(two.records(goes_on.generation, 1, 9).await.unwrap()[0].number, 3);
    let entries = two.records(ends.generation, 1, 9).await.unwrap();
    assert_eq!((entries.len(), entries[0].number), (1, 2));
    assert!(entries[0].record.is_err());
    assert!(two.records(ends.generation, 3, 9).await.unwrap().is_empty());
}

/// Usage is counted at most so often, and once more when that is over: so the last message is in it soon, in the domain's too,
/// though nobody asks for the account's again.
#[tokio::test]
async fn usage_is_counted_seldom_and_soon() {
    let (first, slot) = support::empty().await;
    let refresh = Duration::from_secs(2);
    let store = with(&slot, |options| options.usage_refresh = refresh).await;
    let mut world = World::new(&first);
    let ann = world.account("ann@example.org").await;
    let (account, domain) = (
        QuotaOwner::Account(ann.id),
        QuotaOwner::Domain("example.org".into()),
    );
    let both = [domain.clone(), account.clone()];
    let limits = QuotaLimits {
        messages: Some(1_000),
        octets: None,
    };
    let defaults = QuotaDefaults {
        user: limits,
        domain: limits,
    };
    let messages = async |store: &CassandraStore| {
        let standings = store.quota_standings(&both, defaults).await.unwrap();
        [standings[0].usage.messages, standings[1].usage.messages]
    };
    assert_eq!(messages(&store).await, [0, 0]);
    world.store_message(&[&ann], b"octets").await;
    assert_eq!(messages(&store).await, [0, 0], "it was counted just now");
    tokio::time::sleep(refresh * 2).await;
    assert_eq!(
        store.usage(&domain).await.unwrap().messages,
        1,
        "nobody asked for the account"
    );
    assert_eq!(first.recount_usage().await.unwrap(), 0);
}

/// Of accounts whose usage nobody has asked for yet, a domain's has a part all the same; and counting anew puts right what is
/// wrong.
#[tokio::test]
async fn figures_that_are_missing_or_wrong_are_put_right() {
    let (store, slot) = support::empty().await;
    let calm = with(&slot, |options| {
        options.usage_refresh = Duration::from_secs(3_600)
    })
    .await;
    let mut world = World::new(&store);
    let (ann, bob) = (
        world.account("ann@example.org").await,
        world.account("bob@example.org").await,
    );
    let domain = QuotaOwner::Domain("example.org".into());
    world.store_message(&[&ann, &bob], b"octets").await;
    assert_eq!(calm.usage(&domain).await.unwrap().messages, 2);
    world.store_message(&[&ann], b"octets").await;
    assert_eq!(calm.usage(&domain).await.unwrap().messages, 2);
    assert_eq!(calm.recount_usage().await.unwrap(), 2, "ann's and the domain's");
    assert_eq!(calm.usage(&domain).await.unwrap().messages, 3);
    assert_eq!(calm.recount_usage().await.unwrap(), 0);
    store.remove_account("bob@example.org").await.unwrap();
    store.forget_removed(bob.id).await.unwrap();
    for (table, left) in [("domain_usage", 1), ("quota_usage", 2)] {
        let rows = support::query(&format!("SELECT counted FROM {}.{table}", slot.keyspace)).await;
        assert_eq!(rows, left, "nothing is left of bob in {table}");
    }
    calm.recount_usage().await.unwrap();
    assert_eq!(calm.usage(&domain).await.unwrap().messages, 2);
}

/// Limits that are set last hold, though the clock of whoever sets them is behind.
#[tokio::test]
async fn limits_set_by_a_clock_that_is_behind_hold() {
    let (ahead, slot) = support::empty().await;
    let late = behind(&slot).await;
    let owner = QuotaOwner::Domain("example.org".into());
    for messages in 1..4 {
        for (store, messages) in [(&ahead, messages), (&late, messages * 10)] {
            let limits = QuotaLimits {
                messages: Some(messages),
                octets: None,
            };
            store.set_quota_limits(&owner, Some(limits)).await.unwrap();
            assert_eq!(ahead.quota_limits(&owner).await.unwrap(), Some(limits));
        }
        late.set_quota_limits(&owner, None).await.unwrap();
        assert_eq!(ahead.quota_limits(&owner).await.unwrap(), None);
    }
}

/// Whose mail nobody limits is not asked for at every message: limits set by this process are seen at once, those of another
/// one when the refresh is over.
#[tokio::test]
async fn limits_that_come_to_be_are_seen_here_at_once_and_elsewhere_soon() {
    let (first, slot) = support::empty().await;
    let refresh = Duration::from_millis(300);
    let one = with(&slot, |options| options.usage_refresh = refresh).await;
    let two = with(&slot, |options| options.usage_refresh = refresh).await;
    let ann = World::new(&first).account("ann@example.org").await;
    let owner = [QuotaOwner::Account(ann.id)];
    let in_force = async |store: &CassandraStore| {
        let standings = store.quota_standings(&owner, QuotaDefaults::default()).await;
        standings.unwrap()[0].limits
    };
    for store in [&one, &two] {
        assert_eq!(in_force(store).await, QuotaLimits::default());
    }
    let limits = QuotaLimits {
        messages: Some(3),
        octets: None,
    };
    one.set_quota_limits(&owner[0], Some(limits)).await.unwrap();
    assert_eq!(in_force(&one).await, limits);
    tokio::time::sleep(refresh * 2).await;
    assert_eq!(in_force(&two).await, limits);
}
