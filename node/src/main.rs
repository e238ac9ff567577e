//! The `mailhorn` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailhorn::commands::run().into()
}
