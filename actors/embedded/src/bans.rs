//! Bans: a row for each network.

use async_trait::async_trait;
use ipnet::IpNet;
use mailhorn_events::Stamp;
use mailhorn_ports::{Ban, BanStore, StoreError};

use crate::core::Core;
use crate::draft::Draft;
use crate::error::Fault;
use crate::keys::{self, Table};
use crate::opened::Opened;
use crate::rows::{BanRow, decode};
use crate::store::EmbeddedStore;

/// Forgotten bans that are cleared away with a new one: more than come with it.
const CLEARED_MAX: usize = 16;

/// Keys and rows of all bans.
fn rows(opened: &Opened) -> impl Iterator<Item = Result<(Vec<u8>, BanRow), Fault>> {
    let (from, until) = ([Table::Bans as u8], [Table::Bans as u8 + 1]);
    opened.range(&from, &until).map(|found| {
        let (key, row) = found?;
        Ok((key.to_vec(), decode(&row)?))
    })
}

fn remembered(opened: &Opened, now: Stamp, limit: usize) -> Result<Vec<Ban>, Fault> {
    let is_remembered = |row: &BanRow| row.kept_until > now.0;
    let bans = rows(opened).filter_map(|found| match found {
        Ok((_, row)) => is_remembered(&row).then(|| Ban::try_from(row)),
        Err(fault) => Some(Err(fault)),
    });
    bans.take(limit).collect()
}

/// Keys of bans that nobody remembers at `now`.
fn forgotten(opened: &Opened, now: Stamp) -> Result<Vec<Vec<u8>>, Fault> {
    let keys = rows(opened).filter_map(|found| match found {
        Ok((key, row)) => (row.kept_until <= now.0).then_some(Ok(key)),
        Err(fault) => Some(Err(fault)),
    });
    keys.take(CLEARED_MAX).collect()
}

fn put(core: &Core, ban: &Ban) -> Result<(), Fault> {
    core.write(|opened, writer| {
        let mut draft = Draft::new(opened, writer.state);
        // By the new ban's own time: the store has no clock.
        for key in forgotten(opened, ban.since)? {
            draft.remove(key);
        }
        draft.put(keys::ban(ban.network), &BanRow::from(ban));
        core.apply(writer, draft)
    })
}

fn lift(core: &Core, network: IpNet) -> Result<(), Fault> {
    core.write(|opened, writer| {
        let mut draft = Draft::new(opened, writer.state);
        let key = keys::ban(network);
        if !draft.has(&key)? {
            return Ok(());
        }
        draft.remove(key);
        core.apply(writer, draft)
    })
}

#[async_trait]
impl BanStore for EmbeddedStore {
    async fn put_ban(&self, ban: &Ban) -> Result<(), StoreError> {
        let ban = ban.clone();
        self.blocking(move |core| put(core, &ban)).await
    }

    async fn lift_ban(&self, network: IpNet) -> Result<(), StoreError> {
        self.blocking(move |core| lift(core, network)).await
    }

    async fn bans(&self, now: Stamp, limit: usize) -> Result<Vec<Ban>, StoreError> {
        Ok(self
            .read_blocking(move |opened| remembered(opened, now, limit))
            .await?)
    }
}
