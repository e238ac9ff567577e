//! A POP3 client that hides nothing of what the server says.

use crate::case::{Checked, Stop, check};
use crate::wire::{Wire, printable};

/// A status line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) ok: bool,
    /// What follows the status indicator, without the space between.
    pub(crate) text: String,
    /// The whole line without its CRLF.
    pub(crate) line: Vec<u8>,
}

impl Status {
    /// Reads a line that is to begin with a status indicator.
    pub(crate) fn read(line: Vec<u8>) -> Checked<Self> {
        let (ok, rest) = match (line.strip_prefix(b"+OK"), line.strip_prefix(b"-ERR")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => {
                let shown = printable(&line);
                return Err(Stop::Failed(format!("neither +OK nor -ERR: {shown}")));
            }
        };
        let text = match rest {
            [] => String::new(),
            [b' ', text @ ..] => String::from_utf8_lossy(text).into_owned(),
            _ => {
                return Err(Stop::Failed(format!(
                    "no space after the status: {}",
                    printable(&line)
                )));
            }
        };
        Ok(Self { ok, text, line })
    }

    /// The extended response code (RFC 2449, section 8), in upper case.
    pub(crate) fn code(&self) -> Option<String> {
        let (code, _) = self.text.strip_prefix('[')?.split_once(']')?;
        Some(code.to_ascii_uppercase())
    }
}

/// A session of POP3.
#[derive(Debug)]
pub(crate) struct Pop3 {
    pub(crate) wire: Wire,
    /// The server's first line.
    pub(crate) greeting: Status,
}

impl Pop3 {
    /// Takes a fresh connection and reads the greeting.
    pub(crate) fn greeted(mut wire: Wire) -> Checked<Self> {
        let greeting = Status::read(wire.line()?)?;
        Ok(Self { wire, greeting })
    }

    /// Reads a status line.
    pub(crate) fn status(&mut self) -> Checked<Status> {
        Status::read(self.wire.line()?)
    }

    /// Sends a command and reads its status line.
    pub(crate) fn ask(&mut self, command: &str) -> Checked<Status> {
        self.wire.send(format!("{command}\r\n").as_bytes())?;
        self.status()
    }

    /// The same; -ERR fails the case.
    pub(crate) fn accepts(&mut self, command: &str) -> Checked<Status> {
        let status = self.ask(command)?;
        check!(
            status.ok,
            "{} was refused: {}",
            verb(command),
            printable(&status.line)
        );
        Ok(status)
    }

    /// The same; +OK fails the case.
    pub(crate) fn refuses(&mut self, command: &str) -> Checked<Status> {
        let status = self.ask(command)?;
        let shown = self.wire.shown(command);
        check!(!status.ok, "{shown:?} was accepted: {}", printable(&status.line));
        Ok(status)
    }

    /// Reads the lines behind a status line, up to the lone dot, as they come.
    pub(crate) fn raw_lines(&mut self) -> Checked<Vec<Vec<u8>>> {
        let mut lines = Vec::new();
        loop {
            let line = self.wire.line()?;
            if line == b"." {
                return Ok(lines);
            }
            lines.push(line);
        }
    }

    /// Reads them with the dot taken away that was stuffed.
    pub(crate) fn lines(&mut self) -> Checked<Vec<Vec<u8>>> {
        let lines = self.raw_lines()?;
        lines.into_iter().map(unstuffed).collect()
    }

    /// A command with an answer of several lines.
    pub(crate) fn listing(&mut self, command: &str) -> Checked<Vec<Vec<u8>>> {
        self.accepts(command)?;
        self.lines()
    }

    /// The same as text.
    pub(crate) fn listing_text(&mut self, command: &str) -> Checked<Vec<String>> {
        let lines = self.listing(command)?;
        Ok(lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect())
    }

    /// The octets that RETR or TOP sends, each line with its CRLF.
    pub(crate) fn content(&mut self, command: &str) -> Checked<Vec<u8>> {
        Ok(joined(&self.listing(command)?))
    }

    /// The message with this number.
    pub(crate) fn retr(&mut self, number: usize) -> Checked<Vec<u8>> {
        self.content(&format!("RETR {number}"))
    }

    /// The numbers and what stands behind them, of LIST or UIDL.
    pub(crate) fn numbered(&mut self, command: &str) -> Checked<Vec<(usize, String)>> {
        let lines = self.listing_text(command)?;
        lines.iter().map(|line| numbered(line)).collect()
    }

