//! The acceptor: one for each address that the node listens on.
//!
//! **Owns** a listening socket. **Guarantees** that a connection that comes in gets a session or, where a limit is
//! reached, one line that says so; that a lack of file descriptors pauses it and doesn't make it spin; and that the
//! end of the node is seen at once. **Never** speaks a protocol.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix::prelude::*;
use socket2::{SockRef, TcpKeepalive};
use tokio::time::Instant;

use crate::admission::{Admission, ConnectionPermit, Refusal};
use crate::drain::DrainWatch;
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::supervisor::{Exit, ExitGuard};

/// How long an acceptor rests when the process has no file descriptor left.
pub const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How a peer that is gone is found (RFC 1122 §4.2.3.6; RFC 5482).
#[derive(Debug, Clone, Copy)]
pub struct KeepAlive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Probes without an answer that end the connection.
    pub retries: u32,
    /// Octets that were sent may stay unacknowledged for so long.
    pub user_timeout: Duration,
}

impl KeepAlive {
    /// Sets it on a listening socket: connections inherit it.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn apply(&self, listener: &TcpListener) -> io::Result<()> {
        let socket = SockRef::from(listener);
        let probes = TcpKeepalive::new()
            .with_time(self.idle)
            .with_interval(self.interval)
            .with_retries(self.retries);
        socket.set_tcp_keepalive(&probes)?;
        socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        socket.set_tcp_nodelay(true)
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, not blocking.
    pub stream: TcpStream,
    /// The client.
    pub peer: SocketAddr,
    /// Its place among the connections.
    pub permit: ConnectionPermit,
}

/// Starts a session on the arbiter on which it is called.
pub type StartSession = Arc<dyn Fn(Accepted) + Send + Sync>;

/// What an acceptor serves.
#[derive(Clone)]
pub struct Service {
    /// For the log: `pop3`, `pop3s`, `smtp`, `lmtp`.
    pub name: &'static str,
    /// The names of the limits, for the metric: in all, and for each address.
    pub limits: [&'static str; 2],
    /// Who may come in.
    pub admission: Admission,
    /// Begins a session.
    pub start: StartSession,
    /// What a connection is told that may not come in; empty under TLS, where nothing can be said yet.
    pub refusal: Arc<[u8]>,
    /// Where sessions live: all of them in turn.
    pub arbiters: Arc<[ArbiterHandle]>,
    /// The arbiter that is next. Shared by all acceptors, so that they spread together.
    pub turn: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The acceptor.
#[derive(Debug)]
pub struct Acceptor {
    listener: Arc<TcpListener>,
    service: Service,
    drain: DrainWatch,
    metrics: Arc<Metrics>,
    kind: Arc<Kind>,
    guard: ExitGuard,
    _alive: Alive,
}

impl Acceptor {
    /// An acceptor for `listener`, which does not block and has its options set.
    #[must_use]
    pub fn new(
        listener: Arc<TcpListener>,
        service: Service,
        drain: DrainWatch,
        metrics: Arc<Metrics>,
        kind: Arc<Kind>,
        guard: ExitGuard,
    ) -> Self {
        let alive = kind.born();
        Self {
            listener,
            service,
            drain,
            metrics,
            kind,
            guard,
            _alive: alive,
        }
    }
}

impl Actor for Acceptor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let worker = Worker {
            listener: Arc::clone(&self.listener),
            service: self.service.clone(),
            drain: self.drain.clone(),
            metrics: Arc::clone(&self.metrics),
            kind: Arc::clone(&self.kind),
        };
        ctx.spawn(worker.run().into_actor(self).map(|how, act, ctx| {
            act.guard.ends(how);
            ctx.stop();
        }));
    }
}

struct Worker {
    listener: Arc<TcpListener>,
    service: Service,
    drain: DrainWatch,
    metrics: Arc<Metrics>,
    kind: Arc<Kind>,
}

impl Worker {
    async fn run(mut self) -> Exit {
        // A copy of the socket: the next acceptor, should this one panic, goes on with the same queue of clients.
        let listener = match self
            .listener
            .try_clone()
            .and_then(tokio::net::TcpListener::from_std)
        {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, service = self.service.name, "a listener can't be watched");
                return Exit::Failed;
            }
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.drain.wait() => return Exit::Stopped,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.accepted(stream, peer),
                Err(error) => self.failed(&error).await,
            }
        }
    }

    fn accepted(&self, stream: tokio::net::TcpStream, peer: SocketAddr) {
        let begun = Instant::now();
        // The session's arbiter has a reactor of its own: the socket leaves this one's.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, %peer, "a connection was gone before it began");
                return;
            }
        };
        match self.service.admission.connection(peer.ip()) {
            Ok(permit) => self.start(Accepted { stream, peer, permit }),
            Err(refusal) => self.refuse(&stream, peer, refusal),
        }
        self.kind.handled(1, begun);
    }

    fn start(&self, accepted: Accepted) {
        let turn = self.service.turn.fetch_add(1, Relaxed);
        let arbiters = &self.service.arbiters;
        let Some(arbiter) = turn
            .checked_rem(arbiters.len())
            .and_then(|turn| arbiters.get(turn))
        else {
            return;
        };
        let start = Arc::clone(&self.service.start);
        // What waits here is bounded by the permits.
        if !arbiter.spawn_fn(move || start(accepted)) {
            tracing::debug!("a connection came while the node ended");
        }
    }

    fn refuse(&self, mut stream: &TcpStream, peer: SocketAddr, refusal: Refusal) {
        let [total, address] = self.service.limits;
        let limit = if refusal == Refusal::Total { total } else { address };
        self.metrics.limit(limit);
        tracing::info!(%peer, limit, service = self.service.name, "a connection was refused");
        // A fresh socket takes one line without blocking; if it doesn't, the client sees the end instead.
        drop(io::Write::write(&mut stream, &self.service.refusal));
    }

    async fn failed(&self, error: &io::Error) {
        // A connection that ended before it was accepted is the client's affair; anything else is a lack of ours.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
        ) {
            return;
        }
        self.metrics.limit("file_descriptors");
        tracing::warn!(%error, service = self.service.name, "no connection can be accepted now");
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
}
