//! Line framing for the line-based mail protocols (POP3, SMTP, LMTP).
//!
//! A frame is found first and parsed second, so that a line nobody understands, or one that is far too
//! long, costs one error reply and never the synchronisation of the session.
//!
//! What is deliberately absent: sockets, time, and any knowledge of what a line means.

/// One line of a client, without its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A line. Ends at LF; one CR directly before it belongs to the line end (RFC 1939 §3 and RFC 5321
    /// §2.3.8 ask for CRLF; a bare LF is taken in commands, as every deployed server does, and refused
    /// in mail data, where it would open the door to smuggling).
    Line(Vec<u8>),
    /// A line longer than the limit. All of it was thrown away, up to and including its line end.
    TooLong,
    /// A line so long that its end isn't waited for. It is the last frame: nothing behind it can be told from it.
    Endless,
}

/// A line of more than so many times the limit is [`Frame::Endless`]: with what the protocols allow, 16 KiB to 1 MiB.
/// No client that means well sends such a line, and whoever does could go on for ever.
pub const ENDLESS_TIMES_LIMIT: usize = 64;

/// Cuts a stream of octets into [`Frame`]s, holding at most one line in memory.
///
/// The limit counts the line's octets with its line end, as the RFCs do (RFC 2449 §4: 255; RFC 5321
/// §4.5.3.1.4: 512), and can be changed between frames ([`Framer::set_limit`]): a SASL response may be
/// longer than a command.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the next frame begins in `buffer`.
    start: usize,
    /// Up to where `buffer` was searched for an LF without finding one.
    searched: usize,
    line_octets_max: usize,
    /// Octets that were thrown away of a line that is too long, as far as it has come.
    discarded: usize,
    /// [`Frame::Endless`] was given.
    ended: bool,
}