    /// Count and size that STAT tells.
    pub(crate) fn stat(&mut self) -> Checked<(usize, u64)> {
        let status = self.accepts("STAT")?;
        let mut parts = status.text.split(' ');
        let count = parts.next().and_then(|part| part.parse().ok());
        let size = parts.next().and_then(|part| part.parse().ok());
        let shown = printable(&status.line);
        count
            .zip(size)
            .ok_or_else(|| Stop::Failed(format!("no drop listing: {shown}")))
    }

    /// Names in the answer to CAPA, in upper case, each with its arguments. Empty where CAPA is refused.
    pub(crate) fn capabilities(&mut self) -> Checked<Vec<String>> {
        if !self.ask("CAPA")?.ok {
            return Ok(Vec::new());
        }
        let lines = self.lines()?;
        Ok(lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).to_ascii_uppercase())
            .collect())
    }

    /// QUIT, its answer, and the end of the connection.
    pub(crate) fn quit(mut self) -> Checked {
        self.accepts("QUIT")?;
        self.wire.wait_for_close()
    }
}

/// What may be shown of a command: not its arguments, which may be secrets.
fn verb(command: &str) -> &str {
    command.split(' ').next().unwrap_or(command)
}

/// The lines with their CRLFs.
pub(crate) fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| [line.as_slice(), b"\r\n"].concat())
        .collect()
}

/// Takes the stuffed dot away (RFC 1939, section 3). A lone dot that stands alone ends the answer and never gets here; a line that
/// begins with one dot and something else wasn't stuffed.
pub(crate) fn unstuffed(line: Vec<u8>) -> Checked<Vec<u8>> {
    match line.as_slice() {
        [b'.', b'.', ..] => Ok(line[1..].to_vec()),
        [b'.', ..] => Err(Stop::Failed(format!(
            "a line that wasn't byte-stuffed: {}",
            printable(&line)
        ))),
        _ => Ok(line),
    }
}

/// A line of a listing.
fn numbered(line: &str) -> Checked<(usize, String)> {
    let parts = line.split_once(' ');
    let parsed = parts.and_then(|(number, rest)| Some((number.parse().ok()?, rest.to_owned())));
    parsed.ok_or_else(|| Stop::Failed(format!("no line of a listing: {line:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_with_its_code() {
        let table: [(&str, bool, &str, Option<&str>); 5] = [
            ("+OK", true, "", None),
            ("+OK 2 320", true, "2 320", None),
            ("-ERR [IN-USE] busy", false, "[IN-USE] busy", Some("IN-USE")),
            ("-ERR [sys/temp]", false, "[sys/temp]", Some("SYS/TEMP")),
            ("-ERR [broken", false, "[broken", None),
        ];
        for (line, ok, text, code) in table {
            let status = Status::read(line.as_bytes().to_vec()).unwrap();
            assert_eq!((status.ok, status.text.as_str()), (ok, text), "{line}");
            assert_eq!(status.code().as_deref(), code, "{line}");
        }
    }

    #[test]
    fn a_line_without_a_status_indicator_in_upper_case_is_none() {
        for line in ["+ok", "-err no", "OK", "", "+OKAY", "* OK"] {
            assert!(Status::read(line.as_bytes().to_vec()).is_err(), "{line}");
        }
    }

    #[test]
    fn one_stuffed_dot_is_taken_away_and_a_dot_that_was_not_stuffed_is_noticed() {
        let table: [(&str, Option<&str>); 5] = [
            ("text", Some("text")),
            ("..", Some(".")),
            ("...", Some("..")),
            ("..a", Some(".a")),
            (".a", None),
        ];
        for (line, expected) in table {
            let line = unstuffed(line.as_bytes().to_vec()).ok();
            assert_eq!(line.as_deref(), expected.map(str::as_bytes));
        }
    }

    #[test]
    fn a_line_of_a_listing_is_a_number_a_space_and_the_rest() {
        assert_eq!(numbered("3 120"), Ok((3, "120".to_owned())));
        assert_eq!(numbered("3 a b"), Ok((3, "a b".to_owned())));
        for line in ["", "3", "x 120", " 3 120"] {
            assert!(numbered(line).is_err(), "{line:?}");
        }
    }
}
