//! Octets that nobody has any more.
//!
//! A mailbox's reference to a message is durable before the record that puts the message there, and is taken back when the
//! record of its removal is heard of ([`ContentSweeper`]). Where none is left the message is condemned: a row says so under
//! the hour, and a mark beside the references, which a copy looks at. A day later a sweep looks at all replicas
//! ([`settle`]), and only what none of them has a reference of is removed.
//!
//! # Why nothing is removed that somebody has
//!
//! A reference was taken by a quorum before its message was anybody's, so a read of all replicas finds it. What takes one
//! back is stamped by the removal and leaves a later one, as of a message that came back, where it is. And what was
//! condemned in error, since this node did not see the record that speaks of it, is found to be referred to.
//!
//! A reference may also be there of a delivery that never happened: its process died in between. It counts as long as
//! any replica has the row that it speaks of; a day after the message was condemned nothing is on its way any more.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use mailhorn_events::{Event, Happened, Happening, MailboxId, MessageId, Stamp};
use mailhorn_ports::{Handled, Listener, StoreError};

use crate::session::Cql;
use crate::statements::Statement;
use crate::store::CassandraStore;
use crate::sweep::hour;
use crate::values::{Row, bigint, int, list, uuid};

/// Condemned messages of an hour lie in so many partitions.
pub(crate) const SHARDS: u8 = 64;
/// Messages that are condemned, or whose references are taken back, at once.
const AT_ONCE: usize = 64;
/// References that are looked at in one reading.
const REFERENCES_READ: i32 = 1_000;
/// Chunks that are removed by one statement.
const CHUNKS_READ: usize = 1_000;

/// Takes back what a mailbox had of a message that was removed from it, and condemns what nobody has any more. To be
/// registered as a group: without it octets stay for ever.
#[derive(Debug, Clone)]
pub struct ContentSweeper(CassandraStore);

impl ContentSweeper {
    /// A sweeper of this keyspace.
    #[must_use]
    pub fn new(store: CassandraStore) -> Self {
        Self(store)
    }

