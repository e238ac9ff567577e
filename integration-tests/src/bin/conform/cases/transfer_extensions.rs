//! SMTP and LMTP: SIZE, PIPELINING, ENHANCEDSTATUSCODES, STARTTLS, 8BITMIME and SMTPUTF8.

use super::{arrives_whole, both};
use crate::case::Level::{Must, MustNot, Security, Should, States};
use crate::case::{Case, Checked, Door, Need, Rule, Stop, check, rule};
use crate::mail;
use crate::transfer::{Reply, Transfer};
use crate::world::World;

const PIPELINING: &[Need] = &[Need::Extension("PIPELINING")];

const SMTPUTF8: &[Need] = &[Need::Extension("SMTPUTF8")];

const IN_ORDER: Rule = rule(
    2920,
    "3.2",
    Must,
    "MUST respond to commands in the order they are received from the client.",
);

const NOT_LOST: Rule = rule(
    2920,
    "3.2",
    MustNot,
    "MUST NOT flush or otherwise lose the contents of the TCP input buffer under any circumstances whatsoever.",
);

pub(super) const CASES: &[Case] = &[
    both(
        "size.parameter",
        rule(1870, "3", States, "size-param ::= [1*DIGIT]"),
        "SIZE is announced with a number, or with none",
        &[Need::Extension("SIZE")],
        size_parameter,
    ),
    both(
        "size.declared",
        rule(1870, "3", States, "size-value ::= 1*20DIGIT"),
        "MAIL with SIZE is taken, 20 digits are a number",
        &[Need::Extension("SIZE")],
        size_declared,
    ),
    both(
        "size.too-large",
        rule(
            1870,
            "6.1",
            Should,
            "a server should determine whether the declared message size exceeds its fixed maximum message size … If the indicated size is \
             larger than the server's fixed maximum message size, the server responds with code \"552 message size exceeds fixed maximium \
             message size\".",
        ),
        "MAIL with a SIZE beyond the announced maximum gets 552",
        &[Need::Extension("SIZE")],
        size_too_large,
    ),
    both(
        "pipelining.order",
        IN_ORDER,
        "MAIL, RCPT, RCPT and DATA at once are answered in order",
        PIPELINING,
        pipelining_order,
    ),
    both(
        "pipelining.mixed",
        IN_ORDER,
        "one recipient of two that is refused changes nothing for the other",
        PIPELINING,
        pipelining_mixed,
    ),
    both(
        "pipelining.data-without-recipient",
        rule(
            2920,
            "3.2",
            Should,
            "SHOULD issue a positive response to the DATA command if and only if one or more valid RCPT TO addresses have been previously \
             received.",
        ),
        "DATA in a group whose recipients were all refused is refused",
        PIPELINING,
        pipelining_data_without_recipient,
    ),
    both(
        "pipelining.after-error",
        NOT_LOST,
        "commands behind an unknown one are answered",
        PIPELINING,
        pipelining_after_error,
    ),
    both(
        "pipelining.after-data",
        NOT_LOST,
        "commands that come in one piece with the end of the data are answered",
        PIPELINING,
        pipelining_after_data,
    ),
    both(
        "status-code.everywhere",
        rule(
            2034,
            "4",
            Must,
            "These codes must appear in all 2xx, 4xx, and 5xx response lines other than initial greeting and any response to HELO or EHLO.",
        ),
        "every reply but greetings and 354 has a status code",
        &[Need::Extension("ENHANCEDSTATUSCODES")],
        status_code_everywhere,
    ),
    both(
        "status-code.class",
        rule(
            2034,
            "4",
            Must,
            "All status codes returned by the server must agree with the primary response code, that is, a 2xx response must incorporate a \
             2.X.X code, a 4xx response must incorporate a 4.X.X code, and a 5xx response must incorporate a 5.X.X code.",
        ),
        "the class of a status code is the reply's first digit",
        &[Need::Extension("ENHANCEDSTATUSCODES")],
        status_code_class,
    ),
    both(
        "8bitmime.parameter",
        rule(
            6152,
            "2",
            States,
            "The keyword is BODY … body-value = \"7BIT\" / \"8BITMIME\"",
        ),
        "MAIL with BODY=7BIT and BODY=8BITMIME is taken",
        &[Need::Extension("8BITMIME")],
        body_parameter,
    ),
    both(
        "8bitmime.octets",
        rule(
            6152,
            "3",
            Must,
            "A server that supports the 8-bit MIME transport service extension shall preserve all bits in each octet passed using the DATA \
             command.",
        ),
        "all octets from 128 to 255 arrive as they were sent",
        &[Need::Extension("8BITMIME"), Need::WayThrough],
        eight_bits,
    ),
    both(
        "smtputf8.with-8bitmime",
        rule(
            6531,
            "3.1",
            Must,
            "Servers offering this extension MUST provide support for, and announce, the 8BITMIME extension [RFC6152].",
        ),
        "8BITMIME is announced where SMTPUTF8 is",
        SMTPUTF8,
        |world, door| {
            check!(world.has_extension(door, "8BITMIME"), "8BITMIME is not announced");
            Ok(())
        },
    ),
    both(
        "smtputf8.address",
        rule(
            6531,
            "3.3",
            States,
            "[the syntax of RFC 5321 is extended: local parts may have UTF-8 beyond ASCII, and domains U-labels]",
        ),
        "a reverse-path in UTF-8 is taken with the parameter SMTPUTF8",
        SMTPUTF8,
        smtputf8_address,
    ),
    both(
        "smtputf8.any-path",
        rule(
            6531,
            "3.1",
            States,
            "One optional parameter, SMTPUTF8, is added to the MAIL command",
        ),
        "the parameter is taken with any reverse-path",
        SMTPUTF8,
        smtputf8_any_path,
    ),
    both(
        "smtputf8.malformed",
        rule(
            6531,
            "3.3",
            Security,
            "Octets that are no UTF-8 in an address are somebody's mistake or attack; stored, they break whoever reads them.",
        ),
        "an address that is no UTF-8 is refused",
        SMTPUTF8,
        smtputf8_malformed,
    ),
    both(
        "smtputf8.content",
        rule(
            6531,
            "3.1",
            States,
            "[the parameter says that the message may be an internationalized one, whose header fields are in UTF-8 (RFC 6532)]",
        ),
        "a header in UTF-8 arrives as it was sent",
        &[Need::Extension("SMTPUTF8"), Need::WayThrough],
        smtputf8_content,
    ),
];

