//! POP3: RETR, TOP, DELE, RSET, NOOP and QUIT.

use super::pop3;
use crate::case::Level::{MustNot, States};
use crate::case::{Case, Checked, Need, Rule, check, rule};
use crate::mail;
use crate::pop3::joined;
use crate::wire::printable;
use crate::world::{World, check_whole};

pub(super) const STUFFED: Rule = rule(
    1939,
    "3",
    States,
    "If any line of the multi-line response begins with the termination octet, the line is \"byte-stuffed\" by pre-pending the \
     termination octet to that line of the response.",
);

pub(super) const DELETED: Rule = rule(
    1939,
    "5",
    States,
    "The POP3 server marks the message as deleted. Any future reference to the message-number associated with the message in a POP3 \
     command generates an error.",
);

const UPDATE: Rule = rule(
    1939,
    "6",
    States,
    "The POP3 server removes all messages marked as deleted from the maildrop and replies as to the status of this operation.",
);

const ONLY_MARKED: Rule = rule(
    1939,
    "6",
    MustNot,
    "In no case may the server remove any messages not marked as deleted.",
);

pub(super) const CASES: &[Case] = &[
    pop3(
        "retr.whole",
        rule(
            1939,
            "5",
            States,
            "After the initial +OK, the POP3 server sends the message corresponding to the given message-number",
        ),
        "RETR sends the message with this number, whole",
        &[],
        retr_whole,
    ),
    pop3(
        "retr.byte-stuffing",
        STUFFED,
        "RETR doubles the dot of lines that begin with one, and no other",
        &[],
        retr_stuffing,
    ),
    pop3(
        "retr.size",
        rule(
            1939,
            "5",
            States,
            "a single space and the exact size of the message in octets",
        ),
        "the size that LIST tells is what RETR sends",
        &[Need::Letters(3)],
        retr_size,
    ),
    pop3(
        "retr.size-of-dots",
        rule(
            1939,
            "11",
            MustNot,
            "Note that lines in the message which start with the termination octet need not (and must not) be counted twice",
        ),
        "stuffed dots do not count in the size",
        &[],
        retr_size_of_dots,
    ),
    pop3(
        "retr.again",
        rule(
            1939,
            "5",
            States,
            "The client may now issue any of the following POP3 commands repeatedly.",
        ),
        "RETR sends the same again",
        &[Need::Letters(1)],
        retr_again,
    ),
    pop3(
        "retr.deleted",
        DELETED,
        "RETR of a deleted message gets -ERR",
        &[Need::Letters(2)],
        retr_deleted,
    ),
    pop3(
        "retr.removes-nothing",
        ONLY_MARKED,
        "what was only read is there in the next session",
        &[Need::Letters(2)],
        retr_removes_nothing,
    ),
    pop3(
        "dele.again",
        DELETED,
        "DELE of a deleted message gets -ERR",
        &[Need::Letters(2)],
        dele_again,
    ),
    pop3(
        "dele.list",
        DELETED,
        "LIST leaves a deleted message out, and asked for it says -ERR",
        &[Need::Letters(3)],
        dele_list,
    ),
    pop3(
        "dele.numbers-stay",
        rule(
            1939,
            "4",
            States,
            "so that the nth message in a maildrop is assigned a message-number of \"n\"",
        ),
        "the others keep their numbers when one is deleted",
        &[Need::Letters(3)],
        dele_numbers_stay,
    ),
    pop3(
        "noop",
        rule(
            1939,
            "5",
            States,
            "The POP3 server does nothing, it merely replies with a positive response.",
        ),
        "NOOP gets +OK and changes nothing",
        &[Need::Letters(2)],
        noop,
    ),
    pop3(
        "rset",
        rule(
            1939,
            "5",
            States,
            "If any messages have been marked as deleted by the POP3 server, they are unmarked.",
        ),
        "RSET takes all marks away, and QUIT then removes nothing",
        &[Need::Letters(3)],
        rset,
    ),
    pop3(
        "quit.removes",
        UPDATE,
        "QUIT removes what was marked, and nothing else",
        &[Need::Letters(4)],
        quit_removes,
    ),
    pop3(
        "quit.closes",
        rule(
            1939,
            "6",
            States,
            "the server then releases any exclusive-access lock on the maildrop and closes the TCP connection",
        ),
        "after QUIT the connection is closed",
        &[Need::Letters(1)],
        quit_closes,
    ),
    pop3(
        "quit.nothing-marked",
        ONLY_MARKED,
        "QUIT with nothing marked removes nothing",
        &[Need::Letters(2)],
        quit_nothing_marked,
    ),
    pop3(
        "quit.all",
        UPDATE,
        "all messages can be removed in one session",
        &[Need::Letters(3)],
        quit_all,
    ),
];

/// Lines that begin with dots in all ways.
pub(super) const DOTS: &str = ".\r\n..\r\n...\r\n.a\r\na.\r\n. \r\n\r\n.\r\nend\r\n";

/// A message with these lines as its body.
pub(super) fn with_body(world: &mut World, body: &str) -> Vec<u8> {
    format!("{}{body}", world.header("a body")).into_bytes()
}

/// Brings a message in and opens the maildrop.
pub(super) fn opened_with(world: &mut World, content: &[u8]) -> Checked<(crate::pop3::Pop3, usize)> {
    world.deliver(content, "")?;
    let opened = world.open(1)?;
    let number = opened.number(0)?;
    Ok((opened.session, number))
}

