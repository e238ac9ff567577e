//! The way to the server: statements are prepared once, go to a replica of the near centre, and end by our own deadline.

mod driver;
mod making;
mod routes;

use std::fmt;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cassandra_protocol::consistency::Consistency;
use cassandra_protocol::error::Error as DriverError;
use cassandra_protocol::frame::Envelope;
use cassandra_protocol::frame::message_error::ErrorType;
use cassandra_protocol::frame::message_response::ResponseBody;
use cassandra_protocol::frame::message_result::ResResultBody;
use cassandra_protocol::query::{PreparedQuery, QueryValues};
use cassandra_protocol::types::value::Value;
use cdrs_tokio::statement::{StatementParams, StatementParamsBuilder};
use futures_util::future::{Either, select};
use mailhorn_ports::{Clock, StoreError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::context::TokioContext;

use crate::options::{CLOCK_SKEW_MAX, Options};
use crate::schema;
use crate::statements::{Class, Statement};
use crate::store::Surroundings;
use crate::values::{Bind, Row};

use driver::{Driver, Using};
use making::{make_schema, wait_for_agreement};
use routes::{Asked, LATE, Routes};

/// How often an idempotent statement is asked at most.
const TRIES_MAX: u32 = 4;
/// The pause before it is asked again; it doubles. Of a server that says that it is overloaded, ten times as long.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How long the servers have to answer at a start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Statements, wherever they go.
#[async_trait]
pub(crate) trait Cql: fmt::Debug + Send + Sync {
    /// Asks, and gives the rows. A mutation has its time of writing among its values.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: a mutation may be done all the same, now or later.
    async fn run(&self, statement: Statement, values: Vec<Bind>) -> Result<Vec<Row>, StoreError>;

    /// How the server is, as this process sees it.
    fn health(&self) -> Health;
}

/// How the server is, as this process sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Statements that were answered.
    pub answered: u64,
    /// Statements asked again.
    pub retried: u64,
    /// Statements given up: their outcome is unknown. Readings of all replicas, of which one may be away, don't count.
    pub failed: u64,
    /// Answers that said that the server is overloaded.
    pub overloaded: u64,
    /// Statements that waited, because [`Options::requests_max`] others were under way.
    pub queued: u64,
    /// Whether the statement that ended last was answered. Readings of all replicas don't count.
    pub answers: bool,
}

/// Why a keyspace was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No server answered, or not in time. The driver tells a refused login no other way at a start.
    #[error(
        "cassandra.contact_points: no server answers ({0}); if they are there, they may refuse cassandra.user and \
         cassandra.password_file, or speak TLS otherwise than cassandra.ca_file and cassandra.server_name say"
    )]
    NoServer(String),
    /// It wants a name and a password, or others.
    #[error("cassandra.user, cassandra.password_file: the server refuses them ({0})")]
    Login(String),
    /// No server of that centre.
    #[error("cassandra.datacenter: the cluster has no centre {named}; it has {found}")]
    Datacenter {
        /// What the setting says.
        named: String,
        /// What there is.
        found: String,
    },
    /// This machine's clock and Cassandra's differ.
    #[error("this machine's clock is {seconds} s off Cassandra's; at most {} are allowed: set it by NTP", CLOCK_SKEW_MAX.as_secs())]
    Clock {
        /// By how much.
        seconds: u64,
    },
    /// The keyspace or a table can't be made or changed.
    #[error("cassandra.keyspace: the schema can't be made ({0})")]
    Schema(String),
    /// The keyspace is there, and was made so that nothing can be promised in this centre.
    #[error(
        "cassandra.keyspace: {keyspace} names no replicas in {datacenter} (NetworkTopologyStrategy): a quorum there has \
         nothing; alter the keyspace, or name another"
    )]
    Replication {
        /// The keyspace.
        keyspace: String,
        /// The local centre.
        datacenter: String,
    },
}

