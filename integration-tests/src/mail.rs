//! Mail that can be made again from its number, so that what comes back is compared octet by octet and nothing of it
//! has to be kept.

use std::sync::OnceLock;

use crate::random::Random;

/// The header line that carries the number.
const NUMBER: &str = "X-Test-Number: ";
const LINE_OCTETS_MAX: usize = 100;
/// Lines are cut out of so many printable octets: in a debug build it takes long to make each octet anew.
const PRINTABLE_OCTETS: usize = 64 * 1024;

/// The content of the message with this number: lines ended by CRLF, some of them with leading dots, about
/// `size_of(number)` octets.
#[must_use]
pub fn content(number: u64) -> Vec<u8> {
    sized_content(number, size_of(number))
}

/// Most are small, one in ten goes up to 200 KiB: several of the store's chunks.
fn size_of(number: u64) -> usize {
    let mut random = Random::new(number ^ 0x5157);
    let max = match random.below(10) {
        0 => 200 * 1024,
        1 | 2 => 64 * 1024,
        _ => 8 * 1024,
    };
    random.index(max)
}

/// The same with at least `size` octets, and few more.
#[must_use]
pub fn sized_content(number: u64, size: usize) -> Vec<u8> {
    let mut random = Random::new(number);
    let mut content = format!(
        "From: Tester <tester@example.net>\r\nSubject: message {number}\r\n{NUMBER}{number}\r\n\
         Message-ID: <{number}@example.net>\r\n\r\n"
    )
    .into_bytes();
    while content.len() < size {
        if random.once_in(20) {
            content.extend_from_slice(b"..");
        }
        let from = random.index(PRINTABLE_OCTETS - LINE_OCTETS_MAX);
        let to = from + random.index(LINE_OCTETS_MAX);
        content.extend_from_slice(&printable()[from..to]);
        content.extend_from_slice(b"\r\n");
    }
    content
}

fn printable() -> &'static [u8] {
    static PRINTABLE: OnceLock<Vec<u8>> = OnceLock::new();
    PRINTABLE.get_or_init(|| {
        let mut random = Random::new(0);
        let octets = (0..PRINTABLE_OCTETS).map(|_| random.number().to_le_bytes()[0]);
        octets.map(|octet| b'!' + octet % 94).collect()
    })
}

/// The number of a message that came back, by its header.
#[must_use]
pub fn number_of(message: &[u8]) -> Option<u64> {
    let headers = message.split(|octet| *octet == b'\n');
    headers
        .take_while(|line| !line.trim_ascii().is_empty())
        .find_map(|line| line.strip_prefix(NUMBER.as_bytes()))
        .and_then(|number| str::from_utf8(number.trim_ascii()).ok()?.parse().ok())
}

/// Whether `message` is what was sent under its number, octet by octet, behind nothing but the lines that a delivery
/// adds.
///
/// # Errors
///
/// What differs.
pub fn check(message: &[u8], content: &[u8]) -> Result<(), String> {
    let added = message.strip_suffix(content).ok_or_else(|| {
        let same = message.iter().rev().zip(content.iter().rev());
        let same = same.take_while(|(came, sent)| came == sent).count();
        format!(
            "{} octets came of {} sent; they agree in the last {same}",
            message.len(),
            content.len()
        )
    })?;
    let names = [&b"Return-Path:"[..], b"Delivered-To:", b"Received:", b" ", b"\t"];
    let stranger = added
        .split_inclusive(|octet| *octet == b'\n')
        .find(|line| !names.iter().any(|name| line.starts_with(name)) || !line.ends_with(b"\r\n"));
    match stranger {
        Some(line) => Err(format!("a line was added: {}", String::from_utf8_lossy(line))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_known_by_its_number_and_compared_to_the_last_octet() {
        let sent = content(7);
        let mut came = b"Return-Path: <>\r\nReceived: by localhost\r\n\twith LMTP\r\n".to_vec();
        came.extend_from_slice(&sent);
        assert_eq!(number_of(&came), Some(7));
        assert_eq!(check(&came, &sent), Ok(()));
        assert!(check(&came[..came.len() - 1], &sent).is_err(), "half there");
        let middle = came.len() - sent.len() / 2;
        came[middle] ^= 1;
        assert!(check(&came, &sent).is_err(), "damaged");
        assert!(check(&[b"X-Added: 1\r\n", &sent[..]].concat(), &sent).is_err());
    }

    #[test]
    fn sizes_reach_over_several_chunks() {
        let longest = (0..200).map(|number| content(number).len()).max();
        assert!(longest > Some(130 * 1024), "{longest:?}");
    }
}
