//! What a case works with: the server's addresses, the account, and a maildrop into which mail is brought and from which only that
//! mail is taken away again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::case::{Checked, Door, Stop, check};
use crate::mail::{self, TOKEN_FIELD, TOKEN_PREFIX};
use crate::pop3::Pop3;
use crate::setup::{Account, Setup};
use crate::transfer::{Reply, Transfer};
use crate::wire::{Address, Transcript, Wire, printable};

/// How long mail may be on its way through a queue, and a lock held by a session that was broken off.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(30);

/// How the password may go over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Plain,
    Stls,
    Implicit,
}

/// A session in which the suite's letters were found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: Pop3,
    /// Their numbers, in order.
    pub(crate) ours: Vec<usize>,
}

impl Opened {
    /// The number of our letter at an index.
    pub(crate) fn number(&self, index: usize) -> Checked<usize> {
        let number = self.ours.get(index).copied();
        number.ok_or_else(|| {
            Stop::Failed(format!(
                "the maildrop lacks letter {index} of those that were brought in"
            ))
        })
    }
}

/// The server under test.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) transcript: Transcript,
    route: Route,
    /// CAPA before and after log-in.
    capabilities: Vec<String>,
    /// Unique-ids of mail that was there before us.
    foreign: BTreeSet<String>,
    /// What LMTP and SMTP offer.
    extensions: Vec<(Door, Vec<String>)>,
    is_dirty: bool,
    letters: usize,
}

impl World {
    /// Finds out how to log in and what is offered, and that the maildrop may be used.
    pub(crate) fn new(setup: Setup) -> anyhow::Result<Self> {
        let transcript = Transcript::default();
        for account in [Some(&setup.user), setup.second.as_ref()].into_iter().flatten() {
            transcript.hide(account.password.clone());
            transcript.hide(account.plain());
        }
        let mut world = Self {
            setup,
            transcript,
            route: Route::Plain,
            capabilities: Vec::new(),
            foreign: BTreeSet::new(),
            extensions: Vec::new(),
            is_dirty: false,
            letters: 0,
        };
        let explored = world.explore();
        explored.map_err(|stop| anyhow::anyhow!("{stop}\n{}", world.transcript.tail(12).join("\n")))?;
        Ok(world)
    }

    fn explore(&mut self) -> Checked {
        for door in [Door::Lmtp, Door::Smtp] {
            if self.address(door).is_some() {
                let session = self.transfer(door)?;
                self.extensions.push((door, session.extensions));
            }
        }
        if self.setup.pop3.is_none() && self.setup.pop3s.is_none() {
            return Ok(());
        }
        if self.setup.pop3.is_some() {
            self.capabilities = self.pop3()?.capabilities()?;
        }
        self.route = self.find_route()?;
        let mut session = self.login_for_content(&self.setup.user)?;
        let more = session.capabilities()?;
        self.capabilities.extend(more);
        if self.capabilities.is_empty() && session.ask("UIDL")?.ok {
            // A server from before CAPA (RFC 2449). Who had the one optional command had the other.
            session.lines()?;
            self.capabilities.extend(["TOP".to_owned(), "UIDL".to_owned()]);
        }
        self.look_for_mail(session)
    }

    fn find_route(&mut self) -> Checked<Route> {
        let mut routes = Vec::new();
        if self.setup.pop3.is_some() {
            routes.extend([Route::Plain, Route::Stls]);
        }
        if self.setup.pop3s.is_some() {
            routes.push(Route::Implicit);
        }
        let mut last = Stop::NotRun("no way to log in".to_owned());
        for route in routes {
            self.route = route;
            match self.login() {
                Ok(_) => return Ok(route),
                Err(stop) => last = stop,
            }
        }
        Err(last)
    }

    /// Refuses a maildrop that holds mail of others, unless that was allowed; then it notes which it is, so as never to touch it.
    fn look_for_mail(&mut self, mut session: Pop3) -> Checked {
        let (count, _) = session.stat()?;
        let ours = self.ours(&mut session)?;
        if count > ours.len() {
            let allowed = self.setup.may_have_mail;
            check!(
                allowed,
                "the maildrop of {} holds {} messages: name an account for tests, or say --maildrop-may-have-mail",
                self.setup.user.name,
                count - ours.len()
            );
            let unique_ids = session.numbered("UIDL")?;
            let foreign = unique_ids
                .into_iter()
                .filter(|(number, _)| !ours.contains(number));
            self.foreign = foreign.map(|(_, unique_id)| unique_id).collect();
        }
        drop(session);
        // What an earlier run left.
        self.is_dirty = true;
        self.sweep()
    }

