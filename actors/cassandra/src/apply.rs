//! What a record asks for: done after it is in the log, and again by whoever doesn't know whether it was done.
//!
//! Every write has the record's stamp, so doing it twice is doing it once, in whatever order.

use futures_util::future::try_join_all;
use mailhorn_events::{Added, Event, Happening, MailboxId, MessageId, Record, Stamp};
use mailhorn_ports::{Clock, QuotaOwner, StoreError};

use crate::quota;
use crate::session::Cql;
use crate::statements::Statement;
use crate::values::{bigint, blob, int, list, text, uuid};
use crate::view;

/// Ids in one removal. Each becomes a tombstone in one mutation, which Cassandra limits in size.
const REMOVALS_MAX: usize = 10_000;

/// Makes the changes that records tell of.
pub(crate) async fn apply(
    cql: &dyn Cql,
    clock: &dyn Clock,
    records: impl Iterator<Item = &Record>,
) -> Result<(), StoreError> {
    let events = records.flat_map(|record| record.events.iter().map(|event| (record.stamp, event)));
    try_join_all(events.map(|(stamp, event)| apply_event(cql, clock, stamp, event))).await?;
    Ok(())
}

async fn apply_event(
    cql: &dyn Cql,
    clock: &dyn Clock,
    stamp: Stamp,
    event: &Event,
) -> Result<(), StoreError> {
    match (&event.happening, event.mailbox) {
        (Happening::Added { messages, .. }, Some(mailbox)) => {
            try_join_all(
                messages
                    .iter()
                    .map(|added| add(cql, clock, stamp, event, mailbox, added)),
            )
            .await?;
        }
        (Happening::Expunged { messages, .. }, Some(mailbox)) => {
            let ids: Vec<MessageId> = messages.iter().map(|message| message.message).collect();
            for ids in ids.chunks(REMOVALS_MAX) {
                let values = vec![bigint(stamp.0), uuid(mailbox.0), view::id_list(ids)];
                cql.run(Statement::RemoveRows, values).await?;
            }
        }
        (Happening::QuotaUsageUpdated(usage), _) => {
            let owner = QuotaOwner::of_root(&usage.root, event.account);
            quota::set_announced(cql, &owner, usage.reached_percent, stamp).await?;
        }
        _ => {}
    }
    Ok(())
}

async fn add(
    cql: &dyn Cql,
    clock: &dyn Clock,
    stamp: Stamp,
    event: &Event,
    mailbox: MailboxId,
    added: &Added,
) -> Result<(), StoreError> {
    let flags = match added.flags.is_empty() {
        true => None,
        false => list(added.flags.iter().map(String::as_bytes)),
    };
    let values = vec![
        uuid(mailbox.0),
        uuid(added.message.0),
        uuid(event.account.0),
        bigint(stamp.0),
        bigint(added.size),
        bigint(added.received.0),
        flags,
        added.unique_id.as_deref().and_then(text),
        blob(&added.prefix),
        int(i32::try_from(added.chunks).unwrap_or(i32::MAX)),
        bigint(stamp.0),
    ];
    cql.run(Statement::AddRow, values).await?;
    // By the clock as it is now: see the view's module for why this is after the row, and enough.
    let now = Stamp(clock.now_micros());
    if view::may_be_below(added.message, now) {
        view::add_below(cql, mailbox, added.message, now).await?;
    }
    Ok(())
}