/// An open keyspace on real servers.
pub(crate) struct Servers {
    /// The driver makes connections where it is asked, and they would live and end with whoever asked first.
    runtime: Handle,
    driver: Driver,
    routes: Arc<Routes>,
    prepared: Vec<PreparedQuery>,
    permits: Semaphore,
    request_timeout: Duration,
    answered: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    overloaded: AtomicU64,
    queued: AtomicU64,
    answers: AtomicBool,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers")
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

impl Servers {
    /// Opens the keyspace, makes what is missing of it, and prepares every statement.
    pub(crate) async fn open(options: &Options, surroundings: &Surroundings) -> Result<Self, OpenError> {
        let late = |_| OpenError::NoServer(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
        let routes = Routes::new(&options.datacenter);
        let driver = timeout(CONNECT_TIMEOUT, Driver::connect(options, &routes, Using::Nothing))
            .await
            .map_err(late)??;
        check_datacenter(&driver, options).await?;
        check_clock(&driver, &*surroundings.clock).await?;
        let made = driver.query(&schema::keyspace(options)).await;
        made.map_err(|error| OpenError::Schema(error.to_string()))?;
        wait_for_agreement(&driver).await?;
        check_replication(&driver, options).await?;
        let driver = timeout(
            CONNECT_TIMEOUT,
            Driver::connect(options, &routes, Using::TheKeyspace),
        )
        .await
        .map_err(late)??;
        make_schema(&driver, options, &*surroundings.random).await?;
        wait_for_agreement(&driver).await?;
        let mut prepared = Vec::with_capacity(Statement::ALL.len());
        for statement in Statement::ALL {
            let result = driver.prepare(statement.cql()).await;
            prepared.push(result.map_err(|error| OpenError::Schema(format!("{statement:?}: {error}")))?);
        }
        Ok(Self {
            runtime: surroundings.runtime.clone(),
            driver,
            routes,
            prepared,
            permits: Semaphore::new(options.requests_max),
            request_timeout: options.request_timeout,
            answered: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            overloaded: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            answers: true.into(),
        })
    }
}

/// What a failed try means.
enum Failed {
    /// Another server, or this one a moment later, may answer.
    Passing(DriverError),
    /// There is too much to do: asked again soon it gets worse.
    Overloaded(DriverError),
    /// It is the same at the next try.
    Lasting(DriverError),
}

fn sort(error: DriverError) -> Failed {
    match &error {
        DriverError::Server { body, .. } => match body.ty {
            ErrorType::Overloaded => Failed::Overloaded(error),
            ErrorType::Protocol
            | ErrorType::Authentication
            | ErrorType::Syntax
            | ErrorType::Unauthorized
            | ErrorType::Invalid
            | ErrorType::Config
            | ErrorType::FunctionFailure(_)
            | ErrorType::AlreadyExists(_) => Failed::Lasting(error),
            _ => Failed::Passing(error),
        },
        _ => Failed::Passing(error),
    }
}

/// The error for a human. Of a failure on a replica the driver can't read the details as protocol 5 writes them, and says
/// that an answer is too short; of a connection that was closed it says so in words of its own.
fn explained(error: &DriverError) -> String {
    match error {
        DriverError::Io(io) if io.kind() == ErrorKind::UnexpectedEof && io.get_ref().is_none() => {
            "a replica failed at it, for a reason that stands in Cassandra's own log (too many tombstones, a full disk)"
                .into()
        }
        error => error.to_string(),
    }
}

#[async_trait]
impl Cql for Servers {
    async fn run(&self, statement: Statement, values: Vec<Bind>) -> Result<Vec<Row>, StoreError> {
        let asked = async { timeout(self.request_timeout, self.ask(statement, values)).await };
        let asked = TokioContext::new(asked, self.runtime.clone()).await;
        let (answers, result) = match asked {
            Ok(Ok(rows)) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                (true, Ok(rows))
            }
            Ok(Err(error)) => (
                false,
                Err(StoreError::Unavailable(format!(
                    "{statement:?}: {}",
                    explained(&error)
                ))),
            ),
            Err(_) => {
                let millis = self.request_timeout.as_millis();
                (
                    false,
                    Err(StoreError::Unavailable(format!(
                        "{statement:?}: no answer within {millis} ms"
                    ))),
                )
            }
        };
        // Where every replica was asked, one that is away says nothing of the quorum that mail needs.
        if statement.class() == Class::ReadAll {
            return result;
        }
        if !answers {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.answers.store(answers, Ordering::Relaxed);
        result
    }

