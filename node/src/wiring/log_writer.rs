//! What the admin API works with in a running node: the log as its writer, the actors as they are shown.

use std::sync::Arc;

use async_trait::async_trait;
use mailhorn_core::log::{LogHandle, Outcome};
use mailhorn_core::observe::Kinds;
use mailhorn_ports::{Change, StoreError, Writer};

use crate::admin::ActorsView;

/// Administrative changes go through the log as mail does.
#[derive(Debug)]
pub(crate) struct LogWriter(pub(crate) LogHandle);

#[async_trait]
impl Writer for LogWriter {
    async fn write(&self, change: Change) -> Result<(), StoreError> {
        match self.0.append(change).await {
            Outcome::Done(_) => Ok(()),
            Outcome::Unknown => Err(StoreError::Unavailable(
                "the outcome of the commit is not known".into(),
            )),
            Outcome::Refused => Err(StoreError::Unavailable("the log takes no changes now".into())),
        }
    }
}

/// The actors as `/actors` shows them.
#[derive(Debug)]
pub(crate) struct KindsView(pub(crate) Arc<Kinds>);

#[async_trait]
impl ActorsView for KindsView {
    async fn snapshot(&self) -> serde_json::Value {
        serde_json::json!({ "actors": self.0.snapshot() })
    }
}
