//! POP3: TOP.

use super::pop3;
use super::pop3_messages::{DELETED, DOTS, STUFFED, opened_with, with_body};
use crate::case::Level::States;
use crate::case::{Case, Checked, Need, Rule, check, rule};
use crate::mail;
use crate::pop3::joined;
use crate::wire::printable;
use crate::world::World;

const TOP: Rule = rule(
    1939,
    "7",
    States,
    "the POP3 server sends the headers of the message, the blank line separating the headers from the body, and then the number of \
     lines of the indicated message's body, being careful to byte-stuff the termination character",
);

const ARGUMENT: Rule = rule(
    1939,
    "3",
    crate::case::Level::Must,
    "A server MUST respond to an unrecognized, unimplemented, or syntactically invalid command by responding with a negative status \
     indicator.",
);

pub(super) const CASES: &[Case] = &[
    pop3(
        "top.zero",
        TOP,
        "TOP n 0 is the header and the blank line",
        &[Need::Capability("TOP")],
        top_zero,
    ),
    pop3(
        "top.lines",
        TOP,
        "TOP n 3 has three lines of the body",
        &[Need::Capability("TOP")],
        top_lines,
    ),
    pop3(
        "top.beyond",
        rule(
            1939,
            "7",
            States,
            "if the number of lines requested by the POP3 client is greater than than the number of lines in the body, then the POP3 \
             server sends the entire message",
        ),
        "TOP with more lines than there are is the whole message",
        &[Need::Capability("TOP"), Need::Letters(1)],
        top_beyond,
    ),
    pop3(
        "top.byte-stuffing",
        STUFFED,
        "TOP doubles the dot of lines that begin with one",
        &[Need::Capability("TOP")],
        top_stuffing,
    ),
    pop3(
        "top.arguments",
        ARGUMENT,
        "TOP without a number of lines, or with none that is one, gets -ERR",
        &[Need::Capability("TOP"), Need::Letters(1)],
        top_arguments,
    ),
    pop3(
        "top.deleted",
        DELETED,
        "TOP of a deleted message gets -ERR",
        &[Need::Capability("TOP"), Need::Letters(2)],
        top_deleted,
    ),
    pop3(
        "top.no-such-message",
        rule(
            1939,
            "7",
            States,
            "Possible Responses: +OK top of message follows, -ERR no such message",
        ),
        "TOP of message 0 and beyond the last gets -ERR",
        &[Need::Capability("TOP"), Need::Letters(1)],
        top_no_such_message,
    ),
    pop3(
        "top.without-body",
        TOP,
        "TOP of a message without a body is its header",
        &[Need::Capability("TOP")],
        top_without_body,
    ),
];

/// What TOP sends of a message, and what RETR does.
fn top_and_whole(world: &mut World, body: &str, lines: usize) -> Checked<(Vec<u8>, Vec<u8>)> {
    let content = with_body(world, body);
    let (mut session, number) = opened_with(world, &content)?;
    let whole = session.retr(number)?;
    let top = session.content(&format!("TOP {number} {lines}"))?;
    Ok((top, whole))
}

/// The header of a message with its blank line.
fn header_of(message: &[u8]) -> Vec<u8> {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n");
    message[..end.map_or(message.len(), |end| end + 4)].to_vec()
}

fn top_zero(world: &mut World) -> Checked {
    let (top, whole) = top_and_whole(world, "one\r\ntwo\r\n", 0)?;
    let expected = header_of(&whole);
    check!(top == expected, "{}", mail::difference(&expected, &top));
    Ok(())
}

fn top_lines(world: &mut World) -> Checked {
    let (top, whole) = top_and_whole(world, "one\r\n\r\nthree\r\nfour\r\n", 3)?;
    let expected = [header_of(&whole), b"one\r\n\r\nthree\r\n".to_vec()].concat();
    check!(top == expected, "{}", mail::difference(&expected, &top));
    Ok(())
}

fn top_beyond(world: &mut World) -> Checked {
    let mut opened = world.open(1)?;
    let number = opened.number(0)?;
    let whole = opened.session.retr(number)?;
    for lines in [1_000, 2_147_483_647] {
        let top = opened.session.content(&format!("TOP {number} {lines}"))?;
        check!(
            top == whole,
            "TOP {number} {lines}: {}",
            mail::difference(&whole, &top)
        );
    }
    Ok(())
}

fn top_stuffing(world: &mut World) -> Checked {
    let content = with_body(world, DOTS);
    let (mut session, number) = opened_with(world, &content)?;
    session.accepts(&format!("TOP {number} 4"))?;
    let raw = joined(&session.raw_lines()?);
    let expected = b"\r\n\r\n..\r\n...\r\n....\r\n..a\r\n";
    check!(
        raw.ends_with(expected),
        "it ends in {}",
        printable(&raw[raw.len().saturating_sub(40)..])
    );
    Ok(())
}

fn top_arguments(world: &mut World) -> Checked {
    let mut opened = world.open(1)?;
    let number = opened.number(0)?;
    for arguments in [
        String::new(),
        format!(" {number}"),
        format!(" {number} -1"),
        format!(" {number} x"),
        " x 1".to_owned(),
    ] {
        opened.session.refuses(&format!("TOP{arguments}"))?;
    }
    Ok(())
}

fn top_deleted(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let number = opened.number(0)?;
    opened.session.accepts(&format!("DELE {number}"))?;
    opened.session.refuses(&format!("TOP {number} 0")).map(|_| ())
}

fn top_no_such_message(world: &mut World) -> Checked {
    let mut session = world.open(1)?.session;
    let (count, _) = session.stat()?;
    session.refuses("TOP 0 0")?;
    session.refuses(&format!("TOP {} 0", count + 1)).map(|_| ())
}

fn top_without_body(world: &mut World) -> Checked {
    let (top, whole) = top_and_whole(world, "", 5)?;
    check!(top == whole, "{}", mail::difference(&whole, &top));
    Ok(())
}
