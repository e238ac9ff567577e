//! What hostile clients do.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// The listeners.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) pop3: SocketAddr,
    pub(crate) smtp: SocketAddr,
    pub(crate) lmtp: SocketAddr,
}

/// An attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Kind {
    Nothing,
    EndlessLine,
    SlowReader,
    SlowWriter,
    BadCommands,
    Silence,
    Nul,
    Connections,
    Guesses,
}

/// All of them; the first and the last are the measure for the others.
pub(crate) const ATTACKS: &[Attack] = &[
    attack("before", "none, before", Kind::Nothing),
    attack(
        "endless-line",
        "a line without an end, 40 clients",
        Kind::EndlessLine,
    ),
    attack(
        "slow-reader",
        "1,000,000 commands and not one reply read, 40 clients",
        Kind::SlowReader,
    ),
    attack(
        "slow-writer",
        "a message, an octet each 100 ms, 500 clients",
        Kind::SlowWriter,
    ),
    attack(
        "bad-commands",
        "10,000 bad commands, 8 clients that come back",
        Kind::BadCommands,
    ),
    attack(
        "silence",
        "not a word, 900 clients by SMTP and 2,000 by POP3",
        Kind::Silence,
    ),
    attack(
        "nul",
        "25 MB of NUL, as commands and as content, 12 clients",
        Kind::Nul,
    ),
    attack(
        "connections",
        "5,000 connections from one address, 5,000 from 250",
        Kind::Connections,
    ),
    attack("guesses", "passwords guessed, 100 clients", Kind::Guesses),
    attack("after", "none, after", Kind::Nothing),
];

const fn attack(name: &'static str, title: &'static str, kind: Kind) -> Attack {
    Attack { name, title, kind }
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) attempts: u64,
    pub(crate) open_most: u64,
    pub(crate) octets: u64,
}

/// What all clients of an attack share.
#[derive(Debug, Clone)]
struct Band {
    /// The second octet of its addresses: those of another attack may be banned.
    network: u8,
    end: Instant,
    attempts: Rc<Cell<u64>>,
    open: Rc<Cell<u64>>,
    open_most: Rc<Cell<u64>>,
    octets: Rc<Cell<u64>>,
}

impl Attack {
    /// Goes on for so long.
    pub(crate) async fn run(&self, target: &Target, time: Duration) -> Done {
        let band = Band {
            network: 1 + self.kind as u8,
            end: Instant::now() + time,
            attempts: Rc::default(),
            open: Rc::default(),
            open_most: Rc::default(),
            octets: Rc::default(),
        };
        let (pop3, smtp, lmtp) = (target.pop3, target.smtp, target.lmtp);
        match self.kind {
            Kind::Nothing => sleep_until(band.end).await,
            Kind::EndlessLine => {
                let line = Rc::new(vec![b'a'; 65_536]);
                band.all(40, 20, |n, of| {
                    flood(of, n, [pop3, smtp][n % 2], Rc::clone(&line), u64::MAX)
                })
                .await;
            }
            Kind::SlowReader => {
                let commands = Rc::new(b"CAPA\r\n".repeat(10_000));
                band.all(40, 20, |n, of| unread(of, n, pop3, Rc::clone(&commands)))
                    .await;
            }
            Kind::SlowWriter => band.all(500, 20, |n, of| slow_writer(of, n, smtp)).await,
            Kind::BadCommands => {
                let commands = Rc::new(b"XYZZY\r\n".repeat(1_250));
                band.all(8, 1, |n, of| {
                    comes_back(of, n, [pop3, smtp][n % 2], Rc::clone(&commands))
                })
                .await;
            }
            Kind::Silence => {
                band.all(2_900, 15, |n, of| {
                    silence(of, n, if n < 900 { smtp } else { pop3 })
                })
                .await;
            }
            Kind::Nul => {
                let nul = Rc::new(vec![0; 65_536]);
                band.all(12, 20, |n, of| {
                    let nul = Rc::clone(&nul);
                    async move {
                        match n % 3 {
                            0 => flood(of, n, pop3, nul, 25_000_000).await,
                            1 => flood(of, n, smtp, nul, 25_000_000).await,
                            _ => nul_as_content(of, n, lmtp, nul).await,
                        }
                    }
                })
                .await;
            }
            Kind::Connections => {
                band.all(10_000, 20, |n, of| silence(of, n.saturating_sub(5_000), pop3))
                    .await;
            }
            Kind::Guesses => band.all(100, 4, |n, of| guesses(of, n, pop3)).await,
        }
        Done {
            attempts: band.attempts.get(),
            open_most: band.open_most.get(),
            octets: band.octets.get(),
        }
    }
}

