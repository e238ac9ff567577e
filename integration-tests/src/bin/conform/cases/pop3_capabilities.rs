//! POP3: CAPA, pipelining, response codes.

use std::collections::BTreeSet;

use super::pop3;
use crate::case::Level::{Must, States};
use crate::case::{Case, Checked, Need, Rule, Stop, check, rule};
use crate::pop3::{Pop3, Status};
use crate::wire::printable;
use crate::world::World;

const BOTH_STATES: Rule = rule(
    2449,
    "5",
    Must,
    "Capabilities available in the AUTHORIZATION state MUST be announced in both states.",
);

const AUTH_CODE: Rule = rule(
    3206,
    "6",
    States,
    "The AUTH-RESP-CODE capability indicates that the server includes the AUTH response code with any authentication error caused by a \
     problem with the user's credentials.",
);

pub(super) const CASES: &[Case] = &[
    pop3(
        "capa.form",
        rule(
            2449,
            "5",
            States,
            "An +OK response is followed by a list of capabilities, one per line. Each capability name MAY be followed by a single space \
             and a space-separated list of parameters.",
        ),
        "CAPA is answered with lines of a name and parameters, each after one space",
        &[],
        capa_form,
    ),
    pop3(
        "capa.line-length",
        rule(
            2449,
            "5",
            States,
            "Each capability line is limited to 512 octets (including the CRLF).",
        ),
        "lines of CAPA have 512 octets at most",
        &[],
        capa_line_length,
    ),
    pop3(
        "capa.after-login",
        rule(
            2449,
            "5",
            States,
            "It is available in both the AUTHORIZATION and TRANSACTION states.",
        ),
        "CAPA is answered after log-in too",
        &[],
        capa_after_login,
    ),
    pop3(
        "capa.both-states",
        BOTH_STATES,
        "what is announced before log-in is announced after it, STLS aside (RFC 2595: \"permitted in the current state\")",
        &[],
        capa_both_states,
    ),
    pop3(
        "capa.no-arguments",
        rule(
            2449,
            "6",
            States,
            "Arguments: none [of TOP, USER, RESP-CODES, PIPELINING and UIDL]",
        ),
        "capabilities that take no arguments have none",
        &[],
        capa_no_arguments,
    ),
    pop3(
        "capa.user",
        rule(
            2449,
            "6.2",
            States,
            "The USER capability indicates that the USER and PASS commands are supported",
        ),
        "USER is announced, and USER and PASS log in",
        &[Need::Capability("USER")],
        capa_user,
    ),
    pop3(
        "capa.top",
        rule(
            2449,
            "6.1",
            States,
            "The TOP capability indicates the optional TOP command is available.",
        ),
        "TOP is announced, and taken",
        &[Need::Capability("TOP"), Need::Letters(1)],
        capa_top,
    ),
    pop3(
        "capa.uidl",
        rule(
            2449,
            "6.8",
            States,
            "The UIDL capability indicates that the optional UIDL command is supported.",
        ),
        "UIDL is announced, and taken",
        &[Need::Capability("UIDL")],
        capa_uidl,
    ),
    pop3(
        "command-length",
        rule(
            2449,
            "4",
            Must,
            "Servers which support the CAPA command MUST support commands up to 255 octets.",
        ),
        "a command of 255 octets is read as one",
        &[],
        command_length,
    ),
    pop3(
        "capa.login-delay",
        rule(
            2449,
            "6.5",
            States,
            "minimum seconds between logins; optionally followed by USER in AUTHENTICATION state",
        ),
        "LOGIN-DELAY has a number of seconds, and USER before log-in alone",
        &[Need::Capability("LOGIN-DELAY")],
        login_delay,
    ),
    pop3(
        "capa.expire",
        rule(
            2449,
            "6.7",
            States,
            "server-guaranteed minimum retention days, or NEVER; optionally followed by USER in AUTHENTICATION state",
        ),
        "EXPIRE has a number of days or NEVER, and USER before log-in alone",
        &[Need::Capability("EXPIRE")],
        expire,
    ),
    pop3(
        "capa.implementation",
        rule(
            2449,
            "6.9",
            States,
            "The argument to the IMPLEMENTATION capability consists of one or more tokens which identify the server.",
        ),
        "IMPLEMENTATION names one",
        &[Need::Capability("IMPLEMENTATION")],
        implementation,
    ),
    pop3(
        "resp-codes.form",
        rule(
            2449,
            "6.4",
            States,
            "The RESP-CODES capability indicates that any response text issued by this server which begins with an open square bracket \
             (\"[\") is an extended response code",
        ),
        "what begins with a bracket is a response code",
        &[Need::Capability("RESP-CODES")],
        resp_codes,
    ),
    pop3(
        "resp-codes.in-use",
        rule(
            2449,
            "8.1.2",
            States,
            "It indicates the authentication was successful, but the user's maildrop is currently in use (probably by another POP3 \
             client).",
        ),
        "a log-in that is refused because the maildrop is locked says IN-USE",
        &[Need::Capability("RESP-CODES")],
        in_use,
    ),
    pop3(
        "auth-resp-code.password",
        AUTH_CODE,
        "a wrong password is answered with [AUTH]",
        &[Need::Capability("AUTH-RESP-CODE")],
        auth_code_password,
    ),
    pop3(
        "auth-resp-code.user",
        AUTH_CODE,
        "an unknown user is answered with [AUTH]",
        &[Need::Capability("AUTH-RESP-CODE")],
        auth_code_user,
    ),
];

