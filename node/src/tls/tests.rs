use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ServerConnection, SignatureScheme,
    SupportedProtocolVersion,
};

use super::*;
use crate::clock::SystemClock;
use crate::settings::Sources;

/// A folder of an operator's.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A new pair for these names, under these names of files.
    fn pair(&self, certificate: &str, key: &str, names: &[&str]) {
        let key_pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let made = params.unwrap().self_signed(&key_pair).unwrap();
        self.write(certificate, &made.pem());
        self.write(key, &key_pair.serialize_pem());
    }

    /// With `tls.certificate` and `tls.key` in it, and `tls.folder` where there is a folder `more`.
    fn settings(&self) -> Settings {
        let mut settings = defaults(self.0.path());
        settings.tls.certificate = Some(self.path("c.pem"));
        settings.tls.key = Some(self.path("k.pem"));
        settings.tls.folder = Some(self.path("more")).filter(|path| path.exists());
        settings
    }

    fn tls(&self) -> Tls {
        load(&self.settings()).unwrap()
    }
}

fn defaults(folder: &Path) -> Settings {
    let data_dir = Some(folder.to_path_buf());
    Sources {
        data_dir,
        ..Sources::default()
    }
    .load()
    .unwrap()
}

fn load(settings: &Settings) -> anyhow::Result<Tls> {
    Tls::load(settings, Arc::new(SystemClock))
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

/// A client that remembers tickets.
fn client(versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    Arc::new(config)
}

/// A handshake by the name, in memory: the certificate's first name, and whether it was resumed.
fn handshake(tls: &Tls, client: &Arc<ClientConfig>, name: &str) -> Result<(String, bool), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(tls.config()).unwrap();
    // More turns than any handshake takes, with its tickets.
    for _ in 0..8 {
        let mut octets = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut octets).unwrap();
        }
        feed(&octets, |rest| server.read_tls(rest));
        server.process_new_packets()?;
        let mut octets = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut octets).unwrap();
        }
        feed(&octets, |rest| client.read_tls(rest));
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let resumed = client.handshake_kind() == Some(HandshakeKind::Resumed);
    let shown = client.peer_certificates().unwrap()[0].clone();
    let known = tls.0.identities.all();
    let known = known.iter().find(|known| known.chain.cert[0] == shown);
    let name = known.map_or_else(|| "an old one".to_owned(), |known| known.names[0].clone());
    Ok((name, resumed))
}

fn feed(mut octets: &[u8], mut read: impl FnMut(&mut &[u8]) -> std::io::Result<usize>) {
    while !octets.is_empty() {
        read(&mut octets).unwrap();
    }
}

fn shown(tls: &Tls, name: &str) -> String {
    handshake(tls, &client(&[&TLS13, &TLS12]), name).unwrap().0
}