    /// Whether nothing of others was there at the beginning.
    pub(crate) fn is_alone(&self) -> bool {
        self.foreign.is_empty()
    }

    /// Whether CAPA announces this, before or after log-in.
    pub(crate) fn has_capability(&self, name: &str) -> bool {
        self.capability(name).is_some()
    }

    /// What stands behind a capability's name, in upper case.
    pub(crate) fn capability(&self, name: &str) -> Option<&str> {
        argument(&self.capabilities, name)
    }

    /// Whether EHLO or LHLO announces this.
    pub(crate) fn has_extension(&self, door: Door, name: &str) -> bool {
        self.extension(door, name).is_some()
    }

    /// What stands behind an extension's keyword, in upper case.
    pub(crate) fn extension(&self, door: Door, name: &str) -> Option<&str> {
        let (_, lines) = self.extensions.iter().find(|(of, _)| *of == door)?;
        argument(lines, name)
    }

    /// The door by which mail is brought in where it doesn't matter which.
    pub(crate) fn door(&self) -> Checked<Door> {
        let there = [Door::Lmtp, Door::Smtp]
            .into_iter()
            .find(|door| self.address(*door).is_some());
        there.ok_or_else(|| Stop::NotRun("neither --lmtp nor --smtp was given".to_owned()))
    }

    /// Where a door is.
    pub(crate) const fn address(&self, door: Door) -> Option<&Address> {
        match door {
            Door::Lmtp => self.setup.lmtp.as_ref(),
            Door::Smtp => self.setup.smtp.as_ref(),
        }
    }

    /// Whether mail comes in, and out by POP3.
    pub(crate) fn is_through(&self) -> bool {
        self.door().is_ok() && (self.setup.pop3.is_some() || self.setup.pop3s.is_some())
    }

    fn wire(&self, address: Option<&Address>, option: &str) -> Checked<Wire> {
        let address = address.ok_or_else(|| Stop::NotRun(format!("{option} was not given")))?;
        Wire::connect(address, self.setup.patience, &self.transcript)
    }

    /// A bare connection to the listener in clear.
    pub(crate) fn pop3_wire(&self) -> Checked<Wire> {
        self.wire(self.setup.pop3.as_ref(), "--pop3")
    }

    /// A bare connection to the listener with TLS, without TLS yet.
    pub(crate) fn pop3s_wire(&self) -> Checked<Wire> {
        self.wire(self.setup.pop3s.as_ref(), "--pop3s")
    }

    /// A session in AUTHORIZATION state, in clear.
    pub(crate) fn pop3(&self) -> Checked<Pop3> {
        Pop3::greeted(self.pop3_wire()?)
    }

    /// A session in AUTHORIZATION state under implicit TLS.
    pub(crate) fn pop3s(&self) -> Checked<Pop3> {
        let mut wire = self.pop3s_wire()?;
        wire.start_tls(&self.setup.tls)?;
        Pop3::greeted(wire)
    }

    /// A session in AUTHORIZATION state over which a password may go.
    pub(crate) fn pop3_for_password(&self) -> Checked<Pop3> {
        match self.route {
            Route::Plain => self.pop3(),
            Route::Stls => {
                let mut session = self.pop3()?;
                session.accepts("STLS")?;
                session.wire.start_tls(&self.setup.tls)?;
                Ok(session)
            }
            Route::Implicit => self.pop3s(),
        }
    }

    /// A session in TRANSACTION state.
    pub(crate) fn login(&self) -> Checked<Pop3> {
        self.login_as(&self.setup.user)
    }

    /// The same for an account.
    pub(crate) fn login_as(&self, account: &Account) -> Checked<Pop3> {
        let mut session = self.pop3_for_password()?;
        self.authenticate(&mut session, account)?;
        Ok(session)
    }

