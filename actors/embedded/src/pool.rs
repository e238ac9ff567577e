//! Blocking reads, on threads of the runtime that was handed in and never more than a limit at once.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::error::Fault;

#[derive(Debug, Clone)]
pub(crate) struct Pool {
    runtime: Handle,
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(runtime: Handle, at_once_max: usize) -> Self {
        Self {
            runtime,
            permits: Arc::new(Semaphore::new(at_once_max.max(1))),
        }
    }

    /// Runs `work` when it is its turn. What was begun is ended even if nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Fault::Unavailable("the store is closed".into()))?;
        let ended = self.runtime.spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        match ended.await {
            Ok(result) => result,
            // A panic while decoding what is on the disk: whatever it was will be there at the next try.
            Err(error) if error.is_panic() => Err(Fault::Damaged(error.to_string())),
            Err(error) => Err(Fault::Unavailable(error.to_string())),
        }
    }
}