#[test]
fn a_self_signed_certificate_is_made_once_and_its_key_is_its_owners_alone() {
    let folder = Folder::new();
    let settings = defaults(folder.0.path());
    load(&settings).unwrap();
    let path = folder.path("tls/self-signed.pem");
    let first = fs::read(&path).unwrap();
    load(&settings).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    let metadata = fs::metadata(folder.path("tls/self-signed.key")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_key_that_a_crash_left_without_its_certificate_is_replaced() {
    let folder = Folder::new();
    let settings = defaults(folder.0.path());
    load(&settings).unwrap();
    fs::remove_file(folder.path("tls/self-signed.pem")).unwrap();
    load(&settings).unwrap();
}

#[test]
fn what_is_wrong_with_the_files_is_said_with_the_name_of_the_setting() {
    let folder = Folder::new();
    let (certificate, key) = self_signed::make("a.example").unwrap();
    let (_, other_key) = self_signed::make("b.example").unwrap();
    let (good, good_key) = (folder.write("c.pem", &certificate), folder.write("k.pem", &key));
    let other_key = folder.write("o.pem", &other_key);
    let empty = folder.write("empty.pem", "");
    let nonsense = "-----BEGIN CERTIFICATE-----\nTWFpbGhvcm4=\n-----END CERTIFICATE-----\n";
    let nonsense = folder.write("nonsense.pem", nonsense);
    let nowhere = folder.path("nowhere.pem");
    let table = [
        (&good, &good_key, None),
        (&nowhere, &good_key, Some("tls.certificate: ")),
        (&empty, &good_key, Some("tls.certificate: ")),
        (&nonsense, &good_key, Some("tls.certificate: ")),
        (&good, &nowhere, Some("tls.key: ")),
        (&good, &empty, Some("tls.key: ")),
        (&good, &good, Some("tls.key: ")),
        (&good, &other_key, Some("tls.key: ")),
    ];
    for (certificate, key, expected) in table {
        let mut settings = folder.settings();
        settings.tls.certificate = Some(certificate.clone());
        settings.tls.key = Some(key.clone());
        let told = load(&settings).err().map(|error| error.to_string());
        match (told, expected) {
            (None, None) => {}
            (Some(told), Some(expected)) => assert!(told.starts_with(expected), "{told}"),
            (told, expected) => panic!("{told:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let folder = Folder::new();
    folder.pair("c.pem", "k.pem", &["mail.example.org"]);
    folder.pair(
        "more/net/tls.crt",
        "more/net/tls.key",
        &["MX.example.net", "*.example.net"],
    );
    folder.pair("more/com/fullchain.pem", "more/com/privkey.pem", &["example.com"]);
    // As Kubernetes and certbot leave them.
    folder.write("more/README", "read me");
    fs::create_dir(folder.path("more/..data")).unwrap();
    let tls = folder.tls();
    let table = [
        ("mail.example.org", "mail.example.org"),
        ("mx.example.net", "mx.example.net"),
        ("pop.example.net", "mx.example.net"),
        ("POP.EXAMPLE.NET", "mx.example.net"),
        ("example.com", "example.com"),
        ("a.pop.example.net", "mail.example.org"),
        ("example.net", "mail.example.org"),
        ("sub.example.com", "mail.example.org"),
        // An address is no name, so no name is sent with it (RFC 6066 §3).
        ("192.0.2.1", "mail.example.org"),
    ];
    for (asked, expected) in table {
        assert_eq!(shown(&tls, asked), expected, "{asked}");
    }
    assert_eq!(tls.complaints(), [] as [&str; 0]);
}

#[test]
fn what_is_new_is_shown_after_a_reload_and_what_cannot_be_used_leaves_the_former_one() {
    let folder = Folder::new();
    folder.pair("c.pem", "k.pem", &["old.example"]);
    folder.pair("more/net/tls.crt", "more/net/tls.key", &["net.example"]);
    let tls = folder.tls();
    assert!(!tls.reload().changed);
    folder.pair("c.pem", "k.pem", &["new.example"]);
    folder.pair("more/com/tls.crt", "more/com/tls.key", &["com.example"]);
    // Between the two files of a renewal.
    folder.write(
        "more/net/tls.crt",
        &fs::read_to_string(folder.path("c.pem")).unwrap(),
    );
    let reloaded = tls.reload();
    assert!(reloaded.changed);
    let [problem] = &reloaded.problems[..] else {
        panic!("{reloaded:?}")
    };
    assert!(
        problem.starts_with("tls.folder: ") && problem.contains("more/net/tls.key"),
        "{problem}"
    );
    for (asked, expected) in [
        ("elsewhere.example", "new.example"),
        ("net.example", "net.example"),
        ("com.example", "com.example"),
    ] {
        assert_eq!(shown(&tls, asked), expected);
    }
    assert_eq!(tls.complaints(), reloaded.problems);
    folder.write("c.pem", "");
    fs::remove_dir_all(folder.path("more/net")).unwrap();
    let reloaded = tls.reload();
    let [problem] = &reloaded.problems[..] else {
        panic!("{reloaded:?}")
    };
    assert!(problem.starts_with("tls.certificate: "), "{problem}");
    let names: Vec<_> = reloaded
        .certificates
        .iter()
        .map(|one| one.names[0].as_str())
        .collect();
    assert_eq!(names, ["new.example", "com.example"]);
    fs::rename(folder.path("more"), folder.path("less")).unwrap();
    let reloaded = tls.reload();
    assert_eq!(reloaded.problems.len(), 2, "{reloaded:?}");
    assert_eq!(
        reloaded.certificates.len(),
        2,
        "nobody knows what the folder has now"
    );
}

#[test]
fn a_secret_that_kubernetes_swaps_by_its_link_is_seen() {
    let folder = Folder::new();
    folder.pair("..1/tls.crt", "..1/tls.key", &["one.example"]);
    folder.pair("..2/tls.crt", "..2/tls.key", &["two.example"]);
    symlink("..1", folder.path("..data")).unwrap();
    symlink("..data/tls.crt", folder.path("c.pem")).unwrap();
    symlink("..data/tls.key", folder.path("k.pem")).unwrap();
    let tls = folder.tls();
    symlink("..2", folder.path("..data_tmp")).unwrap();
    fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
    assert!(tls.reload().changed);
    assert_eq!(shown(&tls, "any.example"), "two.example");
}

#[test]
fn tickets_from_before_a_change_resume_nothing() {
    for version in [&TLS12, &TLS13] {
        let folder = Folder::new();
        folder.pair("c.pem", "k.pem", &["one.example"]);
        let tls = folder.tls();
        let client = client(&[version]);
        assert!(!handshake(&tls, &client, "a.example").unwrap().1);
        assert!(!tls.reload().changed);
        assert!(
            handshake(&tls, &client, "a.example").unwrap().1,
            "nothing has changed"
        );
        folder.pair("c.pem", "k.pem", &["two.example"]);
        assert!(tls.reload().changed);
        let after = handshake(&tls, &client, "a.example").unwrap();
        assert_eq!(after, ("two.example".to_owned(), false));
    }
}

#[test]
fn versions_and_suites_that_are_not_wanted_are_refused() {
    let folder = Folder::new();
    folder.pair("c.pem", "k.pem", &["one.example"]);
    let of = |min_version, suites: &str| {
        let mut settings = folder.settings();
        settings.tls.min_version = min_version;
        settings.tls.suites = crate::settings::value::Value::parse(suites).unwrap();
        load(&settings).unwrap()
    };
    let is_served = |tls: &Tls, version| handshake(tls, &client(&[version]), "a.example").is_ok();
    let all = of(TlsVersion::Tls12, "");
    assert!(is_served(&all, &TLS12) && is_served(&all, &TLS13));
    let strict = of(TlsVersion::Tls13, "");
    assert!(!is_served(&strict, &TLS12) && is_served(&strict, &TLS13));
    let old_only = of(TlsVersion::Tls12, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    assert!(is_served(&old_only, &TLS12) && !is_served(&old_only, &TLS13));
}

#[test]
fn a_certificate_that_expires_soon_is_complained_of_and_shown_to_prometheus() {
    #[derive(Debug)]
    struct At(u64);
    impl Clock for At {
        fn now_micros(&self) -> u64 {
            self.0 * 1_000_000
        }
    }
    let folder = Folder::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    // A hundred days, the last ten of which are late.
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 4, 11);
    folder.write("c.pem", &params.self_signed(&key).unwrap().pem());
    folder.write("k.pem", &key.serialize_pem());
    let end = 1_775_865_600;
    let day = 86_400;
    let table = [
        (end - 11 * day, ""),
        (end - 10 * day, "expires at 2026-04-11T00:00:00Z"),
        (end, "has expired at 2026-04-11T00:00:00Z"),
    ];
    for (now, expected) in table {
        let tls = Tls::load(&folder.settings(), Arc::new(At(now))).unwrap();
        let told = tls.complaints().join("");
        assert!(told.ends_with(expected), "{told}");
        assert_eq!(told.is_empty(), expected.is_empty());
    }
    let tls = folder.tls();
    assert!(!tls.reload().changed);
    let mut registry = Registry::with_prefix("mailhorn");
    registry.register_collector(tls.figures());
    let mut text = String::new();
    text::encode(&mut text, &registry).unwrap();
    let file = folder.path("c.pem");
    for line in [
        format!(
            "mailhorn_tls_certificate_expires_seconds{{name=\"a.example\",file=\"{}\"}} {end}",
            file.display()
        ),
        "mailhorn_tls_reloads_total{result=\"unchanged\"} 1".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}