    fn health(&self) -> Health {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Health {
            answered: read(&self.answered),
            retried: read(&self.retried),
            failed: read(&self.failed),
            overloaded: read(&self.overloaded),
            queued: read(&self.queued),
            answers: self.answers.load(Ordering::Relaxed),
        }
    }
}

impl Servers {
    /// Asks until it is answered, can't be, or was asked too often. A conditional statement is asked once: it may have been
    /// applied.
    async fn ask(&self, statement: Statement, values: Vec<Bind>) -> Result<Vec<Row>, DriverError> {
        let class = statement.class();
        let is_idempotent = class != Class::Conditional;
        // Where all replicas are asked, one that is away makes any server late.
        let may_go_beside = matches!(class, Class::Read | Class::Write);
        let parameters = parameters(statement, values);
        // They were prepared in the order in which they stand in the table.
        let Some(prepared) = self.prepared.get(statement as usize) else {
            return Err(DriverError::General("the statement was not prepared".into()));
        };
        let mut pause = RETRY_PAUSE;
        for tried in 1.. {
            let answer = {
                if self.permits.available_permits() == 0 {
                    self.queued.fetch_add(1, Ordering::Relaxed);
                }
                let _permit = self.permits.acquire().await;
                let answer = self.ask_servers(prepared, &parameters, may_go_beside).await;
                answer.and_then(rows)
            };
            let failed = match answer {
                Ok(rows) => return Ok(rows),
                Err(error) => sort(*error),
            };
            let (error, pauses) = match failed {
                Failed::Lasting(error) => return Err(error),
                Failed::Passing(error) => (error, 1),
                Failed::Overloaded(error) => {
                    self.overloaded.fetch_add(1, Ordering::Relaxed);
                    (error, 10)
                }
            };
            if !is_idempotent || tried == TRIES_MAX {
                return Err(error);
            }
            self.retried.fetch_add(1, Ordering::Relaxed);
            sleep(pause.saturating_mul(pauses)).await;
            pause = pause.saturating_mul(2);
        }
        Err(DriverError::General("it was not tried".into()))
    }

