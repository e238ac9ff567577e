//! POP3 under TLS: STLS, and TLS from the first octet.

use super::pop3;
use crate::case::Level::{Must, MustNot, Security, States};
use crate::case::{Case, Checked, Need, Rule, Stop, check, rule};
use crate::pop3::Pop3;
use crate::wire::printable;
use crate::world::World;

const STLS: &[Need] = &[Need::Capability("STLS")];
const PERMITTED: Rule = rule(
    2595,
    "4",
    States,
    "The capability name \"STLS\" indicates this command is present and permitted in the current state.",
);
const IMPLICIT: Rule = rule(
    8314,
    "3.1",
    States,
    "When a TCP connection is established for the \"pop3s\" service (default port 995), a TLS handshake begins immediately.",
);

pub(super) const CASES: &[Case] = &[
    pop3(
        "stls.begins",
        PERMITTED,
        "STLS is announced, and TLS begins after its +OK",
        STLS,
        stls_begins,
    ),
    pop3(
        "stls.session",
        rule(
            2595,
            "4",
            States,
            "the server remains in AUTHORIZATION state, even if client credentials are supplied during the TLS negotiation",
        ),
        "after STLS one logs in as on any connection",
        STLS,
        stls_session,
    ),
    pop3(
        "stls.not-logged-in",
        rule(2595, "4", States, "the server remains in AUTHORIZATION state"),
        "after STLS nobody is logged in yet",
        STLS,
        stls_not_logged_in,
    ),
    pop3(
        "stls.after-login",
        rule(
            2595,
            "4",
            Must,
            "Only permitted in AUTHORIZATION state. [and with RFC 1939 §3: MUST get a negative status indicator]",
        ),
        "STLS after log-in gets -ERR",
        STLS,
        stls_after_login,
    ),
    pop3(
        "stls.not-announced-after-login",
        PERMITTED,
        "after log-in STLS is not announced, not being permitted",
        STLS,
        stls_not_announced_after_login,
    ),
    pop3(
        "stls.not-announced-under-tls",
        PERMITTED,
        "under TLS STLS is announced only if it is taken again",
        STLS,
        stls_not_announced_under_tls,
    ),
    pop3(
        "stls.argument",
        rule(2595, "4", States, "STLS … Arguments: none"),
        "STLS with an argument begins no TLS, or the same as without",
        STLS,
        stls_argument,
    ),
    pop3(
        "stls.injection",
        rule(
            2595,
            "4",
            Security,
            "What was sent in clear behind STLS is executed as if it had come under TLS: whoever is in between slips commands into the \
             session (CVE-2011-0411).",
        ),
        "a command sent in one piece with STLS is never executed under TLS",
        STLS,
        stls_injection,
    ),
    pop3(
        "stls.name-is-forgotten",
        rule(
            2595,
            "4",
            Security,
            "A user name that was given in clear holds under TLS: whoever is in between chooses the account.",
        ),
        "USER before STLS doesn't count after it",
        STLS,
        stls_name_is_forgotten,
    ),
    pop3(
        "stls.no-handshake",
        rule(
            2595,
            "4",
            Security,
            "A client that speaks on in clear is served in clear, or hangs the session.",
        ),
        "commands in clear where a handshake is due are not executed",
        STLS,
        stls_no_handshake,
    ),
    pop3(
        "pop3s.greeting",
        IMPLICIT,
        "on the listener for TLS the greeting comes under TLS",
        &[Need::Pop3s],
        pop3s_greeting,
    ),
    pop3(
        "pop3s.session",
        IMPLICIT,
        "on the listener for TLS one logs in as on any connection",
        &[Need::Pop3s],
        pop3s_session,
    ),
    pop3(
        "pop3s.silent-in-clear",
        IMPLICIT,
        "on the listener for TLS nothing is said in clear",
        &[Need::Pop3s],
        pop3s_silent_in_clear,
    ),
    pop3(
        "pop3s.no-stls",
        PERMITTED,
        "on the listener for TLS STLS is announced only if it is taken",
        &[Need::Pop3s],
        pop3s_no_stls,
    ),
    pop3(
        "pop3s.tls-1-1",
        rule(
            8996,
            "5",
            MustNot,
            "TLS 1.1 MUST NOT be used. Negotiation of TLS 1.1 from any version of TLS MUST NOT be permitted.",
        ),
        "a client that speaks TLS 1.1 at most is refused",
        &[Need::Pop3s],
        pop3s_tls_1_1,
    ),
];

/// A session that went over to TLS.
fn under_tls(world: &World) -> Checked<Pop3> {
    let mut session = world.pop3()?;
    session.accepts("STLS")?;
    session.wire.start_tls(&world.setup.tls)?;
    Ok(session)
}

fn stls_begins(world: &mut World) -> Checked {
    under_tls(world)?.quit()
}

fn stls_session(world: &mut World) -> Checked {
    let user = world.setup.user.clone();
    let mut session = under_tls(world)?;
    world.authenticate(&mut session, &user)?;
    session.stat()?;
    session.quit()
}

fn stls_not_logged_in(world: &mut World) -> Checked {
    under_tls(world)?.refuses("STAT").map(|_| ())
}

fn stls_after_login(world: &mut World) -> Checked {
    let mut session = world.login()?;
    session.refuses("STLS")?;
    session.accepts("NOOP").map(|_| ())
}

