//! Transcripts of mail whose addresses are in UTF-8 (RFC 6531).

use expect_test::expect;
use mailhorn_smtp::Protocol;

use crate::script::{play_introduced, played_introduced};

#[test]
fn with_smtputf8_addresses_may_be_in_utf8_and_the_trace_says_so() {
    play_introduced(
        Protocol::Smtp,
        expect![[r#"
            C: MAIL FROM:<jürgen@bücher.example> BODY=8BITMIME SMTPUTF8
            S: 250 2.1.0 sender ok
            C: RCPT TO:<Änn@example.org>
            > ask recipient änn@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: RCPT TO:<ann@bücher.example>
            > ask recipient ann@xn--bcher-kva.example, SIZE None
            {not local}
            S: 550 5.7.1 not a domain of ours, no relaying
            C: RCPT TO:<"ünn lee"@example.org>
            > ask recipient "ünn lee"@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: VRFY änn SMTPUTF8
            S: 252 2.5.0 not verified, send mail to find out
            C: DATA
            S: 354 go ahead, end with <CRLF>.<CRLF>
            > data from <jürgen@bücher.example> to änn@example.org "ünn lee"@example.org, EightBitMime, SIZE None, with UTF8SMTP, client c
            {complete}
            > ask deliver
            {delivered, delivered}
            S: 250 2.0.0 delivered
            C: MAIL FROM:<jürgen@bücher.example>
            S: 553 5.6.7 an address that is not ASCII needs MAIL with SMTPUTF8
            C: MAIL FROM:<bob@example.net>
            S: 250 2.1.0 sender ok
            C: RCPT TO:<änn@example.org>
            S: 553 5.6.7 an address that is not ASCII needs MAIL with SMTPUTF8
            C: RCPT TO:<ann@bücher.example>
            S: 553 5.6.7 an address that is not ASCII needs MAIL with SMTPUTF8
            C: RCPT TO:<ann@xn--bcher-kva.example>
            > ask recipient ann@xn--bcher-kva.example, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: BDAT 10 LAST
            > chunks from <bob@example.net> to ann@xn--bcher-kva.example, SevenBit, SIZE None, with ESMTP, client c
            > chunk of 10, the last
        "#]],
    );
}

#[test]
fn a_message_that_could_have_done_without_smtputf8_still_came_with_it() {
    for (protocol, word) in [(Protocol::Smtp, "UTF8SMTP"), (Protocol::Lmtp, "UTF8LMTP")] {
        let script = "C: MAIL FROM:<> SMTPUTF8\nC: RCPT TO:<ann@example.org>\n{accepted}\nC: DATA";
        let played = played_introduced(protocol, script);
        assert!(played.contains(&format!(" with {word}, client c\n")), "{played}");
    }
}

#[test]
fn what_smtputf8_allows_ends_with_its_transaction() {
    let script = "C: MAIL FROM:<> SMTPUTF8\nC: RSET\nC: RCPT TO:<änn@example.org>\nC: MAIL FROM:<>\nC: RCPT TO:<änn@example.org>";
    let played = played_introduced(Protocol::Smtp, script);
    assert_eq!(played.matches("S: 553 5.6.7 ").count(), 2, "{played}");
}
