//! Listening: what a listener is, what it says of an event, and what is kept of those it can't handle.
//!
//! This is the whole of what somebody needs who writes a listener:
//!
//! ```
//! use async_trait::async_trait;
//! use mailhorn_events::{Event, Happened, Happening};
//! use mailhorn_ports::{Handled, Listener};
//!
//! /// Says how large the mail is that comes in.
//! #[derive(Debug)]
//! struct Sizes;
//!
//! #[async_trait]
//! impl Listener for Sizes {
//!     fn handles(&self, event: &Event) -> bool {
//!         matches!(event.happening, Happening::Added { .. })
//!     }
//!
//!     async fn handle(&self, happened: &Happened) -> Handled {
//!         let Happening::Added { messages, .. } = &happened.event().happening else {
//!             return Handled::Done;
//!         };
//!         let octets: u64 = messages.iter().map(|message| message.size).sum();
//!         println!("{} got {octets} octets", happened.event().user);
//!         Handled::Done
//!     }
//! }
//! ```
//!
//! # The contract
//!
//! A listener is given events **at least once**: after a crash, and after a retry, again. It must end in the same state
//! whatever comes twice ([`Happened::id`] is the same each time). Events of one mailbox and one log come in their order
//! and one after the other, those aside that it called bad; between logs there is no order, so what two of them say of
//! one message is put in order by [`Happened::stamp`].
//!
//! A listener never decides about a change: the change has happened. A group's calls run on the group's own thread: one
//! that blocks, as for a file's sync, holds up the other calls of its listener and nobody else. A listener registered for
//! keys shares its thread and must not block.

use std::fmt::{self, Debug};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mailhorn_events::{AccountId, Event, EventId, Happened, MailboxId, Position, Stamp};

/// The longest name of a group.
pub const GROUP_NAME_OCTETS_MAX: usize = 64;

/// How a listener ended with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// It has it.
    Done,
    /// It can't be handled, for this reason: it is tried again a few times by itself, then it is a dead letter.
    Bad(String),
    /// Nothing can be handled at the moment, for this reason (what the listener writes to is away): the line waits,
    /// and nothing is given up.
    NotNow(String),
}

/// How a listener ended with a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHandled {
    /// The first so many events are done.
    pub done: usize,
    /// How the next one ended; those behind it were not tried. [`Handled::Done`] when all are done; where there are more,
    /// they come again, one by one.
    pub then: Handled,
}

impl BatchHandled {
    /// Of a batch of one event.
    #[must_use]
    pub fn of_one(then: Handled) -> Self {
        let done = usize::from(then == Handled::Done);
        Self { done, then }
    }

    /// Of a batch of `events` that are all done.
    #[must_use]
    pub fn all(events: usize) -> Self {
        Self {
            done: events,
            then: Handled::Done,
        }
    }
}

/// Somebody who wants to know what happened. See the module for the contract.
#[async_trait]
pub trait Listener: Debug + Send + Sync {
    /// Whether this event is for this listener; others are done without being shown to it. Must be quick.
    fn handles(&self, event: &Event) -> bool {
        let _ = event;
        true
    }

    /// Handles an event.
    async fn handle(&self, happened: &Happened) -> Handled;

    /// Handles several events in their order, for listeners that do better by several at once
    /// ([`ListenerOptions::batch_max`]).
    async fn handle_batch(&self, batch: &[Happened]) -> BatchHandled {
        for (done, happened) in batch.iter().enumerate() {
            let then = self.handle(happened).await;
            if then != Handled::Done {
                return BatchHandled { done, then };
            }
        }
        BatchHandled::all(batch.len())
    }

    /// Of a group: events fell out of the log before the listener had them. Makes its state anew from what the store
    /// has now. `Ok(false)`, the default: it has nothing to make anew, and a dead letter names the gap.
    ///
    /// # Errors
    ///
    /// Why it could not be done now. It is tried again.
    async fn rebuild(&self) -> Result<bool, String> {
        Ok(false)
    }

    /// Of a listener registered for keys: it may have missed events of this one, and reads what it needs anew.
    async fn missed(&self, key: Key) {
        let _ = key;
    }
}

/// When the listener has an event, as seen from the reply to the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// After it.
    #[default]
    Async,
    /// Before it, on the node of the change, if that takes no longer than `events.sync_timeout`.
    Sync,
}

/// Which nodes run a group's listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// One node for each log: every event is handled once in a cluster (at least).
    #[default]
    Local,
    /// Every node that registers it handles every event of every log.
    Cluster,
}

/// How a listener is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerOptions {
    /// Before or after the reply.
    pub mode: Mode,
    /// Calls under way at a time at most.
    pub concurrency: usize,
    /// Events in a call at most.
    pub batch_max: usize,
    /// How long a call may take. One that takes longer is given up and counts as [`Handled::Bad`].
    pub execution_timeout: Duration,
    /// How often a bad event is tried again before it is a dead letter.
    pub retries: u32,
    /// The pause before the first of them is at most this long, and doubles; it is drawn between nothing and that.
    pub retry_pause: Duration,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Async,
            concurrency: 10,
            batch_max: 1,
            execution_timeout: Duration::from_secs(60),
            retries: 8,
            retry_pause: Duration::from_millis(100),
        }
    }
}

/// The name of a group: what its cursors, parked events and dead letters are found by. Stays the same over releases.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

/// Not a group's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a group's name is 1 to {GROUP_NAME_OCTETS_MAX} of a-z, 0-9, '-', '.' and '@', and begins with a letter"
)]
pub struct GroupNameError;

impl GroupName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupName {
    type Err = GroupNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'@');
        let begins_well = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if begins_well && text.len() <= GROUP_NAME_OCTETS_MAX && text.bytes().all(is_allowed) {
            Ok(Self(text.into()))
        } else {
            Err(GroupNameError)
        }
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Debug for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupName({})", self.0)
    }
}

/// What a listener of scope `mailbox` registers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// What happens in a mailbox.
    Mailbox(MailboxId),
    /// What happens to a user, in whichever mailbox.
    User(AccountId),
}

impl Key {
    /// The keys under which an event is told.
    pub fn of(event: &Event) -> impl Iterator<Item = Self> {
        let mailbox = event.mailbox.map(Self::Mailbox);
        mailbox.into_iter().chain([Self::User(event.account)])
    }
}

/// An event that a group could not handle, parked or dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The event's name, or one made from its position where it can't be read.
    pub id: EventId,
    /// Where its record stood.
    pub position: Position,
    /// The event alone, as a record in its envelope (`mailhorn_events::wire`); as it was found where it can't be read;
    /// empty for events that fell out of the log.
    pub octets: Bytes,
    /// What the listener said, or why the event can't be read.
    pub why: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was tried first.
    pub since: Stamp,
    /// When it was tried last.
    pub last: Stamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_name_is_plain() {
        for good in ["quota", "webhook.crm", "index-2@node-a"] {
            assert_eq!(good.parse::<GroupName>().unwrap().as_str(), good);
        }
        for bad in ["", "Quota", "-a", "a b", "a/b", &"a".repeat(65)] {
            assert_eq!(bad.parse::<GroupName>(), Err(GroupNameError), "{bad:?}");
        }
    }
}
