//! SMTP and LMTP: what is put on top at delivery, what is refused, and what becomes of data that was broken off.

use super::{arrived, arrives_whole, both};
use crate::case::Level::{May, Must, MustNot, Should, ShouldNot};
use crate::case::{Case, Checked, Door, Need, Rule, check, rule};
use crate::mail::fields;
use crate::world::World;

const THROUGH: &[Need] = &[Need::WayThrough];

const RETURN_PATH: Rule = rule(
    5321,
    "4.4",
    Must,
    "When the delivery SMTP server makes the \"final delivery\" of a message, it inserts a return-path line at the beginning of the mail \
     data. This use of return-path is required; mail systems MUST support it.",
);

pub(super) const CASES: &[Case] = &[
    both(
        "return-path.first",
        RETURN_PATH,
        "the message begins with Return-Path and the reverse-path",
        THROUGH,
        return_path,
    ),
    both(
        "return-path.null",
        RETURN_PATH,
        "the null reverse-path becomes Return-Path: <>",
        THROUGH,
        return_path_null,
    ),
    both(
        "return-path.one",
        rule(
            5321,
            "4.4",
            Should,
            "For this to be unambiguous, exactly one return path SHOULD be present when the message is delivered.",
        ),
        "a Return-Path that was in the message does not stay beside the new one",
        THROUGH,
        return_path_one,
    ),
    both(
        "return-path.case",
        rule(
            5321,
            "2.4",
            Must,
            "The local-part of a mailbox MUST BE treated as case sensitive. Therefore, SMTP implementations MUST take care to preserve the case of mailbox local-parts.",
        ),
        "the case of the reverse-path's local part is kept",
        THROUGH,
        return_path_case,
    ),
    both(
        "received.inserted",
        rule(
            5321,
            "4.4",
            Must,
            "When an SMTP server receives a message for delivery or further processing, it MUST insert trace (\"time stamp\" or \
             \"Received\") information at the beginning of the message content",
        ),
        "a Received line stands before the content",
        THROUGH,
        received,
    ),
    both(
        "received.from",
        rule(
            5321,
            "4.4",
            Should,
            "The FROM clause … SHOULD contain both (1) the name of the source host as presented in the EHLO command and (2) an address \
             literal containing the IP address of the source, determined from the TCP connection.",
        ),
        "Received has the name that was given and the client's address",
        THROUGH,
        received_from,
    ),
    both(
        "received.form",
        rule(
            5321,
            "4.4",
            Must,
            "This line MUST be structured as follows … Stamp = From-domain By-domain Opt-info [CFWS] \";\" FWS date-time",
        ),
        "Received has from, by and a date behind a semicolon",
        THROUGH,
        received_form,
    ),
    both(
        "received.offset",
        rule(
            5321,
            "4.4",
            Should,
            "SMTP servers that create Received header fields SHOULD use explicit offsets in the dates (e.g., -0800), rather than time zone \
             names of any type.",
        ),
        "the date of Received has an offset",
        THROUGH,
        received_offset,
    ),
    both(
        "received.for",
        rule(
            5321,
            "4.4",
            Must,
            "If the FOR clause appears, it MUST contain exactly one <path> entry, even when multiple RCPT commands have been given.",
        ),
        "a FOR clause in Received names one address",
        THROUGH,
        received_for,
    ),
    both(
        "received.kept",
        rule(
            5321,
            "4.4",
            MustNot,
            "An Internet mail program MUST NOT change or delete a Received: line that was previously added to the message header section. \
             … they MUST NOT change the order of existing lines or insert Received lines in any other location.",
        ),
        "Received lines that were there stay as they are, below the new one",
        THROUGH,
        received_kept,
    ),
    both(
        "blind-copy",
        rule(
            5321,
            "7.2",
            ShouldNot,
            "SMTP clients and servers SHOULD NOT copy the full set of RCPT command arguments into the header section",
        ),
        "the copy of one recipient does not name the other",
        &[Need::WayThrough, Need::SecondUser],
        blind_copy,
    ),
    both(
        "delivered-to",
        rule(
            9228,
            "3",
            May,
            "[experimental: a server that delivers MAY put on a field that says to which address the message was delivered]",
        ),
        "Delivered-To, where it is put on, names the recipient",
        THROUGH,
        delivered_to,
    ),
];

/// A letter that arrived: the fields of its header.
fn arrived_letter(world: &mut World, door: Door) -> Checked<Vec<(String, String)>> {
    let letter = world.letter();
    Ok(fields(&arrived(world, door, &letter, "")?))
}

fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    fields
        .iter()
        .filter(|(found, _)| found == name)
        .map(|(_, value)| value.as_str())
        .collect()
}

fn return_path(world: &mut World, door: Door) -> Checked {
    let fields = arrived_letter(world, door)?;
    let expected = format!("<{}@conform.example>", world.setup.token);
    let first = fields
        .first()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    check!(
        first == Some(("return-path", expected.as_str())),
        "first stands {first:?}"
    );
    Ok(())
}

/// Delivers with another reverse-path, and returns the header of what arrived.
fn arrived_from(world: &mut World, door: Door, path: &str) -> Checked<Vec<(String, String)>> {
    let letter = world.letter();
    let user = world.setup.user.address.clone();
    let mut session = world.transfer(door)?;
    session.envelope(&format!("MAIL FROM:<{path}>"), &[&user])?;
    world.has_sent();
    session.send_data(&letter)?;
    let reply = session.reply()?;
    check!(reply.is_ok(), "{}", reply.shown());
    session.quit()?;
    let mut opened = world.open(1)?;
    let number = opened.number(0)?;
    Ok(fields(&opened.session.retr(number)?))
}

