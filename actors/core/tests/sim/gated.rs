//! The ports of a node, each call of which goes through the node's gate.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mailhorn_core::membership::LogLease;
use mailhorn_events::{EventId, Generation, MailboxId, MessageId, QuotaLimits, Stamp};
use mailhorn_ports::memory::MemoryStore;
use mailhorn_ports::{
    CommitError, Committed, Cursor, Epoch, Figure, Group, GroupName, GroupStore, Key, KnownGroup, Lease,
    Letter, LogEntry, MailStore, Maintained, MemberRow, Membership, Part, QuotaDefaults, QuotaOwner,
    QuotaStanding, QuotaStore, ReadError, RegisteredFor, Registry, Retention, StoreError, Transport, ViewRow,
};
use tokio::time::sleep;

use crate::gate::Gate;

/// The store as one node has it: like one that can't refuse what comes behind a seal, it looks at the lease after an append.
#[derive(Debug)]
pub(crate) struct GatedStore {
    pub(crate) gate: Gate,
    pub(crate) store: MemoryStore,
    pub(crate) lease: Arc<LogLease>,
}

impl GatedStore {
    /// The commit is on its way for longer than its caller waits.
    fn commit_later(&self, group: &Group, by: std::time::Duration) -> CommitError {
        let (store, group) = (self.store.clone(), group.clone());
        actix_rt::spawn(async move {
            sleep(by).await;
            // Perhaps it was repeated meanwhile, or the log was ended.
            drop(store.commit(&group).await);
        });
        CommitError::Unknown("the deadline of the call is past".into())
    }
}

#[async_trait]
impl MailStore for GatedStore {
    async fn put_chunk(&self, message: MessageId, index: u32, octets: Bytes) -> Result<(), StoreError> {
        self.gate
            .store(self.store.put_chunk(message, index, octets))
            .await?
    }

    async fn commit(&self, group: &Group) -> Result<Committed, CommitError> {
        if let Some(by) = self.gate.take_late() {
            return Err(self.commit_later(group, by));
        }
        let commit = async {
            let committed = self.store.commit(group).await;
            if matches!(committed, Err(CommitError::LeaseLost)) && self.lease.holds() {
                self.gate.net.lock().wrong(group.generation);
            }
            committed
        };
        let committed = self.gate.store(commit).await;
        let committed = committed.map_err(|error| CommitError::Unknown(error.to_string()))??;
        match self.lease.holds() {
            true => Ok(committed),
            false => Err(CommitError::LeaseLost),
        }
    }

    async fn begin_log(&self, generation: Generation, node: &str) -> Result<(), StoreError> {
        self.gate.store(self.store.begin_log(generation, node)).await?
    }

    async fn logs(&self) -> Result<Vec<(Generation, String)>, StoreError> {
        self.gate.store(self.store.logs()).await?
    }

    async fn log_end(&self, generation: Generation) -> Result<u64, StoreError> {
        self.gate.store(self.store.log_end(generation)).await?
    }

    async fn records(
        &self,
        generation: Generation,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        self.gate
            .store(self.store.records(generation, from, limit))
            .await?
    }

    async fn highest_stamp(&self) -> Result<Stamp, StoreError> {
        self.gate.store(self.store.highest_stamp()).await?
    }

    async fn list(
        &self,
        mailbox: MailboxId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<ViewRow>, StoreError> {
        self.gate.store(self.store.list(mailbox, after, limit)).await?
    }

    async fn figure(&self, mailbox: MailboxId) -> Result<Figure, StoreError> {
        self.gate.store(self.store.figure(mailbox)).await?
    }

    async fn read(&self, mailbox: MailboxId, message: MessageId, part: u32) -> Result<Part, ReadError> {
        let read = self.gate.store(self.store.read(mailbox, message, part)).await;
        read.map_err(|error| ReadError::Unavailable(error.to_string()))?
    }

    async fn read_ahead(&self, mailbox: MailboxId, messages: &[MessageId], octets_max: usize) -> Vec<Part> {
        let read = self.store.read_ahead(mailbox, messages, octets_max);
        self.gate.store(read).await.unwrap_or_default()
    }

    async fn maintain(&self, retention: Retention) -> Result<Maintained, StoreError> {
        self.gate.store(self.store.maintain(retention)).await?
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.gate.store(self.store.close()).await?
    }
}

#[async_trait]
impl Membership for GatedStore {
    async fn beat(&self, member: &MemberRow) -> Result<(), StoreError> {
        self.gate.net.lock().belongs(member.generation, self.gate.slot);
        self.gate.store(self.store.beat(member)).await?
    }

    async fn leave(&self, generation: Generation) -> Result<(), StoreError> {
        self.gate.store(self.store.leave(generation)).await?
    }

    async fn members(&self) -> Result<Vec<MemberRow>, StoreError> {
        self.gate.store(self.store.members()).await?
    }

    async fn sealed(&self, generation: Generation) -> Result<Option<u64>, StoreError> {
        self.gate.store(self.store.sealed(generation)).await?
    }

    async fn adopt(&self, generation: Generation) -> Result<u64, StoreError> {
        self.gate.store(self.store.adopt(generation)).await?
    }
}

#[async_trait]
impl GroupStore for GatedStore {
    async fn register_group(&self, group: &GroupName, now: Stamp) -> Result<(), StoreError> {
        self.gate.store(self.store.register_group(group, now)).await?
    }

