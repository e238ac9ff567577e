//! Whom to trust under TLS: read once, at the start.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redis::TlsCertificates;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::OpenError;

/// The certificates in a file, or the system's. One that can't be used is passed over, as long as there is another.
pub(crate) fn trusted(ca_file: Option<&Path>) -> Result<TlsCertificates, OpenError> {
    let roots = match ca_file {
        Some(path) => {
            let pem = fs::read(path).map_err(|source| OpenError::CaFile {
                path: path.to_owned(),
                source,
            })?;
            let found = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
            let roots = usable(found);
            if roots.is_empty() {
                let path = path.to_owned();
                return Err(OpenError::NoCertificate { path });
            }
            roots
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let roots = usable(found.certs.into_iter());
            if roots.is_empty() {
                return Err(OpenError::NoSystemRoots(format!("{:?}", found.errors)));
            }
            roots
        }
    };
    Ok(TlsCertificates {
        client_tls: None,
        root_cert: Some(roots.into_bytes()),
    })
}

/// As PEM, which is what the client library takes; it refuses all where one is bad.
fn usable(found: impl Iterator<Item = CertificateDer<'static>>) -> String {
    let is_usable = |root: &CertificateDer<'static>| RootCertStore::empty().add(root.clone()).is_ok();
    let pem = |root: CertificateDer<'static>| {
        let text = STANDARD.encode(&root);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    found.filter(is_usable).map(pem).collect()
}
