//! UTF8 and LANG (RFC 6856).

use expect_test::{Expect, expect};
use mailhorn_pop3::Channel;

use crate::support::{Driver, check, messages, plaintext, secure, three};

fn plain(script: &str, expected: Expect) {
    check(plaintext(), Channel::Plain, three(), script, expected);
}

#[test]
fn utf8_is_taken_before_log_in_and_holds_for_the_session() {
    plain(
        "C: UTF8\nC: utf8\nC: USER tim\nC: PASS tanstaaf\nC: RETR 1\nC: TOP 1 0\nC: UTF8",
        expect![[r#"
            C: UTF8
            S: +OK UTF-8 mode is on
            C: utf8
            S: +OK UTF-8 mode is on
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
            C: RETR 1
               ask Body { index: 0, lines: All, utf8: true }
            S: +OK 13 octets
            S: A: 1
            S:
            S: one
            S: .
            C: TOP 1 0
               ask Body { index: 0, lines: Top(0), utf8: true }
            S: +OK top of message follows
            S: A: 1
            S:
            S: .
            C: UTF8
            S: -ERR already logged in
        "#]],
    );
}

#[test]
fn without_utf8_a_message_that_needs_it_is_refused_by_its_code_and_the_session_goes_on() {
    plain(
        "C: USER tim\nC: PASS tanstaaf\nworld: NeedsUtf8\nC: RETR 1\nworld: NeedsUtf8\nC: TOP 1 5\nC: LIST 1\n\
         C: DELE 1\nC: STAT",
        expect![[r#"
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
            C: RETR 1
               ask Body { index: 0, lines: All, utf8: false }
            S: -ERR [UTF8] message is in UTF-8, log in again and send UTF8 before
            C: TOP 1 5
               ask Body { index: 0, lines: Top(5), utf8: false }
            S: -ERR [UTF8] message is in UTF-8, log in again and send UTF8 before
            C: LIST 1
            S: +OK 1 13
            C: DELE 1
            S: +OK message deleted
            C: STAT
            S: +OK 2 36
        "#]],
    );
}

#[test]
fn utf8_does_not_touch_what_user_said() {
    plain(
        "C: USER tim\nC: UTF8\nC: LANG en\nC: PASS tanstaaf",
        expect![[r#"
        C: USER tim
        S: +OK send PASS
        C: UTF8
        S: +OK UTF-8 mode is on
        C: LANG en
        S: +OK en replies are in English
        C: PASS tanstaaf
           ask LogIn { user: "tim", password: Secret(..), method: UserPass }
        S: +OK 3 messages (49 octets)
    "#]],
    );
}

#[test]
fn utf8_with_an_argument_is_an_error_and_turns_nothing_on() {
    plain(
        "C: UTF8 USER\nC: USER tim\nC: PASS tanstaaf\nC: RETR 1",
        expect![[r#"
            C: UTF8 USER
            S: -ERR too many arguments
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
            C: RETR 1
               ask Body { index: 0, lines: All, utf8: false }
            S: +OK 13 octets
            S: A: 1
            S:
            S: one
            S: .
        "#]],
    );
}

#[test]
fn stls_after_utf8_is_refused_and_no_longer_announced() {
    check(
        secure(),
        Channel::Plain,
        three(),
        "C: UTF8\nC: CAPA\nC: STLS\nC: USER tim",
        expect![[r#"
            C: UTF8
            S: +OK UTF-8 mode is on
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
            S: .
            C: STLS
            S: -ERR STLS comes before UTF8
            C: USER tim
            S: -ERR log-in needs TLS, send STLS first
        "#]],
    );
}

#[test]
fn utf8_is_taken_after_stls_and_where_tls_was_there_from_the_first_octet() {
    check(
        secure(),
        Channel::Plain,
        three(),
        "C: STLS\nC: UTF8\nC: USER tim\nC: PASS tanstaaf",
        expect![[r#"
            C: STLS
            S: +OK begin TLS
            -- TLS
            C: UTF8
            S: +OK UTF-8 mode is on
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
        "#]],
    );
    check(
        secure(),
        Channel::Tls,
        three(),
        "C: UTF8",
        expect![[r#"
        C: UTF8
        S: +OK UTF-8 mode is on
    "#]],
    );
}

#[test]
fn names_and_passwords_in_utf_8_are_taken_with_and_without_utf8() {
    plain(
        "C: USER t\u{F6}m\nC: PASS gr\u{FC}n\nC: UTF8\nC: USER \u{2168}\nC: PASS gr\u{FC}n",
        expect![[r#"
            C: USER töm
            S: +OK send PASS
            C: PASS grün
               ask LogIn { user: "töm", password: Secret(..), method: UserPass }
            S: -ERR [AUTH] authentication failed
            C: UTF8
            S: +OK UTF-8 mode is on
            C: USER Ⅸ
            S: +OK send PASS
            C: PASS grün
               ask LogIn { user: "IX", password: Secret(..), method: UserPass }
            S: -ERR [AUTH] authentication failed
        "#]],
    );
}

#[test]
fn octets_that_are_not_utf_8_are_no_name_and_no_password() {
    let mut driver = Driver::new(plaintext(), Channel::Plain, three());
    driver.receive(b"USER t\xF6m\r\nUSER tim\r\nPASS gr\xFCn\r\n");
    expect![[r#"
        S: -ERR malformed user name
        S: +OK send PASS
        S: -ERR password is not UTF-8
    "#]]
    .assert_eq(&driver.transcript);
}

#[test]
fn sizes_are_the_same_in_both_modes() {
    let maildrop = || messages(&["Subject: gr\u{FC}n\r\n\r\ngr\u{FC}n\r\n"]);
    let listings = "C: USER tim\nC: PASS tanstaaf\nC: STAT\nC: LIST\nC: LIST 1\nC: RETR 1";
    let mut with = Driver::new(plaintext(), Channel::Plain, maildrop());
    with.run(&format!("C: UTF8\n{listings}"));
    let mut without = Driver::new(plaintext(), Channel::Plain, maildrop());
    without.run(listings);
    let with = String::from_utf8(with.sent).unwrap();
    let without = String::from_utf8(without.sent).unwrap();
    assert_eq!(
        with.strip_prefix("+OK UTF-8 mode is on\r\n"),
        Some(without.as_str())
    );
    assert!(
        without.contains("+OK 1 25\r\n") && without.contains("+OK 25 octets\r\n"),
        "{without}"
    );
}

#[test]
fn lang_lists_chooses_and_refuses_in_both_states() {
    let lang =
        "C: LANG\nC: LANG en\nC: LANG I-DEFAULT\nC: LANG *\nC: LANG en-GB\nC: LANG uga\nC: LANG en de\n";
    plain(
        &format!("{lang}C: USER tim\nC: PASS tanstaaf\n{lang}"),
        expect![[r#"
            C: LANG
            S: +OK languages follow
            S: i-default English
            S: en English
            S: .
            C: LANG en
            S: +OK en replies are in English
            C: LANG I-DEFAULT
            S: +OK i-default replies are in English
            C: LANG *
            S: +OK en replies are in English
            C: LANG en-GB
            S: +OK en replies are in English
            C: LANG uga
            S: -ERR no such language, replies stay in English
            C: LANG en de
            S: -ERR too many arguments
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
            C: LANG
            S: +OK languages follow
            S: i-default English
            S: en English
            S: .
            C: LANG en
            S: +OK en replies are in English
            C: LANG I-DEFAULT
            S: +OK i-default replies are in English
            C: LANG *
            S: +OK en replies are in English
            C: LANG en-GB
            S: +OK en replies are in English
            C: LANG uga
            S: -ERR no such language, replies stay in English
            C: LANG en de
            S: -ERR too many arguments
        "#]],
    );
}
