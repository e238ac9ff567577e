use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use actix_web::App;
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};

use super::*;
use crate::clock::SystemClock;
use crate::operations::tests::{deliver, operations};
use crate::settings::Sources;

mod addresses;
mod cluster;
mod events;
mod feed;
mod quota;
mod world;

use world::World;

#[derive(Debug)]
struct NoActors;

#[async_trait]
impl ActorsView for NoActors {
    async fn snapshot(&self) -> Value {
        json!({ "actors": [] })
    }
}

fn parts(world: &World, data_dir: &Path) -> AdminParts {
    let mut registry = Registry::with_prefix("mailhorn");
    registry.register("things", "Things", Counter::<u64>::default());
    let settings = Sources {
        data_dir: Some(data_dir.to_path_buf()),
        ..Sources::default()
    };
    let settings = settings.load().unwrap();
    AdminParts {
        operations: world.operations(),
        events: world.events(),
        cluster: world.cluster(),
        feed: world.feed.clone(),
        bans: world.bans(&settings),
        tls: Tls::load(&settings, Arc::new(SystemClock)).unwrap(),
        registry: Arc::new(registry),
        actors: Arc::new(NoActors),
        readiness: Readiness::default(),
        drain: world.watch.clone(),
        limits: settings.admin,
        data_dir: data_dir.to_path_buf(),
    }
}

/// A server, and what is said to it.
struct Dialogue {
    world: World,
    parts: AdminParts,
    token: Token,
    folder: tempfile::TempDir,
}

impl Dialogue {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = Token::of_folder(folder.path()).unwrap();
        let world = World::start().await;
        Self {
            parts: parts(&world, folder.path()),
            world,
            token,
            folder,
        }
    }

    async fn ask(&self, request: TestRequest) -> (StatusCode, String) {
        let (parts, token) = (self.parts.clone(), self.token.clone());
        let app = init_service(App::new().configure(move |config| routes(config, parts, token))).await;
        let response = call_service(&app, request.to_request()).await;
        let status = response.status();
        (
            status,
            String::from_utf8(read_body(response).await.to_vec()).unwrap(),
        )
    }

    /// With the token; the answer as JSON.
    async fn api(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = TestRequest::with_uri(&format!("/api/v1{path}"))
            .method(method)
            .insert_header(("authorization", self.token.authorization()));
        if let Some(body) = body {
            request = request.set_json(body);
        }
        let (status, text) = self.ask(request).await;
        let json = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        };
        (status.as_u16(), json)
    }
}

#[actix_web::test]
async fn only_who_holds_the_token_gets_at_the_api_and_the_actors() {
    let server = Dialogue::new().await;
    for path in ["/actors", "/api/v1/users", "/api/v1/nothing"] {
        for authorization in [None, Some("Bearer 00"), Some("Basic x")] {
            let mut request = TestRequest::with_uri(path);
            if let Some(authorization) = authorization {
                request = request.insert_header(("authorization", authorization));
            }
            let (status, body) = server.ask(request).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} with {authorization:?}");
            assert!(body.starts_with("{\"error\":"), "{body}");
        }
    }
    let with_token =
        TestRequest::with_uri("/actors").insert_header(("authorization", server.token.authorization()));
    assert_eq!(
        server.ask(with_token).await,
        (StatusCode::OK, "{\"actors\":[]}".to_owned())
    );
}

