//! The load: senders on every node that try again what was not acknowledged, elsewhere where nothing was answered; readers on
//! every node that check what they see and delete some.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use mailhorn_integration_tests::clients::Answer;
use mailhorn_integration_tests::random::Random;
use mailhorn_integration_tests::{Lmtp, Pop3, mail};

use crate::ledger::{Ledger, Number};
use crate::nodes::{NODES, PASSWORD, Place};

/// Most recipients of a message that comes by LMTP.
const RECIPIENTS_MAX: usize = 3;
/// Most messages that a session retrieves, and that it deletes.
const RETRIEVED_MAX: usize = 6;
const DELETED_MAX: usize = 40;
/// A client's own pause between two messages, so that it is the faults that are tried and not the machine.
const PAUSE: Duration = Duration::from_millis(20);
/// A client's own pause after it was refused or not let in.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

const RUNS: u8 = 0;
const FINISHES: u8 = 1;
const GIVES_UP: u8 = 2;

/// What all clients share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) places: Vec<Place>,
    pub(crate) users: Vec<String>,
    pub(crate) ledger: Ledger,
    state: AtomicU8,
}

impl World {
    pub(crate) fn new(places: Vec<Place>, users: Vec<String>) -> Self {
        Self {
            places,
            ledger: Ledger::new(users.len()),
            users,
            state: AtomicU8::new(RUNS),
        }
    }

    fn is(&self, state: u8) -> bool {
        self.state.load(Ordering::SeqCst) == state
    }

    /// From now on clients finish what they have begun.
    pub(crate) fn finish(&self) {
        self.state.fetch_max(FINISHES, Ordering::SeqCst);
    }

    /// From now on clients end as soon as they can.
    pub(crate) fn give_up(&self) {
        self.state.fetch_max(GIVES_UP, Ordering::SeqCst);
    }
}

/// How a sender speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Smtp,
    Lmtp,
}

/// A message, and who has not answered for it yet.
#[derive(Debug)]
struct Pending {
    number: Number,
    recipients: BTreeSet<usize>,
    was_sent: bool,
}

/// Sends to one node, and to the next one what that one doesn't take; until everything was acknowledged.
pub(crate) fn send_mail(world: &World, home: usize, by: By, seed: u64) {
    let mut random = Random::new(seed);
    let mut next = seed.wrapping_mul(1_000_000);
    let mut open = None;
    while world.is(RUNS) {
        next += 1;
        let recipients = match by {
            By::Smtp => 1,
            By::Lmtp => 1 + random.index(RECIPIENTS_MAX),
        };
        let mut message = Pending {
            number: next,
            recipients: (0..recipients).map(|_| random.index(world.users.len())).collect(),
            was_sent: false,
        };
        let mut node = home;
        while !world.is(GIVES_UP) {
            // A connection that leads elsewhere is left, and one that failed.
            open = open.take().filter(|(to, _)| *to == node);
            if send(world, node, by, &mut open, &mut message).is_err() {
                open = None;
            }
            if message.recipients.is_empty() {
                break;
            }
            node = (node + 1) % NODES;
            thread::sleep(RETRY_PAUSE);
        }
        thread::sleep(PAUSE);
    }
}

/// Sends a message to whom has not answered yet, and crosses off who does.
fn send(
    world: &World,
    node: usize,
    by: By,
    open: &mut Option<(usize, Lmtp)>,
    message: &mut Pending,
) -> io::Result<()> {
    if open.is_none() {
        let client = match by {
            By::Smtp => Lmtp::connect_smtp(world.places[node].smtp),
            By::Lmtp => Lmtp::connect(world.places[node].lmtp),
        };
        *open = Some((node, client?));
    }
    let Some((_, lmtp)) = open else { return Ok(()) };
    let recipients: Vec<usize> = message.recipients.iter().copied().collect();
    if message.was_sent {
        recipients
            .iter()
            .for_each(|user| world.ledger.retry(*user, message.number));
    }
    message.was_sent = true;
    let to: Vec<&str> = recipients
        .iter()
        .map(|user| world.users[*user].as_str())
        .collect();
    let mut answers = 0;
    let sent = lmtp.deliver_each(
        "sender@example.net",
        &to,
        &mail::content(message.number),
        |index, reply| {
            answers += 1;
            if reply.is_ok() {
                world.ledger.acknowledge(node, recipients[index], message.number);
                message.recipients.remove(&recipients[index]);
            } else {
                world.ledger.count(|figures| figures.refused += 1);
                if reply.code / 100 != 4 {
                    world.ledger.violated(format!(
                        "mail was refused for good: {} {}",
                        reply.code, reply.text
                    ));
                }
            }
        },
    );
    world
        .ledger
        .count(|figures| figures.unknown += to.len() as u64 - answers);
    sent
}

