//! POP3: what STAT, LIST and UIDL tell, and what is wrong with an argument.

use super::pop3;
use crate::case::Level::{Must, ShouldNot, States};
use crate::case::{Case, Checked, Need, Rule, check, rule};
use crate::pop3::Pop3;
use crate::wire::printable;
use crate::world::World;

const INVALID: Rule = rule(
    1939,
    "3",
    Must,
    "A server MUST respond to an unrecognized, unimplemented, or syntactically invalid command by responding with a negative status \
     indicator.",
);

pub(super) const NO_SUCH_MESSAGE: Rule =
    rule(1939, "5", States, "Possible Responses: … -ERR no such message");

const DROP_LISTING: Rule = rule(
    1939,
    "5",
    States,
    "all POP3 servers are required to use a certain format for drop listings. The positive response consists of \"+OK\" followed by a \
     single space, the number of messages in the maildrop, a single space, and the size of the maildrop in octets.",
);

const SCAN_LISTING: Rule = rule(
    1939,
    "5",
    States,
    "A scan listing consists of the message-number of the message, followed by a single space and the exact size of the message in \
     octets.",
);

pub(super) const CASES: &[Case] = &[
    pop3(
        "stat.format",
        DROP_LISTING,
        "STAT is answered +OK, count and size, each after one space",
        &[],
        stat_format,
    ),
    pop3(
        "stat.nothing-more",
        rule(
            1939,
            "5",
            ShouldNot,
            "This memo STRONGLY discourages implementations from supplying additional information in the drop listing.",
        ),
        "STAT tells nothing beyond count and size",
        &[],
        stat_nothing_more,
    ),
    pop3(
        "stat.empty",
        DROP_LISTING,
        "STAT of an empty maildrop is 0 0",
        &[Need::EmptyMaildrop],
        stat_empty,
    ),
    pop3(
        "stat.sum",
        DROP_LISTING,
        "the size that STAT tells is the sum of those of LIST",
        &[Need::Letters(3)],
        stat_sum,
    ),
    pop3(
        "stat.deleted",
        rule(
            1939,
            "5",
            States,
            "Note that messages marked as deleted are not counted in either total.",
        ),
        "STAT does not count what is marked as deleted",
        &[Need::Letters(3)],
        stat_deleted,
    ),
    pop3(
        "list.format",
        SCAN_LISTING,
        "each line of LIST is a number, one space and a size",
        &[Need::Letters(3)],
        list_format,
    ),
    pop3(
        "list.nothing-more",
        rule(
            1939,
            "5",
            ShouldNot,
            "This memo STRONGLY discourages implementations from supplying additional information in the scan listing.",
        ),
        "LIST tells nothing beyond number and size",
        &[Need::Letters(2)],
        list_nothing_more,
    ),
    pop3(
        "list.empty",
        rule(
            1939,
            "5",
            States,
            "If there are no messages in the maildrop, then the POP3 server responds with no scan listings--it issues a positive \
             response followed by a line containing a termination octet and a CRLF pair.",
        ),
        "LIST of an empty maildrop is +OK and a lone dot",
        &[Need::EmptyMaildrop],
        list_empty,
    ),
    pop3(
        "list.one",
        rule(
            1939,
            "5",
            States,
            "If an argument was given and the POP3 server issues a positive response with a line containing information for that \
             message.",
        ),
        "LIST with a number is one line that says the same",
        &[Need::Letters(3)],
        list_one,
    ),
    pop3(
        "numbers",
        rule(
            1939,
            "4",
            States,
            "The first message in the maildrop is assigned a message-number of \"1\", the second is assigned \"2\", and so on",
        ),
        "messages are numbered from 1 without gaps",
        &[Need::Letters(4)],
        numbers,
    ),
    pop3(
        "numbers.new-mail",
        rule(
            1939,
            "4",
            States,
            "After the POP3 server has opened the maildrop, it assigns a message-number to each message, and notes the size of each \
             message in octets.",
        ),
        "mail that comes in a session changes none of its numbers",
        &[Need::Letters(2)],
        new_mail,
    ),
    pop3(
        "argument.missing",
        INVALID,
        "RETR and DELE without a number get -ERR",
        &[Need::Letters(1)],
        argument_missing,
    ),
    pop3(
        "argument.no-number",
        INVALID,
        "LIST, RETR and DELE of what is no number get -ERR",
        &[Need::Letters(1)],
        no_number,
    ),
    pop3(
        "argument.zero",
        NO_SUCH_MESSAGE,
        "LIST, RETR and DELE of message 0 get -ERR",
        &[Need::Letters(1)],
        zero,
    ),
    pop3(
        "argument.beyond",
        NO_SUCH_MESSAGE,
        "LIST, RETR and DELE beyond the last message get -ERR",
        &[Need::Letters(1)],
        beyond,
    ),
    pop3(
        "argument.huge",
        NO_SUCH_MESSAGE,
        "numbers beyond 32 and 64 bits are no message's, and don't wrap to one",
        &[Need::Letters(1)],
        huge,
    ),
];

