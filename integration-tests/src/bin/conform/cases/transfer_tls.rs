//! SMTP and LMTP: STARTTLS.

use super::both;
use crate::case::Level::{Must, MustNot, Security, States};
use crate::case::{Case, Checked, Door, Need, Rule, Stop, check, rule};
use crate::transfer::Transfer;
use crate::world::World;

const STARTTLS: &[Need] = &[Need::Extension("STARTTLS")];

const DISCARD: Rule = rule(
    3207,
    "4.2",
    Must,
    "The server MUST discard any knowledge obtained from the client, such as the argument to the EHLO command, which was not obtained \
     from the TLS negotiation itself.",
);

pub(super) const CASES: &[Case] = &[
    both(
        "starttls.begins",
        rule(3207, "4", States, "220 Ready to start TLS"),
        "STARTTLS is announced, and TLS begins after its 220",
        STARTTLS,
        starttls_begins,
    ),
    both(
        "starttls.not-again",
        rule(
            3207,
            "4.2",
            MustNot,
            "A server MUST NOT return the STARTTLS extension in response to an EHLO command received after a TLS handshake has completed.",
        ),
        "under TLS STARTTLS is not announced",
        STARTTLS,
        starttls_not_again,
    ),
    both(
        "starttls.argument",
        rule(3207, "4", States, "501 Syntax error (no parameters allowed)"),
        "STARTTLS with an argument gets 501",
        STARTTLS,
        starttls_argument,
    ),
    both(
        "starttls.transaction-is-forgotten",
        DISCARD,
        "a transaction that was begun in clear does not go on under TLS",
        STARTTLS,
        starttls_forgets,
    ),
    both(
        "starttls.injection",
        rule(
            3207,
            "4.2",
            Security,
            "What was sent in clear behind STARTTLS is executed as if it had come under TLS: whoever is in between slips commands into the \
             session (CVE-2011-0411).",
        ),
        "a command sent in one piece with STARTTLS is never executed under TLS",
        STARTTLS,
        starttls_injection,
    ),
];

/// A session that went over to TLS, and has not greeted there.
fn under_tls(world: &World, mut session: Transfer) -> Checked<Transfer> {
    session.expect("STARTTLS", &[220])?;
    session.wire.start_tls(&world.setup.tls)?;
    Ok(session)
}

fn starttls_begins(world: &mut World, door: Door) -> Checked {
    let mut session = under_tls(world, world.transfer(door)?)?;
    session.hello(door.hello())?;
    session.quit()
}

fn starttls_not_again(world: &mut World, door: Door) -> Checked {
    let mut session = under_tls(world, world.transfer(door)?)?;
    session.hello(door.hello())?;
    check!(session.offers("STARTTLS").is_none(), "it is announced again");
    Ok(())
}

fn starttls_argument(world: &mut World, door: Door) -> Checked {
    world.transfer(door)?.expect("STARTTLS now", &[501]).map(|_| ())
}

fn starttls_forgets(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.envelope(&world.mail_from(""), &[&user])?;
    let reply = session.ask("STARTTLS")?;
    if reply.code != 220 {
        // Refused within a transaction: then nothing goes over.
        return Ok(());
    }
    session.wire.start_tls(&world.setup.tls)?;
    session.expect("DATA", &[503, 554]).map(|_| ())
}

fn starttls_injection(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer(door)?;
    session.wire.send(b"STARTTLS\r\nNOOP\r\n")?;
    match session.reply() {
        Ok(reply) if reply.code == 220 => {}
        // Refused, or closed.
        Ok(_) | Err(Stop::Closed) => return Ok(()),
        Err(stop) => return Err(stop),
    }
    match session.wire.start_tls(&world.setup.tls) {
        Ok(()) => {}
        Err(Stop::Failed(why)) if why.starts_with("in clear") => return Err(Stop::Failed(why)),
        Err(_) => return Ok(()),
    }
    match session.ask("CONFORM") {
        Ok(reply) => check!(
            reply.class() == 5,
            "the command in clear was executed: {}",
            reply.shown()
        ),
        Err(Stop::Closed) => {}
        Err(stop) => return Err(stop),
    }
    Ok(())
}
