//! POP3: AUTH and SASL.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::pop3;
use crate::case::Level::{Must, Security, States};
use crate::case::{Case, Checked, Need, Rule, Stop, check, rule};
use crate::pop3::Pop3;
use crate::wire::printable;
use crate::world::World;

const SASL: &[Need] = &[Need::Capability("SASL")];
const UNDECODABLE: Rule = rule(
    5034,
    "4",
    Must,
    "servers and clients MUST reject (and not ignore) any character not explicitly allowed by the Base64 alphabet, and MUST reject any \
     sequence of Base64 characters that contains the pad character ('=') anywhere other than the end of the string",
);

pub(super) const CASES: &[Case] = &[
    pop3(
        "auth.plain",
        rule(
            5034,
            "4",
            Must,
            "To ensure interoperability, client and server implementations of this extension MUST implement the PLAIN SASL mechanism \
             running over TLS",
        ),
        "AUTH PLAIN with an initial response logs in, under TLS where there is TLS",
        SASL,
        plain,
    ),
    pop3(
        "auth.empty-challenge",
        rule(
            5034,
            "4",
            Must,
            "In POP3, an empty server challenge is defined as a line with only a \"+\", followed by a single space. It MUST NOT contain \
             any other data.",
        ),
        "AUTH PLAIN without an initial response is asked for it with \"+ \"",
        SASL,
        empty_challenge,
    ),
    pop3(
        "auth.response",
        rule(
            5034,
            "4",
            States,
            "A client response consists of a line containing a string encoded as Base64.",
        ),
        "the response to the challenge logs in",
        SASL,
        response,
    ),
    pop3(
        "auth.cancel",
        rule(
            5034,
            "4",
            Must,
            "If the client wishes to cancel the authentication exchange, it issues a line with a single \"*\". If the server receives \
             such a response, it MUST reject the AUTH command by sending an -ERR reply.",
        ),
        "a lone * cancels with -ERR",
        SASL,
        cancel,
    ),
    pop3(
        "auth.undecodable",
        rule(
            5034,
            "4",
            Must,
            "If the server cannot Base64 decode a client response, it MUST reject the AUTH command with an -ERR reply.",
        ),
        "a response that is no base64 gets -ERR",
        SASL,
        undecodable,
    ),
    pop3(
        "auth.foreign-character",
        UNDECODABLE,
        "characters that aren't base64's are not skipped",
        SASL,
        foreign_character,
    ),
    pop3(
        "auth.pad-within",
        UNDECODABLE,
        "the pad character is taken at the end only",
        SASL,
        pad_within,
    ),
    pop3(
        "auth.empty-initial-response",
        rule(
            5034,
            "4",
            States,
            "a single equals sign (\"=\"). This indicates that the response is present, but contains no data.",
        ),
        "= is an empty response, and not asked for again",
        SASL,
        empty_initial_response,
    ),
    pop3(
        "auth.unknown-mechanism",
        rule(
            5034,
            "4",
            States,
            "If the requested authentication mechanism is not supported, the server rejects the AUTH command with an -ERR reply.",
        ),
        "an unknown mechanism gets -ERR",
        SASL,
        unknown_mechanism,
    ),
    pop3(
        "auth.any-case",
        rule(
            5034,
            "5",
            Must,
            "all alphabetic characters are case-insensitive. … Implementations MUST accept these strings in a case-insensitive fashion.",
        ),
        "the command and its mechanism are taken in any case",
        SASL,
        any_case,
    ),
    pop3(
        "auth.wrong-password",
        rule(
            5034,
            "4",
            Must,
            "If the server is unable to authenticate the client, it MUST reject the AUTH command with an -ERR reply.",
        ),
        "AUTH PLAIN with a wrong password gets -ERR",
        SASL,
        wrong_password,
    ),
    pop3(
        "auth.after-login",
        rule(
            5034,
            "4",
            Must,
            "After a successful AUTH command completes, a server MUST reject any further AUTH commands with an -ERR reply.",
        ),
        "AUTH after log-in gets -ERR",
        SASL,
        after_login,
    ),
    pop3(
        "auth.failed-is-forgotten",
        rule(
            5034,
            "4",
            Must,
            "If an AUTH command fails, the client may try another authentication mechanism … Likewise, the server MUST behave as if the \
             client had not issued the AUTH command.",
        ),
        "after a failed AUTH others are taken, USER and PASS too",
        SASL,
        failed_is_forgotten,
    ),
    pop3(
        "auth.capability-stays",
        rule(
            5034,
            "3",
            Must,
            "implementations MUST continue to include the SASL capability even after a successful AUTH command has been completed",
        ),
        "SASL is announced after log-in too",
        SASL,
        capability_stays,
    ),
    pop3(
        "auth.long-response",
        rule(
            5034,
            "4",
            Must,
            "Clients and servers MUST be able to handle the largest encoded challenges and responses generated by the authentication \
             mechanisms they support. This requirement is independent of any line-length limitations",
        ),
        "PLAIN with three parts of 255 octets is read and answered",
        SASL,
        long_response,
    ),
    pop3(
        "auth.initial-response-not-supported",
        rule(
            5034,
            "4",
            Must,
            "If the client uses an initial-response argument to the AUTH command with a SASL mechanism that does not support an initial \
             client send, the server MUST reject the AUTH command with an -ERR reply.",
        ),
        "an initial response to CRAM-MD5 or DIGEST-MD5 gets -ERR",
        SASL,
        initial_response_not_supported,
    ),
    pop3(
        "auth.plain-for-another",
        rule(
            2595,
            "6",
            States,
            "The server will verify … that the authentication credentials permit the client to login as the authorization identity. If both \
             steps succeed, the user is logged in. [PLAIN; RFC 4616 asks for the same]",
        ),
        "nobody's password opens another's maildrop by PLAIN's authorization identity",
        &[Need::Capability("SASL"), Need::SecondUser],
        plain_for_another,
    ),
    pop3(
        "auth.plain-malformed",
        rule(
            5034,
            "4",
            Security,
            "A message of PLAIN that isn't one may not log anybody in, nor break the session's server.",
        ),
        "PLAIN without its NULs, or with more of them, gets -ERR",
        SASL,
        plain_malformed,
    ),
];

