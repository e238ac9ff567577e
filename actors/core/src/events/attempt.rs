//! A listener's code is called here: bounded in time, and so that a panic ends the call and nothing else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mailhorn_events::{Event, Happened};
use mailhorn_ports::{BatchHandled, Listener};

/// How a call ended.
#[derive(Debug)]
pub(super) enum Attempt {
    /// As the listener says.
    Handled(BatchHandled),
    /// It took too long, or panicked: how far it came is not known.
    Lost(String),
}

/// Shows events to a listener.
pub(super) async fn attempt(listener: &Arc<dyn Listener>, events: &[Happened], timeout: Duration) -> Attempt {
    let call = async {
        match events {
            [one] => BatchHandled::of_one(listener.handle(one).await),
            batch => listener.handle_batch(batch).await,
        }
    };
    match bounded(call, timeout).await {
        Ok(handled) => Attempt::Handled(handled),
        Err(why) => Attempt::Lost(why),
    }
}

/// Runs anything of a listener's; says why it has no result.
pub(super) async fn bounded<T>(call: impl Future<Output = T>, timeout: Duration) -> Result<T, String> {
    // What a panic leaves behind is the listener's alone.
    match tokio::time::timeout(timeout, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(panic)) => Err(format!("it panicked: {}", text_of(&*panic))),
        Err(_) => Err(format!("it took longer than {timeout:?}")),
    }
}

/// Whether an event is for a listener. One that panics over the question gets to see the event.
pub(super) fn handles(listener: &dyn Listener, event: &Event) -> bool {
    !event.happening.is_noop() && catch_unwind(AssertUnwindSafe(|| listener.handles(event))).unwrap_or(true)
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}
