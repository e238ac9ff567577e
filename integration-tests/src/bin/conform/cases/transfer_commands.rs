//! SMTP and LMTP: greeting, commands, their order and their replies.

use super::{both, one};
use crate::case::Level::{Must, MustNot, Should, States};
use crate::case::{Case, Checked, Door, Need, Rule, Stop, check, rule};
use crate::world::World;

/// Keywords that are registered (IANA, "SMTP Service Extensions").
const REGISTERED: [&str; 34] = [
    "SEND",
    "SOML",
    "SAML",
    "EXPN",
    "HELP",
    "TURN",
    "VRFY",
    "8BITMIME",
    "SIZE",
    "VERB",
    "ONEX",
    "CHUNKING",
    "BINARYMIME",
    "CHECKPOINT",
    "DELIVERBY",
    "PIPELINING",
    "DSN",
    "ETRN",
    "ENHANCEDSTATUSCODES",
    "STARTTLS",
    "NO-SOLICITING",
    "MTRK",
    "SUBMITTER",
    "ATRN",
    "AUTH",
    "BURL",
    "FUTURERELEASE",
    "CONPERM",
    "CONNEG",
    "SMTPUTF8",
    "MT-PRIORITY",
    "RRVS",
    "REQUIRETLS",
    "LIMITS",
];

const OUT_OF_ORDER: Rule = rule(
    5321,
    "4.1.4",
    Must,
    "If the commands in a transaction are out of order to the degree that they cannot be processed by the server, a 503 failure reply \
     MUST be returned and the SMTP server MUST stay in the same state.",
);
const NO_ARGUMENTS: Rule = rule(
    5321,
    "4.3.2",
    Should,
    "commands that are specified in this document as not accepting arguments (DATA, RSET, QUIT) SHOULD return a 501 message if arguments \
     are supplied in the absence of EHLO-advertised extensions",
);

pub(super) const CASES: &[Case] = &[
    both(
        "greeting",
        rule(
            5321,
            "4.3.1",
            States,
            "all the greeting-type replies have the official name (the fully-qualified primary domain name) of the server host as the \
             first word following the reply code",
        ),
        "the greeting is 220 with a name or an address literal",
        &[],
        greeting,
    ),
    both(
        "hello.form",
        rule(
            5321,
            "4.1.1.1",
            States,
            "ehlo-ok-rsp = ( \"250\" SP Domain … *( \"250-\" ehlo-line CRLF ) … ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / \"-\")",
        ),
        "the greeting with extensions has a name, then a line for each keyword",
        &[],
        hello_form,
    ),
    both(
        "hello.registered",
        rule(
            5321,
            "2.2.2",
            MustNot,
            "A conforming server MUST NOT offer non-\"X\"-prefixed keyword values that are not described in a registered extension.",
        ),
        "every keyword is registered or begins with X",
        &[],
        hello_registered,
    ),
    both(
        "hello.truthful",
        rule(
            5321,
            "4.2.4",
            MustNot,
            "Extended SMTP systems MUST NOT list capabilities in response to EHLO for which they will return 502 (or 500) replies.",
        ),
        "commands that are announced aren't answered 500 or 502",
        &[],
        hello_truthful,
    ),
    both(
        "hello.again",
        rule(
            5321,
            "4.1.4",
            Must,
            "If it is issued after the session begins and the EHLO command is acceptable to the SMTP server, the SMTP server MUST clear \
             all buffers and reset the state exactly as if a RSET command had been issued.",
        ),
        "the greeting again ends a transaction",
        &[],
        hello_again,
    ),
    one(
        "helo",
        Door::Smtp,
        rule(
            5321,
            "3.2",
            MustNot,
            "Servers MUST NOT return the extended EHLO-style response to a HELO command.",
        ),
        "HELO is taken, and answered on one line",
        &[],
        helo,
    ),
    both(
        "order.rcpt-first",
        rule(
            5321,
            "3.3",
            Must,
            "If a RCPT command appears without a previous MAIL command, the server MUST return a 503 \"Bad sequence of commands\" response.",
        ),
        "RCPT before MAIL gets 503",
        &[],
        rcpt_first,
    ),
    both(
        "order.data-first",
        OUT_OF_ORDER,
        "DATA before MAIL gets 503",
        &[],
        data_first,
    ),
    both(
        "order.mail-before-hello",
        OUT_OF_ORDER,
        "MAIL before the greeting gets 503, if it isn't taken",
        &[],
        mail_before_hello,
    ),
    both(
        "order.mail-twice",
        OUT_OF_ORDER,
        "MAIL within a transaction gets 503, if it doesn't begin another",
        &[],
        mail_twice,
    ),
    one(
        "order.data-without-recipient",
        Door::Smtp,
        rule(
            5321,
            "3.3",
            States,
            "If there was no MAIL, or no RCPT, command, or all such commands were rejected, the server MAY return a \"command out of \
             sequence\" (503) or \"no valid recipients\" (554) reply in response to the DATA command.",
        ),
        "DATA without a recipient gets 503 or 554, or the message does after it",
        &[],
        data_without_recipient,
    ),
    both(
        "rset",
        rule(
            5321,
            "4.1.1.5",
            Must,
            "Any stored sender, recipients, and mail data MUST be discarded, and all buffers and state tables cleared.",
        ),
        "RSET ends a transaction",
        &[],
        rset,
    ),
    both(
        "rset.any-time",
        rule(
            5321,
            "4.1.1.5",
            Must,
            "The receiver MUST send a \"250 OK\" reply to a RSET command with no arguments. A reset command may be issued by the client at \
             any time.",
        ),
        "RSET gets 250 before the greeting, after it and twice",
        &[],
        rset_any_time,
    ),
    both(
        "rset.argument",
        NO_ARGUMENTS,
        "RSET with an argument gets 501",
        &[],
        rset_argument,
    ),
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

fn greeting(world: &mut World, door: Door) -> Checked {
    let session = world.transfer_ungreeted(door)?;
    let name = session
        .greeting
        .texts
        .first()
        .and_then(|text| text.split(' ').next())
        .unwrap_or_default();
    let is_name = name
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || b".-[]:".contains(&octet));
    check!(
        session.greeting.code == 220 && !name.is_empty() && is_name,
        "{}",
        session.greeting.shown()
    );
    Ok(())
}

