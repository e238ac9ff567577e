//! SMTP and LMTP: paths, parameters and limits.

use super::{both, one};
use crate::case::Level::{Must, Security, Should, States};
use crate::case::{Case, Checked, Door, Need, Rule, Stop, check, rule};
use crate::world::World;

const UNKNOWN_PARAMETER: Rule = rule(
    5321,
    "4.1.1.11",
    States,
    "If the server SMTP does not recognize or cannot implement one or more of the parameters associated with a particular MAIL FROM or \
     RCPT TO command, it will return code 555.",
);
const NOT_ACCEPTABLE: Rule = rule(
    5321,
    "4.1.4",
    Must,
    "If the transaction beginning command argument is not acceptable, a 501 failure reply MUST be returned and the SMTP server MUST stay \
     in the same state.",
);
const POSTMASTER: Rule = rule(
    5321,
    "4.5.1",
    Must,
    "RCPT commands that specify a mailbox for postmaster at any of the domains for which the SMTP server provides mail service, as well \
     as the special case of \"RCPT TO:<Postmaster>\" (with no domain specification), MUST be supported",
);
const SIZES: Rule = rule(
    5321,
    "4.5.3.1",
    Must,
    "There are several objects that have required minimum/maximum sizes. Every implementation MUST be able to receive objects of at \
     least these sizes.",
);

pub(super) const CASES: &[Case] = &[
    both(
        "path.null",
        rule(5321, "4.1.2", States, "Reverse-path = Path / \"<>\""),
        "MAIL FROM:<> is taken",
        &[],
        null_reverse_path,
    ),
    both(
        "path.syntax",
        NOT_ACCEPTABLE,
        "MAIL whose argument is no path gets 501",
        &[],
        bad_reverse_path,
    ),
    both(
        "path.recipient-syntax",
        rule(
            5321,
            "4.2.2",
            States,
            "501 Syntax error in parameters or arguments … 553 … mailbox name not allowed (e.g., mailbox syntax incorrect)",
        ),
        "RCPT whose argument is no path is refused for good",
        &[],
        bad_forward_path,
    ),
    both(
        "path.quoted",
        rule(
            5321,
            "4.1.2",
            Must,
            "all quoted forms MUST be treated as equivalent",
        ),
        "a local part in quotes that it doesn't need is the same mailbox",
        &[],
        quoted_local_part,
    ),
    both(
        "path.source-route",
        rule(
            5321,
            "4.1.1.3",
            Must,
            "Receiving systems MUST recognize source route syntax",
        ),
        "a source route is understood, whether it is taken or refused",
        &[],
        source_route_understood,
    ),
    both(
        "path.source-route-ignored",
        rule(
            5321,
            "4.1.1.3",
            Should,
            "SHOULD strip off the source route specification and utilize the domain name associated with the mailbox as if the source \
             route had not been provided",
        ),
        "a source route is read past",
        &[],
        source_route_ignored,
    ),
    both(
        "path.domain-case",
        rule(
            5321,
            "2.4",
            States,
            "Mailbox domains follow normal DNS rules and are hence not case sensitive.",
        ),
        "the domain of a recipient is taken in any case",
        &[],
        domain_case,
    ),
    both(
        "path.address-literal",
        rule(
            5321,
            "4.1.2",
            States,
            "Mailbox = Local-part \"@\" ( Domain / address-literal )",
        ),
        "a reverse-path with an address literal is taken",
        &[],
        address_literal,
    ),
    both(
        "path.not-ascii",
        rule(
            5321,
            "2.4",
            Should,
            "Receiving systems SHOULD reject such commands, normally using \"500 syntax error - invalid character\" replies.",
        ),
        "addresses beyond ASCII are refused unless SMTPUTF8 was asked for",
        &[],
        not_ascii,
    ),
    both(
        "recipient.unknown",
        rule(
            5321,
            "3.3",
            States,
            "If the recipient is known not to be a deliverable address, the SMTP server returns a 550 reply, typically with a string such \
             as \"no such user - \" and the mailbox name (other circumstances and reply codes are possible).",
        ),
        "a recipient whom nobody knows is refused for good",
        &[],
        unknown_recipient,
    ),
    both(
        "recipient.elsewhere",
        rule(
            5321,
            "7.8",
            Security,
            "A server that takes mail for all domains from all clients is an open relay.",
        ),
        "a recipient in somebody else's domain is refused",
        &[],
        elsewhere,
    ),
    one(
        "postmaster",
        Door::Smtp,
        POSTMASTER,
        "RCPT TO:<Postmaster> is taken",
        &[],
        postmaster,
    ),
    one(
        "postmaster.any-case",
        Door::Smtp,
        POSTMASTER,
        "<POSTMASTER> and <postmaster> are taken",
        &[],
        postmaster_any_case,
    ),
    one(
        "postmaster.domain",
        Door::Smtp,
        POSTMASTER,
        "postmaster of the domain is taken",
        &[],
        postmaster_domain,
    ),
    both(
        "parameter.mail-unknown",
        UNKNOWN_PARAMETER,
        "MAIL with an unknown parameter gets 555",
        &[],
        mail_parameter,
    ),
    both(
        "parameter.rcpt-unknown",
        UNKNOWN_PARAMETER,
        "RCPT with an unknown parameter gets 555",
        &[],
        rcpt_parameter,
    ),
    both(
        "limit.local-part",
        SIZES,
        "a local part of 64 octets is taken (§4.5.3.1.1)",
        &[],
        local_part,
    ),
    both(
        "limit.path",
        SIZES,
        "a reverse-path of 256 octets is taken (§4.5.3.1.3)",
        &[],
        path,
    ),
    both(
        "limit.command-line",
        SIZES,
        "a command line of 512 octets is taken (§4.5.3.1.4)",
        &[],
        command_line,
    ),
    both(
        "limit.command-line-too-long",
        rule(
            5321,
            "4.5.3.1.9",
            States,
            "Errors due to exceeding these limits may be reported by using the reply codes. … 500 Line too long.",
        ),
        "a command line of 20,000 octets gets one reply, and no part of it is executed",
        &[],
        command_line_too_long,
    ),
    both(
        "limit.recipients",
        rule(
            5321,
            "4.5.3.1.8",
            Must,
            "The minimum total number of recipients that MUST be buffered is 100 recipients. Rejection of messages (for excessive \
             recipients) with fewer than 100 RCPT commands is a violation of this specification.",
        ),
        "100 recipients are taken",
        &[],
        recipients,
    ),
    both(
        "limit.text-line",
        SIZES,
        "a text line of 1,000 octets arrives whole (§4.5.3.1.6)",
        &[Need::WayThrough],
        text_line,
    ),
    both(
        "limit.content",
        rule(
            5321,
            "4.5.3.1.7",
            Must,
            "The maximum total length of a message content (including any message header section as well as the message body) MUST BE at \
             least 64K octets.",
        ),
        "content of 64 KiB arrives whole",
        &[Need::WayThrough],
        content,
    ),
];

