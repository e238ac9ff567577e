//! Aliases, other names of domains, catch-alls and app passwords.

use mailhorn_core::auth::passwords;
use mailhorn_ports::directory::APP_PASSWORDS_MAX;

use super::*;

/// With Bob too.
async fn with_both(store: &MemoryStore) -> Operations {
    let operations = with_alice(store).await;
    let password = secret("bob's");
    operations.add_user("bob@example.org", &password).await.unwrap();
    operations
}

async fn owner(operations: &Operations, address: &str) -> Option<String> {
    operations.recipient(address).await.unwrap().address
}

fn all() -> Vec<String> {
    vec!["pop3".into(), "smtp".into()]
}

#[tokio::test]
async fn an_alias_is_made_listed_and_removed_under_names_as_people_write_them() {
    let store = MemoryStore::new();
    let operations = with_both(&store).await;
    let alias = operations
        .add_alias("Info@Example.org", "ALICE@example.org")
        .await
        .unwrap();
    assert_eq!(
        (alias.alias.as_str(), alias.address.as_str()),
        ("info@example.org", "alice@example.org")
    );
    operations
        .add_alias("sales@example.org", "bob@example.org")
        .await
        .unwrap();
    operations
        .add_alias("abuse@example.org", "bob@example.org")
        .await
        .unwrap();
    assert_eq!(
        owner(&operations, "INFO+x@example.org").await.unwrap(),
        "alice@example.org"
    );
    let listed = async |after: Option<&str>, limit| {
        let page = operations.aliases(after, limit).await.unwrap();
        let aliases: Vec<String> = page.items.into_iter().map(|alias| alias.alias).collect();
        (aliases, page.next)
    };
    let (first, next) = listed(None, 1).await;
    assert_eq!(first, ["info@example.org"], "those of the first account");
    let (second, _) = listed(next.as_deref(), 1).await;
    assert_eq!(second, ["abuse@example.org", "sales@example.org"]);
    let of_bob = operations.aliases_of("bob@example.org", None, 1).await.unwrap();
    assert_eq!(
        (of_bob.items.len(), of_bob.next.as_deref()),
        (1, Some("abuse@example.org"))
    );
    operations.remove_alias("Abuse@example.org").await.unwrap();
    assert_eq!(owner(&operations, "abuse@example.org").await, None);
}

#[tokio::test]
async fn what_can_not_be_another_address_is_told_with_the_reason() {
    let store = MemoryStore::new();
    let operations = with_both(&store).await;
    operations
        .add_domain("example.com", Some("example.org"))
        .await
        .unwrap();
    let conflict = |error| matches!(error, OperationError::Conflict(_));
    let not_found = |error| matches!(error, OperationError::NotFound(_));
    for taken in ["bob@example.org", "x@example.net", "x@example.com"] {
        assert!(
            conflict(
                operations
                    .add_alias(taken, "alice@example.org")
                    .await
                    .unwrap_err()
            ),
            "{taken}"
        );
    }
    assert!(not_found(
        operations
            .add_alias("x@example.org", "y@example.org")
            .await
            .unwrap_err()
    ));
    assert!(not_found(
        operations.remove_alias("alice@example.org").await.unwrap_err()
    ));
    let at_alias = operations.add_user("carol@example.com", &secret("x")).await;
    assert!(conflict(at_alias.unwrap_err()), "its addresses are the other's");
    assert!(conflict(
        operations.remove_domain("example.org").await.unwrap_err()
    ));
}

#[tokio::test]
async fn the_aliases_of_a_removed_account_go_with_it() {
    let store = MemoryStore::new();
    let operations = with_both(&store).await;
    operations
        .add_alias("info@example.org", "alice@example.org")
        .await
        .unwrap();
    operations
        .add_alias("sales@example.org", "bob@example.org")
        .await
        .unwrap();
    operations
        .set_catch_all("example.org", Some("alice@example.org"))
        .await
        .unwrap();
    operations.remove_user("alice@example.org").await.unwrap();
    assert_eq!(owner(&operations, "info@example.org").await, None);
    assert_eq!(owner(&operations, "whoever@example.org").await, None);
    let left = operations.aliases(None, 10).await.unwrap();
    assert_eq!(left.items.len(), 1);
    operations
        .add_user("alice@example.org", &secret("x"))
        .await
        .unwrap();
    operations
        .add_alias("info@example.org", "bob@example.org")
        .await
        .unwrap();
    assert_eq!(
        owner(&operations, "whoever@example.org").await,
        None,
        "it is another Alice"
    );
}

