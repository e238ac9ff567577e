//! Bans: read before anybody is let in, and kept while the node lives.

use std::sync::Arc;

use actix::prelude::*;
use anyhow::Context as _;
use mailhorn_core::bans::{BanKeeper, Bans};
use mailhorn_core::drain::DrainWatch;
use mailhorn_core::metrics::Metrics;
use mailhorn_core::supervisor::{Supervise, Supervisor};
use mailhorn_ports::{BanStore, Ids};

use super::Parts;
use crate::settings::Settings;

/// Those of the settings.
pub(super) fn bans(settings: &Settings, store: Arc<dyn BanStore>, ids: &Ids, metrics: &Arc<Metrics>) -> Bans {
    if settings.bans.enabled {
        Bans::new(settings.ban_options(), store, ids.clone(), Arc::clone(metrics))
    } else {
        Bans::off()
    }
}

impl Parts {
    /// Reads the bans there are, and keeps them from now on. A store that is away stops no start.
    pub(super) async fn start_bans(
        &self,
        supervisor: &Addr<Supervisor>,
        watch: &DrainWatch,
    ) -> anyhow::Result<()> {
        if let Err(error) = self.bans.refresh().await {
            tracing::warn!(%error, "bans can't be read yet");
        }
        let (bans, watch) = (self.bans.clone(), watch.clone());
        let kind = Arc::clone(&self.kinds.ban_keeper);
        let child = Supervise {
            child: "ban keeper".into(),
            kind: Arc::clone(&kind),
            essential: true,
            factory: Box::new(move |guard| {
                BanKeeper::new(bans.clone(), watch.clone(), Arc::clone(&kind), guard).start();
            }),
        };
        supervisor.send(child).await.context("the supervisor has ended")
    }
}
