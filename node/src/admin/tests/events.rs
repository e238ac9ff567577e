//! Groups of listeners and dead letters over the API.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use mailhorn_core::events::contract::{Behaviour, Recorder};
use mailhorn_events::{Happening, Stamp};
use mailhorn_ports::{Directory, GroupStore, ListenerOptions, MailStore, Mode, Scope};

use super::*;

const ANN: &str = "ann@example.org";

/// A listener for new mail that calls it bad until it is mended.
fn picky(is_mended: &Arc<AtomicBool>) -> Arc<Recorder> {
    let is_mended = Arc::clone(is_mended);
    let listener = Recorder::new(move |_, _| match is_mended.load(SeqCst) {
        true => Behaviour::Done,
        false => Behaviour::Bad,
    });
    Arc::new(listener.handling(|event| matches!(event.happening, Happening::Added { .. })))
}

/// A server with Ann's account, and a group that never tries again.
async fn server_with(listener: &Arc<Recorder>) -> Dialogue {
    let server = Dialogue::new().await;
    let options = ListenerOptions {
        mode: Mode::Sync,
        retries: 0,
        ..ListenerOptions::default()
    };
    let listener = listener.clone();
    let registered =
        server
            .world
            .bus
            .register_group("picky".parse().unwrap(), Scope::Local, listener, options);
    registered.await.unwrap();
    server
        .parts
        .operations
        .add_domain("example.org", None)
        .await
        .unwrap();
    let password = mailhorn_sasl::Secret::new("x");
    server.parts.operations.add_user(ANN, &password).await.unwrap();
    server
}

