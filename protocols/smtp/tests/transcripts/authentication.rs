//! Transcripts of log-ins (RFC 4954), and of what a log-in is good for.

use std::num::NonZeroU8;

use expect_test::{Expect, expect};
use mailhorn_smtp::{LocalSenders, Options, Peer, Protocol, Security};

use crate::script::{options, play_with, played_introduced, played_with};

fn with_auth() -> Options {
    Options {
        auth: true,
        starttls: true,
        log_in_failures_max: NonZeroU8::new(2).unwrap(),
        ..options(Protocol::Smtp)
    }
}

/// May send its password in clear, and is offered SCRAM.
const LOCAL: Peer = Peer {
    security: Security::Plain,
    plaintext_log_in: true,
    scram: true,
    trusted: false,
};

#[track_caller]
fn local(transcript: Expect) {
    play_with(with_auth(), LOCAL, transcript);
}

#[test]
fn plain_logs_in_once_and_the_trace_says_so() {
    local(expect![[r#"
        S: 220 mx.example.org ESMTP Mailhorn
        C: EHLO c
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250-ENHANCEDSTATUSCODES
        S: 250-STARTTLS
        S: 250 AUTH SCRAM-SHA-256 PLAIN LOGIN
        C: AUTH PLAIN AGFubgBwYXNz
        > ask log-in ann, a password of 4
        {logged in}
        S: 235 2.7.0 logged in
        C: AUTH PLAIN AGFubgBwYXNz
        S: 503 5.5.1 you have logged in already
        C: STARTTLS
        S: 503 5.5.1 STARTTLS comes before AUTH
        C: EHLO c
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250 ENHANCEDSTATUSCODES
        C: MAIL FROM:<ann@example.org> AUTH=ann@example.org
        S: 250 2.1.0 sender ok
        C: RCPT TO:<bob@example.org>
        > ask recipient bob@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: DATA
        S: 354 go ahead, end with <CRLF>.<CRLF>
        > data from <ann@example.org> to bob@example.org, SevenBit, SIZE None, with ESMTPA, client c
    "#]]);
}

#[test]
fn login_and_plain_ask_for_what_was_not_sent() {
    local(expect![[r#"
        S: 220 mx.example.org ESMTP Mailhorn
        C: EHLO c
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250-ENHANCEDSTATUSCODES
        S: 250-STARTTLS
        S: 250 AUTH SCRAM-SHA-256 PLAIN LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: YW5u
        S: 334 UGFzc3dvcmQ6
        C: cGFzcw==
        > ask log-in ann, a password of 4
        {wrong}
        S: 535 5.7.8 authentication failed
        C: AUTH PLAIN
        S: 334 
        C: AGFubgBwYXNz
        > ask log-in ann, a password of 4
        {logged in}
        S: 235 2.7.0 logged in
    "#]]);
}

/// The example of RFC 7677 §3.
#[test]
fn scram_sends_the_servers_signature_before_it_logs_in() {
    local(expect![[r#"
        S: 220 mx.example.org ESMTP Mailhorn
        C: EHLO c
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250-ENHANCEDSTATUSCODES
        S: 250-STARTTLS
        S: 250 AUTH SCRAM-SHA-256 PLAIN LOGIN
        C: AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=
        > ask keys user
        {keys}
        S: 334 cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3c29Fc1VFamI2Z1E9PSxpPTQwOTY=
        C: Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1kSHpiWmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==
        S: 334 dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ==
        C:
        > ask proven user
        {logged in}
        S: 235 2.7.0 logged in
    "#]]);
}

#[test]
fn a_wrong_proof_is_a_failed_log_in_and_too_many_of_them_end_the_session() {
    local(expect![[r#"
        S: 220 mx.example.org ESMTP Mailhorn
        C: EHLO c
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250-ENHANCEDSTATUSCODES
        S: 250-STARTTLS
        S: 250 AUTH SCRAM-SHA-256 PLAIN LOGIN
        C: AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=
        > ask keys user
        {keys}
        S: 334 cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3c29Fc1VFamI2Z1E9PSxpPTQwOTY=
        C: Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1BSHpiWmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==
        > ask disproven user
        {wrong}
        S: 535 5.7.8 authentication failed
        C: AUTH PLAIN AGFubgBwYXNz
        > ask log-in ann, a password of 4
        {no log-in now}
        S: 454 4.7.0 log-in not possible now, try again later
        C: AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=
        > ask keys user
        {no log-in now}
        S: 454 4.7.0 log-in not possible now, try again later
        C: AUTH PLAIN AGFubgBwYXNz
        > ask log-in ann, a password of 4
        {wrong}
        S: 421 4.7.0 mx.example.org too many failed log-ins, closing
        > close
    "#]]);
}

#[test]
fn an_exchange_that_goes_wrong_costs_one_reply_and_the_session_goes_on() {
    local(expect![[r#"
        S: 220 mx.example.org ESMTP Mailhorn
        C: AUTH PLAIN AGFubgBwYXNz
        S: 503 5.5.1 introduce yourself first
        C: EHLO c
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250-ENHANCEDSTATUSCODES
        S: 250-STARTTLS
        S: 250 AUTH SCRAM-SHA-256 PLAIN LOGIN
        C: AUTH PLAIN
        S: 334 
        C: *
        S: 501 5.7.0 authentication cancelled
        C: AUTH PLAIN
        S: 334 
        C: QUIT
        S: 501 5.5.4 malformed response
        C: AUTH PLAIN not-base64
        S: 501 5.5.2 response is not base64
        C: AUTH PLAIN =
        S: 501 5.5.4 malformed response
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        {long line}
        S: 500 5.5.6 response too long
        C: AUTH CRAM-MD5
        S: 504 5.5.4 authentication mechanism not supported
        C: AUTH
        S: 501 5.5.4 syntax error in parameters
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 sender ok
        C: AUTH PLAIN AGFubgBwYXNz
        S: 503 5.5.1 not within a mail transaction
        C: NOOP
        S: 250 2.0.0 ok
    "#]]);
}

#[test]
fn a_mechanism_that_shows_the_password_needs_tls_where_others_may_listen() {
    let outside = Peer {
        plaintext_log_in: false,
        ..LOCAL
    };
    play_with(
        with_auth(),
        outside,
        expect![[r#"
            S: 220 mx.example.org ESMTP Mailhorn
            C: EHLO c
            S: 250-mx.example.org
            S: 250-PIPELINING
            S: 250-SIZE 1000
            S: 250-8BITMIME
            S: 250-CHUNKING
            S: 250-SMTPUTF8
            S: 250-ENHANCEDSTATUSCODES
            S: 250-STARTTLS
            S: 250 AUTH SCRAM-SHA-256
            C: AUTH PLAIN AGFubgBwYXNz
            S: 538 5.7.11 this mechanism needs TLS
            C: STARTTLS
            S: 220 2.0.0 ready to start TLS
            > start TLS
            {tls}
            C: EHLO c
            S: 250-mx.example.org
            S: 250-PIPELINING
            S: 250-SIZE 1000
            S: 250-8BITMIME
            S: 250-CHUNKING
            S: 250-SMTPUTF8
            S: 250-ENHANCEDSTATUSCODES
            S: 250 AUTH SCRAM-SHA-256 PLAIN LOGIN
            C: AUTH PLAIN AGFubgBwYXNz
            > ask log-in ann, a password of 4
            {logged in}
            S: 235 2.7.0 logged in
            C: MAIL FROM:<ann@example.org> SMTPUTF8
            S: 250 2.1.0 sender ok
            C: RCPT TO:<bob@example.org>
            > ask recipient bob@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: DATA
            S: 354 go ahead, end with <CRLF>.<CRLF>
            > data from <ann@example.org> to bob@example.org, SevenBit, SIZE None, with UTF8SMTPSA, client c
        "#]],
    );
}

#[test]
fn tls_from_the_first_octet_needs_no_starttls() {
    let peer = Peer::new(Security::Tls);
    let script = "C: STARTTLS\nC: EHLO c\nC: AUTH PLAIN AGFubgBwYXNz\n";
    let played = played_with(with_auth(), peer, script);
    assert!(played.contains("S: 503 5.5.1 TLS is on already\n"), "{played}");
    assert!(played.contains("S: 250 AUTH PLAIN LOGIN\n"), "{played}");
    assert!(
        played.ends_with("> ask log-in ann, a password of 4\n"),
        "{played}"
    );
}

#[test]
fn without_auth_and_on_lmtp_there_is_no_log_in() {
    for (protocol, hello, auth) in [(Protocol::Smtp, "EHLO", false), (Protocol::Lmtp, "LHLO", true)] {
        let options = Options {
            auth,
            ..options(protocol)
        };
        let script = format!("C: {hello} c\nC: AUTH PLAIN AGFubgBwYXNz\nC: MAIL FROM:<> AUTH=<>\n");
        let played = played_with(options, LOCAL, &script);
        assert!(
            !played.contains("250-AUTH") && !played.contains("250 AUTH"),
            "{played}"
        );
        assert!(played.contains("S: 502 5.5.1 "), "{played}");
        assert!(played.ends_with("S: 555 5.5.4 parameter not recognised or implemented\n"));
    }
}

#[test]
fn only_a_line_of_auth_may_be_longer_than_a_command() {
    let long = "A".repeat(3000);
    for (line, reply) in [
        (format!("AUTH PLAIN {long}"), "501 5.5.4"),
        (format!("auth PLAIN {long}"), "501 5.5.4"),
        (format!("NOOP {long}"), "500 5.5.2 line too long"),
        (format!("AUTH PLAIN {}", "A".repeat(16_400)), "501 5.5.2"),
    ] {
        let played = played_with(with_auth(), LOCAL, &format!("C: EHLO c\nC: {line}\n"));
        assert!(
            played.lines().last().unwrap().starts_with(&format!("S: {reply}")),
            "{played}"
        );
    }
}

fn only_authenticated() -> Options {
    Options {
        local_senders: LocalSenders::Authenticated,
        ..with_auth()
    }
}

#[test]
fn a_local_sender_has_to_log_in_where_that_is_wanted() {
    play_with(
        only_authenticated(),
        LOCAL,
        expect![[r#"
            S: 220 mx.example.org ESMTP Mailhorn
            C: EHLO c
            S: 250-mx.example.org
            S: 250-PIPELINING
            S: 250-SIZE 1000
            S: 250-8BITMIME
            S: 250-CHUNKING
            S: 250-SMTPUTF8
            S: 250-ENHANCEDSTATUSCODES
            S: 250-STARTTLS
            S: 250 AUTH SCRAM-SHA-256 PLAIN LOGIN
            C: MAIL FROM:<Ann@Example.org>
            > ask sender ann@example.org
            {local}
            S: 530 5.7.0 log in to send with this address
            C: RCPT TO:<bob@example.org>
            S: 503 5.5.1 MAIL first
            C: MAIL FROM:<ann@elsewhere.example>
            > ask sender ann@elsewhere.example
            {elsewhere}
            S: 250 2.1.0 sender ok
            C: RSET
            S: 250 2.0.0 ok
            C: MAIL FROM:<ann@example.org>
            > ask sender ann@example.org
            {sender unknown}
            S: 451 4.3.0 temporarily unavailable, try again later
            C: MAIL FROM:<>
            S: 250 2.1.0 sender ok
            C: RSET
            S: 250 2.0.0 ok
            C: MAIL FROM:<ann@[192.0.2.1]>
            S: 250 2.1.0 sender ok
        "#]],
    );
}

#[test]
fn who_has_logged_in_sends_with_an_address_of_their_own() {
    play_with(
        only_authenticated(),
        LOCAL,
        expect![[r#"
            S: 220 mx.example.org ESMTP Mailhorn
            C: EHLO c
            S: 250-mx.example.org
            S: 250-PIPELINING
            S: 250-SIZE 1000
            S: 250-8BITMIME
            S: 250-CHUNKING
            S: 250-SMTPUTF8
            S: 250-ENHANCEDSTATUSCODES
            S: 250-STARTTLS
            S: 250 AUTH SCRAM-SHA-256 PLAIN LOGIN
            C: AUTH PLAIN AGFubgBwYXNz
            > ask log-in ann, a password of 4
            {logged in}
            S: 235 2.7.0 logged in
            C: MAIL FROM:<bob@example.org>
            > ask sender bob@example.org
            {local}
            S: 553 5.7.1 not an address of the user who has logged in
            C: MAIL FROM:<ann@elsewhere.example>
            > ask sender ann@elsewhere.example
            {elsewhere}
            S: 553 5.7.1 not an address of the user who has logged in
            C: MAIL FROM:<ann@[192.0.2.1]>
            S: 553 5.7.1 not an address of the user who has logged in
            C: MAIL FROM:<>
            S: 250 2.1.0 sender ok
            C: RSET
            S: 250 2.0.0 ok
            C: MAIL FROM:<ann@example.org>
            > ask sender ann@example.org
            {own}
            S: 250 2.1.0 sender ok
            C: RCPT TO:<bob@example.org>
            > ask recipient bob@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: DATA
            S: 354 go ahead, end with <CRLF>.<CRLF>
            > data from <ann@example.org> to bob@example.org, SevenBit, SIZE None, with ESMTPA, client c
        "#]],
    );
}

#[test]
fn nobody_asks_for_the_sender_of_a_trusted_peer_nor_where_anyone_may_send_nor_on_lmtp() {
    let trusted = Peer {
        trusted: true,
        ..LOCAL
    };
    let lmtp = Options {
        protocol: Protocol::Lmtp,
        ..only_authenticated()
    };
    for (options, peer, hello) in [
        (only_authenticated(), trusted, "EHLO"),
        (with_auth(), LOCAL, "EHLO"),
        (lmtp, LOCAL, "LHLO"),
    ] {
        let script = format!("C: {hello} c\nC: MAIL FROM:<ann@example.org>\n");
        assert!(played_with(options, peer, &script).ends_with("S: 250 2.1.0 sender ok\n"));
    }
}

#[test]
fn no_answer_that_was_not_asked_for_logs_anybody_in() {
    for turns in [
        "{logged in}",
        "C: MAIL FROM:<>\n{logged in}",
        "C: MAIL FROM:<>\n{own}",
    ] {
        let played = played_introduced(Protocol::Smtp, turns);
        assert!(played.ends_with("internal error, closing\n> close\n"), "{played}");
    }
}
