//! End to end: odd messages go in, and come out octet for octet but for the fields that were put on top.

use super::through;
use crate::case::Level::{May, ShouldNot, States};
use crate::case::{Case, Checked, Rule, Stop, check, rule};
use crate::mail::with_crlf;
use crate::world::{World, check_whole};

const ALL: Rule = rule(
    5321,
    "4.5.2",
    States,
    "All characters are to be delivered to the recipient's mailbox, including spaces, vertical and horizontal tabs, and other control \
     characters.",
);
const TRANSPARENT: Rule = rule(
    5321,
    "4.5.2",
    States,
    "To allow all user composed text to be transmitted transparently, the following procedures are used",
);
const DEFECTS: Rule = rule(
    5321,
    "3.3",
    ShouldNot,
    "Server SMTP systems SHOULD NOT reject messages based on perceived defects in the RFC 822 or MIME (RFC 2045) message header section or \
     message body.",
);
const LONGER: Rule = rule(
    5321,
    "4.5.3.1",
    May,
    "Clients MAY attempt to transmit these, but MUST be prepared for a server to reject them … implementation techniques that impose no \
     limits on the length of these objects should be used.",
);
const EIGHT_BITS: Rule = rule(
    6152,
    "3",
    crate::case::Level::Must,
    "A server that supports the 8-bit MIME transport service extension shall preserve all bits in each octet passed using the DATA command.",
);

/// A case for a file of the corpus: its name, the rule, what holds.
macro_rules! of_the_corpus {
    ($(($name:literal, $rule:expr, $title:literal),)+) => {
        &[$(through(
            $name,
            $rule,
            $title,
            &[],
            |world| file(world, include_bytes!(concat!("../../../../corpus/", $name, ".eml"))),
        ),)+]
    };
}

/// Messages as they come; see `integration-tests/corpus`.
pub(super) const CORPUS: &[Case] = of_the_corpus![
    ("plain-ascii", ALL, "plain text"),
    ("dots", TRANSPARENT, "lines of dots, at the end too"),
    ("dots-only", TRANSPARENT, "nothing but lines of dots"),
    ("dot-first-octet", TRANSPARENT, "a dot as the very first octet"),
    (
        "pop3-like-lines",
        TRANSPARENT,
        "lines that look like answers of POP3"
    ),
    (
        "blank-lines-at-both-ends",
        ALL,
        "blank lines before and after the text"
    ),
    (
        "tabs-and-trailing-spaces",
        ALL,
        "tabs, and spaces at the ends of lines"
    ),
    ("control-characters", ALL, "control characters"),
    ("all-octets", EIGHT_BITS, "every octet but NUL, CR and LF"),
    ("latin1-8bit", EIGHT_BITS, "ISO 8859-1 in 8 bits"),
    ("utf8-8bit", EIGHT_BITS, "UTF-8 in 8 bits"),
    ("header-subject-998", ALL, "a field of 998 octets"),
    ("header-folded-long", ALL, "a field folded over many lines"),
    ("fields-odd", ALL, "fields that are odd and allowed"),
    ("trace-of-a-relay", ALL, "trace fields of the hosts before"),
    ("dkim-arc", ALL, "signatures over header and body"),
    ("pgp-signed", ALL, "a signature over the text"),
    ("nested-rfc822", ALL, "a message within a message"),
    ("mbox-from-lines", ALL, "lines that begin with From and a space"),
    ("mbox-from-first-line", DEFECTS, "mbox's From line at the top"),
    ("mbox-status-headers", ALL, "fields that mailbox formats use"),
    ("multipart-never-closed", DEFECTS, "a multipart that never ends"),
    ("no-headers", DEFECTS, "a body without a header"),
    (
        "header-without-blank-line",
        DEFECTS,
        "a header without a blank line"
    ),
    (
        "body-without-blank-line",
        DEFECTS,
        "a body that follows the header at once"
    ),
    ("empty-body", ALL, "a header and nothing else"),
    ("prose-only", DEFECTS, "prose where a header should be"),
];

