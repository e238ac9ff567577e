//! The log's front: a bounded channel that sessions put changes into.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mailhorn_ports::{Change, NoteKey, StoreError, Verdict, Writer};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::LogOptions;
use crate::events::SyncWait;
use crate::metrics::Metrics;
use crate::observe::Kind;

/// What became of a change that was put into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Durable; and this is the store's verdict.
    Done(Verdict),
    /// It may be durable, now or later.
    Unknown,
    /// It was not tried: the queue is full, the log waits for a commit whose outcome is unknown, or it has ended.
    Refused,
}

#[derive(Debug)]
pub(super) enum Request {
    Append(Waiting),
    /// Nothing comes behind this: work off what is there, close the store, and say so.
    Finish(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) change: Change,
    pub(super) reply: Option<oneshot::Sender<Answer>>,
}

/// What became of a change, and which listeners its reply waits for.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) wait: Option<SyncWait>,
}

/// Where sessions put their changes.
#[derive(Debug, Clone)]
pub struct LogHandle {
    queue: mpsc::Sender<Request>,
    kind: Arc<Kind>,
    metrics: Arc<Metrics>,
    append_deadline: Duration,
    sync_timeout: Duration,
}

impl LogHandle {
    /// Makes a change durable, and waits a moment for listeners of mode `sync`. Dropping the future does not take the change
    /// back.
    pub async fn append(&self, change: Change) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        if !self.put(Waiting {
            change,
            reply: Some(reply),
        }) {
            return Outcome::Refused;
        }
        match tokio::time::timeout(self.append_deadline, outcome).await {
            Ok(Ok(Answer { outcome, wait })) => {
                if let Some(wait) = wait
                    && !wait.wait(self.sync_timeout).await
                {
                    self.metrics.limit("events.sync_timeout");
                }
                outcome
            }
            // The log's thread died with the change in its hands, or is late.
            Ok(Err(_)) | Err(_) => Outcome::Unknown,
        }
    }

    /// These notes no longer count: their replies were read. Travels with the next group.
    pub fn forget(&self, notes: Vec<NoteKey>) {
        if !notes.is_empty() {
            self.put(Waiting {
                change: Change::ForgetNotes(notes),
                reply: None,
            });
        }
    }

    /// These notes go on counting, on every node: nothing showed that their replies were read. Travels with the next group,
    /// which doesn't wait for others. When the queue is full they count no longer than the store keeps them by itself.
    pub fn keep(&self, notes: Vec<NoteKey>) {
        if !notes.is_empty() {
            self.put(Waiting {
                change: Change::KeepNotes(notes),
                reply: None,
            });
        }
    }

    /// Ends the log: what was put into it before is made durable, then the store is closed. Whether it came to that.
    pub async fn finish(&self) -> bool {
        let (told, finished) = oneshot::channel();
        self.queue.send(Request::Finish(told)).await.is_ok() && finished.await.is_ok()
    }

    fn put(&self, waiting: Waiting) -> bool {
        // Counted before, so that the other side never takes what is not yet counted.
        self.kind.queued();
        let taken = self.queue.try_send(Request::Append(waiting)).is_ok();
        if !taken {
            self.kind.taken(1);
            self.metrics.limit("log_queue_changes_max");
        }
        taken
    }
}

/// For whoever makes changes and is no session: administration, listeners.
#[async_trait]
impl Writer for LogHandle {
    async fn write(&self, change: Change) -> Result<(), StoreError> {
        match self.append(change).await {
            Outcome::Done(_) => Ok(()),
            Outcome::Unknown => Err(StoreError::Unavailable(
                "the outcome of the commit is not known".into(),
            )),
            Outcome::Refused => Err(StoreError::Unavailable("the log takes no changes now".into())),
        }
    }
}

/// The queue's other end: a new log thread takes up where one that panicked left off.
#[derive(Debug, Clone)]
pub struct LogQueue(pub(super) Arc<Mutex<mpsc::Receiver<Request>>>);

/// The queue of a log and the handle that fills it.
#[must_use]
pub fn queue(options: &LogOptions, kind: Arc<Kind>, metrics: Arc<Metrics>) -> (LogHandle, LogQueue) {
    let (sender, receiver) = mpsc::channel(options.queue_changes_max);
    let handle = LogHandle {
        queue: sender,
        kind,
        metrics,
        append_deadline: options.append_deadline,
        sync_timeout: options.sync_timeout,
    };
    (handle, LogQueue(Arc::new(Mutex::new(receiver))))
}