/// Reads on one node until the end.
pub(crate) fn read_mail(world: &World, node: usize, seed: u64) {
    let mut random = Random::new(seed);
    while world.is(RUNS) {
        let user = random.index(world.users.len());
        // A connection that ends is a fault's doing: what counts is what was promised before it ended.
        if !matches!(session(world, node, user, &mut random), Ok(true)) {
            thread::sleep(RETRY_PAUSE);
        }
        thread::sleep(PAUSE);
    }
}

/// What a session sees of a maildrop.
pub(crate) struct Listing {
    pub(crate) pop3: Pop3,
    user: usize,
    pub(crate) rows: Vec<(u32, String)>,
}

/// Opens a maildrop and finds out which message is which; `None` where it is not let in, or not told.
pub(crate) fn open(world: &World, node: usize, user: usize) -> io::Result<Option<Listing>> {
    let mut pop3 = Pop3::connect(world.places[node].pop3)?;
    if let Err(refused) = pop3.log_in(&world.users[user], PASSWORD)? {
        if !refused.contains("[IN-USE]") && !refused.contains("[SYS/TEMP]") {
            world.ledger.violated(format!("log-in: {refused}"));
        }
        return Ok(None);
    }
    let rows = pop3.uidl()?;
    let mut listing = Listing { pop3, user, rows };
    for row in 0..listing.rows.len() {
        let (number, unique_id) = &listing.rows[row];
        if world.ledger.number_of(user, unique_id).is_some() {
            continue;
        }
        let top = listing.pop3.multi_line(&format!("TOP {number} 0"))?;
        let Some(headers) = listing.told(world, row, "TOP", top) else {
            return Ok(None);
        };
        let unique_id = &listing.rows[row].1;
        match mail::number_of(&headers) {
            Some(found) => world.ledger.learn(user, unique_id, found),
            None => world.ledger.violated(format!("{unique_id} has lost its headers")),
        }
    }
    Ok(Some(listing))
}

impl Listing {
    pub(crate) fn unique_ids(&self) -> BTreeSet<String> {
        self.rows.iter().map(|(_, unique_id)| unique_id.clone()).collect()
    }

    /// What was answered. A message may be refused for the moment, or because another session was about to delete it: where
    /// nodes can't agree on who has a maildrop, two have it.
    fn told<T>(&self, world: &World, row: usize, command: &str, answer: Answer<T>) -> Option<T> {
        let unique_id = &self.rows[row].1;
        match answer {
            Ok(told) => Some(told),
            Err(refused) => {
                if !refused.contains("[SYS/TEMP]") && !world.ledger.is_marked(self.user, unique_id) {
                    world
                        .ledger
                        .violated(format!("{command} of {unique_id}: {refused}"));
                }
                None
            }
        }
    }

    /// Retrieves a message and compares it with what was sent.
    pub(crate) fn retrieve(&mut self, world: &World, row: usize) -> io::Result<()> {
        let answer = self.pop3.retr(self.rows[row].0)?;
        let Some(message) = self.told(world, row, "RETR", answer) else {
            return Ok(());
        };
        let unique_id = &self.rows[row].1;
        let sent = world.ledger.number_of(self.user, unique_id);
        match sent.map(|sent| mail::check(&message, &mail::content(sent))) {
            Some(Ok(())) => world.ledger.count(|figures| figures.fetched += 1),
            Some(Err(why)) => world.ledger.violated(format!("{unique_id}: {why}")),
            None => world.ledger.violated(format!("{unique_id} is not known")),
        }
        Ok(())
    }
}

/// Retrieves some, marks some as deleted; most sessions end with QUIT, some just end. False where there was no session.
fn session(world: &World, node: usize, user: usize, random: &mut Random) -> io::Result<bool> {
    let promised = world.ledger.promised(user);
    let Some(mut listing) = open(world, node, user)? else {
        return Ok(false);
    };
    world.ledger.check_listing(user, &promised, &listing.unique_ids());
    let messages = listing.rows.len();
    if messages == 0 {
        return Ok(true);
    }
    for _ in 0..random.index(RETRIEVED_MAX) {
        listing.retrieve(world, random.index(messages))?;
    }
    let chosen: BTreeSet<usize> = (0..random.index(DELETED_MAX))
        .map(|_| random.index(messages))
        .collect();
    let mut unique_ids = Vec::new();
    for row in chosen {
        let (number, unique_id) = &listing.rows[row];
        if listing.pop3.command(&format!("DELE {number}"))?.is_ok() {
            unique_ids.push(unique_id.clone());
        }
    }
    if random.once_in(5) {
        return Ok(true);
    }
    world.ledger.mark(user, &unique_ids);
    if listing.pop3.quit()?.is_ok() {
        world.ledger.delete(user, &unique_ids);
    }
    Ok(true)
}
