//! POP3: UIDL.

use std::collections::BTreeSet;

use super::pop3;
use super::pop3_listings::{NO_SUCH_MESSAGE, all_refused, alone_as_in_the_listing, is_number};
use crate::case::Level::{ShouldNot, States};
use crate::case::{Case, Checked, Need, Rule, check, rule};
use crate::pop3::Pop3;
use crate::world::World;

const UNIQUE_ID_LISTING: Rule = rule(
    1939,
    "7",
    States,
    "A unique-id listing consists of the message-number of the message, followed by a single space and the unique-id of the message. \
     No information follows the unique-id in the unique-id listing.",
);

pub(super) const CASES: &[Case] = &[
    pop3(
        "uidl.format",
        UNIQUE_ID_LISTING,
        "each line of UIDL is a number, one space and a unique-id",
        &[Need::Capability("UIDL"), Need::Letters(3)],
        uidl_format,
    ),
    pop3(
        "uidl.characters",
        rule(
            1939,
            "7",
            States,
            "The unique-id of a message is an arbitrary server-determined string, consisting of one to 70 characters in the range 0x21 \
             to 0x7E",
        ),
        "a unique-id has 1 to 70 characters from 0x21 to 0x7E",
        &[Need::Capability("UIDL"), Need::Letters(3)],
        uidl_characters,
    ),
    pop3(
        "uidl.one",
        UNIQUE_ID_LISTING,
        "UIDL with a number is one line that says the same",
        &[Need::Capability("UIDL"), Need::Letters(3)],
        uidl_one,
    ),
    pop3(
        "uidl.unique",
        rule(
            1939,
            "7",
            States,
            "which uniquely identifies a message within a maildrop",
        ),
        "different messages have different unique-ids",
        &[Need::Capability("UIDL"), Need::Letters(4)],
        uidl_unique,
    ),
    pop3(
        "uidl.persistent",
        rule(
            1939,
            "7",
            States,
            "which uniquely identifies a message within a maildrop and which persists across sessions",
        ),
        "a message has the same unique-id in the next session, though others were deleted",
        &[Need::Capability("UIDL"), Need::Letters(3)],
        uidl_persistent,
    ),
    pop3(
        "uidl.persistent-without-update",
        rule(
            1939,
            "7",
            States,
            "This persistence is required even if a session ends without entering the UPDATE state.",
        ),
        "a message has the same unique-id after a session that broke",
        &[Need::Capability("UIDL"), Need::Letters(2)],
        uidl_persistent_without_update,
    ),
    pop3(
        "uidl.not-reused",
        rule(
            1939,
            "7",
            ShouldNot,
            "The server should never reuse an unique-id in a given maildrop, for as long as the entity using the unique-id exists.",
        ),
        "mail that comes later has none of the unique-ids of mail that was deleted",
        &[Need::Capability("UIDL"), Need::Letters(2)],
        uidl_not_reused,
    ),
    pop3(
        "uidl.deleted",
        rule(
            1939,
            "7",
            States,
            "Note that messages marked as deleted are not listed.",
        ),
        "UIDL leaves out what is marked as deleted, and asked for it says -ERR",
        &[Need::Capability("UIDL"), Need::Letters(3)],
        uidl_deleted,
    ),
    pop3(
        "uidl.argument",
        NO_SUCH_MESSAGE,
        "UIDL of message 0, beyond the last or of what is no number gets -ERR",
        &[Need::Capability("UIDL")],
        uidl_argument,
    ),
];

/// The unique-ids of our messages, in their order.
fn unique_ids(session: &mut Pop3, ours: &[usize]) -> Checked<Vec<String>> {
    let listed = session.numbered("UIDL")?;
    let ours = listed.into_iter().filter(|(number, _)| ours.contains(number));
    Ok(ours.map(|(_, unique_id)| unique_id).collect())
}

fn uidl_format(world: &mut World) -> Checked {
    for line in world.open(3)?.session.listing_text("UIDL")? {
        let parts: Vec<&str> = line.split(' ').collect();
        let is_listing =
            matches!(parts.as_slice(), [number, unique_id] if is_number(number) && !unique_id.is_empty());
        check!(is_listing, "no unique-id listing: {line:?}");
    }
    Ok(())
}

fn uidl_characters(world: &mut World) -> Checked {
    let mut opened = world.open(3)?;
    for unique_id in unique_ids(&mut opened.session, &opened.ours)? {
        let in_range = unique_id.bytes().all(|octet| (0x21..=0x7E).contains(&octet));
        check!(in_range && (1..=70).contains(&unique_id.len()), "{unique_id:?}");
    }
    Ok(())
}

fn uidl_one(world: &mut World) -> Checked {
    alone_as_in_the_listing(world, 3, "UIDL")
}

fn uidl_unique(world: &mut World) -> Checked {
    let listed = world.open(4)?.session.numbered("UIDL")?;
    let different: BTreeSet<&String> = listed.iter().map(|(_, unique_id)| unique_id).collect();
    check!(different.len() == listed.len(), "{listed:?}");
    Ok(())
}

fn uidl_persistent(world: &mut World) -> Checked {
    let mut opened = world.open(3)?;
    let before = unique_ids(&mut opened.session, &opened.ours)?;
    let first = opened.number(0)?;
    opened.session.accepts(&format!("DELE {first}"))?;
    opened.session.quit()?;
    let mut opened = world.open(2)?;
    let after = unique_ids(&mut opened.session, &opened.ours)?;
    check!(
        before.get(1..) == Some(after.as_slice()),
        "before {before:?}, after {after:?}"
    );
    Ok(())
}

fn uidl_persistent_without_update(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let before = unique_ids(&mut opened.session, &opened.ours)?;
    drop(opened);
    let mut opened = world.open(2)?;
    let after = unique_ids(&mut opened.session, &opened.ours)?;
    check!(before == after, "before {before:?}, after {after:?}");
    Ok(())
}

fn uidl_not_reused(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let before = unique_ids(&mut opened.session, &opened.ours)?;
    opened.session.quit()?;
    world.sweep()?;
    world.deliver_letters(2)?;
    let mut opened = world.open(2)?;
    let after = unique_ids(&mut opened.session, &opened.ours)?;
    let again = after.iter().find(|unique_id| before.contains(unique_id));
    check!(again.is_none(), "{again:?} was another message's before");
    Ok(())
}

fn uidl_deleted(world: &mut World) -> Checked {
    let mut opened = world.open(3)?;
    let number = opened.number(1)?;
    opened.session.accepts(&format!("DELE {number}"))?;
    let listed = opened.session.numbered("UIDL")?;
    check!(
        listed.iter().all(|(other, _)| *other != number),
        "it is listed: {listed:?}"
    );
    opened.session.refuses(&format!("UIDL {number}")).map(|_| ())
}

fn uidl_argument(world: &mut World) -> Checked {
    all_refused(world, 0, &["UIDL 0", "UIDL 4294967297", "UIDL one"])
}
