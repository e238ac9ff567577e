//! A prefix by format: octets where they can be, else text where it is UTF-8, else `{"base64": "…"}`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
struct Wrapped {
    base64: String,
}

pub(super) fn serialize<S: Serializer>(octets: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    if !serializer.is_human_readable() {
        return serializer.serialize_bytes(octets);
    }
    match std::str::from_utf8(octets) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => {
            let base64 = STANDARD.encode(octets);
            Wrapped { base64 }.serialize(serializer)
        }
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    if deserializer.is_human_readable() {
        deserializer.deserialize_any(Octets)
    } else {
        deserializer.deserialize_byte_buf(Octets)
    }
}

struct Octets;

impl<'de> Visitor<'de> for Octets {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("octets, text or base64")
    }

    fn visit_bytes<E: Error>(self, octets: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(octets))
    }

    fn visit_byte_buf<E: Error>(self, octets: Vec<u8>) -> Result<Bytes, E> {
        Ok(octets.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Bytes, E> {
        Ok(text.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Bytes, A::Error> {
        let Wrapped { base64 } = Wrapped::deserialize(MapAccessDeserializer::new(map))?;
        STANDARD.decode(base64).map(Bytes::from).map_err(A::Error::custom)
    }
}
