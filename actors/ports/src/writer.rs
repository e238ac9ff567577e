//! Writing: how whoever is no session makes a change.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::store::{Change, StoreError};

/// Makes changes through the one writer of the log: of a running node through its log, of a stopped one straight into
/// the store.
#[async_trait]
pub trait Writer: Debug + Send + Sync {
    /// Returns when the change is durable.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: it may be, now or later.
    async fn write(&self, change: Change) -> Result<(), StoreError>;
}