pub(super) const CASES: &[Case] = &[
    through(
        "line-of-5000",
        LONGER,
        "lines of 5,000 octets are refused, or arrive whole",
        &[],
        line_of_5000,
    ),
    through(
        "field-of-5000",
        LONGER,
        "a field of 5,000 octets is refused, or arrives whole",
        &[],
        field_of_5000,
    ),
    through(
        "mebibyte",
        LONGER,
        "a message of 1 MiB is refused, or arrives whole",
        &[],
        mebibyte,
    ),
    through("empty-lines", ALL, "ten thousand empty lines", &[], empty_lines),
    through(
        "dots-at-buffer-ends",
        TRANSPARENT,
        "lines with dots just before, at and behind 4, 8, 16 and 64 KiB",
        &[],
        dots_at_buffer_ends,
    ),
];

/// Brings content in; with 8BITMIME where it needs and may.
fn goes_through(world: &mut World, content: &[u8]) -> Checked {
    let door = world.door()?;
    let needs_bits = !content.is_ascii();
    if needs_bits && !world.has_extension(door, "8BITMIME") {
        return Err(Stop::NotOffered("8BITMIME is not announced".to_owned()));
    }
    world.deliver(content, if needs_bits { " BODY=8BITMIME" } else { "" })?;
    let mut opened = world.open_for_content(1)?;
    let number = opened.number(0)?;
    let listed = opened.session.accepts(&format!("LIST {number}"))?.text;
    let message = opened.session.retr(number)?;
    check!(
        listed == format!("{number} {}", message.len()),
        "LIST tells {listed:?}, RETR sends {} octets",
        message.len()
    );
    check_whole(&message, content)
}

fn file(world: &mut World, content: &[u8]) -> Checked {
    goes_through(world, &with_crlf(content))
}

/// The same where a refusal is right too.
fn goes_through_or_is_refused(world: &mut World, content: &[u8]) -> Checked {
    match goes_through(world, content) {
        Err(Stop::Failed(why)) if why.starts_with("the message was refused") => Ok(()),
        other => other,
    }
}

fn header(world: &mut World, subject: &str) -> Vec<u8> {
    world.header(subject).into_bytes()
}

fn line_of_5000(world: &mut World) -> Checked {
    let mut content = header(world, "lines of 5,000");
    for octet in [b'x', b'.', b'F'] {
        content.extend(std::iter::repeat_n(octet, 5_000));
        content.extend_from_slice(b"\r\n");
    }
    goes_through_or_is_refused(world, &content)
}

fn field_of_5000(world: &mut World) -> Checked {
    let field = format!("X-Long: {}\r\n", "y".repeat(4_992));
    let content = [field.as_bytes(), &header(world, "a field of 5,000"), b"body\r\n"].concat();
    goes_through_or_is_refused(world, &content)
}

fn mebibyte(world: &mut World) -> Checked {
    let mut content = header(world, "1 MiB");
    while content.len() < 1024 * 1024 {
        content.extend_from_slice(format!("{:076}\r\n", content.len()).as_bytes());
    }
    goes_through_or_is_refused(world, &content)
}

fn empty_lines(world: &mut World) -> Checked {
    let content = [header(world, "empty lines"), b"\r\n".repeat(10_000)].concat();
    goes_through(world, &content)
}

fn dots_at_buffer_ends(world: &mut World) -> Checked {
    let mut content = header(world, "dots at the ends of buffers");
    for size in [4, 8, 16, 64].map(|kibibytes| kibibytes * 1024) {
        for octets in [size - 1, size, size + 1] {
            while content.len() + 80 < octets {
                content.extend(std::iter::repeat_n(b'z', 70));
                content.extend_from_slice(b"\r\n");
            }
            let rest = usize::saturating_sub(octets, content.len() + 2);
            content.extend(std::iter::repeat_n(b'z', rest));
            content.extend_from_slice(b"\r\n.\r\n..a\r\n");
        }
    }
    goes_through(world, &content)
}