/// A session in which AUTH PLAIN may be used.
fn session(world: &World) -> Checked<Pop3> {
    let mut session = world.pop3_for_password()?;
    let mut mechanisms = mechanisms(&mut session)?;
    let offers_stls = session.capabilities()?.iter().any(|line| line == "STLS");
    if !mechanisms.iter().any(|mechanism| mechanism == "PLAIN") && offers_stls {
        session.accepts("STLS")?;
        session.wire.start_tls(&world.setup.tls)?;
        mechanisms = self::mechanisms(&mut session)?;
    }
    if mechanisms.iter().any(|mechanism| mechanism == "PLAIN") {
        return Ok(session);
    }
    Err(Stop::NotOffered(format!(
        "PLAIN is not among {}",
        mechanisms.join(", ")
    )))
}

fn mechanisms(session: &mut Pop3) -> Checked<Vec<String>> {
    let lines = session.capabilities()?;
    let sasl = lines.iter().find(|line| line.starts_with("SASL"));
    Ok(sasl
        .map(|line| line.split(' ').skip(1).map(str::to_owned).collect())
        .unwrap_or_default())
}

/// Begins an exchange that asks for the message.
fn asked(world: &World) -> Checked<Pop3> {
    let mut session = session(world)?;
    session.wire.send(b"AUTH PLAIN\r\n")?;
    let line = session.wire.line()?;
    check!(
        line.starts_with(b"+ ") || line == b"+",
        "no challenge: {}",
        printable(&line)
    );
    Ok(session)
}

fn plain(world: &mut World) -> Checked {
    let mut session = session(world)?;
    session.accepts(&format!("AUTH PLAIN {}", world.setup.user.plain()))?;
    session.stat()?;
    session.quit()
}

fn empty_challenge(world: &mut World) -> Checked {
    let mut session = session(world)?;
    session.wire.send(b"AUTH PLAIN\r\n")?;
    let line = session.wire.line()?;
    check!(line == b"+ ", "the challenge is {:?}", printable(&line));
    Ok(())
}

fn response(world: &mut World) -> Checked {
    let mut session = asked(world)?;
    session.accepts(&world.setup.user.plain())?;
    session.stat()?;
    session.quit()
}

fn cancel(world: &mut World) -> Checked {
    let mut session = asked(world)?;
    session.refuses("*")?;
    session.accepts("CAPA")?;
    session.lines().map(|_| ())
}

fn undecodable(world: &mut World) -> Checked {
    let mut session = asked(world)?;
    session.refuses("!this is no base64!").map(|_| ())
}

