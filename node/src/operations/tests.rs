use std::sync::Arc;

use bytes::Bytes;
use mailhorn_core::auth::{Argon2Cost, passwords};
use mailhorn_core::recipients::Recipients;
use mailhorn_events::{MailboxId, Stamp};
use mailhorn_ports::memory::{MemoryStore, NextCommit};
use mailhorn_ports::{Change, Delivery, Directory, Ids, MailStore, Octets, Recipient};
use mailhorn_sasl::{ITERATIONS_MIN, Secret};

use super::offline::{InPlace, SoleWriter};
use super::quota::Quota;
use super::views::NewUser;
use super::{OperationError, Operations};
use crate::clock::{OsRandom, SystemClock};
use crate::settings::Sources;

mod addresses;

/// Operations on a store in memory, with password hashes that cost next to nothing.
pub(crate) fn operations(store: &MemoryStore) -> Operations {
    let ids = Ids::new(Arc::new(SystemClock), Arc::new(OsRandom), Stamp::default());
    let shared = Arc::new(store.clone());
    let cost = Argon2Cost {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };
    let settings = Sources::default().load().unwrap();
    Operations {
        recipients: Recipients::new(shared.clone(), settings.recipient_options()),
        directory: shared.clone(),
        store: shared.clone(),
        groups: shared.clone(),
        quota: Quota::of_settings(&settings, shared.clone()),
        writer: Arc::new(SoleWriter::new(shared, ids.clone(), &settings.node.name)),
        hashing: Arc::new(InPlace {
            ids: ids.clone(),
            cost,
            scram_iterations: ITERATIONS_MIN,
        }),
        ids,
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes())
}

/// With the domain example.org and the account of Alice.
async fn with_alice(store: &MemoryStore) -> Operations {
    let operations = operations(store);
    operations.add_domain("Example.ORG", None).await.unwrap();
    operations
        .add_user("Alice@example.org", &secret("alice's"))
        .await
        .unwrap();
    operations
}

/// Delivers `count` messages to an account.
pub(crate) async fn deliver(operations: &Operations, address: &str, count: usize) {
    let account = operations.directory.account(address).await.unwrap().unwrap();
    for _ in 0..count {
        let tail = Bytes::from_static(b"Subject: x\r\n\r\nx\r\n");
        let recipient = Recipient {
            user: address.to_owned(),
            account: account.id,
            mailbox: MailboxId::inbox(account.id),
            prefix: Bytes::new(),
            note: None,
        };
        let delivery = Delivery {
            event: operations.ids.event(),
            message: operations.ids.message(),
            octets: Octets {
                size: 18,
                stored_chunks: 0,
                tail,
            },
            recipients: vec![recipient],
        };
        operations.writer.write(Change::Deliver(delivery)).await.unwrap();
    }
}

#[tokio::test]
async fn names_are_made_canonical_and_a_password_is_kept_only_as_a_hash_and_keys() {
    let store = MemoryStore::new();
    let operations = with_alice(&store).await;
    let domains = operations.domains(None, 10).await.unwrap();
    assert_eq!(
        domains
            .items
            .iter()
            .map(|domain| domain.name.as_str())
            .collect::<Vec<_>>(),
        ["example.org"]
    );
    let account = store.account("alice@example.org").await.unwrap().unwrap();
    assert_eq!(
        passwords::check(&secret("alice's"), &account.credentials.hash),
        Ok(true)
    );
    assert!(account.credentials.scram.is_some());
}

