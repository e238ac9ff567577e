//! `/api/v1/events/…`: groups of listeners and their dead letters.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query, ServiceConfig, delete, get, post, resource};
use mailhorn_ports::GroupName;
use serde::Deserialize;

use super::AdminParts;
use super::api::{Answer, ApiError, Range};
use crate::operations::views::{
    DeadLetter, DeadLetterContent, DeadLetterGroup, Group, Page, Redelivered, Removals,
};
use crate::operations::{OperationError, group_name};

/// How many at most.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: Option<usize>,
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/events/groups").route(get().to(groups)))
        .service(resource("/events/groups/{group}").route(delete().to(forget)))
        .service(resource("/events/dead-letters").route(get().to(dead_letter_groups)))
        // Before the groups: one of this name could not be asked for, and none of ours has it.
        .service(resource("/events/dead-letters/redeliver").route(post().to(redeliver_all)))
        .service(
            resource("/events/dead-letters/{group}")
                .route(get().to(dead_letters))
                .route(delete().to(remove_dead_letters)),
        )
        .service(resource("/events/dead-letters/{group}/redeliver").route(post().to(redeliver_group)))
        .service(
            resource("/events/dead-letters/{group}/{id}")
                .route(get().to(dead_letter))
                .route(delete().to(remove_dead_letter)),
        )
        .service(resource("/events/dead-letters/{group}/{id}/redeliver").route(post().to(redeliver)));
}

async fn groups(parts: Data<AdminParts>) -> Answer<Vec<Group>> {
    Ok(Json(parts.events.groups().await?))
}

async fn forget(parts: Data<AdminParts>, group: Path<String>) -> Result<HttpResponse, ApiError> {
    parts.events.forget(&group_name(&group)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn dead_letter_groups(parts: Data<AdminParts>) -> Answer<Vec<DeadLetterGroup>> {
    Ok(Json(parts.operations.dead_letter_groups().await?))
}

/// The name under which the store has a group's letters.
fn stored(parts: &AdminParts, group: &str) -> Result<GroupName, OperationError> {
    Ok(parts.events.stored_as(&group_name(group)?))
}

async fn dead_letters(
    parts: Data<AdminParts>,
    group: Path<String>,
    range: Query<Range>,
) -> Answer<Page<DeadLetter>> {
    let group = stored(&parts, &group)?;
    let letters = parts
        .operations
        .dead_letters(&group, range.after.as_deref(), range.limit);
    Ok(Json(letters.await?))
}

async fn dead_letter(parts: Data<AdminParts>, path: Path<(String, String)>) -> Answer<DeadLetterContent> {
    let (group, id) = path.as_ref();
    let group = stored(&parts, group)?;
    Ok(Json(parts.operations.dead_letter(&group, id).await?))
}

async fn remove_dead_letters(
    parts: Data<AdminParts>,
    group: Path<String>,
    limit: Query<Limit>,
) -> Answer<Removals> {
    let group = stored(&parts, &group)?;
    let letters = parts.operations.remove_dead_letters(&group, limit.limit).await?;
    Ok(Json(Removals { letters }))
}

async fn remove_dead_letter(
    parts: Data<AdminParts>,
    path: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (group, id) = path.as_ref();
    let group = stored(&parts, group)?;
    parts.operations.remove_dead_letter(&group, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn redeliver(parts: Data<AdminParts>, path: Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (group, id) = path.as_ref();
    parts.events.redeliver(&group_name(group)?, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn redeliver_group(
    parts: Data<AdminParts>,
    group: Path<String>,
    limit: Query<Limit>,
) -> Answer<Redelivered> {
    let group = group_name(&group)?;
    Ok(Json(parts.events.redeliver_group(&group, limit.limit).await?))
}

async fn redeliver_all(parts: Data<AdminParts>, limit: Query<Limit>) -> Answer<Vec<Redelivered>> {
    Ok(Json(parts.events.redeliver_all(limit.limit).await?))
}
