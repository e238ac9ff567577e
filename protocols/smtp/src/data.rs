//! The data phase: cuts a message out of what comes after `354`.
//!
//! Only CRLF.CRLF ends a message. Servers that also took LF.CRLF or the like let an attacker hide a second
//! message inside the first ("SMTP smuggling", CVE-2023-51764 and its siblings), so here a CR or LF that
//! stands alone never ends a line, and a message that has one is refused when its real end has come.

use crate::content::{ContentDecoder, Progress, Tally};

/// Reads mail data in pieces of any size, removes the stuffed dots and finds the end (RFC 5321 §4.5.2).
///
/// The content is, to the octet, everything before the line that is a dot alone, with the dots un-stuffed.
/// The CRLF in front of that line is the content's own (RFC 5321 §4.1.1.4), so a content ends in CRLF or is
/// empty; there is no third case. Lines may have any length (RFC 5321 §4.5.3.1.6 asks for 1000 octets, and
/// mail with longer lines exists); the size of the whole is limited.
///
/// A message that is refused is still read to its end, which takes no memory: otherwise the rest of it would
/// be taken for commands.
#[derive(Debug, Clone)]
pub struct DataDecoder {
    place: Place,
    tally: Tally,
    ended: bool,
}

/// What the octets just before say about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the very beginning, or after CRLF.
    LineStart,
    /// After a dot at the beginning of a line: it is stuffing, or the end begins.
    Dot,
    /// After a dot and a CR at the beginning of a line.
    DotCr,
    /// Within a line.
    Text,
    /// After a CR within a line, which is not yet in the content.
    Cr,
}

impl DataDecoder {
    /// A decoder for one message of at most `content_octets_max` octets. RFC 1870 §5 counts as we do:
    /// line ends are in, stuffed dots and the final dot are not.
    #[must_use]
    pub fn new(content_octets_max: u64) -> Self {
        Self {
            place: Place::LineStart,
            tally: Tally::new(content_octets_max),
            ended: false,
        }
    }

    fn go<'a>(&mut self, place: Place, rest: &'a [u8]) -> &'a [u8] {
        self.place = place;
        rest
    }

    /// The rest of a line, in one piece together with its line end where that is there.
    fn text<'a>(&mut self, rest: &'a [u8], content: &mut Vec<u8>) -> &'a [u8] {
        let line_octets = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(line_octets);
        if let Some(next_line) = after.strip_prefix(b"\r\n") {
            let with_line_end = rest.len().saturating_sub(next_line.len());
            self.tally
                .emit(rest.get(..with_line_end).unwrap_or_default(), content);
            return self.go(Place::LineStart, next_line);
        }
        self.tally.emit(line, content);
        self.go(Place::Text, after)
    }
}

impl ContentDecoder for DataDecoder {
    fn push(&mut self, octets: &[u8], content: &mut Vec<u8>) -> Progress {
        let mut rest = octets;
        while let Some((&first, after)) = rest.split_first() {
            if self.ended {
                break;
            }
            rest = match (self.place, first) {
                (Place::LineStart, b'.') => self.go(Place::Dot, after),
                (Place::Dot, b'\r') => self.go(Place::DotCr, after),
                (Place::DotCr, b'\n') => {
                    self.ended = true;
                    after
                }
                (Place::Cr, b'\n') => {
                    self.tally.emit(b"\r\n", content);
                    self.go(Place::LineStart, after)
                }
                // The CR before stood alone; what `first` is will be seen in the next round.
                (Place::DotCr | Place::Cr, _) => {
                    self.tally.refuse_bare_line_end();
                    self.go(Place::Text, rest)
                }
                (Place::LineStart | Place::Dot | Place::Text, b'\n') => {
                    self.tally.refuse_bare_line_end();
                    self.go(Place::Text, after)
                }
                (Place::LineStart | Place::Text, b'\r') => self.go(Place::Cr, after),
                (Place::LineStart | Place::Dot | Place::Text, _) => self.text(rest, content),
            };
        }
        if self.ended {
            let consumed = octets.len().saturating_sub(rest.len());
            Progress::Ended {
                consumed,
                end: self.tally.end(),
            }
        } else {
            Progress::More
        }
    }

    fn is_refused(&self) -> bool {
        self.tally.is_refused()
    }

