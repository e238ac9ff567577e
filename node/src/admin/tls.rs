//! `/api/v1/tls/reload`: the certificates' files are read again.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, ServiceConfig, post, resource};

use super::AdminParts;
use super::api::{Answer, ApiError};
use crate::tls::Reloaded;

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(resource("/tls/reload").route(post().to(reload)));
}

/// 200 even where something could not be used: the rest was, and the answer says what is wrong.
async fn reload(parts: Data<AdminParts>) -> Answer<Reloaded> {
    let tls = parts.tls.clone();
    let read = actix_web::rt::task::spawn_blocking(move || tls.reload()).await;
    read.map(Json)
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error))
}
