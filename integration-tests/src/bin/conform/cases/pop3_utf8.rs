//! POP3: UTF8 and LANG.

use super::pop3;
use crate::case::Level::{Must, MustNot, Should, States};
use crate::case::{Case, Checked, Door, Need, Stop, check, rule};
use crate::pop3::Pop3;
use crate::wire::printable;
use crate::world::{World, check_whole};

const UTF8: &[Need] = &[Need::Capability("UTF8")];
const LANG: &[Need] = &[Need::Capability("LANG")];

pub(super) const CASES: &[Case] = &[
    pop3(
        "utf8.before-login",
        rule(
            6856,
            "2.1",
            States,
            "The \"UTF8\" command enables UTF-8 mode. … The server MAY respond to the \"UTF8\" command with an -ERR response.",
        ),
        "UTF8 is announced, and answered before log-in",
        UTF8,
        utf8_before_login,
    ),
    pop3(
        "utf8.after-login",
        rule(
            6856,
            "2",
            Must,
            "Commands valid in states: AUTHORIZATION [and with RFC 1939 §3: MUST get a negative status indicator]",
        ),
        "UTF8 after log-in gets -ERR",
        UTF8,
        utf8_after_login,
    ),
    pop3(
        "utf8.parameter",
        rule(6856, "2.1", States, "The \"UTF8\" command has no parameters."),
        "UTF8 with a parameter gets -ERR",
        UTF8,
        utf8_parameter,
    ),
    pop3(
        "utf8.not-as-is-without-it",
        rule(
            6856,
            "2.1",
            MustNot,
            "When UTF-8 mode has not been enabled, character strings outside the ASCII repertoire MUST NOT be sent to the client as is.",
        ),
        "a header in UTF-8 is not sent as it is to a client that didn't say UTF8",
        UTF8,
        utf8_not_as_is,
    ),
    pop3(
        "utf8.surrogate-or-error",
        rule(
            6856,
            "2.1",
            Must,
            "If a client requests a UTF-8 message when UTF-8 mode is not enabled, the server MUST either send the client a surrogate \
             message that complies with unextended POP and Internet Mail Format without UTF-8 mode support, or fail the request with an \
             -ERR response.",
        ),
        "TOP of such a message without UTF8 is ASCII or -ERR too",
        UTF8,
        utf8_surrogate,
    ),
    pop3(
        "utf8.as-is",
        rule(
            6856,
            "2.1",
            States,
            "In UTF-8 mode, if the character encoding format of maildrops is UTF-8 or ASCII, the messages are sent to the client as is",
        ),
        "with UTF8 a message in UTF-8 comes as it went in",
        UTF8,
        utf8_as_is,
    ),
    pop3(
        "utf8.size",
        rule(
            6856,
            "2.1",
            Should,
            "The octet count (size) of a message reported in a response to the \"LIST\" command SHOULD match the actual number of octets \
             sent in a \"RETR\" response (not counting byte-stuffing).",
        ),
        "LIST tells the size of what RETR sends, with UTF8 and without",
        UTF8,
        utf8_size,
    ),
    pop3(
        "utf8.malformed-name",
        rule(
            6856,
            "2.2",
            Must,
            "The server MUST reject UTF-8 usernames or passwords that fail to comply with the formal syntax in UTF-8 [RFC3629].",
        ),
        "a name that is no UTF-8 is refused",
        UTF8,
        utf8_malformed_name,
    ),
    pop3(
        "lang.list",
        rule(
            6856,
            "3.2",
            States,
            "A language listing consists of the language tag [RFC5646] of the message, optionally followed by a single space and a \
             human-readable description of the language",
        ),
        "LANG lists language tags, or says -ERR",
        LANG,
        lang_list,
    ),
    pop3(
        "lang.set",
        rule(
            6856,
            "3.2",
            States,
            "If the command succeeds, the server returns a +OK response followed by a single space, the exact language tag selected, and \
             another space.",
        ),
        "LANG with a tag of the list answers with that tag",
        LANG,
        lang_set,
    ),
    pop3(
        "lang.preferred",
        rule(
            6856,
            "3.2",
            States,
            "the special \"*\" language range argument, it indicates a request to use a language designated as preferred by the server \
             administrator",
        ),
        "LANG * answers with a tag",
        LANG,
        lang_preferred,
    ),
    pop3(
        "lang.unknown",
        rule(
            6856,
            "3.2",
            States,
            "If the command fails, the server returns an -ERR response and subsequent human-readable response text continues to use the \
             language that was previously used.",
        ),
        "LANG with a language that nobody has gets -ERR",
        LANG,
        lang_unknown,
    ),
    pop3(
        "lang.after-login",
        rule(
            6856,
            "3.1",
            States,
            "Commands valid in states: AUTHORIZATION, TRANSACTION",
        ),
        "LANG is answered after log-in too",
        LANG,
        lang_after_login,
    ),
];

fn utf8_before_login(world: &mut World) -> Checked {
    let mut session = world.pop3_for_password()?;
    session.ask("UTF8")?;
    let user = world.setup.user.clone();
    world.authenticate(&mut session, &user)?;
    session.quit()
}

fn utf8_after_login(world: &mut World) -> Checked {
    world.login()?.refuses("UTF8").map(|_| ())
}

fn utf8_parameter(world: &mut World) -> Checked {
    world.pop3_for_password()?.refuses("UTF8 USER").map(|_| ())
}

/// A message with UTF-8 in its header and body.
fn message(world: &mut World) -> Vec<u8> {
    let plain = world.header("utf8");
    let header = plain
        .replace("From: Conformance", "From: Grüße aus Łódź")
        .replace("text/plain", "text/plain; charset=utf-8");
    format!("{header}Zażółć gęślą jaźń.\r\n").into_bytes()
}

