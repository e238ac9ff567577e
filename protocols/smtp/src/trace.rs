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
use crate::turn::Transmission;

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
    format!("Received: from {client}{peer}\r\n\tby {hostname} with {with}\r\n\tid {id};\r\n\t{date}\r\n")
        .into_bytes()
}

/// The `Return-Path` and `Delivered-To` fields, each with CRLF at its end.
///
/// RFC 5321 §4.4 has the final host write the reverse-path at the beginning of the message. `Delivered-To`
/// (RFC 9228) names the mailbox this copy went to; it is in this recipient's prefix only, so it betrays
/// nobody.
#[must_use]
pub fn prefix(reverse_path: &ReversePath, recipient: &Address) -> Vec<u8> {
    format!("Return-Path: {reverse_path}\r\nDelivered-To: {recipient}\r\n").into_bytes()
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
            Transmission::Esmtps,
            1_700_000_000_123_456,
        ) + &field("client", Some("2001:db8::1"), Transmission::Smtp, 0)
            + &field(
                "[192.0.2.1]",
                Some("::ffff:192.0.2.1"),
                Transmission::Esmtp,
                951_782_400_000_000,
            )
            + &field("localhost", None, Transmission::Lmtp, 4_102_444_799_999_999);
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
        let text = field("a(b)<c>;\"d\\,@e=", None, Transmission::Smtp, 0);
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

    proptest! {
        #[test]
        fn no_line_passes_the_limit_and_every_line_after_the_first_is_folded(client in "[!-~]{1,255}", micros: u64) {
            let text = field(&client, Some("2001:db8::1"), Transmission::Lmtps, micros);
            let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            prop_assert_eq!(lines.len(), 4);
            prop_assert!(lines.iter().all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
            prop_assert!(lines.iter().skip(1).all(|line| line.starts_with('\t')));
        }
    }
}
