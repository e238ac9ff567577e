//! The actors as the admin server shows them.

use std::sync::Arc;

use async_trait::async_trait;
use mailhorn_core::observe::Kinds;

use crate::admin::ActorsView;

/// The actors as `/actors` shows them.
#[derive(Debug)]
pub(crate) struct KindsView(pub(crate) Arc<Kinds>);

#[async_trait]
impl ActorsView for KindsView {
    async fn snapshot(&self) -> serde_json::Value {
        serde_json::json!({ "actors": self.0.snapshot() })
    }
}
