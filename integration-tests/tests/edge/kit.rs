//! A client of lines, in clear or under TLS, and what is asked of a node by command.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use mailhorn_integration_tests::mailhorn;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};
use socket2::{Domain, Socket, Type};

/// How long a node may be silent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection from this address of the machine's.
pub(crate) fn connect_from(address: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A conversation in lines.
pub(crate) struct Talk<S: Read + Write>(BufReader<S>);

impl Talk<TcpStream> {
    /// In clear.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_from(Ipv4Addr::LOCALHOST, address)
    }

    /// The same, from another of the machine's addresses.
    pub(crate) fn connect_from(address: Ipv4Addr, to: SocketAddr) -> Self {
        Self(BufReader::new(connect_from(address, to)))
    }
}

impl<S: Read + Write> Talk<S> {
    /// Sends octets as they are.
    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).unwrap();
        self.0.get_mut().flush().unwrap();
    }

    /// The next line without its end; empty at the end of the connection.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        // One that was cut off has ended as well.
        drop(self.0.read_line(&mut line));
        line.trim_end().to_owned()
    }

    /// Sends a command and reads the first line of the answer.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.line()
    }
}

/// Under TLS, of whatever the node is taken to be.
pub(crate) type TlsTalk = Talk<StreamOwned<ClientConnection, TcpStream>>;

impl TlsTalk {
    /// Speaks TLS from now on, asking for `name`. The certificate that the node showed comes with it.
    pub(crate) fn begin(
        stream: TcpStream,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<(Self, CertificateDer<'static>)> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(client, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let shown = stream.conn.peer_certificates().unwrap()[0].clone();
        Ok((Self(BufReader::new(stream)), shown))
    }
}

/// Takes any certificate: what is looked at is which one it was.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Runs a command on a data folder.
pub(crate) fn command(data_dir: &Path, line: &str) -> Output {
    let mut args = vec!["--data-dir", data_dir.to_str().unwrap()];
    args.extend(line.split(' '));
    mailhorn(&args, "")
}

/// The same, where it has to be done; gives what it printed.
pub(crate) fn done(data_dir: &Path, line: &str) -> String {
    let output = command(data_dir, line);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mailhorn {line}: {told}");
    String::from_utf8(output.stdout).unwrap()
}
