//! Counts the hosts a message has passed, to notice one that runs in a circle.

use crate::limits::HOPS_MAX;

const FIELD: &[u8] = b"received:";

/// Counts the `Received` fields in a message's header (RFC 5321 §6.3).
///
/// It is fed the content as [`crate::DataDecoder`] gives it, in pieces of any size. Behind the header it
/// costs nothing.
#[derive(Debug, Clone, Default)]
pub struct HopCounter {
    hops: u32,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// In a line of which all so far is the beginning of [`FIELD`]: so many octets of it.
    Name(usize),
    /// In a line that is not (or no longer) looked at.
    Line,
    /// Behind the empty line that ends the header.
    Body,
}

impl Default for Place {
    fn default() -> Self {
        Self::Name(0)
    }
}

impl HopCounter {
    /// Looks at the next octets of the content.
    pub fn push(&mut self, content: &[u8]) {
        let mut rest = content;
        loop {
            match self.place {
                Place::Body => return,
                Place::Line => {
                    let Some(lf) = memchr::memchr(b'\n', rest) else {
                        return;
                    };
                    rest = rest
                        .get(lf..)
                        .and_then(|line_end| line_end.get(1..))
                        .unwrap_or_default();
                    self.place = Place::Name(0);
                }
                Place::Name(matched) => {
                    let Some((&octet, after)) = rest.split_first() else {
                        return;
                    };
                    self.place = self.in_name(matched, octet);
                    rest = after;
                }
            }
        }
    }

    /// Whether there were more than [`HOPS_MAX`] of them: the message is refused with `554 5.4.6`.
    #[must_use]
    pub fn is_looping(&self) -> bool {
        self.hops > HOPS_MAX
    }

    fn in_name(&mut self, matched: usize, octet: u8) -> Place {
        if octet == b'\r' && matched == 0 {
            return Place::Body;
        }
        if octet == b'\n' {
            return Place::Name(0);
        }
        if FIELD.get(matched) != Some(&octet.to_ascii_lowercase()) {
            return Place::Line;
        }
        let matched = matched.saturating_add(1);
        if matched < FIELD.len() {
            return Place::Name(matched);
        }
        self.hops = self.hops.saturating_add(1);
        Place::Line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(content: &[u8], chunk: usize) -> u32 {
        let mut counter = HopCounter::default();
        for part in content.chunks(chunk) {
            counter.push(part);
        }
        counter.hops
    }

    #[test]
    fn only_received_fields_of_the_header_count() {
        let content: &[u8] = b"Received: a\r\n by b\r\nRECEIVED:c\r\nX-Received: d\r\n Received: folded\r\n\
            Receive: e\r\nr\r\nreceived: f\r\n\r\nReceived: body\r\n";
        for chunk in 1..=content.len() {
            assert_eq!(hops(content, chunk), 3, "chunk size {chunk}");
        }
        assert_eq!(hops(b"\r\nReceived: body\r\n", 3), 0);
        assert_eq!(hops(b"Rec", 1), 0);
    }

    #[test]
    fn a_message_may_have_passed_a_hundred_hosts_and_not_one_more() {
        let mut counter = HopCounter::default();
        for _ in 0..HOPS_MAX {
            counter.push(b"Received: from a by b\r\n");
        }
        assert!(!counter.is_looping());
        counter.push(b"Received: from b by a\r\n");
        assert!(counter.is_looping());
    }
}
