//! The PROXY protocol (the specification that comes with haproxy), versions 1 and 2: what a proxy says of the client
//! before the client's own octets.
//!
//! [`Parser`] takes octets as they come and says of each piece how many of them belong to the header, so that whoever owns
//! the socket takes no octet that is the client's. It holds what it needs of a header and no more, whatever its length.
//!
//! What is deliberately absent: sockets, time, and whether the one who says it may be believed. That has to be decided
//! before a header is looked for (PROXY §2): one that is read from anybody lets everybody be anybody.

mod v1;
mod v2;

use std::net::SocketAddr;

/// The longest header of version 1, with its line end (PROXY §2.1).
pub const V1_OCTETS_MAX: usize = 107;

/// The longest header of version 2 that is taken. Senders keep theirs within a segment, 536 octets (PROXY §2.2); a client's
/// certificate among the additions is longer than that.
pub const V2_OCTETS_MAX: usize = 4_096;

/// Who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Whoever has the connection: the proxy speaks for itself (a health check), or does not know the client, or that
    /// one has no IP address.
    Local,
    /// Somebody else, who connected from `source` to `destination`.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
}

/// Why octets are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// They begin like none.
    NoHeader,
    /// They are a header of version 1 that is longer than [`V1_OCTETS_MAX`], or of version 2 that is longer than
    /// [`V2_OCTETS_MAX`].
    TooLong,
    /// What follows the beginning is not as it has to be.
    Content,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "no PROXY header",
            Self::TooLong => "a PROXY header that is too long",
            Self::Content => "a PROXY header that makes no sense",
        })
    }
}

impl std::error::Error for Malformed {}

/// How far a header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All octets belonged to it, and it goes on.
    More,
    /// It has ended behind the first `consumed` octets of this piece.
    Done {
        /// How many of this piece's octets belonged to it.
        consumed: usize,
        /// What it says.
        header: Header,
    },
}

/// Reads one header, in pieces.
#[derive(Debug, Default)]
pub struct Parser(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Begin,
    V1(v1::Line),
    V2(v2::Block),
}

/// What one octet did.
enum Taken {
    More,
    Done(Header),
}

impl Parser {
    /// Nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next octets.
    ///
    /// # Errors
    ///
    /// As soon as no octets that could follow would make a header of it. The connection is of no use then (PROXY §2).
    pub fn push(&mut self, octets: &[u8]) -> Result<Progress, Malformed> {
        for (index, octet) in octets.iter().enumerate() {
            if let Taken::Done(header) = self.take(*octet)? {
                let consumed = index.saturating_add(1);
                return Ok(Progress::Done { consumed, header });
            }
        }
        Ok(Progress::More)
    }

    fn take(&mut self, octet: u8) -> Result<Taken, Malformed> {
        if matches!(self.0, State::Begin) {
            self.0 = match octet {
                v1::FIRST => State::V1(v1::Line::default()),
                v2::FIRST => State::V2(v2::Block::default()),
                _ => return Err(Malformed::NoHeader),
            };
        }
        match &mut self.0 {
            State::V1(line) => line.take(octet),
            State::V2(block) => block.take(octet),
            State::Begin => Err(Malformed::NoHeader),
        }
    }
}
