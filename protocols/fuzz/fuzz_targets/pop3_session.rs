//! A session with any octets from the client and any answers from the world, fitting or not: it always gives
//! a step, never deletes without QUIT, and every reply is whole lines.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
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

// The first octets choose the options and the answers; the rest is what the client sends.
fuzz_target!(|input: &[u8]| {
    let Some((choices, stream)) = input.split_at_checked(16) else {
        return;
    };
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
    let mut choices = choices.iter().copied().cycle();
    let mut session = Session::new(options, Channel::Plain);
    let mut framer = Framer::new(session.line_octets_max());
    for part in stream.chunks(usize::from(first / 8).max(1)) {
        framer.push(part);
        loop {
            framer.set_limit(session.line_octets_max());
            let Some(frame) = framer.next_frame() else { break };
            let step = session.command(frame);
            if !serve(&mut session, step, part, &mut choices) {
                return;
            }
        }
    }
});

/// Whether the session goes on.
fn serve(
    session: &mut Session<Arc<Five>>,
    mut step: Step,
    body: &[u8],
    choices: &mut impl Iterator<Item = u8>,
) -> bool {
    while let Step::Ask(ask) = step {
        if let Ask::Commit { indexes } = &ask {
            assert_eq!(session.verb(), Verb::Quit);
            assert!(!indexes.is_empty() && indexes.is_sorted());
        }
        step = session.answer(answer(&ask, choices.next().unwrap_or_default()));
    }
    match step {
        Step::Reply(reply) => send(session, reply),
        Step::ReplyThenBody(reply, mut encoder) => {
            send(session, reply);
            let mut out = Vec::new();
            let need = encoder.push(body, &mut out);
            assert!(out.len() <= body.len() * 2 && matches!(need, Need::More | Need::Enough));
            encoder.finish(&mut out);
            assert!(out == b".\r\n" || out.ends_with(b"\r\n.\r\n"));
        }
        Step::ReplyThenTls(reply) => {
            send(session, reply);
            session.tls_started();
        }
        Step::ReplyThenClose(reply) => {
            send(session, reply);
            return false;
        }
        Step::Close | Step::Ask(_) => return false,
    }
    true
}

fn send(session: &Session<Arc<Five>>, mut reply: Reply) {
    let mut out = Vec::new();
    while session.encode(&mut reply, &mut out, 10) == Encoded::More {}
    assert!(out.ends_with(b"\r\n"));
    assert!(out.starts_with(b"+OK ") || out.starts_with(b"-ERR ") || out.starts_with(b"+ "));
}

/// Mostly one that fits.
fn answer(ask: &Ask, choice: u8) -> Answer<Arc<Five>> {
    match (ask, choice % 16) {
        (_, 0) => Answer::Refused,
        (_, 1) => Answer::InUse,
        (_, 2) => Answer::TooManySessions,
        (_, 3) => Answer::Unavailable,
        (_, 4) => Answer::Body,
        (_, 5) => Answer::Missing,
        (_, 6) => Answer::Damaged,
        (_, 7) => Answer::Committed,
        (_, 8) => Answer::CommitUnknown,
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
