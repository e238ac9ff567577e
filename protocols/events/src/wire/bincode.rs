//! Version 2 in bincode: the fields of version 2 by position, integers by bincode's variable length (little endian),
//! ids as sixteen octets.
//!
//! The only file that knows the crate, which is maintained no more (`deny.toml` says when it goes). Its form is small
//! and written down, so that it could be read without it. It is derived by the crate's own traits and not through
//! serde, so that nothing that is left out in other formats can shift what follows here.
//!
//! The order of fields and of [`Body`]'s variants is the form: nothing here may be moved. Octets behind the record are
//! ignored, which is where a later release may add fields.

use std::borrow::Cow;
use std::mem::size_of;

use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use bincode::de::{BorrowDecoder, Decode};
use bincode::enc::Encoder;
use bincode::error::{DecodeError as Fault, EncodeError};
use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use uuid::Uuid;

use super::{DecodeError, Format, PAYLOAD_OCTETS_MAX};
use crate::ids::{AccountId, EventId, MailboxId, MessageId, Stamp};
use crate::model::{
    Acl, Added, Arrival, ContentDeleted, Event, Expunged, FlagsUpdated, Happening, QuotaLimits, QuotaRoot,
    QuotaUsage, Record,
};

/// Octets of memory that a payload may fill, as bincode counts them: each list with the sizes of its items. An expunged
/// message has about 30 octets on the wire and 56 here, an added one 100 and 120: what is no attack meets the payload's own
/// limit first.
const DECODED_OCTETS_MAX: usize = 8 * PAYLOAD_OCTETS_MAX;

/// Items for which a list has room before the first was read. What it claims to have is not believed.
const ITEMS_AHEAD_MAX: usize = 256;

type Id = [u8; 16];
type Text<'a> = Cow<'a, str>;
type Flags<'a> = List<Text<'a>>;

fn config() -> Configuration<LittleEndian, Varint, Limit<DECODED_OCTETS_MAX>> {
    standard().with_limit::<DECODED_OCTETS_MAX>()
}

pub(super) fn encode(record: &Record, octets: &mut Vec<u8>) {
    // Writing to memory has no way to fail, and the limit is one of reading.
    if let Err(error) = bincode::encode_into_std_write(RecordOf::from(record), octets, config()) {
        unreachable!("a record of plain fields was not encodable: {error}");
    }
}

pub(super) fn decode(payload: &[u8]) -> Result<Record, DecodeError> {
    match bincode::borrow_decode_from_slice::<RecordOf<'_>, _>(payload, config()) {
        Ok((record, _later)) => Ok(record.into()),
        Err(Fault::UnexpectedVariant {
            type_name: "Body",
            found,
            ..
        }) => Err(DecodeError::unknown_kind(&format!("number {found}"))),
        Err(error) => Err(DecodeError::malformed(Format::Bincode, error)),
    }
}

/// A list whose length is written as bincode writes a vector's, and isn't believed when it is read.
struct List<T>(Vec<T>);

impl<T: Encode> Encode for List<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_slice().encode(encoder)
    }
}

impl<'de, C, T: BorrowDecode<'de, C>> BorrowDecode<'de, C> for List<T> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, Fault> {
        let length = u64::decode(decoder)?;
        let length = usize::try_from(length).map_err(|_| Fault::OutsideUsizeRange(length))?;
        decoder.claim_container_read::<T>(length)?;
        let mut items = Vec::with_capacity(length.min(ITEMS_AHEAD_MAX));
        for _ in 0..length {
            // The item claims for itself what was claimed for it.
            decoder.unclaim_bytes_read(size_of::<T>());
            items.push(T::borrow_decode(decoder)?);
        }
        Ok(Self(items))
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[derive(Encode, BorrowDecode)]
struct RecordOf<'a> {
    id: Id,
    stamp: u64,
    events: List<EventOf<'a>>,
}

#[derive(Encode, BorrowDecode)]
struct EventOf<'a> {
    user: Text<'a>,
    account: Id,
    mailbox: Option<Id>,
    body: Body<'a>,
}

