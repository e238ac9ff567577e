//! POP3: the lock on a maildrop, and sessions that end in other ways than by QUIT.

use super::pop3;
use crate::case::Level::{Must, MustNot, Security, States};
use crate::case::{Case, Checked, Need, Stop, rule};
use crate::world::World;

pub(super) const CASES: &[Case] = &[
    pop3(
        "lock.session-is-kept-whole",
        rule(
            1939,
            "4",
            States,
            "the POP3 server then acquires an exclusive-access lock on the maildrop, as necessary to prevent messages from being \
             modified or removed before the session enters the UPDATE state",
        ),
        "a second session is refused, or takes nothing away from the first",
        &[Need::Letters(2)],
        lock,
    ),
    pop3(
        "lock.released-by-quit",
        rule(
            1939,
            "6",
            States,
            "Whether the removal was successful or not, the server then releases any exclusive-access lock on the maildrop and closes \
             the TCP connection.",
        ),
        "after QUIT the next session is let in at once",
        &[],
        lock_released,
    ),
    pop3(
        "lock.released-when-broken-off",
        rule(
            1939,
            "3",
            Security,
            "A maildrop that stays locked after its client's connection broke shuts the user out.",
        ),
        "within half a minute after a connection broke the next session is let in",
        &[],
        lock_after_break,
    ),
    pop3(
        "timer",
        rule(
            1939,
            "3",
            Must,
            "A POP3 server MAY have an inactivity autologout timer. Such a timer MUST be of at least 10 minutes' duration.",
        ),
        "a session may be silent for 10 minutes",
        &[Need::Slowness],
        timer,
    ),
    pop3(
        "broken-off.no-update",
        rule(
            1939,
            "6",
            MustNot,
            "If a session terminates for some reason other than a client-issued QUIT command, the POP3 session does NOT enter the \
             UPDATE state and MUST not remove any messages from the maildrop.",
        ),
        "nothing is removed when the connection breaks",
        &[Need::Letters(2)],
        no_update_when_broken_off,
    ),
    pop3(
        "half-closed.no-update",
        rule(
            1939,
            "6",
            MustNot,
            "If a session terminates for some reason other than a client-issued QUIT command, the POP3 session does NOT enter the \
             UPDATE state and MUST not remove any messages from the maildrop.",
        ),
        "nothing is removed when the client ends its side without QUIT",
        &[Need::Letters(2)],
        no_update_when_half_closed,
    ),
    pop3(
        "half-quit.no-update",
        rule(
            1939,
            "3",
            States,
            "All commands are terminated by a CRLF pair. [and §6: MUST not remove any messages]",
        ),
        "QUIT without its CRLF, and then the end, removes nothing",
        &[Need::Letters(2)],
        no_update_after_half_a_quit,
    ),
];

fn lock(world: &mut World) -> Checked {
    let mut first = world.open(2)?;
    let mut second = match world.login() {
        Ok(second) => second,
        // Refused, with the connection closed or not.
        Err(Stop::Failed(_) | Stop::Closed) => return Ok(()),
        Err(stop) => return Err(stop),
    };
    second.accepts(&format!("DELE {}", first.number(0)?))?;
    second.quit()?;
    let number = first.number(0)?;
    first.session.retr(number).map(|_| ())
}

fn lock_released(world: &mut World) -> Checked {
    for _ in 0..3 {
        world.login()?.quit()?;
    }
    Ok(())
}

fn lock_after_break(world: &mut World) -> Checked {
    drop(world.login()?);
    world.login_patiently()?.quit()
}

fn timer(world: &mut World) -> Checked {
    let mut session = world.login()?;
    // Nothing to wait on: silence is the subject.
    std::thread::sleep(std::time::Duration::from_secs(595));
    session.accepts("NOOP").map(|_| ())
}

fn no_update_when_broken_off(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let number = opened.number(0)?;
    opened.session.accepts(&format!("DELE {number}"))?;
    drop(opened);
    world.open(2)?.session.quit()
}

fn no_update_when_half_closed(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let number = opened.number(0)?;
    opened.session.accepts(&format!("DELE {number}"))?;
    opened.session.wire.end_sending()?;
    opened.session.wire.wait_for_close()?;
    world.open(2)?.session.quit()
}

fn no_update_after_half_a_quit(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let number = opened.number(0)?;
    opened.session.accepts(&format!("DELE {number}"))?;
    opened.session.wire.send(b"QUIT")?;
    opened.session.wire.end_sending()?;
    opened.session.wire.wait_for_close()?;
    world.open(2)?.session.quit()
}
