//! For every `250` and every `+OK` to QUIT: a sync of the journal that began after the last octet of the request had
//! come and returned before the first octet of the reply left.

use std::collections::BTreeMap;
use std::fs;

use mailhorn_integration_tests::{Lmtp, Node, Pop3, add_users, mail};

use crate::clients::{DOMAIN, PASSWORD};
use crate::trace::{self, Call};

const MESSAGES: u64 = 20;
/// Enough of a text to know a command or a reply by.
const TEXT_OCTETS: usize = 16;
const CALLS: &str = "trace=fdatasync,fsync,sendto,sendmsg,write,writev,recvfrom,recvmsg,read,readv";

/// What a trace shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    /// Replies that make content or a deletion a promise.
    promises: usize,
    /// Those without a sync between the request and them.
    unsynced: Vec<String>,
}

/// Where a connection is.
#[derive(Debug, Default)]
struct Conversation {
    last_request_at: usize,
    in_content: bool,
    deletions: u64,
    quitting: bool,
}

fn shown(calls: &[Call]) -> Shown {
    let mut by_beginning: Vec<&Call> = calls.iter().collect();
    by_beginning.sort_by_key(|call| call.began);
    let is_synced = |after: usize, before: usize| {
        calls.iter().any(|call| {
            let of_journal = call.target().is_some_and(|target| target.ends_with(".jnl"));
            call.is_sync()
                && of_journal
                && call.value() == Some(0)
                && after < call.began
                && call.ended < before
        })
    };
    let mut shown = Shown::default();
    let mut conversations: BTreeMap<&str, Conversation> = BTreeMap::new();
    for call in by_beginning {
        let Some(connection) = call.target().filter(|target| target.starts_with("TCP:")) else {
            continue;
        };
        let conversation = conversations.entry(connection).or_default();
        let text = call.texts().first().copied().unwrap_or_default();
        match call.name.as_str() {
            "recvfrom" | "recvmsg" | "read" | "readv" if call.value().unwrap_or(0) > 0 => {
                conversation.last_request_at = call.ended;
                conversation.quitting = text.starts_with("QUIT");
                conversation.deletions += u64::from(text.starts_with("DELE"));
            }
            "sendto" | "sendmsg" | "write" | "writev" => {
                let is_promise = if conversation.in_content {
                    text.starts_with("250 ")
                } else {
                    conversation.quitting && conversation.deletions > 0 && text.starts_with("+OK")
                };
                conversation.in_content = text.starts_with("354 ");
                shown.promises += usize::from(is_promise);
                if is_promise && !is_synced(conversation.last_request_at, call.began) {
                    shown.unsynced.push(format!("line {}: {text}", call.began + 1));
                }
            }
            _ => {}
        }
    }
    shown
}

#[test]
fn the_trace_of_a_reply_before_its_sync_is_found_out() {
    let trace = |calls: &[&str]| {
        let lines = calls.iter().enumerate().map(|(line, call)| match line {
            _ if call.contains(".jnl") => format!("1 {call}\n"),
            _ => format!("2 {call}\n"),
        });
        shown(&trace::parse(&lines.collect::<String>()))
    };
    let ready = r#"sendto(3<TCP:[a->b]>, "354 go", 6, 0) = 6"#;
    let content = r#"recvfrom(3<TCP:[a->b]>, "x\r\n.\r\n", 9, 0) = 6"#;
    let stored = r#"sendto(3<TCP:[a->b]>, "250 2.0.0 stored", 6, 0) = 6"#;
    let sync = "fdatasync(4</d/0.jnl>) = 0";
    let failed = "fdatasync(4</d/0.jnl>) = -1 EIO (Input/output error)";
    let (begins, ends) = (
        "fdatasync(4</d/0.jnl> <unfinished ...>",
        "<... fdatasync resumed>) = 0",
    );
    let ends_of_journal = format!("{ends} /* 0.jnl */");
    let table: [(&[&str], bool); 6] = [
        (&[ready, content, sync, stored], true),
        (&[ready, content, stored, sync], false),
        (&[ready, sync, content, stored], false),
        (&[ready, content, failed, stored], false),
        (&[ready, content, begins, stored, &ends_of_journal], false),
        (&[ready, begins, content, &ends_of_journal, stored], false),
    ];
    for (calls, is_synced) in table {
        let shown = trace(calls);
        assert_eq!(shown.promises, 1, "{calls:#?}");
        assert_eq!(shown.unsynced.is_empty(), is_synced, "{calls:#?}");
    }
}

#[test]
fn no_promise_leaves_before_its_sync_has_returned() {
    if !trace::is_possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    add_users(dir.path(), DOMAIN, &["user0", "user1"], PASSWORD);
    let output = dir.path().join("trace");
    let mut node = Node::builder()
        .data_dir(dir.path())
        .wrapped_by(trace::wrapper(CALLS, TEXT_OCTETS, &output))
        .start();
    let tracer = trace::tracer(&node);
    let recipients = [format!("user0@{DOMAIN}"), format!("user1@{DOMAIN}")];
    let mut lmtp = Lmtp::connect(node.lmtp()).unwrap();
    for number in 0..MESSAGES {
        // One command a write, so that the reply that lets the content begin is a write of its own.
        let mut commands = vec!["MAIL FROM:<sender@example.net>".to_owned()];
        commands.extend(
            recipients
                .iter()
                .map(|recipient| format!("RCPT TO:<{recipient}>")),
        );
        for command in commands {
            assert_eq!(lmtp.command(&command).unwrap().code, 250);
        }
        assert_eq!(lmtp.command("DATA").unwrap().code, 354);
        lmtp.write(&mailhorn_integration_tests::clients::dot_stuffed(&mail::content(
            number,
        )))
        .unwrap();
        for _ in &recipients {
            assert_eq!(lmtp.reply().unwrap().code, 250);
        }
    }
    for number in 1..=MESSAGES / 2 {
        let mut pop3 = Pop3::connect(node.pop3()).unwrap();
        pop3.log_in(&recipients[0], PASSWORD).unwrap().unwrap();
        pop3.command("DELE 1").unwrap().unwrap();
        if number % 2 == 0 {
            pop3.command("DELE 2").unwrap().unwrap();
        }
        pop3.quit().unwrap().unwrap();
    }
    node.kill();
    trace::wait_for_tracer(tracer);
    let calls = trace::parse(&fs::read_to_string(&output).unwrap());
    let shown = shown(&calls);
    println!(
        "{} promises (250 to content, +OK to QUIT with deletions), {} of them without a sync before",
        shown.promises,
        shown.unsynced.len()
    );
    assert!(shown.unsynced.is_empty(), "{shown:#?}");
    let quits = usize::try_from(MESSAGES / 2).unwrap();
    let contents = usize::try_from(MESSAGES).unwrap();
    assert!(
        shown.promises >= contents + quits,
        "{shown:?}: promises were overlooked"
    );
}
