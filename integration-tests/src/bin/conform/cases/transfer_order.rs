//! SMTP and LMTP: greeting, and the order of commands.

use super::{both, one};
use crate::case::Level::{Must, MustNot, Should, States};
use crate::case::{Case, Checked, Door, Rule, check, rule};
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

pub(super) const NO_ARGUMENTS: Rule = rule(
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
