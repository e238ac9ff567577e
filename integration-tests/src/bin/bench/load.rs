//! What the clients do: deliveries over LMTP, sessions of POP3. One thread, strict question and answer but for the
//! envelope, which a mail server sends in one write (RFC 2920).

use std::cell::Cell;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::family::Family;
use crate::wire::{Wire, connect};

/// Messages in each mailbox that is read.
pub(crate) const MESSAGES: usize = 20;
/// The size of a message, headers included.
pub(crate) const MESSAGE_OCTETS: usize = 10 * 1024;
/// Every account's password.
pub(crate) const PASSWORD: &str = "benchmark";
/// The domain of every account.
pub(crate) const DOMAIN: &str = "example.org";

/// The address of the account with this number.
pub(crate) fn user(number: usize) -> String {
    format!("u{number:05}@{DOMAIN}")
}

/// What ends the content of DATA, after the line before (RFC 5321 §4.1.1.4).
const FINAL_DOT: &[u8] = b".\r\n";

/// A message in which no octet needs care, and whose number makes it differ from all others.
#[derive(Debug)]
pub(crate) struct Message {
    content: Vec<u8>,
}

impl Message {
    const NUMBER: &str = "X-Number: ";
    const DIGITS: usize = 12;

    pub(crate) fn new(octets: usize) -> Self {
        let head = format!(
            "From: Load <load@example.net>\r\nSubject: benchmark\r\n\r\n{}",
            "some text of a benchmark, the same line again and again\r\n".repeat(octets / 57 + 1)
        );
        let mut content =
            format!("{}{:0width$}\r\n{head}", Self::NUMBER, 0, width = Self::DIGITS).into_bytes();
        content.truncate(octets.saturating_sub(2));
        content.extend_from_slice(b"\r\n");
        content.extend_from_slice(FINAL_DOT);
        Self { content }
    }

    /// As BDAT sends it: the octets and nothing more.
    fn as_chunk(&self) -> &[u8] {
        &self.content[..self.content.len() - FINAL_DOT.len()]
    }

    /// As POP3 and DATA send it, the final dot included.
    pub(crate) fn as_sent(&self) -> &[u8] {
        &self.content
    }

    fn number(&mut self, number: u64) {
        let digits = format!("{number:0width$}", width = Self::DIGITS);
        let from = Self::NUMBER.len();
        self.content[from..from + Self::DIGITS].copy_from_slice(digits.as_bytes());
    }
}

/// A sender that keeps its connection.
#[derive(Debug)]
pub(crate) struct Sender {
    wire: Wire<TcpStream>,
    message: Message,
    /// By BDAT (RFC 3030), the message in one chunk behind its envelope, in one write; otherwise by DATA.
    pub(crate) chunks: bool,
}

impl Sender {
    pub(crate) async fn connect(address: SocketAddr, octets: usize) -> anyhow::Result<Self> {
        let mut wire = connect(address, 0).await?;
        wire.expect("220").await?;
        wire.write(b"LHLO load.example.net\r\n").await?;
        while wire.expect("250").await?.get(3) == Some(&b'-') {}
        let message = Message::new(octets);
        Ok(Self {
            wire,
            message,
            chunks: false,
        })
    }

    /// One message for one or more accounts.
    pub(crate) async fn deliver(&mut self, number: u64, accounts: &[usize]) -> anyhow::Result<()> {
        let mut envelope = b"MAIL FROM:<load@example.net>\r\n".to_vec();
        for account in accounts {
            write!(envelope, "RCPT TO:<{}>\r\n", user(*account))?;
        }
        self.message.number(number);
        if self.chunks {
            let chunk = self.message.as_chunk();
            write!(envelope, "BDAT {} LAST\r\n", chunk.len())?;
            envelope.extend_from_slice(chunk);
        } else {
            envelope.extend_from_slice(b"DATA\r\n");
        }
        self.wire.write(&envelope).await?;
        for _ in 0..=accounts.len() {
            self.wire.expect("250").await?;
        }
        if !self.chunks {
            self.wire.expect("354").await?;
            self.wire.write(self.message.as_sent()).await?;
        }
        for _ in accounts {
            self.wire.expect("250").await?;
        }
        Ok(())
    }
}

