//! `mailhorn config`.

use super::access::running_node;
use super::addresses;
use crate::cli::ConfigCommand;
use crate::exit::Exit;
use crate::output::{complain, write_line};
use crate::settings::value::Backend;
use crate::settings::{Settings, Sources, reference};

pub(super) fn config(command: ConfigCommand, sources: &Sources) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Default => write_line(reference::toml().trim_end())?,
        ConfigCommand::Check => {
            let settings = sources.load()?;
            write_line("the settings are in order")?;
            tell_what_is_missing(&settings);
        }
        ConfigCommand::Show => write_line(&shown(&sources.load()?))?,
    }
    Ok(Exit::Done)
}

/// What the settings name in a store that is there, and nobody has: a warning, for it may be made yet.
///
/// Whoever opens a cluster's store makes its tables or changes them: that is for a start, and not for a check. So of a cluster
/// only a node that runs here is asked.
fn tell_what_is_missing(settings: &Settings) {
    let is_there = match settings.store.backend {
        Backend::Embedded => settings.store_dir().exists(),
        Backend::Cassandra => running_node(settings).is_ok(),
    };
    if !is_there {
        return;
    }
    match addresses::nobody_named(settings) {
        Ok(None) => {}
        Ok(Some(told)) => complain(format!("mailhorn: warning: {told}")),
        Err(error) => complain(format!(
            "mailhorn: the accounts could not be looked at: {error:#}"
        )),
    }
}

fn shown(settings: &Settings) -> String {
    let promise = match settings.store.backend {
        Backend::Embedded => {
            "# What a 250 to a message, and a +OK to QUIT, mean here: a sync of the store's journal that covers the\n\
             # change has returned. It survives a crash and a loss of power, if the disk keeps what it has synced."
        }
        Backend::Cassandra => {
            "# What a 250 to a message, and a +OK to QUIT, mean here: a quorum of the replicas in the local data centre\n\
             # (cassandra.datacenter) has the change in its commit log. It survives whatever leaves one of that quorum.\n\
             # Not covered: that quorum losing power within Cassandra's commitlog_sync_period, and the whole centre going\n\
             # before another one has it."
        }
    };
    format!("{promise}\n\n{}", settings.to_toml().trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_250_means_stands_above_the_settings_in_force() {
        let text = shown(&Sources::default().load().unwrap());
        assert!(text.starts_with("# What a 250"), "{text}");
        assert!(
            text.contains("\n[smtp]\nlisten = [\"127.0.0.1:2525\"]\n"),
            "{text}"
        );
    }
}
