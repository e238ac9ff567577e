//! How the process ends. The same for every command.

use std::process::ExitCode;

use crate::settings::Problems;

/// An exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Done,
    /// It was not done, or not all of it; the reason stands on the standard error output.
    Failed,
    /// The command line or the settings have to be mended first.
    Usage,
}

impl Exit {
    /// As the shell sees it. 2 for usage is also what the parser of the command line ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
        }
    }

    /// What an error ends in.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        if error.is::<Problems>() {
            Self::Usage
        } else {
            Self::Failed
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Problem;

    #[test]
    fn settings_to_mend_are_told_from_what_failed() {
        let problems = Problems(vec![Problem::Source("x".into())]);
        assert_eq!(Exit::of(&problems.into()), Exit::Usage);
        assert_eq!(Exit::of(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
