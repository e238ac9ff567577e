//! `/api/v1/users/{address}/quota` and `/api/v1/domains/{name}/quota`.

use actix_web::web::{Data, Json, Path, ServiceConfig, delete, get, put, resource};

use super::AdminParts;
use super::api::Answer;
use crate::operations::OperationError;
use crate::operations::views::{Limits, Quota};

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(
            resource("/users/{address}/quota")
                .route(get().to(of_user))
                .route(put().to(set_of_user))
                .route(delete().to(unset_of_user)),
        )
        .service(
            resource("/domains/{name}/quota")
                .route(get().to(of_domain))
                .route(put().to(set_of_domain))
                .route(delete().to(unset_of_domain)),
        );
}

async fn of_user(parts: Data<AdminParts>, address: Path<String>) -> Answer<Quota> {
    Ok(Json(parts.operations.quota(user(&address)?).await?))
}

async fn set_of_user(parts: Data<AdminParts>, address: Path<String>, limits: Json<Limits>) -> Answer<Quota> {
    let set = parts
        .operations
        .set_quota(user(&address)?, Some(limits.into_inner()));
    Ok(Json(set.await?))
}

async fn unset_of_user(parts: Data<AdminParts>, address: Path<String>) -> Answer<Quota> {
    Ok(Json(parts.operations.set_quota(user(&address)?, None).await?))
}

async fn of_domain(parts: Data<AdminParts>, name: Path<String>) -> Answer<Quota> {
    Ok(Json(parts.operations.quota(domain(&name)?).await?))
}

async fn set_of_domain(parts: Data<AdminParts>, name: Path<String>, limits: Json<Limits>) -> Answer<Quota> {
    let set = parts
        .operations
        .set_quota(domain(&name)?, Some(limits.into_inner()));
    Ok(Json(set.await?))
}

async fn unset_of_domain(parts: Data<AdminParts>, name: Path<String>) -> Answer<Quota> {
    Ok(Json(parts.operations.set_quota(domain(&name)?, None).await?))
}

/// Under the path of users only users are found: the operation takes either.
fn user(text: &str) -> Result<&str, OperationError> {
    if text.contains('@') {
        Ok(text)
    } else {
        Err(OperationError::Invalid(format!("{text:?} is no address")))
    }
}

fn domain(text: &str) -> Result<&str, OperationError> {
    if text.contains('@') {
        Err(OperationError::Invalid(format!("{text:?} is no domain")))
    } else {
        Ok(text)
    }
}
