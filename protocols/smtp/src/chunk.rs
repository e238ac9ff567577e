//! The data phase of CHUNKING: content whose octets are counted instead of ended by a dot.

use crate::content::{ContentDecoder, Progress, Tally};

/// Reads the chunks of one message (RFC 3030 §2), in pieces of any size.
///
/// Nothing is stuffed and nothing ends it but the count, so a dot means nothing. What is content is what
/// [`crate::DataDecoder`] takes for content too: lines that end in CRLF, where a line end may be cut by the end of a
/// chunk. A CR or LF that stands alone is refused, as in `DATA`: BINARYMIME is not offered, and whoever hands the
/// message on by `DATA` could not.
///
/// A last line that is open gets its CRLF when the last chunk ends. `DATA` can't say that a line is open, so what is
/// stored ends in CRLF or is empty whichever way it came, and a retry that comes the other way is the same message.
///
/// A message that is refused is still read to the end of its chunk, which takes no memory.
#[derive(Debug, Clone)]
pub struct ChunkDecoder {
    tally: Tally,
    line: Line,
    /// Octets of this chunk that have not come yet.
    left: u64,
    last: bool,
}

/// What the octets before say about the line that they are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// At the very beginning, or after CRLF.
    Begins,
    /// Within a line.
    Open,
    /// After a CR, which is not yet in the content.
    Cr,
}

impl ChunkDecoder {
    /// A decoder for one message of at most `content_octets_max` octets. It waits for [`ChunkDecoder::begin`].
    #[must_use]
    pub fn new(content_octets_max: u64) -> Self {
        Self {
            tally: Tally::new(content_octets_max),
            line: Line::Begins,
            left: 0,
            last: false,
        }
    }

    /// The next chunk begins, of so many octets. The one before has ended.
    pub fn begin(&mut self, octets: u64, last: bool) {
        self.left = octets;
        self.last = last;
    }

    fn take(&mut self, octets: &[u8], content: &mut Vec<u8>) {
        let mut rest = octets;
        while !rest.is_empty() {
            rest = match (self.line, rest.strip_prefix(b"\n")) {
                (Line::Cr, Some(after)) => {
                    self.tally.emit(b"\r\n", content);
                    self.line = Line::Begins;
                    after
                }
                // The CR before stood alone; what comes now will be seen in the next round.
                (Line::Cr, None) => {
                    self.tally.refuse_bare_line_end();
                    self.line = Line::Open;
                    rest
                }
                (Line::Begins | Line::Open, Some(after)) => {
                    self.tally.refuse_bare_line_end();
                    self.line = Line::Open;
                    after
                }
                (Line::Begins | Line::Open, None) => self.text(rest, content),
            };
        }
    }

    /// The rest of a line, and the CR behind it where that is there.
    fn text<'a>(&mut self, rest: &'a [u8], content: &mut Vec<u8>) -> &'a [u8] {
        let (text, after) = rest.split_at(memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len()));
        self.tally.emit(text, content);
        if let Some(after) = after.strip_prefix(b"\r") {
            self.line = Line::Cr;
            return after;
        }
        self.line = Line::Open;
        after
    }

    fn end_last_line(&mut self, content: &mut Vec<u8>) {
        match self.line {
            Line::Begins => {}
            Line::Open => self.tally.emit(b"\r\n", content),
            Line::Cr => self.tally.refuse_bare_line_end(),
        }
        self.line = Line::Begins;
    }
}

