//! `/api/v1/events`: what happens in a mailbox or to a user, live, as server-sent events.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Bytes, Data, Query, ServiceConfig, get, resource};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::unfold;
use mailhorn_core::drain::DrainWatch;
use mailhorn_core::events::{Feed, FeedId, FeedItem};
use mailhorn_events::wire;
use mailhorn_ports::Key;
use serde::Deserialize;

use super::AdminParts;
use super::api::ApiError;
use crate::operations::{OperationError, mailbox_id};
use crate::sse::{self, KEEP_ALIVE, Message, RESET};

/// Silence after which a comment says that the node is still there: below what proxies wait, a minute as a rule.
const KEEP_ALIVE_PAUSE: Duration = Duration::from_secs(15);

/// Where a client that comes back says how far it was.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// Whose events, and from where on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Of {
    mailbox: Option<String>,
    user: Option<String>,
    last_event_id: Option<String>,
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(resource("/events").route(get().to(feed)));
}

async fn feed(
    parts: Data<AdminParts>,
    of: Query<Of>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let key = match (&of.mailbox, &of.user) {
        (Some(mailbox), None) => Key::Mailbox(mailbox_id(mailbox)?),
        (None, Some(user)) => Key::User(parts.operations.account(user).await?.id),
        _ => {
            return Err(
                OperationError::Invalid("name a mailbox or a user, and one of them".to_owned()).into(),
            );
        }
    };
    let last = last_event_id(&request, &of)?;
    let feed = parts.feed.subscribe(key, last).await;
    let feed = feed.map_err(|error| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error))?;
    let following = Following::new(feed, parts.drain.clone());
    let messages = unfold(following, |mut following| async move {
        let text = following.next().await?;
        Some((Ok::<_, actix_web::Error>(Bytes::from(text)), following))
    });
    Ok(HttpResponse::Ok()
        .content_type(sse::MEDIA_TYPE)
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(Box::pin(messages)))
}

/// The header is what clients send that come back by themselves; the query is for those that can't set one.
fn last_event_id(request: &HttpRequest, of: &Of) -> Result<Option<FeedId>, ApiError> {
    let header = request.headers().get(LAST_EVENT_ID);
    let header = header.map(|value| value.to_str().unwrap_or_default());
    let Some(text) = header.or(of.last_event_id.as_deref()) else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("{LAST_EVENT_ID}: {error}")))
}

/// A client's stream.
#[derive(Debug)]
struct Following {
    feed: Feed,
    drain: DrainWatch,
    has_begun: bool,
}

impl Following {
    fn new(feed: Feed, drain: DrainWatch) -> Self {
        Self {
            feed,
            drain,
            has_begun: false,
        }
    }

    /// What is sent next; `None` when the node ends, for a client that stays would hold that up.
    async fn next(&mut self) -> Option<String> {
        if !self.has_begun {
            self.has_begun = true;
            // Where it stands, so that a client that is lost before its first event can come back to here.
            return Some(sse::standing(self.feed.at()));
        }
        tokio::select! {
            biased;
            () = self.drain.wait() => None,
            item = self.feed.next() => Some(message(&item).encode()),
            () = tokio::time::sleep(KEEP_ALIVE_PAUSE) => Some(KEEP_ALIVE.to_owned()),
        }
    }
}

fn message(item: &FeedItem) -> Message {
    match item {
        FeedItem::Event { id, happened } => Message {
            id: Some(id.to_string()),
            event: happened.event().happening.name().to_owned(),
            data: wire::event_json(happened),
        },
        FeedItem::Reset { id } => Message {
            id: Some(id.to_string()),
            event: RESET.to_owned(),
            data: "{}".to_owned(),
        },
    }
}
