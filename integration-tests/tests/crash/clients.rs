//! The load: senders that try again what was not answered, and readers that check what they see and delete some.

use std::collections::BTreeSet;
use std::io;

use mailhorn_integration_tests::random::Random;
use mailhorn_integration_tests::{Lmtp, Pop3, mail};

use crate::ledger::{Ledger, Number, Promised};
use crate::stage::{Life, Stage};

pub(crate) const DOMAIN: &str = "example.org";
pub(crate) const PASSWORD: &str = "correct horse";

/// Most recipients of a message.
const RECIPIENTS_MAX: usize = 4;
/// Most messages that a session retrieves, and that it deletes.
const RETRIEVED_MAX: usize = 12;
const DELETED_MAX: usize = 80;

pub(crate) fn user(index: usize) -> String {
    format!("user{index}")
}

fn address(index: usize) -> String {
    format!("{}@{DOMAIN}", user(index))
}

/// What all clients share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) ledger: Ledger,
    pub(crate) users: usize,
}

impl World {
    /// A connection ended. That is right when the node was killed, and never else.
    fn ended(&self, life: Life, who: &str, error: &io::Error) {
        if !self.stage.is_over(life) {
            self.ledger
                .violated(format!("{who}: {error} while the node was alive"));
        }
    }
}

/// A message, and who has not answered for it yet.
#[derive(Debug)]
struct Pending {
    number: Number,
    recipients: BTreeSet<usize>,
    was_sent: bool,
}

/// Sends until the last life, and then until everything was answered.
pub(crate) fn send_mail(world: &World, client: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut next = client * 1_000_000;
    let mut life = world.stage.after(None);
    let mut pending = None;
    loop {
        let ended = sender_session(world, life, &mut random, &mut next, &mut pending);
        match ended {
            Ok(()) => return,
            Err(error) => world.ended(life, "LMTP", &error),
        }
        life = world.stage.after(Some(life.number));
    }
}

fn sender_session(
    world: &World,
    life: Life,
    random: &mut Random,
    next: &mut Number,
    pending: &mut Option<Pending>,
) -> io::Result<()> {
    let mut lmtp = Lmtp::connect(life.lmtp)?;
    loop {
        if pending.is_none() && world.stage.is_last() {
            return Ok(());
        }
        let mut message = pending.take().unwrap_or_else(|| {
            *next += 1;
            let recipients = (0..=random.index(RECIPIENTS_MAX)).map(|_| random.index(world.users));
            Pending {
                number: *next,
                recipients: recipients.collect(),
                was_sent: false,
            }
        });
        let sent = send(world, &mut lmtp, &mut message);
        *pending = (!message.recipients.is_empty()).then_some(message);
        sent?;
    }
}

/// Sends a message to whom has not answered yet, and crosses off who does.
fn send(world: &World, lmtp: &mut Lmtp, message: &mut Pending) -> io::Result<()> {
    if message.was_sent {
        world.ledger.count(|figures| figures.retries += 1);
    }
    let recipients: Vec<usize> = message.recipients.iter().copied().collect();
    let addresses: Vec<String> = recipients.iter().map(|recipient| address(*recipient)).collect();
    let to: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let from = format!("sender{}@example.net", message.number % 7);
    message.was_sent = true;
    world.stage.step();
    lmtp.deliver_each(&from, &to, &mail::content(message.number), |index, reply| {
        if reply.is_ok() {
            world.ledger.acknowledge(recipients[index], message.number);
            message.recipients.remove(&recipients[index]);
        } else {
            world.ledger.count(|figures| figures.refused += 1);
        }
        world.stage.step();
    })
}

/// Reads until the last life.
pub(crate) fn read_mail(world: &World, seed: u64) {
    let mut random = Random::new(seed);
    let mut life = world.stage.after(None);
    while !world.stage.is_last() {
        let user = random.index(world.users);
        world.stage.step();
        if let Err(error) = reader_session(world, life, user, &mut random) {
            world.ended(life, "POP3", &error);
            life = world.stage.after(Some(life.number));
        }
    }
}

/// What a session sees of a maildrop.
pub(crate) struct Listing {
    pop3: Pop3,
    user: usize,
    /// Number in the session, unique-id, size.
    rows: Vec<(u32, String, u64)>,
}

