//! Mail programs send: by SMTP in clear and inside TLS, by LMTP, to one recipient and to several.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mailhorn_integration_tests::{Node, Pop3, add_users, mail};

use crate::corpus;
use crate::kit::{self, program, run, said, script, there_are};
use crate::postbox::{PASSWORD, Postbox, READER};

const OTHER: &str = "other@example.org";
const SENDER: &str = "ines.kaya@example.com";

/// Shapes that a sender could spoil on the way.
const SHAPES: [&str; 6] = [
    "dots",
    "utf8-8bit",
    "all-octets",
    "tabs-and-trailing-spaces",
    "lines-of-5000-octets",
    "attachment-of-1-mebibyte",
];

/// A message of the corpus as a file with CRLF.
fn file(home: &Path, name: &str) -> PathBuf {
    let path = home.join(format!("{name}.eml"));
    fs::write(&path, corpus::message(name)).expect("a file can be written");
    path
}

/// What a user has, in the order in which it came.
fn mail_of(postbox: &Postbox, user: &str) -> Vec<Vec<u8>> {
    let mut pop3 = Pop3::connect(postbox.node.pop3()).expect("POP3");
    assert!(pop3.log_in(user, PASSWORD).expect("a reply").is_ok(), "{user}");
    let numbers = pop3.list().expect("a list").into_iter().map(|(number, _)| number);
    let retrieved: Vec<_> = numbers
        .map(|number| pop3.retr(number).expect("a reply").expect("the message"))
        .collect();
    assert!(pop3.quit().expect("a reply").is_ok());
    retrieved
}

