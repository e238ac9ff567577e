//! What goes from node to node on the fast path: records, and heartbeats that say how many there were.
//!
//! ```text
//! octet 0       version (1)
//! octet 1       kind (1: a record, 2: a heartbeat, 3: a probe, 4: an echo)
//! octets 2…17   the origin's generation
//! octets 18…33  the receiver's generation
//! octets 34…41  the link number: records that went from this origin to this receiver, big-endian
//! a record only:
//! octets 42…57  generation of the log that it stands in
//! octets 58…65  its number there
//! octets 66…    the record in its envelope (`wire`)
//! a probe and an echo only:
//! octets 42…49  the probe's id, chosen by the one who asks
//! ```
//!
//! Every frame has the link number, and all but records say nothing else to a receiver's count: so a kind that a release
//! doesn't know can be left out without harm, and that is what [`FrameError`] means to it. The version stays the same
//! for as long as that is so.
//!
//! The fast path may lose, double and reorder: the numbers show it, and the store has the truth.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ids::{Generation, Position};

const VERSION: u8 = 1;
const RECORD: u8 = 1;
const HEARTBEAT: u8 = 2;
const PROBE: u8 = 3;
const ECHO: u8 = 4;
/// Octets before a record's position.
const HEAD_OCTETS: usize = 42;

/// One message between two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whose.
    pub origin: Generation,
    /// For whom: a process that took over another's address must not take it for its own.
    pub receiver: Generation,
    /// The number of the last record from this origin to this receiver, this one included.
    pub number: u64,
    /// What it brings.
    pub body: Body,
}

/// What a frame brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A record, in its envelope.
    Record(Position, Bytes),
    /// Nothing but the number.
    Heartbeat,
    /// It is to be echoed.
    Probe(u64),
    /// The echo of the receiver's probe.
    Echo(u64),
}

/// Octets that are no frame of this release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a frame that this release knows")]
pub struct FrameError;

impl Frame {
    /// As octets.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut octets = BytesMut::with_capacity(HEAD_OCTETS);
        octets.put_u8(VERSION);
        octets.put_u8(match self.body {
            Body::Record(..) => RECORD,
            Body::Heartbeat => HEARTBEAT,
            Body::Probe(_) => PROBE,
            Body::Echo(_) => ECHO,
        });
        octets.put_slice(self.origin.as_bytes());
        octets.put_slice(self.receiver.as_bytes());
        octets.put_u64(self.number);
        match &self.body {
            Body::Record(position, record) => {
                octets.put_slice(position.generation.as_bytes());
                octets.put_u64(position.number);
                octets.put_slice(record);
            }
            Body::Heartbeat => {}
            Body::Probe(id) | Body::Echo(id) => octets.put_u64(*id),
        }
        octets.freeze()
    }

    /// From octets.
    ///
    /// # Errors
    ///
    /// [`FrameError`].
    pub fn decode(octets: &Bytes) -> Result<Self, FrameError> {
        let mut reader = Reader(octets);
        let [version, kind] = reader.array()?;
        let (origin, receiver) = (reader.generation()?, reader.generation()?);
        let number = u64::from_be_bytes(reader.array()?);
        let body = match (version, kind) {
            (VERSION, HEARTBEAT) => Body::Heartbeat,
            (VERSION, PROBE) => Body::Probe(u64::from_be_bytes(reader.array()?)),
            (VERSION, ECHO) => Body::Echo(u64::from_be_bytes(reader.array()?)),
            (VERSION, RECORD) => {
                let position = Position {
                    generation: reader.generation()?,
                    number: u64::from_be_bytes(reader.array()?),
                };
                Body::Record(position, octets.slice_ref(reader.0))
            }
            _ => return Err(FrameError),
        };
        Ok(Self {
            origin,
            receiver,
            number,
            body,
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(FrameError)?;
        self.0 = rest;
        Ok(*array)
    }

    fn generation(&mut self) -> Result<Generation, FrameError> {
        self.array().map(Generation::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn frame(body: Body) -> Frame {
        Frame {
            origin: Generation(Uuid::from_u128(1)),
            receiver: Generation(Uuid::from_u128(2)),
            number: 3,
            body,
        }
    }

    #[test]
    fn frames_come_back() {
        let position = Position {
            generation: Generation(Uuid::from_u128(4)),
            number: 5,
        };
        for body in [
            Body::Heartbeat,
            Body::Probe(6),
            Body::Echo(u64::MAX),
            Body::Record(position, Bytes::from_static(b"record")),
            Body::Record(position, Bytes::new()),
        ] {
            let frame = frame(body);
            assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn a_kind_of_a_later_release_is_no_frame_here() {
        for kind in [0, ECHO + 1, u8::MAX] {
            let mut octets = frame(Body::Probe(6)).encode().to_vec();
            octets[1] = kind;
            assert_eq!(Frame::decode(&octets.into()), Err(FrameError), "{kind}");
        }
    }

    fn bodies() -> impl Strategy<Value = Body> {
        let record = (any::<u128>(), any::<u64>(), any::<Vec<u8>>()).prop_map(|(log, number, record)| {
            let generation = Generation(Uuid::from_u128(log));
            Body::Record(Position { generation, number }, record.into())
        });
        prop_oneof![
            record,
            Just(Body::Heartbeat),
            any::<u64>().prop_map(Body::Probe),
            any::<u64>().prop_map(Body::Echo),
        ]
    }

    proptest! {
        #[test]
        fn any_frame_comes_back_and_a_part_of_its_head_is_none(body in bodies(), at in 0..HEAD_OCTETS) {
            let frame = frame(body);
            let octets = frame.encode();
            prop_assert_eq!(Frame::decode(&octets.slice(..at)), Err(FrameError));
            prop_assert_eq!(Frame::decode(&octets), Ok(frame));
        }

        #[test]
        fn any_octets_are_a_frame_or_none(octets: Vec<u8>) {
            let octets = Bytes::from(octets);
            if let Ok(frame) = Frame::decode(&octets) {
                prop_assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
            }
        }
    }
}
