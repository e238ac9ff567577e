//! A connection that is made when it is needed, in the background, and calls that end in time whatever it does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use mailhorn_ports::StoreError;
use parking_lot::Mutex;
use redis::{Pipeline, RedisError, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::breaker::{Breaker, BreakerState};
use crate::connect::{Connection, Connector};
use crate::error::{Fault, Reach};
use crate::options::{CONNECT_MAX, LIMIT_DEADLINE, LIMIT_FAILURES, Surroundings};

/// How Redis is, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Where it is: `redis.url` without passwords.
    pub address: String,
    /// Whether it answered just now.
    pub answers: bool,
    /// Whether calls are made.
    pub breaker: BreakerState,
    /// What went wrong last, whenever that was.
    pub last_error: Option<String>,
    /// How long the last ping took that was answered.
    pub round_trip: Option<Duration>,
}

/// A connection that is kept up. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connector: Arc<Connector>,
    surroundings: Surroundings,
    deadline: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    breaker: Breaker,
    live: Option<Live>,
    /// Made once more for every connection.
    serial: u64,
    /// Open while a connection is being made.
    connecting: Option<watch::Receiver<()>>,
    /// Why the last one was not.
    not_connected: Option<Fault>,
    last_error: Option<String>,
    round_trip: Option<Duration>,
}

#[derive(Clone)]
struct Live {
    connection: Connection,
    serial: u64,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Live({})", self.serial)
    }
}

impl Live {
    /// Runs steps side by side.
    async fn run(&self, steps: &[Pipeline]) -> Result<Vec<Vec<Value>>, RedisError> {
        try_join_all(steps.iter().map(|step| self.connection.clone().run(step))).await
    }
}

impl Link {
    /// Connects to nobody yet.
    pub(crate) fn new(connector: Arc<Connector>, surroundings: Surroundings, deadline: Duration) -> Self {
        Self(Arc::new(Shared {
            connector,
            surroundings,
            deadline,
            state: Mutex::default(),
        }))
    }

    /// Runs commands. The keys of each step lie in one slot, its commands run in order, and the steps side by side. Gives
    /// what each command answered. `wait` is how long a command may wait on purpose.
    ///
    /// # Errors
    ///
    /// Unavailable: at the latest after the deadline and `wait`, at once while the breaker is open. Whether the commands were
    /// run is not known then.
    pub(crate) async fn run(
        &self,
        steps: &[Pipeline],
        wait: Duration,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let began = Instant::now();
        self.permit(began)?;
        let limit = self.0.deadline + wait;
        let outcome = match timeout_at(began + limit, self.attempt(steps)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.0.surroundings.notices.limit_reached(LIMIT_DEADLINE);
                Err(Fault::away(format!("no answer within {limit:?}")))
            }
        };
        self.note(outcome.as_ref().err());
        outcome.map_err(|fault| self.told(&fault.why))
    }

    /// Asks Redis whether it is there, and tells how it is.
    pub(crate) async fn health(&self) -> Health {
        let mut ping = Pipeline::new();
        ping.cmd("PING");
        let began = Instant::now();
        let is_answered = self.run(&[ping], Duration::ZERO).await.is_ok();
        let mut state = self.0.state.lock();
        if is_answered {
            state.round_trip = Some(began.elapsed());
        }
        Health {
            address: self.0.connector.address(),
            answers: is_answered,
            breaker: state.breaker.state(),
            last_error: state.last_error.clone(),
            round_trip: state.round_trip,
        }
    }

    fn told(&self, why: &str) -> StoreError {
        StoreError::Unavailable(format!("{}: {why}", self.0.connector.address()))
    }

    fn permit(&self, now: Instant) -> Result<(), StoreError> {
        let mut state = self.0.state.lock();
        if state.breaker.permits(now) {
            return Ok(());
        }
        let last = state.last_error.as_deref().unwrap_or_default();
        Err(self.told(&format!("not asked, since it did not answer lately: {last}")))
    }

    /// A connection that lay idle may have been closed by the server, which shows when it is used: then once more, on a
    /// new one.
    async fn attempt(&self, steps: &[Pipeline]) -> Result<Vec<Vec<Value>>, Fault> {
        let (live, is_new) = self.live().await?;
        let fault = match live.run(steps).await {
            Ok(answers) => return Ok(answers),
            Err(error) => Fault::from(error),
        };
        if !fault.is_cut || live.connection.mends_itself() {
            return Err(fault);
        }
        self.drop_connection(live.serial);
        if is_new {
            return Err(fault);
        }
        let (live, _) = self.live().await?;
        Ok(live.run(steps).await?)
    }

    /// The connection, and whether it was made just now.
    async fn live(&self) -> Result<(Live, bool), Fault> {
        let mut has_waited = false;
        loop {
            let mut connecting = {
                let mut state = self.0.state.lock();
                if let Some(live) = &state.live {
                    return Ok((live.clone(), has_waited));
                }
                // One whose runtime ended has a sender no more.
                let connecting = state.connecting.clone();
                match connecting.filter(|connecting| connecting.has_changed().is_ok()) {
                    Some(connecting) => connecting,
                    None if has_waited => {
                        let fault = state.not_connected.clone();
                        return Err(fault.unwrap_or_else(|| Fault::away("the connection was lost")));
                    }
                    None => self.connect(&mut state),
                }
            };
            // It ends with an error, the sender being gone: that is what is waited for.
            connecting.changed().await.ok();
            has_waited = true;
        }
    }

    /// Makes a connection in the background: it is of use to later calls where this one's time is up.
    fn connect(&self, state: &mut State) -> watch::Receiver<()> {
        let (sender, connecting) = watch::channel(());
        state.connecting = Some(connecting.clone());
        let shared = Arc::clone(&self.0);
        self.0.surroundings.runtime.spawn(async move {
            let made = timeout(CONNECT_MAX, Box::pin(shared.connector.connect())).await;
            let made = match made {
                Ok(made) => made.map_err(Fault::from),
                Err(_) => Err(Fault::away(format!("no connection within {CONNECT_MAX:?}"))),
            };
            let mut state = shared.state.lock();
            state.connecting = None;
            state.serial += 1;
            match made {
                Ok(connection) => {
                    let serial = state.serial;
                    state.live = Some(Live { connection, serial });
                }
                // Even where a server answered: every call would ask it to let us in.
                Err(fault) => {
                    state.not_connected = Some(Fault {
                        reach: Reach::Away,
                        ..fault
                    });
                }
            }
            drop(state);
            drop(sender);
        });
        connecting
    }

    fn drop_connection(&self, serial: u64) {
        let mut state = self.0.state.lock();
        if state.live.as_ref().is_some_and(|live| live.serial == serial) {
            state.live = None;
        }
    }

    fn note(&self, fault: Option<&Fault>) {
        let mut state = self.0.state.lock();
        if let Some(fault) = fault {
            state.last_error = Some(fault.why.clone());
        }
        let address = || self.0.connector.address();
        match fault.filter(|fault| fault.reach == Reach::Away) {
            None => {
                if state.breaker.succeeded() {
                    tracing::info!(redis = %address(), "Redis answers again");
                }
            }
            Some(fault) => {
                let is_opened = state.breaker.failed(Instant::now());
                if state.breaker.state() == BreakerState::Open {
                    // It may be one whose other end is gone without a word.
                    state.live = None;
                }
                if is_opened {
                    self.0.surroundings.notices.limit_reached(LIMIT_FAILURES);
                    tracing::warn!(redis = %address(), why = %fault.why, "Redis does not answer: not asked for a while");
                }
            }
        }
    }
}
