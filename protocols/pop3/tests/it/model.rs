//! Random commands against the simplest maildrop there could be: a list, and a set of what is deleted.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use mailhorn_pop3::Channel;
use proptest::prelude::*;

use crate::support::{Driver, Drop, plaintext};

#[derive(Debug, Clone)]
enum Command {
    Stat,
    List(Option<usize>),
    Uidl(Option<usize>),
    Retr(usize),
    Dele(usize),
    Rset,
    Noop,
    Nonsense,
}

struct Model {
    sizes: Vec<usize>,
    deleted: BTreeSet<usize>,
}

impl Model {
    fn live(&self) -> Vec<usize> {
        (1..=self.sizes.len())
            .filter(|number| !self.deleted.contains(number))
            .collect()
    }

    fn total(&self) -> usize {
        self.live().into_iter().map(|number| self.sizes[number - 1]).sum()
    }

    fn one(&self, number: usize, reply: impl Fn(&Self) -> String) -> String {
        if self.live().contains(&number) {
            reply(self)
        } else {
            "-ERR".to_owned()
        }
    }

    fn listing(&self, line: impl Fn(usize) -> String) -> String {
        let mut reply = format!("+OK {} messages ({} octets)", self.live().len(), self.total());
        for number in self.live() {
            write!(reply, "\r\n{number} {}", line(number)).unwrap();
        }
        reply + "\r\n."
    }

    fn size(&self, number: usize) -> String {
        self.sizes[number - 1].to_string()
    }

    /// What the session must say, with the text of errors left out.
    fn expect(&mut self, command: &Command) -> String {
        let id = |number: usize| format!("id-{}", number - 1);
        match *command {
            Command::Stat => format!("+OK {} {}", self.live().len(), self.total()),
            Command::List(None) => self.listing(|number| self.size(number)),
            Command::Uidl(None) => self.listing(id),
            Command::List(Some(number)) => {
                self.one(number, |model| format!("+OK {number} {}", model.size(number)))
            }
            Command::Uidl(Some(number)) => self.one(number, |_| format!("+OK {number} {}", id(number))),
            Command::Retr(number) => self.one(number, |model| {
                let octets = model.sizes[number - 1];
                let end = if octets == 0 { "." } else { "\r\n." };
                format!("+OK {octets} octets\r\n{}{end}", "x".repeat(octets))
            }),
            Command::Dele(number) => {
                let reply = self.one(number, |_| "+OK message deleted".to_owned());
                if reply != "-ERR" {
                    self.deleted.insert(number);
                }
                reply
            }
            Command::Rset => {
                self.deleted.clear();
                format!("+OK {} messages ({} octets)", self.live().len(), self.total())
            }
            Command::Noop => "+OK nothing done".to_owned(),
            Command::Nonsense => "-ERR".to_owned(),
        }
    }
}

fn line(command: &Command) -> String {
    match command {
        Command::Stat => "STAT".to_owned(),
        Command::List(None) => "LIST".to_owned(),
        Command::Uidl(None) => "UIDL".to_owned(),
        Command::List(Some(number)) => format!("LIST {number}"),
        Command::Uidl(Some(number)) => format!("UIDL {number}"),
        Command::Retr(number) => format!("RETR {number}"),
        Command::Dele(number) => format!("DELE {number}"),
        Command::Rset => "RSET".to_owned(),
        Command::Noop => "NOOP".to_owned(),
        Command::Nonsense => "DELE 1.5".to_owned(),
    }
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let number = || 0_usize..90;
    let command = prop_oneof![
        1 => Just(Command::Stat),
        1 => proptest::option::of(number()).prop_map(Command::List),
        1 => proptest::option::of(number()).prop_map(Command::Uidl),
        2 => number().prop_map(Command::Retr),
        6 => number().prop_map(Command::Dele),
        1 => Just(Command::Rset),
        1 => Just(Command::Noop),
        1 => Just(Command::Nonsense),
    ];
    // Fewer than end a session, even if all were nonsense.
    proptest::collection::vec(command, 0..60)
}

fn say(driver: &mut Driver, command: &str) -> String {
    driver.sent.clear();
    driver.receive(format!("{command}\r\n").as_bytes());
    let reply = String::from_utf8(driver.sent.clone()).unwrap();
    let reply = reply.strip_suffix("\r\n").unwrap();
    if reply.starts_with("-ERR") {
        "-ERR".to_owned()
    } else {
        reply.to_owned()
    }
}

proptest! {
    #[test]
    fn a_session_behaves_like_a_list_and_a_set(
        sizes in proptest::collection::vec(0_usize..30, 0..80), commands in commands(),
    ) {
        let maildrop = Drop(sizes.iter().map(|size| vec![b'x'; *size]).collect());
        let mut driver = Driver::new(plaintext(), Channel::Plain, maildrop);
        driver.run("C: USER tim\nC: PASS tanstaaf");
        let mut model = Model { sizes, deleted: BTreeSet::new() };
        let mut nonsense = 0;
        for command in &commands {
            nonsense = if matches!(command, Command::Stat) { 0 } else { nonsense + 1 };
            if nonsense == 15 {
                prop_assert_eq!(say(&mut driver, "NOOP"), "+OK nothing done");
                nonsense = 0;
            }
            prop_assert_eq!(say(&mut driver, &line(command)), model.expect(command), "{:?}", command);
        }
        driver.transcript.clear();
        driver.run("C: QUIT");
        let marked: Vec<usize> = model.deleted.iter().map(|number| number - 1).collect();
        let expected = if marked.is_empty() {
            "C: QUIT\nS: +OK bye\n-- closed\n".to_owned()
        } else {
            format!("C: QUIT\n   ask Commit {{ indexes: {marked:?} }}\nS: +OK messages deleted, bye\n-- closed\n")
        };
        prop_assert_eq!(driver.transcript, expected);
    }
}
