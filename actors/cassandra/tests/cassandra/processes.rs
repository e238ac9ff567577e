//! Several processes on one keyspace: what one wrote another reads, and what one left undone another does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mailhorn_cassandra::{CassandraStore, OpenError, Surroundings};
use mailhorn_events::{MailboxId, MessageId};
use mailhorn_ports::contract::World;
use mailhorn_ports::{
    Account, Change, CommitError, Lease, MailStore, MemberRow, Membership, NoteKey, RecipientOutcome,
};

use crate::support::{self, Slot, surroundings};

/// A lease that a test takes away.
#[derive(Debug)]
struct Leased(AtomicBool);

impl Lease for Leased {
    fn holds(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

async fn leased(slot: &Slot) -> (CassandraStore, Arc<Leased>) {
    let lease = Arc::new(Leased(true.into()));
    let surroundings = Surroundings {
        lease: Arc::clone(&lease) as _,
        ..surroundings()
    };
    let store = CassandraStore::open(support::options(&slot.keyspace), surroundings)
        .await
        .unwrap();
    (store, lease)
}

fn member(world: &World<'_, CassandraStore>, beat: u64) -> MemberRow {
    MemberRow {
        generation: world.generation,
        node: "one".into(),
        beat,
        groups: ["quota".parse().unwrap()].into(),
    }
}

async fn messages(store: &CassandraStore, account: &Account) -> Vec<MessageId> {
    let rows = store
        .list(MailboxId::inbox(account.id), None, 1_000)
        .await
        .unwrap();
    rows.iter().map(|row| row.message).collect()
}

/// A log-in anywhere sees what was acknowledged anywhere, and may delete it.
#[tokio::test]
async fn what_one_process_takes_another_lists_reads_and_removes() {
    let (one, slot) = support::empty().await;
    let two = support::open(&slot).await;
    let (mut here, mut there) = (World::new(&one), World::seeded(&two, 2));
    let ann = here.account("ann@example.org").await;
    let message = here.store_message(&[&ann], b"octets").await;
    assert_eq!(messages(&two, &ann).await, [message]);
    assert!(there.read(&ann, message).await.unwrap().ends_with(b"octets"));
    there.expunge_messages(&ann, &[message]).await;
    assert!(messages(&one, &ann).await.is_empty());
}

/// A deletion is above the row that it deletes, though the clock of whoever deletes is behind.
#[tokio::test]
async fn a_deletion_by_a_clock_that_is_behind_deletes() {
    let (one, slot) = support::empty().await;
    let two = support::open(&slot).await;
    let (mut here, mut there) = (World::new(&one), World::seeded(&two, 2));
    let ann = here.account("ann@example.org").await;
    here.clock.advance(std::time::Duration::from_secs(4));
    let message = here.store_message(&[&ann], b"octets").await;
    let expunge = there.expunge(&ann, &[message]);
    assert!(expunge.stamp < message.stamp());
    let done = there.commit(vec![Change::Expunge(expunge)]).await;
    assert!(done.records[0].stamp > message.stamp());
    assert!(messages(&one, &ann).await.is_empty());
}

/// The record is the intent: whoever adopts a log makes of it what its process did not come to.
#[tokio::test]
async fn what_is_in_the_log_and_not_in_the_view_is_done_by_whoever_adopts_it() {
    let (one, slot) = support::empty().await;
    let two = support::open(&slot).await;
    let mut here = World::new(&one);
    let ann = here.account("ann@example.org").await;
    one.begin_log(here.generation, "one").await.unwrap();
    one.beat(&member(&here, 1)).await.unwrap();
    let kept = here.store_message(&[&ann], b"kept").await;
    let gone = here.store_message(&[&ann], b"gone").await;
    here.expunge_messages(&ann, &[gone]).await;
    // As if the process had died before it wrote the rows.
    support::query(&format!("TRUNCATE {}.mailbox_view", slot.keyspace)).await;
    assert!(messages(&two, &ann).await.is_empty());
    for _ in 0..2 {
        assert_eq!(two.adopt(here.generation).await.unwrap(), 3);
        assert_eq!(messages(&two, &ann).await, [kept]);
    }
    assert!(two.members().await.unwrap().is_empty());
}

/// What a process appends after another ended its log never happened: nobody is shown it, and its sender is not told that it
/// was taken.
#[tokio::test]
async fn nothing_behind_the_seal_happened() {
    let (_, slot) = support::empty().await;
    let (one, lease) = leased(&slot).await;
    let two = support::open(&slot).await;
    let mut here = World::new(&one);
    let ann = here.account("ann@example.org").await;
    one.begin_log(here.generation, "one").await.unwrap();
    one.beat(&member(&here, 1)).await.unwrap();
    here.store_message(&[&ann], b"before").await;
    let (a, b) = tokio::join!(two.adopt(here.generation), two.adopt(here.generation));
    assert_eq!((a.unwrap(), b.unwrap()), (1, 1));
    lease.0.store(false, Ordering::SeqCst);
    let group = here.group(vec![Change::Deliver(here.delivery(&[&ann], b"after"))]);
    for _ in 0..2 {
        assert_eq!(one.commit(&group).await, Err(CommitError::LeaseLost));
    }
    assert_eq!(messages(&two, &ann).await.len(), 1);
    assert_eq!(two.log_end(here.generation).await.unwrap(), 1);
    assert_eq!(two.records(here.generation, 1, 9).await.unwrap().len(), 1);
}

/// A sender whose reply was lost with the process tries again elsewhere, and gets no second copy.
#[tokio::test]
async fn a_retry_is_known_elsewhere_once_its_note_was_kept_or_its_log_adopted() {
    let (one, slot) = support::empty().await;
    let two = support::open(&slot).await;
    let (mut here, mut there) = (World::new(&one), World::seeded(&two, 2));
    let ann = here.account("ann@example.org").await;
    one.begin_log(here.generation, "one").await.unwrap();
    one.beat(&member(&here, 1)).await.unwrap();
    here.clock.set(support::now().0);
    there.clock.set(support::now().0);
    for note in [1, 2, 3] {
        let delivery = World::<CassandraStore>::noted(here.delivery(&[&ann], &[note]), note);
        assert_eq!(here.deliver(delivery).await, [RecipientOutcome::Stored]);
    }
    here.commit(vec![
        Change::ForgetNotes(vec![NoteKey([2; 32])]),
        Change::KeepNotes(vec![NoteKey([3; 32])]),
    ])
    .await;
    let retry = |world: &World<'_, CassandraStore>, note| {
        World::<CassandraStore>::noted(world.delivery(&[&ann], &[note]), note)
    };
    let kept = retry(&there, 3);
    assert_eq!(there.deliver(kept).await, [RecipientOutcome::Duplicate]);
    two.adopt(here.generation).await.unwrap();
    let adopted = retry(&there, 1);
    assert_eq!(there.deliver(adopted).await, [RecipientOutcome::Duplicate]);
}

/// A start never hides a message: neither one that was there before it was raised, nor one that is written below it later.
#[tokio::test]
async fn a_start_hides_no_message() {
    let (store, slot) = support::empty().await;
    let mut world = World::new(&store);
    let ann = world.account("ann@example.org").await;
    let inbox = MailboxId::inbox(ann.id);
    let now = support::now();
    world.clock.set(now.0 - 3_600_000_000);
    let old = world.delivery(&[&ann], b"old");
    world.clock.set(now.0);
    let first = world.store_message(&[&ann], b"first").await;
    assert_eq!(messages(&store, &ann).await, [first]);
    let started = format!(
        "SELECT start FROM {}.mailbox_start WHERE mailbox_id = {}",
        slot.keyspace, inbox
    );
    while support::query(&started).await == 0 {
        tokio::task::yield_now().await;
        messages(&store, &ann).await;
    }
    let late = old.message;
    world.deliver(old).await;
    assert_eq!(messages(&store, &ann).await, [late, first], "written below it");
    for page in 1..3 {
        assert_eq!(world.list(&ann, page).await.len(), 2, "in pages of {page}");
    }
    world.expunge_messages(&ann, &[late]).await;
    assert_eq!(messages(&store, &ann).await, [first]);
}

/// A keyspace that was made by somebody who did not think of centres is named, and not used.
#[tokio::test]
async fn a_keyspace_without_replicas_in_this_centre_is_refused() {
    let keyspace = "mailhorn_test_elsewhere";
    let made = "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";
    support::query(&format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} {made}")).await;
    let opened = CassandraStore::open(support::options(keyspace), surroundings()).await;
    support::query(&format!("DROP KEYSPACE {keyspace}")).await;
    let error = opened.unwrap_err();
    assert!(matches!(error, OpenError::Replication { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("cassandra.keyspace: mailhorn_test_elsewhere "),
        "{error}"
    );
}
