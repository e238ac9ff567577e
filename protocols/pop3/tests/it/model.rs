//! Random commands, from the greeting to the end, against the simplest maildrop there could be: a list, and a set of what is
//! deleted.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use mailhorn_pop3::{BAD_COMMANDS_AFTER_LOG_IN_MAX, BAD_COMMANDS_BEFORE_LOG_IN_MAX, Channel};
use proptest::prelude::*;

use crate::support::{Driver, Drop, plaintext};

#[derive(Debug, Clone)]
enum Command {
    User,
    Pass { right: bool },
    Utf8,
    Lang(Option<&'static str>),
    Capa,
    Stls,
    Stat,
    List(Option<usize>),
    Uidl(Option<usize>),
    Retr(usize),
    Top(usize, usize),
    Dele(usize),
    Rset,
    Noop,
    Nonsense,
    Quit,
}

/// A message of a header line and of so many lines of one letter.
#[derive(Debug, Clone)]
struct Message {
    lines: usize,
    /// Whether its header is ASCII.
    ascii: bool,
}

impl Message {
    fn header(&self) -> &'static str {
        if self.ascii { "S: a\r\n" } else { "S: \u{F6}\r\n" }
    }

    fn text(&self) -> String {
        self.header().to_owned() + "\r\n" + &"x\r\n".repeat(self.lines)
    }

    fn octets(&self) -> usize {
        self.text().len()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Authorization { user: bool },
    Transaction,
    Closed,
}

struct Model {
    state: State,
    utf8: bool,
    bad_commands: u8,
    failures: u8,
    messages: Vec<Message>,
    deleted: BTreeSet<usize>,
}

const ERROR: &str = "-ERR";
const CAPABILITIES: &str = "+OK capabilities follow\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUTF8 USER\r\n\
    LANG\r\nUSER\r\nSASL SCRAM-SHA-256 PLAIN LOGIN\r\n.";

impl Model {
    fn new(messages: &[Message]) -> Self {
        Self {
            state: State::Authorization { user: false },
            utf8: false,
            bad_commands: 0,
            failures: 0,
            messages: messages.to_vec(),
            deleted: BTreeSet::new(),
        }
    }

    fn live(&self) -> Vec<usize> {
        (1..=self.messages.len())
            .filter(|number| !self.deleted.contains(number))
            .collect()
    }

    fn octets(&self, number: usize) -> usize {
        self.messages[number - 1].octets()
    }

    fn summary(&self) -> String {
        let octets: usize = self.live().into_iter().map(|number| self.octets(number)).sum();
        format!("+OK {} messages ({octets} octets)", self.live().len())
    }

    fn one(&self, number: usize, reply: impl Fn(&Message) -> String) -> String {
        if self.live().contains(&number) {
            reply(&self.messages[number - 1])
        } else {
            ERROR.to_owned()
        }
    }

    fn listing(&self, line: impl Fn(usize) -> String) -> String {
        let mut reply = self.summary();
        for number in self.live() {
            write!(reply, "\r\n{number} {}", line(number)).unwrap();
        }
        reply + "\r\n."
    }

    /// RETR and TOP: what is sent of a message that may be.
    fn given(&self, number: usize, reply: impl Fn(&Message) -> String) -> String {
        self.one(number, |message| {
            if message.ascii || self.utf8 {
                reply(message)
            } else {
                "-ERR [UTF8]".to_owned()
            }
        })
    }

    /// A line that is no command.
    fn bad(&mut self) -> String {
        self.bad_commands += 1;
        let max = match self.state {
            State::Transaction => BAD_COMMANDS_AFTER_LOG_IN_MAX,
            _ => BAD_COMMANDS_BEFORE_LOG_IN_MAX,
        };
        if self.bad_commands == max {
            self.state = State::Closed;
        }
        ERROR.to_owned()
    }

    /// What the session must say, with the text of errors left out, but for that code.
    fn expect(&mut self, command: &Command) -> String {
        match (command, &self.state) {
            (_, State::Closed) => String::new(),
            // No maildrop has a message 0, so to ask for it is a mistake of the client's, too.
            (
                Command::Nonsense
                | Command::List(Some(0))
                | Command::Uidl(Some(0))
                | Command::Retr(0)
                | Command::Top(0, _)
                | Command::Dele(0),
                _,
            ) => self.bad(),
            (Command::Capa, State::Transaction) => {
                self.bad_commands = 0;
                CAPABILITIES.to_owned()
            }
            (Command::Capa, _) => CAPABILITIES.to_owned(),
            (Command::Lang(range), state) => {
                if *state == State::Transaction {
                    self.bad_commands = 0;
                }
                match range {
                    None => "+OK languages follow\r\ni-default English\r\nen English\r\n.".to_owned(),
                    Some("i-default") => "+OK i-default replies are in English".to_owned(),
                    Some("en" | "*") => "+OK en replies are in English".to_owned(),
                    Some(_) => ERROR.to_owned(),
                }
            }
            (command, State::Authorization { user }) => self.before_log_in(&command.clone(), *user),
            (command, State::Transaction) => {
                self.bad_commands = 0;
                self.after_log_in(&command.clone())
            }
        }
    }

