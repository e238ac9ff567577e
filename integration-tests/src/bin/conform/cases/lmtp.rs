//! LMTP: what RFC 2033 changes of SMTP.

use super::one;
use crate::case::Level::{Must, MustNot, Should, States};
use crate::case::{Case, Checked, Door, Need, Rule, check, rule};
use crate::world::World;

const NOT_PRESENT: Rule = rule(
    2033,
    "4.1",
    MustNot,
    "The HELO and EHLO commands of ESMTP are not present in LMTP. A LMTP server MUST NOT return a Postive Completion reply to these \
     commands.",
);
const NO_RECIPIENT: Rule = rule(
    2033,
    "4.2",
    Must,
    "when there have been no successful RCPT commands in the mail transaction, the DATA command MUST fail with a 503 reply code",
);
const ONE_REPLY_EACH: Rule = rule(
    2033,
    "4.2",
    States,
    "after the final \".\", the server returns one reply for each previously successful RCPT command in the mail transaction, in the \
     order that the RCPT commands were issued",
);

pub(super) const CASES: &[Case] = &[
    one(
        "lhlo",
        Door::Lmtp,
        rule(
            2033,
            "4.1",
            States,
            "The LHLO command has identical semantics to the EHLO command of ESMTP",
        ),
        "LHLO is answered as EHLO is in SMTP",
        &[],
        lhlo,
    ),
    one("helo", Door::Lmtp, NOT_PRESENT, "HELO is refused", &[], helo),
    one("ehlo", Door::Lmtp, NOT_PRESENT, "EHLO is refused", &[], ehlo),
    one(
        "ehlo-code",
        Door::Lmtp,
        rule(2033, "4.1", Should, "The 500 reply code is recommended."),
        "HELO and EHLO are refused with 500",
        &[],
        ehlo_code,
    ),
    one(
        "data-without-recipient",
        Door::Lmtp,
        NO_RECIPIENT,
        "DATA after MAIL alone gets 503",
        &[],
        data_without_recipient,
    ),
    one(
        "data-after-refused-recipient",
        Door::Lmtp,
        NO_RECIPIENT,
        "DATA after recipients that were all refused gets 503",
        &[],
        data_after_refused_recipient,
    ),
    one(
        "reply-for-each",
        Door::Lmtp,
        ONE_REPLY_EACH,
        "two recipients get two replies after the data, and the message each",
        &[Need::SecondUser, Need::WayThrough],
        reply_for_each,
    ),
    one(
        "reply-for-each.duplicate",
        Door::Lmtp,
        rule(
            2033,
            "4.2",
            Must,
            "Even if there were multiple successful RCPT commands giving the same forward-path, there must be one reply for each \
             successful RCPT command.",
        ),
        "a recipient that was named twice gets two replies",
        &[],
        duplicate_recipient,
    ),
    one(
        "reply-for-each.refused",
        Door::Lmtp,
        ONE_REPLY_EACH,
        "a recipient that was refused gets no reply after the data",
        &[],
        refused_recipient,
    ),
    one(
        "next-transaction",
        Door::Lmtp,
        rule(
            5321,
            "4.1.1.4",
            States,
            "on the completion of this command these buffers are cleared",
        ),
        "after the replies the next transaction begins afresh",
        &[],
        next_transaction,
    ),
    one(
        "pipelining",
        Door::Lmtp,
        rule(
            2033,
            "5",
            Must,
            "A server implementation MUST implement the PIPELINING and ENHANCEDSTATUSCODES ESMTP extensions.",
        ),
        "PIPELINING is announced",
        &[],
        |world, door| announces(world, door, "PIPELINING"),
    ),
    one(
        "enhanced-status-codes",
        Door::Lmtp,
        rule(
            2033,
            "5",
            Must,
            "A server implementation MUST implement the PIPELINING and ENHANCEDSTATUSCODES ESMTP extensions.",
        ),
        "ENHANCEDSTATUSCODES is announced",
        &[],
        |world, door| announces(world, door, "ENHANCEDSTATUSCODES"),
    ),
    one(
        "8bitmime",
        Door::Lmtp,
        rule(
            2033,
            "5",
            Should,
            "A server implementation SHOULD implement the 8BITMIME extension.",
        ),
        "8BITMIME is announced",
        &[],
        |world, door| announces(world, door, "8BITMIME"),
    ),
    one(
        "bdat-reply-for-each",
        Door::Lmtp,
        rule(
            2033,
            "4.3",
            States,
            "a BDAT command containing the LAST parameter returns one reply for each previously successful RCPT command in the mail \
             transaction",
        ),
        "BDAT LAST gets one reply for each recipient, BDAT without LAST one",
        &[Need::Extension("CHUNKING")],
        bdat_reply_for_each,
    ),
];

