//! The header fields that a delivery puts in front of the content (RFC 5321 §4.4).
//!
//! A stored message is [`prefix`], [`received`], content, in this order. The prefix differs from recipient to
//! recipient and is kept with each; the rest is kept once and shared.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::address::{Address, Domain};
use crate::command::ClientName;
use crate::path::ReversePath;
use crate::transmission::Transmission;

const RETURN_PATH: &str = "Return-Path: ";
const DELIVERED_TO: &str = "Delivered-To: ";
const RECEIVED: &str = "Received: ";

/// What a `Received` field tells.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The name the client gave itself.
    pub client: &'a ClientName,
    /// Where the connection came from, unless it was a local socket. An IPv4 address inside IPv6 is written
    /// as IPv4.
    pub peer: Option<IpAddr>,
    /// Our name.
    pub hostname: &'a Domain,
    /// How it came.
    pub transmission: Transmission,
    /// Our own id of the message: what an administrator searches the log for.
    pub message_id: &'a str,
    /// When it came, in microseconds since 1970-01-01T00:00:00Z.
    pub unix_micros: u64,
}

/// The `Received` field, folded, with CRLF at its end (RFC 5321 §4.4, RFC 5322 §3.6.7).
///
/// It has no `for` clause. One field serves all recipients, and a clause that named them would show each
/// who else got a blind copy (RFC 5321 §7.2). What the client chose is made harmless: of its name only
/// letters, digits and `.-_:[]` are written as they are, so it can neither begin a comment nor a line.
#[must_use]
pub fn received(fields: &Received<'_>) -> Vec<u8> {
    let client = harmless(fields.client.as_str());
    let peer = fields.peer.map(address_literal).unwrap_or_default();
    let with = fields.transmission.as_str();
    let hostname = fields.hostname;
    let id = harmless(fields.message_id);
    let date = date_time(fields.unix_micros);
    format!("{RECEIVED}from {client}{peer}\r\n\tby {hostname} with {with}\r\n\tid {id};\r\n\t{date}\r\n")
        .into_bytes()
}

/// The `Return-Path` and `Delivered-To` fields, each with CRLF at its end.
///
/// RFC 5321 §4.4 has the final host write the reverse-path at the beginning of the message. `Delivered-To`
/// (RFC 9228) names the mailbox this copy went to; it is in this recipient's prefix only, so it betrays
/// nobody.
#[must_use]
pub fn prefix(reverse_path: &ReversePath, recipient: &Address) -> Vec<u8> {
    format!("{RETURN_PATH}{reverse_path}\r\n{DELIVERED_TO}{recipient}\r\n").into_bytes()
}

/// Whether a stored message came with `SMTPUTF8` (RFC 6531), as our own `Received` field says: the uppermost one.
///
/// `stored` is the beginning of what is stored, [`prefix`] and [`received`], in which it looks no further than
/// that field; 2 KiB of it are always enough. What stands behind, such as a `Received` field of another host,
/// is never looked at: it is the sender's. What does not begin with our fields did not come so.
#[must_use]
pub fn came_with_smtputf8(stored: &[u8]) -> bool {
    let mut lines = stored.split(|octet| *octet == b'\n');
    let is_ours =
        |line: &&[u8]| line.starts_with(RETURN_PATH.as_bytes()) || line.starts_with(DELIVERED_TO.as_bytes());
    let first = lines.find(|line| !is_ours(line)).unwrap_or_default();
    if !first.starts_with(RECEIVED.as_bytes()) {
        return false;
    }
    // Neither name has a blank in it: `harmless` sees to the client's, and ours is a domain.
    let mut words = lines
        .next()
        .unwrap_or_default()
        .trim_ascii()
        .split(|octet| *octet == b' ');
    words.next() == Some(b"by")
        && words.nth(1) == Some(b"with")
        && words.next().is_some_and(Transmission::word_says_smtputf8)
}

fn harmless(text: &str) -> String {
    let allowed = |character: &char| character.is_ascii_alphanumeric() || ".-_:[]".contains(*character);
    text.chars()
        .map(|character| if allowed(&character) { character } else { '?' })
        .collect()
}

/// RFC 5321 §4.1.3, as a comment after the client's name.
fn address_literal(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(address) => format!(" ([{address}])"),
        IpAddr::V6(address) => format!(" ([IPv6:{address}])"),
    }
}

