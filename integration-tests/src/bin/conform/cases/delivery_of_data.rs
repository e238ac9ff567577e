//! SMTP and LMTP: content that is defective, or broken off, or goes in circles.

use super::{arrives_whole, both};
use crate::case::Level::{Must, MustNot, Should, ShouldNot, States};
use crate::case::{Case, Checked, Door, Need, Rule, check, rule};
use crate::mail::{self};
use crate::world::World;

const THROUGH: &[Need] = &[Need::WayThrough];

const CANCELLED: Rule = rule(
    5321,
    "4.1.1.10",
    Must,
    "If the connection is closed prematurely … the server MUST cancel any pending transaction, but not undo any previously completed \
     transaction",
);

const DEFECTS: Rule = rule(
    5321,
    "3.3",
    ShouldNot,
    "Server SMTP systems SHOULD NOT reject messages based on perceived defects in the RFC 822 or MIME (RFC 2045) message header section or \
     message body.",
);

pub(super) const CASES: &[Case] = &[
    both(
        "data.dots",
        rule(
            5321,
            "4.5.2",
            States,
            "If the first character is a period and there are other characters on the line, the first character is deleted.",
        ),
        "one stuffed dot is taken off each line, and no other",
        THROUGH,
        dots,
    ),
    both(
        "data.broken-off",
        CANCELLED,
        "a message whose connection breaks within the data is not delivered",
        THROUGH,
        broken_off,
    ),
    both(
        "data.broken-off-at-the-dot",
        CANCELLED,
        "a message whose connection breaks behind the dot, before its CRLF, is not delivered",
        THROUGH,
        broken_off_at_the_dot,
    ),
    both(
        "data.refused-then-next",
        rule(
            5321,
            "4.1.1.4",
            States,
            "on the completion of this command these buffers are cleared",
        ),
        "after a message the next transaction begins afresh",
        THROUGH,
        next,
    ),
    both(
        "defects.resent",
        rule(
            5321,
            "3.3",
            MustNot,
            "they MUST NOT reject messages in which the numbers of Resent-header fields do not match or Resent-to appears without \
             Resent-from and/or Resent-date",
        ),
        "Resent fields that don't match are no reason to refuse",
        THROUGH,
        defects_resent,
    ),
    both(
        "defects.trace",
        rule(
            5321,
            "3.7.2",
            MustNot,
            "receiving systems MUST NOT reject mail based on the format of a trace header field",
        ),
        "an odd Received line is no reason to refuse",
        THROUGH,
        defects_trace,
    ),
    both(
        "defects.no-from",
        DEFECTS,
        "a message without From and Date is taken",
        THROUGH,
        defects_no_from,
    ),
    both(
        "defects.no-header",
        DEFECTS,
        "a message without a header is taken",
        THROUGH,
        defects_no_header,
    ),
    both(
        "loop.threshold",
        rule(
            5321,
            "6.3",
            Should,
            "SMTP servers using this technique SHOULD use a large rejection threshold, normally at least 100 Received entries.",
        ),
        "a message that has 99 Received lines is taken",
        THROUGH,
        loop_threshold,
    ),
];

fn dots(world: &mut World, door: Door) -> Checked {
    let header = world.header("dots");
    let content = format!("{header}.\r\n..\r\n...\r\n.a\r\n.. b\r\na.\r\n\r\n.\r\n");
    arrives_whole(world, door, content.as_bytes(), "")
}

/// Sends a letter as far as this end, breaks the connection, and then a whole letter: that alone arrives.
fn only_the_next_arrives(world: &mut World, door: Door, end: &[u8]) -> Checked {
    let lost = world.letter();
    let kept = world.letter();
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.envelope(&world.mail_from(""), &[&user])?;
    session.expect("DATA", &[354])?;
    world.has_sent();
    session.wire.send(&mail::stuffed(&lost))?;
    session.wire.send(end)?;
    session.wire.end_sending()?;
    session.wire.wait_for_close()?;
    drop(session);
    arrives_whole(world, door, &kept, "")
}

fn broken_off(world: &mut World, door: Door) -> Checked {
    only_the_next_arrives(world, door, b"half a line")
}

fn broken_off_at_the_dot(world: &mut World, door: Door) -> Checked {
    only_the_next_arrives(world, door, b".")
}

fn next(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let mut session = world.transfer(door)?;
    let reply = world.deliver_on(&mut session, &letter, "")?;
    check!(reply.is_ok(), "{}", reply.shown());
    session.expect("DATA", &[503, 554])?;
    session.expect(&world.mail_from(""), &[250])?;
    session.expect("DATA", &[503, 554])?;
    session.quit()
}

fn defects_resent(world: &mut World, door: Door) -> Checked {
    let fields = "Resent-To: a@conform.example\r\nResent-To: b@conform.example\r\nResent-Message-ID: <1@conform.example>\r\n";
    let content = [fields.as_bytes(), &world.letter()].concat();
    arrives_whole(world, door, &content, "")
}

fn defects_trace(world: &mut World, door: Door) -> Checked {
    let fields = "Received: nonsense without a date\r\nReceived:\r\nReceived: (;;;) <<<\r\n";
    let content = [fields.as_bytes(), &world.letter()].concat();
    arrives_whole(world, door, &content, "")
}

fn defects_no_from(world: &mut World, door: Door) -> Checked {
    let content = format!(
        "{}: {}\r\nSubject: bare\r\n\r\nbody\r\n",
        mail::TOKEN_FIELD,
        world.setup.token
    );
    arrives_whole(world, door, content.as_bytes(), "")
}

fn defects_no_header(world: &mut World, door: Door) -> Checked {
    let content = format!(
        "This is no header, said {}.\r\nNor is this.\r\n",
        world.setup.token
    );
    arrives_whole(world, door, content.as_bytes(), "")
}

fn loop_threshold(world: &mut World, door: Door) -> Checked {
    let line = "Received: from a.example by b.example; Tue, 14 Oct 2025 09:00:01 +0000\r\n";
    let content = [line.repeat(99).as_bytes(), &world.letter()].concat();
    arrives_whole(world, door, &content, "")
}
