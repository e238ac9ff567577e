//! A client of SMTP and LMTP that hides nothing of what the server says.

use crate::case::{Checked, Stop, check};
use crate::mail::stuffed;
use crate::wire::{Wire, printable};

/// A reply of one or more lines (RFC 5321, section 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// The text of each line.
    pub(crate) texts: Vec<String>,
    /// The longest line with its CRLF, in octets.
    pub(crate) octets_max: usize,
}

impl Reply {
    /// 1 to 9: the first digit.
    pub(crate) const fn class(&self) -> u16 {
        self.code / 100
    }

    pub(crate) const fn is_ok(&self) -> bool {
        self.class() == 2
    }

    /// As a client's log would have it.
    pub(crate) fn shown(&self) -> String {
        format!("{} {}", self.code, self.texts.first().map_or("", String::as_str))
    }

    /// The enhanced status code (RFC 2034) at the beginning of a line: class, subject, detail.
    pub(crate) fn status_code(text: &str) -> Option<(u16, u16, u16)> {
        let code = text.split(' ').next()?;
        let parts: Vec<Option<u16>> = code
            .split('.')
            .map(|part| part.parse().ok().filter(|_| (1..=3).contains(&part.len())))
            .collect();
        match parts.as_slice() {
            [Some(class @ (2 | 4 | 5)), Some(subject), Some(detail)] => Some((*class, *subject, *detail)),
            _ => None,
        }
    }
}

/// Adds a line to the lines of a reply; true when it was the last.
fn add_line(reply: &mut Option<Reply>, line: &[u8]) -> Checked<bool> {
    let wrong = |why: &str| Stop::Failed(format!("{why}: {}", printable(line)));
    let digits = line
        .get(..3)
        .filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let digits = digits.ok_or_else(|| wrong("no reply code of three digits"))?;
    let code = digits
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (is_last, text) = match line.get(3..) {
        Some([]) | None => (true, &b""[..]),
        Some([b' ', text @ ..]) => (true, text),
        Some([b'-', text @ ..]) => (false, text),
        Some(_) => return Err(wrong("neither a space nor a hyphen after the reply code")),
    };
    let text = String::from_utf8_lossy(text).into_owned();
    let octets = line.len() + 2;
    match reply {
        None => {
            *reply = Some(Reply {
                code,
                texts: vec![text],
                octets_max: octets,
            });
        }
        Some(reply) if reply.code != code => return Err(wrong("the lines of a reply have several codes")),
        Some(reply) => {
            reply.texts.push(text);
            reply.octets_max = reply.octets_max.max(octets);
        }
    }
    Ok(is_last)
}

/// A session of SMTP or LMTP.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) wire: Wire,
    /// The server's first reply.
    pub(crate) greeting: Reply,
    /// What the last EHLO or LHLO was answered with, without the first line, in upper case.
    pub(crate) extensions: Vec<String>,
}

impl Transfer {
    /// Takes a fresh connection and reads the greeting.
    pub(crate) fn greeted(mut wire: Wire) -> Checked<Self> {
        let greeting = read_reply(&mut wire)?;
        Ok(Self {
            wire,
            greeting,
            extensions: Vec::new(),
        })
    }

    /// Greets, and keeps what is offered.
    pub(crate) fn hello(&mut self, hello: &str) -> Checked<Reply> {
        let reply = self.expect(hello, &[250])?;
        self.extensions = reply
            .texts
            .iter()
            .skip(1)
            .map(|text| text.to_ascii_uppercase())
            .collect();
        Ok(reply)
    }

    /// What stands behind the keyword of an extension, if it is offered.
    pub(crate) fn offers(&self, keyword: &str) -> Option<&str> {
        self.extensions.iter().find_map(|line| {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            (name == keyword).then_some(rest)
        })
    }

    /// Reads a reply.
    pub(crate) fn reply(&mut self) -> Checked<Reply> {
        read_reply(&mut self.wire)
    }

    /// Sends a command and reads its reply.
    pub(crate) fn ask(&mut self, command: &str) -> Checked<Reply> {
        self.wire.send(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    /// The same; a code that isn't among these fails the case.
    pub(crate) fn expect(&mut self, command: &str, codes: &[u16]) -> Checked<Reply> {
        let reply = self.ask(command)?;
        let shown = self.wire.shown(command);
        check!(
            codes.contains(&reply.code),
            "{shown:?} was answered {}, not {codes:?}",
            reply.shown()
        );
        Ok(reply)
    }

    /// The same for a first digit.
    pub(crate) fn expect_class(&mut self, command: &str, class: u16) -> Checked<Reply> {
        let reply = self.ask(command)?;
        let shown = self.wire.shown(command);
        check!(
            reply.class() == class,
            "{shown:?} was answered {}, not {class}yz",
            reply.shown()
        );
        Ok(reply)
    }

    /// Begins a transaction.
    pub(crate) fn envelope(&mut self, mail: &str, recipients: &[&str]) -> Checked {
        self.expect_class(mail, 2)?;
        for recipient in recipients {
            self.expect_class(&format!("RCPT TO:<{recipient}>"), 2)?;
        }
        Ok(())
    }

    /// DATA and content, without the replies at its end.
    pub(crate) fn send_data(&mut self, content: &[u8]) -> Checked {
        self.expect("DATA", &[354])?;
        self.wire.send(&stuffed(content))?;
        self.wire.send(b".\r\n")
    }

    /// QUIT, its answer, and the end of the connection.
    pub(crate) fn quit(mut self) -> Checked {
        self.expect("QUIT", &[221])?;
        self.wire.wait_for_close()
    }
}

fn read_reply(wire: &mut Wire) -> Checked<Reply> {
    let mut reply = None;
    while !add_line(&mut reply, &wire.line()?)? {}
    let reply = reply.ok_or(Stop::Silent)?;
    check!(
        (2..=5).contains(&reply.class()),
        "a reply code outside 2yz to 5yz: {}",
        reply.shown()
    );
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Checked<Reply> {
        let mut reply = None;
        for (index, line) in lines.iter().enumerate() {
            let is_last = add_line(&mut reply, line.as_bytes())?;
            assert_eq!(is_last, index + 1 == lines.len(), "{line}");
        }
        reply.ok_or(Stop::Silent)
    }

    #[test]
    fn a_reply_has_one_code_and_the_texts_of_its_lines() {
        let reply = read(&["250-mx.example", "250-SIZE 1000", "250 PIPELINING"]).unwrap();
        assert_eq!(reply.code, 250);
        assert_eq!(reply.texts, ["mx.example", "SIZE 1000", "PIPELINING"]);
        assert_eq!(reply.octets_max, "250 PIPELINING".len() + 2);
        assert_eq!(read(&["354"]).unwrap().texts, [""]);
    }

    #[test]
    fn lines_that_are_no_reply_are_noticed() {
        for lines in [&["25 ok"][..], &["250_ok"], &["+OK"], &[""], &["250-a", "251 b"]] {
            assert!(read(lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn an_enhanced_status_code_has_a_class_a_subject_and_a_detail() {
        let table = [
            ("2.1.0 ok", Some((2, 1, 0))),
            ("5.1.10 no", Some((5, 1, 10))),
            ("5.1.1", Some((5, 1, 1))),
            ("3.1.0 no class", None),
            ("2.1 short", None),
            ("2.1.0.0 long", None),
            ("ok 2.1.0", None),
            ("2.1.1000 detail", None),
        ];
        for (text, expected) in table {
            assert_eq!(Reply::status_code(text), expected, "{text}");
        }
    }
}
