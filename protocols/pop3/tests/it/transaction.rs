//! TRANSACTION and UPDATE.

use expect_test::{Expect, expect};
use mailhorn_pop3::{Channel, Encoded, Maildrop, Step};

use crate::support::{Driver, Drop, check, messages, plaintext, three};

/// A session of `tim`, from after the log-in.
fn transaction(maildrop: Drop, script: &str, expected: Expect) {
    let mut driver = logged_in(maildrop);
    driver.run(script);
    expected.assert_eq(&driver.transcript);
}

pub(crate) fn logged_in(maildrop: Drop) -> Driver {
    let mut driver = Driver::new(plaintext(), Channel::Plain, maildrop);
    driver.run("C: USER tim\nC: PASS tanstaaf");
    assert!(driver.session.is_logged_in());
    driver.transcript.clear();
    driver.sent.clear();
    driver
}

#[test]
fn stat_list_and_uidl_describe_the_maildrop() {
    transaction(
        three(),
        "C: STAT\nC: LIST\nC: UIDL\nC: LIST 2\nC: UIDL 3",
        expect![[r#"
            C: STAT
            S: +OK 3 49
            C: LIST
            S: +OK 3 messages (49 octets)
            S: 1 13
            S: 2 21
            S: 3 15
            S: .
            C: UIDL
            S: +OK 3 messages (49 octets)
            S: 1 id-0
            S: 2 id-1
            S: 3 id-2
            S: .
            C: LIST 2
            S: +OK 2 21
            C: UIDL 3
            S: +OK 3 id-2
        "#]],
    );
}

#[test]
fn an_empty_maildrop_lists_nothing_and_has_no_message() {
    transaction(
        messages(&[]),
        "C: STAT\nC: LIST\nC: UIDL\nC: RETR 1\nC: DELE 1\nC: QUIT",
        expect![[r#"
            C: STAT
            S: +OK 0 0
            C: LIST
            S: +OK 0 messages (0 octets)
            S: .
            C: UIDL
            S: +OK 0 messages (0 octets)
            S: .
            C: RETR 1
            S: -ERR no such message
            C: DELE 1
            S: -ERR no such message
            C: QUIT
            S: +OK bye
            -- closed
        "#]],
    );
}

#[test]
fn retr_sends_the_message_with_dots_doubled() {
    transaction(
        three(),
        "C: RETR 2",
        expect![[r#"
            C: RETR 2
               ask Body { index: 1, lines: All, utf8: false }
            S: +OK 21 octets
            S: B: 2
            S:
            S: ..two
            S: lines
            S: .
        "#]],
    );
}

#[test]
fn top_zero_sends_the_headers_and_the_blank_line_only() {
    transaction(
        three(),
        "C: TOP 2 0\nC: TOP 2 1\nC: TOP 2 99",
        expect![[r#"
            C: TOP 2 0
               ask Body { index: 1, lines: Top(0), utf8: false }
            S: +OK top of message follows
            S: B: 2
            S:
            S: .
            C: TOP 2 1
               ask Body { index: 1, lines: Top(1), utf8: false }
            S: +OK top of message follows
            S: B: 2
            S:
            S: ..two
            S: .
            C: TOP 2 99
               ask Body { index: 1, lines: Top(99), utf8: false }
            S: +OK top of message follows
            S: B: 2
            S:
            S: ..two
            S: lines
            S: .
        "#]],
    );
}

#[test]
fn deleted_messages_leave_stat_list_uidl_retr_and_top() {
    transaction(
        three(),
        "C: DELE 1\nC: STAT\nC: LIST\nC: UIDL\nC: LIST 1\nC: UIDL 1\nC: RETR 1\nC: TOP 1 0\nC: DELE 1",
        expect![[r#"
            C: DELE 1
            S: +OK message deleted
            C: STAT
            S: +OK 2 36
            C: LIST
            S: +OK 2 messages (36 octets)
            S: 2 21
            S: 3 15
            S: .
            C: UIDL
            S: +OK 2 messages (36 octets)
            S: 2 id-1
            S: 3 id-2
            S: .
            C: LIST 1
            S: -ERR message is deleted
            C: UIDL 1
            S: -ERR message is deleted
            C: RETR 1
            S: -ERR message is deleted
            C: TOP 1 0
            S: -ERR message is deleted
            C: DELE 1
            S: -ERR message is deleted
        "#]],
    );
}

#[test]
fn numbers_never_change_within_a_session() {
    transaction(
        three(),
        "C: DELE 1\nC: UIDL 2\nC: RETR 3\nC: DELE 2\nC: LIST",
        expect![[r#"
            C: DELE 1
            S: +OK message deleted
            C: UIDL 2
            S: +OK 2 id-1
            C: RETR 3
               ask Body { index: 2, lines: All, utf8: false }
            S: +OK 15 octets
            S: C: 3
            S:
            S: three
            S: .
            C: DELE 2
            S: +OK message deleted
            C: LIST
            S: +OK 1 messages (15 octets)
            S: 3 15
            S: .
        "#]],
    );
}

#[test]
fn zero_is_not_a_message_number() {
    transaction(
        three(),
        "C: DELE 0\nC: RETR 0\nC: TOP 0 0\nC: LIST 0\nC: UIDL 0\nC: QUIT",
        expect![[r#"
            C: DELE 0
            S: -ERR no such message
            C: RETR 0
            S: -ERR no such message
            C: TOP 0 0
            S: -ERR no such message
            C: LIST 0
            S: -ERR no such message
            C: UIDL 0
            S: -ERR no such message
            C: QUIT
            S: +OK bye
            -- closed
        "#]],
    );
}

#[test]
fn what_is_no_number_of_a_message_is_an_error_and_deletes_nothing() {
    transaction(
        three(),
        "C: DELE 4\nC: DELE 4294967297\nC: DELE 18446744073709551617\nC: DELE -1\nC: DELE 1.5\nC: DELE 0x1
        C: DELE 1 2\nC: DELE\nC: DELE one\nC: LIST 1.5\nC: RETR\nC: TOP 1\nC: TOP 1 x\nC: TOP 1 1 1\nC: STAT",
        expect![[r#"
            C: DELE 4
            S: -ERR no such message
            C: DELE 4294967297
            S: -ERR no such message
            C: DELE 18446744073709551617
            S: -ERR no such message
            C: DELE -1
            S: -ERR argument is not a number
            C: DELE 1.5
            S: -ERR argument is not a number
            C: DELE 0x1
            S: -ERR argument is not a number
            C: DELE 1 2
            S: -ERR too many arguments
            C: DELE
            S: -ERR argument missing
            C: DELE one
            S: -ERR argument is not a number
            C: LIST 1.5
            S: -ERR argument is not a number
            C: RETR
            S: -ERR argument missing
            C: TOP 1
            S: -ERR argument missing
            C: TOP 1 x
            S: -ERR argument is not a number
            C: TOP 1 1 1
            S: -ERR too many arguments
            C: STAT
            S: +OK 3 49
        "#]],
    );
}

#[test]
fn rset_takes_the_marks_away_and_does_nothing_else() {
    transaction(
        three(),
        "C: DELE 1\nC: DELE 3\nC: RSET\nC: STAT\nC: LIST\nC: QUIT",
        expect![[r#"
            C: DELE 1
            S: +OK message deleted
            C: DELE 3
            S: +OK message deleted
            C: RSET
            S: +OK 3 messages (49 octets)
            C: STAT
            S: +OK 3 49
            C: LIST
            S: +OK 3 messages (49 octets)
            S: 1 13
            S: 2 21
            S: 3 15
            S: .
            C: QUIT
            S: +OK bye
            -- closed
        "#]],
    );
}

#[test]
fn quit_deletes_the_marked_messages_and_only_those() {
    transaction(
        three(),
        "C: DELE 3\nC: DELE 1\nC: QUIT",
        expect![[r#"
        C: DELE 3
        S: +OK message deleted
        C: DELE 1
        S: +OK message deleted
        C: QUIT
           ask Commit { indexes: [0, 2] }
        S: +OK messages deleted, bye
        -- closed
    "#]],
    );
}

#[test]
fn quit_with_nothing_marked_asks_nothing() {
    transaction(
        three(),
        "C: RETR 1\nC: QUIT",
        expect![[r#"
            C: RETR 1
               ask Body { index: 0, lines: All, utf8: false }
            S: +OK 13 octets
            S: A: 1
            S:
            S: one
            S: .
            C: QUIT
            S: +OK bye
            -- closed
        "#]],
    );
}

#[test]
fn a_quit_whose_outcome_is_unknown_says_so_and_closes() {
    for unknown in ["CommitUnknown", "Unavailable"] {
        let mut driver = logged_in(three());
        driver.run(&format!("world: {unknown}\nC: DELE 1\nC: QUIT\nC: STAT"));
        let replies: Vec<&str> = driver.transcript.lines().skip(3).collect();
        let expected = [
            "   ask Commit { indexes: [0] }",
            "S: -ERR [SYS/TEMP] some deleted messages may not have been removed",
            "-- closed",
            "C: STAT",
        ];
        assert_eq!(replies, expected, "{unknown}");
    }
}

#[test]
fn a_client_that_is_silent_or_leaves_deletes_nothing() {
    transaction(
        three(),
        "C: DELE 1\ntime out\nC: QUIT",
        expect![[r#"
        C: DELE 1
        S: +OK message deleted
        -- the client was silent
        -- closed
        C: QUIT
    "#]],
    );
}

#[test]
fn a_server_that_stops_deletes_nothing() {
    transaction(
        three(),
        "C: DELE 1\nshut down\nC: QUIT",
        expect![[r#"
        C: DELE 1
        S: +OK message deleted
        -- the server stops
        S: -ERR [SYS/TEMP] server is shutting down, try again later
        -- closed
        C: QUIT
    "#]],
    );
}

#[test]
fn a_message_that_cannot_be_read_is_an_error_of_that_message_alone() {
    transaction(
        three(),
        "world: Missing\nworld: Damaged\nworld: Unavailable\nC: RETR 1\nC: TOP 1 0\nC: RETR 1\nC: RETR 2\nC: STAT",
        expect![[r#"
            C: RETR 1
               ask Body { index: 0, lines: All, utf8: false }
            S: -ERR [SYS/TEMP] message is not there now
            C: TOP 1 0
               ask Body { index: 0, lines: Top(0), utf8: false }
            S: -ERR [SYS/PERM] message is damaged
            C: RETR 1
               ask Body { index: 0, lines: All, utf8: false }
            S: -ERR [SYS/TEMP] message cannot be read now
            C: RETR 2
               ask Body { index: 1, lines: All, utf8: false }
            S: +OK 21 octets
            S: B: 2
            S:
            S: ..two
            S: lines
            S: .
            C: STAT
            S: +OK 3 49
        "#]],
    );
}

#[test]
fn twenty_bad_commands_in_a_row_end_a_session() {
    let mut driver = logged_in(three());
    let bad = "C: XTND\n".repeat(19);
    driver.run(&format!("{bad}C: NOOP\n{bad}C: STAT\n{bad}C: DELE x"));
    let closed: Vec<&str> = driver.transcript.lines().rev().take(3).collect();
    assert_eq!(
        closed,
        ["-- closed", "S: -ERR too many bad commands", "C: DELE x"]
    );
}

#[test]
fn an_empty_line_a_long_line_and_an_unknown_command_are_errors() {
    transaction(
        three(),
        "C: \nC: NOOP <x*300>\nC: LAST\nC: XTND\nC: NOOP",
        expect![[r#"
            C: 
            S: -ERR empty command
            C: NOOP <x*300>
            S: -ERR line too long
            C: LAST
            S: -ERR unknown command
            C: XTND
            S: -ERR unknown command
            C: NOOP
            S: +OK nothing done
        "#]],
    );
}

#[test]
fn pipelined_commands_are_answered_in_their_order() {
    transaction(
        three(),
        "C: DELE 1\\r\\nRETR 2\\r\\nUIDL\\r\\nQUIT\\r\\nSTAT",
        expect![[r#"
            C: DELE 1\r\nRETR 2\r\nUIDL\r\nQUIT\r\nSTAT
            S: +OK message deleted
               ask Body { index: 1, lines: All, utf8: false }
            S: +OK 21 octets
            S: B: 2
            S:
            S: ..two
            S: lines
            S: .
            S: +OK 2 messages (36 octets)
            S: 2 id-1
            S: 3 id-2
            S: .
               ask Commit { indexes: [0] }
            S: +OK messages deleted, bye
            -- closed
        "#]],
    );
}

#[test]
fn the_size_that_list_says_is_that_of_what_retr_sends() {
    let bodies = [
        "\r\n",
        "A: 1\r\n\r\n.\r\n..\r\n...\r\n",
        "A: 1\r\n\r\nno dots\r\n",
    ];
    let mut driver = logged_in(messages(&bodies));
    for (index, body) in bodies.iter().enumerate() {
        driver.sent.clear();
        driver.run(&format!("C: RETR {}", index + 1));
        let sent = String::from_utf8(driver.sent.clone()).unwrap();
        let (status, encoded) = sent.split_once("\r\n").unwrap();
        let lines = encoded.strip_suffix(".\r\n").unwrap().split_inclusive("\r\n");
        let read: String = lines.map(|line| line.strip_prefix('.').unwrap_or(line)).collect();
        assert_eq!(read, *body);
        assert_eq!(status, format!("+OK {} octets", read.len()));
    }
}

#[test]
fn a_message_that_ends_without_a_line_end_has_an_end_all_the_same() {
    transaction(
        messages(&[
            "A: 1\r\n\r\nno line end",
            "A: 1\r\n\r\nonly CR\r",
            "A: 1\n\nonly LF\n",
        ]),
        "C: RETR 1\nC: RETR 2\nC: RETR 3\nC: NOOP",
        expect![[r#"
            C: RETR 1
               ask Body { index: 0, lines: All, utf8: false }
            S: +OK 19 octets
            S: A: 1
            S:
            S: no line end
            S: .
            C: RETR 2
               ask Body { index: 1, lines: All, utf8: false }
            S: +OK 16 octets
            S: A: 1
            S:
            S: only CR
            S: .
            C: RETR 3
               ask Body { index: 2, lines: All, utf8: false }
            S: +OK 14 octets
            S: A: 1

            only LF
            S: .
            C: NOOP
            S: +OK nothing done
        "#]],
    );
}

#[test]
fn a_listing_is_the_same_whatever_the_budget() {
    let mut transcripts = Vec::new();
    for budget in [0, 1, 10, 11, 12, 1000] {
        let mut driver = logged_in(three());
        driver.chunk = budget.max(1);
        driver.run("C: DELE 2\nC: LIST\nC: UIDL");
        transcripts.push(driver.transcript);
    }
    assert!(transcripts.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_listing_outlived_by_its_session_gets_no_end() {
    let mut driver = logged_in(three());
    let step = driver
        .session
        .command(mailhorn_lines::Frame::Line(b"LIST".to_vec()));
    let Step::Reply(mut reply) = step else {
        panic!("a listing is a reply")
    };
    let mut out = Vec::new();
    assert_eq!(driver.session.encode(&mut reply, &mut out, 1), Encoded::More);
    assert!(matches!(driver.session.timed_out(), Step::Close));
    assert_eq!(driver.session.encode(&mut reply, &mut out, 1000), Encoded::All);
    assert!(!out.ends_with(b".\r\n"));
}

#[test]
fn the_maildrop_is_there_until_the_session_ends() {
    let mut driver = logged_in(three());
    driver.run("C: DELE 1");
    assert_eq!(driver.session.maildrop().map(|maildrop| maildrop.len()), Some(3));
    let step = driver
        .session
        .command(mailhorn_lines::Frame::Line(b"QUIT".to_vec()));
    assert!(matches!(step, Step::Ask(_)));
    assert!(driver.session.maildrop().is_some(), "the driver deletes from it");
    assert!(matches!(driver.session.timed_out(), Step::Close));
    assert!(driver.session.maildrop().is_none());
}

#[test]
fn no_reply_speaks_imap() {
    let mut driver = logged_in(three());
    driver.run("C: NOOP\nC: XTND\nC: DELE 1\nshut down");
    let all = driver
        .transcript
        .lines()
        .filter_map(|line| line.strip_prefix("S: "));
    for line in all {
        assert!(line.starts_with("+OK") || line.starts_with("-ERR"), "{line}");
    }
}

#[test]
fn commands_are_known_in_any_case() {
    check(
        plaintext(),
        Channel::Plain,
        three(),
        "C: user tim\nC: Pass tanstaaf\nC: sTaT\nC: list 1\nC: quit",
        expect![[r#"
            C: user tim
            S: +OK send PASS
            C: Pass tanstaaf
               ask LogIn { user: "tim", password: Secret(..), method: UserPass }
            S: +OK 3 messages (49 octets)
            C: sTaT
            S: +OK 3 49
            C: list 1
            S: +OK 1 13
            C: quit
            S: +OK bye
            -- closed
        "#]],
    );
}
