//! One user's mail, put in and looked at.

use std::collections::BTreeSet;
use std::path::Path;

use mailhorn_integration_tests::{Lmtp, Node, Pop3, add_users, mail};

pub(crate) const DOMAIN: &str = "example.org";
pub(crate) const USER: &str = "user0@example.org";
pub(crate) const PASSWORD: &str = "correct horse";

/// Makes the account.
pub(crate) fn prepare(data_dir: &Path) {
    add_users(data_dir, DOMAIN, &["user0"], PASSWORD);
}

/// Delivers a message of about `size` octets and gives the code of the reply.
pub(crate) fn deliver(lmtp: &mut Lmtp, number: u64, size: usize) -> u16 {
    let content = mail::sized_content(number, size);
    let replies = lmtp.deliver("sender@example.net", &[USER], &content).unwrap();
    replies[0].code
}

/// Delivers these messages, all of which must be taken.
pub(crate) fn fill(node: &Node, numbers: impl IntoIterator<Item = u64>, size: usize) {
    let mut lmtp = Lmtp::connect(node.lmtp()).unwrap();
    for number in numbers {
        assert_eq!(deliver(&mut lmtp, number, size), 250, "{}", node.log());
    }
}

/// Opens the maildrop.
pub(crate) fn open(node: &Node) -> Pop3 {
    let mut pop3 = Pop3::connect(node.pop3()).unwrap();
    let logged_in = pop3.log_in(USER, PASSWORD).unwrap();
    if let Err(refused) = &logged_in {
        print_what_it_said(&node.log());
        panic!("log-in: {refused}");
    }
    pop3
}

/// What a maildrop holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Messages that came back whole.
    pub(crate) whole: BTreeSet<u64>,
    /// What was said of those that did not come.
    pub(crate) refused: Vec<String>,
}

/// Retrieves everything; what comes must be what was sent, with the size that was listed.
pub(crate) fn look(node: &Node, size: usize) -> Found {
    let mut pop3 = open(node);
    let mut found = Found::default();
    for (row, octets) in pop3.list().unwrap() {
        match pop3.retr(row).unwrap() {
            Ok(message) => {
                assert_eq!(message.len() as u64, octets, "LIST and RETR differ");
                let number = mail::number_of(&message).expect("a message has its headers");
                mail::check(&message, &mail::sized_content(number, size)).unwrap();
                assert!(found.whole.insert(number), "{number} is there twice");
            }
            Err(refused) => found.refused.push(refused),
        }
    }
    pop3.quit().unwrap().unwrap();
    found
}

/// Prints what the node said beyond the ordinary, long repetitions cut short.
pub(crate) fn print_what_it_said(node_log: &str) {
    const LINES_MAX: usize = 12;
    let said: Vec<&str> = node_log.lines().filter(|line| !line.contains(" INFO ")).collect();
    println!("the node said:");
    for line in said.iter().take(LINES_MAX) {
        println!("  {line}");
    }
    if let Some(more) = said.len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
        println!("  … and {more} lines more");
    }
}
