//! Where password hashes are computed: never on an arbiter's thread, at most so many at a time, behind a line of
//! limited length.
//!
//! The threads are few and stay, for each keeps the memory of a hash, 19 MiB: on the many threads of a runtime's pool that came
//! to a gigabyte.

use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

/// No place in the line, or the work broke off: there is no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

type Work = Box<dyn FnOnce() + Send>;

/// The threads that compute, and the line before them, shared by all arbiters.
#[derive(Debug)]
pub(super) struct Hashers {
    /// A permit for each that computes or waits.
    line: Arc<Semaphore>,
    /// A permit for each that computes. Fair: who came first goes first.
    at_once: Arc<Semaphore>,
    /// To whichever thread is free. There are as many threads, and places on the way to them, as permits to compute, so
    /// there is room for whoever has one. They end with this.
    threads: mpsc::SyncSender<Work>,
}

impl Hashers {
    /// `at_once` may compute while `waiting_max` more wait.
    ///
    /// # Errors
    /// A thread can't be started.
    pub(super) fn new(at_once: NonZeroUsize, waiting_max: usize) -> io::Result<Self> {
        let line = at_once
            .get()
            .saturating_add(waiting_max)
            .min(Semaphore::MAX_PERMITS);
        let (threads, work) = mpsc::sync_channel::<Work>(at_once.get());
        let work = Arc::new(Mutex::new(work));
        for number in 0..at_once.get() {
            let work = Arc::clone(&work);
            thread::Builder::new()
                .name(format!("hash {number}"))
                .spawn(move || {
                    while let Some(work) = next(&work) {
                        // Whoever waits for it is told by the channel that it drops.
                        drop(catch_unwind(AssertUnwindSafe(work)));
                    }
                })?;
        }
        Ok(Self {
            line: Arc::new(Semaphore::new(line)),
            at_once: Arc::new(Semaphore::new(at_once.get().min(Semaphore::MAX_PERMITS))),
            threads,
        })
    }

    /// Runs `work` on a thread for it when its turn comes.
    ///
    /// Dropping the future leaves the line; work that has begun keeps its permit to its end.
    ///
    /// # Errors
    /// [`Busy`] at once when the line is full, and when `work` panics.
    pub(super) async fn run<T, W>(&self, work: W) -> Result<T, Busy>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let place = Arc::clone(&self.line).try_acquire_owned().map_err(|_| Busy)?;
        let turn = Arc::clone(&self.at_once)
            .acquire_owned()
            .await
            .map_err(|_| Busy)?;
        let (done, result) = oneshot::channel();
        let work = Box::new(move || {
            let permits = (turn, place);
            let result = work();
            drop(permits);
            // Nobody may be waiting any more.
            drop(done.send(result));
        });
        self.threads.try_send(work).map_err(|_| Busy)?;
        result.await.map_err(|_| Busy)
    }
}

fn next(work: &Mutex<mpsc::Receiver<Work>>) -> Option<Work> {
    work.lock().recv().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn hashers(at_once: usize, waiting_max: usize) -> Arc<Hashers> {
        Arc::new(Hashers::new(NonZeroUsize::new(at_once).unwrap(), waiting_max).unwrap())
    }

    #[tokio::test]
    async fn work_is_never_done_on_the_callers_thread() {
        let there = hashers(1, 0).run(|| thread::current().id()).await.unwrap();
        assert_ne!(there, thread::current().id());
    }

    /// What a thread has had is used again by it: many threads would hold as many times the memory of a hash.
    #[tokio::test]
    async fn no_more_threads_compute_than_may_at_once() {
        let hashers = hashers(2, 100);
        let work = (0..50).map(|_| hashers.run(|| thread::current().id()));
        let threads = futures_util::future::join_all(work).await;
        let threads: HashSet<_> = threads.into_iter().map(Result::unwrap).collect();
        assert!(threads.len() <= 2, "{threads:?}");
    }

    #[tokio::test]
    async fn so_many_compute_so_many_wait_and_the_next_is_turned_away() {
        let hashers = hashers(2, 3);
        let (started, starts) = sync_channel(10);
        let mut releases = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..5 {
            let (release, released) = sync_channel::<()>(1);
            releases.push(release);
            let (hashers, started) = (Arc::clone(&hashers), started.clone());
            let work = move || {
                started.send(()).unwrap();
                released.recv().unwrap();
            };
            tasks.push(tokio::spawn(async move { hashers.run(work).await }));
            tokio::task::yield_now().await;
        }
        starts.recv().unwrap();
        starts.recv().unwrap();
        assert!(starts.try_recv().is_err(), "three of them wait");
        assert_eq!(hashers.run(|| ()).await, Err(Busy));

        for (task, release) in tasks.into_iter().zip(releases) {
            release.send(()).unwrap();
            assert_eq!(task.await.unwrap(), Ok(()));
        }
        assert_eq!(starts.try_iter().count(), 3, "each of them had its turn");
        assert_eq!(hashers.run(|| ()).await, Ok(()));
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_line() {
        let hashers = hashers(1, 1);
        let (release, released) = sync_channel::<()>(1);
        let (started, starts) = sync_channel(1);
        let first = Arc::clone(&hashers);
        let first = tokio::spawn(async move {
            let work = move || {
                started.send(()).unwrap();
                released.recv().unwrap();
            };
            first.run(work).await
        });
        tokio::task::yield_now().await;
        starts.recv().unwrap();
        let second = Arc::clone(&hashers);
        let second = tokio::spawn(async move { second.run(|| ()).await });
        tokio::task::yield_now().await;
        assert_eq!(hashers.run(|| ()).await, Err(Busy));
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());

        let third = Arc::clone(&hashers);
        let third = tokio::spawn(async move { third.run(|| ()).await });
        tokio::task::yield_now().await;
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        assert_eq!(third.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_permits_back() {
        let hashers = hashers(1, 0);
        assert_eq!(
            hashers.run(|| panic!("as a test of permits")).await,
            Err::<(), _>(Busy)
        );
        assert_eq!(hashers.run(|| ()).await, Ok(()));
    }
}