#[tokio::test]
async fn a_catch_all_and_another_name_of_a_domain_are_shown_with_the_domains() {
    let store = MemoryStore::new();
    let operations = with_both(&store).await;
    operations
        .add_domain("example.com", Some("Example.ORG"))
        .await
        .unwrap();
    operations
        .set_catch_all("example.org", Some("bob@example.org"))
        .await
        .unwrap();
    let shown = async || serde_json::to_value(operations.domains(None, 10).await.unwrap().items).unwrap();
    let expected = serde_json::json!([
        { "name": "example.com", "alias_of": "example.org" },
        { "name": "example.org", "catch_all": "bob@example.org" },
    ]);
    assert_eq!(shown().await, expected);
    assert_eq!(
        owner(&operations, "who@example.com").await.unwrap(),
        "bob@example.org"
    );
    operations.set_catch_all("example.org", None).await.unwrap();
    let elsewhere = operations.recipient("who@example.edu").await.unwrap();
    assert_eq!((elsewhere.local, elsewhere.address), (false, None));
    let nobody = operations.recipient("who@example.com").await.unwrap();
    assert_eq!((nobody.local, nobody.address), (true, None));
}

#[tokio::test]
async fn an_app_password_is_shown_once_and_kept_beside_the_password() {
    let store = MemoryStore::new();
    let operations = with_alice(&store).await;
    let made = operations
        .add_app_password("alice@example.org", "phone", &all())
        .await
        .unwrap();
    assert!(!format!("{made:?}").contains(&made.password));
    let listed = operations.app_passwords("alice@example.org").await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&made.app_password));
    assert!(!serde_json::to_string(&listed).unwrap().contains(&made.password));

    operations
        .set_password("alice@example.org", &secret("new"))
        .await
        .unwrap();
    assert_eq!(
        operations.app_passwords("alice@example.org").await.unwrap(),
        listed
    );
    let account = store.account("alice@example.org").await.unwrap().unwrap();
    assert_eq!(
        passwords::check(&secret("new"), &account.credentials.hash),
        Ok(true)
    );

    operations
        .remove_app_password("alice@example.org", "phone")
        .await
        .unwrap();
    assert!(
        operations
            .app_passwords("alice@example.org")
            .await
            .unwrap()
            .is_empty()
    );
    let after = store.account("alice@example.org").await.unwrap().unwrap();
    assert!(
        after.credentials.stamp > account.credentials.stamp,
        "what was remembered is void"
    );
}

#[tokio::test]
async fn app_passwords_have_names_of_their_own_services_that_exist_and_an_end() {
    let store = MemoryStore::new();
    let operations = with_alice(&store).await;
    let add = async |name: String, services: Vec<String>| {
        operations
            .add_app_password("alice@example.org", &name, &services)
            .await
    };
    for (name, services) in [
        ("", all()),
        ("two\nlines", all()),
        (&"x".repeat(65), all()),
        ("phone", vec![]),
        ("phone", vec!["imap".into()]),
    ] {
        let refused = add(name.to_owned(), services).await;
        assert!(matches!(refused, Err(OperationError::Invalid(_))), "{name:?}");
    }
    for n in 0..APP_PASSWORDS_MAX {
        add(format!("phone {n}"), all()).await.unwrap();
    }
    for name in ["phone 3", "one more"] {
        let refused = add(name.to_owned(), all()).await;
        assert!(matches!(refused, Err(OperationError::Conflict(_))), "{name}");
    }
    let gone = operations
        .remove_app_password("alice@example.org", "one more")
        .await;
    assert!(matches!(gone, Err(OperationError::NotFound(_))));
}
