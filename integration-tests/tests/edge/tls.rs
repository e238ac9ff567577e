//! Certificates: one for each name, new ones without a restart, none for those who speak old versions.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use mailhorn_integration_tests::{Node, NodeBuilder};
use rcgen::generate_simple_self_signed;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};

use crate::kit::{PATIENCE, TlsTalk, command, done};

/// Writes a new pair for `name` into a folder of its own, as cert-manager has it.
fn renew(folder: &Path, name: &str) -> CertificateDer<'static> {
    fs::create_dir_all(folder).unwrap();
    let made = generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// A node with a certificate in `own`, and others in `more`.
fn node(folder: &Path) -> NodeBuilder {
    let path = |name: &str| folder.join(name).display().to_string();
    Node::builder()
        .data_dir(folder.join("data"))
        .setting("tls.certificate", path("own/tls.crt"))
        .setting("tls.key", path("own/tls.key"))
        .setting("tls.folder", path("more"))
        .setting("tls.check_every", "0")
}

/// A session under TLS, and the certificate that it was shown.
fn connect(node: &Node, name: &str) -> (TlsTalk, CertificateDer<'static>) {
    let stream = TcpStream::connect(node.pop3s()).unwrap();
    let (mut talk, shown) = TlsTalk::begin(stream, name, &[&TLS13]).unwrap();
    assert!(talk.line().starts_with("+OK"));
    (talk, shown)
}

#[test]
fn a_renewed_certificate_is_shown_to_new_clients_and_a_session_that_runs_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let old = renew(&folder.path().join("own"), "mail.example.org");
    fs::create_dir(folder.path().join("more")).unwrap();
    let node = node(folder.path()).start();
    let data = node.data_dir().to_path_buf();
    let (mut session, shown) = connect(&node, "mail.example.org");
    assert_eq!(shown, old);
    assert!(done(&data, "tls reload").starts_with("unchanged\n"));

    // By command, with a certificate for another name that was not there before.
    let new = renew(&folder.path().join("own"), "mail.example.org");
    let other = renew(&folder.path().join("more/net"), "*.example.net");
    let told = done(&data, "tls reload");
    assert!(told.starts_with("changed\nmail.example.org\texpires "), "{told}");
    assert_eq!(connect(&node, "mail.example.org").1, new);
    assert_eq!(connect(&node, "pop.example.net").1, other);
    assert_eq!(connect(&node, "example.com").1, new, "the one for everybody");
    assert!(session.ask("CAPA").starts_with("+OK"), "the old session goes on");

    // By SIGHUP.
    let newer = renew(&folder.path().join("own"), "mail.example.org");
    node.signal("HUP");
    drop(node.wait_for_log("SIGHUP: certificates were read again", PATIENCE));
    assert_eq!(connect(&node, "mail.example.org").1, newer);

    // One that can't be used is told, by the setting and the file, and changes nothing.
    fs::write(folder.path().join("own/tls.key"), "").unwrap();
    let output = command(&data, "tls reload");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("tls.key: ") && told.contains("own/tls.key"),
        "{told}"
    );
    assert_eq!(connect(&node, "mail.example.org").1, newer);
    drop(node.wait_for_log("what was in use stays in use", PATIENCE));
}

#[test]
fn a_certificate_whose_file_is_swapped_is_found_without_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    renew(&folder.path().join("own"), "mail.example.org");
    fs::create_dir(folder.path().join("more")).unwrap();
    let node = node(folder.path()).setting("tls.check_every", "1s").start();
    let new = renew(&folder.path().join("own"), "new.example.org");
    drop(node.wait_for_log("a certificate is in use names=\"new.example.org\"", PATIENCE));
    assert_eq!(connect(&node, "new.example.org").1, new);
}

#[test]
fn a_client_that_speaks_only_what_is_too_old_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::builder()
        .data_dir(folder.path())
        .setting("tls.min_version", "1.3")
        .start();
    for (version, is_served) in [(&TLS12, false), (&TLS13, true)] {
        let stream = TcpStream::connect(node.pop3s()).unwrap();
        let begun = TlsTalk::begin(stream, "localhost", &[version]);
        assert_eq!(begun.is_ok(), is_served, "{version:?}");
    }
}
