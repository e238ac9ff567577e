//! Quotas: the threshold that was announced last.

use mailhorn_events::Stamp;
use mailhorn_ports::{QuotaOwner, StoreError};

use crate::session::Cql;
use crate::statements::Statement;
use crate::values::{bigint, int, text};

/// What an owner's rows are found by.
pub(crate) fn key(owner: &QuotaOwner) -> String {
    match owner {
        QuotaOwner::Account(account) => format!("account {account}"),
        QuotaOwner::Domain(domain) => format!("domain {domain}"),
    }
}

/// The threshold that was announced last, in percent; 0 at first.
pub(crate) async fn announced(cql: &dyn Cql, owner: &QuotaOwner) -> Result<u8, StoreError> {
    let rows = cql.run(Statement::Announced, vec![text(&key(owner))]).await?;
    let percent = rows.first().map(|row| row.small(0)).transpose()?;
    Ok(percent
        .and_then(|percent| u8::try_from(percent).ok())
        .unwrap_or(0))
}

pub(crate) async fn set_announced(
    cql: &dyn Cql,
    owner: &QuotaOwner,
    percent: u8,
    stamp: Stamp,
) -> Result<(), StoreError> {
    let values = vec![text(&key(owner)), int(percent.into()), bigint(stamp.0)];
    cql.run(Statement::SetAnnounced, values).await?;
    Ok(())
}