fn size_parameter(world: &mut World, door: Door) -> Checked {
    let parameter = world.extension(door, "SIZE").unwrap_or_default();
    check!(
        parameter.bytes().all(|octet| octet.is_ascii_digit()),
        "{parameter:?}"
    );
    Ok(())
}

fn size_declared(world: &mut World, door: Door) -> Checked {
    world
        .transfer(door)?
        .expect(&world.mail_from(" SIZE=1000"), &[250])?;
    // A number of this length is one, though it may be too large.
    world
        .transfer(door)?
        .expect(&world.mail_from(" SIZE=00000000000000001000"), &[250])
        .map(|_| ())
}

fn size_too_large(world: &mut World, door: Door) -> Checked {
    let maximum = world
        .extension(door, "SIZE")
        .and_then(|text| text.parse::<u64>().ok());
    let Some(maximum) = maximum.filter(|maximum| *maximum > 0) else {
        return Err(Stop::NotOffered("SIZE is announced without a maximum".to_owned()));
    };
    let command = world.mail_from(&format!(" SIZE={}", maximum + 1));
    world.transfer(door)?.expect(&command, &[552]).map(|_| ())
}

/// Sends these lines at once and reads as many replies.
fn group(session: &mut Transfer, lines: &[String]) -> Checked<Vec<Reply>> {
    session
        .wire
        .send(format!("{}\r\n", lines.join("\r\n")).as_bytes())?;
    lines.iter().map(|_| session.reply()).collect()
}

fn codes(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|reply| reply.code).collect()
}

fn pipelining_order(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let to = format!("RCPT TO:<{}>", world.setup.user.address);
    let mut session = world.transfer(door)?;
    let replies = group(&mut session, &[world.mail_from(""), to, "DATA".to_owned()])?;
    check!(codes(&replies) == [250, 250, 354], "{:?}", codes(&replies));
    world.has_sent();
    session
        .wire
        .send(&[mail::stuffed(&letter), b".\r\n".to_vec()].concat())?;
    let reply = session.reply()?;
    check!(reply.is_ok(), "{}", reply.shown());
    session.quit()
}

fn pipelining_mixed(world: &mut World, door: Door) -> Checked {
    let to = |address: &str| format!("RCPT TO:<{address}>");
    let lines = [
        world.mail_from(""),
        to(&world.nobody()),
        to(&world.setup.user.address),
        to(&world.nobody()),
        "RSET".to_owned(),
        "NOOP".to_owned(),
    ];
    let mut session = world.transfer(door)?;
    let replies = group(&mut session, &lines)?;
    let found = codes(&replies);
    check!(
        matches!(found.as_slice(), [250, 400..=599, 250, 400..=599, 250, 250]),
        "{found:?}"
    );
    Ok(())
}

fn pipelining_data_without_recipient(world: &mut World, door: Door) -> Checked {
    let lines = [
        world.mail_from(""),
        format!("RCPT TO:<{}>", world.nobody()),
        "DATA".to_owned(),
    ];
    let mut session = world.transfer(door)?;
    let found = codes(&group(&mut session, &lines)?);
    if found.get(1).is_some_and(|code| code / 100 == 2) {
        return Err(Stop::NotRun("unknown recipients are accepted".to_owned()));
    }
    check!(found.get(2).is_some_and(|code| code / 100 == 5), "{found:?}");
    Ok(())
}

