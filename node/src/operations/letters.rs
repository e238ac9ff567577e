//! Dead letters: events that a group of listeners could not handle.

use mailhorn_events::EventId;
use mailhorn_ports::GroupName;

use super::views::{DeadLetter, DeadLetterContent, DeadLetterGroup, Page};
use super::{OperationError, Operations, PAGE_ENTRIES_MAX};

impl Operations {
    /// The groups that have dead letters.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn dead_letter_groups(&self) -> Result<Vec<DeadLetterGroup>, OperationError> {
        let groups = self.groups.groups_with_dead_letters().await?;
        let shown = groups.into_iter().map(|(group, letters)| DeadLetterGroup {
            group: group.to_string(),
            letters,
        });
        Ok(shown.collect())
    }

    /// The dead letters of a group after one, by id.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn dead_letters(
        &self,
        group: &GroupName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<DeadLetter>, OperationError> {
        let limit = limit.clamp(1, PAGE_ENTRIES_MAX);
        let after = after.map(event_id).transpose()?;
        let letters = self.groups.dead_letters(group, after, limit).await?;
        if letters.is_empty() {
            self.refuse_unknown(group).await?;
        }
        let next = letters.last().filter(|_| letters.len() == limit);
        Ok(Page {
            next: next.map(|letter| letter.id.to_string()),
            items: letters.iter().map(DeadLetter::from).collect(),
        })
    }

    /// A dead letter with all that it holds.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn dead_letter(
        &self,
        group: &GroupName,
        id: &str,
    ) -> Result<DeadLetterContent, OperationError> {
        let letter = self.groups.dead_letter(group, event_id(id)?).await?;
        let letter = letter.ok_or_else(|| no_letter(group, id))?;
        Ok(DeadLetterContent::from(&letter))
    }

    /// Removes a dead letter: its group never gets the event.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn remove_dead_letter(&self, group: &GroupName, id: &str) -> Result<(), OperationError> {
        let event = event_id(id)?;
        if self.groups.dead_letter(group, event).await?.is_none() {
            return Err(no_letter(group, id));
        }
        Ok(self.groups.remove_dead_letter(group, event).await?)
    }

    /// Removes the first dead letters of a group, or all of them, and tells how many they were.
    ///
    /// # Errors
    ///
    /// [`OperationError`]: some may be gone.
    pub async fn remove_dead_letters(
        &self,
        group: &GroupName,
        limit: Option<usize>,
    ) -> Result<u64, OperationError> {
        self.refuse_unknown(group).await?;
        let Some(limit) = limit else {
            return Ok(self.groups.remove_dead_letters(group).await?);
        };
        let mut removed: u64 = 0;
        let mut left = limit;
        while left > 0 {
            let letters = self
                .groups
                .dead_letters(group, None, left.min(PAGE_ENTRIES_MAX))
                .await?;
            if letters.is_empty() {
                break;
            }
            left = left.saturating_sub(letters.len());
            for letter in letters {
                self.groups.remove_dead_letter(group, letter.id).await?;
                removed = removed.saturating_add(1);
            }
        }
        Ok(removed)
    }

    /// Of a misspelt group there is nothing, which is not to be taken for good news. One that was forgotten may have
    /// letters.
    async fn refuse_unknown(&self, group: &GroupName) -> Result<(), OperationError> {
        let known = self.groups.groups().await?;
        let with_letters = self.groups.groups_with_dead_letters().await?;
        let is_there = known.iter().any(|known| known.name == *group)
            || with_letters.iter().any(|(name, _)| name == group);
        if is_there { Ok(()) } else { Err(no_group(group)) }
    }
}

/// A group's name as people write it.
///
/// # Errors
///
/// [`OperationError::Invalid`].
pub fn group_name(text: &str) -> Result<GroupName, OperationError> {
    text.parse()
        .map_err(|error| OperationError::Invalid(format!("{text:?} is no group: {error}")))
}

pub(super) fn event_id(text: &str) -> Result<EventId, OperationError> {
    let id = text
        .parse()
        .map_err(|_| OperationError::Invalid(format!("{text:?} is no event id")))?;
    Ok(EventId(id))
}

pub(super) fn no_group(group: &GroupName) -> OperationError {
    OperationError::NotFound(format!("there is no group {group}"))
}

fn no_letter(group: &GroupName, id: &str) -> OperationError {
    OperationError::NotFound(format!("{group} has no dead letter {id}"))
}
