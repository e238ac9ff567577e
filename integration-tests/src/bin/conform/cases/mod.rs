//! All cases, by what they try.
//!
//! Each file has a table of rows and a function for each. A row says what holds when the case passes, and cites the words that decide.

mod chunking;
mod delivery;
mod delivery_of_data;
mod lmtp;
mod pop3_auth;
mod pop3_capabilities;
mod pop3_endings;
mod pop3_hostile;
mod pop3_listings;
mod pop3_messages;
mod pop3_pipelining;
mod pop3_session;
mod pop3_tls;
mod pop3_top;
mod pop3_unique_ids;
mod pop3_utf8;
mod smuggling;
mod through;
mod transfer_addresses;
mod transfer_auth;
mod transfer_commands;
mod transfer_extensions;
mod transfer_order;
mod transfer_tls;

use crate::case::{Case, Checked, Door, Need, Rule, Run, check};
use crate::world::{World, check_whole};

/// All cases, in the order in which they run and are shown.
pub(crate) fn all() -> Vec<Case> {
    [
        pop3_session::CASES,
        pop3_endings::CASES,
        pop3_listings::CASES,
        pop3_unique_ids::CASES,
        pop3_messages::CASES,
        pop3_top::CASES,
        pop3_capabilities::CASES,
        pop3_pipelining::CASES,
        pop3_tls::CASES,
        pop3_auth::CASES,
        pop3_utf8::CASES,
        pop3_hostile::CASES,
        lmtp::CASES,
        transfer_order::CASES,
        transfer_commands::CASES,
        transfer_addresses::CASES,
        smuggling::CASES,
        transfer_extensions::CASES,
        transfer_tls::CASES,
        transfer_auth::CASES,
        chunking::CASES,
        delivery::CASES,
        delivery_of_data::CASES,
        through::CORPUS,
        through::CASES,
    ]
    .concat()
}

const fn case(name: &'static str, rule: Rule, title: &'static str, needs: &'static [Need], run: Run) -> Case {
    Case {
        name,
        rule,
        title,
        needs,
        run,
    }
}

/// A case of POP3.
const fn pop3(
    name: &'static str,
    rule: Rule,
    title: &'static str,
    needs: &'static [Need],
    run: fn(&mut World) -> Checked,
) -> Case {
    case(name, rule, title, needs, Run::Pop3(run))
}

/// A case of SMTP and of LMTP.
const fn both(
    name: &'static str,
    rule: Rule,
    title: &'static str,
    needs: &'static [Need],
    run: fn(&mut World, Door) -> Checked,
) -> Case {
    case(name, rule, title, needs, Run::Both(run))
}

/// A case of one of the two.
const fn one(
    name: &'static str,
    door: Door,
    rule: Rule,
    title: &'static str,
    needs: &'static [Need],
    run: fn(&mut World, Door) -> Checked,
) -> Case {
    case(name, rule, title, needs, Run::One(door, run))
}

/// A case that brings mail in by whichever door there is, and reads it by POP3.
const fn through(
    name: &'static str,
    rule: Rule,
    title: &'static str,
    needs: &'static [Need],
    run: fn(&mut World) -> Checked,
) -> Case {
    case(name, rule, title, needs, Run::Through(run))
}

/// Brings content in by a door, and reads the message that came of it.
fn arrived(world: &mut World, door: Door, content: &[u8], parameters: &str) -> Checked<Vec<u8>> {
    let mut session = world.transfer(door)?;
    let reply = world.deliver_on(&mut session, content, parameters)?;
    check!(reply.is_ok(), "the message was refused: {}", reply.shown());
    session.quit()?;
    let mut opened = world.open_for_content(1)?;
    let number = opened.number(0)?;
    opened.session.retr(number)
}

/// Fails unless what arrives is what was sent, with trace fields on top.
fn arrives_whole(world: &mut World, door: Door, content: &[u8], parameters: &str) -> Checked {
    let message = arrived(world, door, content, parameters)?;
    check_whole(&message, content)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_an_id_of_its_own_a_paragraph_and_words() {
        let mut ids = BTreeSet::new();
        for case in all() {
            for (id, _) in case.ids() {
                assert!(ids.insert(id.clone()), "{id} twice");
            }
            let rule = case.rule;
            let is_paragraph = rule.section.split('.').all(|part| part.parse::<u8>().is_ok());
            assert!(is_paragraph, "{}: {}", case.name, rule.section);
            assert!(
                !rule.words.contains("  ") && rule.words.len() > 10,
                "{}: {:?}",
                case.name,
                rule.words
            );
            assert!(
                !crate::report::title(rule.rfc).is_empty(),
                "RFC {} has no title",
                rule.rfc
            );
        }
        assert!(ids.len() > 150, "{}", ids.len());
    }

    #[test]
    fn whoever_cites_a_key_word_has_it_among_the_words_or_says_why() {
        use crate::case::Level;
        for case in all() {
            let rule = case.rule;
            let due = match rule.level {
                Level::Must => ["MUST", "must", "shall"].as_slice(),
                Level::MustNot => &["MUST NOT", "MUST not", "must not", "In no case may"],
                Level::Should => &["SHOULD", "recommended", "should"],
                Level::ShouldNot => &["SHOULD NOT", "STRONGLY discourages", "should never"],
                Level::May => &["MAY", "experimental"],
                Level::States | Level::Security => continue,
            };
            assert!(
                due.iter().any(|word| rule.words.contains(word)),
                "{}: {:?}",
                case.name,
                rule.words
            );
        }
    }
}