    fn content_octets(&self) -> u64 {
        self.tally.content_octets()
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "the model is to be simple, and a panic in it is a failed test"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::content::DataEnd;

    #[derive(Debug, PartialEq, Eq)]
    struct Outcome {
        /// None when the end has not come.
        end: Option<(usize, DataEnd)>,
        /// Only looked at when nothing was refused.
        content: Option<Vec<u8>>,
    }

    fn decode(stream: &[u8], chunk: usize, max: u64) -> Outcome {
        let mut decoder = DataDecoder::new(max);
        let mut content = Vec::new();
        let mut before = 0;
        let mut end = None;
        for part in stream.chunks(chunk) {
            if let Progress::Ended { consumed, end: how } = decoder.push(part, &mut content) {
                end = Some((before + consumed, how));
                assert_eq!(
                    decoder.push(b"more", &mut content),
                    Progress::Ended {
                        consumed: 0,
                        end: how
                    }
                );
                break;
            }
            before += part.len();
        }
        let content = match end {
            Some((_, DataEnd::Complete)) => Some(content),
            _ => None,
        };
        Outcome { end, content }
    }

    /// The rules as one would say them: search, split, strip.
    fn model(stream: &[u8], max: u64) -> Outcome {
        let framed = [b"\r\n", stream].concat();
        let Some(at) = framed.windows(5).position(|five| five == b"\r\n.\r\n") else {
            return Outcome {
                end: None,
                content: None,
            };
        };
        let text = String::from_utf8_lossy(&framed[2.min(at)..at]).into_owned();
        let body = if at == 0 {
            String::new()
        } else {
            format!("{text}\r\n")
        };
        let lines: Vec<&str> = body.split_inclusive("\r\n").collect();
        let content: String = lines
            .iter()
            .map(|line| line.strip_prefix('.').unwrap_or(line))
            .collect();
        let bare = body.replace("\r\n", "").contains(['\r', '\n']);
        let end = match (bare, content.len() as u64 > max) {
            (true, _) => DataEnd::BareLineEnd,
            (false, true) => DataEnd::TooLarge,
            (false, false) => DataEnd::Complete,
        };
        let kept = (end == DataEnd::Complete).then(|| content.into_bytes());
        Outcome {
            end: Some((at + 3, end)),
            content: kept,
        }
    }

    fn complete(stream: &[u8], content: &[u8]) {
        for chunk in 1..=stream.len() {
            let outcome = decode(stream, chunk, 1000);
            assert_eq!(
                outcome.content.as_deref(),
                Some(content),
                "{} by {chunk}",
                stream.escape_ascii()
            );
            assert_eq!(outcome.end, Some((stream.len(), DataEnd::Complete)));
        }
    }

    #[test]
    fn the_content_is_exact_to_the_octet() {
        complete(b".\r\n", b"");
        complete(b"\r\n.\r\n", b"\r\n");
        complete(b"a\r\n.\r\n", b"a\r\n");
        complete(b"a\r\n\r\nb\r\n\r\n.\r\n", b"a\r\n\r\nb\r\n\r\n");
        complete(b"\x00\xff\x80\r\n.\r\n", b"\x00\xff\x80\r\n");
    }

    #[test]
    fn one_dot_is_taken_from_the_beginning_of_a_line_and_from_nowhere_else() {
        complete(b"..\r\n.\r\n", b".\r\n");
        complete(b"...\r\n.\r\n", b"..\r\n");
        complete(b".a\r\n.\r\n", b"a\r\n");
        complete(b"a.\r\n..b\r\n.c.\r\n.\r\n", b"a.\r\n.b\r\nc.\r\n");
    }

    #[test]
    fn what_follows_the_end_is_left_for_the_next_command() {
        let mut content = Vec::new();
        let progress = DataDecoder::new(10).push(b"a\r\n.\r\nQUIT\r\n.\r\n", &mut content);
        assert_eq!(
            progress,
            Progress::Ended {
                consumed: 6,
                end: DataEnd::Complete
            }
        );
    }

    #[test]
    fn a_message_without_its_last_dot_has_not_ended() {
        for stream in [
            &b""[..],
            b"a\r\n",
            b"a\r\n.",
            b"a\r\n.\r",
            b".\r",
            b"a.\r\n",
            b"a\r\n..\r\n",
        ] {
            assert_eq!(decode(stream, 2, 100).end, None, "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn no_false_end_ends_a_message_and_each_is_refused_at_the_real_one() {
        let line_ends: [&[u8]; 7] = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\n", b"\r\r", b"\n\r"];
        let mut tried = 0;
        for before in line_ends {
            for after in line_ends {
                let false_end = [before, b".", after].concat();
                if before.ends_with(b"\r\n") && after == b"\r\n" {
                    continue;
                }
                for (head, tail) in [
                    ("", ""),
                    ("text", ""),
                    ("text\r\n", ""),
                    ("text", "MAIL FROM:<x@y>\r\n"),
                ] {
                    let stream = [
                        head.as_bytes(),
                        &false_end,
                        tail.as_bytes(),
                        b"end\r\n.\r\nNOOP\r\n",
                    ]
                    .concat();
                    for chunk in 1..=stream.len() {
                        let end = Some((stream.len() - b"NOOP\r\n".len(), DataEnd::BareLineEnd));
                        let shown = stream.escape_ascii();
                        assert_eq!(
                            decode(&stream, chunk, 1000).end,
                            end,
                            "{shown} in pieces of {chunk}"
                        );
                    }
                    tried += 1;
                }
            }
        }
        assert_eq!(tried, (49 - 2) * 4);
    }

    #[test]
    fn a_bare_line_end_anywhere_is_refused() {
        for stream in [
            "\na\r\n.\r\n",
            "\ra\r\n.\r\n",
            "a\nb\r\n.\r\n",
            "a\rb\r\n.\r\n",
            ".\n\r\n.\r\n",
            "..\rb\r\n.\r\n",
        ] {
            let end = Some((stream.len(), DataEnd::BareLineEnd));
            for chunk in 1..=stream.len() {
                assert_eq!(
                    decode(stream.as_bytes(), chunk, 1000).end,
                    end,
                    "{stream:?} in pieces of {chunk}"
                );
            }
        }
    }

    #[test]
    fn the_size_counts_content_and_one_octet_too_many_is_too_large() {
        let stream = b"..12\r\n..56\r\n.\r\n";
        for chunk in 1..=stream.len() {
            assert_eq!(
                decode(stream, chunk, 10).end,
                Some((stream.len(), DataEnd::Complete))
            );
            assert_eq!(
                decode(stream, chunk, 9).end,
                Some((stream.len(), DataEnd::TooLarge))
            );
        }
    }

    #[test]
    fn a_text_line_may_have_any_length() {
        let line = [&b"x".repeat(100_000)[..], b"\r\n"].concat();
        let outcome = decode(&[&line[..], b".\r\n"].concat(), 4096, 1_000_000);
        assert_eq!(outcome.content, Some(line));
    }

    #[test]
    fn a_message_that_is_refused_takes_no_more_memory() {
        let mut decoder = DataDecoder::new(100);
        let mut content = Vec::new();
        for _ in 0..10_000 {
            assert_eq!(
                decoder.push(b"a line that is well-formed\r\n", &mut content),
                Progress::More
            );
        }
        assert!(decoder.is_refused());
        assert!(content.len() <= 100);
        let end = Progress::Ended {
            consumed: 3,
            end: DataEnd::TooLarge,
        };
        assert_eq!(decoder.push(b".\r\n", &mut content), end);
    }

    proptest! {
        #[test]
        fn every_stream_in_every_chunk_size_is_read_as_the_model_reads_it(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec!["\r\n", ".", "\r", "\n", "a", "bc", "\r\n.\r\n", "\r\n..", "é"]), 0..24),
            well_formed: bool,
            max in 0u64..20,
        ) {
            let allowed = |piece: &&&str| !well_formed || !matches!(**piece, "\r" | "\n");
            let mut stream = pieces.iter().filter(allowed).copied().collect::<String>().into_bytes();
            stream.extend_from_slice(b"\r\n.\r\n");
            let expected = model(&stream, max);
            for chunk in 1..=stream.len() {
                prop_assert_eq!(&decode(&stream, chunk, max), &expected, "chunk size {}", chunk);
            }
        }

        #[test]
        fn unstuffing_what_was_stuffed_gives_the_same_content(lines in proptest::collection::vec("[.a]{0,4}", 0..8)) {
            let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let stuffed: String = lines.iter().map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") }).collect();
            let stream = format!("{stuffed}.\r\n");
            prop_assert_eq!(decode(stream.as_bytes(), 3, 1000).content, Some(content.into_bytes()));
        }
    }
}
