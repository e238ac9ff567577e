//! A node with one reader, whose maildrop holds the corpus, and the octets that every client has to come to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mailhorn_integration_tests::{Lmtp, Node, Pop3, add_users, mail};
use tempfile::TempDir;

use crate::corpus;

pub(crate) const DOMAIN: &str = "example.org";
pub(crate) const READER: &str = "reader@example.org";
pub(crate) const PASSWORD: &str = "Correct-Horse-7";
const SENDER: &str = "ines.kaya@example.com";

/// A message in the maildrop.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// Its name in the corpus.
    pub(crate) name: String,
    /// As RETR gives it, line ends CRLF.
    pub(crate) octets: Vec<u8>,
}

impl Held {
    /// The same message as a program keeps it.
    pub(crate) fn kept_as(&self, octets: Vec<u8>) -> Self {
        let name = self.name.clone();
        Self { name, octets }
    }
}

/// The node and what its reader has.
#[derive(Debug)]
pub(crate) struct Postbox {
    pub(crate) node: Node,
    /// By number, from 1 on.
    pub(crate) held: Vec<Held>,
    /// For the settings and the mail of the mail programs.
    pub(crate) home: TempDir,
    _data: TempDir,
}

impl Postbox {
    /// A node whose reader has no mail.
    pub(crate) fn empty() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        add_users(data.path(), DOMAIN, &["reader", "other"], PASSWORD);
        Self {
            node: Node::builder().data_dir(data.path()).start(),
            held: Vec::new(),
            home: tempfile::tempdir().expect("a folder"),
            _data: data,
        }
    }

    /// A node whose reader has the whole corpus.
    pub(crate) fn full() -> Self {
        let mut postbox = Self::empty();
        postbox.deliver(&corpus::messages());
        postbox
    }

    /// Delivers messages by LMTP and takes note of what RETR makes of them: the trace of this delivery, and nothing
    /// else, before the content.
    pub(crate) fn deliver(&mut self, messages: &BTreeMap<String, Vec<u8>>) {
        let mut lmtp = Lmtp::connect(self.node.lmtp()).expect("LMTP");
        for (name, content) in messages {
            let replies = lmtp.deliver(SENDER, &[READER], content).expect("a reply");
            assert_eq!(replies[0].code, 250, "{name}: {replies:?}");
        }
        let first = self.held.len() + 1;
        let numbers: Vec<u32> = (first..).take(messages.len()).map(number).collect();
        let mut pop3 = self.session();
        for ((name, content), (number, octets)) in messages.iter().zip(retrieve(&mut pop3, &numbers)) {
            mail::check(&octets, content).unwrap_or_else(|why| panic!("{name}: {why}"));
            let held = Held {
                name: name.clone(),
                octets,
            };
            assert_eq!(number as usize, self.held.len() + 1);
            self.held.push(held);
        }
        assert!(pop3.quit().expect("a reply").is_ok());
    }

    /// Delivers one message more.
    pub(crate) fn deliver_one(&mut self, name: &str, content: &[u8]) {
        self.deliver(&BTreeMap::from([(name.to_owned(), content.to_vec())]));
    }

    /// A session of the reader.
    pub(crate) fn session(&self) -> Pop3 {
        let mut pop3 = Pop3::connect(self.node.pop3()).expect("POP3");
        let log_in = pop3.log_in(READER, PASSWORD).expect("a reply");
        assert!(log_in.is_ok(), "{log_in:?}");
        pop3
    }

    /// How many messages the maildrop has.
    pub(crate) fn count(&self) -> usize {
        self.session().list().expect("a list").len()
    }

    /// The certificate by which the node can be trusted.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.node.data_dir().join("tls/self-signed.pem")
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a maildrop has fewer")
}

/// Retrieves messages, each of exactly the size that LIST gives for it.
fn retrieve(pop3: &mut Pop3, numbers: &[u32]) -> Vec<(u32, Vec<u8>)> {
    let sizes: BTreeMap<u32, u64> = pop3.list().expect("a list").into_iter().collect();
    let retrieved = numbers.iter().map(|number| {
        let octets = pop3.retr(*number).expect("a reply").expect("the message");
        assert_eq!(
            sizes.get(number).copied(),
            u64::try_from(octets.len()).ok(),
            "size of {number}"
        );
        (*number, octets)
    });
    retrieved.collect()
}

/// Lines as most programs keep them: ended by LF alone.
pub(crate) fn with_lf(octets: &[u8]) -> Vec<u8> {
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    let without_cr = lines.map(|line| match line.strip_suffix(b"\r\n") {
        Some(text) => [text, b"\n"].concat(),
        None => line.to_vec(),
    });
    without_cr.collect::<Vec<_>>().concat()
}

/// Checks that what a program fetched is what was expected of it, every message once.
pub(crate) fn check_fetched(expected: &[Held], fetched: &[Vec<u8>]) {
    assert_eq!(fetched.len(), expected.len(), "so many messages were fetched");
    let mut wrong = Vec::new();
    for message in expected {
        let id = delivery_id(&message.octets);
        let found: Vec<_> = fetched.iter().filter(|one| delivery_id(one) == id).collect();
        match found[..] {
            [one] if *one == message.octets => {}
            [one] => wrong.push(difference(message, one)),
            _ => wrong.push(format!("{}: came {} times", message.name, found.len())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The id in the line that this delivery added: the first Received line of every message.
fn delivery_id(octets: &[u8]) -> Option<&[u8]> {
    octets
        .split(|octet| *octet == b'\n')
        .find_map(|line| line.trim_ascii().strip_prefix(b"id ")?.strip_suffix(b";"))
}

fn difference(message: &Held, came: &[u8]) -> String {
    let Held {
        name,
        octets: expected,
    } = message;
    let same = expected
        .iter()
        .zip(came)
        .take_while(|(left, right)| left == right)
        .count();
    let around = |octets: &[u8]| {
        let part = octets.get(same.saturating_sub(30)..).unwrap_or_default();
        part.get(..part.len().min(90))
            .unwrap_or_default()
            .escape_ascii()
            .to_string()
    };
    format!(
        "{name}: {} octets instead of {}, other from octet {same} on:\n  expected {}\n  came     {}",
        came.len(),
        expected.len(),
        around(expected),
        around(came)
    )
}
