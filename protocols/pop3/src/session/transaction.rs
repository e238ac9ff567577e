//! TRANSACTION: the maildrop and its marks (RFC 1939 §5 and §7).

use super::{Answer, Ask, Session, State, Step, error, error_with, language, ok, out_of_turn};
use crate::command::{Command, MessageNumber, SyntaxError};
use crate::deletions::Deletions;
use crate::reply::{Column, ResponseCode};
use crate::{BodyEncoder, Lines, Listing, Maildrop, Reply, StatusLine};

/// A maildrop and which of its messages are marked as deleted. Numbers never change (RFC 1939 §4).
#[derive(Debug)]
pub(super) struct Transaction<M> {
    maildrop: M,
    deleted: Deletions,
    /// Of the messages that are not deleted: STAT need not look at each again.
    live: Totals,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    messages: usize,
    octets: u64,
}

impl<M: Maildrop> Transaction<M> {
    pub(super) fn new(maildrop: M) -> Self {
        let live = Totals::of(&maildrop);
        Self {
            maildrop,
            deleted: Deletions::default(),
            live,
        }
    }

    pub(super) fn maildrop(&self) -> &M {
        &self.maildrop
    }

    /// The positions from `from` on that are not deleted. There is no other way to a list of messages.
    pub(super) fn live(&self, from: usize) -> impl Iterator<Item = usize> {
        (from..self.maildrop.len()).filter(|index| !self.deleted.contains(*index))
    }

    pub(super) fn summary(&self) -> StatusLine {
        let Totals { messages, octets } = self.live;
        StatusLine::ok(format!("{messages} messages ({octets} octets)"))
    }

    /// The position of a message that is there and not deleted.
    fn find(&self, number: MessageNumber) -> Result<usize, &'static str> {
        let index = number.index();
        if index >= self.maildrop.len() {
            return Err(SyntaxError::NoSuchMessage.text());
        }
        if self.deleted.contains(index) {
            return Err("message is deleted");
        }
        Ok(index)
    }

    fn delete(&mut self, index: usize) {
        self.deleted.insert(index, self.maildrop.len());
        self.live.messages = self.live.messages.saturating_sub(1);
        self.live.octets = self.live.octets.saturating_sub(self.maildrop.size(index));
    }

    fn undelete_all(&mut self) {
        self.deleted = Deletions::default();
        self.live = Totals::of(&self.maildrop);
    }

    fn deleted(&self) -> Vec<usize> {
        (0..self.maildrop.len())
            .filter(|index| self.deleted.contains(*index))
            .collect()
    }
}

impl Totals {
    fn of(maildrop: &impl Maildrop) -> Self {
        let messages = maildrop.len();
        let octets = (0..messages).fold(0_u64, |octets, index| octets.saturating_add(maildrop.size(index)));
        Self { messages, octets }
    }
}

impl<M: Maildrop> Session<M> {
    pub(super) fn transaction(
        &mut self,
        mut transaction: Transaction<M>,
        command: Result<Command, SyntaxError>,
    ) -> Step {
        let command = match command {
            Ok(command) => command,
            Err(syntax) => return self.bad(State::Transaction(transaction), syntax.text()),
        };
        self.bad_commands = 0;
        let reply = match command {
            Command::Stat => stat(&transaction),
            Command::List(None) => Reply::Listing(Listing::new(Column::Size)),
            Command::Uidl(None) => Reply::Listing(Listing::new(Column::UniqueId)),
            Command::List(Some(number)) => about(&transaction, number, Column::Size),
            Command::Uidl(Some(number)) => about(&transaction, number, Column::UniqueId),
            Command::Body(number, lines) => match transaction.find(number) {
                Ok(index) => {
                    let state = State::BodyAwaited {
                        transaction,
                        index,
                        lines,
                    };
                    let utf8 = self.utf8;
                    return self.ask(state, Ask::Body { index, lines, utf8 });
                }
                Err(text) => error(text),
            },
            Command::Dele(number) => match transaction.find(number) {
                Ok(index) => {
                    transaction.delete(index);
                    ok("message deleted")
                }
                Err(text) => error(text),
            },
            Command::Noop => ok("nothing done"),
            Command::Rset => {
                transaction.undelete_all();
                Reply::Line(transaction.summary())
            }
            Command::Quit => return self.quit(transaction),
            Command::Capa => self.capabilities(false),
            Command::Lang(range) => language(range),
            // RFC 2595 §4, RFC 5034 §4 and RFC 6856 §2: only in AUTHORIZATION.
            Command::User(_)
            | Command::Pass(_)
            | Command::AuthList
            | Command::Auth { .. }
            | Command::Stls
            | Command::Utf8 => error("already logged in"),
        };
        self.go_on(State::Transaction(transaction), reply)
    }

    /// RFC 1939 §6: only QUIT leads to UPDATE, and its reply waits for the deletions.
    fn quit(&mut self, transaction: Transaction<M>) -> Step {
        let indexes = transaction.deleted();
        if indexes.is_empty() {
            return Step::ReplyThenClose(ok("bye"));
        }
        self.ask(State::Update(transaction), Ask::Commit { indexes })
    }

    /// The answer to [`Ask::Body`]. A message that cannot be read is an error of that message alone.
    pub(super) fn body(
        &mut self,
        transaction: Transaction<M>,
        index: usize,
        lines: Lines,
        answer: &Answer<M>,
    ) -> Step {
        let reply = match answer {
            Answer::Body => {
                let line = match lines {
                    Lines::All => StatusLine::ok(format!("{} octets", transaction.maildrop.size(index))),
                    Lines::Top(_) => StatusLine::ok("top of message follows"),
                };
                self.state = State::Transaction(transaction);
                return Step::ReplyThenBody(Reply::Line(line), BodyEncoder::new(lines));
            }
            Answer::Missing => error_with(ResponseCode::SysTemp, "message is not there now"),
            Answer::Damaged => error_with(ResponseCode::SysPerm, "message is damaged"),
            Answer::NeedsUtf8 => error_with(
                ResponseCode::Utf8,
                "message is in UTF-8, log in again and send UTF8 before",
            ),
            Answer::Unavailable => error_with(ResponseCode::SysTemp, "message cannot be read now"),
            _ => return out_of_turn(),
        };
        self.go_on(State::Transaction(transaction), reply)
    }
}

/// RFC 1939 §5: a drop listing, `+OK`, the number of messages, the size of the maildrop.
fn stat<M: Maildrop>(transaction: &Transaction<M>) -> Reply {
    let Totals { messages, octets } = transaction.live;
    Reply::Line(StatusLine::ok(format!("{messages} {octets}")))
}

/// LIST or UIDL of one message.
fn about<M: Maildrop>(transaction: &Transaction<M>, number: MessageNumber, column: Column) -> Reply {
    let index = match transaction.find(number) {
        Ok(index) => index,
        Err(text) => return error(text),
    };
    let number = index.saturating_add(1);
    Reply::Line(StatusLine::ok(match column {
        Column::Size => format!("{number} {}", transaction.maildrop.size(index)),
        Column::UniqueId => format!("{number} {}", transaction.maildrop.unique_id(index).as_str()),
    }))
}
