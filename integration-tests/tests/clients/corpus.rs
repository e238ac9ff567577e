//! Mail as it comes: the files of `corpus/`, and what is too large to be kept in a file.
//!
//! The files hold LF; each is CRLF on the wire. Everything in them, people and domains included, is invented.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every message by its name.
pub(crate) fn messages() -> BTreeMap<String, Vec<u8>> {
    let mut messages = generated();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "eml") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            messages.insert(name, with_crlf(&fs::read(&path).expect("a file can be read")));
        }
    }
    messages
}

/// The message with this name.
pub(crate) fn message(name: &str) -> Vec<u8> {
    messages()
        .remove(name)
        .unwrap_or_else(|| panic!("there is no {name} in the corpus"))
}

fn with_crlf(content: &[u8]) -> Vec<u8> {
    let mut converted = Vec::with_capacity(content.len() + content.len() / 32);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        converted.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        converted.extend_from_slice(b"\r\n");
    }
    converted
}

fn generated() -> BTreeMap<String, Vec<u8>> {
    let mut messages = BTreeMap::from([
        ("no-octets-at-all".to_owned(), Vec::new()),
        ("lines-of-5000-octets".to_owned(), lines_of_5000_octets()),
        ("field-of-5000-octets".to_owned(), field_of_5000_octets()),
        ("attachment-of-1-mebibyte".to_owned(), attachment(1024 * 1024)),
        (
            "ten-thousand-empty-lines".to_owned(),
            [header("ten thousand empty lines"), b"\r\n".repeat(10_000)].concat(),
        ),
    ]);
    // A line that begins with a dot right behind the sizes that buffers have.
    for octets in [1024, 4096, 8192, 16 * 1024, 32 * 1024, 64 * 1024, 128 * 1024] {
        for distance in ["just-before", "at", "just-behind"] {
            let size = match distance {
                "just-before" => octets - 1,
                "at" => octets,
                _ => octets + 1,
            };
            messages.insert(format!("dot-{distance}-{octets}"), dot_at(size));
        }
    }
    messages
}

fn header(subject: &str) -> Vec<u8> {
    format!("From: Generator <generator@example.com>\r\nSubject: {subject}\r\n\r\n").into_bytes()
}

fn lines_of_5000_octets() -> Vec<u8> {
    let mut message = header("lines of 5,000 octets");
    for octet in [b'x', b'.', b'F', 0xE9] {
        message.extend(std::iter::repeat_n(octet, 5_000));
        message.extend_from_slice(b"\r\n");
    }
    message
}

fn field_of_5000_octets() -> Vec<u8> {
    let field = format!("X-Long: {}\r\n", "y".repeat(4_992));
    [
        field.into_bytes(),
        header("a field of 5,000 octets"),
        b"body\r\n".to_vec(),
    ]
    .concat()
}

/// What base64 of octets without a pattern looks like.
fn attachment(octets: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut message = b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=\"scan.bin\"\r\n\
        Content-Transfer-Encoding: base64\r\n"
        .to_vec();
    message.extend(header("a scan"));
    let mut random = mailhorn_integration_tests::random::Random::new(7);
    while message.len() < octets {
        message.extend((0..76).map(|_| ALPHABET[random.index(ALPHABET.len())]));
        message.extend_from_slice(b"\r\n");
    }
    message
}

fn dot_at(size: usize) -> Vec<u8> {
    let mut message = header(&format!("a dot at {size}"));
    while message.len() + 72 < size {
        message.extend(std::iter::repeat_n(b'z', 70));
        message.extend_from_slice(b"\r\n");
    }
    let rest = size.saturating_sub(message.len() + 2);
    message.extend(std::iter::repeat_n(b'z', rest));
    message.extend_from_slice(b"\r\n.a dot\r\n.\r\n..\r\n");
    message
}