fn lhlo(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer_ungreeted(door)?;
    let reply = session.hello("LHLO conform.example")?;
    check!(!reply.texts.is_empty(), "an empty reply");
    session.quit()
}

fn helo(world: &mut World, door: Door) -> Checked {
    let reply = world.transfer_ungreeted(door)?.ask("HELO conform.example")?;
    check!(
        reply.class() == 5 || reply.class() == 4,
        "HELO was answered {}",
        reply.shown()
    );
    Ok(())
}

fn ehlo(world: &mut World, door: Door) -> Checked {
    let reply = world.transfer_ungreeted(door)?.ask("EHLO conform.example")?;
    check!(
        reply.class() == 5 || reply.class() == 4,
        "EHLO was answered {}",
        reply.shown()
    );
    Ok(())
}

fn ehlo_code(world: &mut World, door: Door) -> Checked {
    for command in ["HELO conform.example", "EHLO conform.example"] {
        world.transfer_ungreeted(door)?.expect(command, &[500])?;
    }
    Ok(())
}

fn announces(world: &World, door: Door, keyword: &str) -> Checked {
    check!(world.has_extension(door, keyword), "it is not announced");
    Ok(())
}

fn data_without_recipient(world: &mut World, door: Door) -> Checked {
    let mut session = world.transfer(door)?;
    session.expect_class(&world.mail_from(""), 2)?;
    session.expect("DATA", &[503]).map(|_| ())
}

fn data_after_refused_recipient(world: &mut World, door: Door) -> Checked {
    let nobody = world.nobody();
    let mut session = world.transfer(door)?;
    session.expect_class(&world.mail_from(""), 2)?;
    let reply = session.ask(&format!("RCPT TO:<{nobody}>"))?;
    if reply.is_ok() {
        return Err(crate::case::Stop::NotRun(
            "unknown recipients are accepted".to_owned(),
        ));
    }
    session.expect("DATA", &[503]).map(|_| ())
}

/// Sends a letter to these, and reads as many replies; then NOOP shows that there are no more.
fn replies(world: &mut World, door: Door, recipients: &[String], replies: usize) -> Checked {
    let letter = world.letter();
    let mut session = world.transfer(door)?;
    session.expect_class(&world.mail_from(""), 2)?;
    for recipient in recipients {
        session.ask(&format!("RCPT TO:<{recipient}>"))?;
    }
    world.has_sent();
    session.send_data(&letter)?;
    for number in 1..=replies {
        let reply = session.reply()?;
        check!(
            reply.code != 500 && reply.class() != 3,
            "reply {number} is {}",
            reply.shown()
        );
        check!(reply.is_ok(), "reply {number} is {}", reply.shown());
    }
    check!(
        session.wire.is_silent(std::time::Duration::from_millis(300))?,
        "there are more replies than {replies}"
    );
    session.expect("NOOP", &[250])?;
    session.quit()
}

fn reply_for_each(world: &mut World, door: Door) -> Checked {
    let first = world.setup.user.address.clone();
    let second = world
        .setup
        .second
        .clone()
        .map(|account| account.address)
        .unwrap_or_default();
    replies(world, door, &[first, second], 2)?;
    world.open(1)?.session.quit()?;
    world.open_second(1)?.session.quit()
}

fn duplicate_recipient(world: &mut World, door: Door) -> Checked {
    let user = world.setup.user.address.clone();
    replies(world, door, &[user.clone(), user], 2)
}

fn refused_recipient(world: &mut World, door: Door) -> Checked {
    let recipients = [world.nobody(), world.setup.user.address.clone()];
    replies(world, door, &recipients, 1)
}

fn next_transaction(world: &mut World, door: Door) -> Checked {
    let letters = [world.letter(), world.letter()];
    let mut session = world.transfer(door)?;
    for letter in &letters {
        let reply = world.deliver_on(&mut session, letter, "")?;
        check!(reply.is_ok(), "{}", reply.shown());
    }
    session.expect("DATA", &[503])?;
    session.quit()
}

fn bdat_reply_for_each(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let user = world.setup.user.address.clone();
    let (front, back) = letter.split_at(letter.len() / 2);
    let mut session = world.transfer(door)?;
    session.envelope(&world.mail_from(""), &[&user, &user])?;
    world.has_sent();
    session
        .wire
        .send(&[format!("BDAT {}\r\n", front.len()).as_bytes(), front].concat())?;
    let first = session.reply()?;
    check!(first.code == 250, "BDAT was answered {}", first.shown());
    session
        .wire
        .send(&[format!("BDAT {} LAST\r\n", back.len()).as_bytes(), back].concat())?;
    for number in 1..=2 {
        let reply = session.reply()?;
        check!(reply.is_ok(), "reply {number} to BDAT LAST is {}", reply.shown());
    }
    session.expect("NOOP", &[250])?;
    session.quit()
}
