//! Clauses of [`QuotaStore`].

use std::collections::BTreeMap;
use std::sync::Arc;

use mailhorn_events::{Happening, MessageId, QuotaLimits, QuotaRoot, QuotaUsage};

use super::World;
use crate::directory::{Account, Directory};
use crate::memory::SeededRandom;
use crate::quota::{QuotaDefaults, QuotaOwner, QuotaStore};
use crate::store::{Announce, Change, Figure, MailStore, RecipientOutcome, ThresholdMove};

const ANN: &str = "ann@example.org";
const BOB: &str = "bob@example.org";
const EVE: &str = "eve@example.com";

fn of(account: &Account) -> QuotaOwner {
    QuotaOwner::Account(account.id)
}

fn domain(name: &str) -> QuotaOwner {
    QuotaOwner::Domain(name.into())
}

async fn usage<S: QuotaStore>(store: &S, owner: &QuotaOwner) -> (u64, u64) {
    let Figure { messages, octets } = store.usage(owner).await.unwrap();
    (messages, octets)
}

/// The threshold that was announced last.
pub(super) async fn announced<S: QuotaStore>(store: &S, owner: &QuotaOwner) -> u8 {
    let standings = store
        .quota_standings(std::slice::from_ref(owner), QuotaDefaults::default())
        .await
        .unwrap();
    standings[0].announced_percent
}

/// What the rows of an account's mailbox sum up to.
async fn rows<S: MailStore + Directory>(world: &World<'_, S>, account: &Account) -> (u64, u64) {
    let rows = world.list(account, 50).await;
    (rows.len() as u64, rows.iter().map(|row| row.size).sum())
}

/// Octets of a message of `content` octets as this account has it.
fn size<S: MailStore + Directory>(account: &Account, content: u64) -> u64 {
    World::<S>::prefix(account).len() as u64 + content
}

/// Nothing at first; then what the rows say, prefixes and all.
pub async fn usage_is_the_sum_over_the_rows<S: MailStore + Directory + QuotaStore>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    for owner in [of(&ann), domain("example.org"), domain("nowhere.example")] {
        assert_eq!(usage(store, &owner).await, (0, 0));
    }
    for length in [0, 10, 100_000] {
        world.store_message(&[&ann], &vec![b'x'; length]).await;
        assert_eq!(usage(store, &of(&ann)).await, rows(&world, &ann).await);
    }
    let octets = 3 * size::<S>(&ann, 0) + 100_010;
    assert_eq!(usage(store, &of(&ann)).await, (3, octets));
}

/// Each recipient of a transaction is counted with what it got; a domain with what all its recipients got.
pub async fn two_recipients_of_one_transaction_are_each_counted<S: MailStore + Directory + QuotaStore>(
    store: &S,
) {
    let mut world = World::new(store);
    let (ann, bob, eve) = (
        world.account(ANN).await,
        world.account(BOB).await,
        world.account(EVE).await,
    );
    world.store_message(&[&ann, &bob, &eve], b"for three").await;
    for account in [&ann, &bob, &eve] {
        assert_eq!(usage(store, &of(account)).await, (1, size::<S>(account, 9)));
    }
    let both = size::<S>(&ann, 9) + size::<S>(&bob, 9);
    assert_eq!(usage(store, &domain("example.org")).await, (2, both));
    assert_eq!(
        usage(store, &domain("example.com")).await,
        (1, size::<S>(&eve, 9))
    );
}

/// One copy is counted once.
pub async fn two_recipients_with_one_mailbox_are_counted_once<S: MailStore + Directory + QuotaStore>(
    store: &S,
) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let delivery = world.delivery(&[&ann, &ann], b"once");
    world.deliver(delivery).await;
    for owner in [of(&ann), domain("example.org")] {
        assert_eq!(usage(store, &owner).await, (1, size::<S>(&ann, 4)));
    }
}

