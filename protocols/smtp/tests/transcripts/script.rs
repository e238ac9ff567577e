//! Plays a transcript against a session: the turns of client and driver are taken from it, and what the
//! session answers is compared with the rest of it.
//!
//! `C: …` is a line of the client. Between braces stands what the driver does: `{accepted}` and the other
//! recipient verdicts, `{delivered, full, …}` after a delivery was asked for, `{complete}` and the other ends
//! of the content, `{tls}`, `{silence}`, `{shutdown}`, `{long line}`, `{endless line}`. `S: …` is a line of a reply and
//! `> …` a step.

use std::sync::Arc;

use expect_test::Expect;
use mailhorn_lines::Frame;
use mailhorn_sasl::{ITERATIONS_MIN, Secret, ServerNonce, StoredKeys};
use mailhorn_smtp::{
    Address, Answer, Ask, DataEnd, DeliveryVerdict, Domain, Envelope, Options, Peer, Protocol,
    RecipientVerdict, Replies, Security, SenderStanding, Session, Step,
};

/// Of the example in RFC 7677 §3.
const SALT: [u8; 16] = [
    91, 109, 153, 104, 157, 18, 53, 142, 236, 160, 75, 20, 18, 54, 250, 129,
];

/// Options with small limits.
pub(crate) fn options(protocol: Protocol) -> Options {
    let hostname = Domain::parse("mx.example.org").unwrap();
    let postmaster = Address::parse("postmaster@example.org").unwrap();
    Options {
        size_octets_max: 1000,
        ..Options::new(protocol, hostname, postmaster)
    }
}

/// Plays a session with `options` from its greeting on and compares.
#[track_caller]
pub(crate) fn play(options: Options, transcript: Expect) {
    play_with(options, Peer::new(Security::Plain), transcript);
}

/// Plays a session with this peer from its greeting on and compares.
#[track_caller]
pub(crate) fn play_with(options: Options, peer: Peer, transcript: Expect) {
    transcript.assert_eq(&played_with(options, peer, transcript.data()));
}

/// What both sides say from the greeting on.
pub(crate) fn played_with(options: Options, peer: Peer, script: &str) -> String {
    let mut session = Session::new(Arc::new(options), peer);
    let mut played = String::new();
    write_replies(&session.greeting(), &mut played);
    go_on(&mut session, script, &mut played);
    played
}

/// Plays a session whose client has just introduced itself as `c`, and compares.
#[track_caller]
pub(crate) fn play_introduced(protocol: Protocol, transcript: Expect) {
    transcript.assert_eq(&played_introduced(protocol, transcript.data()));
}

/// What both sides say when the client has just introduced itself as `c`.
pub(crate) fn played_introduced(protocol: Protocol, script: &str) -> String {
    let mut session = Session::new(Arc::new(options(protocol)), Peer::new(Security::Plain));
    let hello: &[u8] = match protocol {
        Protocol::Smtp => b"EHLO c",
        Protocol::Lmtp => b"LHLO c",
    };
    assert!(matches!(
        session.command(Frame::Line(hello.to_vec())),
        Step::Reply(_)
    ));
    let mut played = String::new();
    go_on(&mut session, script, &mut played);
    played
}

fn go_on(session: &mut Session, script: &str, played: &mut String) {
    let ours = |line: &&str| line.starts_with("C:") || line.starts_with('{');
    for line in script.lines().map(str::trim).filter(ours) {
        played.push_str(line);
        played.push('\n');
        if let Some(step) = turn(session, line) {
            write_step(step, played);
        }
    }
}

fn turn(session: &mut Session, line: &str) -> Option<Step> {
    if let Some(command) = line.strip_prefix("C:") {
        return Some(session.command(Frame::Line(command.trim_start().as_bytes().to_vec())));
    }
    let did = line
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .expect("a turn");
    Some(match did {
        "tls" => {
            session.tls_started();
            return None;
        }
        "silence" => session.timed_out(),
        "too slow" => session.transaction_timed_out(),
        "shutdown" => session.shutting_down(),
        "logged in" => session.answer(Answer::LoggedIn),
        "wrong" => session.answer(Answer::Refused),
        "no log-in now" => session.answer(Answer::Unavailable),
        "keys" => session.answer(Answer::ScramKeys {
            keys: StoredKeys::from_password(&Secret::new("pencil"), &SALT, ITERATIONS_MIN).unwrap(),
            nonce: ServerNonce::from_text("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0").unwrap(),
        }),
        "elsewhere" => session.answer(Answer::Sender(SenderStanding::Elsewhere)),
        "local" => session.answer(Answer::Sender(SenderStanding::Local)),
        "own" => session.answer(Answer::Sender(SenderStanding::Own)),
        "sender unknown" => session.answer(Answer::Sender(SenderStanding::Unavailable)),
        "long line" => session.command(Frame::TooLong),
        "endless line" => session.command(Frame::Endless),
        _ => match (data_end(did), recipient_verdict(did)) {
            (Some(end), _) => session.data_ended(end),
            (_, Some(verdict)) => session.answer(Answer::Recipient(verdict)),
            _ => session.answer(Answer::Delivered(did.split(", ").map(delivery_verdict).collect())),
        },
    })
}