/// Whether this is digits, without a sign and not empty.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

fn stat_format(world: &mut World) -> Checked {
    let status = world.login()?.accepts("STAT")?;
    let parts: Vec<&str> = status.text.split(' ').collect();
    let is_drop_listing = parts.len() >= 2 && parts.iter().take(2).all(|part| is_number(part));
    check!(is_drop_listing, "no drop listing: {}", printable(&status.line));
    Ok(())
}

fn stat_nothing_more(world: &mut World) -> Checked {
    let status = world.login()?.accepts("STAT")?;
    check!(
        status.text.split(' ').count() == 2,
        "there is more: {}",
        printable(&status.line)
    );
    Ok(())
}

fn stat_empty(world: &mut World) -> Checked {
    let told = world.login()?.stat()?;
    check!(told == (0, 0), "{told:?} for an empty maildrop");
    Ok(())
}

/// The sizes that LIST tells.
fn sizes(session: &mut Pop3) -> Checked<Vec<(usize, u64)>> {
    let listed = session.numbered("LIST")?;
    let size = |text: &str| text.split(' ').next().and_then(|size| size.parse().ok());
    let sizes = listed.iter().map(|(number, text)| Some((*number, size(text)?)));
    let sizes: Option<Vec<(usize, u64)>> = sizes.collect();
    sizes.ok_or_else(|| crate::case::Stop::Failed(format!("no sizes: {listed:?}")))
}

fn stat_sum(world: &mut World) -> Checked {
    let mut opened = world.open(3)?;
    let (count, total) = opened.session.stat()?;
    let listed = sizes(&mut opened.session)?;
    let sum: u64 = listed.iter().map(|(_, size)| size).sum();
    check!(
        (count, total) == (listed.len(), sum),
        "STAT tells {count} and {total}, LIST {} and {sum}",
        listed.len()
    );
    Ok(())
}

fn stat_deleted(world: &mut World) -> Checked {
    let mut opened = world.open(3)?;
    let (count, total) = opened.session.stat()?;
    let number = opened.number(1)?;
    let listed = sizes(&mut opened.session)?;
    let size = listed
        .iter()
        .find(|(other, _)| *other == number)
        .map_or(0, |(_, size)| *size);
    opened.session.accepts(&format!("DELE {number}"))?;
    let after = opened.session.stat()?;
    check!(
        after == (count - 1, total - size),
        "{after:?} after one of {size} octets was deleted of {:?}",
        (count, total)
    );
    Ok(())
}

fn list_format(world: &mut World) -> Checked {
    for line in world.open(3)?.session.listing_text("LIST")? {
        let parts: Vec<&str> = line.split(' ').collect();
        let is_scan_listing = parts.len() >= 2 && parts.iter().take(2).all(|part| is_number(part));
        check!(is_scan_listing, "no scan listing: {line:?}");
    }
    Ok(())
}