/// What a POP3 session does after log-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    /// STAT and UIDL: is there something new?
    Poll,
    /// The same, and every message.
    Retrieve,
    /// The same, and deletes them.
    Drain,
}

/// A whole session from the connection to its end by the server. Gives the octets of the messages it read.
pub(crate) async fn visit(address: SocketAddr, account: usize, visit: Visit) -> anyhow::Result<u64> {
    let mut wire = connect(address, 0).await?;
    log_in(&mut wire, account).await?;
    let octets = look(&mut wire, visit).await;
    let octets = octets.with_context(|| format!("{visit:?} of {}", user(account)))?;
    command(&mut wire, "QUIT\r\n").await?;
    wire.end().await?;
    Ok(octets)
}

/// Reads the greeting and logs in.
pub(crate) async fn log_in<S>(wire: &mut Wire<S>, account: usize) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    wire.expect("+OK").await?;
    command(wire, &format!("USER {}\r\n", user(account))).await?;
    command(wire, &format!("PASS {PASSWORD}\r\n")).await?;
    Ok(())
}

async fn look(wire: &mut Wire<TcpStream>, visit: Visit) -> anyhow::Result<u64> {
    let stat = command(wire, "STAT\r\n").await?;
    let expected = format!("+OK {MESSAGES} ");
    let is_full = stat.starts_with(expected.as_bytes());
    ensure!(
        is_full,
        "{MESSAGES} messages expected: {}",
        String::from_utf8_lossy(stat)
    );
    command(wire, "UIDL\r\n").await?;
    wire.body().await?;
    let mut octets = 0;
    if visit != Visit::Poll {
        for message in 1..=MESSAGES {
            command(wire, &format!("RETR {message}\r\n")).await?;
            octets += wire.body().await?;
            if visit == Visit::Drain {
                command(wire, &format!("DELE {message}\r\n")).await?;
            }
        }
    }
    Ok(octets as u64)
}

async fn command<'a, S>(wire: &'a mut Wire<S>, line: &str) -> anyhow::Result<&'a [u8]>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    wire.write(line.as_bytes()).await?;
    wire.expect("+OK").await
}

/// What the clients of a run have done so far, and whether it goes on.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: Cell<u64>,
    pub(crate) octets: Cell<u64>,
    is_over: Cell<bool>,
}

impl Tally {
    /// Counts a delivery or a session; says whether another is wanted.
    pub(crate) fn count(&self, octets: u64) -> bool {
        self.done.set(self.done.get() + 1);
        self.octets.set(self.octets.get() + octets);
        !self.is_over.get()
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Deliveries or sessions.
    pub(crate) done: u64,
    /// Octets of messages that were read.
    pub(crate) octets: u64,
    pub(crate) elapsed: Duration,
    /// Processor time of the server, and of this program.
    pub(crate) server: Duration,
    pub(crate) client: Duration,
}

impl Sample {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) fn per_second(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.octets as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    /// Milliseconds of the server's processor time for each delivery or session.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) fn server_ms(&self) -> f64 {
        self.server.as_secs_f64() * 1e3 / self.done as f64
    }

    /// The same of this program.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) fn client_ms(&self) -> f64 {
        self.client.as_secs_f64() * 1e3 / self.done as f64
    }
}

/// Runs the clients for `time`, or without one until all have done their work, and looks at the processor time of
/// `server` meanwhile.
pub(crate) async fn run<F>(
    server: &Family,
    clients: Vec<F>,
    tally: &Rc<Tally>,
    time: Option<Duration>,
) -> anyhow::Result<Sample>
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let own = Family::own();
    let (server_before, own_before, began) = (server.cpu()?, own.own_cpu()?, Instant::now());
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn_local(client);
    }
    let failed = match time {
        Some(time) => tokio::time::timeout(time, first_failure(&mut tasks)).await.ok(),
        None => Some(first_failure(&mut tasks).await),
    };
    failed.transpose()?;
    let sample = Sample {
        done: tally.done.get(),
        octets: tally.octets.get(),
        elapsed: began.elapsed(),
        server: server.cpu()?.saturating_sub(server_before),
        client: own.own_cpu()?.saturating_sub(own_before),
    };
    tally.is_over.set(true);
    first_failure(&mut tasks).await?;
    Ok(sample)
}

async fn first_failure(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.context("a client panicked")??;
    }
    Ok(())
}