fn announces_stls(session: &mut Pop3) -> Checked<bool> {
    Ok(session.capabilities()?.iter().any(|line| line == "STLS"))
}

fn stls_not_announced_after_login(world: &mut World) -> Checked {
    let mut session = world.login()?;
    check!(!announces_stls(&mut session)?, "STLS is announced");
    Ok(())
}

/// Fails if STLS is announced here and refused.
fn announced_is_taken(session: &mut Pop3) -> Checked {
    let is_announced = announces_stls(session)?;
    let status = session.ask("STLS")?;
    check!(
        !is_announced || status.ok,
        "it is announced and refused: {}",
        printable(&status.line)
    );
    Ok(())
}

fn stls_not_announced_under_tls(world: &mut World) -> Checked {
    announced_is_taken(&mut under_tls(world)?)
}

fn stls_argument(world: &mut World) -> Checked {
    let mut session = world.pop3()?;
    if session.ask("STLS now")?.ok {
        session.wire.start_tls(&world.setup.tls)?;
    }
    session.quit()
}

fn stls_injection(world: &mut World) -> Checked {
    let mut session = world.pop3()?;
    session.wire.send(b"STLS\r\nCAPA\r\n")?;
    match session.status() {
        Ok(status) if status.ok => {}
        Ok(_) | Err(Stop::Closed) => return Ok(()),
        Err(stop) => return Err(stop),
    }
    // A server that closes, or takes the command for a broken handshake, executes nothing.
    match session.wire.start_tls(&world.setup.tls) {
        Ok(()) => {}
        Err(Stop::Failed(why)) if why.starts_with("in clear") => return Err(Stop::Failed(why)),
        Err(_) => return Ok(()),
    }
    // An unknown command is refused; the first answer is to it, or else to what was slipped in.
    match session.ask("XCONFORM") {
        Ok(status) => check!(
            !status.ok,
            "the command in clear was executed: {}",
            printable(&status.line)
        ),
        Err(Stop::Closed) => {}
        Err(stop) => return Err(stop),
    }
    Ok(())
}

fn stls_name_is_forgotten(world: &mut World) -> Checked {
    let user = world.setup.user.clone();
    let mut session = world.pop3()?;
    if !session.ask(&format!("USER {}", user.name))?.ok {
        return Ok(());
    }
    if !session.ask("STLS")?.ok {
        return Ok(());
    }
    session.wire.start_tls(&world.setup.tls)?;
    session.refuses(&format!("PASS {}", user.password)).map(|_| ())
}

fn stls_no_handshake(world: &mut World) -> Checked {
    let mut session = world.pop3()?;
    session.accepts("STLS")?;
    session.wire.send(b"CAPA\r\nQUIT\r\n")?;
    // A TLS alert may come; an answer of POP3 may not.
    match session.wire.octets(64) {
        Ok(octets) => check!(
            !octets.starts_with(b"+OK"),
            "answered in clear: {}",
            printable(&octets)
        ),
        Err(Stop::Closed) => {}
        Err(stop) => return Err(stop),
    }
    Ok(())
}

fn pop3s_greeting(world: &mut World) -> Checked {
    let session = world.pop3s()?;
    check!(
        session.greeting.ok,
        "greeted with {}",
        printable(&session.greeting.line)
    );
    Ok(())
}

fn pop3s_session(world: &mut World) -> Checked {
    let user = world.setup.user.clone();
    let mut session = world.pop3s()?;
    world.authenticate(&mut session, &user)?;
    session.stat()?;
    session.quit()
}

fn pop3s_silent_in_clear(world: &mut World) -> Checked {
    let mut wire = world.pop3s_wire()?;
    let is_silent = wire.is_silent(std::time::Duration::from_millis(500))?;
    check!(is_silent, "something is said before the handshake");
    Ok(())
}

fn pop3s_no_stls(world: &mut World) -> Checked {
    announced_is_taken(&mut world.pop3s()?)
}

/// A ClientHello of TLS 1.1, with suites that go with it.
fn client_hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([0x5A; 32]);
    body.push(0);
    let suites = [
        0xC0, 0x13, 0xC0, 0x14, 0xC0, 0x09, 0xC0, 0x0A, 0x00, 0x2F, 0x00, 0x35,
    ];
    body.extend([0, 12]);
    body.extend(suites);
    // No compression, and two extensions: groups and point formats.
    body.extend([1, 0, 0, 16]);
    body.extend([0, 10, 0, 6, 0, 4, 0, 23, 0, 24, 0, 11, 0, 2, 1, 0]);
    let mut handshake = vec![1, 0, 0, u8::try_from(body.len()).unwrap_or_default()];
    handshake.extend(body);
    let mut record = vec![22, 3, 1, 0, u8::try_from(handshake.len()).unwrap_or_default()];
    record.extend(handshake);
    record
}

fn pop3s_tls_1_1(world: &mut World) -> Checked {
    const HANDSHAKE: u8 = 22;
    let mut wire = world.pop3s_wire()?;
    wire.send(&client_hello_of_tls_1_1())?;
    match wire.octets(16) {
        Ok(octets) => check!(
            octets.first() != Some(&HANDSHAKE),
            "the server goes on: {}",
            printable(&octets)
        ),
        Err(Stop::Closed) => {}
        Err(stop) => return Err(stop),
    }
    Ok(())
}
