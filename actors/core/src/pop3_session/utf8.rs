//! What a client that did not send UTF8 is not given (RFC 6856 §2.1): a message that was sent as internationalized mail
//! and has a header of UTF-8.
//!
//! Ordinary mail costs the look at its first three lines. Mail with 8-bit headers that is older than SMTPUTF8, or whose
//! sender does not know of it, goes out as it came: clients have lived with that for thirty years.

use mailhorn_pop3::{Header, HeaderScan};
use mailhorn_ports::{Part, ReadError};
use mailhorn_smtp::trace::came_with_smtputf8;

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
