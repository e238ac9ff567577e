//! Connections of proxies, which say first for whom they speak (the PROXY protocol).
//!
//! A connection is looked at by where it comes from, before an octet is read: of a proxy a header is required, and of
//! anybody else none is read, or everybody could be anybody. A header holds up its own connection and nothing else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use mailhorn_proxy::{Header, Malformed, Parser, Progress};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Front;
use crate::admission::Place;
use crate::peers::is_in;

/// The setting of the networks, for metrics and log.
const NETWORKS: &str = "net.proxy_networks";
/// The setting of the time for a header.
const TIMEOUT: &str = "net.proxy_timeout";

/// Octets of a header that are looked at at a time: most headers are shorter.
const LOOK_OCTETS: usize = 128;

/// Who speaks for others.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Where proxies are. Empty: nowhere.
    pub networks: Vec<IpNet>,
    /// How long a header may take.
    pub header_timeout: Duration,
}

impl Proxies {
    /// Whether what comes from there is a proxy.
    #[must_use]
    pub fn has(&self, peer: IpAddr) -> bool {
        is_in(&self.networks, peer)
    }
}

/// Why there is no header.
enum Missing {
    Malformed(Malformed),
    Gone(io::Error),
}

impl Front {
    /// Reads the header of a proxy's connection, then goes on for whom it names.
    pub(super) async fn proxied(mut self, mut stream: TcpStream, proxy: SocketAddr, place: Place) {
        let time = self.service.proxies.header_timeout;
        let read = tokio::select! {
            biased;
            () = self.drain.wait() => return,
            read = timeout(time, read_header(&mut stream)) => read,
        };
        let service = self.service.name;
        match read {
            Ok(Ok(Header::Proxied { source, .. })) => {
                self.metrics.proxy_header("proxied");
                self.admit(stream, source, place);
            }
            Ok(Ok(Header::Local)) => {
                self.metrics.proxy_header("local");
                self.admit(stream, proxy, place);
            }
            Ok(Err(Missing::Malformed(why))) => {
                self.metrics.proxy_header("missing");
                tracing::warn!(%proxy, service, "a connection from {NETWORKS} was closed: {why}");
            }
            Ok(Err(Missing::Gone(error))) => {
                self.metrics.proxy_header("gone");
                tracing::debug!(%proxy, service, %error, "a connection was gone before its header");
            }
            Err(_) => {
                self.metrics.proxy_header("late");
                self.metrics.limit(TIMEOUT);
                tracing::warn!(%proxy, service, "a connection from {NETWORKS} was closed: no header within {TIMEOUT}");
            }
        }
    }
}

/// Reads a header and no octet behind it: what is there is looked at, and taken once it is known to be the header's.
async fn read_header(stream: &mut TcpStream) -> Result<Header, Missing> {
    let mut parser = Parser::new();
    let mut octets = [0; LOOK_OCTETS];
    loop {
        let seen = stream.peek(&mut octets).await.map_err(Missing::Gone)?;
        if seen == 0 {
            return Err(Missing::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        let progress = parser
            .push(octets.get(..seen).unwrap_or_default())
            .map_err(Missing::Malformed)?;
        let taken = match progress {
            Progress::More => seen,
            Progress::Done { consumed, .. } => consumed,
        };
        let taken = octets.get_mut(..taken).unwrap_or_default();
        stream.read_exact(taken).await.map_err(Missing::Gone)?;
        if let Progress::Done { header, .. } = progress {
            return Ok(header);
        }
    }
}
