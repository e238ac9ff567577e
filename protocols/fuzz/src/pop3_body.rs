//! A message on its way to the client, of any octets in pieces of any size: the client reads back what was wanted of it, sees one
//! end, and sees it at the end.

use mailhorn_pop3::{BodyEncoder, Header, HeaderScan, Lines, Need};

/// The first octet is the size of the pieces, the second the lines of TOP (255: all of RETR); the rest is the message.
pub(crate) fn target(input: &[u8]) {
    let [chunk, lines, message @ ..] = input else {
        return;
    };
    let lines = match lines {
        255 => Lines::All,
        lines => Lines::Top(u64::from(*lines)),
    };
    let chunk = usize::from(*chunk).max(1);
    let sent = encode(message, lines, chunk);
    assert_eq!(
        sent,
        encode(message, lines, message.len().max(1)),
        "the pieces don't matter"
    );

    let read = read(&sent);
    let expected = wanted(message, lines);
    // A line end is put behind what has none.
    assert!(read.starts_with(expected), "what was wanted comes");
    let added = &read[expected.len()..];
    assert!(matches!(added, b"" | b"\n" | b"\r\n"), "and nothing else");

    let known = scan(message, chunk);
    assert_eq!(
        known,
        scan(message, message.len().max(1)),
        "the pieces don't matter"
    );
    let header = wanted(message, Lines::Top(0));
    assert_eq!(known == Header::NotAscii, !header.is_ascii());
}

fn encode(message: &[u8], lines: Lines, chunk: usize) -> Vec<u8> {
    let mut encoder = BodyEncoder::new(lines);
    let mut sent = Vec::new();
    for part in message.chunks(chunk) {
        if encoder.push(part, &mut sent) == Need::Enough {
            break;
        }
    }
    encoder.finish(&mut sent);
    sent
}

/// What a client makes of it that takes a line to end with LF: the first line of one dot is the end.
fn read(sent: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    let mut rest = sent;
    loop {
        let end = rest
            .iter()
            .position(|octet| *octet == b'\n')
            .expect("the end is there");
        let (line, after) = rest.split_at(end + 1);
        if line == b".\r\n" {
            assert!(after.is_empty(), "nothing stands behind the end");
            return read;
        }
        assert_ne!(line, b".\n", "no other client sees an end before it");
        read.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        rest = after;
    }
}

/// The header, the blank line, and so many lines (RFC 1939 §7).
fn wanted(message: &[u8], lines: Lines) -> &[u8] {
    let Lines::Top(mut left) = lines else {
        return message;
    };
    let mut octets = 0;
    let mut in_header = true;
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if !in_header {
            if left == 0 {
                break;
            }
            left -= 1;
        }
        in_header &= !matches!(line, b"\n" | b"\r\n");
        octets += line.len();
    }
    &message[..octets]
}

fn scan(message: &[u8], chunk: usize) -> Header {
    let mut scan = HeaderScan::default();
    let mut known = Header::GoesOn;
    for part in message.chunks(chunk) {
        known = scan.push(part);
    }
    known
}
