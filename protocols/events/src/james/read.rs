//! James' events in our words.

use jiff::Timestamp;
use uuid::Uuid;

use super::dto::{
    AddedDto, ContentDeletionDto, EventDto, ExpungedDto, FlagsDto, FlagsUpdatedDto, MailboxDto, MessageDto,
    MoveDto, PathDto, QuotaDto, QuotaUsageDto,
};
use super::{JamesError, account, mailbox, message, message_of_uid};
use crate::ids::{EventId, MailboxId, MessageId, Stamp};
use crate::model::{
    Added, Arrival, ContentDeleted, Event, Expunged, FlagsUpdated, Happening, QuotaLimits, QuotaRoot,
    QuotaUsage, Record,
};

/// Characters of what should be a time that its error repeats.
const TIME_CHARS_MAX: usize = 64;

pub(super) fn events(json: &str, stamp: Stamp) -> Result<Vec<Record>, JamesError> {
    // Looking ahead at one character, rather than trying both, keeps the error of what was meant.
    let dtos = if json.trim_start().starts_with('[') {
        serde_json::from_str(json)?
    } else {
        vec![serde_json::from_str::<EventDto>(json)?]
    };
    dtos.into_iter().map(|dto| record(dto, stamp)).collect()
}

fn record(dto: EventDto, stamp: Stamp) -> Result<Record, JamesError> {
    let (id, event) = event(dto)?;
    Ok(Record {
        id: EventId(id),
        stamp,
        events: vec![event],
    })
}

fn event(dto: EventDto) -> Result<(Uuid, Event), JamesError> {
    Ok(match dto {
        EventDto::Added(dto) => (dto.event_id, added(dto)?),
        EventDto::Expunged(dto) => (dto.event_id, expunged(dto)?),
        EventDto::FlagsUpdated(dto) => (dto.event_id, flags_updated(dto)),
        EventDto::MailboxAdded(dto) => named(dto, |name| Happening::MailboxAdded { name }),
        EventDto::MailboxSubscribedEvent(dto) => named(dto, |name| Happening::MailboxSubscribed { name }),
        EventDto::MailboxUnSubscribedEvent(dto) => named(dto, |name| Happening::MailboxUnsubscribed { name }),
        EventDto::MailboxDeletion(dto) => {
            let happening = Happening::MailboxDeleted {
                name: dto.path.name.clone(),
                messages: dto.deleted_message_count,
                octets: dto.total_deleted_size,
            };
            (
                dto.event_id,
                in_mailbox(dto.user, dto.path, &dto.mailbox_id, happening),
            )
        }
        EventDto::MailboxRenamed(dto) => {
            let happening = Happening::MailboxRenamed {
                from: dto.path.name.clone(),
                to: dto.new_path.name,
            };
            (
                dto.event_id,
                in_mailbox(dto.user, dto.path, &dto.mailbox_id, happening),
            )
        }
        EventDto::MailboxAclUpdated(dto) => {
            let happening = Happening::MailboxAclUpdated {
                name: dto.mailbox_path.name.clone(),
                before: dto.acl_diff.old,
                after: dto.acl_diff.new,
            };
            (
                dto.event_id,
                in_mailbox(dto.user, dto.mailbox_path, &dto.mailbox_id, happening),
            )
        }
        EventDto::QuotaUsageUpdatedEvent(dto) => (dto.event_id, quota_usage(dto)),
        EventDto::MessageMoveEvent(dto) => (dto.event_id, moved(dto)),
        EventDto::MessageContentDeletionEvent(dto) => (dto.event_id, content_deletion(dto)),
    })
}

fn named(dto: MailboxDto, happening: impl FnOnce(String) -> Happening) -> (Uuid, Event) {
    let happening = happening(dto.mailbox_path.name.clone());
    let event = in_mailbox(dto.user, dto.mailbox_path, &dto.mailbox_id, happening);
    (dto.event_id, event)
}

fn added(dto: AddedDto) -> Result<Event, JamesError> {
    let arrival = match dto.moved_from_mailbox_id {
        Some(from) => Arrival::Moved(mailbox(&from)),
        None if dto.is_delivery => Arrival::Delivered,
        None if dto.is_appended => Arrival::Appended,
        None => Arrival::Copied(MailboxId(Uuid::nil())),
    };
    let messages: Result<Vec<Added>, JamesError> = dto
        .added
        .into_values()
        .map(|dto| {
            let received = time(&dto.internal_date)?;
            let (message, size, flags) = parts(dto);
            Ok(Added {
                message,
                size,
                chunks: 0,
                received,
                flags,
                unique_id: None,
                prefix: Default::default(),
            })
        })
        .collect();
    let messages = messages?;
    let happening = Happening::Added { arrival, messages };
    Ok(in_mailbox(dto.user, dto.path, &dto.mailbox_id, happening))
}