impl Dialogue {
    /// Asks until the answer is as it should be: a group's figures come after its work.
    async fn until(&self, path: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let asked = async {
            loop {
                let (_, answer) = self.api(Method::GET, path, None).await;
                if is_there(&answer) {
                    return answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let patience = std::time::Duration::from_secs(30);
        tokio::time::timeout(patience, asked)
            .await
            .unwrap_or_else(|_| panic!("{path} does not come to it"))
    }
}

fn dead(letters: usize) -> impl Fn(&Value) -> bool {
    move |answer| answer["items"].as_array().map(Vec::len) == Some(letters)
}

#[actix_web::test]
async fn a_dead_letter_is_listed_shown_and_removed() {
    let server = server_with(&picky(&Arc::default())).await;
    deliver(&server.parts.operations, ANN, 3).await;
    let listed = server.until("/events/dead-letters/picky", dead(3)).await;
    let first = &listed["items"][0];
    assert_eq!(
        (&first["why"], &first["attempts"], &first["log"]),
        (
            &json!("on purpose"),
            &json!(1),
            &json!(server.world.generation.to_string())
        )
    );
    let (_, groups) = server.api(Method::GET, "/events/dead-letters", None).await;
    assert_eq!(groups, json!([{ "group": "picky", "letters": 3 }]));

    let id = first["id"].as_str().unwrap();
    let path = format!("/events/dead-letters/picky/{id}");
    let (_, shown) = server.api(Method::GET, &path, None).await;
    assert_eq!(shown["id"], json!(id));
    assert_eq!(
        (&shown["events"][0]["kind"], &shown["events"][0]["user"]),
        (&json!("Added"), &json!(ANN))
    );
    assert!(shown["octets"].as_str().is_some_and(|octets| octets.len() > 20));

    assert_eq!(server.api(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(server.api(Method::DELETE, &path, None).await.0, 404, "it is gone");
    assert_eq!(server.api(Method::GET, &path, None).await.0, 404);
    let next = format!("/events/dead-letters/picky?limit=1&after={id}");
    assert_eq!(
        server.api(Method::GET, &next, None).await.1["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    let removed = server
        .api(Method::DELETE, "/events/dead-letters/picky?limit=1", None)
        .await;
    assert_eq!(removed, (200, json!({ "letters": 1 })));
    let removed = server
        .api(Method::DELETE, "/events/dead-letters/picky", None)
        .await;
    assert_eq!(removed, (200, json!({ "letters": 1 })));
    assert_eq!(
        server.api(Method::GET, "/events/dead-letters", None).await.1,
        json!([])
    );
}

#[actix_web::test]
async fn what_this_release_cannot_read_is_shown_as_octets() {
    let server = server_with(&picky(&Arc::default())).await;
    deliver(&server.parts.operations, ANN, 1).await;
    server.until("/events/dead-letters/picky", dead(1)).await;
    let group = "picky".parse().unwrap();
    let mut letter = server
        .world
        .store
        .dead_letters(&group, None, 1)
        .await
        .unwrap()
        .remove(0);
    letter.octets = bytes::Bytes::from_static(b"\xffnew");
    server.world.store.bury(&group, &letter).await.unwrap();
    let path = format!("/events/dead-letters/picky/{}", letter.id);
    let (_, shown) = server.api(Method::GET, &path, None).await;
    assert_eq!(
        (&shown["events"], &shown["octets"]),
        (&json!([]), &json!("/25ldw=="))
    );
    let redelivered = server.api(Method::POST, &format!("{path}/redeliver"), None).await;
    assert_eq!(redelivered.0, 409, "{redelivered:?}");
    let path = "/events/dead-letters/picky/redeliver";
    let all = server.api(Method::POST, path, None).await;
    assert_eq!(
        all,
        (
            200,
            json!({ "group": "picky", "letters": 0, "unreadable": 1, "error": null })
        )
    );
}

#[actix_web::test]
async fn a_group_that_there_is_not_has_no_dead_letters_to_list_or_remove() {
    let server = server_with(&picky(&Arc::default())).await;
    for (group, status) in [("picky", 200), ("pick", 404)] {
        let path = format!("/events/dead-letters/{group}");
        for method in [Method::GET, Method::DELETE] {
            let (told, answer) = server.api(method.clone(), &path, None).await;
            assert_eq!(told, status, "{method} {path}: {answer}");
        }
    }
}

#[actix_web::test]
async fn a_mended_listener_gets_its_dead_letters_again() {
    let is_mended = Arc::default();
    let listener = picky(&is_mended);
    let server = server_with(&listener).await;
    deliver(&server.parts.operations, ANN, 4).await;
    let letters = server.until("/events/dead-letters/picky", dead(4)).await;
    let id = letters["items"][0]["id"].as_str().unwrap();
    is_mended.store(true, SeqCst);
    let one = format!("/events/dead-letters/picky/{id}/redeliver");
    assert_eq!(server.api(Method::POST, &one, None).await.0, 204);
    listener.wait_done(1).await;
    assert_eq!(
        server.api(Method::POST, &one, None).await.0,
        404,
        "it is no longer dead"
    );
    let some = server
        .api(Method::POST, "/events/dead-letters/picky/redeliver?limit=1", None)
        .await;
    assert_eq!(
        some,
        (
            200,
            json!({ "group": "picky", "letters": 1, "unreadable": 0, "error": null })
        )
    );
    let all = server
        .api(Method::POST, "/events/dead-letters/redeliver", None)
        .await;
    assert_eq!(
        all,
        (
            200,
            json!([{ "group": "picky", "letters": 2, "unreadable": 0, "error": null }])
        )
    );
    listener.wait_done(4).await;
    assert_eq!(
        server.api(Method::GET, "/events/dead-letters", None).await.1,
        json!([])
    );
}

#[actix_web::test]
async fn groups_are_shown_with_what_they_do_and_one_that_nobody_runs_can_be_forgotten() {
    let server = server_with(&picky(&Arc::new(AtomicBool::new(true)))).await;
    let old = "old-index".parse().unwrap();
    server.world.store.register_group(&old, Stamp(1)).await.unwrap();
    deliver(&server.parts.operations, ANN, 1).await;
    let end = server.world.store.log_end(server.world.generation).await.unwrap();
    let caught_up = |groups: &Value| groups[1]["logs"][0]["finished"] == json!(end);
    let groups = server.until("/events/groups", caught_up).await;
    let [of_old, of_picky] = [&groups[0], &groups[1]];
    assert_eq!(
        (
            &of_picky["name"],
            &of_picky["state"],
            &of_picky["scope"],
            &of_picky["mode"],
            &of_picky["lag"]
        ),
        (
            &json!("picky"),
            &json!("running"),
            &json!("local"),
            &json!("sync"),
            &json!(0)
        )
    );
    assert_eq!(
        (&of_old["name"], &of_old["state"], &of_old["scope"]),
        (&json!("old-index"), &json!("not-registered"), &Value::Null)
    );
    assert_eq!(
        server.api(Method::DELETE, "/events/groups/picky", None).await.0,
        409,
        "it runs"
    );
    assert_eq!(
        server
            .api(Method::DELETE, "/events/groups/old-index", None)
            .await
            .0,
        204
    );
    assert_eq!(
        server
            .api(Method::DELETE, "/events/groups/old-index", None)
            .await
            .0,
        404
    );
    assert_eq!(
        server
            .api(Method::DELETE, "/events/groups/No%20Name", None)
            .await
            .0,
        400
    );
    let redelivered = server
        .api(Method::POST, "/events/dead-letters/old-index/redeliver", None)
        .await;
    assert_eq!(redelivered.0, 409, "nobody would take them");
}

/// The log is kept for it wherever it hasn't been.
#[actix_web::test]
async fn a_group_that_nobody_runs_lags_in_a_log_that_began_since_it_ran() {
    let server = server_with(&picky(&Arc::default())).await;
    let old = "old-index".parse().unwrap();
    server.world.store.register_group(&old, Stamp(1)).await.unwrap();
    deliver(&server.parts.operations, ANN, 2).await;
    // A command on the folder of a stopped node has a log of its own.
    let stopped = operations(&server.world.store);
    let password = mailhorn_sasl::Secret::new("x");
    stopped.add_user("bob@example.org", &password).await.unwrap();
    let (_, groups) = server.api(Method::GET, "/events/groups", None).await;
    let of_old = &groups[0];
    assert_eq!(of_old["name"], json!("old-index"));
    assert_eq!(of_old["logs"].as_array().map(Vec::len), Some(2));
    assert_eq!(of_old["lag"], json!(3));
}

#[actix_web::test]
async fn dead_letters_degrade_the_health_and_not_the_readiness() {
    let mut server = server_with(&picky(&Arc::default())).await;
    server.parts.readiness.set(State::Ready);
    let (status, health) = server.api(Method::GET, "/health", None).await;
    assert_eq!((status, &health["status"]), (200, &json!("healthy")));
    deliver(&server.parts.operations, ANN, 1).await;
    server.until("/events/dead-letters/picky", dead(1)).await;
    let (status, health) = server.api(Method::GET, "/health", None).await;
    let component = json!({ "name": "dead-letters", "status": "degraded", "cause": "picky has 1" });
    let groups = json!({ "name": "groups", "status": "healthy", "cause": null });
    let tls = json!({ "name": "tls", "status": "healthy", "cause": null });
    assert_eq!(
        (status, health),
        (
            200,
            json!({ "status": "degraded", "components": [component, groups, tls] })
        )
    );
    assert_eq!(
        server.ask(TestRequest::with_uri("/readyz")).await.0,
        StatusCode::OK
    );
    server.parts.events.ignored_groups = vec!["picky".parse().unwrap()];
    assert_eq!(
        server.api(Method::GET, "/health", None).await.1["status"],
        json!("healthy")
    );
    server.world.store.set_unavailable(true);
    assert_eq!(server.api(Method::GET, "/health", None).await.0, 503);
}

#[actix_web::test]
async fn mailboxes_that_come_and_go_with_their_user_are_told_of() {
    let server = server_with(&picky(&Arc::default())).await;
    let account = server.world.store.account(ANN).await.unwrap().unwrap();
    deliver(&server.parts.operations, ANN, 1).await;
    server.parts.operations.remove_user(ANN).await.unwrap();
    let records = server
        .world
        .store
        .records(server.world.generation, 1, 100)
        .await
        .unwrap();
    let events = records
        .into_iter()
        .flat_map(|entry| entry.record.unwrap().events.clone());
    let events: Vec<_> = events.filter(|event| event.account == account.id).collect();
    let told: Vec<&str> = events.iter().map(|event| event.happening.name()).collect();
    assert_eq!(told.first(), Some(&"MailboxAdded"), "{told:?}");
    assert_eq!(told.last(), Some(&"MailboxDeleted"), "{told:?}");
    assert!(told.contains(&"Expunged"), "{told:?}");
}
