//! TLS for mail: the certificates that the operator gave, or one that signs itself, for this machine alone; each shown
//! by its names, and read anew while the node runs.
//!
//! Sessions hold one [`ServerConfig`] for good. What changes is inside of it (`Identities`), so a reload touches no
//! session: one that runs goes on, the next handshake sees what is new.

mod figures;
mod files;
mod identities;
mod self_signed;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context, bail};
use mailhorn_ports::Clock;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use serde::{Deserialize, Serialize};

use self::files::{Certificate, Found, Pair, Standing};
use self::identities::Identities;
use crate::settings::Settings;
use crate::settings::value::TlsVersion;
use crate::timestamp;
pub use watch::watch;

/// How many tickets for resumption a TLS 1.3 client gets: a mail client has one connection after the other.
const TICKETS: usize = 1;

/// A certificate that is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The names by which it is chosen; the first certificate is also for clients that give another name, or none.
    pub names: Vec<String>,
    /// Where it was read.
    pub file: String,
    /// Until when it is valid (RFC 3339).
    pub expires: String,
}

/// What a reload came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether new connections see something else than before.
    pub changed: bool,
    /// What is in use now, the certificate for everybody first.
    pub certificates: Vec<Shown>,
    /// What could not be used, each with its setting and its file. Of these the former ones stay in use.
    pub problems: Vec<String>,
}

/// TLS of a process. Clones share it.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pair: Pair,
    folder: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
    identities: Arc<Identities>,
    config: Arc<ServerConfig>,
    clock: Arc<dyn Clock>,
    /// What was wrong at the last look. Whoever reads the files holds it, so that they are read by one at a time.
    problems: Mutex<Vec<String>>,
    reloads: Reloads,
}

/// Looks at the files, by what came of them.
#[derive(Debug, Default)]
struct Reloads {
    changed: AtomicU64,
    unchanged: AtomicU64,
    failed: AtomicU64,
}

impl Tls {
    /// Reads what the settings name. A certificate of `tls.folder` that can't be used is told and left out: the others'
    /// owners are not to suffer from it.
    ///
    /// # Errors
    ///
    /// When the certificate for everybody can't be read, is something else, or has another key; the message names the
    /// setting and the file.
    pub fn load(settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let provider = Arc::new(provider(settings));
        let pair = pair(settings)?;
        let folder = settings.tls.folder.clone();
        let default = Arc::new(pair.read(&provider)?);
        let (others, problems) = match &folder {
            Some(folder) => others(files::find(folder), &provider, &[]),
            None => (Vec::new(), Vec::new()),
        };
        for problem in &problems {
            tracing::error!("{problem}");
        }
        let identities = Identities::new(default, others).context("the key for TLS tickets can't be made")?;
        let identities = Arc::new(identities);
        let versions: &[&SupportedProtocolVersion] = match settings.tls.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .context("tls.suites has none that tls.min_version allows")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identities) as Arc<dyn ResolvesServerCert>);
        // Tickets hold what a resumption needs, so that the server has nothing to remember.
        config.ticketer = Arc::clone(&identities) as Arc<dyn ProducesTickets>;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        Ok(Self(Arc::new(Inner {
            pair,
            folder,
            provider,
            identities,
            config: Arc::new(config),
            clock,
            problems: Mutex::new(problems),
            reloads: Reloads::default(),
        })))
    }

    /// What TLS listeners and STARTTLS need. Which listeners offer it says [`Settings::offers_tls`].
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.config)
    }

    /// Reads the files again, and shows what is new to those who connect from now on. It blocks while it reads.
    ///
    /// Each certificate stands for itself: one that can't be used leaves its former one in use. What is wrong is logged
    /// when it is first seen.
    #[must_use]
    pub fn reload(&self) -> Reloaded {
        let inner = &*self.0;
        let mut told = inner.problems.lock();
        let mut problems = Vec::new();
        let before = inner.identities.all();
        let former = before.split_first();
        let default = match (inner.pair.read(&inner.provider), former) {
            (Ok(read), _) => Arc::new(read),
            (Err(error), Some((former, _))) => {
                problems.push(error.to_string());
                Arc::clone(former)
            }
            (Err(_), None) => return self.reloaded(false, problems),
        };
        let former = former.map_or(&[][..], |(_, others)| others);
        let (others, bad) = match &inner.folder {
            Some(folder) => others(files::find(folder), &inner.provider, former),
            None => (Vec::new(), Vec::new()),
        };
        problems.extend(bad);
        let changed = match inner.identities.replace(default, others) {
            Ok(changed) => changed,
            Err(error) => {
                problems.push(format!("the key for TLS tickets can't be made: {error}"));
                false
            }
        };
        for problem in problems.iter().filter(|problem| !told.contains(problem)) {
            tracing::error!("{problem}; what was in use stays in use");
        }
        told.clone_from(&problems);
        drop(told);
        inner.reloads.count(changed, !problems.is_empty());
        let reloaded = self.reloaded(changed, problems);
        if changed {
            for Shown { names, file, expires } in &reloaded.certificates {
                tracing::info!(names = names.join(","), file, expires, "a certificate is in use");
            }
        }
        reloaded
    }

    fn reloaded(&self, changed: bool, problems: Vec<String>) -> Reloaded {
        let certificates = self.0.identities.all();
        Reloaded {
            changed,
            certificates: certificates.iter().map(|one| Shown::from(&**one)).collect(),
            problems,
        }
    }

    /// What an operator has to see to, if anything: files that can't be used, and certificates about to expire.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self.0.problems.lock().clone();
        let now = i64::try_from(self.0.clock.now_micros() / 1_000_000).unwrap_or(i64::MAX);
        complaints.extend(self.0.identities.all().iter().filter_map(|certificate| {
            let Shown { file, expires, .. } = Shown::from(&**certificate);
            match certificate.standing(now) {
                Standing::Valid => None,
                Standing::ExpiresSoon => Some(format!("{file} expires at {expires}")),
                Standing::Expired => Some(format!("{file} has expired at {expires}")),
            }
        }));
        complaints
    }

    /// The certificates and the reloads, for a registry of metrics.
    #[must_use]
    pub fn figures(&self) -> Box<dyn Collector> {
        Box::new(figures::Figures(self.clone()))
    }
}

