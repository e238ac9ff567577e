//! A session with any octets from the client and any answers from the world, fitting or not: it always gives
//! a step, every reply is whole lines, LMTP gives one for each recipient, no `250` to a whole message comes unless
//! the world said that it was delivered, and no `235` unless the world said that the log-in was right.

use std::sync::Arc;

use mailhorn_lines::Framer;
use mailhorn_sasl::{Secret, ServerNonce, StoredKeys};
use mailhorn_smtp::{
    Address, Answer, Ask, ChunkDecoder, ContentDecoder, DataDecoder, DeliveryVerdict, Domain, Envelope,
    LocalSenders, Options, Peer, Progress, Protocol, RecipientVerdict, Replies, Security, SenderStanding,
    Session, Step, trace,
};

const RECIPIENT_VERDICTS: [RecipientVerdict; 4] = [
    RecipientVerdict::Accepted,
    RecipientVerdict::Accepted,
    RecipientVerdict::NoSuchUser,
    RecipientVerdict::Unavailable,
];

const DELIVERY_VERDICTS: [DeliveryVerdict; 4] = [
    DeliveryVerdict::Delivered,
    DeliveryVerdict::Delivered,
    DeliveryVerdict::MailboxFull,
    DeliveryVerdict::Looping,
];

const STANDINGS: [SenderStanding; 4] = [
    SenderStanding::Elsewhere,
    SenderStanding::Local,
    SenderStanding::Own,
    SenderStanding::Unavailable,
];

const SIZE_OCTETS_MAX: u64 = 200;

/// Plays the driver. The connection's octets all wait in the framer, as if the client had sent them at once.
struct Driver<'a> {
    session: Session,
    protocol: Protocol,
    framer: Framer,
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    recipients: usize,
    chunks: ChunkDecoder,
}

/// The first octets choose the options and the answers; the rest is what the client sends.
pub(crate) fn target(input: &[u8]) {
    let Some((choices, stream)) = input.split_at_checked(16) else {
        return;
    };
    let protocol = if choices[0] & 1 == 0 {
        Protocol::Smtp
    } else {
        Protocol::Lmtp
    };
    let hostname = Domain::parse("mx.example.org").expect("a domain");
    let postmaster = Address::parse("postmaster@example.org").expect("an address");
    let options = Options {
        size_octets_max: SIZE_OCTETS_MAX,
        recipients_max: 3,
        starttls: choices[0] & 2 == 0,
        auth: choices[0] & 4 == 0,
        local_senders: match choices[0] & 8 {
            0 => LocalSenders::Anyone,
            _ => LocalSenders::Authenticated,
        },
        ..Options::new(protocol, hostname, postmaster)
    };
    let peer = Peer {
        plaintext_log_in: choices[0] & 16 == 0,
        scram: choices[0] & 32 == 0,
        trusted: choices[0] & 64 == 0,
        ..Peer::new(Security::Plain)
    };
    let session = Session::new(Arc::new(options), peer);
    let mut driver = Driver {
        framer: Framer::new(session.line_octets_max()),
        session,
        protocol,
        choices: choices.iter().cycle(),
        recipients: 0,
        chunks: ChunkDecoder::new(SIZE_OCTETS_MAX),
    };
    driver.framer.push(stream);
    loop {
        driver.framer.set_limit(driver.session.line_octets_max());
        let Some(frame) = driver.framer.next_frame() else {
            return;
        };
        let step = driver.session.command(frame);
        if !driver.serve(step) {
            return;
        }
    }
}

