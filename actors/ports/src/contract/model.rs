//! Random changes against a model that is too simple to be wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use mailhorn_events::{MailboxId, MessageId};

use super::World;
use crate::directory::{Account, Directory};
use crate::memory::SeededRandom;
use crate::store::{Change, Figure, MailStore};

const ROUNDS: usize = 120;
const ACCOUNTS: usize = 3;
const LENGTHS: [usize; 5] = [0, 1, 300, 66_000, 140_000];

/// Contents of messages by mailbox.
type Model = BTreeMap<(MailboxId, MessageId), Vec<u8>>;

/// After every group, each mailbox lists, counts and gives what was delivered to it and not expunged.
pub async fn random_changes_leave_what_a_model_says<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let random = SeededRandom::new(42);
    let mut accounts = Vec::new();
    for n in 0..ACCOUNTS {
        accounts.push(world.account(&format!("user{n}@example.org")).await);
    }
    let mut model = Model::new();
    for round in 0..ROUNDS {
        let mut changes = Vec::new();
        for _ in 0..=random.below(3) {
            changes.push(match random.below(5) {
                0..3 => deliver(&world, &random, &accounts, &mut model).await,
                _ => expunge(&world, &random, &accounts, &mut model),
            });
        }
        world.commit(changes).await;
        if round % 7 == 0 {
            // Nothing is too old to count; what is moved or given back must not be missed.
            let step = store.maintain(World::<S>::NOTHING_OLD).await;
            step.expect("housekeeping");
        }
        compare(&world, &accounts, &model, round % 10 == 0).await;
    }
}

async fn deliver<S: MailStore + Directory>(
    world: &World<'_, S>,
    random: &SeededRandom,
    accounts: &[Arc<Account>],
    model: &mut Model,
) -> Change {
    let some = random.below(1 << ACCOUNTS).max(1);
    let recipients: Vec<&Account> = accounts
        .iter()
        .enumerate()
        .filter(|(n, _)| some & (1 << n) != 0)
        .map(|(_, account)| &**account)
        .collect();
    let length = LENGTHS[random.below(LENGTHS.len() as u64) as usize];
    let octets = vec![random.below(256) as u8; length];
    let delivery = world.upload(&recipients, &octets).await;
    for account in recipients {
        let whole = [&World::<S>::prefix(account)[..], &octets].concat();
        model.insert((World::<S>::inbox(account), delivery.message), whole);
    }
    Change::Deliver(delivery)
}

fn expunge<S: MailStore + Directory>(
    world: &World<'_, S>,
    random: &SeededRandom,
    accounts: &[Arc<Account>],
    model: &mut Model,
) -> Change {
    let account = &accounts[random.below(ACCOUNTS as u64) as usize];
    let inbox = World::<S>::inbox(account);
    // Ids of all mailboxes: those of others must be passed over.
    let messages: Vec<MessageId> = model
        .keys()
        .filter(|_| random.below(3) == 0)
        .map(|(_, message)| *message)
        .collect();
    messages.iter().for_each(|message| {
        model.remove(&(inbox, *message));
    });
    Change::Expunge(world.expunge(account, &messages))
}

async fn compare<S: MailStore + Directory>(
    world: &World<'_, S>,
    accounts: &[Arc<Account>],
    model: &Model,
    read_all: bool,
) {
    for account in accounts {
        let inbox = World::<S>::inbox(account);
        let expected: Vec<_> = model
            .iter()
            .filter(|((mailbox, _), _)| *mailbox == inbox)
            .map(|((_, id), octets)| (*id, octets))
            .collect();
        let rows = world.list(account, 5).await;
        let listed: Vec<_> = rows.iter().map(|row| (row.message, row.size)).collect();
        let sizes: Vec<_> = expected
            .iter()
            .map(|(id, octets)| (*id, octets.len() as u64))
            .collect();
        assert_eq!(listed, sizes);
        let figure = Figure {
            messages: sizes.len() as u64,
            octets: sizes.iter().map(|(_, size)| size).sum(),
        };
        assert_eq!(world.store.figure(inbox).await.expect("a figure"), figure);
        for (message, octets) in expected.into_iter().filter(|_| read_all) {
            assert_eq!(world.read(account, message).await.expect("octets"), *octets);
        }
    }
}
