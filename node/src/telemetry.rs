//! The node's log: what tracing tells, on the standard error output, as text or as JSON.
//!
//! A thread of its own writes what has gathered: a session that logs doesn't wait for the terminal, and many lines are
//! one write. The line is bounded; when it is full, whoever logs waits, and no line is lost but by a killed process.

use std::io::{self, BufWriter, IsTerminal};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::settings::sections::Log;
use crate::settings::value::{Levels, LogFormat};

/// Lines that wait to be written at most.
const LINES_WAITING_MAX: usize = 8_192;

/// Begins to log. Once a process. What waits is written out when the guard is dropped.
///
/// # Errors
///
/// When the process logs already.
pub fn init(settings: &Log) -> anyhow::Result<WorkerGuard> {
    let filter = targets(&settings.levels);
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(false)
        .buffered_lines_limit(LINES_WAITING_MAX)
        .thread_name("log-lines")
        .finish(BufWriter::new(io::stderr()));
    let layer = match settings.format {
        LogFormat::Text => fmt::layer()
            .with_writer(writer)
            .with_ansi(io::stderr().is_terminal())
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
    };
    registry().with(layer).try_init()?;
    Ok(guard)
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