fn pipelining_after_error(world: &mut World, door: Door) -> Checked {
    let lines = [
        "CONFORM".to_owned(),
        "MAIL FROM:<".to_owned(),
        world.mail_from(""),
        "RSET".to_owned(),
        "NOOP".to_owned(),
    ];
    let mut session = world.transfer(door)?;
    let found = codes(&group(&mut session, &lines)?);
    check!(
        matches!(found.as_slice(), [500..=599, 500..=599, 250, 250, 250]),
        "{found:?}"
    );
    Ok(())
}

fn pipelining_after_data(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.envelope(&world.mail_from(""), &[&user])?;
    session.expect("DATA", &[354])?;
    world.has_sent();
    let group = [mail::stuffed(&letter), b".\r\nNOOP\r\nRSET\r\nNOOP\r\n".to_vec()].concat();
    session.wire.send(&group)?;
    for due in ["the data", "NOOP", "RSET", "NOOP"] {
        let reply = session.reply()?;
        check!(reply.code == 250, "{due} was answered {}", reply.shown());
    }
    session.quit()
}

/// Replies of many kinds.
fn many_replies(world: &mut World, door: Door) -> Checked<Vec<(String, Reply)>> {
    let letter = world.letter();
    let nobody = world.nobody();
    let mut session = world.transfer(door)?;
    let mut replies = Vec::new();
    let commands = [
        "NOOP".to_owned(),
        "CONFORM".to_owned(),
        "MAIL FROM:<".to_owned(),
        "RCPT TO:<>".to_owned(),
        world.mail_from(""),
        format!("RCPT TO:<{nobody}>"),
        "RSET".to_owned(),
        format!("VRFY {nobody}"),
        "HELP".to_owned(),
        "DATA".to_owned(),
    ];
    for command in commands {
        let reply = session.ask(&command)?;
        replies.push((command, reply));
    }
    replies.push((
        "the data".to_owned(),
        world.deliver_on(&mut session, &letter, "")?,
    ));
    replies.push(("QUIT".to_owned(), session.ask("QUIT")?));
    Ok(replies)
}

fn status_code_everywhere(world: &mut World, door: Door) -> Checked {
    for (command, reply) in many_replies(world, door)? {
        let without = reply.texts.iter().find(|text| Reply::status_code(text).is_none());
        check!(without.is_none(), "{command:?} was answered {}", reply.shown());
    }
    Ok(())
}

fn status_code_class(world: &mut World, door: Door) -> Checked {
    for (command, reply) in many_replies(world, door)? {
        let differs =
            |text: &String| Reply::status_code(text).is_some_and(|(class, ..)| class != reply.class());
        check!(
            !reply.texts.iter().any(differs),
            "{command:?} was answered {}",
            reply.shown()
        );
    }
    Ok(())
}

fn body_parameter(world: &mut World, door: Door) -> Checked {
    for body in [" BODY=7BIT", " BODY=8BITMIME", " body=8bitmime"] {
        world.transfer(door)?.expect(&world.mail_from(body), &[250])?;
    }
    Ok(())
}

fn eight_bits(world: &mut World, door: Door) -> Checked {
    let header = world
        .header("eight bits")
        .replace("text/plain", "text/plain; charset=iso-8859-1");
    let mut content = header
        .replace("\r\n\r\n", "\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
        .into_bytes();
    content.extend(128..=255u8);
    content.extend_from_slice(b"\r\n");
    arrives_whole(world, door, &content, " BODY=8BITMIME")
}

fn smtputf8_address(world: &mut World, door: Door) -> Checked {
    let command = "MAIL FROM:<gr\u{fc}\u{df}e@b\u{fc}cher.example> SMTPUTF8";
    world.transfer(door)?.expect(command, &[250]).map(|_| ())
}

fn smtputf8_any_path(world: &mut World, door: Door) -> Checked {
    world
        .transfer(door)?
        .expect(&world.mail_from(" SMTPUTF8"), &[250])?;
    world
        .transfer(door)?
        .expect("MAIL FROM:<> SMTPUTF8", &[250])
        .map(|_| ())
}

fn smtputf8_malformed(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer(door)?;
    session
        .wire
        .send(b"MAIL FROM:<gr\xFC\xC3\x28@conform.example> SMTPUTF8\r\n")?;
    let reply = session.reply()?;
    check!(reply.class() == 5, "{}", reply.shown());
    Ok(())
}

fn smtputf8_content(world: &mut World, door: Door) -> Checked {
    let header = world.header("utf8").replace("Conformance", "Gr\u{fc}\u{df}e");
    let content = format!("{header}Za\u{17c}\u{f3}\u{142}\u{107}\r\n");
    arrives_whole(world, door, content.as_bytes(), " SMTPUTF8 BODY=8BITMIME")
}
