//! Mail programs fetch a maildrop of real-life mail byte for byte, fetch nothing the second time where they keep
//! unique-ids, and delete.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::kit::{self, delivery_agent, files, folder, private_file, program, run, said, script, there_are};
use crate::postbox::{Held, PASSWORD, Postbox, READER, check_fetched, with_lf};

/// A message that comes between the second time and the third.
const NEWS: &[u8] = b"Subject: news\r\n\r\nThis one came later.\r\n";

fn with_line_ends_of_unix(held: &[Held]) -> Vec<Held> {
    held.iter()
        .map(|message| message.kept_as(with_lf(&message.octets)))
        .collect()
}

#[test]
fn curl_fetches_every_message_byte_for_byte_in_clear_by_stls_and_by_tls_and_deletes() {
    if !there_are(&["curl"]) {
        return;
    }
    let postbox = Postbox::full();
    let home = postbox.home.path();
    let (pop3, pop3s) = (postbox.node.pop3(), postbox.node.pop3s());
    let certificate = postbox.certificate();
    let certificate = certificate.to_str().expect("a path");
    let log_in = format!("{READER}:{PASSWORD}");
    let log_in = ["-sS", "-u", log_in.as_str()];
    let ways: [(&str, String, &[&str]); 4] = [
        ("clear", format!("pop3://{pop3}"), &[]),
        ("stls", format!("pop3://{pop3}"), &["--ssl-reqd", "-k"]),
        ("tls", format!("pop3s://{pop3s}"), &["-k"]),
        (
            "tls-trusted",
            format!("pop3s://{pop3s}"),
            &["--cacert", certificate],
        ),
    ];
    let all = format!("[1-{}]", postbox.held.len());
    for (name, url, options) in ways {
        let curl = |more: &[&str]| run(program(home, "curl", log_in.iter().chain(options).chain(more)));
        let listed = String::from_utf8(curl(&[&format!("{url}/")])).expect("text");
        assert_eq!(listed.lines().count(), postbox.held.len(), "{name}: {listed}");
        let into = folder(home, name);
        curl(&[&format!("{url}/{all}"), "-o", &format!("{}/#1", into.display())]);
        check_fetched(&postbox.held, &files(&into));
    }
    // One connection for all of them: the numbers stay what they are.
    let delete = format!("pop3://{pop3}/{all}");
    run(program(
        home,
        "curl",
        log_in.iter().chain(&["-I", "-X", "DELE", &delete]),
    ));
    assert_eq!(postbox.count(), 0);
}

#[test]
fn poplib_fetches_every_message_byte_for_byte_in_clear_by_stls_and_by_tls_and_deletes() {
    if !there_are(&["python3"]) {
        return;
    }
    let postbox = Postbox::full();
    let (pop3, pop3s) = (postbox.node.pop3(), postbox.node.pop3s());
    for (mode, address) in [
        ("plain", pop3),
        ("stls", pop3),
        ("tls", pop3s),
        ("tls-delete", pop3s),
    ] {
        let into = folder(postbox.home.path(), mode);
        assert_eq!(
            poplib(&postbox, mode, address, &into),
            postbox.held.len().to_string(),
            "{mode}"
        );
        check_fetched(&postbox.held, &files(&into));
    }
    assert_eq!(postbox.count(), 0);
}