/// The lines of CAPA as they come.
fn lines(session: &mut Pop3) -> Checked<Vec<String>> {
    if !session.ask("CAPA")?.ok {
        return Err(Stop::NotOffered("CAPA is refused".to_owned()));
    }
    let lines = session.raw_lines()?;
    Ok(lines
        .iter()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect())
}

/// The lines before log-in, and after it.
fn both(world: &World) -> Checked<[Vec<String>; 2]> {
    Ok([lines(&mut world.pop3()?)?, lines(&mut world.login()?)?])
}

fn capa_form(world: &mut World) -> Checked {
    for line in both(world)?.concat() {
        let is_tag = |tag: &str| {
            !tag.is_empty()
                && tag
                    .bytes()
                    .all(|octet| (0x21..=0x7F).contains(&octet) && octet != b'.')
        };
        let is_parameter =
            |text: &str| !text.is_empty() && text.bytes().all(|octet| (0x21..=0x7E).contains(&octet));
        let mut parts = line.split(' ');
        let has_tag = parts.next().is_some_and(is_tag);
        check!(has_tag && parts.all(is_parameter), "no capability: {line:?}");
    }
    Ok(())
}

fn capa_line_length(world: &mut World) -> Checked {
    for line in both(world)?.concat() {
        check!(
            line.len() + 2 <= 512,
            "{} octets: {}",
            line.len() + 2,
            printable(line.as_bytes())
        );
    }
    Ok(())
}

fn capa_after_login(world: &mut World) -> Checked {
    lines(&mut world.pop3()?)?;
    world.login()?.accepts("CAPA").map(|_| ())
}

/// The names, in upper case.
fn tags(lines: &[String]) -> BTreeSet<String> {
    let tag = |line: &String| line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
    lines.iter().map(tag).collect()
}

fn capa_both_states(world: &mut World) -> Checked {
    let [before, after] = both(world)?;
    let missing: Vec<String> = tags(&before)
        .difference(&tags(&after))
        .filter(|tag| *tag != "STLS")
        .cloned()
        .collect();
    check!(
        missing.is_empty(),
        "after log-in these are missing: {}",
        missing.join(", ")
    );
    Ok(())
}

fn capa_no_arguments(world: &mut World) -> Checked {
    for line in both(world)?.concat() {
        let (tag, arguments) = line.split_once(' ').unwrap_or((&line, ""));
        let takes_none = [
            "TOP",
            "USER",
            "RESP-CODES",
            "PIPELINING",
            "UIDL",
            "STLS",
            "AUTH-RESP-CODE",
            "LANG",
        ];
        let is_wrong = takes_none.contains(&tag.to_ascii_uppercase().as_str()) && !arguments.is_empty();
        check!(!is_wrong, "{line:?}");
    }
    Ok(())
}

fn capa_user(world: &mut World) -> Checked {
    let user = world.setup.user.clone();
    let mut session = world.pop3_for_password()?;
    session.accepts(&format!("USER {}", user.name))?;
    session.accepts(&format!("PASS {}", user.password))?;
    session.quit()
}

fn capa_top(world: &mut World) -> Checked {
    let mut opened = world.open(1)?;
    let number = opened.number(0)?;
    opened.session.listing(&format!("TOP {number} 0")).map(|_| ())
}