#[tokio::test]
async fn what_cannot_be_done_is_told_with_whose_turn_it_is() {
    let store = MemoryStore::new();
    let operations = with_alice(&store).await;
    let password = secret("x");
    let invalid = |error| matches!(error, OperationError::Invalid(_));
    let conflict = |error| matches!(error, OperationError::Conflict(_));
    let not_found = |error| matches!(error, OperationError::NotFound(_));
    assert!(invalid(
        operations.add_domain("not a domain", None).await.unwrap_err()
    ));
    assert!(conflict(
        operations.add_domain("example.org", None).await.unwrap_err()
    ));
    assert!(not_found(
        operations.remove_domain("example.com").await.unwrap_err()
    ));
    assert!(
        conflict(operations.remove_domain("example.org").await.unwrap_err()),
        "it has an account"
    );
    assert!(invalid(
        operations.add_user("alice", &password).await.unwrap_err()
    ));
    assert!(
        conflict(
            operations
                .add_user("bob@example.com", &password)
                .await
                .unwrap_err()
        ),
        "no such domain"
    );
    assert!(
        conflict(
            operations
                .add_user("ALICE@example.org", &password)
                .await
                .unwrap_err()
        ),
        "it exists"
    );
    assert!(invalid(
        operations
            .add_user("bob@example.org", &secret(""))
            .await
            .unwrap_err()
    ));
    assert!(not_found(
        operations
            .set_password("bob@example.org", &password)
            .await
            .unwrap_err()
    ));
    assert!(not_found(
        operations.remove_user("bob@example.org").await.unwrap_err()
    ));
    assert!(not_found(
        operations.mailboxes_of("bob@example.org").await.unwrap_err()
    ));
    assert!(not_found(
        operations
            .messages("alice@example.org", "Sent", None, 1)
            .await
            .unwrap_err()
    ));
    assert!(invalid(
        operations
            .messages("alice@example.org", "inbox", Some("x"), 1)
            .await
            .unwrap_err()
    ));
    store.set_unavailable(true);
    assert!(matches!(
        operations.users(None, 1).await.unwrap_err(),
        OperationError::Unavailable(_)
    ));
}

#[tokio::test]
async fn a_new_password_replaces_the_old_one_under_a_new_stamp() {
    let store = MemoryStore::new();
    let operations = with_alice(&store).await;
    let before = store.account("alice@example.org").await.unwrap().unwrap();
    operations
        .set_password("alice@example.org", &secret("new"))
        .await
        .unwrap();
    let after = store.account("alice@example.org").await.unwrap().unwrap();
    assert!(after.credentials.stamp > before.credentials.stamp);
    assert_eq!(
        passwords::check(&secret("new"), &after.credentials.hash),
        Ok(true)
    );
    assert_eq!(
        passwords::check(&secret("alice's"), &after.credentials.hash),
        Ok(false)
    );
}

#[tokio::test]
async fn an_import_takes_what_it_can_and_tells_of_each_user_that_it_cannot() {
    let store = MemoryStore::new();
    let operations = with_alice(&store).await;
    let hash = store
        .account("alice@example.org")
        .await
        .unwrap()
        .unwrap()
        .credentials
        .hash
        .clone();
    let users = [
        ("bob@example.org", "{PLAIN}bob's".to_owned()),
        ("carol@example.org", format!("{{ARGON2ID}}{hash}")),
        ("dave@example.org", "{SHA512-CRYPT}$6$x".to_owned()),
        ("alice@example.org", "{PLAIN}x".to_owned()),
        ("erin@example.com", "{PLAIN}x".to_owned()),
        ("no address", "{PLAIN}x".to_owned()),
        ("frank@example.org", "no scheme".to_owned()),
    ];
    let users = users.map(|(address, secret)| NewUser::new(address.to_owned(), secret));
    let imported = operations.import_users(&users).await;
    let told: Vec<bool> = imported.iter().map(|user| user.error.is_none()).collect();
    assert_eq!(
        told,
        [true, true, false, false, false, false, false],
        "{imported:?}"
    );
    let carol = store.account("carol@example.org").await.unwrap().unwrap();
    assert_eq!(
        passwords::check(&secret("alice's"), &carol.credentials.hash),
        Ok(true),
        "the hash as it was"
    );
    assert_eq!(
        store.accounts_without_scram().await.unwrap(),
        1,
        "a hash gives no keys"
    );
}

