//! Whether a node's name is free. Two processes with one name would take each other's log for that of a former life.

use std::collections::BTreeSet;
use std::time::Duration;

use mailhorn_events::Generation;
use mailhorn_ports::{MemberRow, Membership, StoreError};
use tokio::time::Instant;

/// How long a start watches heartbeats of its own name: longer than two of them.
pub const NAME_WATCH: Duration = Duration::from_secs(5);

/// Why a node can't have its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Another process has it, and lives.
    #[error(
        "node.name: another process is the node {node} (its log is {log}): give each node a name of its own"
    )]
    InUse {
        /// The name.
        node: String,
        /// The other process's log.
        log: Generation,
    },
    /// The store did not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Processes that had the node's name before this one.
#[derive(Debug, Clone, Default)]
pub struct FormerLives {
    /// Logs that this very process wrote before: they have ended for certain.
    pub(super) ended: BTreeSet<Generation>,
    /// Those whose heartbeat stood still, and since when at least.
    pub(super) still: Vec<(MemberRow, Instant)>,
}

/// Finds out whether another process that lives has the name. `ended` are the logs that this very process wrote before.
/// It takes a moment only where the name was left behind by a process that did not end well.
///
/// # Errors
///
/// [`NameError`]: the node can't start.
pub async fn check_name(
    membership: &dyn Membership,
    node: &str,
    ended: BTreeSet<Generation>,
) -> Result<FormerLives, NameError> {
    let before = namesakes(membership, node, &ended).await?;
    let since = Instant::now();
    if before.is_empty() {
        return Ok(FormerLives {
            ended,
            still: Vec::new(),
        });
    }
    tracing::info!(
        node,
        watch_s = NAME_WATCH.as_secs(),
        "the name was left behind: its heartbeat is watched"
    );
    tokio::time::sleep(NAME_WATCH).await;
    for now in namesakes(membership, node, &ended).await? {
        if !before.contains(&now) {
            return Err(NameError::InUse {
                node: node.to_owned(),
                log: now.generation,
            });
        }
    }
    Ok(FormerLives {
        ended,
        still: before.into_iter().map(|row| (row, since)).collect(),
    })
}

async fn namesakes(
    membership: &dyn Membership,
    node: &str,
    ended: &BTreeSet<Generation>,
) -> Result<Vec<MemberRow>, StoreError> {
    let mut rows = membership.members().await?;
    rows.retain(|row| row.node == node && !ended.contains(&row.generation));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailhorn_ports::memory::MemoryStore;
    use uuid::Uuid;

    fn row(n: u128, node: &str, beat: u64) -> MemberRow {
        MemberRow {
            generation: Generation(Uuid::from_u128(n)),
            node: node.into(),
            beat,
            groups: BTreeSet::new(),
        }
    }

    /// Checks the name `a` while `meanwhile` happens to the members.
    async fn check(
        store: &MemoryStore,
        meanwhile: &[MemberRow],
    ) -> (Result<FormerLives, NameError>, Duration) {
        let begun = Instant::now();
        let ended = [Generation(Uuid::from_u128(9))].into();
        let happens = async {
            tokio::time::sleep(NAME_WATCH / 2).await;
            for row in meanwhile {
                store.beat(row).await.unwrap();
            }
        };
        let check = async {
            let checked = check_name(store, "a", ended).await;
            (checked, begun.elapsed())
        };
        tokio::join!(check, happens).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_nobody_has_is_free_at_once() {
        let store = MemoryStore::new();
        store.beat(&row(1, "b", 1)).await.unwrap();
        store.beat(&row(9, "a", 1)).await.unwrap();
        let (checked, took) = check(&store, &[row(1, "b", 2)]).await;
        assert!(checked.unwrap().still.is_empty());
        assert_eq!(took, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_whose_heartbeat_stands_still_is_a_former_lifes() {
        let store = MemoryStore::new();
        store.beat(&row(1, "a", 7)).await.unwrap();
        let (checked, took) = check(&store, &[row(2, "b", 1)]).await;
        let still: Vec<MemberRow> = checked.unwrap().still.into_iter().map(|(row, _)| row).collect();
        assert_eq!(still, [row(1, "a", 7)]);
        assert_eq!(took, NAME_WATCH);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_whose_heartbeat_moves_is_taken() {
        for meanwhile in [row(1, "a", 8), row(2, "a", 1)] {
            let store = MemoryStore::new();
            store.beat(&row(1, "a", 7)).await.unwrap();
            let (checked, _) = check(&store, std::slice::from_ref(&meanwhile)).await;
            let refused = checked.unwrap_err();
            assert!(refused.to_string().contains("node.name"), "{refused}");
            let log = meanwhile.generation;
            assert_eq!(
                refused,
                NameError::InUse {
                    node: "a".into(),
                    log
                }
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_says_nothing() {
        let store = MemoryStore::new();
        store.set_unavailable(true);
        assert!(matches!(check(&store, &[]).await.0, Err(NameError::Store(_))));
    }
}
