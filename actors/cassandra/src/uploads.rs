//! Messages whose octets come in: what is said of them before, for whoever adopts the log, and what becomes of those that
//! no change made valid.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mailhorn_events::{Generation, Happening, MessageId, Stamp};
use mailhorn_ports::StoreError;
use parking_lot::Mutex;

use crate::content::condemn_all;
use crate::log::Appended;
use crate::options::CLOCK_SKEW_MAX;
use crate::statements::Statement;
use crate::store::Inner;
use crate::sweep::hour;
use crate::values::{bigint, int, uuid};
use crate::view::id_list;

/// Messages whose chunks come in at a time at most; of those that began before, a commit says that their octets are lost.
const COMING_MAX: usize = 100_000;
/// Messages that are remembered at most until they are condemned. The octets of others stay.
const GIVEN_UP_MAX: usize = 100_000;
/// A message is given up when no chunk of it came for this long and no change has made it valid.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(86_400);
/// Messages that one step of housekeeping condemns.
pub(crate) const CONDEMNED_IN_A_STEP: usize = 1_000;
/// How long is known what a process was about to write.
const NAMED_FOR: Duration = Duration::from_secs(2 * 86_400);
/// What was announced this long before a log's last append, or later, may have been on its way when the process died. The
/// octets of what began before that and was still not taken stay.
const TAIL: Duration = Duration::from_secs(15 * 60);
/// Messages of a log's tail that are looked at: beyond, octets stay.
const TAIL_MESSAGES_MAX: usize = 1_000_000;
/// Rows of announcements that are asked for at once.
const ROWS_READ: usize = 500;

/// What comes in through this process.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Of messages that no change has made valid yet.
    coming: BTreeMap<MessageId, Coming>,
    /// Messages that no change will make valid.
    given_up: BTreeSet<MessageId>,
}

#[derive(Debug, Clone, Copy)]
struct Coming {
    chunks: u32,
    /// When the last of them was written.
    written: Stamp,
}

impl State {
    fn give_up(&mut self, message: MessageId) {
        if self.given_up.len() < GIVEN_UP_MAX {
            self.given_up.insert(message);
        }
    }
}

impl Uploads {
    /// A chunk was written.
    pub(crate) fn wrote(&self, message: MessageId, index: u32, now: Stamp) {
        let mut state = self.0.lock();
        let coming = Coming {
            chunks: index.saturating_add(1),
            written: now,
        };
        state.coming.insert(message, coming);
        if state.coming.len() > COMING_MAX
            && let Some((oldest, _)) = state.coming.pop_first()
        {
            state.give_up(oldest);
        }
    }

    /// Chunks that were written of these messages.
    pub(crate) fn written(&self, messages: impl Iterator<Item = MessageId>) -> BTreeMap<MessageId, u32> {
        let state = self.0.lock();
        messages
            .filter_map(|message| Some((message, state.coming.get(&message)?.chunks)))
            .collect()
    }

    /// A change has decided about a message: somebody got it or nobody did.
    pub(crate) fn decided(&self, message: MessageId, is_stored: bool) {
        let mut state = self.0.lock();
        if state.coming.remove(&message).is_some() && !is_stored {
            state.give_up(message);
        }
    }

    /// Some of those that no change will make valid.
    pub(crate) fn given_up(&self, now: Stamp) -> Vec<MessageId> {
        let after = u64::try_from(GIVEN_UP_AFTER.as_micros()).unwrap_or(u64::MAX);
        let mut state = self.0.lock();
        let is_old = |coming: &Coming| now.0.saturating_sub(coming.written.0) > after;
        let old: Vec<MessageId> = state
            .coming
            .extract_if(.., |_, coming| is_old(coming))
            .map(|(message, _)| message)
            .collect();
        old.into_iter().for_each(|message| state.give_up(message));
        state.given_up.iter().copied().take(CONDEMNED_IN_A_STEP).collect()
    }

    /// All of them, and all that were still coming: nothing comes any more.
    fn all(&self) -> Vec<MessageId> {
        let state = self.0.lock();
        state.coming.keys().chain(&state.given_up).copied().collect()
    }

    /// These are condemned: whoever sweeps sees to them.
    fn forget(&self, messages: &[MessageId]) {
        let mut state = self.0.lock();
        for message in messages {
            state.coming.remove(message);
            state.given_up.remove(message);
        }
    }
}

impl Inner {
    /// Writes down which messages are about to come, for whoever adopts this process's log.
    pub(crate) async fn announce_upload(
        &self,
        generation: Generation,
        messages: &[MessageId],
    ) -> Result<(), StoreError> {
        let Some(first) = messages.first() else {
            return Ok(());
        };
        let now = self.now();
        let ttl = i32::try_from(NAMED_FOR.as_secs()).unwrap_or(i32::MAX);
        let values = vec![
            uuid(generation.0),
            int(hour(now)),
            uuid(first.0),
            id_list(messages),
            bigint(now.0),
            int(ttl),
        ];
        self.cql.run(Statement::Upload, values).await?;
        Ok(())
    }

