//! SMTP and LMTP: greeting, commands, their order and their replies.

use super::transfer_order::NO_ARGUMENTS;
use super::{both, one};
use crate::case::Level::{Must, MustNot, Should, States};
use crate::case::{Case, Checked, Door, Need, Stop, check, rule};
use crate::world::World;

pub(super) const CASES: &[Case] = &[
    both(
        "data.argument",
        NO_ARGUMENTS,
        "DATA with an argument gets 501",
        &[],
        data_argument,
    ),
    both(
        "quit.argument",
        NO_ARGUMENTS,
        "QUIT with an argument gets 501",
        &[],
        quit_argument,
    ),
    both(
        "noop",
        rule(
            5321,
            "4.1.1.9",
            States,
            "It specifies no action other than that the receiver send a \"250 OK\" reply. This command has no effect on the reverse-path \
             buffer, the forward-path buffer, or the mail data buffer, and it may be issued at any time.",
        ),
        "NOOP gets 250 and ends no transaction",
        &[],
        noop,
    ),
    both(
        "noop.argument",
        rule(
            5321,
            "4.1.1.9",
            Should,
            "If a parameter string is specified, servers SHOULD ignore it.",
        ),
        "NOOP with an argument gets 250",
        &[],
        noop_argument,
    ),
    both(
        "quit",
        rule(
            5321,
            "4.1.1.10",
            Must,
            "the receiver MUST send a \"221 OK\" reply, and then close the transmission channel",
        ),
        "QUIT gets 221 and the connection is closed",
        &[],
        quit,
    ),
    one(
        "vrfy",
        Door::Smtp,
        rule(
            5321,
            "4.5.1",
            Must,
            "The following commands MUST be supported to conform to this specification: EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY",
        ),
        "VRFY is not answered 500 or 502",
        &[],
        vrfy,
    ),
    both(
        "vrfy.unknown",
        rule(
            5321,
            "3.5.3",
            MustNot,
            "A server MUST NOT return a 250 code in response to a VRFY or EXPN command unless it has actually verified the address.",
        ),
        "VRFY of nobody does not get 250",
        &[],
        vrfy_unknown,
    ),
    both(
        "expn.listed",
        rule(
            5321,
            "3.5.2",
            Must,
            "if EXPN is supported, it MUST be listed as a service extension in an EHLO response",
        ),
        "EXPN gets no 250 unless it is announced",
        &[],
        expn,
    ),
    one(
        "help",
        Door::Smtp,
        rule(
            5321,
            "4.1.1.8",
            Should,
            "SMTP servers SHOULD support HELP without arguments and MAY support it with arguments.",
        ),
        "HELP gets 211 or 214",
        &[],
        help,
    ),
    both(
        "unknown-command",
        rule(
            5321,
            "4.2.4",
            Should,
            "If the command is not recognized, code 500 SHOULD be returned.",
        ),
        "an unknown command gets 500",
        &[],
        unknown_command,
    ),
    both(
        "unknown-command.goes-on",
        rule(
            5321,
            "3.8",
            MustNot,
            "An SMTP server MUST NOT intentionally close the connection under normal operational circumstances … In particular, a server \
             that closes connections in response to commands that are not understood is in violation of this specification.",
        ),
        "after five unknown commands the session goes on",
        &[],
        unknown_goes_on,
    ),
    both(
        "any-case",
        rule(
            5321,
            "2.4",
            States,
            "a command verb, an argument value other than a mailbox local-part, and free form text MAY be encoded in upper case, lower case, or any mixture of upper and lower case with no impact on its meaning",
        ),
        "verbs and FROM: and TO: are taken in any case",
        &[],
        any_case,
    ),
    both(
        "trailing-space",
        rule(
            5321,
            "4.1.1",
            Should,
            "SMTP receivers SHOULD tolerate trailing white space before the terminating <CRLF>.",
        ),
        "white space at the end of a command is overlooked",
        &[],
        trailing_space,
    ),
    both(
        "reply.length",
        rule(
            5321,
            "4.5.3.1.5",
            States,
            "The maximum total length of a reply line including the reply code and the <CRLF> is 512 octets.",
        ),
        "reply lines have 512 octets at most",
        &[],
        reply_length,
    ),
    both(
        "reply.one-each",
        rule(
            5321,
            "4.2",
            Must,
            "Every command MUST generate exactly one reply.",
        ),
        "each command gets one reply",
        &[Need::Extension("PIPELINING")],
        one_reply_each,
    ),
];

