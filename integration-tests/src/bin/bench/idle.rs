//! Memory of sessions that are logged in and idle.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::load::{MESSAGES, log_in};
use crate::measures::fill;
use crate::options::Options;
use crate::servers::{Certificate, Kind, Server, prepare_mailhorn, settle};
use crate::table::{Aim, Cell, Row, Unit};
use crate::wire::{Wire, connect};

/// Dovecot has a process for each session; half a MiB each is as true of a thousand as of more.
const DOVECOT_SESSIONS_MAX: usize = 1_000;
/// Log-ins under way at a time.
const LOG_INS: usize = 32;
/// The size of the messages in the mailboxes.
const SMALL_OCTETS: usize = 1_024;
/// Recipients of one transaction that fills mailboxes.
const TOGETHER: usize = 100;
/// How long the servers are left alone before their memory is read.
const REST: Duration = Duration::from_secs(3);

const PLAIN: &str = "idle";
const TLS: &str = "idle-tls";

/// Whether any of these measures is wanted.
pub(crate) fn wanted(options: &Options) -> bool {
    [PLAIN, TLS].iter().any(|name| options.wants(name))
}

/// Runs those that are wanted.
pub(crate) async fn measure(options: &Options, dir: &Path) -> anyhow::Result<Vec<Row>> {
    let sessions = options.sessions;
    let title = |how: &str| {
        format!(
            "memory for each idle logged-in session, {sessions} sessions{how} (Dovecot: {DOVECOT_SESSIONS_MAX}, PSS)"
        )
    };
    let mut plain = Row::new(PLAIN, &title(""), Unit::Kibibytes, Aim::at_most(4.0));
    let mut tls = Row::new(TLS, &title(" with TLS"), Unit::Kibibytes, Aim::NONE);

    let data = dir.join("idle-mailhorn");
    prepare_mailhorn(&data, sessions)?;
    let start = || anyhow::Ok(Server::mailhorn(&data));
    measure_server(options, 0..sessions, start, &mut [&mut plain, &mut tls]).await?;
    if options.with_dovecot {
        let certificate = Certificate::of_node(&data)?;
        let sessions = sessions.min(DOVECOT_SESSIONS_MAX);
        let data = dir.join("idle-dovecot");
        let start = || Server::dovecot(&data, sessions, &certificate);
        measure_server(options, 0..sessions, start, &mut [&mut plain, &mut tls]).await?;
    }
    if options.wants(PLAIN) {
        let server = Server::bare()?;
        let (address, accounts) = (server.pop3, 0..sessions);
        let open = open_all(&accounts, |account| plain_session(address, account));
        plain.set(
            server.kind,
            Cell::of(each(growth(&server, open).await?, sessions)),
        );
    }
    let rows = [(PLAIN, plain), (TLS, tls)];
    Ok(rows
        .into_iter()
        .filter(|(name, _)| options.wants(name))
        .map(|(_, row)| row)
        .collect())
}

/// A server's two figures, each from a fresh start, so that no memory of what went before is used again.
async fn measure_server(
    options: &Options,
    accounts: Range<usize>,
    start: impl Fn() -> anyhow::Result<Server>,
    rows: &mut [&mut Row; 2],
) -> anyhow::Result<()> {
    let server = start()?;
    fill(&server, accounts.clone(), TOGETHER, MESSAGES, SMALL_OCTETS).await?;
    // The first log-in of an account writes what the later ones only read.
    drop(open_all(&accounts, |account| plain_session(server.pop3, account)).await?);
    settle(std::slice::from_ref(&server)).await?;
    server.stop();
    if options.wants(PLAIN) {
        let server = start()?;
        let address = server.pop3;
        let grown = growth(
            &server,
            open_all(&accounts, |account| plain_session(address, account)),
        )
        .await?;
        rows[0].set(server.kind, Cell::of(each(grown, accounts.len())));
        server.stop();
    }
    if options.wants(TLS) {
        let server = start()?;
        let address = server.pop3s.context("it has no TLS")?;
        let connector = TlsConnector::from(Arc::new(tls_config()?));
        let open = open_all(&accounts, |account| {
            tls_session(connector.clone(), address, account)
        });
        let grown = growth(&server, open).await?;
        rows[1].set(server.kind, Cell::of(each(grown, accounts.len())));
        server.stop();
    }
    Ok(())
}

/// How much the server has grown, in KiB, when all sessions are open.
async fn growth<S>(
    server: &Server,
    open: impl Future<Output = anyhow::Result<Vec<S>>>,
) -> anyhow::Result<u64> {
    tokio::time::sleep(REST).await;
    let before = server.family.memory()?;
    let sessions = open.await?;
    tokio::time::sleep(REST).await;
    let after = server.family.memory()?;
    crate::progress(&format!(
        "{} sessions of {:?}: {} processes, resident {} -> {} KiB, proportional {} -> {} KiB",
        sessions.len(),
        server.kind,
        server.family.processes(),
        before.resident,
        after.resident,
        before.proportional,
        after.proportional
    ));
    Ok(match server.kind {
        // Its processes share most of their pages; one alone shares none.
        Kind::Dovecot => after.proportional.saturating_sub(before.proportional),
        Kind::Mailhorn | Kind::Bare => after.resident.saturating_sub(before.resident),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn each(kibibytes: u64, sessions: usize) -> f64 {
    kibibytes as f64 / sessions as f64
}

/// Opens a session for each account, a few at a time.
async fn open_all<S, F>(accounts: &Range<usize>, open: impl Fn(usize) -> F) -> anyhow::Result<Vec<S>>
where
    S: 'static,
    F: Future<Output = anyhow::Result<S>> + 'static,
{
    let (mut under_way, mut sessions) = (JoinSet::new(), Vec::new());
    for account in accounts.clone() {
        if under_way.len() >= LOG_INS {
            sessions.extend(under_way.join_next().await.transpose()?.transpose()?);
        }
        under_way.spawn_local(open(account));
    }
    while let Some(session) = under_way.join_next().await {
        sessions.push(session??);
    }
    Ok(sessions)
}

async fn plain_session(address: SocketAddr, account: usize) -> anyhow::Result<TcpStream> {
    let mut wire = connect(address, account).await?;
    log_in(&mut wire, account).await?;
    Ok(wire.into_stream())
}

async fn tls_session(
    connector: TlsConnector,
    address: SocketAddr,
    account: usize,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = connect(address, account).await?.into_stream();
    let stream = connector
        .connect(ServerName::try_from("localhost")?, stream)
        .await?;
    let mut wire = Wire::new(stream);
    log_in(&mut wire, account).await?;
    Ok(wire.into_stream())
}

fn tls_config() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Takes every certificate: the servers are ours, and so is the machine.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
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
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
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
