//! Bans: one partition, which every node reads as a whole from time to time.

use async_trait::async_trait;
use ipnet::IpNet;
use mailhorn_events::Stamp;
use mailhorn_ports::{Ban, BanStore, StoreError};

use crate::statements::Statement;
use crate::store::CassandraStore;
use crate::values::{Row, bigint, int, text};

/// Rows that are read at a time.
const PAGE_ROWS: i32 = 1_000;
/// No ban is longer than a year, and none is kept longer than this: of a row that would live beyond January 2038 Cassandra
/// says that it can't.
const TTL_SECONDS_MAX: u64 = 2 * 366 * 86_400;

fn ban(row: &Row) -> Result<Ban, StoreError> {
    let network = row.text(0)?;
    Ok(Ban {
        network: network
            .parse()
            .map_err(|_| StoreError::Damaged(format!("a ban is of {network:?}")))?,
        reason: row.text(1)?,
        since: Stamp(row.number(2)?),
        until: Stamp(row.number(3)?),
        kept_until: Stamp(row.number(4)?),
        node: row.text(5)?,
    })
}

impl CassandraStore {
    /// A stamp above that of the network's ban, whoever's clock made it: what is written under it counts.
    async fn stamp_over(&self, network: IpNet) -> Result<Stamp, StoreError> {
        let values = vec![text(&network.to_string())];
        let rows = self.0.cql.run(Statement::BanAt, values).await?;
        if let Some(row) = rows.first() {
            self.0.saw(Stamp(row.number(0)?));
        }
        Ok(self.0.next_stamp())
    }
}

#[async_trait]
impl BanStore for CassandraStore {
    async fn put_ban(&self, ban: &Ban) -> Result<(), StoreError> {
        let stamp = self.stamp_over(ban.network).await?;
        let seconds = ban
            .kept_until
            .0
            .saturating_sub(self.0.now().0)
            .div_ceil(1_000_000);
        // Never zero, which would be for ever.
        let seconds = i32::try_from(seconds.clamp(1, TTL_SECONDS_MAX)).unwrap_or(i32::MAX);
        let values = vec![
            text(&ban.network.to_string()),
            text(&ban.reason),
            bigint(ban.since.0),
            bigint(ban.until.0),
            bigint(ban.kept_until.0),
            text(&ban.node),
            bigint(stamp.0),
            bigint(stamp.0),
            int(seconds),
        ];
        self.0.cql.run(Statement::PutBan, values).await?;
        Ok(())
    }

    async fn lift_ban(&self, network: IpNet) -> Result<(), StoreError> {
        let stamp = self.stamp_over(network).await?;
        let values = vec![bigint(stamp.0), text(&network.to_string())];
        self.0.cql.run(Statement::LiftBan, values).await?;
        Ok(())
    }

    async fn bans(&self, now: Stamp, limit: usize) -> Result<Vec<Ban>, StoreError> {
        let mut bans = Vec::new();
        let mut after = String::new();
        loop {
            let values = vec![text(&after), int(PAGE_ROWS)];
            let rows = self.0.cql.run(Statement::Bans, values).await?;
            for row in &rows {
                let ban = ban(row)?;
                if bans.len() < limit && ban.kept_until > now {
                    bans.push(ban);
                }
            }
            match rows.last() {
                Some(last) if bans.len() < limit => after = last.text(0)?,
                _ => return Ok(bans),
            }
        }
    }
}