impl Reloads {
    fn count(&self, changed: bool, failed: bool) {
        let counter = match (failed, changed) {
            (true, _) => &self.failed,
            (false, true) => &self.changed,
            (false, false) => &self.unchanged,
        };
        counter.fetch_add(1, Relaxed);
    }
}

impl From<&Certificate> for Shown {
    fn from(certificate: &Certificate) -> Self {
        let micros = u64::try_from(certificate.expires)
            .unwrap_or(0)
            .saturating_mul(1_000_000);
        Self {
            names: certificate.names.clone(),
            file: certificate.file.display().to_string(),
            expires: timestamp::rfc3339(micros),
        }
    }
}

/// The certificate for everybody.
fn pair(settings: &Settings) -> anyhow::Result<Pair> {
    let (certificate, key) = match (&settings.tls.certificate, &settings.tls.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (None, None) => self_signed::files(&settings.node.data_dir, settings.smtp.hostname.as_str())?,
        _ => bail!("tls.certificate and tls.key need each other"),
    };
    Ok(Pair::of_settings(certificate, key))
}

/// What of the folder can be used, and what is wrong with the rest, whose `former` ones stay.
fn others(
    found: Found,
    provider: &CryptoProvider,
    former: &[Arc<Certificate>],
) -> (Vec<Arc<Certificate>>, Vec<String>) {
    let Found {
        pairs,
        mut problems,
        is_whole,
    } = found;
    if !is_whole {
        return (former.to_vec(), problems);
    }
    let mut used = Vec::with_capacity(pairs.len());
    for pair in pairs {
        match pair.read(provider).and_then(Certificate::with_names) {
            Ok(certificate) => used.push(Arc::new(certificate)),
            Err(error) => {
                problems.push(error.to_string());
                let same = former.iter().find(|former| former.file == pair.certificate);
                used.extend(same.map(Arc::clone));
            }
        }
    }
    (used, problems)
}

/// With the suites of the settings, or else all that rustls has here.
fn provider(settings: &Settings) -> CryptoProvider {
    let mut provider = ring::default_provider();
    let wanted = &settings.tls.suites;
    if !wanted.is_empty() {
        let is_wanted =
            |suite: &rustls::SupportedCipherSuite| wanted.iter().any(|wanted| wanted.is(suite.suite()));
        provider.cipher_suites.retain(is_wanted);
    }
    provider
}

#[cfg(test)]
pub(crate) mod tests;
