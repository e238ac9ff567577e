//! How the schema is made, and known to all servers.

use std::collections::BTreeSet;
use std::time::Duration;

use cassandra_protocol::error::Error as DriverError;
use mailhorn_ports::{Random, StoreError};
use tokio::time::{Instant, sleep};
use uuid::Builder;

use super::{Driver, OpenError, ask_text};
use crate::options::Options;
use crate::schema;

/// The pause between two looks at what others do: another node that makes the schema, servers that hear of it.
const SCHEMA_PAUSE: Duration = Duration::from_millis(200);
/// How long servers get to tell each other of a change of the schema.
const AGREEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the tables, as far as they are missing. Two nodes may do so at once (see [`schema`]).
pub(super) async fn make_schema(
    driver: &Driver,
    options: &Options,
    random: &dyn Random,
) -> Result<(), OpenError> {
    let failed = |error: DriverError| OpenError::Schema(error.to_string());
    for statement in schema::statements(schema::LOCK, options) {
        driver.query(&statement).await.map_err(failed)?;
    }
    wait_for_agreement(driver).await?;
    let mut holder = [0; 16];
    random.fill(&mut holder);
    let holder = Builder::from_random_bytes(holder).into_uuid();
    let deadline = Instant::now() + schema::LOCK_TTL.saturating_mul(2);
    loop {
        let missing = missing_versions(driver).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let taken = format!(
            "INSERT INTO schema_lock (part, holder) VALUES (0, {holder}) IF NOT EXISTS USING TTL {}",
            schema::LOCK_TTL.as_secs()
        );
        let taken = ask_text(driver, &taken)
            .await?
            .first()
            .is_some_and(|row| row.flag(0));
        if taken {
            for (version, file) in missing {
                for statement in schema::statements(file, options) {
                    driver.query(&statement).await.map_err(failed)?;
                }
                wait_for_agreement(driver).await?;
                let note = format!("INSERT INTO schema_versions (part, version) VALUES (0, {version})");
                driver.query(&note).await.map_err(failed)?;
                tracing::info!(version, keyspace = options.keyspace, "the schema was made");
            }
            ask_text(
                driver,
                &format!("DELETE FROM schema_lock WHERE part = 0 IF holder = {holder}"),
            )
            .await?;
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(OpenError::Schema(
                "another node holds the lock and does not finish".into(),
            ));
        }
        sleep(SCHEMA_PAUSE).await;
    }
}

/// Waits until every server that answers has the same schema: a change is answered by the server that was asked, before the
/// others have it, and the next statement goes to one of those.
pub(super) async fn wait_for_agreement(driver: &Driver) -> Result<(), OpenError> {
    let deadline = Instant::now() + AGREEMENT_TIMEOUT;
    loop {
        let peers = ask_text(driver, "SELECT host_id FROM system.peers_v2")
            .await?
            .len();
        // Each is asked for its own: such questions go round. What one knows of the others may be old.
        let mut found = BTreeSet::new();
        for _ in 0..=peers {
            let rows = ask_text(driver, "SELECT schema_version FROM system.local").await?;
            let versions: Result<Vec<_>, StoreError> = rows.iter().map(|row| row.uuid(0)).collect();
            found.extend(versions.map_err(|error| OpenError::Schema(error.to_string()))?);
        }
        if found.len() <= 1 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            tracing::warn!("Cassandra's servers don't agree on the schema: some statements may fail");
            return Ok(());
        }
        sleep(SCHEMA_PAUSE).await;
    }
}

/// The versions that are still to be made.
async fn missing_versions(driver: &Driver) -> Result<Vec<(i32, &'static str)>, OpenError> {
    let rows = ask_text(driver, "SELECT version FROM schema_versions WHERE part = 0").await?;
    let made: Result<Vec<i32>, StoreError> = rows.iter().map(|row| row.small(0)).collect();
    let made = made.map_err(|error| OpenError::Schema(error.to_string()))?;
    let missing = schema::VERSIONS
        .iter()
        .filter(|(version, _)| !made.contains(version));
    Ok(missing.copied().collect())
}
