//! Big messages and maildrops of many messages.

use expect_test::expect;
use mailhorn_pop3::{Channel, Encoded, Maildrop, Step, UniqueId};

use crate::support::{Driver, Drop, plaintext};
use crate::transaction::logged_in;

#[test]
fn a_big_message_comes_whole_and_a_small_one_of_many_is_the_only_one_deleted() {
    let line = [b'x'; 998];
    let big = [
        b"A: 1\r\n\r\n".to_vec(),
        [&line[..], b"\r\n"].concat().repeat(10_000),
    ]
    .concat();
    let mut all: Vec<Vec<u8>> = (0..50).map(|n| format!("N: {n}\r\n\r\n").into_bytes()).collect();
    all.push(big.clone());
    let mut driver = logged_in(Drop(all));
    driver.chunk = 64 * 1024;
    driver.receive(b"RETR 51\r\n");
    assert_eq!(
        driver.sent,
        [b"+OK 10000008 octets\r\n", &big[..], b".\r\n"].concat()
    );
    driver.transcript.clear();
    driver.run("C: DELE 25\nC: STAT\nC: QUIT");
    expect![[r#"
        C: DELE 25
        S: +OK message deleted
        C: STAT
        S: +OK 50 10000439
        C: QUIT
           ask Commit { indexes: [24] }
        S: +OK messages deleted, bye
        -- closed
    "#]]
    .assert_eq(&driver.transcript);
}

#[test]
fn stat_list_and_uidl_of_a_hundred_messages_agree_and_rise() {
    let mut driver = logged_in(Drop((0..100).map(|n| vec![b'x'; 100 + n]).collect()));
    driver.run("C: STAT\nC: LIST\nC: UIDL");
    let lines: Vec<&str> = driver.transcript.lines().collect();
    assert_eq!(lines.get(1), Some(&"S: +OK 100 14950"));
    for n in 0..100 {
        assert_eq!(lines[4 + n], format!("S: {} {}", n + 1, 100 + n));
        assert_eq!(lines[4 + 103 + n], format!("S: {} id-{n}", n + 1));
    }
}

/// A maildrop of any size that takes no memory.
struct Huge {
    messages: usize,
    octets: u64,
}

impl Maildrop for Huge {
    fn len(&self) -> usize {
        self.messages
    }

    fn size(&self, _: usize) -> u64 {
        self.octets
    }

    fn unique_id(&self, index: usize) -> UniqueId {
        UniqueId::new(format!("{index:0>70}").as_bytes()).unwrap()
    }
}

fn huge(messages: usize, octets: u64) -> Driver<Huge> {
    let maildrop = Huge { messages, octets };
    let mut driver = Driver::with(plaintext(), Channel::Plain, maildrop, |_, _| Vec::new());
    driver.run("C: USER tim\nC: PASS tanstaaf");
    driver.transcript.clear();
    driver
}

#[test]
fn sizes_beyond_32_and_64_bits_do_not_wrap() {
    let mut driver = huge(3, 5_000_000_000);
    driver.run("C: STAT\nC: LIST\nC: DELE 1\nC: STAT");
    expect![[r#"
        C: STAT
        S: +OK 3 15000000000
        C: LIST
        S: +OK 3 messages (15000000000 octets)
        S: 1 5000000000
        S: 2 5000000000
        S: 3 5000000000
        S: .
        C: DELE 1
        S: +OK message deleted
        C: STAT
        S: +OK 2 10000000000
    "#]]
    .assert_eq(&driver.transcript);
    let mut driver = huge(3, u64::MAX / 2);
    driver.run("C: STAT");
    expect![[r#"
        C: STAT
        S: +OK 3 18446744073709551615
    "#]]
    .assert_eq(&driver.transcript);
}

#[test]
fn a_listing_of_a_huge_maildrop_is_encoded_in_parts_of_bounded_size() {
    const MESSAGES: usize = 100_000;
    const BUDGET: usize = 4096;
    for command in ["LIST", "UIDL"] {
        let mut driver = huge(MESSAGES, 1);
        let step = driver
            .session
            .command(mailhorn_lines::Frame::Line(command.into()));
        let Step::Reply(mut reply) = step else {
            panic!("a listing is a reply")
        };
        let (mut out, mut lines, mut parts) = (Vec::new(), 0, 0);
        loop {
            out.clear();
            let encoded = driver.session.encode(&mut reply, &mut out, BUDGET);
            assert!(out.len() < BUDGET + 100, "{} octets", out.len());
            lines += out.iter().filter(|octet| **octet == b'\n').count();
            parts += 1;
            if encoded == Encoded::All {
                break;
            }
        }
        assert_eq!(lines, MESSAGES + 2);
        assert!(parts > 100, "{command} in {parts} parts");
        assert!(out.ends_with(b"\r\n.\r\n"));
    }
}
