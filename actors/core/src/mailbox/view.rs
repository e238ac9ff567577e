//! A mailbox's view in memory: the messages, and what puts changes of several logs in order. Plain.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mailhorn_events::{Added, Happening, MessageId, Stamp};
use mailhorn_pop3::{Maildrop, UniqueId};
use mailhorn_ports::ViewRow;

/// Changes that a mailbox keeps unapplied; beyond, it forgets its view and reads it anew when it is asked.
pub const UNAPPLIED_CHANGES_MAX: usize = 256;
/// Messages whose removal a mailbox remembers, in case another log still tells of their coming; beyond, the older half goes.
pub const GONE_MESSAGES_MAX: usize = 4_096;

/// The messages of a mailbox at one moment, oldest id first. What a POP3 session numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    messages: Vec<Listed>,
    /// Unique-ids of another server, for the few messages that have one.
    unique_ids: HashMap<MessageId, UniqueId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    message: MessageId,
    size: u64,
}

impl Listing {
    /// The message at `index`.
    #[must_use]
    pub fn message(&self, index: usize) -> Option<MessageId> {
        self.messages.get(index).map(|listed| listed.message)
    }

    fn push(&mut self, row: &ViewRow) {
        self.messages.push(Listed {
            message: row.message,
            size: row.size,
        });
        if let Some(unique_id) = row
            .unique_id
            .as_ref()
            .and_then(|text| UniqueId::new(text.as_bytes()))
        {
            self.unique_ids.insert(row.message, unique_id);
        }
    }

    fn place(&self, message: MessageId) -> Result<usize, usize> {
        self.messages
            .binary_search_by_key(&message, |listed| listed.message)
    }

    fn add(&mut self, added: &Added) {
        let Err(place) = self.place(added.message) else {
            return;
        };
        let listed = Listed {
            message: added.message,
            size: added.size,
        };
        self.messages.insert(place, listed);
        let brought = added.unique_id.as_ref();
        if let Some(unique_id) = brought.and_then(|text| UniqueId::new(text.as_bytes())) {
            self.unique_ids.insert(added.message, unique_id);
        }
    }

    fn remove(&mut self, mut gone: Vec<MessageId>) {
        gone.sort_unstable();
        self.messages
            .retain(|listed| gone.binary_search(&listed.message).is_err());
        self.unique_ids
            .retain(|message, _| gone.binary_search(message).is_err());
    }
}

impl Maildrop for Listing {
    fn len(&self) -> usize {
        self.messages.len()
    }

    fn size(&self, index: usize) -> u64 {
        self.messages.get(index).map_or(0, |listed| listed.size)
    }

    fn unique_id(&self, index: usize) -> UniqueId {
        let message = self
            .messages
            .get(index)
            .map(|listed| listed.message)
            .unwrap_or(NO_MESSAGE);
        if let Some(unique_id) = self.unique_ids.get(&message) {
            return *unique_id;
        }
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = message.0.hyphenated().encode_lower(&mut text);
        // Thirty-six hexadecimal digits and hyphens are a unique-id (RFC 1939 §7: 1 to 70 graphic characters).
        UniqueId::new(text.as_bytes()).unwrap_or_else(|| unreachable!("a UUID's text is a unique-id"))
    }
}

const NO_MESSAGE: MessageId = MessageId(uuid::Uuid::nil());

/// The view, as far as it was read, and what came since.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Read at the first snapshot, and again after it was forgotten.
    listing: Option<Arc<Listing>>,
    /// Applied when somebody asks, so that a busy mailbox that nobody reads costs little.
    unapplied: VecDeque<Noted>,
    /// More came than is kept: a listing that is being read now may lack some of it.
    missed: bool,
    stamps: Stamps,
}

/// A change that a mailbox has noted.
#[derive(Debug)]
struct Noted {
    stamp: Stamp,
    happening: Happening,
}

/// What puts changes of several logs in order: of each message the change with the highest stamp counts, whichever comes
/// first.
#[derive(Debug, Default)]
struct Stamps {
    /// Of the few messages whose row has another stamp than their id.
    rows: HashMap<MessageId, Stamp>,
    /// Of messages that are gone, where other logs may still tell of their coming.
    gone: HashMap<MessageId, Stamp>,
    keeps_gone: bool,
}

