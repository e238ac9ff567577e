//! The acceptor: one on each arbiter for each address that the node listens on.
//!
//! **Owns** its copy of a listening socket. **Guarantees** that a connection that comes in gets a session or, where a
//! limit is reached, one line that says so; that a lack of file descriptors pauses it and doesn't make it spin; and
//! that the end of the node is seen at once. **Never** speaks a protocol, but for a proxy's header before it, which a task
//! of its own waits for (`proxied`).
//!
//! The arbiter that accepts a connection keeps it, which saves a wake-up and two changes of the reactor's list, unless
//! it has clearly more sessions than another one: then that one gets it.

mod proxied;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix::prelude::*;
use socket2::{SockRef, TcpKeepalive};
use tokio::time::Instant;

use crate::admission::{Admission, ConnectionPermit, Place, Refusal};
use crate::bans::Bans;
use crate::drain::DrainWatch;
use crate::metrics::Metrics;
use crate::observe::{Alive, Kind};
use crate::supervisor::{Exit, ExitGuard};
pub use proxied::Proxies;

/// How long an acceptor rests when the process has no file descriptor left.
pub const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How a peer that is gone is found (RFC 1122 §4.2.3.6; RFC 5482).
#[derive(Debug, Clone, Copy)]
pub struct KeepAlive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Octets that were sent, and probes, may stay unacknowledged for so long. How many probes doesn't count: where it is
    /// set, Linux goes by this time alone (`tcp(7)`, TCP_USER_TIMEOUT).
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
            .with_interval(self.interval);
        socket.set_tcp_keepalive(&probes)?;
        socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        socket.set_tcp_nodelay(true)
    }
}

/// How many sessions more than the least busy arbiter one may have before it hands new ones over.
pub const IMBALANCE_MAX: usize = 1;

/// A connection's socket, on its way to a session.
#[derive(Debug)]
pub enum Socket {
    /// Known to the reactor of this arbiter.
    Here(tokio::net::TcpStream),
    /// Accepted elsewhere, not blocking.
    Elsewhere(TcpStream),
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: Socket,
    /// The client: the other end of the connection, or whom a proxy there speaks for.
    pub peer: SocketAddr,
    /// Its place among the connections.
    pub permit: ConnectionPermit,
    /// Its place on its arbiter.
    pub seat: Seat,
}

/// An arbiter that has sessions.
#[derive(Debug, Clone)]
pub struct Home {
    arbiter: ArbiterHandle,
    sessions: Arc<AtomicUsize>,
}

impl Home {
    /// An arbiter without sessions.
    #[must_use]
    pub fn new(arbiter: ArbiterHandle) -> Self {
        Self {
            arbiter,
            sessions: Arc::default(),
        }
    }

    fn sessions(&self) -> usize {
        self.sessions.load(Relaxed)
    }

    fn seat(&self) -> Seat {
        self.sessions.fetch_add(1, Relaxed);
        Seat(Arc::clone(&self.sessions))
    }
}

/// A session's place on its arbiter.
#[derive(Debug)]
pub struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
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
    /// Who speaks for others, and says for whom before anything else.
    pub proxies: Arc<Proxies>,
    /// Who is not served.
    pub bans: Bans,
    /// What is said to those; empty under TLS.
    pub ban_notice: Arc<[u8]>,
    /// Begins a session.
    pub start: StartSession,
    /// What a connection is told that may not come in; empty under TLS, where nothing can be said yet.
    pub refusal: Arc<[u8]>,
    /// Where sessions live.
    pub homes: Arc<[Home]>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What an acceptor works with.
#[derive(Debug, Clone)]
pub struct Front {
    /// Not blocking, its options set. All acceptors of an address share one queue of clients.
    pub listener: Arc<TcpListener>,
    /// What is served.
    pub service: Service,
    /// Which of the service's homes this acceptor runs on.
    pub home: usize,
    /// The node's end.
    pub drain: DrainWatch,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The kind's counters.
    pub kind: Arc<Kind>,
}

/// The acceptor.
#[derive(Debug)]
pub struct Acceptor {
    front: Front,
    guard: ExitGuard,
    _alive: Alive,
}

impl Acceptor {
    /// Starts an acceptor on its home.
    pub fn start_at_home(front: Front, guard: ExitGuard) {
        let Some(home) = front
            .service
            .homes
            .get(front.home)
            .map(|home| home.arbiter.clone())
        else {
            return;
        };
        let alive = front.kind.born();
        Self::start_in_arbiter(&home, move |_| Self {
            front,
            guard,
            _alive: alive,
        });
    }
}

impl Actor for Acceptor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(self.front.clone().run().into_actor(self).map(|how, act, ctx| {
            act.guard.ends(how);
            ctx.stop();
        }));
    }
}

impl Front {
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
        match self.service.admission.place() {
            Ok(place) if self.service.proxies.has(peer.ip()) => {
                actix_rt::spawn(self.clone().proxied(stream, peer, place));
            }
            Ok(place) => self.admit(stream, peer, place),
            Err(refusal) => self.refuse(&stream, peer, refusal),
        }
        self.kind.handled(1, begun);
    }

    /// Goes on with a connection whose client is known.
    fn admit(&self, stream: tokio::net::TcpStream, peer: SocketAddr, place: Place) {
        if self.service.bans.refuse(peer.ip()) {
            tracing::debug!(%peer, service = self.service.name, "a connection from a banned address was closed");
            return say(&stream, &self.service.ban_notice);
        }
        match place.of(peer.ip()) {
            Ok(permit) => self.start(stream, peer, permit),
            Err(refusal) => self.refuse(&stream, peer, refusal),
        }
    }

    fn start(&self, stream: tokio::net::TcpStream, peer: SocketAddr, permit: ConnectionPermit) {
        let homes = &self.service.homes;
        let Some(here) = homes.get(self.home) else { return };
        let other = homes.iter().min_by_key(|home| home.sessions());
        let other = other.filter(|other| other.sessions().saturating_add(IMBALANCE_MAX) < here.sessions());
        let Some(other) = other else {
            let seat = here.seat();
            return (self.service.start)(Accepted {
                socket: Socket::Here(stream),
                peer,
                permit,
                seat,
            });
        };
        // The other arbiter has a reactor of its own: the socket leaves this one's.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, %peer, "a connection was gone before it began");
                return;
            }
        };
        let accepted = Accepted {
            socket: Socket::Elsewhere(stream),
            peer,
            permit,
            seat: other.seat(),
        };
        let start = Arc::clone(&self.service.start);
        // What waits here is bounded by the permits.
        if !other.arbiter.spawn_fn(move || start(accepted)) {
            tracing::debug!("a connection came while the node ended");
        }
    }

    fn refuse(&self, stream: &tokio::net::TcpStream, peer: SocketAddr, refusal: Refusal) {
        let [total, address] = self.service.limits;
        let limit = if refusal == Refusal::Total { total } else { address };
        self.metrics.limit(limit);
        tracing::info!(%peer, limit, service = self.service.name, "a connection was refused");
        say(stream, &self.service.refusal);
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

/// A fresh socket takes one line without blocking; if it doesn't, the client sees the end instead.
fn say(stream: &tokio::net::TcpStream, line: &[u8]) {
    drop(stream.try_write(line));
}
