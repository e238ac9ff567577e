//! SMTP and LMTP: CHUNKING and BINARYMIME.

use super::both;
use crate::case::Level::{Must, States};
use crate::case::{Case, Checked, Door, Need, Rule, check, rule};
use crate::transfer::{Reply, Transfer};
use crate::world::{World, check_whole};

const CHUNKING: &[Need] = &[Need::Extension("CHUNKING")];
const THROUGH: &[Need] = &[Need::Extension("CHUNKING"), Need::WayThrough];
const EACH: Rule = rule(
    3030,
    "2",
    Must,
    "A 250 response MUST be sent to each successful BDAT data block within a mail transaction.",
);
const DISCARDED: Rule = rule(
    3030,
    "2",
    Must,
    "If a failure occurs after a BDAT command is received, the receiver-SMTP MUST accept and discard the associated message data before \
     sending the appropriate 5XX or 4XX code.",
);

pub(super) const CASES: &[Case] = &[
    both(
        "bdat.one",
        rule(
            3030,
            "2",
            States,
            "Once the receiver-SMTP receives the specified number of octets, it will return a 250 reply code.",
        ),
        "a message in one chunk arrives whole",
        THROUGH,
        one_chunk,
    ),
    both(
        "bdat.several",
        EACH,
        "a message in chunks that cut lines in two arrives whole",
        THROUGH,
        several,
    ),
    both(
        "bdat.empty-last",
        rule(
            3030,
            "2",
            States,
            "The last BDAT command MAY have a byte-count of zero indicating there is no additional data to be sent.",
        ),
        "BDAT 0 LAST ends a message",
        THROUGH,
        empty_last,
    ),
    both(
        "bdat.dots",
        rule(
            3030,
            "1",
            States,
            "there is a performance-based desire to eliminate the requirement that the message be scanned for \"CR LF . CR LF\" sequences",
        ),
        "dots in chunks are neither stuffed nor ends",
        THROUGH,
        dots,
    ),
    both(
        "bdat.any-case",
        rule(
            5321,
            "2.4",
            States,
            "a command verb, an argument value other than a mailbox local-part, and free form text MAY be encoded in upper case, lower case, or any mixture",
        ),
        "bdat and last are taken in any case",
        CHUNKING,
        any_case,
    ),
    both(
        "bdat.data-after-it",
        rule(
            3030,
            "2",
            Must,
            "If a DATA statement is issued after a BDAT for the current transaction, a 503 \"Bad sequence of commands\" MUST be issued.",
        ),
        "DATA after BDAT gets 503",
        CHUNKING,
        data_after_bdat,
    ),
    both(
        "bdat.after-last",
        rule(
            3030,
            "2",
            Must,
            "Any BDAT command sent after the BDAT LAST is illegal and MUST be replied to with a 503 \"Bad sequence of commands\" reply code.",
        ),
        "BDAT after BDAT LAST gets 503",
        CHUNKING,
        after_last,
    ),
    both(
        "bdat.without-recipient",
        DISCARDED,
        "a chunk without a transaction is read, refused, and not executed",
        CHUNKING,
        without_recipient,
    ),
    both(
        "bdat.pipelined-failure",
        rule(
            3030,
            "2",
            Must,
            "the receiver SMTP MUST be prepared to accept and discard additional BDAT chunks already in the pipeline after the failed BDAT",
        ),
        "chunks behind one that failed are read and refused",
        CHUNKING,
        pipelined_failure,
    ),
    both(
        "bdat.rset",
        rule(
            3030,
            "2",
            States,
            "The RSET command, when issued after the first BDAT and before the BDAT LAST, clears all segments sent during that transaction and resets the session.",
        ),
        "RSET between chunks throws them away",
        THROUGH,
        rset,
    ),
    both(
        "bdat.data-still-works",
        rule(
            3030,
            "2",
            Must,
            "Servers that offer the BDAT extension MUST continue to support the regular SMTP DATA command.",
        ),
        "DATA is taken in a transaction after one with BDAT",
        CHUNKING,
        data_still_works,
    ),
    both(
        "bdat.size",
        rule(
            3030,
            "2",
            States,
            "bdat-cmd ::= \"BDAT\" SP chunk-size [ SP end-marker ] CR LF",
        ),
        "BDAT without a size, or with none that is one, is refused",
        CHUNKING,
        bad_size,
    ),
    both(
        "binarymime.data",
        rule(
            3030,
            "3",
            Must,
            "If a DATA command is issued after a MAIL command containing the body-value of \"BINARYMIME\", a 503 \"Bad sequence of commands\" response MUST be sent.",
        ),
        "DATA after BODY=BINARYMIME gets 503",
        &[Need::Extension("BINARYMIME")],
        binary_data,
    ),
    both(
        "binarymime.with-chunking",
        rule(
            3030,
            "3",
            States,
            "The BINARYMIME service extension can only be used with the \"CHUNKING\" service extension.",
        ),
        "CHUNKING is announced where BINARYMIME is",
        &[Need::Extension("BINARYMIME")],
        |world, door| {
            check!(world.has_extension(door, "CHUNKING"), "CHUNKING is not announced");
            Ok(())
        },
    ),
];

