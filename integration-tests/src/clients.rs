//! Clients that block: LMTP in, POP3 out, each a socket and no more.
//!
//! An `io::Error` means that the connection is of no use any more and that an answer that is missing was not given;
//! what the server answers, refusals included, is a value.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may be silent before a client gives up, so that a test can't hang.
pub const PATIENCE: Duration = Duration::from_secs(90);

fn connect(address: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// A line without its CRLF.
fn read_line(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(text.to_vec()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_text(stream: &mut impl BufRead) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read_line(stream)?).into_owned())
}

/// A reply of SMTP or LMTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text of its lines, a line each.
    pub text: String,
}

impl Reply {
    /// Whether it is a promise.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code / 100 == 2
    }
}

/// A session of LMTP (RFC 2033), or of SMTP where it is told to greet so.
#[derive(Debug)]
pub struct Lmtp {
    stream: BufReader<TcpStream>,
}

impl Lmtp {
    /// Connects and greets with LHLO.
    ///
    /// # Errors
    ///
    /// The connection's, and a greeting that is not 2xx as [`io::ErrorKind::ConnectionRefused`].
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::greet(address, "LHLO client.example.net")
    }

    /// Connects to an SMTP listener and greets with EHLO; one reply then speaks for all recipients.
    ///
    /// # Errors
    ///
    /// Those of [`Lmtp::connect`].
    pub fn connect_smtp(address: SocketAddr) -> io::Result<Self> {
        Self::greet(address, "EHLO client.example.net")
    }

    fn greet(address: SocketAddr, hello: &str) -> io::Result<Self> {
        let mut client = Self {
            stream: connect(address)?,
        };
        let banner = client.reply()?;
        for reply in [banner, client.command(hello)?] {
            if !reply.is_ok() {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, reply.text));
            }
        }
        Ok(client)
    }

    /// Sends a command and reads its reply.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// Reads a reply of one or more lines.
    ///
    /// # Errors
    ///
    /// The connection's; octets that are no reply as [`io::ErrorKind::InvalidData`].
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut texts = Vec::new();
        loop {
            let line = read_text(&mut self.stream)?;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line.clone()))?;
            texts.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply {
                    code,
                    text: texts.join("\n"),
                });
            }
        }
    }

    /// Sends the commands before the content, in one write (RFC 2920), and gives the replies to RCPT. When DATA was not
    /// taken, the last reply is that to DATA and there is one more than recipients.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn envelope(&mut self, from: &str, to: &[&str]) -> io::Result<Vec<Reply>> {
        let recipients: String = to.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
        self.write(format!("MAIL FROM:<{from}>\r\n{recipients}DATA\r\n").as_bytes())?;
        let mail = self.reply()?;
        let mut replies = (0..to.len())
            .map(|_| self.reply())
            .collect::<io::Result<Vec<_>>>()?;
        let data = self.reply()?;
        if !mail.is_ok() {
            return Ok(vec![mail; to.len() + 1]);
        }
        if data.code != 354 {
            replies.push(data);
        }
        Ok(replies)
    }

    /// Sends a message to `to` and gives each recipient's reply: that to the content, or an earlier refusal.
    ///
    /// # Errors
    ///
    /// The connection's: for a recipient without a reply the outcome is not known.
    pub fn deliver(&mut self, from: &str, to: &[&str], content: &[u8]) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::new();
        self.deliver_each(from, to, content, |_, reply| replies.push(reply.clone()))?;
        Ok(replies)
    }

    /// The same, with each recipient's reply told by its index as soon as it was read, so that none is forgotten when the
    /// connection ends between two.
    ///
    /// # Errors
    ///
    /// Those of [`Lmtp::deliver`].
    pub fn deliver_each(
        &mut self,
        from: &str,
        to: &[&str],
        content: &[u8],
        mut tell: impl FnMut(usize, &Reply),
    ) -> io::Result<()> {
        let replies = self.envelope(from, to)?;
        let (first, refusal) = replies.split_at(to.len());
        let is_open = refusal.is_empty();
        if is_open {
            self.write(&dot_stuffed(content))?;
        }
        for (index, reply) in first.iter().enumerate() {
            match refusal.first() {
                _ if !reply.is_ok() => tell(index, reply),
                Some(refusal) => tell(index, refusal),
                None => tell(index, &self.reply()?),
            }
        }
        Ok(())
    }
}

