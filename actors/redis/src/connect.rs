//! How a connection is made: to one server, to the master that Sentinels name, or to a cluster.

use std::path::Path;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode, Value,
};

use crate::error::OpenError;
use crate::options::CONNECT_MAX;
use crate::tls::trusted;
use crate::url::{Address, Login, RedisUrl, Servers};

/// Tries of a command by the cluster client, which learns by a failed one that a slot moved.
const CLUSTER_RETRIES: u32 = 2;
/// The longest pause between them, in milliseconds: well below a call's deadline.
const CLUSTER_RETRY_PAUSE_MAX: u64 = 20;

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Connector {
    url: RedisUrl,
    certificates: Option<TlsCertificates>,
}

/// A client of the library: made for each connection, so that nothing that it learnt is taken for what is.
enum Maker {
    One(Client),
    Cluster(ClusterClient),
    Sentinel(SentinelClient),
}

/// A connection. Clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Runs commands whose keys lie in one slot, in order, and gives what each answered.
    pub(crate) async fn run(mut self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        match &mut self {
            Self::One(connection) => commands.query_async(connection).await,
            Self::Cluster(connection) => commands.query_async(connection).await,
        }
    }

    /// Whether it mends itself: a cluster's client has a connection to every node.
    pub(crate) fn mends_itself(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl Connector {
    /// Reads the certificates that are trusted; connects to nobody.
    pub(crate) fn new(url: RedisUrl, ca_file: Option<&Path>) -> Result<Self, OpenError> {
        let certificates = match (url.is_tls, ca_file) {
            (true, _) => Some(trusted(ca_file)?),
            (false, None) => None,
            (false, Some(_)) => return Err(OpenError::CaFileWithoutTls),
        };
        let connector = Self { url, certificates };
        let maker = connector.maker();
        maker.map_err(|error| OpenError::Url(error.to_string()))?;
        Ok(connector)
    }

    /// Where it connects to, without passwords.
    pub(crate) fn address(&self) -> String {
        self.url.to_string()
    }

    fn maker(&self) -> RedisResult<Maker> {
        match &self.url.servers {
            Servers::One(address) => self.one(address).map(Maker::One),
            Servers::Cluster(nodes) => self.cluster(nodes).map(Maker::Cluster),
            Servers::Sentinel {
                sentinels,
                service,
                login,
            } => self.sentinel(sentinels, service, login).map(Maker::Sentinel),
        }
    }

    fn one(&self, address: &Address) -> RedisResult<Client> {
        let info = self.info(address)?;
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    fn cluster(&self, nodes: &[Address]) -> RedisResult<ClusterClient> {
        let nodes = nodes.iter().map(|node| self.info(node));
        let nodes = nodes.collect::<RedisResult<Vec<_>>>()?;
        // A call has its own deadline, which it keeps itself.
        let mut builder = ClusterClient::builder(nodes)
            .tcp_settings(tcp_settings())
            .connection_timeout(CONNECT_MAX)
            .response_timeout(CONNECT_MAX)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(1)
            .max_retry_wait(CLUSTER_RETRY_PAUSE_MAX);
        if let Some(certificates) = &self.certificates {
            builder = builder.certs(certificates.clone());
        }
        builder.build()
    }

    fn sentinel(&self, sentinels: &[Address], service: &str, login: &Login) -> RedisResult<SentinelClient> {
        let addresses = sentinels.iter().map(|sentinel| self.addr(sentinel));
        let mut builder = SentinelClientBuilder::new(addresses, service, SentinelServerType::Master)?
            .set_client_to_redis_db(i64::from(self.url.db))
            .set_client_to_redis_tcp_settings(tcp_settings())
            .set_client_to_sentinel_tcp_settings(tcp_settings());
        if let Some(user) = &self.url.login.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.url.login.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(user) = &login.user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &login.password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }

    fn addr(&self, address: &Address) -> ConnectionAddr {
        let Address { host, port } = address.clone();
        match self.url.is_tls {
            true => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
            false => ConnectionAddr::Tcp(host, port),
        }
    }

    fn info(&self, address: &Address) -> RedisResult<ConnectionInfo> {
        let Login { user, password } = &self.url.login;
        let mut settings = RedisConnectionInfo::default().set_db(i64::from(self.url.db));
        if let Some(user) = user {
            settings = settings.set_username(user);
        }
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        let info = self.addr(address).into_connection_info()?;
        Ok(info.set_redis_settings(settings).set_tcp_settings(tcp_settings()))
    }

    /// Connects and logs in.
    pub(crate) async fn connect(&self) -> Result<Connection, RedisError> {
        // A call has its own deadline, which it keeps itself; one look for frames takes longer than another call.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(None);
        match self.maker()? {
            Maker::One(client) => {
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                connection.await.map(Connection::One)
            }
            Maker::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
            Maker::Sentinel(mut client) => {
                let connection = client.get_async_connection_with_config(&config);
                connection.await.map(Connection::One)
            }
        }
    }
}

/// A request is one write, and waits for nothing to go with it.
fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}
