//! SMTP: AUTH, as far as a server that takes mail for its own users has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::one;
use crate::case::Level::{Must, States};
use crate::case::{Case, Checked, Door, Need, Stop, check, rule};
use crate::transfer::Transfer;
use crate::world::World;

const AUTH: &[Need] = &[Need::Extension("AUTH")];

pub(super) const CASES: &[Case] = &[
    one(
        "auth.plain",
        Door::Smtp,
        rule(
            4954,
            "4",
            States,
            "Should the client successfully complete the exchange, the SMTP server issues a 235 reply.",
        ),
        "AUTH PLAIN with an initial response gets 235",
        AUTH,
        plain,
    ),
    one(
        "auth.challenge",
        Door::Smtp,
        rule(
            4954,
            "4",
            States,
            "A server challenge is sent as a 334 reply with the text part containing the [BASE64] encoded string",
        ),
        "AUTH PLAIN without an initial response is asked for it with 334",
        AUTH,
        challenge,
    ),
    one(
        "auth.cancel",
        Door::Smtp,
        rule(
            4954,
            "4",
            Must,
            "If the client wishes to cancel the authentication exchange, it issues a line with a single \"*\". If the server receives such \
             a response, it MUST reject the AUTH command by sending a 501 reply.",
        ),
        "a lone * cancels with 501",
        AUTH,
        cancel,
    ),
    one(
        "auth.undecodable",
        Door::Smtp,
        rule(
            4954,
            "4",
            Must,
            "If the server cannot [BASE64] decode any client response, it MUST reject the AUTH command with a 501 reply",
        ),
        "a response that is no base64 gets 501",
        AUTH,
        undecodable,
    ),
    one(
        "auth.unknown-mechanism",
        Door::Smtp,
        rule(
            4954,
            "4",
            States,
            "If the requested authentication mechanism is invalid (e.g., is not supported or requires an encryption layer), the server \
             rejects the AUTH command with a 504 reply.",
        ),
        "an unknown mechanism gets 504",
        AUTH,
        unknown_mechanism,
    ),
    one(
        "auth.wrong-password",
        Door::Smtp,
        rule(4954, "6", States, "535 5.7.8 Authentication credentials invalid"),
        "a wrong password gets 535",
        AUTH,
        wrong_password,
    ),
    one(
        "auth.again",
        Door::Smtp,
        rule(
            4954,
            "4",
            Must,
            "After a successful AUTH command completes, a server MUST reject any further AUTH commands with a 503 reply.",
        ),
        "AUTH after AUTH gets 503",
        AUTH,
        again,
    ),
    one(
        "auth.in-transaction",
        Door::Smtp,
        rule(
            4954,
            "4",
            Must,
            "An AUTH command issued during a mail transaction MUST be rejected with a 503 reply.",
        ),
        "AUTH within a transaction gets 503",
        AUTH,
        in_transaction,
    ),
];

/// A session over which a password may go, and that offers PLAIN.
fn session(world: &World, door: Door) -> Checked<Transfer> {
    let mut session = world.transfer(door)?;
    if session.offers("STARTTLS").is_some() {
        session.expect("STARTTLS", &[220])?;
        session.wire.start_tls(&world.setup.tls)?;
        session.hello(door.hello())?;
    }
    let mechanisms = session.offers("AUTH").unwrap_or_default().to_owned();
    if mechanisms.split(' ').any(|mechanism| mechanism == "PLAIN") {
        return Ok(session);
    }
    Err(Stop::NotOffered(format!("PLAIN is not among {mechanisms}")))
}

fn plain(world: &mut World, door: Door) -> Checked {
    let mut session = session(world, door)?;
    session.expect(&format!("AUTH PLAIN {}", world.setup.user.plain()), &[235])?;
    session.quit()
}

fn challenge(world: &mut World, door: Door) -> Checked {
    let mut session = session(world, door)?;
    let reply = session.expect("AUTH PLAIN", &[334])?;
    check!(
        reply.texts == [""],
        "the challenge is not empty: {}",
        reply.shown()
    );
    session.expect(&world.setup.user.plain(), &[235])?;
    session.quit()
}

fn cancel(world: &mut World, door: Door) -> Checked {
    let mut session = session(world, door)?;
    session.expect("AUTH PLAIN", &[334])?;
    session.expect("*", &[501])?;
    session.expect("NOOP", &[250]).map(|_| ())
}

fn undecodable(world: &mut World, door: Door) -> Checked {
    let mut session = session(world, door)?;
    session.expect("AUTH PLAIN", &[334])?;
    session.expect("!this is no base64!", &[501]).map(|_| ())
}

fn unknown_mechanism(world: &mut World, door: Door) -> Checked {
    session(world, door)?.expect("AUTH X-CONFORM", &[504]).map(|_| ())
}

fn wrong_password(world: &mut World, door: Door) -> Checked {
    let wrong = STANDARD.encode(format!("\0{}\0not-the-password", world.setup.user.name));
    session(world, door)?
        .expect(&format!("AUTH PLAIN {wrong}"), &[535])
        .map(|_| ())
}

fn again(world: &mut World, door: Door) -> Checked {
    let command = format!("AUTH PLAIN {}", world.setup.user.plain());
    let mut session = session(world, door)?;
    session.expect(&command, &[235])?;
    session.expect(&command, &[503])?;
    session.quit()
}

fn in_transaction(world: &mut World, door: Door) -> Checked {
    let mut session = session(world, door)?;
    session.expect_class(&world.mail_from(""), 2)?;
    session
        .expect(&format!("AUTH PLAIN {}", world.setup.user.plain()), &[503])
        .map(|_| ())
}