/// The content as DATA sends it: dots doubled, the last dot behind it (RFC 5321 §4.5.2).
#[must_use]
pub fn dot_stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len() + 64);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

/// A session of POP3 (RFC 1939).
#[derive(Debug)]
pub struct Pop3 {
    stream: BufReader<TcpStream>,
}

/// What `+OK` came with, or the line of an `-ERR`.
pub type Answer<T> = Result<T, String>;

impl Pop3 {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    ///
    /// The connection's, and a greeting that is not `+OK` as [`io::ErrorKind::ConnectionRefused`].
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut client = Self {
            stream: connect(address)?,
        };
        match client.answer()? {
            Ok(_) => Ok(client),
            Err(refusal) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, refusal)),
        }
    }

    /// Logs in with USER and PASS.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn log_in(&mut self, user: &str, password: &str) -> io::Result<Answer<String>> {
        match self.command(&format!("USER {user}"))? {
            Ok(_) => self.command(&format!("PASS {password}")),
            refused => Ok(refused),
        }
    }

    /// Sends a command and reads the line that answers it.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn command(&mut self, line: &str) -> io::Result<Answer<String>> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.answer()
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// Reads the line that answers a command.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn answer(&mut self) -> io::Result<Answer<String>> {
        let line = read_text(&mut self.stream)?;
        Ok(if line.starts_with("+OK") {
            Ok(line)
        } else {
            Err(line)
        })
    }

    /// Reads the lines that follow an `+OK`, up to the final dot, as the octets that they stand for.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = read_line(&mut self.stream)?;
            match line.strip_prefix(b".") {
                Some(b"") => return Ok(body),
                Some(unstuffed) => body.extend_from_slice(unstuffed),
                None => body.extend_from_slice(&line),
            }
            body.extend_from_slice(b"\r\n");
        }
    }

    /// Sends a command that is answered by more than a line.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn multi_line(&mut self, command: &str) -> io::Result<Answer<Vec<u8>>> {
        match self.command(command)? {
            Ok(_) => self.body().map(Ok),
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// The sizes of all messages, by number.
    ///
    /// # Errors
    ///
    /// The connection's; an `-ERR` or a line that is none of LIST's as [`io::ErrorKind::InvalidData`].
    pub fn list(&mut self) -> io::Result<Vec<(u32, u64)>> {
        self.pairs("LIST")
    }

    /// The unique-ids of all messages, by number.
    ///
    /// # Errors
    ///
    /// Those of [`Pop3::list`].
    pub fn uidl(&mut self) -> io::Result<Vec<(u32, String)>> {
        self.pairs("UIDL")
    }

    fn pairs<T: std::str::FromStr>(&mut self, command: &str) -> io::Result<Vec<(u32, T)>> {
        let wrong = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{command}: {line}"));
        let body = self.multi_line(command)?.map_err(|refused| wrong(&refused))?;
        String::from_utf8_lossy(&body)
            .lines()
            .map(|line| {
                let pair = line
                    .split_once(' ')
                    .and_then(|(number, value)| Some((number.parse().ok()?, value.parse().ok()?)));
                pair.ok_or_else(|| wrong(line))
            })
            .collect()
    }

    /// Retrieves a message.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn retr(&mut self, number: u32) -> io::Result<Answer<Vec<u8>>> {
        self.multi_line(&format!("RETR {number}"))
    }

    /// Ends the session; `+OK` is the promise that all that was marked is gone.
    ///
    /// # Errors
    ///
    /// The connection's: some of what was marked may be gone.
    pub fn quit(&mut self) -> io::Result<Answer<String>> {
        self.command("QUIT")
    }

    /// Reads until the server has closed the connection.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }
}