    /// The same in UTF-8 mode (RFC 6856) where that is offered: a message that needs it can't be read without.
    pub(crate) fn login_for_content(&self, account: &Account) -> Checked<Pop3> {
        let mut session = self.pop3_for_password()?;
        if self.has_capability("UTF8") {
            session.ask("UTF8")?;
        }
        self.authenticate(&mut session, account)?;
        Ok(session)
    }

    /// Logs in by USER and PASS, or where those are refused by AUTH PLAIN.
    pub(crate) fn authenticate(&self, session: &mut Pop3, account: &Account) -> Checked {
        if session.ask(&format!("USER {}", account.name))?.ok {
            session.accepts(&format!("PASS {}", account.password))?;
        } else {
            session.accepts(&format!("AUTH PLAIN {}", account.plain()))?;
        }
        Ok(())
    }

    /// A session in TRANSACTION state that sees as many of our letters as were brought in. Waits for them if they are on their way.
    pub(crate) fn open(&self, letters: usize) -> Checked<Opened> {
        self.open_by(letters, || self.login())
    }

    /// The same in UTF-8 mode where that is offered.
    pub(crate) fn open_for_content(&self, letters: usize) -> Checked<Opened> {
        self.open_by(letters, || self.login_for_content(&self.setup.user))
    }

    /// The second account's maildrop.
    pub(crate) fn open_second(&self, letters: usize) -> Checked<Opened> {
        let second = self.setup.second.as_ref();
        let second = second.ok_or_else(|| Stop::NotRun("--second-user was not given".to_owned()))?;
        self.open_by(letters, || self.login_as(second))
    }

