//! Aliases, catch-alls and app passwords over the API.

use super::*;

#[actix_web::test]
async fn other_addresses_are_made_shown_and_removed_by_the_api() {
    let server = Dialogue::new().await;
    let domain = json!({ "name": "example.org" });
    let user = json!({ "address": "ann@example.org", "password": "x" });
    let alias = || Some(json!({ "alias": "info@example.org", "address": "ann@example.org" }));
    let ann = || Some(json!({ "address": "ann@example.org" }));
    for (method, path, body, expected) in [
        (Method::POST, "/domains", Some(domain), 201),
        (Method::POST, "/users", Some(user), 201),
        (
            Method::POST,
            "/domains",
            Some(json!({ "name": "example.com", "alias_of": "example.org" })),
            201,
        ),
        (
            Method::POST,
            "/domains",
            Some(json!({ "name": "example.net", "alias_of": "example.com" })),
            409,
        ),
        (Method::POST, "/aliases", alias(), 201),
        (Method::POST, "/aliases", alias(), 409),
        (Method::PUT, "/domains/example.org/catch-all", ann(), 204),
        (Method::PUT, "/domains/example.edu/catch-all", ann(), 404),
        (Method::PUT, "/domains/example.com/catch-all", ann(), 409),
    ] {
        let (status, body) = server.api(method, path, body).await;
        assert_eq!(status, expected, "{path}: {body}");
    }
    let (_, found) = server.api(Method::GET, "/recipients/who@example.com", None).await;
    let expected = json!({ "recipient": "who@example.com", "local": true, "address": "ann@example.org" });
    assert_eq!(found, expected);
    for path in ["/aliases", "/users/ann@example.org/aliases"] {
        let (_, page) = server.api(Method::GET, path, None).await;
        assert_eq!(page["items"][0]["alias"], "info@example.org", "{path}");
    }
    for (path, expected) in [
        ("/domains/example.org/catch-all", 204),
        ("/aliases/info@example.org", 204),
        ("/aliases/info@example.org", 404),
    ] {
        assert_eq!(server.api(Method::DELETE, path, None).await.0, expected, "{path}");
    }
}

#[actix_web::test]
async fn an_app_password_is_in_the_answer_to_its_making_and_nowhere_else() {
    let server = Dialogue::new().await;
    let operations = &server.parts.operations;
    operations.add_domain("example.org", None).await.unwrap();
    let password = mailhorn_sasl::Secret::new("x");
    operations.add_user("ann@example.org", &password).await.unwrap();
    let path = "/users/ann@example.org/app-passwords";
    let new = || Some(json!({ "name": "my phone", "services": ["pop3"] }));
    let (status, made) = server.api(Method::POST, path, new()).await;
    assert_eq!((status, made["name"].as_str()), (201, Some("my phone")));
    let secret = made["password"].as_str().unwrap();
    assert_eq!(server.api(Method::POST, path, new()).await.0, 409);
    for path in [path, "/users"] {
        let (_, listed) = server.api(Method::GET, path, None).await;
        assert!(!listed.to_string().contains(secret), "{listed}");
    }
    let one = format!("{path}/my%20phone");
    assert_eq!(server.api(Method::DELETE, &one, None).await.0, 204);
    assert_eq!(server.api(Method::DELETE, &one, None).await.0, 404);
}
