//! Clauses of [`Directory`].

use std::sync::Arc;

use super::World;
use crate::directory::{
    Alias, AppPassword, Credentials, Directory, DirectoryError, LocalDomain, Name, Service, Services, Target,
};
use crate::store::MailStore;

const ANN: &str = "ann@example.org";

/// Mail is taken for a domain from when it is added until it is removed.
pub async fn domains_are_local_while_they_are_there<S: MailStore + Directory>(store: &S) {
    assert!(store.domain("example.org").await.unwrap().is_none());
    store.add_domain("example.org").await.unwrap();
    for _ in 0..2 {
        assert!(store.domain("example.org").await.unwrap().is_some());
        assert!(store.domain("example.com").await.unwrap().is_none());
    }
    store.remove_domain("example.org").await.unwrap();
    assert!(store.domain("example.org").await.unwrap().is_none());
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
    let listed = async |after: Option<&str>, limit| {
        let domains = store.domains(after, limit).await.unwrap();
        let names = domains.iter().map(|domain| domain.name.clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed(None, 10).await, domains);
    assert_eq!(listed(None, 3).await, domains[..3]);
    assert_eq!(listed(Some(&domains[2]), 10).await, domains[3..]);
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

/// An alias is found under its address and listed with its account, until it is removed.
pub async fn an_alias_is_there_until_it_is_removed<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let ann = world.account(ANN).await;
    store.add_domain("example.com").await.unwrap();
    let sales = world.alias("sales@example.com", &ann).await;
    let info = world.alias("info@example.org", &ann).await;
    let found = store.name("sales@example.com").await.unwrap();
    assert_eq!(found, Some(Name::Alias(sales.clone().into())));
    assert_eq!(store.account("sales@example.com").await.unwrap(), None);
    assert_eq!(store.target(&sales.target).await.unwrap().as_ref(), Some(&ann));

    let both = [info.clone().into(), sales.clone().into()];
    assert_eq!(store.aliases(ann.id, None, 10).await.unwrap(), both);
    assert_eq!(store.aliases(ann.id, None, 1).await.unwrap(), both[..1]);
    let behind = store.aliases(ann.id, Some("info@example.org"), 1).await;
    assert_eq!(behind.unwrap(), both[1..]);
    assert!(
        store
            .aliases(world.ids.account(), None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let accounts = store.accounts(None, 10).await.unwrap();
    assert_eq!(accounts, [Arc::clone(&ann)], "an alias is no account");

    assert_eq!(*store.remove_alias("sales@example.com").await.unwrap(), sales);
    assert_eq!(store.name("sales@example.com").await.unwrap(), None);
    assert_eq!(store.aliases(ann.id, None, 10).await.unwrap(), both[..1]);
    for nobodys in ["sales@example.com", ANN] {
        let again = store.remove_alias(nobodys).await;
        assert!(matches!(again, Err(DirectoryError::NotFound(address)) if address == nobodys));
    }
}

/// An address is one thing only: an account or an alias, whichever came first.
pub async fn an_address_is_an_account_or_an_alias_and_never_both<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let ann = world.account(ANN).await;
    let alias = world.alias("info@example.org", &ann).await;
    let over_account = Alias {
        address: ANN.into(),
        ..alias.clone()
    };
    for taken in [over_account, alias.clone()] {
        let address = taken.address.clone();
        let refused = store.add_alias(taken).await;
        assert!(matches!(refused, Err(DirectoryError::Exists(told)) if told == address));
    }
    let over_alias = store.add_account(world.new_account("info@example.org")).await;
    assert!(matches!(over_alias, Err(DirectoryError::Exists(_))));
    let set = store
        .set_credentials("info@example.org", world.credentials(true), None)
        .await;
    assert!(matches!(set, Err(DirectoryError::NotFound(_))));
    let removed = store.remove_account("info@example.org").await;
    assert!(matches!(removed, Err(DirectoryError::NotFound(_))));
    let nowhere = Alias {
        address: "info@example.com".into(),
        ..alias.clone()
    };
    let refused = store.add_alias(nowhere).await;
    assert!(matches!(refused, Err(DirectoryError::NoSuchDomain(domain)) if domain == "example.com"));
    assert_eq!(
        store.name("info@example.org").await.unwrap(),
        Some(Name::Alias(alias.into()))
    );
    assert_eq!(store.account(ANN).await.unwrap(), Some(ann));
}

/// What pointed to an account doesn't point to another one that was made under its address later.
pub async fn an_alias_points_to_one_account_for_ever<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let first = world.account(ANN).await;
    let alias = world.alias("info@example.org", &first).await;
    store.remove_account(ANN).await.unwrap();
    assert_eq!(store.target(&alias.target).await.unwrap(), None);
    let second = store.add_account(world.new_account(ANN)).await.unwrap();
    assert_eq!(store.target(&alias.target).await.unwrap(), None);
    assert_eq!(store.target(&Target::from(&*second)).await.unwrap(), Some(second));
    let left = store.aliases(first.id, None, 10).await.unwrap();
    assert_eq!(left, [alias.into()], "whoever removes the account removes them");
}

/// A domain may be another name of one that is local; addresses are made at that one alone.
pub async fn a_domain_may_be_an_alias_of_another<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let missing = store.add_alias_domain("example.com", "example.org").await;
    assert!(matches!(missing, Err(DirectoryError::NoSuchDomain(domain)) if domain == "example.org"));
    let ann = world.account(ANN).await;
    store
        .add_alias_domain("example.com", "example.org")
        .await
        .unwrap();
    let domain = store.domain("example.com").await.unwrap().unwrap();
    let expected = LocalDomain {
        name: "example.com".into(),
        alias_of: Some("example.org".into()),
        catch_all: None,
    };
    assert_eq!(*domain, expected);
    assert_eq!(store.domains(None, 1).await.unwrap(), [domain]);
    let again = store.add_alias_domain("example.com", "example.org").await;
    assert!(matches!(again, Err(DirectoryError::Exists(_))));
    let of_alias = store.add_alias_domain("example.net", "example.com").await;
    assert!(matches!(of_alias, Err(DirectoryError::AliasDomain(domain)) if domain == "example.com"));
    let account = store.add_account(world.new_account("bob@example.com")).await;
    assert!(matches!(account, Err(DirectoryError::AliasDomain(_))));
    let alias = Alias {
        address: "info@example.com".into(),
        target: Target::from(&*ann),
        created: world.ids.stamp(),
    };
    assert!(matches!(
        store.add_alias(alias).await,
        Err(DirectoryError::AliasDomain(_))
    ));
    let catch_all = store
        .set_catch_all("example.com", Some(Target::from(&*ann)))
        .await;
    assert!(matches!(catch_all, Err(DirectoryError::AliasDomain(_))));
    store.remove_domain("example.com").await.unwrap();
    assert_eq!(store.domain("example.com").await.unwrap(), None);
}

