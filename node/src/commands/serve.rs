//! `mailhorn serve`.

use std::future::Future;
use std::io;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::listeners::{Listeners, Taken};
use crate::settings::Settings;
use crate::{private_files, telemetry, wiring};

pub(super) fn serve(settings: Settings) -> anyhow::Result<Exit> {
    let _lines = telemetry::init(&settings.log)?;
    actix_rt::System::new().block_on(async move {
        let shutdown = asked_to_stop()?;
        let data_dir = &settings.node.data_dir;
        private_files::make_folder(data_dir)
            .with_context(|| format!("node.data_dir: {} can't be made", data_dir.display()))?;
        let listeners = Listeners::bind(&settings, Taken::Refuse)?;
        wiring::run(Arc::new(settings), listeners, shutdown)
            .await?
            .finished()
            .await
    })?;
    Ok(Exit::Done)
}

/// Resolves when the process is asked to stop: SIGTERM, or Ctrl-C.
pub(super) fn asked_to_stop() -> io::Result<impl Future<Output = ()> + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
