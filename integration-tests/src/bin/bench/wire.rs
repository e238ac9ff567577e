//! A connection of the load tool: lines out, lines and dot-ended bodies in, with as few system calls as the
//! conversation allows.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What one read takes at most. A message of the benchmarks fits.
const READ_OCTETS: usize = 16 * 1024;
/// How many connections come from one loopback address: far less than it has ephemeral ports (28,000 by default).
const CONNECTIONS_PER_ADDRESS: usize = 1_000;
/// From how many addresses connections come.
const ADDRESSES: usize = 200;

/// Opens the `number`th connection. Loopback has 16 million addresses; the load is spread over some of them.
pub(crate) async fn connect(address: SocketAddr, number: usize) -> anyhow::Result<Wire<TcpStream>> {
    let last = u8::try_from(number / CONNECTIONS_PER_ADDRESS % ADDRESSES)?;
    let socket = TcpSocket::new_v4()?;
    if last > 0 {
        socket.bind((Ipv4Addr::new(127, 0, 1, last), 0).into())?;
    }
    let stream = socket.connect(address).await;
    Ok(Wire::new(
        stream.with_context(|| format!("connect to {address}"))?,
    ))
}

/// A connection and what was read from it ahead.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
    start: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
        }
    }

    pub(crate) async fn write(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(octets).await?)
    }

    /// Reads a line, with its CRLF.
    pub(crate) async fn line(&mut self) -> anyhow::Result<&[u8]> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        let end = self.find(b"\n", self.start).await?;
        let start = std::mem::replace(&mut self.start, end);
        Ok(&self.buffer[start..end])
    }

    /// Reads a line that begins with `expected`, and fails with what came instead.
    pub(crate) async fn expect(&mut self, expected: &str) -> anyhow::Result<&[u8]> {
        let line = self.line().await?;
        let is_expected = line.starts_with(expected.as_bytes());
        ensure!(
            is_expected,
            "{expected:?} expected, came: {}",
            String::from_utf8_lossy(line)
        );
        Ok(line)
    }

    /// Reads the lines that follow a line, up to the final dot, and gives how many octets they are.
    pub(crate) async fn body(&mut self) -> anyhow::Result<usize> {
        // The CRLF of the line before may be the one that the final dot needs.
        let from = self.start.saturating_sub(2);
        let end = self.find(b"\r\n.\r\n", from).await?;
        let octets = end.saturating_sub(self.start + 3);
        self.start = end;
        Ok(octets)
    }

    /// Reads until the server closes.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        while self.fill().await? > 0 {}
        Ok(())
    }

    /// Gives the buffer back: what an idle client needs none of.
    pub(crate) fn into_stream(self) -> S {
        self.stream
    }

    /// Where the first `needle` behind `from` ends.
    async fn find(&mut self, needle: &[u8], from: usize) -> anyhow::Result<usize> {
        let mut searched = from;
        loop {
            if let Some(at) = memmem::find(&self.buffer[searched..], needle) {
                return Ok(searched + at + needle.len());
            }
            searched = self.buffer.len().saturating_sub(needle.len()).max(from);
            ensure!(self.fill().await? > 0, "the server closed the connection");
        }
    }

    async fn fill(&mut self) -> anyhow::Result<usize> {
        self.buffer.reserve(READ_OCTETS);
        Ok(self.stream.read_buf(&mut self.buffer).await?)
    }
}
