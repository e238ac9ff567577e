//! When certificates are read again without a command: at SIGHUP, and from time to time, for whoever renews them
//! (certbot, cert-manager) only writes files.

use std::future::pending;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::sleep;

use super::Tls;

/// Reads them again at each of `hangups`, and every `every` (`tls.check_every`; zero: never). It goes on until it is
/// dropped.
pub async fn watch(tls: Tls, mut hangups: Signal, every: Duration) {
    loop {
        let due = async {
            if every.is_zero() {
                pending().await
            } else {
                sleep(every).await
            }
        };
        let is_asked = tokio::select! {
            biased;
            hangup = hangups.recv() => hangup.is_some(),
            () = due => false,
        };
        let reading = tls.clone();
        // Files are read where reading them may take its time. A panic there ends that reading alone.
        let read = tokio::task::spawn_blocking(move || reading.reload()).await;
        match read {
            Ok(reloaded) if is_asked => tracing::info!(
                changed = reloaded.changed,
                problems = reloaded.problems.len(),
                "SIGHUP: certificates were read again"
            ),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "certificates could not be read again"),
        }
    }
}