/// Sends a chunk and reads its reply.
fn bdat(session: &mut Transfer, chunk: &[u8], last: &str) -> Checked<Reply> {
    session
        .wire
        .send(&[format!("BDAT {}{last}\r\n", chunk.len()).as_bytes(), chunk].concat())?;
    session.reply()
}

fn accepted(session: &mut Transfer, chunk: &[u8], last: &str) -> Checked {
    let reply = bdat(session, chunk, last)?;
    check!(
        reply.code == 250,
        "BDAT {}{last} was answered {}",
        chunk.len(),
        reply.shown()
    );
    Ok(())
}

/// A session within a transaction.
fn begun(world: &mut World, door: Door, parameters: &str) -> Checked<Transfer> {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.envelope(&world.mail_from(parameters), &[&user])?;
    world.has_sent();
    Ok(session)
}

/// The one message that came is this.
fn came(world: &World, content: &[u8]) -> Checked {
    let mut opened = world.open_for_content(1)?;
    let number = opened.number(0)?;
    check_whole(&opened.session.retr(number)?, content)
}

fn one_chunk(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let mut session = begun(world, door, "")?;
    accepted(&mut session, &letter, " LAST")?;
    session.quit()?;
    came(world, &letter)
}

fn several(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let mut session = begun(world, door, "")?;
    // Pieces of 7 octets cut CRLF in two somewhere.
    let mut chunks = letter.chunks(7).peekable();
    while let Some(chunk) = chunks.next() {
        let last = if chunks.peek().is_none() { " LAST" } else { "" };
        accepted(&mut session, chunk, last)?;
    }
    session.quit()?;
    came(world, &letter)
}

fn empty_last(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let mut session = begun(world, door, "")?;
    accepted(&mut session, &letter, "")?;
    accepted(&mut session, b"", " LAST")?;
    session.quit()?;
    came(world, &letter)
}

fn dots(world: &mut World, door: Door) -> Checked {
    let header = world.header("dots in chunks");
    let content = format!("{header}.\r\n..\r\n.a\r\n\r\n.\r\nend\r\n").into_bytes();
    let mut session = begun(world, door, "")?;
    accepted(&mut session, &content, " LAST")?;
    session.quit()?;
    came(world, &content)
}

fn any_case(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let mut session = begun(world, door, "")?;
    session
        .wire
        .send(&[format!("bdat {} last\r\n", letter.len()).as_bytes(), &letter].concat())?;
    let reply = session.reply()?;
    check!(reply.code == 250, "{}", reply.shown());
    session.quit()
}

fn data_after_bdat(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let mut session = begun(world, door, "")?;
    accepted(&mut session, &letter, "")?;
    session.expect("DATA", &[503]).map(|_| ())
}

fn after_last(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let mut session = begun(world, door, "")?;
    accepted(&mut session, &letter, " LAST")?;
    let reply = bdat(&mut session, b"NOOP\r\n", " LAST")?;
    check!(reply.code == 503, "{}", reply.shown());
    Ok(())
}

fn without_recipient(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer(door)?;
    let reply = bdat(&mut session, b"NOOP\r\nNOOP\r\n", "")?;
    check!(reply.class() == 5, "{}", reply.shown());
    session.expect("CONFORM", &[500, 502, 503])?;
    session.expect("RSET", &[250]).map(|_| ())
}

fn pipelined_failure(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer(door)?;
    session.expect(&world.mail_from(""), &[250])?;
    // No recipient, so that each fails.
    session
        .wire
        .send(b"BDAT 6\r\nNOOP\r\nBDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nNOOP\r\nRSET\r\n")?;
    for number in 1..=3 {
        let reply = session.reply()?;
        check!(!reply.is_ok(), "chunk {number} was answered {}", reply.shown());
    }
    let reply = session.reply()?;
    check!(reply.code == 250, "RSET was answered {}", reply.shown());
    check!(
        session.wire.is_silent(std::time::Duration::from_millis(300))?,
        "a chunk was taken for commands"
    );
    Ok(())
}

fn rset(world: &mut World, door: Door) -> Checked {
    let thrown_away = world.letter();
    let letter = world.letter();
    let user = world.setup.user.address.clone();
    let mut session = begun(world, door, "")?;
    accepted(&mut session, &thrown_away, "")?;
    session.expect("RSET", &[250])?;
    session.envelope(&world.mail_from(""), &[&user])?;
    accepted(&mut session, &letter, " LAST")?;
    session.quit()?;
    came(world, &letter)
}

fn data_still_works(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let mut session = begun(world, door, "")?;
    accepted(&mut session, &letter, " LAST")?;
    let letter = world.letter();
    let reply = world.deliver_on(&mut session, &letter, "")?;
    check!(reply.is_ok(), "{}", reply.shown());
    session.quit()
}

fn bad_size(world: &mut World, door: Door) -> Checked {
    for argument in ["", " x", " -1", " LAST", " 99999999999999999999999999"] {
        let mut session = begun(world, door, "")?;
        // 421 and the end is a refusal too: where the next command begins is not known.
        let reply = session.ask(&format!("BDAT{argument}"))?;
        check!(
            [4, 5].contains(&reply.class()),
            "BDAT{argument} was answered {}",
            reply.shown()
        );
    }
    Ok(())
}

fn binary_data(world: &mut World, door: Door) -> Checked {
    let mut session = begun(world, door, " BODY=BINARYMIME")?;
    session.expect("DATA", &[503]).map(|_| ())
}