fn list_nothing_more(world: &mut World) -> Checked {
    for line in world.open(2)?.session.listing_text("LIST")? {
        check!(line.split(' ').count() == 2, "there is more: {line:?}");
    }
    Ok(())
}

fn list_empty(world: &mut World) -> Checked {
    let lines = world.login()?.listing_text("LIST")?;
    check!(lines.is_empty(), "an empty maildrop lists {lines:?}");
    Ok(())
}

/// Asks for each of our messages alone, and compares with the listing of all.
pub(super) fn alone_as_in_the_listing(world: &World, count: usize, command: &str) -> Checked {
    let mut opened = world.open(count)?;
    let listed = opened.session.listing_text(command)?;
    for number in opened.ours.clone() {
        let alone = opened.session.accepts(&format!("{command} {number}"))?;
        check!(
            listed.contains(&alone.text),
            "{command} {number} is answered {:?}, which {command} does not list",
            alone.text
        );
        check!(
            alone.text.starts_with(&format!("{number} ")),
            "{command} {number} tells of another: {:?}",
            alone.text
        );
    }
    Ok(())
}

fn list_one(world: &mut World) -> Checked {
    alone_as_in_the_listing(world, 3, "LIST")
}

fn numbers(world: &mut World) -> Checked {
    let listed = world.open(4)?.session.numbered("LIST")?;
    let found: Vec<usize> = listed.into_iter().map(|(number, _)| number).collect();
    let expected: Vec<usize> = (1..=found.len()).collect();
    check!(found == expected, "numbered {found:?}");
    Ok(())
}

fn new_mail(world: &mut World) -> Checked {
    let mut opened = world.open(2)?;
    let before = (opened.session.stat()?, opened.session.numbered("LIST")?);
    world.deliver_letters(1)?;
    let after = (opened.session.stat()?, opened.session.numbered("LIST")?);
    check!(before == after, "before {before:?}, after {after:?}");
    opened.session.quit()?;
    world.open(3)?.session.quit()
}

/// Each of these gets -ERR, and nothing was marked by it.
pub(super) fn all_refused(world: &World, letters: usize, commands: &[&str]) -> Checked {
    let mut session = world.open(letters)?.session;
    let before = session.stat()?;
    for command in commands {
        session.refuses(command)?;
    }
    let after = session.stat()?;
    check!(
        before == after,
        "the maildrop changed from {before:?} to {after:?}"
    );
    Ok(())
}

fn argument_missing(world: &mut World) -> Checked {
    all_refused(world, 1, &["RETR", "DELE"])
}

fn no_number(world: &mut World) -> Checked {
    all_refused(
        world,
        1,
        &[
            "LIST one", "RETR one", "DELE one", "RETR 1x", "DELE -1", "RETR -1", "DELE 1.5",
        ],
    )
}

fn zero(world: &mut World) -> Checked {
    all_refused(world, 1, &["LIST 0", "RETR 0", "DELE 0"])
}

fn beyond(world: &mut World) -> Checked {
    let (count, _) = world.open(1)?.session.stat()?;
    let next = count + 1;
    let commands = [
        format!("LIST {next}"),
        format!("RETR {next}"),
        format!("DELE {next}"),
    ];
    all_refused(world, 1, &commands.each_ref().map(String::as_str))
}

fn huge(world: &mut World) -> Checked {
    // One more than two to the power of 32, and of 64: message 1 to whoever cuts off.
    all_refused(
        world,
        1,
        &[
            "LIST 4294967297",
            "RETR 4294967297",
            "DELE 4294967297",
            "RETR 18446744073709551617",
            "DELE 18446744073709551617",
            "RETR 99999999999999999999999999999999",
        ],
    )
}