#[derive(Encode, BorrowDecode)]
enum Body<'a> {
    Added(ArrivalOf, List<AddedOf<'a>>),
    Expunged(Option<Id>, List<ExpungedOf<'a>>),
    FlagsUpdated(List<FlagsOf<'a>>),
    MailboxAdded(Text<'a>),
    MailboxRenamed(Text<'a>, Text<'a>),
    MailboxDeleted(Text<'a>, u64, u64),
    MailboxAclUpdated(Text<'a>, AclOf<'a>, AclOf<'a>),
    MailboxSubscribed(Text<'a>),
    MailboxUnsubscribed(Text<'a>),
    MessageMoved(List<Id>, List<Id>, List<Id>),
    MessageContentDeleted(List<ContentOf>),
    QuotaUsageUpdated(UsageOf<'a>),
    QuotaLimitsUpdated(RootOf<'a>, LimitsOf, LimitsOf),
}

type AclOf<'a> = List<(Text<'a>, Text<'a>)>;

#[derive(Encode, BorrowDecode)]
enum ArrivalOf {
    Delivered,
    Appended,
    Moved(Id),
    Copied(Id),
}

#[derive(Encode, BorrowDecode)]
struct AddedOf<'a> {
    message: Id,
    size: u64,
    chunks: u32,
    received: u64,
    flags: Flags<'a>,
    unique_id: Option<Text<'a>>,
    prefix: Cow<'a, [u8]>,
}

#[derive(Encode, BorrowDecode)]
struct ExpungedOf<'a> {
    message: Id,
    size: u64,
    received: u64,
    flags: Flags<'a>,
}

#[derive(Encode, BorrowDecode)]
struct FlagsOf<'a> {
    message: Id,
    before: Flags<'a>,
    after: Flags<'a>,
}

#[derive(Encode, BorrowDecode)]
struct ContentOf {
    message: Id,
    octets: u64,
    chunks: u32,
}

#[derive(Encode, BorrowDecode)]
enum RootOf<'a> {
    User,
    Domain(Text<'a>),
}

#[derive(Encode, BorrowDecode)]
struct LimitsOf {
    messages: Option<u64>,
    octets: Option<u64>,
}

#[derive(Encode, BorrowDecode)]
struct UsageOf<'a> {
    root: RootOf<'a>,
    messages: u64,
    octets: u64,
    limits: LimitsOf,
    reached_percent: u8,
    before_percent: u8,
}

impl<'a> From<&'a Record> for RecordOf<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            id: *record.id.as_bytes(),
            stamp: record.stamp.0,
            events: record.events.iter().map(EventOf::from).collect(),
        }
    }
}

impl From<RecordOf<'_>> for Record {
    fn from(dto: RecordOf<'_>) -> Self {
        Self {
            id: EventId(Uuid::from_bytes(dto.id)),
            stamp: Stamp(dto.stamp),
            events: dto.events.into_iter().map(Event::from).collect(),
        }
    }
}

impl<'a> From<&'a Event> for EventOf<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            user: (&event.user).into(),
            account: *event.account.as_bytes(),
            mailbox: event.mailbox.map(|mailbox| *mailbox.as_bytes()),
            body: Body::from(&event.happening),
        }
    }
}

impl From<EventOf<'_>> for Event {
    fn from(dto: EventOf<'_>) -> Self {
        Self {
            user: dto.user.into_owned(),
            account: AccountId::from_bytes(dto.account),
            mailbox: dto.mailbox.map(MailboxId::from_bytes),
            happening: dto.body.into(),
        }
    }
}

impl<'a> From<&'a Happening> for Body<'a> {
    fn from(happening: &'a Happening) -> Self {
        match happening {
            Happening::Added { arrival, messages } => {
                Self::Added((*arrival).into(), messages.iter().map(AddedOf::from).collect())
            }
            Happening::Expunged { moved_to, messages } => {
                let moved_to = moved_to.map(|mailbox| *mailbox.as_bytes());
                Self::Expunged(moved_to, messages.iter().map(ExpungedOf::from).collect())
            }
            Happening::FlagsUpdated(messages) => {
                Self::FlagsUpdated(messages.iter().map(FlagsOf::from).collect())
            }
            Happening::MailboxAdded { name } => Self::MailboxAdded(name.into()),
            Happening::MailboxRenamed { from, to } => Self::MailboxRenamed(from.into(), to.into()),
            Happening::MailboxDeleted {
                name,
                messages,
                octets,
            } => Self::MailboxDeleted(name.into(), *messages, *octets),
            Happening::MailboxAclUpdated { name, before, after } => {
                Self::MailboxAclUpdated(name.into(), acl_out(before), acl_out(after))
            }
            Happening::MailboxSubscribed { name } => Self::MailboxSubscribed(name.into()),
            Happening::MailboxUnsubscribed { name } => Self::MailboxUnsubscribed(name.into()),
            Happening::MessageMoved { from, to, messages } => Self::MessageMoved(
                from.iter().map(|mailbox| *mailbox.as_bytes()).collect(),
                to.iter().map(|mailbox| *mailbox.as_bytes()).collect(),
                messages.iter().map(|message| *message.as_bytes()).collect(),
            ),
            Happening::MessageContentDeleted(messages) => {
                Self::MessageContentDeleted(messages.iter().map(ContentOf::from).collect())
            }
            Happening::QuotaUsageUpdated(usage) => Self::QuotaUsageUpdated(usage.into()),
            Happening::QuotaLimitsUpdated { root, before, after } => {
                Self::QuotaLimitsUpdated(root.into(), (*before).into(), (*after).into())
            }
        }
    }
}