fn retr_whole(world: &mut World) -> Checked {
    let letters = [world.letter(), world.letter(), world.letter()];
    for letter in &letters {
        world.deliver(letter, "")?;
    }
    let mut opened = world.open(3)?;
    let mut found = Vec::new();
    for number in opened.ours.clone() {
        found.push(opened.session.retr(number)?);
    }
    for letter in &letters {
        let is_there = found.iter().any(|message| check_whole(message, letter).is_ok());
        check!(
            is_there,
            "none of the messages ends in a letter that was brought in: {}",
            printable(letter)
        );
    }
    Ok(())
}

fn retr_stuffing(world: &mut World) -> Checked {
    let content = with_body(world, DOTS);
    let (mut session, number) = opened_with(world, &content)?;
    session.accepts(&format!("RETR {number}"))?;
    let raw = joined(&session.raw_lines()?);
    let expected = mail::stuffed(&content);
    check!(raw.ends_with(&expected), "{}", mail::difference(&expected, &raw));
    Ok(())
}

/// Fails unless LIST tells for this message what RETR sends.
fn size_is_exact(session: &mut crate::pop3::Pop3, number: usize) -> Checked {
    let told = session.accepts(&format!("LIST {number}"))?.text;
    let size = session.retr(number)?.len();
    let expected = format!("{number} {size}");
    check!(
        told == expected || told.starts_with(&format!("{expected} ")),
        "LIST tells {told:?}, RETR sends {size} octets"
    );
    Ok(())
}

fn retr_size(world: &mut World) -> Checked {
    let mut opened = world.open(3)?;
    for number in opened.ours.clone() {
        size_is_exact(&mut opened.session, number)?;
    }
    Ok(())
}

fn retr_size_of_dots(world: &mut World) -> Checked {
    let content = with_body(world, DOTS);
    let (mut session, number) = opened_with(world, &content)?;
    size_is_exact(&mut session, number)
}

fn retr_again(world: &mut World) -> Checked {
    let mut opened = world.open(1)?;
    let number = opened.number(0)?;
    let first = opened.session.retr(number)?;
    let second = opened.session.retr(number)?;
    check!(first == second, "{}", mail::difference(&first, &second));
    Ok(())
}

fn retr_deleted(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let number = opened.number(0)?;
    opened.session.accepts(&format!("DELE {number}"))?;
    opened.session.refuses(&format!("RETR {number}")).map(|_| ())
}

fn retr_removes_nothing(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    for number in opened.ours.clone() {
        opened.session.retr(number)?;
    }
    opened.session.quit()?;
    world.open(2)?.session.quit()
}

fn dele_again(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let number = opened.number(1)?;
    opened.session.accepts(&format!("DELE {number}"))?;
    opened.session.refuses(&format!("DELE {number}")).map(|_| ())
}

fn dele_list(world: &mut World) -> Checked {
    let mut opened = world.open(3)?;
    let number = opened.number(1)?;
    opened.session.accepts(&format!("DELE {number}"))?;
    let listed = opened.session.numbered("LIST")?;
    check!(
        listed.iter().all(|(other, _)| *other != number),
        "it is listed: {listed:?}"
    );
    opened.session.refuses(&format!("LIST {number}")).map(|_| ())
}

fn dele_numbers_stay(world: &mut World) -> Checked {
    let mut opened = world.open(3)?;
    let last = opened.number(2)?;
    let before = opened.session.retr(last)?;
    let first = opened.number(0)?;
    opened.session.accepts(&format!("DELE {first}"))?;
    let after = opened.session.retr(last)?;
    check!(before == after, "number {last} is another message now");
    Ok(())
}

fn noop(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let number = opened.number(0)?;
    opened.session.accepts(&format!("DELE {number}"))?;
    let before = opened.session.stat()?;
    opened.session.accepts("NOOP")?;
    let after = opened.session.stat()?;
    check!(before == after, "from {before:?} to {after:?}");
    Ok(())
}

fn rset(world: &mut World) -> Checked {
    let mut opened = world.open(3)?;
    let before = opened.session.numbered("LIST")?;
    for number in opened.ours.clone() {
        opened.session.accepts(&format!("DELE {number}"))?;
    }
    opened.session.accepts("RSET")?;
    let after = opened.session.numbered("LIST")?;
    check!(before == after, "before {before:?}, after {after:?}");
    opened.session.quit()?;
    world.open(3)?.session.quit()
}

fn quit_removes(world: &mut World) -> Checked {
    let mut opened = world.open(4)?;
    let mut kept = Vec::new();
    for (index, number) in opened.ours.clone().into_iter().enumerate() {
        if index % 2 == 0 {
            opened.session.accepts(&format!("DELE {number}"))?;
        } else {
            kept.push(opened.session.retr(number)?);
        }
    }
    opened.session.quit()?;
    let mut opened = world.open(2)?;
    for (number, expected) in opened.ours.clone().into_iter().zip(kept) {
        let found = opened.session.retr(number)?;
        check!(found == expected, "{}", mail::difference(&expected, &found));
    }
    Ok(())
}

fn quit_closes(world: &mut World) -> Checked {
    let mut opened = world.open(1)?;
    let number = opened.number(0)?;
    opened.session.accepts(&format!("DELE {number}"))?;
    opened.session.quit()
}

fn quit_nothing_marked(world: &mut World) -> Checked {
    world.open(2)?.session.quit()?;
    world.open(2)?.session.quit()
}

fn quit_all(world: &mut World) -> Checked {
    let mut opened = world.open(3)?;
    for number in opened.ours.clone() {
        opened.session.accepts(&format!("DELE {number}"))?;
    }
    opened.session.quit()?;
    world.open(0)?.session.quit()
}