impl Driver<'_> {
    /// Whether the session goes on.
    fn serve(&mut self, step: Step) -> bool {
        match step {
            Step::Reply(replies) => check(&replies),
            Step::ReplyThenClose(replies) => {
                check(&replies);
                return false;
            }
            Step::ReplyThenTls(replies) => {
                check(&replies);
                if !self.framer.is_empty() {
                    return false;
                }
                self.session.tls_started();
            }
            Step::Data { reply, envelope } => {
                check(&reply);
                self.receive(&envelope);
                return self.content(&mut DataDecoder::new(SIZE_OCTETS_MAX), true);
            }
            Step::Chunk {
                envelope,
                octets,
                last,
            } => {
                if let Some(envelope) = envelope {
                    self.receive(&envelope);
                }
                let mut decoder = self.chunks.clone();
                decoder.begin(octets, last);
                let goes_on = self.content(&mut decoder, last);
                self.chunks = decoder;
                return goes_on;
            }
            Step::SkipChunk { octets, reply } => {
                check(&reply);
                assert!(reply.iter().all(|reply| reply.code() >= 400));
                let buffered = self.framer.buffered().len();
                if octets > buffered as u64 {
                    return false;
                }
                self.framer.consume(octets as usize);
            }
            Step::Ask(ask) => return self.ask(&ask),
        }
        true
    }

    fn receive(&mut self, envelope: &Envelope) {
        assert!((1..=3).contains(&envelope.recipients.len()));
        for recipient in &envelope.recipients {
            let prefix = trace::prefix(&envelope.reverse_path, recipient);
            let line_ends = prefix
                .iter()
                .filter(|octet| matches!(octet, b'\r' | b'\n'))
                .count();
            assert_eq!(line_ends, 4, "an envelope cannot write lines into the header");
        }
        self.recipients = envelope.recipients.len();
        self.chunks = ChunkDecoder::new(SIZE_OCTETS_MAX);
    }

    fn content(&mut self, decoder: &mut impl ContentDecoder, last: bool) -> bool {
        let mut content = Vec::new();
        match decoder.push(self.framer.buffered(), &mut content) {
            Progress::More => false,
            Progress::Ended { consumed, end } => {
                self.framer.consume(consumed);
                match self.session.data_ended(end) {
                    Step::Reply(replies) if last => {
                        assert!(replies.iter().all(|reply| reply.code() >= 400));
                        self.check_after_content(&replies);
                        true
                    }
                    Step::Reply(replies) => {
                        check(&replies);
                        assert_eq!(replies.iter().count(), 1, "a chunk has one reply");
                        true
                    }
                    step => self.serve(step),
                }
            }
        }
    }

    fn ask(&mut self, ask: &Ask) -> bool {
        let choice = self.choice();
        let pick = usize::from(choice % 4);
        // One answer in eight is to a question that was not asked, and ends the session.
        let fits = choice < 224;
        if (*ask == Ask::Deliver) == fits {
            let verdicts: Vec<_> = (0..choice % 4)
                .map(|_| DELIVERY_VERDICTS[usize::from(self.choice() % 4)])
                .collect();
            let delivered = verdicts
                .iter()
                .filter(|verdict| **verdict == DeliveryVerdict::Delivered)
                .count();
            let step = self.session.answer(Answer::Delivered(verdicts));
            if let (true, Step::Reply(replies)) = (fits, &step) {
                let said = replies.iter().filter(|reply| reply.code() == 250).count();
                let for_each = if self.protocol == Protocol::Smtp {
                    self.recipients
                } else {
                    1
                };
                assert!(
                    said * for_each <= delivered,
                    "250 is said for delivered mail only"
                );
                self.check_after_content(replies);
            }
            return self.serve(step);
        }
        let fitting = match ask {
            Ask::Sender { .. } => Answer::Sender(STANDINGS[pick]),
            Ask::LogIn { .. } | Ask::ScramLogIn { .. } => match pick {
                0 => Answer::Refused,
                1 => Answer::Unavailable,
                _ => Answer::LoggedIn,
            },
            Ask::ScramRefused { .. } => Answer::Refused,
            Ask::ScramKeys { .. } => Answer::ScramKeys {
                keys: StoredKeys::fake(&Secret::new("installation"), "ann", 4096),
                nonce: ServerNonce::new([choice; 18]),
            },
            Ask::Recipient { .. } | Ask::Deliver => Answer::Recipient(RECIPIENT_VERDICTS[pick]),
        };
        let logs_in = fitting == Answer::LoggedIn;
        let answer = if fits { fitting } else { Answer::LoggedIn };
        let step = self.session.answer(answer);
        if let Step::Reply(replies) = &step {
            let said = replies.iter().any(|reply| reply.code() == 235);
            assert!(!said || (logs_in && fits), "235 is said for a right log-in only");
        }
        self.serve(step)
    }

    fn check_after_content(&self, replies: &Replies) {
        let expected = if self.protocol == Protocol::Smtp {
            1
        } else {
            self.recipients
        };
        assert_eq!(replies.iter().count(), expected);
        assert!(!self.session.is_in_transaction());
    }

    fn choice(&mut self) -> u8 {
        self.choices.next().copied().unwrap_or_default()
    }
}

fn check(replies: &Replies) {
    let mut octets = Vec::new();
    replies.encode(&mut octets);
    let text = std::str::from_utf8(&octets).expect("ASCII");
    assert!(text.is_ascii() && text.ends_with("\r\n"));
    for line in text.split_terminator("\r\n") {
        assert!(line.len() <= 510 && !line.contains(['\r', '\n']), "{line:?}");
        assert!(line.as_bytes()[..3].iter().all(u8::is_ascii_digit), "{line:?}");
    }
}