impl From<Body<'_>> for Happening {
    fn from(body: Body<'_>) -> Self {
        match body {
            Body::Added(arrival, messages) => Self::Added {
                arrival: arrival.into(),
                messages: messages.into_iter().map(Added::from).collect(),
            },
            Body::Expunged(moved_to, messages) => Self::Expunged {
                moved_to: moved_to.map(MailboxId::from_bytes),
                messages: messages.into_iter().map(Expunged::from).collect(),
            },
            Body::FlagsUpdated(messages) => {
                Self::FlagsUpdated(messages.into_iter().map(FlagsUpdated::from).collect())
            }
            Body::MailboxAdded(name) => Self::MailboxAdded { name: name.into() },
            Body::MailboxRenamed(from, to) => Self::MailboxRenamed {
                from: from.into(),
                to: to.into(),
            },
            Body::MailboxDeleted(name, messages, octets) => Self::MailboxDeleted {
                name: name.into(),
                messages,
                octets,
            },
            Body::MailboxAclUpdated(name, before, after) => Self::MailboxAclUpdated {
                name: name.into(),
                before: acl(before),
                after: acl(after),
            },
            Body::MailboxSubscribed(name) => Self::MailboxSubscribed { name: name.into() },
            Body::MailboxUnsubscribed(name) => Self::MailboxUnsubscribed { name: name.into() },
            Body::MessageMoved(from, to, messages) => Self::MessageMoved {
                from: from.into_iter().map(MailboxId::from_bytes).collect(),
                to: to.into_iter().map(MailboxId::from_bytes).collect(),
                messages: messages.into_iter().map(MessageId::from_bytes).collect(),
            },
            Body::MessageContentDeleted(messages) => {
                Self::MessageContentDeleted(messages.into_iter().map(ContentDeleted::from).collect())
            }
            Body::QuotaUsageUpdated(usage) => Self::QuotaUsageUpdated(usage.into()),
            Body::QuotaLimitsUpdated(root, before, after) => Self::QuotaLimitsUpdated {
                root: root.into(),
                before: before.into(),
                after: after.into(),
            },
        }
    }
}

fn texts(texts: &[String]) -> Flags<'_> {
    texts.iter().map(Cow::from).collect()
}

fn strings(texts: Flags<'_>) -> Vec<String> {
    texts.into_iter().map(Cow::into_owned).collect()
}

fn acl_out(acl: &Acl) -> AclOf<'_> {
    acl.iter()
        .map(|(who, rights)| (who.into(), rights.into()))
        .collect()
}

fn acl(dto: AclOf<'_>) -> Acl {
    dto.into_iter()
        .map(|(who, rights)| (who.into(), rights.into()))
        .collect()
}

impl From<Arrival> for ArrivalOf {
    fn from(arrival: Arrival) -> Self {
        match arrival {
            Arrival::Delivered => Self::Delivered,
            Arrival::Appended => Self::Appended,
            Arrival::Moved(from) => Self::Moved(*from.as_bytes()),
            Arrival::Copied(from) => Self::Copied(*from.as_bytes()),
        }
    }
}

impl From<ArrivalOf> for Arrival {
    fn from(dto: ArrivalOf) -> Self {
        match dto {
            ArrivalOf::Delivered => Self::Delivered,
            ArrivalOf::Appended => Self::Appended,
            ArrivalOf::Moved(from) => Self::Moved(MailboxId::from_bytes(from)),
            ArrivalOf::Copied(from) => Self::Copied(MailboxId::from_bytes(from)),
        }
    }
}