/// Brings it in, with the parameters that it needs where they are offered.
fn deliver(world: &mut World) -> Checked<Vec<u8>> {
    let content = message(world);
    let door = world.door()?;
    let offers = |name: &str| world.has_extension(door, name);
    let parameters = match (offers("8BITMIME"), offers("SMTPUTF8")) {
        (true, true) => " BODY=8BITMIME SMTPUTF8",
        (true, false) => " BODY=8BITMIME",
        (false, _) => "",
    };
    match world.deliver(&content, parameters) {
        Err(Stop::Failed(why)) if door == Door::Smtp || door == Door::Lmtp => Err(Stop::NotRun(why)),
        other => other.map(|()| content),
    }
}

/// Opens the maildrop, in UTF-8 mode if asked for, and finds our one message.
fn opened(world: &World, utf8: bool) -> Checked<(Pop3, usize)> {
    // Without UTF-8 mode the message may be kept back, so its number is found in it.
    let found = world.open_for_content(1)?;
    let number = found.number(0)?;
    found.session.quit()?;
    let mut session = world.pop3_for_password()?;
    if utf8 && !session.ask("UTF8")?.ok {
        return Err(Stop::NotOffered("UTF8 is announced and refused".to_owned()));
    }
    world.authenticate(&mut session, &world.setup.user)?;
    Ok((session, number))
}

/// What a command sends, or nothing when it is refused.
fn content(session: &mut Pop3, command: &str) -> Checked<Option<Vec<u8>>> {
    if !session.ask(command)?.ok {
        return Ok(None);
    }
    Ok(Some(crate::pop3::joined(&session.lines()?)))
}

/// Fails when the header of what is sent has octets beyond ASCII.
fn header_in_ascii(world: &mut World, command: fn(usize) -> String) -> Checked {
    deliver(world)?;
    let (mut session, number) = opened(world, false)?;
    let Some(found) = content(&mut session, &command(number))? else {
        return Ok(());
    };
    let end = found
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or(found.len());
    let line = found[..end]
        .split(|octet| *octet == b'\n')
        .find(|line| !line.is_ascii());
    check!(
        line.is_none(),
        "sent as is: {}",
        printable(line.unwrap_or_default())
    );
    Ok(())
}

fn utf8_not_as_is(world: &mut World) -> Checked {
    header_in_ascii(world, |number| format!("RETR {number}"))
}

fn utf8_surrogate(world: &mut World) -> Checked {
    header_in_ascii(world, |number| format!("TOP {number} 0"))
}

fn utf8_as_is(world: &mut World) -> Checked {
    let content = deliver(world)?;
    let (mut session, number) = opened(world, true)?;
    check_whole(&session.retr(number)?, &content)
}

fn utf8_size(world: &mut World) -> Checked {
    deliver(world)?;
    for utf8 in [false, true] {
        let (mut session, number) = opened(world, utf8)?;
        let listed = session.ask(&format!("LIST {number}"))?;
        let sent = content(&mut session, &format!("RETR {number}"))?;
        if let (true, Some(sent)) = (listed.ok, sent) {
            let expected = format!("{number} {}", sent.len());
            check!(
                listed.text == expected,
                "UTF8 {utf8}: LIST tells {:?}, RETR sends {} octets",
                listed.text,
                sent.len()
            );
        }
        session.quit()?;
    }
    Ok(())
}

fn utf8_malformed_name(world: &mut World) -> Checked {
    if world.capability("UTF8") != Some("USER") {
        return Err(Stop::NotOffered("UTF8 is announced without USER".to_owned()));
    }
    let mut session = world.pop3_for_password()?;
    session.wire.send(b"USER \xC3\x28\xFF\r\n")?;
    if session.status()?.ok {
        session.refuses("PASS not-the-password")?;
    }
    Ok(())
}

/// The tags that LANG lists.
fn tags(session: &mut Pop3) -> Checked<Vec<String>> {
    if !session.ask("LANG")?.ok {
        return Ok(Vec::new());
    }
    let lines = session.lines()?;
    let tag = |line: &Vec<u8>| {
        String::from_utf8_lossy(line)
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    Ok(lines.iter().map(tag).collect())
}

fn is_tag(text: &str) -> bool {
    let is_part =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_alphanumeric());
    text.split('-').all(is_part)
}

fn lang_list(world: &mut World) -> Checked {
    for tag in tags(&mut world.pop3()?)? {
        check!(is_tag(&tag), "{tag:?} is no language tag");
    }
    Ok(())
}

/// Fails unless the answer has a tag behind its +OK; returns it.
fn selected(session: &mut Pop3, range: &str) -> Checked<String> {
    let status = session.accepts(&format!("LANG {range}"))?;
    let tag = status
        .text
        .split_once(' ')
        .map(|(tag, _)| tag.to_owned())
        .unwrap_or_default();
    check!(
        is_tag(&tag),
        "no tag and a space behind it: {}",
        printable(&status.line)
    );
    Ok(tag)
}

fn lang_set(world: &mut World) -> Checked {
    let mut session = world.pop3()?;
    for tag in tags(&mut session)? {
        let found = selected(&mut session, &tag)?;
        check!(
            found.eq_ignore_ascii_case(&tag),
            "asked for {tag}, answered {found}"
        );
    }
    Ok(())
}

fn lang_preferred(world: &mut World) -> Checked {
    selected(&mut world.pop3()?, "*").map(|_| ())
}

fn lang_unknown(world: &mut World) -> Checked {
    world.pop3()?.refuses("LANG x-conform").map(|_| ())
}

fn lang_after_login(world: &mut World) -> Checked {
    selected(&mut world.login()?, "*").map(|_| ())
}
