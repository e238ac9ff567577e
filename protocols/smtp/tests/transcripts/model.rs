//! Sessions of any commands, with `DATA` and `BDAT` among them, against a model of an envelope: it knows what is
//! accepted and what is delivered, and nothing of octets. And wherever the octets are cut on their way, they mean the same.

use std::sync::Arc;

use mailhorn_lines::Framer;
use mailhorn_smtp::{
    Answer, Ask, ChunkDecoder, ContentDecoder, DataDecoder, DataEnd, DeliveryVerdict, Envelope, Options,
    Peer, Progress, Protocol, RecipientVerdict, Replies, Security, Session, Step, limits,
};
use proptest::prelude::*;

use crate::script::options;

const SIZE_OCTETS_MAX: usize = 24;
const RECIPIENTS_MAX: usize = 3;

/// What a client does.
#[derive(Debug, Clone)]
enum Act {
    Hello,
    Mail,
    /// To somebody who is here, or not.
    Rcpt(bool),
    /// With a content, which is sent where it was asked for.
    Data(String),
    Bdat(String, bool),
    Rset,
    Noop,
    Nonsense,
}

/// What came of a session: the codes of its replies, and for each delivery to how many recipients, and the content.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    codes: Vec<u16>,
    delivered: Vec<(usize, String)>,
}

/// A client's view of a session: what it may expect.
struct Model {
    protocol: Protocol,
    introduced: bool,
    /// The recipients that were accepted, from `MAIL` on.
    recipients: Option<usize>,
    /// The chunks that were accepted.
    chunks: Option<String>,
    outcome: Outcome,
}

impl Model {
    fn act(&mut self, act: &Act) {
        match act {
            Act::Hello => {
                self.introduced = true;
                self.reset();
                self.say(250);
            }
            Act::Rset => {
                self.reset();
                self.say(250);
            }
            Act::Noop => self.say(250),
            Act::Nonsense => self.say(500),
            Act::Mail if !self.introduced || self.recipients.is_some() => self.say(503),
            Act::Mail => {
                self.recipients = Some(0);
                self.say(250);
            }
            Act::Rcpt(is_here) => match (self.recipients, &self.chunks) {
                (Some(RECIPIENTS_MAX), None) => self.say(452),
                (Some(recipients), None) if *is_here => {
                    self.recipients = Some(recipients + 1);
                    self.say(250);
                }
                (Some(_), None) => self.say(550),
                _ => self.say(503),
            },
            Act::Data(content) => match (self.recipients, &self.chunks) {
                (Some(0), None) => self.say(self.no_recipients()),
                (Some(_), None) => {
                    self.say(354);
                    self.last(content.clone());
                }
                _ => self.say(503),
            },
            Act::Bdat(content, is_last) => self.chunk(content, *is_last),
        }
    }

    fn chunk(&mut self, content: &str, is_last: bool) {
        let before = self.chunks.take().unwrap_or_default();
        let whole = before + content;
        match self.recipients {
            None => self.say(503),
            Some(0) => {
                self.reset();
                self.say(self.no_recipients());
            }
            Some(_) if whole.len() > SIZE_OCTETS_MAX => self.refuse(552, is_last),
            Some(_) if is_last => self.last(whole),
            // Whether a CR at the end of a chunk is a line's end shows in the next one.
            Some(_) if is_bare(whole.strip_suffix('\r').unwrap_or(&whole)) => self.refuse(550, false),
            Some(_) => {
                self.chunks = Some(whole);
                self.say(250);
            }
        }
    }

    /// The content is there.
    fn last(&mut self, content: String) {
        let content = match content.as_str() {
            "" => content,
            open if !open.ends_with('\n') => content + "\r\n",
            _ => content,
        };
        if is_bare(&content) {
            return self.refuse(550, true);
        }
        if content.len() > SIZE_OCTETS_MAX {
            return self.refuse(552, true);
        }
        let recipients = self.recipients.unwrap_or_default();
        self.outcome.delivered.push((recipients, content));
        self.refuse(250, true);
    }

    /// The transaction is over, with one reply for each recipient on LMTP.
    fn refuse(&mut self, code: u16, for_each: bool) {
        let replies = match self.protocol {
            Protocol::Lmtp if for_each => self.recipients.unwrap_or_default(),
            _ => 1,
        };
        for _ in 0..replies {
            self.say(code);
        }
        self.reset();
    }