/// What was not stored is not counted: a duplicate, mail for an account that is gone, a group that is repeated.
pub async fn a_duplicate_costs_nothing<S: MailStore + Directory + QuotaStore>(store: &S) {
    let mut world = World::new(store);
    let (ann, bob) = (world.account(ANN).await, world.account(BOB).await);
    store.remove_account(BOB).await.unwrap();
    let noted = |world: &World<'_, S>| World::<S>::noted(world.delivery(&[&ann, &bob], b"same"), 5);
    let group = world.group(vec![Change::Deliver(noted(&world))]);
    for _ in 0..3 {
        store.commit(&group).await.unwrap();
    }
    world.end += 1;
    let retry = noted(&world);
    let outcomes = world.deliver(retry).await;
    assert_eq!(outcomes, [RecipientOutcome::Duplicate, RecipientOutcome::Gone]);
    for owner in [of(&ann), domain("example.org")] {
        assert_eq!(usage(store, &owner).await, (1, size::<S>(&ann, 4)));
    }
    assert_eq!(usage(store, &of(&bob)).await, (0, 0));
}

/// An expunge gives back what its messages took, once each, and nothing for what is not there.
pub async fn an_expunge_frees_what_it_took<S: MailStore + Directory + QuotaStore>(store: &S) {
    let mut world = World::new(store);
    let (ann, bob) = (world.account(ANN).await, world.account(BOB).await);
    let shared = world.store_message(&[&ann, &bob], b"shared").await;
    let own = world.store_message(&[&ann], b"own").await;
    let unknown = world.ids.message();
    world.expunge_messages(&ann, &[shared, unknown, shared]).await;
    assert_eq!(usage(store, &of(&ann)).await, (1, size::<S>(&ann, 3)));
    let rest = size::<S>(&ann, 3) + size::<S>(&bob, 6);
    assert_eq!(usage(store, &domain("example.org")).await, (2, rest));
    world.expunge_messages(&ann, &[shared, own]).await;
    world.expunge_messages(&bob, &[shared, own]).await;
    for owner in [of(&ann), of(&bob), domain("example.org")] {
        assert_eq!(usage(store, &owner).await, (0, 0));
    }
}

/// The domain's is the sum over its accounts, whatever other domains' names begin or end with.
pub async fn a_domain_holds_what_its_accounts_hold<S: MailStore + Directory + QuotaStore>(store: &S) {
    let mut world = World::new(store);
    let mut accounts = Vec::new();
    for address in [
        ANN,
        BOB,
        "a@mail.example.org",
        "b@example.org.example",
        "c@example.or",
    ] {
        let account = world.account(address).await;
        world.store_message(&[&account], address.as_bytes()).await;
        accounts.push(account);
    }
    let mut sum = (0, 0);
    for account in &accounts[..2] {
        let (messages, octets) = usage(store, &of(account)).await;
        sum = (sum.0 + messages, sum.1 + octets);
    }
    assert_eq!(usage(store, &domain("example.org")).await, sum);
    for account in &accounts[2..] {
        let name = account.address.rsplit('@').next().unwrap();
        assert_eq!(
            usage(store, &domain(name)).await,
            usage(store, &of(account)).await
        );
    }
}

/// Mail of an account that was removed counts until it is gone, and is not that of an account made again.
pub async fn a_removed_account_counts_until_its_mail_is_gone<S: MailStore + Directory + QuotaStore>(
    store: &S,
) {
    let mut world = World::new(store);
    let old = world.account(ANN).await;
    let message = world.store_message(&[&old], b"old").await;
    store.remove_account(ANN).await.unwrap();
    let new = world.account(ANN).await;
    let held = (1, size::<S>(&old, 3));
    assert_eq!(usage(store, &of(&old)).await, held);
    assert_eq!(usage(store, &of(&new)).await, (0, 0));
    assert_eq!(usage(store, &domain("example.org")).await, held);
    world.expunge_messages(&old, &[message]).await;
    store.forget_removed(old.id).await.unwrap();
    for owner in [of(&old), of(&new), domain("example.org")] {
        assert_eq!(usage(store, &owner).await, (0, 0));
    }
}

/// Limits are those that were set last, each owner's own, until they are taken back.
pub async fn limits_are_set_and_taken_back<S: MailStore + Directory + QuotaStore>(store: &S) {
    let world = World::new(store);
    let ann = world.account(ANN).await;
    let owners = [of(&ann), domain("example.org"), domain("example.com")];
    let limits = |n| QuotaLimits {
        messages: (n > 0).then_some(n),
        octets: (n != 1).then_some(n * 1_000),
    };
    for owner in &owners {
        assert_eq!(store.quota_limits(owner).await.unwrap(), None);
    }
    for round in 0..2 {
        for (n, owner) in (round..).zip(&owners) {
            store.set_quota_limits(owner, Some(limits(n))).await.unwrap();
        }
        for (n, owner) in (round..).zip(&owners) {
            assert_eq!(store.quota_limits(owner).await.unwrap(), Some(limits(n)));
        }
    }
    for _ in 0..2 {
        store.set_quota_limits(&owners[1], None).await.unwrap();
        assert_eq!(store.quota_limits(&owners[1]).await.unwrap(), None);
    }
    assert!(store.quota_limits(&owners[0]).await.unwrap().is_some());
}