impl<'a> From<&'a Added> for AddedOf<'a> {
    fn from(added: &'a Added) -> Self {
        Self {
            message: *added.message.as_bytes(),
            size: added.size,
            chunks: added.chunks,
            received: added.received.0,
            flags: texts(&added.flags),
            unique_id: added.unique_id.as_ref().map(Cow::from),
            prefix: Cow::Borrowed(&added.prefix),
        }
    }
}

impl From<AddedOf<'_>> for Added {
    fn from(dto: AddedOf<'_>) -> Self {
        Self {
            message: MessageId::from_bytes(dto.message),
            size: dto.size,
            chunks: dto.chunks,
            received: Stamp(dto.received),
            flags: strings(dto.flags),
            unique_id: dto.unique_id.map(Cow::into_owned),
            prefix: Bytes::from(dto.prefix.into_owned()),
        }
    }
}

impl<'a> From<&'a Expunged> for ExpungedOf<'a> {
    fn from(expunged: &'a Expunged) -> Self {
        Self {
            message: *expunged.message.as_bytes(),
            size: expunged.size,
            received: expunged.received.0,
            flags: texts(&expunged.flags),
        }
    }
}

impl From<ExpungedOf<'_>> for Expunged {
    fn from(dto: ExpungedOf<'_>) -> Self {
        Self {
            message: MessageId::from_bytes(dto.message),
            size: dto.size,
            received: Stamp(dto.received),
            flags: strings(dto.flags),
        }
    }
}

impl<'a> From<&'a FlagsUpdated> for FlagsOf<'a> {
    fn from(updated: &'a FlagsUpdated) -> Self {
        Self {
            message: *updated.message.as_bytes(),
            before: texts(&updated.before),
            after: texts(&updated.after),
        }
    }
}

impl From<FlagsOf<'_>> for FlagsUpdated {
    fn from(dto: FlagsOf<'_>) -> Self {
        Self {
            message: MessageId::from_bytes(dto.message),
            before: strings(dto.before),
            after: strings(dto.after),
        }
    }
}

impl From<&ContentDeleted> for ContentOf {
    fn from(deleted: &ContentDeleted) -> Self {
        Self {
            message: *deleted.message.as_bytes(),
            octets: deleted.octets,
            chunks: deleted.chunks,
        }
    }
}

impl From<ContentOf> for ContentDeleted {
    fn from(dto: ContentOf) -> Self {
        Self {
            message: MessageId::from_bytes(dto.message),
            octets: dto.octets,
            chunks: dto.chunks,
        }
    }
}

impl<'a> From<&'a QuotaRoot> for RootOf<'a> {
    fn from(root: &'a QuotaRoot) -> Self {
        match root {
            QuotaRoot::User => Self::User,
            QuotaRoot::Domain(domain) => Self::Domain(domain.into()),
        }
    }
}

impl From<RootOf<'_>> for QuotaRoot {
    fn from(dto: RootOf<'_>) -> Self {
        match dto {
            RootOf::User => Self::User,
            RootOf::Domain(domain) => Self::Domain(domain.into()),
        }
    }
}

impl From<QuotaLimits> for LimitsOf {
    fn from(limits: QuotaLimits) -> Self {
        Self {
            messages: limits.messages,
            octets: limits.octets,
        }
    }
}

impl From<LimitsOf> for QuotaLimits {
    fn from(dto: LimitsOf) -> Self {
        Self {
            messages: dto.messages,
            octets: dto.octets,
        }
    }
}

impl<'a> From<&'a QuotaUsage> for UsageOf<'a> {
    fn from(usage: &'a QuotaUsage) -> Self {
        Self {
            root: (&usage.root).into(),
            messages: usage.messages,
            octets: usage.octets,
            limits: usage.limits.into(),
            reached_percent: usage.reached_percent,
            before_percent: usage.before_percent,
        }
    }
}

impl From<UsageOf<'_>> for QuotaUsage {
    fn from(dto: UsageOf<'_>) -> Self {
        Self {
            root: dto.root.into(),
            messages: dto.messages,
            octets: dto.octets,
            limits: dto.limits.into(),
            reached_percent: dto.reached_percent,
            before_percent: dto.before_percent,
        }
    }
}
