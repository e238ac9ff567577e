//! What a session knows of a mailbox: numbers, sizes, unique-ids.

use std::fmt;
use std::sync::Arc;

/// A maildrop as it was at the log-in. It does not change while a session has it: message numbers are
/// positions in it plus one, and they hold until QUIT (RFC 1939 §4).
pub trait Maildrop {
    /// How many messages there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The octets of the message at a position, exactly as RETR sends them but before dot-stuffing
    /// (RFC 1939 §11: a line end is two octets). The session asks only for positions below [`Maildrop::len`].
    fn size(&self, index: usize) -> u64;

    /// The unique-id of the message at a position: the same in every session, and no other message's
    /// (RFC 1939 §7, UIDL). The session asks only for positions below [`Maildrop::len`].
    fn unique_id(&self, index: usize) -> UniqueId;
}

impl<M: Maildrop + ?Sized> Maildrop for Arc<M> {
    fn len(&self) -> usize {
        M::len(self)
    }

    fn size(&self, index: usize) -> u64 {
        M::size(self, index)
    }

    fn unique_id(&self, index: usize) -> UniqueId {
        M::unique_id(self, index)
    }
}

/// A unique-id: 1 to 70 characters of 0x21 to 0x7E (RFC 1939 §7). It lies on the stack, because a listing
/// makes one for each message.
#[derive(Clone, Copy)]
pub struct UniqueId {
    octets: [u8; Self::OCTETS_MAX],
    used: u8,
}

impl UniqueId {
    /// The most octets of one (RFC 1939 §7).
    pub const OCTETS_MAX: usize = 70;

    /// `None` when the octets are none, too many, or not all of 0x21 to 0x7E.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        if text.is_empty() || !text.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut octets = [0; Self::OCTETS_MAX];
        octets.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self {
            octets,
            used: u8::try_from(text.len()).ok()?,
        })
    }

    /// The characters.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..usize::from(self.used)).unwrap_or_default()
    }

    /// The characters, which are ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl PartialEq for UniqueId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for UniqueId {}

impl fmt::Debug for UniqueId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UniqueId({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unique_id_is_1_to_70_visible_characters() {
        let longest = "a".repeat(70);
        let too_long = "a".repeat(71);
        for good in ["a", "!", "~", "018f3c5e-7a4b-7c1d-9e2f-0123456789ab", &longest] {
            assert_eq!(UniqueId::new(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "a\t", "\u{7f}", "\u{e4}", "a\r\n", &too_long] {
            assert_eq!(UniqueId::new(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn unique_ids_differ_unless_all_their_characters_are_the_same() {
        assert_ne!(UniqueId::new(b"a"), UniqueId::new(b"aa"));
        assert_eq!(UniqueId::new(b"aa"), UniqueId::new(b"aa"));
    }
}
