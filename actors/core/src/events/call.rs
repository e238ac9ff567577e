//! One call of a group's listener, with what follows from it in the store: an event that is bad is parked, or given up,
//! before anything behind it in its lane goes on.

use std::sync::Arc;

use bytes::Bytes;
use mailhorn_events::{Happened, Stamp, wire};
use mailhorn_ports::{GroupName, GroupStore, Handled, Ids, Letter, Listener, ListenerOptions, StoreError};

use super::attempt::{Attempt, attempt};
use super::schedule::Turn;

/// What a call needs.
#[derive(Debug)]
pub(super) struct CallDeps {
    pub(super) group: GroupName,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) options: ListenerOptions,
    pub(super) store: Arc<dyn GroupStore>,
    pub(super) ids: Ids,
}

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) turn: Turn<Happened>,
    /// Set where it was the retry of a parked event.
    pub(super) retried: Option<Letter>,
    /// The first so many events are done.
    pub(super) done: usize,
    /// What became of the next one.
    pub(super) then: Then,
}

/// What became of the first event that isn't done.
#[derive(Debug)]
pub(super) enum Then {
    /// There is none.
    AllDone,
    /// It is parked, durably.
    Parked(Letter),
    /// It is a dead letter.
    Dead(Letter),
    /// Nothing can be handled at the moment.
    NotNow(String),
    /// The call was lost, and which of its events is to blame can't be told: they go one by one.
    Singly(String),
}

impl CallDeps {
    /// Shows the events of `turn` to the listener. `counts`: a failure of a retry brings it nearer to its end.
    pub(super) async fn call(
        self: Arc<Self>,
        turn: Turn<Happened>,
        retried: Option<Letter>,
        counts: bool,
    ) -> Ended {
        let events: Vec<Happened> = turn.jobs.iter().map(|(_, happened)| happened.clone()).collect();
        let count = events.len();
        let attempt = attempt(&self.listener, &events, self.options.execution_timeout).await;
        let (done, handled) = match attempt {
            Attempt::Handled(handled) => (handled.done.min(count), handled.then),
            Attempt::Lost(why) if count == 1 => (0, Handled::Bad(why)),
            Attempt::Lost(why) => {
                let then = Then::Singly(why);
                return Ended {
                    turn,
                    retried,
                    done: 0,
                    then,
                };
            }
        };
        let then = match (handled, turn.jobs.get(done), &retried) {
            (_, None, None) => Then::AllDone,
            (_, None, Some(letter)) | (Handled::Done, _, Some(letter)) => self.unpark(letter).await,
            // A listener that says less than all are done, and that all is well, has its rest again.
            (Handled::Done, Some(_), None) => Then::Singly("the listener left events out".into()),
            (Handled::NotNow(why), _, _) => Then::NotNow(why),
            (Handled::Bad(why), Some((_, happened)), None) => self.park(happened, why).await,
            (Handled::Bad(why), _, Some(letter)) => self.failed_again(letter, why, counts).await,
        };
        Ended {
            turn,
            retried,
            done,
            then,
        }
    }

    async fn park(&self, happened: &Happened, why: String) -> Then {
        let letter = letter(happened, why, self.ids.now());
        if self.options.retries == 0 {
            return self.bury(letter).await;
        }
        match self.store.park(&self.group, &letter).await {
            Ok(()) => Then::Parked(letter),
            Err(error) => Then::NotNow(can_not("park an event", &error)),
        }
    }

    async fn failed_again(&self, before: &Letter, why: String, counts: bool) -> Then {
        let letter = Letter {
            why,
            attempts: before.attempts.saturating_add(u32::from(counts)),
            last: self.ids.now(),
            ..before.clone()
        };
        if letter.attempts > self.options.retries && counts {
            return self.bury(letter).await;
        }
        // How often it was tried is not made durable: after a crash it is tried a few times more.
        Then::Parked(letter)
    }

    async fn bury(&self, letter: Letter) -> Then {
        match self.store.bury(&self.group, &letter).await {
            Ok(()) => Then::Dead(letter),
            Err(error) => Then::NotNow(can_not("keep a dead letter", &error)),
        }
    }

    async fn unpark(&self, letter: &Letter) -> Then {
        match self.store.unpark(&self.group, letter).await {
            Ok(()) => Then::AllDone,
            Err(error) => Then::NotNow(can_not("let go of a parked event", &error)),
        }
    }
}

fn can_not(what: &str, error: &StoreError) -> String {
    format!("the store can't {what}: {error}")
}

/// The letter of an event that was tried once.
pub(super) fn letter(happened: &Happened, why: String, now: Stamp) -> Letter {
    Letter {
        id: happened.id(),
        position: happened.position(),
        octets: Bytes::from(wire::encode(&happened.to_record(), wire::Format::MessagePack)),
        why,
        attempts: 1,
        since: now,
        last: now,
    }
}

/// The event of a letter; why it can't be read, where it can't.
pub(super) fn opened(letter: &Letter) -> Result<Happened, String> {
    if letter.octets.is_empty() {
        return Err("events that fell out of the log can't be brought back".into());
    }
    let record = wire::decode(&letter.octets).map_err(|error| error.to_string())?;
    let first = Happened::all(letter.position, &Arc::new(record)).next();
    first.ok_or_else(|| "it holds no event".into())
}
