//! Whether a message's header is ASCII: what a client that did not send UTF8 may be given (RFC 6856 §2.1).

use crate::body::Line;

/// What is known of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// It has not ended yet, and was ASCII so far. That of a message which has nothing else ends with it.
    GoesOn,
    /// It has ended, and is ASCII.
    Ascii,
    /// It has octets that are not ASCII.
    NotAscii,
}

/// Looks through a message for the end of its header, in chunks of any size and without keeping any.
///
/// The header ends where TOP has it end: at the first blank line, whether its line end is CRLF or LF. Headers of
/// parts of the body are not looked at.
#[derive(Debug)]
pub struct HeaderScan {
    line: Line,
    known: Header,
}

impl Default for HeaderScan {
    fn default() -> Self {
        Self {
            line: Line::Empty,
            known: Header::GoesOn,
        }
    }
}

impl HeaderScan {
    /// Takes the next chunk of the message, and says what is known now.
    pub fn push(&mut self, chunk: &[u8]) -> Header {
        if self.known != Header::GoesOn {
            return self.known;
        }
        let mut rest = chunk;
        while let Some(lf) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at_checked(lf.saturating_add(1)).unwrap_or((rest, b""));
            let before_lf = line.strip_suffix(b"\n").unwrap_or(line);
            if self.line.is_blank_with(before_lf) {
                self.known = Header::Ascii;
                return self.known;
            }
            self.line = Line::Empty;
            if !line.is_ascii() {
                self.known = Header::NotAscii;
                return self.known;
            }
            rest = after;
        }
        self.line = self.line.after(rest);
        if !rest.is_ascii() {
            self.known = Header::NotAscii;
        }
        self.known
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(message: &[u8], chunk: usize) -> Header {
        let mut scan = HeaderScan::default();
        let mut known = Header::GoesOn;
        for part in message.chunks(chunk) {
            known = scan.push(part);
        }
        known
    }

    #[test]
    fn a_header_ends_at_the_blank_line_and_what_follows_is_nobodys_business() {
        let cases: [(&[u8], Header); 10] = [
            (b"A: 1\r\n\r\n\xC3\xB6\r\n", Header::Ascii),
            (b"A: \xC3\xB6\r\n\r\nbody\r\n", Header::NotAscii),
            (b"A: 1\r\nB: \xC3\xB6\r\n\r\n", Header::NotAscii),
            (b"A: 1\n\n\xC3\xB6\n", Header::Ascii),
            (b"A: 1\r\n\n\xC3\xB6\n", Header::Ascii),
            (b"\r\n\xC3\xB6\r\n", Header::Ascii),
            (b"A: 1\r\r\n\xC3\xB6: 2\r\n\r\n", Header::NotAscii),
            (b"A: 1\r\nB: 2\r\n", Header::GoesOn),
            (b"A: 1\r\nB: \xC3", Header::NotAscii),
            (b"", Header::GoesOn),
        ];
        for (message, expected) in cases {
            for chunk in 1..=message.len().max(1) {
                assert_eq!(scan(message, chunk), expected, "{message:?} in chunks of {chunk}");
            }
        }
    }

    proptest! {
        /// TOP with no line of the body is the header and the blank line.
        #[test]
        fn the_header_is_what_top_sends(
            message in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), Just(b'.'), Just(0xC3)], 0..40,
            ),
            chunk in 1_usize..9,
        ) {
            let mut top = crate::BodyEncoder::new(crate::Lines::Top(0));
            let mut sent = Vec::new();
            top.push(&message, &mut sent);
            prop_assert_eq!(scan(&message, chunk) == Header::NotAscii, !sent.is_ascii());
        }
    }
}