/// RFC 5322 §3.3, in UTC. A time beyond the year 9999 is written as the last moment of that year.
fn date_time(unix_micros: u64) -> String {
    let time = i64::try_from(unix_micros)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let time = time.unwrap_or(Timestamp::MAX).to_zoned_datetime(TimeZone::UTC);
    // Only a year before 0 cannot be written, and an unsigned time has none.
    jiff::fmt::rfc2822::to_string(&time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;
    use crate::transmission::{Hello, tests::all};

    /// How a message came that says no more than its hello and its TLS.
    fn how(hello: Hello, tls: bool) -> Transmission {
        Transmission {
            hello,
            tls,
            authenticated: false,
            smtputf8: false,
        }
    }

    fn field(client: &str, peer: Option<&str>, transmission: Transmission, unix_micros: u64) -> String {
        let fields = Received {
            client: &ClientName::parse(client).unwrap(),
            peer: peer.map(|peer| peer.parse().unwrap()),
            hostname: &Domain::parse("mx.example.org").unwrap(),
            transmission,
            message_id: "01890a5d-ac96-774b-bcce-b302099a8057",
            unix_micros,
        };
        String::from_utf8(received(&fields)).unwrap()
    }

    #[test]
    fn received_tells_whence_by_whom_how_and_when_but_not_for_whom() {
        let text = field(
            "client.example",
            Some("192.0.2.1"),
            how(Hello::Ehlo, true),
            1_700_000_000_123_456,
        ) + &field("client", Some("2001:db8::1"), how(Hello::Helo, false), 0)
            + &field(
                "[192.0.2.1]",
                Some("::ffff:192.0.2.1"),
                how(Hello::Ehlo, false),
                951_782_400_000_000,
            )
            + &field("localhost", None, how(Hello::Lhlo, false), 4_102_444_799_999_999);
        expect![[r#"
            Received: from client.example ([192.0.2.1])
            	by mx.example.org with ESMTPS
            	id 01890a5d-ac96-774b-bcce-b302099a8057;
            	Tue, 14 Nov 2023 22:13:20 +0000
            Received: from client ([IPv6:2001:db8::1])
            	by mx.example.org with SMTP
            	id 01890a5d-ac96-774b-bcce-b302099a8057;
            	Thu, 1 Jan 1970 00:00:00 +0000
            Received: from [192.0.2.1] ([192.0.2.1])
            	by mx.example.org with ESMTP
            	id 01890a5d-ac96-774b-bcce-b302099a8057;
            	Tue, 29 Feb 2000 00:00:00 +0000
            Received: from localhost
            	by mx.example.org with LMTP
            	id 01890a5d-ac96-774b-bcce-b302099a8057;
            	Thu, 31 Dec 2099 23:59:59 +0000
        "#]]
        .assert_eq(&text.replace("\r\n", "\n"));
        assert!(!text.contains(" for "));
    }

    #[test]
    fn a_client_name_cannot_write_into_the_header() {
        let text = field("a(b)<c>;\"d\\,@e=", None, how(Hello::Helo, false), 0);
        assert!(
            text.starts_with("Received: from a?b??c???d???e?\r\n\tby "),
            "{text}"
        );
    }

    #[test]
    fn a_time_beyond_the_calendar_is_its_last_day() {
        assert_eq!(date_time(u64::MAX), date_time(i64::MAX.unsigned_abs()));
        assert!(date_time(u64::MAX).contains(" 9999 "), "{}", date_time(u64::MAX));
    }

    #[test]
    fn the_prefix_names_this_recipient_alone() {
        let ann = Address::parse("\"Ann Lee\"@Example.org").unwrap();
        let sender = ReversePath::parse("Bob@Example.net").unwrap();
        assert_eq!(
            String::from_utf8(prefix(&sender, &ann)).unwrap(),
            "Return-Path: <Bob@Example.net>\r\nDelivered-To: \"ann lee\"@example.org\r\n",
        );
        assert!(prefix(&ReversePath::null(), &ann).starts_with(b"Return-Path: <>\r\n"));
    }

    fn stored(transmission: Transmission, content: &str) -> Vec<u8> {
        let sender = ReversePath::parse("\"with UTF8SMTP\"@example.net").unwrap();
        let recipient = Address::parse("\"by x with UTF8SMTP\"@example.org").unwrap();
        let received = field("with.UTF8SMTP.example", Some("192.0.2.1"), transmission, 0);
        [
            &prefix(&sender, &recipient)[..],
            received.as_bytes(),
            content.as_bytes(),
        ]
        .concat()
    }

    #[test]
    fn our_own_received_field_alone_tells_whether_a_message_came_with_smtputf8() {
        let other = "Received: from a by b\r\n\tby c with UTF8SMTP\r\n\r\n";
        for transmission in all() {
            let said = came_with_smtputf8(&stored(transmission, other));
            assert_eq!(said, transmission.smtputf8, "{}", transmission.as_str());
        }
        assert!(!came_with_smtputf8(other.as_bytes().get(1..).unwrap_or_default()));
    }

    #[test]
    fn what_breaks_off_before_the_with_clause_did_not_come_with_smtputf8() {
        let transmission = Transmission {
            smtputf8: true,
            ..how(Hello::Ehlo, false)
        };
        let whole = stored(transmission, "\r\n");
        let said: Vec<bool> = (0..=whole.len())
            .map(|octets| came_with_smtputf8(whole.get(..octets).unwrap_or_default()))
            .collect();
        assert!(said.is_sorted(), "more octets make it no less true");
        assert_eq!((said.first(), said.last()), (Some(&false), Some(&true)));
    }

    proptest! {
        #[test]
        fn no_line_passes_the_limit_and_every_line_after_the_first_is_folded(client in "[!-~]{1,255}", micros: u64) {
            let text = field(&client, Some("2001:db8::1"), how(Hello::Lhlo, true), micros);
            let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            prop_assert_eq!(lines.len(), 4);
            prop_assert!(lines.iter().all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
            prop_assert!(lines.iter().skip(1).all(|line| line.starts_with('\t')));
        }
    }
}