    fn open_by(&self, letters: usize, login: impl Fn() -> Checked<Pop3>) -> Checked<Opened> {
        let until = Instant::now() + DELIVERY_PATIENCE;
        loop {
            let mut session = patiently(&login)?;
            let ours = self.ours(&mut session)?;
            if ours.len() >= letters || Instant::now() >= until {
                check!(
                    ours.len() == letters,
                    "{letters} letters were brought in and {} came out",
                    ours.len()
                );
                return Ok(Opened { session, ours });
            }
            session.quit()?;
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A session in TRANSACTION state, though one that was broken off may keep the maildrop locked for a while.
    pub(crate) fn login_patiently(&self) -> Checked<Pop3> {
        patiently(|| self.login())
    }

    /// The numbers of the messages that the suite has brought in, in this run or an earlier one. Everything else is somebody's mail.
    fn ours(&self, session: &mut Pop3) -> Checked<Vec<usize>> {
        self.transcript.pause(true);
        let found = self.look_for_ours(session);
        self.transcript.pause(false);
        found
    }

    fn look_for_ours(&self, session: &mut Pop3) -> Checked<Vec<usize>> {
        let unique_ids = match self.foreign.is_empty() {
            true => Vec::new(),
            false => session.numbered("UIDL")?,
        };
        let is_foreign = |number: usize| {
            unique_ids
                .iter()
                .any(|(other, unique_id)| *other == number && self.foreign.contains(unique_id))
        };
        let mut ours = Vec::new();
        for (number, _) in session.numbered("LIST")? {
            if !is_foreign(number) && self.is_ours(session, number)? {
                ours.push(number);
            }
        }
        Ok(ours)
    }

    fn is_ours(&self, session: &mut Pop3, number: usize) -> Checked<bool> {
        let top = match session.ask(&format!("TOP {number} 0"))?.ok {
            true => mail::fields(&crate::pop3::joined(&session.lines()?)),
            false => Vec::new(),
        };
        let has_mark = top.iter().any(|(name, value)| match name.as_str() {
            "return-path" => value.starts_with(&format!("<{TOKEN_PREFIX}")),
            name => name.eq_ignore_ascii_case(TOKEN_FIELD) && value.starts_with(TOKEN_PREFIX),
        });
        if has_mark {
            return Ok(true);
        }
        let token = self.setup.token.as_bytes();
        let whole = session.ask(&format!("RETR {number}"))?;
        if !whole.ok {
            return Ok(false);
        }
        let whole = crate::pop3::joined(&session.lines()?);
        Ok(whole.windows(token.len()).any(|window| window == token))
    }

    /// A session of SMTP or LMTP that has greeted.
    pub(crate) fn transfer(&self, door: Door) -> Checked<Transfer> {
        let mut session = self.transfer_ungreeted(door)?;
        check!(
            session.greeting.code == 220,
            "greeted with {}",
            session.greeting.shown()
        );
        session.hello(door.hello())?;
        Ok(session)
    }

    /// The same before EHLO or LHLO.
    pub(crate) fn transfer_ungreeted(&self, door: Door) -> Checked<Transfer> {
        Transfer::greeted(self.wire(self.address(door), &format!("--{}", door.name()))?)
    }

    /// MAIL with a reverse-path by which the message is known as ours.
    pub(crate) fn mail_from(&self, parameters: &str) -> String {
        format!("MAIL FROM:<{}@conform.example>{parameters}", self.setup.token)
    }

    /// A recipient whom the server can't know.
    pub(crate) fn nobody(&self) -> String {
        let domain = self
            .setup
            .user
            .address
            .rsplit_once('@')
            .map_or("", |(_, domain)| domain);
        format!("nobody-{}@{domain}", self.setup.token)
    }

    /// The next letter. No two of a run are alike, so that no server takes one for the other sent again.
    pub(crate) fn letter(&mut self) -> Vec<u8> {
        self.letters += 1;
        mail::letter(&self.setup.token, self.letters)
    }

    /// The header of a message that is like no other of the run.
    pub(crate) fn header(&mut self, subject: &str) -> String {
        self.letters += 1;
        mail::header(&self.setup.token, self.letters, subject)
    }

    /// Mail of ours is, or may be, in the maildrop from here on.
    pub(crate) const fn has_sent(&mut self) {
        self.is_dirty = true;
    }

    /// Brings content into the maildrop.
    pub(crate) fn deliver(&mut self, content: &[u8], parameters: &str) -> Checked {
        let door = self.door()?;
        let mut session = self.transfer(door)?;
        let reply = self.deliver_on(&mut session, content, parameters)?;
        check!(reply.is_ok(), "the message was refused: {}", reply.shown());
        session.quit()
    }

    /// The same in a session that is open, and what is answered at the end.
    pub(crate) fn deliver_on(
        &mut self,
        session: &mut Transfer,
        content: &[u8],
        parameters: &str,
    ) -> Checked<Reply> {
        let recipient = self.setup.user.address.clone();
        session.envelope(&self.mail_from(parameters), &[&recipient])?;
        self.has_sent();
        session.send_data(content)?;
        session.reply()
    }

    /// Brings so many letters in.
    pub(crate) fn deliver_letters(&mut self, count: usize) -> Checked {
        for _ in 0..count {
            let letter = self.letter();
            self.deliver(&letter, "")?;
        }
        Ok(())
    }

    /// Takes all mail of ours out of the maildrops.
    pub(crate) fn sweep(&mut self) -> Checked {
        if !self.is_dirty {
            return Ok(());
        }
        let second = self.setup.second.clone();
        for account in [Some(self.setup.user.clone()), second].into_iter().flatten() {
            self.sweep_of(&account)?;
        }
        self.is_dirty = false;
        Ok(())
    }

    fn sweep_of(&self, account: &Account) -> Checked {
        let mut session = patiently(|| self.login_for_content(account))?;
        for number in self.ours(&mut session)? {
            session.accepts(&format!("DELE {number}"))?;
        }
        session.quit()
    }
}

/// Tries to log in until it is let in, or for half a minute.
fn patiently(login: impl Fn() -> Checked<Pop3>) -> Checked<Pop3> {
    let until = Instant::now() + DELIVERY_PATIENCE;
    loop {
        match login() {
            Err(Stop::Failed(_) | Stop::Closed) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(100));
            }
            other => return other,
        }
    }
}

fn argument<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| {
        let (found, rest) = line.split_once(' ').unwrap_or((line, ""));
        (found == name).then_some(rest)
    })
}

/// Fails unless a message is the content that was sent, with trace fields on top.
pub(crate) fn check_whole(message: &[u8], content: &[u8]) -> Checked {
    let Some(names) = mail::fields_before(message, content) else {
        let told = mail::difference(content, message);
        return Err(Stop::Failed(format!("the content was changed, {told}")));
    };
    let odd = names
        .iter()
        .find(|name| !mail::is_trace(name) && !name.starts_with("x-"));
    check!(
        odd.is_none(),
        "on top stands {}, which is no trace field",
        printable(format!("{odd:?}").as_bytes())
    );
    Ok(())
}
