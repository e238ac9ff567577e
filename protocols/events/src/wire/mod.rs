//! Records as octets: a versioned envelope around a payload in one of three formats.
//!
//! ```text
//! octet 0     version of the envelope and of the payload's fields
//! octet 1     format of the payload (1: MessagePack, 2: JSON, 3: bincode)
//! octets 2…   payload
//! ```
//!
//! | Version | Formats | Kinds of event | Written |
//! | --- | --- | --- | --- |
//! | 1 | MessagePack | Added, Expunged | no longer |
//! | 2 | all three | all | by [`encode`] |
//!
//! Every version ever shipped stays readable in every format it had; the files under `golden/` hold that. The types
//! of each version are private copies of the model, so that changing the model can't change the wire by accident.
//!
//! # What may change within a version
//!
//! - **JSON and MessagePack** have named fields. A field may be added with a default: readers skip what they don't
//!   know. An event whose *kind* isn't known makes its record unreadable ([`DecodeError::UnknownKind`]). Leaving it
//!   out would give other events its index, and with it its name ([`EventId::of_event`](crate::EventId::of_event));
//!   and a change read without a part of it is another change. Who gets this error keeps the octets for a release
//!   that knows the kind.
//! - **bincode** has positions. Fields may be added at the end of the record alone: octets behind it are ignored.
//!   A kind may be added behind the others. Anything else is a new version.
//!
//! # What a hostile payload can do
//!
//! Nothing but fail. Its length is limited ([`PAYLOAD_OCTETS_MAX`]), so is its nesting ([`NESTING_MAX`]); a length that
//! it claims is not believed before the octets are there. What is allocated is at most in proportion to the payload's
//! own length; the worst are lists of empty flags, at some fifty octets for each.

mod bincode;
mod json;
mod message_pack;
mod named;
mod v1;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
pub(crate) mod tests;

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use crate::model::Record;

pub use json::event_json;

/// The version that is written.
const VERSION: u8 = 2;

/// Octets of a payload that is read. An expunge of a million messages fits in every format (110 MB in
/// JSON); a record beyond it would be
/// written and not read again, so whoever makes records keeps them below it.
pub const PAYLOAD_OCTETS_MAX: usize = 128 << 20;

/// Levels of lists and maps within each other in a payload that is read. Our own have six. In MessagePack fields that are
/// skipped count, too; `serde_json` has the same number built in for what it reads, and skips without recursion.
pub const NESTING_MAX: usize = 128;

/// Characters of an unknown kind that its error repeats.
const KIND_CHARS_MAX: usize = 64;

/// How a payload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// For people and other programs: the largest.
    Json,
    /// Names as in JSON, numbers and ids as octets.
    MessagePack,
    /// Positions and no names: the smallest.
    Bincode,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Json, Self::MessagePack, Self::Bincode];

    /// The settings' word for it: `json`, `msgpack` or `bincode`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "msgpack",
            Self::Bincode => "bincode",
        }
    }

    /// Octet 1 of the envelope.
    fn octet(self) -> u8 {
        match self {
            Self::MessagePack => 1,
            Self::Json => 2,
            Self::Bincode => 3,
        }
    }

    fn of_octet(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.octet() == octet)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    /// # Errors
    ///
    /// [`UnknownFormat`] for any word that is not exactly the [`name`](Format::name) of one.
    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == word)
            .ok_or(UnknownFormat)
    }
}

/// A word that names no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a format of records: json, msgpack or bincode")]
pub struct UnknownFormat;

/// Why octets are not a record. The octets are the caller's to keep: a later release may know them.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Fewer octets than the envelope's own two.
    #[error("too short for an envelope")]
    TooShort,
    /// A longer payload than [`PAYLOAD_OCTETS_MAX`].
    #[error("a payload of {octets} octets is longer than {PAYLOAD_OCTETS_MAX}")]
    TooLong {
        /// Its length.
        octets: usize,
    },
    /// A version or format of a later release.
    #[error("version {version} in format {format} is not known to this release")]
    Unknown {
        /// Octet 0.
        version: u8,
        /// Octet 1.
        format: u8,
    },
    /// An event of a kind of a later release, in a version that is known.
    #[error("an event of the kind {kind} is not known to this release")]
    UnknownKind {
        /// Its name, cut after 64 characters; in bincode, which has no names, its number.
        kind: String,
    },
    /// The payload is not what its envelope says.
    #[error("the payload is malformed {format}")]
    Malformed {
        /// What its envelope says.
        format: Format,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl DecodeError {
    fn malformed(format: Format, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        Self::Malformed { format, source }
    }

    /// The kind is what somebody sent: its length is not to be trusted.
    fn unknown_kind(kind: &str) -> Self {
        let kind = kind.chars().take(KIND_CHARS_MAX).collect();
        Self::UnknownKind { kind }
    }
}

/// Writes a record down in the current version. [`decode`] reads it back as it is, up to [`PAYLOAD_OCTETS_MAX`].
#[must_use]
pub fn encode(record: &Record, format: Format) -> Vec<u8> {
    let mut octets = vec![VERSION, format.octet()];
    match format {
        Format::Json => json::encode(record, &mut octets),
        Format::MessagePack => message_pack::encode(record, &mut octets),
        Format::Bincode => bincode::encode(record, &mut octets),
    }
    octets
}

/// Reads a record of any version shipped so far, in any format it had. Which format a node writes doesn't matter.
///
/// # Errors
///
/// [`DecodeError`] when the octets are of a later release, are too many, or are no record.
pub fn decode(octets: &[u8]) -> Result<Record, DecodeError> {
    let [version, format, payload @ ..] = octets else {
        return Err(DecodeError::TooShort);
    };
    if payload.len() > PAYLOAD_OCTETS_MAX {
        return Err(DecodeError::TooLong {
            octets: payload.len(),
        });
    }
    match (*version, Format::of_octet(*format)) {
        (1, Some(Format::MessagePack)) => v1::decode(payload),
        (VERSION, Some(Format::Json)) => json::decode(payload),
        (VERSION, Some(Format::MessagePack)) => message_pack::decode(payload),
        (VERSION, Some(Format::Bincode)) => bincode::decode(payload),
        _ => Err(DecodeError::Unknown {
            version: *version,
            format: *format,
        }),
    }
}