fn hello_form(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer_ungreeted(door)?;
    let reply = session.hello(door.hello())?;
    let name = reply
        .texts
        .first()
        .and_then(|text| text.split(' ').next())
        .unwrap_or_default();
    check!(!name.is_empty(), "no name on the first line");
    for line in reply.texts.iter().skip(1) {
        let mut parts = line.split(' ');
        let is_keyword = |word: &str| {
            !word.is_empty()
                && !word.starts_with('-')
                && word
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        };
        let is_parameter =
            |word: &str| !word.is_empty() && word.bytes().all(|octet| (33..=126).contains(&octet));
        check!(
            parts.next().is_some_and(is_keyword) && parts.all(is_parameter),
            "no extension: {line:?}"
        );
    }
    Ok(())
}

fn hello_registered(world: &mut World, door: Door) -> Checked {
    let session = world.transfer(door)?;
    for line in &session.extensions {
        let keyword = line.split([' ', '=']).next().unwrap_or_default();
        check!(
            keyword.starts_with('X') || REGISTERED.contains(&keyword),
            "{keyword} is registered nowhere"
        );
    }
    Ok(())
}

fn hello_truthful(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let probes = [
        ("HELP", "HELP".to_owned()),
        ("VRFY", format!("VRFY {user}")),
        ("EXPN", format!("EXPN {user}")),
        ("ETRN", "ETRN conform.example".to_owned()),
        ("STARTTLS", "STARTTLS".to_owned()),
    ];
    for (keyword, command) in probes {
        let mut session = world.transfer(door)?;
        if session.offers(keyword).is_some() {
            let reply = session.ask(&command)?;
            check!(
                ![500, 502].contains(&reply.code),
                "{keyword} is announced and answered {}",
                reply.shown()
            );
        }
    }
    Ok(())
}

/// DATA without a transaction: 503, or 554 in SMTP.
fn no_transaction(session: &mut crate::transfer::Transfer) -> Checked {
    session.expect("DATA", &[503, 554]).map(|_| ())
}

fn hello_again(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.envelope(&world.mail_from(""), &[&user])?;
    session.hello(door.hello())?;
    no_transaction(&mut session)
}

fn helo(world: &mut World, door: Door) -> Checked {
    let reply = world
        .transfer_ungreeted(door)?
        .expect("HELO conform.example", &[250])?;
    check!(reply.texts.len() == 1, "{} lines", reply.texts.len());
    Ok(())
}

fn rcpt_first(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    world
        .transfer(door)?
        .expect(&format!("RCPT TO:<{user}>"), &[503])
        .map(|_| ())
}

fn data_first(world: &mut World, door: Door) -> Checked {
    let codes: &[u16] = match door {
        Door::Lmtp => &[503],
        // RFC 5321, section 3.3, leaves the choice.
        Door::Smtp => &[503, 554],
    };
    world.transfer(door)?.expect("DATA", codes).map(|_| ())
}

fn mail_before_hello(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer_ungreeted(door)?;
    session.expect(&world.mail_from(""), &[250, 503]).map(|_| ())
}

fn mail_twice(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer(door)?;
    session.expect(&world.mail_from(""), &[250])?;
    session.expect(&world.mail_from(""), &[250, 503]).map(|_| ())
}

fn data_without_recipient(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer(door)?;
    session.expect(&world.mail_from(""), &[250])?;
    if session.expect("DATA", &[503, 554, 354])?.code == 354 {
        session.wire.send(b".\r\n")?;
        let reply = session.reply()?;
        check!(
            !reply.is_ok(),
            "a message for nobody was accepted: {}",
            reply.shown()
        );
    }
    Ok(())
}

fn rset(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.envelope(&world.mail_from(""), &[&user])?;
    session.expect("RSET", &[250])?;
    no_transaction(&mut session)?;
    // The next one begins without the old recipient.
    session.expect(&world.mail_from(""), &[250])?;
    no_transaction(&mut session)
}

fn rset_any_time(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer_ungreeted(door)?;
    session.expect("RSET", &[250])?;
    session.hello(door.hello())?;
    session.expect("RSET", &[250])?;
    session.expect("RSET", &[250])?;
    session.quit()
}

fn rset_argument(world: &mut World, door: Door) -> Checked {
    world.transfer(door)?.expect("RSET now", &[501]).map(|_| ())
}

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
