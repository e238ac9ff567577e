//! AUTHORIZATION with USER and PASS, the capabilities, and the ends of a session before log-in.

use std::num::NonZeroU32;
use std::sync::Arc;

use expect_test::expect;
use mailhorn_pop3::{Announced, Channel, Encoded, Expire, Implementation, Limit, Options, Reply, Step};

use crate::support::{Driver, Drop, check, plaintext, secure, three};

fn plain(script: &str, expected: expect_test::Expect) {
    check(plaintext(), Channel::Plain, three(), script, expected);
}

#[test]
fn the_greeting_is_positive_and_offers_no_apop() {
    let driver = Driver::new(plaintext(), Channel::Plain, Drop::default());
    let mut out = Vec::new();
    assert_eq!(
        driver.session.encode(&mut driver.session.greeting(), &mut out, 1),
        Encoded::All
    );
    let greeting = String::from_utf8(out).unwrap();
    assert!(greeting.starts_with("+OK ") && greeting.ends_with("\r\n"));
    assert!(
        !greeting.contains('<'),
        "a message-id in the greeting would offer APOP (RFC 1939 §7)"
    );
}

#[test]
fn user_and_pass_open_the_maildrop() {
    plain(
        "C: USER tim\nC: PASS tanstaaf\nC: STAT",
        expect![[r#"
        C: USER tim
        S: +OK send PASS
        C: PASS tanstaaf
           ask LogIn { user: "tim", password: Secret(..), method: UserPass }
        S: +OK 3 messages (49 octets)
        C: STAT
        S: +OK 3 49
    "#]],
    );
}

#[test]
fn a_wrong_password_and_an_unknown_user_get_the_same_reply() {
    plain(
        "C: USER tim\nC: PASS wrong\nC: USER nobody\nC: PASS wrong\nC: STAT",
        expect![[r#"
            C: USER tim
            S: +OK send PASS
            C: PASS wrong
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: -ERR [AUTH] authentication failed
            C: USER nobody
            S: +OK send PASS
            C: PASS wrong
               ask LogIn { user: "nobody", password: Secret(..), method: UserPass }
            S: -ERR [AUTH] authentication failed
            C: STAT
            S: -ERR log in first
        "#]],
    );
}

#[test]
fn every_refused_log_in_is_counted_and_the_third_ends_the_session() {
    plain(
        "C: USER tim\nC: PASS a\nC: AUTH PLAIN {\\0tim\\0b}\nC: USER tim\nC: PASS c\nC: USER tim",
        expect![[r#"
            C: USER tim
            S: +OK send PASS
            C: PASS a
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: -ERR [AUTH] authentication failed
            C: AUTH PLAIN {\0tim\0b}
               ask LogIn { user: "tim", password: Secret(..), method: Sasl(Plain) }
            S: -ERR [AUTH] authentication failed
            C: USER tim
            S: +OK send PASS
            C: PASS c
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: -ERR [AUTH] authentication failed
            -- closed
            C: USER tim
        "#]],
    );
}

#[test]
fn pass_comes_after_user_and_a_refusal_forgets_the_name() {
    plain(
        "C: PASS tanstaaf\nC: USER tim\nC: PASS wrong\nC: PASS tanstaaf",
        expect![[r#"
            C: PASS tanstaaf
            S: -ERR send USER first
            C: USER tim
            S: +OK send PASS
            C: PASS wrong
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: -ERR [AUTH] authentication failed
            C: PASS tanstaaf
            S: -ERR send USER first
        "#]],
    );
}

#[test]
fn what_does_not_concern_the_name_leaves_it() {
    plain(
        "C: USER tim\nC: CAPA\nC: STAT\nC: PASS tanstaaf",
        expect![[r#"
            C: USER tim
            S: +OK send PASS
            C: CAPA
            S: +OK capabilities follow
            S: TOP
            S: UIDL
            S: RESP-CODES
            S: AUTH-RESP-CODE
            S: PIPELINING
            S: UTF8 USER
            S: LANG
            S: USER
            S: SASL SCRAM-SHA-256 PLAIN LOGIN
            S: .
            C: STAT
            S: -ERR log in first
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
        "#]],
    );
}

#[test]
fn a_password_may_contain_spaces() {
    plain(
        "C: USER tim\nC: PASS  tan staaf ",
        expect![[r#"
        C: USER tim
        S: +OK send PASS
        C: PASS  tan staaf 
           ask LogIn { user: "tim", password: Secret(..), method: UserPass }
        S: -ERR [AUTH] authentication failed
    "#]],
    );
}

#[test]
fn each_reason_not_to_log_in_has_its_code() {
    plain(
        "world: InUse\nworld: TooSoon\nworld: TooManySessions\nworld: Unavailable\nworld: Refused
        C: USER tim\nC: PASS tanstaaf\nC: USER tim\nC: PASS tanstaaf\nC: USER tim\nC: PASS tanstaaf
        C: USER tim\nC: PASS tanstaaf\nC: USER tim\nC: PASS tanstaaf",
        expect![[r#"
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: -ERR [IN-USE] another session has the maildrop
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: -ERR [LOGIN-DELAY] logged in a short time ago, try again later
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: -ERR [SYS/TEMP] too many sessions of this user, try again later
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: -ERR [SYS/TEMP] log-in not possible now, try again later
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: -ERR [AUTH] authentication failed
        "#]],
    );
}

#[test]
fn commands_of_transaction_are_refused_before_log_in() {
    plain(
        "C: STAT\nC: LIST\nC: LIST 1\nC: UIDL\nC: RETR 1\nC: TOP 1 0\nC: DELE 1\nC: NOOP\nC: RSET\nC: QUIT",
        expect![[r#"
            C: STAT
            S: -ERR log in first
            C: LIST
            S: -ERR log in first
            C: LIST 1
            S: -ERR log in first
            C: UIDL
            S: -ERR log in first
            C: RETR 1
            S: -ERR log in first
            C: TOP 1 0
            S: -ERR log in first
            C: DELE 1
            S: -ERR log in first
            C: NOOP
            S: -ERR log in first
            C: RSET
            S: -ERR log in first
            C: QUIT
            S: +OK bye
            -- closed
        "#]],
    );
}

#[test]
fn three_lines_that_are_no_commands_end_a_session_before_log_in() {
    plain(
        "C: GET / HTTP/1.1\nC: Host: example.org\nC: \nC: USER tim",
        expect![[r#"
            C: GET / HTTP/1.1
            S: -ERR unknown command
            C: Host: example.org
            S: -ERR unknown command
            C: 
            S: -ERR too many bad commands
            -- closed
            C: USER tim
        "#]],
    );
}

#[test]
fn a_line_without_an_end_closes_the_connection() {
    let mut driver = Driver::new(plaintext(), Channel::Plain, three());
    driver.run("C: NOOP <x*16313>\nC: NOOP <x*16314>\nC: USER tim");
    let said = driver
        .transcript
        .lines()
        .filter(|line| !line.starts_with("C: NOOP"));
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            "S: -ERR line too long",
            "S: -ERR line without an end",
            "-- closed",
            "C: USER tim"
        ]
    );
    assert_eq!(driver.session.reached(), Some(Limit::EndlessLine));
}

#[test]
fn a_line_too_long_is_an_error_and_the_next_line_is_a_command() {
    plain(
        "C: USER <x*249>\nC: USER <x*248>\nC: USER tim\nC: PASS tanstaaf",
        expect![[r#"
            C: USER <x*249>
            S: -ERR line too long
            C: USER <x*248>
            S: +OK send PASS
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
        "#]],
    );
}

#[test]
fn capa_says_the_same_before_and_after_log_in_where_nothing_differs() {
    plain(
        "C: CAPA\nC: USER tim\nC: PASS tanstaaf\nC: CAPA",
        expect![[r#"
            C: CAPA
            S: +OK capabilities follow
            S: TOP
            S: UIDL
            S: RESP-CODES
            S: AUTH-RESP-CODE
            S: PIPELINING
            S: UTF8 USER
            S: LANG
            S: USER
            S: SASL SCRAM-SHA-256 PLAIN LOGIN
            S: .
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
            C: CAPA
            S: +OK capabilities follow
            S: TOP
            S: UIDL
            S: RESP-CODES
            S: AUTH-RESP-CODE
            S: PIPELINING
            S: UTF8 USER
            S: LANG
            S: USER
            S: SASL SCRAM-SHA-256 PLAIN LOGIN
            S: .
        "#]],
    );
}

#[test]
fn capa_says_what_the_operators_policy_is_in_both_states() {
    let options = Options {
        announced: Arc::new(Announced {
            expire: Some(Expire::Never),
            login_delay_seconds: NonZeroU32::new(60),
            implementation: Implementation::new("Mailhorn example.org"),
        }),
        ..plaintext()
    };
    let script = "C: CAPA\nC: USER tim\nC: PASS tanstaaf\nC: CAPA";
    check(
        options,
        Channel::Plain,
        three(),
        script,
        expect![[r#"
        C: CAPA
        S: +OK capabilities follow
        S: TOP
        S: UIDL
        S: RESP-CODES
        S: AUTH-RESP-CODE
        S: PIPELINING
        S: UTF8 USER
        S: LANG
        S: USER
        S: SASL SCRAM-SHA-256 PLAIN LOGIN
        S: EXPIRE NEVER
        S: LOGIN-DELAY 60
        S: IMPLEMENTATION Mailhorn example.org
        S: .
        C: USER tim
        S: +OK send PASS
        C: PASS tanstaaf
           ask LogIn { user: "tim", password: Secret(..), method: UserPass }
        S: +OK 3 messages (49 octets)
        C: CAPA
        S: +OK capabilities follow
        S: TOP
        S: UIDL
        S: RESP-CODES
        S: AUTH-RESP-CODE
        S: PIPELINING
        S: UTF8 USER
        S: LANG
        S: USER
        S: SASL SCRAM-SHA-256 PLAIN LOGIN
        S: EXPIRE NEVER
        S: LOGIN-DELAY 60
        S: IMPLEMENTATION Mailhorn example.org
        S: .
    "#]],
    );
}

#[test]
fn capa_offers_only_what_the_options_allow() {
    let options = Options {
        scram: false,
        ..plaintext()
    };
    check(
        options,
        Channel::Plain,
        three(),
        "C: CAPA\nC: AUTH",
        expect![[r#"
            C: CAPA
            S: +OK capabilities follow
            S: TOP
            S: UIDL
            S: RESP-CODES
            S: AUTH-RESP-CODE
            S: PIPELINING
            S: UTF8 USER
            S: LANG
            S: USER
            S: SASL PLAIN LOGIN
            S: .
            C: AUTH
            S: +OK mechanisms follow
            S: PLAIN
            S: LOGIN
            S: .
        "#]],
    );
    let nothing = Options {
        scram: false,
        ..Options::default()
    };
    check(
        nothing,
        Channel::Plain,
        three(),
        "C: CAPA\nC: AUTH",
        expect![[r#"
            C: CAPA
            S: +OK capabilities follow
            S: TOP
            S: UIDL
            S: RESP-CODES
            S: AUTH-RESP-CODE
            S: PIPELINING
            S: UTF8 USER
            S: LANG
            S: .
            C: AUTH
            S: +OK mechanisms follow
            S: .
        "#]],
    );
}

#[test]
fn without_tls_no_password_is_taken_and_the_reply_says_why() {
    check(
        secure(),
        Channel::Plain,
        three(),
        "C: USER tim\nC: PASS tanstaaf\nC: AUTH PLAIN {\\0tim\\0tanstaaf}\nC: AUTH LOGIN\nC: AUTH",
        expect![[r#"
            C: USER tim
            S: -ERR log-in needs TLS, send STLS first
            C: PASS tanstaaf
            S: -ERR log-in needs TLS, send STLS first
            C: AUTH PLAIN {\0tim\0tanstaaf}
            S: -ERR log-in needs TLS, send STLS first
            C: AUTH LOGIN
            S: -ERR log-in needs TLS, send STLS first
            C: AUTH
            S: +OK mechanisms follow
            S: SCRAM-SHA-256
            S: .
        "#]],
    );
    check(
        Options::default(),
        Channel::Plain,
        three(),
        "C: USER tim",
        expect![[r#"
            C: USER tim
            S: -ERR log-in needs TLS
        "#]],
    );
}

#[test]
fn a_client_silent_before_log_in_is_left_without_a_word() {
    plain(
        "C: USER tim\ntime out\nC: PASS tanstaaf",
        expect![[r#"
        C: USER tim
        S: +OK send PASS
        -- the client was silent
        -- closed
        C: PASS tanstaaf
    "#]],
    );
}

#[test]
fn a_server_that_stops_says_so() {
    plain(
        "C: USER tim\nshut down",
        expect![[r#"
        C: USER tim
        S: +OK send PASS
        -- the server stops
        S: -ERR [SYS/TEMP] server is shutting down, try again later
        -- closed
    "#]],
    );
}

#[test]
fn a_session_that_is_fed_out_of_turn_ends_and_stays_ended() {
    let mut driver = Driver::new(plaintext(), Channel::Plain, three());
    driver.run("world: Committed\nC: USER tim\nC: PASS tanstaaf");
    expect![[r#"
        C: USER tim
        S: +OK send PASS
        C: PASS tanstaaf
           ask LogIn { user: "tim", password: Secret(..), method: UserPass }
        S: -ERR [SYS/TEMP] internal error, try again later
        -- closed
    "#]]
    .assert_eq(&driver.transcript);
    let again = driver
        .session
        .command(mailhorn_lines::Frame::Line(b"NOOP".to_vec()));
    assert!(matches!(again, Step::ReplyThenClose(Reply::Line(line)) if !line.is_ok()));
}
