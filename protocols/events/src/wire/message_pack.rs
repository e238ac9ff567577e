//! Version 2 in MessagePack: maps with the names of `named.rs`, ids and prefixes as octets.

use rmp_serde::Deserializer;
use rmp_serde::decode::ReadRefReader;
use serde::de::DeserializeSeed;
use serde::{Deserialize, Serialize};

use super::named::{Bodies, RecordHead, RecordOut};
use super::{DecodeError, Format, NESTING_MAX};
use crate::model::Record;

pub(super) fn encode(record: &Record, octets: &mut Vec<u8>) {
    let mut serializer = rmp_serde::Serializer::new(octets).with_struct_map();
    // Serialising these plain types into memory has no way to fail.
    if let Err(error) = RecordOut::from(record).serialize(&mut serializer) {
        unreachable!("a record of plain fields was not serialisable: {error}");
    }
}

pub(super) fn decode(payload: &[u8]) -> Result<Record, DecodeError> {
    let malformed = |error| DecodeError::malformed(Format::MessagePack, error);
    let heads = RecordHead::deserialize(&mut deserializer(payload)).map_err(malformed)?;
    heads.check_kinds()?;
    let bodies = Bodies(&heads).deserialize(&mut deserializer(payload));
    Ok(heads.into_record(bodies.map_err(malformed)?))
}

pub(super) fn deserializer(payload: &[u8]) -> Deserializer<ReadRefReader<'_, [u8]>> {
    let mut deserializer = Deserializer::from_read_ref(payload);
    deserializer.set_max_depth(NESTING_MAX);
    deserializer
}
