//! A message on its way to the client: dot-stuffing, the lines of TOP, the end.

use memchr::memmem;

/// How much of a message is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// RETR: all of it.
    All,
    /// TOP: the headers, the blank line, and so many lines of the body (RFC 1939 §7); 0 is not "all".
    Top(u64),
}

/// Whether a [`BodyEncoder`] has a use for more octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The next chunk, if there is one.
    More,
    /// No more: TOP has all its lines.
    Enough,
}

/// Turns the octets of a message into what follows a positive reply (RFC 1939 §3).
///
/// Whatever the octets are and however they are cut into chunks, the client sees one end of the message, and
/// sees it where it is. Lines are told by their LF here, with or without a CR before it: a message should
/// have CRLF only, but one that came from elsewhere may not, and clients that read up to LF must not find an
/// end, or a command's reply, inside it.
#[derive(Debug)]
pub struct BodyEncoder {
    part: Part,
    line: Line,
}

/// Which part of the message the next octet belongs to.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// Everything is wanted: nobody has to count lines.
    Whole,
    Headers {
        body_lines: u64,
    },
    Body {
        lines_left: u64,
    },
    Unwanted,
}

/// What has been sent of the line that the next octet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Nothing; before it came CRLF, or nothing at all.
    Empty,
    /// Nothing, but the LF before it had no CR.
    EmptyAfterBareLf,
    /// A CR alone.
    OnlyCr,
    /// Something, and a CR at the end.
    TextCr,
    Text,
}

impl BodyEncoder {
    /// For a message of which so much is wanted.
    #[must_use]
    pub fn new(lines: Lines) -> Self {
        let part = match lines {
            Lines::All => Part::Whole,
            Lines::Top(body_lines) => Part::Headers { body_lines },
        };
        Self {
            part,
            line: Line::Empty,
        }
    }

    /// Appends a chunk of the message to `out`: at most twice its octets, usually as many.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Need {
        let mut wanted = chunk.len();
        if !matches!(self.part, Part::Whole) {
            wanted = self.count_lines(chunk);
        }
        let wanted = chunk.get(..wanted).unwrap_or_default();
        stuff(self.line, wanted, out);
        self.line = self.line.after(wanted);
        match self.part {
            Part::Unwanted => Need::Enough,
            Part::Whole | Part::Headers { .. } | Part::Body { .. } => Need::More,
        }
    }

    /// Appends the end: a line end if the last line has none, then the line with the dot. Only for a message
    /// that is whole: if its octets break off, the connection has to be closed without this.
    pub fn finish(self, out: &mut Vec<u8>) {
        let end: &[u8] = match self.line {
            Line::Empty => b".\r\n",
            Line::OnlyCr | Line::TextCr => b"\n.\r\n",
            Line::EmptyAfterBareLf | Line::Text => b"\r\n.\r\n",
        };
        out.extend_from_slice(end);
    }

    /// How many octets of the chunk TOP wants.
    fn count_lines(&mut self, chunk: &[u8]) -> usize {
        let mut line_start = 0;
        let mut line = self.line;
        for lf in memchr::memchr_iter(b'\n', chunk) {
            let rest_of_line = chunk.get(line_start..lf).unwrap_or_default();
            let blank = line.is_blank_with(rest_of_line);
            self.part = match self.part {
                Part::Headers { body_lines: 0 } if blank => Part::Unwanted,
                Part::Headers { body_lines } if blank => Part::Body {
                    lines_left: body_lines,
                },
                Part::Body { lines_left: 0 | 1 } => Part::Unwanted,
                Part::Body { lines_left } => Part::Body {
                    lines_left: lines_left.saturating_sub(1),
                },
                Part::Unwanted => return line_start,
                part @ (Part::Whole | Part::Headers { .. }) => part,
            };
            line_start = lf.saturating_add(1);
            line = Line::Empty;
        }
        match self.part {
            Part::Unwanted => line_start,
            Part::Whole | Part::Headers { .. } | Part::Body { .. } => chunk.len(),
        }
    }
}

impl Line {
    /// Whether a line that began like this and goes on to its LF with `rest` is blank.
    pub(crate) fn is_blank_with(self, rest: &[u8]) -> bool {
        match self {
            Self::Empty | Self::EmptyAfterBareLf => rest.is_empty() || rest == b"\r",
            Self::OnlyCr => rest.is_empty(),
            Self::TextCr | Self::Text => false,
        }
    }

    /// What has been sent of it once these octets are.
    pub(crate) fn after(self, octets: &[u8]) -> Self {
        match octets {
            [] => self,
            [.., b'\r', b'\n'] => Self::Empty,
            [b'\n'] if matches!(self, Self::OnlyCr | Self::TextCr) => Self::Empty,
            [.., b'\n'] => Self::EmptyAfterBareLf,
            [.., b'\n', b'\r'] => Self::OnlyCr,
            [b'\r'] if matches!(self, Self::Empty | Self::EmptyAfterBareLf) => Self::OnlyCr,
            [.., b'\r'] => Self::TextCr,
            _ => Self::Text,
        }
    }
}

/// Appends octets with a dot before every dot that begins a line (RFC 1939 §3). The search is for line ends
/// that a dot follows, which are rare, so almost everything is copied in long stretches.
fn stuff(line: Line, octets: &[u8], out: &mut Vec<u8>) {
    out.reserve(octets.len());
    if matches!(line, Line::Empty | Line::EmptyAfterBareLf) && octets.first() == Some(&b'.') {
        out.push(b'.');
    }
    let mut copied: usize = 0;
    for lf in memmem::find_iter(octets, b"\n.") {
        let dot = lf.saturating_add(1);
        out.extend_from_slice(octets.get(copied..dot).unwrap_or_default());
        out.push(b'.');
        copied = dot;
    }
    out.extend_from_slice(octets.get(copied..).unwrap_or_default());
}

#[cfg(test)]
mod tests;
