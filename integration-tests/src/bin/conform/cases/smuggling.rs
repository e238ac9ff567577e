//! SMTP and LMTP: what ends a line, and the data, and what doesn't. Where two servers differ in this, mail is smuggled from the one
//! past the other (CVE-2023-51764, CVE-2023-51765, CVE-2023-51766).

use super::both;
use crate::case::Level::{MustNot, States};
use crate::case::{Case, Checked, Door, Need, Rule, Stop, check, rule};
use crate::mail;
use crate::world::World;

const LINE_END: Rule = rule(
    5321,
    "2.3.8",
    MustNot,
    "Conforming implementations MUST NOT recognize or generate any other character or character sequence as a line terminator.",
);
const LF_DOT_LF: Rule = rule(
    5321,
    "4.1.1.4",
    MustNot,
    "the sequence \"<LF>.<LF>\" (bare line feeds, without carriage returns) MUST NOT be treated as equivalent to <CRLF>.<CRLF> as the end \
     of mail data indication",
);
const ALL_CHARACTERS: Rule = rule(
    5321,
    "4.5.2",
    States,
    "All characters are to be delivered to the recipient's mailbox, including spaces, vertical and horizontal tabs, and other control \
     characters.",
);

pub(super) const CASES: &[Case] = &[
    both(
        "smuggling.lf-dot-lf",
        LF_DOT_LF,
        "LF . LF does not end the data",
        &[],
        |world, door| ends_nothing(world, door, b"\n.\n"),
    ),
    both(
        "smuggling.lf-dot-crlf",
        LINE_END,
        "LF . CRLF does not end the data",
        &[],
        |world, door| ends_nothing(world, door, b"\n.\r\n"),
    ),
    both(
        "smuggling.crlf-dot-lf",
        LINE_END,
        "CRLF . LF does not end the data",
        &[],
        |world, door| ends_nothing(world, door, b"\r\n.\n"),
    ),
    both(
        "smuggling.crlf-dot-cr",
        LINE_END,
        "CRLF . CR does not end the data",
        &[],
        |world, door| ends_nothing(world, door, b"\r\n.\r"),
    ),
    both(
        "smuggling.cr-dot-cr",
        LINE_END,
        "CR . CR does not end the data",
        &[],
        |world, door| ends_nothing(world, door, b"\r.\r"),
    ),
    both(
        "smuggling.cr-dot-crlf",
        LINE_END,
        "CR . CRLF does not end the data",
        &[],
        |world, door| ends_nothing(world, door, b"\r.\r\n"),
    ),
    both(
        "smuggling.cr-lf-nul",
        LINE_END,
        "CRLF . NUL CRLF does not end the data",
        &[],
        |world, door| ends_nothing(world, door, b"\r\n.\0\r\n"),
    ),
    both(
        "line-end.lf-in-command",
        LINE_END,
        "LF alone ends no command",
        &[],
        |world, door| ends_no_command(world, door, "\n"),
    ),
    both(
        "line-end.cr-in-command",
        LINE_END,
        "CR alone ends no command",
        &[],
        |world, door| ends_no_command(world, door, "\r"),
    ),
    both(
        "content.bare-lf",
        ALL_CHARACTERS,
        "LF alone in content is refused, or arrives as it was sent",
        &[Need::WayThrough],
        bare_lf,
    ),
    both(
        "content.bare-cr",
        ALL_CHARACTERS,
        "CR alone in content is refused, or arrives as it was sent",
        &[Need::WayThrough],
        bare_cr,
    ),
    both(
        "content.nul",
        ALL_CHARACTERS,
        "NUL in content is refused, or arrives as it was sent",
        &[Need::WayThrough],
        nul,
    ),
];

/// Sends content with this in it, and behind it what would be a command if the data had ended. One reply is due at the real end, and then
/// one to RSET.
fn ends_nothing(world: &mut World, door: Door, sequence: &[u8]) -> Checked {
    let user = world.setup.user.address.clone();
    let header = world.header("a false end");
    let mut session = world.transfer(door)?;
    session.envelope(&world.mail_from(""), &[&user])?;
    session.expect("DATA", &[354])?;
    world.has_sent();
    let content = [header.as_bytes(), b"body", sequence, b"CONFORM\r\nmore\r\n.\r\n"].concat();
    session.wire.send(&content)?;
    let at_end = match session.reply() {
        Ok(reply) => reply,
        Err(Stop::Closed) => return Ok(()),
        Err(stop) => return Err(stop),
    };
    let next = match session.ask("RSET") {
        Ok(reply) => reply,
        Err(Stop::Closed) => return Ok(()),
        Err(stop) => return Err(stop),
    };
    check!(
        next.code == 250,
        "after {} came {}: what stands behind the false end was taken for commands",
        at_end.shown(),
        next.shown()
    );
    let is_silent = match session.wire.is_silent(std::time::Duration::from_millis(300)) {
        Err(Stop::Closed) => true,
        other => other?,
    };
    check!(
        is_silent,
        "there are more replies: what stands behind the false end was taken for commands"
    );
    Ok(())
}

fn ends_no_command(world: &mut World, door: Door, end: &str) -> Checked {
    let mut session = world.transfer(door)?;
    session.wire.send(format!("NOOP a{end}RSET\r\n").as_bytes())?;
    match session.reply() {
        Ok(_) => {}
        Err(Stop::Closed) => return Ok(()),
        Err(stop) => return Err(stop),
    }
    let is_silent = match session.wire.is_silent(std::time::Duration::from_millis(300)) {
        Err(Stop::Closed) => true,
        other => other?,
    };
    check!(is_silent, "two replies: one line was taken for two");
    Ok(())
}

/// Fails if content is taken and changed.
fn refused_or_whole(world: &mut World, door: Door, body: &[u8]) -> Checked {
    let header = world.header("an odd character");
    let content = [header.as_bytes(), body].concat();
    let mut session = world.transfer(door)?;
    let reply = match world.deliver_on(&mut session, &content, "") {
        Ok(reply) => reply,
        Err(Stop::Closed) => return Ok(()),
        Err(stop) => return Err(stop),
    };
    if !reply.is_ok() {
        return Ok(());
    }
    let mut opened = world.open_for_content(1)?;
    let number = opened.number(0)?;
    opened
        .session
        .wire
        .send(format!("RETR {number}\r\n").as_bytes())?;
    let sent = opened.session.wire.until(b"\r\n.\r\n")?;
    let expected = mail::stuffed(&content);
    let is_there = sent.windows(expected.len()).any(|window| window == expected);
    check!(
        is_there,
        "taken and changed, {}",
        mail::difference(&expected, &sent)
    );
    Ok(())
}

fn bare_lf(world: &mut World, door: Door) -> Checked {
    refused_or_whole(world, door, b"one\ntwo\r\n")
}

fn bare_cr(world: &mut World, door: Door) -> Checked {
    refused_or_whole(world, door, b"one\rtwo\r\n")
}

fn nul(world: &mut World, door: Door) -> Checked {
    refused_or_whole(world, door, b"one\0two\r\n")
}
