//! What is wrong with the settings, told so that it can be mended: the key, the value, what is allowed.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// There is no such setting.
    UnknownKey {
        /// As it was given.
        key: String,
        /// What it was set to.
        value: String,
        /// Who set it.
        origin: String,
        /// The setting that was probably meant.
        meant: Option<String>,
        /// What there is in its place.
        allowed: String,
    },
    /// The setting can't have this value.
    BadValue {
        /// Which setting.
        key: String,
        /// What it was set to.
        value: String,
        /// Who set it.
        origin: String,
        /// The value that was probably meant.
        meant: Option<String>,
        /// What it can have.
        allowed: String,
    },
    /// Each is allowed by itself, but not with the others.
    Combination {
        /// The setting to change.
        key: String,
        /// What it is.
        value: String,
        /// Why it can't be, and what to do.
        why: String,
    },
    /// A source could not be read at all.
    Source(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey {
                key,
                value,
                origin,
                meant,
                allowed,
            } => {
                write!(f, "{key} = {value} ({origin}): there is no such setting")?;
                if let Some(meant) = meant {
                    write!(f, "; did you mean {meant}?")?;
                }
                write!(f, " Allowed: {allowed}")
            }
            Self::BadValue {
                key,
                value,
                origin,
                meant,
                allowed,
            } => {
                write!(f, "{key} = {value} ({origin}): not allowed")?;
                match meant {
                    Some(meant) => write!(f, "; did you mean {meant}? Allowed: {allowed}"),
                    None => write!(f, ". Allowed: {allowed}"),
                }
            }
            Self::Combination { key, value, why } => write!(f, "{key} = {value}: {why}"),
            Self::Source(what) => f.write_str(what),
        }
    }
}

/// All that is wrong: whoever mends a file wants to hear of everything at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