#[tokio::test]
async fn lists_come_in_pages_that_leave_nothing_out() {
    let store = MemoryStore::new();
    let operations = with_alice(&store).await;
    for name in ["bob", "carol", "dave", "erin"] {
        operations
            .add_user(&format!("{name}@example.org"), &secret("x"))
            .await
            .unwrap();
    }
    let (mut after, mut names, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = operations.mailboxes(after.as_deref(), 2).await.unwrap();
        names.extend(page.items.into_iter().map(|mailbox| mailbox.address));
        pages += 1;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    let expected = ["alice", "bob", "carol", "dave", "erin"].map(|name| format!("{name}@example.org"));
    assert_eq!(names, expected);
    let none = operations.users(None, 0).await.unwrap();
    assert_eq!(none.items.len(), 1, "a page is never empty while there is more");
}

#[tokio::test]
async fn a_mailbox_shows_what_pop3_lists() {
    let store = MemoryStore::new();
    let operations = with_alice(&store).await;
    deliver(&operations, "alice@example.org", 3).await;
    let mailboxes = operations.mailboxes_of("alice@example.org").await.unwrap();
    assert_eq!((mailboxes[0].messages, mailboxes[0].octets), (3, 54));
    let first = operations
        .messages("alice@example.org", "inbox", None, 2)
        .await
        .unwrap();
    let rest = operations
        .messages("alice@example.org", "INBOX", first.next.as_deref(), 2)
        .await
        .unwrap();
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (2, 1, None));
    assert!(first.items[0].id < first.items[1].id && first.items[1].id < rest.items[0].id);
    assert_eq!(first.items[0].unique_id, first.items[0].id);
    assert_eq!(first.items[0].size, 18);
}

#[tokio::test]
async fn removing_a_user_removes_the_mail_and_the_address_made_again_starts_empty() {
    let store = MemoryStore::new();
    let operations = with_alice(&store).await;
    deliver(&operations, "alice@example.org", 3).await;
    let before = store.account("alice@example.org").await.unwrap().unwrap();
    let removed = operations.remove_user("alice@example.org").await.unwrap();
    assert_eq!((removed.messages, removed.is_empty), (3, true));
    assert_eq!(
        store.figure(MailboxId::inbox(before.id)).await.unwrap().messages,
        0
    );
    assert!(
        store.removed_accounts().await.unwrap().is_empty(),
        "nothing is left to do"
    );
    operations
        .add_user("alice@example.org", &secret("x"))
        .await
        .unwrap();
    assert_eq!(
        operations.mailboxes_of("alice@example.org").await.unwrap()[0].messages,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn mail_that_could_not_be_removed_with_its_user_is_removed_at_the_next_start() {
    let store = MemoryStore::new();
    let operations = with_alice(&store).await;
    deliver(&operations, "alice@example.org", 2).await;
    let account = store.account("alice@example.org").await.unwrap().unwrap();
    store.remove_account("alice@example.org").await.unwrap();
    assert_eq!(
        store.removed_accounts().await.unwrap().len(),
        1,
        "as a crash leaves it"
    );
    operations.finish_removals().await.unwrap();
    assert_eq!(
        store.figure(MailboxId::inbox(account.id)).await.unwrap().messages,
        0
    );
    assert!(store.removed_accounts().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_commit_with_an_unknown_outcome_is_repeated_and_not_done_twice() {
    for unknown in [NextCommit::UnknownDone, NextCommit::UnknownNotDone] {
        let store = MemoryStore::new();
        let operations = with_alice(&store).await;
        store.next_commit(unknown);
        deliver(&operations, "alice@example.org", 2).await;
        let mailboxes = operations.mailboxes_of("alice@example.org").await.unwrap();
        assert_eq!(mailboxes[0].messages, 2, "{unknown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_change_whose_outcome_stays_unknown_nothing_is_written() {
    let store = MemoryStore::new();
    let operations = operations(&store);
    let forget = || Change::ForgetNotes(Vec::new());
    operations.writer.write(forget()).await.unwrap();
    store.set_unavailable(true);
    assert!(operations.writer.write(forget()).await.is_err());
    store.set_unavailable(false);
    assert!(operations.writer.write(forget()).await.is_err());
    assert_eq!(store.commits(), 1);
}

/// Else no group of the node would follow the log of what was done while it was stopped.
#[tokio::test]
async fn a_log_of_the_node_is_begun_with_the_first_change_and_no_sooner() {
    let store = MemoryStore::new();
    let operations = operations(&store);
    operations.add_domain("example.org", None).await.unwrap();
    assert!(store.logs().await.unwrap().is_empty(), "no record is written");
    operations
        .add_user("alice@example.org", &secret("x"))
        .await
        .unwrap();
    let logs = store.logs().await.unwrap();
    let [(log, node)] = &logs[..] else {
        panic!("one log: {logs:?}")
    };
    assert_eq!(node, "mailhorn");
    assert_eq!(store.log_end(*log).await.unwrap(), 1);
}
