//! The node's log: what tracing tells, on the standard error output, as text or as JSON.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::settings::sections::Log;
use crate::settings::value::{Levels, LogFormat};

/// Begins to log. Once a process.
///
/// # Errors
///
/// When the process logs already.
pub fn init(settings: &Log) -> anyhow::Result<()> {
    let filter = targets(&settings.levels);
    let layer = match settings.format {
        LogFormat::Text => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .with_writer(io::stderr)
            .with_filter(filter)
            .boxed(),
    };
    registry().with(layer).try_init()?;
    Ok(())
}

fn targets(levels: &Levels) -> Targets {
    let modules = levels
        .modules
        .iter()
        .map(|(module, level)| (module.clone(), *level));
    Targets::new().with_default(levels.general).with_targets(modules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::value::Value;
    use tracing::Level;

    #[test]
    fn the_longest_module_that_fits_decides() {
        let targets = targets(&Levels::parse("warn,mailhorn_core=debug,mailhorn_core::log=off").unwrap());
        let table = [
            ("rustls", Level::WARN, true),
            ("rustls", Level::INFO, false),
            ("mailhorn_core::pop3_session", Level::DEBUG, true),
            ("mailhorn_core::log", Level::ERROR, false),
        ];
        for (module, level, expected) in table {
            assert_eq!(targets.would_enable(module, &level), expected, "{module} {level}");
        }
    }
}