    fn no_recipients(&self) -> u16 {
        match self.protocol {
            Protocol::Smtp => 554,
            Protocol::Lmtp => 503,
        }
    }

    fn reset(&mut self) {
        self.recipients = None;
        self.chunks = None;
    }

    fn say(&mut self, code: u16) {
        self.outcome.codes.push(code);
    }
}

fn is_bare(content: &str) -> bool {
    content.replace("\r\n", "").contains(['\r', '\n'])
}

/// What a client sends, and what is to come of it. It waits for `354` before it sends a content.
fn play(protocol: Protocol, acts: &[Act]) -> (String, Outcome) {
    let mut model = Model {
        protocol,
        introduced: false,
        recipients: None,
        chunks: None,
        outcome: Outcome::default(),
    };
    let mut stream = String::new();
    for act in acts {
        let before = model.outcome.codes.len();
        model.act(act);
        match act {
            Act::Hello if protocol == Protocol::Smtp => stream.push_str("EHLO c\r\n"),
            Act::Hello => stream.push_str("LHLO c\r\n"),
            Act::Mail => stream.push_str("MAIL FROM:<bob@example.net>\r\n"),
            Act::Rcpt(true) => stream.push_str("RCPT TO:<ann@example.org>\r\n"),
            Act::Rcpt(false) => stream.push_str("RCPT TO:<nobody@example.org>\r\n"),
            Act::Data(content) => {
                stream.push_str("DATA\r\n");
                if model.outcome.codes.get(before) == Some(&354) {
                    stream.push_str(&stuffed(content));
                }
            }
            Act::Bdat(content, is_last) => {
                let last = if *is_last { " LAST" } else { "" };
                stream.push_str(&format!("BDAT {}{last}\r\n{content}", content.len()));
            }
            Act::Rset => stream.push_str("RSET\r\n"),
            Act::Noop => stream.push_str("NOOP\r\n"),
            Act::Nonsense => stream.push_str("XYZZY\r\n"),
        }
    }
    (stream, model.outcome)
}

/// As `DATA` has it. Its last line is ended in any case.
fn stuffed(content: &str) -> String {
    let mut stuffed = content.replace("\r\n.", "\r\n..");
    if stuffed.starts_with('.') {
        stuffed.insert(0, '.');
    }
    let end = if content.is_empty() || content.ends_with("\r\n") {
        ".\r\n"
    } else {
        "\r\n.\r\n"
    };
    stuffed + end
}

/// What the octets are that come in.
enum Mode {
    Commands,
    Data(DataDecoder),
    Chunk,
    Skip(u64, Replies),
}

/// A driver in whose world `ann` is there and everything can be delivered.
struct Driver {
    session: Session,
    framer: Framer,
    mode: Mode,
    envelope: Option<Envelope>,
    chunks: ChunkDecoder,
    content: Vec<u8>,
    outcome: Outcome,
}

