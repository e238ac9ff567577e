//! A driver with a world of two users and a few messages, and the transcript of what happens.
//!
//! A script has one event a line:
//! - `C: LIST` sends a command. `\r\n` and `\0` mean what they mean in Rust, `{tim}` is sent in base64, and
//!   `<x*300>` is 300 times x.
//! - `world: Refused` answers the next ask so, whatever it is.
//! - `time out`, `shut down`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use expect_test::Expect;
use mailhorn_lines::Framer;
use mailhorn_pop3::{
    Answer, Ask, BodyEncoder, Channel, Encoded, Header, HeaderScan, Maildrop, Need, Options, PlaintextLogIn,
    Reply, Secret, ServerNonce, Session, Step, StoredKeys, UniqueId,
};

/// Messages, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drop(pub(crate) Vec<Vec<u8>>);

impl Maildrop for Drop {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn size(&self, index: usize) -> u64 {
        u64::try_from(self.0[index].len()).unwrap()
    }

    fn unique_id(&self, index: usize) -> UniqueId {
        UniqueId::new(format!("id-{index}").as_bytes()).unwrap()
    }
}

pub(crate) fn messages(texts: &[&str]) -> Drop {
    Drop(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
}

/// Three messages: the second has a line that begins with a dot.
pub(crate) fn three() -> Drop {
    messages(&[
        "A: 1\r\n\r\none\r\n",
        "B: 2\r\n\r\n.two\r\nlines\r\n",
        "C: 3\r\n\r\nthree\r\n",
    ])
}

/// Passwords may cross the wire: most tests are about something else.
pub(crate) fn plaintext() -> Options {
    Options {
        plaintext_log_in: PlaintextLogIn::Always,
        ..Options::default()
    }
}

pub(crate) fn secure() -> Options {
    Options {
        stls: true,
        ..Options::default()
    }
}

pub(crate) struct Driver<M: Maildrop = Drop> {
    pub(crate) session: Session<Arc<M>>,
    framer: Framer,
    maildrop: Arc<M>,
    body: fn(&M, usize) -> Vec<u8>,
    overrides: VecDeque<Answer<Arc<M>>>,
    pub(crate) closed: bool,
    last_body: usize,
    /// Whether every message came as internationalized mail: one with a header of UTF-8 needs UTF8 then.
    pub(crate) internationalized: bool,
    /// Every octet that the client received.
    pub(crate) sent: Vec<u8>,
    pub(crate) transcript: String,
    /// How many octets of input, of a body, and of a listing go at once.
    pub(crate) chunk: usize,
}

impl Driver<Drop> {
    pub(crate) fn new(options: Options, channel: Channel, maildrop: Drop) -> Self {
        Self::with(options, channel, maildrop, |maildrop, index| {
            maildrop.0[index].clone()
        })
    }
}

impl<M: Maildrop> Driver<M> {
    pub(crate) fn with(
        options: Options,
        channel: Channel,
        maildrop: M,
        body: fn(&M, usize) -> Vec<u8>,
    ) -> Self {
        let session = Session::new(options, channel);
        let framer = Framer::new(session.line_octets_max());
        Self {
            session,
            framer,
            maildrop: Arc::new(maildrop),
            body,
            overrides: VecDeque::new(),
            closed: false,
            last_body: 0,
            internationalized: false,
            sent: Vec::new(),
            transcript: String::new(),
            chunk: 7,
        }
    }

    pub(crate) fn run(&mut self, script: &str) {
        for line in script
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty())
        {
            if line == "time out" {
                self.note("-- the client was silent");
                let step = self.session.timed_out();
                self.take(step);
            } else if line == "shut down" {
                self.note("-- the server stops");
                let step = self.session.shutting_down();
                self.take(step);
            } else if let Some(answer) = line.strip_prefix("world: ") {
                self.overrides.push_back(named_answer(answer));
            } else {
                let command = line.strip_prefix("C:").expect("a script line").trim_start();
                self.note(&format!("C: {command}"));
                let octets = [expand(command), b"\r\n".to_vec()].concat();
                self.receive(&octets);
            }
        }
    }

    pub(crate) fn receive(&mut self, octets: &[u8]) {
        for part in octets.chunks(self.chunk) {
            self.framer.push(part);
        }
        while !self.closed {
            self.framer.set_limit(self.session.line_octets_max());
            let Some(frame) = self.framer.next_frame() else {
                break;
            };
            let step = self.session.command(frame);
            self.take(step);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Reply(reply) => self.send(reply),
            Step::ReplyThenBody(reply, encoder) => {
                self.send(reply);
                self.send_body(encoder);
            }
            Step::ReplyThenClose(reply) => {
                self.send(reply);
                self.close();
            }
            Step::ReplyThenTls(_) if !self.framer.is_empty() => self.close(),
            Step::ReplyThenTls(reply) => {
                self.send(reply);
                self.note("-- TLS");
                self.session.tls_started();
            }
            Step::Close => self.close(),
            Step::Ask(ask) => {
                self.note(&format!("   ask {ask:?}"));
                self.last_body = match ask {
                    Ask::Body { index, .. } => index,
                    _ => self.last_body,
                };
                let answer = match (self.overrides.pop_front(), &ask) {
                    (Some(answer), _) => answer,
                    (
                        None,
                        Ask::Body {
                            index, utf8: false, ..
                        },
                    ) if self.needs_utf8(*index) => Answer::NeedsUtf8,
                    (None, _) => answer(&ask, &self.maildrop),
                };
                let step = self.session.answer(answer);
                self.take(step);
            }
        }
    }

    fn needs_utf8(&self, index: usize) -> bool {
        self.internationalized
            && HeaderScan::default().push(&(self.body)(&self.maildrop, index)) == Header::NotAscii
    }

    fn send(&mut self, mut reply: Reply) {
        let mut out = Vec::new();
        while self.session.encode(&mut reply, &mut out, self.chunk) == Encoded::More {}
        self.show(&out);
    }

    fn send_body(&mut self, mut encoder: BodyEncoder) {
        let message = (self.body)(&self.maildrop, self.last_body);
        let mut out = Vec::new();
        for part in message.chunks(self.chunk) {
            if encoder.push(part, &mut out) == Need::Enough {
                break;
            }
        }
        encoder.finish(&mut out);
        self.show(&out);
    }

    fn show(&mut self, octets: &[u8]) {
        self.sent.extend_from_slice(octets);
        let text = String::from_utf8_lossy(octets);
        let text = text.strip_suffix("\r\n").expect("whole lines");
        for line in text.split("\r\n") {
            match line.strip_prefix("+ ") {
                Some(challenge) => {
                    let challenge = mailhorn_sasl::decode(challenge.as_bytes()).expect("base64");
                    let challenge = String::from_utf8_lossy(challenge.declassify()).into_owned();
                    self.note(&format!("S: + {{{challenge}}}"));
                }
                None => self.note(format!("S: {line}").trim_end()),
            }
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.note("-- closed");
    }

    fn note(&mut self, line: &str) {
        writeln!(self.transcript, "{line}").unwrap();
    }
}

/// Runs a script and compares the transcript.
pub(crate) fn check(options: Options, channel: Channel, maildrop: Drop, script: &str, expected: Expect) {
    let mut driver = Driver::new(options, channel, maildrop);
    driver.run(script);
    expected.assert_eq(&driver.transcript);
}

/// The users: `tim` with `tanstaaf`, and `user` with `pencil` as in RFC 7677 §3.
fn answer<M: Maildrop>(ask: &Ask, maildrop: &Arc<M>) -> Answer<Arc<M>> {
    match ask {
        Ask::LogIn { user, password, .. } => match (user.as_str(), password.declassify()) {
            ("tim", b"tanstaaf") | ("user", b"pencil") => Answer::Opened(Arc::clone(maildrop)),
            _ => Answer::Refused,
        },
        Ask::ScramKeys { user } => {
            let salt = mailhorn_sasl::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
            let keys = match user.as_str() {
                "user" => StoredKeys::from_password(&Secret::new("pencil"), salt.declassify(), 4096).unwrap(),
                _ => StoredKeys::fake(&Secret::new("installation"), user, 4096),
            };
            let nonce = ServerNonce::from_text("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0").unwrap();
            Answer::ScramKeys { keys, nonce }
        }
        Ask::ScramRefused { .. } => Answer::Refused,
        Ask::ScramLogIn { .. } => Answer::Opened(Arc::clone(maildrop)),
        Ask::Body { .. } => Answer::Body,
        Ask::Commit { .. } => Answer::Committed,
    }
}

fn named_answer<M>(name: &str) -> Answer<M> {
    match name {
        "Refused" => Answer::Refused,
        "InUse" => Answer::InUse,
        "TooSoon" => Answer::TooSoon,
        "TooManySessions" => Answer::TooManySessions,
        "Unavailable" => Answer::Unavailable,
        "Body" => Answer::Body,
        "Missing" => Answer::Missing,
        "NeedsUtf8" => Answer::NeedsUtf8,
        "Damaged" => Answer::Damaged,
        "Committed" => Answer::Committed,
        "CommitUnknown" => Answer::CommitUnknown,
        _ => panic!("no such answer: {name}"),
    }
}

fn expand(text: &str) -> Vec<u8> {
    let mut text = text.replace(r"\r\n", "\r\n").replace(r"\0", "\0");
    while let Some((before, rest)) = text.split_once('<') {
        let (repeat, after) = rest.split_once('>').expect("a closing bracket");
        let (what, times) = repeat.split_once('*').expect("what and how often");
        text = format!("{before}{}{after}", what.repeat(times.parse().unwrap()));
    }
    while let Some((before, rest)) = text.split_once('{') {
        let (plain, after) = rest.split_once('}').expect("a closing brace");
        text = format!("{before}{}{after}", mailhorn_sasl::encode(plain.as_bytes()));
    }
    text.into_bytes()
}