fn data_end(name: &str) -> Option<DataEnd> {
    Some(match name {
        "complete" => DataEnd::Complete,
        "bare line end" => DataEnd::BareLineEnd,
        "too large" => DataEnd::TooLarge,
        "too many hops" => DataEnd::TooManyHops,
        "disk full" => DataEnd::InsufficientStorage,
        "store failed" => DataEnd::StoreFailed,
        _ => return None,
    })
}

fn recipient_verdict(name: &str) -> Option<RecipientVerdict> {
    Some(match name {
        "accepted" => RecipientVerdict::Accepted,
        "no such user" => RecipientVerdict::NoSuchUser,
        "not local" => RecipientVerdict::NotLocal,
        "mailbox full" => RecipientVerdict::MailboxFull,
        "over quota" => RecipientVerdict::OverQuota,
        "unavailable" => RecipientVerdict::Unavailable,
        _ => return None,
    })
}

/// The names differ from those of recipients where both would fit.
fn delivery_verdict(name: &str) -> DeliveryVerdict {
    match name {
        "delivered" => DeliveryVerdict::Delivered,
        "full" => DeliveryVerdict::MailboxFull,
        "quota" => DeliveryVerdict::OverQuota,
        "looping" => DeliveryVerdict::Looping,
        "gone" => DeliveryVerdict::NoSuchUser,
        "no storage" => DeliveryVerdict::InsufficientStorage,
        "unknown" => DeliveryVerdict::Unavailable,
        other => panic!("no such turn: {other}"),
    }
}

fn write_step(step: Step, transcript: &mut String) {
    match step {
        Step::Reply(replies) => write_replies(&replies, transcript),
        Step::Data { reply, envelope } => {
            write_replies(&reply, transcript);
            write_envelope("data", &envelope, transcript);
        }
        Step::Chunk {
            envelope,
            octets,
            last,
        } => {
            if let Some(envelope) = envelope {
                write_envelope("chunks", &envelope, transcript);
            }
            let last = if last { ", the last" } else { "" };
            transcript.push_str(&format!("> chunk of {octets}{last}\n"));
        }
        Step::SkipChunk { octets, reply } => {
            transcript.push_str(&format!("> skip {octets}\n"));
            write_replies(&reply, transcript);
        }
        Step::ReplyThenClose(replies) => {
            write_replies(&replies, transcript);
            transcript.push_str("> close\n");
        }
        Step::ReplyThenTls(replies) => {
            write_replies(&replies, transcript);
            transcript.push_str("> start TLS\n");
        }
        Step::Ask(Ask::Recipient {
            address,
            declared_octets,
        }) => {
            transcript.push_str(&format!("> ask recipient {address}, SIZE {declared_octets:?}\n"));
        }
        Step::Ask(Ask::Sender { address }) => transcript.push_str(&format!("> ask sender {address}\n")),
        Step::Ask(Ask::LogIn { user, password }) => {
            let octets = password.len();
            transcript.push_str(&format!("> ask log-in {user}, a password of {octets}\n"));
        }
        Step::Ask(Ask::ScramKeys { user }) => transcript.push_str(&format!("> ask keys {user}\n")),
        Step::Ask(Ask::ScramRefused { user }) => transcript.push_str(&format!("> ask disproven {user}\n")),
        Step::Ask(Ask::ScramLogIn { user }) => transcript.push_str(&format!("> ask proven {user}\n")),
        Step::Ask(Ask::Deliver) => transcript.push_str("> ask deliver\n"),
    }
}

fn write_envelope(what: &str, envelope: &Envelope, transcript: &mut String) {
    let recipients: Vec<String> = envelope.recipients.iter().map(ToString::to_string).collect();
    transcript.push_str(&format!(
        "> {what} from {} to {}, {:?}, SIZE {:?}, with {}, client {}\n",
        envelope.reverse_path,
        recipients.join(" "),
        envelope.body,
        envelope.declared_octets,
        envelope.transmission.as_str(),
        envelope.client.as_str(),
    ));
}

/// Every reply that passes here is also checked for what RFC 5321 §4.2 and RFC 2034 §4 ask of all.
fn write_replies(replies: &Replies, transcript: &mut String) {
    for reply in replies.iter() {
        if let Some(status) = reply.status() {
            let class = reply.code().to_string();
            assert_eq!(status.get(..1), class.get(..1), "RFC 2034 §4: the classes agree");
        }
    }
    let mut octets = Vec::new();
    replies.encode(&mut octets);
    let text = String::from_utf8(octets).expect("ASCII");
    for line in text.split_inclusive("\r\n") {
        assert!(line.len() <= 512, "RFC 5321 §4.5.3.1.5");
        let line = line.strip_suffix("\r\n").expect("CRLF");
        transcript.push_str(&format!("S: {line}\n"));
    }
}
