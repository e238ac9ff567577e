//! What a client that did not send UTF8 is not given (RFC 6856 §2.1): a message that was sent as internationalized mail
//! and has a header of UTF-8.
//!
//! Ordinary mail costs the look at its first three lines. Mail with 8-bit headers that is older than SMTPUTF8, or whose
//! sender does not know of it, goes out as it came: clients have lived with that for thirty years.

use mailhorn_pop3::{Header, HeaderScan};
use mailhorn_ports::{Part, ReadError};

use super::Conversation;

impl Conversation {
    /// Whether the message at `index` is for clients in UTF-8 mode alone. `first` is its first part. Of a long header
    /// the parts behind the first one are read here and again when they are sent: one at a time is held.
    pub(super) async fn needs_utf8(&self, index: usize, first: &Part) -> Result<bool, ReadError> {
        if !came_with_smtputf8(&first.octets) {
            return Ok(false);
        }
        let mut scan = HeaderScan::default();
        let mut known = scan.push(&first.octets);
        let mut more = first.more;
        let mut number = 0u32;
        while known == Header::GoesOn && more {
            number = number.saturating_add(1);
            let part = self.read_part(index, number).await?;
            known = scan.push(&part.octets);
            more = part.more;
        }
        Ok(known == Header::NotAscii)
    }
}

/// Whether a stored message came with `SMTPUTF8`, as our own `Received` field says (RFC 6531 §4.3): the uppermost one,
/// behind `Return-Path` and `Delivered-To`. What stands behind it is the sender's and is not looked at.
fn came_with_smtputf8(stored: &[u8]) -> bool {
    let mut lines = stored.split(|octet| *octet == b'\n');
    let is_ours = |line: &&[u8]| line.starts_with(b"Return-Path: ") || line.starts_with(b"Delivered-To: ");
    let first = lines.find(|line| !is_ours(line)).unwrap_or_default();
    if !first.starts_with(b"Received: from ") {
        return false;
    }
    let second = lines.next().unwrap_or_default().trim_ascii();
    let mut words = second.split(|octet| *octet == b' ');
    words.next() == Some(b"by")
        && words.nth(1) == Some(b"with")
        && words.next().is_some_and(|with| with.starts_with(b"UTF8"))
}