/// A domain stays while an address or an alias of it is there.
pub async fn a_domain_stays_while_something_is_left_of_it<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let ann = world.account("ann@example.net").await;
    store.add_domain("example.org").await.unwrap();
    world.alias("info@example.org", &ann).await;
    store
        .add_alias_domain("example.com", "example.org")
        .await
        .unwrap();
    let not_empty = async || {
        let refused = store.remove_domain("example.org").await;
        matches!(refused, Err(DirectoryError::NotEmpty(_)))
    };
    assert!(not_empty().await);
    store.remove_alias("info@example.org").await.unwrap();
    assert!(not_empty().await);
    store.remove_domain("example.com").await.unwrap();
    store.remove_domain("example.org").await.unwrap();
}

/// Who gets what nobody has is said of a domain, changed and taken back.
pub async fn a_catch_all_is_set_and_taken_back<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    let ann = world.account(ANN).await;
    let target = Some(Target::from(&*ann));
    let nowhere = store.set_catch_all("example.com", target.clone()).await;
    assert!(matches!(nowhere, Err(DirectoryError::NotFound(domain)) if domain == "example.com"));
    for catch_all in [target.clone(), None, target] {
        store
            .set_catch_all("example.org", catch_all.clone())
            .await
            .unwrap();
        assert_eq!(
            store.domain("example.org").await.unwrap().unwrap().catch_all,
            catch_all
        );
        assert_eq!(store.domains(None, 9).await.unwrap()[0].catch_all, catch_all);
    }
    world.account("bob@example.org").await;
    assert!(
        store
            .domain("example.org")
            .await
            .unwrap()
            .unwrap()
            .catch_all
            .is_some()
    );
    store.remove_account(ANN).await.unwrap();
    store.remove_account("bob@example.org").await.unwrap();
    store.remove_domain("example.org").await.unwrap();
    store.add_domain("example.org").await.unwrap();
    assert_eq!(
        store.domain("example.org").await.unwrap().unwrap().catch_all,
        None
    );
}

/// App passwords are a part of the credentials, and set with them.
pub async fn app_passwords_are_kept_with_the_credentials<S: MailStore + Directory>(store: &S) {
    let world = World::new(store);
    world.account(ANN).await;
    let app_password = |name: &str| AppPassword {
        name: name.into(),
        services: Services::new([Service::Smtp]).unwrap(),
        created: world.ids.stamp(),
        salt: world.ids.random_octets(),
        digest: [9; 32],
    };
    let mut last = None;
    for names in [&["phone"][..], &["phone", "printer: in the hall"], &[]] {
        let credentials = Credentials {
            app_passwords: names.iter().map(|name| app_password(name)).collect(),
            ..world.credentials(true)
        };
        store
            .set_credentials(ANN, credentials.clone(), last)
            .await
            .unwrap();
        let found = store.account(ANN).await.unwrap().unwrap();
        assert_eq!(found.credentials, credentials);
        last = Some(credentials.stamp);
    }
    let new = world.new_account("bob@example.org");
    let credentials = Credentials {
        app_passwords: vec![app_password("phone")],
        ..new.credentials
    };
    let new = crate::directory::NewAccount { credentials, ..new };
    let made = store.add_account(new).await.unwrap();
    assert_eq!(store.account("bob@example.org").await.unwrap(), Some(made));
}
