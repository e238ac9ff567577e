//! Transcripts of SMTP sessions, with the world's answers between braces.

use std::num::NonZeroU32;
use std::sync::Arc;

use expect_test::{Expect, expect};
use mailhorn_lines::Frame;
use mailhorn_smtp::{Domain, Limit, Options, Peer, Protocol, Security, Session, Step, too_many_connections};

use crate::script::{options, play, play_introduced, played_introduced, played_with};

#[track_caller]
fn from_the_greeting(transcript: Expect) {
    play(options(Protocol::Smtp), transcript);
}

#[track_caller]
fn introduced(transcript: Expect) {
    play_introduced(Protocol::Smtp, transcript);
}

#[test]
fn a_message_goes_to_all_its_recipients_and_the_next_one_begins_afresh() {
    from_the_greeting(expect![[r#"
        S: 220 mx.example.org ESMTP Mailhorn
        C: EHLO client.example
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250 ENHANCEDSTATUSCODES
        C: MAIL FROM:<Bob@Example.net> SIZE=500 BODY=8BITMIME
        S: 250 2.1.0 sender ok
        C: RCPT TO:<Ann@Example.org>
        > ask recipient ann@example.org, SIZE Some(500)
        {accepted}
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<carl@example.org>
        > ask recipient carl@example.org, SIZE Some(500)
        {accepted}
        S: 250 2.1.5 recipient ok
        C: DATA
        S: 354 go ahead, end with <CRLF>.<CRLF>
        > data from <Bob@Example.net> to ann@example.org carl@example.org, EightBitMime, SIZE Some(500), with ESMTP, client client.example
        {complete}
        > ask deliver
        {delivered, delivered}
        S: 250 2.0.0 delivered
        C: RCPT TO:<ann@example.org>
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<>
        S: 250 2.1.0 sender ok
        C: QUIT
        S: 221 2.0.0 bye
        > close
    "#]]);
}

#[test]
fn helo_offers_no_extension() {
    from_the_greeting(expect![[r#"
            S: 220 mx.example.org ESMTP Mailhorn
            C: HELO client.example
            S: 250 mx.example.org
            C: MAIL FROM:<bob@example.net>
            S: 250 2.1.0 sender ok
            C: RCPT TO:<ann@example.org>
            > ask recipient ann@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: DATA
            S: 354 go ahead, end with <CRLF>.<CRLF>
            > data from <bob@example.net> to ann@example.org, SevenBit, SIZE None, with SMTP, client client.example
            {complete}
            > ask deliver
            {delivered}
            S: 250 2.0.0 delivered
        "#]]);
}

#[test]
fn each_verdict_on_a_recipient_has_its_reply() {
    introduced(expect![[r#"
            C: MAIL FROM:<bob@example.net>
            S: 250 2.1.0 sender ok
            C: RCPT TO:<a@example.org>
            > ask recipient a@example.org, SIZE None
            {no such user}
            S: 550 5.1.1 no such user here
            C: RCPT TO:<a@example.com>
            > ask recipient a@example.com, SIZE None
            {not local}
            S: 550 5.7.1 not a domain of ours, no relaying
            C: RCPT TO:<a@example.org>
            > ask recipient a@example.org, SIZE None
            {mailbox full}
            S: 452 4.2.2 mailbox full, try again later
            C: RCPT TO:<a@example.org>
            > ask recipient a@example.org, SIZE None
            {over quota}
            S: 552 5.2.2 the message does not fit into the mailbox
            C: RCPT TO:<a@example.org>
            > ask recipient a@example.org, SIZE None
            {unavailable}
            S: 451 4.3.0 temporarily unavailable, try again later
            C: RCPT TO:<a@[192.0.2.1]>
            S: 550 5.7.1 not a domain of ours, no relaying
            C: RCPT TO:<a@example.org> NOTIFY=NEVER
            S: 555 5.5.4 parameter not recognised or implemented
            C: DATA
            S: 554 5.5.1 no valid recipients
        "#]]);
}

#[test]
fn only_accepted_recipients_are_in_the_envelope() {
    introduced(expect![[r#"
            C: MAIL FROM:<bob@example.net>
            S: 250 2.1.0 sender ok
            C: RCPT TO:<nobody@example.org>
            > ask recipient nobody@example.org, SIZE None
            {no such user}
            S: 550 5.1.1 no such user here
            C: RCPT TO:<POSTMASTER>
            > ask recipient postmaster@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: RCPT TO:<@relay.example,@other.example:"Ann Lee"@example.org>
            > ask recipient "ann lee"@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: RCPT TO:<postmaster@example.org>
            > ask recipient postmaster@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: DATA
            S: 354 go ahead, end with <CRLF>.<CRLF>
            > data from <bob@example.net> to postmaster@example.org "ann lee"@example.org postmaster@example.org, SevenBit, SIZE None, with ESMTP, client c
        "#]]);
}

fn after_two_recipients(turns: &str) -> String {
    let transcript = played_introduced(
        Protocol::Smtp,
        &format!(
            "C: MAIL FROM:<bob@example.net>
         C: RCPT TO:<ann@example.org>
         {{accepted}}
         C: RCPT TO:<carl@example.org>
         {{accepted}}
         C: DATA
         {turns}"
        ),
    );
    transcript.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn one_reply_speaks_for_all_recipients_and_says_250_only_if_all_have_it() {
    for (verdicts, reply) in [
        ("delivered, delivered", "S: 250 2.0.0 delivered"),
        (
            "delivered, unknown",
            "S: 451 4.3.0 temporarily unavailable, try again later",
        ),
        (
            "delivered, gone",
            "S: 451 4.3.0 temporarily unavailable, try again later",
        ),
        (
            "gone, delivered",
            "S: 451 4.3.0 temporarily unavailable, try again later",
        ),
        (
            "gone, quota",
            "S: 451 4.3.0 temporarily unavailable, try again later",
        ),
        (
            "looping, looping",
            "S: 554 5.4.6 this mailbox has had the message, mail loop",
        ),
        ("gone, gone", "S: 550 5.1.1 no such user here"),
        (
            "quota, quota",
            "S: 552 5.2.2 the message does not fit into the mailbox",
        ),
        ("full, full", "S: 452 4.2.2 mailbox full, try again later"),
        (
            "no storage, no storage",
            "S: 452 4.3.1 out of storage, try again later",
        ),
        (
            "unknown, unknown",
            "S: 451 4.3.0 temporarily unavailable, try again later",
        ),
        // The driver forgot a verdict: nobody knows, so nobody is told 250.
        (
            "delivered",
            "S: 451 4.3.0 temporarily unavailable, try again later",
        ),
        // And one too many is not looked at.
        ("delivered, delivered, unknown", "S: 250 2.0.0 delivered"),
    ] {
        assert_eq!(
            after_two_recipients(&format!("{{complete}}\n{{{verdicts}}}")),
            reply,
            "{verdicts}"
        );
    }
}

#[test]
fn content_that_is_refused_ends_the_transaction() {
    for (end, reply) in [
        (
            "bare line end",
            "S: 550 5.6.0 lines must end in CRLF, CR and LF may not stand alone",
        ),
        ("too large", "S: 552 5.3.4 the message is larger than SIZE allows"),
        (
            "too many hops",
            "S: 554 5.4.6 too many Received fields, mail loop",
        ),
        ("disk full", "S: 452 4.3.1 out of storage, try again later"),
        (
            "store failed",
            "S: 451 4.3.0 temporarily unavailable, try again later",
        ),
    ] {
        assert_eq!(after_two_recipients(&format!("{{{end}}}")), reply);
        let next = after_two_recipients(&format!("{{{end}}}\nC: MAIL FROM:<bob@example.net>"));
        assert_eq!(next, "S: 250 2.1.0 sender ok", "{end}");
        let next = after_two_recipients(&format!("{{{end}}}\nC: DATA"));
        assert_eq!(next, "S: 503 5.5.1 MAIL first", "{end}");
    }
}

#[test]
fn a_message_declared_too_large_is_refused_before_it_is_sent() {
    introduced(expect![[r#"
            C: MAIL FROM:<bob@example.net> SIZE=1001
            S: 552 5.3.4 the message is larger than SIZE allows
            C: RCPT TO:<ann@example.org>
            S: 503 5.5.1 MAIL first
            C: MAIL FROM:<bob@example.net> SIZE=99999999999999999999
            S: 552 5.3.4 the message is larger than SIZE allows
            C: MAIL FROM:<bob@example.net> SIZE=1000
            S: 250 2.1.0 sender ok
        "#]]);
}

#[test]
fn commands_out_of_sequence_are_answered_with_503() {
    from_the_greeting(expect![[r#"
        S: 220 mx.example.org ESMTP Mailhorn
        C: MAIL FROM:<bob@example.net>
        S: 503 5.5.1 introduce yourself first
        C: RCPT TO:<ann@example.org>
        S: 503 5.5.1 MAIL first
        C: DATA
        S: 503 5.5.1 MAIL first
        C: EHLO c
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250 ENHANCEDSTATUSCODES
        C: RCPT TO:<ann@example.org>
        S: 503 5.5.1 MAIL first
        C: DATA
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: MAIL FROM:<bob@example.net>
        S: 503 5.5.1 MAIL was given already
        C: DATA
        S: 554 5.5.1 no valid recipients
        C: RCPT TO:<ann@example.org>
        > ask recipient ann@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: MAIL FROM:<bob@example.net>
        S: 503 5.5.1 MAIL was given already
        C: DATA
        S: 354 go ahead, end with <CRLF>.<CRLF>
        > data from <bob@example.net> to ann@example.org, SevenBit, SIZE None, with ESMTP, client c
    "#]]);
}

#[test]
fn rset_and_ehlo_end_a_transaction_and_noop_help_vrfy_do_not() {
    from_the_greeting(expect![[r#"
        S: 220 mx.example.org ESMTP Mailhorn
        C: RSET
        S: 250 2.0.0 ok
        C: EHLO c
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250 ENHANCEDSTATUSCODES
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: NOOP
        S: 250 2.0.0 ok
        C: HELP
        S: 214 2.0.0 see RFC 5321 and RFC 2033
        C: VRFY ann
        S: 252 2.5.0 not verified, send mail to find out
        C: RCPT TO:<ann@example.org>
        > ask recipient ann@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: RSET
        S: 250 2.0.0 ok
        C: DATA
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<ann@example.org>
        > ask recipient ann@example.org, SIZE None
        {accepted}
        S: 250 2.1.5 recipient ok
        C: EHLO d
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-SMTPUTF8
        S: 250 ENHANCEDSTATUSCODES
        C: DATA
        S: 503 5.5.1 MAIL first
    "#]]);
}

#[test]
fn what_is_not_understood_costs_one_reply() {
    introduced(expect![[r#"
        C: XYZZY
        S: 500 5.5.1 command not recognised
        C: LHLO c
        S: 500 5.5.1 command not recognised
        C: AUTH PLAIN
        S: 502 5.5.1 command not implemented
        C: EXPN staff
        S: 502 5.5.1 command not implemented
        C: NOOP ü
        S: 500 5.5.2 commands are ASCII
        {long line}
        S: 500 5.5.2 line too long
        C: HELO
        S: 501 5.5.4 syntax error in parameters
        C: DATA now
        S: 501 5.5.4 syntax error in parameters
        C: MAIL FROM:bob@example.net
        S: 501 5.1.7 bad sender address syntax
        C: MAIL FROM:<büb@example.net>
        S: 553 5.6.7 an address that is not ASCII needs MAIL with SMTPUTF8
        C: MAIL FROM:<bob@example.net> FANCY
        S: 555 5.5.4 parameter not recognised or implemented
        C: MAIL FROM:<bob@example.net> SIZE=many
        S: 501 5.5.4 syntax error in parameters
        C: MAIL FROM:<bob@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<ann>
        S: 501 5.1.3 bad recipient address syntax
        C: RCPT TO:<änn@example.org>
        S: 553 5.6.7 an address that is not ASCII needs MAIL with SMTPUTF8
        C: NOOP
        S: 250 2.0.0 ok
    "#]]);
}

#[test]
fn a_line_without_an_end_ends_the_session_wherever_it_is() {
    for before in [
        "",
        "C: EHLO c\nC: MAIL FROM:<bob@example.net>\n",
        "C: EHLO c\nC: AUTH LOGIN\n",
    ] {
        let mut session = Session::new(Arc::new(options(Protocol::Smtp)), Peer::new(Security::Tls));
        for line in before.lines() {
            session.command(Frame::Line(line.trim_start_matches("C: ").into()));
        }
        let Step::ReplyThenClose(replies) = session.command(Frame::Endless) else {
            panic!("it is closed after {before:?}")
        };
        let reply = replies.iter().next().unwrap();
        assert_eq!((reply.code(), reply.limit()), (421, Some(Limit::EndlessLine)));
    }
}

#[test]
fn after_too_many_bad_commands_the_session_ends() {
    let few = Options {
        bad_commands_max: 2,
        ..options(Protocol::Smtp)
    };
    play(
        few,
        expect![[r#"
        S: 220 mx.example.org ESMTP Mailhorn
        C: ONE
        S: 500 5.5.1 command not recognised
        C: NOOP
        S: 250 2.0.0 ok
        C: DATA
        S: 503 5.5.1 MAIL first
        {long line}
        S: 421 4.7.0 mx.example.org too many errors, closing
        > close
        C: NOOP
        S: 421 4.3.0 mx.example.org internal error, closing
        > close
    "#]],
    );
}

#[test]
fn recipients_that_are_too_many_are_left_for_another_transaction() {
    let few = Options {
        recipients_max: 2,
        ..options(Protocol::Smtp)
    };
    play(
        few,
        expect![[r#"
            S: 220 mx.example.org ESMTP Mailhorn
            C: EHLO c
            S: 250-mx.example.org
            S: 250-PIPELINING
            S: 250-SIZE 1000
            S: 250-8BITMIME
            S: 250-CHUNKING
            S: 250-SMTPUTF8
            S: 250 ENHANCEDSTATUSCODES
            C: MAIL FROM:<bob@example.net>
            S: 250 2.1.0 sender ok
            C: RCPT TO:<a@example.org>
            > ask recipient a@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: RCPT TO:<b@example.org>
            > ask recipient b@example.org, SIZE None
            {no such user}
            S: 550 5.1.1 no such user here
            C: RCPT TO:<c@example.org>
            > ask recipient c@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: RCPT TO:<d@example.org>
            S: 452 4.5.3 too many recipients, send the rest later
            C: DATA
            S: 354 go ahead, end with <CRLF>.<CRLF>
            > data from <bob@example.net> to a@example.org c@example.org, SevenBit, SIZE None, with ESMTP, client c
        "#]],
    );
}

#[test]
fn after_so_many_messages_another_one_needs_another_connection() {
    let few = Options {
        messages_max: NonZeroU32::new(2),
        ..options(Protocol::Smtp)
    };
    let turns = "C: MAIL FROM:<>\nC: RCPT TO:<a@example.org>\n{accepted}\n";
    let script = format!(
        "C: EHLO c\n{turns}C: DATA\n{{complete}}\n{{delivered}}\n{turns}C: RSET\n\
         {turns}C: BDAT 1\n{{complete}}\nC: BDAT 1\n{{bare line end}}\nC: NOOP\nC: MAIL FROM:<>\n"
    );
    let played = played_with(few, Peer::new(Security::Plain), &script);
    let ended = "S: 421 4.7.0 mx.example.org too many messages for one connection, connect again\n> close\n";
    assert!(played.ends_with(ended), "{played}");
    assert_eq!(played.matches("S: 250 2.1.0 sender ok").count(), 3, "{played}");
    assert_eq!(
        options(Protocol::Lmtp).messages_max,
        None,
        "its client keeps a connection"
    );
}

#[test]
fn starttls_forgets_all_that_was_said_before() {
    let with_tls = Options {
        starttls: true,
        ..options(Protocol::Smtp)
    };
    play(
        with_tls,
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
            S: 250 STARTTLS
            C: MAIL FROM:<bob@example.net>
            S: 250 2.1.0 sender ok
            C: STARTTLS
            S: 220 2.0.0 ready to start TLS
            > start TLS
            {tls}
            C: MAIL FROM:<bob@example.net>
            S: 503 5.5.1 introduce yourself first
            C: EHLO c
            S: 250-mx.example.org
            S: 250-PIPELINING
            S: 250-SIZE 1000
            S: 250-8BITMIME
            S: 250-CHUNKING
            S: 250-SMTPUTF8
            S: 250 ENHANCEDSTATUSCODES
            C: STARTTLS
            S: 503 5.5.1 TLS is on already
            C: DATA
            S: 503 5.5.1 MAIL first
            C: MAIL FROM:<bob@example.net>
            S: 250 2.1.0 sender ok
            C: RCPT TO:<ann@example.org>
            > ask recipient ann@example.org, SIZE None
            {accepted}
            S: 250 2.1.5 recipient ok
            C: DATA
            S: 354 go ahead, end with <CRLF>.<CRLF>
            > data from <bob@example.net> to ann@example.org, SevenBit, SIZE None, with ESMTPS, client c
        "#]],
    );
}

#[test]
fn starttls_is_not_implemented_where_there_is_no_certificate() {
    introduced(expect![[r#"
        C: STARTTLS
        S: 502 5.5.1 command not implemented
    "#]]);
}

#[test]
fn silence_and_shutdown_end_the_session_with_their_own_codes() {
    introduced(expect![[r#"
        {silence}
        S: 421 4.4.2 mx.example.org idle for too long, closing
        > close
    "#]]);
    introduced(expect![[r#"
        C: MAIL FROM:<>
        S: 250 2.1.0 sender ok
        {too slow}
        S: 421 4.4.2 mx.example.org the transaction took too long, closing
        > close
    "#]]);
    introduced(expect![[r#"
        C: MAIL FROM:<>
        S: 250 2.1.0 sender ok
        {shutdown}
        S: 421 4.3.2 mx.example.org shutting down, try again later
        > close
        C: NOOP
        S: 421 4.3.0 mx.example.org internal error, closing
        > close
    "#]]);
}

#[test]
fn a_call_out_of_turn_ends_the_session_and_does_not_panic() {
    for turns in [
        "{accepted}",
        "{complete}",
        "{delivered}",
        "C: MAIL FROM:<>\nC: RCPT TO:<a@b>\nC: NOOP",
        "C: MAIL FROM:<>\nC: RCPT TO:<a@b>\n{delivered}",
        "C: MAIL FROM:<>\nC: RCPT TO:<a@b>\n{accepted}\nC: DATA\nC: NOOP",
        "C: MAIL FROM:<>\nC: RCPT TO:<a@b>\n{accepted}\nC: DATA\n{complete}\n{accepted}",
    ] {
        let transcript = played_introduced(Protocol::Smtp, turns);
        let ended = "S: 421 4.3.0 mx.example.org internal error, closing\n> close\n";
        assert!(transcript.ends_with(ended), "{transcript}");
    }
}

#[test]
fn a_connection_too_many_is_told_to_come_back() {
    let mut octets = Vec::new();
    too_many_connections(&Domain::parse("mx.example.org").unwrap()).encode(&mut octets);
    assert_eq!(
        octets,
        b"421 4.7.0 mx.example.org too many connections, try again later\r\n"
    );
}
