//! POP3: what no decent client sends.

use super::pop3;
use crate::case::Level::{Must, Security, States};
use crate::case::{Case, Checked, Need, Rule, Stop, check, rule};
use crate::pop3::Pop3;
use crate::wire::printable;
use crate::world::World;

const HARM: Rule = rule(
    1939,
    "3",
    Security,
    "Whoever can connect can send anything: it may not hang or end the server, nor be taken for something else.",
);

pub(super) const CASES: &[Case] = &[
    pop3(
        "hostile.octet-by-octet",
        rule(1939, "3", States, "All commands are terminated by a CRLF pair."),
        "a command that comes octet by octet is read as one",
        &[],
        octet_by_octet,
    ),
    pop3(
        "hostile.long-line",
        HARM,
        "a line of 10,000 octets gets -ERR or the end, and no part of it is executed",
        &[],
        long_line,
    ),
    pop3(
        "hostile.endless-line",
        HARM,
        "a line without an end is not collected for ever",
        &[],
        endless_line,
    ),
    pop3(
        "hostile.nul",
        rule(
            1939,
            "3",
            Must,
            "Keywords and arguments consist of printable ASCII characters. … A server MUST respond to [a] syntactically invalid command \
             by responding with a negative status indicator.",
        ),
        "a command with a NUL in it gets -ERR or the end",
        &[Need::Letters(1)],
        nul,
    ),
    pop3(
        "hostile.octets",
        HARM,
        "octets beyond ASCII get -ERR or the end",
        &[],
        octets,
    ),
    pop3(
        "hostile.tls-in-clear",
        HARM,
        "a TLS handshake where none is due hangs nothing",
        &[],
        tls_in_clear,
    ),
    pop3(
        "hostile.http",
        HARM,
        "a request of HTTP is refused, and its body not executed to the end",
        &[],
        http,
    ),
    pop3(
        "hostile.many-unknown",
        HARM,
        "hundreds of unknown commands are refused or end the connection",
        &[],
        many_unknown,
    ),
    pop3(
        "hostile.half-command",
        HARM,
        "half a command and the end of the connection does nothing",
        &[Need::Letters(1)],
        half_command,
    ),
    pop3(
        "hostile.bare-cr",
        rule(1939, "3", States, "All commands are terminated by a CRLF pair."),
        "CR alone ends no command",
        &[],
        bare_cr,
    ),
];

fn octet_by_octet(world: &mut World) -> Checked {
    let mut session = world.login()?;
    for octet in b"NOOP\r\n" {
        session.wire.send(&[*octet])?;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let status = session.status()?;
    check!(status.ok, "{}", printable(&status.line));
    Ok(())
}

/// Fails unless the answer is -ERR or the end of the connection.
fn refused_or_closed(session: &mut Pop3) -> Checked<bool> {
    match session.status() {
        Ok(status) => {
            check!(!status.ok, "accepted: {}", printable(&status.line));
            Ok(true)
        }
        Err(Stop::Closed) => Ok(false),
        Err(stop) => Err(stop),
    }
}

/// The server serves on.
fn serves_on(world: &World) -> Checked {
    world.login_patiently()?.quit()
}

fn long_line(world: &mut World) -> Checked {
    let mut session = world.login()?;
    // Its end would be a command of its own if the line were cut at any power of two.
    let line = format!("{}\r\n", "NOOP ".repeat(2_000));
    match session.wire.send(line.as_bytes()) {
        Ok(()) | Err(Stop::Closed) => {}
        Err(stop) => return Err(stop),
    }
    if refused_or_closed(&mut session)? {
        match session.ask("XCONFORM") {
            Ok(status) => check!(
                !status.ok,
                "a part of it was executed: {}",
                printable(&status.line)
            ),
            Err(Stop::Closed) => {}
            Err(stop) => return Err(stop),
        }
        if let Ok(status) = session.ask("NOOP") {
            check!(
                status.ok,
                "answers and commands no longer match: {}",
                printable(&status.line)
            );
        }
    }
    drop(session);
    serves_on(world)
}

fn endless_line(world: &mut World) -> Checked {
    const PIECES_MAX: usize = 512;
    let mut session = world.pop3()?;
    let piece = [b'x'; 16 * 1024];
    let mut ended = false;
    for _ in 0..PIECES_MAX {
        match session.wire.send(&piece) {
            Ok(()) => {}
            Err(Stop::Closed | Stop::Silent) => {
                ended = true;
                break;
            }
            Err(stop) => return Err(stop),
        }
    }
    // 8 MiB were taken: then at least an answer has come, or what came was thrown away and the end is refused.
    if !ended {
        match session.wire.send(b"\r\n") {
            Ok(()) => {
                refused_or_closed(&mut session)?;
            }
            Err(Stop::Closed) => {}
            Err(stop) => return Err(stop),
        }
    }
    drop(session);
    serves_on(world)
}

fn nul(world: &mut World) -> Checked {
    let number = {
        let mut opened = world.open(1)?;
        let number = opened.number(0)?;
        opened.session.accepts("NOOP")?;
        number
    };
    for command in [
        format!("DELE {number}\0 9"),
        format!("DELE\0{number}"),
        "NO\0OP".to_owned(),
    ] {
        let mut session = world.login_patiently()?;
        session.wire.send(format!("{command}\r\n").as_bytes())?;
        refused_or_closed(&mut session)?;
    }
    serves_on(world)
}

fn octets(world: &mut World) -> Checked {
    let mut session = world.pop3()?;
    session.wire.send(b"\xFF\xFE\x80\xC3\x28\r\n")?;
    refused_or_closed(&mut session)?;
    serves_on(world)
}

fn tls_in_clear(world: &mut World) -> Checked {
    let mut session = world.pop3()?;
    session
        .wire
        .send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\r\n")?;
    refused_or_closed(&mut session)?;
    serves_on(world)
}

fn http(world: &mut World) -> Checked {
    let mut session = world.pop3()?;
    session
        .wire
        .send(b"POST / HTTP/1.1\r\nHost: mail.example\r\nContent-Length: 6\r\n\r\nQUIT\r\n")?;
    // Four lines that are no commands; whether the fifth is still read is the server's matter.
    for _ in 0..4 {
        if !refused_or_closed(&mut session)? {
            break;
        }
    }
    Ok(())
}

fn many_unknown(world: &mut World) -> Checked {
    const COMMANDS: usize = 300;
    let mut session = world.pop3()?;
    match session.wire.send("XCONFORM\r\n".repeat(COMMANDS).as_bytes()) {
        Ok(()) | Err(Stop::Closed) => {}
        Err(stop) => return Err(stop),
    }
    for _ in 0..COMMANDS {
        if !refused_or_closed(&mut session)? {
            break;
        }
    }
    serves_on(world)
}

fn half_command(world: &mut World) -> Checked {
    let mut opened = world.open(1)?;
    let number = opened.number(0)?;
    opened.session.wire.send(format!("DELE {number}").as_bytes())?;
    opened.session.wire.end_sending()?;
    opened.session.wire.wait_for_close()?;
    world.open(1)?.session.quit()
}

fn bare_cr(world: &mut World) -> Checked {
    let mut session = world.login()?;
    session.wire.send(b"NOOP\rNOOP\r\n")?;
    if refused_or_closed(&mut session)? {
        let status = session.ask("STAT")?;
        let is_drop_listing = status.ok && status.text.split(' ').count() >= 2;
        check!(
            is_drop_listing,
            "there was more than one answer: {}",
            printable(&status.line)
        );
    }
    Ok(())
}