impl Driver {
    fn new(protocol: Protocol) -> Self {
        let options = Options {
            size_octets_max: SIZE_OCTETS_MAX.try_into().unwrap(),
            recipients_max: RECIPIENTS_MAX,
            bad_commands_max: u32::MAX,
            messages_max: None,
            ..options(protocol)
        };
        Self {
            session: Session::new(Arc::new(options), Peer::new(Security::Plain)),
            framer: Framer::new(limits::COMMAND_LINE_OCTETS_MAX),
            mode: Mode::Commands,
            envelope: None,
            chunks: ChunkDecoder::new(0),
            content: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    /// Takes in what came, as far as it can be understood.
    fn feed(&mut self, octets: &[u8]) {
        self.framer.push(octets);
        loop {
            let progress = match &mut self.mode {
                Mode::Commands => match self.framer.next_frame() {
                    Some(frame) => {
                        let step = self.session.command(frame);
                        self.perform(step);
                        continue;
                    }
                    None => return,
                },
                Mode::Skip(left, _) => {
                    let skipped = usize::try_from(*left).unwrap().min(self.framer.buffered().len());
                    self.framer.consume(skipped);
                    *left -= u64::try_from(skipped).unwrap();
                    if *left > 0 {
                        return;
                    }
                    if let Mode::Skip(_, replies) = std::mem::replace(&mut self.mode, Mode::Commands) {
                        self.say(&replies);
                    }
                    continue;
                }
                Mode::Data(decoder) => decoder.push(self.framer.buffered(), &mut self.content),
                Mode::Chunk => self.chunks.push(self.framer.buffered(), &mut self.content),
            };
            match progress {
                Progress::More => return self.framer.consume(self.framer.buffered().len()),
                Progress::Ended { consumed, end } => self.ended(consumed, end),
            }
        }
    }

    fn ended(&mut self, consumed: usize, end: DataEnd) {
        self.framer.consume(consumed);
        self.mode = Mode::Commands;
        let step = self.session.data_ended(end);
        self.perform(step);
    }

    fn perform(&mut self, mut step: Step) {
        loop {
            step = match step {
                Step::Reply(replies) => return self.say(&replies),
                Step::Data { reply, envelope } => {
                    self.say(&reply);
                    self.receive(envelope);
                    self.mode = Mode::Data(DataDecoder::new(SIZE_OCTETS_MAX.try_into().unwrap()));
                    return;
                }
                Step::Chunk {
                    envelope,
                    octets,
                    last,
                } => {
                    if let Some(envelope) = envelope {
                        self.receive(envelope);
                    }
                    self.chunks.begin(octets, last);
                    self.mode = Mode::Chunk;
                    return;
                }
                Step::SkipChunk { octets, reply } => {
                    self.mode = Mode::Skip(octets, reply);
                    return;
                }
                Step::Ask(Ask::Recipient { address, .. }) => {
                    let verdict = match address.local_part() {
                        "ann" => RecipientVerdict::Accepted,
                        _ => RecipientVerdict::NoSuchUser,
                    };
                    self.session.answer(Answer::Recipient(verdict))
                }
                Step::Ask(Ask::Deliver) => {
                    let recipients = self.envelope.take().unwrap().recipients.len();
                    let content = String::from_utf8(std::mem::take(&mut self.content)).unwrap();
                    self.outcome.delivered.push((recipients, content));
                    let verdicts = vec![DeliveryVerdict::Delivered; recipients];
                    self.session.answer(Answer::Delivered(verdicts))
                }
                step @ (Step::Ask(_) | Step::ReplyThenClose(_) | Step::ReplyThenTls(_)) => {
                    panic!("nothing here leads to {step:?}")
                }
            }
        }
    }

    fn receive(&mut self, envelope: Envelope) {
        self.envelope = Some(envelope);
        self.chunks = ChunkDecoder::new(SIZE_OCTETS_MAX.try_into().unwrap());
        self.content.clear();
    }

    fn say(&mut self, replies: &Replies) {
        let codes = replies.iter().map(mailhorn_smtp::Reply::code);
        self.outcome.codes.extend(codes);
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    let part = proptest::sample::select(vec![
        "a",
        "bc\r\n",
        ".",
        "\r\n",
        "\r\n.\r\n",
        "\r",
        "\n",
        "QUIT\r\n",
    ]);
    // Mostly well-formed, so that something is delivered.
    let content = prop_oneof![
        3 => "[a.]{0,6}\r\n|[a.]{0,6}|([a.]{1,3}\r\n){1,4}|\r",
        1 => proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat()),
    ];
    prop_oneof![
        1 => Just(Act::Hello),
        4 => Just(Act::Mail),
        5 => any::<bool>().prop_map(Act::Rcpt),
        3 => content.clone().prop_map(Act::Data),
        6 => (content, any::<bool>()).prop_map(|(content, is_last)| Act::Bdat(content, is_last)),
        1 => Just(Act::Rset),
        1 => Just(Act::Noop),
        1 => Just(Act::Nonsense),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_answered_and_delivered_is_what_an_envelope_allows_wherever_the_octets_are_cut(
        acts in proptest::collection::vec(any_act(), 0..16),
        lmtp: bool,
    ) {
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let acts: Vec<Act> = [Act::Hello].into_iter().chain(acts).collect();
        let (stream, expected) = play(protocol, &acts);
        for cut in 0..=stream.len() {
            let (first, second) = stream.as_bytes().split_at(cut);
            let mut driver = Driver::new(protocol);
            driver.feed(first);
            driver.feed(second);
            prop_assert_eq!(&driver.outcome, &expected, "cut at {} of {:?}", cut, stream);
        }
        let mut driver = Driver::new(protocol);
        for octet in stream.as_bytes().chunks(1) {
            driver.feed(octet);
        }
        prop_assert_eq!(&driver.outcome, &expected, "octet by octet: {:?}", stream);
    }
}
