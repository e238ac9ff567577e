//! The fields of version 2 by name, as JSON and MessagePack have them. Ids are text where people read, octets elsewhere:
//! the format says which.
//!
//! An event is one flat map, whose kind says what else is in it. To read it without keeping what may not be needed, a
//! payload is gone through twice: first for the heads, among them the kinds, then, knowing these, for the bodies.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::DecodeError;
use crate::ids::{AccountId, EventId, MailboxId, Stamp};
use crate::model::{Event, Happening, Record};

mod bodies;
mod octets;

use bodies::Body;

#[derive(Serialize)]
pub(super) struct RecordOut<'a> {
    id: Uuid,
    stamp: u64,
    events: Vec<EventOut<'a>>,
}

#[derive(Serialize)]
pub(super) struct EventOut<'a> {
    user: &'a str,
    account: Uuid,
    mailbox: Option<Uuid>,
    kind: &'static str,
    #[serde(flatten)]
    body: Body<'a>,
}

impl<'a> From<&'a Record> for RecordOut<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            id: record.id.0,
            stamp: record.stamp.0,
            events: record.events.iter().map(EventOut::from).collect(),
        }
    }
}

impl<'a> From<&'a Event> for EventOut<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            user: &event.user,
            account: event.account.0,
            mailbox: event.mailbox.map(|mailbox| mailbox.0),
            kind: event.happening.name(),
            body: Body::from(&event.happening),
        }
    }
}

/// What the first pass reads.
#[derive(Deserialize)]
pub(super) struct RecordHead<'a> {
    id: Uuid,
    stamp: u64,
    #[serde(borrow)]
    events: Vec<EventHead<'a>>,
}

#[derive(Deserialize)]
struct EventHead<'a> {
    user: String,
    account: Uuid,
    mailbox: Option<Uuid>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

impl RecordHead<'_> {
    pub(super) fn check_kinds(&self) -> Result<(), DecodeError> {
        let mut kinds = self.events.iter().map(|event| &event.kind);
        match kinds.find(|kind| !Happening::NAMES.contains(&kind.as_ref())) {
            Some(kind) => Err(DecodeError::unknown_kind(kind)),
            None => Ok(()),
        }
    }

    /// With the bodies that [`Bodies`] read, one for each head.
    pub(super) fn into_record(self, bodies: Vec<Happening>) -> Record {
        let events = self.events.into_iter().zip(bodies);
        Record {
            id: EventId(self.id),
            stamp: Stamp(self.stamp),
            events: events
                .map(|(head, happening)| Event {
                    user: head.user,
                    account: AccountId(head.account),
                    mailbox: head.mailbox.map(MailboxId),
                    happening,
                })
                .collect(),
        }
    }
}

/// The second pass: a record, of which it takes what the heads have left.
pub(super) struct Bodies<'h>(pub(super) &'h RecordHead<'h>);

impl<'de> DeserializeSeed<'de> for Bodies<'_> {
    type Value = Vec<Happening>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Happening>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Bodies<'_> {
    type Value = Vec<Happening>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Happening>, A::Error> {
        let mut bodies = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == "events" {
                bodies = Some(map.next_value_seed(EventBodies(&self.0.events))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        bodies.ok_or_else(|| A::Error::missing_field("events"))
    }
}

struct EventBodies<'h>(&'h [EventHead<'h>]);

impl<'de> DeserializeSeed<'de> for EventBodies<'_> {
    type Value = Vec<Happening>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Happening>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for EventBodies<'_> {
    type Value = Vec<Happening>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Happening>, A::Error> {
        let mut bodies = Vec::with_capacity(self.0.len());
        for head in self.0 {
            let body = seq.next_element_seed(EventBody(&head.kind))?;
            bodies.push(body.ok_or_else(|| A::Error::custom("fewer events than there were"))?);
        }
        // A list is only at its end for its reader once that was seen.
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(bodies),
            Some(_) => Err(A::Error::custom("more events than there were")),
        }
    }
}

struct EventBody<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for EventBody<'_> {
    type Value = Happening;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Happening, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventBody<'_> {
    type Value = Happening;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    // Of a list, which the derived types would take by position, nothing is read: names are the form.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Happening, A::Error> {
        Body::read(self.0, MapAccessDeserializer::new(map))
    }
}
