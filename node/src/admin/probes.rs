//! What programs ask a node: is it alive, is it ready, how is it doing.

use actix_web::{HttpResponse, web};
use prometheus_client::encoding::text;

use super::{AdminParts, State};

/// What `/metrics` is (the text form of OpenMetrics, which Prometheus takes).
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process answers.
pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().body("ok\n")
}

/// 200 while the node takes and gives mail; else 503 with the reason.
pub(super) async fn readyz(parts: web::Data<AdminParts>) -> HttpResponse {
    let reason = match parts.readiness.get() {
        State::Ready => return HttpResponse::Ok().body("ready\n"),
        State::Starting => "starting".to_owned(),
        State::Draining => "stopping".to_owned(),
        State::NotReady(reason) => reason,
    };
    HttpResponse::ServiceUnavailable().body(format!("{reason}\n"))
}

pub(super) async fn metrics(parts: web::Data<AdminParts>) -> HttpResponse {
    let mut body = String::new();
    match text::encode(&mut body, &parts.registry) {
        Ok(()) => HttpResponse::Ok().content_type(METRICS_TYPE).body(body),
        Err(error) => HttpResponse::InternalServerError().body(format!("{error}\n")),
    }
}

pub(super) async fn actors(parts: web::Data<AdminParts>) -> HttpResponse {
    HttpResponse::Ok().json(parts.actors.snapshot().await)
}
