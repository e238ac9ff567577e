//! What an event has by its kind.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::octets;
use crate::ids::{MailboxId, MessageId, Stamp};
use crate::model::{
    Acl, Added, Arrival, ContentDeleted, Expunged, FlagsUpdated, Happening, QuotaLimits, QuotaRoot,
    QuotaUsage,
};

/// A body on its way out; [`Body::read`] is the way in.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Body<'a> {
    Added(AddedBody<'a>),
    Expunged(ExpungedBody<'a>),
    Flags(FlagsBody<'a>),
    Name(NameBody<'a>),
    Renamed(RenamedBody<'a>),
    Deleted(DeletedBody<'a>),
    Acl(AclBody<'a>),
    Moved(MovedBody),
    Content(ContentBody),
    Usage(UsageBody<'a>),
    Limits(LimitsBody<'a>),
}

#[derive(Serialize, Deserialize)]
pub(super) struct AddedBody<'a> {
    arrival: ArrivalName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_mailbox: Option<Uuid>,
    messages: Vec<AddedMessage<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ArrivalName {
    Delivered,
    Appended,
    Moved,
    Copied,
}

#[derive(Serialize, Deserialize)]
struct AddedMessage<'a> {
    message: Uuid,
    size: u64,
    chunks: u32,
    received: u64,
    flags: Cow<'a, [String]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "octets")]
    prefix: Bytes,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ExpungedBody<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved_to: Option<Uuid>,
    messages: Vec<ExpungedMessage<'a>>,
}

#[derive(Serialize, Deserialize)]
struct ExpungedMessage<'a> {
    message: Uuid,
    size: u64,
    received: u64,
    flags: Cow<'a, [String]>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct FlagsBody<'a> {
    messages: Vec<FlagsMessage<'a>>,
}

#[derive(Serialize, Deserialize)]
struct FlagsMessage<'a> {
    message: Uuid,
    before: Cow<'a, [String]>,
    after: Cow<'a, [String]>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct NameBody<'a> {
    name: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RenamedBody<'a> {
    from: Cow<'a, str>,
    to: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeletedBody<'a> {
    name: Cow<'a, str>,
    message_count: u64,
    octets: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AclBody<'a> {
    name: Cow<'a, str>,
    before: Cow<'a, Acl>,
    after: Cow<'a, Acl>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MovedBody {
    from_mailboxes: Vec<Uuid>,
    to_mailboxes: Vec<Uuid>,
    messages: Vec<Uuid>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ContentBody {
    messages: Vec<ContentMessage>,
}

#[derive(Serialize, Deserialize)]
struct ContentMessage {
    message: Uuid,
    octets: u64,
    chunks: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UsageBody<'a> {
    root: RootName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domain: Option<Cow<'a, str>>,
    message_count: u64,
    octets: u64,
    limits: Limits,
    reached_percent: u8,
    before_percent: u8,
}

#[derive(Serialize, Deserialize)]
pub(super) struct LimitsBody<'a> {
    root: RootName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domain: Option<Cow<'a, str>>,
    before: Limits,
    after: Limits,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RootName {
    User,
    Domain,
}

#[derive(Serialize, Deserialize)]
struct Limits {
    messages: Option<u64>,
    octets: Option<u64>,
}

impl<'a> From<&'a Happening> for Body<'a> {
    fn from(happening: &'a Happening) -> Self {
        match happening {
            Happening::Added { arrival, messages } => Self::Added(added_out(*arrival, messages)),
            Happening::Expunged { moved_to, messages } => Self::Expunged(ExpungedBody {
                moved_to: moved_to.map(|mailbox| mailbox.0),
                messages: messages.iter().map(ExpungedMessage::from).collect(),
            }),
            Happening::FlagsUpdated(messages) => Self::Flags(FlagsBody {
                messages: messages.iter().map(FlagsMessage::from).collect(),
            }),
            Happening::MailboxAdded { name }
            | Happening::MailboxSubscribed { name }
            | Happening::MailboxUnsubscribed { name } => Self::Name(NameBody { name: name.into() }),
            Happening::MailboxRenamed { from, to } => Self::Renamed(RenamedBody {
                from: from.into(),
                to: to.into(),
            }),
            Happening::MailboxDeleted {
                name,
                messages,
                octets,
            } => Self::Deleted(DeletedBody {
                name: name.into(),
                message_count: *messages,
                octets: *octets,
            }),
            Happening::MailboxAclUpdated { name, before, after } => Self::Acl(AclBody {
                name: name.into(),
                before: Cow::Borrowed(before),
                after: Cow::Borrowed(after),
            }),
            Happening::MessageMoved { from, to, messages } => Self::Moved(MovedBody {
                from_mailboxes: from.iter().map(|mailbox| mailbox.0).collect(),
                to_mailboxes: to.iter().map(|mailbox| mailbox.0).collect(),
                messages: messages.iter().map(|message| message.0).collect(),
            }),
            Happening::MessageContentDeleted(messages) => Self::Content(ContentBody {
                messages: messages.iter().map(ContentMessage::from).collect(),
            }),
            Happening::QuotaUsageUpdated(usage) => Self::Usage(usage_out(usage)),
            Happening::QuotaLimitsUpdated { root, before, after } => {
                let (root, domain) = root_out(root);
                let (before, after) = (Limits::from(*before), Limits::from(*after));
                Self::Limits(LimitsBody {
                    root,
                    domain,
                    before,
                    after,
                })
            }
        }
    }
}

impl Body<'_> {
    /// Reads what an event of `kind` has and passes over the rest, its head and what a later release added.
    pub(super) fn read<'de, D: Deserializer<'de>>(kind: &str, from: D) -> Result<Happening, D::Error> {
        Ok(match kind {
            "Added" => added(AddedBody::deserialize(from)?).map_err(D::Error::custom)?,
            "Expunged" => ExpungedBody::deserialize(from)?.into(),
            "FlagsUpdated" => {
                let body = FlagsBody::deserialize(from)?;
                Happening::FlagsUpdated(body.messages.into_iter().map(FlagsUpdated::from).collect())
            }
            "MailboxAdded" => Happening::MailboxAdded { name: name(from)? },
            "MailboxSubscribed" => Happening::MailboxSubscribed { name: name(from)? },
            "MailboxUnsubscribed" => Happening::MailboxUnsubscribed { name: name(from)? },
            "MailboxRenamed" => {
                let body = RenamedBody::deserialize(from)?;
                let (from, to) = (body.from.into_owned(), body.to.into_owned());
                Happening::MailboxRenamed { from, to }
            }
            "MailboxDeleted" => DeletedBody::deserialize(from)?.into(),
            "MailboxAclUpdated" => AclBody::deserialize(from)?.into(),
            "MessageMoved" => MovedBody::deserialize(from)?.into(),
            "MessageContentDeleted" => {
                let body = ContentBody::deserialize(from)?;
                let messages = body.messages.into_iter().map(ContentDeleted::from);
                Happening::MessageContentDeleted(messages.collect())
            }
            "QuotaUsageUpdated" => usage(UsageBody::deserialize(from)?).map_err(D::Error::custom)?,
            "QuotaLimitsUpdated" => limits(LimitsBody::deserialize(from)?).map_err(D::Error::custom)?,
            _ => return Err(D::Error::custom("an event of an unknown kind")),
        })
    }
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(NameBody::deserialize(from)?.name.into_owned())
}

fn added_out(arrival: Arrival, messages: &[Added]) -> AddedBody<'_> {
    let (arrival, from_mailbox) = match arrival {
        Arrival::Delivered => (ArrivalName::Delivered, None),
        Arrival::Appended => (ArrivalName::Appended, None),
        Arrival::Moved(from) => (ArrivalName::Moved, Some(from.0)),
        Arrival::Copied(from) => (ArrivalName::Copied, Some(from.0)),
    };
    AddedBody {
        arrival,
        from_mailbox,
        messages: messages.iter().map(AddedMessage::from).collect(),
    }
}

fn added(body: AddedBody<'_>) -> Result<Happening, &'static str> {
    let from_mailbox = || {
        body.from_mailbox
            .map(MailboxId)
            .ok_or("missing field `from_mailbox`")
    };
    Ok(Happening::Added {
        arrival: match body.arrival {
            ArrivalName::Delivered => Arrival::Delivered,
            ArrivalName::Appended => Arrival::Appended,
            ArrivalName::Moved => Arrival::Moved(from_mailbox()?),
            ArrivalName::Copied => Arrival::Copied(from_mailbox()?),
        },
        messages: body.messages.into_iter().map(Added::from).collect(),
    })
}

fn root_out(root: &QuotaRoot) -> (RootName, Option<Cow<'_, str>>) {
    match root {
        QuotaRoot::User => (RootName::User, None),
        QuotaRoot::Domain(domain) => (RootName::Domain, Some(domain.into())),
    }
}

fn root(root: &RootName, domain: Option<Cow<'_, str>>) -> Result<QuotaRoot, &'static str> {
    Ok(match root {
        RootName::User => QuotaRoot::User,
        RootName::Domain => QuotaRoot::Domain(domain.ok_or("missing field `domain`")?.into_owned()),
    })
}

fn usage_out(usage: &QuotaUsage) -> UsageBody<'_> {
    let (root, domain) = root_out(&usage.root);
    UsageBody {
        root,
        domain,
        message_count: usage.messages,
        octets: usage.octets,
        limits: usage.limits.into(),
        reached_percent: usage.reached_percent,
        before_percent: usage.before_percent,
    }
}

fn usage(body: UsageBody<'_>) -> Result<Happening, &'static str> {
    Ok(Happening::QuotaUsageUpdated(QuotaUsage {
        root: root(&body.root, body.domain)?,
        messages: body.message_count,
        octets: body.octets,
        limits: body.limits.into(),
        reached_percent: body.reached_percent,
        before_percent: body.before_percent,
    }))
}

fn limits(body: LimitsBody<'_>) -> Result<Happening, &'static str> {
    Ok(Happening::QuotaLimitsUpdated {
        root: root(&body.root, body.domain)?,
        before: body.before.into(),
        after: body.after.into(),
    })
}

impl From<ExpungedBody<'_>> for Happening {
    fn from(body: ExpungedBody<'_>) -> Self {
        Self::Expunged {
            moved_to: body.moved_to.map(MailboxId),
            messages: body.messages.into_iter().map(Expunged::from).collect(),
        }
    }
}

impl From<DeletedBody<'_>> for Happening {
    fn from(body: DeletedBody<'_>) -> Self {
        Self::MailboxDeleted {
            name: body.name.into_owned(),
            messages: body.message_count,
            octets: body.octets,
        }
    }
}

impl From<AclBody<'_>> for Happening {
    fn from(body: AclBody<'_>) -> Self {
        Self::MailboxAclUpdated {
            name: body.name.into_owned(),
            before: body.before.into_owned(),
            after: body.after.into_owned(),
        }
    }
}

impl From<MovedBody> for Happening {
    fn from(body: MovedBody) -> Self {
        Self::MessageMoved {
            from: body.from_mailboxes.into_iter().map(MailboxId).collect(),
            to: body.to_mailboxes.into_iter().map(MailboxId).collect(),
            messages: body.messages.into_iter().map(MessageId).collect(),
        }
    }
}

impl<'a> From<&'a Added> for AddedMessage<'a> {
    fn from(added: &'a Added) -> Self {
        Self {
            message: added.message.0,
            size: added.size,
            chunks: added.chunks,
            received: added.received.0,
            flags: Cow::Borrowed(&added.flags),
            unique_id: added.unique_id.as_ref().map(Cow::from),
            prefix: added.prefix.clone(),
        }
    }
}

impl From<AddedMessage<'_>> for Added {
    fn from(dto: AddedMessage<'_>) -> Self {
        Self {
            message: MessageId(dto.message),
            size: dto.size,
            chunks: dto.chunks,
            received: Stamp(dto.received),
            flags: dto.flags.into_owned(),
            unique_id: dto.unique_id.map(Cow::into_owned),
            prefix: dto.prefix,
        }
    }
}

impl<'a> From<&'a Expunged> for ExpungedMessage<'a> {
    fn from(expunged: &'a Expunged) -> Self {
        Self {
            message: expunged.message.0,
            size: expunged.size,
            received: expunged.received.0,
            flags: Cow::Borrowed(&expunged.flags),
        }
    }
}

impl From<ExpungedMessage<'_>> for Expunged {
    fn from(dto: ExpungedMessage<'_>) -> Self {
        Self {
            message: MessageId(dto.message),
            size: dto.size,
            received: Stamp(dto.received),
            flags: dto.flags.into_owned(),
        }
    }
}

impl<'a> From<&'a FlagsUpdated> for FlagsMessage<'a> {
    fn from(updated: &'a FlagsUpdated) -> Self {
        Self {
            message: updated.message.0,
            before: Cow::Borrowed(&updated.before),
            after: Cow::Borrowed(&updated.after),
        }
    }
}

impl From<FlagsMessage<'_>> for FlagsUpdated {
    fn from(dto: FlagsMessage<'_>) -> Self {
        Self {
            message: MessageId(dto.message),
            before: dto.before.into_owned(),
            after: dto.after.into_owned(),
        }
    }
}

impl From<&ContentDeleted> for ContentMessage {
    fn from(deleted: &ContentDeleted) -> Self {
        Self {
            message: deleted.message.0,
            octets: deleted.octets,
            chunks: deleted.chunks,
        }
    }
}

impl From<ContentMessage> for ContentDeleted {
    fn from(dto: ContentMessage) -> Self {
        Self {
            message: MessageId(dto.message),
            octets: dto.octets,
            chunks: dto.chunks,
        }
    }
}

impl From<QuotaLimits> for Limits {
    fn from(limits: QuotaLimits) -> Self {
        Self {
            messages: limits.messages,
            octets: limits.octets,
        }
    }
}

impl From<Limits> for QuotaLimits {
    fn from(dto: Limits) -> Self {
        Self {
            messages: dto.messages,
            octets: dto.octets,
        }
    }
}
