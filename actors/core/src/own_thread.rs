//! An actor's thread: for work that blocks, or that may take a thread's whole time, and must not take an arbiter's.
//!
//! The actor keeps the thread, and ends when the thread does, so that its supervisor starts another.

use std::io;

use actix::prelude::*;
use tokio::task::LocalSet;

use crate::supervisor::Exit;

/// The thread has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ThreadEnded {
    /// How, also after a panic.
    pub(crate) how: Exit,
}

/// Runs `work` on a thread of its own, and tells how it ended.
///
/// # Errors
///
/// The thread can't be started.
pub(crate) fn start<W>(
    name: String,
    tell: Recipient<ThreadEnded>,
    work: impl FnOnce() -> W + Send + 'static,
) -> io::Result<()>
where
    W: Future<Output = Exit> + 'static,
{
    std::thread::Builder::new().name(name).spawn(move || {
        let mut report = Report {
            how: Exit::Failed,
            tell,
        };
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                report.how = LocalSet::new().block_on(&runtime, work());
                // What runs on in blocking threads is not waited for.
                runtime.shutdown_background();
            }
            Err(error) => tracing::error!(%error, "a thread's runtime could not be built"),
        }
    })?;
    Ok(())
}

/// Tells the actor how its thread ended, also while a panic unwinds.
struct Report {
    how: Exit,
    tell: Recipient<ThreadEnded>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let how = if std::thread::panicking() {
            Exit::Panicked
        } else {
            self.how
        };
        if self.tell.try_send(ThreadEnded { how }).is_err() {
            tracing::debug!(?how, "a thread ended after its actor");
        }
    }
}