/// Checks that a user has these messages of the corpus and no others.
fn check_mail_of(postbox: &Postbox, user: &str, names: &[&str]) {
    let came = mail_of(postbox, user);
    assert_eq!(came.len(), names.len(), "{user}");
    for (octets, name) in came.iter().zip(names) {
        mail::check(octets, &corpus::message(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
        let received = String::from_utf8_lossy(octets);
        assert!(received.contains(&format!("Delivered-To: {user}\r\n")), "{name}");
    }
}

#[test]
fn curl_sends_by_smtp_in_clear_and_by_starttls_to_several_recipients() {
    if !there_are(&["curl"]) {
        return;
    }
    let postbox = Postbox::empty();
    let home = postbox.home.path();
    let url = format!("smtp://{}", postbox.node.smtp());
    let clear: &[&str] = &[];
    let mut sent = Vec::new();
    for (name, options) in SHAPES.iter().zip([clear, &["--ssl-reqd", "-k"]].iter().cycle()) {
        let file = file(home, name);
        let file = file.to_str().expect("a path");
        let message = ["-sS", &url, "--mail-from", SENDER, "--upload-file", file];
        let recipients = ["--mail-rcpt", READER, "--mail-rcpt", OTHER];
        run(program(
            home,
            "curl",
            message.iter().chain(&recipients).chain(*options),
        ));
        sent.push(*name);
    }
    check_mail_of(&postbox, READER, &sent);
    check_mail_of(&postbox, OTHER, &sent);
}

#[test]
fn curl_logs_in_and_sends_inside_tls_that_begins_with_the_first_octet() {
    if !there_are(&["curl"]) {
        return;
    }
    let postbox = Postbox::empty();
    let home = postbox.home.path();
    let url = format!("smtps://{}", postbox.node.smtps());
    let mut sent = Vec::new();
    for (name, mechanism) in SHAPES.iter().zip(["PLAIN", "LOGIN"]) {
        let file = file(home, name);
        let file = file.to_str().expect("a path");
        let message = ["-sS", "-k", &url, "--mail-from", READER, "--upload-file", file];
        let user = format!("{READER}:{PASSWORD}");
        let options = format!("AUTH={mechanism}");
        let log_in = ["-u", &user, "--login-options", &options, "--mail-rcpt", OTHER];
        run(program(home, "curl", message.iter().chain(&log_in)));
        sent.push(*name);
    }
    check_mail_of(&postbox, OTHER, &sent);
    for octets in mail_of(&postbox, OTHER) {
        assert!(String::from_utf8_lossy(&octets).contains(" with ESMTPSA\r\n"));
    }
}

#[test]
fn curl_is_told_of_a_recipient_that_is_not_there_and_nobody_gets_anything() {
    if !there_are(&["curl"]) {
        return;
    }
    let postbox = Postbox::empty();
    let home = postbox.home.path();
    let file = file(home, "dots");
    let file = file.to_str().expect("a path");
    let url = format!("smtp://{}", postbox.node.smtp());
    for (recipient, code) in [("nobody@example.org", "550"), ("reader@example.net", "550")] {
        let args = ["-sSv", &url, "--mail-from", SENDER, "--upload-file", file];
        let output = kit::output(program(
            home,
            "curl",
            args.iter().chain(&["--mail-rcpt", recipient]),
        ));
        assert!(!output.status.success(), "{recipient}");
        assert!(
            said(&output).contains(&format!("< {code} 5.")),
            "{}",
            said(&output)
        );
    }
    check_mail_of(&postbox, READER, &[]);
}

#[test]
fn swaks_sends_by_smtp_by_starttls_and_by_lmtp() {
    if !there_are(&["swaks"]) {
        return;
    }
    let postbox = Postbox::empty();
    let home = postbox.home.path();
    let (smtp, lmtp) = (postbox.node.smtp(), postbox.node.lmtp());
    let ways: [(SocketAddr, &[&str], &str); 3] = [
        (smtp, &["--protocol", "ESMTP"], "with ESMTP\r\n"),
        (smtp, &["--protocol", "ESMTP", "--tls"], "with ESMTPS\r\n"),
        (lmtp, &["--protocol", "LMTP"], "with LMTP\r\n"),
    ];
    let recipients = format!("{READER},{OTHER}");
    for (address, options, _) in ways {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let server = ["--server", &host, "--port", &port, "--helo", "client.example.net"];
        let message = ["--from", SENDER, "--to", &recipients, "--body", ".a dot\\n..two"];
        run(program(
            home,
            "swaks",
            server.iter().chain(&message).chain(options),
        ));
    }
    for user in [READER, OTHER] {
        let came = mail_of(&postbox, user);
        assert_eq!(came.len(), ways.len(), "{user}");
        for (octets, (.., with)) in came.iter().zip(ways) {
            let text = String::from_utf8_lossy(octets);
            assert!(text.contains(with), "{with:?}: {text}");
            assert!(text.contains("\r\n\r\n.a dot\r\n..two\r\n"), "{text}");
        }
    }
}

#[test]
fn smtplib_sends_by_starttls_and_lmtplib_learns_each_recipients_own_answer() {
    if !there_are(&["python3"]) {
        return;
    }
    let postbox = Postbox::empty();
    let recipients = [READER, "nobody@example.org", OTHER, "reader@example.net"];
    let refused = "nobody@example.org 550\nreader@example.net 550\n";
    let send = |protocol: &str, address: SocketAddr, name: &str| {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let (certificate, message) = (postbox.certificate(), file(postbox.home.path(), name));
        let script = script("send_with_smtplib.py");
        let mut args = vec![
            script.as_os_str(),
            protocol.as_ref(),
            host.as_ref(),
            port.as_ref(),
        ];
        args.extend([certificate.as_os_str(), message.as_os_str()]);
        args.extend(recipients.map(AsRef::<std::ffi::OsStr>::as_ref));
        String::from_utf8(run(program(postbox.home.path(), "python3", args))).expect("text")
    };
    for name in SHAPES {
        assert_eq!(send("smtp", postbox.node.smtp(), name), refused, "{name}");
        assert_eq!(send("lmtp", postbox.node.lmtp(), name), refused, "{name}");
    }
    let twice: Vec<&str> = SHAPES.iter().flat_map(|name| [*name, *name]).collect();
    check_mail_of(&postbox, READER, &twice);
    check_mail_of(&postbox, OTHER, &twice);
}

#[test]
fn mail_in_utf8_goes_in_with_smtplib_and_comes_out_with_poplib_where_it_asks_for_utf8() {
    if !there_are(&["python3"]) {
        return;
    }
    let data = tempfile::tempdir().expect("a folder");
    add_users(data.path(), "example.org", &["jürgen"], PASSWORD);
    let node = Node::builder().data_dir(data.path()).start();
    let addresses = [node.smtp(), node.lmtp(), node.pop3()].map(|address| address.to_string());
    let script = script("utf8_with_python.py");
    let mut args = vec![script.as_os_str()];
    args.extend(addresses.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
    args.extend(["jürgen@example.org", PASSWORD].map(AsRef::<std::ffi::OsStr>::as_ref));
    let home = tempfile::tempdir().expect("a folder");
    let said = String::from_utf8(run(program(home.path(), "python3", args))).expect("text");
    let subject = "Subject: Žluťoučký kůň";
    let expected = format!("{subject}\nUTF8SMTP\n{subject}\nUTF8LMTP\n[UTF8]\n[UTF8]\n");
    assert_eq!(said, expected);
}