impl ContentDecoder for ChunkDecoder {
    fn push(&mut self, octets: &[u8], content: &mut Vec<u8>) -> Progress {
        let consumed = usize::try_from(self.left).map_or(octets.len(), |left| left.min(octets.len()));
        let (taken, _) = octets.split_at(consumed);
        self.take(taken, content);
        self.left = self
            .left
            .saturating_sub(u64::try_from(consumed).unwrap_or(u64::MAX));
        if self.left > 0 {
            return Progress::More;
        }
        if std::mem::take(&mut self.last) {
            self.end_last_line(content);
        }
        Progress::Ended {
            consumed,
            end: self.tally.end(),
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

    /// Sends `content` in chunks that are cut at `cuts`, in pieces of `piece` octets with commands behind them.
    fn decode(content: &[u8], cuts: &[usize], piece: usize, max: u64) -> (DataEnd, Vec<u8>) {
        let mut decoder = ChunkDecoder::new(max);
        let mut kept = Vec::new();
        let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % (content.len() + 1)).collect();
        bounds.extend([0, content.len()]);
        bounds.sort_unstable();
        let mut end = DataEnd::Complete;
        for (n, bound) in bounds.windows(2).enumerate() {
            let chunk = &content[bound[0]..bound[1]];
            decoder.begin(chunk.len() as u64, n + 2 == bounds.len());
            let stream = [chunk, b"NOOP\r\n"].concat();
            let mut at = 0;
            end = loop {
                let pushed = &stream[at..stream.len().min(at + piece)];
                match decoder.push(pushed, &mut kept) {
                    Progress::More => at += pushed.len(),
                    Progress::Ended { consumed, end } => {
                        assert_eq!(&stream[at + consumed..], b"NOOP\r\n");
                        break end;
                    }
                }
            };
        }
        (end, kept)
    }

    fn complete(content: &[u8], kept: &[u8]) {
        for cut in 0..=content.len() {
            for piece in 1..=content.len() + 1 {
                let decoded = decode(content, &[cut], piece, 1000);
                assert_eq!(
                    decoded,
                    (DataEnd::Complete, kept.to_vec()),
                    "{}",
                    content.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn a_dot_means_nothing_and_every_octet_is_kept() {
        complete(b"", b"");
        complete(b"\r\n", b"\r\n");
        complete(b"a\r\n.\r\n..b\r\n", b"a\r\n.\r\n..b\r\n");
        complete(b"\x00\xff\x80\r\n", b"\x00\xff\x80\r\n");
    }

    #[test]
    fn a_last_line_that_is_open_is_ended() {
        complete(b"a", b"a\r\n");
        complete(b"a\r\n.", b"a\r\n.\r\n");
        assert_eq!(decode(b"a", &[], 9, 3), (DataEnd::Complete, b"a\r\n".to_vec()));
        assert_eq!(decode(b"a", &[], 9, 2).0, DataEnd::TooLarge);
    }

    #[test]
    fn a_chunk_without_octets_ends_at_once() {
        let mut decoder = ChunkDecoder::new(10);
        let mut content = Vec::new();
        for last in [false, true] {
            decoder.begin(0, last);
            let ended = Progress::Ended {
                consumed: 0,
                end: DataEnd::Complete,
            };
            assert_eq!(decoder.push(b"", &mut content), ended);
        }
        assert!(content.is_empty());
    }

    #[test]
    fn a_bare_line_end_in_a_chunk_is_refused_wherever_it_is_cut() {
        for content in [
            "a\nb", "\na", "a\rb\r\n", "a\r", "a\r\r\n", "a\n\r\n", "a\r\n\n", "\r",
        ] {
            for cut in 0..=content.len() {
                for piece in 1..=content.len() + 1 {
                    let (end, _) = decode(content.as_bytes(), &[cut], piece, 1000);
                    assert_eq!(end, DataEnd::BareLineEnd, "{content:?} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn a_chunk_that_is_refused_is_read_past_without_memory() {
        let mut decoder = ChunkDecoder::new(10);
        decoder.begin(3_000_000, true);
        let mut content = Vec::new();
        for _ in 0..2 {
            assert_eq!(decoder.push(&[b'x'; 1_000_000], &mut content), Progress::More);
        }
        assert!(decoder.is_refused() && content.is_empty());
        let ended = Progress::Ended {
            consumed: 1_000_000,
            end: DataEnd::TooLarge,
        };
        assert_eq!(decoder.push(&[b'x'; 1_000_001], &mut content), ended);
    }

    proptest! {
        #[test]
        fn chunks_give_what_was_sent_or_refuse_it_whatever_their_sizes(
            parts in proptest::collection::vec(proptest::sample::select(vec!["\r\n", ".", "\r", "\n", "a", "bc", "é"]), 0..16),
            well_formed: bool,
            cuts in proptest::collection::vec(0..40usize, 0..5),
            piece in 1..20usize,
            max in 0u64..20,
        ) {
            let allowed = |part: &&&str| !well_formed || !matches!(**part, "\r" | "\n");
            let content: String = parts.iter().filter(allowed).copied().collect();
            let (end, kept) = decode(content.as_bytes(), &cuts, piece, max);
            let ended = if content.is_empty() || content.ends_with("\r\n") { content.clone() } else { format!("{content}\r\n") };
            if content.replace("\r\n", "").contains(['\r', '\n']) {
                prop_assert_eq!(end, DataEnd::BareLineEnd);
            } else if ended.len() as u64 > max {
                prop_assert_eq!(end, DataEnd::TooLarge);
            } else {
                prop_assert_eq!((end, kept), (DataEnd::Complete, ended.into_bytes()));
            }
        }
    }
}
