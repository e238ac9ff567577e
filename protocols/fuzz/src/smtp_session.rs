//! A session with any octets from the client and any answers from the world, fitting or not: it always gives
//! a step, every reply is whole lines, LMTP gives one for each recipient, and no `250` comes unless the world
//! said that the message was delivered.

use std::sync::Arc;

use mailhorn_lines::Framer;
use mailhorn_smtp::{
    Address, Answer, Ask, DataDecoder, DeliveryVerdict, Domain, Options, Progress, Protocol,
    RecipientVerdict, Replies, Security, Session, Step, limits, trace,
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
    DeliveryVerdict::Unavailable,
];

/// Plays the driver. The connection's octets all wait in the framer, as if the client had sent them at once.
struct Driver<'a> {
    session: Session,
    protocol: Protocol,
    framer: Framer,
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    recipients: usize,
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
        size_octets_max: 200,
        recipients_max: 3,
        starttls: choices[0] & 2 == 0,
        ..Options::new(protocol, hostname, postmaster)
    };
    let mut driver = Driver {
        session: Session::new(Arc::new(options), Security::Plain),
        protocol,
        framer: Framer::new(limits::COMMAND_LINE_OCTETS_MAX),
        choices: choices.iter().cycle(),
        recipients: 0,
    };
    driver.framer.push(stream);
    while let Some(frame) = driver.framer.next_frame() {
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
                return self.content();
            }
            Step::Ask(ask) => return self.ask(&ask),
        }
        true
    }

    fn content(&mut self) -> bool {
        let mut content = Vec::new();
        match DataDecoder::new(200).push(self.framer.buffered(), &mut content) {
            Progress::More => false,
            Progress::Ended { consumed, end } => {
                self.framer.consume(consumed);
                match self.session.data_ended(end) {
                    Step::Reply(replies) => {
                        assert!(replies.iter().all(|reply| reply.code() >= 400));
                        self.check_after_content(&replies);
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
        let step = self.session.answer(Answer::Recipient(RECIPIENT_VERDICTS[pick]));
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
