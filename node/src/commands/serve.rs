//! `mailhorn serve`.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::sync::Arc;

use anyhow::Context;
use futures_util::FutureExt;
use mailhorn_events::Generation;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::SystemClock;
use crate::exit::Exit;
use crate::listeners::{Listeners, Taken};
use crate::settings::Settings;
use crate::tls::{self, Tls};
use crate::{private_files, telemetry, wiring};

pub(super) fn serve(settings: Settings) -> anyhow::Result<Exit> {
    let _lines = telemetry::init(&settings.log)?;
    actix_rt::System::new().block_on(async move {
        let shutdown = asked_to_stop()?.boxed_local().shared();
        let data_dir = &settings.node.data_dir;
        private_files::make_folder(data_dir)
            .with_context(|| format!("node.data_dir: {} can't be made", data_dir.display()))?;
        // Of the process, not of a life: certificates that are in use stay so whatever the files have become.
        let tls = Tls::load(&settings, Arc::new(SystemClock))?;
        let hangups = signal(SignalKind::hangup())?;
        actix_rt::spawn(tls::watch(tls.clone(), hangups, settings.tls.check_every));
        let settings = Arc::new(settings);
        wiring::live(shutdown.clone(), async |ended: &BTreeSet<Generation>| {
            let listeners = Listeners::bind(&settings, Taken::Refuse)?;
            wiring::run(
                Arc::clone(&settings),
                tls.clone(),
                listeners,
                ended,
                shutdown.clone(),
            )
            .await
        })
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
