//! `/api/v1`: aliases, catch-alls and app passwords.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query, ServiceConfig, delete, get, post, put, resource};
use serde::Deserialize;

use super::AdminParts;
use super::api::{Answer, ApiError, Range};
use crate::operations::views::{Alias, AppPassword, Page, Recipient};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddAlias {
    alias: String,
    address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetCatchAll {
    address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddAppPassword {
    name: String,
    services: Vec<String>,
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(
            resource("/domains/{name}/catch-all")
                .route(put().to(set_catch_all))
                .route(delete().to(unset_catch_all)),
        )
        .service(
            resource("/aliases")
                .route(get().to(aliases))
                .route(post().to(add_alias)),
        )
        .service(resource("/aliases/{alias}").route(delete().to(remove_alias)))
        .service(resource("/recipients/{address}").route(get().to(recipient)))
        .service(resource("/users/{address}/aliases").route(get().to(aliases_of)))
        .service(
            resource("/users/{address}/app-passwords")
                .route(get().to(app_passwords))
                .route(post().to(add_app_password)),
        )
        .service(resource("/users/{address}/app-passwords/{name}").route(delete().to(remove_app_password)));
}

async fn set_catch_all(
    parts: Data<AdminParts>,
    name: Path<String>,
    new: Json<SetCatchAll>,
) -> Result<HttpResponse, ApiError> {
    parts.operations.set_catch_all(&name, Some(&new.address)).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn unset_catch_all(parts: Data<AdminParts>, name: Path<String>) -> Result<HttpResponse, ApiError> {
    parts.operations.set_catch_all(&name, None).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn recipient(parts: Data<AdminParts>, address: Path<String>) -> Answer<Recipient> {
    Ok(Json(parts.operations.recipient(&address).await?))
}

async fn aliases(parts: Data<AdminParts>, range: Query<Range>) -> Answer<Page<Alias>> {
    Ok(Json(
        parts
            .operations
            .aliases(range.after.as_deref(), range.limit)
            .await?,
    ))
}

async fn aliases_of(
    parts: Data<AdminParts>,
    address: Path<String>,
    range: Query<Range>,
) -> Answer<Page<Alias>> {
    let (after, limit) = (range.after.as_deref(), range.limit);
    Ok(Json(parts.operations.aliases_of(&address, after, limit).await?))
}

async fn add_alias(parts: Data<AdminParts>, new: Json<AddAlias>) -> Result<HttpResponse, ApiError> {
    let added = parts.operations.add_alias(&new.alias, &new.address).await?;
    Ok(HttpResponse::Created().json(added))
}

async fn remove_alias(parts: Data<AdminParts>, alias: Path<String>) -> Result<HttpResponse, ApiError> {
    parts.operations.remove_alias(&alias).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn app_passwords(parts: Data<AdminParts>, address: Path<String>) -> Answer<Vec<AppPassword>> {
    Ok(Json(parts.operations.app_passwords(&address).await?))
}

async fn add_app_password(
    parts: Data<AdminParts>,
    address: Path<String>,
    new: Json<AddAppPassword>,
) -> Result<HttpResponse, ApiError> {
    let added = parts
        .operations
        .add_app_password(&address, &new.name, &new.services)
        .await?;
    Ok(HttpResponse::Created().json(added))
}

async fn remove_app_password(
    parts: Data<AdminParts>,
    path: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (address, name) = path.as_ref();
    parts.operations.remove_app_password(address, name).await?;
    Ok(HttpResponse::NoContent().finish())
}
