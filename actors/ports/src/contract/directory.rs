//! Clauses of [`Directory`].

use super::World;
use crate::directory::{Credentials, Directory, DirectoryError};
use crate::store::MailStore;

const ANN: &str = "ann@example.org";

/// Mail is taken for a domain from when it is added until it is removed.
pub async fn domains_are_local_while_they_are_there<S: MailStore + Directory>(store: &S) {
    assert!(!store.is_local("example.org").await.unwrap());
    store.add_domain("example.org").await.unwrap();
    for _ in 0..2 {
        assert!(store.is_local("example.org").await.unwrap());
        assert!(!store.is_local("example.com").await.unwrap());
    }
    store.remove_domain("example.org").await.unwrap();
    assert!(!store.is_local("example.org").await.unwrap());
}

/// A domain comes before its first account and goes after its last.
pub async fn an_account_needs_its_domain_and_holds_it<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let refused = store.add_account(world.new_account(ANN)).await;
    assert!(matches!(refused, Err(DirectoryError::NoSuchDomain(domain)) if domain == "example.org"));
    assert_eq!(store.account(ANN).await.unwrap(), None);
    let ann = world.account(ANN).await;
    let bob = world.account("bob@example.org").await;
    assert_eq!(store.account(ANN).await.unwrap().as_ref(), Some(&ann));
    for account in [ann, bob] {
        assert!(matches!(
            store.remove_domain("example.org").await,
            Err(DirectoryError::NotEmpty(_))
        ));
        store.remove_account(&account.address).await.unwrap();
    }
    store.remove_domain("example.org").await.unwrap();
}

/// The second of two equal requests is told that it is the second.
pub async fn nothing_is_made_twice<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let ann = world.account(ANN).await;
    assert!(matches!(
        store.add_domain("example.org").await,
        Err(DirectoryError::Exists(_))
    ));
    let again = store.add_account(world.new_account(ANN)).await;
    assert!(matches!(again, Err(DirectoryError::Exists(address)) if address == ANN));
    assert_eq!(store.account(ANN).await.unwrap(), Some(ann));
}

/// Removing or changing what is not there is an error that says so.
pub async fn what_is_not_there_is_not_changed<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    world.account(ANN).await;
    let nobody = "nobody@example.org";
    assert!(matches!(
        store.remove_domain("example.com").await,
        Err(DirectoryError::NotFound(_))
    ));
    assert!(matches!(
        store.remove_account(nobody).await,
        Err(DirectoryError::NotFound(_))
    ));
    let set = store.set_credentials(nobody, world.credentials(true), None).await;
    assert!(matches!(set, Err(DirectoryError::NotFound(address)) if address == nobody));
    assert!(store.removed_accounts().await.unwrap().is_empty());
}

/// Names come in order, in pages that join without gap or overlap.
pub async fn listings_are_ordered_and_paged<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let names = ["c.example", "a.example", "b.example", "b.example.org"];
    for name in names {
        world.account(&format!("user@{name}")).await;
    }
    let mut domains = names.map(str::to_owned);
    domains.sort();
    assert_eq!(store.domains(None, 10).await.unwrap(), domains);
    assert_eq!(store.domains(None, 3).await.unwrap(), domains[..3]);
    assert_eq!(store.domains(Some(&domains[2]), 10).await.unwrap(), domains[3..]);
    let mut listed = Vec::new();
    while let Some(account) = store
        .accounts(listed.last().map(String::as_str), 1)
        .await
        .unwrap()
        .pop()
    {
        listed.push(account.address.clone());
    }
    assert_eq!(listed, domains.map(|domain| format!("user@{domain}")));
}

