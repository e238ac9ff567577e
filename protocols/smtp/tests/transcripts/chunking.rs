//! Transcripts of messages that come in chunks (RFC 3030).

use expect_test::{Expect, expect};
use mailhorn_smtp::Protocol;

use crate::script::{play_introduced, played_introduced};

#[track_caller]
fn smtp(transcript: Expect) {
    play_introduced(Protocol::Smtp, transcript);
}

#[track_caller]
fn lmtp(transcript: Expect) {
    play_introduced(Protocol::Lmtp, transcript);
}

const TO_ANN: &str = "C: MAIL FROM:<bob@example.net>\nC: RCPT TO:<ann@example.org>\n{accepted}\n";

/// The end of what is said on SMTP once a recipient was accepted.
fn after_a_recipient(turns: &str) -> String {
    let played = played_introduced(Protocol::Smtp, &format!("{TO_ANN}{turns}"));
    let (_, rest) = played
        .split_once("S: 250 2.1.5 recipient ok\n")
        .unwrap_or_default();
    rest.to_owned()
}

#[test]
fn a_message_comes_in_chunks_and_only_the_last_one_is_answered_for_its_delivery() {
    smtp(expect![[r#"
        C: MAIL FROM:<bob@example.net> BODY=8BITMIME
        S: 250 2.1.0 sender ok
        C: RCPT TO:<ann@example.org>
        > ask recipient ann@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: BDAT 900
        > chunks from <bob@example.net> to ann@example.org, EightBitMime, SIZE None, with ESMTP, client c
        > chunk of 900
        {complete}
        S: 250 2.0.0 900 octets received
        C: NOOP
        S: 250 2.0.0 ok
        C: BDAT 0
        > chunk of 0
        {complete}
        S: 250 2.0.0 0 octets received
        C: BDAT 100 LAST
        > chunk of 100, the last
        {complete}
        > ask deliver
        {delivered}
        S: 250 2.0.0 delivered
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<ann@example.org>
        > ask recipient ann@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: BDAT 0 LAST
        > chunks from <bob@example.net> to ann@example.org, SevenBit, SIZE None, with ESMTP, client c
        > chunk of 0, the last
        {complete}
        > ask deliver
        {unknown}
        S: 451 4.3.0 temporarily unavailable, try again later
    "#]]);
}

#[test]
fn lmtp_answers_for_each_recipient_after_the_last_chunk_alone() {
    lmtp(expect![[r#"
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<a@example.org>
        > ask recipient a@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<b@example.org>
        > ask recipient b@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: BDAT 10
        > chunks from <bob@example.net> to a@example.org b@example.org, SevenBit, SIZE None, with LMTP, client c
        > chunk of 10
        {complete}
        S: 250 2.0.0 10 octets received
        C: BDAT 10 LAST
        > chunk of 10, the last
        {complete}
        > ask deliver
        {delivered, full}
        S: 250 2.0.0 delivered
        S: 452 4.2.2 mailbox full, try again later
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<a@example.org>
        > ask recipient a@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<b@example.org>
        > ask recipient b@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: BDAT 10 LAST
        > chunks from <bob@example.net> to a@example.org b@example.org, SevenBit, SIZE None, with LMTP, client c
        > chunk of 10, the last
        {bare line end}
        S: 550 5.6.0 lines must end in CRLF, CR and LF may not stand alone
        S: 550 5.6.0 lines must end in CRLF, CR and LF may not stand alone
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<a@example.org>
        > ask recipient a@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<b@example.org>
        > ask recipient b@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: BDAT 10
        > chunks from <bob@example.net> to a@example.org b@example.org, SevenBit, SIZE None, with LMTP, client c
        > chunk of 10
        {bare line end}
        S: 550 5.6.0 lines must end in CRLF, CR and LF may not stand alone
        C: BDAT 10 LAST
        > skip 10
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<a@example.org>
        > ask recipient a@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<b@example.org>
        > ask recipient b@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: BDAT 1001 LAST
        > skip 1001
        S: 552 5.3.4 the message is larger than SIZE allows
        S: 552 5.3.4 the message is larger than SIZE allows
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<nobody@example.org>
        > ask recipient nobody@example.org, SIZE None
        {no such user}
        S: 550 5.1.1 no such user here
        C: BDAT 10 LAST
        > skip 10
        S: 503 5.5.1 no valid recipients
    "#]]);
}

#[test]
fn chunks_that_are_too_large_together_are_read_past_and_end_the_transaction() {
    smtp(expect![[r#"
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<ann@example.org>
        > ask recipient ann@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: BDAT 1000
        > chunks from <bob@example.net> to ann@example.org, SevenBit, SIZE None, with ESMTP, client c
        > chunk of 1000
        {complete}
        S: 250 2.0.0 1000 octets received
        C: BDAT 1
        > skip 1
        S: 552 5.3.4 the message is larger than SIZE allows
        C: BDAT 1 LAST
        > skip 1
        S: 503 5.5.1 MAIL first
        C: DATA
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
    "#]]);
}

#[test]
fn a_chunk_that_is_far_too_large_ends_the_session_unread() {
    for (octets, skipped) in [("4000", true), ("4001", false), ("99999999999999999999", false)] {
        let played = after_a_recipient(&format!("C: BDAT {octets} LAST\n"));
        assert!(played.contains("S: 552 5.3.4 "), "{played}");
        assert_eq!(played.contains(&format!("> skip {octets}")), skipped, "{played}");
        assert_eq!(played.ends_with("> close\n"), !skipped, "{played}");
    }
}

#[test]
fn a_chunk_that_is_refused_ends_the_transaction_and_those_behind_it_are_no_mistakes() {
    for end in ["bare line end", "too many hops", "disk full", "store failed"] {
        let behind = "C: BDAT 10\n".repeat(50);
        let played = after_a_recipient(&format!(
            "C: BDAT 10\n{{{end}}}\n{behind}C: BDAT 10 LAST\nC: RCPT TO:<ann@example.org>\nC: MAIL FROM:<>\n"
        ));
        assert_eq!(played.matches("S: 503 5.5.1 MAIL first").count(), 52, "{played}");
        assert!(played.ends_with("S: 250 2.1.0 sender ok\n"), "{played}");
    }
}

#[test]
fn without_an_accepted_recipient_the_octets_are_read_past_and_the_transaction_is_void() {
    smtp(expect![[r#"
        C: BDAT 10
        > skip 10
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<nobody@example.org>
        > ask recipient nobody@example.org, SIZE None
        {no such user}
        S: 550 5.1.1 no such user here
        C: BDAT 10
        > skip 10
        S: 554 5.5.1 no valid recipients
        C: BDAT 10 LAST
        > skip 10
        S: 503 5.5.1 MAIL first
        C: RCPT TO:<ann@example.org>
        S: 503 5.5.1 MAIL first
    "#]]);
}

#[test]
fn between_chunks_nothing_but_bdat_goes_on_with_the_message_and_rset_drops_it() {
    smtp(expect![[r#"
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<ann@example.org>
        > ask recipient ann@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: BDAT 10
        > chunks from <bob@example.net> to ann@example.org, SevenBit, SIZE None, with ESMTP, client c
        > chunk of 10
        {complete}
        S: 250 2.0.0 10 octets received
        C: DATA
        S: 503 5.5.1 the content has begun, go on with BDAT or RSET
        C: RCPT TO:<carl@example.org>
        S: 503 5.5.1 the content has begun, go on with BDAT or RSET
        C: MAIL FROM:<bob@example.net>
        S: 503 5.5.1 MAIL was given already
        C: BDAT 10
        > chunk of 10
        {complete}
        S: 250 2.0.0 10 octets received
        C: RSET
        S: 250 2.0.0 ok
        C: BDAT 10 LAST
        > skip 10
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<ann@example.org>
        > ask recipient ann@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: BDAT 10
        > chunks from <bob@example.net> to ann@example.org, SevenBit, SIZE None, with ESMTP, client c
        > chunk of 10
        {complete}
        S: 250 2.0.0 10 octets received
        C: EHLO c
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250 ENHANCEDSTATUSCODES
        C: BDAT 10 LAST
        > skip 10
        S: 503 5.5.1 MAIL first
    "#]]);
}

#[test]
fn after_a_bdat_whose_size_is_unreadable_the_session_ends_for_commands_cant_be_found_any_more() {
    for line in ["BDAT", "BDAT ten LAST", "BDAT -1", "BDAT 1\u{e9}"] {
        let played = after_a_recipient(&format!("C: {line}\n"));
        let ended = "S: 421 4.5.4 mx.example.org BDAT needs a size, closing\n> close\n";
        assert!(played.ends_with(ended), "{played}");
    }
}

#[test]
fn a_bdat_with_a_size_and_nonsense_is_refused_behind_its_octets() {
    assert_eq!(
        after_a_recipient("C: BDAT 10 FIRST\nC: BDAT 5 LAST\n"),
        "C: BDAT 10 FIRST\n> skip 10\nS: 501 5.5.4 syntax error in parameters\n\
         C: BDAT 5 LAST\n> skip 5\nS: 503 5.5.1 MAIL first\n"
    );
}
