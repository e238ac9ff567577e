//! A session with any octets from the client and any answers from the world, fitting or not: it always gives a step, never deletes
//! without QUIT, every reply is whole lines, and the pieces in which the octets come don't matter.

use std::iter::Cycle;
use std::slice::Iter;
use std::sync::Arc;

use mailhorn_lines::Framer;
use mailhorn_pop3::{
    Answer, Ask, Channel, Encoded, Maildrop, Need, Options, PlaintextLogIn, Reply, Secret, ServerNonce,
    Session, Step, StoredKeys, UniqueId, Verb,
};

struct Five;

impl Maildrop for Five {
    fn len(&self) -> usize {
        5
    }

    fn size(&self, index: usize) -> u64 {
        assert!(index < 5, "only what is there is asked for");
        u64::MAX / 4
    }

    fn unique_id(&self, index: usize) -> UniqueId {
        assert!(index < 5, "only what is there is asked for");
        UniqueId::new(b"id").expect("a unique-id")
    }
}

const MESSAGE: &[u8] = b"Subject: one\r\n\r\n.\r\n..two\nthree";

/// The first octets choose the options and the answers; the rest is what the client sends.
pub(crate) fn target(input: &[u8]) {
    let Some((choices, stream)) = input.split_at_checked(16) else {
        return;
    };
    let whole = replies(choices, stream, stream.len());
    // What stands behind STLS closes the connection, and what is behind depends on the pieces.
    if whole.has_tls {
        return;
    }
    let cut = replies(choices, stream, usize::from(choices[1]));
    assert_eq!(cut.sent, whole.sent);
}

#[derive(Default)]
struct Said {
    sent: Vec<u8>,
    has_tls: bool,
}

fn replies(choices: &[u8], stream: &[u8], chunk: usize) -> Said {
    let first = choices[0];
    let options = Options {
        plaintext_log_in: if first & 1 == 0 {
            PlaintextLogIn::Always
        } else {
            PlaintextLogIn::OnlyWithTls
        },
        stls: first & 2 == 0,
        scram: first & 4 == 0,
        ..Options::default()
    };
    let session = Session::new(options, Channel::Plain);
    let mut driver = Driver {
        framer: Framer::new(session.line_octets_max()),
        session,
        choices: choices.iter().cycle(),
        said: Said::default(),
    };
    for part in stream.chunks(chunk.max(1)) {
        driver.framer.push(part);
        loop {
            driver.framer.set_limit(driver.session.line_octets_max());
            let Some(frame) = driver.framer.next_frame() else {
                break;
            };
            let step = driver.session.command(frame);
            if !driver.serve(step) {
                return driver.said;
            }
        }
    }
    driver.said
}

struct Driver<'a> {
    session: Session<Arc<Five>>,
    framer: Framer,
    choices: Cycle<Iter<'a, u8>>,
    said: Said,
}

impl Driver<'_> {
    /// Whether the session goes on.
    fn serve(&mut self, mut step: Step) -> bool {
        while let Step::Ask(ask) = step {
            if let Ask::Commit { indexes } = &ask {
                assert_eq!(self.session.verb(), Verb::Quit);
                assert!(!indexes.is_empty() && indexes.is_sorted());
            }
            let choice = self.choices.next().copied().unwrap_or_default();
            step = self.session.answer(answer(&ask, choice));
        }
        match step {
            Step::Reply(reply) => self.send(reply),
            Step::ReplyThenBody(reply, mut encoder) => {
                self.send(reply);
                let mut out = Vec::new();
                let need = encoder.push(MESSAGE, &mut out);
                assert!(out.len() <= MESSAGE.len() * 2 && matches!(need, Need::More | Need::Enough));
                encoder.finish(&mut out);
                assert!(out == b".\r\n" || out.ends_with(b"\r\n.\r\n"));
                self.said.sent.extend_from_slice(&out);
            }
            Step::ReplyThenTls(reply) => {
                self.said.has_tls = true;
                if !self.framer.is_empty() {
                    return false;
                }
                self.send(reply);
                self.session.tls_started();
            }
            Step::ReplyThenClose(reply) => {
                self.send(reply);
                return false;
            }
            Step::Close | Step::Ask(_) => return false,
        }
        true
    }

    fn send(&mut self, mut reply: Reply) {
        let mut out = Vec::new();
        while self.session.encode(&mut reply, &mut out, 10) == Encoded::More {}
        assert!(out.ends_with(b"\r\n"));
        assert!(out.starts_with(b"+OK ") || out.starts_with(b"-ERR ") || out.starts_with(b"+ "));
        let first_line = out.split(|octet| *octet == b'\n').next().unwrap_or_default();
        assert!(first_line.len() < 512 || out.starts_with(b"+ "), "RFC 1939 §3");
        self.said.sent.extend_from_slice(&out);
    }
}

/// Mostly one that fits.
fn answer(ask: &Ask, choice: u8) -> Answer<Arc<Five>> {
    match (ask, choice % 20) {
        (_, 0) => Answer::Refused,
        (_, 1) => Answer::InUse,
        (_, 2) => Answer::TooManySessions,
        (_, 3) => Answer::Unavailable,
        (_, 4) => Answer::Body,
        (_, 5) => Answer::Missing,
        (_, 6) => Answer::Damaged,
        (_, 7) => Answer::Committed,
        (_, 8) => Answer::CommitUnknown,
        (_, 9) => Answer::NeedsUtf8,
        (_, 10) => Answer::TooSoon,
        (Ask::LogIn { .. } | Ask::ScramLogIn { .. }, _) => Answer::Opened(Arc::new(Five)),
        (Ask::ScramKeys { user }, _) => Answer::ScramKeys {
            keys: StoredKeys::fake(&Secret::new("installation"), user, 4096),
            nonce: ServerNonce::new([choice; 18]),
        },
        (Ask::ScramRefused { .. }, _) => Answer::Refused,
        (Ask::Body { .. }, _) => Answer::Body,
        (Ask::Commit { .. }, _) => Answer::Committed,
    }
}