fn poplib(postbox: &Postbox, mode: &str, address: SocketAddr, into: &Path) -> String {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let args: [OsString; 7] = [
        script("fetch_with_poplib.py").into(),
        mode.into(),
        host.into(),
        port.into(),
        postbox.certificate().into(),
        READER.into(),
        into.into(),
    ];
    let mut child = program(postbox.home.path(), "python3", args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut input = child.stdin.take().expect("it was piped");
    input
        .write_all(format!("{PASSWORD}\n").as_bytes())
        .expect("the password is read");
    drop(input);
    let output = child.wait_with_output().expect("python3 ends");
    assert!(output.status.success(), "{mode}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// How a program that keeps unique-ids is run on a maildrop, again and again.
struct Rounds<'a> {
    /// Fetches what is new and leaves everything in the maildrop.
    keep: &'a dyn Fn() -> Output,
    /// Fetches what is new and deletes everything that was fetched, now or before.
    delete: &'a dyn Fn() -> Output,
    /// The messages that it has put away up to now.
    fetched: &'a dyn Fn() -> Vec<Vec<u8>>,
    /// How it keeps the octets that RETR gives.
    kept_as: &'a dyn Fn(&[Held]) -> Vec<Held>,
    /// The exit status when there was nothing new.
    nothing_new: i32,
}

/// Everything; nothing; the one that came meanwhile; nothing, and all is deleted.
fn go_rounds(postbox: &mut Postbox, rounds: &Rounds<'_>) {
    let expect =
        |output: &Output, status: i32| assert_eq!(output.status.code(), Some(status), "{}", said(output));
    expect(&(rounds.keep)(), 0);
    check_fetched(&(rounds.kept_as)(&postbox.held), &(rounds.fetched)());

    expect(&(rounds.keep)(), rounds.nothing_new);
    assert_eq!(
        (rounds.fetched)().len(),
        postbox.held.len(),
        "nothing is fetched twice"
    );

    postbox.deliver_one("news", NEWS);
    expect(&(rounds.keep)(), 0);
    check_fetched(&(rounds.kept_as)(&postbox.held), &(rounds.fetched)());
    assert_eq!(postbox.count(), postbox.held.len(), "all was kept");

    expect(&(rounds.delete)(), rounds.nothing_new);
    assert_eq!(
        (rounds.fetched)().len(),
        postbox.held.len(),
        "nothing is fetched to be deleted"
    );
    assert_eq!(postbox.count(), 0);
}

#[test]
fn mpop_with_scram_and_stls_fetches_byte_for_byte_once_and_deletes() {
    if !there_are(&["mpop"]) {
        return;
    }
    let mut postbox = Postbox::full();
    let pop3 = postbox.node.pop3().port();
    let trust = format!("tls_trust_file {}", postbox.certificate().display());
    let tls = format!("port {pop3}\nauth scram-sha-256\ntls_starttls on\n{trust}");
    let output = mpop_rounds(&mut postbox, &tls);
    assert!(output.contains("AUTH SCRAM-SHA-256"), "{output}");
}

#[test]
fn mpop_with_plain_and_a_fingerprint_over_tls_fetches_byte_for_byte_once_and_deletes() {
    if !there_are(&["mpop", "python3"]) {
        return;
    }
    let mut postbox = Postbox::full();
    let fingerprint = fingerprint(&postbox);
    let pop3s = postbox.node.pop3s().port();
    let tls = format!("port {pop3s}\nauth plain\ntls_starttls off\ntls_fingerprint {fingerprint}");
    let output = mpop_rounds(&mut postbox, &tls);
    assert!(output.contains("AUTH PLAIN"), "{output}");
}

/// SHA-256 of the node's certificate, as mpop takes it.
fn fingerprint(postbox: &Postbox) -> String {
    let code = "import hashlib, ssl, sys\n\
        der = ssl.PEM_cert_to_DER_cert(open(sys.argv[1]).read())\n\
        print(hashlib.sha256(der).digest().hex(':').upper())\n";
    let certificate = postbox.certificate();
    let args = [
        Path::new("-c").as_os_str(),
        code.as_ref(),
        certificate.as_os_str(),
    ];
    String::from_utf8(run(program(postbox.home.path(), "python3", args))).expect("text")
}

/// The rounds with mpop; gives what it told of its first session.
fn mpop_rounds(postbox: &mut Postbox, way: &str) -> String {
    let maildir = maildir(postbox.home.path());
    let home = postbox.home.path().to_path_buf();
    let mpop = |keep: &str| {
        let settings = format!(
            "defaults\nhost localhost\nuser {READER}\npassword {PASSWORD}\ntls on\n{way}\n\
             received_header off\nkeep {keep}\nuidls_file {home}/uidls\ndelivery maildir {maildir}\naccount default\n",
            home = home.display(),
            maildir = maildir.display()
        );
        let settings = private_file(&home, &format!("mpoprc-{keep}"), &settings);
        let config = format!("--file={}", settings.display());
        kit::output(program(&home, "mpop", ["--debug", &config]))
    };
    let first = std::cell::OnceCell::new();
    go_rounds(
        postbox,
        &Rounds {
            keep: &|| {
                let output = mpop("on");
                first.get_or_init(|| String::from_utf8_lossy(&output.stdout).into_owned());
                output
            },
            delete: &|| mpop("off"),
            fetched: &|| files(&maildir.join("new")),
            kept_as: &with_line_ends_of_unix,
            nothing_new: 0,
        },
    );
    first.into_inner().unwrap_or_default()
}

fn maildir(home: &Path) -> PathBuf {
    let maildir = folder(home, "maildir");
    for part in ["new", "cur", "tmp"] {
        folder(&maildir, part);
    }
    maildir
}

#[test]
fn getmail_fetches_byte_for_byte_once_and_deletes() {
    if !there_are(&["getmail"]) {
        return;
    }
    let mut postbox = Postbox::full();
    let home = postbox.home.path().to_path_buf();
    let into = folder(&home, "fetched");
    // getmail6 loses the end of a program that ends before it has begun to wait for it, and then waits for a minute.
    let agent = delivery_agent(
        &home,
        &into,
        "until grep -q '^State:.S' /proc/$PPID/status; do :; done",
    );
    let state = folder(&home, "getmail");
    let settings = format!(
        "[retriever]\ntype = SimplePOP3SSLRetriever\nserver = 127.0.0.1\nport = {port}\nusername = {READER}\n\
         password = {PASSWORD}\nca_certs = {certificate}\n\
         [destination]\ntype = MDA_external\npath = {agent}\nallow_root_commands = true\n\
         [options]\nread_all = false\ndelete = false\ndelivered_to = false\nreceived = false\n",
        port = postbox.node.pop3s().port(),
        certificate = postbox.certificate().display(),
        agent = agent.display(),
    );
    let settings = private_file(&home, "getmailrc", &settings);
    let getmail = |more: &[&str]| {
        let state = format!("--getmaildir={}", state.display());
        let file = format!("--rcfile={}", settings.display());
        let args = [state.as_str(), file.as_str()];
        kit::output(program(&home, "getmail", args.iter().chain(more)))
    };
    go_rounds(
        &mut postbox,
        &Rounds {
            keep: &|| getmail(&[]),
            delete: &|| getmail(&["--delete"]),
            fetched: &|| files(&into),
            kept_as: &|held| rewritten_by_getmail(&home, held),
            nothing_new: 0,
        },
    );
}

/// What getmail's own code makes of the octets that RETR gives.
fn rewritten_by_getmail(home: &Path, held: &[Held]) -> Vec<Held> {
    let rewritten = folder(home, "rewritten");
    for message in held {
        fs::write(rewritten.join(&message.name), &message.octets).expect("a file can be written");
    }
    let args = [script("rewrite_with_getmail.py"), rewritten.clone()];
    // Debian's getmail6 belongs to Debian's python3, whatever other one comes first on the path.
    run(program(home, "/usr/bin/python3", args));
    let read = |message: &Held| fs::read(rewritten.join(&message.name)).expect("a file can be read");
    held.iter()
        .map(|message| message.kept_as(read(message)))
        .collect()
}

#[test]
fn fetchmail_with_stls_fetches_byte_for_byte_once_and_deletes() {
    if !there_are(&["fetchmail"]) {
        return;
    }
    let mut postbox = Postbox::full();
    let home = postbox.home.path().to_path_buf();
    let into = folder(&home, "fetched");
    let agent = delivery_agent(&home, &into, "exit 0");
    let settings = format!(
        "set invisible\nset no bouncemail\nset no spambounce\nset idfile \"{home}/ids\"\n\
         poll localhost protocol POP3 port {port} uidl auth password bad-header accept\n\
         user \"{READER}\" password \"{PASSWORD}\" no rewrite no mimedecode pass8bits\n\
         sslproto \"TLS1.2+\" sslcertck sslcertfile \"{certificate}\" mda \"{agent}\"\n",
        home = home.display(),
        port = postbox.node.pop3().port(),
        certificate = postbox.certificate().display(),
        agent = agent.display(),
    );
    let settings = private_file(&home, "fetchmailrc", &settings);
    let fetchmail = |more: &[&str]| {
        let settings = settings.to_str().expect("a path");
        let mut fetchmail = program(&home, "fetchmail", ["--fetchmailrc", settings].iter().chain(more));
        fetchmail.env("FETCHMAILHOME", &home);
        kit::output(fetchmail)
    };
    go_rounds(
        &mut postbox,
        &Rounds {
            keep: &|| fetchmail(&["--keep", "--uidl"]),
            delete: &|| fetchmail(&["--flush", "--uidl"]),
            fetched: &|| files(&into),
            kept_as: &kept_by_fetchmail,
            // "There was no mail", as its manual has it.
            nothing_new: 1,
        },
    );
}

/// fetchmail leaves a body as it is. In a header it drops lines that an mbox file begins a message with. Where a
/// message is nothing but header it keeps dots doubled and ends it with an empty line.
fn kept_by_fetchmail(held: &[Held]) -> Vec<Held> {
    let kept = |message: &Held| {
        let octets = with_lf(&message.octets);
        let end = octets.windows(2).position(|pair| pair == b"\n\n");
        let (header, body) = octets.split_at(end.map_or(octets.len(), |end| end + 1));
        let mut kept = Vec::new();
        for line in header.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                kept.push(b'.');
            }
            if !line.starts_with(b"From ") {
                kept.extend_from_slice(line);
            }
        }
        let body = if body.is_empty() { b"\n" } else { body };
        kept.extend_from_slice(body);
        message.kept_as(kept)
    };
    held.iter().map(kept).collect()
}