fn null_reverse_path(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.envelope("MAIL FROM:<>", &[&user])?;
    session.expect("RSET", &[250]).map(|_| ())
}

fn bad_reverse_path(world: &mut World, door: Door) -> Checked {
    for argument in [
        "",
        " FROM:",
        " FROM:<a@b@conform.example>",
        " FROM:<@>",
        " FROM:<conform.example",
        " TO:<conform@conform.example>",
    ] {
        let mut session = world.transfer(door)?;
        session.expect(&format!("MAIL{argument}"), &[501])?;
        // It stays in the same state: a transaction can begin.
        session.expect(&world.mail_from(""), &[250])?;
    }
    Ok(())
}

fn bad_forward_path(world: &mut World, door: Door) -> Checked {
    for argument in ["", " TO:", " TO:<>", " TO:<@>", " FROM:<conform@conform.example>"] {
        let mut session = world.transfer(door)?;
        session.expect(&world.mail_from(""), &[250])?;
        session.expect_class(&format!("RCPT{argument}"), 5)?;
    }
    Ok(())
}

/// What RCPT with this path is answered.
fn rcpt(world: &World, door: Door, path: &str) -> Checked<crate::transfer::Reply> {
    let mut session = world.transfer(door)?;
    session.expect(&world.mail_from(""), &[250])?;
    session.ask(&format!("RCPT TO:<{path}>"))
}

fn taken(world: &World, door: Door, path: &str) -> Checked {
    let reply = rcpt(world, door, path)?;
    check!(reply.is_ok(), "<{path}> was answered {}", reply.shown());
    Ok(())
}

/// The local part and the domain of the user's address.
fn parts(world: &World) -> (String, String) {
    let address = &world.setup.user.address;
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    (local.to_owned(), domain.to_owned())
}

fn quoted_local_part(world: &mut World, door: Door) -> Checked {
    let (local, domain) = parts(world);
    taken(world, door, &format!("\"{local}\"@{domain}"))
}

fn source_route_understood(world: &mut World, door: Door) -> Checked {
    let path = format!("@a.example,@b.example:{}", world.setup.user.address);
    let reply = rcpt(world, door, &path)?;
    check!(![500, 501].contains(&reply.code), "{}", reply.shown());
    Ok(())
}

fn source_route_ignored(world: &mut World, door: Door) -> Checked {
    let path = format!("@a.example,@b.example:{}", world.setup.user.address);
    taken(world, door, &path)
}

fn domain_case(world: &mut World, door: Door) -> Checked {
    let (local, domain) = parts(world);
    taken(world, door, &format!("{local}@{}", domain.to_ascii_uppercase()))
}