impl Stamps {
    fn of_row(&self, message: MessageId) -> Stamp {
        self.rows
            .get(&message)
            .copied()
            .unwrap_or_else(|| message.stamp())
    }

    fn set_row(&mut self, message: MessageId, stamp: Stamp) {
        if stamp == message.stamp() {
            self.rows.remove(&message);
        } else {
            self.rows.insert(message, stamp);
        }
    }

    /// A message came in. Whether it is there now.
    fn added(&mut self, message: MessageId, stamp: Stamp, is_listed: bool) -> bool {
        if self.gone.get(&message).is_some_and(|gone| *gone >= stamp) {
            return false;
        }
        self.gone.remove(&message);
        if !is_listed || stamp > self.of_row(message) {
            self.set_row(message, stamp);
        }
        true
    }

    /// Forgets the older half when there are too many: by then every log has told.
    fn bound_gone(&mut self) {
        if self.gone.len() <= GONE_MESSAGES_MAX {
            return;
        }
        let mut stamps: Vec<Stamp> = self.gone.values().copied().collect();
        let (_, median, _) = stamps.select_nth_unstable(GONE_MESSAGES_MAX / 2);
        let median = *median;
        self.gone.retain(|_, stamp| *stamp > median);
    }

    /// A message was removed. Whether it is gone now.
    fn expunged(&mut self, message: MessageId, stamp: Stamp, is_listed: bool) -> bool {
        if is_listed && self.of_row(message) >= stamp {
            return false;
        }
        self.rows.remove(&message);
        if self.keeps_gone {
            let gone = self.gone.entry(message).or_default();
            *gone = stamp.max(*gone);
            self.bound_gone();
        }
        true
    }
}

/// A view that is being read.
#[derive(Debug, Default)]
pub(super) struct ReadView {
    pub(super) listing: Listing,
    /// Of the rows whose stamp is not their message's.
    stamps: HashMap<MessageId, Stamp>,
}

impl ReadView {
    pub(super) fn push(&mut self, row: &ViewRow) {
        self.listing.push(row);
        if row.stamp != row.message.stamp() {
            self.stamps.insert(row.message, row.stamp);
        }
    }

    /// All of it was read.
    pub(super) fn end(&mut self) {
        self.listing.messages.shrink_to_fit();
    }
}

impl View {
    /// Whether removals are remembered, since several logs tell of this mailbox.
    pub(super) fn keep_gone(&mut self, keeps: bool) {
        self.stamps.keeps_gone = keeps;
    }

    pub(super) fn changed(&mut self, stamp: Stamp, happening: &Happening) {
        if !matches!(happening, Happening::Added { .. } | Happening::Expunged { .. }) {
            return;
        }
        if self.unapplied.len() < UNAPPLIED_CHANGES_MAX {
            let happening = happening.clone();
            self.unapplied.push_back(Noted { stamp, happening });
        } else {
            self.forget();
        }
    }

    /// Reads it anew at the next snapshot.
    pub(super) fn forget(&mut self) {
        for noted in self.unapplied.drain(..) {
            // What will be read may be older than a removal that another log tells of before the coming.
            if let Happening::Expunged { messages, .. } = &noted.happening {
                for expunged in messages {
                    self.stamps.expunged(expunged.message, noted.stamp, false);
                }
            }
        }
        self.stamps.rows.clear();
        (self.listing, self.missed) = (None, true);
    }

    /// The listing with all that came, unless it has to be read.
    pub(super) fn current(&mut self) -> Option<Arc<Listing>> {
        let shared = self.listing.as_mut()?;
        if !self.unapplied.is_empty() {
            // Changed in place, or in a copy while a session still numbers by the old one.
            let listing = Arc::make_mut(shared);
            for noted in self.unapplied.drain(..) {
                apply(listing, &mut self.stamps, &noted);
            }
        }
        Some(Arc::clone(shared))
    }

