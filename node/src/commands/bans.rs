//! `mailhorn bans`.

use serde_json::json;

use super::access::running_node;
use super::accounts::output;
use crate::cli::BansCommand;
use crate::exit::Exit;
use crate::operations::views::Ban;
use crate::output::write_line;
use crate::settings::Settings;

pub(super) fn bans(command: BansCommand, settings: &Settings) -> anyhow::Result<Exit> {
    let node = running_node(settings)?;
    match command {
        BansCommand::List { shown } => {
            let bans: Vec<Ban> = node.get(&["bans"], &[])?;
            output(shown).list(&bans, line)?;
        }
        BansCommand::Add {
            network,
            time,
            reason,
        } => {
            let reason = reason.unwrap_or_else(|| "by hand".to_owned());
            let new = json!({ "network": network, "time": time, "reason": reason });
            let ban: Ban = node.post(&["bans"], &new)?;
            write_line(&line(&ban))?;
        }
        BansCommand::Lift { network } => {
            node.delete(&["bans", &network])?;
            write_line(&format!("the ban of {network} was lifted"))?;
        }
    }
    Ok(Exit::Done)
}

/// Network, end, reason, node.
fn line(ban: &Ban) -> String {
    format!(
        "{}\tuntil {}\t{}\t{}",
        ban.network, ban.until, ban.reason, ban.node
    )
}
