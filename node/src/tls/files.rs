//! Certificates and keys as they lie in files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{anyhow, bail};
use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How a certificate and its key are called in a folder of their own: by cert-manager and in every TLS secret of
/// Kubernetes, and by certbot.
const PAIR_NAMES: [(&str, &str); 2] = [("tls.crt", "tls.key"), ("fullchain.pem", "privkey.pem")];

/// How many certificates a folder may have. Each is read at every look.
pub(super) const CERTIFICATES_MAX: usize = 1_000;

/// The last part of a certificate's life, in which it should have been renewed: so much of it, and no more than this.
/// certbot and cert-manager renew when a third is left.
const EXPIRES_SOON_PART: i64 = 10;
const EXPIRES_SOON_MAX_SECONDS: i64 = 14 * 86_400;

/// A certificate's file and its key's, and the settings that lead there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    key: PathBuf,
    certificate_setting: &'static str,
    key_setting: &'static str,
}

/// A certificate with its key.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) chain: Arc<CertifiedKey>,
    /// The DNS names of its subject, in small letters; those with `*.` stand for any one label.
    pub(super) names: Vec<String>,
    pub(super) file: PathBuf,
    /// Seconds since the Unix epoch.
    pub(super) expires: i64,
    begins: i64,
}

/// How far a certificate's life has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Valid,
    ExpiresSoon,
    Expired,
}

/// What a folder has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pairs: Vec<Pair>,
    pub(super) problems: Vec<String>,
    /// Whether it could be read at all: if not, nobody knows what is in it.
    pub(super) is_whole: bool,
}

impl Pair {
    /// Of `tls.certificate` and `tls.key`.
    pub(super) fn of_settings(certificate: PathBuf, key: PathBuf) -> Self {
        Self {
            certificate,
            key,
            certificate_setting: "tls.certificate",
            key_setting: "tls.key",
        }
    }

    /// Of one folder in `tls.folder`.
    fn in_folder(folder: &Path) -> Option<Self> {
        let mut pairs = PAIR_NAMES.into_iter();
        let (certificate, key) = pairs.find(|(certificate, _)| folder.join(certificate).exists())?;
        Some(Self {
            certificate: folder.join(certificate),
            key: folder.join(key),
            certificate_setting: "tls.folder",
            key_setting: "tls.folder",
        })
    }

    pub(super) fn read(&self, provider: &CryptoProvider) -> anyhow::Result<Certificate> {
        let (file, setting) = (self.certificate.display(), self.certificate_setting);
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| anyhow!("{setting}: {file}: can't be read: {error}"))?;
        let Some(own) = chain.first() else {
            bail!("{setting}: {file}: there is no certificate in it");
        };
        let (names, begins, expires) =
            facts(own).ok_or_else(|| anyhow!("{setting}: {file}: what is in it is no certificate"))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| {
            let (setting, file) = (self.key_setting, self.key.display());
            anyhow!("{setting}: {file}: no private key can be read from it: {error}")
        })?;
        let chain = CertifiedKey::from_der(chain, key, provider).map_err(|error| self.mismatch(&error))?;
        Ok(Certificate {
            chain: Arc::new(chain),
            names,
            file: self.certificate.clone(),
            expires,
            begins,
        })
    }

    fn mismatch(&self, error: &rustls::Error) -> anyhow::Error {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let (certificate_setting, key_setting) = (self.certificate_setting, self.key_setting);
        match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => anyhow!(
                "{key_setting}: {key} is not the key of the certificate in {certificate_setting}: {certificate}"
            ),
            other => anyhow!("{certificate_setting}: {certificate} with {key_setting}: {key}: {other}"),
        }
    }
}

impl Certificate {
    /// One that is chosen by its names has to have some.
    pub(super) fn with_names(self) -> anyhow::Result<Self> {
        if self.names.is_empty() {
            bail!(
                "tls.folder: {}: it has no DNS name to be chosen by",
                self.file.display()
            );
        }
        Ok(self)
    }

    /// Whether a client sees the same. The same certificate has the same key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.chain.cert == other.chain.cert && self.file == other.file
    }

    /// How far it is `now`, in seconds since the Unix epoch.
    pub(super) fn standing(&self, now: i64) -> Standing {
        let life = self.expires.saturating_sub(self.begins);
        let soon = (life / EXPIRES_SOON_PART).min(EXPIRES_SOON_MAX_SECONDS);
        if now >= self.expires {
            Standing::Expired
        } else if now >= self.expires.saturating_sub(soon) {
            Standing::ExpiresSoon
        } else {
            Standing::Valid
        }
    }
}

/// Names, beginning and end of validity (RFC 5280 §4.2.1.6, §4.1.2.5).
fn facts(certificate: &CertificateDer<'_>) -> Option<(Vec<String>, i64, i64)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    let validity = parsed.validity();
    Some((
        names.collect(),
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    ))
}

/// The folders in `folder`, in the order of their names. Those that begin with a dot are not looked at: Kubernetes keeps
/// versions of a secret in such.
pub(super) fn find(folder: &Path) -> Found {
    let mut found = Found {
        pairs: Vec::new(),
        problems: Vec::new(),
        is_whole: true,
    };
    let folders = match folders_in(folder) {
        Ok(folders) => folders,
        Err(error) => {
            found.problems.push(format!(
                "tls.folder: {}: can't be read: {error}",
                folder.display()
            ));
            found.is_whole = false;
            return found;
        }
    };
    if folders.len() > CERTIFICATES_MAX {
        found.problems.push(format!(
            "tls.folder: {}: it has {} folders; those behind the first {CERTIFICATES_MAX} are not read",
            folder.display(),
            folders.len()
        ));
    }
    for folder in folders.iter().take(CERTIFICATES_MAX) {
        match Pair::in_folder(folder) {
            Some(pair) => found.pairs.push(pair),
            None => found.problems.push(format!(
                "tls.folder: {}: there is neither tls.crt nor fullchain.pem in it",
                folder.display()
            )),
        }
    }
    found
}

fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}
