//! Values that say what they are, so that they can be found in a damaged journal without knowing its format.
//!
//! ```text
//! 4 octets   magic: MHC1 a chunk, MHR1 a record, MHD1 a change of the directory
//! 8 octets   xxh3-64 of all that follows, big-endian
//! 4 octets   length of the body, big-endian
//! body
//! ```
//!
//! The checksum is verified at every read.

use mailhorn_events::{Generation, MessageId};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC_OCTETS: usize = 4;
const HEAD_OCTETS: usize = MAGIC_OCTETS + 8 + 4;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Chunk,
    Record,
    Directory,
}

impl Kind {
    fn magic(self) -> &'static [u8; MAGIC_OCTETS] {
        match self {
            Self::Chunk => b"MHC1",
            Self::Record => b"MHR1",
            Self::Directory => b"MHD1",
        }
    }
}

/// A chunk of a message's octets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    pub(crate) message: MessageId,
    pub(crate) index: u32,
    pub(crate) octets: &'a [u8],
}

/// A record of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogRecord<'a> {
    /// Of the batch that made it.
    pub(crate) sequence: u64,
    pub(crate) generation: Generation,
    pub(crate) number: u64,
    /// In the form of `mailhorn_events::wire`.
    pub(crate) envelope: &'a [u8],
}

/// A change of the directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DirectoryChange<'a> {
    /// Of the batch that made it.
    pub(crate) sequence: u64,
    /// The change, as a row.
    pub(crate) row: &'a [u8],
}

fn close(kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(HEAD_OCTETS + length);
    frame.extend_from_slice(kind.magic());
    frame.extend_from_slice(&[0; 8]);
    // A chunk, a record and a row are far below 4 GiB each; a longer one would fail its own verification.
    frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    let (head, rest) = frame.split_at_mut(MAGIC_OCTETS + 8);
    head[MAGIC_OCTETS..].copy_from_slice(&xxh3_64(rest).to_be_bytes());
    frame
}

/// The body of the frame that `octets` begin with, if they begin with an undamaged one.
pub(crate) fn body(kind: Kind, octets: &[u8]) -> Option<&[u8]> {
    let rest = octets.strip_prefix(kind.magic())?;
    let (checksum, rest) = rest.split_first_chunk::<8>()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    let end = usize::try_from(u32::from_be_bytes(*length))
        .ok()?
        .checked_add(4)?;
    let covered = rest.get(..end)?;
    (xxh3_64(covered) == u64::from_be_bytes(*checksum)).then_some(&covered[4..])
}

/// The kind of the frame that `octets` seem to begin with.
pub(crate) fn kind(octets: &[u8]) -> Option<Kind> {
    [Kind::Chunk, Kind::Record, Kind::Directory]
        .into_iter()
        .find(|kind| octets.starts_with(kind.magic()))
}

impl<'a> Chunk<'a> {
    pub(crate) fn frame(&self) -> Vec<u8> {
        close(
            Kind::Chunk,
            &[self.message.as_bytes(), &self.index.to_be_bytes(), self.octets],
        )
    }

    pub(crate) fn from_body(body: &'a [u8]) -> Option<Self> {
        let (message, rest) = body.split_first_chunk::<16>()?;
        let (index, octets) = rest.split_first_chunk::<4>()?;
        Some(Self {
            message: MessageId::from_bytes(*message),
            index: u32::from_be_bytes(*index),
            octets,
        })
    }
}

impl<'a> LogRecord<'a> {
    pub(crate) fn frame(&self) -> Vec<u8> {
        let (sequence, number) = (self.sequence.to_be_bytes(), self.number.to_be_bytes());
        close(
            Kind::Record,
            &[&sequence, self.generation.as_bytes(), &number, self.envelope],
        )
    }

    pub(crate) fn from_body(body: &'a [u8]) -> Option<Self> {
        let (sequence, rest) = body.split_first_chunk::<8>()?;
        let (generation, rest) = rest.split_first_chunk::<16>()?;
        let (number, envelope) = rest.split_first_chunk::<8>()?;
        Some(Self {
            sequence: u64::from_be_bytes(*sequence),
            generation: Generation::from_bytes(*generation),
            number: u64::from_be_bytes(*number),
            envelope,
        })
    }
}

impl<'a> DirectoryChange<'a> {
    pub(crate) fn frame(&self) -> Vec<u8> {
        close(Kind::Directory, &[&self.sequence.to_be_bytes(), self.row])
    }

    pub(crate) fn from_body(body: &'a [u8]) -> Option<Self> {
        let (sequence, row) = body.split_first_chunk::<8>()?;
        Some(Self {
            sequence: u64::from_be_bytes(*sequence),
            row,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailhorn_events::Stamp;
    use proptest::prelude::*;

    fn chunk(octets: &[u8]) -> Chunk<'_> {
        Chunk {
            message: MessageId::new(Stamp(7), [1; 8]),
            index: 3,
            octets,
        }
    }

    proptest! {
        #[test]
        fn what_was_framed_comes_back_whatever_follows(octets: Vec<u8>, rest: Vec<u8>) {
            let mut framed = chunk(&octets).frame();
            framed.extend_from_slice(&rest);
            let body = body(Kind::Chunk, &framed).unwrap();
            prop_assert_eq!(Chunk::from_body(body), Some(chunk(&octets)));
        }

        #[test]
        fn no_flipped_bit_goes_unnoticed(octets: Vec<u8>, bit: prop::sample::Index) {
            let mut framed = chunk(&octets).frame();
            let bit = bit.index(framed.len() * 8);
            framed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(body(Kind::Chunk, &framed), None);
        }
    }

    #[test]
    fn a_frame_cut_short_is_none() {
        let framed = chunk(b"abc").frame();
        for end in 0..framed.len() {
            assert_eq!(body(Kind::Chunk, &framed[..end]), None, "{end}");
        }
    }
}
