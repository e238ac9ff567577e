//! A connection, octet by octet, and the record of what went over it.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::case::{Checked, Stop};
use crate::tls::Tls;

/// A line beyond this is not read on: the server would fill our memory.
const LINE_OCTETS_MAX: usize = 1 << 20;
/// What of a line is shown in a transcript, in characters.
const SHOWN_MAX: usize = 160;
/// How many lines of a transcript are kept.
const KEPT_LINES_MAX: usize = 400;

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// `host:port`.
    Tcp(String),
    /// The path of a socket in the file system.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.contains('/') {
            return Ok(Self::Unix(path.into()));
        }
        let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => Ok(Self::Tcp(text.to_owned())),
            _ => Err("neither HOST:PORT nor a path with a slash".to_owned()),
        }
    }
}

impl Address {
    /// The name against which a certificate is checked.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp(text) => text
                .rsplit_once(':')
                .map_or(text.as_str(), |(host, _)| host.trim_matches(['[', ']'])),
            Self::Unix(_) => "localhost",
        }
    }
}

/// What went over the connections of a case, for whoever wants to see why it failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transcript(Rc<RefCell<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<String>,
    connections: usize,
    is_paused: bool,
    secrets: Vec<String>,
}

impl Transcript {
    /// Begins anew.
    pub(crate) fn clear(&self) {
        let mut kept = self.0.borrow_mut();
        kept.lines.clear();
        kept.connections = 0;
    }

    /// This is never shown.
    pub(crate) fn hide(&self, secret: String) {
        let escaped = escaped(secret.as_bytes());
        self.0.borrow_mut().secrets.extend([escaped, secret]);
    }

    /// Keeps nothing for a while, of what isn't the case's own matter.
    pub(crate) fn pause(&self, is_paused: bool) {
        self.0.borrow_mut().is_paused = is_paused;
    }

    /// The last lines.
    pub(crate) fn tail(&self, lines_max: usize) -> Vec<String> {
        let kept = self.0.borrow();
        let from = kept.lines.len().saturating_sub(lines_max);
        kept.lines[from..].to_vec()
    }

    fn begin(&self) -> usize {
        let mut kept = self.0.borrow_mut();
        kept.connections += 1;
        kept.connections
    }

    /// Text without the secrets.
    pub(crate) fn redacted(&self, text: &str) -> String {
        without(text, &self.0.borrow().secrets)
    }

    /// Notes what was sent or received on a connection, or what happened to it.
    pub(crate) fn note(&self, connection: usize, who: char, octets: &[u8]) {
        let mut kept = self.0.borrow_mut();
        for line in octets.split_inclusive(|octet| *octet == b'\n').take(40) {
            let shown = escaped(line.strip_suffix(b"\r\n").unwrap_or(line));
            let shown = shortened(&without(&shown, &kept.secrets));
            if !kept.is_paused && kept.lines.len() < KEPT_LINES_MAX {
                kept.lines.push(format!("{who}{connection}: {shown}"));
            }
        }
    }
}

fn without(text: &str, secrets: &[String]) -> String {
    let hide = |text: String, secret: &String| match secret.is_empty() {
        true => text,
        false => text.replace(secret.as_str(), "***"),
    };
    secrets.iter().fold(text.to_owned(), hide)
}

/// Text that stays on one line whatever the octets are, and isn't long.
pub(crate) fn printable(octets: &[u8]) -> String {
    shortened(&escaped(octets))
}

fn escaped(octets: &[u8]) -> String {
    let escape = |octet: &u8| match octet {
        b' '..=b'~' => char::from(*octet).to_string(),
        _ => format!("\\x{octet:02x}"),
    };
    octets.iter().map(escape).collect()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text.to_owned(),
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Gone,
}

impl Stream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Self::Unix(stream) => stream.set_read_timeout(Some(patience)),
            Self::Tls(stream) => stream.sock.set_read_timeout(Some(patience)),
            Self::Gone => Ok(()),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
            Self::Gone => Ok(0),
        }
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(octets),
            Self::Unix(stream) => stream.write_all(octets),
            Self::Tls(stream) => stream.write_all(octets).and_then(|()| stream.flush()),
            Self::Gone => Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    host: String,
    /// What was received and not yet read.
    buffer: Vec<u8>,
    patience: Duration,
    transcript: Transcript,
    number: usize,
}

