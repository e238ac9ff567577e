//! Chunks that no change has made valid yet: which segment they went to.

use std::collections::BTreeMap;
use std::time::Duration;

use mailhorn_events::MessageId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::Fault;

/// Messages that may have chunks and no change yet.
const UPLOADS_MAX: usize = 16_384;
/// How long after its last chunk a message is given up.
const IDLE_MAX: Duration = Duration::from_secs(3_600);

/// Shared between the writer and those who write chunks.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The segment for what is new.
    current: u64,
    messages: BTreeMap<MessageId, Upload>,
    /// Octets written to segments that no segment's row counts yet.
    unrecorded: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Upload {
    segment: u64,
    chunks: u32,
    last: Instant,
}

impl Uploads {
    /// Where chunk `index` of `message` goes: all of a message goes to one segment.
    pub(crate) fn place(
        &self,
        message: MessageId,
        index: u32,
        octets: u64,
        now: Instant,
    ) -> Result<u64, Fault> {
        let mut inner = self.0.lock();
        let current = inner.current;
        if !inner.messages.contains_key(&message) {
            if index > 0 {
                return Err(Fault::Unavailable(
                    "the message's earlier chunks are not there any more".into(),
                ));
            }
            if inner.messages.len() >= UPLOADS_MAX {
                return Err(Fault::Unavailable("too many messages are on their way".into()));
            }
        }
        let upload = inner.messages.entry(message).or_insert(Upload {
            segment: current,
            chunks: 0,
            last: now,
        });
        upload.last = now;
        upload.chunks = upload.chunks.max(index.saturating_add(1));
        let segment = upload.segment;
        *inner.unrecorded.entry(segment).or_default() += octets;
        Ok(segment)
    }

    /// The segment that has all of the first `chunks` chunks of a message, as far as is known here.
    pub(crate) fn segment_of(&self, message: MessageId, chunks: u32) -> Option<u64> {
        self.0
            .lock()
            .messages
            .get(&message)
            .filter(|upload| upload.chunks == chunks)
            .map(|upload| upload.segment)
    }

    /// The message has its change now.
    pub(crate) fn forget(&self, message: MessageId) {
        self.0.lock().messages.remove(&message);
    }

    /// Whether a message without a change has chunks in a segment.
    pub(crate) fn is_used(&self, segment: u64) -> bool {
        self.0
            .lock()
            .messages
            .values()
            .any(|upload| upload.segment == segment)
    }

    /// Gives up what was abandoned.
    pub(crate) fn expire(&self, now: Instant) {
        self.0
            .lock()
            .messages
            .retain(|_, upload| now.duration_since(upload.last) < IDLE_MAX);
    }

    /// Octets written to a segment that its row does not count yet.
    pub(crate) fn unrecorded(&self, segment: u64) -> u64 {
        self.0.lock().unrecorded.get(&segment).copied().unwrap_or(0)
    }

    /// From now on the segment's row counts what was written so far.
    pub(crate) fn record(&self, segment: u64) -> u64 {
        self.0.lock().unrecorded.remove(&segment).unwrap_or(0)
    }

    pub(crate) fn current(&self) -> u64 {
        self.0.lock().current
    }

    pub(crate) fn set_current(&self, segment: u64) {
        self.0.lock().current = segment;
    }

    /// The store was opened anew: chunks that were not durable may be gone.
    pub(crate) fn reset(&self, current: u64) {
        *self.0.lock() = Inner {
            current,
            ..Inner::default()
        };
    }
}