    async fn expunged(
        &self,
        mailbox: MailboxId,
        messages: &[MessageId],
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let cql = &*self.0.0.cql;
        for messages in messages.chunks(AT_ONCE) {
            let left = messages.iter().map(|message| async move {
                take_reference(cql, *message, mailbox, stamp).await?;
                let rows = cql.run(Statement::AnyReference, vec![uuid(message.0)]).await?;
                Ok::<_, StoreError>(mailboxes(&rows)?.is_empty().then_some(*message))
            });
            let left = try_join_all(left).await?;
            let left: Vec<MessageId> = left.into_iter().flatten().collect();
            condemn_all(cql, &left, self.0.0.now()).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Listener for ContentSweeper {
    fn handles(&self, event: &Event) -> bool {
        matches!(event.happening, Happening::Expunged { .. }) && event.mailbox.is_some()
    }

    async fn handle(&self, happened: &Happened) -> Handled {
        let event = happened.event();
        let (Happening::Expunged { messages, .. }, Some(mailbox)) = (&event.happening, event.mailbox) else {
            return Handled::Done;
        };
        let messages: Vec<MessageId> = messages.iter().map(|message| message.message).collect();
        match self.expunged(mailbox, &messages, happened.stamp()).await {
            Ok(()) => Handled::Done,
            Err(StoreError::Unavailable(why)) => Handled::NotNow(why),
            Err(StoreError::Damaged(why)) => Handled::Bad(why),
        }
    }
}

async fn take_reference(
    cql: &dyn Cql,
    message: MessageId,
    mailbox: MailboxId,
    stamp: Stamp,
) -> Result<(), StoreError> {
    let values = vec![bigint(stamp.0), uuid(message.0), uuid(mailbox.0)];
    cql.run(Statement::TakeReference, values).await?;
    Ok(())
}

/// The mailboxes that rows of references name. Where there is a mark and no reference, there is a row without a mailbox.
fn mailboxes(rows: &[Row]) -> Result<Vec<MailboxId>, StoreError> {
    let mut mailboxes = Vec::new();
    for row in rows {
        mailboxes.extend(row.maybe_uuid(0)?.map(MailboxId));
    }
    Ok(mailboxes)
}

/// Condemns messages: a sweep looks at them in a day.
pub(crate) async fn condemn_all(cql: &dyn Cql, messages: &[MessageId], now: Stamp) -> Result<(), StoreError> {
    for messages in messages.chunks(AT_ONCE) {
        try_join_all(messages.iter().map(|message| async {
            let condemned = Condemned {
                message: *message,
                since: now,
            };
            condemned.write(cql).await
        }))
        .await?;
    }
    Ok(())
}

/// A message that nobody seemed to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condemned {
    pub(crate) message: MessageId,
    pub(crate) since: Stamp,
}

impl Condemned {
    /// Some of those of an hour, by id.
    pub(crate) async fn read(
        cql: &dyn Cql,
        hour: i32,
        shard: u8,
        after: Option<MessageId>,
        limit: i32,
    ) -> Result<Vec<Self>, StoreError> {
        let after = after.unwrap_or_else(|| MessageId::new(Stamp(0), [0; 8]));
        let values = vec![int(hour), int(shard.into()), uuid(after.0), int(limit)];
        let rows = cql.run(Statement::CondemnedFrom, values).await?;
        let condemned = rows.iter().map(|row| {
            Ok(Self {
                message: MessageId(row.uuid(0)?),
                since: Stamp(row.number(1)?),
            })
        });
        condemned.collect()
    }

    /// The last octet of an id is random.
    fn shard(&self) -> u8 {
        let [.., last] = *self.message.0.as_bytes();
        last.rem_euclid(SHARDS)
    }

    /// The row is before the mark: a mark by itself would never be taken back.
    async fn write(&self, cql: &dyn Cql) -> Result<(), StoreError> {
        let values = vec![
            int(hour(self.since)),
            int(self.shard().into()),
            uuid(self.message.0),
            bigint(self.since.0),
            bigint(self.since.0),
        ];
        cql.run(Statement::Condemn, values).await?;
        let since = bigint(self.since.0);
        let values = vec![since.clone(), since, uuid(self.message.0)];
        cql.run(Statement::Mark, values).await?;
        Ok(())
    }

    /// Takes mark and row back, in this order, just above what they were written at: whoever condemned the message once more
    /// meanwhile did that later.
    async fn release(&self, cql: &dyn Cql) -> Result<(), StoreError> {
        let above = bigint(self.since.next().0);
        let values = vec![above.clone(), None, uuid(self.message.0)];
        cql.run(Statement::Mark, values).await?;
        let values = vec![
            above,
            int(hour(self.since)),
            int(self.shard().into()),
            uuid(self.message.0),
        ];
        cql.run(Statement::Release, values).await?;
        Ok(())
    }
}

/// What became of a condemned message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Its octets are gone.
    Removed,
    /// Somebody has it.
    Kept,
}

/// Removes a message's octets if no replica knows of anybody who has it. May be done by several at once.
///
/// # Errors
///
/// [`StoreError::Unavailable`] where not every replica answers: it stays condemned, and nothing more is removed.
pub(crate) async fn settle(cql: &dyn Cql, condemned: &Condemned) -> Result<Settled, StoreError> {
    let settled = if is_had(cql, condemned.message).await? {
        Settled::Kept
    } else {
        remove_octets(cql, condemned.message).await?;
        Settled::Removed
    };
    condemned.release(cql).await?;
    Ok(settled)
}

async fn is_had(cql: &dyn Cql, message: MessageId) -> Result<bool, StoreError> {
    let mut taken_back = Vec::new();
    loop {
        let values = vec![uuid(message.0), int(REFERENCES_READ)];
        let rows = cql.run(Statement::ReferencesAnywhere, values).await?;
        let referring = mailboxes(&rows)?;
        if referring.is_empty() {
            return Ok(false);
        }
        // Those that come back after they were taken back are later than the delivery.
        if referring == taken_back {
            return Ok(true);
        }
        for mailbox in &referring {
            let values = vec![uuid(mailbox.0), uuid(message.0)];
            if !cql.run(Statement::RowAnywhere, values).await?.is_empty() {
                return Ok(true);
            }
        }
        for mailbox in &referring {
            take_reference(cql, message, *mailbox, message.stamp().next()).await?;
        }
        taken_back = referring;
    }
}

async fn remove_octets(cql: &dyn Cql, message: MessageId) -> Result<(), StoreError> {
    let limit = i32::try_from(CHUNKS_READ).unwrap_or(i32::MAX);
    let mut after = -1;
    loop {
        let values = vec![uuid(message.0), int(after), int(limit)];
        let rows = cql.run(Statement::ChunksAnywhere, values).await?;
        let chunks = rows.iter().map(|row| row.small(0));
        let chunks = chunks.collect::<Result<Vec<i32>, StoreError>>()?;
        let Some(last) = chunks.last() else {
            return Ok(());
        };
        after = *last;
        let octets: Vec<[u8; 4]> = chunks.iter().map(|chunk| chunk.to_be_bytes()).collect();
        let octets = list(octets.iter().map(|chunk| &chunk[..]));
        // Chunks have their message's stamp.
        let values = vec![bigint(message.stamp().next().0), uuid(message.0), octets];
        cql.run(Statement::RemoveChunks, values).await?;
        if chunks.len() < CHUNKS_READ {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parking_lot::Mutex;

    use super::*;
    use crate::session::Health;
    use crate::values::Bind;

    /// Servers that say what a test has them say.
    #[derive(Debug, Default)]
    struct Said {
        references: Mutex<Vec<MailboxId>>,
        /// Whether taking a reference back does so.
        references_stay: bool,
        has_row: bool,
        /// What not every replica answers.
        unanswered: Option<Statement>,
        asked: Mutex<Vec<Statement>>,
    }

    #[async_trait]
    impl Cql for Said {
        async fn run(&self, statement: Statement, _values: Vec<Bind>) -> Result<Vec<Row>, StoreError> {
            self.asked.lock().push(statement);
            if self.unanswered == Some(statement) {
                return Err(StoreError::Unavailable("a server is away".into()));
            }
            let row = |octets: &[u8]| Row(vec![Some(Bytes::copy_from_slice(octets))]);
            Ok(match statement {
                Statement::ReferencesAnywhere => {
                    let references = self.references.lock();
                    let rows = references.iter().map(|mailbox| row(mailbox.0.as_bytes()));
                    // The mark is there, whatever else is not.
                    match references.is_empty() {
                        true => vec![Row(vec![None])],
                        false => rows.collect(),
                    }
                }
                Statement::TakeReference => {
                    if !self.references_stay {
                        self.references.lock().clear();
                    }
                    Vec::new()
                }
                Statement::RowAnywhere if self.has_row => vec![row(&[7; 16])],
                Statement::ChunksAnywhere => vec![row(&[0, 0, 0, 0])],
                _ => Vec::new(),
            })
        }

        fn health(&self) -> Health {
            Health::default()
        }
    }

    fn condemned() -> Condemned {
        Condemned {
            message: MessageId::new(Stamp(5_000), [9; 8]),
            since: Stamp(6_000),
        }
    }

    fn referred() -> Mutex<Vec<MailboxId>> {
        Mutex::new(vec![MailboxId(uuid::Uuid::from_u128(7))])
    }

    /// What a message comes to, and which mutations that took.
    async fn settled(said: &Said) -> (Result<Settled, StoreError>, Vec<Statement>) {
        let settled = settle(said, &condemned()).await;
        let asked = said.asked.lock().clone();
        let written = asked
            .into_iter()
            .filter(|statement| !statement.cql().starts_with("SELECT "));
        (settled, written.collect())
    }

    #[tokio::test]
    async fn octets_that_nobody_refers_to_go_before_what_condemns_them() {
        let (settled, written) = settled(&Said::default()).await;
        assert_eq!(settled, Ok(Settled::Removed));
        let expected = [Statement::RemoveChunks, Statement::Mark, Statement::Release];
        assert_eq!(written, expected);
    }

    #[tokio::test]
    async fn nothing_is_removed_while_not_every_replica_answers() {
        for unanswered in [
            Statement::ReferencesAnywhere,
            Statement::RowAnywhere,
            Statement::ChunksAnywhere,
        ] {
            let references = match unanswered {
                Statement::ChunksAnywhere => Mutex::default(),
                _ => referred(),
            };
            let said = Said {
                references,
                unanswered: Some(unanswered),
                ..Said::default()
            };
            let (settled, written) = settled(&said).await;
            assert!(settled.is_err(), "{unanswered:?}");
            assert_eq!(written, [], "{unanswered:?}: it stays condemned");
        }
    }

    #[tokio::test]
    async fn a_reference_counts_while_its_row_is_there_or_it_is_later_than_the_delivery() {
        let with_row = Said {
            references: referred(),
            has_row: true,
            ..Said::default()
        };
        let (kept, written) = settled(&with_row).await;
        assert_eq!(kept, Ok(Settled::Kept));
        assert_eq!(written, [Statement::Mark, Statement::Release]);
        let later = Said {
            references: referred(),
            references_stay: true,
            ..Said::default()
        };
        let (kept, written) = settled(&later).await;
        assert_eq!(kept, Ok(Settled::Kept));
        assert!(!written.contains(&Statement::RemoveChunks));
        let neither = Said {
            references: referred(),
            ..Said::default()
        };
        let (removed, written) = settled(&neither).await;
        assert_eq!(removed, Ok(Settled::Removed));
        assert!(written.contains(&Statement::RemoveChunks));
    }
}
