//! The bare limits: a loop that accepts and answers what a mailbox of the benchmarks would, and a file that is
//! appended to and synced.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::family::Family;
use crate::load::{MESSAGE_OCTETS, MESSAGES, Message, Sample};

/// The argument that makes this program the server.
pub(crate) const ARGUMENT: &str = "--accept-and-answer";

/// This program once more, as a server in a process of its own.
#[derive(Debug)]
pub(crate) struct Bare {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Bare {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        let stdout = child.stdout.take().context("it was piped")?;
        BufReader::new(stdout).read_line(&mut address)?;
        let address = address.trim().parse().context("the bare server's address")?;
        Ok(Self { child, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What it says.
#[derive(Debug)]
struct Script {
    stat: Vec<u8>,
    uidl: Vec<u8>,
    message: Vec<u8>,
}

/// The server: one thread, a task a connection, no look at anything but the first letter of a line.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let mut uidl = b"+OK\r\n".to_vec();
    for message in 1..=MESSAGES {
        write!(uidl, "{message} 01890a5d-ac96-774b-bcce-b302099a{message:04}\r\n")?;
    }
    uidl.extend_from_slice(b".\r\n");
    let script = Rc::new(Script {
        stat: format!("+OK {MESSAGES} {}\r\n", MESSAGES * MESSAGE_OCTETS).into_bytes(),
        uidl,
        message: [b"+OK\r\n".as_slice(), Message::new(MESSAGE_OCTETS).as_sent()].concat(),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let script = Rc::clone(&script);
        tokio::task::spawn_local(async move {
            // A client that has gone ends its task, and that is all.
            drop(converse(stream, &script).await);
        });
    }
}

async fn converse(mut stream: TcpStream, script: &Script) -> std::io::Result<()> {
    let mut line = [0; 256];
    stream.write_all(b"+OK\r\n").await?;
    loop {
        let octets = stream.read(&mut line).await?;
        let answer: &[u8] = match &line[..octets.min(4)] {
            b"" => return Ok(()),
            b"STAT" => &script.stat,
            b"UIDL" => &script.uidl,
            b"RETR" => &script.message,
            b"QUIT" => return stream.write_all(b"+OK\r\n").await,
            _ => b"+OK\r\n",
        };
        stream.write_all(answer).await?;
    }
}

/// Appends records of a message's size, `group` of them a sync, for `time`.
pub(crate) fn append_and_sync(dir: &Path, group: usize, time: Duration) -> anyhow::Result<Sample> {
    let mut file = File::create(dir.join("bare-log"))?;
    let records = vec![b'x'; MESSAGE_OCTETS * group];
    let (own, mut done, began) = (Family::own(), 0, Instant::now());
    let before = own.own_cpu()?;
    while began.elapsed() < time {
        file.write_all(&records)?;
        file.sync_data()?;
        done += group as u64;
    }
    Ok(Sample {
        done,
        octets: 0,
        elapsed: began.elapsed(),
        server: own.own_cpu()?.saturating_sub(before),
        client: Duration::ZERO,
    })
}
