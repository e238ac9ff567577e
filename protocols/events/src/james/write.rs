//! Our events in James' words.

use jiff::Timestamp;
use uuid::Uuid;

use super::dto::{
    AclDiffDto, AclUpdatedDto, AddedDto, ContentDeletionDto, DeletionDto, EventDto, ExpungedDto, FlagsDto,
    FlagsUpdatedDto, MailboxDto, MessageDto, MoveDto, PathDto, QuotaDto, QuotaUsageDto, RenamedDto,
    UpdatedDto,
};
use crate::ids::{EventId, MailboxId, MessageId, Stamp};
use crate::model::{
    Acl, Added, Arrival, ContentDeleted, Event, Expunged, FlagsUpdated, Happening, QuotaRoot, QuotaUsage,
};

const SYSTEM_FLAGS: [&str; 6] = ["Answered", "Deleted", "Draft", "Flagged", "Recent", "Seen"];

pub(super) fn event(id: EventId, stamp: Stamp, event: &Event) -> Vec<String> {
    let context = Context { id, stamp, event };
    context.dtos().iter().map(json).collect()
}

fn json(dto: &EventDto) -> String {
    match serde_json::to_string(dto) {
        Ok(json) => json,
        Err(error) => unreachable!("an event of plain fields was not serialisable: {error}"),
    }
}

/// What every event of James has.
struct Context<'a> {
    id: EventId,
    stamp: Stamp,
    event: &'a Event,
}

