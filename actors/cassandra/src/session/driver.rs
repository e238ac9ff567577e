//! The driver, over TCP or TLS, set up as Mailhorn wants it.

use std::sync::Arc;
use std::time::Duration;

use cassandra_protocol::authenticators::{
    NoneAuthenticatorProvider, SaslAuthenticatorProvider, StaticPasswordAuthenticatorProvider,
};
use cassandra_protocol::compression::Compression;
use cassandra_protocol::error::Error as DriverError;
use cassandra_protocol::frame::{Envelope, Version};
use cassandra_protocol::query::PreparedQuery;
use cdrs_tokio::cluster::connection_pool::ConnectionPoolConfigBuilder;
use cdrs_tokio::cluster::session::{RustlsSessionBuilder, Session, SessionBuilder, TcpSessionBuilder};
use cdrs_tokio::cluster::{NodeAddress, NodeRustlsConfigBuilder, NodeTcpConfigBuilder};
use cdrs_tokio::cluster::{RustlsConnectionManager, TcpConnectionManager};
use cdrs_tokio::load_balancing::node_distance_evaluator::TopologyAwareNodeDistanceEvaluator;
use cdrs_tokio::retry::{ConstantReconnectionPolicy, FallthroughRetryPolicy};
use cdrs_tokio::statement::StatementParams;
use cdrs_tokio::transport::{TransportRustls, TransportTcp};

use super::OpenError;
use super::routes::{Routes, Strategy};
use crate::options::Options;

/// Connections to each server.
const CONNECTIONS: usize = 2;
/// The pause before a server that was lost is connected to again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(2);

type Tcp = Session<TransportTcp, TcpConnectionManager, Strategy>;
type Rustls = Session<TransportRustls, RustlsConnectionManager, Strategy>;

/// The driver's session, whichever way it goes over the wire.
pub(super) enum Driver {
    Tcp(Tcp),
    Tls(Rustls),
}

/// Whether connections use the keyspace from their start. A `USE` later reaches each of them at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Using {
    Nothing,
    TheKeyspace,
}

impl Driver {
    pub(super) async fn connect(
        options: &Options,
        routes: &Arc<Routes>,
        using: Using,
    ) -> Result<Self, OpenError> {
        let no_server = |error: DriverError| OpenError::NoServer(error.to_string());
        let addresses: Vec<NodeAddress> = options.contact_points.iter().map(NodeAddress::from).collect();
        let authenticator: Arc<dyn SaslAuthenticatorProvider + Send + Sync> = match &options.login {
            Some(login) => Arc::new(StaticPasswordAuthenticatorProvider::new(
                &login.user,
                &login.password,
            )),
            None => Arc::new(NoneAuthenticatorProvider),
        };
        let strategy = Strategy(Arc::clone(routes));
        match &options.tls {
            None => {
                let config = NodeTcpConfigBuilder::new()
                    .with_contact_points(addresses)
                    .with_authenticator_provider(authenticator)
                    .with_version(Version::V5);
                let config = config.build().await.map_err(no_server)?;
                let builder = TcpSessionBuilder::new(strategy, config);
                let session = built(builder, options, using).build().await;
                session
                    .map(Self::Tcp)
                    .map_err(|error| OpenError::NoServer(error.to_string()))
            }
            Some(tls) => {
                let config = NodeRustlsConfigBuilder::new(tls.server_name.clone(), Arc::clone(&tls.config))
                    .with_contact_points(addresses)
                    .with_authenticator_provider(authenticator)
                    .with_version(Version::V5);
                let config = config.build().await.map_err(no_server)?;
                let builder = RustlsSessionBuilder::new(strategy, config);
                let session = built(builder, options, using).build().await;
                session
                    .map(Self::Tls)
                    .map_err(|error| OpenError::NoServer(error.to_string()))
            }
        }
    }

    pub(super) async fn query(&self, cql: &str) -> Result<Envelope, DriverError> {
        match self {
            Self::Tcp(session) => session.query(cql).await,
            Self::Tls(session) => session.query(cql).await,
        }
    }

    pub(super) async fn prepare(&self, cql: &str) -> Result<PreparedQuery, DriverError> {
        match self {
            Self::Tcp(session) => session.prepare(cql).await,
            Self::Tls(session) => session.prepare(cql).await,
        }
    }

    pub(super) async fn execute(
        &self,
        prepared: &PreparedQuery,
        parameters: &StatementParams,
    ) -> Result<Envelope, DriverError> {
        match self {
            Self::Tcp(session) => session.exec_with_params(prepared, parameters).await,
            Self::Tls(session) => session.exec_with_params(prepared, parameters).await,
        }
    }
}

fn built<T, CM, LB, B>(builder: B, options: &Options, using: Using) -> B
where
    T: cdrs_tokio::transport::CdrsTransport + 'static,
    CM: cdrs_tokio::cluster::ConnectionManager<T> + 'static,
    LB: cdrs_tokio::load_balancing::LoadBalancingStrategy<T, CM> + Send + Sync + 'static,
    B: SessionBuilder<T, CM, LB>,
{
    let compression = if options.compression {
        Compression::Lz4
    } else {
        Compression::None
    };
    let pool = ConnectionPoolConfigBuilder::new()
        .with_local_size(CONNECTIONS)
        .with_connect_timeout(Some(options.request_timeout))
        .build();
    let builder = match using {
        Using::Nothing => builder,
        Using::TheKeyspace => builder.with_keyspace(options.keyspace.clone()),
    };
    builder
        .with_compression(compression)
        .with_retry_policy(Box::new(FallthroughRetryPolicy))
        .with_reconnection_policy(Arc::new(ConstantReconnectionPolicy::new(RECONNECT_PAUSE)))
        .with_node_distance_evaluator(Box::new(TopologyAwareNodeDistanceEvaluator::new(
            options.datacenter.clone(),
        )))
        .with_connection_pool_config(pool)
}
