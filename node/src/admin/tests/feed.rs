//! The live feed over the API.

use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use futures_util::future::poll_fn;
use mailhorn_ports::Directory;

use super::*;
use crate::sse::{self, Message, Parser, RESET};

const ANN: &str = "ann@example.org";
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that reads a feed as it comes.
struct Client {
    body: std::pin::Pin<Box<BoxBody>>,
    parser: Parser,
    rest: String,
}

impl Client {
    /// What is sent next, as it is; `None` at the end.
    async fn chunk(&mut self) -> Option<String> {
        let next = poll_fn(|context| self.body.as_mut().poll_next(context));
        let octets = tokio::time::timeout(PATIENCE, next)
            .await
            .expect("something comes");
        octets.map(|octets| String::from_utf8(octets.unwrap().to_vec()).unwrap())
    }

    async fn message(&mut self) -> Message {
        loop {
            while let Some((line, rest)) = self.rest.clone().split_once('\n') {
                self.rest = rest.to_owned();
                if let Some(message) = self.parser.line(line) {
                    return message;
                }
            }
            let chunk = self.chunk().await.expect("the feed goes on");
            self.rest.push_str(&chunk);
        }
    }
}

impl Dialogue {
    async fn follow(&self, query: &str, last: Option<&str>) -> Result<Client, u16> {
        let (parts, token) = (self.parts.clone(), self.token.clone());
        let app = init_service(App::new().configure(move |config| routes(config, parts, token))).await;
        let mut request = TestRequest::with_uri(&format!("/api/v1/events?{query}"))
            .insert_header(("authorization", self.token.authorization()));
        if let Some(last) = last {
            request = request.insert_header(("last-event-id", last));
        }
        let response: ServiceResponse<BoxBody> = call_service(&app, request.to_request())
            .await
            .map_into_boxed_body();
        if response.status() != StatusCode::OK {
            return Err(response.status().as_u16());
        }
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            (header("content-type").as_str(), header("cache-control").as_str()),
            (sse::MEDIA_TYPE, "no-store")
        );
        Ok(Client {
            body: Box::pin(response.into_body()),
            parser: Parser::default(),
            rest: String::new(),
        })
    }
}

async fn server_with_ann() -> Dialogue {
    let server = Dialogue::new().await;
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

#[actix_web::test]
async fn what_happens_under_a_user_or_a_mailbox_is_told_with_an_id_a_kind_and_json() {
    let server = server_with_ann().await;
    let account = server.world.store.account(ANN).await.unwrap().unwrap();
    let mailbox = format!("mailbox={}", mailhorn_events::MailboxId::inbox(account.id));
    for query in ["user=Ann%40example.org", &mailbox] {
        let mut client = server.follow(query, None).await.ok().unwrap();
        let begin = client.chunk().await.unwrap();
        assert!(begin.starts_with("id: ") && begin.ends_with("\n\n"), "{begin:?}");
        deliver(&server.parts.operations, ANN, 1).await;
        let message = client.message().await;
        assert_eq!(message.event, "Added");
        assert!(message.id.is_some());
        let event: Value = serde_json::from_str(&message.data).unwrap();
        assert_eq!((&event["kind"], &event["user"]), (&json!("Added"), &json!(ANN)));
    }
}

#[actix_web::test]
async fn a_client_that_comes_back_goes_on_where_it_was_or_is_told_that_it_can_not() {
    let server = server_with_ann().await;
    let query = "user=ann@example.org";
    let mut client = server.follow(query, None).await.ok().unwrap();
    deliver(&server.parts.operations, ANN, 1).await;
    let first = client.message().await;
    drop(client);
    deliver(&server.parts.operations, ANN, 2).await;
    let last = first.id.unwrap();
    let mut again = server.follow(query, Some(&last)).await.ok().unwrap();
    let messages = [again.message().await, again.message().await];
    assert!(
        messages.iter().all(|message| message.event == "Added"),
        "{messages:?}"
    );
    drop(again);
    let by_query = format!("{query}&last_event_id={last}");
    let mut by_query = server.follow(&by_query, None).await.ok().unwrap();
    assert_eq!(by_query.message().await, messages[0]);
    drop(by_query);
    let of_another_life = "00000000-0000-0000-0000-000000000001.7";
    let mut reset = server.follow(query, Some(of_another_life)).await.ok().unwrap();
    let message = reset.message().await;
    assert_eq!((message.event.as_str(), message.data.as_str()), (RESET, "{}"));
    deliver(&server.parts.operations, ANN, 1).await;
    assert_eq!(reset.message().await.event, "Added");
}

#[actix_web::test]
async fn a_feed_that_makes_no_sense_or_is_one_too_many_is_refused() {
    let server = server_with_ann().await;
    let user = "user=ann@example.org";
    for (query, last, expected) in [
        ("", None, 400),
        ("user=ann@example.org&mailbox=1", None, 400),
        ("mailbox=inbox", None, 400),
        ("user=bob@example.org", None, 404),
        (user, Some("7"), 400),
    ] {
        assert_eq!(server.follow(query, last).await.err(), Some(expected), "{query}");
    }
    let clients = [
        server.follow(user, None).await.ok(),
        server.follow(user, None).await.ok(),
    ];
    assert!(clients.iter().all(Option::is_some));
    assert_eq!(server.follow(user, None).await.err(), Some(503));
    drop(clients);
    assert!(server.follow(user, None).await.is_ok(), "a place is free again");
}

#[actix_web::test]
async fn a_feed_ends_when_the_node_drains() {
    let server = server_with_ann().await;
    let mut client = server.follow("user=ann@example.org", None).await.ok().unwrap();
    assert!(client.chunk().await.is_some());
    server.world.drain.begin(PATIENCE);
    assert_eq!(client.chunk().await, None);
}

#[actix_web::test]
async fn silence_is_broken_by_comments() {
    let server = server_with_ann().await;
    let mut client = server.follow("user=ann@example.org", None).await.ok().unwrap();
    assert!(client.chunk().await.is_some());
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    assert_eq!(client.chunk().await.as_deref(), Some(sse::KEEP_ALIVE));
    assert_eq!(begun.elapsed().as_secs(), 15);
}
