//! Dead letters that are given to their groups again on a schedule (`events.redeliver_every`).

use std::sync::Arc;
use std::time::Duration;

use mailhorn_core::drain::DrainWatch;
use mailhorn_core::events::{EventBus, RegisteredGroup};
use mailhorn_ports::{GroupName, GroupStore, StoreError};

/// The schedule, and what it works on.
#[derive(Debug)]
pub(super) struct Redelivery {
    pub(super) bus: EventBus,
    pub(super) store: Arc<dyn GroupStore>,
    /// The pause before each turn.
    pub(super) every: Duration,
    /// Letters of one group in a turn at most.
    pub(super) limit: usize,
}

impl Redelivery {
    /// Takes a turn again and again, until the node drains.
    pub(super) async fn run(self, mut drain: DrainWatch) {
        let turns = async {
            loop {
                tokio::time::sleep(self.every).await;
                if let Err(error) = self.turn().await {
                    tracing::warn!(%error, "dead letters were not given out again");
                }
            }
        };
        tokio::select! {
            biased;
            () = drain.wait() => {}
            () = turns => {}
        }
    }

    async fn turn(&self) -> Result<(), StoreError> {
        let dead = self.store.groups_with_dead_letters().await?;
        for group in takers(self.bus.groups(), &dead) {
            let given = self.bus.redeliver_all(&group, self.limit).await;
            let (letters, unreadable) = (given.taken_up, given.unreadable);
            match given.broken_off {
                None => tracing::info!(%group, letters, unreadable, "dead letters were given out again"),
                // Nor may one group keep the next from its turn.
                Some(error) => tracing::warn!(
                    %group, letters, unreadable, %error, "dead letters were not all given out again"
                ),
            }
        }
        Ok(())
    }
}

/// The groups that have letters and would take them now. One that waits for its back end would only try them in vain
/// until they were dead again; one that nobody runs here takes none.
fn takers(registered: Vec<RegisteredGroup>, dead: &[(GroupName, u64)]) -> Vec<GroupName> {
    let takes = |group: RegisteredGroup| {
        let has_letters = dead
            .iter()
            .any(|(name, letters)| *name == group.stored_as && *letters > 0);
        let is_running = group.status.why.is_none() && !group.status.rebuilding;
        (has_letters && is_running).then_some(group.name)
    };
    registered.into_iter().filter_map(takes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailhorn_core::events::GroupStatus;
    use mailhorn_ports::{Mode, Scope};

    fn group(stored_as: &str, why: Option<&str>, rebuilding: bool) -> RegisteredGroup {
        let (name, _) = stored_as.split_once('@').unwrap_or((stored_as, ""));
        RegisteredGroup {
            name: name.parse().unwrap(),
            stored_as: stored_as.parse().unwrap(),
            scope: Scope::Local,
            mode: Mode::Async,
            status: GroupStatus {
                rebuilding,
                why: why.map(str::to_owned),
                ..GroupStatus::default()
            },
        }
    }

    #[test]
    fn letters_go_to_groups_that_run_here_and_wait_for_nothing() {
        let dead = [
            ("away", 1),
            ("elsewhere", 1),
            ("index@a", 1),
            ("quota", 1),
            ("rebuilt", 1),
        ];
        let dead = dead.map(|(name, letters)| (name.parse().unwrap(), letters));
        let registered = [
            group("away", Some("connection refused"), false),
            group("index@a", None, false),
            group("quota", None, false),
            group("rebuilt", None, true),
            group("webhook", None, false),
        ];
        let takers: Vec<String> = takers(registered.into(), &dead)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(takers, ["index", "quota"]);
    }
}
