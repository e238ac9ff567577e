//! POP3: greeting, states, log-in, what is answered to what is no command.

use super::pop3;
use crate::case::Level::{Must, Security, States};
use crate::case::{Case, Checked, Stop, check, rule};
use crate::wire::printable;
use crate::world::World;

pub(super) const CASES: &[Case] = &[
    pop3(
        "greeting",
        rule(
            1939,
            "4",
            States,
            "Once the TCP connection has been opened by a POP3 client, the POP3 server issues a one line greeting. This can be any \
             positive response.",
        ),
        "the greeting is one positive line",
        &[],
        greeting,
    ),
    pop3(
        "keyword-case",
        rule(
            1939,
            "3",
            States,
            "Commands in the POP3 consist of a case-insensitive keyword",
        ),
        "keywords are taken in any case",
        &[],
        keyword_case,
    ),
    pop3(
        "status-upper-case",
        rule(
            1939,
            "3",
            Must,
            "Servers MUST send the \"+OK\" and \"-ERR\" in upper case.",
        ),
        "+OK and -ERR come in upper case",
        &[],
        status_upper_case,
    ),
    pop3(
        "response-length",
        rule(
            1939,
            "3",
            States,
            "Responses may be up to 512 characters long, including the terminating CRLF.",
        ),
        "first lines of responses have 512 octets at most",
        &[],
        response_length,
    ),
    pop3(
        "unknown-command",
        rule(
            1939,
            "3",
            Must,
            "A server MUST respond to an unrecognized, unimplemented, or syntactically invalid command by responding with a \
             negative status indicator.",
        ),
        "an unknown command gets -ERR, before log-in and after",
        &[],
        unknown_command,
    ),
    pop3(
        "empty-line",
        rule(
            1939,
            "3",
            Must,
            "A server MUST respond to an unrecognized, unimplemented, or syntactically invalid command by responding with a \
             negative status indicator.",
        ),
        "a line without a command gets -ERR",
        &[],
        empty_line,
    ),
    pop3(
        "state.before-login",
        rule(
            1939,
            "3",
            Must,
            "A server MUST respond to a command issued when the session is in an incorrect state by responding with a negative \
             status indicator.",
        ),
        "STAT, LIST, RETR, DELE, NOOP and RSET get -ERR before log-in",
        &[],
        before_login,
    ),
    pop3(
        "state.optional-before-login",
        rule(
            1939,
            "3",
            Must,
            "A server MUST respond to a command issued when the session is in an incorrect state by responding with a negative \
             status indicator.",
        ),
        "TOP and UIDL get -ERR before log-in",
        &[],
        optional_before_login,
    ),
    pop3(
        "state.user-after-login",
        rule(
            1939,
            "3",
            Must,
            "A server MUST respond to a command issued when the session is in an incorrect state by responding with a negative status \
             indicator. [and §7: USER may only be given in the AUTHORIZATION state]",
        ),
        "USER and PASS get -ERR after log-in",
        &[],
        user_after_login,
    ),
    pop3(
        "quit.before-login",
        rule(1939, "4", States, "QUIT … Possible Responses: +OK"),
        "QUIT before log-in gets +OK, and the connection ends",
        &[],
        quit_before_login,
    ),
    pop3(
        "login.right",
        rule(
            1939,
            "4",
            States,
            "If the lock is successfully acquired, the POP3 server responds with a positive status indicator. The POP3 session now \
             enters the TRANSACTION state, with no messages marked as deleted.",
        ),
        "log-in leads to the TRANSACTION state",
        &[],
        login_right,
    ),
    pop3(
        "login.wrong-password",
        rule(
            1939,
            "7",
            States,
            "PASS … Possible Responses: … -ERR invalid password",
        ),
        "a wrong password gets -ERR",
        &[],
        wrong_password,
    ),
    pop3(
        "login.wrong-then-right",
        rule(
            1939,
            "4",
            States,
            "If the server does not close the connection, the client may either issue a new authentication command and start again, \
             or the client may issue the QUIT command.",
        ),
        "after a refused log-in the session ends, or the right one is taken",
        &[],
        wrong_then_right,
    ),
    pop3(
        "login.pass-without-user",
        rule(
            1939,
            "7",
            Must,
            "[PASS] may only be given in the AUTHORIZATION state immediately after a successful USER command [and with §3: MUST get a \
             negative status indicator]",
        ),
        "PASS without USER gets -ERR",
        &[],
        pass_without_user,
    ),
    pop3(
        "login.unknown-user-is-not-told",
        rule(
            1939,
            "13",
            Security,
            "Servers that answer -ERR to the USER command are giving potential attackers clues about which names are valid.",
        ),
        "an unknown name and a wrong password get the same answers",
        &[],
        unknown_user,
    ),
    pop3(
        "apop.timestamp",
        rule(
            1939,
            "7",
            Must,
            "A POP3 server which implements the APOP command will include a timestamp in its banner greeting. The syntax of the \
             timestamp corresponds to the `msg-id' in [RFC822], and MUST be different each time the POP3 server issues a banner \
             greeting.",
        ),
        "APOP's timestamp is a msg-id, and another one each time",
        &[],
        apop_timestamp,
    ),
    pop3(
        "apop.wrong-digest",
        rule(
            1939,
            "7",
            States,
            "Otherwise, a negative response is issued and the POP3 session remains in the AUTHORIZATION state.",
        ),
        "APOP with a wrong digest gets -ERR",
        &[],
        apop_wrong,
    ),
];