/// An account that is forgotten, and a domain that is removed, leave no limits and no threshold behind.
pub async fn limits_and_thresholds_go_with_their_owner<S: MailStore + Directory + QuotaStore>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let owners = [of(&ann), domain("example.org")];
    for owner in &owners {
        let limits = QuotaLimits::default();
        store.set_quota_limits(owner, Some(limits)).await.unwrap();
        let crossing = crossing(&world, &ann, owner, 0, 80);
        world.commit(vec![Change::Announce(crossing)]).await;
    }
    store.remove_account(ANN).await.unwrap();
    assert!(store.quota_limits(&owners[0]).await.unwrap().is_some());
    store.forget_removed(ann.id).await.unwrap();
    store.remove_domain("example.org").await.unwrap();
    for owner in &owners {
        assert_eq!(store.quota_limits(owner).await.unwrap(), None);
        assert_eq!(announced(store, owner).await, 0);
    }
}

/// The announcement of a crossing, which is made if the threshold stands where it is said to.
fn crossing<S: MailStore + Directory>(
    world: &World<'_, S>,
    account: &Account,
    owner: &QuotaOwner,
    from: u8,
    to: u8,
) -> Announce {
    let root = match owner {
        QuotaOwner::Account(_) => QuotaRoot::User,
        QuotaOwner::Domain(domain) => QuotaRoot::Domain(domain.clone()),
    };
    let usage = QuotaUsage {
        root,
        messages: 8,
        octets: 800,
        limits: QuotaLimits::default(),
        reached_percent: to,
        before_percent: from,
    };
    let threshold = ThresholdMove {
        owner: owner.clone(),
        from_percent: from,
        to_percent: to,
    };
    world.announce(account, Happening::QuotaUsageUpdated(usage), Some(threshold))
}

/// However often it is noticed, in one group or in several; and each owner's is its own.
pub async fn a_crossing_is_announced_once<S: MailStore + Directory + QuotaStore>(store: &S) {
    let mut world = World::new(store);
    let ann = world.account(ANN).await;
    let owners = [of(&ann), domain("example.org")];
    for owner in &owners {
        assert_eq!(announced(store, owner).await, 0);
        let (first, second) = (
            crossing(&world, &ann, owner, 0, 80),
            crossing(&world, &ann, owner, 0, 80),
        );
        let first_id = first.event;
        let changes = vec![Change::Announce(first), Change::Announce(second)];
        let group = world.group(changes.clone());
        let done = world.commit(changes).await;
        let ids: Vec<_> = done.records.iter().map(|record| record.id).collect();
        assert_eq!(ids, [first_id]);
        assert_eq!(
            store.commit(&group).await.unwrap(),
            done,
            "repeated, it is told the same"
        );
        let late = crossing(&world, &ann, owner, 0, 90);
        assert!(
            world
                .commit(vec![Change::Announce(late)])
                .await
                .records
                .is_empty()
        );
        assert_eq!(announced(store, owner).await, 80);
    }
    for (from, to) in [(80, 90), (90, 0), (0, 80)] {
        let next = crossing(&world, &ann, &owners[0], from, to);
        assert_eq!(world.commit(vec![Change::Announce(next)]).await.records.len(), 1);
        assert_eq!(announced(store, &owners[0]).await, to);
        assert_eq!(announced(store, &owners[1]).await, 80);
    }
}

