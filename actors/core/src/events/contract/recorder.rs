//! A listener that does as a test says, and remembers what it was shown.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mailhorn_events::{Event, Happened, Happening};
use mailhorn_ports::{BatchHandled, Handled, Key, Listener};
use parking_lot::Mutex;
use tokio::sync::watch;

/// A test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the listener does with an event.
#[derive(Debug, Clone)]
pub enum Behaviour {
    Done,
    Bad,
    NotNow,
    Panic,
    /// Never ends.
    Hang,
    /// Takes so long, then is done.
    Slow(Duration),
}

type Script = dyn Fn(usize, &Happened) -> Behaviour + Send + Sync;

/// What was seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    calls: usize,
    done: usize,
    missed: usize,
}

/// The listener.
pub struct Recorder {
    script: Box<Script>,
    handles: fn(&Event) -> bool,
    rebuild: Option<Box<dyn Fn() -> Result<bool, String> + Send + Sync>>,
    /// Whether events are kept, and not only counted.
    keeps: bool,
    done: Mutex<Vec<Happened>>,
    missed: Mutex<Vec<Key>>,
    batches: Mutex<Vec<usize>>,
    running: AtomicUsize,
    running_max: AtomicUsize,
    rebuilt: AtomicUsize,
    counts: watch::Sender<Counts>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// Does as `script` says: it is given the number of the call, from 1, and the event.
    pub fn new(script: impl Fn(usize, &Happened) -> Behaviour + Send + Sync + 'static) -> Self {
        Self {
            script: Box::new(script),
            handles: |_| true,
            rebuild: None,
            keeps: true,
            done: Mutex::default(),
            missed: Mutex::default(),
            batches: Mutex::default(),
            running: AtomicUsize::new(0),
            running_max: AtomicUsize::new(0),
            rebuilt: AtomicUsize::new(0),
            counts: watch::Sender::new(Counts::default()),
        }
    }

    /// Everything is done.
    #[must_use]
    pub fn willing() -> Arc<Self> {
        Arc::new(Self::new(|_, _| Behaviour::Done))
    }

    /// The first so many calls are bad, the others done.
    #[must_use]
    pub fn failing(times: usize) -> Arc<Self> {
        Arc::new(Self::new(move |call, _| {
            if call <= times {
                Behaviour::Bad
            } else {
                Behaviour::Done
            }
        }))
    }

    /// Handles only these.
    #[must_use]
    pub fn handling(mut self, handles: fn(&Event) -> bool) -> Self {
        self.handles = handles;
        self
    }

    /// Keeps no events: for so many that they would fill the memory.
    #[must_use]
    pub fn forgetting(mut self) -> Self {
        self.keeps = false;
        self
    }

    /// Rebuilds like this.
    #[must_use]
    pub fn rebuilding(mut self, rebuild: impl Fn() -> Result<bool, String> + Send + Sync + 'static) -> Self {
        self.rebuild = Some(Box::new(rebuild));
        self
    }

    /// What it had, in the order in which it was done.
    pub fn had(&self) -> Vec<Happened> {
        self.done.lock().clone()
    }

    /// The names of mailboxes that it had (see [`super::World::event`]).
    pub fn names(&self) -> Vec<String> {
        self.had().iter().map(|happened| name(happened.event())).collect()
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.counts.borrow().calls
    }

    /// The most calls that were under way at a time.
    pub fn running_max(&self) -> usize {
        self.running_max.load(Ordering::SeqCst)
    }

    /// How often it was rebuilt.
    pub fn rebuilt(&self) -> usize {
        self.rebuilt.load(Ordering::SeqCst)
    }

    /// Of which keys it was told that it missed something.
    pub fn missed_keys(&self) -> Vec<Key> {
        self.missed.lock().clone()
    }

    /// How many events came with each call that brought several.
    pub fn batches(&self) -> Vec<usize> {
        self.batches.lock().clone()
    }

    /// Waits until it had so many events.
    pub async fn wait_done(&self, events: usize) {
        self.wait(
            move |counts| counts.done >= events,
            &format!("{events} events done"),
        )
        .await;
    }

    /// Waits until it was called so often.
    pub async fn wait_calls(&self, calls: usize) {
        self.wait(move |counts| counts.calls >= calls, &format!("{calls} calls"))
            .await;
    }

    /// Waits until it was told so often that it missed something.
    pub async fn wait_missed(&self, times: usize) {
        self.wait(move |counts| counts.missed >= times, "being told what was missed")
            .await;
    }

    async fn wait(&self, until: impl Fn(&Counts) -> bool, what: &str) {
        let mut counts = self.counts.subscribe();
        let waited = tokio::time::timeout(PATIENCE, counts.wait_for(until)).await;
        assert!(
            waited.is_ok(),
            "{what}: it did not come to that, only to {:?}",
            *self.counts.borrow()
        );
    }

    async fn behave(&self, happened: &Happened) -> Handled {
        let mut call = 0;
        self.counts.send_modify(|counts| {
            counts.calls += 1;
            call = counts.calls;
        });
        let _running = Running::new(self);
        match (self.script)(call, happened) {
            Behaviour::Done => {}
            Behaviour::Bad => return Handled::Bad("on purpose".into()),
            Behaviour::NotNow => return Handled::NotNow("on purpose".into()),
            // Without the panic hook: the test's output stays readable.
            Behaviour::Panic => std::panic::resume_unwind(Box::new("on purpose")),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Slow(time) => tokio::time::sleep(time).await,
        }
        if self.keeps {
            self.done.lock().push(happened.clone());
        }
        self.counts.send_modify(|counts| counts.done += 1);
        Handled::Done
    }
}

/// Counts calls under way, also those that are given up.
struct Running<'a>(&'a Recorder);

impl<'a> Running<'a> {
    fn new(recorder: &'a Recorder) -> Self {
        let running = recorder.running.fetch_add(1, Ordering::SeqCst) + 1;
        recorder.running_max.fetch_max(running, Ordering::SeqCst);
        Self(recorder)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The name of the mailbox that an event of these suites is about.
pub(super) fn name(event: &Event) -> String {
    match &event.happening {
        Happening::MailboxAdded { name } | Happening::MailboxSubscribed { name } => name.clone(),
        other => other.name().to_owned(),
    }
}

#[async_trait]
impl Listener for Recorder {
    fn handles(&self, event: &Event) -> bool {
        (self.handles)(event)
    }

    async fn handle(&self, happened: &Happened) -> Handled {
        self.behave(happened).await
    }

    async fn handle_batch(&self, batch: &[Happened]) -> BatchHandled {
        self.batches.lock().push(batch.len());
        for (done, happened) in batch.iter().enumerate() {
            let then = self.behave(happened).await;
            if then != Handled::Done {
                return BatchHandled { done, then };
            }
        }
        BatchHandled::all(batch.len())
    }

    async fn rebuild(&self) -> Result<bool, String> {
        self.rebuilt.fetch_add(1, Ordering::SeqCst);
        self.rebuild.as_ref().map_or(Ok(false), |rebuild| rebuild())
    }

    async fn missed(&self, key: Key) {
        self.missed.lock().push(key);
        self.counts.send_modify(|counts| counts.missed += 1);
    }
}
