//! The certificate for whoever has none yet: it signs itself, and is for this machine alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::private_files;

/// The folder of the self-signed certificate in the data folder.
const FOLDER: &str = "tls";
const CERTIFICATE: &str = "self-signed.pem";
const KEY: &str = "self-signed.key";

/// The self-signed certificate and its key, made if the certificate isn't there. It is written last: where it is,
/// its key is.
pub(super) fn files(data_dir: &Path, hostname: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let folder = data_dir.join(FOLDER);
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    if !fs::exists(&certificate).with_context(|| format!("{}: can't be looked at", certificate.display()))? {
        let (certificate_pem, key_pem) = make(hostname).context("no certificate could be made")?;
        private_files::make_folder(&folder)
            .and_then(|()| private_files::write(&key, key_pem.as_bytes()))
            .and_then(|()| private_files::write(&certificate, certificate_pem.as_bytes()))
            .with_context(|| {
                format!(
                    "{}: the self-signed certificate can't be written",
                    folder.display()
                )
            })?;
        tracing::info!(path = %certificate.display(), "a self-signed certificate was made, for this machine alone");
    }
    Ok((certificate, key))
}

pub(super) fn make(hostname: &str) -> Result<(String, String), rcgen::Error> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !names.iter().any(|name| name == hostname) {
        names.push(hostname.to_owned());
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, hostname);
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}
