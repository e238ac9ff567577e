//! The admin HTTP server: the API for the commands, metrics, probes, and a look at the actors.
//!
//! `/livez`, `/readyz` and `/metrics` are open to whoever reaches the address: the programs that ask there (an
//! orchestrator, Prometheus) hold no secret of this node, and the answers name no user. Everything under `/api/v1`
//! and `/actors` needs the token: the first changes accounts, the second shows what only an operator needs.
//!
//! There is no TLS here, so the address is a loopback one by default.

mod addresses;
mod api;
mod bans;
mod cluster;
mod events;
mod feed;
mod health;
mod probes;
mod quota;
mod tls;
mod token;

use std::fmt::Debug;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, Error, HttpServer, ResponseError, web};
use anyhow::Context;
use async_trait::async_trait;
use mailhorn_core::bans::Bans;
use mailhorn_core::drain::DrainWatch;
use mailhorn_core::events::FeedHub;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::operations::Operations;
use crate::operations::cluster::ClusterOperations;
use crate::operations::listening::EventOperations;
use crate::private_files;
use crate::settings::sections::Admin;
use crate::tls::Tls;
pub use api::{ErrorBody, IMPORT_USERS_MAX};
pub use health::{Component, Health, Status};
pub use token::Token;

/// The token's file in the data folder.
pub const TOKEN_FILE: &str = "admin.token";
/// The file in the data folder that says where the server listens, for the commands.
pub const ADDRESS_FILE: &str = "admin.address";

/// How long requests that are under way may take when the server stops.
const SHUTDOWN_TIMEOUT_SECONDS: u64 = 5;

/// A look at the actors.
#[async_trait]
pub trait ActorsView: Debug + Send + Sync {
    /// What they look like now.
    async fn snapshot(&self) -> serde_json::Value;
}

/// How far the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not all listeners accept yet.
    Starting,
    /// It takes and gives mail.
    Ready,
    /// It would not, for this reason.
    NotReady(String),
    /// It is about to end.
    Draining,
}

/// How far the node is, for `/readyz`. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<State>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State::Starting)))
    }
}

impl Readiness {
    /// From now on it is this far.
    pub fn set(&self, state: State) {
        *self.0.lock() = state;
    }

    /// How far it is.
    #[must_use]
    pub fn get(&self) -> State {
        self.0.lock().clone()
    }
}

/// What the server shows and works on.
#[derive(Debug, Clone)]
pub struct AdminParts {
    /// What the API does.
    pub operations: Operations,
    /// What it does with groups of listeners.
    pub events: EventOperations,
    /// What it says of the cluster.
    pub cluster: ClusterOperations,
    /// Where its clients follow what happens.
    pub feed: FeedHub,
    /// The certificates.
    pub tls: Tls,
    /// Who is not served.
    pub bans: Bans,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// What `/actors` shows.
    pub actors: Arc<dyn ActorsView>,
    /// What `/readyz` shows.
    pub readiness: Readiness,
    /// The node's end: answers that never end by themselves end with it.
    pub drain: DrainWatch,
    /// Limits.
    pub limits: Admin,
    /// Where the token and the address are written.
    pub data_dir: PathBuf,
}

/// Begins to serve. To be spawned; its handle stops it.
///
/// # Errors
///
/// When the token or the address can't be written, or a socket can't be listened on.
pub fn start(parts: AdminParts, listeners: Vec<TcpListener>) -> anyhow::Result<Server> {
    let token = Token::of_folder(&parts.data_dir)?;
    let addresses: Vec<SocketAddr> = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()?;
    write_address(&parts.data_dir, addresses.first().copied())?;
    let limits = parts.limits.clone();
    let connections = usize::try_from(limits.max_connections)?;
    let mut server = HttpServer::new(move || {
        let (parts, token) = (parts.clone(), token.clone());
        App::new().configure(move |config| routes(config, parts, token))
    })
    .workers(1)
    .max_connections(connections)
    .client_request_timeout(limits.request_timeout)
    .shutdown_timeout(SHUTDOWN_TIMEOUT_SECONDS)
    .disable_signals();
    for (listener, address) in listeners.into_iter().zip(addresses) {
        tracing::info!(listener = "admin", %address, "listening");
        server = server
            .listen(listener)
            .context("admin.listen can't be listened on")?;
    }
    Ok(server.run())
}

fn routes(config: &mut web::ServiceConfig, parts: AdminParts, token: Token) {
    let body_octets_max = usize::try_from(parts.limits.max_request_size.octets()).unwrap_or(usize::MAX);
    config
        .app_data(web::Data::new(parts))
        .app_data(web::Data::new(token))
        .app_data(api::json_config(body_octets_max))
        .app_data(api::query_config())
        .service(web::resource("/livez").get(probes::livez))
        .service(web::resource("/readyz").get(probes::readyz))
        .service(web::resource("/metrics").get(probes::metrics))
        .service(
            web::resource("/actors")
                .wrap(from_fn(authorized))
                .get(probes::actors),
        )
        .service(
            web::scope("/api/v1")
                .wrap(from_fn(authorized))
                .configure(api::routes)
                .configure(cluster::routes)
                .configure(events::routes)
                .configure(feed::routes)
                .configure(quota::routes)
                .configure(tls::routes)
                .configure(bans::routes)
                .configure(health::routes),
        )
        .default_service(web::to(api::no_such_resource));
}

/// Lets only those through who hold the token.
async fn authorized(
    token: web::Data<Token>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !token.is_in(request.headers()) {
        return Ok(request.into_response(api::ApiError::unauthorized().error_response()));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

fn write_address(data_dir: &Path, address: Option<SocketAddr>) -> anyhow::Result<()> {
    let path = data_dir.join(ADDRESS_FILE);
    let text = address.map_or_else(String::new, |address| format!("{address}\n"));
    private_files::write(&path, text.as_bytes())
        .with_context(|| format!("{}: can't be written", path.display()))
}

#[cfg(test)]
mod tests;
