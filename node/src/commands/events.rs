//! `mailhorn events`.

use super::access::running_node;
use super::accounts::output;
use super::{dead_letters, tail};
use crate::cli::EventsCommand;
use crate::exit::Exit;
use crate::operations::views::Group;
use crate::output::write_line;
use crate::settings::Settings;

pub(super) fn events(command: EventsCommand, settings: &Settings) -> anyhow::Result<Exit> {
    match command {
        EventsCommand::Tail { of, json } => tail::tail(&of, json, settings),
        EventsCommand::Groups { shown } => {
            let groups: Vec<Group> = running_node(settings)?.get(&["events", "groups"], &[])?;
            output(shown).list(&groups, line)?;
            Ok(Exit::Done)
        }
        EventsCommand::Forget { group } => {
            running_node(settings)?.delete(&["events", "groups", &group])?;
            write_line(&format!("{group} was forgotten"))?;
            Ok(Exit::Done)
        }
        EventsCommand::DeadLetters {
            command: Some(command),
            ..
        } => dead_letters::dead_letters(command, settings),
        EventsCommand::DeadLetters {
            command: None,
            group,
            shown,
        } => dead_letters::list(group.as_deref(), shown, settings),
    }
}

/// Name, state, figures, and why it is stopped.
pub(super) fn line(group: &Group) -> String {
    let why = group.why.as_deref().unwrap_or_default();
    let line = format!(
        "{}\t{}\tlag {}\tparked {}\tdead {}\t{why}",
        group.name,
        group.state.word(),
        group.lag,
        group.parked,
        group.dead_letters
    );
    line.trim_end().to_owned()
}