fn address_literal(world: &mut World, door: Door) -> Checked {
    for literal in ["[192.0.2.1]", "[IPv6:2001:db8::1]"] {
        world
            .transfer(door)?
            .expect(&format!("MAIL FROM:<conform@{literal}>"), &[250])?;
    }
    Ok(())
}

fn not_ascii(world: &mut World, door: Door) -> Checked {
    let (_, domain) = parts(world);
    world
        .transfer(door)?
        .expect_class("MAIL FROM:<gr\u{fc}\u{df}e@conform.example>", 5)?;
    let reply = rcpt(world, door, &format!("gr\u{fc}\u{df}e@{domain}"))?;
    check!(reply.class() == 5, "RCPT was answered {}", reply.shown());
    Ok(())
}

fn unknown_recipient(world: &mut World, door: Door) -> Checked {
    let reply = rcpt(world, door, &world.nobody())?;
    check!(reply.class() == 5, "{}", reply.shown());
    Ok(())
}

fn elsewhere(world: &mut World, door: Door) -> Checked {
    let reply = rcpt(world, door, "somebody@elsewhere.example")?;
    check!(!reply.is_ok(), "{}", reply.shown());
    Ok(())
}

fn postmaster(world: &mut World, door: Door) -> Checked {
    taken(world, door, "Postmaster")
}

fn postmaster_any_case(world: &mut World, door: Door) -> Checked {
    taken(world, door, "POSTMASTER")?;
    taken(world, door, "postmaster")
}

fn postmaster_domain(world: &mut World, door: Door) -> Checked {
    let (_, domain) = parts(world);
    taken(world, door, &format!("postmaster@{domain}"))?;
    taken(world, door, &format!("Postmaster@{domain}"))
}

fn mail_parameter(world: &mut World, door: Door) -> Checked {
    world
        .transfer(door)?
        .expect(&world.mail_from(" XCONFORM=1"), &[555])
        .map(|_| ())
}

fn rcpt_parameter(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.expect(&world.mail_from(""), &[250])?;
    session
        .expect(&format!("RCPT TO:<{user}> XCONFORM=1"), &[555])
        .map(|_| ())
}

fn local_part(world: &mut World, door: Door) -> Checked {
    world
        .transfer(door)?
        .expect(&format!("MAIL FROM:<{}@conform.example>", "l".repeat(64)), &[250])
        .map(|_| ())
}

fn path(world: &mut World, door: Door) -> Checked {
    // With its brackets: 1 + 64 + 1 + 189 + 1.
    let label = "d".repeat(45);
    let domain = format!("{label}.{label}.{label}.{}.example", "d".repeat(189 - 3 * 46 - 8));
    let path = format!("<{}@{domain}>", "l".repeat(64));
    check!(
        path.len() == 256,
        "this suite made a path of {} octets",
        path.len()
    );
    world
        .transfer(door)?
        .expect(&format!("MAIL FROM:{path}"), &[250])
        .map(|_| ())
}

fn command_line(world: &mut World, door: Door) -> Checked {
    let command = format!("NOOP {}", "x".repeat(512 - 2 - "NOOP ".len()));
    world.transfer(door)?.expect(&command, &[250]).map(|_| ())
}

fn command_line_too_long(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer(door)?;
    // Its end would be a command of its own if the line were cut at any power of two.
    match session.ask(&"NOOP ".repeat(4_000)) {
        // Some take any length.
        Ok(_) => {}
        Err(Stop::Closed) => return Ok(()),
        Err(stop) => return Err(stop),
    }
    match session.expect("RSET", &[250]) {
        Ok(_) => {}
        Err(Stop::Closed) => return Ok(()),
        Err(stop) => return Err(stop),
    }
    check!(
        session.wire.is_silent(std::time::Duration::from_millis(300))?,
        "it got more than one reply"
    );
    Ok(())
}

fn recipients(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.expect(&world.mail_from(""), &[250])?;
    for number in 1..=100 {
        let reply = session.ask(&format!("RCPT TO:<{user}>"))?;
        check!(reply.is_ok(), "recipient {number} was answered {}", reply.shown());
    }
    session.expect("RSET", &[250]).map(|_| ())
}

fn text_line(world: &mut World, door: Door) -> Checked {
    let header = world.header("a line");
    let content = format!("{header}{}\r\nend\r\n", "t".repeat(998));
    super::arrives_whole(world, door, content.as_bytes(), "")
}

fn content(world: &mut World, door: Door) -> Checked {
    let mut content = world.header("64 KiB").into_bytes();
    while content.len() + 64 <= 64 * 1024 {
        content.extend_from_slice(format!("{:062}\r\n", content.len()).as_bytes());
    }
    let rest = 64 * 1024 - content.len();
    content.extend(std::iter::repeat_n(b'c', rest.saturating_sub(2)));
    content.extend_from_slice(b"\r\n");
    super::arrives_whole(world, door, &content, "")
}
