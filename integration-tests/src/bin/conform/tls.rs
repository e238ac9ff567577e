//! TLS as a client does it: with a check of the certificate where roots were given, otherwise without. A test of a protocol
//! is no place to refuse a certificate that somebody made for the test.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, StreamOwned,
};

use crate::case::{Checked, Stop};

/// How TLS is spoken.
#[derive(Debug, Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// With the certificates of a PEM file as roots, or without any check.
    pub(crate) fn new(roots: Option<&Path>) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let config = match roots {
            Some(file) => builder.with_root_certificates(read_roots(file)?),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unchecked(provider))),
        };
        Ok(Self(Arc::new(config.with_no_client_auth())))
    }

    /// Speaks TLS from here on. A refusal by the server fails the case, as does a certificate that was to be checked.
    pub(crate) fn handshake(
        &self,
        host: &str,
        mut stream: TcpStream,
    ) -> Checked<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| Stop::NotRun(format!("{host}: {error}")))?;
        let connection = ClientConnection::new(Arc::clone(&self.0), name);
        let mut connection = connection.map_err(|error| Stop::NotRun(error.to_string()))?;
        while connection.is_handshaking() {
            match connection.complete_io(&mut stream) {
                Ok((0, 0)) => return Err(Stop::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(Stop::Failed(format!("no TLS: {error}")));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

fn read_roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let text = fs::read(file).with_context(|| file.display().to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add(certificate.with_context(|| file.display().to_string())?)?;
    }
    ensure!(!roots.is_empty(), "{}: no certificate", file.display());
    Ok(roots)
}

/// Takes any certificate whose key the server has.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
