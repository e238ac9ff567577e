//! Quotas over the API.

use mailhorn_events::{Happening, QuotaLimits, QuotaRoot};
use mailhorn_ports::MailStore;

use super::*;

async fn server_with_ann() -> Dialogue {
    let server = Dialogue::new().await;
    server
        .parts
        .operations
        .add_domain("example.org", None)
        .await
        .unwrap();
    let password = mailhorn_sasl::Secret::new("x");
    server
        .parts
        .operations
        .add_user("ann@example.org", &password)
        .await
        .unwrap();
    server
}

#[actix_web::test]
async fn a_quota_is_shown_set_and_taken_back_for_a_user_and_for_a_domain() {
    let server = server_with_ann().await;
    deliver(&server.parts.operations, "ann@example.org", 2).await;
    let unlimited = json!({ "messages": null, "octets": null });
    for (path, owner) in [
        ("/users/Ann@example.org/quota", "ann@example.org"),
        ("/domains/Example.org/quota", "example.org"),
    ] {
        let quota = |limits: Value, effective: &Value| {
            json!({
                "owner": owner, "limits": limits, "effective": effective, "enforced": true,
                "messages": 2, "octets": 36,
            })
        };
        let none = (200, quota(Value::Null, &unlimited));
        assert_eq!(server.api(Method::GET, path, None).await, none);
        let limits = json!({ "messages": 5, "octets": null });
        let set = server
            .api(Method::PUT, path, Some(json!({ "messages": 5 })))
            .await;
        assert_eq!(set, (200, quota(limits.clone(), &limits)));
        assert_eq!(server.api(Method::GET, path, None).await, set);
        assert_eq!(server.api(Method::DELETE, path, None).await, none);
    }
}

#[actix_web::test]
async fn a_quota_is_of_somebody_who_is_there_and_its_limits_are_numbers() {
    let server = server_with_ann().await;
    let limits = || Some(json!({ "messages": 5 }));
    for (method, path, body, expected) in [
        (Method::GET, "/users/bob@example.org/quota", None, 404),
        (Method::PUT, "/domains/example.com/quota", limits(), 404),
        (Method::PUT, "/users/example.org/quota", limits(), 400),
        (Method::PUT, "/domains/ann@example.org/quota", limits(), 400),
        (
            Method::PUT,
            "/users/ann@example.org/quota",
            Some(json!({ "mesages": 5 })),
            400,
        ),
        (
            Method::PUT,
            "/users/ann@example.org/quota",
            Some(json!({ "octets": -1 })),
            400,
        ),
    ] {
        let (status, body) = server.api(method, path, body).await;
        assert_eq!(status, expected, "{path}: {body}");
    }
}

#[actix_web::test]
async fn new_limits_are_told_of_and_the_same_again_are_not() {
    let server = server_with_ann().await;
    for _ in 0..2 {
        let limits = Some(json!({ "octets": 1000 }));
        assert_eq!(
            server
                .api(Method::PUT, "/users/ann@example.org/quota", limits)
                .await
                .0,
            200
        );
    }
    let records = server
        .world
        .store
        .records(server.world.generation, 1, 100)
        .await
        .unwrap();
    let events = records
        .into_iter()
        .flat_map(|entry| entry.record.unwrap().events.clone());
    let told: Vec<Happening> = events
        .map(|event| event.happening)
        .filter(|happening| matches!(happening, Happening::QuotaLimitsUpdated { .. }))
        .collect();
    let after = QuotaLimits {
        octets: Some(1000),
        ..QuotaLimits::default()
    };
    let expected = Happening::QuotaLimitsUpdated {
        root: QuotaRoot::User,
        before: QuotaLimits::default(),
        after,
    };
    assert_eq!(told, [expected]);
}
