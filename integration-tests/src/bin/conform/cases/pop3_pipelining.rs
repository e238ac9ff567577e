//! POP3: commands that are sent at once.

use super::pop3;
use crate::case::Level::Must;
use crate::case::{Case, Checked, Need, Rule, check, rule};
use crate::pop3::{Pop3, Status};
use crate::wire::printable;
use crate::world::World;

const IN_TURN: Rule = rule(
    2449,
    "6.6",
    Must,
    "If a server supports PIPELINING, it MUST process each command in turn.",
);

pub(super) const CASES: &[Case] = &[
    pop3(
        "pipelining.order",
        IN_TURN,
        "commands sent at once are answered one by one, in order",
        &[Need::Capability("PIPELINING"), Need::Letters(2)],
        pipelining_order,
    ),
    pop3(
        "pipelining.login",
        IN_TURN,
        "USER, PASS and what follows can be sent at once",
        &[Need::Capability("PIPELINING")],
        pipelining_login,
    ),
    pop3(
        "pipelining.quit",
        IN_TURN,
        "DELE and QUIT sent at once remove",
        &[Need::Capability("PIPELINING"), Need::Letters(2)],
        pipelining_quit,
    ),
    pop3(
        "pipelining.after-error",
        IN_TURN,
        "an error in between loses none of the commands behind it",
        &[Need::Capability("PIPELINING")],
        pipelining_after_error,
    ),
    pop3(
        "pipelining.many",
        IN_TURN,
        "1,000 commands sent at once get 1,000 answers",
        &[Need::Capability("PIPELINING")],
        pipelining_many,
    ),
];

fn pipelining_order(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let (first, second) = (opened.number(0)?, opened.number(1)?);
    let alone = (opened.session.retr(first)?, opened.session.retr(second)?);
    let commands = format!("RETR {second}\r\nNOOP\r\nRETR {first}\r\nSTAT\r\nLIST\r\n");
    opened.session.wire.send(commands.as_bytes())?;
    let session = &mut opened.session;
    let read = |session: &mut Pop3| {
        let status = session.status()?;
        check!(status.ok, "{}", printable(&status.line));
        Ok(crate::pop3::joined(&session.lines()?))
    };
    let at_once_second = read(session)?;
    let noop = session.status()?;
    let at_once_first = read(session)?;
    let stat = session.status()?;
    let list = read(session)?;
    check!(noop.ok && stat.ok && !list.is_empty(), "an answer is missing");
    check!(
        alone == (at_once_first, at_once_second),
        "the messages came in another order"
    );
    Ok(())
}

fn pipelining_login(world: &mut World) -> Checked {
    let user = world.setup.user.clone();
    let mut session = world.pop3_for_password()?;
    let commands = format!("USER {}\r\nPASS {}\r\nSTAT\r\nQUIT\r\n", user.name, user.password);
    session.wire.send(commands.as_bytes())?;
    for command in ["USER", "PASS", "STAT", "QUIT"] {
        let status = session.status()?;
        check!(status.ok, "{command} was answered {}", printable(&status.line));
    }
    session.wire.wait_for_close()
}

fn pipelining_quit(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let number = opened.number(0)?;
    opened
        .session
        .wire
        .send(format!("DELE {number}\r\nQUIT\r\n").as_bytes())?;
    for command in ["DELE", "QUIT"] {
        let status = opened.session.status()?;
        check!(status.ok, "{command} was answered {}", printable(&status.line));
    }
    opened.session.wire.wait_for_close()?;
    world.open(1)?.session.quit()
}

fn pipelining_after_error(world: &mut World) -> Checked {
    let mut session = world.login()?;
    session
        .wire
        .send(b"NOOP\r\nXCONFORM\r\nRETR 99999\r\nNOOP\r\nSTAT\r\n")?;
    let mut answers: Vec<Status> = Vec::new();
    for _ in 0..5 {
        answers.push(session.status()?);
    }
    let found: Vec<bool> = answers.iter().map(|status| status.ok).collect();
    check!(found == [true, false, false, true, true], "{found:?}");
    Ok(())
}

fn pipelining_many(world: &mut World) -> Checked {
    const COMMANDS: usize = 1_000;
    let mut session = world.login()?;
    session.wire.send("NOOP\r\n".repeat(COMMANDS).as_bytes())?;
    for _ in 0..COMMANDS {
        check!(session.status()?.ok, "a NOOP was refused");
    }
    session.quit()
}
