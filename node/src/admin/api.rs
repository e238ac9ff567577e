//! `/api/v1`: the operations as JSON over HTTP. Every error is `{"error": "…"}` with a status that says whose turn
//! it is.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::WWW_AUTHENTICATE;
use actix_web::web::{
    Data, Json, JsonConfig, Path, Query, QueryConfig, ServiceConfig, delete, get, post, put, resource,
};
use actix_web::{HttpResponse, ResponseError};
use mailhorn_sasl::Secret;
use serde::{Deserialize, Serialize};

use super::{AdminParts, addresses};
use crate::operations::views::{Domain, Imported, Mailbox, Message, NewUser, Page, Removed, User};
use crate::operations::{OperationError, PAGE_ENTRIES_MAX};

/// The most accounts of one import request: each may cost a password hash, and the request waits for all of them.
pub const IMPORT_USERS_MAX: usize = 50;

/// What a client is told when something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// In words.
    pub error: String,
}

/// An error with its status.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    error: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, error: impl fmt::Display) -> Self {
        Self {
            status,
            error: error.to_string(),
        }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "the token in the data folder is needed: Authorization: Bearer TOKEN",
        )
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        response.json(ErrorBody {
            error: self.error.clone(),
        })
    }
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        let status = match &error {
            OperationError::Invalid(_) => StatusCode::BAD_REQUEST,
            OperationError::NotFound(_) => StatusCode::NOT_FOUND,
            OperationError::Conflict(_) => StatusCode::CONFLICT,
            OperationError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            OperationError::Damaged(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

/// What a handler answers with.
pub(super) type Answer<T> = Result<Json<T>, ApiError>;

/// Which part of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    pub(super) after: Option<String>,
    #[serde(default = "page_entries_max")]
    pub(super) limit: usize,
}

fn page_entries_max() -> usize {
    PAGE_ENTRIES_MAX
}

/// A domain to be added.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddDomain {
    name: String,
    #[serde(default)]
    alias_of: Option<String>,
}

/// An account to be made, or a password to be set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddUser {
    address: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPassword {
    password: String,
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(
            resource("/domains")
                .route(get().to(domains))
                .route(post().to(add_domain)),
        )
        .service(resource("/domains/{name}").route(delete().to(remove_domain)))
        .configure(addresses::routes)
        .service(
            resource("/users")
                .route(get().to(users))
                .route(post().to(add_user)),
        )
        .service(resource("/users/import").route(post().to(import_users)))
        .service(resource("/users/{address}").route(delete().to(remove_user)))
        .service(resource("/users/{address}/password").route(put().to(set_password)))
        .service(resource("/users/{address}/mailboxes").route(get().to(mailboxes_of)))
        .service(resource("/users/{address}/mailboxes/{mailbox}/messages").route(get().to(messages)))
        .service(resource("/mailboxes").route(get().to(mailboxes)));
}

pub(super) fn json_config(body_octets_max: usize) -> JsonConfig {
    JsonConfig::default()
        .limit(body_octets_max)
        .error_handler(|error, _| {
            // The parser's own words can hold a part of the body, and that may be a password.
            let told = match &error {
                actix_web::error::JsonPayloadError::Deserialize(_) => {
                    "the body is not what is expected here".to_owned()
                }
                other => other.to_string(),
            };
            ApiError::new(error.status_code(), told).into()
        })
}

pub(super) fn query_config() -> QueryConfig {
    QueryConfig::default().error_handler(|error, _| ApiError::new(StatusCode::BAD_REQUEST, error).into())
}

pub(super) async fn no_such_resource() -> Result<HttpResponse, ApiError> {
    Err(ApiError::new(StatusCode::NOT_FOUND, "there is nothing here"))
}

async fn domains(parts: Data<AdminParts>, range: Query<Range>) -> Answer<Page<Domain>> {
    Ok(Json(
        parts
            .operations
            .domains(range.after.as_deref(), range.limit)
            .await?,
    ))
}

async fn add_domain(parts: Data<AdminParts>, new: Json<AddDomain>) -> Result<HttpResponse, ApiError> {
    let added = parts
        .operations
        .add_domain(&new.name, new.alias_of.as_deref())
        .await?;
    Ok(HttpResponse::Created().json(added))
}

async fn remove_domain(parts: Data<AdminParts>, name: Path<String>) -> Result<HttpResponse, ApiError> {
    parts.operations.remove_domain(&name).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn users(parts: Data<AdminParts>, range: Query<Range>) -> Answer<Page<User>> {
    Ok(Json(
        parts
            .operations
            .users(range.after.as_deref(), range.limit)
            .await?,
    ))
}

async fn add_user(parts: Data<AdminParts>, new: Json<AddUser>) -> Result<HttpResponse, ApiError> {
    let AddUser { address, password } = new.into_inner();
    Ok(HttpResponse::Created().json(
        parts
            .operations
            .add_user(&address, &Secret::new(password))
            .await?,
    ))
}

async fn import_users(parts: Data<AdminParts>, users: Json<Vec<NewUser>>) -> Answer<Vec<Imported>> {
    if users.len() > IMPORT_USERS_MAX {
        let told = format!("at most {IMPORT_USERS_MAX} users can be imported at a time");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, told));
    }
    Ok(Json(parts.operations.import_users(&users).await))
}

async fn remove_user(parts: Data<AdminParts>, address: Path<String>) -> Answer<Removed> {
    Ok(Json(parts.operations.remove_user(&address).await?))
}

async fn set_password(
    parts: Data<AdminParts>,
    address: Path<String>,
    new: Json<SetPassword>,
) -> Result<HttpResponse, ApiError> {
    let password = Secret::new(new.into_inner().password);
    parts.operations.set_password(&address, &password).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn mailboxes(parts: Data<AdminParts>, range: Query<Range>) -> Answer<Page<Mailbox>> {
    Ok(Json(
        parts
            .operations
            .mailboxes(range.after.as_deref(), range.limit)
            .await?,
    ))
}

async fn mailboxes_of(parts: Data<AdminParts>, address: Path<String>) -> Answer<Vec<Mailbox>> {
    Ok(Json(parts.operations.mailboxes_of(&address).await?))
}

async fn messages(
    parts: Data<AdminParts>,
    path: Path<(String, String)>,
    range: Query<Range>,
) -> Answer<Page<Message>> {
    let (address, mailbox) = path.as_ref();
    Ok(Json(
        parts
            .operations
            .messages(address, mailbox, range.after.as_deref(), range.limit)
            .await?,
    ))
}
