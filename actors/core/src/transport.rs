//! A connection as a session sees it: octets in, octets out, with deadlines; in clear or under TLS.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::acceptor::Socket;
use crate::metrics::Metrics;

/// What a client that takes nothing of what is sent to it for too long is counted as.
pub(crate) const WRITE_TIMEOUT: &str = "net.write_timeout";
/// The same for a handshake of TLS that takes too long.
pub(crate) const HANDSHAKE_TIMEOUT: &str = "tls.handshake_timeout";

/// Counts the limit if it is what ended this.
pub(crate) fn counted<T>(metrics: &Metrics, limit: &'static str, done: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &done
        && error.kind() == io::ErrorKind::TimedOut
    {
        metrics.limit(limit);
    }
    done
}

/// Octets that one read takes at most. On the stack and only while a read runs: an idle session has no read buffer.
pub const READ_OCTETS_MAX: usize = 16 * 1024;

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Between the two, and after a handshake that failed.
    Closed,
}

/// A client's connection.
pub struct Connection {
    io: Io,
    peer: SocketAddr,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection that was accepted, on the arbiter where this is called.
    ///
    /// # Errors
    ///
    /// When the runtime can't watch the socket.
    pub fn new(socket: Socket, peer: SocketAddr) -> io::Result<Self> {
        let stream = match socket {
            Socket::Here(stream) => stream,
            Socket::Elsewhere(stream) => TcpStream::from_std(stream)?,
        };
        Ok(Self {
            io: Io::Plain(stream),
            peer,
        })
    }

    /// The client's address, as the acceptor handed it in.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    /// Whether TLS is on.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.io, Io::Tls(_))
    }

    /// Hands what comes in next to `take`. 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// As the socket says.
    pub async fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut buffer = [MaybeUninit::uninit(); READ_OCTETS_MAX];
            let mut buffer = ReadBuf::uninit(&mut buffer);
            ready!(self.poll_read(cx, &mut buffer))?;
            take(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    /// Hands to `take` what has come in already, and waits for nothing.
    ///
    /// # Errors
    ///
    /// As the socket says.
    pub async fn read_ready(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut buffer = [MaybeUninit::uninit(); READ_OCTETS_MAX];
            let mut buffer = ReadBuf::uninit(&mut buffer);
            match self.poll_read(cx, &mut buffer) {
                Poll::Pending => Poll::Ready(Ok(0)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {
                    take(buffer.filled());
                    Poll::Ready(Ok(buffer.filled().len()))
                }
            }
        })
        .await
    }

    fn poll_read(
        &mut self,
        cx: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
            Io::Closed => Poll::Ready(Ok(())),
        }
    }

    /// Sends all of `octets` and empties it. A client that takes none of it for `stall` is given up.
    ///
    /// # Errors
    ///
    /// As the socket says, and [`io::ErrorKind::TimedOut`].
    pub async fn write(&mut self, octets: &mut Vec<u8>, stall: Duration) -> io::Result<()> {
        let mut rest = octets.as_slice();
        while !rest.is_empty() {
            let written = match tokio::time::timeout(stall, poll_fn(|cx| self.poll_write(cx, rest))).await {
                Ok(written) => written?,
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        octets.clear();
        // rustls takes octets before the socket does: what it holds must not wait for the next write.
        match tokio::time::timeout(stall, poll_fn(|cx| self.poll_flush(cx))).await {
            Ok(flushed) => flushed,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn poll_flush(&mut self, cx: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Io::Plain(_) | Io::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_write(&mut self, cx: &mut std::task::Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, octets),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, octets),
            Io::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Begins TLS. The caller has made sure that nothing is buffered from before.
    ///
    /// # Errors
    ///
    /// When the handshake fails or takes longer than `deadline`; the connection is closed then.
    pub async fn start_tls(&mut self, config: Arc<ServerConfig>, deadline: Duration) -> io::Result<()> {
        let Io::Plain(stream) = std::mem::replace(&mut self.io, Io::Closed) else {
            return Err(io::Error::other("TLS is on already"));
        };
        let handshake = TlsAcceptor::from(config).accept(stream);
        match tokio::time::timeout(deadline, handshake).await {
            Ok(Ok(stream)) => {
                self.io = Io::Tls(Box::new(stream));
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Ends the connection well: what was sent arrives, TLS says good-bye. Bounded by `deadline`, since a client that
    /// reads no more must not keep the session.
    pub async fn close(mut self, deadline: Duration) {
        let ended = async {
            match &mut self.io {
                Io::Plain(stream) => stream.shutdown().await,
                Io::Tls(stream) => stream.shutdown().await,
                Io::Closed => Ok(()),
            }
        };
        // The connection ends in either case.
        drop(tokio::time::timeout(deadline, ended).await);
    }
}
