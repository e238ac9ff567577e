//! TLS for mail: the operator's certificate, or one that signs itself, for this machine alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};

use crate::private_files;
use crate::settings::Settings;

/// The folder of the self-signed certificate in the data folder.
const FOLDER: &str = "tls";
const CERTIFICATE: &str = "self-signed.pem";
const KEY: &str = "self-signed.key";

/// How many tickets for resumption a TLS 1.3 client gets: a mail client has one connection after the other.
const TICKETS: usize = 1;

/// What TLS listeners and STARTTLS need. Which listeners offer it says [`Settings::offers_tls`].
///
/// # Errors
///
/// When the files can't be read, hold something else, or don't fit each other; the message names the setting.
pub fn server_config(settings: &Settings) -> anyhow::Result<Arc<ServerConfig>> {
    let (certificate, key) = match (&settings.tls.certificate, &settings.tls.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (None, None) => self_signed(&settings.node.data_dir, settings.smtp.hostname.as_str())?,
        _ => bail!("tls.certificate and tls.key need each other"),
    };
    let chain = read_certificates(&certificate)?;
    let private_key = PrivateKeyDer::from_pem_file(&key).map_err(|error| {
        anyhow!(
            "tls.key: {}: no private key can be read from it: {error}",
            key.display()
        )
    })?;
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(|error| mismatch(&error, &certificate, &key))?;
    // Tickets hold what a resumption needs, so that the server has nothing to remember.
    config.ticketer = ring::Ticketer::new().context("the key for TLS tickets can't be made")?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}

fn read_certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| anyhow!("tls.certificate: {}: can't be read: {error}", path.display()))?;
    if chain.is_empty() {
        bail!(
            "tls.certificate: {}: there is no certificate in it",
            path.display()
        );
    }
    Ok(chain)
}

fn mismatch(error: &rustls::Error, certificate: &Path, key: &Path) -> anyhow::Error {
    let (certificate, key) = (certificate.display(), key.display());
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            anyhow!("tls.key: {key} is not the key of the certificate in tls.certificate: {certificate}")
        }
        other => anyhow!("tls.certificate: {certificate} with tls.key: {key}: {other}"),
    }
}

/// The self-signed certificate and its key, made if the certificate isn't there. It is written last: where it is,
/// its key is.
fn self_signed(data_dir: &Path, hostname: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let folder = data_dir.join(FOLDER);
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    if !fs::exists(&certificate).with_context(|| format!("{}: can't be looked at", certificate.display()))? {
        let (certificate_pem, key_pem) =
            make_self_signed(hostname).context("no certificate could be made")?;
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

fn make_self_signed(hostname: &str) -> Result<(String, String), rcgen::Error> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !names.iter().any(|name| name == hostname) {
        names.push(hostname.to_owned());
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, hostname);
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;
    use std::os::unix::fs::PermissionsExt;

    fn settings(folder: &Path) -> Settings {
        let data_dir = Some(folder.to_path_buf());
        Sources {
            data_dir,
            ..Sources::default()
        }
        .load()
        .unwrap()
    }

    #[test]
    fn a_self_signed_certificate_is_made_once_and_its_key_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        server_config(&settings).unwrap();
        let path = folder.path().join("tls/self-signed.pem");
        let first = fs::read(&path).unwrap();
        server_config(&settings).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        let mode = fs::metadata(folder.path().join("tls/self-signed.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_a_crash_left_without_its_certificate_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        server_config(&settings).unwrap();
        fs::remove_file(folder.path().join("tls/self-signed.pem")).unwrap();
        server_config(&settings).unwrap();
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said_with_the_name_of_the_setting() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let (certificate, key) = make_self_signed("a.example").unwrap();
        let (_, other_key) = make_self_signed("b.example").unwrap();
        let (good, good_key) = (write("c.pem", &certificate), write("k.pem", &key));
        let other_key = write("o.pem", &other_key);
        let empty = write("empty.pem", "");
        let nowhere = folder.path().join("nowhere.pem");
        let table = [
            (&good, &good_key, None),
            (&nowhere, &good_key, Some("tls.certificate: ")),
            (&empty, &good_key, Some("tls.certificate: ")),
            (&good, &nowhere, Some("tls.key: ")),
            (&good, &empty, Some("tls.key: ")),
            (&good, &good, Some("tls.key: ")),
            (&good, &other_key, Some("tls.key: ")),
        ];
        for (certificate, key, expected) in table {
            let mut settings = settings(folder.path());
            settings.tls.certificate = Some(certificate.clone());
            settings.tls.key = Some(key.clone());
            let told = server_config(&settings).err().map(|error| error.to_string());
            match (told, expected) {
                (None, None) => {}
                (Some(told), Some(expected)) => assert!(told.starts_with(expected), "{told}"),
                (told, expected) => panic!("{told:?} instead of {expected:?}"),
            }
        }
    }
}