impl Wire {
    /// Connects.
    pub(crate) fn connect(address: &Address, patience: Duration, transcript: &Transcript) -> Checked<Self> {
        let stream = match address {
            Address::Tcp(text) => {
                let found = text.to_socket_addrs()?.next();
                let found = found.ok_or_else(|| Stop::Failed(format!("{text} has no address")))?;
                let stream = TcpStream::connect_timeout(&found, patience)?;
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(patience))?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(patience))?;
                Stream::Unix(stream)
            }
        };
        stream.set_patience(patience)?;
        Ok(Self {
            stream,
            host: address.host().to_owned(),
            buffer: Vec::new(),
            patience,
            transcript: transcript.clone(),
            number: transcript.begin(),
        })
    }

    /// A command as it may be shown: without secrets, and not long.
    pub(crate) fn shown(&self, command: &str) -> String {
        self.transcript.redacted(command).chars().take(60).collect()
    }

    /// Sends octets as they are.
    pub(crate) fn send(&mut self, octets: &[u8]) -> Checked {
        self.transcript.note(self.number, 'C', octets);
        Ok(self.stream.write_all(octets)?)
    }

    /// Reads a line and takes its CRLF off. A line that ends otherwise fails the case.
    pub(crate) fn line(&mut self) -> Checked<Vec<u8>> {
        let mut looked_at = 0;
        loop {
            let fresh = self.buffer.get(looked_at..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|octet| *octet == b'\n') {
                let rest = self.buffer.split_off(looked_at + at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                self.transcript.note(self.number, 'S', &line);
                return match line.strip_suffix(b"\r\n") {
                    Some(text) => Ok(text.to_vec()),
                    None => Err(Stop::Failed("a line ends in LF without CR".to_owned())),
                };
            }
            looked_at = self.buffer.len();
            if looked_at > LINE_OCTETS_MAX {
                return Err(Stop::Failed(format!(
                    "a line of more than {LINE_OCTETS_MAX} octets"
                )));
            }
            self.fill()?;
        }
    }

    /// Reads what is there; an end is [`Stop::Closed`].
    fn fill(&mut self) -> Checked {
        let mut octets = [0; 16 * 1024];
        match self.stream.read(&mut octets) {
            Ok(0) => {
                self.transcript.note(self.number, '*', b"closed by the server");
                Err(Stop::Closed)
            }
            Ok(count) => {
                self.buffer.extend_from_slice(&octets[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the server to close; whatever it says before that is read and forgotten.
    pub(crate) fn wait_for_close(&mut self) -> Checked {
        let until = Instant::now() + self.patience;
        while Instant::now() < until {
            self.buffer.clear();
            match self.fill() {
                Ok(()) => {}
                Err(Stop::Closed) => return Ok(()),
                Err(Stop::Silent) => break,
                Err(stop) => return Err(stop),
            }
        }
        Err(Stop::Failed(
            "the server does not close the connection".to_owned(),
        ))
    }

    /// Whether nothing comes for a while.
    pub(crate) fn is_silent(&mut self, pause: Duration) -> Checked<bool> {
        if !self.buffer.is_empty() {
            return Ok(false);
        }
        self.stream.set_patience(pause)?;
        let filled = self.fill();
        self.stream.set_patience(self.patience)?;
        match filled {
            Ok(()) => Ok(false),
            Err(Stop::Silent) => Ok(true),
            Err(stop) => Err(stop),
        }
    }

    /// Begins TLS on a TCP connection.
    pub(crate) fn start_tls(&mut self, tls: &Tls) -> Checked {
        let Stream::Tcp(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(Stop::NotRun("TLS is tried over TCP only".to_owned()));
        };
        if !self.buffer.is_empty() {
            let early = printable(&self.buffer);
            return Err(Stop::Failed(format!("in clear where TLS was due: {early}")));
        }
        self.transcript.note(self.number, '*', b"TLS");
        self.stream = Stream::Tls(Box::new(tls.handshake(&self.host, stream)?));
        Ok(())
    }

    /// Says that nothing more will be sent, and still listens.
    pub(crate) fn end_sending(&mut self) -> Checked {
        self.transcript
            .note(self.number, '*', b"the client sends no more");
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write)?,
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write)?,
            Stream::Tls(stream) => stream.sock.shutdown(Shutdown::Write)?,
            Stream::Gone => {}
        }
        Ok(())
    }

    /// Octets as they come, up to and with this end, for what needn't be lines.
    pub(crate) fn until(&mut self, end: &[u8]) -> Checked<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                let rest = self.buffer.split_off(at + end.len());
                let octets = std::mem::replace(&mut self.buffer, rest);
                self.transcript.note(self.number, 'S', &octets);
                return Ok(octets);
            }
            if self.buffer.len() > LINE_OCTETS_MAX {
                return Err(Stop::Failed(format!("no end within {LINE_OCTETS_MAX} octets")));
            }
            self.fill()?;
        }
    }

    /// Octets that come, as many as are asked for at most, for what is no line.
    pub(crate) fn octets(&mut self, count_max: usize) -> Checked<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        let rest = self.buffer.split_off(count_max.min(self.buffer.len()));
        Ok(std::mem::replace(&mut self.buffer, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_nowhere_even_where_its_line_is_cut() {
        let transcript = Transcript::default();
        let secret = "pässwörd-".repeat(30);
        transcript.hide(secret.clone());
        transcript.note(1, 'C', format!("PASS {secret}\r\n").as_bytes());
        assert_eq!(transcript.tail(10), ["C1: PASS ***"]);
        assert_eq!(transcript.redacted(&format!("was {secret}")), "was ***");
    }

    #[test]
    fn what_is_shown_stays_on_its_line_and_is_not_long() {
        assert_eq!(printable(b"a\r\n\xFF"), "a\\x0d\\x0a\\xff");
        let shown = printable(&[b'x'; 1_000]);
        assert!(
            shown.ends_with("… (1000 characters)") && shown.len() < 200,
            "{shown}"
        );
    }

    #[test]
    fn an_address_is_a_host_with_a_port_or_a_path() {
        let tcp = |text: &str| matches!(text.parse(), Ok(Address::Tcp(_)));
        let unix = |text: &str| matches!(text.parse(), Ok(Address::Unix(_)));
        assert!(tcp("mail.example:110") && tcp("[::1]:110"));
        assert!(unix("/run/lmtp") && unix("unix:/run/lmtp") && unix("./lmtp"));
        assert!("mail.example".parse::<Address>().is_err() && "host:port".parse::<Address>().is_err());
        assert_eq!("[::1]:110".parse::<Address>().unwrap().host(), "::1");
    }
}
