//! Notices a message that runs in a circle, by what its header tells of its way.

use std::mem;

use crate::address::Address;
use crate::limits::{ADDRESS_OCTETS_MAX, HOPS_MAX};

const RECEIVED: &[u8] = b"Received:";
const DELIVERED_TO: &[u8] = b"Delivered-To:";

/// Octets of a header line that are looked at: a `Delivered-To` field with the longest address, as we write it, and
/// some blanks.
const LINE_OCTETS_MAX: usize = DELIVERED_TO.len() + ADDRESS_OCTETS_MAX + 16;

/// Reads the trace fields in a message's header: how many hosts it has passed, and whom it was delivered to.
///
/// It is fed the content as a [`crate::ContentDecoder`] gives it, in pieces of any size. It holds one line at most
/// and [`HOPS_MAX`] addresses, and behind the header it costs nothing.
#[derive(Debug, Clone, Default)]
pub struct LoopWatch {
    hops: u32,
    delivered_to: Vec<Address>,
    /// The beginning of the line that comes in.
    line: Vec<u8>,
    is_body: bool,
}

impl LoopWatch {
    /// Looks at the next octets of the content.
    pub fn push(&mut self, content: &[u8]) {
        let mut rest = content;
        while !self.is_body && !rest.is_empty() {
            let line_end = memchr::memchr(b'\n', rest);
            let octets = line_end.map_or(rest.len(), |lf| lf.saturating_add(1));
            let (piece, after) = rest.split_at(octets);
            if line_end.is_some() && self.line.is_empty() {
                self.header_line(piece.get(..LINE_OCTETS_MAX).unwrap_or(piece));
            } else {
                let room = LINE_OCTETS_MAX.saturating_sub(self.line.len());
                self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
                if line_end.is_some() {
                    let line = mem::take(&mut self.line);
                    self.header_line(&line);
                }
            }
            rest = after;
        }
    }

    /// Whether there were more than [`HOPS_MAX`] `Received` fields (RFC 5321 §6.3), or as many `Delivered-To`: the
    /// message is refused with `554 5.4.6`.
    #[must_use]
    pub fn is_looping(&self) -> bool {
        self.hops > HOPS_MAX
    }

    /// Whether a `Delivered-To` field (RFC 9228 §4) names this recipient: it was delivered there before.
    ///
    /// Addresses are compared in their canonical form. A field that is folded is not read: ours never is.
    #[must_use]
    pub fn was_delivered_to(&self, recipient: &Address) -> bool {
        self.delivered_to.contains(recipient)
    }

    fn header_line(&mut self, line: &[u8]) {
        if line.starts_with(b"\r\n") {
            self.is_body = true;
        } else if value_of(line, RECEIVED).is_some() {
            self.hops = self.hops.saturating_add(1);
        } else if let Some(recipient) = value_of(line, DELIVERED_TO).and_then(address) {
            if self.delivered_to.len() < usize::try_from(HOPS_MAX).unwrap_or(usize::MAX) {
                self.delivered_to.push(recipient);
            } else {
                self.hops = HOPS_MAX.saturating_add(1);
            }
        }
    }
}

fn value_of<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let (name, value) = line.split_at_checked(field.len())?;
    name.eq_ignore_ascii_case(field).then_some(value)
}

fn address(value: &[u8]) -> Option<Address> {
    let text = std::str::from_utf8(value).ok()?.trim_ascii();
    let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    Address::parse(bare.unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(content: &[u8], piece: usize) -> LoopWatch {
        let mut watch = LoopWatch::default();
        for part in content.chunks(piece) {
            watch.push(part);
        }
        watch
    }

    fn recipient(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn only_received_fields_of_the_header_count() {
        let content: &[u8] = b"Received: a\r\n by b\r\nRECEIVED:c\r\nX-Received: d\r\n Received: folded\r\n\
            Receive: e\r\nr\r\nreceived: f\r\n\r\nReceived: body\r\n";
        for piece in 1..=content.len() {
            assert_eq!(watched(content, piece).hops, 3, "pieces of {piece}");
        }
        assert_eq!(watched(b"\r\nReceived: body\r\n", 3).hops, 0);
        assert_eq!(watched(b"Rec", 1).hops, 0);
    }

    #[test]
    fn a_message_may_have_passed_a_hundred_hosts_and_not_one_more() {
        for field in ["Received: from a by b\r\n", "Delivered-To: ann@example.org\r\n"] {
            let mut watch = watched(field.repeat(100).as_bytes(), 7);
            assert!(!watch.is_looping());
            watch.push(field.as_bytes());
            assert!(watch.is_looping(), "{field}");
        }
    }

    #[test]
    fn a_recipient_is_known_by_its_delivered_to_field_however_it_is_written() {
        let content = "Delivered-To: Ann@Example.ORG\r\ndelivered-to:<\"bob\"@example.org> \r\nSubject: x\r\n\
            Delivered-To: A\u{308}nn@b\u{fc}cher.example\r\nX-Delivered-To: carl@example.org\r\n\
            Delivered-To: unknown\r\nDelivered-To:\r\n dan@example.org\r\n\r\nDelivered-To: eve@example.org\r\n";
        for piece in 1..=content.len() {
            let watch = watched(content.as_bytes(), piece);
            for had_it in [
                "ann@example.org",
                "bob@example.org",
                "\u{e4}nn@xn--bcher-kva.example",
            ] {
                assert!(watch.was_delivered_to(&recipient(had_it)), "{had_it} in {piece}");
            }
            for other in [
                "ann@example.com",
                "carl@example.org",
                "dan@example.org",
                "eve@example.org",
            ] {
                assert!(!watch.was_delivered_to(&recipient(other)), "{other} in {piece}");
            }
        }
    }

    #[test]
    fn the_field_that_we_write_is_read_though_the_address_is_the_longest() {
        let labels = [63, 63, 61].map(|octets| "d".repeat(octets));
        let longest = format!("{}@{}", "l".repeat(64), labels.join("."));
        assert_eq!(longest.len(), ADDRESS_OCTETS_MAX);
        let longest = recipient(&longest);
        let stored = crate::trace::prefix(&crate::ReversePath::null(), &longest);
        assert!(watched(&stored, 11).was_delivered_to(&longest));
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut watch = LoopWatch::default();
        for _ in 0..1000 {
            watch.push(&[b'x'; 1000]);
        }
        assert!(watch.line.len() <= LINE_OCTETS_MAX);
    }
}