/// Who looks at many owners gets what each of them has, in the order in which they were named.
pub async fn many_owners_are_looked_at_in_one_go<S: MailStore + Directory + QuotaStore>(store: &S) {
    let mut world = World::new(store);
    let (ann, eve) = (world.account(ANN).await, world.account(EVE).await);
    world.store_message(&[&ann, &eve], b"octets").await;
    world.store_message(&[&ann], b"more").await;
    let owners = [
        domain("example.com"),
        of(&ann),
        domain("nowhere.example"),
        of(&ann),
    ];
    let limits = QuotaLimits {
        messages: Some(2),
        octets: None,
    };
    store.set_quota_limits(&of(&ann), Some(limits)).await.unwrap();
    let crossing = crossing(&world, &eve, &owners[0], 0, 80);
    world.commit(vec![Change::Announce(crossing)]).await;
    let many = QuotaLimits {
        messages: Some(100),
        octets: None,
    };
    let defaults = QuotaDefaults {
        user: many,
        domain: many,
    };
    let standings = store.quota_standings(&owners, defaults).await.unwrap();
    assert_eq!(standings.len(), owners.len());
    for (owner, standing) in owners.iter().zip(&standings) {
        let set = store.quota_limits(owner).await.unwrap();
        assert_eq!(standing.limits, set.unwrap_or(many), "{owner:?}");
        assert_eq!(standing.usage, store.usage(owner).await.unwrap(), "{owner:?}");
    }
    let announced: Vec<u8> = standings
        .iter()
        .map(|standing| standing.announced_percent)
        .collect();
    assert_eq!(announced, [80, 0, 0, 0]);
    assert_eq!(standings[1].limits, limits);
    assert_eq!((standings[0].usage.messages, standings[1].usage.messages), (1, 2));
    assert_eq!(store.quota_standings(&[], defaults).await.unwrap(), []);
    let unlimited = store
        .quota_standings(&owners, QuotaDefaults::default())
        .await
        .unwrap();
    let messages: Vec<u64> = unlimited.iter().map(|standing| standing.usage.messages).collect();
    assert_eq!(
        messages,
        [0, 2, 0, 2],
        "of whom nothing is limited nothing is counted"
    );
    assert_eq!(unlimited[0].announced_percent, 80);
}

/// Counting anew changes nothing where nothing is wrong.
pub async fn counting_anew_finds_nothing_wrong<S: MailStore + Directory + QuotaStore>(store: &S) {
    let mut world = World::new(store);
    let (ann, eve) = (world.account(ANN).await, world.account(EVE).await);
    world.store_message(&[&ann, &eve], b"octets").await;
    store.remove_account(EVE).await.unwrap();
    let owners = [of(&ann), of(&eve), domain("example.org"), domain("example.com")];
    let mut before = Vec::new();
    for owner in &owners {
        before.push(usage(store, owner).await);
    }
    assert_eq!(store.recount_usage().await.unwrap(), 0);
    for (owner, before) in owners.iter().zip(before) {
        assert_eq!(usage(store, owner).await, before, "{owner:?}");
    }
}

/// After any changes, usage is what the rows sum up to: of each account, and of each domain.
pub async fn random_changes_leave_the_sums_over_the_rows<S: MailStore + Directory + QuotaStore>(store: &S) {
    let mut world = World::new(store);
    let random = SeededRandom::new(7);
    let mut accounts: Vec<Arc<Account>> = Vec::new();
    for n in 0..6 {
        accounts.push(world.account(&format!("user{n}@{}.example", n % 3)).await);
    }
    let mut messages: Vec<MessageId> = Vec::new();
    for _ in 0..60 {
        let mut changes = Vec::new();
        for _ in 0..=random.below(4) {
            let some: Vec<&Account> = accounts
                .iter()
                .filter(|_| random.below(3) == 0)
                .map(|account| &**account)
                .collect();
            if random.below(3) > 0 {
                let delivery = world.delivery(&some, &vec![b'x'; random.below(2_000) as usize]);
                messages.push(delivery.message);
                let note = random.below(8) as u8;
                changes.push(Change::Deliver(World::<S>::noted(delivery, note)));
            } else {
                let gone: Vec<_> = messages
                    .iter()
                    .filter(|_| random.below(3) == 0)
                    .copied()
                    .collect();
                let expunge = |account: &&Account| Change::Expunge(world.expunge(account, &gone));
                changes.extend(some.iter().map(expunge));
            }
        }
        world.commit(changes).await;
        let mut domains: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for account in &accounts {
            let held = rows(&world, account).await;
            assert_eq!(usage(store, &of(account)).await, held, "{}", account.address);
            let sum = domains
                .entry(account.address.rsplit('@').next().unwrap())
                .or_default();
            *sum = (sum.0 + held.0, sum.1 + held.1);
        }
        for (name, held) in domains {
            assert_eq!(usage(store, &domain(name)).await, held, "{name}");
        }
    }
    assert_eq!(store.recount_usage().await.unwrap(), 0);
}