#[actix_web::test]
async fn probes_and_metrics_are_open_and_readiness_has_a_reason() {
    let server = Dialogue::new().await;
    let ask = async |path: &str| server.ask(TestRequest::with_uri(path)).await;
    assert_eq!(ask("/livez").await.0, StatusCode::OK);
    assert_eq!(
        ask("/readyz").await,
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned())
    );
    let table = [
        (State::Ready, StatusCode::OK, "ready\n"),
        (
            State::NotReady("the disk is full".to_owned()),
            StatusCode::SERVICE_UNAVAILABLE,
            "the disk is full\n",
        ),
        (State::Draining, StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    ];
    for (state, status, body) in table {
        server.parts.readiness.set(state);
        assert_eq!(ask("/readyz").await, (status, body.to_owned()));
    }
    let (status, body) = ask("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("mailhorn_things_total 0"), "{body}");
}

#[actix_web::test]
async fn certificates_are_read_again_when_asked_and_what_is_wrong_with_them_degrades_the_node() {
    let server = Dialogue::new().await;
    let reload = || server.api(Method::POST, "/tls/reload", None);
    let (status, reloaded) = reload().await;
    assert_eq!(
        (status, &reloaded["changed"], &reloaded["problems"]),
        (200, &json!(false), &json!([]))
    );
    assert_eq!(reloaded["certificates"][0]["names"], json!(["localhost"]));
    std::fs::write(server.folder.path().join("tls/self-signed.key"), "").unwrap();
    let (status, reloaded) = reload().await;
    assert_eq!(status, 200);
    let (status, health) = server.api(Method::GET, "/health", None).await;
    assert_eq!((status, &health["status"]), (200, &json!("degraded")));
    let components = health["components"].as_array().unwrap();
    let tls = components
        .iter()
        .find(|component| component["name"] == "tls")
        .unwrap();
    assert_eq!(tls["cause"], reloaded["problems"][0]);
}

#[actix_web::test]
async fn bans_are_made_listed_and_lifted() {
    let server = Dialogue::new().await;
    let (post, get, delete) = (Method::POST, Method::GET, Method::DELETE);
    let new = json!({ "network": "192.0.2.7", "time": "2h", "reason": "by hand" });
    let (status, made) = server.api(post.clone(), "/bans", Some(new)).await;
    assert_eq!(
        (status, &made["network"], &made["reason"], &made["node"]),
        (201, &json!("192.0.2.7/32"), &json!("by hand"), &json!("mailhorn"))
    );
    assert_eq!(server.api(get.clone(), "/bans", None).await, (200, json!([made])));
    for (wrong, status) in [
        (json!({ "network": "mail.example.org" }), 400),
        (json!({ "network": "127.0.0.1" }), 400),
        (json!({ "network": "192.0.2.8", "time": "soon" }), 400),
        (json!({ "network": "192.0.2.8", "time": "366d" }), 400),
        (json!({ "network": "192.0.2.8", "reason": "two\nlines" }), 400),
    ] {
        let (told, body) = server.api(post.clone(), "/bans", Some(wrong.clone())).await;
        assert_eq!(told, status, "{wrong}: {body}");
    }
    assert_eq!(server.api(delete.clone(), "/bans/192.0.2.8", None).await.0, 404);
    assert_eq!(
        server.api(delete, "/bans/192.0.2.7%2F32", None).await,
        (204, Value::Null)
    );
    assert_eq!(server.api(get, "/bans", None).await, (200, json!([])));
}

#[actix_web::test]
async fn domains_and_users_are_made_listed_and_removed() {
    let server = Dialogue::new().await;
    let (post, get, put, delete) = (Method::POST, Method::GET, Method::PUT, Method::DELETE);
    let domain = json!({ "name": "example.org" });
    assert_eq!(
        server.api(post.clone(), "/domains", Some(domain.clone())).await,
        (201, domain.clone())
    );
    assert_eq!(server.api(post.clone(), "/domains", Some(domain)).await.0, 409);
    let user = json!({ "address": "a/b@example.org", "password": "secret" });
    let (status, added) = server.api(post.clone(), "/users", Some(user)).await;
    assert_eq!(
        (status, &added["address"], &added["scram"]),
        (201, &json!("a/b@example.org"), &json!(true))
    );
    let (status, listed) = server.api(get.clone(), "/users?limit=10", None).await;
    assert_eq!((status, listed), (200, json!({ "items": [added], "next": null })));
    let new = Some(json!({ "password": "other" }));
    assert_eq!(
        server
            .api(put.clone(), "/users/a%2Fb%40example.org/password", new.clone())
            .await,
        (204, Value::Null)
    );
    assert_eq!(
        server.api(put, "/users/nobody@example.org/password", new).await.0,
        404
    );
    deliver(&server.parts.operations, "a/b@example.org", 2).await;
    let (_, mailboxes) = server
        .api(get.clone(), "/users/a%2Fb%40example.org/mailboxes", None)
        .await;
    assert_eq!(
        (&mailboxes[0]["mailbox"], &mailboxes[0]["messages"]),
        (&json!("INBOX"), &json!(2))
    );
    let (_, messages) = server
        .api(
            get,
            "/users/a%2Fb%40example.org/mailboxes/INBOX/messages?limit=1",
            None,
        )
        .await;
    assert_eq!(messages["items"].as_array().map(Vec::len), Some(1));
    assert!(messages["next"].is_string());
    let removed = json!({ "address": "a/b@example.org", "messages": 2, "is_empty": true });
    assert_eq!(
        server
            .api(delete.clone(), "/users/a%2Fb%40example.org", None)
            .await,
        (200, removed)
    );
    assert_eq!(server.api(delete, "/domains/example.org", None).await.0, 204);
    let too_many: Vec<Value> = (0..=IMPORT_USERS_MAX)
        .map(|n| json!({ "address": format!("{n}@x.org"), "secret": "{PLAIN}x" }))
        .collect();
    assert_eq!(
        server.api(post, "/users/import", Some(json!(too_many))).await.0,
        413
    );
}

#[actix_web::test]
async fn a_request_that_makes_no_sense_gets_an_error_as_json_without_what_it_held() {
    let server = Dialogue::new().await;
    let mistyped = Some(json!({ "address": "a@example.org", "passwrd": "hunter2" }));
    let (status, body) = server.api(Method::POST, "/users", mistyped).await;
    assert_eq!(status, 400);
    assert!(
        body["error"].is_string() && !body.to_string().contains("hunter2"),
        "{body}"
    );
    let large = Some(json!({ "name": "x".repeat(2 << 20) }));
    assert_eq!(server.api(Method::POST, "/domains", large).await.0, 413);
    for (method, path, expected) in [
        (Method::GET, "/users?limit=many", 400),
        (Method::GET, "/users?lmit=1", 400),
        (Method::GET, "/nothing", 404),
    ] {
        let (status, body) = server.api(method, path, None).await;
        assert_eq!(status, expected, "{path}");
        assert!(body["error"].is_string(), "{path}: {body}");
    }
}

#[actix_web::test]
async fn a_server_leaves_its_address_and_token_for_the_commands_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let world = World::start().await;
    let server = start(parts(&world, folder.path()), vec![listener]).unwrap();
    let handle = server.handle();
    let served = actix_web::rt::spawn(server);
    for file in [TOKEN_FILE, ADDRESS_FILE] {
        let mode = std::fs::metadata(folder.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let data_dir = folder.path().to_path_buf();
    let asked = actix_web::rt::task::spawn_blocking(move || {
        let client = crate::client::Client::of_folder(&data_dir).unwrap();
        assert_eq!(client.address(), address);
        client.check().unwrap();
        let added: Value = client
            .post(&["domains"], &json!({ "name": "example.org" }))
            .unwrap();
        let refused = client
            .post::<Value>(&["domains"], &json!({ "name": "example.org" }))
            .unwrap_err();
        client.delete(&["domains", "example.org"]).unwrap();
        (added, refused.to_string())
    });
    let (added, refused) = asked.await.unwrap();
    assert_eq!(added, json!({ "name": "example.org" }));
    assert_eq!(refused, "example.org exists already");
    handle.stop(true).await;
    served.await.unwrap().unwrap();
}
