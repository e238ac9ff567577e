//! No password and no content in the log, at any level.

use std::io::Write;
use std::process::{Command, Stdio};

use mailhorn_integration_tests::{Lmtp, Node, Pop3, add_users};

use super::{done, get};

const READER: &str = "reader@example.org";
const PASSWORD: &str = "pAssw0rd-first";
const SECOND: &str = "pAssw0rd-second";
const WRONG: &str = "pAssw0rd-wrong";
/// Stand in the header and in the body of the message.
const CONTENT: [&str; 3] = ["kumquat-subject", "kumquat-body", "kumquat-refused"];

/// As SASL sends it.
fn base64(text: &str) -> String {
    let mut child = Command::new("base64")
        .arg("-w0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("base64 runs");
    let mut input = child.stdin.take().expect("it was piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("text")
}

fn plain(password: &str) -> String {
    base64(&format!("\0{READER}\0{password}"))
}

fn mail_comes_in(node: &Node) {
    let message = format!("Subject: {}\r\n\r\n{}\r\n", CONTENT[0], CONTENT[1]);
    let recipients = [READER, "nobody@example.org"];
    for connected in [Lmtp::connect(node.lmtp()), Lmtp::connect_smtp(node.smtp())] {
        let mut session = connected.expect("a session");
        session
            .deliver("ines.kaya@example.com", &recipients, message.as_bytes())
            .expect("replies");
        session.command("XYZZY").expect("a reply");
        session
            .command(&format!("RCPT TO:<{}", CONTENT[2]))
            .expect("a reply");
    }
    // Content that is refused, and content that is cut off.
    let mut session = Lmtp::connect(node.lmtp()).expect("LMTP");
    session
        .envelope("ines.kaya@example.com", &[READER])
        .expect("replies");
    session
        .write(format!("{}\nbare\r\n.\r\n", CONTENT[1]).as_bytes())
        .expect("a socket");
    session.reply().expect("a reply");
    let mut session = Lmtp::connect(node.lmtp()).expect("LMTP");
    session
        .envelope("ines.kaya@example.com", &[READER])
        .expect("replies");
    session
        .write(format!("{}\r\n", CONTENT[1]).as_bytes())
        .expect("a socket");
}

fn mail_goes_out(node: &Node, password: &str) {
    let connect = || Pop3::connect(node.pop3()).expect("POP3");
    let mut session = connect();
    for line in [
        format!("PASS {password}"),
        format!("USER {password}"),
        format!("PASS {WRONG}"),
    ] {
        session.command(&line).expect("a reply").ok();
    }
    let mut session = connect();
    assert!(session.log_in(READER, password).expect("a reply").is_ok());
    assert!(session.retr(1).expect("a reply").is_ok());
    assert!(session.multi_line("TOP 1 5").expect("a reply").is_ok());
    assert!(session.command("DELE 2").expect("a reply").is_ok());
    session
        .command(&format!("PASS {password}"))
        .expect("a reply")
        .ok();
    assert!(session.quit().expect("a reply").is_ok());

    let mut session = connect();
    assert!(
        session
            .command(&format!("AUTH PLAIN {}", plain(password)))
            .expect("a reply")
            .is_ok()
    );
    assert!(session.quit().expect("a reply").is_ok());
    let mut session = connect();
    // A challenge is "+ ", which the client of the harness takes for no +OK.
    session
        .command("AUTH LOGIN")
        .expect("a reply")
        .expect_err("a challenge");
    session
        .command(&base64(READER))
        .expect("a reply")
        .expect_err("a challenge");
    assert!(session.command(&base64(password)).expect("a reply").is_ok());
    assert!(session.quit().expect("a reply").is_ok());
    let mut session = connect();
    session
        .command(&format!("AUTH PLAIN {}", plain(WRONG)))
        .expect("a reply")
        .expect_err("wrong");
    session
        .command(&format!("AUTH PLAIN !{}", plain(WRONG)))
        .expect("a reply")
        .expect_err("no base64");
    session
        .write(format!("PASS {}{password}\r\n", "x".repeat(400)).as_bytes())
        .expect("a socket");
}

#[test]
fn a_full_session_leaves_no_password_and_no_content_in_the_log_at_trace_level() {
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader", "other"], PASSWORD);
    let mut node = Node::builder()
        .data_dir(folder.path())
        .log_levels("trace")
        .start();
    mail_comes_in(&node);
    mail_goes_out(&node, PASSWORD);
    done(
        folder.path(),
        "user passwd reader@example.org --password-stdin",
        &format!("{SECOND}\n"),
    );
    mail_comes_in(&node);
    mail_goes_out(&node, SECOND);
    done(
        folder.path(),
        "user add third@example.org --password-stdin",
        &format!("{SECOND}\n"),
    );
    let token = std::fs::read_to_string(folder.path().join("admin.token")).expect("the token");
    assert_eq!(get(node.admin(), "/api/v1/users", Some(token.trim())).0, 200);
    assert!(node.terminate().success());

    let log = node.log();
    assert!(log.contains("TRACE"), "trace level is on");
    let mut secrets = vec![token.trim().to_owned()];
    for password in [PASSWORD, SECOND, WRONG] {
        secrets.extend([password.to_owned(), base64(password), plain(password)]);
    }
    secrets.extend(CONTENT.map(str::to_owned));
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}