impl Context<'_> {
    fn dtos(&self) -> Vec<EventDto> {
        let one = match &self.event.happening {
            Happening::Added { arrival, messages } => EventDto::Added(self.added(*arrival, messages)),
            Happening::Expunged { moved_to, messages } => {
                EventDto::Expunged(self.expunged(*moved_to, messages))
            }
            Happening::FlagsUpdated(messages) => EventDto::FlagsUpdated(self.flags_updated(messages)),
            Happening::MailboxAdded { name } => EventDto::MailboxAdded(self.mailbox_event(name)),
            Happening::MailboxSubscribed { name } => {
                EventDto::MailboxSubscribedEvent(self.mailbox_event(name))
            }
            Happening::MailboxUnsubscribed { name } => {
                EventDto::MailboxUnSubscribedEvent(self.mailbox_event(name))
            }
            Happening::MailboxRenamed { from, to } => EventDto::MailboxRenamed(self.renamed(from, to)),
            Happening::MailboxDeleted {
                name,
                messages,
                octets,
            } => EventDto::MailboxDeletion(self.deletion(name, *messages, *octets)),
            Happening::MailboxAclUpdated { name, before, after } => {
                EventDto::MailboxAclUpdated(self.acl_updated(name, before, after))
            }
            Happening::MessageMoved { from, to, messages } => {
                EventDto::MessageMoveEvent(self.moved(from, to, messages))
            }
            Happening::MessageContentDeleted(messages) => {
                let messages = messages.iter().enumerate();
                return messages
                    .map(|(index, message)| {
                        EventDto::MessageContentDeletionEvent(self.content_deletion(index, *message))
                    })
                    .collect();
            }
            Happening::QuotaUsageUpdated(usage) if usage.root == QuotaRoot::User => {
                EventDto::QuotaUsageUpdatedEvent(self.quota_usage(usage))
            }
            Happening::QuotaUsageUpdated(_) | Happening::QuotaLimitsUpdated { .. } => return Vec::new(),
        };
        vec![one]
    }

    fn added(&self, arrival: Arrival, messages: &[Added]) -> AddedDto {
        let messages = messages.iter();
        AddedDto {
            event_id: self.id.0,
            session_id: 0,
            user: self.event.user.clone(),
            path: self.path_without_name(),
            mailbox_id: self.mailbox(),
            added: uids()
                .zip(messages)
                .map(|(uid, one)| {
                    (
                        uid,
                        self.message(uid, one.message, one.size, one.received, &one.flags),
                    )
                })
                .collect(),
            is_delivery: arrival == Arrival::Delivered,
            // A delivery is an append, too; only what another mailbox had is not.
            is_appended: matches!(arrival, Arrival::Delivered | Arrival::Appended),
            moved_from_mailbox_id: match arrival {
                Arrival::Moved(from) => Some(from.to_string()),
                _ => None,
            },
        }
    }

    fn expunged(&self, moved_to: Option<MailboxId>, messages: &[Expunged]) -> ExpungedDto {
        let messages = messages.iter();
        ExpungedDto {
            event_id: self.id.0,
            session_id: 0,
            user: self.event.user.clone(),
            path: self.path_without_name(),
            mailbox_id: self.mailbox(),
            expunged: uids()
                .zip(messages)
                .map(|(uid, one)| {
                    (
                        uid,
                        self.message(uid, one.message, one.size, one.received, &one.flags),
                    )
                })
                .collect(),
            moved_to_mailbox_id: moved_to.map(|mailbox| mailbox.to_string()),
        }
    }

    fn message(&self, uid: u64, id: MessageId, size: u64, received: Stamp, texts: &[String]) -> MessageDto {
        MessageDto {
            uid,
            mod_seq: self.stamp.0,
            flags: flags(texts),
            size,
            internal_date: time(received),
            message_id: id.to_string(),
            thread_id: id.to_string(),
        }
    }

    fn flags_updated(&self, messages: &[FlagsUpdated]) -> FlagsUpdatedDto {
        let messages = messages.iter();
        FlagsUpdatedDto {
            event_id: self.id.0,
            session_id: 0,
            user: self.event.user.clone(),
            path: self.path_without_name(),
            mailbox_id: self.mailbox(),
            updated_flags: uids()
                .zip(messages)
                .map(|(uid, one)| UpdatedDto {
                    uid,
                    message_id: Some(one.message.to_string()),
                    mod_seq: self.stamp.0,
                    old_flags: flags(&one.before),
                    new_flags: flags(&one.after),
                })
                .collect(),
        }
    }

    fn mailbox_event(&self, name: &str) -> MailboxDto {
        MailboxDto {
            event_id: self.id.0,
            session_id: 0,
            user: self.event.user.clone(),
            mailbox_path: self.path(name),
            mailbox_id: self.mailbox(),
        }
    }

    fn renamed(&self, from: &str, to: &str) -> RenamedDto {
        RenamedDto {
            event_id: self.id.0,
            session_id: 0,
            user: self.event.user.clone(),
            path: self.path(from),
            mailbox_id: self.mailbox(),
            new_path: self.path(to),
        }
    }

    fn deletion(&self, name: &str, messages: u64, octets: u64) -> DeletionDto {
        DeletionDto {
            event_id: self.id.0,
            session_id: 0,
            user: self.event.user.clone(),
            path: self.path(name),
            mailbox_id: self.mailbox(),
            quota_root: self.quota_root(),
            deleted_message_count: messages,
            total_deleted_size: octets,
        }
    }

    fn acl_updated(&self, name: &str, before: &Acl, after: &Acl) -> AclUpdatedDto {
        AclUpdatedDto {
            event_id: self.id.0,
            session_id: 0,
            user: self.event.user.clone(),
            mailbox_path: self.path(name),
            mailbox_id: self.mailbox(),
            acl_diff: AclDiffDto {
                old: before.clone(),
                new: after.clone(),
            },
        }
    }

    fn moved(&self, from: &[MailboxId], to: &[MailboxId], messages: &[MessageId]) -> MoveDto {
        MoveDto {
            event_id: self.id.0,
            user: self.event.user.clone(),
            previous_mailbox_ids: from.iter().map(MailboxId::to_string).collect(),
            target_mailbox_ids: to.iter().map(MailboxId::to_string).collect(),
            message_ids: messages.iter().map(MessageId::to_string).collect(),
        }
    }

    /// Not [`EventId::of_event`]: that is the name of another event of the record.
    fn content_deletion(&self, index: usize, deleted: ContentDeleted) -> ContentDeletionDto {
        let message = deleted.message;
        ContentDeletionDto {
            event_id: match index {
                0 => self.id.0,
                _ => Uuid::new_v5(&self.id.0, message.as_bytes()),
            },
            username: self.event.user.clone(),
            mailbox_id: self.mailbox(),
            mailbox_path: None,
            message_id: message.to_string(),
            size: deleted.octets,
            internal_date: time(message.stamp()),
            has_attachments: false,
            body_blob_id: message.to_string(),
        }
    }

    fn quota_usage(&self, usage: &QuotaUsage) -> QuotaUsageDto {
        let quota = |used, limit| QuotaDto {
            used,
            limit,
            limits: Default::default(),
        };
        QuotaUsageDto {
            event_id: self.id.0,
            user: self.event.user.clone(),
            quota_root: self.quota_root(),
            count_quota: quota(usage.messages, usage.limits.messages),
            size_quota: quota(usage.octets, usage.limits.octets),
            time: time(self.stamp),
        }
    }

    fn mailbox(&self) -> String {
        self.event
            .mailbox
            .map_or_else(Uuid::nil, |mailbox| mailbox.0)
            .to_string()
    }

    fn quota_root(&self) -> String {
        format!("#private&{}", self.event.user)
    }

    fn path(&self, name: &str) -> PathDto {
        PathDto {
            namespace: "#private",
            user: Some(self.event.user.clone()),
            name: name.to_owned(),
        }
    }

    fn path_without_name(&self) -> PathDto {
        if self.event.mailbox == Some(MailboxId::inbox(self.event.account)) {
            return self.path("INBOX");
        }
        self.path(&self.mailbox())
    }
}

fn uids() -> impl Iterator<Item = u64> {
    1..
}

fn flags(texts: &[String]) -> FlagsDto {
    let mut flags = FlagsDto {
        system_flags: Vec::new(),
        user_flags: Vec::new(),
    };
    for text in texts {
        let system = text.strip_prefix('\\').and_then(|text| {
            let mut names = SYSTEM_FLAGS.iter();
            names.find(|name| name.eq_ignore_ascii_case(text))
        });
        match system {
            Some(&name) => flags.system_flags.push(name.to_owned()),
            None => flags.user_flags.push(text.clone()),
        }
    }
    flags
}

/// ISO 8601 with milliseconds; a stamp beyond the calendar is its end.
fn time(stamp: Stamp) -> String {
    let time = i64::try_from(stamp.0).map(Timestamp::from_microsecond);
    let time = time.map_or(Timestamp::MAX, |time| time.unwrap_or(Timestamp::MAX));
    format!("{time:.3}")
}