    /// Asks a server; and where it is late and the statement `may_go_beside`, another one beside it: the machine may be gone
    /// without a word.
    async fn ask_servers(
        &self,
        prepared: &PreparedQuery,
        parameters: &StatementParams,
        may_go_beside: bool,
    ) -> Result<Envelope, Box<DriverError>> {
        let asked = Asked::default();
        let ask = || async {
            asked
                .by(self.driver.execute(prepared, parameters))
                .await
                .map_err(Box::new)
        };
        let mut first = pin!(ask());
        if !may_go_beside {
            return first.await;
        }
        if let Ok(answer) = timeout(LATE, &mut first).await {
            if answer.is_ok() {
                self.routes.is_prompt(&asked);
            }
            return answer;
        }
        self.routes.is_late(&asked);
        // Where many wait already, one statement more makes it worse.
        let Ok(_permit) = self.permits.try_acquire() else {
            return first.await;
        };
        self.retried.fetch_add(1, Ordering::Relaxed);
        match select(first, pin!(ask())).await {
            Either::Left((Err(_), other)) => other.await,
            Either::Right((Err(_), other)) => other.await,
            Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
        }
    }
}

fn parameters(statement: Statement, values: Vec<Bind>) -> StatementParams {
    let values = values
        .into_iter()
        .map(|value| value.map_or(Value::Null, Value::Some))
        .collect();
    let consistency = match statement.class() {
        Class::Read | Class::Write | Class::Conditional => Consistency::LocalQuorum,
        Class::ReadAll => Consistency::All,
    };
    let mut builder = StatementParamsBuilder::new()
        .with_consistency(consistency)
        .with_values(QueryValues::SimpleValues(values))
        .idempotent(statement.class() != Class::Conditional);
    if statement.class() == Class::Conditional {
        builder = builder.with_serial_consistency(Consistency::LocalSerial);
    }
    builder.build()
}

/// The error is boxed, for the driver's is large.
fn rows(envelope: Envelope) -> Result<Vec<Row>, Box<DriverError>> {
    let ResponseBody::Result(ResResultBody::Rows(body)) = envelope.response_body()? else {
        return Ok(Vec::new());
    };
    let row = |cells: Vec<cassandra_protocol::types::CBytes>| {
        Row(cells
            .into_iter()
            .map(|cell| cell.into_bytes().map(Bytes::from))
            .collect())
    };
    Ok(body.rows_content.into_iter().map(row).collect())
}

async fn ask_text(driver: &Driver, cql: &str) -> Result<Vec<Row>, OpenError> {
    let answer = driver.query(cql).await.map_err(Box::new).and_then(rows);
    answer.map_err(|error| match *error {
        DriverError::Server { body, .. }
            if matches!(body.ty, ErrorType::Authentication | ErrorType::Unauthorized) =>
        {
            OpenError::Login(body.message)
        }
        error => OpenError::NoServer(error.to_string()),
    })
}

/// A name that no server has would leave nobody to ask, and a driver that says nothing of why.
async fn check_datacenter(driver: &Driver, options: &Options) -> Result<(), OpenError> {
    let unreadable = |error: StoreError| OpenError::NoServer(error.to_string());
    let mut found = Vec::new();
    for table in ["system.local", "system.peers_v2"] {
        for row in ask_text(driver, &format!("SELECT data_center FROM {table}")).await? {
            found.push(row.text(0).map_err(unreadable)?);
        }
    }
    if found.contains(&options.datacenter) {
        return Ok(());
    }
    found.sort();
    found.dedup();
    Err(OpenError::Datacenter {
        named: options.datacenter.clone(),
        found: found.join(", "),
    })
}

/// A keyspace that somebody made otherwise would acknowledge by a quorum of nothing, or of another centre.
async fn check_replication(driver: &Driver, options: &Options) -> Result<(), OpenError> {
    let quoted = |text: &str| text.replace('\'', "''");
    let replicas = format!(
        "SELECT replication['{}'] FROM system_schema.keyspaces WHERE keyspace_name = '{}'",
        quoted(&options.datacenter),
        quoted(&options.keyspace)
    );
    let rows = ask_text(driver, &replicas).await?;
    match rows.first().and_then(|row| row.octets(0)) {
        Some(_) => Ok(()),
        None => Err(OpenError::Replication {
            keyspace: options.keyspace.clone(),
            datacenter: options.datacenter.clone(),
        }),
    }
}

/// Stamps order what nodes write, so clocks that are apart make the later of two writes the earlier one.
async fn check_clock(driver: &Driver, clock: &dyn Clock) -> Result<(), OpenError> {
    let unreadable = |error: StoreError| OpenError::NoServer(error.to_string());
    let before = clock.now_micros();
    let rows = ask_text(driver, "SELECT toUnixTimestamp(now()) FROM system.local").await?;
    let after = clock.now_micros();
    let Some(row) = rows.first() else {
        return Err(OpenError::NoServer("it does not tell the time".into()));
    };
    let theirs = row.number(0).map_err(unreadable)?.saturating_mul(1_000);
    // Their answer is from some moment between the two.
    let off = before.saturating_sub(theirs).max(theirs.saturating_sub(after));
    if Duration::from_micros(off) > CLOCK_SKEW_MAX {
        return Err(OpenError::Clock {
            seconds: off / 1_000_000,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cassandra_protocol::frame::{Direction, Flags, Opcode, Version};

    use super::*;

    #[test]
    fn only_what_asks_a_condition_is_serial_and_all_else_needs_a_quorum_of_the_near_centre() {
        for statement in Statement::ALL {
            let asked = parameters(*statement, Vec::new()).query_params;
            let class = statement.class();
            assert_eq!(
                asked.serial_consistency.is_some(),
                class == Class::Conditional,
                "{statement:?}"
            );
            let consistency = match class {
                Class::ReadAll => Consistency::All,
                Class::Read | Class::Write | Class::Conditional => Consistency::LocalQuorum,
            };
            assert_eq!(asked.consistency, consistency, "{statement:?}");
        }
    }

    /// READ_FAILURE as Cassandra 5 writes it (native protocol 5, §9): consistency, received and required answers, then of
    /// each replica that failed its address, without a port, and why.
    #[test]
    fn what_a_replica_failed_at_is_looked_for_in_its_log() {
        let mut body = vec![0, 0, 0x13, 0];
        body.extend(b"\x00\x06failed\x00\x06\x00\x00\x00\x00\x00\x00\x00\x01");
        body.extend(b"\x00\x00\x00\x01\x04\x7f\x00\x00\x01\x00\x01\x00");
        let answer = Envelope::new(
            Version::V5,
            Direction::Response,
            Flags::empty(),
            Opcode::Error,
            1,
            body,
            None,
            Vec::new(),
        );
        let unread = answer.response_body().unwrap_err();
        assert!(explained(&unread).contains("Cassandra's own log"), "{unread}");
        let closed = std::io::Error::new(ErrorKind::UnexpectedEof, "EOF");
        assert_eq!(explained(&closed.into()), "IO error: EOF");
        assert_eq!(explained(&DriverError::Timeout("late".into())), "Timeout: late");
    }
}