impl Framer {
    /// A framer for lines of at most `line_octets_max` octets, line end included.
    #[must_use]
    pub fn new(line_octets_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            line_octets_max,
            discarded: 0,
            ended: false,
        }
    }

    /// Changes the limit for the frames that follow.
    pub fn set_limit(&mut self, line_octets_max: usize) {
        self.line_octets_max = line_octets_max;
    }

    /// Takes octets from the network. The caller bounds a read; this keeps what it is given until
    /// [`Framer::next_frame`] has cut it.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole line, if there is one, or the end of all lines.
    pub fn next_frame(&mut self) -> Option<Frame> {
        if self.ended {
            self.discard();
            return None;
        }
        let from = self.searched.max(self.start);
        let found = self
            .buffer
            .get(from..)
            .and_then(|rest| memchr::memchr(b'\n', rest));
        let Some(offset) = found else {
            return self.without_line_end();
        };
        let lf = from.saturating_add(offset);
        let after = lf.saturating_add(1);
        let whole = self.buffer.get(self.start..after).unwrap_or_default();
        let octets = self.discarded.saturating_add(whole.len());
        if self.is_endless(octets) {
            return Some(self.end());
        }
        let frame = if octets > self.line_octets_max {
            Frame::TooLong
        } else {
            let line = whole.strip_suffix(b"\n").unwrap_or(whole);
            Frame::Line(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        };
        self.discarded = 0;
        self.start = after;
        self.searched = after;
        self.give_back_if_empty();
        Some(frame)
    }

    /// Whether nothing is buffered: no whole line and no part of one. TLS may only begin here
    /// (CVE-2011-0411, CVE-2021-38542: what came before the upgrade must not be read after it).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffered().is_empty() && self.discarded == 0
    }

    /// What is buffered and not yet cut, for a switch to mail data.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Takes the first `octets` of what is buffered out of the framer's hands: the data phase has read them.
    pub fn consume(&mut self, octets: usize) {
        self.start = self.start.saturating_add(octets).min(self.buffer.len());
        self.searched = self.start;
        self.give_back_if_empty();
    }

    fn without_line_end(&mut self) -> Option<Frame> {
        self.searched = self.buffer.len();
        if self.discarded > 0 || self.buffered().len() >= self.line_octets_max {
            self.discard();
        }
        self.is_endless(self.discarded).then(|| self.end())
    }

    fn is_endless(&self, octets: usize) -> bool {
        octets > self.line_octets_max.saturating_mul(ENDLESS_TIMES_LIMIT)
    }

    fn end(&mut self) -> Frame {
        self.ended = true;
        self.discard();
        Frame::Endless
    }

    /// Throws away what is buffered, all of it of one line.
    fn discard(&mut self) {
        self.discarded = self.discarded.saturating_add(self.buffered().len());
        self.start = self.buffer.len();
        self.give_back_if_empty();
    }

    /// An idle session keeps no buffer: with many thousands of them the buffers would be most of the memory.
    fn give_back_if_empty(&mut self) {
        if self.start == self.buffer.len() {
            self.buffer = Vec::new();
            self.start = 0;
            self.searched = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(stream: &[u8], chunk: usize, limit: usize) -> Vec<Frame> {
        let mut framer = Framer::new(limit);
        let mut frames = Vec::new();
        for part in stream.chunks(chunk) {
            framer.push(part);
            while let Some(frame) = framer.next_frame() {
                frames.push(frame);
            }
        }
        frames
    }

    fn line(text: &str) -> Frame {
        Frame::Line(text.as_bytes().to_vec())
    }

    #[test]
    fn the_same_frames_come_out_whatever_the_chunk_size() {
        let stream = b"STAT\r\n\r\nLIST 1\nabcdefghijklmnopqrstuvwxyz\r\nQUIT\r\n";
        let expected = vec![
            line("STAT"),
            line(""),
            line("LIST 1"),
            Frame::TooLong,
            line("QUIT"),
        ];
        for chunk in 1..=stream.len() {
            assert_eq!(cut(stream, chunk, 20), expected, "chunk size {chunk}");
        }
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_taken_and_one_octet_more_is_not() {
        for chunk in [1, 3, 100] {
            assert_eq!(cut(b"12345678\r\n", chunk, 10), vec![line("12345678")]);
            assert_eq!(cut(b"123456789\r\n", chunk, 10), vec![Frame::TooLong]);
        }
    }

    #[test]
    fn only_one_cr_before_the_lf_belongs_to_the_line_end() {
        assert_eq!(cut(b"a\r\r\nb\rc\r\n", 4, 20), vec![line("a\r"), line("b\rc")]);
    }

    #[test]
    fn a_line_that_is_too_long_holds_no_more_memory_than_the_limit() {
        let mut framer = Framer::new(100);
        for _ in 0..ENDLESS_TIMES_LIMIT {
            framer.push(&[b'x'; 50]);
            assert_eq!(framer.next_frame(), None);
            assert!(framer.buffered().len() <= 100);
        }
        assert!(!framer.is_empty(), "half a line is not a place to begin TLS");
        framer.push(b"\r\nNOOP\r\n");
        assert_eq!(framer.next_frame(), Some(Frame::TooLong));
        assert_eq!(framer.next_frame(), Some(line("NOOP")));
        assert!(framer.is_empty());
    }

    #[test]
    fn an_endless_line_is_the_last_frame_wherever_it_is_cut() {
        let longest = 10 * ENDLESS_TIMES_LIMIT;
        let line_of = |octets: usize| [&vec![b'x'; octets - 2], &b"\r\n"[..]].concat();
        let stream = [line_of(longest), line_of(longest + 1), b"QUIT\r\n".to_vec()].concat();
        for chunk in [1, 7, longest, stream.len()] {
            assert_eq!(
                cut(&stream, chunk, 10),
                [Frame::TooLong, Frame::Endless],
                "{chunk}"
            );
        }
        let mut framer = Framer::new(10);
        framer.push(&vec![b'x'; longest]);
        assert_eq!(framer.next_frame(), None);
        framer.push(b"x");
        assert_eq!(
            framer.next_frame(),
            Some(Frame::Endless),
            "its end is not waited for"
        );
        framer.push(b"\r\nQUIT\r\n");
        assert_eq!(framer.next_frame(), None);
        assert!(framer.buffered().is_empty() && !framer.is_empty());
    }

    #[test]
    fn an_empty_framer_keeps_no_buffer() {
        let mut framer = Framer::new(100);
        framer.push(b"NOOP\r\n");
        assert_eq!(framer.next_frame(), Some(line("NOOP")));
        assert_eq!(framer.buffer.capacity(), 0);
    }

    #[test]
    fn the_data_phase_can_take_what_is_buffered() {
        let mut framer = Framer::new(100);
        framer.push(b"DATA\r\nhello\r\n.\r\nQUIT\r\n");
        assert_eq!(framer.next_frame(), Some(line("DATA")));
        assert_eq!(framer.buffered(), b"hello\r\n.\r\nQUIT\r\n");
        framer.consume(10);
        assert_eq!(framer.next_frame(), Some(line("QUIT")));
    }
}
