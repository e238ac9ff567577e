//! Messages for the demo, and a small client that sends them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::timestamp;

/// How long the node may take for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest line of a reply that is read (RFC 5321 §4.5.3.1.5: 512).
const REPLY_LINE_OCTETS_MAX: u64 = 1_024;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Smtp,
    Lmtp,
}

/// Three messages: lines that begin with dots, octets above 127, an attachment.
pub(super) fn messages(now_micros: u64) -> [Vec<u8>; 3] {
    let date = timestamp::rfc5322(now_micros);
    let dots = message(
        &date,
        "Dots at the start of lines",
        "Content-Type: text/plain; charset=us-ascii\n",
        ".\n..\n.profile begins with a dot, and so do the two lines above.\nThey arrive as they were sent.\n",
    );
    let eight_bit = message(
        &date,
        "Letters beyond ASCII",
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
        "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\nВ чащах юга жил бы цитрус.\n",
    );
    let attachment = message(
        &date,
        "A message with an attachment",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"mailhorn-demo\"\n",
        "--mailhorn-demo\nContent-Type: text/plain; charset=us-ascii\n\nThe attachment is a text file.\n\
         --mailhorn-demo\nContent-Type: text/plain; name=\"hello.txt\"\nContent-Transfer-Encoding: base64\n\
         Content-Disposition: attachment; filename=\"hello.txt\"\n\nSGVsbG8sIG1haWwhCg==\n--mailhorn-demo--\n",
    );
    [dots, eight_bit, attachment]
}

/// One more, for the reader to send.
pub(super) fn to_send(now_micros: u64) -> Vec<u8> {
    let date = timestamp::rfc5322(now_micros);
    message(
        &date,
        "Sent by hand",
        "Content-Type: text/plain; charset=us-ascii\n",
        "This one was sent with curl.\n",
    )
}

fn message(date: &str, subject: &str, fields: &str, body: &str) -> Vec<u8> {
    let text = format!(
        "From: Bob <bob@example.org>\nTo: Alice <alice@example.org>\nSubject: {subject}\nDate: {date}\n{fields}\n{body}"
    );
    text.replace('\n', "\r\n").into_bytes()
}

/// Sends a message and returns when the node has taken it.
pub(super) fn send(
    address: SocketAddr,
    protocol: Protocol,
    from: &str,
    to: &str,
    message: &[u8],
) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).with_context(|| format!("{address} can't be reached"))?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    let mut dialogue = Dialogue(BufReader::new(stream));
    let hello = match protocol {
        Protocol::Smtp => "EHLO",
        Protocol::Lmtp => "LHLO",
    };
    dialogue.expect('2')?;
    dialogue.say(&format!("{hello} demo.example.org"), '2')?;
    dialogue.say(&format!("MAIL FROM:<{from}> BODY=8BITMIME"), '2')?;
    dialogue.say(&format!("RCPT TO:<{to}>"), '2')?;
    dialogue.say("DATA", '3')?;
    dialogue.write(&stuffed(message))?;
    dialogue.expect('2')?;
    dialogue.say("QUIT", '2')
}

/// As it is sent: a line that begins with a dot gets one more (RFC 5321 §4.5.2), and `.` ends it all.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len());
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

struct Dialogue(BufReader<TcpStream>);

impl Dialogue {
    fn say(&mut self, command: &str, expected: char) -> anyhow::Result<()> {
        self.write(format!("{command}\r\n").as_bytes())?;
        self.expect(expected)
            .with_context(|| format!("the answer to {command}"))
    }

    fn write(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        Ok(self.0.get_mut().write_all(octets)?)
    }

    /// Reads a reply, which may have many lines (RFC 5321 §4.2.1), and looks at its first digit.
    fn expect(&mut self, expected: char) -> anyhow::Result<()> {
        loop {
            let mut line = String::new();
            std::io::Read::take(&mut self.0, REPLY_LINE_OCTETS_MAX).read_line(&mut line)?;
            if !line.starts_with(expected) {
                bail!("it is {:?}", line.trim_end());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_only_whole_line_ends_and_among_them_dots_and_octets_above_127() {
        let messages = messages(0);
        for message in messages.iter().chain([&to_send(0)]) {
            let text = String::from_utf8(message.clone()).unwrap();
            assert!(
                text.ends_with("\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']),
                "{text:?}"
            );
            assert!(text.contains("\r\n\r\n"), "a header and a body");
        }
        assert!(
            stuffed(&messages[0])
                .windows(5)
                .any(|window| window == b"\n..\r\n")
        );
        assert!(!messages[1].is_ascii());
    }
}