fn capa_uidl(world: &mut World) -> Checked {
    world.login()?.listing("UIDL").map(|_| ())
}

fn command_length(world: &mut World) -> Checked {
    lines(&mut world.pop3()?)?;
    let mut session = world.pop3_for_password()?;
    // With CRLF it has 255. The name is nobody's, and either answer will do.
    session.ask(&format!("USER {}", "u".repeat(255 - 2 - "USER ".len())))?;
    session.accepts("CAPA")?;
    session.lines().map(|_| ())
}

/// The parameters before log-in and after.
fn parameters(world: &World, tag: &str) -> Checked<[Option<Vec<String>>; 2]> {
    let of = |lines: &[String]| {
        let line = lines
            .iter()
            .find(|line| tags(std::slice::from_ref(line)).contains(tag));
        line.map(|line| line.split(' ').skip(1).map(str::to_owned).collect())
    };
    let [before, after] = both(world)?;
    Ok([of(&before), of(&after)])
}

/// Fails unless the parameters are one that fits, and perhaps USER before log-in.
fn value_and_user(world: &World, tag: &str, fits: fn(&str) -> bool) -> Checked {
    let [before, after] = parameters(world, tag)?;
    for (state, parameters) in [("before", before), ("after", after)] {
        let Some(parameters) = parameters else { continue };
        let is_right = match parameters.as_slice() {
            [value] => fits(value),
            [value, user] => fits(value) && user.eq_ignore_ascii_case("USER") && state == "before",
            _ => false,
        };
        check!(is_right, "{state} log-in: {tag} {}", parameters.join(" "));
    }
    Ok(())
}

fn login_delay(world: &mut World) -> Checked {
    value_and_user(world, "LOGIN-DELAY", |value| value.parse::<u64>().is_ok())
}

fn expire(world: &mut World) -> Checked {
    value_and_user(world, "EXPIRE", |value| {
        value.eq_ignore_ascii_case("NEVER") || value.parse::<u64>().is_ok()
    })
}

fn implementation(world: &mut World) -> Checked {
    for parameters in parameters(world, "IMPLEMENTATION")?.into_iter().flatten() {
        check!(!parameters.is_empty(), "it names nothing");
    }
    Ok(())
}

/// Answers to what a server may refuse with a code.
fn refusals(world: &World) -> Checked<Vec<Status>> {
    let mut refused = Vec::new();
    let mut session = world.pop3_for_password()?;
    refused.push(session.ask("XCONFORM")?);
    let mut session = world.pop3_for_password()?;
    refused.push(session.ask(&format!("USER {}", world.setup.user.name))?);
    refused.push(session.ask("PASS not-the-password")?);
    refused.push(world.login()?.ask("RETR 99999")?);
    Ok(refused)
}

fn resp_codes(world: &mut World) -> Checked {
    for status in refusals(world)?
        .into_iter()
        .filter(|status| status.text.starts_with('['))
    {
        let shown = printable(&status.line);
        let code = status.code().unwrap_or_default();
        let is_level =
            |level: &str| !level.is_empty() && level.bytes().all(|octet| (0x21..=0x7F).contains(&octet));
        check!(code.split('/').all(is_level), "no response code: {shown}");
    }
    Ok(())
}

fn in_use(world: &mut World) -> Checked {
    let _first = world.login()?;
    let user = world.setup.user.clone();
    let mut second = world.pop3_for_password()?;
    second.accepts(&format!("USER {}", user.name))?;
    let status = second.ask(&format!("PASS {}", user.password))?;
    if status.ok {
        return Err(Stop::NotOffered(
            "several sessions may have a maildrop open".to_owned(),
        ));
    }
    check!(
        status.code().as_deref() == Some("IN-USE"),
        "{}",
        printable(&status.line)
    );
    Ok(())
}

/// What PASS with a wrong password is answered.
fn auth_code(world: &World, name: &str) -> Checked {
    let mut session = world.pop3_for_password()?;
    let mut status = session.ask(&format!("USER {name}"))?;
    if status.ok {
        status = session.refuses("PASS not-the-password")?;
    }
    check!(
        status.code().as_deref() == Some("AUTH"),
        "{}",
        printable(&status.line)
    );
    Ok(())
}

fn auth_code_password(world: &mut World) -> Checked {
    auth_code(world, &world.setup.user.name)
}

fn auth_code_user(world: &mut World) -> Checked {
    auth_code(world, &world.nobody())
}
