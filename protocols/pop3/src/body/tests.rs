//! Whatever the octets and the chunks, the client finds the message, and its end, where they are.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "the simple models count in small numbers"
)]

use proptest::prelude::*;

use super::*;

fn encode(message: &[u8], lines: Lines, chunk: usize) -> Vec<u8> {
    let mut encoder = BodyEncoder::new(lines);
    let mut out = Vec::new();
    for part in message.chunks(chunk) {
        if encoder.push(part, &mut out) == Need::Enough {
            break;
        }
    }
    encoder.finish(&mut out);
    out
}

/// A client as simple as they come: lines up to LF, a dot alone is the end, one leading dot is dropped.
/// Gives the message and what follows its end.
fn decode(encoded: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut message = Vec::new();
    let mut rest = encoded;
    loop {
        let lf = rest.iter().position(|octet| *octet == b'\n')?;
        let (line, after) = rest.split_at(lf + 1);
        rest = after;
        match line {
            b".\r\n" | b".\n" => return Some((message, rest.to_vec())),
            [b'.', line @ ..] | line => message.extend_from_slice(line),
        }
    }
}

/// The message with the line end that the encoder has to add.
fn completed(message: &[u8]) -> Vec<u8> {
    let end: &[u8] = match message {
        [] | [.., b'\r', b'\n'] => b"",
        [.., b'\r'] => b"\n",
        _ => b"\r\n",
    };
    [message, end].concat()
}

/// TOP as RFC 1939 §7 has it, without chunks.
fn top(message: &[u8], body_lines: u64) -> Vec<u8> {
    let mut wanted = Vec::new();
    let mut left = None;
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if left == Some(0) {
            break;
        }
        wanted.extend_from_slice(line);
        left = match left {
            Some(lines) => Some(lines - 1),
            None => (line == b"\r\n" || line == b"\n").then_some(body_lines),
        };
    }
    wanted
}

#[test]
fn a_dot_at_the_start_of_any_line_is_doubled_even_the_very_first() {
    let cases: &[(&str, &str)] = &[
        (".", "..\r\n.\r\n"),
        (".\r\n", "..\r\n.\r\n"),
        ("..\r\n", "...\r\n.\r\n"),
        ("a.\r\n.b\r\n", "a.\r\n..b\r\n.\r\n"),
        ("\r\n.\r\n", "\r\n..\r\n.\r\n"),
        ("a\n.\nb\r\n", "a\n..\nb\r\n.\r\n"),
        ("a\r.\r\n", "a\r.\r\n.\r\n"),
    ];
    for (message, expected) in cases {
        for chunk in 1..=message.len() {
            let encoded = encode(message.as_bytes(), Lines::All, chunk);
            assert_eq!(
                String::from_utf8(encoded).unwrap(),
                *expected,
                "{message:?} by {chunk}"
            );
        }
    }
}

#[test]
fn the_end_stands_on_a_line_of_its_own_whatever_the_message_ends_with() {
    let cases: &[(&str, &str)] = &[
        ("", ".\r\n"),
        ("a", "a\r\n.\r\n"),
        ("a\r", "a\r\n.\r\n"),
        ("a\n", "a\n\r\n.\r\n"),
        ("a\r\n", "a\r\n.\r\n"),
        ("\r", "\r\n.\r\n"),
        ("\r\r\n", "\r\r\n.\r\n"),
    ];
    for (message, expected) in cases {
        for chunk in 1..=message.len().max(1) {
            let encoded = encode(message.as_bytes(), Lines::All, chunk);
            assert_eq!(
                String::from_utf8(encoded).unwrap(),
                *expected,
                "{message:?} by {chunk}"
            );
        }
    }
}

#[test]
fn top_counts_the_lines_of_the_body_and_not_those_of_the_headers() {
    let message = "A: 1\r\nB: 2\r\n\r\none\r\n\r\n.three\r\nfour";
    let headers = "A: 1\r\nB: 2\r\n\r\n";
    let cases = [
        (0, format!("{headers}.\r\n")),
        (1, format!("{headers}one\r\n.\r\n")),
        (2, format!("{headers}one\r\n\r\n.\r\n")),
        (3, format!("{headers}one\r\n\r\n..three\r\n.\r\n")),
        (4, format!("{headers}one\r\n\r\n..three\r\nfour\r\n.\r\n")),
        (u64::MAX, format!("{headers}one\r\n\r\n..three\r\nfour\r\n.\r\n")),
    ];
    for (lines, expected) in cases {
        for chunk in 1..=message.len() {
            let encoded = encode(message.as_bytes(), Lines::Top(lines), chunk);
            assert_eq!(
                String::from_utf8(encoded).unwrap(),
                expected,
                "TOP {lines} by {chunk}"
            );
        }
    }
}

#[test]
fn top_of_a_message_without_a_body_or_without_headers_has_an_end() {
    for (message, expected) in [
        ("A: 1\r\n", "A: 1\r\n.\r\n"),
        ("A: 1", "A: 1\r\n.\r\n"),
        ("", ".\r\n"),
        ("\r\nbody\r\n", "\r\n.\r\n"),
        (
            "A: 1\r\n\r\r\nstill the headers\r\n",
            "A: 1\r\n\r\r\nstill the headers\r\n.\r\n",
        ),
    ] {
        for chunk in 1..=message.len().max(1) {
            let encoded = encode(message.as_bytes(), Lines::Top(0), chunk);
            assert_eq!(
                String::from_utf8(encoded).unwrap(),
                expected,
                "{message:?} by {chunk}"
            );
        }
    }
}

#[test]
fn top_says_when_it_has_enough_and_retr_never_does() {
    let mut out = Vec::new();
    let mut top = BodyEncoder::new(Lines::Top(1));
    assert_eq!(top.push(b"A: 1\r\n\r\none", &mut out), Need::More);
    assert_eq!(top.push(b"\r\ntwo\r\n", &mut out), Need::Enough);
    assert_eq!(top.push(b"three\r\n", &mut out), Need::Enough);
    assert_eq!(out, b"A: 1\r\n\r\none\r\n");
    let mut retr = BodyEncoder::new(Lines::All);
    assert_eq!(retr.push(b"\r\n\r\n\r\n", &mut out), Need::More);
}

/// Octets that make trouble more often than chance would.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a'), any::<u8>()];
    let line_end = Just(b"\r\n".to_vec());
    proptest::collection::vec(prop_oneof![octet.prop_map(|octet| vec![octet]), line_end], 0..60)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_a_client_reads_is_the_message(message in octets(), chunk in 1_usize..20) {
        let mut encoded = encode(&message, Lines::All, chunk);
        encoded.extend_from_slice(b"+OK next reply\r\n");
        let (read, rest) = decode(&encoded).expect("there is an end");
        prop_assert_eq!(read, completed(&message));
        prop_assert_eq!(rest, b"+OK next reply\r\n");
    }

    #[test]
    fn top_is_the_same_in_every_chunk_size(message in octets(), lines in 0_u64..6, chunk in 1_usize..20) {
        let (read, rest) = decode(&encode(&message, Lines::Top(lines), chunk)).expect("there is an end");
        prop_assert_eq!(read, completed(&top(&message, lines)));
        prop_assert!(rest.is_empty());
    }
}
