//! What a command says on the standard output: for people, or as JSON.
//!
//! A reader that has gone (`mailhorn user list | head -1`) is no fault.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// How lists are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line each.
    Text,
    /// JSON.
    Json,
}

/// Writes to the standard output.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    form: Form,
}

impl Output {
    /// In this form.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self { form }
    }

    /// Shows one thing: as JSON, or as a line.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn one<T: Serialize>(self, value: &T, line: impl Fn(&T) -> String) -> anyhow::Result<()> {
        match self.form {
            Form::Text => write_line(&line(value))?,
            Form::Json => write_line(&serde_json::to_string_pretty(value)?)?,
        }
        Ok(())
    }

    /// Shows a list: as JSON, or by `line` for each of its values.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn list<T: Serialize>(self, values: &[T], line: impl Fn(&T) -> String) -> anyhow::Result<()> {
        match self.form {
            Form::Text => {
                for value in values {
                    write_line(&line(value))?;
                }
            }
            Form::Json => write_line(&serde_json::to_string_pretty(values)?)?,
        }
        Ok(())
    }
}

/// Writes a line, whatever the form.
///
/// # Errors
///
/// The system's, but for a reader that has gone.
pub fn write_line(text: &str) -> io::Result<()> {
    is_read(text).map(drop)
}

/// Writes a line where there is no end of them: false when the reader has gone.
///
/// # Errors
///
/// The system's.
pub fn is_read(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Tells a person of a fault, on the standard error output.
pub fn complain(text: impl AsRef<str>) {
    let mut err = io::stderr().lock();
    // Where it can't be told, there is nobody to tell.
    drop(writeln!(err, "{}", text.as_ref()));
}
