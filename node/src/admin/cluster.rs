//! `/api/v1/cluster`: the cluster as this node sees it, and probes of the others.

use actix_web::web::{Data, Json, ServiceConfig, get, post, resource};

use super::AdminParts;
use super::api::Answer;
use crate::operations::views::{ClusterStatus, Probed};

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/cluster").route(get().to(status)))
        .service(resource("/cluster/probe").route(post().to(probe)));
}

async fn status(parts: Data<AdminParts>) -> Json<ClusterStatus> {
    Json(parts.cluster.status().await)
}

async fn probe(parts: Data<AdminParts>) -> Answer<Vec<Probed>> {
    Ok(Json(parts.cluster.probe().await?))
}
