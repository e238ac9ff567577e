//! Mail that the suite sends: letters of a kind, and odd messages whose octets are all to come out again.

/// The field by which a letter is known as the suite's.
pub(crate) const TOKEN_FIELD: &str = "X-Conform-Token";
/// With this begins the local part of the reverse-path, and so does what [`TOKEN_FIELD`] holds.
pub(crate) const TOKEN_PREFIX: &str = "conform-run-";

/// Fields that a server may put on top at delivery.
const TRACE_FIELDS: [&str; 4] = ["return-path", "received", "delivered-to", "envelope-to"];

/// A letter with a number: a header, and three to seven lines, among them one that begins with a dot.
pub(crate) fn letter(token: &str, number: usize) -> Vec<u8> {
    let mut text = header(token, number, &format!("letter {number}"));
    text.push_str("First line of the body.\r\n.A line that begins with a dot.\r\n");
    for line in 0..=number % 5 {
        text.push_str(&format!("Line {line} of letter {number}.\r\n"));
    }
    text.into_bytes()
}

/// A header with its blank line. The number makes the message another than those with the same subject.
pub(crate) fn header(token: &str, number: usize, subject: &str) -> String {
    format!(
        "{TOKEN_FIELD}: {token}\r\nFrom: Conformance <conform@conform.example>\r\nTo: Reader <reader@conform.example>\r\n\
         Subject: {subject}\r\nDate: Tue, 14 Oct 2025 09:00:00 +0200\r\n\
         Message-ID: <{number}.{token}@conform.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
    )
}

/// Doubles the dot of every line that begins with one (RFC 5321, section 4.5.2), and ends the last line if it isn't ended.
pub(crate) fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len() + 16);
    let mut begins = true;
    for octet in content {
        if begins && *octet == b'.' {
            stuffed.push(b'.');
        }
        stuffed.push(*octet);
        begins = stuffed.ends_with(b"\r\n");
    }
    if !content.is_empty() && !stuffed.ends_with(b"\r\n") {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed
}

/// What a server has put before the content that was sent: the names of fields, in lower case. Nothing when the message is not the
/// content with whole fields before it.
pub(crate) fn fields_before(message: &[u8], content: &[u8]) -> Option<Vec<String>> {
    let before = message.strip_suffix(content)?;
    if !before.is_empty() && !before.ends_with(b"\r\n") {
        return None;
    }
    let before = String::from_utf8_lossy(before).into_owned();
    let mut names = Vec::new();
    for line in before.split_terminator("\r\n") {
        if line.starts_with([' ', '\t']) && !names.is_empty() {
            continue;
        }
        let (name, _) = line.split_once(':')?;
        let is_name = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic());
        if !is_name {
            return None;
        }
        names.push(name.to_ascii_lowercase());
    }
    Some(names)
}

/// Whether a field, in lower case, is one that belongs on top at delivery.
pub(crate) fn is_trace(name: &str) -> bool {
    TRACE_FIELDS.contains(&name)
}

/// Where a text begins within another that may have something before it: where its first octets stand.
fn beginning(text: &[u8], within: &[u8]) -> usize {
    let first = &text[..text.len().min(24)];
    let at = within
        .windows(first.len().max(1))
        .position(|window| window == first);
    at.unwrap_or_else(|| within.len().saturating_sub(text.len()))
}

/// Where two texts part, for whoever looks for what was changed. What was found may have something before it.
pub(crate) fn difference(expected: &[u8], found: &[u8]) -> String {
    let found = &found[beginning(expected, found)..];
    let common = expected
        .iter()
        .zip(found)
        .take_while(|(left, right)| left == right)
        .count();
    let around = |octets: &[u8]| {
        let from = common.saturating_sub(20).min(octets.len());
        crate::wire::printable(&octets[from..octets.len().min(common + 40)])
    };
    format!(
        "at octet {common} of {}: expected «{}», found «{}»",
        expected.len(),
        around(expected),
        around(found)
    )
}

/// The header section of a message, unfolded: names in lower case and values without the space at both ends.
pub(crate) fn fields(message: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(message).into_owned();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.split("\r\n").take_while(|line| !line.is_empty()) {
        match (line.strip_prefix([' ', '\t']), fields.last_mut()) {
            (Some(rest), Some((_, value))) => {
                value.push(' ');
                value.push_str(rest.trim());
            }
            _ => {
                if let Some((name, value)) = line.split_once(':') {
                    fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
            }
        }
    }
    fields
}

/// Makes CRLF of each LF.
pub(crate) fn with_crlf(content: &[u8]) -> Vec<u8> {
    let mut converted = Vec::with_capacity(content.len() + content.len() / 32);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        converted.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        converted.extend_from_slice(b"\r\n");
    }
    converted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_is_doubled_at_the_beginning_of_a_line_and_nowhere_else() {
        let table: [(&[u8], &[u8]); 6] = [
            (b"", b""),
            (b".\r\n", b"..\r\n"),
            (b"a.\r\n.b\r\n", b"a.\r\n..b\r\n"),
            (b"a\n.b\r\n", b"a\n.b\r\n"),
            (b"a\r.b\r\n", b"a\r.b\r\n"),
            (b"no end", b"no end\r\n"),
        ];
        for (content, expected) in table {
            assert_eq!(stuffed(content), expected, "{content:?}");
        }
    }

    #[test]
    fn what_stands_before_the_content_is_fields_or_the_content_was_changed() {
        let names = |message: &[u8]| fields_before(message, b"Subject: x\r\n\r\nbody\r\n");
        assert_eq!(names(b"Subject: x\r\n\r\nbody\r\n"), Some(vec![]));
        assert_eq!(
            names(b"Return-Path: <>\r\nReceived: from a\r\n\tby b\r\nSubject: x\r\n\r\nbody\r\n"),
            Some(vec!["return-path".to_owned(), "received".to_owned()])
        );
        assert_eq!(names(b"Subject: x\r\n\r\nbody"), None);
        assert_eq!(names(b"no field\r\nSubject: x\r\n\r\nbody\r\n"), None);
        assert_eq!(names(b"\tfolded: x\r\nSubject: x\r\n\r\nbody\r\n"), None);
        assert_eq!(names(b"X: ySubject: x\r\n\r\nbody\r\n"), None);
    }

    #[test]
    fn folded_fields_are_read_as_one_line() {
        let read = fields(b"Received: from a\r\n\tby b\r\nSubject:  x \r\n\r\nnot: a field\r\n");
        let expected = [("received", "from a by b"), ("subject", "x")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, expected);
    }

    #[test]
    fn a_difference_says_where() {
        let told = difference(b"abc", b"abd");
        assert!(told.starts_with("at octet 2 of 3"), "{told}");
        let text = b"this text is longer than what is looked for\n";
        let found = [b"before it ".as_slice(), &text[..40]].concat();
        let told = difference(text, &found);
        assert!(told.starts_with("at octet 40 of 44"), "{told}");
    }
}