    fn before_log_in(&mut self, command: &Command, user: bool) -> String {
        match command {
            Command::User => {
                self.state = State::Authorization { user: true };
                "+OK send PASS".to_owned()
            }
            Command::Pass { right: true } if user => {
                self.state = State::Transaction;
                self.bad_commands = 0;
                self.summary()
            }
            Command::Pass { right: false } if user => {
                self.failures += 1;
                self.state = if self.failures == 3 {
                    State::Closed
                } else {
                    State::Authorization { user: false }
                };
                ERROR.to_owned()
            }
            Command::Utf8 => {
                self.utf8 = true;
                "+OK UTF-8 mode is on".to_owned()
            }
            Command::Quit => {
                self.state = State::Closed;
                "+OK bye".to_owned()
            }
            _ => ERROR.to_owned(),
        }
    }

    fn after_log_in(&mut self, command: &Command) -> String {
        let id = |number: usize| format!("id-{}", number - 1);
        match *command {
            Command::Stat => {
                let summary = self.summary().replace(" messages (", " ").replace(" octets)", "");
                summary.trim_end().to_owned()
            }
            Command::List(None) => self.listing(|number| self.octets(number).to_string()),
            Command::Uidl(None) => self.listing(id),
            Command::List(Some(number)) => {
                self.one(number, |message| format!("+OK {number} {}", message.octets()))
            }
            Command::Uidl(Some(number)) => self.one(number, |_| format!("+OK {number} {}", id(number))),
            Command::Retr(number) => self.given(number, |message| {
                format!("+OK {} octets\r\n{}.", message.octets(), message.text())
            }),
            Command::Top(number, lines) => self.given(number, |message| {
                let body = "x\r\n".repeat(lines.min(message.lines));
                format!("+OK top of message follows\r\n{}\r\n{body}.", message.header())
            }),
            Command::Dele(number) => {
                let reply = self.one(number, |_| "+OK message deleted".to_owned());
                if reply != ERROR {
                    self.deleted.insert(number);
                }
                reply
            }
            Command::Rset => {
                self.deleted.clear();
                self.summary()
            }
            Command::Noop => "+OK nothing done".to_owned(),
            Command::Quit => {
                self.state = State::Closed;
                if self.deleted.is_empty() {
                    "+OK bye".to_owned()
                } else {
                    "+OK messages deleted, bye".to_owned()
                }
            }
            _ => ERROR.to_owned(),
        }
    }
}

fn line(command: &Command) -> String {
    match command {
        Command::User => "USER tim".to_owned(),
        Command::Pass { right: true } => "PASS tanstaaf".to_owned(),
        Command::Pass { right: false } => "PASS tanstaaF".to_owned(),
        Command::Utf8 => "UTF8".to_owned(),
        Command::Lang(None) => "LANG".to_owned(),
        Command::Lang(Some(range)) => format!("LANG {range}"),
        Command::Capa => "CAPA".to_owned(),
        Command::Stls => "STLS".to_owned(),
        Command::Stat => "STAT".to_owned(),
        Command::List(None) => "LIST".to_owned(),
        Command::Uidl(None) => "UIDL".to_owned(),
        Command::List(Some(number)) => format!("LIST {number}"),
        Command::Uidl(Some(number)) => format!("UIDL {number}"),
        Command::Retr(number) => format!("RETR {number}"),
        Command::Top(number, lines) => format!("TOP {number} {lines}"),
        Command::Dele(number) => format!("DELE {number}"),
        Command::Rset => "RSET".to_owned(),
        Command::Noop => "NOOP".to_owned(),
        Command::Nonsense => "DELE 1.5".to_owned(),
        Command::Quit => "QUIT".to_owned(),
    }
}

/// A session: perhaps UTF8, perhaps a log-in, and whatever comes to mind. A maildrop has fewer messages than numbers are asked
/// for.
fn session(messages_max: usize, commands_max: usize) -> impl Strategy<Value = (Vec<Message>, Vec<Command>)> {
    let message =
        (0_usize..10, prop::bool::weighted(0.7)).prop_map(|(lines, ascii)| Message { lines, ascii });
    let number = move || 0..=messages_max + 3;
    let command = prop_oneof![
        1 => Just(Command::User),
        2 => any::<bool>().prop_map(|right| Command::Pass { right }),
        1 => Just(Command::Utf8),
        1 => prop::option::of(prop::sample::select(vec!["en", "i-default", "*", "uga"])).prop_map(Command::Lang),
        1 => Just(Command::Capa),
        1 => Just(Command::Stls),
        2 => Just(Command::Stat),
        2 => prop::option::of(number()).prop_map(Command::List),
        2 => prop::option::of(number()).prop_map(Command::Uidl),
        4 => number().prop_map(Command::Retr),
        2 => (number(), 0_usize..12).prop_map(|(number, lines)| Command::Top(number, lines)),
        12 => number().prop_map(Command::Dele),
        1 => Just(Command::Rset),
        1 => Just(Command::Noop),
        1 => Just(Command::Nonsense),
    ];
    let begin = prop_oneof![
        1 => Just(vec![]),
        3 => Just(vec![Command::User, Command::Pass { right: true }]),
        3 => Just(vec![Command::Utf8, Command::User, Command::Pass { right: true }]),
    ];
    let messages = prop::collection::vec(message, 0..=messages_max);
    let rest = prop::collection::vec(command, 0..commands_max);
    let quits = prop::bool::weighted(0.8);
    (messages, begin, rest, quits).prop_map(|(messages, begin, rest, quits)| {
        let quit = quits.then_some(Command::Quit);
        (messages, begin.into_iter().chain(rest).chain(quit).collect())
    })
}

fn driver(messages: &[Message]) -> Driver {
    let maildrop = Drop(
        messages
            .iter()
            .map(|message| message.text().into_bytes())
            .collect(),
    );
    let mut driver = Driver::new(plaintext(), Channel::Plain, maildrop);
    driver.internationalized = true;
    driver
}

/// What the session says to a command, with the text of errors left out, but for that code.
fn say(driver: &mut Driver, command: &str) -> String {
    driver.sent.clear();
    driver.receive(format!("{command}\r\n").as_bytes());
    let reply = String::from_utf8(driver.sent.clone()).unwrap();
    let reply = reply.strip_suffix("\r\n").unwrap_or_default();
    match reply {
        refused if refused.starts_with("-ERR [UTF8]") => "-ERR [UTF8]".to_owned(),
        refused if refused.starts_with(ERROR) => ERROR.to_owned(),
        reply => reply.to_owned(),
    }
}

proptest! {
    #[test]
    fn a_session_behaves_like_a_list_and_a_set((messages, commands) in session(80, 70), known in any::<bool>()) {
        let mut driver = driver(&messages);
        let mut model = Model::new(&messages);
        for command in &commands {
            let quits = matches!(command, Command::Quit) && model.state == State::Transaction;
            let marked: Vec<usize> = model.deleted.iter().map(|number| number - 1).collect();
            let asks = quits && !marked.is_empty();
            if asks && !known {
                driver.run("world: CommitUnknown");
            }
            driver.transcript.clear();
            let said = say(&mut driver, &line(command));
            let expected = model.expect(command);
            let expected = if asks && !known { ERROR } else { &expected };
            prop_assert_eq!(said, expected, "{:?}", command);
            prop_assert_eq!(driver.closed, model.state == State::Closed, "{:?}", command);
            let commit = format!("ask Commit {{ indexes: {marked:?} }}");
            prop_assert_eq!(driver.transcript.contains("ask Commit"), asks, "{:?}", command);
            prop_assert_eq!(driver.transcript.contains(&commit), asks, "{}", driver.transcript);
        }
    }

    #[test]
    fn a_session_is_the_same_wherever_its_octets_are_cut((messages, commands) in session(5, 12)) {
        let stream: String = commands.iter().map(|command| line(command) + "\r\n").collect();
        let replies = |parts: [&[u8]; 2]| {
            let mut driver = driver(&messages);
            // Of its own the driver cuts nothing then.
            driver.chunk = 1_000;
            for part in parts {
                driver.receive(part);
            }
            driver.sent
        };
        let whole = replies([stream.as_bytes(), b""]);
        for cut in 1..stream.len() {
            let (before, after) = stream.as_bytes().split_at(cut);
            prop_assert_eq!(&replies([before, after]), &whole, "cut at {}", cut);
        }
    }
}