fn data_argument(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.envelope(&world.mail_from(""), &[&user])?;
    session.expect("DATA now", &[501]).map(|_| ())
}

fn quit_argument(world: &mut World, door: Door) -> Checked {
    world.transfer(door)?.expect("QUIT now", &[501]).map(|_| ())
}

fn noop(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer_ungreeted(door)?;
    session.expect("NOOP", &[250])?;
    session.hello(door.hello())?;
    session.expect(&world.mail_from(""), &[250])?;
    session.expect("NOOP", &[250])?;
    session.expect_class(&format!("RCPT TO:<{user}>"), 2)?;
    session.expect("NOOP", &[250])?;
    session.expect("DATA", &[354]).map(|_| ())
}

fn noop_argument(world: &mut World, door: Door) -> Checked {
    world.transfer(door)?.expect("NOOP conform", &[250]).map(|_| ())
}

fn quit(world: &mut World, door: Door) -> Checked {
    world.transfer_ungreeted(door)?.quit()?;
    world.transfer(door)?.quit()
}

fn vrfy(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let reply = world.transfer(door)?.ask(&format!("VRFY {user}"))?;
    check!(![500, 502].contains(&reply.code), "{}", reply.shown());
    Ok(())
}

fn vrfy_unknown(world: &mut World, door: Door) -> Checked {
    let nobody = world.nobody();
    let reply = world.transfer(door)?.ask(&format!("VRFY {nobody}"))?;
    check!(reply.code != 250, "{}", reply.shown());
    Ok(())
}

fn expn(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    let reply = session.ask(&format!("EXPN {user}"))?;
    check!(
        reply.code != 250 || session.offers("EXPN").is_some(),
        "{}",
        reply.shown()
    );
    Ok(())
}

fn help(world: &mut World, door: Door) -> Checked {
    world.transfer(door)?.expect("HELP", &[211, 214]).map(|_| ())
}

fn unknown_command(world: &mut World, door: Door) -> Checked {
    world.transfer(door)?.expect("CONFORM", &[500]).map(|_| ())
}

fn unknown_goes_on(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer(door)?;
    for _ in 0..5 {
        session.expect_class("CONFORM", 5)?;
    }
    session.expect("NOOP", &[250]).map(|_| ())
}

fn any_case(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let (local, domain) = user.rsplit_once('@').unwrap_or((&user, ""));
    let mut session = world.transfer(door)?;
    let mail = world.mail_from("").replace("MAIL FROM", "mAiL fRoM");
    session.expect(&mail, &[250])?;
    session.expect_class(&format!("rcpt to:<{local}@{}>", domain.to_ascii_uppercase()), 2)?;
    session.expect("rset", &[250])?;
    session.expect("Noop", &[250])?;
    session.expect("quit", &[221]).map(|_| ())
}

fn trailing_space(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.expect("NOOP  ", &[250])?;
    session.expect("RSET ", &[250])?;
    session.expect(&world.mail_from(" "), &[250])?;
    session.expect_class(&format!("RCPT TO:<{user}> "), 2)?;
    session.expect("DATA ", &[354]).map(|_| ())
}

fn reply_length(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer_ungreeted(door)?;
    let long = format!("X{}", "y".repeat(480));
    let mut longest = session
        .greeting
        .octets_max
        .max(session.hello(door.hello())?.octets_max);
    for command in [long.as_str(), "HELP", "NOOP", "MAIL FROM:<a b>"] {
        longest = longest.max(session.ask(command)?.octets_max);
    }
    check!(longest <= 512, "a reply line of {longest} octets");
    Ok(())
}

fn one_reply_each(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    let group = format!(
        "{}\r\nRCPT TO:<{user}>\r\nRSET\r\nNOOP\r\nCONFORM\r\nNOOP\r\n",
        world.mail_from("")
    );
    session.wire.send(group.as_bytes())?;
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(session.reply()?.code);
    }
    check!(
        session.wire.is_silent(std::time::Duration::from_millis(300))?,
        "more replies than commands, the first {codes:?}"
    );
    let is_right = matches!(codes.as_slice(), [250, 250 | 251, 250, 250, 500..=599, 250]);
    if is_right {
        Ok(())
    } else {
        Err(Stop::Failed(format!("{codes:?}")))
    }
}