    /// A listing was read; what came while it was read is applied on top, for which it does not matter whether the
    /// listing shows it already. `None` when too much came.
    pub(super) fn was_read(&mut self, read: ReadView) -> Option<Arc<Listing>> {
        if std::mem::take(&mut self.missed) {
            self.unapplied.clear();
            return None;
        }
        self.stamps.rows = read.stamps;
        self.listing = Some(Arc::new(read.listing));
        self.current()
    }
}

fn apply(listing: &mut Listing, stamps: &mut Stamps, noted: &Noted) {
    match &noted.happening {
        Happening::Added { messages, .. } => {
            for added in messages {
                let is_listed = listing.place(added.message).is_ok();
                if stamps.added(added.message, noted.stamp, is_listed) {
                    listing.add(added);
                }
            }
        }
        Happening::Expunged { messages, .. } => {
            let messages = messages.iter().map(|expunged| expunged.message);
            let gone = messages.filter(|message| {
                let is_listed = listing.place(*message).is_ok();
                stamps.expunged(*message, noted.stamp, is_listed)
            });
            listing.remove(gone.collect());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use mailhorn_events::{Arrival, Expunged};
    use proptest::prelude::*;

    fn message(n: u8) -> MessageId {
        MessageId::new(Stamp(1_767_225_600_000_000 + u64::from(n)), [n; 8])
    }

    /// What a log tells of a message: that it came, or went, with a stamp after its own.
    fn told(n: u8, came: bool, later: u64) -> (Stamp, Happening) {
        let message = message(n);
        let stamp = Stamp(message.stamp().0 + later);
        let happening = if came {
            Happening::Added {
                arrival: Arrival::Delivered,
                messages: vec![Added {
                    message,
                    size: 1,
                    chunks: 1,
                    received: stamp,
                    flags: Vec::new(),
                    unique_id: None,
                    prefix: Bytes::new(),
                }],
            }
        } else {
            Happening::Expunged {
                moved_to: None,
                messages: vec![Expunged {
                    message,
                    size: 1,
                    received: stamp,
                    flags: Vec::new(),
                }],
            }
        };
        (stamp, happening)
    }

    /// The listing after both logs, woven together as `from_first` says, with a look at it now and then.
    fn woven(logs: &[Vec<(Stamp, Happening)>; 2], from_first: &[bool]) -> Vec<MessageId> {
        let mut view = View::default();
        view.keep_gone(true);
        view.was_read(ReadView::default());
        let mut logs = logs.each_ref().map(|log| log.iter());
        let [first, second] = &mut logs;
        let mut order = from_first.iter();
        loop {
            let takes_first = order.next().copied().unwrap_or(true);
            let next = if takes_first {
                first.next().or_else(|| second.next())
            } else {
                second.next().or_else(|| first.next())
            };
            let Some((stamp, happening)) = next else { break };
            view.changed(*stamp, happening);
            if takes_first {
                view.current();
            }
        }
        let listing = view.current().unwrap();
        (0..listing.len())
            .filter_map(|index| listing.message(index))
            .collect()
    }

    proptest! {
        /// Between logs there is no order: whichever way two of them are woven together, the same messages are listed at
        /// the end, namely those whose last change by stamp is that they came.
        #[test]
        fn every_interleaving_of_two_logs_lists_the_same(
            changes in proptest::collection::vec((0u8..5, any::<bool>(), any::<bool>()), 0..40),
            orders in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 40), 2..5),
        ) {
            let mut logs = [Vec::new(), Vec::new()];
            let mut last = std::collections::BTreeMap::new();
            for (later, (n, came, in_first)) in (0u64..).zip(changes) {
                // A message comes with the stamp of its id once, and later with new ones.
                let is_known = last.contains_key(&n);
                let (stamp, happening) = told(n, came || !is_known, if is_known { later + 1 } else { 0 });
                last.insert(n, came || !is_known);
                logs[usize::from(!in_first)].push((stamp, happening));
            }
            let expected: Vec<MessageId> =
                last.iter().filter(|(_, came)| **came).map(|(n, _)| message(*n)).collect();
            for order in orders {
                prop_assert_eq!(woven(&logs, &order), expected.clone());
            }
        }
    }
}
