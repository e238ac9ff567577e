//! James' events field by field. What isn't read is skipped, whatever stands there; what isn't written is not here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
pub(super) enum EventDto {
    Added(AddedDto),
    Expunged(ExpungedDto),
    FlagsUpdated(FlagsUpdatedDto),
    MailboxAdded(MailboxDto),
    MailboxDeletion(DeletionDto),
    MailboxRenamed(RenamedDto),
    #[serde(rename = "MailboxACLUpdated")]
    MailboxAclUpdated(AclUpdatedDto),
    MailboxSubscribedEvent(MailboxDto),
    MailboxUnSubscribedEvent(MailboxDto),
    QuotaUsageUpdatedEvent(QuotaUsageDto),
    MessageMoveEvent(MoveDto),
    MessageContentDeletionEvent(ContentDeletionDto),
}

#[derive(Serialize, Deserialize, Clone)]
pub(super) struct PathDto {
    #[serde(skip_deserializing)]
    pub(super) namespace: &'static str,
    #[serde(default)]
    pub(super) user: Option<String>,
    pub(super) name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AddedDto {
    pub(super) event_id: Uuid,
    #[serde(skip_deserializing)]
    pub(super) session_id: u64,
    pub(super) user: String,
    pub(super) path: PathDto,
    pub(super) mailbox_id: String,
    pub(super) added: BTreeMap<u64, MessageDto>,
    #[serde(default)]
    pub(super) is_delivery: bool,
    #[serde(default = "yes")]
    pub(super) is_appended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) moved_from_mailbox_id: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExpungedDto {
    pub(super) event_id: Uuid,
    #[serde(skip_deserializing)]
    pub(super) session_id: u64,
    pub(super) user: String,
    pub(super) path: PathDto,
    pub(super) mailbox_id: String,
    pub(super) expunged: BTreeMap<u64, MessageDto>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) moved_to_mailbox_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageDto {
    pub(super) uid: u64,
    #[serde(skip_deserializing)]
    pub(super) mod_seq: u64,
    pub(super) flags: FlagsDto,
    pub(super) size: u64,
    pub(super) internal_date: String,
    pub(super) message_id: String,
    #[serde(skip_deserializing)]
    pub(super) thread_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlagsDto {
    #[serde(default)]
    pub(super) system_flags: Vec<String>,
    #[serde(default)]
    pub(super) user_flags: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlagsUpdatedDto {
    pub(super) event_id: Uuid,
    #[serde(skip_deserializing)]
    pub(super) session_id: u64,
    pub(super) user: String,
    pub(super) path: PathDto,
    pub(super) mailbox_id: String,
    pub(super) updated_flags: Vec<UpdatedDto>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpdatedDto {
    pub(super) uid: u64,
    #[serde(default)]
    pub(super) message_id: Option<String>,
    #[serde(skip_deserializing)]
    pub(super) mod_seq: u64,
    pub(super) old_flags: FlagsDto,
    pub(super) new_flags: FlagsDto,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MailboxDto {
    pub(super) event_id: Uuid,
    #[serde(skip_deserializing)]
    pub(super) session_id: u64,
    pub(super) user: String,
    pub(super) mailbox_path: PathDto,
    pub(super) mailbox_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeletionDto {
    pub(super) event_id: Uuid,
    #[serde(skip_deserializing)]
    pub(super) session_id: u64,
    pub(super) user: String,
    pub(super) path: PathDto,
    pub(super) mailbox_id: String,
    #[serde(skip_deserializing)]
    pub(super) quota_root: String,
    pub(super) deleted_message_count: u64,
    pub(super) total_deleted_size: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RenamedDto {
    pub(super) event_id: Uuid,
    #[serde(skip_deserializing)]
    pub(super) session_id: u64,
    pub(super) user: String,
    pub(super) path: PathDto,
    pub(super) mailbox_id: String,
    pub(super) new_path: PathDto,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AclUpdatedDto {
    pub(super) event_id: Uuid,
    #[serde(skip_deserializing)]
    pub(super) session_id: u64,
    pub(super) user: String,
    pub(super) mailbox_path: PathDto,
    pub(super) mailbox_id: String,
    pub(super) acl_diff: AclDiffDto,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AclDiffDto {
    #[serde(rename = "oldACL")]
    pub(super) old: BTreeMap<String, String>,
    #[serde(rename = "newACL")]
    pub(super) new: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QuotaUsageDto {
    pub(super) event_id: Uuid,
    pub(super) user: String,
    #[serde(skip_deserializing)]
    pub(super) quota_root: String,
    pub(super) count_quota: QuotaDto,
    pub(super) size_quota: QuotaDto,
    #[serde(skip_deserializing)]
    pub(super) time: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct QuotaDto {
    pub(super) used: u64,
    #[serde(default)]
    pub(super) limit: Option<u64>,
    #[serde(skip_deserializing)]
    pub(super) limits: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MoveDto {
    pub(super) event_id: Uuid,
    pub(super) user: String,
    pub(super) previous_mailbox_ids: Vec<String>,
    pub(super) target_mailbox_ids: Vec<String>,
    pub(super) message_ids: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContentDeletionDto {
    pub(super) event_id: Uuid,
    pub(super) username: String,
    pub(super) mailbox_id: String,
    #[serde(default, skip_serializing)]
    pub(super) mailbox_path: Option<PathDto>,
    pub(super) message_id: String,
    pub(super) size: u64,
    #[serde(skip_deserializing)]
    pub(super) internal_date: String,
    #[serde(skip_deserializing)]
    pub(super) has_attachments: bool,
    #[serde(skip_deserializing)]
    pub(super) body_blob_id: String,
}
