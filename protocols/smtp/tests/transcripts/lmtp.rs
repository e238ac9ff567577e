//! Transcripts of LMTP sessions: what differs from SMTP.

use expect_test::{Expect, expect};
use mailhorn_smtp::{Options, Protocol};

use crate::script::{options, play, play_introduced};

#[track_caller]
fn from_the_greeting(transcript: Expect) {
    play(options(Protocol::Lmtp), transcript);
}

#[track_caller]
fn introduced(transcript: Expect) {
    play_introduced(Protocol::Lmtp, transcript);
}

#[test]
fn each_accepted_recipient_gets_its_own_reply_in_order() {
    introduced(expect![[r#"
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<a@example.org>
        > ask recipient a@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<nobody@example.org>
        > ask recipient nobody@example.org, SIZE None
        {no such user}
        S: 550 5.1.1 no such user here
        C: RCPT TO:<b@example.org>
        > ask recipient b@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<c@example.org>
        > ask recipient c@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<a@example.org>
        > ask recipient a@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: DATA
        S: 354 go ahead, end with <CRLF>.<CRLF>
        > data from <bob@example.net> to a@example.org b@example.org c@example.org a@example.org, SevenBit, SIZE None, with LMTP, client c
        {complete}
        > ask deliver
        {delivered, full, unknown, delivered}
        S: 250 2.0.0 delivered
        S: 452 4.2.2 mailbox full, try again later
        S: 451 4.3.0 temporarily unavailable, try again later
        S: 250 2.0.0 delivered
    "#]]);
}

#[test]
fn the_next_message_begins_afresh_after_data() {
    introduced(expect![[r#"
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
        C: DATA
        S: 354 go ahead, end with <CRLF>.<CRLF>
        > data from <bob@example.net> to a@example.org b@example.org, SevenBit, SIZE None, with LMTP, client c
        {complete}
        > ask deliver
        {delivered, gone}
        S: 250 2.0.0 delivered
        S: 550 5.1.1 no such user here
        C: DATA
        S: 503 5.5.1 MAIL first
        C: RCPT TO:<c@example.org>
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<c@example.org>
        > ask recipient c@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: DATA
        S: 354 go ahead, end with <CRLF>.<CRLF>
        > data from <> to c@example.org, SevenBit, SIZE None, with LMTP, client c
        {complete}
        > ask deliver
        {quota}
        S: 552 5.2.2 the message does not fit into the mailbox
    "#]]);
}

#[test]
fn content_that_is_refused_is_refused_for_each_recipient() {
    introduced(expect![[r#"
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
        C: DATA
        S: 354 go ahead, end with <CRLF>.<CRLF>
        > data from <bob@example.net> to a@example.org b@example.org, SevenBit, SIZE None, with LMTP, client c
        {too large}
        S: 552 5.3.4 the message is larger than SIZE allows
        S: 552 5.3.4 the message is larger than SIZE allows
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
    "#]]);
}

#[test]
fn data_without_an_accepted_recipient_is_out_of_sequence() {
    introduced(expect![[r#"
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<nobody@example.org>
        > ask recipient nobody@example.org, SIZE None
        {no such user}
        S: 550 5.1.1 no such user here
        C: DATA
        S: 503 5.5.1 no valid recipients
        C: RCPT TO:<a@example.org>
        > ask recipient a@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: DATA
        S: 354 go ahead, end with <CRLF>.<CRLF>
        > data from <bob@example.net> to a@example.org, SevenBit, SIZE None, with LMTP, client c
    "#]]);
}

#[test]
fn a_verdict_that_is_missing_is_told_as_unknown() {
    introduced(expect![[r#"
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
        C: DATA
        S: 354 go ahead, end with <CRLF>.<CRLF>
        > data from <bob@example.net> to a@example.org b@example.org, SevenBit, SIZE None, with LMTP, client c
        {complete}
        > ask deliver
        {delivered}
        S: 250 2.0.0 delivered
        S: 451 4.3.0 temporarily unavailable, try again later
    "#]]);
}

#[test]
fn helo_and_ehlo_never_succeed() {
    from_the_greeting(expect![[r#"
        S: 220 mx.example.org LMTP Mailhorn
        C: HELO c
        S: 500 5.5.1 command not recognised
        C: EHLO c
        S: 500 5.5.1 command not recognised
        C: MAIL FROM:<>
        S: 503 5.5.1 introduce yourself first
    "#]]);
}

#[test]
fn tls_is_named_in_the_trace() {
    let with_tls = Options {
        starttls: true,
        ..options(Protocol::Lmtp)
    };
    play(
        with_tls,
        expect![[r#"
            S: 220 mx.example.org LMTP Mailhorn
            C: STARTTLS
            S: 220 2.0.0 ready to start TLS
            > start TLS
            {tls}
            C: LHLO relay.example
            S: 250-mx.example.org
            S: 250-PIPELINING
            S: 250-SIZE 1000
            S: 250-8BITMIME
            S: 250-CHUNKING
            S: 250-SMTPUTF8
            S: 250 ENHANCEDSTATUSCODES
            C: MAIL FROM:<>
            S: 250 2.1.0 sender ok
            C: RCPT TO:<a@example.org>
            > ask recipient a@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: DATA
            S: 354 go ahead, end with <CRLF>.<CRLF>
            > data from <> to a@example.org, SevenBit, SIZE None, with LMTPS, client relay.example
        "#]],
    );
}
