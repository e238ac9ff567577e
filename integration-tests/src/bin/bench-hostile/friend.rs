//! A client that behaves well: it sends a message, fetches it and deletes it, over and over.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mailhorn_integration_tests::{Lmtp, Pop3};

use crate::attacks::Target;

/// Of all accounts.
pub(crate) const PASSWORD: &str = "a-long-password";

const FRIEND: &str = "friend@example.org";

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(20);

/// What the node's service was.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
    pub(crate) failures: usize,
}

#[derive(Debug, Default)]
struct Rounds {
    took: Vec<Duration>,
    failures: usize,
}

/// The client, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Friend {
    rounds: Arc<Mutex<Rounds>>,
    end: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Friend {
    pub(crate) fn start(target: &Target) -> Self {
        let (rounds, end) = (Arc::<Mutex<Rounds>>::default(), Arc::<AtomicBool>::default());
        let (target, shared, ended) = (target.clone(), Arc::clone(&rounds), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                number += 1;
                let begun = Instant::now();
                let served = round(&target, number);
                let took = begun.elapsed();
                let mut rounds = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match served {
                    Ok(()) => rounds.took.push(took),
                    Err(_) => rounds.failures += 1,
                }
                drop(rounds);
                std::thread::sleep(PAUSE);
            }
        });
        Self {
            rounds,
            end,
            thread: Some(thread),
        }
    }

    /// The service since this was asked last.
    pub(crate) fn take(&self) -> Service {
        let mut rounds = self
            .rounds
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Rounds { mut took, failures } = std::mem::take(&mut *rounds);
        took.sort_unstable();
        let at = |part: f64| {
            let index = (took.len() as f64 * part) as usize;
            took.get(index.min(took.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        };
        Service {
            p50: at(0.5),
            p99: at(0.99),
            longest: at(1.0),
            failures,
        }
    }
}

impl Drop for Friend {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn round(target: &Target, number: u64) -> io::Result<()> {
    let content = format!("Subject: {number}\r\n\r\n{}\r\n", "x".repeat(2_000));
    let mut lmtp = Lmtp::connect(target.lmtp)?;
    let replies = lmtp.deliver("someone@example.com", &[FRIEND], content.as_bytes())?;
    is(replies.iter().all(|reply| reply.code == 250))?;
    let mut pop3 = Pop3::connect(target.pop3)?;
    is(pop3.log_in(FRIEND, PASSWORD)?.is_ok())?;
    let listed = pop3.list()?;
    is(!listed.is_empty())?;
    for (message, _) in listed {
        is(pop3.retr(message)?.is_ok())?;
        is(pop3.command(&format!("DELE {message}"))?.is_ok())?;
    }
    is(pop3.quit()?.is_ok())
}

fn is(as_it_should_be: bool) -> io::Result<()> {
    as_it_should_be
        .then_some(())
        .ok_or_else(|| io::Error::other("another answer than expected"))
}