fn expunged(dto: ExpungedDto) -> Result<Event, JamesError> {
    let messages: Result<Vec<Expunged>, JamesError> = dto
        .expunged
        .into_values()
        .map(|dto| {
            let received = time(&dto.internal_date)?;
            let (message, size, flags) = parts(dto);
            Ok(Expunged {
                message,
                size,
                received,
                flags,
            })
        })
        .collect();
    let happening = Happening::Expunged {
        moved_to: dto.moved_to_mailbox_id.as_deref().map(mailbox),
        messages: messages?,
    };
    Ok(in_mailbox(dto.user, dto.path, &dto.mailbox_id, happening))
}

fn parts(dto: MessageDto) -> (MessageId, u64, Vec<String>) {
    (message(&dto.message_id), dto.size, flags(dto.flags))
}

fn flags_updated(dto: FlagsUpdatedDto) -> Event {
    let inside = mailbox(&dto.mailbox_id);
    let messages = dto.updated_flags.into_iter().map(|dto| FlagsUpdated {
        message: match &dto.message_id {
            Some(id) => message(id),
            None => message_of_uid(inside, dto.uid),
        },
        before: flags(dto.old_flags),
        after: flags(dto.new_flags),
    });
    let happening = Happening::FlagsUpdated(messages.collect());
    in_mailbox(dto.user, dto.path, &dto.mailbox_id, happening)
}

fn quota_usage(dto: QuotaUsageDto) -> Event {
    let (count, size) = (dto.count_quota, dto.size_quota);
    let usage = QuotaUsage {
        root: QuotaRoot::User,
        messages: count.used,
        octets: size.used,
        limits: QuotaLimits {
            messages: count.limit,
            octets: size.limit,
        },
        reached_percent: percent(&count).max(percent(&size)),
        before_percent: 0,
    };
    of_user(dto.user, None, Happening::QuotaUsageUpdated(usage))
}

/// How much of a limit is used: at most 100, and 0 of no limit.
fn percent(quota: &QuotaDto) -> u8 {
    let Some(limit) = quota.limit else { return 0 };
    let hundredfold = u128::from(quota.used).saturating_mul(100);
    let percent = hundredfold.checked_div(u128::from(limit)).unwrap_or(100);
    u8::try_from(percent.min(100)).unwrap_or(100)
}

fn moved(dto: MoveDto) -> Event {
    let mailboxes = |ids: Vec<String>| ids.iter().map(|id| mailbox(id)).collect();
    let happening = Happening::MessageMoved {
        from: mailboxes(dto.previous_mailbox_ids),
        to: mailboxes(dto.target_mailbox_ids),
        messages: dto.message_ids.iter().map(|id| message(id)).collect(),
    };
    of_user(dto.user, None, happening)
}

fn content_deletion(dto: ContentDeletionDto) -> Event {
    let happening = Happening::MessageContentDeleted(vec![ContentDeleted {
        message: message(&dto.message_id),
        octets: dto.size,
        chunks: 0,
    }]);
    let owner = dto
        .mailbox_path
        .and_then(|path| path.user)
        .unwrap_or(dto.username);
    of_user(owner, Some(mailbox(&dto.mailbox_id)), happening)
}

fn in_mailbox(user: String, path: PathDto, mailbox_id: &str, happening: Happening) -> Event {
    of_user(path.user.unwrap_or(user), Some(mailbox(mailbox_id)), happening)
}

fn of_user(user: String, mailbox: Option<MailboxId>, happening: Happening) -> Event {
    Event {
        account: account(&user),
        user,
        mailbox,
        happening,
    }
}

/// Sorted, as the model has them.
fn flags(dto: FlagsDto) -> Vec<String> {
    let system = dto.system_flags.iter().map(|name| format!("\\{name}"));
    let mut flags: Vec<String> = system.chain(dto.user_flags).collect();
    flags.sort_unstable();
    flags.dedup();
    flags
}

fn time(text: &str) -> Result<Stamp, JamesError> {
    let time: Timestamp = text.parse().map_err(|_| JamesError::Time {
        text: text.chars().take(TIME_CHARS_MAX).collect(),
    })?;
    Ok(Stamp(u64::try_from(time.as_microsecond()).unwrap_or(0)))
}
