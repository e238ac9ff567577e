//! What a POP3 session reads before it is asked for: clients retrieve one message after the other, and one job of the
//! reading pool serves several of them.
//!
//! Bounded twice: by octets for each session, and by the number of sessions that may read ahead at a time. Beyond
//! that, sessions read message by message.

use std::collections::VecDeque;
use std::sync::Arc;

use mailhorn_ports::Part;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Octets that a session reads ahead at most, the last message aside.
pub const READ_AHEAD_OCTETS_MAX: usize = 128 * 1024;
/// Messages that a session reads ahead at most.
pub const READ_AHEAD_MESSAGES_MAX: usize = 32;
/// Sessions that may hold what they have read ahead at a time: 16 MiB in all.
pub const READ_AHEAD_SESSIONS_MAX: usize = 128;

/// Permits for reading ahead, shared by all sessions.
#[must_use]
pub fn permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(READ_AHEAD_SESSIONS_MAX))
}

/// First parts of the messages that a session will be asked for next, in their order.
#[derive(Debug, Default)]
pub struct ReadAhead {
    /// The message that comes next if the client goes on in order.
    next: usize,
    parts: VecDeque<Part>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ReadAhead {
    /// The first part of the message at `index`, if it is at hand. A client that leaves the order loses what is there.
    pub fn take(&mut self, index: usize) -> Option<Part> {
        let in_order = index == self.next;
        self.next = index.saturating_add(1);
        let part = if in_order { self.parts.pop_front() } else { None };
        if part.is_none() {
            self.parts = VecDeque::new();
        }
        if self.parts.is_empty() {
            self.permit = None;
        }
        part
    }

    /// Whether the client asks for one message after the other, now that it asks for the one at `index`.
    #[must_use]
    pub fn expects(&self, index: usize) -> bool {
        index == self.next
    }

    /// Keeps what was read beyond the message at `index`, which is being sent.
    pub fn keep(&mut self, index: usize, parts: VecDeque<Part>, permit: OwnedSemaphorePermit) {
        self.next = index.saturating_add(1);
        self.permit = (!parts.is_empty()).then_some(permit);
        self.parts = parts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn part(text: &'static str) -> Part {
        Part {
            octets: Bytes::from_static(text.as_bytes()),
            more: false,
        }
    }

    #[test]
    fn messages_come_in_order_and_the_permit_goes_with_the_last() {
        let permits = permits();
        let mut ahead = ReadAhead::default();
        assert!(ahead.expects(0));
        assert_eq!(ahead.take(0), None);
        let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
        ahead.keep(0, VecDeque::from([part("b"), part("c")]), permit);
        assert_eq!(permits.available_permits(), READ_AHEAD_SESSIONS_MAX - 1);
        assert_eq!(ahead.take(1), Some(part("b")));
        assert_eq!(ahead.take(2), Some(part("c")));
        assert_eq!(permits.available_permits(), READ_AHEAD_SESSIONS_MAX);
        assert_eq!(ahead.take(3), None);
    }

    #[test]
    fn leaving_the_order_drops_what_was_read() {
        let permits = permits();
        let mut ahead = ReadAhead::default();
        let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
        ahead.keep(0, VecDeque::from([part("b")]), permit);
        assert_eq!(ahead.take(5), None);
        assert!(ahead.expects(6));
        assert_eq!(
            ahead.take(1),
            None,
            "what was read for another place is never sent for this one"
        );
        assert_eq!(permits.available_permits(), READ_AHEAD_SESSIONS_MAX);
    }
}