    /// Condemns what this process began to write and gave up.
    pub(crate) async fn condemn_given_up(&self, messages: &[MessageId]) -> Result<(), StoreError> {
        condemn_all(&*self.cql, messages, self.now()).await?;
        self.uploads.forget(messages);
        Ok(())
    }

    /// The same at a process's end: nothing that was on its way will come.
    pub(crate) async fn condemn_all_that_came(&self) -> Result<(), StoreError> {
        self.condemn_given_up(&self.uploads.all()).await
    }

    /// Condemns what the process of a log announced and did not come to. `last` is when it appended last, or when it began.
    pub(crate) async fn condemn_tail(
        &self,
        generation: Generation,
        end: u64,
        last: Stamp,
    ) -> Result<(), StoreError> {
        let since = back(last, TAIL);
        let mut announced = self.announced(generation, since).await?;
        if announced.is_empty() {
            return Ok(());
        }
        // A message's id may be ahead of the clock by which an append is dated.
        let appended = back(since, CLOCK_SKEW_MAX.saturating_mul(2));
        let seen = |append: Appended| {
            for message in added(&append, end) {
                announced.remove(&message);
            }
        };
        self.parts.since(&*self.cql, generation, appended, seen).await?;
        let lost: Vec<MessageId> = announced.into_iter().collect();
        condemn_all(&*self.cql, &lost, self.now()).await
    }

    /// The messages that a process announced since then, as far as that is still known.
    async fn announced(
        &self,
        generation: Generation,
        since: Stamp,
    ) -> Result<BTreeSet<MessageId>, StoreError> {
        let now = self.now();
        let skewed = Stamp(now.0.saturating_add(micros(CLOCK_SKEW_MAX.saturating_mul(2))));
        let mut messages = BTreeSet::new();
        for hour in hour(since.max(back(now, NAMED_FOR)))..=hour(skewed) {
            let mut after = MessageId::new(since, [0; 8]);
            loop {
                let limit = i32::try_from(ROWS_READ).unwrap_or(i32::MAX);
                let values = vec![uuid(generation.0), int(hour), uuid(after.0), int(limit)];
                let rows = self.cql.run(Statement::UploadsFrom, values).await?;
                for row in &rows {
                    after = MessageId(row.uuid(0)?);
                    let ids = row.list(1)?;
                    let ids = ids.iter().filter_map(|id| uuid::Uuid::from_slice(id).ok());
                    messages.extend(ids.map(MessageId));
                }
                if messages.len() >= TAIL_MESSAGES_MAX {
                    return Ok(messages);
                }
                if rows.len() < ROWS_READ {
                    break;
                }
            }
        }
        Ok(messages)
    }
}

/// The messages that an append tells of, as far as it happened.
fn added(append: &Appended, end: u64) -> Vec<MessageId> {
    let happened = append.entries().into_iter().filter(|entry| entry.number <= end);
    let records = happened.filter_map(|entry| entry.record.ok());
    let mut messages = Vec::new();
    for record in records {
        for event in &record.events {
            if let Happening::Added { messages: added, .. } = &event.happening {
                messages.extend(added.iter().map(|added| added.message));
            }
        }
    }
    messages
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn back(stamp: Stamp, time: Duration) -> Stamp {
    Stamp(stamp.0.saturating_sub(micros(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: u8) -> MessageId {
        MessageId::new(Stamp(1_000_000), [n; 8])
    }

    #[test]
    fn what_nobody_got_is_given_up_at_once_and_what_never_came_to_an_end_after_a_day() {
        let uploads = Uploads::default();
        let now = Stamp(1);
        let later = Stamp(now.0 + micros(GIVEN_UP_AFTER));
        for n in 1..=4 {
            uploads.wrote(message(n), 0, now);
        }
        uploads.wrote(message(4), 1, later);
        uploads.decided(message(1), true);
        uploads.decided(message(2), false);
        assert_eq!(uploads.given_up(later), [message(2)]);
        assert_eq!(uploads.given_up(later.next()), [message(2), message(3)]);
        assert_eq!(
            uploads.written((1..=4).map(message)),
            [(message(4), 2)].into(),
            "a commit finds what is still coming, and no other"
        );
        uploads.forget(&[message(2), message(3)]);
        assert!(uploads.given_up(later.next()).is_empty());
        assert_eq!(uploads.all(), [message(4)]);
    }

    #[test]
    fn what_is_too_much_is_given_up_and_that_has_a_limit_too() {
        let uploads = Uploads::default();
        let id = |n: u64| MessageId::new(Stamp(1_000 * n), [0; 8]);
        let over = 2 * u64::try_from(COMING_MAX).unwrap() + 5;
        for n in 0..over {
            uploads.wrote(id(n), 0, Stamp(1));
        }
        assert_eq!(uploads.0.lock().coming.len(), COMING_MAX);
        assert_eq!(uploads.0.lock().given_up.len(), GIVEN_UP_MAX);
        assert_eq!(uploads.given_up(Stamp(1)).len(), CONDEMNED_IN_A_STEP);
    }
}
