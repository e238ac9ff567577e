//! AUTH (RFC 5034).

use expect_test::{Expect, expect};
use mailhorn_pop3::{Channel, Options, RESPONSE_LINE_OCTETS_MAX, Verb};

use crate::support::{Driver, check, plaintext, three};

fn plain(script: &str, expected: Expect) {
    check(plaintext(), Channel::Plain, three(), script, expected);
}

#[test]
fn auth_without_an_argument_lists_the_mechanisms_even_with_a_space_behind() {
    plain(
        "C: AUTH\nC: AUTH \nC: auth",
        expect![[r#"
        C: AUTH
        S: +OK mechanisms follow
        S: SCRAM-SHA-256
        S: PLAIN
        S: LOGIN
        S: .
        C: AUTH 
        S: +OK mechanisms follow
        S: SCRAM-SHA-256
        S: PLAIN
        S: LOGIN
        S: .
        C: auth
        S: +OK mechanisms follow
        S: SCRAM-SHA-256
        S: PLAIN
        S: LOGIN
        S: .
    "#]],
    );
}

#[test]
fn auth_plain_takes_an_initial_response() {
    plain(
        "C: AUTH PLAIN {\\0tim\\0tanstaaf}\nC: STAT",
        expect![[r#"
        C: AUTH PLAIN {\0tim\0tanstaaf}
           ask LogIn { user: "tim", password: Secret(..), method: Sasl(Plain) }
        S: +OK 3 messages (49 octets)
        C: STAT
        S: +OK 3 49
    "#]],
    );
}

#[test]
fn auth_plain_asks_for_its_message() {
    plain(
        "C: auth plain\nC: {\\0tim\\0tanstaaf}",
        expect![[r#"
        C: auth plain
        S: + {}
        C: {\0tim\0tanstaaf}
           ask LogIn { user: "tim", password: Secret(..), method: Sasl(Plain) }
        S: +OK 3 messages (49 octets)
    "#]],
    );
}

#[test]
fn auth_plain_refuses_a_wrong_password() {
    plain(
        "C: AUTH PLAIN {\\0tim\\0wrong}\nC: STAT",
        expect![[r#"
        C: AUTH PLAIN {\0tim\0wrong}
           ask LogIn { user: "tim", password: Secret(..), method: Sasl(Plain) }
        S: -ERR [AUTH] authentication failed
        C: STAT
        S: -ERR log in first
    "#]],
    );
}

#[test]
fn auth_login_asks_for_name_and_password() {
    plain(
        "C: AUTH LOGIN\nC: {tim}\nC: {tanstaaf}",
        expect![[r#"
        C: AUTH LOGIN
        S: + {Username:}
        C: {tim}
        S: + {Password:}
        C: {tanstaaf}
           ask LogIn { user: "tim", password: Secret(..), method: Sasl(Login) }
        S: +OK 3 messages (49 octets)
    "#]],
    );
    plain(
        "C: AUTH LOGIN {tim}\nC: {tanstaaf}",
        expect![[r#"
        C: AUTH LOGIN {tim}
        S: + {Password:}
        C: {tanstaaf}
           ask LogIn { user: "tim", password: Secret(..), method: Sasl(Login) }
        S: +OK 3 messages (49 octets)
    "#]],
    );
}

#[test]
fn an_equals_sign_is_an_empty_initial_response() {
    plain(
        "C: AUTH SCRAM-SHA-256 =\nC: AUTH PLAIN =",
        expect![[r#"
        C: AUTH SCRAM-SHA-256 =
        S: -ERR malformed response
        C: AUTH PLAIN =
        S: -ERR malformed response
    "#]],
    );
}

/// The numbers are those of RFC 7677 §3.
#[test]
fn scram_sends_the_servers_signature_before_it_logs_in() {
    const SCRIPT: &str = "C: AUTH SCRAM-SHA-256 {n,,n=user,r=rOprNGfwEbeRWgbNEkqO}
        C: {c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=}
        C: \nC: STAT";
    check(
        Options::default(),
        Channel::Plain,
        three(),
        SCRIPT,
        expect![[r#"
        C: AUTH SCRAM-SHA-256 {n,,n=user,r=rOprNGfwEbeRWgbNEkqO}
           ask ScramKeys { user: "user" }
        S: + {r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096}
        C: {c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=}
        S: + {v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=}
        C: 
           ask ScramLogIn { user: "user" }
        S: +OK 3 messages (49 octets)
        C: STAT
        S: +OK 3 49
    "#]],
    );
}

#[test]
fn scram_refuses_a_wrong_proof_and_an_unknown_user_alike() {
    const SCRIPT: &str = "C: AUTH SCRAM-SHA-256
        C: {n,,n=user,r=abc}
        C: {c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}
        C: AUTH SCRAM-SHA-256 {n,,n=nobody,r=abc}
        C: {c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}";
    check(
        Options::default(),
        Channel::Plain,
        three(),
        SCRIPT,
        expect![[r#"
        C: AUTH SCRAM-SHA-256
        S: + {}
        C: {n,,n=user,r=abc}
           ask ScramKeys { user: "user" }
        S: + {r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096}
        C: {c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}
           ask ScramRefused { user: "user" }
        S: -ERR [AUTH] authentication failed
        C: AUTH SCRAM-SHA-256 {n,,n=nobody,r=abc}
           ask ScramKeys { user: "nobody" }
        S: + {r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=WD6EMTWH1A10YI3bGpHHmA==,i=4096}
        C: {c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}
           ask ScramRefused { user: "nobody" }
        S: -ERR [AUTH] authentication failed
    "#]],
    );
}

#[test]
fn scram_with_its_keys_away_is_a_passing_error() {
    plain(
        "world: Unavailable\nC: AUTH SCRAM-SHA-256 {n,,n=user,r=abc}\nC: USER tim",
        expect![[r#"
            C: AUTH SCRAM-SHA-256 {n,,n=user,r=abc}
               ask ScramKeys { user: "user" }
            S: -ERR [SYS/TEMP] log-in not possible now, try again later
            C: USER tim
            S: +OK send PASS
        "#]],
    );
}

#[test]
fn scram_with_channel_binding_is_refused() {
    plain(
        "C: AUTH SCRAM-SHA-256 {p=tls-exporter,,n=user,r=abc}\nC: AUTH SCRAM-SHA-256-PLUS",
        expect![[r#"
            C: AUTH SCRAM-SHA-256 {p=tls-exporter,,n=user,r=abc}
            S: -ERR channel binding not supported or not consistent
            C: AUTH SCRAM-SHA-256-PLUS
            S: -ERR authentication mechanism not supported
        "#]],
    );
}

#[test]
fn a_star_cancels_and_user_and_pass_still_work() {
    plain(
        "C: AUTH LOGIN\nC: {tim}\nC: *\nC: USER tim\nC: PASS tanstaaf",
        expect![[r#"
            C: AUTH LOGIN
            S: + {Username:}
            C: {tim}
            S: + {Password:}
            C: *
            S: -ERR authentication cancelled
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
        "#]],
    );
}

#[test]
fn a_malformed_auth_leaves_user_and_pass_as_they_were() {
    plain(
        "C: USER tim\nC: AUTH PLAIN ***\nC: AUTH PLAIN {tim}\nC: PASS tanstaaf",
        expect![[r#"
            C: USER tim
            S: +OK send PASS
            C: AUTH PLAIN ***
            S: -ERR response is not base64
            C: AUTH PLAIN {tim}
            S: -ERR malformed response
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
        "#]],
    );
}

#[test]
fn a_response_that_is_no_base64_ends_the_exchange_and_not_the_session() {
    plain(
        "C: AUTH PLAIN\nC: USER tim\nC: USER tim\nC: PASS tanstaaf",
        expect![[r#"
            C: AUTH PLAIN
            S: + {}
            C: USER tim
            S: -ERR response is not base64
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
        "#]],
    );
}

#[test]
fn an_unknown_mechanism_is_refused_as_not_supported() {
    plain(
        "C: AUTH CRAM-MD5\nC: AUTH XOAUTH2 {x}\nC: AUTH OAUTHBEARER",
        expect![[r#"
            C: AUTH CRAM-MD5
            S: -ERR authentication mechanism not supported
            C: AUTH XOAUTH2 {x}
            S: -ERR authentication mechanism not supported
            C: AUTH OAUTHBEARER
            S: -ERR authentication mechanism not supported
        "#]],
    );
    let options = Options {
        scram: false,
        ..plaintext()
    };
    check(
        options,
        Channel::Plain,
        three(),
        "C: AUTH SCRAM-SHA-256",
        expect![[r#"
            C: AUTH SCRAM-SHA-256
            S: -ERR authentication mechanism not supported
        "#]],
    );
}

#[test]
fn an_auth_command_has_the_limit_of_every_command_and_a_response_a_larger_one() {
    plain(
        "C: AUTH PLAIN {\\0tim\\0<x*200>}\nC: AUTH PLAIN\nC: {\\0tim\\0<x*1000>}",
        expect![[r#"
            C: AUTH PLAIN {\0tim\0<x*200>}
            S: -ERR line too long
            C: AUTH PLAIN
            S: + {}
            C: {\0tim\0<x*1000>}
               ask LogIn { user: "tim", password: Secret(..), method: Sasl(Plain) }
            S: -ERR [AUTH] authentication failed
        "#]],
    );
}

#[test]
fn a_response_too_long_closes_the_connection() {
    let mut driver = Driver::new(plaintext(), Channel::Plain, three());
    driver.run("C: AUTH PLAIN");
    assert_eq!(driver.session.line_octets_max(), RESPONSE_LINE_OCTETS_MAX);
    driver.run("C: <x*16385>\nC: USER tim");
    let end = driver.transcript.lines().rev().take(3).collect::<Vec<_>>();
    assert_eq!(end, ["C: USER tim", "-- closed", "S: -ERR response too long"]);
}

#[test]
fn a_client_that_leaves_during_an_exchange_leaves_nothing_behind() {
    let mut driver = Driver::new(plaintext(), Channel::Plain, three());
    driver.run("C: AUTH LOGIN\nC: {tim}\ntime out");
    assert!(driver.transcript.ends_with("-- closed\n"));
    assert_eq!(
        driver.session.line_octets_max(),
        mailhorn_pop3::COMMAND_OCTETS_MAX
    );
}

#[test]
fn auth_after_log_in_is_refused() {
    plain(
        "C: USER tim\nC: PASS tanstaaf\nC: AUTH PLAIN {\\0tim\\0tanstaaf}\nC: USER tim\nC: AUTH",
        expect![[r#"
            C: USER tim
            S: +OK send PASS
            C: PASS tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
            C: AUTH PLAIN {\0tim\0tanstaaf}
            S: -ERR already logged in
            C: USER tim
            S: -ERR already logged in
            C: AUTH
            S: -ERR already logged in
        "#]],
    );
}

#[test]
fn acting_for_somebody_else_is_refused_without_trying_the_password() {
    plain(
        "C: AUTH PLAIN {other\\0tim\\0tanstaaf}",
        expect![[r#"
        C: AUTH PLAIN {other\0tim\0tanstaaf}
        S: -ERR no other authorization identity allowed
    "#]],
    );
}

#[test]
fn no_password_is_ever_printed() {
    let mut driver = Driver::new(plaintext(), Channel::Plain, three());
    for script in [
        "C: USER tim\nC: PASS s3cr3t",
        "C: AUTH LOGIN {tim}\nC: {s3cr3t}",
        "C: AUTH LOGIN {tim}",
    ] {
        driver.run(script);
        let printed = format!("{:?}", driver.session);
        assert!(
            !printed.contains("s3cr3t") && !printed.contains("czNjcjN0"),
            "{printed}"
        );
    }
    let asks: Vec<&str> = driver
        .transcript
        .lines()
        .filter(|line| line.contains("ask LogIn"))
        .collect();
    assert_eq!(asks.len(), 2);
    assert!(
        asks.iter()
            .all(|ask| ask.contains("Secret(..)") && !ask.contains("s3cr3t")),
        "{asks:?}"
    );
}

#[test]
fn the_verb_of_a_response_is_auth() {
    let mut driver = Driver::new(plaintext(), Channel::Plain, three());
    driver.run("C: AUTH LOGIN {tim}\nC: {tanstaaf}");
    assert_eq!(driver.session.verb(), Verb::Auth);
    driver.run("C: noop");
    assert_eq!(driver.session.verb(), Verb::Noop);
}
