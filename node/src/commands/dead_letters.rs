//! `mailhorn events dead-letters`.

use super::access::{Access, all_pages, query, running_node};
use super::accounts::{output, with};
use crate::cli::{DeadLetterCommand, Shown, WhichLetters};
use crate::client;
use crate::exit::Exit;
use crate::operations::views::{DeadLetter, DeadLetterContent, DeadLetterGroup, Redelivered, Removals};
use crate::operations::{PAGE_ENTRIES_MAX, group_name};
use crate::output::{complain, write_line};
use crate::settings::Settings;

pub(super) fn list(group: Option<&str>, shown: Shown, settings: &Settings) -> anyhow::Result<Exit> {
    with(settings, |access| match group {
        None => output(shown).list(&access.dead_letter_groups()?, |group| {
            format!("{}\t{}", group.group, group.letters)
        }),
        Some(group) => output(shown).list(&access.dead_letters(group)?, |letter| {
            format!(
                "{}\t{}\t{}\t{}",
                letter.id, letter.last, letter.attempts, letter.why
            )
        }),
    })
}

pub(super) fn dead_letters(command: DeadLetterCommand, settings: &Settings) -> anyhow::Result<Exit> {
    match command {
        DeadLetterCommand::Show { group, id } => with(settings, |access| {
            let letter = access.dead_letter(&group, &id)?;
            Ok(write_line(&serde_json::to_string_pretty(&letter)?)?)
        }),
        DeadLetterCommand::Delete { group, which } => with(settings, |access| delete(access, &group, &which)),
        DeadLetterCommand::Redeliver { group, id, limit } => {
            redeliver(group.as_deref(), id.as_deref(), limit, settings)
        }
    }
}

fn delete(access: &Access, group: &str, which: &WhichLetters) -> anyhow::Result<()> {
    let removed = match &which.id {
        Some(id) => access.remove_dead_letter(group, id).map(|()| 1)?,
        None => access.remove_dead_letters(group)?,
    };
    Ok(write_line(&format!("dead letters removed: {removed}"))?)
}

fn redeliver(
    group: Option<&str>,
    id: Option<&str>,
    limit: Option<usize>,
    settings: &Settings,
) -> anyhow::Result<Exit> {
    let node = running_node(settings)?;
    let limit = limit.map(|limit| limit.to_string());
    let limit: Vec<(&str, &str)> = limit.iter().map(|limit| ("limit", limit.as_str())).collect();
    let root = ["events", "dead-letters"];
    let told = match (group, id) {
        (Some(group), Some(id)) => {
            node.ask(&[root[0], root[1], group, id, "redeliver"], &[])?;
            vec![Redelivered {
                group: group.to_owned(),
                letters: 1,
                unreadable: 0,
                error: None,
            }]
        }
        (Some(group), None) => {
            vec![client::read(
                node.ask(&[root[0], root[1], group, "redeliver"], &limit)?,
            )?]
        }
        (None, _) => client::read(node.ask(&[root[0], root[1], "redeliver"], &limit)?)?,
    };
    let mut exit = Exit::Done;
    for Redelivered {
        group,
        letters,
        unreadable,
        error,
    } in told
    {
        write_line(&format!("{group}: dead letters given out again: {letters}"))?;
        if unreadable > 0 {
            complain(format!(
                "mailhorn: {group}: dead letters that this release can't read: {unreadable}"
            ));
            exit = Exit::Failed;
        }
        if let Some(error) = error {
            complain(format!("mailhorn: {group}: {error}"));
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

impl Access {
    fn dead_letter_groups(&self) -> anyhow::Result<Vec<DeadLetterGroup>> {
        match self {
            Self::Running(client) => client.get(&["events", "dead-letters"], &[]),
            Self::Stopped(stopped) => stopped.run(async |operations| operations.dead_letter_groups().await),
        }
    }

    fn dead_letters(&self, group: &str) -> anyhow::Result<Vec<DeadLetter>> {
        all_pages(|after| match self {
            Self::Running(client) => client.get(&["events", "dead-letters", group], &query(after)),
            Self::Stopped(stopped) => stopped.run(async |operations| {
                let group = group_name(group)?;
                operations.dead_letters(&group, after, PAGE_ENTRIES_MAX).await
            }),
        })
    }

    fn dead_letter(&self, group: &str, id: &str) -> anyhow::Result<DeadLetterContent> {
        match self {
            Self::Running(client) => client.get(&["events", "dead-letters", group, id], &[]),
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.dead_letter(&group_name(group)?, id).await)
            }
        }
    }

    fn remove_dead_letter(&self, group: &str, id: &str) -> anyhow::Result<()> {
        match self {
            Self::Running(client) => client.delete(&["events", "dead-letters", group, id]).map(drop),
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.remove_dead_letter(&group_name(group)?, id).await)
            }
        }
    }

    fn remove_dead_letters(&self, group: &str) -> anyhow::Result<u64> {
        match self {
            Self::Running(client) => {
                let removed: Removals = client::read(client.delete(&["events", "dead-letters", group])?)?;
                Ok(removed.letters)
            }
            Self::Stopped(stopped) => stopped
                .run(async |operations| operations.remove_dead_letters(&group_name(group)?, None).await),
        }
    }
}