    async fn groups(&self) -> Result<Vec<KnownGroup>, StoreError> {
        self.gate.store(self.store.groups()).await?
    }

    async fn forget_group(&self, group: &GroupName) -> Result<(), StoreError> {
        self.gate.store(self.store.forget_group(group)).await?
    }

    async fn cursors(&self, group: &GroupName) -> Result<Vec<(Generation, Cursor)>, StoreError> {
        self.gate.store(self.store.cursors(group)).await?
    }

    async fn save_cursor(
        &self,
        group: &GroupName,
        generation: Generation,
        cursor: &Cursor,
    ) -> Result<(), StoreError> {
        let save = self.store.save_cursor(group, generation, cursor);
        self.gate.store(save).await?
    }

    async fn park(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        self.gate.store(self.store.park(group, letter)).await?
    }

    async fn parked_logs(&self, group: &GroupName) -> Result<Vec<Generation>, StoreError> {
        self.gate.store(self.store.parked_logs(group)).await?
    }

    async fn parked(&self, group: &GroupName, generation: Generation) -> Result<Vec<Letter>, StoreError> {
        self.gate.store(self.store.parked(group, generation)).await?
    }

    async fn unpark(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        self.gate.store(self.store.unpark(group, letter)).await?
    }

    async fn bury(&self, group: &GroupName, letter: &Letter) -> Result<(), StoreError> {
        self.gate.store(self.store.bury(group, letter)).await?
    }

    async fn dead_letters(
        &self,
        group: &GroupName,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Letter>, StoreError> {
        self.gate
            .store(self.store.dead_letters(group, after, limit))
            .await?
    }

    async fn dead_letter(&self, group: &GroupName, id: EventId) -> Result<Option<Letter>, StoreError> {
        self.gate.store(self.store.dead_letter(group, id)).await?
    }

    async fn remove_dead_letter(&self, group: &GroupName, id: EventId) -> Result<(), StoreError> {
        self.gate.store(self.store.remove_dead_letter(group, id)).await?
    }

    async fn remove_dead_letters(&self, group: &GroupName) -> Result<u64, StoreError> {
        self.gate.store(self.store.remove_dead_letters(group)).await?
    }

    async fn groups_with_dead_letters(&self) -> Result<Vec<(GroupName, u64)>, StoreError> {
        self.gate.store(self.store.groups_with_dead_letters()).await?
    }
}

#[async_trait]
impl QuotaStore for GatedStore {
    async fn quota_limits(&self, owner: &QuotaOwner) -> Result<Option<QuotaLimits>, StoreError> {
        self.gate.store(self.store.quota_limits(owner)).await?
    }

    async fn set_quota_limits(
        &self,
        owner: &QuotaOwner,
        limits: Option<QuotaLimits>,
    ) -> Result<(), StoreError> {
        self.gate
            .store(self.store.set_quota_limits(owner, limits))
            .await?
    }

    async fn usage(&self, owner: &QuotaOwner) -> Result<Figure, StoreError> {
        self.gate.store(self.store.usage(owner)).await?
    }

    async fn quota_standings(
        &self,
        owners: &[QuotaOwner],
        defaults: QuotaDefaults,
    ) -> Result<Vec<QuotaStanding>, StoreError> {
        self.gate
            .store(self.store.quota_standings(owners, defaults))
            .await?
    }

    async fn recount_usage(&self) -> Result<u64, StoreError> {
        self.gate.store(self.store.recount_usage()).await?
    }
}

/// The registry as one node has it.
#[derive(Debug)]
pub(crate) struct GatedRegistry {
    pub(crate) gate: Gate,
    pub(crate) registry: Arc<dyn Registry>,
}

#[async_trait]
impl Registry for GatedRegistry {
    async fn register_keys(&self, generation: Generation, keys: &[Key]) -> Result<Epoch, StoreError> {
        self.gate
            .other(self.registry.register_keys(generation, keys))
            .await?
    }

    async fn unregister_keys(&self, generation: Generation, keys: &[Key]) -> Result<(), StoreError> {
        self.gate
            .other(self.registry.unregister_keys(generation, keys))
            .await?
    }

    async fn unregister_all(&self, generation: Generation) -> Result<(), StoreError> {
        self.gate.other(self.registry.unregister_all(generation)).await?
    }

    async fn registered_for(&self, keys: &[Key]) -> Result<RegisteredFor, StoreError> {
        self.gate.other(self.registry.registered_for(keys)).await?
    }
}

/// The way to other nodes as one node has it.
#[derive(Debug)]
pub(crate) struct GatedTransport {
    pub(crate) gate: Gate,
    pub(crate) transport: Arc<dyn Transport>,
}

#[async_trait]
impl Transport for GatedTransport {
    async fn send(&self, to: Generation, frame: Bytes) -> Result<(), StoreError> {
        self.gate.pass().await?;
        if self.gate.net.lock().is_cut(self.gate.slot, to) {
            return Ok(());
        }
        self.gate.other(self.transport.send(to, frame)).await?
    }

    async fn receive(&self, me: Generation) -> Result<Vec<Bytes>, StoreError> {
        self.gate.other(self.transport.receive(me)).await?
    }
}