fn return_path_null(world: &mut World, door: Door) -> Checked {
    let fields = arrived_from(world, door, "")?;
    let found = values(&fields, "return-path");
    check!(found == ["<>"], "Return-Path: {found:?}");
    Ok(())
}

fn return_path_case(world: &mut World, door: Door) -> Checked {
    let fields = arrived_from(world, door, "Mixed.CASE@conform.example")?;
    let found = values(&fields, "return-path");
    check!(
        found.first().is_some_and(|path| path.contains("Mixed.CASE@")),
        "Return-Path: {found:?}"
    );
    Ok(())
}

fn return_path_one(world: &mut World, door: Door) -> Checked {
    let content = [b"Return-Path: <old@conform.example>\r\n".to_vec(), world.letter()].concat();
    let fields = fields(&arrived(world, door, &content, "")?);
    let found = values(&fields, "return-path");
    check!(found.len() == 1, "Return-Path: {}", found.join(", "));
    Ok(())
}

/// The topmost Received line of a letter.
fn top_received(world: &mut World, door: Door) -> Checked<String> {
    let fields = arrived_letter(world, door)?;
    let found = values(&fields, "received")
        .first()
        .map(|value| (*value).to_owned());
    found.ok_or_else(|| crate::case::Stop::Failed("there is no Received line".to_owned()))
}

fn received(world: &mut World, door: Door) -> Checked {
    let fields = arrived_letter(world, door)?;
    let above = fields.iter().take_while(|(name, _)| name != "x-conform-token");
    let found = above.filter(|(name, _)| name == "received").count();
    check!(found == 1, "{found} Received lines");
    Ok(())
}

fn received_from(world: &mut World, door: Door) -> Checked {
    let line = top_received(world, door)?;
    let is_unix = matches!(world.address(door), Some(crate::wire::Address::Unix(_)));
    let has_literal = is_unix || line.contains('[') && line.contains(']');
    check!(
        line.contains("conform.example") && has_literal,
        "Received: {line}"
    );
    Ok(())
}

fn received_form(world: &mut World, door: Door) -> Checked {
    let line = top_received(world, door)?;
    let lower = line.to_ascii_lowercase();
    let has_clauses = lower.starts_with("from ") && lower.contains(" by ");
    let date = line.rsplit(';').next().unwrap_or_default().trim();
    let has_date = line.contains(';') && date.split(' ').filter(|word| !word.is_empty()).count() >= 5;
    check!(has_clauses && has_date, "Received: {line}");
    Ok(())
}

fn received_offset(world: &mut World, door: Door) -> Checked {
    let line = top_received(world, door)?;
    let date = line.rsplit(';').next().unwrap_or_default();
    let is_offset = |word: &str| {
        word.len() == 5
            && word.starts_with(['+', '-'])
            && word[1..].bytes().all(|octet| octet.is_ascii_digit())
    };
    check!(date.split_whitespace().any(is_offset), "Received: {line}");
    Ok(())
}

fn received_for(world: &mut World, door: Door) -> Checked {
    let line = top_received(world, door)?;
    let before = line.split(';').next().unwrap_or_default();
    if let Some((_, clause)) = before.to_ascii_lowercase().split_once(" for ") {
        check!(clause.matches('@').count() == 1, "Received: {line}");
    }
    Ok(())
}

fn received_kept(world: &mut World, door: Door) -> Checked {
    let old = "Received: from b.example (b.example [192.0.2.2])\r\n\tby c.example with ESMTP id 2;\r\n\tTue, 14 Oct 2025 09:00:02 +0000\r\n\
               Received: from a.example by b.example; Tue, 14 Oct 2025 09:00:01 GMT\r\n";
    let content = [old.as_bytes(), &world.letter()].concat();
    arrives_whole(world, door, &content, "")
}

fn blind_copy(world: &mut World, door: Door) -> Checked {
    let letter = world.letter();
    let user = world.setup.user.address.clone();
    let second = world
        .setup
        .second
        .clone()
        .map(|account| account.address)
        .unwrap_or_default();
    let mut session = world.transfer(door)?;
    session.envelope(&world.mail_from(""), &[&user, &second])?;
    world.has_sent();
    session.send_data(&letter)?;
    for _ in 0..if door == Door::Lmtp { 2 } else { 1 } {
        let reply = session.reply()?;
        check!(reply.is_ok(), "{}", reply.shown());
    }
    session.quit()?;
    for (mut opened, other) in [(world.open(1)?, second), (world.open_second(1)?, user)] {
        let number = opened.number(0)?;
        let message = opened.session.retr(number)?;
        let header = fields(&message);
        let naming = header.iter().find(|(_, value)| value.contains(&other));
        check!(naming.is_none(), "{naming:?} is in the other's copy");
    }
    Ok(())
}

fn delivered_to(world: &mut World, door: Door) -> Checked {
    let fields = arrived_letter(world, door)?;
    let found = values(&fields, "delivered-to");
    if found.is_empty() {
        return Err(crate::case::Stop::NotOffered(
            "there is no Delivered-To".to_owned(),
        ));
    }
    let user = world.setup.user.address.as_str();
    check!(found == [user], "Delivered-To: {found:?}");
    Ok(())
}