/// Opens a maildrop and holds what it lists against what was promised; `None` while another session has it.
pub(crate) fn open(world: &World, life: Life, user: usize) -> io::Result<Option<Listing>> {
    let promised: Promised = world.ledger.promised(user);
    let mut pop3 = Pop3::connect(life.pop3)?;
    if let Err(refused) = pop3.log_in(&address(user), PASSWORD)? {
        if !refused.contains("[IN-USE]") {
            world.ledger.violated(format!("log-in: {refused}"));
        }
        return Ok(None);
    }
    let unique_ids = pop3.uidl()?;
    let sizes = pop3.list()?;
    if unique_ids.len() != sizes.len() {
        world
            .ledger
            .violated("UIDL and LIST differ in one session".into());
    }
    let rows: Vec<(u32, String, u64)> = unique_ids
        .into_iter()
        .zip(sizes)
        .map(|((number, unique_id), (_, size))| (number, unique_id, size))
        .collect();
    for (number, unique_id, _) in &rows {
        if world.ledger.number_of(user, unique_id).is_some() {
            continue;
        }
        match pop3.multi_line(&format!("TOP {number} 0"))? {
            Ok(headers) => match mail::number_of(&headers) {
                Some(found) => world.ledger.learn(user, unique_id, found),
                None => world.ledger.violated(format!("{unique_id} has lost its headers")),
            },
            Err(refused) => world.ledger.violated(format!("TOP of {unique_id}: {refused}")),
        }
    }
    let listed = rows.iter().map(|(_, unique_id, _)| unique_id.clone()).collect();
    world.ledger.check_listing(user, &promised, &listed);
    Ok(Some(Listing { pop3, user, rows }))
}

impl Listing {
    /// Retrieves a message and compares it with what was sent.
    fn retrieve(&mut self, world: &World, row: usize) -> io::Result<()> {
        let (number, unique_id, size) = &self.rows[row];
        let message = match self.pop3.retr(*number)? {
            Ok(message) => message,
            Err(refused) => {
                world.ledger.violated(format!("RETR of {unique_id}: {refused}"));
                return Ok(());
            }
        };
        if message.len() as u64 != *size {
            let octets = message.len();
            world
                .ledger
                .violated(format!("{unique_id}: {octets} octets came, LIST said {size}"));
        }
        let sent = world.ledger.number_of(self.user, unique_id);
        match sent.map(|sent| mail::check(&message, &mail::content(sent))) {
            Some(Ok(())) => world.ledger.count(|figures| figures.retrieved += 1),
            Some(Err(why)) => world.ledger.violated(format!("{unique_id}: {why}")),
            None => {}
        }
        Ok(())
    }

    /// Retrieves everything.
    pub(crate) fn retrieve_all(mut self, world: &World) -> io::Result<()> {
        for row in 0..self.rows.len() {
            self.retrieve(world, row)?;
        }
        world
            .ledger
            .count(|figures| figures.left += self.rows.len() as u64);
        self.pop3.quit()?.map(drop).map_err(io::Error::other)
    }
}

/// Retrieves some, marks some as deleted; most sessions end with QUIT, some just end.
fn reader_session(world: &World, life: Life, user: usize, random: &mut Random) -> io::Result<()> {
    let Some(mut listing) = open(world, life, user)? else {
        return Ok(());
    };
    let messages = listing.rows.len();
    if messages == 0 {
        return Ok(());
    }
    for _ in 0..random.index(RETRIEVED_MAX) {
        listing.retrieve(world, random.index(messages))?;
        world.stage.step();
    }
    let chosen: BTreeSet<usize> = (0..random.index(DELETED_MAX))
        .map(|_| random.index(messages))
        .collect();
    let mut unique_ids = Vec::new();
    for row in chosen {
        let (number, unique_id, _) = &listing.rows[row];
        if let Err(refused) = listing.pop3.command(&format!("DELE {number}"))? {
            world.ledger.violated(format!("DELE: {refused}"));
        }
        unique_ids.push(unique_id.clone());
    }
    world.stage.step();
    if random.once_in(5) {
        return Ok(());
    }
    world.ledger.mark(user, &unique_ids);
    if listing.pop3.quit()?.is_ok() {
        world.ledger.delete(user, &unique_ids);
    }
    world.stage.step();
    Ok(())
}