fn foreign_character(world: &mut World) -> Checked {
    let plain = world.setup.user.plain();
    let (front, back) = plain.split_at(8);
    world.transcript.hide(back.to_owned());
    for odd in ["!", "-", "\t"] {
        let mut session = asked(world)?;
        session.refuses(&format!("{front}{odd}{back}"))?;
    }
    Ok(())
}

fn pad_within(world: &mut World) -> Checked {
    let plain = world.setup.user.plain();
    let (front, back) = plain.split_at(8);
    world.transcript.hide(back.to_owned());
    for odd in [
        format!("{front}={back}"),
        format!("={plain}"),
        format!("{front}===={back}"),
    ] {
        let mut session = asked(world)?;
        session.refuses(&odd)?;
    }
    Ok(())
}

fn empty_initial_response(world: &mut World) -> Checked {
    session(world)?.refuses("AUTH PLAIN =").map(|_| ())
}

fn unknown_mechanism(world: &mut World) -> Checked {
    session(world)?.refuses("AUTH X-CONFORM").map(|_| ())
}

fn any_case(world: &mut World) -> Checked {
    let mut session = session(world)?;
    session.accepts(&format!("auth plain {}", world.setup.user.plain()))?;
    session.quit()
}

fn wrong_password(world: &mut World) -> Checked {
    let wrong = STANDARD.encode(format!("\0{}\0not-the-password", world.setup.user.name));
    session(world)?
        .refuses(&format!("AUTH PLAIN {wrong}"))
        .map(|_| ())
}

fn after_login(world: &mut World) -> Checked {
    let plain = world.setup.user.plain();
    let mut session = session(world)?;
    session.accepts(&format!("AUTH PLAIN {plain}"))?;
    session.refuses(&format!("AUTH PLAIN {plain}"))?;
    session.quit()
}

fn failed_is_forgotten(world: &mut World) -> Checked {
    let user = world.setup.user.clone();
    let mut session = asked(world)?;
    session.refuses("*")?;
    session.refuses("AUTH X-CONFORM")?;
    match world.authenticate(&mut session, &user) {
        Ok(()) | Err(Stop::Closed) => Ok(()),
        Err(stop) => Err(stop),
    }
}

fn capability_stays(world: &mut World) -> Checked {
    let mut session = session(world)?;
    session.accepts(&format!("AUTH PLAIN {}", world.setup.user.plain()))?;
    let lines = session.capabilities()?;
    check!(
        lines.iter().any(|line| line.starts_with("SASL")),
        "after log-in: {}",
        lines.join(", ")
    );
    Ok(())
}

fn long_response(world: &mut World) -> Checked {
    let part = "p".repeat(255);
    let mut session = asked(world)?;
    session
        .refuses(&STANDARD.encode(format!("{part}\0{part}\0{part}")))
        .map(|_| ())
}

fn initial_response_not_supported(world: &mut World) -> Checked {
    let mut session = world.pop3_for_password()?;
    let offered = mechanisms(&mut session)?;
    let first_by_server = offered
        .iter()
        .find(|mechanism| ["CRAM-MD5", "DIGEST-MD5"].contains(&mechanism.as_str()));
    let Some(mechanism) = first_by_server else {
        return Err(Stop::NotOffered(
            "no mechanism in which the server speaks first".to_owned(),
        ));
    };
    session
        .refuses(&format!("AUTH {mechanism} Y29uZm9ybQ=="))
        .map(|_| ())
}

fn plain_for_another(world: &mut World) -> Checked {
    let user = world.setup.user.clone();
    let second = world.setup.second.clone();
    let other = second.map(|account| account.name).unwrap_or_default();
    let message = STANDARD.encode(format!("{other}\0{}\0{}", user.name, user.password));
    world.transcript.hide(message.clone());
    session(world)?
        .refuses(&format!("AUTH PLAIN {message}"))
        .map(|_| ())
}

fn plain_malformed(world: &mut World) -> Checked {
    let user = world.setup.user.clone();
    let messages = [
        format!("{}{}", user.name, user.password),
        format!("\0{}", user.name),
        format!("\0{}\0{}\0more", user.name, user.password),
        "\0\0".to_owned(),
        "\0".to_owned(),
    ];
    for message in messages {
        let message = STANDARD.encode(message);
        world.transcript.hide(message.clone());
        session(world)?.refuses(&format!("AUTH PLAIN {message}"))?;
    }
    Ok(())
}
