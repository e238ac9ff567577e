//! STLS (RFC 2595).

use expect_test::{Expect, expect};
use mailhorn_pop3::Channel;

use crate::support::{Driver, check, plaintext, secure, three};

fn stls(script: &str, expected: Expect) {
    check(secure(), Channel::Plain, three(), script, expected);
}

#[test]
fn after_stls_passwords_are_taken_and_stls_is_offered_no_more() {
    stls(
        "C: CAPA\nC: STLS\nC: CAPA\nC: STLS\nC: USER tim\nC: PASS tanstaaf",
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
            S: SASL SCRAM-SHA-256
            S: STLS
            S: .
            C: STLS
            S: +OK begin TLS
            -- TLS
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
            C: STLS
            S: -ERR TLS is on already
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
        "#]],
    );
}

#[test]
fn auth_plain_is_taken_after_stls() {
    stls(
        "C: STLS\nC: AUTH PLAIN {\\0tim\\0tanstaaf}",
        expect![[r#"
        C: STLS
        S: +OK begin TLS
        -- TLS
        C: AUTH PLAIN {\0tim\0tanstaaf}
           ask LogIn { user: "tim", password: Secret(..), method: Sasl(Plain) }
        S: +OK 3 messages (49 octets)
    "#]],
    );
}

#[test]
fn a_command_sent_with_stls_closes_the_connection() {
    stls(
        "C: STLS\\r\\nUSER tim",
        expect![[r#"
        C: STLS\r\nUSER tim
        -- closed
    "#]],
    );
    let mut driver = Driver::new(secure(), Channel::Plain, three());
    driver.receive(b"STLS\r\nUSER mallo");
    assert_eq!(
        driver.transcript, "-- closed\n",
        "half a command would be completed inside TLS"
    );
}

#[test]
fn what_was_said_before_tls_is_forgotten() {
    let options = mailhorn_pop3::Options {
        stls: true,
        ..plaintext()
    };
    check(
        options,
        Channel::Plain,
        three(),
        "C: USER tim\nC: STLS\nC: PASS tanstaaf",
        expect![[r#"
            C: USER tim
            S: +OK send PASS
            C: STLS
            S: +OK begin TLS
            -- TLS
            C: PASS tanstaaf
            S: -ERR send USER first
        "#]],
    );
}

#[test]
fn refusals_before_tls_still_count_after_it() {
    let options = mailhorn_pop3::Options {
        stls: true,
        ..plaintext()
    };
    let script = "C: USER tim\nC: PASS a\nC: USER tim\nC: PASS b\nC: STLS\nC: USER tim\nC: PASS c";
    check(
        options,
        Channel::Plain,
        three(),
        script,
        expect![[r#"
        C: USER tim
        S: +OK send PASS
        C: PASS a
           ask LogIn { user: "tim", password: Secret(..), method: UserPass }
        S: -ERR [AUTH] authentication failed
        C: USER tim
        S: +OK send PASS
        C: PASS b
           ask LogIn { user: "tim", password: Secret(..), method: UserPass }
        S: -ERR [AUTH] authentication failed
        C: STLS
        S: +OK begin TLS
        -- TLS
        C: USER tim
        S: +OK send PASS
        C: PASS c
           ask LogIn { user: "tim", password: Secret(..), method: UserPass }
        S: -ERR [AUTH] authentication failed
        -- closed
    "#]],
    );
}

#[test]
fn stls_after_log_in_is_refused() {
    let options = mailhorn_pop3::Options {
        stls: true,
        ..plaintext()
    };
    check(
        options,
        Channel::Plain,
        three(),
        "C: USER tim\nC: PASS tanstaaf\nC: STLS\nC: CAPA",
        expect![[r#"
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
            C: STLS
            S: -ERR already logged in
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
fn stls_without_a_certificate_is_refused() {
    check(
        plaintext(),
        Channel::Plain,
        three(),
        "C: STLS",
        expect![[r#"
        C: STLS
        S: -ERR TLS is not available
    "#]],
    );
}

#[test]
fn on_an_implicit_tls_port_stls_is_neither_offered_nor_taken() {
    check(
        secure(),
        Channel::Tls,
        three(),
        "C: CAPA\nC: STLS\nC: USER tim\nC: PASS tanstaaf",
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
            C: STLS
            S: -ERR TLS is on already
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
        "#]],
    );
}

#[test]
fn tls_that_nobody_asked_for_changes_nothing() {
    let mut driver = Driver::new(secure(), Channel::Plain, three());
    driver.session.tls_started();
    driver.run("C: USER tim");
    expect![[r#"
        C: USER tim
        S: -ERR log-in needs TLS, send STLS first
    "#]]
    .assert_eq(&driver.transcript);
}