impl Band {
    /// So many clients side by side, so many of them of one address. They are given their number; the address is made of it.
    async fn all<F: Future<Output = io::Result<()>>>(
        &self,
        clients: usize,
        of_an_address: usize,
        client: impl Fn(usize, Member) -> F,
    ) {
        let each = (0..clients).map(|n| {
            let member = Member {
                band: self.clone(),
                of_an_address,
            };
            // Ended by the node, which is what it should do: or by the end of the attack.
            let done = timeout_at(self.end, client(n, member));
            async move { drop(done.await) }
        });
        join_all(each).await;
        // Whoever was turned away early leaves the rest of the time to the client that behaves well, as measured.
        sleep_until(self.end).await;
    }
}

/// One client.
struct Member {
    band: Band,
    of_an_address: usize,
}

/// An open connection, counted as long as it is there.
struct Open {
    stream: TcpStream,
    band: Band,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.band.open.set(self.band.open.get() - 1);
    }
}

impl Open {
    async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let written = self.stream.write(octets).await?;
        self.band.octets.set(self.band.octets.get() + written as u64);
        match octets.get(written..) {
            Some(rest) if !rest.is_empty() => Box::pin(self.send(rest)).await,
            _ => Ok(()),
        }
    }

    /// Reads until the other side has closed.
    async fn read_to_end(&mut self) -> io::Result<()> {
        let mut octets = [0; 4096];
        while self.stream.read(&mut octets).await? > 0 {}
        Ok(())
    }

    async fn read(&mut self) -> io::Result<()> {
        let mut octets = [0; 4096];
        match self.stream.read(&mut octets).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Member {
    async fn connect(&self, n: usize, to: SocketAddr) -> io::Result<Open> {
        let address = u32::try_from(n / self.of_an_address).unwrap_or(0);
        let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, self.band.network, 0, 1).to_bits() + address);
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        self.band.attempts.set(self.band.attempts.get() + 1);
        let stream = socket.connect(to).await?;
        let open = self.band.open.get() + 1;
        self.band.open.set(open);
        self.band.open_most.set(self.band.open_most.get().max(open));
        Ok(Open {
            stream,
            band: self.band.clone(),
        })
    }
}

/// The same octets over and over, so many in all.
async fn flood(of: Member, n: usize, to: SocketAddr, octets: Rc<Vec<u8>>, octets_max: u64) -> io::Result<()> {
    let mut open = of.connect(n, to).await?;
    let mut sent = 0;
    while sent < octets_max {
        open.send(&octets).await?;
        sent += octets.len() as u64;
    }
    open.read_to_end().await
}

async fn unread(of: Member, n: usize, to: SocketAddr, commands: Rc<Vec<u8>>) -> io::Result<()> {
    let mut open = of.connect(n, to).await?;
    for _ in 0..100 {
        open.send(&commands).await?;
    }
    sleep(Duration::from_secs(3600)).await;
    Ok(())
}

async fn slow_writer(of: Member, n: usize, to: SocketAddr) -> io::Result<()> {
    let mut open = of.connect(n, to).await?;
    open.send(b"EHLO slow.example\r\nMAIL FROM:<s@example.com>\r\nRCPT TO:<mallory@example.org>\r\nDATA\r\n")
        .await?;
    loop {
        open.send(b"x").await?;
        sleep(Duration::from_millis(100)).await;
    }
}

/// Sends what is bad until it is thrown out, and comes again.
async fn comes_back(of: Member, n: usize, to: SocketAddr, commands: Rc<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut open = of.connect(n, to).await?;
        // The connection may be reset while it is written to.
        drop(open.send(&commands).await);
        drop(open.read_to_end().await);
    }
}

async fn silence(of: Member, n: usize, to: SocketAddr) -> io::Result<()> {
    let mut open = of.connect(n, to).await?;
    open.read_to_end().await
}

async fn nul_as_content(of: Member, n: usize, to: SocketAddr, nul: Rc<Vec<u8>>) -> io::Result<()> {
    let mut open = of.connect(n, to).await?;
    open.send(b"LHLO nul.example\r\nMAIL FROM:<s@example.com>\r\nRCPT TO:<mallory@example.org>\r\nDATA\r\n")
        .await?;
    for _ in 0..25_000_000 / nul.len() {
        open.send(&nul).await?;
    }
    open.send(b"\r\n.\r\nQUIT\r\n").await?;
    open.read_to_end().await
}

async fn guesses(of: Member, n: usize, to: SocketAddr) -> io::Result<()> {
    loop {
        let mut open = of.connect(n, to).await?;
        open.read().await?;
        for guess in 0..3 {
            open.send(format!("USER mallory@example.org\r\nPASS guess-{guess}\r\n").as_bytes())
                .await?;
            open.read().await?;
            if open.read().await.is_err() {
                break;
            }
        }
    }
}
