//! Groups of listeners on a running node: where they are, and dead letters that they get again.

use std::collections::BTreeMap;
use std::sync::Arc;

use mailhorn_core::events::{EventBus, RedeliverError, RedeliveredLetters, RegisteredGroup};
use mailhorn_ports::{Cursor, GroupName, GroupStore, KnownGroup, MailStore, StoreError};

use super::OperationError;
use super::letters::{event_id, no_group};
use super::views::{Group, GroupLog, GroupState, Redelivered};

/// What is done with groups. Clones share it.
#[derive(Debug, Clone)]
pub struct EventOperations {
    /// Where groups are registered.
    pub bus: EventBus,
    /// What they leave in the store.
    pub groups: Arc<dyn GroupStore>,
    /// The logs.
    pub mail: Arc<dyn MailStore>,
    /// Dead letters of a group that are given out at a time, where no limit is named (`events.redeliver_limit`).
    pub redeliver_limit: usize,
    /// Groups whose dead letters mean no harm (`events.ignored_groups`).
    pub ignored_groups: Vec<GroupName>,
}

impl From<RedeliverError> for OperationError {
    fn from(error: RedeliverError) -> Self {
        let told = error.to_string();
        match error {
            RedeliverError::NotFound(_) => Self::NotFound(told),
            RedeliverError::NotRegistered(_) | RedeliverError::Unreadable(_) => Self::Conflict(told),
            RedeliverError::TooMany => Self::Unavailable(told),
            RedeliverError::Store(error) => error.into(),
        }
    }
}

impl EventOperations {
    /// All groups, by name: those that are registered here, and those that the store knows and nobody runs.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn groups(&self) -> Result<Vec<Group>, OperationError> {
        let dead = self.groups.groups_with_dead_letters().await?;
        let letters = |name: &GroupName| {
            dead.iter()
                .find(|(group, _)| group == name)
                .map_or(0, |(_, n)| *n)
        };
        let mut shown = Vec::new();
        let registered = self.bus.groups();
        for group in &registered {
            shown.push(registered_group(group, letters(&group.stored_as)));
        }
        for known in self.groups.groups().await? {
            if !registered.iter().any(|group| group.stored_as == known.name) {
                let letters = letters(&known.name);
                shown.push(self.known_group(known, letters).await?);
            }
        }
        shown.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(shown)
    }

    /// A group that nobody runs: its lag is what the logs keep for it, those among them that began since it ran last.
    async fn known_group(&self, known: KnownGroup, dead_letters: u64) -> Result<Group, StoreError> {
        let cursors: BTreeMap<_, _> = self.groups.cursors(&known.name).await?.into_iter().collect();
        let mut logs = Vec::new();
        for (log, _) in self.mail.logs().await? {
            logs.push(GroupLog {
                log: log.to_string(),
                finished: cursors.get(&log).map_or(0, Cursor::finished),
                end: self.mail.log_end(log).await?,
            });
        }
        let mut parked = 0;
        for log in self.groups.parked_logs(&known.name).await? {
            parked += self.groups.parked(&known.name, log).await?.len();
        }
        Ok(Group {
            name: known.name.to_string(),
            scope: None,
            mode: None,
            state: GroupState::NotRegistered,
            why: None,
            lag: logs.iter().map(GroupLog::lag).sum(),
            late: false,
            logs,
            parked,
            dead_letters,
        })
    }

    /// Forgets a group, so that the log is kept for it no longer. Its dead letters stay, and what it had parked is among
    /// them.
    ///
    /// # Errors
    ///
    /// [`OperationError`]: also for one that is registered here, for it would be known again at once.
    pub async fn forget(&self, group: &GroupName) -> Result<(), OperationError> {
        if self.bus.group(group).is_some() {
            let told = format!("{group} is registered on this node: switch its listener off first");
            return Err(OperationError::Conflict(told));
        }
        if !self
            .groups
            .groups()
            .await?
            .iter()
            .any(|known| known.name == *group)
        {
            return Err(no_group(group));
        }
        Ok(self.groups.forget_group(group).await?)
    }

    /// What a group's letters are found by: the name that it has in the store.
    #[must_use]
    pub fn stored_as(&self, group: &GroupName) -> GroupName {
        let registered = self.bus.group(group);
        registered.map_or_else(|| group.clone(), |registered| registered.stored_as)
    }

    /// Gives a dead letter to its group again.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn redeliver(&self, group: &GroupName, id: &str) -> Result<(), OperationError> {
        Ok(self.bus.redeliver(group, event_id(id)?).await?)
    }

    /// Gives dead letters of a group to it again. Where that ends early it is told with the reason.
    ///
    /// # Errors
    ///
    /// [`OperationError`]: none was given.
    pub async fn redeliver_group(
        &self,
        group: &GroupName,
        limit: Option<usize>,
    ) -> Result<Redelivered, OperationError> {
        let limit = limit.unwrap_or(self.redeliver_limit);
        redelivered(group, self.bus.redeliver_all(group, limit).await)
    }

    /// Gives dead letters of every group to it again, at most `limit` of each. One that can't get them is told with the
    /// reason and stops no other.
    ///
    /// # Errors
    ///
    /// [`OperationError`]: nothing was given.
    pub async fn redeliver_all(&self, limit: Option<usize>) -> Result<Vec<Redelivered>, OperationError> {
        let mut told = Vec::new();
        for (group, _) in self.groups.groups_with_dead_letters().await? {
            let redelivered = self.redeliver_group(&group, limit).await;
            told.push(redelivered.unwrap_or_else(|error| Redelivered {
                group: group.to_string(),
                letters: 0,
                unreadable: 0,
                error: Some(error.to_string()),
            }));
        }
        Ok(told)
    }
}

fn redelivered(group: &GroupName, given: RedeliveredLetters) -> Result<Redelivered, OperationError> {
    match given.broken_off {
        Some(error) if given.taken_up == 0 => Err(error.into()),
        broken_off => Ok(Redelivered {
            group: group.to_string(),
            letters: given.taken_up,
            unreadable: given.unreadable,
            error: broken_off.map(|error| error.to_string()),
        }),
    }
}

fn registered_group(group: &RegisteredGroup, dead_letters: u64) -> Group {
    let status = &group.status;
    let state = match (status.rebuilding, &status.why) {
        (true, _) => GroupState::Rebuilding,
        (false, Some(_)) => GroupState::Stopped,
        (false, None) => GroupState::Running,
    };
    let logs = status.logs.iter().map(|log| GroupLog {
        log: log.log.to_string(),
        finished: log.finished,
        end: log.end,
    });
    Group {
        name: group.name.to_string(),
        scope: Some(group.scope.into()),
        mode: Some(group.mode.into()),
        state,
        why: status.why.clone(),
        lag: status.lag(),
        late: status.late,
        logs: logs.collect(),
        parked: status.parked,
        dead_letters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redelivery_that_breaks_off_tells_what_was_given_before() {
        let group = "webhook".parse().unwrap();
        let given = |taken_up| RedeliveredLetters {
            taken_up,
            unreadable: 2,
            broken_off: Some(RedeliverError::TooMany),
        };
        let told = redelivered(&group, given(3)).unwrap();
        assert_eq!((told.letters, told.unreadable), (3, 2));
        assert_eq!(told.error, Some(RedeliverError::TooMany.to_string()));
        let refused = redelivered(&group, given(0)).unwrap_err();
        assert!(matches!(refused, OperationError::Unavailable(_)), "{refused}");
    }
}