/// An upgrade of keys that was computed from an older password does not undo a change of password.
pub async fn credentials_are_set_only_where_they_are_as_expected<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let ann = world.account(ANN).await;
    let (changed, upgraded) = (world.credentials(true), world.credentials(false));
    store.set_credentials(ANN, changed.clone(), None).await.unwrap();
    let late = store
        .set_credentials(ANN, upgraded.clone(), Some(ann.credentials.stamp))
        .await;
    assert!(matches!(late, Err(DirectoryError::Changed(_))));
    assert_eq!(store.account(ANN).await.unwrap().unwrap().credentials, changed);
    store
        .set_credentials(ANN, upgraded.clone(), Some(changed.stamp))
        .await
        .unwrap();
    let now = store.account(ANN).await.unwrap().unwrap();
    assert_eq!((now.id, &now.credentials), (ann.id, &upgraded));
}

/// A hash that is replaced by an equal one is stamped just above it. Whoever replaces it once more, from the same
/// reading, changes nothing; and a change of password, before or after, stays.
pub async fn a_replacement_just_above_is_made_once_and_never_over_a_change<S: MailStore + Directory>(
    store: &S,
) {
    let world = World::new(store);
    let imported = Credentials {
        hash: "{SHA512-CRYPT}$6$salt$hash".into(),
        ..world.credentials(false)
    };
    world.account(ANN).await;
    store.set_credentials(ANN, imported.clone(), None).await.unwrap();
    assert_eq!(store.account(ANN).await.unwrap().unwrap().credentials, imported);
    let replacement = |scram| Credentials {
        stamp: imported.stamp.next(),
        ..world.credentials(scram)
    };
    let (first, second) = (replacement(true), replacement(false));
    store
        .set_credentials(ANN, first.clone(), Some(imported.stamp))
        .await
        .unwrap();
    let again = store
        .set_credentials(ANN, second.clone(), Some(imported.stamp))
        .await;
    assert!(matches!(again, Err(DirectoryError::Changed(_))));
    assert_eq!(store.account(ANN).await.unwrap().unwrap().credentials, first);
    assert_eq!(store.accounts_without_scram().await.unwrap(), 0);

    let changed = world.credentials(false);
    store.set_credentials(ANN, changed.clone(), None).await.unwrap();
    let late = store.set_credentials(ANN, first, Some(imported.stamp)).await;
    assert!(matches!(late, Err(DirectoryError::Changed(_))));
    assert_eq!(store.account(ANN).await.unwrap().unwrap().credentials, changed);
    assert_eq!(store.accounts_without_scram().await.unwrap(), 1);
}

/// The number that decides whether SCRAM is offered follows every change.
pub async fn accounts_without_scram_are_counted<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let without =
        |expected| async move { assert_eq!(store.accounts_without_scram().await.unwrap(), expected) };
    world.account(ANN).await;
    without(0).await;
    for (scram, expected) in [(false, 1), (false, 1), (true, 0), (false, 1)] {
        store
            .set_credentials(ANN, world.credentials(scram), None)
            .await
            .unwrap();
        without(expected).await;
    }
    store.remove_account(ANN).await.unwrap();
    without(0).await;
}

/// Whoever empties mailboxes learns of every removed account until it says that it is done.
pub async fn removed_accounts_are_listed_until_they_are_forgotten<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let ann = world.account(ANN).await;
    assert_eq!(store.remove_account(ANN).await.unwrap(), ann);
    assert_eq!(store.account(ANN).await.unwrap(), None);
    assert!(store.accounts(None, 10).await.unwrap().is_empty());
    assert_eq!(
        store.removed_accounts().await.unwrap().as_slice(),
        std::slice::from_ref(&ann)
    );
    store.forget_removed(ann.id).await.unwrap();
    store.forget_removed(ann.id).await.unwrap();
    assert!(store.removed_accounts().await.unwrap().is_empty());
}

/// Its mailboxes are others: it starts empty.
pub async fn an_address_made_again_is_another_account<S: MailStore + Directory>(store: &S) {
    let mut world = World::new(store);
    let old = world.account(ANN).await;
    world.store_message(&[&old], b"old").await;
    store.remove_account(ANN).await.unwrap();
    let new = world.account(ANN).await;
    assert_ne!(old.id, new.id);
    assert!(world.list(&new, 9).await.is_empty());
    assert_eq!(store.removed_accounts().await.unwrap(), [old]);
}