fn greeting(world: &mut World) -> Checked {
    let mut session = world.pop3()?;
    check!(
        session.greeting.ok,
        "greeted with {}",
        printable(&session.greeting.line)
    );
    check!(
        session.wire.is_silent(std::time::Duration::from_millis(200))?,
        "there is more than one line"
    );
    Ok(())
}

fn keyword_case(world: &mut World) -> Checked {
    let mut session = world.login()?;
    for command in ["noop", "NoOp", "sTaT", "list", "rset"] {
        let status = session.accepts(command)?;
        if command == "list" {
            check!(status.ok, "list");
            session.lines()?;
        }
    }
    Ok(())
}

fn status_upper_case(world: &mut World) -> Checked {
    // Reading a status line fails on anything else.
    let mut session = world.pop3()?;
    session.ask("XCONFORM")?;
    let mut session = world.login()?;
    session.accepts("NOOP")?;
    session.refuses("XCONFORM").map(|_| ())
}

fn response_length(world: &mut World) -> Checked {
    let greeting = world.pop3()?.greeting.line;
    let mut session = world.login()?;
    let unknown = format!("X{}", "y".repeat(200));
    let lines = [
        greeting,
        session.ask("STAT")?.line,
        session.ask("NOOP")?.line,
        session.ask(&unknown)?.line,
        session.ask(&format!("RETR {}", "9".repeat(200)))?.line,
        session.ask("QUIT")?.line,
    ];
    let longest = lines.iter().map(|line| line.len() + 2).max().unwrap_or_default();
    check!(longest <= 512, "a response has {longest} octets");
    Ok(())
}

fn unknown_command(world: &mut World) -> Checked {
    world.pop3()?.refuses("XCONFORM")?;
    world.login()?.refuses("XCONFORM")?;
    world.login()?.refuses("LISTS").map(|_| ())
}

fn empty_line(world: &mut World) -> Checked {
    world.pop3()?.refuses("")?;
    world.login()?.refuses("").map(|_| ())
}

/// Each on a connection of its own: a server may end one on which too much was wrong.
fn refused_before_login(world: &World, commands: &[&str]) -> Checked {
    for command in commands {
        world.pop3()?.refuses(command)?;
    }
    Ok(())
}

fn before_login(world: &mut World) -> Checked {
    refused_before_login(
        world,
        &["STAT", "LIST", "LIST 1", "RETR 1", "DELE 1", "NOOP", "RSET"],
    )
}

fn optional_before_login(world: &mut World) -> Checked {
    refused_before_login(world, &["TOP 1 0", "UIDL", "UIDL 1"])
}

fn user_after_login(world: &mut World) -> Checked {
    let name = world.setup.user.name.clone();
    let mut session = world.login()?;
    session.refuses(&format!("USER {name}"))?;
    session.refuses("PASS not-the-password")?;
    // It is still logged in.
    session.accepts("NOOP").map(|_| ())
}

fn quit_before_login(world: &mut World) -> Checked {
    world.pop3()?.quit()
}

fn login_right(world: &mut World) -> Checked {
    let mut session = world.login()?;
    session.stat()?;
    session.quit()
}

fn wrong_password(world: &mut World) -> Checked {
    let name = world.setup.user.name.clone();
    let mut session = world.pop3_for_password()?;
    if session.ask(&format!("USER {name}"))?.ok {
        session.refuses("PASS not-the-password")?;
    }
    Ok(())
}

fn wrong_then_right(world: &mut World) -> Checked {
    let user = world.setup.user.clone();
    let mut session = world.pop3_for_password()?;
    session.accepts(&format!("USER {}", user.name))?;
    session.refuses("PASS not-the-password")?;
    match world.authenticate(&mut session, &user) {
        Ok(()) => session.stat().map(|_| ()),
        Err(Stop::Closed) => Ok(()),
        Err(stop) => Err(stop),
    }
}

fn pass_without_user(world: &mut World) -> Checked {
    let password = world.setup.user.password.clone();
    let mut session = world.pop3_for_password()?;
    session.refuses(&format!("PASS {password}")).map(|_| ())
}

fn unknown_user(world: &mut World) -> Checked {
    let answers = |name: &str| -> Checked<(bool, Option<String>, bool, String)> {
        let mut session = world.pop3_for_password()?;
        let user = session.ask(&format!("USER {name}"))?;
        let pass = session.ask("PASS not-the-password")?;
        Ok((user.ok, user.code(), pass.ok, pass.text))
    };
    let known = answers(&world.setup.user.name)?;
    let unknown = answers(&world.nobody())?;
    check!(
        known == unknown,
        "for a known name {known:?}, for an unknown one {unknown:?}"
    );
    Ok(())
}

/// The timestamp in a greeting.
fn timestamp(world: &World) -> Checked<String> {
    let greeting = world.pop3()?.greeting.text;
    let found = greeting.find('<').zip(greeting.find('>'));
    let found = found.and_then(|(from, to)| greeting.get(from..=to));
    found
        .map(str::to_owned)
        .ok_or_else(|| Stop::NotOffered("the greeting has no timestamp".to_owned()))
}

fn apop_timestamp(world: &mut World) -> Checked {
    let first = timestamp(world)?;
    let second = timestamp(world)?;
    check!(first != second, "twice {first}");
    let is_msg_id = first.matches('@').count() == 1 && !first.contains(' ');
    check!(is_msg_id, "{first} is no msg-id");
    Ok(())
}

fn apop_wrong(world: &mut World) -> Checked {
    timestamp(world)?;
    let name = world.setup.user.name.clone();
    let digest = "c4c9334bac560ecc979e58001b3e22fb";
    world
        .pop3()?
        .refuses(&format!("APOP {name} {digest}"))
        .map(|_| ())
}
