//! `/api/v1/bans`: from where nobody is served.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, ServiceConfig, delete, get, post, resource};
use serde::Deserialize;

use super::AdminParts;
use super::api::ApiError;
use crate::operations::views::Ban;
use crate::operations::{OperationError, bans};
use crate::settings::value::Value;

/// A ban to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBan {
    network: String,
    time: Option<String>,
    #[serde(default)]
    reason: String,
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/bans").route(get().to(list)).route(post().to(add)))
        .service(resource("/bans/{network}").route(delete().to(lift)));
}

async fn list(parts: Data<AdminParts>) -> Json<Vec<Ban>> {
    Json(bans::list(&parts.bans))
}

async fn add(parts: Data<AdminParts>, new: Json<AddBan>) -> Result<HttpResponse, ApiError> {
    let AddBan {
        network,
        time,
        reason,
    } = new.into_inner();
    let wrong =
        |text: &str| OperationError::Invalid(format!("{text:?} is not {}", std::time::Duration::allowed()));
    let time = time.map(|text| Value::parse(&text).ok_or_else(|| wrong(&text)));
    let ban = bans::add(&parts.bans, &network, time.transpose()?, reason).await?;
    Ok(HttpResponse::Created().json(ban))
}

async fn lift(parts: Data<AdminParts>, network: Path<String>) -> Result<HttpResponse, ApiError> {
    bans::lift(&parts.bans, &network).await?;
    Ok(HttpResponse::NoContent().finish())
}
